//! Which values belong to one image, and how values of many images come together.
//!
//! Every value of the graph is followed along the batch axis of the views. A value that keeps that axis, and whose row i
//! depends on image i alone but for batch statistics, is [`Spread::Rows`]. Reductions over the axis make [`Spread::Joined`];
//! anything that compares images with each other makes [`Spread::Mixed`].

use crate::core::graph::{Graph, Node, ValueId};
use crate::core::ops::{self, Class};
use std::collections::BTreeSet;

/// Views, by the index of their source node.
pub type Views = BTreeSet<u32>;

/// How a value stands to the rows of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Does not depend on images.
    Free,
    /// One row for each image along `axis`.
    Rows { axis: usize },
    /// A reduction over images; `linear` while only sums, scalings and shifts followed.
    Joined { linear: bool },
    /// Images were compared with each other.
    Mixed,
}

/// What the lints know of a value. Rows that come from several views, one behind the other, are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub spread: Spread,
    /// For each run of rows, its length and the views that it depends on.
    pub segments: Vec<(usize, Views)>,
}

impl Fact {
    fn free() -> Fact {
        Fact {
            spread: Spread::Free,
            segments: Vec::new(),
        }
    }

    /// All views that any row depends on.
    pub fn views(&self) -> Views {
        self.segments
            .iter()
            .flat_map(|(_, v)| v.iter().copied())
            .collect()
    }

    fn without_views(&self) -> Fact {
        Fact {
            spread: self.spread.clone(),
            segments: self
                .segments
                .iter()
                .map(|(n, _)| (*n, Views::new()))
                .collect(),
        }
    }

    fn with(spread: Spread, views: Views) -> Fact {
        Fact {
            spread,
            segments: vec![(0, views)],
        }
    }
}

/// The fact of every value, in the order of the nodes.
pub fn facts(graph: &Graph) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let fact = fact(graph, id, node, &facts);
        facts.push(fact);
    }
    facts
}

/// As [`facts`], but of views only those whose images reach a row through trained parameters with gradient.
/// `trainable` tells of each value whether it depends on such parameters.
pub fn trained_facts(graph: &Graph, facts: &[Fact], trainable: &[bool]) -> Vec<Fact> {
    let mut trained: Vec<Fact> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        // Parameters meet images here: all that the op reads becomes trained.
        let meets = node
            .args
            .iter()
            .any(|a| trainable[a.index()] && facts[a.index()].spread == Spread::Free);
        let fact = if node.is(&ops::VIEW) || node.is(&ops::STOP_GRADIENT) {
            facts[id.index()].without_views()
        } else if meets {
            facts[id.index()].clone()
        } else {
            fact(graph, id, node, &trained)
        };
        trained.push(fact);
    }
    trained
}

fn fact(graph: &Graph, id: ValueId, node: &Node, facts: &[Fact]) -> Fact {
    if node.is(&ops::VIEW) {
        let rows = node.ty.shape.first().copied().unwrap_or(1);
        return Fact {
            spread: Spread::Rows { axis: 0 },
            segments: vec![(rows, Views::from([id.0]))],
        };
    }
    let args: Vec<&Fact> = node.args.iter().map(|a| &facts[a.index()]).collect();
    let shapes: Vec<&[usize]> = node
        .args
        .iter()
        .map(|a| graph.ty(*a).shape.as_slice())
        .collect();
    match node.op.class {
        Class::Source => Fact::free(),
        Class::Elementwise => elementwise(node, &args),
        Class::Reduction => reduction(node, args[0], &args),
        Class::Contraction => contraction(node, &args, &shapes),
        Class::Pool => args[0].clone(),
        Class::Shape => shape(node, &args, &shapes),
        Class::Index => mixed_if_rows(&args),
    }
}

fn union(args: &[&Fact]) -> Views {
    args.iter().flat_map(|f| f.views()).collect()
}

fn mixed_if_rows(args: &[&Fact]) -> Fact {
    if args.iter().all(|f| f.spread == Spread::Free) {
        Fact::free()
    } else {
        Fact::with(Spread::Mixed, union(args))
    }
}

