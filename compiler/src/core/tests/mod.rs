//! Tests of `core`: the registry checked row by row, and graphs as wholes.
mod gradients;
mod registry;
mod simplify;
mod text;
