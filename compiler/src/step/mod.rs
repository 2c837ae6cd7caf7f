//! One training step as `core`: forward pass, gradients, optimizer and moving averages.
//!
//! - [`optimizer`]: the update rules.
//!
//! Sources of a step are views, labels, `param/…`, `buffer/…`, `state/…`, schedules and the step counter; its outputs
//! carry the new values under the same names, beside `loss`, `value/NAME` and `embedding`.
//!
//! Invariant: a parameter of a target is never among those that gradients are taken for; it changes by its average alone.
pub mod optimizer;

use crate::core::autodiff::gradients;
use crate::core::builder::Builder;
use crate::core::graph::{Graph, ValueId};
use crate::core::ops;
use crate::core::precision;
use crate::core::simplify::simplify;
use crate::program::{Init, NetworkRole, Parameter, Precision, Program, Schedule, StateDecl};
use std::collections::BTreeMap;

/// A step, and what it keeps and needs beyond the program's own parameters, buffers and schedules.
#[derive(Clone, Debug)]
pub struct Step {
    pub graph: Graph,
    /// Optimizer state and gradient accumulators, paths without `state/`: `momentum/f.conv1.weight`.
    pub state: Vec<StateDecl>,
    /// All schedules the graph reads, by name: the program's and those of bias corrections.
    pub schedules: BTreeMap<String, Schedule>,
    /// Parameters that the loss gives a gradient, as indices into [`Program::parameters`].
    pub trained: Vec<usize>,
}

/// What part of training a graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Forward, gradients and update in one.
    Whole,
    /// With `accumulate = n`: forward and gradients, whose n-th part is added to the accumulators.
    Accumulate,
}

/// Builds a part of the training step; with `gradients`, `grad/PATH` of every trained parameter is an output.
pub fn build(program: &Program, part: Part, with_gradients: bool) -> Step {
    let mut b = Builder::from_graph(program.forward.clone());
    let grads = trained_gradients(&mut b, program);
    if program.train.precision == Precision::Bf16 {
        precision::read_rounded(&mut b.graph);
    }
    if with_gradients {
        for (index, grad) in &grads {
            b.output(format!("grad/{}", program.parameters[*index].path), *grad);
        }
    }
    match part {
        Part::Whole => finish(b, program, grads, Vec::new()),
        Part::Accumulate => {
            let mut state = Vec::new();
            accumulate(&mut b, program, &grads, &mut state);
            Step {
                graph: simplify(&b.graph),
                state,
                schedules: program.schedules.clone(),
                trained: grads.into_iter().map(|(index, _)| index).collect(),
            }
        }
    }
}

/// With `accumulate = n`: the update of parameters from their accumulators, which it clears.
pub fn update(program: &Program, trained: &[usize]) -> Step {
    let (mut b, mut state) = (Builder::new(), Vec::new());
    let grads = accumulated(&mut b, program, trained, &mut state);
    finish(b, program, grads, state)
}

/// Adds what follows the gradients: optimizer and moving averages.
fn finish(
    mut b: Builder,
    program: &Program,
    mut grads: Vec<(usize, ValueId)>,
    mut state: Vec<StateDecl>,
) -> Step {
    let mut schedules = program.schedules.clone();
    if let Some(limit) = program.train.clip_norm {
        clip(&mut b, &mut grads, limit);
    }
    let updated = optimizer::update(&mut b, program, &grads, &mut state, &mut schedules);
    average(&mut b, program, &updated);
    for (path, value) in &updated {
        b.output(format!("param/{path}"), *value);
    }
    Step {
        graph: simplify(&b.graph),
        state,
        schedules,
        trained: grads.into_iter().map(|(index, _)| index).collect(),
    }
}

/// Values of the graph by the path of their parameter, made where the graph does not read it yet.
fn param(b: &mut Builder, p: &Parameter) -> ValueId {
    b.param(&p.path, &p.shape)
}

