//! Random loop kernels.

use super::{Building, Draw, access};
use sslc_compiler::kernels::ir::{
    Access, Binary, Combine, Element, Inst, LoopKernel, LoopOutput, Unary,
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
fn load(draw: &mut Draw, building: &mut Building, shape: &[usize]) -> Access {
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
    if draw.chance(25) && !shape.is_empty() {
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
    let buffer = building.buffer_of(element(draw), numbers);
    Access {
        buffer,
        offset,
        strides,
        valid,
    }
}

fn element(draw: &mut Draw) -> Element {
    draw.pick(&[Element::F32, Element::F32, Element::Bf16])
}

/// The operators that random kernels are made of.
#[derive(Clone, Copy)]
pub struct Operators<'a> {
    pub unary: &'a [Unary],
    pub binary: &'a [Binary],
}

fn instruction(
    draw: &mut Draw,
    building: &mut Building,
    shape: &[usize],
    registers: usize,
    operators: Operators,
) -> Inst {
    let r = |draw: &mut Draw| draw.below(registers) as u32;
    match draw.below(20) {
        0 | 1 => Inst::Const(draw.number()),
        2 if !shape.is_empty() => Inst::Index(draw.below(shape.len())),
        3..=6 => Inst::Unary(draw.pick(operators.unary), r(draw)),
        7 | 8 => Inst::Select(r(draw), r(draw), r(draw)),
        9 => Inst::Load(load(draw, building, shape)),
        _ => Inst::Binary(draw.pick(operators.binary), r(draw), r(draw)),
    }
}

/// Elements of an output's buffer before its first and after its last that are written.
pub type Margins = fn(&mut Draw, &Combine) -> (usize, usize);

fn output(
    draw: &mut Draw,
    building: &mut Building,
    shape: &[usize],
    registers: usize,
    margins: Margins,
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
    let (before, after) = margins(draw, &combine);
    let numbers = draw.numbers(before + len + after);
    let buffer = building.buffer_of(element(draw), numbers);
    LoopOutput {
        value: value as u32,
        combine,
        to: access(buffer, before as i64, &strides),
    }
}

/// A kernel over an index space, with the buffers that it reads and writes.
pub fn kernel(
    draw: &mut Draw,
    building: &mut Building,
    shape: Vec<usize>,
    operators: Operators,
    margins: Margins,
) -> LoopKernel {
    let mut body = Vec::new();
    for _ in 0..1 + draw.below(3) {
        body.push(Inst::Load(load(draw, building, &shape)));
    }
    for _ in 0..draw.below(9) {
        let registers = body.len();
        body.push(instruction(draw, building, &shape, registers, operators));
    }
    let outputs = (0..1 + draw.below(3))
        .map(|_| output(draw, building, &shape, body.len(), margins))
        .collect();
    LoopKernel {
        shape,
        body,
        outputs,
    }
}

/// Index spaces that take several blocks, threads or stages.
pub const LARGE: [&[usize]; 12] = [
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
