//! Functions of one operand, element by element; f32 unless a row says otherwise.

use super::sample::{bools, f32_in, f32s, i32_below};
use super::source::dtype_of;
use super::{
    Arity, AttrKind, Class, Eval, Grad, GradCtx, OpDef, Sample, ShapeError, Surface, attr,
};
use crate::core::bf16;
use crate::core::graph::{Attrs, DType, Type, ValueId};
use crate::core::special::erf;
use crate::onnx::Onnx;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

/// One f32 operand.
fn unary_f32(args: &[&Type], _: &Attrs) -> Result<Type, ShapeError> {
    expect_f32(args[0], 0)?;
    Ok(args[0].clone())
}

pub(super) fn expect_f32(ty: &Type, arg: usize) -> Result<(), ShapeError> {
    if ty.dtype == DType::F32 {
        return Ok(());
    }
    Err(ShapeError::new(
        &[arg],
        format!("a tensor of numbers (f32) is needed here, not {ty}"),
    ))
}

fn in_range(lo: f64, hi: f64) -> Vec<Sample> {
    vec![
        Sample::new(vec![f32_in(&[2, 5], lo, hi)]),
        Sample::new(vec![f32_in(&[], lo, hi)]),
    ]
}

/// The gradients of a rule with one argument.
fn one(dx: ValueId) -> Vec<Option<ValueId>> {
    vec![Some(dx)]
}

pub static NEG: OpDef = OpDef {
    name: "neg",
    doc: "−x, of f32 or i32.",
    class: Class::Elementwise,
    surface: Surface::Operator("-"),
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: |args, _| {
        if args[0].dtype == DType::Bool {
            return Err(ShapeError::new(
                &[0],
                format!("a mask has no sign: {}", args[0]),
            ));
        }
        Ok(args[0].clone())
    },
    grad: Grad::Rule(|g| one(g.b.neg(g.dy))),
    eval: Eval::Unary(|x| -x),
    lower: crate::lower::elementwise::neg,
    onnx: Onnx::Same("Neg"),
    sample: || in_range(-2.0, 2.0),
};

pub static EXP: OpDef = OpDef {
    name: "exp",
    doc: "e to the power x.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| one(g.b.mul(g.dy, g.y))),
    eval: Eval::Unary(f64::exp),
    lower: crate::lower::elementwise::exp,
    onnx: Onnx::Same("Exp"),
    sample: || in_range(-2.0, 2.0),
};

pub static LOG: OpDef = OpDef {
    name: "log",
    doc: "The natural logarithm.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| one(g.b.div(g.dy, g.args[0]))),
    eval: Eval::Unary(f64::ln),
    lower: crate::lower::elementwise::log,
    onnx: Onnx::Same("Log"),
    sample: || in_range(0.2, 3.0),
};

pub static SQRT: OpDef = OpDef {
    name: "sqrt",
    doc: "The square root; its gradient at 0 is infinite.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| {
        let half = g.b.scale(g.dy, 0.5);
        one(g.b.div(half, g.y))
    }),
    eval: Eval::Unary(f64::sqrt),
    lower: crate::lower::elementwise::sqrt,
    onnx: Onnx::Same("Sqrt"),
    sample: || in_range(0.2, 3.0),
};

pub static SQRT_SAFE: OpDef = OpDef {
    name: "sqrt_safe",
    doc: "The square root with gradient 0 at 0, as `norm` and `std` have it.",
    class: Class::Elementwise,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| {
        let half = g.b.scale(g.dy, 0.5);
        let slope = g.b.div(half, g.y);
        one(where_positive(g, g.y, slope))
    }),
    eval: Eval::Unary(f64::sqrt),
    lower: crate::lower::elementwise::sqrt,
    onnx: Onnx::Same("Sqrt"),
    sample: || in_range(0.2, 3.0),
};

/// `value` where `x > 0`, else 0.
fn where_positive(g: &mut GradCtx, x: ValueId, value: ValueId) -> ValueId {
    let zero = g.b.scalar(0.0);
    let positive = g.b.gt(x, zero);
    g.b.select(positive, value, zero)
}

