//! What a network is made of: its parts by the paths of their parameters, blocks of a stage folded.

use super::flow::shape;
use crate::run_facts::role_name;
use sslc_compiler::core::ops;
use sslc_compiler::program::{NetworkRole, ParamKind, Program};
use std::collections::BTreeSet;

/// A network and its parts in the order of evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    pub name: String,
    pub role: String,
    /// A moving average of another network, whose parts are the same.
    pub target: bool,
    pub parameters: usize,
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// `layer1`, `conv1 + bn1`
    pub name: String,
    /// Blocks of the same kind, one behind the other.
    pub blocks: usize,
    /// Of what comes out, without the batch; empty where it is not known.
    pub shape: String,
    pub parameters: usize,
    only_norm: bool,
}

/// Every network that has parameters.
pub fn networks(program: &Program) -> Vec<Parts> {
    let each = program.networks.iter().enumerate();
    each.map(|(index, network)| {
        let target = matches!(network.role, NetworkRole::Target(_));
        let stages = stages(program, index, &network.name);
        Parts {
            name: network.name.clone(),
            role: role_name(network.role),
            target,
            parameters: stages.iter().map(|s| s.parameters).sum(),
            stages: if target { Vec::new() } else { joined(stages) },
        }
    })
    .filter(|parts| parts.parameters > 0)
    .collect()
}

/// The stage that a path below the network belongs to, and the block in it: `layer1.0.conv1.weight` is of block `0` of
/// `layer1`, `layers.0.weight` of `layers.0`, `conv1.weight` of `conv1`.
fn place(path: &str) -> (String, Option<&str>) {
    let parts: Vec<&str> = path.split('.').collect();
    let number = |i: usize| {
        parts
            .get(i)
            .is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
    };
    match parts.len() {
        0..=1 => ("parameters".to_owned(), None),
        2 => (parts[0].to_owned(), None),
        3 if number(1) => (format!("{}.{}", parts[0], parts[1]), None),
        _ if number(1) => (parts[0].to_owned(), Some(parts[1])),
        _ => (parts[0].to_owned(), None),
    }
}

fn stages(program: &Program, index: usize, network: &str) -> Vec<Stage> {
    let prefix = format!("{network}.");
    let mut stages: Vec<(Stage, BTreeSet<&str>)> = Vec::new();
    for p in program.parameters.iter().filter(|p| p.network == index) {
        let path = p.path.strip_prefix(&prefix).unwrap_or(&p.path);
        let (name, block) = place(path);
        let size = p.shape.iter().product::<usize>();
        let norm = p.kind == ParamKind::Norm;
        match stages.iter_mut().find(|(s, _)| s.name == name) {
            Some((stage, blocks)) => {
                stage.parameters += size;
                stage.only_norm &= norm;
                blocks.extend(block);
            }
            None => {
                let stage = Stage {
                    shape: result(program, &format!("{prefix}{name}")),
                    name,
                    blocks: 0,
                    parameters: size,
                    only_norm: norm,
                };
                stages.push((stage, block.into_iter().collect()));
            }
        }
    }
    let each = stages.into_iter();
    each.map(|(stage, blocks)| Stage {
        blocks: blocks.len().max(1),
        ..stage
    })
    .collect()
}

/// The shape of the last value that is named after a stage.
fn result(program: &Program, stage: &str) -> String {
    let of_stage = |name: &str| {
        let rest = name.strip_prefix(stage);
        rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
    };
    let mut named = program.forward.nodes.iter().filter(|node| {
        !node.is(&ops::PARAM) && node.ty.rank() > 1 && node.name.as_deref().is_some_and(of_stage)
    });
    named
        .next_back()
        .map_or_else(String::new, |n| shape(&n.ty.shape))
}

/// Norms stand with what they normalise.
fn joined(stages: Vec<Stage>) -> Vec<Stage> {
    let mut out: Vec<Stage> = Vec::new();
    for stage in stages {
        match out.last_mut() {
            Some(last) if stage.only_norm && stage.blocks == 1 && last.shape == stage.shape => {
                last.name = format!("{} + {}", last.name, stage.name);
                last.parameters += stage.parameters;
            }
            _ => out.push(stage),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn blocks_are_told_from_layers() {
        assert_eq!(place("conv1.weight"), ("conv1".to_owned(), None));
        assert_eq!(place("layers.0.weight"), ("layers.0".to_owned(), None));
        assert_eq!(
            place("layer1.0.conv1.weight"),
            ("layer1".to_owned(), Some("0"))
        );
        assert_eq!(place("layer1.conv1.weight"), ("layer1".to_owned(), None));
        assert_eq!(place("weight"), ("parameters".to_owned(), None));
    }
}
