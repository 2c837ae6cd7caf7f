//! Every op of the registry, and views in every combination, on luminal against the interpreter in f64.

use super::reference::Reference;
use super::{lower, text};
use crate::core::builder::Builder;
use crate::core::graph::{DType, Graph, ValueId};
use crate::core::interp::{Inputs, Tensor, eval_outputs};
use crate::core::ops::{REGISTRY, Sample};
use crate::exec::Executor;

/// Runs both and compares all outputs.
fn compare(what: &str, graph: &Graph, inputs: &Inputs) {
    let want = eval_outputs(graph, inputs).unwrap();
    let mut reference = Reference::new(graph);
    for (name, tensor) in inputs {
        let data: Vec<f32> = tensor.data.iter().map(|x| *x as f32).collect();
        reference.set(name, &data);
    }
    reference.run();
    let mut got = Vec::new();
    for (name, want) in &want {
        assert!(reference.get(name, &mut got), "{what}: no output {name}");
        assert_eq!(got.len(), want.data.len(), "{what}: {name}");
        let scale = want
            .data
            .iter()
            .fold(1e-3f64, |m, x| m.max(x.abs().min(1e30)));
        for (i, (g, w)) in got.iter().zip(&want.data).enumerate() {
            let close = (*g as f64 - w).abs() <= 2e-6 * scale
                || *g as f64 == *w
                || (g.is_nan() && w.is_nan());
            assert!(
                close,
                "{what}: {name}[{i}] is {g}, not {w}\n{}",
                text::text(&lower(graph))
            );
        }
    }
}

/// Arguments of a sample as parameters, cast to their types.
fn arguments(b: &mut Builder, sample: &Sample, inputs: &mut Inputs, seed: u64) -> Vec<ValueId> {
    let values = sample.values(seed);
    sample
        .args
        .iter()
        .zip(values)
        .enumerate()
        .map(|(i, (arg, value))| {
            let param = b.param(&format!("a{i}"), &arg.ty.shape);
            inputs.insert(format!("param/a{i}"), value);
            b.cast(param, arg.ty.dtype)
        })
        .collect()
}

#[test]
fn every_op_agrees_with_the_interpreter() {
    for op in REGISTRY {
        for (n, sample) in (op.sample)().iter().enumerate() {
            let (mut b, mut inputs) = (Builder::new(), Inputs::new());
            let args = arguments(&mut b, sample, &mut inputs, 1 + n as u64);
            let y = b.push(op, &args, sample.attrs.clone());
            b.output("y", y);
            compare(&format!("{} sample {n}", op.name), &b.graph, &inputs);
        }
    }
}

/// The same with arguments that are transposed, sliced or repeated views.
#[test]
fn every_op_takes_views() {
    for op in REGISTRY {
        for (n, sample) in (op.sample)().iter().enumerate() {
            for kind in 0..3 {
                let (mut b, mut inputs) = (Builder::new(), Inputs::new());
                let mut args = arguments(&mut b, sample, &mut inputs, 7 + n as u64);
                for arg in args.iter_mut().filter(|_| kind < 3) {
                    *arg = viewed(&mut b, *arg, kind);
                }
                let y = b.push(op, &args, sample.attrs.clone());
                let y = viewed(&mut b, y, kind);
                b.output("y", y);
                compare(
                    &format!("{} sample {n} kind {kind}", op.name),
                    &b.graph,
                    &inputs,
                );
            }
        }
    }
}

/// A value of the same shape and other elements, made through views.
fn viewed(b: &mut Builder, x: ValueId, kind: usize) -> ValueId {
    let shape = b.shape(x);
    let rank = shape.len();
    match kind {
        // Reversed axes, made dense by the reshape, and reversed again.
        0 => {
            let reversed: Vec<usize> = (0..rank).rev().collect();
            let t = b.transpose(x, &reversed);
            let t_shape = b.shape(t);
            let flat = b.reshape(t, &[shape.iter().product()]);
            let back = b.reshape(flat, &t_shape);
            b.transpose(back, &reversed)
        }
        // Padded and sliced elsewhere.
        1 if rank > 0 && b.ty(x).dtype == DType::F32 => {
            let padded = b.pad(x, &vec![1; rank], &vec![2; rank]);
            b.slice(
                padded,
                &vec![1; rank],
                &shape.iter().map(|d| d + 1).collect::<Vec<_>>(),
            )
        }
        // The first place of the last axis, repeated.
        2 if rank > 0 => {
            let mut end = shape.clone();
            end[rank - 1] = 1;
            let first = b.slice(x, &vec![0; rank], &end);
            let first = b.reshape(first, &shape[..rank - 1]);
            b.broadcast(first, &shape, &(0..rank - 1).collect::<Vec<_>>())
        }
        _ => x,
    }
}

