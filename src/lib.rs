//! The command line of `sslc`, as a library for its tests.
//!
//! - [`cli`]: what can be asked. [`commands`]: one module for each command.
//! - [`compile`]: from a spec file to its program and the text of any stage. [`loader`]: files and imports.
//! - [`render`]: diagnostics as text and JSON. [`report`]: writing to the terminal. [`explain`]: pages of codes.
//! - [`compiled`]: stages as text, for tests of specs; [`snapshots`]: files that hold such texts.
//! - [`display`]: what a training shows.
//! - [`starter`]: starter specs of the methods.
//! - [`difference`]: how two specs differ once evaluated.
//! - [`resolved`]: the spec of a run as files that stand alone. [`runs`]: a run directory, opened again. [`tree`]: the syntax tree as a dot graph.
//! - [`network_drawing`]: a spec at the level of its networks. [`numbers`]: numbers as people write them.
//! - What a run leaves for people: [`run_facts`], [`pictures`], [`embedding_map`], [`tensorboard`]; [`run_report`]: all of it as
//!   one page; [`run_outputs`]: writes them before, during and after a training.
pub mod cli;
pub mod commands;
pub mod compile;
pub mod compiled;
pub mod difference;
pub mod display;
pub mod embedding_map;
pub mod explain;
pub mod loader;
pub mod network_drawing;
pub mod numbers;
pub mod pictures;
pub mod render;
pub mod report;
pub mod resolved;
pub mod run_facts;
pub mod run_outputs;
pub mod run_report;
pub mod runs;
pub mod snapshots;
pub mod starter;
pub mod tensorboard;
pub mod tree;

pub use cli::Stage;
pub use compile::Failure;
pub use compiled::{Compiled, compile, compile_with};
