//! A kernel program under construction.

use sslc_compiler::core::bf16;
use sslc_compiler::kernels::ir::{
    Access, Buffer, BufferId, BufferKind, Element, Kernel, KernelKind, KernelProgram,
};

/// Buffers one after the other, with their contents, and kernels.
#[derive(Clone, Default)]
pub struct Building {
    pub program: KernelProgram,
    pub contents: Vec<Vec<f32>>,
}

impl Building {
    /// A buffer of f32 with these contents.
    pub fn buffer(&mut self, contents: Vec<f32>) -> BufferId {
        self.buffer_of(Element::F32, contents)
    }

    /// A buffer with these contents, rounded to its element type.
    pub fn buffer_of(&mut self, element: Element, mut contents: Vec<f32>) -> BufferId {
        if element == Element::Bf16 {
            contents.iter_mut().for_each(|x| *x = bf16::round(*x));
        }
        let offset = self.program.arena_len;
        self.program.arena_len += element.words(contents.len()).next_multiple_of(16);
        let id = self.push(BufferKind::State, element, contents.len(), offset);
        self.contents.push(contents);
        id
    }

    /// A buffer without a place, for what a prologue makes.
    pub fn piecewise(&mut self, element: Element, len: usize) -> BufferId {
        let id = self.push(BufferKind::Piecewise, element, len, 0);
        self.contents.push(Vec::new());
        id
    }

    fn push(&mut self, kind: BufferKind, element: Element, len: usize, offset: usize) -> BufferId {
        let id = BufferId(self.program.buffers.len() as u32);
        self.program.buffers.push(Buffer {
            name: format!("b{}", id.0),
            kind,
            element,
            shape: vec![len],
            offset,
        });
        id
    }

    /// A kernel after those that are there, named `test N`.
    pub fn kernel(&mut self, kind: KernelKind) {
        let name = format!("test {}", self.program.kernels.len());
        self.program.kernels.push(Kernel { name, kind });
    }
}

/// An access without ranges.
pub fn access(buffer: BufferId, offset: i64, strides: &[i64]) -> Access {
    Access {
        buffer,
        offset,
        strides: strides.to_vec(),
        valid: vec![None; strides.len()],
    }
}
