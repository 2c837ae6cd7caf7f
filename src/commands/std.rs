//! `sslc std`: what the language offers without being written by its user.

use crate::compile::Failure;
use crate::report::print;
use sslc_compiler::elaborate::builtin_docs;
use sslc_compiler::stdlib;
use sslc_grammar::ast::ItemKind;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::FileId;
use std::collections::BTreeMap;

/// Prints the list, the source of a file or definition of the standard library, or a builtin's signature and doc line.
pub fn run(name: Option<&str>) -> Result<u8, Failure> {
    let Some(name) = name else {
        print(&list());
        return Ok(0);
    };
    if let Some(module) = stdlib::module(name) {
        print(module.text);
        return Ok(0);
    }
    let definitions = definitions();
    if let Some(text) = definitions.get(name) {
        print(text);
        return Ok(0);
    }
    // `linear` is a layer and an evaluator.
    let docs: String = builtin_docs()
        .iter()
        .filter(|b| b.name == name)
        .map(|b| format!("{}\n    {}\n", b.signature, b.doc))
        .collect();
    if !docs.is_empty() {
        print(&docs);
        return Ok(0);
    }
    let names = builtin_docs()
        .into_iter()
        .map(|b| b.name)
        .chain(stdlib::MODULES.iter().map(|m| m.name))
        .chain(definitions.keys().map(String::as_str));
    let diagnostic = Diagnostic::new(
        codes::E0902,
        format!("the standard library has no '{name}'"),
    );
    Err(match nearest(name, names) {
        Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
        None => diagnostic.help("`sslc std` lists all names"),
    }
    .into())
}

fn list() -> String {
    let mut out = String::new();
    for module in stdlib::MODULES {
        out.push_str(&format!(
            "# std/{}.ssl (sslc std {0} prints it)\n",
            module.name
        ));
        for (name, text) in in_module(module.text) {
            let head = text
                .lines()
                .find(|l| l.starts_with("fn ") || l.starts_with("module "))
                .unwrap_or(&name);
            let end = head.find(['{', '=']).filter(|_| head.starts_with("module"));
            let head = match (end, head.find(')')) {
                (_, Some(close)) => &head[..=close],
                (Some(end), None) => &head[..end],
                (None, None) => head,
            };
            out.push_str(&format!("  {head}\n"));
        }
    }
    let mut section = None;
    for builtin in builtin_docs() {
        if section != Some(builtin.section) {
            section = Some(builtin.section);
            out.push_str(&format!("# {}\n", builtin.section));
        }
        out.push_str(&format!("  {}\n      {}\n", builtin.signature, builtin.doc));
    }
    out
}

/// The source of every function and module of the library, with the comment above it.
fn definitions() -> BTreeMap<String, String> {
    stdlib::MODULES
        .iter()
        .flat_map(|m| in_module(m.text))
        .collect()
}

fn in_module(text: &str) -> Vec<(String, String)> {
    let Ok(file) = sslc_grammar::parse(FileId(0), text) else {
        return Vec::new();
    };
    file.items
        .iter()
        .filter_map(|item| {
            let name = match &item.kind {
                ItemKind::Fn(f) => &f.name.name,
                ItemKind::Module(m) => &m.name.name,
                _ => return None,
            };
            let (start, end) = (item.span.start as usize, item.span.end as usize);
            let start = with_comment(text, start);
            Some((name.clone(), format!("{}\n", text[start..end].trim_end())))
        })
        .collect()
}

/// Moves a start up over the comment lines directly above it.
fn with_comment(text: &str, mut start: usize) -> usize {
    while let Some(line) = text[..start].strip_suffix('\n') {
        let begin = line.rfind('\n').map_or(0, |i| i + 1);
        if !line[begin..].starts_with('#') {
            break;
        }
        start = begin;
    }
    start
}
