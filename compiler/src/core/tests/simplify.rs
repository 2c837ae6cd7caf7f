//! The simplifier: values stay, and what it is for becomes small.

use crate::core::autodiff::gradients;
use crate::core::builder::Builder;
use crate::core::graph::{DType, Graph, Type, ValueId};
use crate::core::interp::eval_outputs;
use crate::core::ops::{self, Class};
use crate::core::random;
use crate::core::read::read;
use crate::core::simplify::simplify;
use crate::core::verify::verify;
use proptest::prelude::*;

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * (1.0 + a.abs() + b.abs())
}

/// Gradients by every f32 input, as further outputs.
fn with_gradients(graph: Graph) -> Graph {
    let mut b = Builder::from_graph(graph);
    let params: Vec<ValueId> = b
        .graph
        .iter()
        .filter(|(_, n)| n.is(&ops::PARAM))
        .map(|(id, _)| id)
        .collect();
    let last = b.graph.outputs[0].1;
    let loss = b.sum_all(last);
    for (i, grad) in gradients(&mut b, loss, &params).into_iter().enumerate() {
        if let Some(grad) = grad {
            b.output(format!("grad/{i}"), grad);
        }
    }
    b.graph
}

proptest! {
    #![proptest_config(super::property(300))]
    #[test]
    fn values_and_gradients_stay(seed in 0u64..1 << 40, size in 1usize..40) {
        let (graph, inputs) = random::program(seed, size);
        // Not through ops that only stand for gradients.
        let differentiable = graph.nodes.iter().all(|n| !matches!(n.op.grad, ops::Grad::Undefined));
        let graph = if differentiable { with_gradients(graph) } else { graph };
        let simpler = simplify(&graph);
        prop_assert_eq!(verify(&simpler), Vec::<String>::new());
        let (before, after) = (eval_outputs(&graph, &inputs).unwrap(), eval_outputs(&simpler, &inputs).unwrap());
        prop_assert_eq!(before.len(), after.len());
        for (name, value) in &before {
            for (a, b) in value.data.iter().zip(&after[name].data) {
                prop_assert!(close(*a, *b), "{}: {} became {}\n{}\n{}", name, a, b, graph, simpler);
            }
        }
    }

    #[test]
    fn simplifying_again_changes_nothing(seed in 0u64..1 << 40, size in 1usize..40) {
        let (graph, _) = random::program(seed, size);
        let once = simplify(&graph);
        prop_assert_eq!(simplify(&once).to_string(), once.to_string());
    }
}

/// The simplified text of `value`, whose inputs are parameters a[2, 3], b[3] and c[3].
fn simplified(build: impl Fn(&mut Builder, [ValueId; 3]) -> ValueId) -> String {
    let mut g = Builder::new();
    let inputs = [
        g.param("a", &[2, 3]),
        g.param("b", &[3]),
        g.param("c", &[3]),
    ];
    let v = build(&mut g, inputs);
    g.output("y", v);
    simplify(&g.graph).to_string()
}

fn assert_becomes(
    build: impl Fn(&mut Builder, [ValueId; 3]) -> ValueId,
    wanted: impl Fn(&mut Builder, [ValueId; 3]) -> ValueId,
) {
    let mut g = Builder::new();
    let inputs = [
        g.param("a", &[2, 3]),
        g.param("b", &[3]),
        g.param("c", &[3]),
    ];
    let v = wanted(&mut g, inputs);
    g.output("y", v);
    let wanted = crate::core::simplify::without_dead_nodes(g.graph).to_string();
    assert_eq!(simplified(build), wanted);
}

#[test]
fn identities() {
    assert_becomes(|g, [a, ..]| g.scale(a, 1.0), |_, [a, ..]| a);
    assert_becomes(|g, [a, ..]| g.scale(a, -1.0), |g, [a, ..]| g.neg(a));
    assert_becomes(|g, [a, ..]| g.offset(a, 0.0), |_, [a, ..]| a);
    assert_becomes(
        |g, [a, ..]| {
            let n = g.neg(a);
            g.neg(n)
        },
        |_, [a, ..]| a,
    );
    assert_becomes(
        |g, [_, b, c]| {
            let n = g.neg(c);
            g.add(b, n)
        },
        |g, [_, b, c]| g.sub(b, c),
    );
    assert_becomes(
        |g, [a, ..]| {
            let two = g.scalar(2.0);
            g.pow(a, two)
        },
        |g, [a, ..]| g.mul(a, a),
    );
    assert_becomes(
        |g, [a, ..]| {
            let t = g.transpose(a, &[1, 0]);
            g.transpose(t, &[1, 0])
        },
        |_, [a, ..]| a,
    );
    assert_becomes(
        |g, [a, ..]| {
            let r = g.reshape(a, &[6]);
            let r = g.reshape(r, &[3, 1, 2]);
            g.reshape(r, &[2, 3])
        },
        |_, [a, ..]| a,
    );
    assert_becomes(
        |g, [a, ..]| {
            let t = g.transpose(a, &[1, 0]);
            g.matmul(t, a, false, false)
        },
        |g, [a, ..]| g.matmul(a, a, true, false),
    );
    assert_becomes(
        |g, [_, b, c]| {
            let joined = g.concat(&[b, c], 0);
            g.slice(joined, &[3], &[6])
        },
        |_, [_, _, c]| c,
    );
}

