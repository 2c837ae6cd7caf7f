//! A device for tests: the kernel IR, point by point.

use super::device::{Device, Loaded};
use super::ir::{
    Access, Binary, Buffer, BufferId, BufferKind, Combine, Contraction, Element, Indexed, Inst,
    KernelKind,
};
use super::ir::{KernelProgram, LoopKernel, Unary};
use super::naive::{self, MatMulShape, TakeShape};
use crate::core::bf16;
use sslc_grammar::diag::Diagnostic;
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

/// Runs kernels by evaluating them as they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Device for Interpreter {
    fn load(&self, program: Rc<KernelProgram>) -> Result<Rc<dyn Loaded>, Diagnostic> {
        // What no kernel writes is poison, so that a read before a write is seen.
        let mut arena = vec![POISON; program.arena_len];
        let mut offsets = Vec::with_capacity(program.buffers.len());
        for buffer in &program.buffers {
            let mut offset = buffer.offset;
            match buffer.kind {
                BufferKind::Temporary => {}
                // These stand whole behind the arena.
                BufferKind::Piecewise => {
                    offset = arena.len();
                    arena.resize(offset + buffer.element.words(buffer.len()), POISON);
                }
                BufferKind::Input | BufferKind::State | BufferKind::Output => {
                    arena[offset..offset + buffer.words()].fill(0);
                }
            }
            offsets.push(offset);
        }
        Ok(Rc::new(Memory {
            program,
            offsets,
            arena: RefCell::new(arena),
        }))
    }
}

/// A NaN as an f32, and two as bf16.
const POISON: u32 = 0x7fc0_7fc0;

#[derive(Debug)]
struct Memory {
    program: Rc<KernelProgram>,
    /// Where each buffer begins.
    offsets: Vec<usize>,
    /// Words of 4 bytes.
    arena: RefCell<Vec<u32>>,
}

impl Memory {
    fn buffer(&self, buffer: BufferId) -> &Buffer {
        &self.program.buffers[buffer.0 as usize]
    }

    /// Element `at` of a buffer.
    fn get(&self, buffer: BufferId, at: usize) -> f32 {
        let first = self.offsets[buffer.0 as usize];
        let arena = self.arena.borrow();
        match self.buffer(buffer).element {
            Element::F32 => f32::from_bits(arena[first + at]),
            Element::Bf16 => {
                let word = arena[first + at / 2];
                bf16::widen((word >> (16 * (at % 2))) as u16)
            }
        }
    }

    fn put(&self, buffer: BufferId, at: usize, value: f32) {
        let first = self.offsets[buffer.0 as usize];
        let mut arena = self.arena.borrow_mut();
        match self.buffer(buffer).element {
            Element::F32 => arena[first + at] = value.to_bits(),
            Element::Bf16 => {
                let (word, shift) = (&mut arena[first + at / 2], 16 * (at % 2));
                let half = u32::from(bf16::narrow(value)) << shift;
                *word = *word & !(0xffff << shift) | half;
            }
        }
    }

    fn tensor(&self, buffer: BufferId) -> Vec<f32> {
        let len = self.buffer(buffer).len();
        (0..len).map(|at| self.get(buffer, at)).collect()
    }

    fn fill(&self, buffer: BufferId, data: &[f32]) {
        for (at, value) in data.iter().enumerate() {
            self.put(buffer, at, *value);
        }
    }

    /// Runs `f` on inputs and a fresh output.
    fn apply<const N: usize>(
        &self,
        inputs: [BufferId; N],
        out: BufferId,
        f: impl FnOnce([&[f32]; N], &mut [f32]),
    ) {
        let inputs = inputs.map(|b| self.tensor(b));
        let mut result = vec![0.0; self.buffer(out).len()];
        f(std::array::from_fn(|i| inputs[i].as_slice()), &mut result);
        self.fill(out, &result);
    }

    fn place(&self, access: &Access, index: &[usize]) -> Option<usize> {
        let mut at = access.offset;
        for ((i, stride), valid) in index.iter().zip(&access.strides).zip(&access.valid) {
            if valid.is_some_and(|(from, to)| *i < from || *i >= to) {
                return None;
            }
            at += *i as i64 * stride;
        }
        Some(at as usize)
    }

    fn run_loop(&self, kernel: &LoopKernel) {
        let mut sums: Vec<Vec<f64>> = Vec::new();
        // Of deviations: how many points were seen, and their mean.
        let mut seen: Vec<Vec<(f64, f64)>> = Vec::new();
        for output in &kernel.outputs {
            let start = match output.combine {
                Combine::Store | Combine::Sum(_) | Combine::Deviations(_) => 0.0,
                Combine::Max(_) => f64::NEG_INFINITY,
            };
            let len = self.buffer(output.to.buffer).len();
            sums.push(vec![start; len]);
            seen.push(match output.combine {
                Combine::Deviations(_) => vec![(0.0, 0.0); len],
                _ => Vec::new(),
            });
        }
        let mut index = vec![0; kernel.shape.len()];
        let mut regs = vec![0f32; kernel.body.len()];
        loop {
            for (r, inst) in kernel.body.iter().enumerate() {
                regs[r] = match inst {
                    Inst::Load(access) => self
                        .place(access, &index)
                        .map_or(0.0, |at| self.get(access.buffer, at)),
                    Inst::Const(v) => *v,
                    Inst::Index(axis) => index[*axis] as f32,
                    Inst::Unary(op, x) => unary(*op, regs[*x as usize]),
                    Inst::Binary(op, a, b) => binary(*op, regs[*a as usize], regs[*b as usize]),
                    Inst::Select(c, a, b) => {
                        regs[if regs[*c as usize] != 0.0 { *a } else { *b } as usize]
                    }
                };
            }
            for ((output, sums), seen) in kernel.outputs.iter().zip(&mut sums).zip(&mut seen) {
                let Some(at) = self.place(&output.to, &index) else {
                    continue;
                };
                let value = regs[output.value as usize];
                match output.combine {
                    Combine::Store => self.put(output.to.buffer, at, value),
                    Combine::Sum(_) => sums[at] += value as f64,
                    Combine::Max(_) => sums[at] = sums[at].max(value as f64),
                    // Welford (1962).
                    Combine::Deviations(_) => {
                        let (count, mean) = &mut seen[at];
                        let difference = value as f64 - *mean;
                        *count += 1.0;
                        *mean += difference / *count;
                        sums[at] += difference * (value as f64 - *mean);
                    }
                }
            }
            if !crate::core::interp::advance(&mut index, &kernel.shape) {
                break;
            }
        }
        for (output, sums) in kernel
            .outputs
            .iter()
            .zip(&sums)
            .filter(|(o, _)| o.combine != Combine::Store)
        {
            for (at, sum) in sums.iter().enumerate() {
                self.put(output.to.buffer, at, *sum as f32);
            }
        }
    }

