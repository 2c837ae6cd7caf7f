//! The spec of a run as files that stand alone, so that the run can be repeated from its directory.

use crate::compile::Compilation;
use sslc_grammar::ast::ItemKind;
use std::path::{Path, PathBuf};

/// The folder of the run directory that imports are copied into.
const IMPORTS: &str = "imports";

/// `spec.ssl` and the files it imports, by their places in the run directory. What the command line overrode stands in
/// comments at the head of `spec.ssl`.
pub fn files(compilation: &Compilation, overrides: &[(String, String)]) -> Vec<(PathBuf, String)> {
    let mut spec: String = overrides
        .iter()
        .map(|(name, value)| format!("# --set {name}={value}\n"))
        .collect();
    let text = &compilation.sources.get(compilation.entry).text;
    // Places in the text, and what stands there instead of the text up to the second place.
    let mut changes: Vec<(usize, usize, String)> = Vec::new();
    if let Ok(ast) = sslc_grammar::parse(compilation.entry, text) {
        for item in &ast.items {
            if let ItemKind::Import { path_span, .. } = &item.kind {
                // Behind the opening quote of the path.
                let place = path_span.start as usize + 1;
                changes.push((place, place, format!("{IMPORTS}/")));
            }
        }
    }
    for weights in &compilation.program.weights {
        // Where the path is a param's, `--set` or the param itself must be absolute for the run to be repeated.
        let (start, end) = (weights.span.start as usize, weights.span.end as usize);
        let literal = weights.span.file == compilation.entry
            && text.get(start..end).is_some_and(|t| t.starts_with('"'));
        if let Some(path) = weights.file.to_str().filter(|_| literal) {
            let path = path.replace('\\', "\\\\").replace('"', "\\\"");
            changes.push((start, end, format!("\"{path}\"")));
        }
    }
    changes.sort();
    changes.dedup();
    let mut from = 0;
    for (start, end, instead) in changes {
        spec.push_str(&text[from..start]);
        spec.push_str(&instead);
        from = end;
    }
    spec.push_str(&text[from..]);
    let imports = compilation
        .imports
        .iter()
        .map(|(inside, text)| (Path::new(IMPORTS).join(inside), text.clone()));
    ::std::iter::once((PathBuf::from("spec.ssl"), spec))
        .chain(imports)
        .collect()
}
