//! Which network reads what: the forward pass with everything but views, applications of networks and the loss folded into
//! arrows.

use crate::run_facts::role_name;
use sslc_compiler::core::graph::ValueId;
use sslc_compiler::core::ops;
use sslc_compiler::program::{NetworkRole, Program};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    View,
    Labels,
    Network,
    /// A network that follows others by a moving average.
    Target,
    Loss,
}

/// A box.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub kind: Kind,
    pub name: String,
    /// What it is, in a few words.
    pub role: String,
    /// The shape of what comes out, without the batch.
    pub shape: String,
}

/// An arrow, between indices of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub from: usize,
    pub to: usize,
    /// Whether no gradient goes back along it.
    pub stopped: bool,
}

/// Boxes in the order of evaluation, the loss last, and arrows from earlier to later ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    pub items: Vec<Item>,
    pub arrows: Vec<Arrow>,
}

impl Flow {
    pub fn of(program: &Program) -> Flow {
        let graph = &program.forward;
        let mut items = Vec::new();
        let mut made_by: BTreeMap<ValueId, usize> = BTreeMap::new();
        for (id, node) in graph.iter() {
            let (kind, role) = if node.is(&ops::VIEW) {
                (Kind::View, "view")
            } else if node.is(&ops::LABELS) {
                (Kind::Labels, "classes")
            } else {
                continue;
            };
            made_by.insert(id, items.len());
            items.push(Item {
                kind,
                name: node.name.clone().unwrap_or_else(|| "labels".to_owned()),
                role: role.to_owned(),
                shape: shape(&node.ty.shape),
            });
        }
        let mut ends = Vec::new();
        for application in &program.applications {
            let network = &program.networks[application.network];
            let kind = match network.role {
                NetworkRole::Online(_) => Kind::Network,
                NetworkRole::Target(_) => Kind::Target,
            };
            ends.push((items.len(), application.input));
            made_by.insert(application.output, items.len());
            items.push(Item {
                kind,
                name: network.name.clone(),
                role: role_name(network.role),
                shape: shape(&graph.ty(application.output).shape),
            });
        }
        if let Some(loss) = graph.output("loss") {
            ends.push((items.len(), loss));
            items.push(Item {
                kind: Kind::Loss,
                name: "loss".to_owned(),
                role: String::new(),
                shape: "one number".to_owned(),
            });
        }
        let mut arrows = Vec::new();
        for (to, value) in ends {
            for (from, stopped) in read_by(program, value, &made_by) {
                arrows.push(Arrow { from, to, stopped });
            }
        }
        let mut flow = Flow { items, arrows };
        flow.drop_unused();
        flow
    }

    /// Boxes that the loss does not depend on are left out: labels that only evaluation reads, views without a reader.
    fn drop_unused(&mut self) {
        let mut used = vec![false; self.items.len()];
        if let Some(last) = used.last_mut() {
            *last = true;
        }
        for to in (0..self.items.len()).rev() {
            let readers = self.arrows.iter().filter(|a| a.to == to && used[to]);
            let sources: Vec<usize> = readers.map(|a| a.from).collect();
            sources.into_iter().for_each(|from| used[from] = true);
        }
        let place: Vec<usize> = (0..used.len())
            .map(|i| used[..i].iter().filter(|u| **u).count())
            .collect();
        let mut keep = used.iter();
        self.items.retain(|_| keep.next() == Some(&true));
        self.arrows.retain(|a| used[a.from] && used[a.to]);
        for arrow in &mut self.arrows {
            arrow.from = place[arrow.from];
            arrow.to = place[arrow.to];
        }
    }
}

/// The boxes that a value is computed from, and whether each of the ways passes a stop-gradient.
fn read_by(
    program: &Program,
    value: ValueId,
    made_by: &BTreeMap<ValueId, usize>,
) -> BTreeMap<usize, bool> {
    let graph = &program.forward;
    let mut found: BTreeMap<usize, bool> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![(value, false)];
    while let Some((id, stopped)) = waiting.pop() {
        if !seen.insert((id, stopped)) {
            continue;
        }
        if let Some(item) = made_by.get(&id) {
            let all = found.entry(*item).or_insert(true);
            *all &= stopped;
            continue;
        }
        let node = graph.node(id);
        let stopped = stopped || node.is(&ops::STOP_GRADIENT);
        waiting.extend(node.args.iter().map(|a| (*a, stopped)));
    }
    found
}

/// `28×28×1`, without the batch.
pub fn shape(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().skip(1).map(usize::to_string).collect();
    dims.join("×")
}