#[test]
fn extreme_arguments() {
    let values = [
        0.0, -0.0, 1e-6, -1e-6, 0.2, -0.3, 1.0, -1.0, 9.0, -9.0, 40.0, -40.0, 100.0, -100.0,
    ];
    for name in ["sigmoid", "tanh", "softplus", "gelu", "relu", "abs", "erf"] {
        let op = crate::core::ops::find(name).unwrap();
        for v in values {
            let mut b = Builder::new();
            let x = b.param("a", &[1]);
            let y = b.unary(op, x);
            b.output("y", y);
            let inputs = Inputs::from([("param/a".to_string(), Tensor::full(&[1], v))]);
            let want = eval_outputs(&b.graph, &inputs).unwrap()["y"].data[0];
            let mut reference = Reference::new(&b.graph);
            reference.set("param/a", &[v as f32]);
            reference.run();
            let mut got = vec![];
            reference.get("y", &mut got);
            let tolerance = 1e-6 * want.abs() + if name == "gelu" { 1e-6 } else { 1e-30 };
            assert!(
                (got[0] as f64 - want).abs() <= tolerance,
                "{name}({v}) is {}, not {want}",
                got[0]
            );
        }
    }
}

#[test]
fn nan_passes_relu_and_selection_never_multiplies() {
    let mut b = Builder::new();
    let x = b.param("x", &[2]);
    let relu = b.unary(&crate::core::ops::RELU, x);
    b.output("relu", relu);
    let zero = b.scalar(0.0);
    let mask = b.lt(x, zero);
    let infinite = b.scalar(f64::INFINITY);
    let chosen = b.select(mask, infinite, x);
    b.output("chosen", chosen);
    let mut reference = Reference::new(&b.graph);
    reference.set("param/x", &[f32::NAN, 3.0]);
    reference.run();
    let mut out = vec![];
    reference.get("relu", &mut out);
    assert!(out[0].is_nan() && out[1] == 3.0);
    reference.get("chosen", &mut out);
    assert_eq!(out[1], 3.0);
}

#[test]
fn updates_are_seen_by_the_next_run() {
    let mut b = Builder::new();
    let w = b.param("w", &[2]);
    let lr = b.schedule("lr");
    let next = b.mul(w, lr);
    b.output("param/w", next);
    let total = b.sum(w, &[0]);
    b.output("loss", total);
    let mut reference = Reference::new(&b.graph);
    assert!(reference.set("param/w", &[1.0, 3.0]));
    assert!(reference.set("schedule/lr", &[2.0]));
    assert!(!reference.set("param/v", &[]));
    let mut out = vec![];
    for loss in [4.0, 8.0, 16.0] {
        reference.run();
        reference.get("loss", &mut out);
        assert_eq!(out, [loss]);
    }
    reference.get("param/w", &mut out);
    assert_eq!(out, [8.0, 24.0]);
    reference.set("param/w", &[0.0, 1.0]);
    reference.get("param/w", &mut out);
    assert_eq!(out, [0.0, 1.0]);
}

#[test]
fn the_text_shows_edges() {
    let mut b = Builder::new();
    let x = b.param("f.weight", &[2, 3]);
    let t = b.transpose(x, &[1, 0]);
    let bias = b.param("f.bias", &[2]);
    let bias = b.broadcast(bias, &[3, 2], &[1]);
    let sum = b.add(t, bias);
    let cut = b.slice(sum, &[1, 0], &[3, 2]);
    let out = b.pad(cut, &[0, 1], &[0, 0]);
    b.output("y", out);
    insta::assert_snapshot!(text::text(&lower(&b.graph)));
}
