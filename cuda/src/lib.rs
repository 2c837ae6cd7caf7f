//! The CUDA device.
//!
//! - [`code`]: the CUDA C of a kernel program, as text. Pure: it needs neither a GPU nor a CUDA installation.
//!
//! Invariant: results are the same bits on every run. How a kernel's work is split, and the order of its sums, depend on its
//! shape alone; there are no atomics on floats.
pub mod code;

#[cfg(test)]
mod tests;
