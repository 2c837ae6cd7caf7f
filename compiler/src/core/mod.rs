//! `core`: a spec evaluated with symbolic tensors, as a typed SSA list of ops from the registry.
//!
//! - [`graph`]: types, attributes, nodes, graphs.
pub mod graph;
