//! Identities of single ops. A rule sees simplified arguments and answers with a simpler value, or with none.

use super::Rewriter;
use super::sums;
use crate::core::graph::{Attrs, DType, ValueId};
use crate::core::ops::{self, Op};

pub type Rule = fn(&mut Rewriter, &[ValueId], &Attrs) -> Option<ValueId>;

/// Ops whose two arguments may change places, bit for bit.
pub static COMMUTATIVE: &[Op] = &[
    &ops::ADD,
    &ops::MUL,
    &ops::EQ,
    &ops::NE,
    &ops::AND,
    &ops::OR,
];

pub static RULES: &[(Op, Rule)] = &[
    (&ops::NEG, neg),
    (&ops::ADD, add),
    (&ops::SUB, sub),
    (&ops::MUL, mul),
    (&ops::DIV, div),
    (&ops::POW, pow),
    (&ops::NOT, not),
    (&ops::AND, and),
    (&ops::OR, or),
    (&ops::SELECT, select),
    (&ops::CAST, cast),
    (&ops::TO_BF16, to_bf16),
    (&ops::STOP_GRADIENT, stop_gradient),
    (&ops::SUM, sums::sum),
    (&ops::MAX, max),
    (&ops::MIN, min),
    (&ops::MATMUL, matmul),
    (&ops::RESHAPE, reshape),
    (&ops::TRANSPOSE, transpose),
    (&ops::BROADCAST, broadcast),
    (&ops::CONCAT, concat),
    (&ops::SLICE, slice),
    (&ops::PAD, pad),
];

/// −(−x) = x
fn neg(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    r.arg_of(args[0], &ops::NEG)
}

/// x + 0 = x, a + (−b) = a − b
fn add(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    for (a, b) in [(args[0], args[1]), (args[1], args[0])] {
        if r.constant(b) == Some(0.0) {
            return Some(a);
        }
        if let Some(b) = r.arg_of(b, &ops::NEG) {
            return Some(r.binary(&ops::SUB, a, b));
        }
    }
    None
}

/// x − 0 = x, 0 − x = −x, a − (−b) = a + b, (−a) − b = −(a + b)
fn sub(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    let (a, b) = (args[0], args[1]);
    if r.constant(b) == Some(0.0) {
        return Some(a);
    }
    if r.constant(a) == Some(0.0) {
        return Some(r.unary(&ops::NEG, b));
    }
    if let Some(b) = r.arg_of(b, &ops::NEG) {
        return Some(r.binary(&ops::ADD, a, b));
    }
    let a = r.arg_of(a, &ops::NEG)?;
    let sum = r.binary(&ops::ADD, a, b);
    Some(r.unary(&ops::NEG, sum))
}

/// x · 1 = x, x · −1 = −x, (−a) · b = −(a · b)
fn mul(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    for (a, b) in [(args[0], args[1]), (args[1], args[0])] {
        match r.constant(b) {
            Some(1.0) => return Some(a),
            Some(-1.0) => return Some(r.unary(&ops::NEG, a)),
            Some(_) | None => {}
        }
        if let Some(a) = r.arg_of(a, &ops::NEG) {
            let product = r.binary(&ops::MUL, a, b);
            return Some(r.unary(&ops::NEG, product));
        }
    }
    None
}

/// x / 1 = x, x / 2ⁿ = x · 2⁻ⁿ, (−a) / b = a / (−b) = −(a / b)
fn div(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    let (a, b) = (args[0], args[1]);
    if let Some(value) = r.constant(b) {
        if value == 1.0 {
            return Some(a);
        }
        let inverse = 1.0 / value;
        if is_power_of_two(value as f32, value) && (inverse as f32).is_normal() {
            return Some(r.scaled(a, inverse));
        }
    }
    let quotient = match (r.arg_of(a, &ops::NEG), r.arg_of(b, &ops::NEG)) {
        (Some(a), _) => r.binary(&ops::DIV, a, b),
        (None, Some(b)) => r.binary(&ops::DIV, a, b),
        (None, None) => return None,
    };
    Some(r.unary(&ops::NEG, quotient))
}

/// Whether `value` is ±2ⁿ and `held`, its f32, a normal number: then so is its inverse, exactly.
fn is_power_of_two(held: f32, value: f64) -> bool {
    held.is_normal() && f64::from(held) == value && held.to_bits() & 0x7F_FFFF == 0
}

/// Whole and half exponents without `pow`.
fn pow(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    let x = args[0];
    let shape = r.b.shape(x);
    match r.constant(args[1])? {
        0.0 => Some(r.full(&shape, 1.0, DType::F32)),
        1.0 => Some(x),
        2.0 => Some(r.binary(&ops::MUL, x, x)),
        0.5 => Some(r.unary(&ops::SQRT, x)),
        -1.0 => {
            let one = r.full(&shape, 1.0, DType::F32);
            Some(r.binary(&ops::DIV, one, x))
        }
        _ => None,
    }
}