/// The gradient of the loss for each online parameter that it reaches, by index into [`Program::parameters`].
fn trained_gradients(b: &mut Builder, program: &Program) -> Vec<(usize, ValueId)> {
    let Some(loss) = b.graph.output("loss") else {
        return Vec::new();
    };
    let mut sources: BTreeMap<String, Vec<ValueId>> = BTreeMap::new();
    for (i, node) in b.graph.nodes.iter().enumerate() {
        if node.is(&ops::PARAM) {
            let path = node.attrs.str("path").to_owned();
            sources.entry(path).or_default().push(ValueId(i as u32));
        }
    }
    let mut wrt = Vec::new();
    for (index, p) in program.parameters.iter().enumerate() {
        if matches!(program.networks[p.network].role, NetworkRole::Online(_)) {
            for value in sources.get(&p.path).into_iter().flatten() {
                wrt.push((index, *value));
            }
        }
    }
    let values: Vec<ValueId> = wrt.iter().map(|(_, v)| *v).collect();
    let found = gradients(b, loss, &values);
    let mut grads: BTreeMap<usize, ValueId> = BTreeMap::new();
    for ((index, _), grad) in wrt.iter().zip(found) {
        if let Some(grad) = grad {
            let sum = match grads.get(index) {
                Some(sum) => b.add(*sum, grad),
                None => grad,
            };
            grads.insert(*index, sum);
        }
    }
    for (index, grad) in &grads {
        b.name(*grad, format!("grad/{}", program.parameters[*index].path));
    }
    grads.into_iter().collect()
}

fn accumulator(p: &Parameter, state: &mut Vec<StateDecl>) -> String {
    let path = format!("accumulated/{}", p.path);
    state.push(StateDecl {
        path: path.clone(),
        network: p.network,
        shape: p.shape.clone(),
        init: Init::Constant(0.0),
    });
    path
}

fn accumulate(
    b: &mut Builder,
    program: &Program,
    grads: &[(usize, ValueId)],
    state: &mut Vec<StateDecl>,
) {
    let part = 1.0 / program.train.accumulate as f64;
    for (index, grad) in grads {
        let p = &program.parameters[*index];
        let path = accumulator(p, state);
        let sum = b.state(&path, &p.shape);
        let share = b.scale(*grad, part);
        let next = b.add(sum, share);
        b.output(format!("state/{path}"), next);
    }
}

/// The accumulators as gradients; their next value is 0.
fn accumulated(
    b: &mut Builder,
    program: &Program,
    trained: &[usize],
    state: &mut Vec<StateDecl>,
) -> Vec<(usize, ValueId)> {
    let gradient = |index: &usize| {
        let p = &program.parameters[*index];
        let path = accumulator(p, state);
        let grad = b.state(&path, &p.shape);
        let zero = b.full(&crate::core::graph::Type::f32(&p.shape), 0.0);
        b.output(format!("state/{path}"), zero);
        (*index, grad)
    };
    trained.iter().map(gradient).collect()
}

/// Scales all gradients by min(1, limit / (norm + 1e-6)), as PyTorch's `clip_grad_norm_`.
fn clip(b: &mut Builder, grads: &mut [(usize, ValueId)], limit: f64) {
    let Some((_, first)) = grads.first().copied() else {
        return;
    };
    let mut total = optimizer::squares(b, first);
    for (_, grad) in grads.iter().skip(1) {
        let squares = optimizer::squares(b, *grad);
        total = b.add(total, squares);
    }
    let norm = b.sqrt(total);
    let norm = b.offset(norm, 1e-6);
    let limit = b.scalar(limit);
    let scale = b.div(limit, norm);
    let one = b.scalar(1.0);
    let scale = b.minimum(scale, one);
    for (_, grad) in grads {
        *grad = b.mul(*grad, scale);
    }
}

/// The moving averages, after the optimizer: `τ·target + (1 − τ)·source`.
fn average(b: &mut Builder, program: &Program, updated: &BTreeMap<String, ValueId>) {
    for link in &program.targets {
        let tau = b.schedule(&link.decay);
        let (source, target, output) =
            match program.parameters.iter().find(|p| p.path == link.target) {
                Some(p) => {
                    let source = match updated.get(&link.source) {
                        Some(new) => *new,
                        None => b.param(&link.source, &p.shape),
                    };
                    (source, param(b, p), format!("param/{}", link.target))
                }
                None => {
                    let Some(decl) = program.buffers.iter().find(|s| s.path == link.target) else {
                        continue;
                    };
                    let source = match b.graph.output(&format!("buffer/{}", link.source)) {
                        Some(new) => new,
                        None => b.buffer(&link.source, &decl.shape),
                    };
                    let target = b.buffer(&link.target, &decl.shape);
                    (source, target, format!("buffer/{}", link.target))
                }
            };
        let kept = b.mul(target, tau);
        let one = b.scalar(1.0);
        let rest = b.sub(one, tau);
        let taken = b.mul(source, rest);
        let next = b.add(kept, taken);
        b.graph.outputs.retain(|(name, _)| *name != output);
        b.output(output, next);
    }
}
