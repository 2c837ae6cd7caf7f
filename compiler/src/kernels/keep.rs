//! Fusion, second part: which values are stored, and which are computed again where they are used.
//!
//! A value must be stored where an output, a fixed node or a read in another order needs it. A map that other clusters read in its
//! own order is stored or recomputed in each of them: recomputed where the expression is short and each reader would load at
//! most one large tensor that it does not load anyway. So `x − mean` is never stored, and a mask is made again from what it came from.

use super::bits::Bits;
use super::dag::{Dag, Op};
use super::fuse::{Units, is_aligned};
use super::space::{Read, Space};
use std::collections::BTreeSet;

/// More maps than this are not evaluated twice.
const MAX_REPEATED: usize = 24;

/// A tensor with an eighth of the space's elements or fewer costs nothing to load.
const SMALL: usize = 8;

/// What each unit stores and computes for itself.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Nodes whose tensors exist.
    pub stored: Vec<bool>,
    /// Per unit, nodes stored elsewhere that it computes again all the same.
    pub repeated: Vec<BTreeSet<usize>>,
    /// Per unit, its space with the cuts of what it computes again.
    pub spaces: Vec<Option<Space>>,
}

/// The maps that evaluating some nodes takes, and what they load.
struct Expansion<'a> {
    maps: BTreeSet<usize>,
    loads: Vec<&'a Read>,
}

/// Follows aligned reads of maps down to those where `stop` says that they are loaded.
fn expand<'a>(
    dag: &'a Dag,
    roots: impl IntoIterator<Item = usize>,
    stop: impl Fn(usize) -> bool,
) -> Expansion<'a> {
    let mut found = Expansion {
        maps: BTreeSet::new(),
        loads: Vec::new(),
    };
    let mut open: Vec<usize> = roots.into_iter().collect();
    while let Some(id) = open.pop() {
        if !found.maps.insert(id) {
            continue;
        }
        for read in &dag.nodes[id].inputs {
            match dag.nodes[read.node].op {
                Op::Const(_) => {}
                Op::Iota if read.axes.iter().all(|a| a.valid.is_none()) => {}
                Op::Map(_) if is_aligned(dag, read) && !stop(read.node) => open.push(read.node),
                _ => {
                    if !found.loads.contains(&read) {
                        found.loads.push(read);
                    }
                }
            }
        }
    }
    found
}

impl<'a> Expansion<'a> {
    fn large(&self, dag: &Dag) -> Vec<&'a Read> {
        self.loads
            .iter()
            .copied()
            .filter(|r| dag.nodes[r.node].len * SMALL > r.elements())
            .collect()
    }
}

/// Decides for every node; `outputs` are nodes that the host reads.
pub fn keep(dag: &Dag, units: &Units, outputs: &[usize]) -> Kept {
    let mut kept = Kept {
        stored: must_store(dag, outputs),
        repeated: vec![BTreeSet::new(); units.units.len()],
        spaces: units.units.iter().map(|u| u.space.clone()).collect(),
    };
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); dag.nodes.len()];
    for (id, node) in dag.nodes.iter().enumerate() {
        let Some(unit) = units.of[id] else { continue };
        for read in node
            .inputs
            .iter()
            .filter(|r| units.of[r.node] != Some(unit))
        {
            readers[read.node].push(unit);
        }
    }
    for (id, readers) in readers.iter_mut().enumerate() {
        if !kept.stored[id] && dag.nodes[id].is_map() && !readers.is_empty() {
            readers.sort_unstable();
            readers.dedup();
            match repeats_cheaply(dag, units, &kept, id, readers) {
                Some(spaces) => {
                    for (unit, space) in readers.iter().zip(spaces) {
                        kept.spaces[*unit] = Some(space);
                    }
                }
                None => kept.stored[id] = true,
            }
        }
    }
    for unit in 0..units.units.len() {
        repeat_for_free(dag, units, &mut kept, unit);
    }
    kept
}

fn must_store(dag: &Dag, outputs: &[usize]) -> Vec<bool> {
    let mut stored: Vec<bool> = dag
        .nodes
        .iter()
        .map(|n| matches!(n.op, Op::Reduce { .. } | Op::Fixed(_)))
        .collect();
    for id in outputs {
        stored[*id] |= dag.nodes[*id].is_map();
    }
    for node in &dag.nodes {
        let fixed = matches!(node.op, Op::Fixed(_));
        for read in node.inputs.iter().filter(|r| fixed || !is_aligned(dag, r)) {
            stored[read.node] |= dag.nodes[read.node].is_map();
        }
    }
    stored
}

/// A unit's space with the cuts that some more maps need.
fn widened(dag: &Dag, space: &Option<Space>, maps: &BTreeSet<usize>) -> Option<Space> {
    maps.iter().try_fold(space.clone()?, |space, id| {
        space.join(&dag.nodes[*id].space()?)
    })
}

