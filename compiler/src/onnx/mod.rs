//! The encoder in ONNX: from a graph of `core` and its weights to a model of ONNX operators.
//!
//! - [`Onnx`]: what the registry knows of an op's form in ONNX. [`translate`] goes through a graph by it.
//! - [`model`]: the model that comes out. `emit`: values on the way and their order of axes. `rules`: the forms of ops that
//!   are more than one operator on the same operands.
//! - `fold`: scales and shifts behind convolutions and linear layers become part of their weights.
//!
//! Inside, images are [B, H, W, C]; the model takes and computes [N, C, H, W]. No operator is spent on that: a value
//! carries the order in which its axes lie, and only an op that needs another order gets a `Transpose`. What depends on
//! weights and constants alone is computed here, in f64. The batch is the model's one dynamic axis, which an encoder that lets
//! images see each other cannot have: such a graph is refused.
mod emit;
mod fold;
pub mod model;
pub mod rules;
#[cfg(test)]
mod tests;

pub use emit::{Emit, Known, Run, Value};

use crate::core::graph::{DType, Graph, ValueId};
use crate::core::interp::Tensor;
use model::{Element, Extent, Model, Port};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// The version of ONNX's standard operators that models are written in.
pub const OPSET: i64 = 17;

/// How ONNX says an op.
#[derive(Clone, Copy)]
pub enum Onnx {
    /// The images that come in.
    Input,
    /// The operator of this name on the same operands, element by element.
    Same(&'static str),
    /// More than that.
    Rule(Rule),
    /// Not at all: ops of training.
    Unsupported,
}

/// Emits the value of a node and returns it.
pub type Rule = fn(&mut Emit<'_>, ValueId) -> Result<Value, Refusal>;

/// Why a graph has no model: a sentence, a way out, and the node concerned.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub at: ValueId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// ONNX has no operator for the op.
    NoForm,
    /// The op makes the value of an image depend on others of its batch.
    MixesImages,
    /// A weight is not at hand.
    NoWeight,
}

impl Refusal {
    /// The refusal as a person reads it.
    pub fn diagnostic(&self, graph: &Graph) -> Diagnostic {
        let node = graph.node(self.at);
        let named = match &node.name {
            Some(name) => format!("`{}` ({name})", node.op.name),
            None => format!("`{}`", node.op.name),
        };
        let diagnostic = match self.kind {
            RefusalKind::NoForm => Diagnostic::new(
                codes::E0680,
                format!("the encoder uses {named}, which has no form in ONNX"),
            )
            .help("export the weights as .safetensors, or write the encoder without it"),
            RefusalKind::MixesImages => Diagnostic::new(
                codes::E0681,
                format!("in {named} the images of a batch see each other, so the encoder has no ONNX model for batches of any size"),
            )
            .help("export the weights as .safetensors, or let the encoder treat each image alone"),
            RefusalKind::NoWeight => Diagnostic::new(
                codes::E0683,
                format!("the weights lack what {named} needs"),
            )
            .help("export a run of this spec"),
        };
        match node.origin {
            Some(span) => diagnostic.label(span, "here"),
            None => diagnostic,
        }
    }
}

/// How the axes of the input are sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Axis 0 of the images is whatever comes in.
    Dynamic,
    /// All sizes are those of the graph.
    Fixed,
}

/// The model of a graph that has one view [B, H, W, C] (or of another rank, then in its own order) and one output.
///
/// `weights` gives parameters and buffers by `param/PATH` and `buffer/PATH`, in their inside layout; `prefix` is what names in
/// the model leave out of paths.
///
/// # Errors
/// Where an op has no form in ONNX, images see each other, or a weight is missing.
pub fn translate(
    graph: &Graph,
    weights: &dyn Fn(&str) -> Option<Tensor>,
    prefix: &str,
    batch: Batch,
) -> Result<Model, Refusal> {
    let mut emit = Emit::new(graph, weights, prefix, batch);
    let Some((output, result)) = graph.outputs.first() else {
        return Ok(emit.model);
    };
    for (id, _) in graph.iter() {
        emit.node(id)?;
    }
    let ty = graph.ty(*result);
    let order: Vec<usize> = (0..ty.rank()).collect();
    let value = emit.value(*result);
    let axis = emit.batch_axis(&value);
    let name = emit.dense(&value, *result, &order, axis);
    emit.finish(&name, output);
    let mut model = emit.model;
    model.outputs = vec![Port {
        name: output.clone(),
        element: element(ty.dtype),
        shape: ty
            .shape
            .iter()
            .enumerate()
            .map(|(a, n)| {
                if axis == Some(a) {
                    Extent::Batch
                } else {
                    Extent::Fixed(*n)
                }
            })
            .collect(),
    }];
    fold::fold(&mut model);
    Ok(model)
}

/// The element type of a core type in ONNX.
pub(crate) fn element(dtype: DType) -> Element {
    match dtype {
        DType::F32 | DType::Bf16 => Element::F32,
        DType::I32 => Element::I64,
        DType::Bool => Element::Bool,
    }
}
