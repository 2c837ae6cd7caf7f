//! A CUDA device for tests on machines without one: a PTX interpreter, and the driver's interface to it.
//!
//! - [`ptx`]: PTX as a tree
//! - [`code`]: decoded kernels, [`decode`]: the way there
//! - [`memory`], [`shadow`]: the device's memory and what is remembered of accesses
//! - [`exec`]: running kernels, with their checks
//! - [`device`]: modules and launches without the driver's interface
pub mod code;
pub mod decode;
pub mod device;
pub mod exec;
pub mod memory;
pub mod ptx;
pub mod shadow;

pub use device::{Argument, Device, Module};
