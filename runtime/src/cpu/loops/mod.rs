//! Loop kernels on the CPU: a machine whose instructions treat blocks of points.
//!
//! - [`canon`]: the canonical form of a kernel.
//! - [`ranges`]: which elements an access touches.
//! - [`plan`]: blocks, units and steps.
//! - [`ops`]: the instruction loops.
//! - [`run`]: running a plan.
pub mod canon;
mod ops;
pub mod plan;
pub mod ranges;
pub mod run;
