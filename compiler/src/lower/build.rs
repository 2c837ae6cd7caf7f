//! Building the luminal graph: values, primitives over views, and the arithmetic composed of them.
//!
//! Luminal's unary operators ignore the shape tracker, so elementwise operators whose inputs all read their tensors
//! alike (constants aside) work on the stored tensors and keep the view; others make a dense result in logical order.

use super::operators::{Erf, Pow, Select, Source, ToBf16};
use super::view::{Axis, View};
use luminal::graph::{Dependency, Graph, NodeIndex};
use luminal::op::{
    Add, Constant, ConstantValue, Contiguous, Exp2, LessThan, Log2, MaxReduce, Mod, Mul,
};
use luminal::op::{Operator, Recip, Sin, Sqrt, SumReduce};
use luminal::prelude::ShapeTracker;
use luminal::prelude::symbolic::Expression;
use std::collections::HashMap;

/// A value of the graph being built: a node's tensor, read through a view.
#[derive(Clone, Debug)]
pub struct Value {
    pub node: NodeIndex,
    pub view: View,
}

impl Value {
    pub fn shape(&self) -> Vec<usize> {
        self.view.shape()
    }

    fn with(&self, view: View) -> Value {
        Value {
            node: self.node,
            view,
        }
    }

    pub fn transpose(&self, order: &[usize]) -> Value {
        self.with(self.view.transpose(order))
    }

    pub fn broadcast(&self, shape: &[usize], dims: &[usize]) -> Value {
        self.with(self.view.broadcast(shape, dims))
    }
}

/// A luminal graph under construction.
#[derive(Default)]
pub struct Lowerer {
    graph: Box<Graph>,
    constants: HashMap<u32, NodeIndex>,
    sources: HashMap<String, NodeIndex>,
    /// The core value each node was made for, by node index; nodes are never removed.
    made_for: Vec<u32>,
    current: u32,
}

impl Lowerer {
    /// Nodes made from now on belong to this core value.
    pub fn begin(&mut self, value: u32) {
        self.current = value;
    }

    /// The graph, and the core value each node was made for.
    pub fn finish(self) -> (Box<Graph>, Vec<u32>) {
        (self.graph, self.made_for)
    }

    fn add(&mut self, op: impl Operator + 'static) -> NodeIndex {
        self.made_for.push(self.current);
        self.graph.graph.add_node(Box::new(op))
    }

    fn connect(&mut self, from: NodeIndex, to: NodeIndex, input_order: usize, shape: ShapeTracker) {
        let edge = Dependency::Data {
            input_order: input_order as u8,
            output_order: 0,
            shape,
        };
        self.graph.graph.add_edge(from, to, edge);
    }

    /// A node with a dense output of this shape; its inputs are read through their views.
    fn node(&mut self, op: impl Operator + 'static, inputs: &[&Value], shape: &[usize]) -> Value {
        let node = self.add(op);
        for (i, input) in inputs.iter().enumerate() {
            self.connect(input.node, node, i, input.view.tracker());
        }
        Value {
            node,
            view: View::dense(shape),
        }
    }

    /// An operator that demands dense inputs.
    pub fn opaque(
        &mut self,
        op: impl Operator + 'static,
        inputs: &[&Value],
        shape: &[usize],
    ) -> Value {
        let dense: Vec<Value> = inputs.iter().map(|v| self.dense(v)).collect();
        self.node(op, &dense.iter().collect::<Vec<_>>(), shape)
    }

    /// A value from outside; equal names are one node.
    pub fn source(&mut self, name: String, shape: &[usize]) -> Value {
        if let Some(node) = self.sources.get(&name) {
            return Value {
                node: *node,
                view: View::dense(shape),
            };
        }
        let source = Source {
            name: name.clone(),
            shape: shape.to_vec(),
        };
        let value = self.node(source, &[], shape);
        self.sources.insert(name, value.node);
        value
    }

