//! Launches before their functions have names.

use super::Argument;
use sslc_compiler::kernels::ir::{Buffer, BufferId, Element};

/// Stands for the function's name in [`Draft::source`].
pub const NAME: &str = "KERNEL_NAME";

/// One launch, and the function it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The function's definition, with [`NAME`] where its name belongs: equal texts become one function.
    pub source: String,
    /// What follows the kernel's name in the function's; empty where the kernel has one launch.
    pub suffix: &'static str,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    pub arguments: Vec<Argument>,
    pub grid: [u32; 3],
}

/// The launches of one kernel, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drafts {
    pub launches: Vec<Draft>,
    /// Words of 4 bytes of scratch that the arguments reach into; any other kernel may use the same.
    pub scratch_words: usize,
}

/// A function's pointers to buffers: `p0`, `p1`, … in the order they are first asked for.
pub struct Pointers<'a> {
    buffers: &'a [Buffer],
    /// With whether it is written.
    used: Vec<(BufferId, bool)>,
}

impl<'a> Pointers<'a> {
    pub fn new(buffers: &'a [Buffer]) -> Pointers<'a> {
        Pointers {
            buffers,
            used: Vec::new(),
        }
    }

    /// Makes a buffer one that the function reads.
    pub fn read(&mut self, buffer: BufferId) {
        if !self.used.iter().any(|(b, _)| *b == buffer) {
            self.used.push((buffer, false));
        }
    }

    /// Makes a buffer one that the function writes.
    pub fn write(&mut self, buffer: BufferId) {
        self.read(buffer);
        let mut used = self.used.iter_mut();
        if let Some((_, written)) = used.find(|(b, _)| *b == buffer) {
            *written = true;
        }
    }

    /// The pointer's name; one that was not asked for has none.
    pub fn name(&self, buffer: BufferId) -> String {
        let at = self.used.iter().position(|(b, _)| *b == buffer);
        at.map_or_else(String::new, |at| format!("p{at}"))
    }

    /// Parameters of C, `__restrict__` where nothing that is written lies over it.
    pub fn parameters(&self) -> Vec<String> {
        let declare = |(at, (buffer, written)): (usize, &(BufferId, bool))| {
            let constant = if *written { "" } else { "const " };
            let element = c_type(self.buffers[buffer.0 as usize].element);
            let apart = self.used.iter().all(|(other, other_written)| {
                other == buffer
                    || !(*written || *other_written)
                    || !overlap(self.buffers, *buffer, *other)
            });
            let restrict = if apart { " __restrict__" } else { "" };
            format!("{constant}{element}*{restrict} p{at}")
        };
        self.used.iter().enumerate().map(declare).collect()
    }

    /// What is given for [`Pointers::parameters`].
    pub fn arguments(&self) -> Vec<Argument> {
        self.used
            .iter()
            .map(|(b, _)| Argument::Buffer(*b))
            .collect()
    }
}

/// Whether two buffers share words of the arena.
pub fn overlap(buffers: &[Buffer], a: BufferId, b: BufferId) -> bool {
    let (a, b) = (&buffers[a.0 as usize], &buffers[b.0 as usize]);
    a.offset < b.offset + b.words() && b.offset < a.offset + a.words()
}

/// The C type of an element.
pub fn c_type(element: Element) -> &'static str {
    match element {
        Element::F32 => "float",
        Element::Bf16 => "bf16",
    }
}

/// `extern "C" __global__ void …(parameters)`, of [`NAME`].
pub fn head(threads: u32, parameters: &[String]) -> String {
    format!(
        "extern \"C\" __global__ void __launch_bounds__({threads}) {NAME}({})",
        parameters.join(", ")
    )
}

/// Blocks for some units of work at `per_block` each, as the first size of a grid.
pub fn blocks(units: usize, per_block: usize) -> u32 {
    u32::try_from(units.div_ceil(per_block)).unwrap_or(u32::MAX)
}
