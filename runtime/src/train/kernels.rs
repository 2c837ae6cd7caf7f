//! Which kernels of a GPU a run takes: chosen when it begins, and kept with it.

use super::directory::RunDirectory;
use super::init::Values;
use super::stepper::Stepper;
use super::{Event, Observer};
use crate::device::Target;
use crate::tensors::{cannot_read, cannot_write};
use sslc_compiler::program::Program;
use sslc_cuda::Choices;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs;
use std::path::Path;

/// The file of the run directory.
const FILE: &str = "kernels.json";

/// The step of a run, with the kernels that the run began with.
///
/// # Errors
/// As [`Stepper::tuned`]; E0670 where the file is damaged.
pub fn stepper(
    program: &Program,
    target: &Target,
    initial: &Values,
    directory: &RunDirectory,
    observer: &mut dyn Observer,
) -> Result<Stepper, Diagnostic> {
    let Target::Cuda(device) = target else {
        return Stepper::new(program, target, initial, false);
    };
    let known = read(&directory.path().join(FILE))?;
    let mut tuning = target.tuning(known.clone());
    let stepper = Stepper::tuned(program, target, initial, false, &mut tuning)?;
    if tuning.known != known {
        let path = directory.path().join(FILE);
        let text = serde_json::to_string_pretty(&tuning.known)
            .map_err(|e| cannot_write(&path, &e.to_string()))?;
        directory.add(Path::new(FILE), &(text + "\n"))?;
    }
    let summary = tuning.known.summary();
    if device.autotune() && !summary.is_empty() {
        observer.event(Event::Kernels(&summary));
    }
    Ok(stepper)
}

fn read(path: &Path) -> Result<Choices, Diagnostic> {
    if !path.exists() {
        return Ok(Choices::default());
    }
    let text = fs::read(path).map_err(|e| cannot_read(path, &e))?;
    serde_json::from_slice(&text).map_err(|e| {
        Diagnostic::new(
            codes::E0670,
            format!("'{}' does not say which kernels the run takes: {e}", path.display()),
        )
        .help("restore the file; without it kernels are chosen anew, and the last digits may be others")
    })
}
