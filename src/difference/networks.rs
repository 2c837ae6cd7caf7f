//! How the networks of two programs differ: roles, parameters, and the operations inside.

use super::graph::{Slice, operations};
use super::settings::role;
use super::{Line, texts_between};
use crate::numbers;
use sslc_compiler::program::{Init, Network, NetworkRole, Program};

/// Lines that one network's difference takes at most.
const SHOWN: usize = 24;

pub fn between(a: &Program, b: &Program) -> Vec<Line> {
    let mut lines = Vec::new();
    let has = |p: &Program, name: &str| p.networks.iter().position(|n| n.name == name);
    for (i, network) in a.networks.iter().enumerate() {
        match has(b, &network.name) {
            None => lines.push(Line::Minus(title(a, network, i))),
            Some(j) => {
                let titles = [title(a, network, i), title(b, &b.networks[j], j)];
                let changes = one([(a, i), (b, j)]);
                if changes.is_empty() && titles[0] == titles[1] {
                    continue;
                }
                let [first, second] = titles;
                if first == second {
                    lines.push(Line::Both(first));
                } else {
                    lines.push(Line::Minus(first));
                    lines.push(Line::Plus(second));
                }
                if let NetworkRole::Target(_) = network.role {
                    continue;
                }
                let left = changes.len().saturating_sub(SHOWN);
                lines.extend(changes.into_iter().take(SHOWN));
                if left > 0 {
                    lines.push(Line::Both(format!("  … and {left} lines more")));
                }
            }
        }
    }
    for (j, network) in b.networks.iter().enumerate() {
        if has(a, &network.name).is_none() {
            lines.push(Line::Plus(title(b, network, j)));
        }
    }
    lines
}

/// `f: encoder, 697,392 parameters`
fn title(program: &Program, network: &Network, index: usize) -> String {
    let count = program.parameters_of(index);
    format!(
        "{}: {}, {} parameters",
        network.name,
        role(network),
        numbers::count(count as u64)
    )
}

/// A network that both have: its parameters and buffers; where those agree, their initial values; then its operations.
/// Of a target only that it differs: its source says how.
fn one(networks: [(&Program, usize); 2]) -> Vec<Line> {
    for show_init in [false, true] {
        let [a, b] = networks.map(|(program, index)| declared(program, index, show_init));
        let lines = texts_between(&a, &b, 0);
        if !lines.is_empty() {
            return lines;
        }
    }
    let slices = networks.map(|(program, index)| {
        let application = program.applications.iter().find(|a| a.network == index)?;
        Some(Slice::of_network(program, application))
    });
    match slices {
        [Some(a), Some(b)] => operations(&a, &b),
        _ => Vec::new(),
    }
}

/// A line for each parameter and buffer, in order.
fn declared(program: &Program, network: usize, show_init: bool) -> String {
    let line = |path: &str, shape: &[usize], init: &Init| match show_init {
        true => format!("  {path} {shape:?}, {}\n", initial(init)),
        false => format!("  {path} {shape:?}\n"),
    };
    let parameters = program
        .parameters
        .iter()
        .filter(|p| p.network == network)
        .map(|p| line(&p.path, &p.shape, &p.init));
    let buffers = program
        .buffers
        .iter()
        .filter(|b| b.network == network)
        .map(|b| line(&b.path, &b.shape, &b.init));
    parameters.chain(buffers).collect()
}

fn initial(init: &Init) -> String {
    match init {
        Init::Constant(value) => format!("all {value}"),
        Init::Normal { std } => format!("normal of std {std}"),
        Init::Uniform { bound } => format!("uniform within ±{bound}"),
        Init::Copy(of) => format!("a copy of {of}"),
    }
}
