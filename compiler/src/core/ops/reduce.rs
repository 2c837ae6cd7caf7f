//! Reductions over axes, which disappear from the result.

use super::sample::{Sample, f32s};
use super::unary::expect_f32;
use super::{
    Arity, AttrDef, AttrKind, Class, Eval, Grad, GradCtx, OpDef, ShapeError, Surface, attr,
};
use crate::core::graph::{Attrs, DType, Type, ValueId};
use crate::core::interp::{EvalCtx, Tensor, advance};
use crate::onnx::Onnx;

const AXES: AttrDef = attr("axes", AttrKind::Ints, "The axes reduced, ascending.");

/// The shape without `axes`, which ascend and lie within the rank.
fn without(ty: &Type, axes: &[usize]) -> Result<Vec<usize>, ShapeError> {
    let ascending = axes.windows(2).all(|w| w[0] < w[1]);
    if !ascending || axes.iter().any(|a| *a >= ty.rank()) {
        return Err(ShapeError::new(
            &[0],
            format!("the axes {axes:?} are not ascending axes of {ty}"),
        ));
    }
    let kept = (0..ty.rank()).filter(|a| !axes.contains(a));
    Ok(kept.map(|a| ty.shape[a]).collect())
}

fn reduced(args: &[&Type], attrs: &Attrs) -> Result<Type, ShapeError> {
    expect_f32(args[0], 0)?;
    Ok(Type::f32(&without(args[0], &attrs.sizes("axes"))?))
}

/// Folds the elements of `x` into those of the result.
fn fold(ctx: &EvalCtx, start: f64, f: impl Fn(f64, f64, usize) -> f64) -> Tensor {
    let (x, axes) = (ctx.args[0], ctx.attrs.sizes("axes"));
    let mut out = Tensor::full(&ctx.ty.shape, start);
    let mut index = vec![0; x.shape.len()];
    for v in &x.data {
        let kept: Vec<usize> = (0..index.len())
            .filter(|a| !axes.contains(a))
            .map(|a| index[a])
            .collect();
        let at = out.offset(&kept);
        out.data[at] = f(out.data[at], *v, at);
        advance(&mut index, &x.shape);
    }
    out
}

fn samples() -> Vec<Sample> {
    vec![
        Sample::new(vec![f32s(&[3, 4])]).attr("axes", &[0usize][..]),
        Sample::new(vec![f32s(&[3, 4])]).attr("axes", &[1usize][..]),
        Sample::new(vec![f32s(&[2, 3, 2, 3])]).attr("axes", &[0usize, 1, 2][..]),
        Sample::new(vec![f32s(&[2, 3, 4])]).attr("axes", &[0usize, 2][..]),
        Sample::new(vec![f32s(&[2, 5])]).attr("axes", &[0usize, 1][..]),
        Sample::new(vec![f32s(&[1, 3])]).attr("axes", &[0usize][..]),
    ]
}

pub static SUM: OpDef = OpDef {
    name: "sum",
    doc: "The sum over axes.",
    class: Class::Reduction,
    surface: Surface::Reduction,
    args: Arity::Fixed(&["x"]),
    attrs: &[AXES],
    shape: reduced,
    grad: Grad::Rule(|g| {
        let shape = g.b.shape(g.args[0]);
        vec![Some(g.b.unreduce(g.dy, &shape, &g.attrs.sizes("axes")))]
    }),
    eval: Eval::General(|ctx| Ok(fold(ctx, 0.0, |s, x, _| s + x))),
    lower: crate::lower::moves::sum,
    onnx: Onnx::Rule(crate::onnx::rules::sum),
    sample: samples,
};

pub static MAX: OpDef = OpDef {
    name: "max",
    doc: "The maximum over axes; equal maxima share the gradient.",
    class: Class::Reduction,
    surface: Surface::Reduction,
    args: Arity::Fixed(&["x"]),
    attrs: &[AXES],
    shape: reduced,
    grad: Grad::Rule(extreme_gradient),
    eval: Eval::General(|ctx| {
        Ok(fold(
            ctx,
            f64::NEG_INFINITY,
            |m, x, _| if x > m { x } else { m },
        ))
    }),
    lower: crate::lower::moves::max,
    onnx: Onnx::Rule(crate::onnx::rules::max),
    sample: samples,
};

pub static MIN: OpDef = OpDef {
    name: "min",
    doc: "The minimum over axes; equal minima share the gradient.",
    class: Class::Reduction,
    surface: Surface::Reduction,
    args: Arity::Fixed(&["x"]),
    attrs: &[AXES],
    shape: reduced,
    grad: Grad::Rule(extreme_gradient),
    eval: Eval::General(|ctx| {
        Ok(fold(
            ctx,
            f64::INFINITY,
            |m, x, _| if x < m { x } else { m },
        ))
    }),
    lower: crate::lower::moves::min,
    onnx: Onnx::Rule(crate::onnx::rules::min),
    sample: samples,
};

