//! What kernels cost: operations and bytes, the numbers behind every claim about speed.

use super::ir::{
    Access, Combine, Contraction, Indexed, Inst, KernelKind, KernelProgram, LoopKernel,
};

impl KernelProgram {
    /// Floating-point operations of a kernel: a multiply-add counts two, every other instruction of a body one.
    pub fn flops(&self, kernel: usize) -> u64 {
        flops(&self.kernels[kernel].kind)
    }

    /// Bytes a kernel reads and writes, each element of a tensor once.
    pub fn bytes(&self, kernel: usize) -> u64 {
        match &self.kernels[kernel].kind {
            KernelKind::Loop(kernel) => self.loop_bytes(kernel),
            KernelKind::Indexed(_) | KernelKind::Contraction(_) => {
                let mut sum = 0;
                let mut kind = self.kernels[kernel].kind.clone();
                super::bind::rename(&mut kind, |b| {
                    sum += self.buffers[b.0 as usize].bytes() as u64
                });
                sum
            }
        }
    }

    fn loop_bytes(&self, kernel: &LoopKernel) -> u64 {
        let touched = |a: &Access| -> u64 {
            let axes = kernel.shape.iter().zip(&a.strides).zip(&a.valid);
            let elements: u64 = axes
                .filter(|((_, stride), _)| **stride != 0)
                .map(|((size, _), valid)| valid.map_or(*size, |(from, to)| to - from) as u64)
                .product();
            elements * self.buffers[a.buffer.0 as usize].element.bytes() as u64
        };
        let loads = kernel.body.iter().filter_map(|i| {
            if let Inst::Load(a) = i {
                Some(touched(a))
            } else {
                None
            }
        });
        loads.sum::<u64>() + kernel.outputs.iter().map(|o| touched(&o.to)).sum::<u64>()
    }

    /// Floating-point operations of the whole program.
    pub fn total_flops(&self) -> u64 {
        self.kernels.iter().map(|k| flops(&k.kind)).sum()
    }
}

/// Seconds that so many operations and bytes take at least on a small processor: what kernels are weighed by where the
/// compiler chooses. Two cores with AVX-512 do 200 GFLOP/s and move 32 GB/s.
pub fn seconds(flops: u64, bytes: u64) -> f64 {
    (flops as f64 / 200e9).max(bytes as f64 / 32e9)
}

/// Floating-point operations of a kernel.
pub fn flops(kernel: &KernelKind) -> u64 {
    match kernel {
        KernelKind::Loop(kernel) => {
            let points: u64 = kernel.shape.iter().map(|d| *d as u64).product();
            let body = kernel
                .body
                .iter()
                .filter(|i| !matches!(i, Inst::Load(_) | Inst::Const(_) | Inst::Index(_)));
            let reductions = kernel
                .outputs
                .iter()
                .filter(|o| o.combine != Combine::Store);
            points * (body.count() + reductions.count()) as u64
        }
        KernelKind::Indexed(kernel) => match kernel {
            Indexed::Take { .. } | Indexed::Uniform { .. } => 0,
            Indexed::ScatterAdd {
                outer,
                count,
                inner,
                ..
            } => product(&[*outer, *count, *inner]),
            Indexed::ArgMax {
                outer, size, inner, ..
            } => product(&[*outer, *size, *inner]),
            Indexed::MaxPool { window, .. }
            | Indexed::MaxPoolGrad { window, .. }
            | Indexed::AvgPool { window, .. }
            | Indexed::AvgPoolGrad { window, .. } => product(&[
                window.n,
                window.oh,
                window.ow,
                window.c,
                window.kernel,
                window.kernel,
            ]),
        },
        KernelKind::Contraction(kernel) => match kernel {
            Contraction::MatMul { batch, m, n, k, .. } => 2 * product(&[*batch, *m, *n, *k]),
            Contraction::Conv { shape: s, .. }
            | Contraction::ConvInputGrad { shape: s, .. }
            | Contraction::ConvFilterGrad { shape: s, .. } => {
                2 * product(&[s.n, s.oh, s.ow, s.k, s.kernel, s.kernel, s.c / s.groups])
            }
        },
    }
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().map(|s| *s as u64).product()
}
