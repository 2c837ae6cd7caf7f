//! Buffers: which tensor lives where, updates in place, and what must run before what.
//!
//! An update (an output with the name of a source that is kept) is written straight into the kept tensor where every reader of the old
//! value can run before; else into a temporary that a last kernel copies over.

use super::assemble::Draft;
use super::dag::{Dag, Node, Op};
use super::ir::{
    Access, Buffer, BufferId, BufferKind, Combine, Contraction, Fused, Indexed, Inst, KernelKind,
    LoopKernel, LoopOutput,
};
use super::plan::replaces;
use std::collections::{BTreeMap, BTreeSet};

/// Kernels over buffers, with what each must wait for.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// Offsets are not set yet.
    pub buffers: Vec<Buffer>,
    pub drafts: Vec<Draft>,
    /// Per kernel, the kernels that run before it.
    pub before: Vec<BTreeSet<usize>>,
    /// Per kernel, buffers read and written.
    pub reads: Vec<Vec<usize>>,
    pub writes: Vec<Vec<usize>>,
    /// Kernels that make a value again which was let go.
    pub again: BTreeSet<usize>,
}

/// Whether a source is kept from step to step.
pub fn is_kept(name: &str) -> bool {
    ["param/", "buffer/", "state/"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

/// Gives every tensor a buffer. `name` names a node's tensor.
pub fn bind(dag: &Dag, drafts: Vec<Draft>, name: impl Fn(usize) -> String) -> Bound {
    let mut bound = Bound {
        drafts,
        ..Bound::default()
    };
    let mut home: BTreeMap<usize, usize> = BTreeMap::new();
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, node) in dag.nodes.iter().enumerate() {
        if let Op::Source(name) = &node.op {
            let kind = if is_kept(name) {
                BufferKind::State
            } else {
                BufferKind::Input
            };
            home.insert(id, bound.buffer(name.clone(), kind, node));
            sources.insert(name, id);
        }
    }
    bound.order(&home);
    let mut copies: Vec<(usize, usize)> = Vec::new();
    for (name, id) in &dag.ports {
        let node = &dag.nodes[*id];
        match sources.get(name.as_str()) {
            Some(source) if bound.update(*id, *source) => {
                home.insert(*id, home[source]);
            }
            Some(source) => copies.push((*id, *source)),
            None => {
                home.insert(*id, bound.buffer(name.clone(), BufferKind::Output, node));
            }
        }
    }
    for d in 0..bound.drafts.len() {
        for id in bound.drafts[d].writes.clone() {
            home.entry(id)
                .or_insert_with(|| bound.buffer(name(id), BufferKind::Temporary, &dag.nodes[id]));
        }
    }
    for d in 0..bound.drafts.len() {
        if let Some(id) = bound.drafts[d].made() {
            home.entry(id)
                .or_insert_with(|| bound.buffer(name(id), BufferKind::Piecewise, &dag.nodes[id]));
        }
    }
    for (id, source) in copies {
        bound.copy(dag, id, source);
    }
    let place = |id: &usize| home[id];
    for draft in &mut bound.drafts {
        rename(&mut draft.kind, |b| b.0 = home[&(b.0 as usize)] as u32);
        bound.reads.push(draft.reads.iter().map(place).collect());
        bound.writes.push(draft.writes.iter().map(place).collect());
    }
    bound
}

impl Bound {
    fn buffer(&mut self, name: String, kind: BufferKind, node: &Node) -> usize {
        self.buffers.push(Buffer {
            name,
            kind,
            element: node.element,
            shape: node.shape.clone(),
            offset: 0,
        });
        self.buffers.len() - 1
    }

    /// Writers before readers.
    fn order(&mut self, sources: &BTreeMap<usize, usize>) {
        let mut maker: BTreeMap<usize, usize> = BTreeMap::new();
        for (d, draft) in self.drafts.iter().enumerate() {
            draft.writes.iter().for_each(|id| {
                maker.insert(*id, d);
            });
        }
        self.before = self
            .drafts
            .iter()
            .map(|draft| {
                let made = draft.reads.iter().filter(|id| !sources.contains_key(id));
                made.filter_map(|id| maker.get(id).copied()).collect()
            })
            .collect();
    }

    fn readers(&self, id: usize) -> Vec<usize> {
        (0..self.drafts.len())
            .filter(|d| self.drafts[*d].reads.binary_search(&id).is_ok())
            .collect()
    }

    /// Lets the writer of `id` write over `source`, if all readers of that can run before.
    fn update(&mut self, id: usize, source: usize) -> bool {
        let Some(writer) = self.drafts.iter().position(|d| d.writes.contains(&id)) else {
            return false;
        };
        if !in_place(&self.drafts[writer], id, source) {
            return false;
        }
        let readers: Vec<usize> = self
            .readers(source)
            .into_iter()
            .filter(|d| *d != writer)
            .collect();
        if readers.iter().any(|reader| self.waits_for(*reader, writer)) {
            return false;
        }
        self.before[writer].extend(readers);
        true
    }

    /// Whether `a` runs after `b` in any case.
    fn waits_for(&self, a: usize, b: usize) -> bool {
        let (mut open, mut seen) = (vec![a], BTreeSet::new());
        while let Some(d) = open.pop() {
            if d == b {
                return true;
            }
            if seen.insert(d) {
                open.extend(&self.before[d]);
            }
        }
        false
    }

    /// A last kernel that copies `id` over `source`.
    fn copy(&mut self, dag: &Dag, id: usize, source: usize) {
        let mut before: BTreeSet<usize> = self.readers(source).into_iter().collect();
        before.extend(self.drafts.iter().position(|d| d.writes.contains(&id)));
        let at = |id: usize| Access {
            buffer: BufferId(id as u32),
            offset: 0,
            strides: vec![1],
            valid: vec![None],
        };
        let kernel = LoopKernel {
            shape: vec![dag.nodes[id].len],
            body: vec![Inst::Load(at(id))],
            outputs: vec![LoopOutput {
                value: 0,
                combine: Combine::Store,
                to: at(source),
            }],
        };
        self.drafts.push(Draft {
            kind: KernelKind::Loop(kernel),
            reads: vec![id],
            writes: vec![source],
            made_of: vec![id],
        });
        self.before.push(before);
    }
}

/// Whether a kernel may write `id` over `source`.
fn in_place(draft: &Draft, id: usize, source: usize) -> bool {
    !draft.reads.contains(&source) || replaces(&draft.kind, source, id)
}

/// Applies `f` to every buffer a kernel names.
pub fn rename(kind: &mut KernelKind, mut f: impl FnMut(&mut BufferId)) {
    let loops: Vec<&mut LoopKernel> = match kind {
        KernelKind::Loop(kernel) => vec![kernel],
        KernelKind::Fused(fused) => fused
            .prologue
            .iter_mut()
            .chain(&mut fused.epilogue)
            .collect(),
        KernelKind::Indexed(_) | KernelKind::Contraction(_) => vec![],
    };
    for kernel in loops {
        for inst in &mut kernel.body {
            if let Inst::Load(access) = inst {
                f(&mut access.buffer);
            }
        }
        kernel.outputs.iter_mut().for_each(|o| f(&mut o.to.buffer));
    }
    operands(kind).into_iter().for_each(f);
}

/// The buffers of a kernel apart from those of a loop: inputs, then the output.
fn operands(kind: &mut KernelKind) -> Vec<&mut BufferId> {
    match kind {
        KernelKind::Loop(_) => vec![],
        KernelKind::Indexed(kernel) => match kernel {
            Indexed::Take { x, index, y, .. } => vec![x, index, y],
            Indexed::ScatterAdd { y, index, x, .. } => vec![y, index, x],
            Indexed::MaxPoolGrad { x, dy, dx, .. } => vec![x, dy, dx],
            Indexed::ArgMax { x, y, .. }
            | Indexed::MaxPool { x, y, .. }
            | Indexed::AvgPool { x, y, .. } => vec![x, y],
            Indexed::AvgPoolGrad { dy, dx, .. } => vec![dy, dx],
            Indexed::Uniform { step, y, .. } => vec![step, y],
        },
        KernelKind::Contraction(kernel)
        | KernelKind::Fused(Fused {
            contraction: kernel,
            ..
        }) => match kernel {
            Contraction::MatMul { a, b, out, .. } => vec![a, b, out],
            Contraction::Conv { x, w, y, .. } => vec![x, w, y],
            Contraction::ConvInputGrad { dy, w, dx, .. } => vec![dy, w, dx],
            Contraction::ConvFilterGrad { x, dy, dw, .. } => vec![x, dy, dw],
        },
    }
}
