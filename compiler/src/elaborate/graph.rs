//! A graph while a spec is evaluated into it.

use super::layers::NormUse;
use super::values::NetworkId;
use crate::core::builder::Builder;
use crate::core::graph::{Attrs, Graph, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The key of equal values: op, attributes, equal arguments.
type Key = (&'static str, Attrs, Vec<ValueId>);

/// The graph, and what is known of its nodes.
#[derive(Debug, Default)]
pub struct Building {
    pub b: Builder,
    /// Sources by path or name, one node each.
    pub sources: BTreeMap<String, ValueId>,
    /// Networks by what they were applied to.
    pub applied: BTreeMap<(NetworkId, ValueId), ValueId>,
    /// Batch norms in the order they were applied.
    pub norm_uses: Vec<NormUse>,
    /// Random draws made so far.
    pub draws: usize,
    /// Values that a top-level `let` has named.
    pub lets: BTreeSet<ValueId>,
    canonical: Vec<ValueId>,
    by_key: HashMap<Key, ValueId>,
}

impl Building {
    /// The first node that computes the same value.
    pub fn canonical(&mut self, v: ValueId) -> ValueId {
        for i in self.canonical.len()..=v.index() {
            let node = &self.b.graph.nodes[i];
            let args = node
                .args
                .iter()
                .map(|a| self.canonical[a.index()])
                .collect();
            let key = (node.op.name, node.attrs.clone(), args);
            let first = *self.by_key.entry(key).or_insert(ValueId(i as u32));
            self.canonical.push(first);
        }
        self.canonical[v.index()]
    }
}

/// Which nodes the roots need.
pub fn reached(graph: &Graph, roots: impl IntoIterator<Item = ValueId>) -> Vec<bool> {
    let mut reached = vec![false; graph.nodes.len()];
    for root in roots {
        reached[root.index()] = true;
    }
    for i in (0..graph.nodes.len()).rev() {
        if reached[i] {
            for arg in &graph.nodes[i].args {
                reached[arg.index()] = true;
            }
        }
    }
    reached
}

/// The graph without nodes that no output needs, and where each node went.
pub fn prune(graph: Graph) -> (Graph, Vec<Option<ValueId>>) {
    let keep = reached(&graph, graph.outputs.iter().map(|(_, v)| *v));
    let mut moved: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    let mut nodes = Vec::new();
    for (i, mut node) in graph.nodes.into_iter().enumerate() {
        if !keep[i] {
            continue;
        }
        node.args = node.args.iter().filter_map(|a| moved[a.index()]).collect();
        moved[i] = Some(ValueId(nodes.len() as u32));
        nodes.push(node);
    }
    let outputs = graph
        .outputs
        .into_iter()
        .filter_map(|(name, v)| Some((name, moved[v.index()]?)))
        .collect();
    (Graph { nodes, outputs }, moved)
}
