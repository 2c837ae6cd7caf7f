//! Ops that move elements without changing them; any element type.

use super::sample::{Sample, f32s};
use super::{
    Arity, AttrDef, AttrKind, Class, Eval, Grad, GradCtx, OpDef, ShapeError, Surface, attr,
};
use crate::core::graph::{Attrs, Type, ValueId};
use crate::core::interp::Tensor;
use crate::onnx::Onnx;

const SHAPE: AttrDef = attr("shape", AttrKind::Ints, "The shape of the result.");

pub static RESHAPE: OpDef = OpDef {
    name: "reshape",
    doc: "The same elements in row-major order under another shape.",
    class: Class::Shape,
    surface: Surface::Function,
    args: Arity::Fixed(&["x"]),
    attrs: &[SHAPE],
    shape: |args, attrs| {
        let ty = Type::new(args[0].dtype, &attrs.sizes("shape"));
        let elements = ty.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if elements != Some(args[0].len()) {
            return Err(ShapeError::new(
                &[0],
                format!(
                    "{} has {} elements, which do not make up {:?}",
                    args[0],
                    args[0].len(),
                    attrs.ints("shape")
                ),
            ));
        }
        Ok(ty)
    },
    grad: Grad::Rule(|g| {
        let shape = g.b.shape(g.args[0]);
        vec![Some(g.b.reshape(g.dy, &shape))]
    }),
    eval: Eval::General(|ctx| {
        Ok(Tensor {
            shape: ctx.ty.shape.clone(),
            data: ctx.args[0].data.clone(),
        })
    }),
    lower: crate::lower::moves::reshape,
    onnx: Onnx::Rule(crate::onnx::rules::reshape),
    sample: || {
        vec![
            Sample::new(vec![f32s(&[2, 6])]).attr("shape", &[3usize, 4][..]),
            Sample::new(vec![f32s(&[1, 1])]).attr("shape", &[][..] as &[usize]),
            Sample::new(vec![f32s(&[2, 2, 3])]).attr("shape", &[2usize, 1, 6][..]),
        ]
    },
};

pub static TRANSPOSE: OpDef = OpDef {
    name: "transpose",
    doc: "Axes in another order: axis i of the result is axis perm[i] of x.",
    class: Class::Shape,
    surface: Surface::Function,
    args: Arity::Fixed(&["x"]),
    attrs: &[attr("perm", AttrKind::Ints, "A permutation of the axes.")],
    shape: |args, attrs| {
        let perm = attrs.sizes("perm");
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if sorted
            .iter()
            .ne((0..args[0].rank()).collect::<Vec<_>>().iter())
        {
            return Err(ShapeError::new(
                &[0],
                format!(
                    "{:?} does not name each axis of {} once",
                    attrs.ints("perm"),
                    args[0]
                ),
            ));
        }
        let shape: Vec<usize> = perm.iter().map(|p| args[0].shape[*p]).collect();
        Ok(Type::new(args[0].dtype, &shape))
    },
    grad: Grad::Rule(|g| {
        let inverse = inverse(&g.attrs.sizes("perm"));
        vec![Some(g.b.transpose(g.dy, &inverse))]
    }),
    eval: Eval::General(|ctx| {
        let (x, perm) = (ctx.args[0], ctx.attrs.sizes("perm"));
        let mut at = vec![0; perm.len()];
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            for (i, p) in perm.iter().enumerate() {
                at[*p] = index[i];
            }
            x.at(&at)
        }))
    }),
    lower: crate::lower::moves::transpose,
    onnx: Onnx::Rule(crate::onnx::rules::transpose),
    sample: || {
        vec![
            Sample::new(vec![f32s(&[2, 3])]).attr("perm", &[1usize, 0][..]),
            Sample::new(vec![f32s(&[2, 3, 4])]).attr("perm", &[2usize, 0, 1][..]),
            Sample::new(vec![f32s(&[2, 3, 1, 2])]).attr("perm", &[0usize, 3, 1, 2][..]),
        ]
    },
};

/// The permutation that undoes `perm`.
pub fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    for (i, p) in perm.iter().enumerate() {
        inverse[*p] = i;
    }
    inverse
}