/// not (not x) = x, not (a = b) = (a ≠ b)
fn not(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    if let Some(x) = r.arg_of(args[0], &ops::NOT) {
        return Some(x);
    }
    for (op, opposite) in [(&ops::EQ, &ops::NE), (&ops::NE, &ops::EQ)] {
        let node = r.node(args[0]);
        if node.is(op) {
            let (a, b) = (node.args[0], node.args[1]);
            return Some(r.binary(opposite, a, b));
        }
    }
    None
}

fn and(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    logic(r, args, 1.0)
}

fn or(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    logic(r, args, 0.0)
}

/// A known mask is neutral or decides.
fn logic(r: &mut Rewriter, args: &[ValueId], neutral: f64) -> Option<ValueId> {
    let (a, b) = (args[0], args[1]);
    if a == b {
        return Some(a);
    }
    for (a, b) in [(a, b), (b, a)] {
        if let Some(value) = r.constant(b) {
            return Some(if value == neutral { a } else { b });
        }
    }
    None
}

/// A known mask chooses; equal values need no choice.
fn select(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    let (mask, a, b) = (args[0], args[1], args[2]);
    if let Some(value) = r.constant(mask) {
        return Some(if value != 0.0 { a } else { b });
    }
    if a == b {
        return Some(a);
    }
    let mask = r.arg_of(mask, &ops::NOT)?;
    Some(r.make(&ops::SELECT, &[mask, b, a], Attrs::default()))
}

fn cast(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    (r.b.ty(args[0]).dtype.name() == attrs.str("dtype")).then_some(args[0])
}

/// What is bf16 already stays as it is.
fn to_bf16(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    (r.b.ty(args[0]).dtype == DType::Bf16).then_some(args[0])
}

fn stop_gradient(r: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    r.node(args[0]).is(&ops::STOP_GRADIENT).then_some(args[0])
}

fn max(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    extreme(r, &ops::MAX, args, attrs)
}

fn min(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    extreme(r, &ops::MIN, args, attrs)
}

/// An extreme over axes of size 1, or along which the tensor does not vary.
fn extreme(r: &mut Rewriter, op: Op, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let (x, axes) = (args[0], attrs.sizes("axes"));
    if let Some(y) = without_unit_axes(r, x, &axes) {
        return Some(y);
    }
    let (small, _, dims) = r.broadcast_parts(x)?;
    let reduced = sums::reduced_broadcast(r.b.ty(x), &dims, &axes);
    if reduced.repeats == 1 {
        return None;
    }
    let y = if reduced.inner_axes.is_empty() {
        small
    } else {
        let inner = reduced.inner_axes.as_slice();
        r.op(op, &[small], [("axes", inner.into())])
    };
    Some(r.broadcast(y, &reduced.shape, &reduced.dims))
}

/// A reduction over axes that all have size 1 only drops them.
pub(super) fn without_unit_axes(r: &mut Rewriter, x: ValueId, axes: &[usize]) -> Option<ValueId> {
    let shape = r.b.shape(x);
    if axes.iter().any(|a| shape[*a] != 1) {
        return None;
    }
    let kept: Vec<usize> = (0..shape.len())
        .filter(|a| !axes.contains(a))
        .map(|a| shape[a])
        .collect();
    Some(r.reshape(x, &kept))
}

/// An operand that is a transpose of its last two axes is read transposed instead.
fn matmul(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let mut operands = [(args[0], attrs.bool("ta")), (args[1], attrs.bool("tb"))];
    let mut changed = false;
    for (v, transposed) in &mut operands {
        let node = r.node(*v);
        if !node.is(&ops::TRANSPOSE) {
            continue;
        }
        let n = node.ty.rank();
        let mut swapped: Vec<usize> = (0..n).collect();
        swapped.swap(n - 2, n - 1);
        if node.attrs.sizes("perm") == swapped {
            (*v, *transposed) = (node.args[0], !*transposed);
            changed = true;
        }
    }
    let [(a, ta), (b, tb)] = operands;
    changed.then(|| {
        r.op(
            &ops::MATMUL,
            &[a, b],
            [("ta", ta.into()), ("tb", tb.into())],
        )
    })
}

fn reshape(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let (x, shape) = (args[0], attrs.sizes("shape"));
    if r.b.ty(x).shape == shape {
        return Some(x);
    }
    if let Some(inner) = r.arg_of(x, &ops::RESHAPE) {
        return Some(r.reshape(inner, &shape));
    }
    if let Some(value) = r.constant(x) {
        return Some(r.full(&shape, value, r.b.ty(x).dtype));
    }
    let (small, _, dims) = r.broadcast_parts(x)?;
    dims.is_empty().then(|| r.broadcast(small, &shape, &[]))
}

