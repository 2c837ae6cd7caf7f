//! The precision bf16: which values of a graph are rounded, as `to_bf16` in its text.
//!
//! The products of networks take bf16: every convolution, and every matrix product of which one operand depends on
//! parameters alone. What feeds one is rounded once, and all its readers read that; so is what a convolution gives.
//! Weights are rounded for products only. Everything else stays f32: products within losses, results of the graph, and all
//! arithmetic. This is what PyTorch's autocast does, except that normalisations here read and give f32.

use super::builder::Builder;
use super::graph::{DType, Graph, Node, ValueId};
use super::ops::{self, Class};
use std::collections::BTreeMap;

/// The forward pass with its networks' products in bf16.
pub fn to_bf16(graph: &Graph) -> Graph {
    let weights = weights(graph);
    let operand = operands(graph, &weights);
    let mut b = Builder::new();
    // Each value as it is, and as its readers read it.
    let mut plain: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    let mut read: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    let mut rounded_weights: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for (id, node) in graph.iter() {
        b.origin = node.origin;
        let args: Vec<ValueId> = if is_product(node, &weights) {
            let round = |a: &ValueId| match weights[a.index()] {
                true => *rounded_weights
                    .entry(*a)
                    .or_insert_with(|| round_weights(&mut b, read[a.index()])),
                false => read[a.index()],
            };
            node.args.iter().map(round).collect()
        } else if node.op.class == Class::Contraction {
            let wide = |a: &ValueId| b.cast(plain[a.index()], DType::F32);
            node.args.iter().map(wide).collect()
        } else {
            node.args.iter().map(|a| read[a.index()]).collect()
        };
        let v = b.push_attrs(node.op, &args, node.attrs.clone());
        b.graph.nodes[v.index()].name.clone_from(&node.name);
        plain.push(v);
        let round = operand[id.index()] || node.is(&ops::CONV2D);
        read.push(if round { b.to_bf16(v, true) } else { v });
    }
    b.graph.outputs = graph
        .outputs
        .iter()
        .map(|(name, id)| (name.clone(), plain[id.index()]))
        .collect();
    b.graph
}

/// The value of weights for a product, named after the parameter that they are.
fn round_weights(b: &mut Builder, w: ValueId) -> ValueId {
    let v = b.to_bf16(w, false);
    let node = b.graph.node(w);
    let path = node
        .is(&ops::PARAM)
        .then(|| node.attrs.str("path").to_owned());
    if let Some(name) = path {
        b.name(v, name);
    }
    v
}

/// For each value, whether it depends on parameters, and on nothing else but numbers.
fn weights(graph: &Graph) -> Vec<bool> {
    // (on parameters, on anything from outside that is none)
    let mut depends: Vec<(bool, bool)> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let number = node.is(&ops::CONSTANT) || node.is(&ops::IOTA);
        let source = node.op.class == Class::Source;
        let own = (
            node.is(&ops::PARAM),
            source && !number && !node.is(&ops::PARAM),
        );
        depends.push(node.args.iter().fold(own, |(p, o), a| {
            let (param, other) = depends[a.index()];
            (p || param, o || other)
        }));
    }
    depends.into_iter().map(|(p, o)| p && !o).collect()
}

/// Whether a node is a product of a network.
fn is_product(node: &Node, weights: &[bool]) -> bool {
    let given = node.args.iter().filter(|a| weights[a.index()]).count();
    node.is(&ops::CONV2D) || node.is(&ops::MATMUL) && given == 1
}

/// For each value, whether it is an operand of a network's product, and no weights.
fn operands(graph: &Graph, weights: &[bool]) -> Vec<bool> {
    let mut found = vec![false; graph.nodes.len()];
    for node in graph.nodes.iter().filter(|n| is_product(n, weights)) {
        for arg in &node.args {
            found[arg.index()] = !weights[arg.index()];
        }
    }
    found
}

/// Lets what comes after a rounding read the rounded value, as far as it is read element by element: so a value that a
/// gradient needs as well as a product is kept once.
pub fn read_rounded(graph: &mut Graph) {
    let mut rounded: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        let node = &mut graph.nodes[i];
        if node.is(&ops::TO_BF16) {
            if node.attrs.bool("gradient") {
                rounded[node.args[0].index()].get_or_insert(ValueId(i as u32));
            }
        } else if matches!(node.op.class, Class::Elementwise | Class::Reduction) {
            for arg in &mut node.args {
                *arg = rounded[arg.index()].unwrap_or(*arg);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::autodiff::gradients;
    use crate::core::verify::verify;

    /// A convolution with ReLU, a linear layer, and a loss with a product of its own.
    fn net(b: &mut Builder) -> ValueId {
        let shape = [2usize, 4, 4, 3];
        let attrs = vec![("name", "x".into()), ("shape", shape.as_slice().into())];
        let x = b.push(&ops::VIEW, &[], attrs);
        let w = b.param("conv", &[3, 3, 3, 8]);
        let y = b.push(
            &ops::CONV2D,
            &[x, w],
            vec![
                ("stride", 1usize.into()),
                ("padding", 1usize.into()),
                ("groups", 1usize.into()),
            ],
        );
        let y = b.unary(&ops::RELU, y);
        let y = b.mean(y, &[1, 2]);
        let w = b.param("linear", &[8, 4]);
        let z = b.matmul(y, w, false, false);
        let s = b.matmul(z, z, false, true);
        b.sum_all(s)
    }

    #[test]
    fn products_of_networks_are_rounded() {
        let mut b = Builder::new();
        let loss = net(&mut b);
        b.output("loss", loss);
        let rounded = to_bf16(&b.graph);
        assert_eq!(verify(&rounded), Vec::<String>::new());
        let types = |op: ops::Op| -> Vec<DType> {
            let made = rounded.nodes.iter().filter(|n| n.is(op));
            made.flat_map(|n| n.args.iter().map(|a| rounded.ty(*a).dtype))
                .collect()
        };
        assert_eq!(types(&ops::CONV2D), [DType::Bf16; 2]);
        // The linear layer, and the loss's own.
        assert_eq!(
            types(&ops::MATMUL),
            [DType::Bf16, DType::Bf16, DType::F32, DType::F32]
        );
        assert_eq!(types(&ops::RELU), [DType::Bf16]);
        assert_eq!(
            rounded.ty(rounded.output("loss").unwrap()).dtype,
            DType::F32
        );
    }

    #[test]
    fn gradients_of_weights_are_f32() {
        let mut b = Builder::new();
        let loss = net(&mut b);
        b.output("loss", loss);
        let mut b = Builder::from_graph(to_bf16(&b.graph));
        let loss = b.graph.output("loss").unwrap();
        let params: Vec<ValueId> = b
            .graph
            .iter()
            .filter(|(_, n)| n.is(&ops::PARAM))
            .map(|(id, _)| id)
            .collect();
        for grad in gradients(&mut b, loss, &params) {
            assert_eq!(b.ty(grad.unwrap()).dtype, DType::F32);
        }
        read_rounded(&mut b.graph);
        assert_eq!(verify(&b.graph), Vec::<String>::new());
        let operands = |op: ops::Op| -> Vec<DType> {
            let made = b.graph.nodes.iter().filter(|n| n.is(op));
            made.flat_map(|n| n.args.iter().map(|a| b.ty(*a).dtype))
                .collect()
        };
        assert_eq!(operands(&ops::CONV2D_FILTER_GRAD), [DType::Bf16; 2]);
    }
}
