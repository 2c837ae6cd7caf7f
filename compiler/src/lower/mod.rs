//! Lowering: a core graph as a `luminal::Graph` of luminal's primitive operators and our few own ones.
//!
//! - [`view`]: how a value reads a node's tensor; the shape tracker of an edge.
//! - [`build`]: building the graph: primitives over views, and arithmetic composed of them.
//! - [`elementwise`], [`moves`], [`contraction`]: one function per core op, named in the registry's rows.
//! - [`operators`]: our own luminal operators.
//! - [`reference`]: running the graph on luminal's CPU operators: the reference semantics.
//! - [`text`]: the stage `luminal` as text, JSON and dot.
//!
//! Invariant: slices and pads stand only on edges into `Contiguous`, pads also on the `Add` of a concatenation, and
//! every operator that ignores shape trackers has dense inputs.

use crate::core::graph::{Attr, Attrs, Graph, Type};
use crate::core::ops::Class;
use build::{Lowerer, Value};
use luminal::graph::NodeIndex;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

pub mod build;
pub mod contraction;
pub mod elementwise;
pub mod moves;
pub mod operators;
pub mod reference;
pub mod text;
pub mod view;

#[cfg(test)]
mod tests;

/// What the lowering of an op sees.
pub struct LowerCtx<'a> {
    pub b: &'a mut Lowerer,
    pub args: &'a [Value],
    pub arg_types: &'a [&'a Type],
    pub attrs: &'a Attrs,
    /// The type of the result.
    pub ty: &'a Type,
}

/// The lowering of an op: the registry's column.
pub type LowerFn = fn(&mut LowerCtx) -> Value;

/// A value the host knows by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// `view/x1`, `param/f.conv1.weight`, `loss`
    pub name: String,
    pub node: NodeIndex,
    pub shape: Vec<usize>,
}

/// What a node was made for.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The core op's name.
    pub op: &'static str,
    /// The core value's name, or that of the parameter or view it is.
    pub name: Option<String>,
}

/// A lowered graph, and what its nodes are to the host and to people.
///
/// The graph is boxed: luminal's graphs must not move while they run.
pub struct Lowered {
    pub graph: Box<luminal::graph::Graph>,
    /// In order of first use; a source no output depends on is not among them.
    pub sources: Vec<Port>,
    /// In the core graph's order; each node is dense.
    pub outputs: Vec<Port>,
    /// By node index; nodes are never removed while lowering.
    pub notes: Vec<Note>,
}

/// Elements of a tensor that a device can hold: luminal counts them in i32.
pub const MAX_DEVICE_ELEMENTS: usize = 1 << 31;

/// Whether every tensor is small enough to be lowered.
///
/// # Errors
/// E0703 with the largest tensor that is not.
pub fn check_sizes(graph: &Graph) -> Result<(), Diagnostic> {
    let largest = graph.nodes.iter().max_by_key(|n| n.ty.len());
    match largest {
        Some(node) if node.ty.len() >= MAX_DEVICE_ELEMENTS => Err(Diagnostic::new(
            codes::E0703,
            format!(
                "a tensor of this step, {} of '{}', would take {:.0} GiB; a device holds fewer than 2^31 elements of one",
                node.ty,
                node.op.name,
                node.ty.len() as f64 * 4.0 / f64::from(1 << 30)
            ),
        )
        .help("lower the batch: --set train.batch=…; `accumulate` makes up for it where the loss allows")),
        _ => Ok(()),
    }
}

/// Lowers a verified core graph that passes [`check_sizes`]: the nodes its outputs depend on.
pub fn lower(graph: &Graph) -> Lowered {
    let live = live(graph);
    let mut b = Lowerer::default();
    let mut values: Vec<Option<Value>> = vec![None; graph.nodes.len()];
    let mut sources = Vec::new();
    for (id, node) in graph.iter().filter(|(id, _)| live[id.index()]) {
        b.begin(id.0);
        let args: Vec<Value> = node
            .args
            .iter()
            .filter_map(|a| values[a.index()].clone())
            .collect();
        let arg_types: Vec<&Type> = node.args.iter().map(|a| graph.ty(*a)).collect();
        let mut c = LowerCtx {
            b: &mut b,
            args: &args,
            arg_types: &arg_types,
            attrs: &node.attrs,
            ty: &node.ty,
        };
        let value = (node.op.lower)(&mut c);
        debug_assert_eq!(
            value.shape(),
            node.ty.shape,
            "the lowering of `{}`",
            node.op.name
        );
        if node.op.class == Class::Source
            && let Some(name) = b.source_name(&value)
            && sources.iter().all(|p: &Port| p.node != value.node)
        {
            sources.push(Port {
                name,
                node: value.node,
                shape: node.ty.shape.clone(),
            });
        }
        values[id.index()] = Some(value);
    }
    let mut outputs = Vec::with_capacity(graph.outputs.len());
    for (name, id) in &graph.outputs {
        let Some(value) = &values[id.index()] else {
            continue;
        };
        b.begin(id.0);
        // A source read under another name is copied: its own update must not change the output.
        let dense = match b.source_name(value) {
            Some(source) if source != *name => b.copy(value),
            _ => b.dense(value),
        };
        outputs.push(Port {
            name: name.clone(),
            node: dense.node,
            shape: dense.shape(),
        });
    }
    let (lowered, made_for) = b.finish();
    let note = |id: &u32| {
        let node = &graph.nodes[*id as usize];
        let own = || {
            ["path", "name"]
                .iter()
                .find_map(|a| match node.attrs.get(a) {
                    Some(Attr::Str(s)) => Some(s.clone()),
                    _ => None,
                })
        };
        Note {
            op: node.op.name,
            name: node.name.clone().or_else(own),
        }
    };
    Lowered {
        graph: lowered,
        sources,
        outputs,
        notes: made_for.iter().map(note).collect(),
    }
}

/// Which nodes the outputs depend on.
fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.nodes.len()];
    for (_, id) in &graph.outputs {
        live[id.index()] = true;
    }
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        if live[id] {
            node.args.iter().for_each(|a| live[a.index()] = true);
        }
    }
    live
}
