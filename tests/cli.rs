//! `sslc` as a person drives it: a real process, real files, exit codes.
//!
//! - [`drive`]: runs it. [`browser`], [`python`]: others that read what it writes. [`gpu`]: a simulated GPU.
//! - [`specs`], [`environment`], [`training`], [`runs`], [`resume`], [`eval`], [`commands`], [`compare`], [`reports`], [`snapshots`], [`starters`],
//!   [`export`], [`init`], [`data`], [`fetch`], [`cuda`]: the tests, by what they are about.

#[path = "cli/browser.rs"]
mod browser;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/compare.rs"]
mod compare;
#[path = "cli/cuda.rs"]
mod cuda;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/drive.rs"]
mod drive;
#[path = "cli/environment.rs"]
mod environment;
#[path = "cli/eval.rs"]
mod eval;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/fetch.rs"]
mod fetch;
#[path = "support/cuda.rs"]
mod gpu;
#[path = "cli/init.rs"]
mod init;
#[path = "cli/python.rs"]
mod python;
#[path = "cli/reports.rs"]
mod reports;
#[path = "cli/resume.rs"]
mod resume;
#[path = "cli/runs.rs"]
mod runs;
#[path = "cli/snapshots.rs"]
mod snapshots;
#[path = "cli/specs.rs"]
mod specs;
#[path = "cli/starters.rs"]
mod starters;
#[path = "cli/training.rs"]
mod training;
