//! Sources: values from outside, and values that depend on attributes only.

use super::sample::{SampleArg, i32_below};
use super::{
    Arity, AttrDef, AttrKind, Class, Eval, Grad, OpDef, Sample, ShapeError, Surface, attr,
};
use crate::core::graph::{Attrs, DType, Type};
use crate::core::interp::{EvalCtx, Tensor};
use crate::core::rng;
use crate::onnx::Onnx;

const SHAPE: AttrDef = attr("shape", AttrKind::Ints, "The shape.");

fn typed(dtype: DType, attrs: &Attrs) -> Result<Type, ShapeError> {
    Ok(Type::new(dtype, &attrs.sizes("shape")))
}

/// The value the caller gave for `key`.
fn input(ctx: &EvalCtx, key: &str) -> Result<Tensor, String> {
    match ctx.inputs.get(key) {
        Some(t) if t.shape == ctx.ty.shape => Ok(t.clone()),
        Some(t) => Err(format!(
            "`{key}` has shape {:?}, where {} is needed",
            t.shape, ctx.ty
        )),
        None => Err(format!("no value for `{key}`")),
    }
}

pub static VIEW: OpDef = OpDef {
    name: "view",
    doc: "A batch of augmented images, [B, H, W, C].",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[
        attr("name", AttrKind::Str, "The view's name in the spec."),
        SHAPE,
    ],
    shape: |_, attrs| typed(DType::F32, attrs),
    grad: Grad::Zero,
    eval: Eval::General(|ctx| input(ctx, &format!("view/{}", ctx.attrs.str("name")))),
    lower: crate::lower::moves::view,
    onnx: Onnx::Input,
    sample: Vec::new,
};

pub static LABELS: OpDef = OpDef {
    name: "labels",
    doc: "The batch's class indices, i32[B].",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[SHAPE],
    shape: |_, attrs| typed(DType::I32, attrs),
    grad: Grad::Zero,
    eval: Eval::General(|ctx| input(ctx, "labels")),
    lower: crate::lower::moves::labels,
    onnx: Onnx::Unsupported,
    sample: Vec::new,
};

pub static PARAM: OpDef = OpDef {
    name: "param",
    doc: "A parameter's value at the start of the step.",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[
        attr(
            "path",
            AttrKind::Str,
            "The parameter's path: `f.conv1.weight`.",
        ),
        SHAPE,
    ],
    shape: |_, attrs| typed(DType::F32, attrs),
    grad: Grad::Zero,
    eval: Eval::General(|ctx| input(ctx, &format!("param/{}", ctx.attrs.str("path")))),
    lower: crate::lower::moves::param,
    onnx: Onnx::Rule(crate::onnx::rules::param),
    sample: Vec::new,
};

pub static BUFFER: OpDef = OpDef {
    name: "buffer",
    doc: "A buffer's value at the start of the step: a running statistic.",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[
        attr(
            "path",
            AttrKind::Str,
            "The buffer's path: `f.bn1.running_mean`.",
        ),
        SHAPE,
    ],
    shape: |_, attrs| typed(DType::F32, attrs),
    grad: Grad::Zero,
    eval: Eval::General(|ctx| input(ctx, &format!("buffer/{}", ctx.attrs.str("path")))),
    lower: crate::lower::moves::buffer,
    onnx: Onnx::Rule(crate::onnx::rules::buffer),
    sample: Vec::new,
};

pub static STATE: OpDef = OpDef {
    name: "state",
    doc: "A tensor kept from step to step, at the start of the step: optimizer moments, accumulated gradients.",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[
        attr(
            "path",
            AttrKind::Str,
            "The state's path: `momentum/f.conv1.weight`.",
        ),
        SHAPE,
    ],
    shape: |_, attrs| typed(DType::F32, attrs),
    grad: Grad::Zero,
    eval: Eval::General(|ctx| input(ctx, &format!("state/{}", ctx.attrs.str("path")))),
    lower: crate::lower::moves::state,
    onnx: Onnx::Unsupported,
    sample: Vec::new,
};

pub static SCHEDULE: OpDef = OpDef {
    name: "schedule",
    doc: "A number that the host computes for each step, f32[]: a learning rate, a decay.",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[attr("name", AttrKind::Str, "The schedule's name.")],
    shape: |_, _| Ok(Type::f32(&[])),
    grad: Grad::Zero,
    eval: Eval::General(|ctx| input(ctx, &format!("schedule/{}", ctx.attrs.str("name")))),
    lower: crate::lower::moves::schedule,
    onnx: Onnx::Unsupported,
    sample: Vec::new,
};

pub static STEP: OpDef = OpDef {
    name: "step",
    doc: "The number of optimizer steps done before this one, i32[].",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[],
    shape: |_, _| Ok(Type::new(DType::I32, &[])),
    grad: Grad::Zero,
    eval: Eval::General(|ctx| input(ctx, "step")),
    lower: crate::lower::moves::step,
    onnx: Onnx::Unsupported,
    sample: Vec::new,
};

