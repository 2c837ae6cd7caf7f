//! From the syntax tree of an `.ssl` spec to kernels. Pure: no files, no environment, no clock, no threads.
//!
//! - [`program`]: what a spec means once evaluated: settings, networks, parameters, graphs. The contract with `runtime`.
//! - [`core`]: the typed SSA graph, its registry of ops, gradients, simplification, text forms, interpreter.
//! - [`step`]: one training step: gradients, optimizer, moving averages.
//! - [`lints`]: warnings that know the field.
//! - [`lower`]: core as a luminal graph, and the reference that runs it.
//! - [`exec`]: what runs a lowered graph.
//! - [`kernels`]: the kernel IR, and the trait of a device that runs it.
pub mod core;
pub mod exec;
pub mod kernels;
pub mod lints;
pub mod lower;
pub mod program;
pub mod step;
