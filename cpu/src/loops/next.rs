//! What the next block loads, fetched while this one is made: each operand of a block begins on a page of its own, where no
//! processor looks ahead by itself.

use super::canon::Place;
use super::plan::LoopPlan;

/// Bytes from which on a tensor is fetched: one that is smaller is in the cache. Tests take small ones for large.
const FETCHED: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// A load whose next block is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub load: usize,
    /// Bytes from a block to the next, and of a block.
    pub step: isize,
    pub bytes: usize,
}

/// The large loads whose blocks lie without gaps, and move with the innermost counter; pieces are in the cache.
pub fn loads(plan: &LoopPlan) -> Vec<Next> {
    let Some(inner) = plan.nest.last() else {
        return Vec::new();
    };
    let next = |(load, place): (usize, &Place)| {
        let element = place.element.bytes();
        let follow = plan.rows == 1
            || plan
                .row
                .is_some_and(|row| place.strides[row] == plan.lanes as i64);
        let axes = plan.sizes.iter().zip(&place.strides);
        let size: usize = axes.filter(|(_, s)| **s != 0).map(|(n, _)| *n).product();
        let step = place.strides[inner.axis] as isize * (inner.step * element) as isize;
        let dense = place.strides[plan.lane] == 1 && follow;
        let whole = !place.of_piece && place.valid.iter().all(Option::is_none);
        (dense && whole && step != 0 && size * element >= FETCHED).then_some(Next {
            load,
            step,
            bytes: plan.block() * element,
        })
    };
    plan.loads.iter().enumerate().filter_map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;
    use crate::loops::canon::{Canon, Op, Output};
    use sslc_compiler::kernels::ir::{Binary, Element};

    /// x[r, c] + shift[c], stored.
    fn shifted(rows: usize, channels: usize, element: Element) -> LoopPlan {
        let place = |base: i64, strides: [i64; 2]| Place {
            element,
            base,
            strides: strides.to_vec(),
            valid: vec![None; 2],
            of_piece: false,
        };
        let full = [channels as i64, 1];
        let len = (rows * channels) as i64;
        let canon = Canon {
            sizes: vec![rows, channels],
            body: vec![
                Some(Op::Load(place(0, full))),
                Some(Op::Load(place(len, [0, 1]))),
                Some(Op::Binary(Binary::Add, 0, 1)),
            ],
            outputs: vec![Output {
                value: 2,
                reduce: None,
                reduced: vec![false; 2],
                to: place(2 * len, full),
            }],
        };
        LoopPlan::new(&canon, Level::Portable)
    }

    #[test]
    fn a_large_load_is_fetched_a_block_ahead() {
        for (element, bytes) in [(Element::F32, 4), (Element::Bf16, 2)] {
            let plan = shifted(4096, 64, element);
            let block = plan.block() * bytes;
            let step = block as isize;
            let x = plan.loads.iter().position(|p| p.strides == [64, 1]);
            let next = x.map(|load| Next {
                load,
                step,
                bytes: block,
            });
            assert_eq!(plan.next, Vec::from_iter(next));
            assert_eq!(plan.next.len(), 1);
        }
    }

    #[test]
    fn a_small_load_is_not() {
        assert_eq!(shifted(4, 16, Element::F32).next, []);
    }
}