/// Whether the op is linear in what depends on images.
pub fn is_linear(node: &Node, args: &[&Fact]) -> bool {
    let free = |i: usize| {
        args.get(i)
            .is_some_and(|f: &&Fact| f.spread == Spread::Free)
    };
    if [
        &ops::ADD,
        &ops::SUB,
        &ops::NEG,
        &ops::STOP_GRADIENT,
        &ops::CAST,
    ]
    .iter()
    .any(|op| node.is(op))
    {
        return true;
    }
    if node.is(&ops::MUL) {
        return free(0) || free(1);
    }
    if node.is(&ops::DIV) {
        return free(1);
    }
    node.is(&ops::SELECT) && free(0)
}

fn elementwise(node: &Node, args: &[&Fact]) -> Fact {
    let linear = is_linear(node, args);
    let mut spread = Spread::Free;
    for fact in args {
        spread = match (spread, fact.spread.clone()) {
            (Spread::Mixed, _) | (_, Spread::Mixed) => Spread::Mixed,
            (Spread::Rows { axis: a }, Spread::Rows { axis: b }) if a != b => Spread::Mixed,
            // A statistic that is spread over its rows again: what batch norm does.
            (Spread::Rows { axis }, _) | (_, Spread::Rows { axis }) => Spread::Rows { axis },
            (Spread::Joined { linear: a }, Spread::Joined { linear: b }) => {
                Spread::Joined { linear: a && b }
            }
            (Spread::Joined { linear: a }, Spread::Free) => Spread::Joined { linear: a },
            (Spread::Free, other) => other,
        };
    }
    if let Spread::Joined { linear: l } = &mut spread {
        *l &= linear;
    }
    let segments = merge(args, &spread);
    Fact { spread, segments }
}

/// Row by row where the rows of all arguments are cut alike; else one run that depends on everything.
fn merge(args: &[&Fact], spread: &Spread) -> Vec<(usize, Views)> {
    let rows: Vec<&&Fact> = args
        .iter()
        .filter(|f| matches!(f.spread, Spread::Rows { .. }))
        .collect();
    let Some(first) = rows.first() else {
        return match spread {
            Spread::Free => Vec::new(),
            _ => vec![(0, union(args))],
        };
    };
    let cut = |f: &Fact| f.segments.iter().map(|(n, _)| *n).collect::<Vec<_>>();
    if !matches!(spread, Spread::Rows { .. }) || rows.iter().any(|f| cut(f) != cut(first)) {
        let total = first.segments.iter().map(|(n, _)| n).sum();
        return vec![(total, union(args))];
    }
    let mut segments = first.segments.clone();
    for fact in &rows[1..] {
        for (own, (_, views)) in segments.iter_mut().zip(&fact.segments) {
            own.1.extend(views);
        }
    }
    segments
}

fn axes(node: &Node) -> Vec<usize> {
    match node.attrs.get("axes") {
        Some(_) => node.attrs.sizes("axes"),
        None => vec![node.attrs.size("axis")],
    }
}

fn reduction(node: &Node, x: &Fact, args: &[&Fact]) -> Fact {
    let reduced = axes(node);
    match &x.spread {
        Spread::Rows { axis } if reduced.contains(axis) => Fact::with(
            Spread::Joined {
                linear: node.is(&ops::SUM),
            },
            union(args),
        ),
        Spread::Rows { axis } => Fact {
            spread: Spread::Rows {
                axis: axis - reduced.iter().filter(|a| *a < axis).count(),
            },
            segments: x.segments.clone(),
        },
        Spread::Joined { linear } => Fact::with(
            Spread::Joined {
                linear: *linear && node.is(&ops::SUM),
            },
            union(args),
        ),
        Spread::Free | Spread::Mixed => x.clone(),
    }
}

