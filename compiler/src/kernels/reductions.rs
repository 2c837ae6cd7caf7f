//! Reductions as lowering spells them out: sums over axes one by one, which a kernel takes at once; and the squares of
//! deviations from a mean, which need that mean first, as a reduction of their own that reads only the values.

use super::dag::{Dag, Map, Node, Op, Reduction};
use super::ir::Binary;
use super::space::{Read, ReadAxis};

/// A reduction of a reduction that nothing else reads is one reduction of the inner one's input.
pub fn merge(dag: &mut Dag, outputs: &[usize]) {
    let mut readers = vec![0usize; dag.nodes.len()];
    outputs.iter().for_each(|id| readers[*id] += 1);
    for node in &dag.nodes {
        node.inputs.iter().for_each(|r| readers[r.node] += 1);
    }
    for outer in 0..dag.nodes.len() {
        let Op::Reduce { how, intervals } = &dag.nodes[outer].op else {
            continue;
        };
        let read = &dag.nodes[outer].inputs[0];
        let inner = &dag.nodes[read.node];
        let Op::Reduce {
            how: inner_how,
            intervals: inner_intervals,
        } = &inner.op
        else {
            continue;
        };
        if how != inner_how || !read.is_dense() || readers[read.node] != 1 {
            continue;
        }
        let merged = Node {
            op: Op::Reduce {
                how: *how,
                intervals: compose(inner_intervals, intervals),
            },
            inputs: inner.inputs.clone(),
            ..dag.nodes[outer].clone()
        };
        // Where the shapes of the two do not nest, they stay two.
        if merged.space().is_some() {
            let inner = read.node;
            dag.nodes[outer] = merged;
            // Nothing reads it any more.
            dag.nodes[inner].inputs.clear();
            dag.nodes[inner].op = Op::Const(0);
        }
    }
}

/// Turns each Σ (x − Σx/n)² into one reduction of x, so that both sums can be taken in one pass.
pub fn find_deviations(dag: &mut Dag) {
    for id in 0..dag.nodes.len() {
        if let Some(x) = deviations(dag, id) {
            if let Op::Reduce { how, .. } = &mut dag.nodes[id].op {
                *how = Reduction::Deviations;
            }
            dag.nodes[id].inputs = vec![x];
        }
    }
}

/// The read of x, if a node is the sum of the squares of x less its mean over the same axes.
fn deviations(dag: &Dag, id: usize) -> Option<Read> {
    let Op::Reduce {
        how: Reduction::Sum,
        intervals,
    } = &dag.nodes[id].op
    else {
        return None;
    };
    let [square] = &dag.nodes[id].inputs[..] else {
        return None;
    };
    let [one, other] = operands(dag, square, Binary::Mul)?;
    if one != other {
        return None;
    }
    let [a, b] = operands(dag, one, Binary::Add)?;
    let count: usize = intervals.iter().map(|(lo, hi)| hi / lo).product();
    let is_mean = |x: &Read, m: &Read| {
        m.offset == 0
            && m.axes == spread(x.elements(), intervals)
            && scaled_sum(dag, m.node, intervals)
                .is_some_and(|(of, scale)| of == x && (scale * count as f64 + 1.0).abs() < 1e-6)
    };
    if is_mean(a, b) {
        Some(a.clone())
    } else if is_mean(b, a) {
        Some(b.clone())
    } else {
        None
    }
}

/// The operands of the binary map that a read takes in full.
fn operands<'a>(dag: &'a Dag, read: &Read, op: Binary) -> Option<[&'a Read; 2]> {
    let node = &dag.nodes[read.node];
    match (&node.op, &node.inputs[..]) {
        (Op::Map(Map::Binary(own)), [a, b])
            if *own == op && read.is_dense() && read.elements() == node.len =>
        {
            Some([a, b])
        }
        _ => None,
    }
}

/// What a sum over some intervals reads, and the number it is multiplied by.
fn scaled_sum<'a>(
    dag: &'a Dag,
    id: usize,
    intervals: &[(usize, usize)],
) -> Option<(&'a Read, f64)> {
    let node = &dag.nodes[id];
    match (&node.op, &node.inputs[..]) {
        (
            Op::Reduce {
                how: Reduction::Sum,
                intervals: own,
            },
            [x],
        ) if own == intervals => Some((x, 1.0)),
        (Op::Map(Map::Binary(Binary::Mul)), [a, b]) => {
            let (number, rest) = match (&dag.nodes[a.node].op, &dag.nodes[b.node].op) {
                (Op::Const(number), _) => (number, b),
                (_, Op::Const(number)) => (number, a),
                _ => return None,
            };
            if !rest.is_dense() || rest.elements() != dag.nodes[rest.node].len {
                return None;
            }
            let (x, scale) = scaled_sum(dag, rest.node, intervals)?;
            Some((x, scale * f64::from(f32::from_bits(*number))))
        }
        _ => None,
    }
}

/// The axes of a read that repeats a reduction's result along what was reduced.
fn spread(elements: usize, intervals: &[(usize, usize)]) -> Vec<ReadAxis> {
    let mut axes = Vec::new();
    let (mut inside, mut stride) = (1, 1i64);
    let mut kept = |axes: &mut Vec<ReadAxis>, size: usize| {
        axes.push(ReadAxis {
            size,
            stride,
            valid: None,
        });
        stride *= size as i64;
    };
    for (lo, hi) in intervals {
        kept(&mut axes, lo / inside);
        axes.push(ReadAxis {
            size: hi / lo,
            stride: 0,
            valid: None,
        });
        inside = *hi;
    }
    kept(&mut axes, elements / inside);
    Read::new(0, 0, axes.into_iter().rev()).axes
}

/// What two reductions in a row reduce, in cuts of the first one's input.
fn compose(inner: &[(usize, usize)], outer: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // A cut of the inner result lies `factor` further out once the inner intervals below it are put back.
    let mut all = inner.to_vec();
    for (lo, hi) in outer {
        let mut lo = *lo;
        let mut hi = *hi;
        for (in_lo, in_hi) in inner {
            let size = in_hi / in_lo;
            if lo >= *in_lo {
                (lo, hi) = (lo * size, hi * size);
            } else if hi > *in_lo {
                all.push((lo, *in_lo));
                (lo, hi) = (*in_hi, hi * size);
            }
        }
        all.push((lo, hi));
    }
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::compose;

    #[test]
    fn reductions_in_a_row_are_one() {
        // [2, 3, 5, 7]: the 5s, then the 2s of [2, 3, 7].
        assert_eq!(compose(&[(7, 35)], &[(21, 42)]), [(7, 35), (105, 210)]);
        // The 3s, then the 7s of [2, 5, 7].
        assert_eq!(compose(&[(35, 105)], &[(1, 7)]), [(1, 7), (35, 105)]);
        // The 5s, then 3 and 7 of [2, 21] at once.
        assert_eq!(
            compose(&[(7, 35)], &[(1, 21)]),
            [(1, 7), (7, 35), (35, 105)]
        );
    }
}