    /// A number, repeated to a shape. Equal numbers share a node.
    pub fn constant(&mut self, value: f32, shape: &[usize]) -> Value {
        let node = match self.constants.get(&value.to_bits()) {
            Some(node) => *node,
            None => {
                let node = self.add(Constant(ConstantValue::Float(value), std::ptr::null()));
                self.constants.insert(value.to_bits(), node);
                node
            }
        };
        Value {
            node,
            view: View::repeated(shape),
        }
    }

    /// The name of the source a value is, if it is one.
    pub fn source_name(&self, value: &Value) -> Option<String> {
        let op = self.graph.graph.node_weight(value.node)?;
        let source = op.as_any().downcast_ref::<Source>()?;
        value.view.is_dense().then(|| source.name.clone())
    }

    /// The number a value repeats, if it is a constant.
    pub fn as_constant(&self, value: &Value) -> Option<f32> {
        let op = self.graph.graph.node_weight(value.node)?;
        match op.as_any().downcast_ref::<Constant>()?.0 {
            ConstantValue::Float(v) => Some(v),
            ConstantValue::Expression(_) => None,
        }
    }

    /// The same value, stored in logical order.
    pub fn dense(&mut self, value: &Value) -> Value {
        match value.view.is_dense() {
            true => value.clone(),
            false => self.copy(value),
        }
    }

    /// A tensor of its own, in logical order.
    pub fn copy(&mut self, value: &Value) -> Value {
        self.node(Contiguous, &[value], &value.shape())
    }

    pub fn reshape(&mut self, value: &Value, shape: &[usize]) -> Value {
        match value.view.reshape(shape) {
            Some(view) => value.with(view),
            None => {
                let dense = self.dense(value);
                dense.with(View::dense(shape))
            }
        }
    }

    /// An elementwise operator over values of one shape.
    fn map(&mut self, op: impl Operator + 'static, inputs: &[&Value]) -> Value {
        let mut views = inputs.iter().map(|v| &v.view).filter(|v| !v.is_scalar());
        let common = match views.next() {
            None => inputs[0].view.clone(),
            Some(first) if views.all(|v| v == first) => first.clone(),
            Some(_) => return self.node(op, inputs, &inputs[0].shape()),
        };
        let stored = common.stored_shape();
        let inputs: Vec<Value> = inputs
            .iter()
            .map(|v| {
                v.with(if v.view.is_scalar() {
                    View::repeated(&stored)
                } else {
                    View::dense(&stored)
                })
            })
            .collect();
        self.node(op, &inputs.iter().collect::<Vec<_>>(), &stored)
            .with(common)
    }

