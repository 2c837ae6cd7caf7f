//! Arithmetic of two operands, element by element: equal shapes, f32 unless a row says otherwise.

use super::sample::{SampleArg, f32_in};
use super::unary::expect_f32;
use super::{Arity, Class, Eval, Grad, GradCtx, LOG, OpDef, Sample, ShapeError, Surface};
use crate::core::graph::{Attrs, DType, Type, ValueId};
use crate::onnx::Onnx;

/// Operands of one type.
pub(super) fn equal(args: &[&Type], first: usize) -> Result<(), ShapeError> {
    let (a, b) = (args[first], args[first + 1]);
    if a.shape != b.shape {
        return Err(ShapeError::new(
            &[first, first + 1],
            format!("the operands have different shapes: {a} and {b}"),
        ));
    }
    if a.dtype != b.dtype {
        return Err(ShapeError::new(
            &[first, first + 1],
            format!("the operands have different element types: {a} and {b}"),
        ));
    }
    Ok(())
}

/// Two operands, both f32 or both i32.
fn binary_number(args: &[&Type], _: &Attrs) -> Result<Type, ShapeError> {
    equal(args, 0)?;
    if args[0].dtype == DType::Bool {
        return Err(ShapeError::new(
            &[0, 1],
            format!(
                "numbers are needed here, not masks: {} and {}",
                args[0], args[1]
            ),
        ));
    }
    Ok(args[0].clone())
}

fn binary_f32(args: &[&Type], _: &Attrs) -> Result<Type, ShapeError> {
    equal(args, 0)?;
    expect_f32(args[0], 0)?;
    Ok(args[0].clone())
}

fn pair(a: (f64, f64), b: (f64, f64)) -> Vec<Sample> {
    let arg = |shape: &[usize], r: (f64, f64)| -> SampleArg { f32_in(shape, r.0, r.1) };
    vec![
        Sample::new(vec![arg(&[3, 4], a), arg(&[3, 4], b)]),
        Sample::new(vec![arg(&[], a), arg(&[], b)]),
    ]
}

