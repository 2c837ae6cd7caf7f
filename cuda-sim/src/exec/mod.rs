//! Running kernels.
//!
//! - [`block`]: a block: its warps, its shared memory, its barriers
//! - [`warp`]: a warp: lanes that are together, and where they part
//! - [`step`]: one instruction; [`families`]: operations that are many of a kind
//! - [`lanes`]: arithmetic for the 32 lanes of a warp; [`integer`], [`float`] and [`convert`] say what is computed
//! - [`access`]: loads and stores; [`view`]: their checks; [`shared`]: the shared memory of a block
//! - [`mod@copies`]: the asynchronous copies of `cp.async`
//! - [`sync`]: shuffles, votes and what else the lanes of a warp do together; [`matrix`]: `mma` and `ldmatrix`
mod access;
mod block;
mod convert;
mod copies;
mod families;
pub(crate) mod float;
mod integer;
mod lanes;
mod matrix;
mod shared;
mod step;
mod sync;
mod view;
mod warp;

use crate::code::Kernel;
use crate::memory::Memory;

/// What went wrong, as the driver classes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Out of bounds.
    Address,
    Misaligned,
    /// Anything else that a device would not survive, or would compute nonsense after.
    Failed,
    /// Too many instructions.
    Timeout,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub message: String,
}

impl Fault {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Fault {
            kind,
            message: message.into(),
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Fault::new(Kind::Failed, message)
    }
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    pub kernel: &'a Kernel,
    /// The module's text, for messages.
    pub text: &'a str,
    pub grid: [u32; 3],
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    pub parameters: &'a [u8],
    /// Instructions of warps, in all, before it counts as endless.
    pub budget: u64,
}

impl Launch<'_> {
    /// Runs all blocks, in an order that depends on nothing but their number. The memory must have begun an operation.
    pub fn run(&self, memory: &mut Memory) -> Result<u64, Fault> {
        let blocks = self.grid.iter().map(|&g| g as u64).product::<u64>();
        let mut block = block::Block::new(self, memory);
        // A permutation: a step that has no divisor in common with the number of blocks.
        let mut step = (blocks as f64 * 0.618) as u64 | 1;
        while gcd(step, blocks) != 1 {
            step += 2;
        }
        let mut at = blocks / 3;
        for _ in 0..blocks {
            at = (at + step) % blocks;
            block.run(at)?;
        }
        Ok(self.budget - block.budget)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
