//! Kernels: the IR that is made of the luminal graph, fused and planned, and run by a device.
//!
//! - [`ir`]: the kernel IR.
//! - [`device`]: what a device must do to run it.
pub mod device;
pub mod ir;
