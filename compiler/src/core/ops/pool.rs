//! Windows over images [B, H, W, C]: square, with one stride and padding for both axes.

use super::contraction::{expect_images, expect_result, no_window, windows};
use super::sample::{Sample, f32s};
use super::unary::expect_f32;
use super::{Arity, AttrDef, AttrKind, Class, Eval, Grad, OpDef, ShapeError, Surface, attr};
use crate::core::graph::{Attr, Attrs, Type};
use crate::core::interp::{EvalCtx, Tensor};
use crate::onnx::Onnx;

const KERNEL: AttrDef = attr("kernel", AttrKind::Int, "The side of a window.");
const STRIDE: AttrDef = attr("stride", AttrKind::Int, "The step between windows.");
const PADDING: AttrDef = attr(
    "padding",
    AttrKind::Int,
    "The margin on every side, at most half a window.",
);

fn pooled(x: &Type, attrs: &Attrs) -> Result<Type, ShapeError> {
    expect_images(x, 0)?;
    let (kernel, stride, padding) = (
        attrs.size("kernel"),
        attrs.size("stride"),
        attrs.size("padding"),
    );
    if padding > kernel / 2 {
        return Err(ShapeError::new(
            &[0],
            format!(
                "the padding of a {0}×{0} pool is at most {1}, half its window, not {2}",
                attrs.int("kernel"),
                kernel / 2,
                attrs.int("padding")
            ),
        ));
    }
    let size = |n| windows(n, kernel, stride, padding);
    match (size(x.shape[1]), size(x.shape[2])) {
        (Some(h), Some(w)) => Ok(Type::f32(&[x.shape[0], h, w, x.shape[3]])),
        _ => Err(no_window(x, kernel, attrs)),
    }
}

/// The places in `x` (flat, in row-major order) that the window at `index` of the result covers, padding left out.
fn window(ctx: &EvalCtx, x: &[usize], index: &[usize]) -> Vec<usize> {
    let (kernel, stride, padding) = (
        ctx.attrs.size("kernel"),
        ctx.attrs.size("stride"),
        ctx.attrs.size("padding"),
    );
    let span = |o: usize, size: usize| {
        let start = o * stride;
        (start..start + kernel).filter_map(move |i| i.checked_sub(padding).filter(|i| *i < size))
    };
    let mut places = Vec::new();
    for h in span(index[1], x[1]) {
        for w in span(index[2], x[2]) {
            places.push(((index[0] * x[1] + h) * x[2] + w) * x[3] + index[3]);
        }
    }
    places
}

/// The first maximum among the places of a window.
fn first_max(x: &Tensor, places: &[usize]) -> Option<usize> {
    places
        .iter()
        .copied()
        .reduce(|best, p| if x.data[p] > x.data[best] { p } else { best })
}

fn forward_attrs(attrs: &Attrs) -> Vec<(&'static str, Attr)> {
    ["kernel", "stride", "padding"]
        .map(|name| (name, attrs.size(name).into()))
        .to_vec()
}

type Shape = [usize; 4];

/// Shapes of x and y with kernel, stride and padding.
const CASES: [([Shape; 2], [usize; 3]); 4] = [
    ([[2, 4, 4, 2], [2, 2, 2, 2]], [2, 2, 0]),
    ([[1, 5, 5, 2], [1, 3, 3, 2]], [3, 2, 1]),
    ([[1, 4, 3, 1], [1, 4, 3, 1]], [3, 1, 1]),
    ([[1, 3, 5, 2], [1, 2, 4, 2]], [2, 1, 0]),
];

fn samples(args: fn(&[usize], &[usize]) -> Vec<Vec<usize>>, sized: bool) -> Vec<Sample> {
    CASES
        .iter()
        .map(|([x, y], [kernel, stride, padding])| {
            let args = args(x, y).iter().map(|shape| f32s(shape)).collect();
            let sample = Sample::new(args)
                .attr("kernel", *kernel)
                .attr("stride", *stride)
                .attr("padding", *padding);
            if sized {
                sample.attr("height", x[1]).attr("width", x[2])
            } else {
                sample
            }
        })
        .collect()
}

