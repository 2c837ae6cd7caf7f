//! Fusion, first part: which maps and reductions may share a kernel.
//!
//! Nodes are taken in order. A map joins the clusters of its inputs that it reads in their own order, where the index spaces fit and no
//! path leads out of a cluster and back into it; clusters that it connects become one. A reduction joins the
//! cluster of its input. What comes after all contractions and makes updates only (the *tail*: optimizer, moving averages)
//! is clustered apart, so that nothing else waits for it. A node of its own kind (contractions, windows) is a unit by itself.
//!
//! Invariant: units and their dependencies form no cycle.

use super::bits::Ancestry;
use super::dag::{Dag, Op};
use super::space::{Read, Space};

/// A cluster of maps and reductions over one space, or a single fixed node.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// `None` for a fixed node.
    pub space: Option<Space>,
    /// In topological order; empty where another unit has taken them in.
    pub members: Vec<usize>,
    /// Whether it makes updates only, with no contraction after it.
    pub tail: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Units {
    pub units: Vec<Unit>,
    /// The unit of each node; sources, constants and counts have none.
    pub of: Vec<Option<usize>>,
    ancestry: Ancestry,
    /// Per node, whether it belongs to the tail.
    tail: Vec<bool>,
}

/// More nodes than this are not put into one kernel.
const MAX_MEMBERS: usize = 256;

/// Whether a read takes the elements of a map in their own order, so that both can be evaluated at one point.
pub fn is_aligned(dag: &Dag, read: &Read) -> bool {
    let from = &dag.nodes[read.node];
    from.is_map() && read.is_dense() && read.elements() == from.len
}

/// Which nodes neither a fixed node nor an output other than an update depends on.
fn tail(dag: &Dag) -> Vec<bool> {
    let mut tail = vec![true; dag.nodes.len()];
    for (_, id) in dag.ports.iter().filter(|(_, id)| !dag.is_update(*id)) {
        tail[*id] = false;
    }
    for (id, node) in dag.nodes.iter().enumerate().rev() {
        if !tail[id] || matches!(node.op, Op::Fixed(_)) {
            node.inputs.iter().for_each(|r| tail[r.node] = false);
        }
    }
    tail
}

/// Clusters the nodes of a graph.
pub fn cluster(dag: &Dag) -> Units {
    let mut units = Units {
        of: vec![None; dag.nodes.len()],
        tail: tail(dag),
        ..Units::default()
    };
    for (id, node) in dag.nodes.iter().enumerate() {
        match node.op {
            Op::Source(_) | Op::Const(_) | Op::Iota => {}
            Op::Fixed(_) => units.start(dag, id, None),
            Op::Map(_) | Op::Reduce { .. } => {
                let space = node.space();
                let joined = space.as_ref().and_then(|space| units.join(dag, id, space));
                match joined {
                    Some(unit) => units.put(dag, id, unit),
                    None => units.start(
                        dag,
                        id,
                        Some(space.unwrap_or_else(|| Space::line(node.len))),
                    ),
                }
            }
        }
    }
    units
}

impl Units {
    fn start(&mut self, dag: &Dag, id: usize, space: Option<Space>) {
        self.units.push(Unit {
            space,
            members: Vec::new(),
            tail: self.tail[id],
        });
        let unit = self.ancestry.push();
        self.put(dag, id, unit);
    }

    /// Makes a node a member; its inputs' units become ancestors.
    fn put(&mut self, dag: &Dag, id: usize, unit: usize) {
        self.of[id] = Some(unit);
        self.units[unit].members.push(id);
        let from: Vec<usize> = dag.nodes[id]
            .inputs
            .iter()
            .filter_map(|r| self.of[r.node])
            .collect();
        self.ancestry.add(unit, from);
    }

    /// The unit a node can join, after merging the units that it connects.
    fn join(&mut self, dag: &Dag, id: usize, space: &Space) -> Option<usize> {
        let reads = &dag.nodes[id].inputs;
        let mut candidates: Vec<usize> = reads
            .iter()
            .filter(|r| is_aligned(dag, r))
            .filter_map(|r| self.of[r.node])
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        // The latest first: it is the most likely to be free of paths back.
        let mut home: Option<(usize, Space)> = None;
        for unit in candidates.into_iter().rev() {
            if self.units[unit].tail != self.tail[id]
                || self.units[unit].members.len() >= MAX_MEMBERS
                || !self.can_hold(dag, unit, reads)
            {
                continue;
            }
            let Some(own) = &self.units[unit].space else {
                continue;
            };
            match &home {
                None => home = own.join(space).map(|joined| (unit, joined)),
                Some((first, joined)) => {
                    if let Some(joined) = joined.join(own)
                        && self.ancestry.independent(*first, unit)
                        && self.units[*first].members.len() + self.units[unit].members.len()
                            < MAX_MEMBERS
                    {
                        let first = *first;
                        self.merge(first, unit);
                        home = Some((first, joined));
                    }
                }
            }
        }
        let (unit, joined) = home?;
        self.units[unit].space = Some(joined);
        Some(unit)
    }

    /// Whether a node with these inputs can be evaluated inside of a unit.
    fn can_hold(&self, dag: &Dag, unit: usize, reads: &[Read]) -> bool {
        reads.iter().all(|read| match self.of[read.node] {
            None => true,
            Some(from) if from == unit => is_aligned(dag, read),
            Some(from) => !self.ancestry.depends(from, unit),
        })
    }

    /// Moves the members of `b` into `a`; the two are independent.
    fn merge(&mut self, a: usize, b: usize) {
        let taken = std::mem::take(&mut self.units[b]);
        for id in &taken.members {
            self.of[*id] = Some(a);
        }
        let members = &mut self.units[a].members;
        members.extend(taken.members);
        members.sort_unstable();
        self.ancestry.merge(a, b);
    }
}
