//! Generated code, compiled by NVRTC and run on the simulator, against the interpreter of the kernel IR.
//!
//! Where there is no NVRTC the tests say so and pass; with `SSLC_REQUIRE_NVRTC=1` they fail.
mod bench;
mod copies;
mod elsewhere;
mod groups;
mod indexed;
mod libraries;
mod loops;
mod nvrtc;
mod random;

pub use bench::{Bench, source};
pub use nvrtc::{assembled, nvrtc};
