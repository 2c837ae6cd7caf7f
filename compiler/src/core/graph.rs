//! Types, nodes and graphs of `core`.
//!
//! Invariant: a node's arguments stand before it, so the list is in topological order and a [`ValueId`] is an index.

use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    F32,
    /// Class indices, positions and counters; below 2^24 in magnitude, so that f32 holds them exactly.
    I32,
    /// Masks.
    Bool,
}

/// Element type and static shape. Rank is at most [`MAX_RANK`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Type {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

pub const MAX_RANK: usize = 6;

impl Type {
    pub fn f32(shape: &[usize]) -> Type {
        Type {
            dtype: DType::F32,
            shape: shape.to_vec(),
        }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; 1 for a scalar.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `f32[8, 32]`
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = match self.dtype {
            DType::F32 => "f32",
            DType::I32 => "i32",
            DType::Bool => "bool",
        };
        let dims: Vec<String> = self.shape.iter().map(|d| d.to_string()).collect();
        write!(f, "{dtype}[{}]", dims.join(", "))
    }
}

/// A value of a [`Graph`]: the index of the node that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ValueId(pub u32);

impl ValueId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Attr {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Ints(Vec<i64>),
}

/// A typed SSA list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Graph {}