    pub fn add2(&mut self, a: &Value, b: &Value) -> Value {
        self.map(Add, &[a, b])
    }

    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.map(Mul, &[a, b])
    }

    pub fn rem(&mut self, a: &Value, b: &Value) -> Value {
        self.map(Mod, &[a, b])
    }

    /// 1 where a < b, else 0.
    pub fn less(&mut self, a: &Value, b: &Value) -> Value {
        self.map(LessThan, &[a, b])
    }

    pub fn select(&mut self, condition: &Value, yes: &Value, no: &Value) -> Value {
        self.map(Select, &[condition, yes, no])
    }

    pub fn recip(&mut self, x: &Value) -> Value {
        self.map(Recip, &[x])
    }

    pub fn sqrt(&mut self, x: &Value) -> Value {
        self.map(Sqrt, &[x])
    }

    pub fn sin(&mut self, x: &Value) -> Value {
        self.map(Sin, &[x])
    }

    pub fn exp2(&mut self, x: &Value) -> Value {
        self.map(Exp2, &[x])
    }

    pub fn log2(&mut self, x: &Value) -> Value {
        self.map(Log2, &[x])
    }

    pub fn erf(&mut self, x: &Value) -> Value {
        self.map(Erf, &[x])
    }

    /// Rounds to the nearest bf16.
    pub fn to_bf16(&mut self, x: &Value) -> Value {
        self.map(ToBf16, &[x])
    }

    pub fn pow(&mut self, x: &Value, y: &Value) -> Value {
        let (x, y) = (self.dense(x), self.dense(y));
        self.map(Pow, &[&x, &y])
    }

    /// `x + c`
    pub fn plus(&mut self, x: &Value, c: f32) -> Value {
        let c = self.constant(c, &x.shape());
        self.add2(x, &c)
    }

    /// `x · c`
    pub fn times(&mut self, x: &Value, c: f32) -> Value {
        let c = self.constant(c, &x.shape());
        self.mul(x, &c)
    }

    pub fn neg(&mut self, x: &Value) -> Value {
        self.times(x, -1.0)
    }

    pub fn sub(&mut self, a: &Value, b: &Value) -> Value {
        let b = self.neg(b);
        self.add2(a, &b)
    }

    pub fn div(&mut self, a: &Value, b: &Value) -> Value {
        let r = self.recip(b);
        self.mul(a, &r)
    }

    /// `b` where a < b, else `a`.
    pub fn maximum(&mut self, a: &Value, b: &Value) -> Value {
        let less = self.less(a, b);
        self.select(&less, b, a)
    }

    pub fn exp(&mut self, x: &Value) -> Value {
        let scaled = self.times(x, std::f32::consts::LOG2_E);
        self.exp2(&scaled)
    }

    pub fn log(&mut self, x: &Value) -> Value {
        let log = self.log2(x);
        self.times(&log, std::f32::consts::LN_2)
    }

    /// 1 where a mask is 0, else 0.
    pub fn not(&mut self, mask: &Value) -> Value {
        let (zero, one) = (
            self.constant(0.0, &mask.shape()),
            self.constant(1.0, &mask.shape()),
        );
        self.select(mask, &zero, &one)
    }

    /// The sum over axes, which vanish.
    pub fn sum(&mut self, x: &Value, axes: &[usize]) -> Value {
        self.reduce(x, axes, |axis| Box::new(SumReduce(axis)))
    }

    /// The maximum over axes, which vanish.
    pub fn max(&mut self, x: &Value, axes: &[usize]) -> Value {
        self.reduce(x, axes, |axis| Box::new(MaxReduce(axis)))
    }

    /// Reduces axis by axis, innermost first; neighbouring reduced axes are one.
    fn reduce(&mut self, x: &Value, axes: &[usize], op: fn(usize) -> Box<dyn Operator>) -> Value {
        let mut order: Vec<usize> = (0..x.view.rank()).collect();
        if x.view.axes.iter().all(|a| a.stride > 0 || a.size == 1) {
            // A permutation: reduce in stored order.
            order.sort_by_key(|i| std::cmp::Reverse(x.view.axes[*i].stride));
        }
        let sorted = x.transpose(&order);
        let mut merged: Vec<(usize, bool)> = Vec::new();
        for i in &order {
            let (size, reduced) = (x.view.axes[*i].size, axes.contains(i));
            match merged.last_mut() {
                _ if size == 1 => {}
                Some((last, true)) if reduced => *last *= size,
                _ => merged.push((size, reduced)),
            }
        }
        let shape: Vec<usize> = merged.iter().map(|(size, _)| *size).collect();
        let mut value = self.reshape(&sorted, &shape);
        for axis in (0..merged.len()).rev().filter(|i| merged[*i].1) {
            let mut shape = value.shape();
            shape.remove(axis);
            value = self.boxed(op(axis), &value, &shape);
        }
        let kept: Vec<usize> = order
            .iter()
            .copied()
            .filter(|i| !axes.contains(i))
            .collect();
        let kept_shape: Vec<usize> = kept.iter().map(|i| x.view.axes[*i].size).collect();
        let value = self.reshape(&value, &kept_shape);
        let mut back: Vec<usize> = (0..kept.len()).collect();
        back.sort_by_key(|i| kept[*i]);
        value.transpose(&back)
    }

    fn boxed(&mut self, op: Box<dyn Operator>, x: &Value, shape: &[usize]) -> Value {
        self.made_for.push(self.current);
        let node = self.graph.graph.add_node(op);
        self.connect(x.node, node, 0, x.view.tracker());
        Value {
            node,
            view: View::dense(shape),
        }
    }

    /// Places `starts[a] .. starts[a] + sizes[a]` of each axis.
    pub fn slice(&mut self, x: &Value, starts: &[usize], sizes: &[usize]) -> Value {
        let (stored, at) = self.without_repeats(x);
        let cut: Vec<(Expression, Expression)> = at
            .iter()
            .map(
                |i| match starts[*i] == 0 && sizes[*i] == x.view.axes[*i].size {
                    true => (0.into(), i32::MAX.into()),
                    false => (starts[*i].into(), (starts[*i] + sizes[*i]).into()),
                },
            )
            .collect();
        let shape: Vec<usize> = at.iter().map(|i| sizes[*i]).collect();
        let mut tracker = stored.view.tracker();
        tracker.slice(&cut);
        let node = self.add(Contiguous);
        self.connect(stored.node, node, 0, tracker);
        Value {
            node,
            view: View::dense(&shape),
        }
        .broadcast(sizes, &at)
    }

    /// Zeros around a value, `low[a]` before and `high[a]` after it along each axis.
    pub fn pad(&mut self, x: &Value, low: &[usize], high: &[usize]) -> Value {
        let tracker = self.padded(x, low, high);
        let node = self.add(Contiguous);
        self.connect(tracker.0, node, 0, tracker.1);
        let shape: Vec<usize> = x
            .shape()
            .iter()
            .zip(low)
            .zip(high)
            .map(|((size, low), high)| size + low + high)
            .collect();
        Value {
            node,
            view: View::dense(&shape),
        }
    }

    /// The edge that reads a padded value.
    fn padded(&mut self, x: &Value, low: &[usize], high: &[usize]) -> (NodeIndex, ShapeTracker) {
        let repeats = |a: (&Axis, (&usize, &usize))| a.0.stride == 0 && a.1 != (&0, &0);
        let x = match x.view.axes.iter().zip(low.iter().zip(high)).any(repeats) {
            true => self.dense(x),
            false => x.clone(),
        };
        let pads: Vec<(Expression, Expression)> = low
            .iter()
            .zip(high)
            .map(|(low, high)| ((*low).into(), (*high).into()))
            .collect();
        let mut tracker = x.view.tracker();
        tracker.pad(&pads);
        (x.node, tracker)
    }

    /// Joins values along an axis: each padded to the whole, and added.
    pub fn concat(&mut self, parts: &[&Value], axis: usize) -> Value {
        if let [part] = parts {
            return (*part).clone();
        }
        let mut shape = parts[0].shape();
        shape[axis] = parts.iter().map(|p| p.view.axes[axis].size).sum();
        let mut before = 0;
        let mut sum: Option<(NodeIndex, ShapeTracker)> = None;
        for part in parts {
            let size = part.view.axes[axis].size;
            let (mut low, mut high) = (vec![0; shape.len()], vec![0; shape.len()]);
            (low[axis], high[axis]) = (before, shape[axis] - before - size);
            let edge = self.padded(part, &low, &high);
            before += size;
            sum = Some(match sum {
                None => edge,
                Some(sum) => {
                    let node = self.add(Add);
                    self.connect(sum.0, node, 0, sum.1);
                    self.connect(edge.0, node, 1, edge.1);
                    (node, View::dense(&shape).tracker())
                }
            });
        }
        let node = sum.map_or(parts[0].node, |(node, _)| node);
        Value {
            node,
            view: View::dense(&shape),
        }
    }

    /// The value without its repeated axes, and the axes that are left.
    fn without_repeats(&self, x: &Value) -> (Value, Vec<usize>) {
        let at: Vec<usize> = (0..x.view.rank())
            .filter(|i| x.view.axes[*i].stride > 0)
            .collect();
        (x.transpose(&at), at)
    }
}
