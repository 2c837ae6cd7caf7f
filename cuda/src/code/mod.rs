//! CUDA C of a kernel program.
//!
//! Each kernel of the program becomes one launch or a few, in order. A launch names a function; kernels of one shape share it,
//! as buffers are arguments. A function is a text of its own that compiles with [`PRELUDE`] before it.
//!
//! Functions are compiled with `--fmad=false`, so that a loop has the same bits wherever its code stands; contractions
//! ask for fused multiply-adds by name.
//!
//! - [`generate`]: all kernels, with equal functions once. [`draft`]: launches before their functions have names. [`text`]: the stage
//!   `cuda`.
//! - [`body`]: a loop body at one point, as statements. [`writer`]: indented text.
//! - [`loops`]: loop kernels. [`canon`] simplifies them; [`lanes`] evaluates points, four at a time where memory allows it;
//!   [`stores`]: those that only store, [`reduce`]: those that combine. [`group`]: those that share a launch.
//! - [`contract`]: contractions with their prologues and epilogues.
//! - [`indexed`]: indexed kernels. [`pooling`]: windows over images.
//! - [`library`]: contractions as calls of NVIDIA's libraries, with loops around them.
pub mod body;
mod canon;
pub(crate) mod contract;
pub mod draft;
mod generate;
mod group;
mod indexed;
mod lanes;
pub mod library;
mod loops;
mod pooling;
mod reduce;
mod stores;
pub mod text;
pub mod writer;

#[cfg(test)]
use generate::of_kernel;
pub use generate::{Unsupported, generate, generate_with};
use library::Call;

use sslc_compiler::kernels::ir::BufferId;
use std::collections::HashSet;

/// What every function may use: loads and stores of bf16, reductions over a warp and over a block.
pub const PRELUDE: &str = concat!(
    include_str!("prelude.cu"),
    include_str!("contract/prelude.cu")
);

/// A program's functions and launches.
#[derive(Clone, Debug, Default)]
pub struct Code {
    pub functions: Vec<Function>,
    /// In the order they run.
    pub launches: Vec<Launch>,
    /// Words of 4 bytes that launches may use between two of one kernel.
    pub scratch_words: usize,
    /// What may be run instead of some kernels' launches; by kernel, ascending.
    pub alternatives: Vec<Alternative>,
}

impl Code {
    /// Keeps one way for each kernel, the alternative where `chosen` says so, and the functions of those.
    pub fn keep(&mut self, chosen: &dyn Fn(usize) -> bool) {
        self.alternatives.retain(|a| chosen(a.kernel));
        let replaced: HashSet<usize> = self.alternatives.iter().map(|a| a.kernel).collect();
        self.launches.retain(|l| !replaced.contains(&l.kernel));
        let mut places = vec![None; self.functions.len()];
        let mut functions = Vec::new();
        let steps = self.alternatives.iter_mut().flat_map(|a| &mut a.steps);
        let others = steps.filter_map(|step| match step {
            Step::Launch(launch) => Some(launch),
            Step::Call(_) => None,
        });
        for launch in self.launches.iter_mut().chain(others) {
            let function = &self.functions[launch.function];
            launch.function = *places[launch.function].get_or_insert_with(|| {
                functions.push(function.clone());
                functions.len() - 1
            });
        }
        self.functions = functions;
    }
}

/// Another way to run a kernel: by a library, with loops for what is fused with the contraction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    pub kernel: usize,
    /// In the order they run; one is a call.
    pub steps: Vec<Step>,
}

impl Alternative {
    /// The call that it is about.
    pub fn call(&self) -> Option<&Call> {
        self.steps.iter().find_map(|step| match step {
            Step::Call(call) => Some(call),
            Step::Launch(_) => None,
        })
    }
}

/// A part of an [`Alternative`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Launch(Launch),
    Call(Call),
}

/// One `extern "C" __global__` function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name in C: what the first kernel that uses it computes.
    pub name: String,
    /// Its definition, without [`PRELUDE`].
    pub source: String,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
}

/// One launch of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel of the program that it belongs to: of several that share the launch, the first. The others have none.
    pub kernel: usize,
    /// An index into [`Code::functions`].
    pub function: usize,
    pub arguments: Vec<Argument>,
    /// Blocks of the grid.
    pub grid: [u32; 3],
}

/// What is given to a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A pointer to a buffer's first element.
    Buffer(BufferId),
    /// A pointer into the scratch, at a place in words of 4 bytes.
    Scratch(usize),
    /// One argument: the pointers to these buffers' first elements one after the other, as a `struct` passed by value that
    /// has an array of pointers. At most 480.
    Table(Vec<BufferId>),
}