pub static BROADCAST: OpDef = OpDef {
    name: "broadcast",
    doc: "Repeats x along new axes: axis i of x becomes axis dims[i] of the result.",
    class: Class::Shape,
    surface: Surface::Function,
    args: Arity::Fixed(&["x"]),
    attrs: &[
        SHAPE,
        attr(
            "dims",
            AttrKind::Ints,
            "For each axis of x its axis in the result, ascending.",
        ),
    ],
    shape: |args, attrs| {
        let (shape, dims) = (attrs.sizes("shape"), attrs.sizes("dims"));
        let fits = dims.len() == args[0].rank()
            && dims.windows(2).all(|w| w[0] < w[1])
            && dims
                .iter()
                .zip(&args[0].shape)
                .all(|(d, n)| shape.get(*d) == Some(n));
        if !fits {
            return Err(ShapeError::new(
                &[0],
                format!(
                    "{} does not broadcast to {:?} with its axes at {:?}",
                    args[0],
                    attrs.ints("shape"),
                    attrs.ints("dims")
                ),
            ));
        }
        Ok(Type::new(args[0].dtype, &shape))
    },
    grad: Grad::Rule(|g| {
        let dims = g.attrs.sizes("dims");
        let axes: Vec<usize> = (0..g.b.ty(g.y).rank())
            .filter(|a| !dims.contains(a))
            .collect();
        vec![Some(g.b.sum(g.dy, &axes))]
    }),
    eval: Eval::General(|ctx| {
        let (x, dims) = (ctx.args[0], ctx.attrs.sizes("dims"));
        let mut at = vec![0; dims.len()];
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            for (i, d) in dims.iter().enumerate() {
                at[i] = index[*d];
            }
            x.at(&at)
        }))
    }),
    lower: crate::lower::moves::broadcast,
    onnx: Onnx::Rule(crate::onnx::rules::broadcast),
    sample: || {
        let sample = |x: &[usize], shape: &[usize], dims: &[usize]| {
            Sample::new(vec![f32s(x)])
                .attr("shape", shape)
                .attr("dims", dims)
        };
        vec![
            sample(&[], &[2, 3], &[]),
            sample(&[3], &[2, 3], &[1]),
            sample(&[2], &[2, 3], &[0]),
            sample(&[2, 4], &[2, 3, 4, 2], &[0, 2]),
        ]
    },
};

pub static CONCAT: OpDef = OpDef {
    name: "concat",
    doc: "Tensors one after the other along an axis.",
    class: Class::Shape,
    surface: Surface::Function,
    args: Arity::Variadic("tensors"),
    attrs: &[attr(
        "axis",
        AttrKind::Int,
        "The axis they follow one another along.",
    )],
    shape: |args, attrs| {
        let axis = attrs.size("axis");
        let mut ty = args[0].clone();
        if axis >= ty.rank() {
            return Err(ShapeError::new(
                &[0],
                format!("there is no axis {} in {ty}", attrs.int("axis")),
            ));
        }
        for (i, other) in args.iter().enumerate().skip(1) {
            let mut aligned = other.shape.clone();
            if let Some(n) = aligned.get_mut(axis) {
                *n = args[0].shape[axis];
            }
            if aligned != args[0].shape || other.dtype != ty.dtype {
                return Err(ShapeError::new(
                    &[0, i],
                    format!("{} and {other} differ in more than axis {axis}", args[0]),
                ));
            }
            ty.shape[axis] += other.shape[axis];
        }
        Ok(ty)
    },
    grad: Grad::Rule(concat_gradient),
    eval: Eval::General(|ctx| {
        let axis = ctx.attrs.size("axis");
        let mut at = vec![0; ctx.ty.rank()];
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            at.copy_from_slice(index);
            let mut part = 0;
            while at[axis] >= ctx.args[part].shape[axis] {
                at[axis] -= ctx.args[part].shape[axis];
                part += 1;
            }
            ctx.args[part].at(&at)
        }))
    }),
    lower: crate::lower::moves::concat,
    onnx: Onnx::Rule(crate::onnx::rules::concat),
    sample: || {
        vec![
            Sample::new(vec![f32s(&[2, 3]), f32s(&[1, 3])]).attr("axis", 0usize),
            Sample::new(vec![f32s(&[2, 1]), f32s(&[2, 3]), f32s(&[2, 2])]).attr("axis", 1usize),
            Sample::new(vec![f32s(&[4])]).attr("axis", 0usize),
        ]
    },
};

/// Each part of dy back to its argument.
fn concat_gradient(g: &mut GradCtx) -> Vec<Option<ValueId>> {
    let axis = g.attrs.size("axis");
    let mut start = vec![0; g.b.ty(g.y).rank()];
    let mut end = g.b.shape(g.y);
    let mut grads = Vec::with_capacity(g.args.len());
    for (i, arg) in g.args.iter().enumerate() {
        end[axis] = start[axis] + g.b.ty(*arg).shape[axis];
        grads.push(g.needs[i].then(|| g.b.slice(g.dy, &start, &end)));
        start[axis] = end[axis];
    }
    grads
}

