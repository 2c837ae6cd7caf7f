//! `sslc` as a person drives it: a real process, real files, exit codes.
//!
//! - [`drive`]: runs it. [`specs`], [`environment`], [`training`], [`commands`]: the tests, by what they are about.

#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/drive.rs"]
mod drive;
#[path = "cli/environment.rs"]
mod environment;
#[path = "cli/specs.rs"]
mod specs;
#[path = "cli/training.rs"]
mod training;
