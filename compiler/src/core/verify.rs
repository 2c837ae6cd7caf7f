//! The rules every graph keeps, checked between passes: all violations at once, each with the line of its node.

use super::graph::{Attr, Graph, Node, Type, ValueId};
use super::ops::check_limits;
use super::print::Line;
use std::collections::{BTreeMap, BTreeSet};

/// The violations of a graph, in order of its lines; none if it is sound.
///
/// Arguments stand before their use; arity and attributes fit the op; the stated type is the one the op's rule gives
/// and keeps the limits on tensors; sources of one name have one type; outputs are named once and exist.
pub fn verify(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    let mut sound = Vec::with_capacity(graph.nodes.len());
    let mut sources: BTreeMap<(&str, &str), &Type> = BTreeMap::new();
    for (id, node) in graph.iter() {
        let first = violations.len();
        sound.push(check_limits(&node.ty));
        check_node(graph, id, &sound, &mut violations);
        if let Some(key) = source_name(node) {
            let ty = sources.entry(key).or_insert(&node.ty);
            if **ty != node.ty {
                violations.push(format!("{} `{}` is also of type {ty}", key.0, key.1));
            }
        }
        for violation in &mut violations[first..] {
            *violation = format!("{violation}: {}", Line(graph, id));
        }
    }
    let mut names = BTreeSet::new();
    for (name, id) in &graph.outputs {
        if !names.insert(name) {
            violations.push(format!("there are two outputs `{name}`"));
        }
        if id.index() >= graph.nodes.len() {
            violations.push(format!("output `{name}` is {id}, which does not exist"));
        }
    }
    violations
}

/// `sound` says for this node and those before it whether its type keeps the limits.
fn check_node(
    graph: &Graph,
    id: ValueId,
    sound: &[Result<(), String>],
    violations: &mut Vec<String>,
) {
    let node = graph.node(id);
    for arg in node.args.iter().filter(|a| **a >= id) {
        violations.push(format!("{arg} does not stand before its use"));
    }
    let given = node.attrs.iter().map(|(n, v)| (n, v.clone())).collect();
    match node.op.check_attrs(given) {
        Ok(ordered) if ordered == node.attrs => {}
        Ok(_) => return violations.push("the attributes are not in the op's order".to_string()),
        Err(e) => return violations.push(e.message),
    }
    if let Err(message) = &sound[id.index()] {
        return violations.push(message.clone());
    }
    // The op's rule speaks of tensors within the limits; what is wrong with others has been said.
    let before = |a: &ValueId| *a < id && sound[a.index()].is_ok();
    if !node.args.iter().all(before) {
        return;
    }
    let types: Vec<&Type> = node.args.iter().map(|a| graph.ty(*a)).collect();
    match node.op.result_type(&types, &node.attrs) {
        Ok(ty) if ty != node.ty => violations.push(format!("the type should be {ty}")),
        Ok(_) => {}
        Err(e) => violations.push(e.message),
    }
}

/// The op and name of a source from outside.
fn source_name(node: &Node) -> Option<(&'static str, &str)> {
    ["name", "path"]
        .into_iter()
        .find_map(|key| match node.attrs.get(key) {
            Some(Attr::Str(name)) => Some((node.op.name, name.as_str())),
            _ => None,
        })
}
