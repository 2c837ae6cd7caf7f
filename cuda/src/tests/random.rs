//! Random loop kernels whose operators are exact, so that every bit can be held to the interpreter.

use super::bench::{Bench, access};
use super::draw::Draw;
use sslc_compiler::kernels::ir::{
    Access, Binary, Combine, Element, Inst, KernelKind, LoopKernel, LoopOutput, Unary,
};

/// Row-major strides over some axes of a shape, in a given order of them; 0 along the others.
fn dense(shape: &[usize], order: &[usize]) -> (Vec<i64>, usize) {
    let mut strides = vec![0; shape.len()];
    let mut len = 1;
    for axis in order.iter().rev() {
        strides[*axis] = len as i64;
        len *= shape[*axis];
    }
    (strides, len)
}

fn shuffled(draw: &mut Draw, mut axes: Vec<usize>) -> Vec<usize> {
    for i in (1..axes.len()).rev() {
        axes.swap(i, draw.below(i + 1));
    }
    axes
}

/// A load with a random layout: some axes broadcast, permuted, reversed, spread out, shifted or cut.
fn random_load(draw: &mut Draw, bench: &mut Bench, shape: &[usize]) -> Access {
    let percent = draw.pick(&[0, 0, 30, 70, 100]);
    let mut axes: Vec<usize> = (0..shape.len()).filter(|_| !draw.chance(percent)).collect();
    if draw.chance(25) {
        axes = shuffled(draw, axes);
    }
    let (mut strides, mut len) = dense(shape, &axes);
    if draw.chance(10) {
        strides.iter_mut().for_each(|s| *s *= 2);
        len *= 2;
    }
    let mut offset = 0;
    for axis in 0..shape.len() {
        if draw.chance(5) && strides[axis] != 0 {
            offset += strides[axis] * (shape[axis] as i64 - 1);
            strides[axis] = -strides[axis];
        }
    }
    let mut valid = vec![None; shape.len()];
    if draw.chance(30) && !shape.is_empty() {
        let axis = draw.below(shape.len());
        let lo = draw.below(shape[axis] + 1);
        let hi = lo + draw.below(shape[axis] - lo + 1);
        valid[axis] = Some((lo, hi));
        // Shifted, as a pad is: the part before the range may lie outside of the buffer.
        if draw.chance(50) && strides[axis] > 0 {
            offset -= strides[axis] * lo as i64;
        }
    }
    let numbers = draw.numbers(len + 3);
    let buffer = bench.buffer_of(random_element(draw), numbers);
    Access {
        buffer,
        offset,
        strides,
        valid,
    }
}

fn random_element(draw: &mut Draw) -> Element {
    draw.pick(&[Element::F32, Element::F32, Element::Bf16])
}

fn random_inst(draw: &mut Draw, bench: &mut Bench, shape: &[usize], registers: usize) -> Inst {
    let r = |draw: &mut Draw| draw.below(registers) as u32;
    match draw.below(20) {
        0 | 1 => Inst::Const(draw.number()),
        2 if !shape.is_empty() => Inst::Index(draw.below(shape.len())),
        3..=5 => Inst::Unary(
            draw.pick(&[Unary::Sqrt, Unary::Recip, Unary::Bf16]),
            r(draw),
        ),
        6 | 7 => Inst::Select(r(draw), r(draw), r(draw)),
        8 => Inst::Load(random_load(draw, bench, shape)),
        _ => {
            let op = draw.pick(&[
                Binary::Add,
                Binary::Sub,
                Binary::Mul,
                Binary::Mul,
                Binary::Div,
                Binary::Mod,
                Binary::Less,
                Binary::Max,
            ]);
            Inst::Binary(op, r(draw), r(draw))
        }
    }
}

fn random_output(
    draw: &mut Draw,
    bench: &mut Bench,
    shape: &[usize],
    registers: usize,
) -> LoopOutput {
    let value = if draw.chance(70) {
        registers - 1
    } else {
        draw.below(registers)
    };
    let percent = draw.pick(&[20, 50, 50, 100]);
    let reduced: Vec<usize> = (0..shape.len()).filter(|_| draw.chance(percent)).collect();
    let combine = match draw.below(5) {
        0 | 1 => Combine::Store,
        2 | 3 => Combine::Sum(reduced.clone()),
        4 if !reduced.is_empty() => Combine::Deviations(reduced.clone()),
        _ => Combine::Max(reduced.clone()),
    };
    let mut kept: Vec<usize> = (0..shape.len())
        .filter(|a| combine == Combine::Store || !reduced.contains(a))
        .collect();
    if draw.chance(20) {
        kept = shuffled(draw, kept);
    }
    let (strides, len) = dense(shape, &kept);
    let offset = draw.pick(&[0, 0, 4, 1]);
    // What a reduction writes is all of its buffer: the interpreter clears it.
    let (offset, rest) = match combine {
        Combine::Store => (offset, draw.below(3)),
        _ => (0, 0),
    };
    let numbers = draw.numbers(len + offset as usize + rest);
    let buffer = bench.buffer_of(random_element(draw), numbers);
    LoopOutput {
        value: value as u32,
        combine,
        to: access(buffer, offset, &strides),
    }
}

pub fn random_kernel(draw: &mut Draw, bench: &mut Bench, shape: Vec<usize>) {
    let mut body = Vec::new();
    for _ in 0..1 + draw.below(3) {
        body.push(Inst::Load(random_load(draw, bench, &shape)));
    }
    for _ in 0..draw.below(9) {
        body.push(random_inst(draw, bench, &shape, body.len()));
    }
    let outputs = (0..1 + draw.below(3))
        .map(|_| random_output(draw, bench, &shape, body.len()))
        .collect();
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape,
        body,
        outputs,
    }));
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
    let shapes: [&[usize]; 12] = [
        &[40_000],
        &[1500, 33],
        &[33, 1500],
        &[6, 50, 100],
        &[300, 4, 4, 16],
        &[2, 20_000],
        &[20_000, 2],
        &[13, 2, 1200],
        &[5, 3, 7, 11, 32],
        &[2000, 16],
        &[64, 640],
        &[3, 1030, 9],
    ];
    let mut draw = Draw::new(2);
    let mut bench = Bench::default();
    for shape in shapes {
        random_kernel(&mut draw, &mut bench, shape.to_vec());
    }
    bench.hold();
}
