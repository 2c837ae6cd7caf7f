//! Tests of `core`: the registry checked row by row, and graphs as wholes.
mod gradients;
mod registry;
mod shapes;
mod simplify;
mod text;
