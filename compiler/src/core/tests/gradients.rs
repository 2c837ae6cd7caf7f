//! Gradients against finite differences, in f64: of every op of the registry, and where rules meet.

use crate::core::autodiff::gradients;
use crate::core::builder::Builder;
use crate::core::graph::{DType, Graph, Type, ValueId};
use crate::core::interp::{Inputs, Tensor, eval_outputs};
use crate::core::ops::{self, Grad, Op, REGISTRY, Sample};
use crate::core::rng::uniform;

/// A value of the type as a graph input: f32 a parameter, i32 labels, bool a comparison of a parameter.
fn argument(b: &mut Builder, name: &str, ty: &Type) -> ValueId {
    match ty.dtype {
        DType::F32 | DType::Bf16 => b.param(name, &ty.shape),
        DType::I32 | DType::Bool => {
            let v = b.param(name, &ty.shape);
            b.cast(v, ty.dtype)
        }
    }
}

/// A weighted sum, so that every element of `y` counts differently.
fn weighted(b: &mut Builder, y: ValueId) -> ValueId {
    let shape = b.shape(y);
    let y = b.cast(y, DType::F32);
    let w = b.param("weights", &shape);
    let product = b.mul(y, w);
    b.sum_all(product)
}

fn weights(shape: &[usize]) -> Tensor {
    let mut e = 0;
    Tensor::from_fn(shape, |_| {
        e += 1;
        f64::from(uniform(9, 9, 0, e)) + 0.5
    })
}

fn loss(graph: &Graph, inputs: &Inputs) -> f64 {
    eval_outputs(graph, inputs).unwrap()["loss"].data[0]
}

/// Compares each `grad/NAME` output with central differences of `loss` by `param/NAME`.
fn check(graph: &Graph, inputs: &Inputs, names: &[String], what: &str) {
    let outputs = eval_outputs(graph, inputs).unwrap();
    for name in names {
        let key = format!("param/{name}");
        let grad = &outputs[&format!("grad/{name}")];
        for e in 0..grad.data.len() {
            let h = 1e-5;
            let mut moved = inputs.clone();
            moved.get_mut(&key).unwrap().data[e] += h;
            let above = loss(graph, &moved);
            moved.get_mut(&key).unwrap().data[e] -= 2.0 * h;
            let below = loss(graph, &moved);
            let wanted = (above - below) / (2.0 * h);
            let got = grad.data[e];
            assert!(
                (wanted - got).abs() <= 1e-6 * (1.0 + wanted.abs()),
                "{what}: d loss / d {name}[{e}] is {got}, finite differences give {wanted}"
            );
        }
    }
}

fn check_sample(op: Op, sample: &Sample, number: usize) {
    let what = format!("{} sample {number}", op.name);
    let mut b = Builder::new();
    let args: Vec<ValueId> = sample
        .args
        .iter()
        .enumerate()
        .map(|(i, a)| argument(&mut b, &i.to_string(), &a.ty))
        .collect();
    let y = b.push(op, &args, sample.attrs.clone());
    let loss = weighted(&mut b, y);
    b.output("loss", loss);
    let grads = gradients(&mut b, loss, &args);
    let mut names = Vec::new();
    for (i, (arg, grad)) in sample.args.iter().zip(&grads).enumerate() {
        assert_eq!(
            grad.is_some(),
            arg.differentiated && b.ty(args[i]).dtype == DType::F32,
            "{what}: gradient of argument {i}"
        );
        if let Some(grad) = grad {
            assert_eq!(b.ty(*grad), b.ty(args[i]), "{what}: type of gradient {i}");
            b.output(format!("grad/{i}"), *grad);
            names.push(i.to_string());
        }
    }
    let mut inputs = Inputs::new();
    for (i, value) in sample.values(1).into_iter().enumerate() {
        inputs.insert(format!("param/{i}"), value);
    }
    inputs.insert("param/weights".into(), weights(&b.shape(y)));
    check(&b.graph, &inputs, &names, &what);
}

