//! Fusion with contractions: a loop kernel over a contraction's result becomes its epilogue, so that the result is read from
//! the cache as it is made; and where nothing else reads the result, it is not kept.
//!
//! An epilogue does no work that the loop kernel did not do, so it is attached wherever the two may be one kernel: the
//! loop runs over the result's rows and columns, reads the result at its own point only, waits for nothing that waits for the
//! contraction, and makes no update.

use super::assemble::Draft;
use super::dag::Dag;
use super::ir::{Access, BufferId, Combine, Contraction, Fused, Inst, KernelKind, LoopKernel};
use std::collections::BTreeSet;

/// Attaches epilogues, the latest contraction first: where a loop reads several results, the last is in the cache.
pub fn attach(dag: &Dag, drafts: Vec<Draft>) -> Vec<Draft> {
    let mut made = Made::new(dag, drafts);
    for c in (0..made.drafts.len()).rev() {
        if let Some((at, fused)) = made.epilogue(c) {
            made.drafts[at] = Some(fused);
            made.drafts[c] = None;
            made.index();
        }
    }
    made.drafts.into_iter().flatten().collect()
}

struct Made<'a> {
    dag: &'a Dag,
    /// `None` where a kernel has gone into another.
    drafts: Vec<Option<Draft>>,
    /// Per node, the kernel that makes it and the kernels that read it.
    maker: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl Made<'_> {
    fn new(dag: &Dag, drafts: Vec<Draft>) -> Made<'_> {
        let mut made = Made {
            dag,
            drafts: drafts.into_iter().map(Some).collect(),
            maker: Vec::new(),
            readers: Vec::new(),
        };
        made.index();
        made
    }

    fn index(&mut self) {
        self.maker = vec![None; self.dag.nodes.len()];
        self.readers = vec![Vec::new(); self.dag.nodes.len()];
        for (d, draft) in self.drafts.iter().enumerate() {
            let Some(draft) = draft else { continue };
            draft.writes.iter().for_each(|id| self.maker[*id] = Some(d));
            draft.reads.iter().for_each(|id| self.readers[*id].push(d));
        }
    }

    /// The kernel that a contraction and one of the loops that read its result become, in the place of the loop.
    fn epilogue(&self, c: usize) -> Option<(usize, Draft)> {
        let draft = self.drafts[c].as_ref()?;
        let KernelKind::Contraction(contraction) = &draft.kind else {
            return None;
        };
        if matches!(contraction, Contraction::ConvFilterGrad { .. }) {
            return None;
        }
        let result = contraction.result().0 as usize;
        if self.dag.is_update(result) {
            return None;
        }
        self.readers[result].iter().find_map(|at| {
            let reader = self.drafts[*at].as_ref()?;
            let KernelKind::Loop(kernel) = &reader.kind else {
                return None;
            };
            if reader.writes.iter().any(|id| self.dag.is_update(*id)) {
                return None;
            }
            let epilogue = over(kernel, contraction.result_shape())?;
            let fused = Fused {
                prologue: None,
                contraction: contraction.clone(),
                epilogue: None,
            };
            let aligned = |a: &Access| a.buffer != contraction.result() || fused.is_result(a);
            let others = || reader.reads.iter().copied().filter(|id| *id != result);
            if !epilogue.loads().all(aligned) || self.depend(others(), c) {
                return None;
            }
            Some((*at, self.fuse(draft, reader, fused, epilogue)))
        })
    }

    fn fuse(
        &self,
        draft: &Draft,
        reader: &Draft,
        mut fused: Fused,
        mut epilogue: LoopKernel,
    ) -> Draft {
        let result = fused.contraction.result().0 as usize;
        let read_elsewhere =
            self.readers[result].len() > 1 || self.dag.ports.iter().any(|(_, id)| *id == result);
        let mut writes: BTreeSet<usize> = reader.writes.iter().copied().collect();
        let over = epilogue.outputs.iter().find(|o| {
            let mut to = o.to.clone();
            to.buffer = fused.contraction.result();
            let element = |id: usize| self.dag.nodes[id].element;
            o.combine == Combine::Store
                && fused.is_result(&to)
                && element(o.to.buffer.0 as usize) == element(result)
        });
        match over.map(|o| o.to.buffer) {
            Some(over) if !read_elsewhere => {
                keep_only(&mut fused.contraction, &mut epilogue, over);
            }
            _ => {
                writes.insert(result);
            }
        }
        fused.epilogue = Some(epilogue);
        let reads = draft.reads.iter().chain(&reader.reads).copied();
        let mut made_of = draft.made_of.clone();
        made_of.extend(&reader.made_of);
        made_of.sort_unstable();
        made_of.dedup();
        Draft {
            kind: KernelKind::Fused(fused),
            reads: reads
                .filter(|id| *id != result)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            writes: writes.into_iter().collect(),
            made_of,
        }
    }

    /// Whether some nodes depend on what a kernel makes.
    fn depend(&self, nodes: impl Iterator<Item = usize>, on: usize) -> bool {
        let mut open: Vec<usize> = nodes.filter_map(|id| self.maker[id]).collect();
        let mut seen = vec![false; self.drafts.len()];
        while let Some(d) = open.pop() {
            if d == on {
                return true;
            }
            if !std::mem::replace(&mut seen[d], true)
                && let Some(draft) = &self.drafts[d]
            {
                open.extend(draft.reads.iter().filter_map(|id| self.maker[*id]));
            }
        }
        false
    }
}

/// Lets an output of the epilogue stand where the contraction's result would.
fn keep_only(contraction: &mut Contraction, epilogue: &mut LoopKernel, output: BufferId) {
    let result = contraction.result();
    *contraction.result_mut() = output;
    for inst in &mut epilogue.body {
        if let Inst::Load(access) = inst
            && access.buffer == result
        {
            access.buffer = output;
        }
    }
}

/// The same kernel over rows and columns, if it runs over those or over both as one axis.
pub fn over(kernel: &LoopKernel, [rows, columns]: [usize; 2]) -> Option<LoopKernel> {
    if kernel.shape == [rows, columns] {
        return Some(kernel.clone());
    }
    if kernel.shape != [rows * columns] {
        return None;
    }
    let mut kernel = kernel.clone();
    kernel.shape = vec![rows, columns];
    for inst in &mut kernel.body {
        match inst {
            Inst::Load(access) => split(access, columns)?,
            Inst::Index(_) => return None,
            Inst::Const(_) | Inst::Unary(..) | Inst::Binary(..) | Inst::Select(..) => {}
        }
    }
    for output in &mut kernel.outputs {
        split(&mut output.to, columns)?;
        if let Combine::Sum(axes) | Combine::Max(axes) | Combine::Deviations(axes) =
            &mut output.combine
            && !axes.is_empty()
        {
            *axes = vec![0, 1];
        }
    }
    Some(kernel)
}

/// Splits an access's only axis into rows and columns.
fn split(access: &mut Access, columns: usize) -> Option<()> {
    let ([stride], [None]) = (&access.strides[..], &access.valid[..]) else {
        return None;
    };
    access.strides = vec![stride * columns as i64, *stride];
    access.valid = vec![None, None];
    Some(())
}
