//! Text of a graph: the form that [`super::read`] reads back, and a drawing in dot. The grammar is in `docs/core.md`.

use super::graph::{Attr, Graph, Node, ValueId};
use std::fmt::{self, Write};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, _) in self.iter() {
            writeln!(f, "{}", Line(self, id))?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "output {} = {id}", quoted(name))?;
        }
        Ok(())
    }
}

/// `%12`
impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// The line of one node: `%4 = relu(%3) : f32[8, 16]  // f.relu`
pub struct Line<'a>(pub &'a Graph, pub ValueId);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.0.node(self.1);
        write!(f, "{} = {}(", self.1, head(node))?;
        for (i, arg) in node.args.iter().enumerate() {
            write!(f, "{}{arg}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, ") : {}", node.ty)?;
        match &node.name {
            Some(name) => write!(f, "  // {}", comment(name)),
            None => Ok(()),
        }
    }
}

/// `conv2d[stride=2, padding=1, groups=1]`
fn head(node: &Node) -> String {
    let mut text = node.op.name.to_string();
    for (i, (name, value)) in node.attrs.iter().enumerate() {
        text.push_str(if i == 0 { "[" } else { ", " });
        text.push_str(name);
        text.push('=');
        text.push_str(&attr_text(value));
    }
    if !node.attrs.is_empty() {
        text.push(']');
    }
    text
}

/// Numbers are printed so that reading gives the same bits.
fn attr_text(value: &Attr) -> String {
    match value {
        Attr::Bool(v) => v.to_string(),
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => format!("{v:?}"),
        Attr::Str(v) => quoted(v),
        Attr::Ints(v) => format!("{v:?}"),
    }
}

/// A string in quotes, with JSON's escapes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name as it stands after `//`: plain where it reads back as it is, else in quotes.
fn comment(name: &str) -> String {
    let plain = !name.is_empty()
        && name.trim() == name
        && !name.starts_with('"')
        && !name.contains(char::is_control);
    if plain {
        name.to_string()
    } else {
        quoted(name)
    }
}

/// A drawing of the graph for graphviz: one box per node, one per output.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph core {\n  node [shape=box, fontname=monospace];\n");
    for (id, node) in graph.iter() {
        let mut label = format!("{}\n{}", head(node), node.ty);
        if let Some(name) = &node.name {
            label = format!("{name}\n{label}");
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  n{} [label={}];", id.0, quoted(&label));
        for arg in &node.args {
            let _ = writeln!(text, "  n{} -> n{};", arg.0, id.0);
        }
    }
    for (i, (name, id)) in graph.outputs.iter().enumerate() {
        let _ = writeln!(
            text,
            "  out{i} [shape=ellipse, label={}];\n  n{} -> out{i};",
            quoted(name),
            id.0
        );
    }
    text.push_str("}\n");
    text
}
