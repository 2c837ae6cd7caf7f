//! From the syntax tree of an `.ssl` spec to kernels. Pure: no files, no environment, no clock, no threads.
//!
//! - [`program`]: what a spec means once evaluated: settings, networks, parameters, graphs. The contract with `runtime`.
//! - [`elaborate`]: from the syntax tree to the program, by evaluation with symbolic tensors. [`stdlib`]: the standard
//!   library, in the language itself.
//! - [`core`]: the typed SSA graph, its registry of ops, gradients, simplification, text forms, interpreter.
//! - [`step`]: one training step: gradients, optimizer, moving averages.
//! - [`lints`]: warnings that know the field.
//! - [`lower`]: core as a luminal graph, and the reference that runs it.
//! - [`onnx`]: the encoder as a model of ONNX operators.
//! - [`exec`]: what runs a lowered graph.
//! - [`kernels`]: the kernel IR, and the trait of a device that runs it.
pub mod core;
pub mod elaborate;
pub mod exec;
pub mod kernels;
pub mod lints;
pub mod lower;
pub mod onnx;
pub mod program;
pub mod stdlib;
pub mod step;
