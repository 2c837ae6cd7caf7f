//! Kernels: the IR that is made of the luminal graph, fused and planned, and run by a device.
//!
//! - [`ir`]: the kernel IR. [`cost`]: its operations and bytes. [`text`]: its text forms, [`summary`]: the memory plan's. [`verify`]: its checks.
//! - [`device`]: what a device must do to run it. [`interp`]: a device for tests. [`naive`]: contractions, windows and
//!   indexed moves, computed plainly.
//! - [`compile`]: our luminal compiler, and the program that luminal runs.
//! - [`build`]: the passes from a lowered graph to a program, in order: [`dag`] imports (with [`space`]: index spaces, and
//!   [`reductions`] recognised, [`roundings`] of products taken into them),
//!   [`fuse`] clusters, [`keep`] decides what is stored, [`assemble`] and [`emit`] make kernels (with
//!   [`peephole`]: several instructions as one), [`epilogues`] and [`prologues`] join them to contractions, after
//!   [`choose`] has settled how each of those is computed, [`bind`] gives them buffers, [`arrange`] takes the best of some
//!   arrangements: [`schedule`] orders
//!   the kernels, [`recompute`] lets values go that are made again, [`plan`] places the buffers. [`bits`]: sets for them.
pub mod arrange;
pub mod assemble;
pub mod bind;
pub mod bits;
pub mod build;
pub mod choose;
pub mod compile;
pub mod cost;
pub mod dag;
pub mod device;
pub mod emit;
pub mod epilogues;
pub mod fuse;
pub mod interp;
pub mod ir;
pub mod keep;
pub mod naive;
pub mod peephole;
pub mod plan;
pub mod prologues;
pub mod recompute;
pub mod reductions;
pub mod roundings;
pub mod schedule;
pub mod space;
pub mod summary;
pub mod text;
pub mod verify;

#[cfg(test)]
mod tests;
