//! What luminal's primitives spell out in a loop body as one instruction: subtraction and division.

use super::ir::{Binary, Inst, LoopKernel, Reg, Unary};

/// Turns `x + −1·y` into `x − y`, and `x · recip(y)` into `x / y`, which rounds once.
///
/// A reciprocal stays where several products read it, and where it is the same along an axis along which the product is not:
/// it is computed once for all points there. What is not read any more is left in the body.
pub fn peephole(kernel: &mut LoopKernel) {
    let axes = axes(kernel);
    let readers = readers(kernel);
    for i in 0..kernel.body.len() {
        let Inst::Binary(op, a, b) = kernel.body[i] else {
            continue;
        };
        let one = match op {
            Binary::Add => difference(&kernel.body, a, b).or(difference(&kernel.body, b, a)),
            Binary::Mul => {
                let quotient = |x: Reg, r: Reg| match kernel.body[r as usize] {
                    Inst::Unary(Unary::Recip, y)
                        if readers[r as usize] == 1 && axes[r as usize] == axes[i] =>
                    {
                        Some(Inst::Binary(Binary::Div, x, y))
                    }
                    _ => None,
                };
                quotient(a, b).or(quotient(b, a))
            }
            Binary::Sub | Binary::Div | Binary::Mod | Binary::Less | Binary::Max | Binary::Pow => {
                None
            }
        };
        if let Some(one) = one {
            kernel.body[i] = one;
        }
    }
}

/// `x − y` where the register is −1·y.
fn difference(body: &[Inst], x: Reg, register: Reg) -> Option<Inst> {
    let Inst::Binary(Binary::Mul, a, b) = body[register as usize] else {
        return None;
    };
    let minus = |r: Reg| matches!(body[r as usize], Inst::Const(-1.0));
    let y = match (minus(a), minus(b)) {
        (true, _) => b,
        (_, true) => a,
        (false, false) => return None,
    };
    Some(Inst::Binary(Binary::Sub, x, y))
}

/// For each register, the axes that it changes along, ascending.
fn axes(kernel: &LoopKernel) -> Vec<Vec<usize>> {
    let long: Vec<usize> = (0..kernel.shape.len())
        .filter(|a| kernel.shape[*a] > 1)
        .collect();
    let mut axes: Vec<Vec<usize>> = Vec::with_capacity(kernel.body.len());
    for inst in &kernel.body {
        let own: Vec<usize> = match inst {
            Inst::Load(a) => {
                let moves = |axis: &usize| a.strides[*axis] != 0 || a.valid[*axis].is_some();
                long.iter().copied().filter(moves).collect()
            }
            Inst::Index(axis) => long.iter().copied().filter(|a| a == axis).collect(),
            Inst::Const(_) | Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..) => {
                let of = inst.operands().flat_map(|r| axes[r as usize].clone());
                let mut of: Vec<usize> = of.collect();
                of.sort_unstable();
                of.dedup();
                of
            }
        };
        axes.push(own);
    }
    axes
}

/// For each register, how often it is read.
fn readers(kernel: &LoopKernel) -> Vec<usize> {
    let mut readers = vec![0; kernel.body.len()];
    for inst in &kernel.body {
        inst.operands().for_each(|r| readers[r as usize] += 1);
    }
    for output in &kernel.outputs {
        readers[output.value as usize] += 1;
    }
    readers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::emit::remove_dead;
    use crate::kernels::ir::{Access, BufferId, Combine, LoopOutput};

    fn access(buffer: u32, strides: [i64; 2]) -> Access {
        Access {
            buffer: BufferId(buffer),
            offset: 0,
            strides: strides.to_vec(),
            valid: vec![None; 2],
        }
    }

    /// What becomes of a body over [4, 8] that stores its last value; registers 0 and 1 are an element and one of its row.
    fn after(body: &[Inst]) -> Vec<Inst> {
        let mut kernel = LoopKernel {
            shape: vec![4, 8],
            body: vec![
                Inst::Load(access(0, [8, 1])),
                Inst::Load(access(1, [1, 0])),
                Inst::Const(-1.0),
            ],
            outputs: vec![],
        };
        kernel.body.extend_from_slice(body);
        kernel.outputs.push(LoopOutput {
            value: kernel.body.len() as Reg - 1,
            combine: Combine::Store,
            to: access(2, [8, 1]),
        });
        peephole(&mut kernel);
        remove_dead(&mut kernel);
        let calculates = |i: &Inst| !matches!(i, Inst::Load(_));
        kernel.body.into_iter().filter(calculates).collect()
    }

    #[test]
    fn adding_the_negative_is_subtracting() {
        for (a, b) in [(2, 1), (1, 2)] {
            let negative = Inst::Binary(Binary::Mul, a, b);
            let sum = Inst::Binary(Binary::Add, 0, 3);
            assert_eq!(
                after(&[negative.clone(), sum]),
                [Inst::Binary(Binary::Sub, 0, 1)]
            );
            let sum = Inst::Binary(Binary::Add, 3, 0);
            assert_eq!(after(&[negative, sum]), [Inst::Binary(Binary::Sub, 0, 1)]);
        }
    }

    #[test]
    fn a_product_with_a_reciprocal_is_a_quotient() {
        let recip = Inst::Unary(Unary::Recip, 0);
        for (a, b) in [(1, 3), (3, 1)] {
            let product = Inst::Binary(Binary::Mul, a, b);
            assert_eq!(
                after(&[recip.clone(), product]),
                [Inst::Binary(Binary::Div, 1, 0)]
            );
        }
    }

    #[test]
    fn a_reciprocal_for_many_points_stays() {
        let of_the_row = [
            Inst::Unary(Unary::Recip, 1),
            Inst::Binary(Binary::Mul, 0, 3),
        ];
        assert_eq!(after(&of_the_row).len(), 2);
        let read_twice = [
            Inst::Unary(Unary::Recip, 0),
            Inst::Binary(Binary::Mul, 1, 3),
            Inst::Binary(Binary::Mul, 4, 3),
        ];
        assert_eq!(after(&read_twice).len(), 3);
    }
}
