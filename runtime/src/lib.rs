//! What touches the world: data, views, devices, training, evaluation.
//!
//! - [`data`]: image sources as labelled splits. [`views`]: augmented images, and the loader that renders batches of
//!   them ahead of the step.
//! - [`device`]: devices by name; [`cpu`] and [`cuda`]: their crates.
//! - [`train`]: the training loop and what it leaves behind.
//! - [`evaluate`]: k-NN on features; [`linear`]: a linear classifier on them. [`collapse`]: indicators of collapse of an embedding.
//! - `matrix`: products of matrices, for evaluation. [`memory`]: what this process holds.
//! - [`export`]: the encoder as a file for PyTorch, timm and ONNX.
//! - [`fetch`]: data sets from their publishers.
//! - [`layout`]: tensors between their order inside and in files. [`names`]: parameters by their names in files. [`tensors`]: safetensors files, written atomically.
//! - [`rng`]: the counter-based generator that every draw comes from.
pub use sslc_cpu as cpu;
pub use sslc_cuda as cuda;

pub mod collapse;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod fetch;
pub mod layout;
pub mod linear;
mod matrix;
pub mod memory;
pub mod names;
pub mod rng;
pub mod tensors;
pub mod train;
pub mod views;
