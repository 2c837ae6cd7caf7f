//! Loop kernels that only store: a thread for each point, or for each four.

use super::canon::points;
use super::draft::{Draft, Pointers, blocks, head};
use super::lanes::{declare_indices, declare_loads, evaluate, width};
use super::writer::Writer;
use sslc_compiler::kernels::ir::{Buffer, LoopKernel, LoopOutput};

/// Threads of a block.
const THREADS: usize = 256;

/// The launch of outputs that are stored, of a kernel that [`super::canon::canonical`] made; none over an empty index space.
pub fn stores(kernel: &LoopKernel, outputs: &[&LoopOutput], buffers: &[Buffer]) -> Option<Draft> {
    let width = width(kernel, outputs);
    let units = points(&kernel.shape) / width;
    if units == 0 || outputs.is_empty() {
        return None;
    }
    let threads = units.next_multiple_of(32).min(THREADS);
    let wide = units > i32::MAX as usize - THREADS;
    let mut pointers = Pointers::new(buffers);
    declare_loads(&mut pointers, kernel, outputs);
    outputs.iter().for_each(|o| pointers.write(o.to.buffer));
    let mut w = Writer::default();
    w.open(head(threads as u32, &pointers.parameters()));
    let kind = if wide {
        "unsigned long long"
    } else {
        "unsigned"
    };
    let first = if wide {
        "(unsigned long long)blockIdx.x"
    } else {
        "blockIdx.x"
    };
    w.line(format!(
        "const {kind} at = {first} * {threads} + threadIdx.x;"
    ));
    if !units.is_multiple_of(threads) {
        w.open(format!(
            "if (at >= {units}{})",
            if wide { "ull" } else { "u" }
        ));
        w.line("return;");
        w.close();
    }
    let axes: Vec<usize> = (0..kernel.shape.len()).collect();
    declare_indices(&mut w, "at", &kernel.shape, &axes, width, wide);
    evaluate(&mut w, kernel, &pointers, width, outputs, |_, _| {});
    w.close();
    Some(Draft {
        source: w.finish(),
        suffix: "",
        threads: threads as u32,
        shared_bytes: 0,
        arguments: pointers.arguments(),
        grid: [blocks(units, threads), 1, 1],
    })
}