#[test]
fn every_op_with_a_rule_agrees_with_finite_differences() {
    let mut checked = 0;
    for op in REGISTRY {
        // Rounding is flat between its steps: its gradient is that of what it rounds.
        if !matches!(op.grad, Grad::Rule(_)) || *op == &ops::TO_BF16 {
            continue;
        }
        let samples = (op.sample)();
        assert!(
            !samples.is_empty(),
            "{} has a gradient and no sample",
            op.name
        );
        let differentiated = |s: &Sample| s.args.iter().any(|a| a.differentiated);
        assert!(samples.iter().any(differentiated), "{}", op.name);
        for (i, sample) in samples.iter().enumerate() {
            check_sample(op, sample, i);
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked} samples");
}

#[test]
fn the_gradient_of_rounding_passes() {
    for gradient in [true, false] {
        let mut b = Builder::new();
        let x = b.param("x", &[3]);
        let y = b.to_bf16(x, gradient);
        let w = b.param("w", &[3]);
        let product = b.mul(y, w);
        let loss = b.sum_all(product);
        let grad = gradients(&mut b, loss, &[x])[0].unwrap();
        b.output("grad", grad);
        let value = |data: [f64; 3]| Tensor {
            shape: vec![3],
            data: data.to_vec(),
        };
        let inputs = Inputs::from([
            ("param/x".into(), value([1.0, 2.0, 3.0])),
            ("param/w".into(), value([1.001, -2.0, 0.5])),
        ]);
        let first = if gradient { 1.0 } else { 1.001 };
        let grad = &eval_outputs(&b.graph, &inputs).unwrap()["grad"];
        assert_eq!(grad.data, [first, -2.0, 0.5]);
    }
}

/// Builds `loss`, its gradients by all parameters made by `build`, and checks them.
fn check_graph(
    what: &str,
    shapes: &[&[usize]],
    build: impl Fn(&mut Builder, &[ValueId]) -> ValueId,
) {
    let mut b = Builder::new();
    let names: Vec<String> = (0..shapes.len()).map(|i| i.to_string()).collect();
    let params: Vec<ValueId> = shapes
        .iter()
        .zip(&names)
        .map(|(s, n)| b.param(n, s))
        .collect();
    let y = build(&mut b, &params);
    let loss = weighted(&mut b, y);
    b.output("loss", loss);
    let grads = gradients(&mut b, loss, &params);
    let mut inputs = Inputs::new();
    for ((name, shape), grad) in names.iter().zip(shapes).zip(grads) {
        b.output(format!("grad/{name}"), grad.unwrap());
        let sample = Sample::new(vec![ops::sample::f32_in(shape, 0.2, 1.5)]);
        inputs.insert(format!("param/{name}"), sample.values(4).remove(0));
    }
    inputs.insert("param/weights".into(), weights(&b.shape(y)));
    check(&b.graph, &inputs, &names, what);
}

#[test]
fn batch_norm_agrees_with_finite_differences() {
    let shapes: [&[usize]; 3] = [&[4, 2, 2, 3], &[3], &[3]];
    check_graph("batch norm", &shapes, |b, p| {
        let shape = b.shape(p[0]);
        let mean = b.mean(p[0], &[0, 1, 2]);
        let var = b.variance(p[0], mean, &[0, 1, 2]);
        let var = b.offset(var, 1e-5);
        let std = b.sqrt(var);
        let scale = b.div(p[1], std);
        let mean = b.broadcast(mean, &shape, &[3]);
        let centred = b.sub(p[0], mean);
        let scale = b.broadcast(scale, &shape, &[3]);
        let shift = b.broadcast(p[2], &shape, &[3]);
        let y = b.mul(centred, scale);
        b.add(y, shift)
    });
}

#[test]
fn a_value_used_twice_gets_the_sum() {
    check_graph("x·x + exp x", &[&[3]], |b, p| {
        let square = b.mul(p[0], p[0]);
        let exp = b.exp(p[0]);
        b.add(square, exp)
    });
}

#[test]
fn integer_powers_of_negative_bases_differentiate() {
    let mut b = Builder::new();
    let x = b.param("x", &[3]);
    let two = b.scalar(2.0);
    let y = b.pow(x, two);
    let loss = b.sum_all(y);
    let grad = gradients(&mut b, loss, &[x])[0].unwrap();
    b.output("grad", grad);
    let x = Tensor {
        shape: vec![3],
        data: vec![-3.0, 0.0, 2.0],
    };
    let out = eval_outputs(&b.graph, &Inputs::from([("param/x".into(), x)])).unwrap();
    assert_eq!(out["grad"].data, [-6.0, 0.0, 4.0]);
}

/// The gradient of `sum(op(x))` by x at the given points.
fn slope_at(points: &[f64], build: impl Fn(&mut Builder, ValueId) -> ValueId) -> Vec<f64> {
    let mut b = Builder::new();
    let x = b.param("x", &[points.len()]);
    let y = build(&mut b, x);
    let loss = b.sum_all(y);
    let grad = gradients(&mut b, loss, &[x])[0].unwrap();
    b.output("grad", grad);
    let x = Tensor {
        shape: vec![points.len()],
        data: points.to_vec(),
    };
    let out = eval_outputs(&b.graph, &Inputs::from([("param/x".into(), x)])).unwrap();
    out["grad"].data.clone()
}

#[test]
fn gradients_at_edges_are_as_defined() {
    assert_eq!(
        slope_at(&[0.0, 1.0], |b, x| b.unary(&ops::RELU, x)),
        [0.0, 1.0]
    );
    assert_eq!(
        slope_at(&[0.0, -1.0], |b, x| b.unary(&ops::ABS, x)),
        [0.0, -1.0]
    );
    assert_eq!(
        slope_at(&[0.0, 4.0], |b, x| b.sqrt(x)),
        [f64::INFINITY, 0.25]
    );
    assert_eq!(
        slope_at(&[0.0, 4.0], |b, x| b.unary(&ops::SQRT_SAFE, x)),
        [0.0, 0.25]
    );
    let shared = slope_at(&[2.0, 1.0, 2.0], |b, x| b.max(x, &[0]));
    assert_eq!(shared, [0.5, 0.0, 0.5]);
    let shared = slope_at(&[2.0, 1.0, 1.0], |b, x| b.min(x, &[0]));
    assert_eq!(shared, [0.0, 0.5, 0.5]);
    let zero = slope_at(&[0.0, 1.0, -1.0], |b, x| {
        let zero = b.scalar(0.0);
        b.maximum(x, zero)
    });
    assert_eq!(zero, [0.5, 1.0, 0.0]);
}

#[test]
fn select_does_not_let_infinities_through() {
    // The gradient of sqrt at 0 is infinite; where the mask leaves it out it must not become NaN.
    let slope = slope_at(&[4.0], |b, x| {
        let zero = b.full(&Type::f32(&[1]), 0.0);
        let root = b.sqrt(x);
        let mask = b.gt(x, zero);
        b.select(mask, root, zero)
    });
    assert_eq!(slope, [0.25]);
}

#[test]
fn stop_gradient_and_unused_values_have_none() {
    let mut b = Builder::new();
    let (x, z, unused) = (b.param("x", &[2]), b.param("z", &[2]), b.param("u", &[2]));
    let stopped = b.stop_gradient(x);
    let product = b.mul(stopped, z);
    let loss = b.sum_all(product);
    let before = b.graph.nodes.len();
    assert_eq!(gradients(&mut b, loss, &[x, unused]), [None, None]);
    assert_eq!(
        b.graph.nodes.len(),
        before,
        "nothing is built for no gradient"
    );
    assert!(gradients(&mut b, loss, &[z])[0].is_some());
}

#[test]
fn gradients_keep_origin_and_name() {
    use sslc_grammar::span::{FileId, Span};
    let mut b = Builder::new();
    let span = Span::new(FileId(0), 3, 7);
    let (x, w) = (b.param("x", &[2, 3]), b.param("w", &[3, 4]));
    b.origin = Some(span);
    let y = b.matmul(x, w, false, false);
    b.name(y, "f.fc");
    b.origin = None;
    let loss = b.sum_all(y);
    let grads = gradients(&mut b, loss, &[w]);
    let node = b.graph.node(grads[0].unwrap());
    assert_eq!(node.name.as_deref(), Some("grad f.fc"));
    assert_eq!(node.origin, Some(span));
    assert_eq!(b.origin, None);
}
