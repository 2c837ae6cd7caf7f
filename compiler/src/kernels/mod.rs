//! Kernels: the IR that is made of the luminal graph, fused and planned, and run by a device.
//!
//! - [`ir`]: the kernel IR.
//! - [`device`]: what a device must do to run it.
//! - [`naive`]: contractions, windows and indexed moves, computed plainly.
pub mod device;
pub mod ir;
pub mod naive;
