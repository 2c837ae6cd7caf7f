//! What touches the world: data, views, devices, training, evaluation.
//!
//! - [`data`]: image sources as labelled splits.
//! - [`views`]: augmented images, and the loader that renders batches of them ahead of the step.
//! - [`rng`]: the counter-based generator that every draw comes from.
//! - [`layout`]: tensors between their order inside and in files.
//! - [`tensors`]: named tensors in safetensors files, written atomically.
//! - [`evaluate`]: k-NN on features.
//! - [`cpu`]: the CPU device.
//! - [`collapse`]: indicators of collapse of an embedding.
pub mod collapse;
pub mod cpu;
pub mod data;
pub mod evaluate;
pub mod layout;
pub mod rng;
pub mod tensors;
pub mod views;
