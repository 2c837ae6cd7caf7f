//! Types, nodes and graphs of `core`.
//!
//! Invariant: a node's arguments stand before it, so the list is in topological order and a [`ValueId`] is an index.

use super::ops::Op;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use sslc_grammar::span::Span;
use std::fmt;
use std::hash::{Hash, Hasher};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    F32,
    /// The upper half of an f32. Ops read it as the f32 it is and give f32; those that move elements keep it.
    Bf16,
    /// Class indices, positions and counters; below 2^24 in magnitude, so that f32 holds them exactly.
    I32,
    /// Masks.
    Bool,
}

impl DType {
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
            DType::Bool => "bool",
        }
    }

    pub fn from_name(name: &str) -> Option<DType> {
        [DType::F32, DType::Bf16, DType::I32, DType::Bool]
            .into_iter()
            .find(|d| d.name() == name)
    }

    /// Whether it holds numbers that have gradients.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::Bf16)
    }
}

/// Element type and static shape. Rank is at most [`MAX_RANK`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Type {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

pub const MAX_RANK: usize = 6;

/// A tensor has fewer elements than this, so that sizes in bytes never overflow. What a device can hold is less.
pub const MAX_ELEMENTS: usize = 1 << 48;

impl Type {
    pub fn f32(shape: &[usize]) -> Type {
        Type {
            dtype: DType::F32,
            shape: shape.to_vec(),
        }
    }

    pub fn new(dtype: DType, shape: &[usize]) -> Type {
        Type {
            dtype,
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
        let dims: Vec<String> = self.shape.iter().map(|d| d.to_string()).collect();
        write!(f, "{}[{}]", self.dtype.name(), dims.join(", "))
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

/// An attribute of a node. Floats compare by their bits: 0.0 and -0.0 are different attributes; NaN equals NaN.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Attr {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Ints(Vec<i64>),
}

impl PartialEq for Attr {
    fn eq(&self, other: &Attr) -> bool {
        match (self, other) {
            (Attr::Bool(a), Attr::Bool(b)) => a == b,
            (Attr::Int(a), Attr::Int(b)) => a == b,
            (Attr::Float(a), Attr::Float(b)) => float_bits(*a) == float_bits(*b),
            (Attr::Str(a), Attr::Str(b)) => a == b,
            (Attr::Ints(a), Attr::Ints(b)) => a == b,
            (Attr::Bool(_) | Attr::Int(_) | Attr::Float(_) | Attr::Str(_) | Attr::Ints(_), _) => {
                false
            }
        }
    }
}

impl Eq for Attr {}

/// The bits of a float, the same for every NaN.
fn float_bits(v: f64) -> u64 {
    if v.is_nan() { f64::NAN } else { v }.to_bits()
}

impl Hash for Attr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Attr::Bool(v) => v.hash(state),
            Attr::Int(v) => v.hash(state),
            Attr::Float(v) => float_bits(*v).hash(state),
            Attr::Str(v) => v.hash(state),
            Attr::Ints(v) => v.hash(state),
        }
    }
}

impl From<bool> for Attr {
    fn from(v: bool) -> Attr {
        Attr::Bool(v)
    }
}

impl From<usize> for Attr {
    fn from(v: usize) -> Attr {
        Attr::Int(v as i64)
    }
}

impl From<f64> for Attr {
    fn from(v: f64) -> Attr {
        Attr::Float(v)
    }
}

impl From<&str> for Attr {
    fn from(v: &str) -> Attr {
        Attr::Str(v.to_string())
    }
}

/// Sizes, axes, offsets.
impl From<&[usize]> for Attr {
    fn from(v: &[usize]) -> Attr {
        Attr::Ints(v.iter().map(|i| *i as i64).collect())
    }
}

impl From<DType> for Attr {
    fn from(v: DType) -> Attr {
        Attr::Str(v.name().to_string())
    }
}

/// The attributes of a node, in the order of its op's schema.
///
/// Invariant: they fit the schema (each attribute once, each of its kind), so the accessors cannot miss; whoever
/// makes an `Attrs` goes through [`super::ops::OpDef::check_attrs`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attrs(pub(super) Vec<(&'static str, Attr)>);

impl Attrs {
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Attr)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    pub fn bool(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Attr::Bool(v)) => *v,
            other => schema_bug(name, other),
        }
    }

    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Attr::Int(v)) => *v,
            other => schema_bug(name, other),
        }
    }

    /// An integer that is a size, an axis or a count. Negative ones, which only a text form can hold, become
    /// `usize::MAX` and are refused by the shape rules.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(usize::MAX)
    }

    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Attr::Float(v)) => *v,
            other => schema_bug(name, other),
        }
    }

    pub fn str(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Attr::Str(v)) => v,
            other => schema_bug(name, other),
        }
    }

    pub fn ints(&self, name: &str) -> &[i64] {
        match self.get(name) {
            Some(Attr::Ints(v)) => v,
            other => schema_bug(name, other),
        }
    }

    /// Integers that are sizes, axes or offsets; negative ones become `usize::MAX`, as in [`Attrs::size`].
    pub fn sizes(&self, name: &str) -> Vec<usize> {
        self.ints(name)
            .iter()
            .map(|i| usize::try_from(*i).unwrap_or(usize::MAX))
            .collect()
    }
}

#[cold]
fn schema_bug(name: &str, found: Option<&Attr>) -> ! {
    panic!("compiler bug: attribute `{name}` does not fit the op's schema: {found:?}")
}

impl Serialize for Attrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// One operation and the value it makes. Two nodes are equal whatever their origin.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub attrs: Attrs,
    pub args: Vec<ValueId>,
    pub ty: Type,
    /// A name from the spec, for people: `f.layer1.0.conv1`. One line of text.
    pub name: Option<String>,
    /// The expression of the spec that made it.
    pub origin: Option<Span>,
}

impl Node {
    /// Whether it is made by this op: `node.is(&ops::ADD)`.
    pub fn is(&self, op: Op) -> bool {
        self.op == op
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.op == other.op
            && self.attrs == other.attrs
            && self.args == other.args
            && self.ty == other.ty
            && self.name == other.name
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut node = serializer.serialize_struct("Node", 5)?;
        node.serialize_field("op", self.op.name)?;
        node.serialize_field("attrs", &self.attrs)?;
        node.serialize_field("args", &self.args)?;
        node.serialize_field("type", &self.ty)?;
        node.serialize_field("name", &self.name)?;
        node.end()
    }
}

/// Nodes in topological order, and which of them are results.
///
/// Outputs are named `loss`, `value/NAME`, `grad/PATH`, `param/PATH`, `buffer/PATH`, `state/PATH`, …, each name once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub outputs: Vec<(String, ValueId)>,
}

impl Graph {
    pub fn node(&self, id: ValueId) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn ty(&self, id: ValueId) -> &Type {
        &self.node(id).ty
    }

    /// The nodes with their ids, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(i, n)| (ValueId(i as u32), n))
    }

    pub fn output(&self, name: &str) -> Option<ValueId> {
        self.outputs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, id)| *id)
    }
}
