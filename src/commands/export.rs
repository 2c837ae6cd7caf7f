//! `sslc export`: the encoder of a run as a file for PyTorch, timm or ONNX.

use crate::cli::{ExportFormat, Library};
use crate::compile::Failure;
use crate::report::{Reporter, print};
use crate::runs::{Run, Which};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Sources;
use sslc_runtime::export::resnet::recognise;
use sslc_runtime::export::{Trained, onnx, timm, weights};
use std::path::Path;

/// What to write, and where.
pub struct Request<'a> {
    pub run: &'a Path,
    pub out: &'a Path,
    pub format: Option<ExportFormat>,
    pub library: Option<Library>,
    pub which: Which,
}

/// Writes the encoder of a run as a file, or as a folder for timm.
pub fn run(request: &Request<'_>, reporter: Reporter) -> Result<u8, Failure> {
    let format = format(request)?;
    let run = Run::open(request.run)?;
    let loaded = run.weights(request.which, |d| reporter.tell(&Sources::default(), d))?;
    let trained = Trained {
        program: &run.compilation.program,
        values: &loaded.values,
        steps: loaded.step,
    };
    let out = request.out;
    let how = match (request.library, format) {
        (Some(Library::Timm), _) => {
            let network = timm::write(trained, out)?;
            timm::how_to_load(network, out)
        }
        (None, ExportFormat::Onnx) => {
            onnx::write(trained, out).map_err(|diagnostic| Failure {
                sources: run.compilation.sources.clone(),
                diagnostics: vec![diagnostic],
            })?;
            format!(
                "onnxruntime.InferenceSession(\"{0}\").run([\"features\"], {{\"images\": images}})",
                out.display()
            )
        }
        (None, ExportFormat::Safetensors) => {
            weights(trained, out)?;
            format!(
                "model.load_state_dict(safetensors.torch.load_file(\"{}\"), strict=False)",
                out.display()
            )
        }
    };
    let network = match recognise(&trained.tensors()) {
        Some(found) => format!("{} with the {} stem", found.name, found.stem.name()),
        None => "encoder".to_owned(),
    };
    let trained_for = match trained.steps {
        Some(steps) => format!(", trained for {steps} steps"),
        None => String::new(),
    };
    print(&format!(
        "{network}{trained_for}: {}\nload it with\n{}\n",
        out.display(),
        how.lines()
            .map(|line| format!("    {line}"))
            .collect::<Vec<_>>()
            .join("\n"),
    ));
    Ok(0)
}

/// The format that was asked for, or the one that the file's ending means.
fn format(request: &Request<'_>) -> Result<ExportFormat, Diagnostic> {
    let ending = request.out.extension().and_then(|e| e.to_str());
    let meant = match ending.map(str::to_lowercase).as_deref() {
        Some("safetensors") => Some(ExportFormat::Safetensors),
        Some("onnx") => Some(ExportFormat::Onnx),
        _ => None,
    };
    if request.library.is_some() {
        return match request.format.or(meant) {
            None | Some(ExportFormat::Safetensors) => Ok(ExportFormat::Safetensors),
            Some(ExportFormat::Onnx) => Err(Diagnostic::new(
                codes::E0910,
                "timm loads weights, not ONNX models",
            )
            .help("give a folder or a .safetensors file, or leave `--as timm` out")),
        };
    }
    request.format.or(meant).ok_or_else(|| {
        Diagnostic::new(
            codes::E0910,
            format!(
                "the ending of '{}' tells no format to export",
                request.out.display()
            ),
        )
        .help("end the name in .safetensors or .onnx, or give `--format`")
    })
}