/// dy / (number of extremes) at each extreme, else 0.
fn extreme_gradient(g: &mut GradCtx) -> Vec<Option<ValueId>> {
    let x = g.args[0];
    let (shape, axes) = (g.b.shape(x), g.attrs.sizes("axes"));
    let y = g.b.unreduce(g.y, &shape, &axes);
    let mask = g.b.eq(x, y);
    let ones = g.b.cast(mask, DType::F32);
    let count = g.b.sum(ones, &axes);
    let share = g.b.div(g.dy, count);
    let share = g.b.unreduce(share, &shape, &axes);
    let zero = g.b.scalar(0.0);
    vec![Some(g.b.select(mask, share, zero))]
}

pub static ARGMAX: OpDef = OpDef {
    name: "argmax",
    doc: "The position of the first maximum along an axis, i32.",
    class: Class::Reduction,
    surface: Surface::Function,
    args: Arity::Fixed(&["x"]),
    attrs: &[attr("axis", AttrKind::Int, "The axis searched.")],
    shape: |args, attrs| {
        expect_f32(args[0], 0)?;
        let axis = attrs.size("axis");
        if axis >= args[0].rank() {
            return Err(ShapeError::new(
                &[0],
                format!("there is no axis {} in {}", attrs.int("axis"), args[0]),
            ));
        }
        let shape = without(args[0], &[axis])?;
        Ok(Type::new(DType::I32, &shape))
    },
    grad: Grad::Zero,
    eval: Eval::General(|ctx| {
        let (x, axis) = (ctx.args[0], ctx.attrs.size("axis"));
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| {
            let mut at = index.to_vec();
            at.insert(axis, 0);
            let mut best = 0;
            let mut most = x.at(&at);
            for i in 1..x.shape[axis] {
                at[axis] = i;
                if x.at(&at) > most {
                    (best, most) = (i, x.at(&at));
                }
            }
            best as f64
        }))
    }),
    lower: crate::lower::moves::argmax,
    onnx: Onnx::Rule(crate::onnx::rules::argmax),
    sample: || {
        vec![
            Sample::new(vec![f32s(&[4, 6])]).attr("axis", 1usize),
            Sample::new(vec![f32s(&[4, 3, 2])]).attr("axis", 0usize),
            Sample::new(vec![f32s(&[5])]).attr("axis", 0usize),
        ]
    },
};

pub static VARIANCE: OpDef = OpDef {
    name: "variance",
    doc: "The mean of (x − mean)² over axes, where `mean` is that of x over the same axes. \
          The gradient goes to x alone: the path through the mean vanishes, since x − mean sums to 0.",
    class: Class::Reduction,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x", "mean"]),
    attrs: &[AXES],
    shape: |args, attrs| {
        let ty = reduced(args, attrs)?;
        if *args[1] != ty {
            return Err(ShapeError::new(
                &[0, 1],
                format!(
                    "the mean of {} over these axes is {ty}, not {}",
                    args[0], args[1]
                ),
            ));
        }
        Ok(ty)
    },
    // 2/n · (x − mean) · dy
    grad: Grad::Rule(|g| {
        let (x, mean) = (g.args[0], g.args[1]);
        let (shape, axes) = (g.b.shape(x), g.attrs.sizes("axes"));
        let n: usize = axes.iter().map(|a| shape[*a]).product();
        let mean = g.b.unreduce(mean, &shape, &axes);
        let centred = g.b.sub(x, mean);
        let dy = g.b.scale(g.dy, 2.0 / n as f64);
        let dy = g.b.unreduce(dy, &shape, &axes);
        vec![Some(g.b.mul(centred, dy)), None]
    }),
    eval: Eval::General(|ctx| {
        let n = (ctx.args[0].data.len() / ctx.ty.len()) as f64;
        let mean = ctx.args[1];
        Ok(fold(ctx, 0.0, |s, x, at| {
            s + (x - mean.data[at]).powi(2) / n
        }))
    }),
    lower: crate::lower::moves::variance,
    onnx: Onnx::Rule(crate::onnx::rules::variance),
    sample: || {
        let sample = |shape: &[usize], mean: &[usize], axes: &[usize]| {
            let mut mean = f32s(mean);
            mean.differentiated = false;
            Sample::new(vec![f32s(shape), mean]).attr("axes", axes)
        };
        vec![
            sample(&[5, 3], &[3], &[0]),
            sample(&[2, 3, 2, 3], &[3], &[0, 1, 2]),
            sample(&[2, 4], &[2], &[1]),
        ]
    },
};
