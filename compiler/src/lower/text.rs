//! The stage `luminal`: nodes and edges of the graph itself, under our own numbers.
//!
//! A line is `%7 = Add(%3 [8, 32*], %5 [8, 32])`, where the shape is how the edge reads the node's tensor: `*` marks a repeated axis,
//! `perm 1 0` the stored axis behind each logical one, `1..4` a slice, `+2` zeros before or after.

use super::operators::{ArgMax, AvgPool, AvgPoolGrad, Conv2d, Conv2dFilterGrad, Conv2dInputGrad};
use super::operators::{Iota, MatMul, MaxPool, MaxPoolGrad, ScatterAdd, Source, Take, Uniform};
use super::{Lowered, Port};
use crate::kernels::ir::{ConvShape, Window};
use crate::kernels::naive::TakeShape;
use luminal::graph::NodeIndex;
use luminal::op::{Constant, ConstantValue, Operator};
use luminal::prelude::ShapeTracker;
use luminal::prelude::symbolic::Expression;
use petgraph::Direction;
use petgraph::visit::EdgeRef;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write;

/// A node of the graph, for people and for JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeText {
    pub id: usize,
    pub op: String,
    pub inputs: Vec<EdgeText>,
    /// The core op it was made for, and that value's name.
    pub made_for: String,
}

/// An edge: where the tensor comes from and how it is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EdgeText {
    pub from: usize,
    pub read: String,
}

/// The graph as data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GraphText {
    pub nodes: Vec<NodeText>,
    pub outputs: Vec<(String, usize)>,
}

/// Nodes in the order they were made, which is topological.
pub fn graph_text(lowered: &Lowered) -> GraphText {
    let graph = &lowered.graph.graph;
    let ids: HashMap<NodeIndex, usize> = graph
        .node_indices()
        .enumerate()
        .map(|(i, n)| (n, i))
        .collect();
    let mut nodes = Vec::with_capacity(ids.len());
    for (id, node) in graph.node_indices().enumerate() {
        let mut inputs: Vec<(u8, EdgeText)> = graph
            .edges_directed(node, Direction::Incoming)
            .filter_map(|e| {
                let luminal::graph::Dependency::Data {
                    input_order, shape, ..
                } = e.weight()
                else {
                    return None;
                };
                Some((
                    *input_order,
                    EdgeText {
                        from: ids[&e.source()],
                        read: tracker_text(shape),
                    },
                ))
            })
            .collect();
        inputs.sort_by_key(|(order, _)| *order);
        let note = lowered.notes.get(node.index());
        nodes.push(NodeText {
            id,
            op: operator_text(graph[node].as_ref()),
            inputs: inputs.into_iter().map(|(_, e)| e).collect(),
            made_for: note.map_or(String::new(), |n| match &n.name {
                Some(name) => format!("{} {name}", n.op),
                None => n.op.to_string(),
            }),
        });
    }
    let output = |p: &Port| (p.name.clone(), ids[&p.node]);
    GraphText {
        nodes,
        outputs: lowered.outputs.iter().map(output).collect(),
    }
}

/// The graph as text, a node to a line.
pub fn text(lowered: &Lowered) -> String {
    let graph = graph_text(lowered);
    let mut out = String::new();
    for node in &graph.nodes {
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|e| format!("%{} {}", e.from, e.read))
            .collect();
        let call = match inputs.is_empty() {
            true => node.op.clone(),
            false => format!("{}({})", node.op, inputs.join(", ")),
        };
        let _ = writeln!(out, "%{} = {call}  # {}", node.id, node.made_for);
    }
    for (name, id) in &graph.outputs {
        let _ = writeln!(out, "output {name} = %{id}");
    }
    out
}

/// The graph as JSON.
pub fn json(lowered: &Lowered) -> serde_json::Value {
    serde_json::json!(graph_text(lowered))
}

/// The graph in Graphviz's language.
pub fn dot(lowered: &Lowered) -> String {
    let graph = graph_text(lowered);
    let mut out = String::from("digraph luminal {\n  node [shape=box, fontname=monospace];\n");
    for node in &graph.nodes {
        let _ = writeln!(
            out,
            "  n{} [label={:?}];",
            node.id,
            format!("%{} {}", node.id, node.op)
        );
        for edge in &node.inputs {
            let _ = writeln!(
                out,
                "  n{} -> n{} [label={:?}];",
                edge.from, node.id, edge.read
            );
        }
    }
    for (i, (name, id)) in graph.outputs.iter().enumerate() {
        let _ = writeln!(
            out,
            "  o{i} [label={name:?}, shape=oval];\n  n{id} -> o{i};"
        );
    }
    out.push_str("}\n");
    out
}

