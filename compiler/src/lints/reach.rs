//! What the gradient reaches: networks, targets, predictors.

use crate::core::graph::{Graph, Node, ValueId};
use crate::core::ops;
use crate::program::{NetworkRole, Program};
use sslc_grammar::ast::Role;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;

/// For each value, whether the root depends on it.
pub fn feeds(graph: &Graph, root: ValueId) -> Vec<bool> {
    marks(graph, root, |_| true)
}

/// For each value, whether a gradient of the root flows to it.
fn gradient_flows(graph: &Graph, root: ValueId) -> Vec<bool> {
    marks(graph, root, |id| !graph.node(id).is(&ops::STOP_GRADIENT))
}

fn marks(graph: &Graph, root: ValueId, passes: impl Fn(ValueId) -> bool) -> Vec<bool> {
    let mut marked = vec![false; graph.nodes.len()];
    marked[root.index()] = true;
    for i in (0..=root.index()).rev() {
        if marked[i] && passes(ValueId(i as u32)) {
            for arg in &graph.nodes[i].args {
                marked[arg.index()] = true;
            }
        }
    }
    marked
}

/// For each value, whether it depends on an online parameter through a path without stop-gradient.
pub fn trainable(program: &Program) -> Vec<bool> {
    let roles = network_of_parameters(program);
    let mut out: Vec<bool> = Vec::with_capacity(program.forward.nodes.len());
    for (_, node) in program.forward.iter() {
        let own = node.is(&ops::PARAM)
            && roles
                .get(node.attrs.str("path"))
                .is_some_and(|n| matches!(program.networks[*n].role, NetworkRole::Online(_)));
        let through = !node.is(&ops::STOP_GRADIENT) && node.args.iter().any(|a| out[a.index()]);
        out.push(own || through);
    }
    out
}

fn network_of_parameters(program: &Program) -> BTreeMap<&str, usize> {
    program
        .parameters
        .iter()
        .map(|p| (p.path.as_str(), p.network))
        .collect()
}

/// A stop-gradient on what is compared, not on the maximum that keeps an exponential finite.
fn stops_a_side(graph: &Graph, node: &Node) -> bool {
    node.is(&ops::STOP_GRADIENT) && !graph.node(node.args[0]).is(&ops::MAX)
}

/// What a network's parameters are to the loss.
#[derive(Clone, Copy, Default)]
struct Reach {
    /// The loss depends on them.
    used: bool,
    /// A gradient flows to them.
    gradient: bool,
}

/// Networks without gradient, targets whose output is not stopped, predictors on paths without stop-gradient.
pub fn lint(program: &Program) -> Vec<Diagnostic> {
    let graph = &program.forward;
    let Some(loss) = graph.output("loss") else {
        return Vec::new();
    };
    let (used, gradient) = (feeds(graph, loss), gradient_flows(graph, loss));
    let networks = network_of_parameters(program);
    let mut reach = vec![Reach::default(); program.networks.len()];
    let mut stopped = false;
    for (id, node) in graph.iter() {
        stopped |= used[id.index()] && stops_a_side(graph, node);
        if node.is(&ops::PARAM)
            && let Some(network) = networks.get(node.attrs.str("path"))
        {
            reach[*network].used |= used[id.index()];
            reach[*network].gradient |= gradient[id.index()];
        }
    }
    let compared_with_target = program
        .networks
        .iter()
        .zip(&reach)
        .any(|(n, r)| matches!(n.role, NetworkRole::Target(_)) && r.used);
    let mut found = Vec::new();
    for (index, (network, reach)) in program.networks.iter().zip(&reach).enumerate() {
        let has_parameters = program.parameters.iter().any(|p| p.network == index);
        let name = &network.name;
        let warning = match network.role {
            NetworkRole::Target(_) if reach.gradient => Diagnostic::new(
                codes::W0151,
                format!("the output of the target '{name}' reaches the loss without stop-gradient"),
            )
            .help("a target gets no gradient in any case; write `stop_gradient(…)` around it so that the spec says so"),
            NetworkRole::Online(_) if has_parameters && !reach.gradient => Diagnostic::new(
                codes::W0155,
                format!("no gradient of the loss reaches the network '{name}'"),
            )
            .help("use it in the loss outside of `stop_gradient`, or remove it"),
            NetworkRole::Online(Role::Predictor) if reach.gradient && !stopped && !compared_with_target => {
                Diagnostic::new(
                    codes::W0152,
                    format!("the predictor '{name}' predicts nothing: no path of the loss has a stop-gradient"),
                )
                .help("stop the gradient on the side that is predicted, or make it a projector")
            }
            NetworkRole::Target(_) | NetworkRole::Online(_) => continue,
        };
        found.push(match network.span {
            Some(span) => warning.label(span, "defined here"),
            None => warning,
        });
    }
    found
}
