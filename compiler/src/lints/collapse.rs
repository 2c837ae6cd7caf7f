//! Losses that a constant embedding makes minimal.

use super::reach::{feeds, trainable};
use super::rows::{self, Fact, Spread};
use crate::core::graph::{Graph, ValueId};
use crate::core::ops;
use crate::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// Warns of a loss that compares views with gradient on both sides while no op but batch norm and the final mean looks at
/// more than one image.
pub fn lint(program: &Program) -> Option<Diagnostic> {
    let graph = &program.forward;
    let loss = graph.output("loss")?;
    let facts = rows::facts(graph);
    if facts[loss.index()].spread != (Spread::Joined { linear: true }) {
        return None;
    }
    let used = feeds(graph, loss);
    let trained = rows::trained_facts(graph, &facts, &trainable(program));
    let (id, _) = graph
        .iter()
        .find(|(id, _)| used[id.index()] && compares(graph, *id, &facts, &trained))?;
    let warning = Diagnostic::new(
        codes::W0150,
        "this loss collapses: one point for every image makes it minimal, and the gradient goes there on both sides",
    )
    .help("stop the gradient on one side, `stop_gradient(z)`, compare with a target, or add a term that spreads the images");
    Some(match graph.node(id).origin {
        Some(span) => warning.label(
            span,
            "both sides of this carry gradient, and only batch norm sees other images",
        ),
        None => warning,
    })
}

/// Whether an op brings two views together, both with gradient, in one row and not linearly.
fn compares(graph: &Graph, id: ValueId, facts: &[Fact], trained: &[Fact]) -> bool {
    let node = graph.node(id);
    let args: Vec<&Fact> = node.args.iter().map(|a| &facts[a.index()]).collect();
    matches!(facts[id.index()].spread, Spread::Rows { .. })
        && node.op.class == ops::Class::Elementwise
        && !rows::is_linear(node, &args)
        && trained[id.index()]
            .segments
            .iter()
            .any(|(_, views)| views.len() > 1)
}
