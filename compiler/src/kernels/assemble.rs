//! Fusion, last part: units that read the same large tensors side by side become one kernel, and every group of units a kernel.

use super::bits::{Ancestry, Bits};
use super::dag::{Dag, Fixed, Op};
use super::emit::loop_kernel;
use super::fuse::Units;
use super::ir::{BufferId, Contraction, Indexed, KernelKind};
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

/// Merges groups that load the same tensor in full and do not depend on one another.
fn merge_siblings(dag: &Dag, units: &Units, kept: &Kept, groups: &mut [Group]) {
    let mut ancestry = Ancestry::default();
    let mut maker: BTreeMap<usize, usize> = BTreeMap::new();
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (g, group) in groups.iter().enumerate() {
        ancestry.push();
        ancestry.add(
            g,
            group.loads.iter().filter_map(|id| maker.get(id).copied()),
        );
        group.roots.iter().for_each(|(id, _)| {
            maker.insert(*id, g);
        });
        if let Some(space) = &group.space {
            for id in group
                .loads
                .iter()
                .filter(|id| dag.nodes[**id].len == space.elements())
            {
                readers.entry(*id).or_default().push(g);
            }
        }
    }
    let mut merged_into: Vec<usize> = (0..groups.len()).collect();
    for readers in readers.values() {
        let mut kept_apart: Vec<usize> = Vec::new();
        for g in readers {
            let mut g = *g;
            while merged_into[g] != g {
                g = merged_into[g];
            }
            if kept_apart.contains(&g) {
                continue;
            }
            let partner = kept_apart.iter().copied().find(|a| {
                let (one, other) = (&groups[*a], &groups[g]);
                let tensors = one.roots.len() + other.roots.len();
                ancestry.independent(*a, g)
                    && tensors <= MAX_TENSORS
                    && one.loads.union(&other.loads).count() <= MAX_TENSORS
                    && one
                        .space
                        .as_ref()
                        .zip(other.space.as_ref())
                        .is_some_and(|(a, b)| a.join(b).is_some())
            });
            let Some(a) = partner else {
                kept_apart.push(g);
                continue;
            };
            // The later one takes the earlier one in, so that groups stay in topological order.
            let (into, from) = (a.max(g), a.min(g));
            let joined = groups[into]
                .space
                .as_ref()
                .zip(groups[from].space.as_ref())
                .and_then(|(a, b)| a.join(b));
            let moved = std::mem::take(&mut groups[from].roots);
            groups[into].space = joined;
            groups[into].roots.extend(moved);
            groups[into].roots.sort_unstable();
            groups[into].loads = loads(dag, units, kept, &groups[into].space, &groups[into].roots);
            groups[from].loads.clear();
            ancestry.merge(into, from);
            merged_into[from] = into;
            if into == g {
                kept_apart.retain(|k| *k != a);
                kept_apart.push(g);
            }
        }
    }
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
        }),
        Fixed::ConvInputGrad(shape) => KernelKind::Contraction(Contraction::ConvInputGrad {
            dy: at(0),
            w: at(1),
            dx: out,
            shape,
        }),
        Fixed::ConvFilterGrad(shape) => KernelKind::Contraction(Contraction::ConvFilterGrad {
            x: at(0),
            dy: at(1),
            dw: out,
            shape,
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
