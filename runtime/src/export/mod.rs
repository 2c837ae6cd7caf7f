//! The trained encoder as a file that others read.
//!
//! - [`weights`]: PyTorch's tensors with torchvision's names, as `.safetensors`. [`onnx`]: a model, as `.onnx`.
//! - [`timm`]: the folder or file that timm loads. [`resnet`]: which of torchvision's networks an encoder is.
//! - [`description`]: what a reader must know beside the weights: how images are prepared, and where the encoder comes from.
pub mod onnx;
pub mod resnet;
pub mod timm;

use crate::tensors::{Tensors, write_described};
use crate::train::encoder;
use crate::train::init::Values;
use serde::Serialize;
use sslc_compiler::program::{Interpolation, Program, ViewKind};
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;
use std::path::Path;

/// What is exported: a program and the values that its training came to.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    pub program: &'a Program,
    pub values: &'a Values,
    /// Optimizer steps that were made, where that is known.
    pub steps: Option<u64>,
}

impl Trained<'_> {
    /// The encoder's tensors by their names in files.
    pub fn tensors(&self) -> Tensors {
        encoder::weights(self.program, self.values, self.steps.unwrap_or_default())
    }
}

/// Mean and standard deviation that the evaluation's images are normalised with: one value a channel.
pub fn normalisation(program: &Program) -> (Vec<f64>, Vec<f64>) {
    let channels = program.data.channels;
    program
        .eval
        .images
        .ops
        .iter()
        .find_map(|op| match &op.kind {
            ViewKind::Normalize { mean, std } => Some((mean.clone(), std.clone())),
            _ => None,
        })
        .unwrap_or_else(|| (vec![0.0; channels], vec![1.0; channels]))
}

/// How the evaluation's images are resized: the interpolation, and the share of the resized image's side that is kept.
pub fn resizing(program: &Program) -> (&'static str, f64) {
    let ops = &program.eval.images.ops;
    let resized = ops.iter().find_map(|op| match &op.kind {
        ViewKind::Resize {
            height,
            interpolation,
            ..
        } => Some((*height, *interpolation)),
        _ => None,
    });
    let (side, interpolation) = resized.unwrap_or((program.encode.height, Interpolation::Bilinear));
    let share = program.encode.height.min(program.encode.width) as f64 / side.max(1) as f64;
    let name = match interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    (name, share.min(1.0))
}

/// A number or list as JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The metadata of an exported file, by key: strings, lists and objects as JSON.
pub fn description(trained: Trained<'_>) -> BTreeMap<String, String> {
    let program = trained.program;
    let (mean, std) = normalisation(program);
    let size = [
        program.data.channels,
        program.encode.height,
        program.encode.width,
    ];
    let mut about = BTreeMap::from([
        (
            "sslc_version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("spec".to_owned(), program.name.clone()),
        (
            "encoder".to_owned(),
            program.networks[program.encode.network].name.clone(),
        ),
        ("input_size".to_owned(), json(&size)),
        ("mean".to_owned(), json(&mean)),
        ("std".to_owned(), json(&std)),
        ("images".to_owned(), json(&program.eval.images.ops)),
    ]);
    if let Some(steps) = trained.steps {
        about.insert("steps".to_owned(), steps.to_string());
    }
    if let Some(network) = resnet::recognise(&trained.tensors()) {
        about.insert("architecture".to_owned(), network.name.to_owned());
        about.insert("stem".to_owned(), network.stem.name().to_owned());
    }
    about
}

/// Writes the encoder's weights with torchvision's names, and [`description`] as the file's metadata.
///
/// # Errors
/// When the file cannot be written.
pub fn weights(trained: Trained<'_>, path: &Path) -> Result<(), Diagnostic> {
    let mut about = description(trained);
    about.insert("format".to_owned(), "pt".to_owned());
    write_described(path, &trained.tensors(), &about)
}
