//! `sslc report`: one page about one run, or one that compares several.

use crate::compile::Failure;
use crate::report::print;
use crate::run_report;
use std::path::{Path, PathBuf};

/// Writes the report; by default into the run directory, and for several runs into the present folder.
pub fn run(runs: &[PathBuf], out: Option<&Path>) -> Result<u8, Failure> {
    let out = match (out, runs) {
        (Some(out), _) => out.to_owned(),
        (None, [run]) => run.join(run_report::FILE),
        (None, _) => PathBuf::from(run_report::FILE),
    };
    run_report::write(runs, &out)?;
    print(&format!("{}\n", out.display()));
    Ok(0)
}
