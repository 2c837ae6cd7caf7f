//! The CUDA device.
//!
//! - [`code`]: the CUDA C of a kernel program, as text. Pure: it needs neither a GPU nor a CUDA installation.
//! - [`nvrtc`]: the compiler of CUDA C. [`images`]: functions compiled in parallel; [`cache`]: each but once on a machine.
//! - [`gpu`]: a GPU, opened. [`device`]: programs for it.
//! - [`libraries`]: cuBLASLt and cuDNN, where they are installed. [`tuning`]: which kernels they run.
//! - [`ready`]: launches and calls with their arguments in place.
//! - [`loaded`]: a program in its memory. [`transfers`]: what goes in and comes out; [`pinned`]: the memory for that.
//!
//! Invariant: results are the same bits on every run. How a kernel's work is split, and the order of its sums, depend on its
//! shape alone; there are no atomics on floats.
mod cache;
pub mod code;
mod device;
mod gpu;
mod images;
mod libraries;
mod loaded;
pub mod nvrtc;
mod pinned;
mod ready;
mod transfers;
mod tuning;

#[cfg(test)]
mod tests;

pub use device::CudaDevice;
pub use gpu::Gpu;
pub use loaded::CudaLoaded;
pub use tuning::{By, Choice, Choices, ProgramChoices, Tuning};