fn contraction(node: &Node, args: &[&Fact], shapes: &[&[usize]]) -> Fact {
    let (a, b) = (args[0], args[1]);
    if !node.is(&ops::MATMUL) {
        return match (&a.spread, &b.spread) {
            (Spread::Rows { axis: 0 }, Spread::Free) => a.clone(),
            _ => mixed_if_rows(args),
        };
    }
    let rank = shapes[0].len();
    // The axis of the product that a row axis of an operand becomes; none where it is summed over.
    let kept = |axis: usize, transposed: bool, left: bool| {
        if axis + 2 < rank {
            return Some(axis);
        }
        let last = axis + 1 == rank;
        match (left, last != transposed) {
            (true, false) => Some(rank - 2),
            (false, true) => Some(rank - 1),
            _ => None,
        }
    };
    let (ta, tb) = (node.attrs.bool("ta"), node.attrs.bool("tb"));
    match (&a.spread, &b.spread) {
        (Spread::Free, Spread::Free) => Fact::free(),
        (Spread::Rows { axis }, Spread::Free) => rows_or_mixed(a, kept(*axis, ta, true)),
        (Spread::Free, Spread::Rows { axis }) => rows_or_mixed(b, kept(*axis, tb, false)),
        (Spread::Rows { axis: x }, Spread::Rows { axis: y }) if x == y && x + 2 < rank => Fact {
            spread: Spread::Rows { axis: *x },
            segments: merge(args, &a.spread),
        },
        _ => Fact::with(Spread::Mixed, union(args)),
    }
}

fn rows_or_mixed(fact: &Fact, axis: Option<usize>) -> Fact {
    match axis {
        Some(axis) => Fact {
            spread: Spread::Rows { axis },
            segments: fact.segments.clone(),
        },
        None => Fact::with(Spread::Mixed, fact.views()),
    }
}

fn shape(node: &Node, args: &[&Fact], shapes: &[&[usize]]) -> Fact {
    let x = args[0];
    let Spread::Rows { axis } = x.spread else {
        return match args.iter().all(|f| f.spread == Spread::Free) {
            true => Fact::free(),
            false if args.len() == 1 => x.clone(),
            false => elementwise(node, args),
        };
    };
    if node.is(&ops::CONCAT) {
        return concat(node, args, axis);
    }
    let moved = |axis: usize| Fact {
        spread: Spread::Rows { axis },
        segments: x.segments.clone(),
    };
    if node.is(&ops::TRANSPOSE) {
        let perm = node.attrs.sizes("perm");
        return perm
            .iter()
            .position(|p| *p == axis)
            .map_or_else(|| mixed_if_rows(args), moved);
    }
    if node.is(&ops::BROADCAST) {
        return moved(node.attrs.sizes("dims")[axis]);
    }
    if node.is(&ops::SLICE) {
        let (start, end) = (
            node.attrs.sizes("start")[axis],
            node.attrs.sizes("end")[axis],
        );
        return Fact {
            spread: x.spread.clone(),
            segments: cut(&x.segments, start, end),
        };
    }
    if node.is(&ops::RESHAPE) {
        return reshaped(shapes[0], &node.ty.shape, axis)
            .map_or_else(|| mixed_if_rows(args), moved);
    }
    match shapes[0].get(axis) == node.ty.shape.get(axis) {
        true => moved(axis),
        false => mixed_if_rows(args),
    }
}

/// The axis that a row axis becomes where a reshape keeps it whole.
fn reshaped(from: &[usize], to: &[usize], axis: usize) -> Option<usize> {
    let before: usize = from[..axis].iter().product();
    (0..to.len()).find(|a| to[..*a].iter().product::<usize>() == before && to[*a] == from[axis])
}

fn concat(node: &Node, args: &[&Fact], axis: usize) -> Fact {
    if args.iter().any(|f| f.spread != Spread::Rows { axis }) {
        return mixed_if_rows(args);
    }
    if node.attrs.size("axis") != axis {
        return Fact {
            spread: Spread::Rows { axis },
            segments: merge(args, &args[0].spread),
        };
    }
    Fact {
        spread: Spread::Rows { axis },
        segments: args
            .iter()
            .flat_map(|f| f.segments.iter().cloned())
            .collect(),
    }
}

/// The runs of rows that lie within `start..end`.
fn cut(segments: &[(usize, Views)], start: usize, end: usize) -> Vec<(usize, Views)> {
    let mut at = 0;
    let mut out = Vec::new();
    for (len, views) in segments {
        let (from, to) = (at.max(start), (at + len).min(end));
        if from < to {
            out.push((to - from, views.clone()));
        }
        at += len;
    }
    out
}
