//! Loop kernels on the CPU: a machine whose instructions treat blocks of points.
//!
//! - [`canon`]: the canonical form of a kernel.
//! - [`ranges`]: which elements an access touches.
//! - [`join`]: instructions that one loop makes together.
//! - [`plan`]: what a plan is: blocks, units and steps.
//! - [`build`]: making a plan. [`next`]: what is fetched a block ahead.
//! - [`ops`]: the instruction loops. [`moments`]: those of deviations from a mean.
//!   [`combine`]: those that combine partial results.
//! - [`block`]: the steps of one block.
//! - [`run`]: running a plan.
mod block;
mod build;
pub mod canon;
mod combine;
mod join;
mod moments;
mod next;
pub mod ops;
pub mod plan;
pub mod ranges;
pub mod run;

pub use ops::fence;
