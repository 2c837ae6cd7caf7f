//! The plan of a loop kernel: how its points are cut into blocks and units, and the steps that make each block.
//!
//! A *block* is `rows` × `lanes` points of the last two axes; each step treats a whole block. A *unit* is a range of one axis,
//! the piece of work one thread takes. Both follow from the shape alone. What depends on the outer counters
//! only is computed when one of those has moved.

use super::canon::{Place, Reduce};
use super::next::Next;
use super::ops::{BinaryLoop, TernaryLoop, UnaryLoop};
use crate::level::Level;
use sslc_compiler::kernels::ir::{Binary, Unary};

/// Where an operand's block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    /// A block in scratch.
    Slot(usize),
    /// The arena at a load's place: the block lies there contiguously.
    Load(usize),
    /// One value for the whole block.
    Scalar(usize),
    /// The arena at an output's place, where the block has been written already.
    Output(usize),
}

impl Src {
    pub fn is_scalar(self) -> bool {
        matches!(self, Src::Scalar(_))
    }
}

/// Makes one value of a block.
#[derive(Clone, Debug)]
pub enum Step {
    Unary(UnaryLoop, Src, Src),
    Binary(BinaryLoop, Src, Src, Src),
    Ternary(TernaryLoop, Src, Src, Src, Src),
    /// Copies a load's block, with its strides and valid ranges, into a slot.
    Fill(usize, usize),
    /// The index along the row or lane axis, into a slot.
    Rows(usize),
    Lanes(usize),
    /// A scalar into every element of a slot.
    Splat(usize, usize),
    ScalarLoad(usize, usize),
    /// The index along an axis, into a scalar.
    ScalarIndex(usize, usize),
    ScalarUnary(usize, Unary, usize),
    ScalarBinary(usize, Binary, usize, usize),
    ScalarSelect(usize, usize, usize, usize),
}

/// What becomes of a block's value.
#[derive(Clone, Debug)]
pub struct Write {
    pub value: Src,
    pub to: Place,
    pub kind: WriteKind,
}

#[derive(Clone, Debug)]
pub enum WriteKind {
    /// A step wrote it in its place.
    Done,
    Store,
    /// Contiguous, and past the caches.
    Stream,
    Reduce(Accumulator),
}

/// A reduction's running result within a unit: dense over the kept axes of the unit, in f64. Where a result has several
/// numbers, all of the first stand before all of the second.
#[derive(Clone, Debug)]
pub struct Accumulator {
    pub reduce: Reduce,
    /// Strides over the axes of the unit; 0 where reduced.
    pub strides: Vec<usize>,
    /// Sizes of the kept axes of a full unit; 1 where reduced.
    pub sizes: Vec<usize>,
    /// Where it begins among the accumulators of a unit, and the number of results.
    pub offset: usize,
    pub len: usize,
    pub rows_reduced: bool,
    pub lanes_reduced: bool,
    /// Whether units share out a reduced axis: each has a partial result, and they are combined at the end.
    pub split: bool,
}

impl Accumulator {
    /// f64 numbers it takes.
    pub fn numbers(&self) -> usize {
        self.len * self.reduce.width()
    }
}

/// A counter of the loop nest around a block.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    pub axis: usize,
    pub step: usize,
}

/// Ranges of the first axis that someone else chooses, in order and without gaps: each is a unit.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    pub count: usize,
    pub longest: usize,
}

#[derive(Clone, Debug)]
pub struct LoopPlan {
    pub level: Level,
    pub sizes: Vec<usize>,
    /// The axis before the last, if there is one.
    pub row: Option<usize>,
    pub lane: usize,
    pub rows: usize,
    pub lanes: usize,
    /// Outermost first; covers every axis.
    pub nest: Vec<Counter>,
    pub loads: Vec<Place>,
    /// Values of the scalars at the start of a unit; constants keep theirs.
    pub scalars: Vec<f32>,
    pub slots: usize,
    /// Ordered by depth: how many counters of the nest, from the outermost on, a step's value changes with at most.
    pub steps: Vec<Step>,
    /// For each depth, the first step of that depth or more: those are due when the counter before it has moved.
    pub starts: Vec<usize>,
    pub writes: Vec<Write>,
    /// What is fetched a block ahead.
    pub next: Vec<Next>,
    /// The axis that units share out, how much of it each takes, and how many they are.
    pub unit_axis: usize,
    pub unit_len: usize,
    pub units: usize,
    /// f64 accumulators of a unit.
    pub accumulators: usize,
    /// Whether accumulators of all units are kept, for combining.
    pub split: bool,
}

impl LoopPlan {
    /// Points of a block at most.
    pub fn block(&self) -> usize {
        self.rows * self.lanes
    }

    /// Steps and outputs of a block of which only the innermost counter has moved.
    pub fn turns(&self) -> usize {
        let before = self.starts.last().copied().unwrap_or(0);
        self.steps.len() - before + self.writes.len()
    }

    /// f64 elements that partial results of all units need; 0 if none are kept.
    pub fn partials(&self) -> usize {
        if self.split {
            self.units * self.accumulators
        } else {
            0
        }
    }
}
