//! Import, fusion, schedule and plan against the reference, and the shapes of the kernels they make.

mod forms;
mod net;
mod plans;
mod recompute;

use super::build::Options;
use super::compile::Compiled;
use super::interp::Interpreter;

use super::{text, verify};
use crate::core::graph::{Graph, ValueId};
use crate::core::interp::{Inputs, Tensor};
use crate::core::{ops, random};
use crate::exec::Executor;
use crate::lower::reference::Reference;

/// Runs `steps` steps on both and compares every output after each.
fn compare(what: &str, graph: &Graph, inputs: &Inputs, steps: usize, tolerance: f32) {
    let mut compiled = Compiled::new(graph, Options::default(), &Interpreter).unwrap();
    let violations = verify::verify(compiled.program());
    assert!(
        violations.is_empty(),
        "{what}: {violations:#?}\n{}",
        text::text(compiled.program())
    );
    let mut reference = Reference::new(graph);
    for (name, tensor) in inputs {
        let data: Vec<f32> = tensor.data.iter().map(|x| *x as f32).collect();
        assert_eq!(
            compiled.set(name, &data),
            reference.set(name, &data),
            "{what}: source {name}"
        );
    }
    let (mut want, mut got) = (Vec::new(), Vec::new());
    for step in 0..steps {
        compiled.run();
        reference.run();
        for (name, _) in reference.outputs() {
            assert!(
                reference.get(&name, &mut want) && compiled.get(&name, &mut got),
                "{what}: output {name}"
            );
            let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs().min(1e30)));
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let close =
                    (g - w).abs() <= tolerance * scale || g == w || (g.is_nan() && w.is_nan());
                assert!(
                    close,
                    "{what}, step {step}: {name}[{i}] is {g}, not {w}\n{}",
                    text::text(compiled.program())
                );
            }
        }
    }
}

/// A quotient is rounded once in a kernel and twice by luminal, which a sum that cancels shows.
const QUOTIENTS: f32 = 1e-4;

#[test]
fn random_programs_agree_with_the_reference() {
    for seed in 0..300 {
        let (graph, inputs) = random::program(seed, 4 + (seed % 40) as usize);
        compare(&format!("program {seed}"), &graph, &inputs, 1, QUOTIENTS);
    }
}

#[test]
fn random_programs_of_bf16_agree_with_the_reference() {
    for seed in 0..200 {
        let (graph, inputs) = random::bf16_program(seed, 4 + (seed % 40) as usize);
        compare(&format!("bf16 program {seed}"), &graph, &inputs, 1, 1e-5);
    }
}

/// Outputs of random programs become updates of parameters of their shapes.
#[test]
fn random_updates_agree_with_the_reference() {
    for seed in 300..400 {
        let (mut graph, inputs) = random::program(seed, 4 + (seed % 30) as usize);
        let sources: Vec<(String, ValueId)> = graph
            .iter()
            .filter(|(_, n)| n.is(&ops::PARAM))
            .map(|(id, n)| (format!("param/{}", n.attrs.str("path")), id))
            .collect();
        let mut values: Vec<ValueId> = graph.iter().map(|(id, _)| id).collect();
        values.reverse();
        for (name, source) in sources {
            let fits = |v: &&ValueId| graph.ty(**v) == graph.ty(source) && **v != source;
            let update = values.iter().find(fits).copied().unwrap_or(source);
            values.retain(|v| *v != update);
            graph.outputs.push((name, update));
        }
        compare(&format!("updates {seed}"), &graph, &inputs, 3, QUOTIENTS);
    }
}

/// Inputs for every source of a graph, drawn from its position.
fn drawn(graph: &Graph) -> Inputs {
    let sources = Reference::new(graph).sources();
    let draw = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let len: usize = shape.iter().product();
        let scale = if name.starts_with("state") || name.starts_with("buffer") {
            0.0
        } else {
            1.0
        };
        let at = |e| scale * (f64::from(crate::core::rng::uniform(9, i as u64, 0, e)) - 0.4);
        let data = (0..len as u64).map(at).collect();
        (name, Tensor { shape, data })
    };
    sources.into_iter().enumerate().map(draw).collect()
}

#[test]
fn a_training_step_agrees_with_the_reference() {
    let graph = net::step(net::TINY);
    compare("a small ResNet", &graph, &drawn(&graph), 2, 1e-3);
}
