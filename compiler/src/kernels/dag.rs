//! Import: what a luminal graph computes, as nodes over dense tensors.

use super::ir::{Binary, ConvShape, Element, Unary, Window};
use super::naive::{MatMulShape, TakeShape};
use super::space::{Read, ReadAxis, Space};
use crate::lower::operators as ours;
use luminal::graph::{Dependency, Graph, NodeIndex};
use luminal::op::{self as primitive, ConstantValue, Operator};
use luminal::prelude::ShapeTracker;
use luminal::prelude::symbolic::Expression;
use petgraph::Direction;
use petgraph::visit::EdgeRef;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Source(String),
    /// A number, by its bits.
    Const(u32),
    /// 0, 1, 2, …
    Iota,
    Map(Map),
    Reduce {
        how: Reduction,
        /// What is reduced: intervals of cuts of the input's line, ascending and apart.
        intervals: Vec<(usize, usize)>,
    },
    Fixed(Fixed),
}

/// How the elements of a reduction become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    Sum,
    Max,
    /// The sum of the squares of what is left when the mean is taken away.
    Deviations,
}

/// Element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Map {
    Copy,
    Unary(Unary),
    Binary(Binary),
    Select,
}

/// A kernel of its own, over dense inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fixed {
    MatMul(MatMulShape),
    Conv(ConvShape),
    ConvInputGrad(ConvShape),
    ConvFilterGrad(ConvShape),
    MaxPool(Window),
    MaxPoolGrad(Window),
    AvgPool(Window),
    AvgPoolGrad(Window),
    Take(TakeShape),
    ScatterAdd(TakeShape),
    ArgMax {
        outer: usize,
        size: usize,
        inner: usize,
    },
    Uniform {
        seed: u64,
        stream: u64,
    },
}

