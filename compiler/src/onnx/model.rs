//! A model of ONNX operators, as data; whoever writes the file turns it into ONNX's messages.

use std::collections::BTreeMap;

/// Operators in topological order, with the tensors they read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub nodes: Vec<Node>,
    /// Weights and constants by name.
    pub initializers: BTreeMap<String, Constant>,
}

/// An input or output of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    pub name: String,
    pub element: Element,
    pub shape: Vec<Extent>,
}

/// The size of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Fixed(usize),
    /// The number of images.
    Batch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    I64,
    Bool,
}

/// One operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: &'static str,
    /// A name for people; unique.
    pub name: String,
    pub inputs: Vec<String>,
    /// The one value it makes.
    pub output: String,
    pub attrs: Vec<(&'static str, Attr)>,
    /// Of a reduction: how many elements each result is made of.
    pub count: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attr {
    Int(i64),
    Ints(Vec<i64>),
}

/// A tensor that stands in the file, row-major. Values are kept in f64 until they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub element: Element,
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Node {
    pub fn attr(&self, name: &str) -> Option<&Attr> {
        self.attrs.iter().find(|(n, _)| *n == name).map(|(_, a)| a)
    }

    /// An integer attribute that is not 0.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.attr(name), Some(Attr::Int(v)) if *v != 0)
    }
}