pub static MAX_POOL: OpDef = OpDef {
    name: "max_pool",
    doc: "The maximum of each window; padding never wins.",
    class: Class::Pool,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[KERNEL, STRIDE, PADDING],
    shape: |args, attrs| pooled(args[0], attrs),
    grad: Grad::Rule(|g| {
        let attrs = forward_attrs(g.attrs);
        vec![Some(g.b.push(&MAX_POOL_GRAD, &[g.args[0], g.dy], attrs))]
    }),
    eval: Eval::General(|ctx| {
        let x = ctx.args[0];
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            let best = first_max(x, &window(ctx, &x.shape, index));
            best.map_or(f64::NEG_INFINITY, |p| x.data[p])
        }))
    }),
    lower: crate::lower::contraction::max_pool,
    onnx: Onnx::Rule(crate::onnx::rules::max_pool),
    sample: || samples(|x, _| vec![x.to_vec()], false),
};

pub static MAX_POOL_GRAD: OpDef = OpDef {
    name: "max_pool_grad",
    doc: "The gradient of max_pool: each window gives its dy to its first maximum, as PyTorch does.",
    class: Class::Pool,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x", "dy"]),
    attrs: &[KERNEL, STRIDE, PADDING],
    shape: |args, attrs| {
        expect_result(&pooled(args[0], attrs)?, args[1], 1)?;
        Ok(args[0].clone())
    },
    grad: Grad::Undefined,
    eval: Eval::General(|ctx| {
        let (x, dy) = (ctx.args[0], ctx.args[1]);
        let mut dx = Tensor::full(&ctx.ty.shape, 0.0);
        Tensor::from_fn(&dy.shape, |index| {
            if let Some(best) = first_max(x, &window(ctx, &x.shape, index)) {
                dx.data[best] += dy.at(index);
            }
            0.0
        });
        Ok(dx)
    }),
    lower: crate::lower::contraction::max_pool_grad,
    onnx: Onnx::Unsupported,
    sample: || samples(|x, y| vec![x.to_vec(), y.to_vec()], false),
};

pub static AVG_POOL: OpDef = OpDef {
    name: "avg_pool",
    doc: "The mean of each window, the zeros of the padding counted (PyTorch's default).",
    class: Class::Pool,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[KERNEL, STRIDE, PADDING],
    shape: |args, attrs| pooled(args[0], attrs),
    grad: Grad::Rule(|g| {
        let shape = g.b.shape(g.args[0]);
        let mut attrs = forward_attrs(g.attrs);
        attrs.extend([("height", shape[1].into()), ("width", shape[2].into())]);
        vec![Some(g.b.push(&AVG_POOL_GRAD, &[g.dy], attrs))]
    }),
    eval: Eval::General(|ctx| {
        let x = ctx.args[0];
        let n = ctx.attrs.size("kernel").pow(2) as f64;
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            let places = window(ctx, &x.shape, index);
            places.iter().map(|p| x.data[*p]).sum::<f64>() / n
        }))
    }),
    lower: crate::lower::contraction::avg_pool,
    onnx: Onnx::Rule(crate::onnx::rules::avg_pool),
    sample: || samples(|x, _| vec![x.to_vec()], false),
};

pub static AVG_POOL_GRAD: OpDef = OpDef {
    name: "avg_pool_grad",
    doc: "The gradient of avg_pool: each window shares its dy equally among its places.",
    class: Class::Pool,
    surface: Surface::Internal,
    args: Arity::Fixed(&["dy"]),
    attrs: &[
        KERNEL,
        STRIDE,
        PADDING,
        attr("height", AttrKind::Int, "The height of the images."),
        attr("width", AttrKind::Int, "The width of the images."),
    ],
    shape: |args, attrs| {
        let dy = args[0];
        expect_images(dy, 0)?;
        expect_f32(dy, 0)?;
        let x = Type::f32(&[
            dy.shape[0],
            attrs.size("height"),
            attrs.size("width"),
            dy.shape[3],
        ]);
        expect_result(&pooled(&x, attrs)?, dy, 0)?;
        Ok(x)
    },
    grad: Grad::Undefined,
    eval: Eval::General(|ctx| {
        let dy = ctx.args[0];
        let n = ctx.attrs.size("kernel").pow(2) as f64;
        let mut dx = Tensor::full(&ctx.ty.shape, 0.0);
        Tensor::from_fn(&dy.shape, |index| {
            for p in window(ctx, &ctx.ty.shape, index) {
                dx.data[p] += dy.at(index) / n;
            }
            0.0
        });
        Ok(dx)
    }),
    lower: crate::lower::contraction::avg_pool_grad,
    onnx: Onnx::Unsupported,
    sample: || samples(|_, y| vec![y.to_vec()], true),
};