impl Fixed {
    /// Whether it sums products.
    pub fn is_contraction(self) -> bool {
        match self {
            Fixed::MatMul(_)
            | Fixed::Conv(_)
            | Fixed::ConvInputGrad(_)
            | Fixed::ConvFilterGrad(_) => true,
            Fixed::MaxPool(_)
            | Fixed::MaxPoolGrad(_)
            | Fixed::AvgPool(_)
            | Fixed::AvgPoolGrad(_)
            | Fixed::Take(_)
            | Fixed::ScatterAdd(_)
            | Fixed::ArgMax { .. }
            | Fixed::Uniform { .. } => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<Read>,
    /// Elements of the output.
    pub len: usize,
    /// How they are stored, if they are.
    pub element: Element,
    /// The output's shape as far as it is known, for people.
    pub shape: Vec<usize>,
    /// The luminal node.
    pub index: NodeIndex,
}

impl Node {
    /// The space a map or a reduction runs over, with the cuts its reads need.
    pub fn space(&self) -> Option<Space> {
        let len = self.inputs.first()?.elements();
        let mut space = Space::line(len);
        for read in &self.inputs {
            space = space.join(&read.space())?;
        }
        if let Op::Reduce { intervals, .. } = &self.op {
            space = space.with_cuts(intervals.iter().flat_map(|(lo, hi)| [*lo, *hi]));
        }
        space.is_chain().then_some(space)
    }

    pub fn is_map(&self) -> bool {
        matches!(self.op, Op::Map(_))
    }
}

/// Nodes in topological order.
#[derive(Clone, Debug, Default)]
pub struct Dag {
    pub nodes: Vec<Node>,
    /// The values the host reads: nodes other than sources, each with one name only.
    pub ports: Vec<(String, usize)>,
    /// The ports that are written over a source that is kept.
    updates: HashSet<usize>,
    /// Where each luminal node went.
    places: HashMap<NodeIndex, usize>,
    /// Maps and reductions by what they compute.
    known: HashMap<(Op, Vec<Read>, Vec<usize>), usize>,
}

/// Reads a luminal graph that lowering made. `ports` are the values that the host reads, by name.
///
/// # Panics
/// Where the graph has an operator that lowering never makes.
pub fn import(graph: &Graph, ports: &[(String, NodeIndex)]) -> Dag {
    let mut dag = Dag::default();
    for index in order(graph) {
        let mut edges: Vec<(u8, NodeIndex, &ShapeTracker)> = graph
            .graph
            .edges_directed(index, Direction::Incoming)
            .filter_map(|e| match e.weight() {
                Dependency::Data {
                    input_order, shape, ..
                } => Some((*input_order, e.source(), shape)),
                Dependency::Schedule => None,
            })
            .collect();
        edges.sort_by_key(|(order, _, _)| *order);
        let shapes: Vec<Vec<usize>> = edges
            .iter()
            .map(|(_, _, tracker)| logical_shape(tracker))
            .collect();
        let inputs: Vec<Read> = edges
            .iter()
            .map(|(_, from, tracker)| read(dag.places[from], tracker))
            .collect();
        let operator = graph.graph[index].as_ref();
        let Some(mut node) = node(operator, inputs, &shapes, index) else {
            panic!("compiler bug: no kernel computes {operator:?}")
        };
        let fixed = matches!(node.op, Op::Fixed(_));
        for read in &mut node.inputs {
            if fixed || read.axes.iter().any(|a| a.valid.is_some()) {
                read.node = dag.with_tensor(read.node);
            }
        }
        dag.match_elements(&mut node);
        let id = dag.add(node);
        dag.places.insert(index, id);
    }
    dag.bind(ports);
    let outputs: Vec<usize> = dag.ports.iter().map(|(_, id)| *id).collect();
    super::reductions::merge(&mut dag, &outputs);
    super::roundings::fold(&mut dag, &outputs);
    super::reductions::find_deviations(&mut dag);
    dag
}

impl Dag {
    /// Gives each port a node of its own: numbers, sources, values with two names and those of bf16 are copied. A source
    /// that is its own update needs nothing.
    fn bind(&mut self, ports: &[(String, NodeIndex)]) {
        let mut taken: HashSet<usize> = HashSet::new();
        let sources: HashSet<String> = self
            .nodes
            .iter()
            .filter_map(|n| {
                if let Op::Source(name) = &n.op {
                    Some(name.clone())
                } else {
                    None
                }
            })
            .collect();
        for (name, index) in ports {
            let mut id = self.with_tensor(self.places[index]);
            let source = match &self.nodes[id].op {
                Op::Source(own) if own == name => continue,
                op => matches!(op, Op::Source(_)),
            };
            let narrow = self.nodes[id].element == Element::Bf16;
            if source || narrow || taken.contains(&id) {
                id = self.copy(id);
            }
            taken.insert(id);
            self.ports.push((name.clone(), id));
            if sources.contains(name) {
                self.updates.insert(id);
            }
        }
    }

    /// Whether a node is an output that takes the place of a source.
    pub fn is_update(&self, id: usize) -> bool {
        self.updates.contains(&id)
    }

    /// Adds a node; a map or reduction that is there already is the same.
    fn add(&mut self, mut node: Node) -> usize {
        if let Op::Map(Map::Binary(Binary::Add | Binary::Mul)) = node.op {
            node.inputs
                .sort_by(|a, b| (a.node, a.offset, &a.axes).cmp(&(b.node, b.offset, &b.axes)));
        }
        if !matches!(node.op, Op::Map(_) | Op::Reduce { .. }) {
            self.nodes.push(node);
            return self.nodes.len() - 1;
        }
        let key = (node.op.clone(), node.inputs.clone(), node.shape.clone());
        *self.known.entry(key).or_insert_with(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        })
    }

    /// The node, or where it is a number or a count a copy of it that has a tensor.
    fn with_tensor(&mut self, id: usize) -> usize {
        let node = &self.nodes[id];
        if !matches!(node.op, Op::Const(_) | Op::Iota) {
            return id;
        }
        self.copy(id)
    }

    /// How a node's elements are stored; a product has operands of one type, and other fixed nodes know f32 only.
    fn match_elements(&mut self, node: &mut Node) {
        let of = |dag: &Dag, read: &Read| dag.nodes[read.node].element;
        match node.op {
            Op::Map(Map::Unary(Unary::Bf16)) => node.element = Element::Bf16,
            Op::Map(Map::Copy) => node.element = of(self, &node.inputs[0]),
            Op::Fixed(fixed) => {
                let all = node.inputs.iter().all(|r| of(self, r) == Element::Bf16);
                for read in &mut node.inputs {
                    if of(self, read) == Element::Bf16 && !(all && fixed.is_contraction()) {
                        read.node = self.copy(read.node);
                    }
                }
            }
            Op::Source(_) | Op::Const(_) | Op::Iota | Op::Map(_) | Op::Reduce { .. } => {}
        }
    }

    /// The same tensor again, in f32.
    fn copy(&mut self, id: usize) -> usize {
        let node = &self.nodes[id];
        let line = ReadAxis {
            size: node.len,
            stride: 1,
            valid: None,
        };
        let copy = Node {
            op: Op::Map(Map::Copy),
            element: Element::F32,
            inputs: vec![Read::new(id, 0, [line])],
            ..node.clone()
        };
        self.nodes.push(copy);
        self.nodes.len() - 1
    }
}

/// Topological, and as near to the order of making as that allows.
fn order(graph: &Graph) -> Vec<NodeIndex> {
    let graph = &graph.graph;
    let mut waiting: HashMap<NodeIndex, usize> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for node in graph.node_indices() {
        match graph.edges_directed(node, Direction::Incoming).count() {
            0 => ready.push(Reverse(node)),
            n => {
                waiting.insert(node, n);
            }
        }
    }
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for edge in graph.edges_directed(node, Direction::Outgoing) {
            if let Some(n) = waiting.get_mut(&edge.target()) {
                *n -= 1;
                if *n == 0 {
                    ready.push(Reverse(edge.target()));
                }
            }
        }
    }
    order
}

