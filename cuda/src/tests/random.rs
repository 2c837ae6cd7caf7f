//! Random loop kernels whose operators are exact, so that every bit can be held to the interpreter.

use super::Bench;
use sslc_compiler::kernels::ir::{Binary, Combine, KernelKind, Unary};
use sslc_kernel_testing::Draw;
use sslc_kernel_testing::random::{self, Operators};

const EXACT: Operators = Operators {
    unary: &[Unary::Sqrt, Unary::Recip, Unary::Bf16],
    binary: &[
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Mul,
        Binary::Div,
        Binary::Mod,
        Binary::Less,
        Binary::Max,
    ],
};

/// What a reduction writes is all of its buffer: the interpreter clears it.
fn margins(draw: &mut Draw, combine: &Combine) -> (usize, usize) {
    let before = draw.pick(&[0, 0, 4, 1]);
    match combine {
        Combine::Store => (before, draw.below(3)),
        _ => (0, 0),
    }
}

pub fn random_kernel(draw: &mut Draw, bench: &mut Bench, shape: Vec<usize>) {
    let kernel = random::kernel(draw, bench, shape, EXACT, margins);
    bench.kernel(KernelKind::Loop(kernel));
}

#[test]
fn small_random_kernels() {
    let mut draw = Draw::new(1);
    let mut bench = Bench::default();
    for _ in 0..120 {
        let rank = draw.below(6);
        let shape = (0..rank)
            .map(|_| draw.pick(&[1, 1, 2, 3, 4, 5, 7, 8, 9]))
            .collect();
        random_kernel(&mut draw, &mut bench, shape);
    }
    bench.hold();
}

#[test]
fn large_random_kernels() {
    let mut draw = Draw::new(2);
    let mut bench = Bench::default();
    for shape in random::LARGE {
        random_kernel(&mut draw, &mut bench, shape.to_vec());
    }
    bench.hold();
}
