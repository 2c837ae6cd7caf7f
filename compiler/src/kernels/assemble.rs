//! Fusion, last part: units that read the same large tensors side by side become one kernel, and every group of units a kernel.

use super::bits::{Ancestry, Bits};
use super::dag::{Dag, Fixed, Op};
use super::emit::loop_kernel;
use super::fuse::Units;
use super::ir::{Algorithm, BufferId, Contraction, Indexed, KernelKind};
use super::keep::{Kept, body};
use super::space::Space;
use std::collections::{BTreeMap, BTreeSet};

/// A kernel whose buffers are still named by the nodes that make them.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: KernelKind,
    /// Nodes read and written, ascending.
    pub reads: Vec<usize>,
    pub writes: Vec<usize>,
    /// Every node evaluated, ascending: what the kernel is made of.
    pub made_of: Vec<usize>,
}

impl Draft {
    /// The node that its prologue makes.
    pub fn made(&self) -> Option<usize> {
        let KernelKind::Fused(fused) = &self.kind else {
            return None;
        };
        Some(fused.made()?.0 as usize)
    }
}

/// Units that become one kernel.
struct Group {
    /// `None` for a fixed node.
    space: Option<Space>,
    /// The nodes it stores, with their units.
    roots: Vec<(usize, usize)>,
    /// Nodes it loads.
    loads: BTreeSet<usize>,
}

/// A kernel stores at most this many tensors and loads at most this many.
const MAX_TENSORS: usize = 24;

/// Updates of at most this many elements share a kernel though they share no tensor.
const SMALL: usize = 4096;

/// The kernels that make the live stored nodes.
pub fn assemble(dag: &Dag, units: &Units, kept: &Kept, live: &Bits) -> Vec<Draft> {
    let mut groups = groups(dag, units, kept, live);
    merge_siblings(dag, units, kept, &mut groups);
    groups
        .iter()
        .filter(|g| !g.roots.is_empty())
        .map(|g| draft(dag, units, kept, g))
        .collect()
}

/// Each unit with live stored members, in topological order.
fn groups(dag: &Dag, units: &Units, kept: &Kept, live: &Bits) -> Vec<Group> {
    let mut found: Vec<Group> = Vec::new();
    let mut maker: BTreeMap<usize, usize> = BTreeMap::new();
    for (u, unit) in units.units.iter().enumerate() {
        let stored = |id: &usize| kept.stored[*id] && live.contains(*id);
        let roots: Vec<(usize, usize)> = unit
            .members
            .iter()
            .copied()
            .filter(stored)
            .map(|id| (id, u))
            .collect();
        if roots.is_empty() {
            continue;
        }
        roots.iter().for_each(|(id, _)| {
            maker.insert(*id, found.len());
        });
        let space = kept.spaces[u].clone();
        let loads = loads(dag, units, kept, &space, &roots);
        found.push(Group {
            space,
            roots,
            loads,
        });
    }
    // Kahn's algorithm; the group with the earliest node goes first.
    let from = |g: &Group| -> BTreeSet<usize> {
        g.loads
            .iter()
            .filter_map(|id| maker.get(id).copied())
            .collect()
    };
    let before: Vec<BTreeSet<usize>> = found.iter().map(from).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); found.len()];
    for (g, before) in before.iter().enumerate() {
        before.iter().for_each(|b| after[*b].push(g));
    }
    let mut waiting: Vec<usize> = before.iter().map(BTreeSet::len).collect();
    let first = |g: usize| (found[g].roots[0].0, g);
    let mut ready: BTreeSet<(usize, usize)> = (0..found.len())
        .filter(|g| waiting[*g] == 0)
        .map(first)
        .collect();
    let mut order = Vec::with_capacity(found.len());
    while let Some((_, g)) = ready.pop_first() {
        order.push(g);
        for next in &after[g] {
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.insert(first(*next));
            }
        }
    }
    debug_assert_eq!(
        order.len(),
        found.len(),
        "units depend on one another in a circle"
    );
    let mut found: Vec<Option<Group>> = found.into_iter().map(Some).collect();
    order.into_iter().filter_map(|g| found[g].take()).collect()
}

