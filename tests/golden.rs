//! Training steps, single layers and initial parameters against the numbers of PyTorch: see `golden/README.md`.

#[path = "golden/check.rs"]
mod check;
#[path = "support/cuda.rs"]
mod cuda;
#[path = "golden/init.rs"]
mod init;
#[path = "golden/ops.rs"]
mod ops;
#[path = "golden/portable.rs"]
mod portable;
#[path = "golden/precision.rs"]
mod precision;
#[path = "golden/sslc.rs"]
mod sslc;
#[path = "golden/steps.rs"]
mod steps;
#[path = "golden/tensors.rs"]
mod tensors;
