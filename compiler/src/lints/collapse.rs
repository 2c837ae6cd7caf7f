//! Losses that a constant embedding makes minimal.

use super::reach::{feeds, trainable};
use super::rows::{self, Fact, Spread, Views};
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
    let trained = trained_views(program, &facts);
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

/// For each value, the views whose images reach it through trained parameters with gradient, run of rows by run of rows.
fn trained_views(program: &Program, facts: &[Fact]) -> Vec<Vec<(usize, Views)>> {
    let graph = &program.forward;
    let trained = trainable(program);
    let mut out: Vec<Vec<(usize, Views)>> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter() {
        let fact = &facts[id.index()];
        let blocked = node.is(&ops::STOP_GRADIENT);
        // A parameter meets images here: all that the op reads becomes trained.
        let meets = node
            .args
            .iter()
            .any(|a| trained[a.index()] && facts[a.index()].spread == Spread::Free);
        let segments = if blocked {
            Vec::new()
        } else if meets {
            fact.segments.clone()
        } else {
            let known: Views = node
                .args
                .iter()
                .flat_map(|a| out[a.index()].iter().flat_map(|(_, v)| v.iter().copied()))
                .collect();
            fact.segments
                .iter()
                .map(|(n, views)| (*n, views.intersection(&known).copied().collect()))
                .collect()
        };
        out.push(segments);
    }
    out
}

/// Whether an op brings two views together, both with gradient, in one row and not linearly.
fn compares(graph: &Graph, id: ValueId, facts: &[Fact], trained: &[Vec<(usize, Views)>]) -> bool {
    let node = graph.node(id);
    let args: Vec<&Fact> = node.args.iter().map(|a| &facts[a.index()]).collect();
    matches!(facts[id.index()].spread, Spread::Rows { .. })
        && node.op.class == ops::Class::Elementwise
        && !rows::is_linear(node, &args)
        && trained[id.index()].iter().any(|(_, views)| views.len() > 1)
}
