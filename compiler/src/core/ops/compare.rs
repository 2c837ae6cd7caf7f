//! Comparisons, logic, and the choice between two values. Operands have equal shapes; a mask is a bool.

use super::binary::equal;
use super::sample::{bools, f32s, i32_below};
use super::{Arity, Class, Eval, Grad, OpDef, Sample, ShapeError, Surface};
use crate::core::graph::{Attrs, DType, Type};
use crate::onnx::Onnx;

/// Two operands of one type to a mask.
fn comparison(args: &[&Type], _: &Attrs) -> Result<Type, ShapeError> {
    equal(args, 0)?;
    Ok(Type::new(DType::Bool, &args[0].shape))
}

/// Masks of one shape to a mask.
fn logic(args: &[&Type], _: &Attrs) -> Result<Type, ShapeError> {
    for (i, arg) in args.iter().enumerate() {
        expect_mask(arg, i)?;
    }
    if args.len() == 2 {
        equal(args, 0)?;
    }
    Ok(args[0].clone())
}

fn expect_mask(ty: &Type, arg: usize) -> Result<(), ShapeError> {
    if ty.dtype == DType::Bool {
        return Ok(());
    }
    Err(ShapeError::new(
        &[arg],
        format!("a mask (bool) is needed here, not {ty}"),
    ))
}

/// Indices, so that there are ties.
fn ties() -> Vec<Sample> {
    vec![
        Sample::new(vec![i32_below(&[3, 5], 3), i32_below(&[3, 5], 3)]),
        Sample::new(vec![f32s(&[4]), f32s(&[4])]),
    ]
}

pub static EQ: OpDef = OpDef {
    name: "eq",
    doc: "Where a = b.",
    class: Class::Elementwise,
    surface: Surface::Operator("=="),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: comparison,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a == b)),
    lower: crate::lower::elementwise::eq,
    onnx: Onnx::Same("Equal"),
    sample: ties,
};

pub static NE: OpDef = OpDef {
    name: "ne",
    doc: "Where a ≠ b.",
    class: Class::Elementwise,
    surface: Surface::Operator("!="),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: comparison,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a != b)),
    lower: crate::lower::elementwise::ne,
    onnx: Onnx::Rule(crate::onnx::rules::not_equal),
    sample: ties,
};

pub static LT: OpDef = OpDef {
    name: "lt",
    doc: "Where a < b.",
    class: Class::Elementwise,
    surface: Surface::Operator("<"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: comparison,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a < b)),
    lower: crate::lower::elementwise::lt,
    onnx: Onnx::Same("Less"),
    sample: ties,
};

pub static LE: OpDef = OpDef {
    name: "le",
    doc: "Where a ≤ b.",
    class: Class::Elementwise,
    surface: Surface::Operator("<="),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: comparison,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a <= b)),
    lower: crate::lower::elementwise::le,
    onnx: Onnx::Same("LessOrEqual"),
    sample: ties,
};

pub static GT: OpDef = OpDef {
    name: "gt",
    doc: "Where a > b.",
    class: Class::Elementwise,
    surface: Surface::Operator(">"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: comparison,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a > b)),
    lower: crate::lower::elementwise::gt,
    onnx: Onnx::Same("Greater"),
    sample: ties,
};

pub static GE: OpDef = OpDef {
    name: "ge",
    doc: "Where a ≥ b.",
    class: Class::Elementwise,
    surface: Surface::Operator(">="),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: comparison,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a >= b)),
    lower: crate::lower::elementwise::ge,
    onnx: Onnx::Same("GreaterOrEqual"),
    sample: ties,
};

pub static NOT: OpDef = OpDef {
    name: "not",
    doc: "Where a mask does not hold.",
    class: Class::Elementwise,
    surface: Surface::Operator("not"),
    args: Arity::Fixed(&["x"]),
    attrs: &[],
    shape: logic,
    grad: Grad::Zero,
    eval: Eval::Unary(|x| f64::from(x == 0.0)),
    lower: crate::lower::elementwise::not,
    onnx: Onnx::Same("Not"),
    sample: || vec![Sample::new(vec![bools(&[2, 5])])],
};

pub static AND: OpDef = OpDef {
    name: "and",
    doc: "Where both masks hold.",
    class: Class::Elementwise,
    surface: Surface::Operator("and"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: logic,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a != 0.0 && b != 0.0)),
    lower: crate::lower::elementwise::and,
    onnx: Onnx::Same("And"),
    sample: || vec![Sample::new(vec![bools(&[3, 5]), bools(&[3, 5])])],
};

pub static OR: OpDef = OpDef {
    name: "or",
    doc: "Where one mask holds or both.",
    class: Class::Elementwise,
    surface: Surface::Operator("or"),
    args: Arity::Fixed(&["a", "b"]),
    attrs: &[],
    shape: logic,
    grad: Grad::Zero,
    eval: Eval::Binary(|a, b| f64::from(a != 0.0 || b != 0.0)),
    lower: crate::lower::elementwise::or,
    onnx: Onnx::Same("Or"),
    sample: || vec![Sample::new(vec![bools(&[3, 5]), bools(&[3, 5])])],
};

pub static SELECT: OpDef = OpDef {
    name: "select",
    doc: "a where the mask holds, else b; it chooses and never multiplies.",
    class: Class::Elementwise,
    surface: Surface::Function,
    args: Arity::Fixed(&["mask", "a", "b"]),
    attrs: &[],
    shape: |args, _| {
        expect_mask(args[0], 0)?;
        equal(args, 1)?;
        if args[0].shape != args[1].shape {
            return Err(ShapeError::new(
                &[0, 1],
                format!(
                    "the mask and the values have different shapes: {} and {}",
                    args[0], args[1]
                ),
            ));
        }
        Ok(args[1].clone())
    },
    grad: Grad::Rule(|g| {
        let zero = g.b.scalar(0.0);
        let da = g.needs[1].then(|| g.b.select(g.args[0], g.dy, zero));
        let db = g.needs[2].then(|| g.b.select(g.args[0], zero, g.dy));
        vec![None, da, db]
    }),
    eval: Eval::Ternary(|mask, a, b| if mask != 0.0 { a } else { b }),
    lower: crate::lower::elementwise::select,
    onnx: Onnx::Same("Where"),
    sample: || {
        vec![
            Sample::new(vec![bools(&[3, 4]), f32s(&[3, 4]), f32s(&[3, 4])]),
            Sample::new(vec![bools(&[]), f32s(&[]), f32s(&[])]),
        ]
    },
};
