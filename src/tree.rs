//! A tree of JSON values as a dot graph: how the syntax tree is drawn.

use serde_json::Value;
use std::fmt::Write;

/// One node for each object, array and leaf; edges carry the field's name. Spans and empty lists are left out.
pub fn dot(root: &Value) -> String {
    let mut out = String::from("digraph ast {\n  node [shape=box];\n");
    let mut count = 0;
    node(root, &mut count, &mut out);
    out.push_str("}\n");
    out
}

fn node(value: &Value, count: &mut usize, out: &mut String) -> usize {
    let id = *count;
    *count += 1;
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !name.ends_with("span"))
            .map(|(name, child)| (name.clone(), child))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, child)| (i.to_string(), child))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let label = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => String::new(),
        leaf => leaf.to_string(),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  n{id} [label={label:?}];");
    for (name, child) in children {
        let empty = child.is_null() || child.as_array().is_some_and(Vec::is_empty);
        if !empty {
            let child = node(child, count, out);
            let _ = writeln!(out, "  n{id} -> n{child} [label={name:?}];");
        }
    }
    id
}
