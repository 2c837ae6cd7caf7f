//! Values on their way into a model.
//!
//! Invariant: a [`Run`] or [`Known`] speaks of a value of `core` whose axes it names; an axis that it lacks repeats.

use super::model::{Attr, Constant, Element, Extent, Model, Node, Port};
use super::{Batch, Onnx, Refusal, RefusalKind, element};
use crate::core::graph::{Graph, ValueId};
use crate::core::interp::{EvalCtx, Inputs, Tensor, eval_op};
use crate::core::ops::{self, Class};
use std::collections::BTreeSet;
use std::rc::Rc;

/// A value of the graph in the model.
#[derive(Clone, Debug)]
pub enum Value {
    Known(Known),
    Run(Run),
}

/// A value that no image changes.
#[derive(Clone, Debug)]
pub struct Known {
    pub tensor: Rc<Tensor>,
    /// The core axis of each axis of the tensor, ascending.
    pub axes: Vec<usize>,
}

/// A value that the model computes.
#[derive(Clone, Debug)]
pub struct Run {
    pub name: String,
    /// The core axis of each axis of the ONNX tensor.
    pub order: Vec<usize>,
    /// The core axis along which the images lie.
    pub batch: Option<usize>,
}

impl Value {
    /// The core axes along which it does not repeat.
    fn axes(&self) -> &[usize] {
        match self {
            Value::Known(k) => &k.axes,
            Value::Run(r) => &r.order,
        }
    }

    /// The same value seen as one of higher rank: its axis i is axis `dims[i]` there.
    pub fn along(&self, dims: &[usize]) -> Value {
        let there = |axes: &[usize]| axes.iter().map(|a| dims[*a]).collect();
        match self {
            Value::Known(k) => Value::Known(Known {
                tensor: k.tensor.clone(),
                axes: there(&k.axes),
            }),
            Value::Run(r) => Value::Run(Run {
                name: r.name.clone(),
                order: there(&r.order),
                batch: r.batch.map(|a| dims[a]),
            }),
        }
    }
}

/// A model under construction.
pub struct Emit<'g> {
    pub graph: &'g Graph,
    pub model: Model,
    weights: &'g dyn Fn(&str) -> Option<Tensor>,
    prefix: &'g str,
    batch: Batch,
    /// The size of the batch in the graph.
    images: usize,
    values: Vec<Value>,
    names: BTreeSet<String>,
    /// The value that holds the number of images.
    count: Option<String>,
}

