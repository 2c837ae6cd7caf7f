//! Reverse-mode gradients as a transformation of the graph, by the registry's rules.
//!
//! Invariant: a gradient has the shape of its value, and only values on a path from what is differentiated by to the
//! loss get one; `stop_gradient`, comparisons and integers end a path.

use super::builder::Builder;
use super::graph::{Graph, ValueId};
use super::ops::{Class, Grad, GradCtx};

/// For each node, whether a gradient by one of `wrt` passes through it.
pub fn differentiable_from(graph: &Graph, wrt: &[ValueId]) -> Vec<bool> {
    let mut reached = vec![false; graph.nodes.len()];
    for v in wrt {
        reached[v.index()] = true;
    }
    for (id, node) in graph.iter() {
        let passes = match node.op.grad {
            Grad::Zero => false,
            Grad::Rule(_) | Grad::Undefined => node.ty.dtype.is_float(),
        };
        if passes && node.args.iter().any(|a| reached[a.index()]) {
            reached[id.index()] = true;
        }
    }
    reached
}

/// Adds the gradients of `loss`, a number of shape [], by each of `wrt`; `None` where the loss does not depend on it.
///
/// New nodes take the origin of the node whose gradient they are part of; contractions and pools its name too.
pub fn gradients(b: &mut Builder, loss: ValueId, wrt: &[ValueId]) -> Vec<Option<ValueId>> {
    let reached = differentiable_from(&b.graph, wrt);
    let outer_origin = b.origin;
    let mut adjoints: Vec<Option<ValueId>> = vec![None; loss.index() + 1];
    if reached[loss.index()] {
        b.origin = b.graph.node(loss).origin;
        adjoints[loss.index()] = Some(b.scalar(1.0));
    }
    for i in (0..=loss.index()).rev() {
        let y = ValueId(i as u32);
        let Some(dy) = adjoints[i] else { continue };
        let node = b.graph.node(y);
        let needs: Vec<bool> = node.args.iter().map(|a| reached[a.index()]).collect();
        if !needs.contains(&true) {
            continue;
        }
        let rule = match node.op.grad {
            Grad::Rule(rule) => rule,
            // A node that is itself differentiated by keeps its adjoint and passes none on.
            Grad::Zero => continue,
            Grad::Undefined => panic!("compiler bug: `{}` has no gradient rule", node.op.name),
        };
        let (args, attrs, name) = (node.args.clone(), node.attrs.clone(), node.name.clone());
        b.origin = node.origin;
        let first_new = b.graph.nodes.len();
        let grads = rule(&mut GradCtx {
            b,
            args: &args,
            attrs: &attrs,
            y,
            dy,
            needs: &needs,
        });
        if let Some(name) = name {
            name_after(b, first_new, &name);
        }
        for ((arg, grad), needed) in args.iter().zip(grads).zip(needs) {
            let Some(grad) = grad.filter(|_| needed) else {
                continue;
            };
            let slot = arg.index();
            adjoints[slot] = Some(match adjoints[slot] {
                Some(sum) => b.add(sum, grad),
                None => grad,
            });
        }
    }
    b.origin = outer_origin;
    wrt.iter()
        .map(|v| adjoints.get(v.index()).copied().flatten())
        .collect()
}

/// Names the larger ops of a gradient after the value they belong to.
fn name_after(b: &mut Builder, first: usize, name: &str) {
    for node in &mut b.graph.nodes[first..] {
        let large = matches!(node.op.class, Class::Contraction | Class::Pool);
        if large && node.name.is_none() {
            node.name = Some(format!("grad {name}"));
        }
    }
}