fn loads(
    dag: &Dag,
    units: &Units,
    kept: &Kept,
    space: &Option<Space>,
    roots: &[(usize, usize)],
) -> BTreeSet<usize> {
    match space {
        Some(_) => body(dag, units, kept, roots)
            .loads
            .iter()
            .map(|r| r.node)
            .collect(),
        None => roots
            .iter()
            .flat_map(|(id, _)| dag.nodes[*id].inputs.iter().map(|r| r.node))
            .collect(),
    }
}

/// Groups that take one another in.
struct Merger<'a> {
    dag: &'a Dag,
    units: &'a Units,
    kept: &'a Kept,
    groups: &'a mut [Group],
    ancestry: Ancestry,
    /// The group each is part of now.
    part_of: Vec<usize>,
}

/// Merges groups that load the same tensor in full and do not depend on one another; and small groups that only make updates.
fn merge_siblings(dag: &Dag, units: &Units, kept: &Kept, groups: &mut [Group]) {
    let mut ancestry = Ancestry::default();
    let mut maker: BTreeMap<usize, usize> = BTreeMap::new();
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut small: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (g, group) in groups.iter().enumerate() {
        ancestry.push();
        ancestry.add(
            g,
            group.loads.iter().filter_map(|id| maker.get(id).copied()),
        );
        group.roots.iter().for_each(|(id, _)| {
            maker.insert(*id, g);
        });
        let Some(space) = &group.space else { continue };
        for id in group
            .loads
            .iter()
            .filter(|id| dag.nodes[**id].len == space.elements())
        {
            readers.entry(*id).or_default().push(g);
        }
        if space.elements() <= SMALL && group.roots.iter().all(|(id, _)| dag.is_update(*id)) {
            small.entry(space.elements()).or_default().push(g);
        }
    }
    let part_of = (0..groups.len()).collect();
    let mut merger = Merger {
        dag,
        units,
        kept,
        groups,
        ancestry,
        part_of,
    };
    readers
        .values()
        .for_each(|siblings| merger.merge_all(siblings));
    small
        .values()
        .for_each(|siblings| merger.merge_all(siblings));
}

impl Merger<'_> {
    /// Merges each group into the first of those before it that it fits.
    fn merge_all(&mut self, siblings: &[usize]) {
        let mut apart: Vec<usize> = Vec::new();
        for g in siblings {
            let mut g = *g;
            while self.part_of[g] != g {
                g = self.part_of[g];
            }
            if apart.contains(&g) {
                continue;
            }
            match apart.iter().position(|a| self.fit(*a, g)) {
                Some(i) => apart[i] = self.merge(apart[i], g),
                None => apart.push(g),
            }
        }
    }

    fn fit(&self, a: usize, b: usize) -> bool {
        let (one, other) = (&self.groups[a], &self.groups[b]);
        let (tail_a, tail_b) = (self.is_tail(one), self.is_tail(other));
        let (covers_a, covers_b) = (self.ancestry.covers(a, b), self.ancestry.covers(b, a));
        let small = one.space.as_ref().is_some_and(|s| s.elements() <= SMALL);
        let waits = match (tail_a, tail_b) {
            // Nothing waits for these.
            (true, true) => true,
            // Small ones share little and must not wait for one another.
            (false, false) => !small || (covers_a && covers_b),
            // The tail may wait for more than the others; and old values are read until it writes new ones.
            (true, false) => covers_b && !self.updates(one),
            (false, true) => covers_a && !self.updates(other),
        };
        waits
            && self.ancestry.independent(a, b)
            && one.roots.len() + other.roots.len() <= MAX_TENSORS
            && one.loads.union(&other.loads).count() <= MAX_TENSORS
            && join(one, other).is_some()
    }

    fn updates(&self, group: &Group) -> bool {
        group.roots.iter().any(|(id, _)| self.dag.is_update(*id))
    }

    fn is_tail(&self, group: &Group) -> bool {
        group
            .roots
            .iter()
            .all(|(_, unit)| self.units.units[*unit].tail)
    }

    /// The later one takes the earlier one in; returns it.
    fn merge(&mut self, a: usize, b: usize) -> usize {
        let (into, from) = (a.max(b), a.min(b));
        let space = join(&self.groups[into], &self.groups[from]);
        let moved = std::mem::take(&mut self.groups[from].roots);
        self.groups[from].loads.clear();
        let group = &mut self.groups[into];
        group.roots.extend(moved);
        group.roots.sort_unstable();
        group.loads = loads(self.dag, self.units, self.kept, &space, &group.roots);
        group.space = space;
        self.ancestry.merge(into, from);
        self.part_of[from] = into;
        into
    }
}

