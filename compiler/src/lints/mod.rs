//! Warnings that know the field, judged from the graph of the loss and never by a function's name.
//!
//! - [`rows`]: which values belong to one image, which look at many.
//! - [`collapse`]: losses that a constant embedding makes minimal.
//! - [`reach`]: networks without gradient, targets and predictors without stop-gradient.
//! - [`numbers`]: batch norm over one image, division by the constant 0.
mod collapse;
mod numbers;
mod reach;
mod rows;

use crate::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// All lints of a program, in the order of their codes.
pub fn lints(program: &Program) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(reach::lint(program));
    if let Some(collapse) = collapse::lint(program) {
        // What is wrong is said once: the predictor lacks what the loss lacks.
        found.retain(|d| d.code != codes::W0152);
        found.push(collapse);
    }
    found.extend(numbers::lint(program));
    found.sort_by_key(|d| d.code.name());
    found
}