fn number(e: Expression) -> usize {
    e.to_usize().unwrap_or(0)
}

fn logical_shape(t: &ShapeTracker) -> Vec<usize> {
    t.indexes.iter().map(|i| logical_size(t, *i)).collect()
}

fn logical_size(t: &ShapeTracker, i: usize) -> usize {
    let padded = number(t.dims[i]) + number(t.padding[i].0) + number(t.padding[i].1);
    padded.min(number(t.slices[i].1)) - number(t.slices[i].0)
}

/// What luminal's index and valid expressions say, as strides.
fn read(node: usize, t: &ShapeTracker) -> Read {
    let mut strides = vec![0i64; t.dims.len()];
    let mut stride = 1i64;
    for i in (0..t.dims.len()).rev().filter(|i| !t.fake[*i]) {
        strides[i] = stride;
        stride *= number(t.dims[i]) as i64;
    }
    let mut offset = 0;
    let axes: Vec<ReadAxis> = t
        .indexes
        .iter()
        .map(|i| {
            let (low, start) = (number(t.padding[*i].0), number(t.slices[*i].0));
            let size = logical_size(t, *i);
            if t.fake[*i] {
                return ReadAxis {
                    size,
                    stride: 0,
                    valid: None,
                };
            }
            let first = low - start.min(low);
            let last = (number(t.dims[*i]) + low)
                .min(number(t.slices[*i].1))
                .min(size);
            offset += (start as i64 - start.min(low) as i64 - low as i64) * strides[*i];
            let valid = (first > 0 || last < size).then_some((first, last));
            ReadAxis {
                size,
                stride: if size == 1 && valid.is_none() {
                    0
                } else {
                    strides[*i]
                },
                valid,
            }
        })
        .collect();
    Read::new(node, offset, axes)
}

fn node(
    operator: &dyn Operator,
    inputs: Vec<Read>,
    shapes: &[Vec<usize>],
    index: NodeIndex,
) -> Option<Node> {
    let any = operator.as_any();
    let reduce = |axis: usize, how: Reduction| {
        let mut shape = shapes.first()?.clone();
        let inside: usize = shape[axis + 1..].iter().product();
        let size = shape.remove(axis);
        let intervals = if size == 1 {
            vec![]
        } else {
            vec![(inside, inside * size)]
        };
        Some((Op::Reduce { how, intervals }, shape))
    };
    let (op, shape) = if let Some(ours::Source { name, shape }) = any.downcast_ref() {
        (Op::Source(name.clone()), shape.clone())
    } else if let Some(primitive::Constant(ConstantValue::Float(v), _)) = any.downcast_ref() {
        (Op::Const(v.to_bits()), vec![])
    } else if let Some(ours::Iota { size }) = any.downcast_ref() {
        (Op::Iota, vec![*size])
    } else if let Some(primitive::SumReduce(axis)) = any.downcast_ref() {
        reduce(*axis, Reduction::Sum)?
    } else if let Some(primitive::MaxReduce(axis)) = any.downcast_ref() {
        reduce(*axis, Reduction::Max)?
    } else if let Some(map) = map(any) {
        (Op::Map(map), shapes.first()?.clone())
    } else {
        let (fixed, shape) = fixed(any)?;
        (Op::Fixed(fixed), shape)
    };
    Some(Node {
        op,
        inputs,
        len: shape.iter().product(),
        element: Element::F32,
        shape,
        index,
    })
}

