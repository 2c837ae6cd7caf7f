//! A scale and a shift for each channel behind a convolution or linear layer become part of its weights, as batch norm
//! with running statistics is one; a sum times 1/n becomes a mean. Weights are multiplied in f64.

use super::model::{Attr, Constant, Element, Model, Node};
use std::collections::BTreeMap;

/// Folds until nothing more can be, then drops the tensors that nothing reads.
pub(super) fn fold(model: &mut Model) {
    while let Some((producer, user)) = pair(model) {
        let gone = model.nodes.remove(user);
        model.nodes[producer].output = gone.output;
    }
    let read: Vec<&String> = model.nodes.iter().flat_map(|n| &n.inputs).collect();
    let unread: Vec<String> = model
        .initializers
        .keys()
        .filter(|name| !read.contains(name))
        .cloned()
        .collect();
    for name in unread {
        model.initializers.remove(&name);
    }
}

/// The first node whose only user was folded into it, and that user.
fn pair(model: &mut Model) -> Option<(usize, usize)> {
    let mut users: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, node) in model.nodes.iter().enumerate() {
        for input in &node.inputs {
            users.entry(input).or_default().push(i);
        }
    }
    let pairs: Vec<(usize, usize)> = model
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(i, node)| match users.get(node.output.as_str())?[..] {
            [user] => Some((i, user)),
            _ => None,
        })
        .collect();
    pairs
        .into_iter()
        .find(|(producer, user)| match model.nodes[*producer].op {
            "Conv" | "Gemm" => affine(model, *producer, *user),
            "ReduceSum" => mean(model, *producer, *user),
            _ => false,
        })
}

/// The other operand of a node that reads `value` once, and whether it stands first.
fn other<'m>(node: &'m Node, value: &str) -> Option<(&'m str, bool)> {
    match &node.inputs[..] {
        [a, b] if a == value => Some((b, false)),
        [a, b] if b == value => Some((a, true)),
        _ => None,
    }
}

/// A sum that is only scaled by 1/n.
fn mean(model: &mut Model, producer: usize, user: usize) -> bool {
    let (sum, scale) = (&model.nodes[producer], &model.nodes[user]);
    let Some((factor, first)) = other(scale, &sum.output) else {
        return false;
    };
    let value = match model.initializers.get(factor) {
        Some(c) if c.data.len() == 1 => c.data[0],
        _ => return false,
    };
    let n = sum.count as f64;
    let is_mean = match (scale.op, first) {
        ("Mul", _) => (value * n - 1.0).abs() < 1e-6,
        ("Div", false) => value == n,
        _ => false,
    };
    let axes = sum.inputs.get(1).and_then(|a| model.initializers.get(a));
    let (true, Some(axes)) = (is_mean, axes) else {
        return false;
    };
    let axes = Attr::Ints(axes.data.iter().map(|a| *a as i64).collect());
    let node = &mut model.nodes[producer];
    node.op = "ReduceMean";
    node.inputs.truncate(1);
    node.attrs.insert(0, ("axes", axes));
    true
}

/// What `user` makes of each output channel: y · scale + shift.
fn scale_and_shift(
    model: &Model,
    producer: usize,
    user: usize,
    channels: usize,
) -> Option<(Vec<f64>, Vec<f64>)> {
    let (layer, node) = (&model.nodes[producer], &model.nodes[user]);
    let (operand, first) = other(node, &layer.output)?;
    let constant = model.initializers.get(operand)?;
    // [C, 1, 1] behind a convolution, [C] behind a product, or one number.
    let trailing = if layer.op == "Conv" { 2 } else { 0 };
    let per_channel = constant.shape.len() == trailing + 1
        && constant.shape[0] == channels
        && constant.shape[1..].iter().all(|n| *n == 1);
    let values = match constant.data.len() {
        1 if constant.shape.len() <= trailing + 1 => vec![constant.data[0]; channels],
        _ if per_channel => constant.data.clone(),
        _ => return None,
    };
    let each = |f: fn(f64) -> f64| values.iter().map(|v| f(*v)).collect();
    let (one, zero) = (vec![1.0; channels], vec![0.0; channels]);
    match (node.op, first) {
        ("Add", _) => Some((one, values)),
        ("Sub", false) => Some((one, each(|v| -v))),
        ("Sub", true) => Some((vec![-1.0; channels], values)),
        ("Mul", _) => Some((values, zero)),
        ("Div", false) if values.iter().all(|v| *v != 0.0) => Some((each(|v| 1.0 / v), zero)),
        _ => None,
    }
}

fn affine(model: &mut Model, producer: usize, user: usize) -> bool {
    let layer = model.nodes[producer].clone();
    let Some(name) = layer.inputs.get(1) else {
        return false;
    };
    let shared = model
        .nodes
        .iter()
        .filter(|n| n.inputs.contains(name))
        .count()
        > 1;
    let Some(weight) = model.initializers.get(name).filter(|_| !shared) else {
        return false;
    };
    // Axis 0 holds the channels: of a convolution's filters, of a linear layer's weights [out, in].
    if layer.op == "Gemm" && !layer.flag("transB") {
        return false;
    }
    let channels = weight.shape[0];
    let Some((scale, shift)) = scale_and_shift(model, producer, user, channels) else {
        return false;
    };
    let bias = layer.inputs.get(2).and_then(|b| model.initializers.get(b));
    let bias: Vec<f64> = (0..channels)
        .map(|c| bias.map_or(0.0, |b| b.data[c]) * scale[c] + shift[c])
        .collect();
    if let Some(weight) = model.initializers.get_mut(name) {
        let row = weight.data.len() / channels.max(1);
        for (values, s) in weight.data.chunks_mut(row.max(1)).zip(&scale) {
            values.iter_mut().for_each(|v| *v *= s);
        }
    }
    let bias = Constant {
        element: Element::F32,
        shape: vec![channels],
        data: bias,
    };
    match layer.inputs.get(2) {
        Some(b) => {
            model.initializers.insert(b.clone(), bias);
        }
        None => {
            let stem = name.strip_suffix(".weight").unwrap_or(name);
            let mut called = format!("{stem}.bias");
            while model.initializers.contains_key(&called) {
                called.push('_');
            }
            model.initializers.insert(called.clone(), bias);
            model.nodes[producer].inputs.push(called);
        }
    }
    true
}
