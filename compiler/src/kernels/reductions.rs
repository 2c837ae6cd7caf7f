//! Reductions in a row: lowering sums over axes one by one; a kernel sums over all of them at once.

use super::dag::{Dag, Node, Op};

/// A reduction of a reduction that nothing else reads is one reduction of the inner one's input.
pub fn merge(dag: &mut Dag, outputs: &[usize]) {
    let mut readers = vec![0usize; dag.nodes.len()];
    outputs.iter().for_each(|id| readers[*id] += 1);
    for node in &dag.nodes {
        node.inputs.iter().for_each(|r| readers[r.node] += 1);
    }
    for outer in 0..dag.nodes.len() {
        let Op::Reduce { max, intervals } = &dag.nodes[outer].op else {
            continue;
        };
        let read = &dag.nodes[outer].inputs[0];
        let inner = &dag.nodes[read.node];
        let Op::Reduce {
            max: inner_max,
            intervals: inner_intervals,
        } = &inner.op
        else {
            continue;
        };
        if max != inner_max || !read.is_dense() || readers[read.node] != 1 {
            continue;
        }
        let merged = Node {
            op: Op::Reduce {
                max: *max,
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