fn transpose(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let (x, perm) = (args[0], attrs.sizes("perm"));
    let shape: Vec<usize> = perm.iter().map(|p| r.b.ty(x).shape[*p]).collect();
    if let Some(value) = r.constant(x) {
        return Some(r.full(&shape, value, r.b.ty(x).dtype));
    }
    // Axes of size 1 may stand anywhere.
    let moved: Vec<usize> = perm
        .iter()
        .copied()
        .filter(|p| r.b.ty(x).shape[*p] != 1)
        .collect();
    if moved.is_sorted() {
        return Some(r.reshape(x, &shape));
    }
    if let Some(inner) = r.arg_of(x, &ops::TRANSPOSE) {
        let first = r.node(x).attrs.sizes("perm");
        let both: Vec<usize> = perm.iter().map(|p| first[*p]).collect();
        return Some(r.op(
            &ops::TRANSPOSE,
            &[inner],
            [("perm", both.as_slice().into())],
        ));
    }
    // A broadcast in other axes: of the operand itself, with its axes in the order they come to stand in.
    let (small, _, dims) = r.broadcast_parts(x)?;
    let placed: Vec<(usize, usize)> = perm
        .iter()
        .enumerate()
        .filter_map(|(to, from)| dims.iter().position(|d| d == from).map(|axis| (to, axis)))
        .collect();
    let (dims, order): (Vec<usize>, Vec<usize>) = placed.into_iter().unzip();
    let small = r.op(
        &ops::TRANSPOSE,
        &[small],
        [("perm", order.as_slice().into())],
    );
    Some(r.broadcast(small, &shape, &dims))
}

fn broadcast(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let (x, shape, dims) = (args[0], attrs.sizes("shape"), attrs.sizes("dims"));
    if r.b.ty(x).shape == shape {
        return Some(x);
    }
    if let Some(value) = r.constant(x) {
        return Some(r.full(&shape, value, r.b.ty(x).dtype));
    }
    // Only axes of size 1 are new.
    if r.b.ty(x).len() == shape.iter().product::<usize>() {
        return Some(r.reshape(x, &shape));
    }
    let (small, _, inner) = r.broadcast_parts(x)?;
    let both: Vec<usize> = inner.iter().map(|d| dims[*d]).collect();
    Some(r.broadcast(small, &shape, &both))
}

fn concat(_: &mut Rewriter, args: &[ValueId], _: &Attrs) -> Option<ValueId> {
    (args.len() == 1).then_some(args[0])
}

fn slice(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let x = args[0];
    let (start, end) = (attrs.sizes("start"), attrs.sizes("end"));
    let shape: Vec<usize> = start.iter().zip(&end).map(|(s, e)| e - s).collect();
    if r.b.ty(x).shape == shape {
        return Some(x);
    }
    if let Some(value) = r.constant(x) {
        return Some(r.full(&shape, value, r.b.ty(x).dtype));
    }
    let node = r.node(x);
    if node.is(&ops::SLICE) {
        let (inner, first) = (node.args[0], node.attrs.sizes("start"));
        let shift =
            |at: &[usize]| -> Vec<usize> { at.iter().zip(&first).map(|(i, s)| i + s).collect() };
        let (start, end) = (shift(&start), shift(&end));
        return Some(r.op(
            &ops::SLICE,
            &[inner],
            [
                ("start", start.as_slice().into()),
                ("end", end.as_slice().into()),
            ],
        ));
    }
    if node.is(&ops::PAD) {
        let (inner, low) = (node.args[0], node.attrs.sizes("low"));
        return (start == low && r.b.ty(inner).shape == shape).then_some(inner);
    }
    if node.is(&ops::CONCAT) {
        return part_of_concat(r, x, &start, &end);
    }
    None
}

/// The slice of a concat that lies within one of its parts.
fn part_of_concat(
    r: &mut Rewriter,
    concat: ValueId,
    start: &[usize],
    end: &[usize],
) -> Option<ValueId> {
    let node = r.node(concat);
    let axis = node.attrs.size("axis");
    let mut first = 0;
    for part in node.args.clone() {
        let size = r.b.ty(part).shape[axis];
        if start[axis] >= first && end[axis] <= first + size {
            let (mut start, mut end) = (start.to_vec(), end.to_vec());
            start[axis] -= first;
            end[axis] -= first;
            return Some(r.op(
                &ops::SLICE,
                &[part],
                [
                    ("start", start.as_slice().into()),
                    ("end", end.as_slice().into()),
                ],
            ));
        }
        first += size;
    }
    None
}

fn pad(_: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let nothing = |name| attrs.ints(name).iter().all(|n| *n == 0);
    (nothing("low") && nothing("high")).then_some(args[0])
}
