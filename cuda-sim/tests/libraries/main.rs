//! NVIDIA's libraries on the simulated device.
//!
//! - [`matmul`]: cuBLASLt, [`convolution`]: cuDNN; what they compute, and what they refuse
//! - [`work`]: products as work of streams: when they are computed, and how they fail then
//! - [`support`]: calls with everything that they need
mod convolution;
mod matmul;
mod support;
mod work;