/// The readers' spaces, if each of them can compute a map again for at most one large load more than it has.
fn repeats_cheaply(
    dag: &Dag,
    units: &Units,
    kept: &Kept,
    id: usize,
    readers: &[usize],
) -> Option<Vec<Space>> {
    let stored = &kept.stored;
    let own = expand(dag, [id], |n| stored[n]);
    if own.maps.len() > MAX_REPEATED {
        return None;
    }
    let large = own.large(dag);
    let cheap = |unit: usize| {
        if large.len() <= 1 {
            return true;
        }
        let rest = expand(dag, units.units[unit].members.iter().copied(), |n| {
            stored[n] || n == id
        });
        let had: Vec<&Read> = rest
            .loads
            .iter()
            .copied()
            .filter(|r| r.node != id)
            .collect();
        let extra = large.iter().filter(|read| {
            if had.contains(read) {
                return false;
            }
            // A stored map that follows from the other loads is no load.
            let again = expand(dag, [read.node], |n| stored[n]);
            let follows = is_aligned(dag, read)
                && again.maps.len() <= MAX_REPEATED
                && again
                    .large(dag)
                    .iter()
                    .all(|r| had.contains(r) || (large.contains(r) && r != *read));
            !follows
        });
        extra.count() <= 1
    };
    let spaces: Vec<Space> = readers
        .iter()
        .map_while(|unit| widened(dag, &kept.spaces[*unit], &own.maps))
        .collect();
    (spaces.len() == readers.len() && readers.iter().all(|unit| cheap(*unit))).then_some(spaces)
}

/// Finds the stored maps that a unit would load although they follow from its other loads.
fn repeat_for_free(dag: &Dag, units: &Units, kept: &mut Kept, unit: usize) {
    let stored = &kept.stored;
    let mut repeated = BTreeSet::new();
    let mut space = kept.spaces[unit].clone();
    let inside = |n: usize| units.of[n] == Some(unit);
    while space.is_some() {
        let roots = units.units[unit]
            .members
            .iter()
            .copied()
            .filter(|id| stored[*id]);
        let now = expand(dag, roots, |n| {
            stored[n] && !inside(n) && !repeated.contains(&n)
        });
        let mut free: Option<(usize, Space)> = None;
        for read in now.loads.iter().filter(|read| is_aligned(dag, read)) {
            let again = expand(dag, [read.node], |n| stored[n] && !repeated.contains(&n));
            let follows = again.maps.len() <= MAX_REPEATED
                && again
                    .large(dag)
                    .iter()
                    .all(|r| r != read && now.loads.contains(r))
                && again.loads.iter().all(|r| !inside(r.node));
            if follows
                && free.as_ref().is_none_or(|(id, _)| *id < read.node)
                && let Some(wide) = widened(dag, &space, &again.maps)
            {
                free = Some((read.node, wide));
            }
        }
        let Some((id, wide)) = free else { break };
        repeated.insert(id);
        space = Some(wide);
    }
    kept.repeated[unit] = repeated;
    kept.spaces[unit] = space;
}

/// The maps to evaluate for some roots of a unit, in topological order, and the reads to load.
pub struct Body<'a> {
    pub maps: Vec<usize>,
    pub loads: Vec<&'a Read>,
}

/// What a unit evaluates for the members it stores, of those that `live` says are needed.
pub fn body<'a>(dag: &'a Dag, units: &Units, kept: &Kept, members: &[(usize, usize)]) -> Body<'a> {
    let repeated = |n: usize| {
        members
            .iter()
            .any(|(_, unit)| kept.repeated[*unit].contains(&n))
    };
    let inside = |n: usize| members.iter().any(|(_, unit)| units.of[n] == Some(*unit));
    let found = expand(dag, members.iter().map(|(id, _)| *id), |n| {
        kept.stored[n] && !inside(n) && !repeated(n)
    });
    Body {
        maps: found.maps.into_iter().collect(),
        loads: found.loads,
    }
}

/// Stored nodes that outputs depend on.
pub fn live(dag: &Dag, units: &Units, kept: &Kept, outputs: &[usize]) -> Bits {
    let mut live = Bits::default();
    let mut open = outputs.to_vec();
    while let Some(id) = open.pop() {
        if live.contains(id) {
            continue;
        }
        live.insert(id);
        match (units.of[id], &dag.nodes[id].op) {
            (Some(unit), Op::Map(_) | Op::Reduce { .. }) => {
                open.extend(
                    body(dag, units, kept, &[(id, unit)])
                        .loads
                        .iter()
                        .map(|r| r.node),
                );
            }
            _ => open.extend(dag.nodes[id].inputs.iter().map(|r| r.node)),
        }
    }
    live
}
