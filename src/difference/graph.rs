//! Parts of the forward pass as lists of operations that can be compared although their values are numbered
//! differently and their batches have other sizes.

use super::Line;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use sslc_compiler::core::graph::{Attr, Graph, Node, ValueId};
use sslc_compiler::core::ops;
use sslc_compiler::program::{Application, Program};
use std::collections::{BTreeMap, BTreeSet};

/// Operations between some values and others.
pub struct Slice<'a> {
    graph: &'a Graph,
    batch: usize,
    /// What the operations start from, by the name it has here: `f(x1)`.
    leaves: BTreeMap<ValueId, String>,
    /// In the order of the graph.
    nodes: Vec<ValueId>,
}

impl<'a> Slice<'a> {
    /// The inside of a network.
    pub fn of_network(program: &'a Program, application: &Application) -> Slice<'a> {
        let leaves = BTreeMap::from([(application.input, "input".to_owned())]);
        Slice::new(program, leaves, [application.output])
    }

    /// What makes the loss, the watches and the named values of what networks give.
    pub fn of_loss(program: &'a Program) -> Slice<'a> {
        let mut leaves: BTreeMap<ValueId, String> = program
            .forward
            .iter()
            .filter(|(_, n)| n.is(&ops::VIEW))
            .map(|(id, n)| (id, n.name.clone().unwrap_or_default()))
            .collect();
        for application in &program.applications {
            let network = &program.networks[application.network].name;
            let input = leaves
                .get(&application.input)
                .map_or_else(|| application.input.to_string(), String::clone);
            let name = format!("{network}({input})");
            // A network that passes its input on has a value of its own only where it makes one.
            leaves.entry(application.output).or_insert(name);
        }
        let ends = program
            .forward
            .outputs
            .iter()
            .filter(|(name, _)| name == "loss" || name.starts_with("value/"))
            .map(|(_, id)| *id);
        Slice::new(program, leaves, ends)
    }

    fn new(
        program: &'a Program,
        leaves: BTreeMap<ValueId, String>,
        ends: impl IntoIterator<Item = ValueId>,
    ) -> Slice<'a> {
        let graph = &program.forward;
        let mut found = BTreeSet::new();
        let mut open: Vec<ValueId> = ends.into_iter().collect();
        while let Some(id) = open.pop() {
            if !leaves.contains_key(&id) && found.insert(id) {
                open.extend(&graph.node(id).args);
            }
        }
        Slice {
            graph,
            batch: program.train.batch,
            leaves,
            nodes: found.into_iter().collect(),
        }
    }

    /// A line for each operation, each with its reading.
    fn lines(&self, readings: &[Reading], show: Show) -> Vec<String> {
        let places: BTreeMap<ValueId, usize> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(i, n)| (*n, i))
            .collect();
        let operand = |id: &ValueId| match (self.leaves.get(id), places.get(id)) {
            (Some(leaf), _) => leaf.clone(),
            (None, Some(place)) if show >= Show::Operands => format!("%{place}"),
            _ => "·".to_owned(),
        };
        let line = |(i, id): (usize, &ValueId)| {
            let node = self.graph.node(*id);
            let reading = &readings[i];
            let arguments: Vec<String> = node.args.iter().map(operand).collect();
            let mut line = format!("{}({})", head(node, reading), arguments.join(", "));
            if show >= Show::Types {
                let shape = reading.shape(node.ty.shape.iter().map(|n| *n as i64));
                line.push_str(&format!(" : {}{shape}", node.ty.dtype.name()));
            }
            if show >= Show::Operands {
                line = format!("%{i} = {line}");
            }
            match &node.name {
                Some(name) => format!("{line}  # {name}"),
                None => line,
            }
        };
        self.nodes.iter().enumerate().map(line).collect()
    }

    fn floats(&self) -> impl Iterator<Item = f64> {
        self.nodes
            .iter()
            .flat_map(|id| self.graph.node(*id).attrs.iter())
            .filter_map(|(_, value)| match value {
                Attr::Float(v) => Some(*v),
                _ => None,
            })
    }
}

/// How much of an operation its line shows; each shows more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Show {
    Operation,
    Types,
    Operands,
}