#[test]
fn sums_of_what_does_not_vary() {
    // Σ b over two equal rows is 2·b.
    assert_becomes(
        |g, [_, b, _]| {
            let rows = g.broadcast(b, &[2, 3], &[1]);
            g.sum(rows, &[0])
        },
        |g, [_, b, _]| {
            let two = g.full(&Type::f32(&[3]), 2.0);
            g.mul(b, two)
        },
    );
    // Σ a·b / c over the rows is b·Σ a / c.
    assert_becomes(
        |g, [a, b, c]| {
            let [b, c] = [b, c].map(|v| g.broadcast(v, &[2, 3], &[1]));
            let product = g.mul(a, b);
            let quotient = g.div(product, c);
            g.sum(quotient, &[0])
        },
        |g, [a, b, c]| {
            let sum = g.sum(a, &[0]);
            let product = g.mul(b, sum);
            g.div(product, c)
        },
    );
}

#[test]
fn equal_nodes_become_one_and_zeros_keep_their_sign() {
    insta::assert_snapshot!(simplified(|g, [_, b, c]| {
        let x = g.add(b, c);
        let y = g.add(c, b);
        let product = g.mul(x, y);
        let zero = g.full(&Type::f32(&[3]), 0.0);
        let minus = g.full(&Type::f32(&[3]), -0.0);
        let top = g.div(product, zero);
        let bottom = g.div(product, minus);
        g.maximum(top, bottom)
    }));
}

#[test]
fn constants_fold_unless_f32_cannot_hold_them() {
    insta::assert_snapshot!(simplified(|g, [_, b, _]| {
        let x = g.scalar(200.0);
        let large = g.exp(x);
        let y = g.scalar(3.0);
        let nine = g.mul(y, y);
        let third = g.div(nine, large);
        g.mul(b, third)
    }));
}

#[test]
fn an_elementwise_op_moves_before_a_broadcast() {
    insta::assert_snapshot!(simplified(|g, [_, b, c]| {
        let [b, c] = [b, c].map(|v| g.broadcast(v, &[2, 3], &[1]));
        let sum = g.add(b, c);
        let half = g.scale(sum, 0.5);
        g.exp(half)
    }));
}

#[test]
fn stop_gradient_stays() {
    let text = simplified(|g, [a, ..]| {
        let s = g.stop_gradient(a);
        g.stop_gradient(s)
    });
    assert_eq!(text.matches("stop_gradient").count(), 1);
}

/// A convolution's output through batch norm and relu, weighted; and its gradients.
fn norm_and_relu(affine_first: bool, divide: bool) -> Graph {
    let mut b = Builder::new();
    let shape = [8, 4, 4, 16];
    let x = b.param("x", &shape);
    let (gamma, beta) = (b.param("gamma", &[16]), b.param("beta", &[16]));
    let weights = b.param("w", &shape);
    let axes = [0, 1, 2];
    let mean = b.mean(x, &axes);
    let var = b.variance(x, mean, &axes);
    let var = b.offset(var, 1e-5);
    let std = b.sqrt(var);
    let one = b.scalar(1.0);
    let inverse = b.div(one, std);
    let wide = |b: &mut Builder, v| b.broadcast(v, &shape, &[3]);
    let mean = wide(&mut b, mean);
    let centred = b.sub(x, mean);
    let scaled = if affine_first {
        let scale = b.mul(inverse, gamma);
        let scale = wide(&mut b, scale);
        b.mul(centred, scale)
    } else {
        let normal = if divide {
            let std = wide(&mut b, std);
            b.div(centred, std)
        } else {
            let inverse = wide(&mut b, inverse);
            b.mul(centred, inverse)
        };
        let gamma = wide(&mut b, gamma);
        b.mul(normal, gamma)
    };
    let beta_wide = wide(&mut b, beta);
    let y = b.add(scaled, beta_wide);
    let y = b.unary(&ops::RELU, y);
    let product = b.mul(y, weights);
    let loss = b.sum_all(product);
    b.output("loss", loss);
    let grads = gradients(&mut b, loss, &[x, gamma, beta]);
    for (name, grad) in ["x", "gamma", "beta"].into_iter().zip(grads) {
        b.output(format!("grad/{name}"), grad.unwrap());
    }
    b.graph
}