    fn run_indexed(&self, kernel: &Indexed) {
        match *kernel {
            Indexed::Take {
                x,
                index,
                y,
                outer,
                size,
                count,
                inner,
            } => {
                let s = TakeShape {
                    outer,
                    size,
                    count,
                    inner,
                };
                self.apply([x, index], y, |[x, index], y| naive::take(x, index, y, s));
            }
            Indexed::ScatterAdd {
                y,
                index,
                x,
                outer,
                size,
                count,
                inner,
            } => {
                let s = TakeShape {
                    outer,
                    size,
                    count,
                    inner,
                };
                self.apply([y, index], x, |[y, index], x| {
                    naive::scatter_add(y, index, x, s)
                });
            }
            Indexed::ArgMax {
                x,
                y,
                outer,
                size,
                inner,
            } => {
                self.apply([x], y, |[x], y| naive::argmax(x, y, outer, size, inner));
            }
            Indexed::MaxPool { x, y, window } => {
                self.apply([x], y, |[x], y| naive::max_pool(x, y, &window))
            }
            Indexed::MaxPoolGrad { x, dy, dx, window } => {
                self.apply([x, dy], dx, |[x, dy], dx| {
                    naive::max_pool_grad(x, dy, dx, &window)
                });
            }
            Indexed::AvgPool { x, y, window } => {
                self.apply([x], y, |[x], y| naive::avg_pool(x, y, &window))
            }
            Indexed::AvgPoolGrad { dy, dx, window } => {
                self.apply([dy], dx, |[dy], dx| naive::avg_pool_grad(dy, dx, &window));
            }
            Indexed::Uniform {
                step,
                y,
                seed,
                stream,
            } => {
                self.apply([step], y, |[step], y| {
                    naive::uniform(step[0], y, seed, stream)
                });
            }
        }
    }

    fn run_contraction(&self, kernel: &Contraction) {
        match *kernel {
            Contraction::MatMul {
                a,
                b,
                out,
                batch,
                m,
                n,
                k,
                ta,
                tb,
            } => {
                let s = MatMulShape {
                    batch,
                    m,
                    n,
                    k,
                    ta,
                    tb,
                };
                self.apply([a, b], out, |[a, b], out| naive::matmul(a, b, out, s));
            }
            Contraction::Conv { x, w, y, shape, .. } => {
                self.apply([x, w], y, |[x, w], y| naive::conv(x, w, y, &shape));
            }
            Contraction::ConvInputGrad {
                dy, w, dx, shape, ..
            } => {
                self.apply([dy, w], dx, |[dy, w], dx| {
                    naive::conv_input_grad(dy, w, dx, &shape)
                });
            }
            Contraction::ConvFilterGrad {
                x, dy, dw, shape, ..
            } => {
                self.apply([x, dy], dw, |[x, dy], dw| {
                    naive::conv_filter_grad(x, dy, dw, &shape)
                });
            }
        }
    }
}

impl Loaded for Memory {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn program(&self) -> &KernelProgram {
        &self.program
    }

    fn run(&self, kernel: usize) {
        match &self.program.kernels[kernel].kind {
            KernelKind::Loop(kernel) => self.run_loop(kernel),
            KernelKind::Indexed(kernel) => self.run_indexed(kernel),
            KernelKind::Contraction(kernel) => self.run_contraction(kernel),
            KernelKind::Fused(fused) => {
                fused.prologue.iter().for_each(|p| self.run_loop(p));
                self.run_contraction(&fused.contraction);
                fused.epilogue.iter().for_each(|e| self.run_loop(e));
            }
        }
    }

    fn write(&self, buffer: BufferId, data: &[f32]) {
        assert_eq!(data.len(), self.buffer(buffer).len());
        self.fill(buffer, data);
    }

    fn read(&self, buffer: BufferId, data: &mut [f32]) {
        data.copy_from_slice(&self.tensor(buffer));
    }
}

fn unary(op: Unary, x: f32) -> f32 {
    match op {
        Unary::Log2 => x.log2(),
        Unary::Exp2 => x.exp2(),
        Unary::Sin => x.sin(),
        Unary::Sqrt => x.sqrt(),
        Unary::Recip => x.recip(),
        Unary::Erf => naive::erf(x),
        Unary::Bf16 => bf16::round(x),
    }
}

fn binary(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Mod => a % b,
        Binary::Less => f32::from(a < b),
        Binary::Max => {
            if a < b {
                b
            } else {
                a
            }
        }
        Binary::Pow => a.powf(b),
    }
}
