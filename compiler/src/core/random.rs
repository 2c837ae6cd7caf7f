//! Random programs for tests: every op of the registry, at small shapes, fed from one another.
//!
//! Values stay moderate (an operand is squeezed into the range its op's samples use), and what is compared or indexed
//! comes straight from an input, so that rounding cannot turn a mask.

use super::builder::Builder;
use super::graph::{DType, Graph, Type, ValueId};
use super::interp::{Inputs, Tensor};
use super::ops::sample::SampleArg;
use super::ops::{self, Class, Op, REGISTRY, Sample};
use super::rng;

/// A verified graph of about `size` ops, with values for its inputs; the same for the same seed. Outputs are `out/0`, ….
pub fn program(seed: u64, size: usize) -> (Graph, Inputs) {
    with_products(seed, size, false)
}

/// The same with some products of bf16.
pub fn bf16_program(seed: u64, size: usize) -> (Graph, Inputs) {
    with_products(seed, size, true)
}

fn with_products(seed: u64, size: usize, narrow: bool) -> (Graph, Inputs) {
    let mut p = Programmer {
        b: Builder::new(),
        inputs: Inputs::new(),
        pool: Vec::new(),
        narrow,
        seed,
        drawn: 0,
    };
    p.inputs.insert("step".into(), Tensor::scalar(5.0));
    for shape in [&[3, 4][..], &[4], &[], &[2, 3, 4], &[1, 4]] {
        let v = p.input(&ops::sample::f32s(shape));
        p.pool.push(v);
    }
    let callable: Vec<Op> = REGISTRY
        .iter()
        .copied()
        .filter(|op| !(op.sample)().is_empty())
        .collect();
    for _ in 0..size {
        let op = callable[p.below(callable.len())];
        let v = p.call(op);
        if p.b.ty(v).dtype.is_float() {
            p.pool.push(v);
        } else {
            let as_number = p.b.cast(v, DType::F32);
            p.pool.push(as_number);
        }
    }
    let last = p.pool.len() - 1;
    for i in 0..3 {
        let v = if i == 0 { p.pool[last] } else { p.choose() };
        p.b.output(format!("out/{i}"), v);
    }
    (p.b.graph, p.inputs)
}

struct Programmer {
    b: Builder,
    inputs: Inputs,
    /// f32 and bf16 values to use as arguments.
    pool: Vec<ValueId>,
    /// Whether products of bf16 are made.
    narrow: bool,
    seed: u64,
    drawn: u64,
}

impl Programmer {
    fn draw(&mut self) -> f64 {
        self.drawn += 1;
        f64::from(rng::uniform(self.seed, 0, 0, self.drawn))
    }

    fn below(&mut self, n: usize) -> usize {
        (self.draw() * n as f64) as usize
    }

    fn choose(&mut self) -> ValueId {
        let i = self.below(self.pool.len());
        self.pool[i]
    }

    /// A new input with values in the range of a sample's argument.
    fn input(&mut self, arg: &SampleArg) -> ValueId {
        let path = format!("p{}", self.inputs.len());
        let value = Sample::new(vec![arg.clone()]).values(self.seed + self.inputs.len() as u64);
        self.inputs
            .extend([(format!("param/{path}"), value[0].clone())]);
        let v = self.b.param(&path, &arg.ty.shape);
        self.b.name(v, path);
        self.b.cast(v, arg.ty.dtype)
    }

    /// A new input, rounded to bf16.
    fn rounded(&mut self, arg: &SampleArg) -> ValueId {
        let v = self.input(arg);
        self.b.to_bf16(v, true)
    }

    /// Squeezes a value into the range of a sample's argument.
    fn squeeze(&mut self, v: ValueId, arg: &SampleArg) -> ValueId {
        let unit = self.b.unary(&ops::SIGMOID, v);
        let scaled = self.b.scale(unit, arg.hi - arg.lo);
        self.b.offset(scaled, arg.lo)
    }

    fn call(&mut self, op: Op) -> ValueId {
        let samples = (op.sample)();
        let sample = samples[self.below(samples.len())].clone();
        match op.class {
            Class::Elementwise => self.elementwise(op, sample),
            Class::Reduction | Class::Shape if self.draw() < 0.7 => self.reshaped(op, sample),
            Class::Contraction if self.narrow && self.draw() < 0.5 => {
                let args: Vec<ValueId> = sample.args.iter().map(|a| self.rounded(a)).collect();
                self.b.push(op, &args, sample.attrs)
            }
            Class::Contraction => {
                let args: Vec<ValueId> = sample.args.iter().map(|a| self.argument(a)).collect();
                let args: Vec<ValueId> = args.iter().map(|a| self.b.cast(*a, DType::F32)).collect();
                self.b.push(op, &args, sample.attrs)
            }
            Class::Source | Class::Reduction | Class::Pool | Class::Shape | Class::Index => {
                let args: Vec<ValueId> = sample.args.iter().map(|a| self.argument(a)).collect();
                self.b.push(op, &args, sample.attrs)
            }
        }
    }

    /// An element-by-element op on values of the pool, scalars and constants among them.
    fn elementwise(&mut self, op: Op, sample: Sample) -> ValueId {
        let first = self.choose();
        let shape = self.b.shape(first);
        let exact = sample.args.iter().any(|a| a.ty.dtype != DType::F32)
            || matches!(op.grad, ops::Grad::Zero)
            || op == &ops::TO_BF16;
        let mut args = Vec::new();
        for (i, arg) in sample.args.iter().enumerate() {
            let mut wanted = arg.clone();
            wanted.ty.shape = shape.clone();
            let v = if i == 0 && !exact {
                self.squeeze(first, &wanted)
            } else if exact {
                self.input(&wanted)
            } else if self.draw() < 0.3 {
                let value = arg.lo + (arg.hi - arg.lo) * [0.0, 0.5, 1.0][self.below(3)];
                self.b.full(&wanted.ty, value)
            } else {
                let other = self.choose();
                if self.b.ty(other).shape == shape || self.b.ty(other).rank() == 0 {
                    let other = self.squeeze(other, &wanted);
                    self.b.broadcast_to(other, &shape)
                } else {
                    self.input(&wanted)
                }
            };
            args.push(v);
        }
        self.b.push(op, &args, sample.attrs)
    }

    /// A reduction or an op that moves elements, on a value of the pool brought to the sample's shape where it fits.
    fn reshaped(&mut self, op: Op, sample: Sample) -> ValueId {
        let args: Vec<ValueId> = sample
            .args
            .iter()
            .map(|arg| {
                let v = self.choose();
                if self.b.ty(v).len() == arg.ty.len() && arg.ty.dtype == DType::F32 {
                    self.b.reshape(v, &arg.ty.shape)
                } else {
                    self.argument(arg)
                }
            })
            .collect();
        self.b.push(op, &args, sample.attrs)
    }

    /// A value of the sample's type: from the pool if there is one, a broadcast of one, or an input.
    fn argument(&mut self, arg: &SampleArg) -> ValueId {
        if arg.ty == Type::new(DType::I32, &[]) {
            return self.b.step();
        }
        if arg.ty.dtype != DType::F32 {
            return self.input(arg);
        }
        let found = self.choose();
        if self.b.ty(found).shape == arg.ty.shape {
            return found;
        }
        if self.b.ty(found).rank() == 0 {
            return self.b.broadcast_to(found, &arg.ty.shape);
        }
        self.input(arg)
    }
}
