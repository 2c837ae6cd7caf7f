//! Loop kernels: a launch for each set of axes that outputs are combined over.

use super::canon::canonical;
use super::draft::{Draft, Drafts};
use super::reduce::reductions;
use super::stores::stores;
use sslc_compiler::kernels::ir::{Buffer, Combine, LoopKernel, LoopOutput};

/// The launches of a loop kernel.
///
/// What is stored at each point is stored in the last of them: nothing reads a place then that it may lie over.
pub fn loop_kernel(kernel: &LoopKernel, buffers: &[Buffer]) -> Drafts {
    let kernel = canonical(kernel);
    let mut groups: Vec<Vec<&LoopOutput>> = Vec::new();
    let mut stored: Vec<&LoopOutput> = Vec::new();
    for output in &kernel.outputs {
        if output.combine == Combine::Store {
            stored.push(output);
            continue;
        }
        let alike = |g: &&mut Vec<&LoopOutput>| g[0].combine.axes() == output.combine.axes();
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(output),
            None => groups.push(vec![output]),
        }
    }
    let last = groups.len().checked_sub(1);
    let mut all = Drafts::default();
    for (n, group) in groups.into_iter().enumerate() {
        let with: &[&LoopOutput] = if Some(n) == last { &stored } else { &[] };
        let drafts = reductions(&kernel, group, with, buffers);
        all.scratch_words = all.scratch_words.max(drafts.scratch_words);
        all.launches.extend(drafts.launches);
    }
    if last.is_none() {
        let draft: Option<Draft> = stores(&kernel, &stored, buffers);
        all.launches.extend(draft);
    }
    all
}
