//! Sums of products: matrix multiplication, and convolution with its two transposes. Images are NHWC, filters
//! [kh, kw, in / groups, out]; filters are square and share stride and padding between the axes.

use super::sample::{Sample, f32s};
use super::unary::expect_f32;
use super::{
    Arity, AttrDef, AttrKind, Class, Eval, Grad, GradCtx, OpDef, ShapeError, Surface, attr,
};
use crate::core::graph::{Attrs, DType, Type, ValueId};
use crate::core::interp::{EvalCtx, Tensor, advance};
use crate::onnx::Onnx;

pub static MATMUL: OpDef = OpDef {
    name: "matmul",
    doc: "The matrix product over the last two axes, of either operand or its transpose; leading axes are equal.",
    class: Class::Contraction,
    surface: Surface::Operator("@"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[
        attr("ta", AttrKind::Bool, "Whether a is read transposed."),
        attr("tb", AttrKind::Bool, "Whether b is read transposed."),
    ],
    shape: matmul_shape,
    grad: Grad::Rule(matmul_gradient),
    eval: Eval::General(|ctx| Ok(matmul(ctx))),
    lower: crate::lower::contraction::matmul,
    onnx: Onnx::Rule(crate::onnx::rules::matmul),
    sample: || {
        let sample = |a: &[usize], b: &[usize], ta: bool, tb: bool| {
            Sample::new(vec![f32s(a), f32s(b)])
                .attr("ta", ta)
                .attr("tb", tb)
        };
        vec![
            sample(&[2, 3], &[3, 4], false, false),
            sample(&[3, 2], &[3, 4], true, false),
            sample(&[2, 3], &[4, 3], false, true),
            sample(&[3, 2], &[4, 3], true, true),
            sample(&[2, 2, 3], &[2, 3, 2], false, false),
            sample(&[2, 3, 2], &[2, 3, 3], true, false),
            sample(&[1, 1], &[1, 1], false, false),
        ]
    },
};

fn matmul_shape(args: &[&Type], attrs: &Attrs) -> Result<Type, ShapeError> {
    let (a, b) = (args[0], args[1]);
    for (i, ty) in args.iter().enumerate() {
        expect_f32(ty, i)?;
        if ty.rank() < 2 {
            return Err(ShapeError::new(
                &[i],
                format!("a matrix product takes matrices, not {ty}"),
            ));
        }
    }
    let (m, k) = matrix(a, attrs.bool("ta"));
    let (k2, n) = matrix(b, attrs.bool("tb"));
    let (lead_a, lead_b) = (&a.shape[..a.rank() - 2], &b.shape[..b.rank() - 2]);
    if lead_a != lead_b {
        return Err(ShapeError::new(
            &[0, 1],
            format!("the leading axes of {a} and {b} are not equal"),
        ));
    }
    if k != k2 {
        let read = |ty: &Type, t: bool| {
            if t {
                format!("{ty}, transposed")
            } else {
                ty.to_string()
            }
        };
        return Err(ShapeError::new(
            &[0, 1],
            format!(
                "the inner sizes of a matrix product differ: {k} of {} and {k2} of {}",
                read(a, attrs.bool("ta")),
                read(b, attrs.bool("tb"))
            ),
        ));
    }
    Ok(Type::f32(&[lead_a, &[m, n]].concat()))
}

/// Rows and columns of the last two axes, as read.
fn matrix(ty: &Type, transposed: bool) -> (usize, usize) {
    let (rows, cols) = (ty.shape[ty.rank() - 2], ty.shape[ty.rank() - 1]);
    if transposed {
        (cols, rows)
    } else {
        (rows, cols)
    }
}

/// The gradient in the precision of the op's operands.
fn like_operands(g: &mut GradCtx) -> ValueId {
    match g.b.ty(g.args[0]).dtype {
        DType::Bf16 => g.b.to_bf16(g.dy, true),
        _ => g.b.cast(g.dy, DType::F32),
    }
}

fn matmul_gradient(g: &mut GradCtx) -> Vec<Option<ValueId>> {
    let (a, b, dy) = (g.args[0], g.args[1], like_operands(g));
    let (ta, tb) = (g.attrs.bool("ta"), g.attrs.bool("tb"));
    let da = g.needs[0].then(|| {
        if ta {
            g.b.matmul(b, dy, tb, true)
        } else {
            g.b.matmul(dy, b, false, !tb)
        }
    });
    let db = g.needs[1].then(|| {
        if tb {
            g.b.matmul(dy, a, true, ta)
        } else {
            g.b.matmul(a, dy, !ta, false)
        }
    });
    vec![da, db]
}

fn matmul(ctx: &EvalCtx) -> Tensor {
    let (a, b) = (ctx.args[0], ctx.args[1]);
    let (ta, tb) = (ctx.attrs.bool("ta"), ctx.attrs.bool("tb"));
    let rank = a.shape.len();
    let k = a.shape[if ta { rank - 2 } else { rank - 1 }];
    Tensor::from_fn(&ctx.ty.shape, |index| {
        let (mut ia, mut ib) = (index.to_vec(), index.to_vec());
        (0..k)
            .map(|p| {
                (ia[rank - 2], ia[rank - 1]) = if ta {
                    (p, index[rank - 2])
                } else {
                    (index[rank - 2], p)
                };
                (ib[rank - 2], ib[rank - 1]) = if tb {
                    (index[rank - 1], p)
                } else {
                    (p, index[rank - 1])
                };
                a.at(&ia) * b.at(&ib)
            })
            .sum()
    })
}

const STRIDE: AttrDef = attr("stride", AttrKind::Int, "The step between windows.");
const PADDING: AttrDef = attr("padding", AttrKind::Int, "Zeros on every side.");
const GROUPS: AttrDef = attr(
    "groups",
    AttrKind::Int,
    "Channels are split into this many groups.",
);

/// The number of windows along an axis; `None` where no window fits or the stride is 0.
pub(super) fn windows(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    if kernel == 0 || stride == 0 || stride > i32::MAX as usize {
        return None;
    }
    Some(padded.checked_sub(kernel)? / stride + 1)
}

pub(super) fn expect_images(ty: &Type, arg: usize) -> Result<(), ShapeError> {
    expect_f32(ty, arg)?;
    if ty.rank() == 4 {
        return Ok(());
    }
    Err(ShapeError::new(
        &[arg],
        format!("images [B, H, W, C] are needed here, not {ty}"),
    ))
}

/// Why no window of this size fits into the images of argument 0.
pub(super) fn no_window(x: &Type, kernel: usize, attrs: &Attrs) -> ShapeError {
    let (stride, padding) = (attrs.int("stride"), attrs.int("padding"));
    let message = if stride < 1 {
        format!("the stride of a window is at least 1, not {stride}")
    } else {
        format!(
            "a {kernel}×{kernel} window with stride {stride} and padding {padding} does not fit into {x}"
        )
    };
    ShapeError::new(&[0], message)
}

/// The shape of `conv2d` of images x and filters w.
fn conv_shape(x: &Type, w: &Type, attrs: &Attrs) -> Result<Type, ShapeError> {
    expect_images(x, 0)?;
    expect_f32(w, 1)?;
    if w.rank() != 4 || w.shape[0] != w.shape[1] {
        return Err(ShapeError::new(
            &[1],
            format!("filters are [k, k, in / groups, out], not {w}"),
        ));
    }
    let groups = attrs.size("groups");
    let (kernel, out) = (w.shape[0], w.shape[3]);
    let split = groups >= 1 && x.shape[3].is_multiple_of(groups) && out.is_multiple_of(groups);
    if !split || x.shape[3] / groups != w.shape[2] {
        return Err(ShapeError::new(
            &[0, 1],
            format!(
                "{} channels of {x} do not fit filters {w} with groups = {}",
                x.shape[3],
                attrs.int("groups")
            ),
        ));
    }
    let (stride, padding) = (attrs.size("stride"), attrs.size("padding"));
    let size = |n| windows(n, kernel, stride, padding);
    match (size(x.shape[1]), size(x.shape[2])) {
        (Some(h), Some(w)) => Ok(Type::f32(&[x.shape[0], h, w, out])),
        _ => Err(no_window(x, kernel, attrs)),
    }
}

/// Calls `f(x index, w index, y index)` for every product of a convolution.
fn each_product(
    x: &[usize],
    w: &[usize],
    y: &[usize],
    attrs: &Attrs,
    mut f: impl FnMut([usize; 3]),
) {
    let (stride, padding) = (attrs.size("stride"), attrs.size("padding"));
    let groups = attrs.size("groups");
    let (cin, cout) = (w[2], w[3]);
    let flat = |i: [usize; 4], s: &[usize]| ((i[0] * s[1] + i[1]) * s[2] + i[2]) * s[3] + i[3];
    let mut at = [0; 4];
    loop {
        let [n, oh, ow, k] = at;
        let first = k / (cout / groups) * cin;
        for (i, j) in (0..w[0]).flat_map(|i| (0..w[1]).map(move |j| (i, j))) {
            let (ih, iw) = (oh * stride + i, ow * stride + j);
            if ih < padding || iw < padding || ih - padding >= x[1] || iw - padding >= x[2] {
                continue;
            }
            for c in 0..cin {
                f([
                    flat([n, ih - padding, iw - padding, first + c], x),
                    flat([i, j, c, k], w),
                    flat(at, y),
                ]);
            }
        }
        if !advance(&mut at, y) {
            return;
        }
    }
}

type Shape = [usize; 4];

/// Shapes of x, w and y with stride, padding and groups; `order` picks the arguments of an op.
fn conv_samples(
    order: fn([&[usize]; 3]) -> [&[usize]; 2],
    extra: fn(Sample, &[usize], &[usize]) -> Sample,
) -> Vec<Sample> {
    let cases: [([Shape; 3], [usize; 3]); 6] = [
        ([[2, 4, 4, 2], [3, 3, 2, 3], [2, 4, 4, 3]], [1, 1, 1]),
        ([[1, 5, 4, 2], [3, 3, 2, 2], [1, 3, 2, 2]], [2, 1, 1]),
        ([[1, 4, 4, 4], [2, 2, 2, 4], [1, 3, 3, 4]], [1, 0, 2]),
        ([[2, 3, 5, 3], [1, 1, 3, 2], [2, 2, 3, 2]], [2, 0, 1]),
        ([[1, 6, 6, 2], [3, 3, 1, 4], [1, 3, 3, 4]], [2, 1, 2]),
        ([[1, 3, 3, 1], [5, 5, 1, 2], [1, 3, 3, 2]], [1, 2, 1]),
    ];
    cases
        .iter()
        .map(|([x, w, y], [stride, padding, groups])| {
            let args = order([x, w, y]).map(f32s).to_vec();
            let sample = Sample::new(args)
                .attr("stride", *stride)
                .attr("padding", *padding)
                .attr("groups", *groups);
            extra(sample, x, w)
        })
        .collect()
}

pub static CONV2D: OpDef = OpDef {
    name: "conv2d",
    doc: "Convolution of images x [B, H, W, C] with filters w [k, k, C / groups, K] (cross-correlation, as in PyTorch).",
    class: Class::Contraction,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x", "w"]),
    attrs: &[STRIDE, PADDING, GROUPS],
    shape: |args, attrs| conv_shape(args[0], args[1], attrs),
    grad: Grad::Rule(conv_gradient),
    eval: Eval::General(|ctx| {
        let (x, w) = (ctx.args[0], ctx.args[1]);
        let mut y = Tensor::full(&ctx.ty.shape, 0.0);
        each_product(
            &x.shape,
            &w.shape,
            &ctx.ty.shape,
            ctx.attrs,
            |[ix, iw, iy]| {
                y.data[iy] += x.data[ix] * w.data[iw];
            },
        );
        Ok(y)
    }),
    lower: crate::lower::contraction::conv2d,
    onnx: Onnx::Rule(crate::onnx::rules::conv2d),
    sample: || conv_samples(|[x, w, _]| [x, w], |sample, _, _| sample),
};

fn conv_gradient(g: &mut GradCtx) -> Vec<Option<ValueId>> {
    let (x, w, dy) = (g.args[0], g.args[1], like_operands(g));
    let (x_shape, w_shape) = (g.b.shape(x), g.b.shape(w));
    let attrs = |extra: &[(&'static str, usize)]| {
        let own = ["stride", "padding", "groups"].map(|name| (name, g.attrs.size(name).into()));
        let extra = extra.iter().map(|(name, value)| (*name, (*value).into()));
        own.into_iter().chain(extra).collect()
    };
    let input = attrs(&[("height", x_shape[1]), ("width", x_shape[2])]);
    let filter = attrs(&[("kernel", w_shape[0])]);
    let dx = g.needs[0].then(|| {
        let dx = g.b.push(&CONV2D_INPUT_GRAD, &[dy, w], input);
        // Images of bf16 have gradients of bf16.
        match g.b.ty(x).dtype {
            DType::Bf16 => g.b.to_bf16(dx, true),
            _ => dx,
        }
    });
    let dw = g.needs[1].then(|| g.b.push(&CONV2D_FILTER_GRAD, &[x, dy], filter));
    vec![dx, dw]
}

pub static CONV2D_INPUT_GRAD: OpDef = OpDef {
    name: "conv2d_input_grad",
    doc: "The gradient of conv2d with respect to its images, from dy and the filters.",
    class: Class::Contraction,
    surface: Surface::Internal,
    args: Arity::Fixed(&["dy", "w"]),
    attrs: &[
        STRIDE,
        PADDING,
        GROUPS,
        attr("height", AttrKind::Int, "The height of the images."),
        attr("width", AttrKind::Int, "The width of the images."),
    ],
    shape: |args, attrs| {
        let (dy, w) = (args[0], args[1]);
        expect_images(dy, 0)?;
        if w.rank() != 4 {
            return Err(ShapeError::new(
                &[1],
                format!("filters are [k, k, in / groups, out], not {w}"),
            ));
        }
        let channels = w.shape[2].saturating_mul(attrs.size("groups"));
        let x = Type::f32(&[
            dy.shape[0],
            attrs.size("height"),
            attrs.size("width"),
            channels,
        ]);
        expect_result(&conv_shape(&x, w, attrs)?, dy, 0)?;
        Ok(x)
    },
    grad: Grad::Undefined,
    eval: Eval::General(|ctx| {
        let (dy, w) = (ctx.args[0], ctx.args[1]);
        let mut dx = Tensor::full(&ctx.ty.shape, 0.0);
        each_product(
            &ctx.ty.shape,
            &w.shape,
            &dy.shape,
            ctx.attrs,
            |[ix, iw, iy]| {
                dx.data[ix] += dy.data[iy] * w.data[iw];
            },
        );
        Ok(dx)
    }),
    lower: crate::lower::contraction::conv2d_input_grad,
    onnx: Onnx::Unsupported,
    sample: || {
        conv_samples(
            |[_, w, y]| [y, w],
            |sample, x, _| sample.attr("height", x[1]).attr("width", x[2]),
        )
    },
};

pub static CONV2D_FILTER_GRAD: OpDef = OpDef {
    name: "conv2d_filter_grad",
    doc: "The gradient of conv2d with respect to its filters, from the images and dy.",
    class: Class::Contraction,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x", "dy"]),
    attrs: &[
        STRIDE,
        PADDING,
        GROUPS,
        attr("kernel", AttrKind::Int, "The side of the filters."),
    ],
    shape: |args, attrs| {
        let (x, dy) = (args[0], args[1]);
        expect_images(x, 0)?;
        expect_images(dy, 1)?;
        let kernel = attrs.size("kernel");
        let channels = x.shape[3].checked_div(attrs.size("groups")).unwrap_or(0);
        let w = Type::f32(&[kernel, kernel, channels, dy.shape[3]]);
        expect_result(&conv_shape(x, &w, attrs)?, dy, 1)?;
        Ok(w)
    },
    grad: Grad::Undefined,
    eval: Eval::General(|ctx| {
        let (x, dy) = (ctx.args[0], ctx.args[1]);
        let mut dw = Tensor::full(&ctx.ty.shape, 0.0);
        each_product(
            &x.shape,
            &ctx.ty.shape,
            &dy.shape,
            ctx.attrs,
            |[ix, iw, iy]| {
                dw.data[iw] += x.data[ix] * dy.data[iy];
            },
        );
        Ok(dw)
    }),
    lower: crate::lower::contraction::conv2d_filter_grad,
    onnx: Onnx::Unsupported,
    sample: || {
        conv_samples(
            |[x, _, y]| [x, y],
            |sample, _, w| sample.attr("kernel", w[0]),
        )
    },
};

/// A gradient's argument must have the type that the forward op gives.
pub(super) fn expect_result(forward: &Type, dy: &Type, arg: usize) -> Result<(), ShapeError> {
    if forward == dy {
        return Ok(());
    }
    Err(ShapeError::new(
        &[arg],
        format!("the gradient of {forward} has that shape, not {dy}"),
    ))
}
