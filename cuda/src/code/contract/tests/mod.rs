//! Contractions of the networks' shapes and of odd ones.
mod assembly;
mod cases;
mod mutations;
mod numbers;