pub static ABS: OpDef = OpDef {
    name: "abs",
    doc: "The absolute value; its gradient at 0 is 0.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| {
        let zero = g.b.scalar(0.0);
        let negative = g.b.lt(g.args[0], zero);
        let minus = g.b.neg(g.dy);
        let below = g.b.select(negative, minus, zero);
        let positive = g.b.gt(g.args[0], zero);
        one(g.b.select(positive, g.dy, below))
    }),
    eval: Eval::Unary(f64::abs),
    lower: crate::lower::elementwise::abs,
    onnx: Onnx::Same("Abs"),
    sample: || in_range(-2.0, 2.0),
};

pub static RELU: OpDef = OpDef {
    name: "relu",
    doc: "max(x, 0); its gradient at 0 is 0.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    // By the output, so that the input need not be kept.
    grad: Grad::Rule(|g| one(where_positive(g, g.y, g.dy))),
    // NaN stays NaN, unlike `f64::max`.
    eval: Eval::Unary(|x| if x < 0.0 { 0.0 } else { x }),
    lower: crate::lower::elementwise::relu,
    onnx: Onnx::Same("Relu"),
    sample: || in_range(-2.0, 2.0),
};

pub static GELU: OpDef = OpDef {
    name: "gelu",
    doc: "x·Φ(x) with the normal distribution's Φ: the exact form, not tanh's approximation.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    // Φ(x) + x·φ(x)
    grad: Grad::Rule(|g| {
        let x = g.args[0];
        let scaled = g.b.scale(x, FRAC_1_SQRT_2);
        let erf = g.b.unary(&ERF, scaled);
        let half = g.b.scale(erf, 0.5);
        let cdf = g.b.offset(half, 0.5);
        let square = g.b.mul(x, x);
        let exponent = g.b.scale(square, -0.5);
        let bell = g.b.exp(exponent);
        let density = g.b.scale(bell, 1.0 / (2.0 * PI).sqrt());
        let tail = g.b.mul(x, density);
        let slope = g.b.add(cdf, tail);
        one(g.b.mul(g.dy, slope))
    }),
    eval: Eval::Unary(|x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))),
    lower: crate::lower::elementwise::gelu,
    onnx: Onnx::Rule(crate::onnx::rules::gelu),
    sample: || in_range(-3.0, 3.0),
};

pub static ERF: OpDef = OpDef {
    name: "erf",
    doc: "The error function.",
    class: Class::Elementwise,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    // 2/√π · exp(−x²)
    grad: Grad::Rule(|g| {
        let square = g.b.mul(g.args[0], g.args[0]);
        let exponent = g.b.neg(square);
        let bell = g.b.exp(exponent);
        let slope = g.b.scale(bell, FRAC_2_SQRT_PI);
        one(g.b.mul(g.dy, slope))
    }),
    eval: Eval::Unary(erf),
    lower: crate::lower::elementwise::erf,
    onnx: Onnx::Same("Erf"),
    sample: || in_range(-2.5, 2.5),
};

pub static SIGMOID: OpDef = OpDef {
    name: "sigmoid",
    doc: "1 / (1 + e^−x).",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    // y·(1 − y)
    grad: Grad::Rule(|g| {
        let one_ = g.b.scalar(1.0);
        let rest = g.b.sub(one_, g.y);
        let slope = g.b.mul(g.y, rest);
        one(g.b.mul(g.dy, slope))
    }),
    eval: Eval::Unary(|x| 1.0 / (1.0 + (-x).exp())),
    lower: crate::lower::elementwise::sigmoid,
    onnx: Onnx::Same("Sigmoid"),
    sample: || in_range(-3.0, 3.0),
};

pub static TANH: OpDef = OpDef {
    name: "tanh",
    doc: "The hyperbolic tangent.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    // 1 − y²
    grad: Grad::Rule(|g| {
        let one_ = g.b.scalar(1.0);
        let square = g.b.mul(g.y, g.y);
        let slope = g.b.sub(one_, square);
        one(g.b.mul(g.dy, slope))
    }),
    eval: Eval::Unary(f64::tanh),
    lower: crate::lower::elementwise::tanh,
    onnx: Onnx::Same("Tanh"),
    sample: || in_range(-2.0, 2.0),
};

pub static SOFTPLUS: OpDef = OpDef {
    name: "softplus",
    doc: "log(1 + e^x), without overflow.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| {
        let slope = g.b.unary(&SIGMOID, g.args[0]);
        one(g.b.mul(g.dy, slope))
    }),
    eval: Eval::Unary(|x| {
        if x > 0.0 {
            x + (-x).exp().ln_1p()
        } else {
            x.exp().ln_1p()
        }
    }),
    lower: crate::lower::elementwise::softplus,
    onnx: Onnx::Same("Softplus"),
    sample: || in_range(-3.0, 3.0),
};

