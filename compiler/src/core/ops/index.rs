//! Ops that read or write places given by data. An index must lie within its axis.

use super::sample::{Sample, f32s, i32_below};
use super::unary::expect_f32;
use super::{Arity, AttrDef, AttrKind, Class, Eval, Grad, OpDef, ShapeError, Surface, attr};
use crate::core::graph::{DType, Type};
use crate::core::interp::{Tensor, advance};
use crate::onnx::Onnx;

const AXIS: AttrDef = attr("axis", AttrKind::Int, "The axis the indices speak of.");

fn expect_index(ty: &Type, arg: usize) -> Result<(), ShapeError> {
    if ty.dtype == DType::I32 && ty.rank() == 1 {
        return Ok(());
    }
    Err(ShapeError::new(
        &[arg],
        format!("a vector of indices (i32) is needed here, not {ty}"),
    ))
}

/// The position that an index value names.
fn place(index: f64, size: usize) -> Result<usize, String> {
    if index >= 0.0 && (index as usize) < size {
        return Ok(index as usize);
    }
    Err(format!(
        "index {index} is outside of an axis of size {size}"
    ))
}

pub static TAKE: OpDef = OpDef {
    name: "take",
    doc: "The slices of x along an axis that an index vector names.",
    class: Class::Index,
    surface: Surface::Function,
    args: Arity::Fixed(&["x", "index"]),
    attrs: &[AXIS],
    shape: |args, attrs| {
        expect_f32(args[0], 0)?;
        expect_index(args[1], 1)?;
        let mut shape = args[0].shape.clone();
        match shape.get_mut(attrs.size("axis")) {
            Some(n) => *n = args[1].shape[0],
            None => {
                return Err(ShapeError::new(
                    &[0],
                    format!("there is no axis {} in {}", attrs.int("axis"), args[0]),
                ));
            }
        }
        Ok(Type::f32(&shape))
    },
    grad: Grad::Rule(|g| {
        let axis = g.attrs.size("axis");
        let size = g.b.ty(g.args[0]).shape[axis];
        let attrs = vec![("axis", axis.into()), ("size", size.into())];
        vec![
            Some(g.b.push(&SCATTER_ADD, &[g.dy, g.args[1]], attrs)),
            None,
        ]
    }),
    eval: Eval::General(|ctx| {
        let (x, index, axis) = (ctx.args[0], ctx.args[1], ctx.attrs.size("axis"));
        let places: Vec<usize> = index
            .data
            .iter()
            .map(|i| place(*i, x.shape[axis]))
            .collect::<Result<_, _>>()?;
        Ok(Tensor::from_fn(&ctx.ty.shape, |at| {
            let mut at = at.to_vec();
            at[axis] = places[at[axis]];
            x.at(&at)
        }))
    }),
    lower: crate::lower::moves::take,
    onnx: Onnx::Rule(crate::onnx::rules::take),
    sample: || {
        vec![
            Sample::new(vec![f32s(&[5, 3]), i32_below(&[4], 5)]).attr("axis", 0usize),
            Sample::new(vec![f32s(&[2, 4, 3]), i32_below(&[6], 4)]).attr("axis", 1usize),
            Sample::new(vec![f32s(&[6]), i32_below(&[3], 6)]).attr("axis", 0usize),
        ]
    },
};

pub static SCATTER_ADD: OpDef = OpDef {
    name: "scatter_add",
    doc: "The transpose of take: zeros of the given size, to which each slice of dy is added where its index says.",
    class: Class::Index,
    surface: Surface::Internal,
    args: Arity::Fixed(&["dy", "index"]),
    attrs: &[
        AXIS,
        attr("size", AttrKind::Int, "The size of the axis in the result."),
    ],
    shape: |args, attrs| {
        expect_f32(args[0], 0)?;
        expect_index(args[1], 1)?;
        let mut shape = args[0].shape.clone();
        match shape.get_mut(attrs.size("axis")) {
            Some(n) if *n == args[1].shape[0] => *n = attrs.size("size"),
            _ => {
                return Err(ShapeError::new(
                    &[0, 1],
                    format!(
                        "axis {} of {} does not match the indices {}",
                        attrs.int("axis"),
                        args[0],
                        args[1]
                    ),
                ));
            }
        }
        Ok(Type::f32(&shape))
    },
    grad: Grad::Rule(|g| {
        let attrs = vec![("axis", g.attrs.size("axis").into())];
        vec![Some(g.b.push(&TAKE, &[g.dy, g.args[1]], attrs)), None]
    }),
    eval: Eval::General(|ctx| {
        let (dy, index, axis) = (ctx.args[0], ctx.args[1], ctx.attrs.size("axis"));
        let mut out = Tensor::full(&ctx.ty.shape, 0.0);
        let mut at = vec![0; dy.shape.len()];
        for value in &dy.data {
            let mut to = at.clone();
            to[axis] = place(index.data[at[axis]], ctx.ty.shape[axis])?;
            let to = out.offset(&to);
            out.data[to] += value;
            advance(&mut at, &dy.shape);
        }
        Ok(out)
    }),
    lower: crate::lower::moves::scatter_add,
    onnx: Onnx::Unsupported,
    sample: || {
        vec![
            Sample::new(vec![f32s(&[4, 3]), i32_below(&[4], 5)])
                .attr("axis", 0usize)
                .attr("size", 5usize),
            Sample::new(vec![f32s(&[2, 6, 3]), i32_below(&[6], 4)])
                .attr("axis", 1usize)
                .attr("size", 4usize),
        ]
    },
};
