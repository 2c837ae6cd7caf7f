//! Sums: what does not vary along the summed axes is taken out.
//!
//! `Σ a·b = b·Σ a` and `Σ (a ± b) = Σ a ± n·b` where `b` is a broadcast along the summed axes, through products,
//! quotients and signs. This reassociates: the result may differ in its last bits. It is what makes the backward of
//! batch norm one pass: of all its sums over the batch, only `Σ dy` and `Σ dy·(x − mean)` remain.

use super::Rewriter;
use super::rules::without_unit_axes;
use crate::core::graph::{Attrs, Type, ValueId};
use crate::core::ops;

/// A product is taken apart into at most this many factors.
const MAX_FACTORS: usize = 16;

/// What a reduction over axes makes of a broadcast.
pub(super) struct ReducedBroadcast {
    /// The axes of the operand that are reduced.
    pub inner_axes: Vec<usize>,
    /// How many equal elements fall together for each element that remains.
    pub repeats: usize,
    /// Shape of the result, and where the operand's remaining axes stand in it.
    pub shape: Vec<usize>,
    pub dims: Vec<usize>,
}

pub(super) fn reduced_broadcast(ty: &Type, dims: &[usize], axes: &[usize]) -> ReducedBroadcast {
    let kept: Vec<usize> = (0..ty.rank()).filter(|a| !axes.contains(a)).collect();
    let repeated = axes.iter().filter(|a| !dims.contains(a));
    ReducedBroadcast {
        inner_axes: (0..dims.len())
            .filter(|i| axes.contains(&dims[*i]))
            .collect(),
        repeats: repeated.map(|a| ty.shape[*a]).product(),
        shape: kept.iter().map(|a| ty.shape[*a]).collect(),
        dims: dims
            .iter()
            .filter_map(|d| kept.iter().position(|k| k == d))
            .collect(),
    }
}

pub(super) fn sum(r: &mut Rewriter, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
    let (x, axes) = (args[0], attrs.sizes("axes"));
    if let Some(y) = without_unit_axes(r, x, &axes) {
        return Some(y);
    }
    if let Some(value) = r.constant(x) {
        let ty = r.b.ty(x).clone();
        let kept = reduced_broadcast(&ty, &[], &axes);
        let total = value * kept.repeats as f64;
        let held = (total as f32).is_finite();
        return held.then(|| r.full(&kept.shape, total, ty.dtype));
    }
    if let Some(inner) = r.arg_of(x, &ops::NEG) {
        let sum = r.sum(inner, &axes);
        return Some(r.unary(&ops::NEG, sum));
    }
    if let Some(inner) = r.arg_of(x, &ops::SUM) {
        let first = r.node(x).attrs.sizes("axes");
        let both = joined_axes(r.b.ty(inner).rank(), &first, &axes);
        return Some(r.sum(inner, &both));
    }
    if let Some(inner) = r.arg_of(x, &ops::RESHAPE) {
        let rank = r.b.ty(inner).rank();
        let everything = axes.len() == r.b.ty(x).rank() && rank > 0;
        return everything.then(|| r.sum(inner, &(0..rank).collect::<Vec<_>>()));
    }
    if let Some((small, _, dims)) = r.broadcast_parts(x) {
        return sum_of_broadcast(r, x, small, &dims, &axes);
    }
    if let Some(y) = sum_of_terms(r, x, &axes) {
        return Some(y);
    }
    sum_of_product(r, x, &axes)
}

/// The axes reduced by two sums, in terms of the first one's operand.
fn joined_axes(rank: usize, first: &[usize], second: &[usize]) -> Vec<usize> {
    let kept: Vec<usize> = (0..rank).filter(|a| !first.contains(a)).collect();
    let mut both = first.to_vec();
    both.extend(second.iter().map(|a| kept[*a]));
    both.sort_unstable();
    both
}

/// n · (the sum of the operand over those of its axes that are reduced), broadcast to what remains.
fn sum_of_broadcast(
    r: &mut Rewriter,
    x: ValueId,
    small: ValueId,
    dims: &[usize],
    axes: &[usize],
) -> Option<ValueId> {
    let reduced = reduced_broadcast(r.b.ty(x), dims, axes);
    if reduced.repeats == 1 {
        return None;
    }
    let y = if reduced.inner_axes.is_empty() {
        small
    } else {
        r.sum(small, &reduced.inner_axes)
    };
    let y = r.scaled(y, reduced.repeats as f64);
    Some(r.broadcast(y, &reduced.shape, &reduced.dims))
}