impl<'g> Emit<'g> {
    pub(super) fn new(
        graph: &'g Graph,
        weights: &'g dyn Fn(&str) -> Option<Tensor>,
        prefix: &'g str,
        batch: Batch,
    ) -> Emit<'g> {
        Emit {
            graph,
            model: Model::default(),
            weights,
            prefix,
            batch,
            images: 0,
            values: Vec::with_capacity(graph.nodes.len()),
            names: graph.outputs.iter().map(|(name, _)| name.clone()).collect(),
            count: None,
        }
    }

    /// Emits one node; those before it have been.
    pub(super) fn node(&mut self, id: ValueId) -> Result<(), Refusal> {
        let node = self.graph.node(id);
        let known = !node.args.is_empty()
            && node
                .args
                .iter()
                .all(|a| matches!(self.values[a.index()], Value::Known(_)));
        let value = if known && !node.is(&ops::BROADCAST) {
            self.evaluate(id)?
        } else {
            match node.op.onnx {
                Onnx::Input => self.input(id),
                Onnx::Same(op) => self.elementwise(op, id)?,
                Onnx::Rule(rule) => rule(self, id)?,
                Onnx::Unsupported => return Err(self.refuse(RefusalKind::NoForm, id)),
            }
        };
        self.values.push(value);
        Ok(())
    }

    pub fn refuse(&self, kind: RefusalKind, at: ValueId) -> Refusal {
        Refusal { kind, at }
    }

    /// The value of a node that has been emitted.
    pub fn value(&self, id: ValueId) -> Value {
        self.values[id.index()].clone()
    }

    /// The value of argument `i` of a node.
    pub fn arg(&self, id: ValueId, i: usize) -> Value {
        self.value(self.graph.node(id).args[i])
    }

    /// The axis along which the images lie, where the batch is dynamic.
    pub fn batch_axis(&self, value: &Value) -> Option<usize> {
        match value {
            Value::Run(r) => r.batch,
            Value::Known(_) => None,
        }
    }

    /// A weight by its source: `param/PATH`.
    pub fn weight(&self, key: &str) -> Option<Tensor> {
        (self.weights)(key)
    }

    /// The images: [B, H, W, C] inside, [N, C, H, W] in the model.
    fn input(&mut self, id: ValueId) -> Value {
        let node = self.graph.node(id);
        let order: Vec<usize> = match node.ty.rank() {
            4 => vec![0, 3, 1, 2],
            rank => (0..rank).collect(),
        };
        let dynamic = self.batch == Batch::Dynamic && node.ty.rank() > 0;
        self.images = node.ty.shape.first().copied().unwrap_or(1);
        let name = self.name(node.attrs.str("name"));
        let shape = order
            .iter()
            .map(|a| match (dynamic, a) {
                (true, 0) => Extent::Batch,
                _ => Extent::Fixed(node.ty.shape[*a]),
            })
            .collect();
        self.model.inputs.push(Port {
            name: name.clone(),
            element: element(node.ty.dtype),
            shape,
        });
        Value::Run(Run {
            name,
            order,
            batch: dynamic.then_some(0),
        })
    }

    /// A node whose arguments are known.
    fn evaluate(&self, id: ValueId) -> Result<Value, Refusal> {
        let node = self.graph.node(id);
        let args: Vec<Known> = node
            .args
            .iter()
            .filter_map(|a| match self.value(*a) {
                Value::Known(k) => Some(k),
                Value::Run(_) => None,
            })
            .collect();
        let rank = node.ty.rank();
        // Element by element, nothing need be repeated first.
        let axes: Vec<usize> = if node.op.class == Class::Elementwise {
            (0..rank)
                .filter(|a| args.iter().any(|k| k.axes.contains(a)))
                .collect()
        } else {
            (0..rank).collect()
        };
        let tensors: Vec<Tensor> = node
            .args
            .iter()
            .zip(&args)
            .map(|(a, k)| {
                let shape = &self.graph.ty(*a).shape;
                if node.op.class == Class::Elementwise {
                    spread(k, &axes, shape)
                } else {
                    spread(k, &(0..shape.len()).collect::<Vec<_>>(), shape)
                }
            })
            .collect();
        let mut ty = node.ty.clone();
        ty.shape = axes.iter().map(|a| node.ty.shape[*a]).collect();
        let tensor = eval_op(
            &node.op.eval,
            &EvalCtx {
                args: &tensors.iter().collect::<Vec<_>>(),
                attrs: &node.attrs,
                ty: &ty,
                inputs: &Inputs::new(),
            },
        )
        .map_err(|_| self.refuse(RefusalKind::NoForm, id))?;
        Ok(Value::Known(Known {
            tensor: Rc::new(tensor),
            axes,
        }))
    }

    /// The axis of the images that operands of one shape share.
    pub fn common_batch(&self, values: &[Value], id: ValueId) -> Result<Option<usize>, Refusal> {
        let mut batch = None;
        for axis in values.iter().filter_map(|v| self.batch_axis(v)) {
            if batch.is_some_and(|b| b != axis) {
                return Err(self.refuse(RefusalKind::MixesImages, id));
            }
            batch = Some(axis);
        }
        // What differs along the images without being of them has the size of one batch built in.
        let fixed = |v: &Value| {
            batch.is_some_and(|b| v.axes().contains(&b)) && self.batch_axis(v).is_none()
        };
        if values.iter().any(fixed) {
            return Err(self.refuse(RefusalKind::MixesImages, id));
        }
        Ok(batch)
    }

    /// The operator on the operands of a node, by ONNX's broadcasting.
    pub fn elementwise(&mut self, op: &'static str, id: ValueId) -> Result<Value, Refusal> {
        let node = self.graph.node(id);
        let args: Vec<(Value, Element)> = node
            .args
            .iter()
            .map(|a| (self.value(*a), element(self.graph.ty(*a).dtype)))
            .collect();
        self.pointwise(op, &args, id)
    }

    /// [`Emit::elementwise`] on given operands of the rank of the node's value.
    pub fn pointwise(
        &mut self,
        op: &'static str,
        args: &[(Value, Element)],
        id: ValueId,
    ) -> Result<Value, Refusal> {
        let values: Vec<Value> = args.iter().map(|(v, _)| v.clone()).collect();
        let batch = self.common_batch(&values, id)?;
        let mut order: Vec<usize> = values
            .iter()
            .filter_map(|v| match v {
                Value::Run(r) => Some(r.order.clone()),
                Value::Known(_) => None,
            })
            .max_by_key(Vec::len)
            .unwrap_or_default();
        let missing: BTreeSet<usize> = values
            .iter()
            .flat_map(|v| v.axes().iter().copied())
            .filter(|a| !order.contains(a))
            .collect();
        order.extend(missing);
        let inputs = args
            .iter()
            .map(|(v, element)| self.aligned(v, *element, id, &order))
            .collect();
        let name = self.push(op, inputs, vec![], id);
        Ok(Value::Run(Run { name, order, batch }))
    }

    /// The value with its axes in `order`, of size 1 where it repeats, and without those of them that lead.
    fn aligned(&mut self, value: &Value, element: Element, id: ValueId, order: &[usize]) -> String {
        let first = order
            .iter()
            .position(|a| value.axes().contains(a))
            .unwrap_or(order.len());
        self.laid_out(value, element, id, &order[first..])
    }

    /// The value with its axes in `order`, of size 1 where it repeats.
    fn laid_out(
        &mut self,
        value: &Value,
        element: Element,
        id: ValueId,
        order: &[usize],
    ) -> String {
        let present: Vec<usize> = order
            .iter()
            .copied()
            .filter(|a| value.axes().contains(a))
            .collect();
        match value {
            Value::Known(k) => {
                let perm: Vec<usize> = present.iter().map(|a| position(&k.axes, *a)).collect();
                let moved = permuted(&k.tensor, &perm);
                let shape = order
                    .iter()
                    .map(|a| match position_of(&present, *a) {
                        Some(i) => moved.shape[i],
                        None => 1,
                    })
                    .collect();
                let constant = Constant {
                    element,
                    shape,
                    data: moved.data,
                };
                let hint = self.hint(id).unwrap_or("constant").to_owned();
                self.constant(&hint, constant)
            }
            Value::Run(r) => {
                let mut name = r.name.clone();
                let perm: Vec<usize> = present.iter().map(|a| position(&r.order, *a)).collect();
                if perm.windows(2).any(|w| w[0] > w[1]) {
                    let perm = Attr::Ints(perm.iter().map(|p| *p as i64).collect());
                    name = self.push("Transpose", vec![name], vec![("perm", perm)], id);
                }
                let absent: Vec<i64> = (0..order.len())
                    .filter(|i| !present.contains(&order[*i]))
                    .map(|i| i as i64)
                    .collect();
                if !absent.is_empty() {
                    let axes = self.integers("axes", &absent);
                    name = self.push("Unsqueeze", vec![name, axes], vec![], id);
                }
                name
            }
        }
    }

    /// The value of `of` with all its axes in `order`, repeated where it repeats. `images` is the axis, if any, along which
    /// it is to repeat for each image of the batch.
    pub fn dense(
        &mut self,
        value: &Value,
        of: ValueId,
        order: &[usize],
        images: Option<usize>,
    ) -> String {
        let ty = self.graph.ty(of);
        let kind = element(ty.dtype);
        let absent = |a: &usize| !value.axes().contains(a) && ty.shape[*a] > 1;
        let per_image = images.filter(|a| !value.axes().contains(a));
        if let (Value::Known(k), None) = (value, per_image) {
            let whole = Known {
                axes: (0..ty.rank()).collect(),
                tensor: Rc::new(spread(k, &(0..ty.rank()).collect::<Vec<_>>(), &ty.shape)),
            };
            return self.laid_out(&Value::Known(whole), kind, of, order);
        }
        let name = self.laid_out(value, kind, of, order);
        if per_image.is_none() && !order.iter().any(absent) {
            return name;
        }
        let sizes: Vec<i64> = order
            .iter()
            .map(|a| if absent(a) { ty.shape[*a] as i64 } else { 1 })
            .collect();
        let shape = match per_image.and_then(|a| position_of(order, a)) {
            None => self.integers("shape", &sizes),
            Some(at) => {
                let count = self.image_count(of);
                let mut parts = Vec::new();
                if at > 0 {
                    parts.push(self.integers("shape", &sizes[..at]));
                }
                parts.push(count);
                if at + 1 < sizes.len() {
                    parts.push(self.integers("shape", &sizes[at + 1..]));
                }
                self.push("Concat", parts, vec![("axis", Attr::Int(0))], of)
            }
        };
        self.push("Expand", vec![name, shape], vec![], of)
    }

    /// The number of images that come in, i64[1].
    fn image_count(&mut self, id: ValueId) -> String {
        if let Some(name) = &self.count {
            return name.clone();
        }
        let input = self
            .model
            .inputs
            .first()
            .map(|p| p.name.clone())
            .unwrap_or_default();
        let attrs = vec![("start", Attr::Int(0)), ("end", Attr::Int(1))];
        let name = self.push("Shape", vec![input], attrs, id);
        self.count = Some(name.clone());
        name
    }

    /// The size of the batch in the graph.
    pub fn images(&self) -> usize {
        self.images
    }

    /// What people call a node: its path without the network.
    fn hint(&self, id: ValueId) -> Option<&'g str> {
        let name = self.graph.node(id).name.as_deref()?;
        Some(name.strip_prefix(self.prefix).unwrap_or(name))
    }

    /// A name that is not taken.
    fn name(&mut self, hint: &str) -> String {
        let mut name = hint.to_owned();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            n += 1;
            name = format!("{hint}_{n}");
        }
        name
    }

    /// A tensor that stands in the file.
    pub fn constant(&mut self, hint: &str, constant: Constant) -> String {
        let name = self.name(hint);
        self.model.initializers.insert(name.clone(), constant);
        name
    }

    /// Integers that an operator takes as an operand.
    pub fn integers(&mut self, hint: &str, values: &[i64]) -> String {
        let constant = Constant {
            element: Element::I64,
            shape: vec![values.len()],
            data: values.iter().map(|v| *v as f64).collect(),
        };
        self.constant(hint, constant)
    }

    /// A number that an operator takes as an operand.
    pub fn number(&mut self, value: f64) -> String {
        let constant = Constant {
            element: Element::F32,
            shape: vec![],
            data: vec![value],
        };
        self.constant("constant", constant)
    }

    /// An operator; returns the name of what it makes.
    pub fn push(
        &mut self,
        op: &'static str,
        inputs: Vec<String>,
        attrs: Vec<(&'static str, Attr)>,
        id: ValueId,
    ) -> String {
        self.reduction(op, inputs, attrs, id, 1)
    }

    /// An operator each of whose results is made of `count` elements.
    pub fn reduction(
        &mut self,
        op: &'static str,
        inputs: Vec<String>,
        attrs: Vec<(&'static str, Attr)>,
        id: ValueId,
        count: usize,
    ) -> String {
        let hint = match self.hint(id) {
            Some(name) => format!("{name}.{}", op.to_lowercase()),
            None => op.to_lowercase(),
        };
        let name = self.name(&hint);
        self.model.nodes.push(Node {
            op,
            name: name.clone(),
            inputs,
            output: name.clone(),
            attrs,
            count,
        });
        name
    }

    /// Calls the value `name` by the name of the output.
    pub(super) fn finish(&mut self, name: &str, output: &str) {
        let made = self.model.nodes.iter().any(|n| n.output == name);
        if !made {
            self.model.nodes.push(Node {
                op: "Identity",
                name: output.to_owned(),
                inputs: vec![name.to_owned()],
                output: output.to_owned(),
                attrs: vec![],
                count: 1,
            });
            return;
        }
        for node in &mut self.model.nodes {
            for value in node.inputs.iter_mut().chain([&mut node.output]) {
                if value == name {
                    *value = output.to_owned();
                }
            }
        }
    }
}

fn position_of(axes: &[usize], axis: usize) -> Option<usize> {
    axes.iter().position(|a| *a == axis)
}

/// Where an axis stands that is known to be there.
pub(super) fn position(axes: &[usize], axis: usize) -> usize {
    position_of(axes, axis).unwrap_or(axes.len())
}

/// The known value repeated so that it has `axes` of a value of this shape.
pub(super) fn spread(known: &Known, axes: &[usize], shape: &[usize]) -> Tensor {
    if known.axes == axes {
        return (*known.tensor).clone();
    }
    let sizes: Vec<usize> = axes.iter().map(|a| shape[*a]).collect();
    let places: Vec<usize> = known.axes.iter().map(|a| position(axes, *a)).collect();
    Tensor::from_fn(&sizes, |index| {
        let at: Vec<usize> = places.iter().map(|p| index[*p]).collect();
        known.tensor.at(&at)
    })
}

/// Axis i of the result is axis `perm[i]`.
fn permuted(tensor: &Tensor, perm: &[usize]) -> Tensor {
    if perm.windows(2).all(|w| w[0] < w[1]) {
        return tensor.clone();
    }
    let shape: Vec<usize> = perm.iter().map(|p| tensor.shape[*p]).collect();
    let mut at = vec![0; perm.len()];
    Tensor::from_fn(&shape, |index| {
        for (i, p) in perm.iter().enumerate() {
            at[*p] = index[i];
        }
        tensor.at(&at)
    })
}
