//! From a lowered graph to a planned kernel program.

use super::arrange::{Arranged, arrange};
use super::assemble::{Draft, assemble};
use super::bind::{Bound, bind};
use super::choose::choose;
use super::dag::{Dag, import};
use super::fuse::cluster;
use super::ir::{BufferId, BufferKind, Kernel, KernelKind, KernelProgram};
use super::keep::{keep, live};
use super::{epilogues, prologues};
use crate::lower::{Lowered, Note};
use crate::program::Math;
use luminal::graph::{Graph, NodeIndex};
use sslc_grammar::diag::Diagnostic;

/// What the spec says of how kernels are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub math: Math,
    /// Bytes that the arena may take; values are made again until it fits.
    pub memory: Option<u64>,
}

/// What of a lowered graph the kernels need to know beside the graph.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// The values the host reads, by name.
    pub outputs: Vec<(String, NodeIndex)>,
    /// What each node was made for, by node index.
    pub notes: Vec<Note>,
    pub options: Options,
}

impl Interface {
    pub fn of(lowered: &Lowered, options: Options) -> Interface {
        Interface {
            outputs: lowered
                .outputs
                .iter()
                .map(|p| (p.name.clone(), p.node))
                .collect(),
            notes: lowered.notes.clone(),
            options,
        }
    }
}

/// Imports, fuses, schedules and plans a graph that lowering made.
///
/// # Errors
/// E0704 where the arena does not fit into the memory that is allowed.
pub fn build(graph: &Graph, interface: &Interface) -> Result<KernelProgram, Diagnostic> {
    let dag = import(graph, &interface.outputs);
    let outputs: Vec<usize> = dag.ports.iter().map(|(_, id)| *id).collect();
    let units = cluster(&dag);
    let kept = keep(&dag, &units, &outputs);
    let live = live(&dag, &units, &kept, &outputs);
    let mut drafts = epilogues::attach(&dag, assemble(&dag, &units, &kept, &live));
    for draft in &mut drafts {
        // Buffers are still named by nodes.
        let stored = |b: BufferId| dag.nodes[b.0 as usize].element;
        choose(&mut draft.kind, interface.options.math, stored);
    }
    let drafts = prologues::attach(&dag, drafts);
    let names = Names {
        dag: &dag,
        notes: &interface.notes,
    };
    let bound = bind(&dag, drafts, |id| names.tensor(id));
    let arranged = arrange(&bound, interface.options.memory)?;
    let program = finish(arranged, &names);
    debug_assert_eq!(super::verify::verify(&program), Vec::<String>::new());
    Ok(program)
}

fn finish(arranged: Arranged, names: &Names) -> KernelProgram {
    let Arranged {
        mut bound,
        order,
        arena_len,
        ..
    } = arranged;
    let kernels = order
        .iter()
        .map(|k| {
            let name = names.kernel(&bound, *k);
            Kernel {
                name,
                kind: std::mem::replace(&mut bound.drafts[*k].kind, nothing()),
            }
        })
        .collect();
    let again = order.iter().enumerate();
    let again = again.filter(|(_, k)| bound.again.contains(k));
    KernelProgram {
        again: again.map(|(at, _)| at).collect(),
        buffers: bound.buffers,
        kernels,
        arena_len,
    }
}

fn nothing() -> KernelKind {
    KernelKind::Loop(super::ir::LoopKernel {
        shape: vec![],
        body: vec![],
        outputs: vec![],
    })
}

/// Names in the spec's words.
struct Names<'a> {
    dag: &'a Dag,
    notes: &'a [Note],
}

impl Names<'_> {
    fn note(&self, id: usize) -> Option<&Note> {
        self.notes.get(self.dag.nodes[id].index.index())
    }

    fn tensor(&self, id: usize) -> String {
        match self.note(id) {
            Some(Note {
                name: Some(name), ..
            }) => name.clone(),
            _ => format!("t{id}"),
        }
    }

    /// `conv2d f.conv1`, `relu+add`, `update f.conv1.weight`
    fn kernel(&self, bound: &Bound, kernel: usize) -> String {
        let draft: &Draft = &bound.drafts[kernel];
        let updated: Vec<&str> = bound.writes[kernel]
            .iter()
            .map(|b| &bound.buffers[*b])
            .filter(|b| b.kind == BufferKind::State)
            .map(|b| b.name.as_str())
            .collect();
        if let Some(first) = updated
            .iter()
            .find(|n| n.starts_with("param/"))
            .or(updated.first())
        {
            return format!(
                "update {}",
                first.split_once('/').map_or(*first, |(_, path)| path)
            );
        }
        let mut ops: Vec<&str> = Vec::new();
        let mut name = None;
        for note in draft.made_of.iter().filter_map(|id| self.note(*id)) {
            if !ops.contains(&note.op) && !matches!(note.op, "broadcast" | "reshape" | "constant") {
                ops.push(note.op);
            }
            name = note.name.as_deref().or(name);
        }
        // A stored value's own name tells more than those of what went into it.
        let mut stored = draft.writes.iter().filter_map(|id| self.note(*id));
        name = stored.find_map(|note| note.name.as_deref()).or(name);
        if ops.len() > 4 {
            ops.truncate(3);
            ops.push("…");
        }
        let ops = if ops.is_empty() {
            "copy".to_string()
        } else {
            ops.join("+")
        };
        let again = if bound.again.contains(&kernel) {
            "again: "
        } else {
            ""
        };
        name.map_or(format!("{again}{ops}"), |name| {
            format!("{again}{ops} {name}")
        })
    }
}