/// An operator's name and attributes.
pub fn operator_text(op: &dyn Operator) -> String {
    let any = op.as_any();
    if let Some(Source { name, shape }) = any.downcast_ref() {
        format!("Source {name} {shape:?}")
    } else if let Some(Constant(ConstantValue::Float(v), _)) = any.downcast_ref() {
        format!("Constant {v:?}")
    } else if let Some(Iota { size }) = any.downcast_ref() {
        format!("Iota {size}")
    } else if let Some(MatMul(s)) = any.downcast_ref() {
        let flag = |on: bool| if on { "ᵀ" } else { "" };
        let (batch, m, n, k) = (s.batch, s.m, s.n, s.k);
        format!(
            "MatMul[{batch}× {m}×{k}{} · {k}×{n}{}]",
            flag(s.ta),
            flag(s.tb)
        )
    } else if let Some(Conv2d(s)) = any.downcast_ref() {
        conv_text("Conv2d", s)
    } else if let Some(Conv2dInputGrad(s)) = any.downcast_ref() {
        conv_text("Conv2dInputGrad", s)
    } else if let Some(Conv2dFilterGrad(s)) = any.downcast_ref() {
        conv_text("Conv2dFilterGrad", s)
    } else if let Some(MaxPool(s)) = any.downcast_ref() {
        window_text("MaxPool", s)
    } else if let Some(MaxPoolGrad(s)) = any.downcast_ref() {
        window_text("MaxPoolGrad", s)
    } else if let Some(AvgPool(s)) = any.downcast_ref() {
        window_text("AvgPool", s)
    } else if let Some(AvgPoolGrad(s)) = any.downcast_ref() {
        window_text("AvgPoolGrad", s)
    } else if let Some(Take(s)) = any.downcast_ref() {
        take_text("Take", s)
    } else if let Some(ScatterAdd(s)) = any.downcast_ref() {
        take_text("ScatterAdd", s)
    } else if let Some(ArgMax { outer, size, inner }) = any.downcast_ref() {
        format!("ArgMax[{outer}, {size}, {inner}]")
    } else if let Some(Uniform { len, seed, stream }) = any.downcast_ref() {
        format!("Uniform[{len}, seed {seed}, stream {stream}]")
    } else {
        format!("{op:?}")
    }
}

fn conv_text(name: &str, s: &ConvShape) -> String {
    format!(
        "{name}[{}×{}×{}×{} to {}×{}×{}, {}×{}, stride {}, padding {}, groups {}]",
        s.n, s.h, s.w, s.c, s.oh, s.ow, s.k, s.kernel, s.kernel, s.stride, s.padding, s.groups
    )
}

fn window_text(name: &str, s: &Window) -> String {
    format!(
        "{name}[{}×{}×{}×{} to {}×{}, {}×{}, stride {}, padding {}]",
        s.n, s.h, s.w, s.c, s.oh, s.ow, s.kernel, s.kernel, s.stride, s.padding
    )
}

fn take_text(name: &str, s: &TakeShape) -> String {
    format!(
        "{name}[{}, {} from {}, {}]",
        s.outer, s.count, s.size, s.inner
    )
}

fn number(e: Expression) -> usize {
    e.to_usize().unwrap_or(0)
}

/// How an edge reads its tensor.
pub fn tracker_text(t: &ShapeTracker) -> String {
    let axes: Vec<String> = t
        .indexes
        .iter()
        .map(|i| {
            let (start, end) = (number(t.slices[*i].0), number(t.slices[*i].1));
            let (low, high) = (number(t.padding[*i].0), number(t.padding[*i].1));
            let mut axis = number(t.dims[*i]).to_string();
            if t.fake[*i] {
                axis.push('*');
            }
            if (start, end) != (0, i32::MAX as usize) {
                let _ = write!(axis, " {start}..{end}");
            }
            if (low, high) != (0, 0) {
                let _ = write!(axis, " +{low} +{high}");
            }
            axis
        })
        .collect();
    // The permutation among the axes that are stored.
    let stored: Vec<usize> = t.indexes.iter().copied().filter(|i| !t.fake[*i]).collect();
    let mut text = format!("[{}]", axes.join(", "));
    if !stored.is_sorted() {
        let mut sorted = stored.clone();
        sorted.sort_unstable();
        let rank = |i: &usize| sorted.partition_point(|s| s < i).to_string();
        let order: Vec<String> = stored.iter().map(rank).collect();
        let _ = write!(text, " perm {}", order.join(" "));
    }
    text
}
