//! A function's parameters: buffers and scratch, and their names in C.

use super::text::c_type;
use crate::code::Argument;
use sslc_compiler::kernels::ir::{Buffer, BufferId};

/// Parameters under construction. Names tell places in the list, not buffers, so that equal kernels have equal texts.
pub struct Parameters<'a> {
    buffers: &'a [Buffer],
    names: Vec<(BufferId, String)>,
    pub list: Vec<String>,
    pub arguments: Vec<Argument>,
}

impl<'a> Parameters<'a> {
    pub fn new(buffers: &'a [Buffer]) -> Parameters<'a> {
        Parameters {
            buffers,
            names: Vec::new(),
            list: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// A buffer that the function only reads, under a name of its own.
    pub fn read(&mut self, buffer: BufferId, name: &str) {
        let element = c_type(self.buffers[buffer.0 as usize].element);
        self.names.push((buffer, name.to_string()));
        self.list
            .push(format!("const {element}* __restrict__ {name}"));
        self.arguments.push(Argument::Buffer(buffer));
    }

    /// A buffer that the function writes, and does not read through another parameter.
    pub fn written(&mut self, buffer: BufferId, name: &str) {
        let element = c_type(self.buffers[buffer.0 as usize].element);
        self.names.push((buffer, name.to_string()));
        self.list.push(format!("{element}* __restrict__ {name}"));
        self.arguments.push(Argument::Buffer(buffer));
    }

    /// A place in the scratch, of elements of a type.
    pub fn scratch(&mut self, words: usize, element: &str, name: &str) {
        self.list.push(format!("{element}* __restrict__ {name}"));
        self.arguments.push(Argument::Scratch(words));
    }

    /// The name of a buffer that is a parameter.
    pub fn name(&self, buffer: BufferId) -> Option<&str> {
        let found = self.names.iter().find(|(b, _)| *b == buffer)?;
        Some(&found.1)
    }

    /// The parameters as C declares them.
    pub fn declared(&self) -> String {
        self.list.join(",\n    ")
    }
}