fn join(a: &Group, b: &Group) -> Option<Space> {
    a.space.as_ref()?.join(b.space.as_ref()?)
}

fn draft(dag: &Dag, units: &Units, kept: &Kept, group: &Group) -> Draft {
    let writes: Vec<usize> = group.roots.iter().map(|(id, _)| *id).collect();
    let Some(space) = &group.space else {
        let id = writes[0];
        let inputs: Vec<usize> = dag.nodes[id].inputs.iter().map(|r| r.node).collect();
        let kind = match dag.nodes[id].op {
            Op::Fixed(fixed) => fixed_kernel(fixed, &inputs, id),
            Op::Source(_) | Op::Const(_) | Op::Iota | Op::Map(_) | Op::Reduce { .. } => {
                unreachable!("only fixed nodes are units without a space")
            }
        };
        return Draft {
            kind,
            reads: sorted(inputs),
            made_of: writes.clone(),
            writes,
        };
    };
    let body = body(dag, units, kept, &group.roots);
    let kernel = loop_kernel(dag, space, &body, &writes);
    let reads = kernel.body.iter().filter_map(|inst| match inst {
        super::ir::Inst::Load(access) => Some(access.buffer.0 as usize),
        _ => None,
    });
    Draft {
        reads: sorted(reads),
        kind: KernelKind::Loop(kernel),
        writes,
        made_of: body.maps,
    }
}

fn sorted(nodes: impl IntoIterator<Item = usize>) -> Vec<usize> {
    nodes
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The kernel of a fixed node; `i` are its inputs.
fn fixed_kernel(fixed: Fixed, i: &[usize], out: usize) -> KernelKind {
    let at = |n: usize| BufferId(i[n] as u32);
    let out = BufferId(out as u32);
    match fixed {
        Fixed::MatMul(s) => KernelKind::Contraction(Contraction::MatMul {
            a: at(0),
            b: at(1),
            out,
            batch: s.batch,
            m: s.m,
            n: s.n,
            k: s.k,
            ta: s.ta,
            tb: s.tb,
        }),
        Fixed::Conv(shape) => KernelKind::Contraction(Contraction::Conv {
            x: at(0),
            w: at(1),
            y: out,
            shape,
            algorithm: Algorithm::Direct,
        }),
        Fixed::ConvInputGrad(shape) => KernelKind::Contraction(Contraction::ConvInputGrad {
            dy: at(0),
            w: at(1),
            dx: out,
            shape,
            algorithm: Algorithm::Direct,
        }),
        Fixed::ConvFilterGrad(shape) => KernelKind::Contraction(Contraction::ConvFilterGrad {
            x: at(0),
            dy: at(1),
            dw: out,
            shape,
            algorithm: Algorithm::Direct,
        }),
        Fixed::MaxPool(window) => KernelKind::Indexed(Indexed::MaxPool {
            x: at(0),
            y: out,
            window,
        }),
        Fixed::MaxPoolGrad(window) => KernelKind::Indexed(Indexed::MaxPoolGrad {
            x: at(0),
            dy: at(1),
            dx: out,
            window,
        }),
        Fixed::AvgPool(window) => KernelKind::Indexed(Indexed::AvgPool {
            x: at(0),
            y: out,
            window,
        }),
        Fixed::AvgPoolGrad(window) => KernelKind::Indexed(Indexed::AvgPoolGrad {
            dy: at(0),
            dx: out,
            window,
        }),
        Fixed::Take(s) => KernelKind::Indexed(Indexed::Take {
            x: at(0),
            index: at(1),
            y: out,
            outer: s.outer,
            size: s.size,
            count: s.count,
            inner: s.inner,
        }),
        Fixed::ScatterAdd(s) => KernelKind::Indexed(Indexed::ScatterAdd {
            y: at(0),
            index: at(1),
            x: out,
            outer: s.outer,
            size: s.size,
            count: s.count,
            inner: s.inner,
        }),
        Fixed::ArgMax { outer, size, inner } => KernelKind::Indexed(Indexed::ArgMax {
            x: at(0),
            y: out,
            outer,
            size,
            inner,
        }),
        Fixed::Uniform { seed, stream } => KernelKind::Indexed(Indexed::Uniform {
            step: at(0),
            y: out,
            seed,
            stream,
        }),
    }
}