pub static SIN: OpDef = OpDef {
    name: "sin",
    doc: "The sine.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| {
        let slope = g.b.unary(&COS, g.args[0]);
        one(g.b.mul(g.dy, slope))
    }),
    eval: Eval::Unary(f64::sin),
    lower: crate::lower::elementwise::sin,
    onnx: Onnx::Same("Sin"),
    sample: || in_range(-3.0, 3.0),
};

pub static COS: OpDef = OpDef {
    name: "cos",
    doc: "The cosine.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: unary_f32,
    grad: Grad::Rule(|g| {
        let sine = g.b.unary(&SIN, g.args[0]);
        let slope = g.b.neg(sine);
        one(g.b.mul(g.dy, slope))
    }),
    eval: Eval::Unary(f64::cos),
    lower: crate::lower::elementwise::cos,
    onnx: Onnx::Same("Cos"),
    sample: || in_range(-3.0, 3.0),
};

pub static CAST: OpDef = OpDef {
    name: "cast",
    doc: "Another element type: to i32 by dropping the fraction, to bool by `x ≠ 0`.",
    class: Class::Elementwise,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[attr(
        "dtype",
        AttrKind::Str,
        "The element type: f32, i32 or bool.",
    )],
    shape: |args, attrs| Ok(Type::new(dtype_of(attrs)?, &args[0].shape)),
    // Only f32 to f32 carries a gradient: elsewhere the value is piecewise constant.
    grad: Grad::Rule(|g| {
        let float = |v| g.b.ty(v).dtype.is_float();
        vec![(float(g.y) && float(g.args[0])).then_some(g.dy)]
    }),
    eval: Eval::General(|ctx| {
        let convert: fn(f64) -> f64 = match ctx.ty.dtype {
            DType::F32 | DType::Bf16 => |x| x,
            DType::I32 => f64::trunc,
            DType::Bool => |x| f64::from(x != 0.0),
        };
        let mut value = ctx.args[0].clone();
        value.data.iter_mut().for_each(|x| *x = convert(*x));
        Ok(value)
    }),
    lower: crate::lower::elementwise::cast,
    onnx: Onnx::Rule(crate::onnx::rules::cast),
    sample: || {
        vec![
            Sample::new(vec![f32s(&[2, 3])]).attr("dtype", "f32"),
            Sample::new(vec![bools(&[2, 3])]).attr("dtype", "f32"),
            Sample::new(vec![i32_below(&[4], 5)]).attr("dtype", "f32"),
            Sample::new(vec![i32_below(&[4], 2)]).attr("dtype", "bool"),
        ]
    },
};

pub static TO_BF16: OpDef = OpDef {
    name: "to_bf16",
    doc: "x rounded to the nearest bf16, ties to even. The gradient passes, rounded as well if `gradient` says so.",
    class: Class::Elementwise,
    surface: Surface::Internal,
    args: Arity::Fixed(&["x"]),
    attrs: &[attr(
        "gradient",
        AttrKind::Bool,
        "Whether the gradient is bf16 too: that of an activation is, that of weights is not.",
    )],
    shape: |args, _| {
        expect_f32(args[0], 0)?;
        Ok(Type::new(DType::Bf16, &args[0].shape))
    },
    grad: Grad::Rule(|g| {
        one(match g.attrs.bool("gradient") {
            true => g.b.to_bf16(g.dy, true),
            false => g.dy,
        })
    }),
    eval: Eval::Unary(|x| f64::from(bf16::round(x as f32))),
    lower: crate::lower::elementwise::to_bf16,
    onnx: Onnx::Unsupported,
    sample: || {
        [true, false]
            .into_iter()
            .flat_map(|gradient| in_range(-2.0, 2.0).into_iter().map(move |s| (s, gradient)))
            .map(|(sample, gradient)| sample.attr("gradient", gradient))
            .collect()
    },
};

pub static STOP_GRADIENT: OpDef = OpDef {
    name: "stop_gradient",
    doc: "Passes the value and blocks the gradient.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: |args, _| Ok(args[0].clone()),
    grad: Grad::Zero,
    eval: Eval::Unary(|x| x),
    lower: crate::lower::elementwise::identity,
    onnx: Onnx::Rule(crate::onnx::rules::pass),
    sample: || in_range(-1.0, 1.0),
};
