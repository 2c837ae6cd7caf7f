//! Joins instructions that one loop makes in one pass over a block; the values keep their bits.
//!
//! A product and the sum that alone uses it, and the ReLU of that; a selection by the sign of a value, the gradient of ReLU.

use super::canon::{Canon, Op};
use sslc_compiler::kernels::ir::Binary;

/// The kernel with its instructions joined.
pub fn join(canon: &Canon) -> Canon {
    let mut canon = canon.clone();
    let depends = canon.dependences();
    let mut joiner = Joiner {
        canon: &mut canon,
        depends,
    };
    joiner.rewrite(Joiner::gate);
    joiner.rewrite(Joiner::multiply_add);
    joiner.rewrite(Joiner::relu);
    canon
}

struct Joiner<'a> {
    canon: &'a mut Canon,
    depends: Vec<u32>,
}

impl Joiner<'_> {
    /// Replaces instructions, then drops those that nothing uses any more.
    fn rewrite(&mut self, rule: impl Fn(&Self, usize, &[usize]) -> Option<Op>) {
        let uses = self.uses();
        for i in 0..self.canon.body.len() {
            if let Some(op) = rule(self, i, &uses) {
                self.canon.body[i] = Some(op);
            }
        }
        let mut uses = self.uses();
        for i in (0..self.canon.body.len()).rev() {
            if uses[i] == 0
                && let Some(op) = self.canon.body[i].take()
            {
                op.operands().for_each(|r| uses[r] -= 1);
            }
        }
    }

    /// How often each value is read, by instructions and by outputs.
    fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.canon.body.len()];
        let operands = self.canon.body.iter().flatten().flat_map(Op::operands);
        for r in operands.chain(self.canon.outputs.iter().map(|o| o.value)) {
            uses[r] += 1;
        }
        uses
    }

    fn is_zero(&self, r: usize) -> bool {
        matches!(&self.canon.body[r], Some(Op::Const(v)) if v.to_bits() == 0)
    }

    /// Whether a value differs along the same axes as another: else it is made less often.
    fn is_as_deep(&self, r: usize, i: usize) -> bool {
        self.depends[r] == self.depends[i]
    }

    /// `0 < v ? x : 0`, where `v` may have gone through a ReLU.
    fn gate(&self, i: usize, _uses: &[usize]) -> Option<Op> {
        let Some(Op::Select(c, x, y)) = self.canon.body[i] else {
            return None;
        };
        let Some(Op::Binary(Binary::Less, zero, v)) = self.canon.body[c] else {
            return None;
        };
        if !self.is_zero(y) || !self.is_zero(zero) || !self.is_as_deep(c, i) {
            return None;
        }
        Some(match self.canon.body[v] {
            Some(Op::Binary(Binary::Max, u, zero)) if self.is_zero(zero) => Op::Gate(u, x),
            _ => Op::Gate(v, x),
        })
    }

    /// `a·b + c`.
    fn multiply_add(&self, i: usize, uses: &[usize]) -> Option<Op> {
        let Some(Op::Binary(Binary::Add, x, y)) = self.canon.body[i] else {
            return None;
        };
        [(x, y), (y, x)]
            .into_iter()
            .find_map(|(product, c)| match self.canon.body[product] {
                Some(Op::Binary(Binary::Mul, a, b))
                    if uses[product] == 1 && self.is_as_deep(product, i) =>
                {
                    Some(Op::MulAdd([a, b, c], false))
                }
                _ => None,
            })
    }

    /// `max(a·b + c, 0)`.
    fn relu(&self, i: usize, uses: &[usize]) -> Option<Op> {
        match self.canon.body[i] {
            Some(Op::Binary(Binary::Max, x, zero)) if uses[x] == 1 && self.is_zero(zero) => {
                match self.canon.body[x] {
                    Some(Op::MulAdd(operands, false)) => Some(Op::MulAdd(operands, true)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