fn map(any: &dyn std::any::Any) -> Option<Map> {
    Some(if any.is::<primitive::Contiguous>() {
        Map::Copy
    } else if any.is::<primitive::Log2>() {
        Map::Unary(Unary::Log2)
    } else if any.is::<primitive::Exp2>() {
        Map::Unary(Unary::Exp2)
    } else if any.is::<primitive::Sin>() {
        Map::Unary(Unary::Sin)
    } else if any.is::<primitive::Sqrt>() {
        Map::Unary(Unary::Sqrt)
    } else if any.is::<primitive::Recip>() {
        Map::Unary(Unary::Recip)
    } else if any.is::<ours::ToBf16>() {
        Map::Unary(Unary::Bf16)
    } else if any.is::<ours::Erf>() {
        Map::Unary(Unary::Erf)
    } else if any.is::<primitive::Add>() {
        Map::Binary(Binary::Add)
    } else if any.is::<primitive::Mul>() {
        Map::Binary(Binary::Mul)
    } else if any.is::<primitive::Mod>() {
        Map::Binary(Binary::Mod)
    } else if any.is::<primitive::LessThan>() {
        Map::Binary(Binary::Less)
    } else if any.is::<ours::Pow>() {
        Map::Binary(Binary::Pow)
    } else if any.is::<ours::Select>() {
        Map::Select
    } else {
        return None;
    })
}

fn fixed(any: &dyn std::any::Any) -> Option<(Fixed, Vec<usize>)> {
    let conv_x = |s: &ConvShape| vec![s.n, s.h, s.w, s.c];
    let pool_x = |s: &Window| vec![s.n, s.h, s.w, s.c];
    let pool_y = |s: &Window| vec![s.n, s.oh, s.ow, s.c];
    Some(if let Some(ours::MatMul(s)) = any.downcast_ref() {
        let shape = if s.batch == 1 {
            vec![s.m, s.n]
        } else {
            vec![s.batch, s.m, s.n]
        };
        (Fixed::MatMul(*s), shape)
    } else if let Some(ours::Conv2d(s)) = any.downcast_ref() {
        (Fixed::Conv(*s), vec![s.n, s.oh, s.ow, s.k])
    } else if let Some(ours::Conv2dInputGrad(s)) = any.downcast_ref() {
        (Fixed::ConvInputGrad(*s), conv_x(s))
    } else if let Some(ours::Conv2dFilterGrad(s)) = any.downcast_ref() {
        (
            Fixed::ConvFilterGrad(*s),
            vec![s.kernel, s.kernel, s.c / s.groups, s.k],
        )
    } else if let Some(ours::MaxPool(s)) = any.downcast_ref() {
        (Fixed::MaxPool(*s), pool_y(s))
    } else if let Some(ours::MaxPoolGrad(s)) = any.downcast_ref() {
        (Fixed::MaxPoolGrad(*s), pool_x(s))
    } else if let Some(ours::AvgPool(s)) = any.downcast_ref() {
        (Fixed::AvgPool(*s), pool_y(s))
    } else if let Some(ours::AvgPoolGrad(s)) = any.downcast_ref() {
        (Fixed::AvgPoolGrad(*s), pool_x(s))
    } else if let Some(ours::Take(s)) = any.downcast_ref() {
        (Fixed::Take(*s), vec![s.outer, s.count, s.inner])
    } else if let Some(ours::ScatterAdd(s)) = any.downcast_ref() {
        (Fixed::ScatterAdd(*s), vec![s.outer, s.size, s.inner])
    } else if let Some(ours::ArgMax { outer, size, inner }) = any.downcast_ref() {
        let fixed = Fixed::ArgMax {
            outer: *outer,
            size: *size,
            inner: *inner,
        };
        (fixed, vec![*outer, *inner])
    } else if let Some(ours::Uniform { len, seed, stream }) = any.downcast_ref() {
        (
            Fixed::Uniform {
                seed: *seed,
                stream: *stream,
            },
            vec![*len],
        )
    } else {
        return None;
    })
}