/// Reductions of full-size tensors, their names.
fn large_reductions(graph: &Graph) -> Vec<&'static str> {
    graph
        .nodes
        .iter()
        .filter(|n| n.op.class == Class::Reduction && graph.ty(n.args[0]).len() >= 8 * 4 * 4 * 16)
        .map(|n| n.op.name)
        .collect()
}

#[test]
fn the_backward_of_batch_norm_needs_two_sums() {
    for (affine_first, divide) in [(true, false), (false, false), (false, true)] {
        let graph = norm_and_relu(affine_first, divide);
        let simpler = simplify(&graph);
        // Forward: mean, variance, loss. Backward: Σ dy and Σ dy·(x − mean).
        assert_eq!(
            large_reductions(&simpler),
            ["sum", "variance", "sum", "sum", "sum"],
            "{simpler}"
        );
        assert!(large_reductions(&graph).len() > 5);
    }
}

#[test]
fn batch_norm_and_relu() {
    insta::assert_snapshot!(simplify(&norm_and_relu(false, false)));
}

#[test]
fn long_chains_do_not_overflow_the_stack() {
    let mut b = Builder::new();
    let (x, y) = (b.param("x", &[4, 4]), b.param("y", &[4]));
    let rows = b.broadcast(y, &[4, 4], &[1]);
    let mut v = x;
    for i in 0..20_000 {
        v = match i % 3 {
            0 => b.add(v, rows),
            1 => b.mul(rows, v),
            _ => b.neg(v),
        };
    }
    let loss = b.sum_all(v);
    b.output("loss", loss);
    let grad = gradients(&mut b, loss, &[x])[0].unwrap();
    b.output("grad", grad);
    assert!(verify(&simplify(&b.graph)).is_empty());
}

#[test]
fn integers_and_masks_fold_too() {
    let mut b = Builder::new();
    let three = b.full(&Type::new(DType::I32, &[]), 3.0);
    let nine = b.mul(three, three);
    let mask = b.gt(nine, three);
    let (x, y) = (b.param("x", &[]), b.param("y", &[]));
    let v = b.select(mask, x, y);
    b.output("y", v);
    let simpler = simplify(&b.graph);
    assert_eq!(
        simpler,
        read("%0 = param[path=\"x\", shape=[]]() : f32[]\noutput \"y\" = %0").unwrap()
    );
}

/// Layers of matmul, batch norm and relu around a residual, with the gradients of all parameters.
fn deep_network(layers: usize) -> Graph {
    let mut b = Builder::new();
    let mut x = b.param("x", &[16, 32]);
    let mut params = Vec::new();
    for i in 0..layers {
        let w = b.param(&format!("{i}.weight"), &[32, 32]);
        let (gamma, beta) = (
            b.param(&format!("{i}.gamma"), &[32]),
            b.param(&format!("{i}.beta"), &[32]),
        );
        params.extend([w, gamma, beta]);
        let h = b.matmul(x, w, false, false);
        let mean = b.mean(h, &[0]);
        let var = b.variance(h, mean, &[0]);
        let var = b.offset(var, 1e-5);
        let std = b.sqrt(var);
        let [mean, std, gamma, beta] =
            [mean, std, gamma, beta].map(|v| b.broadcast(v, &[16, 32], &[1]));
        let centred = b.sub(h, mean);
        let normal = b.div(centred, std);
        let scaled = b.mul(normal, gamma);
        let shifted = b.add(scaled, beta);
        let active = b.unary(&ops::RELU, shifted);
        x = b.add(active, x);
    }
    let loss = b.sum_all(x);
    b.output("loss", loss);
    for (i, grad) in gradients(&mut b, loss, &params).into_iter().enumerate() {
        b.output(format!("grad/{i}"), grad.unwrap());
    }
    b.graph
}

#[test]
fn a_deep_network_needs_four_sums_a_layer() {
    let layers = 40;
    let simpler = simplify(&deep_network(layers));
    assert_eq!(verify(&simpler), Vec::<String>::new());
    let sums = simpler
        .nodes
        .iter()
        .filter(|n| n.op.class == Class::Reduction && simpler.ty(n.args[0]).len() == 16 * 32)
        .count();
    // Forward mean and variance, backward two sums; and the loss.
    assert_eq!(sums, 4 * layers + 1);
}
