//! The command line of `sslc`, as a library for its tests.
//!
//! - [`cli`]: what can be asked. [`commands`]: one module for each command.
//! - [`compile`]: from a spec file to its program and the text of any stage. [`loader`]: files and imports.
//! - [`render`]: diagnostics as text and JSON. [`report`]: writing to the terminal. [`explain`]: pages of codes.
//! - [`resolved`]: the spec of a run as files that stand alone. [`tree`]: the syntax tree as a dot graph.
pub mod cli;
pub mod commands;
pub mod compile;
pub mod explain;
pub mod loader;
pub mod render;
pub mod report;
pub mod resolved;
pub mod tree;
