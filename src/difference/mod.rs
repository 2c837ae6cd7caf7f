//! How two specs differ once evaluated: what trains differently, not which bytes of the files do.
//!
//! - [`settings`]: data, views, training and evaluation, as rows of names and values.
//! - [`networks`]: networks by their parameters, and by the operations inside.
//! - [`graph`]: the part of the forward pass between the networks and the loss.
mod graph;
mod networks;
mod settings;

use similar::{ChangeTag, TextDiff};
use sslc_compiler::program::Program;
use std::fmt;

/// One line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Only the first has it.
    Minus(String),
    /// Only the second has it.
    Plus(String),
    /// Both have it; it says where the lines around it belong.
    Both(String),
}

/// `- batch  128`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Minus(text) => write!(f, "- {text}"),
            Line::Plus(text) => write!(f, "+ {text}"),
            Line::Both(text) => write!(f, "  {text}"),
        }
    }
}

/// A part of the programs that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub title: &'static str,
    pub lines: Vec<Line>,
}

/// What differs between two programs, by part; empty where both train the same bits.
pub fn between(a: &Program, b: &Program) -> Vec<Section> {
    let mut sections = vec![
        Section {
            title: "data",
            lines: rows(&settings::data(a), &settings::data(b)),
        },
        Section {
            title: "views",
            lines: settings::views(a, b),
        },
        Section {
            title: "networks",
            lines: networks::between(a, b),
        },
        Section {
            title: "loss",
            lines: graph::losses(a, b),
        },
        Section {
            title: "train",
            lines: rows(&settings::train(a), &settings::train(b)),
        },
        Section {
            title: "eval",
            lines: rows(&settings::eval(a), &settings::eval(b)),
        },
    ];
    sections.retain(|s| !s.lines.is_empty());
    if sections.is_empty() && a.forward != b.forward {
        let texts = [&a.forward, &b.forward].map(|g| g.to_string());
        sections.push(Section {
            title: "forward",
            lines: texts_between(&texts[0], &texts[1], 1),
        });
    }
    sections
}

/// The sections as text, lines marked by `-` and `+`.
pub fn text(sections: &[Section]) -> String {
    let mut out = String::new();
    for section in sections {
        out.push_str(section.title);
        out.push('\n');
        for line in &section.lines {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out
}

/// Names and values.
type Rows = Vec<(String, String)>;

/// Rows that only one has, or whose values differ: in the order of the first, then what only the second has.
fn rows(a: &Rows, b: &Rows) -> Vec<Line> {
    let width = a.iter().chain(b).map(|(n, _)| n.len()).max().unwrap_or(0);
    let line = |(name, value): &(String, String)| format!("{name:width$}  {value}");
    let find = |rows: &Rows, name: &str| rows.iter().find(|(n, _)| n == name).cloned();
    let mut lines = Vec::new();
    for row in a {
        let other = find(b, &row.0);
        if other.as_ref() != Some(row) {
            lines.push(Line::Minus(line(row)));
            lines.extend(other.map(|o| Line::Plus(line(&o))));
        }
    }
    let new = b.iter().filter(|row| find(a, &row.0).is_none());
    lines.extend(new.map(|row| Line::Plus(line(row))));
    lines
}

/// Changed lines of two texts, with `context` lines around each.
pub fn texts_between(a: &str, b: &str, context: usize) -> Vec<Line> {
    let diff = TextDiff::from_lines(a, b);
    let mut lines = Vec::new();
    for (i, group) in diff.grouped_ops(context).iter().enumerate() {
        if i > 0 {
            lines.push(Line::Both("⋮".to_owned()));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value().trim_end_matches('\n').to_owned();
            lines.push(match change.tag() {
                ChangeTag::Delete => Line::Minus(text),
                ChangeTag::Insert => Line::Plus(text),
                ChangeTag::Equal => Line::Both(text),
            });
        }
    }
    lines
}