pub static ADD: OpDef = OpDef {
    name: "add",
    doc: "a + b, of f32 or i32.",
    class: Class::Elementwise,
    surface: Surface::Operator("+"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: binary_number,
    grad: Grad::Rule(|g| vec![Some(g.dy), Some(g.dy)]),
    eval: Eval::Binary(|a, b| a + b),
    lower: crate::lower::elementwise::add,
    onnx: Onnx::Same("Add"),
    sample: || pair((-1.0, 1.0), (-1.0, 1.0)),
};

pub static SUB: OpDef = OpDef {
    name: "sub",
    doc: "a − b, of f32 or i32.",
    class: Class::Elementwise,
    surface: Surface::Operator("-"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: binary_number,
    grad: Grad::Rule(|g| {
        let da = g.needs[0].then_some(g.dy);
        let db = g.needs[1].then(|| g.b.neg(g.dy));
        vec![da, db]
    }),
    eval: Eval::Binary(|a, b| a - b),
    lower: crate::lower::elementwise::sub,
    onnx: Onnx::Same("Sub"),
    sample: || pair((-1.0, 1.0), (-1.0, 1.0)),
};

pub static MUL: OpDef = OpDef {
    name: "mul",
    doc: "a · b, of f32 or i32.",
    class: Class::Elementwise,
    surface: Surface::Operator("*"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: binary_number,
    grad: Grad::Rule(|g| {
        let (a, b) = (g.args[0], g.args[1]);
        let da = g.needs[0].then(|| g.b.mul(g.dy, b));
        let db = g.needs[1].then(|| g.b.mul(g.dy, a));
        vec![da, db]
    }),
    eval: Eval::Binary(|a, b| a * b),
    lower: crate::lower::elementwise::mul,
    onnx: Onnx::Same("Mul"),
    sample: || pair((-2.0, 2.0), (-2.0, 2.0)),
};

pub static DIV: OpDef = OpDef {
    name: "div",
    doc: "a / b.",
    class: Class::Elementwise,
    surface: Surface::Operator("/"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: binary_f32,
    grad: Grad::Rule(|g| {
        let da = g.b.div(g.dy, g.args[1]);
        let db = g.needs[1].then(|| {
            let product = g.b.mul(da, g.y);
            g.b.neg(product)
        });
        vec![Some(da), db]
    }),
    eval: Eval::Binary(|a, b| a / b),
    lower: crate::lower::elementwise::div,
    onnx: Onnx::Same("Div"),
    sample: || pair((-2.0, 2.0), (0.5, 2.0)),
};

pub static POW: OpDef = OpDef {
    name: "pow",
    doc: "a to the power b; NaN for a negative a unless b is whole.",
    class: Class::Elementwise,
    surface: Surface::Operator("^"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: binary_f32,
    grad: Grad::Rule(pow_gradient),
    eval: Eval::Binary(f64::powf),
    lower: crate::lower::elementwise::pow,
    onnx: Onnx::Same("Pow"),
    sample: || pair((0.3, 2.0), (-2.0, 2.0)),
};

/// da = b·a^(b−1), 0 where b = 0; db = y·log a, 0 where a = 0 ≤ b.
fn pow_gradient(g: &mut GradCtx) -> Vec<Option<ValueId>> {
    let (a, b) = (g.args[0], g.args[1]);
    let zero = g.b.scalar(0.0);
    let da = g.needs[0].then(|| {
        let lower = g.b.offset(b, -1.0);
        let power = g.b.pow(a, lower);
        let slope = g.b.mul(b, power);
        let constant = g.b.eq(b, zero);
        let slope = g.b.select(constant, zero, slope);
        g.b.mul(g.dy, slope)
    });
    let db = g.needs[1].then(|| {
        let log = g.b.unary(&LOG, a);
        let slope = g.b.mul(g.y, log);
        let base = g.b.eq(a, zero);
        let exponent = g.b.binary(&super::GE, b, zero);
        let flat = g.b.binary(&super::AND, base, exponent);
        let slope = g.b.select(flat, zero, slope);
        g.b.mul(g.dy, slope)
    });
    vec![da, db]
}

pub static MAXIMUM: OpDef = OpDef {
    name: "maximum",
    doc: "The greater of a and b; equal ones share the gradient.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: binary_number,
    grad: Grad::Rule(|g| extreme_gradient(g, g.args[0], g.args[1])),
    eval: Eval::Binary(|a, b| if a < b || b.is_nan() { b } else { a }),
    lower: crate::lower::elementwise::maximum,
    onnx: Onnx::Same("Max"),
    sample: || pair((-2.0, 2.0), (-2.0, 2.0)),
};

pub static MINIMUM: OpDef = OpDef {
    name: "minimum",
    doc: "The lesser of a and b; equal ones share the gradient.",
    class: Class::Elementwise,
    surface: Surface::Elementwise,
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: binary_number,
    grad: Grad::Rule(|g| extreme_gradient(g, g.args[1], g.args[0])),
    eval: Eval::Binary(|a, b| if b < a || b.is_nan() { b } else { a }),
    lower: crate::lower::elementwise::minimum,
    onnx: Onnx::Same("Min"),
    sample: || pair((-2.0, 2.0), (-2.0, 2.0)),
};

/// The first argument's gradient is dy where `upper > lower`, half of it where they are equal; the second's is the rest.
fn extreme_gradient(g: &mut GradCtx, upper: ValueId, lower: ValueId) -> Vec<Option<ValueId>> {
    let half = g.b.scale(g.dy, 0.5);
    let zero = g.b.scalar(0.0);
    let tie = g.b.eq(upper, lower);
    let shared = g.b.select(tie, half, zero);
    let first = g.b.gt(upper, lower);
    let second = g.b.lt(upper, lower);
    let da = g.b.select(first, g.dy, shared);
    let db = g.b.select(second, g.dy, shared);
    vec![Some(da), Some(db)]
}
