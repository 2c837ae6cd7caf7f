//! `core`: a spec evaluated with symbolic tensors, as a typed SSA list of ops from the registry.
//!
//! - [`graph`]: types, attributes, nodes, graphs. [`builder`]: making them.
//! - [`ops`]: the registry: what each op means, in one table.
//! - [`print`], [`read`]: the text form, `read(print(g)) == g`. [`verify`]: the rules every graph keeps.
//! - [`simplify`]: equal nodes, constants, identities, dead nodes.
//! - [`random`]: random programs, for tests.
//! - [`autodiff`]: gradients, by the rules of the registry.
//! - [`precision`]: what is rounded to bf16.
//! - [`interp`]: the naive interpreter in f64, for tests and constant folding. [`rng`]: the generator of random draws.
//!   [`special`]: functions that Rust lacks. [`bf16`]: what rounding means.
pub mod autodiff;
pub mod bf16;
pub mod builder;
pub mod graph;
pub mod interp;
pub mod ops;
pub mod precision;
pub mod print;
pub mod random;
pub mod read;
pub mod rng;
pub mod simplify;
pub mod special;
pub mod verify;

#[cfg(test)]
mod tests;
