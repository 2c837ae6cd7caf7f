//! Numbers that cannot work: batch norm over one image, division by the constant 0.

use super::reach::feeds;
use crate::core::graph::{Graph, ValueId};
use crate::core::ops;
use crate::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

pub fn lint(program: &Program) -> Vec<Diagnostic> {
    let graph = &program.forward;
    let Some(loss) = graph.output("loss") else {
        return Vec::new();
    };
    let used = feeds(graph, loss);
    let find = |test: &dyn Fn(ValueId) -> bool| {
        graph
            .iter()
            .map(|(id, _)| id)
            .find(|id| used[id.index()] && test(*id))
    };
    let mut found = Vec::new();
    if let Some(id) = find(&|id| is_variance_of_one_row(graph, id, program.train.batch)) {
        let warning = Diagnostic::new(codes::W0153, "batch norm sees one image only: batch is 1")
            .help("give it a larger batch, so that its statistics speak of more than one image");
        found.push(labelled(
            graph,
            id,
            warning,
            "its statistics are those of one image",
        ));
    }
    if let Some(id) = find(&|id| divides_by_zero(graph, id)) {
        let warning = Diagnostic::new(codes::W0154, "the loss divides by the constant 0")
            .help("a temperature or scale of 0 makes the loss infinite or not a number; give it a positive value");
        found.push(labelled(graph, id, warning, "divided by 0 here"));
    }
    found
}

fn labelled(graph: &Graph, id: ValueId, warning: Diagnostic, text: &str) -> Diagnostic {
    match graph.node(id).origin {
        Some(span) => warning.label(span, text),
        None => warning,
    }
}

/// A variance over the batch of a single image.
fn is_variance_of_one_row(graph: &Graph, id: ValueId, batch: usize) -> bool {
    let node = graph.node(id);
    batch == 1 && node.is(&ops::VARIANCE) && node.attrs.sizes("axes").contains(&0)
}

fn divides_by_zero(graph: &Graph, id: ValueId) -> bool {
    let node = graph.node(id);
    node.is(&ops::DIV)
        && node
            .args
            .get(1)
            .is_some_and(|d| constant(graph, *d) == Some(0.0))
}

/// The value of a tensor that is one constant everywhere.
fn constant(graph: &Graph, id: ValueId) -> Option<f64> {
    let node = graph.node(id);
    if node.is(&ops::CONSTANT) {
        return Some(node.attrs.float("value"));
    }
    let passes = node.is(&ops::BROADCAST) || node.is(&ops::RESHAPE);
    passes.then(|| constant(graph, node.args[0])).flatten()
}