/// Σ (a ± b) = Σ a ± Σ b, where one of them is a broadcast along summed axes or one value everywhere.
fn sum_of_terms(r: &mut Rewriter, x: ValueId, axes: &[usize]) -> Option<ValueId> {
    let node = r.node(x);
    let op = node.op;
    if op != &ops::ADD && op != &ops::SUB {
        return None;
    }
    let (a, b) = (node.args[0], node.args[1]);
    if !repeats_along(r, a, axes) && !repeats_along(r, b, axes) {
        return None;
    }
    let (a, b) = (r.sum(a, axes), r.sum(b, axes));
    Some(r.binary(op, a, b))
}

fn repeats_along(r: &Rewriter, v: ValueId, axes: &[usize]) -> bool {
    r.constant(v).is_some()
        || r.broadcast_parts(v)
            .is_some_and(|(_, _, dims)| reduced_broadcast(r.b.ty(v), &dims, axes).repeats > 1)
}

/// Factors above and below the line, and the sign.
#[derive(Default)]
struct Product {
    above: Vec<ValueId>,
    below: Vec<ValueId>,
    negative: bool,
}

/// Takes products, quotients and signs apart.
fn factors(r: &Rewriter, x: ValueId) -> Product {
    let mut product = Product::default();
    let mut open = vec![(x, true)];
    while let Some((v, above)) = open.pop() {
        let node = r.node(v);
        let many = open.len() + product.above.len() + product.below.len() >= MAX_FACTORS;
        if !many && node.is(&ops::MUL) {
            open.extend([(node.args[0], above), (node.args[1], above)]);
        } else if !many && node.is(&ops::DIV) {
            open.extend([(node.args[0], above), (node.args[1], !above)]);
        } else if !many && node.is(&ops::NEG) {
            product.negative = !product.negative;
            open.push((node.args[0], above));
        } else if above {
            product.above.push(v);
        } else {
            product.below.push(v);
        }
    }
    product.above.sort_unstable();
    product.below.sort_unstable();
    product
}

/// Σ (varying · fixed) = fixed · Σ varying.
fn sum_of_product(r: &mut Rewriter, x: ValueId, axes: &[usize]) -> Option<ValueId> {
    let node = r.node(x);
    if node.op != &ops::MUL && node.op != &ops::DIV {
        return None;
    }
    let ty = node.ty.clone();
    let product = factors(r, x);
    let mut inside = [Vec::new(), Vec::new()];
    let mut outside = [Vec::new(), Vec::new()];
    for (side, list) in [&product.above, &product.below].into_iter().enumerate() {
        for v in list {
            match fixed_along(r, *v, axes) {
                Some(fixed) => outside[side].push(fixed),
                None => inside[side].push(*v),
            }
        }
    }
    if outside.iter().all(Vec::is_empty) {
        return None;
    }
    let one = r.full(&ty.shape, 1.0, ty.dtype);
    let varying = multiplied(r, one, &inside);
    // `1 / b` is the same again.
    if varying == x {
        return None;
    }
    let sum = r.sum(varying, axes);
    let scaled = multiplied(r, sum, &outside);
    Some(if product.negative {
        r.unary(&ops::NEG, scaled)
    } else {
        scaled
    })
}

/// A factor that does not vary along `axes`, as a tensor without them.
fn fixed_along(r: &mut Rewriter, v: ValueId, axes: &[usize]) -> Option<ValueId> {
    let ty = r.b.ty(v).clone();
    if let Some(value) = r.constant(v) {
        let kept = reduced_broadcast(&ty, &[], axes);
        return Some(r.full(&kept.shape, value, ty.dtype));
    }
    let (small, _, dims) = r.broadcast_parts(v)?;
    if dims.iter().any(|d| axes.contains(d)) {
        return None;
    }
    let kept = reduced_broadcast(&ty, &dims, axes);
    Some(r.broadcast(small, &kept.shape, &kept.dims))
}

/// `start` times the factors above the line, divided by those below.
fn multiplied(r: &mut Rewriter, start: ValueId, [above, below]: &[Vec<ValueId>; 2]) -> ValueId {
    let product = above.iter().fold(start, |p, v| r.binary(&ops::MUL, p, *v));
    below
        .iter()
        .fold(product, |p, v| r.binary(&ops::DIV, p, *v))
}
