//! Fusion with contractions, the other side: a loop kernel whose value only convolutions and filter gradients read becomes
//! their prologue, so that it is made in the cache, piece by piece, and never stored.
//!
//! A prologue must be short, and must load no more than was loaded anyway: one tensor of the operand's size, and values of
//! channels. It is evaluated by every reader, for 3×3 windows more than once for each pixel since pieces overlap, and again for every
//! block of a filter's gradient: at some number of [`evaluations`] a pass over memory is cheaper. Every reader must take it,
//! else the value is stored all the same.

use super::assemble::Draft;
use super::dag::Dag;
use super::epilogues::over;
use super::ir::{
    Access, Algorithm, BufferId, Combine, Contraction, ConvShape, Fused, Inst, KernelKind,
    LoopKernel,
};
use std::collections::BTreeSet;

/// The most operations of a prologue: a normalisation and an activation.
const MAX_OPERATIONS: usize = 8;
/// The most evaluations of all readers together: a normalisation in the cache takes about a fifth of the time of a pass over
/// memory, which is saved once or, where the value would be made again for the backward pass, twice.
const MAX_EVALUATIONS: f64 = 6.0;
/// Evaluations of a pixel where windows overlap: rows that two pieces read.
const OVERLAP: f64 = 1.25;
/// Channels, of the operand and of the output, of a block of a filter's gradient: of 1×1 windows, and of larger ones.
const BLOCK: usize = 256;
const WINDOW_BLOCK: usize = 64;

/// Turns loop kernels into prologues of all kernels that read what they make.
pub fn attach(dag: &Dag, drafts: Vec<Draft>) -> Vec<Draft> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); dag.nodes.len()];
    for (d, draft) in drafts.iter().enumerate() {
        draft.reads.iter().for_each(|id| readers[*id].push(d));
    }
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    for maker in 0..drafts.len() {
        let Some((value, made)) = drafts[maker].as_ref().and_then(|d| candidate(dag, d)) else {
            continue;
        };
        let prologues: Option<Vec<(LoopKernel, f64)>> = readers[value]
            .iter()
            .map(|r| prologue(drafts[*r].as_ref()?, value, made))
            .collect();
        let worth = |p: &Vec<(LoopKernel, f64)>| {
            !p.is_empty() && p.iter().map(|(_, times)| times).sum::<f64>() <= MAX_EVALUATIONS
        };
        let Some(prologues) = prologues.filter(worth) else {
            continue;
        };
        let loads: Vec<usize> = made.loads().map(|a| a.buffer.0 as usize).collect();
        for (reader, (prologue, _)) in readers[value].iter().zip(prologues) {
            if let Some(draft) = &mut drafts[*reader] {
                begin_with(draft, value, prologue, &loads);
            }
        }
        drafts[maker] = None;
    }
    drafts.into_iter().flatten().collect()
}

/// The value that a loop kernel makes, if it makes one, point by point, that the host does not read.
fn candidate<'a>(dag: &Dag, draft: &'a Draft) -> Option<(usize, &'a LoopKernel)> {
    let (KernelKind::Loop(kernel), [value]) = (&draft.kind, &draft.writes[..]) else {
        return None;
    };
    let [output] = &kernel.outputs[..] else {
        return None;
    };
    let short = kernel.operations() <= MAX_OPERATIONS;
    let read = dag.ports.iter().any(|(_, id)| id == value);
    (output.combine == Combine::Store && short && !read).then_some((*value, kernel))
}

/// The loop over a reader's pixels and channels, if the reader takes it, and how often it evaluates that.
fn prologue(reader: &Draft, value: usize, kernel: &LoopKernel) -> Option<(LoopKernel, f64)> {
    let contraction = reader.kind.contraction()?;
    let (operand, shape) = contraction.piecewise()?;
    let is_value = |b: BufferId| b.0 as usize == value;
    let (a, b) = contraction.operands();
    if !is_value(operand) || a == b {
        return None;
    }
    if let KernelKind::Fused(fused) = &reader.kind
        && fused.loops().any(|l| l.loads().any(|a| is_value(a.buffer)))
    {
        return None;
    }
    let prologue = over(kernel, shape)?;
    let dense = prologue.outputs[0].to.is_dense(shape);
    let loads: Vec<&Access> = prologue.loads().collect();
    let full = loads.iter().filter(|a| a.is_dense(shape)).count();
    let of_channels = |a: &&&Access| a.strides[0] == 0 && a.valid.iter().all(Option::is_none);
    let small = loads.iter().filter(of_channels).count();
    let index = prologue.body.iter().any(|i| matches!(i, Inst::Index(_)));
    if !dense || full != 1 || full + small != loads.len() || index {
        return None;
    }
    Some((prologue, evaluations(contraction)?))
}

/// How often a contraction evaluates a prologue for each element of the operand, about; `None` where it reads a part of the
/// operand only.
pub fn evaluations(contraction: &Contraction) -> Option<f64> {
    let times = |s: &ConvShape, blocks: usize| {
        let whole = s.groups == 1 && s.kernel >= s.stride;
        let overlap = if s.kernel == 1 { 1.0 } else { OVERLAP };
        whole.then_some(blocks as f64 * overlap)
    };
    match contraction {
        Contraction::Conv { shape: s, .. } => times(s, 1),
        Contraction::ConvFilterGrad {
            shape: s,
            algorithm,
            ..
        } => {
            let blocks = match (algorithm, s.kernel) {
                (Algorithm::Winograd, _) => 1,
                (Algorithm::Direct, 1) => s.c.div_ceil(BLOCK) * s.k.div_ceil(BLOCK),
                (Algorithm::Direct, _) => s.c.div_ceil(WINDOW_BLOCK),
            };
            times(s, blocks)
        }
        Contraction::MatMul { .. } | Contraction::ConvInputGrad { .. } => None,
    }
}

fn begin_with(draft: &mut Draft, value: usize, prologue: LoopKernel, loads: &[usize]) {
    let reads: BTreeSet<usize> = draft.reads.iter().chain(loads).copied().collect();
    draft.reads = reads.into_iter().filter(|id| *id != value).collect();
    if let KernelKind::Contraction(contraction) = &draft.kind {
        draft.kind = KernelKind::Fused(Fused {
            prologue: None,
            contraction: contraction.clone(),
            epilogue: None,
        });
    }
    if let KernelKind::Fused(fused) = &mut draft.kind {
        fused.prologue = Some(prologue);
    }
}
