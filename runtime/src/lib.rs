//! What touches the world: data, views, devices, training, evaluation.
//!
//! - [`layout`]: tensors between their order inside and in files.
//! - [`tensors`]: named tensors in safetensors files, written atomically.
//! - [`evaluate`]: k-NN on features.
//! - [`collapse`]: indicators of collapse of an embedding.
pub mod collapse;
pub mod evaluate;
pub mod layout;
pub mod tensors;
