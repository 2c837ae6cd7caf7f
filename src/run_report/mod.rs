//! `sslc report`: what runs left behind, as one page that needs nothing else.
//!
//! - [`run`]: a run directory, read as far as it is there. [`metrics`]: its curves and evaluations.
//! - [`charts`]: which curves stand in which chart. [`page`]: the HTML;
//!   [`summary`], [`facts`]: its figures and tables.
//! - `assets/`: the page's style and its scripts: charts, the map of the embedding, and what starts them.
mod charts;
mod facts;
mod metrics;
mod page;
mod run;
mod summary;

use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::write_atomically;
use std::path::{Path, PathBuf};

/// The report that `sslc run` leaves in its directory.
pub const FILE: &str = "report.html";

/// Writes the report of one run, or one that compares several.
///
/// # Errors
/// E0670 where one is not a run directory; E0651 where its files cannot be read, E0654 where the report cannot be written.
pub fn write(runs: &[PathBuf], out: &Path) -> Result<(), Diagnostic> {
    let mut read = Vec::with_capacity(runs.len());
    for path in runs {
        read.push(run::Run::read(path)?);
    }
    run::tell_apart(&mut read);
    write_atomically(out, page::html(&read).as_bytes())
}
