//! Arguments to try an op with: what gradient checks and tests of backends run.

use crate::core::graph::{Attr, DType, Type};
use crate::core::interp::Tensor;

/// One call of an op.
#[derive(Clone, Debug)]
pub struct Sample {
    pub args: Vec<SampleArg>,
    pub attrs: Vec<(&'static str, Attr)>,
}

/// An argument: its type, and the range its values are drawn from (f32 uniformly, i32 as integers in [lo, hi),
/// bool fairly).
#[derive(Clone, Debug)]
pub struct SampleArg {
    pub ty: Type,
    pub lo: f64,
    pub hi: f64,
    /// Whether the op's gradient covers this argument; false where the rule leaves it out on purpose.
    pub differentiated: bool,
}

impl Sample {
    pub fn new(args: Vec<SampleArg>) -> Sample {
        Sample {
            args,
            attrs: Vec::new(),
        }
    }

    pub fn attr(mut self, name: &'static str, value: impl Into<Attr>) -> Sample {
        self.attrs.push((name, value.into()));
        self
    }

    /// The values of the arguments: the same for the same seed, whatever the machine.
    pub fn values(&self, seed: u64) -> Vec<Tensor> {
        self.args
            .iter()
            .enumerate()
            .map(|(i, arg)| Tensor {
                shape: arg.ty.shape.clone(),
                data: (0..arg.ty.len())
                    .map(|e| {
                        let u = f64::from(crate::core::rng::uniform(seed, i as u64, 0, e as u64));
                        match arg.ty.dtype {
                            DType::F32 | DType::Bf16 => {
                                f64::from((arg.lo + (arg.hi - arg.lo) * u) as f32)
                            }
                            DType::I32 => (arg.lo + (arg.hi - arg.lo) * u).floor(),
                            DType::Bool => f64::from(u < 0.5),
                        }
                    })
                    .collect(),
            })
            .collect()
    }
}

/// Values in [-1, 1).
pub fn f32s(shape: &[usize]) -> SampleArg {
    f32_in(shape, -1.0, 1.0)
}

pub fn f32_in(shape: &[usize], lo: f64, hi: f64) -> SampleArg {
    SampleArg {
        ty: Type::f32(shape),
        lo,
        hi,
        differentiated: true,
    }
}

/// Indices in [0, below).
pub fn i32_below(shape: &[usize], below: usize) -> SampleArg {
    SampleArg {
        ty: Type::new(DType::I32, shape),
        lo: 0.0,
        hi: below as f64,
        differentiated: false,
    }
}

pub fn bools(shape: &[usize]) -> SampleArg {
    SampleArg {
        ty: Type::new(DType::Bool, shape),
        lo: 0.0,
        hi: 1.0,
        differentiated: false,
    }
}
