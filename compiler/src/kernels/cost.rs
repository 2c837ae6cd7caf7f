//! What kernels cost: operations and bytes, the numbers behind every claim about speed.

use super::ir::{
    Access, Combine, Contraction, Fused, Indexed, Inst, KernelKind, KernelProgram, LoopKernel,
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
            KernelKind::Fused(fused) => {
                let contraction = KernelKind::Contraction(fused.contraction.clone());
                let loops: u64 = fused.loops().map(|k| self.loop_bytes(k)).sum();
                self.fixed_bytes(contraction) + loops - self.passed(fused) - self.saved(fused)
            }
            kind => self.fixed_bytes(kind.clone()),
        }
    }

    fn fixed_bytes(&self, mut kind: KernelKind) -> u64 {
        let mut sum = 0;
        super::bind::rename(&mut kind, |b| {
            sum += self.buffers[b.0 as usize].bytes() as u64
        });
        sum
    }

    /// Bytes that an epilogue reads and writes in the cache: the contraction's result.
    pub fn saved(&self, fused: &Fused) -> u64 {
        let touches = fused.epilogue.iter().flat_map(|epilogue| {
            let outputs = epilogue.outputs.iter().map(|o| &o.to);
            epilogue.loads().chain(outputs)
        });
        let count = touches.filter(|a| fused.is_result(a)).count() as u64;
        count * self.buffers[fused.contraction.result().0 as usize].bytes() as u64
    }

    /// Bytes that pass from a prologue to its contraction in the cache: the operand is neither written nor read.
    pub fn passed(&self, fused: &Fused) -> u64 {
        let operand = fused.made().map(|b| &self.buffers[b.0 as usize]);
        operand.map_or(0, |b| 2 * b.bytes() as u64)
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
        KernelKind::Loop(kernel) => loop_flops(kernel),
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
        KernelKind::Contraction(kernel) => contraction_flops(kernel),
        KernelKind::Fused(fused) => {
            contraction_flops(&fused.contraction) + fused.loops().map(loop_flops).sum::<u64>()
        }
    }
}

fn loop_flops(kernel: &LoopKernel) -> u64 {
    let points: u64 = kernel.shape.iter().map(|d| *d as u64).product();
    let reductions = kernel.outputs.iter().map(|o| match o.combine {
        Combine::Store => 0,
        Combine::Sum(_) | Combine::Max(_) => 1,
        // The mean's sum, the difference, its square and their sum.
        Combine::Deviations(_) => 4,
    });
    points * (kernel.operations() + reductions.sum::<usize>()) as u64
}

fn contraction_flops(kernel: &Contraction) -> u64 {
    match kernel {
        Contraction::MatMul { batch, m, n, k, .. } => 2 * product(&[*batch, *m, *n, *k]),
        Contraction::Conv { shape: s, .. }
        | Contraction::ConvInputGrad { shape: s, .. }
        | Contraction::ConvFilterGrad { shape: s, .. } => {
            2 * product(&[s.n, s.oh, s.ow, s.k, s.kernel, s.kernel, s.c / s.groups])
        }
    }
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().map(|s| *s as u64).product()
}