/// The element type that an attribute names; the shape rule of the op has checked that there is one.
pub(super) fn dtype_of(attrs: &Attrs) -> Result<DType, ShapeError> {
    let name = attrs.str("dtype");
    let found = DType::from_name(name).filter(|d| *d != DType::Bf16);
    found.ok_or_else(|| {
        ShapeError::new(
            &[],
            format!("there is no element type `{name}`; there are f32, i32 and bool"),
        )
    })
}

pub static CONSTANT: OpDef = OpDef {
    name: "constant",
    doc: "One value everywhere.",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&[]),
    attrs: &[
        attr(
            "value",
            AttrKind::Float,
            "The value: a whole number for i32, 0 or 1 for bool.",
        ),
        SHAPE,
        attr(
            "dtype",
            AttrKind::Str,
            "The element type: f32, i32 or bool.",
        ),
    ],
    shape: |_, attrs| {
        let dtype = dtype_of(attrs)?;
        let value = attrs.float("value");
        let fits = match dtype {
            DType::F32 | DType::Bf16 => true,
            DType::I32 => value.fract() == 0.0 && value.abs() <= 16_777_216.0,
            DType::Bool => value == 0.0 || value == 1.0,
        };
        if !fits {
            return Err(ShapeError::new(
                &[],
                format!("{value} is not a value of type {}", dtype.name()),
            ));
        }
        typed(dtype, attrs)
    },
    grad: Grad::Zero,
    eval: Eval::General(|ctx| Ok(Tensor::full(&ctx.ty.shape, ctx.attrs.float("value")))),
    lower: crate::lower::moves::constant,
    onnx: Onnx::Rule(crate::onnx::rules::constant),
    sample: || {
        vec![
            Sample::new(vec![])
                .attr("value", -2.5)
                .attr("shape", &[2usize, 3][..])
                .attr("dtype", "f32"),
            Sample::new(vec![])
                .attr("value", 7.0)
                .attr("shape", &[4usize][..])
                .attr("dtype", "i32"),
            Sample::new(vec![])
                .attr("value", 1.0)
                .attr("shape", &[][..] as &[usize])
                .attr("dtype", "bool"),
        ]
    },
};

pub static IOTA: OpDef = OpDef {
    name: "iota",
    doc: "The index along one axis, i32.",
    class: Class::Source,
    surface: Surface::Function,
    args: Arity::Fixed(&[]),
    attrs: &[
        SHAPE,
        attr("axis", AttrKind::Int, "The axis counted along."),
    ],
    shape: |_, attrs| {
        let ty = typed(DType::I32, attrs)?;
        if attrs.size("axis") >= ty.rank() {
            return Err(ShapeError::new(
                &[],
                format!("there is no axis {} in {ty}", attrs.int("axis")),
            ));
        }
        Ok(ty)
    },
    grad: Grad::Zero,
    eval: Eval::General(|ctx| {
        let axis = ctx.attrs.size("axis");
        Ok(Tensor::from_fn(&ctx.ty.shape, |index| index[axis] as f64))
    }),
    lower: crate::lower::moves::iota,
    onnx: Onnx::Rule(crate::onnx::rules::iota),
    sample: || {
        vec![
            Sample::new(vec![])
                .attr("shape", &[5usize][..])
                .attr("axis", 0usize),
            Sample::new(vec![])
                .attr("shape", &[2usize, 3, 2][..])
                .attr("axis", 1usize),
        ]
    },
};

pub static UNIFORM: OpDef = OpDef {
    name: "uniform",
    doc: "Random draws in [0, 1), keyed by (seed, stream, step, element).",
    class: Class::Source,
    surface: Surface::Internal,
    args: Arity::Fixed(&["step"]),
    attrs: &[
        attr("seed", AttrKind::Int, "The seed of the training."),
        attr(
            "stream",
            AttrKind::Int,
            "Tells the draws of one step apart.",
        ),
        SHAPE,
    ],
    shape: |args, attrs| {
        if *args[0] != Type::new(DType::I32, &[]) {
            return Err(ShapeError::new(
                &[0],
                format!("`uniform` takes the step, i32[], not {}", args[0]),
            ));
        }
        typed(DType::F32, attrs)
    },
    grad: Grad::Zero,
    eval: Eval::General(|ctx| {
        let (seed, stream) = (ctx.attrs.int("seed") as u64, ctx.attrs.int("stream") as u64);
        let step = ctx.args[0].data[0] as u64;
        let data = (0..ctx.ty.len() as u64)
            .map(|e| f64::from(rng::uniform(seed, stream, step, e)))
            .collect();
        Ok(Tensor {
            shape: ctx.ty.shape.clone(),
            data,
        })
    }),
    lower: crate::lower::moves::uniform,
    onnx: Onnx::Unsupported,
    sample: || {
        let step: SampleArg = i32_below(&[], 1000);
        vec![
            Sample::new(vec![step])
                .attr("seed", 3usize)
                .attr("stream", 5usize)
                .attr("shape", &[4usize, 6][..]),
        ]
    },
};