/// How sizes and constants of an operation are read: as they are, or as they would be at another batch.
#[derive(Clone, Debug, Default)]
struct Reading {
    /// A size, and what it is read as.
    size: Option<(i64, i64)>,
    /// Constants of the other program, and the factor that makes ours theirs.
    constants: Option<(Vec<f64>, f64)>,
}

impl Reading {
    /// `[128, 64]`; only the first size, or twice it, may be the batch.
    fn shape(&self, sizes: impl Iterator<Item = i64>) -> String {
        let read = |(axis, n): (usize, i64)| match self.size {
            Some((from, to)) if axis == 0 && n == from => to.to_string(),
            Some((from, to)) if axis == 0 && n == 2 * from => (2 * to).to_string(),
            _ => n.to_string(),
        };
        let sizes: Vec<String> = sizes.enumerate().map(read).collect();
        format!("[{}]", sizes.join(", "))
    }

    fn constant(&self, value: f64) -> f64 {
        let Some((others, factor)) = &self.constants else {
            return value;
        };
        let same = |other: &&f64| (value * factor - **other).abs() <= 1e-9 * other.abs();
        others.iter().find(same).copied().unwrap_or(value)
    }
}

fn head(node: &Node, reading: &Reading) -> String {
    let attribute = |(name, value): (&str, &Attr)| match value {
        Attr::Bool(v) => format!("{name}={v}"),
        Attr::Int(v) => format!("{name}={v}"),
        Attr::Float(v) => format!("{name}={:?}", reading.constant(*v)),
        Attr::Str(v) => format!("{name}={v:?}"),
        Attr::Ints(v) if name == "shape" => format!("{name}={}", reading.shape(v.iter().copied())),
        Attr::Ints(v) => format!("{name}={v:?}"),
    };
    let attributes: Vec<String> = node.attrs.iter().map(attribute).collect();
    match attributes.is_empty() {
        true => node.op.name.to_owned(),
        false => format!("{}[{}]", node.op.name, attributes.join(", ")),
    }
}

/// Changes of operations: those that only one has; where all agree, those with other types; then those with other
/// operands. Operations that differ only by the size of the batch agree.
pub fn operations(a: &Slice, b: &Slice) -> Vec<Line> {
    let as_is = [a, b].map(|s| vec![Reading::default(); s.nodes.len()]);
    let readings = readings(a, b);
    for show in [Show::Operation, Show::Types, Show::Operands] {
        let first = a.lines(&as_is[0], show);
        let second = b.lines(&readings, show);
        if first == second {
            continue;
        }
        let shown = [
            a.lines(&as_is[0], Show::Operands),
            b.lines(&as_is[1], Show::Operands),
        ];
        let mut lines = Vec::new();
        for op in capture_diff_slices(Algorithm::Patience, &first, &second) {
            if !matches!(op, DiffOp::Equal { .. }) {
                lines.extend(shown[0][op.old_range()].iter().cloned().map(Line::Minus));
                lines.extend(shown[1][op.new_range()].iter().cloned().map(Line::Plus));
            }
        }
        return lines;
    }
    Vec::new()
}

/// For each operation of `b`, the reading that makes it one of `a`, where there is such a one.
fn readings(a: &Slice, b: &Slice) -> Vec<Reading> {
    let plain = Reading::default();
    let size = Some((b.batch as i64, a.batch as i64));
    let factor = b.batch as f64 / a.batch as f64;
    let constants = Some((a.floats().collect::<Vec<f64>>(), factor));
    let candidates = [
        plain.clone(),
        Reading {
            size,
            constants: None,
        },
        Reading {
            size: None,
            constants: constants.clone(),
        },
        Reading { size, constants },
    ];
    let known = vec![plain.clone(); a.nodes.len()];
    let known: BTreeSet<String> = a.lines(&known, Show::Types).into_iter().collect();
    let read = candidates
        .each_ref()
        .map(|c| b.lines(&vec![c.clone(); b.nodes.len()], Show::Types));
    (0..b.nodes.len())
        .map(|i| {
            let fits = |c: &usize| known.contains(&read[*c][i]);
            (0..candidates.len())
                .find(fits)
                .map_or_else(|| plain.clone(), |c| candidates[c].clone())
        })
        .collect()
}

/// Changes of what makes the loss from the networks' outputs.
pub fn losses(a: &Program, b: &Program) -> Vec<Line> {
    operations(&Slice::of_loss(a), &Slice::of_loss(b))
}
