//! Initial values of parameters, buffers and optimizer state.

use super::weights;
use crate::layout;
use crate::rng::ElementDraws;
use sslc_compiler::program::{Init, Layout, Program};
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;

/// Tensors in their inside layout, by path.
pub type Values = BTreeMap<String, Vec<f32>>;

/// The initial value of every parameter and buffer of a program, from its seed.
///
/// Draws are keyed by (seed, path, element in file order), so that a parameter starts the same whatever else the
/// network holds and however it is laid out inside.
pub fn values(program: &Program) -> Values {
    let (mut values, copies) = draws(program);
    copy(&mut values, copies);
    values
}

/// What [`values`] gives, with the weights of the files that the spec names in place of draws; `notice` hears what a
/// person should know.
///
/// # Errors
/// E0650 to E0653 where a file cannot be read, E0684 where it does not fit its network.
pub fn start(program: &Program, notice: &mut dyn FnMut(&Diagnostic)) -> Result<Values, Diagnostic> {
    let (mut values, copies) = draws(program);
    for file in &program.weights {
        if let Some(told) = weights::load(program, file, &mut values)? {
            notice(&told);
        }
    }
    copy(&mut values, copies);
    Ok(values)
}

/// Targets start as copies, of what their sources start as.
fn copy(values: &mut Values, copies: Vec<(String, String)>) {
    for (path, source) in copies {
        if let Some(value) = values.get(&source).cloned() {
            values.insert(path, value);
        }
    }
}

/// What is drawn, and what is copied: path and source.
fn draws(program: &Program) -> (Values, Vec<(String, String)>) {
    let mut values = Values::new();
    let tensors = program
        .parameters
        .iter()
        .map(|p| (&p.path, &p.shape, p.layout, &p.init))
        .chain(
            program
                .buffers
                .iter()
                .map(|s| (&s.path, &s.shape, Layout::Same, &s.init)),
        );
    let mut copies = Vec::new();
    for (path, shape, layout, init) in tensors {
        match init {
            Init::Copy(source) => copies.push((path.clone(), source.clone())),
            other => {
                values.insert(
                    path.clone(),
                    draw(program.train.seed, path, shape, layout, other),
                );
            }
        }
    }
    (values, copies)
}

fn draw(seed: u64, path: &str, shape: &[usize], layout: Layout, init: &Init) -> Vec<f32> {
    let len: usize = shape.iter().product();
    let draws = ElementDraws::new(seed, path);
    let in_file_order: Vec<f32> = match init {
        Init::Constant(value) => return vec![*value as f32; len],
        Init::Normal { std } => (0..len as u64)
            .map(|i| (draws.normal(i) * std) as f32)
            .collect(),
        Init::Uniform { bound } => (0..len as u64)
            .map(|i| draws.uniform(i, -bound, *bound) as f32)
            .collect(),
        Init::Copy(_) => return vec![0.0; len],
    };
    layout::from_file(layout, &in_file_order, shape)
}
