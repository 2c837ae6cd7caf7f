//! Layers: what their constructors make and what applying them emits. Semantics are PyTorch's.

use super::Elab;
use super::modules::ModuleKind;
use super::values::{ModuleRef, NetworkId, R};
use crate::core::graph::ValueId;
use crate::program::{Init, Layout, ParamKind};
use sslc_grammar::span::Span;

#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    Conv2d {
        out: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        groups: usize,
        bias: bool,
    },
    Linear {
        out: usize,
        bias: bool,
    },
    BatchNorm {
        momentum: f64,
        eps: f64,
        scale: bool,
        shift: bool,
        init: f64,
    },
    Normalise {
        eps: f64,
    },
    Relu,
    Gelu,
    Identity,
    MaxPool(Window),
    AvgPool(Window),
    GlobalAvgPool,
    Flatten,
    Dropout {
        p: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

/// How networks behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, dropout, running statistics updated.
    Train,
    /// Running statistics, no dropout.
    Evaluate,
    /// Batch statistics, no dropout, running statistics averaged over batches.
    Calibrate,
}

/// A parameter as declared by the layer of the source network.
#[derive(Clone, Debug)]
pub struct ParamDecl {
    pub path: String,
    pub network: NetworkId,
    pub kind: ParamKind,
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub init: Init,
}

/// A buffer as declared by the layer of the source network.
#[derive(Clone, Debug)]
pub struct BufferDecl {
    pub path: String,
    pub network: NetworkId,
    pub shape: Vec<usize>,
    pub init: f64,
}

/// One application of a batch norm in training: what its running statistics take from it.
#[derive(Clone, Debug)]
pub struct NormUse {
    /// Paths of the running mean and variance, under the network that was applied.
    pub mean_path: String,
    pub var_path: String,
    pub mean: ValueId,
    pub var: ValueId,
    /// Values that each statistic was taken over.
    pub count: usize,
    pub momentum: f64,
    /// The network whose buffers they are.
    pub network: NetworkId,
    pub output: ValueId,
    pub span: Span,
}

impl Layer {
    /// The constructor's name.
    pub fn name(&self) -> &'static str {
        match self {
            Layer::Conv2d { .. } => "conv2d",
            Layer::Linear { .. } => "linear",
            Layer::BatchNorm { .. } => "batch_norm",
            Layer::Normalise { .. } => "layer_norm",
            Layer::Relu => "relu",
            Layer::Gelu => "gelu",
            Layer::Identity => "identity",
            Layer::MaxPool(_) => "max_pool",
            Layer::AvgPool(_) => "avg_pool",
            Layer::GlobalAvgPool => "global_avg_pool",
            Layer::Flatten => "flatten",
            Layer::Dropout { .. } => "dropout",
        }
    }

    /// Whether it has parameters or buffers, so that building it inside a function would make new ones each time.
    pub fn has_state(&self) -> bool {
        match self {
            Layer::Conv2d { .. }
            | Layer::Linear { .. }
            | Layer::BatchNorm { .. }
            | Layer::Normalise { .. } => true,
            Layer::Relu
            | Layer::Gelu
            | Layer::Identity
            | Layer::MaxPool(_)
            | Layer::AvgPool(_)
            | Layer::GlobalAvgPool
            | Layer::Flatten
            | Layer::Dropout { .. } => false,
        }
    }
}

impl<'a> Elab<'a> {
    /// Makes a layer, where layers of its kind may be made.
    pub fn layer(&mut self, layer: Layer, span: Span) -> R<ModuleRef> {
        if layer.has_state()
            && let Some(inside) = self.ctx.inside
        {
            return Err(self.built_inside(layer.name(), span, inside));
        }
        Ok(self.new_module(ModuleKind::Layer(layer), span))
    }
}