pub static SLICE: OpDef = OpDef {
    name: "slice",
    doc: "start..end of each axis.",
    class: Class::Shape,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[
        attr("start", AttrKind::Ints, "The first index of each axis."),
        attr(
            "end",
            AttrKind::Ints,
            "One after the last index of each axis.",
        ),
    ],
    shape: |args, attrs| {
        let (start, end) = (attrs.sizes("start"), attrs.sizes("end"));
        let fits = start.len() == args[0].rank()
            && end.len() == args[0].rank()
            && (0..start.len()).all(|i| start[i] < end[i] && end[i] <= args[0].shape[i]);
        if !fits {
            return Err(ShapeError::new(
                &[0],
                format!(
                    "{:?} to {:?} does not lie within {}",
                    attrs.ints("start"),
                    attrs.ints("end"),
                    args[0]
                ),
            ));
        }
        let shape: Vec<usize> = start.iter().zip(&end).map(|(s, e)| e - s).collect();
        Ok(Type::new(args[0].dtype, &shape))
    },
    grad: Grad::Rule(|g| {
        let low = g.attrs.sizes("start");
        let end = g.attrs.sizes("end");
        let shape = g.b.shape(g.args[0]);
        let high: Vec<usize> = shape.iter().zip(&end).map(|(n, e)| n - e).collect();
        vec![Some(g.b.pad(g.dy, &low, &high))]
    }),
    eval: Eval::General(|ctx| {
        let (x, start) = (ctx.args[0], ctx.attrs.sizes("start"));
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            let at: Vec<usize> = index.iter().zip(&start).map(|(i, s)| i + s).collect();
            x.at(&at)
        }))
    }),
    lower: crate::lower::moves::slice,
    onnx: Onnx::Rule(crate::onnx::rules::slice),
    sample: || {
        let sample = |x: &[usize], start: &[usize], end: &[usize]| {
            Sample::new(vec![f32s(x)])
                .attr("start", start)
                .attr("end", end)
        };
        vec![
            sample(&[5], &[1], &[4]),
            sample(&[4, 6], &[0, 2], &[3, 6]),
            sample(&[2, 3, 4], &[1, 0, 1], &[2, 3, 3]),
        ]
    },
};

pub static PAD: OpDef = OpDef {
    name: "pad",
    doc: "Zeros before and after each axis.",
    class: Class::Shape,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[
        attr(
            "low",
            AttrKind::Ints,
            "The number of zeros before each axis.",
        ),
        attr(
            "high",
            AttrKind::Ints,
            "The number of zeros after each axis.",
        ),
    ],
    shape: pad_shape,
    grad: Grad::Rule(|g| {
        let low = g.attrs.sizes("low");
        let shape = g.b.shape(g.args[0]);
        let end: Vec<usize> = low.iter().zip(&shape).map(|(l, n)| l + n).collect();
        vec![Some(g.b.slice(g.dy, &low, &end))]
    }),
    eval: Eval::General(|ctx| {
        let (x, low) = (ctx.args[0], ctx.attrs.sizes("low"));
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            let inside =
                (0..low.len()).all(|i| index[i] >= low[i] && index[i] - low[i] < x.shape[i]);
            if !inside {
                return 0.0;
            }
            let at: Vec<usize> = index.iter().zip(&low).map(|(i, l)| i - l).collect();
            x.at(&at)
        }))
    }),
    lower: crate::lower::moves::pad,
    onnx: Onnx::Rule(crate::onnx::rules::pad),
    sample: || {
        let sample = |x: &[usize], low: &[usize], high: &[usize]| {
            Sample::new(vec![f32s(x)])
                .attr("low", low)
                .attr("high", high)
        };
        vec![
            sample(&[3], &[1], &[2]),
            sample(&[2, 3], &[0, 2], &[1, 0]),
            sample(&[2, 2, 2], &[1, 1, 0], &[0, 1, 2]),
        ]
    },
};

fn pad_shape(args: &[&Type], attrs: &Attrs) -> Result<Type, ShapeError> {
    let (low, high) = (attrs.sizes("low"), attrs.sizes("high"));
    let refused = || {
        ShapeError::new(
            &[0],
            format!(
                "{} cannot be padded by {:?} before and {:?} after its axes",
                args[0],
                attrs.ints("low"),
                attrs.ints("high")
            ),
        )
    };
    if low.len() != args[0].rank() || high.len() != args[0].rank() {
        return Err(refused());
    }
    let mut shape = args[0].shape.clone();
    for ((n, l), h) in shape.iter_mut().zip(&low).zip(&high) {
        *n = n
            .checked_add(*l)
            .and_then(|n| n.checked_add(*h))
            .ok_or_else(refused)?;
    }
    Ok(Type::new(args[0].dtype, &shape))
}
