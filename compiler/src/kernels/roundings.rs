//! Roundings of products: a contraction that is read as bf16 only writes bf16.

use super::dag::{Dag, Map, Node, Op};
use super::ir::{Element, Unary};

/// Lets contractions whose every reader rounds them store bf16; the roundings go.
pub fn fold(dag: &mut Dag, outputs: &[usize]) {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); dag.nodes.len()];
    for (id, node) in dag.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|r| readers[r.node].push(id));
    }
    // What each node is read as.
    let mut becomes: Vec<usize> = (0..dag.nodes.len()).collect();
    for (id, readers) in readers.iter().enumerate() {
        let contraction = matches!(&dag.nodes[id].op, Op::Fixed(f) if f.is_contraction());
        let rounds = |r: &usize| rounds(&dag.nodes[*r], dag.nodes[id].len) && !outputs.contains(r);
        if !contraction
            || outputs.contains(&id)
            || readers.is_empty()
            || !readers.iter().all(rounds)
        {
            continue;
        }
        dag.nodes[id].element = Element::Bf16;
        for reader in readers {
            becomes[*reader] = id;
            // Nothing reads it any more.
            dag.nodes[*reader].inputs.clear();
            dag.nodes[*reader].op = Op::Const(0);
        }
    }
    for node in &mut dag.nodes {
        node.inputs
            .iter_mut()
            .for_each(|r| r.node = becomes[r.node]);
    }
}

/// Whether a node rounds a whole tensor of this length, in its order.
fn rounds(node: &Node, len: usize) -> bool {
    node.op == Op::Map(Map::Unary(Unary::Bf16)) && node.inputs[0].is_dense() && node.len == len
}
