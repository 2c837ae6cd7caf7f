//! Contractions of the networks' shapes and of odd ones.
mod assembly;
pub mod cases;
mod mutations;
mod numbers;
