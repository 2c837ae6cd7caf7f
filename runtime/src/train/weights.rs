//! Weights of a file in place of draws: `init: "file.safetensors"`.

use super::init::Values;
use crate::layout;
use crate::tensors::{Data, Tensors, read};
use sslc_compiler::program::{Layout, Program, WeightsFile};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};

/// The classifier of torchvision's networks, which encoders do not have.
const CLASSIFIER: &str = "fc.";
/// What PyTorch's batch norms count, and nobody needs.
const COUNTER: &str = "num_batches_tracked";

/// A tensor of the module, by its name in files.
struct Wanted<'a> {
    path: &'a str,
    /// Shape inside.
    shape: &'a [usize],
    layout: Layout,
}

/// Puts the file's tensors into `values`. Returns what a person should know.
///
/// # Errors
/// When the file cannot be read, or a name or shape does not fit: then with all that do not.
pub(super) fn load(
    program: &Program,
    weights: &WeightsFile,
    values: &mut Values,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let tensors = read(&weights.file)?;
    let within = format!("{}.", weights.module);
    let parameters = program
        .parameters
        .iter()
        .map(|p| (p.path.as_str(), p.shape.as_slice(), p.layout));
    let buffers = program
        .buffers
        .iter()
        .map(|b| (b.path.as_str(), b.shape.as_slice(), Layout::Same));
    let wanted: BTreeMap<String, Wanted<'_>> = parameters
        .chain(buffers)
        .filter_map(|(path, shape, layout)| {
            let name = format!("{}{}", weights.prefix, path.strip_prefix(&within)?);
            Some((
                name,
                Wanted {
                    path,
                    shape,
                    layout,
                },
            ))
        })
        .collect();
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    for (name, wanted) in &wanted {
        let shape = layout::file_shape(wanted.layout, wanted.shape);
        match tensors.get(name) {
            None => wrong.push(format!("{name} {shape:?} is not in the file")),
            Some(t) if t.shape != shape => wrong.push(format!(
                "{name} is {:?} in the file and {shape:?} in the network",
                t.shape
            )),
            Some(t) => match &t.data {
                Data::F32(data) => found.push((
                    wanted.path,
                    layout::from_file(wanted.layout, data, wanted.shape),
                )),
                Data::I64(_) => wrong.push(format!("{name} holds whole numbers in the file")),
            },
        }
    }
    let mut left_out = 0;
    for (name, tensor) in &tensors {
        let Some(rest) = name.strip_prefix(&weights.prefix) else {
            continue;
        };
        if wanted.contains_key(name) || rest.rsplit('.').next() == Some(COUNTER) {
            continue;
        }
        if rest.starts_with(CLASSIFIER) {
            left_out += 1;
        } else {
            wrong.push(format!("{name} {:?} is not in the network", tensor.shape));
        }
    }
    let shown = weights.file.display();
    if !wrong.is_empty() {
        let diagnostic = Diagnostic::new(
            codes::E0684,
            format!(
                "'{shown}' does not fit `{}`:\n  {}",
                weights.module,
                wrong.join("\n  ")
            ),
        );
        return Err(match prefix(&wanted, &weights.prefix, &tensors) {
            Some(prefix) => diagnostic.help(format!(
                "the names in the file begin with `{prefix}`: add `init_prefix: \"{prefix}\"`"
            )),
            None => diagnostic.help(
                "names and shapes must be those of `sslc step --init-only`, or of torchvision's network of the same name",
            ),
        });
    }
    for (path, value) in found {
        values.insert(path.to_owned(), value);
    }
    Ok((left_out > 0).then(|| {
        Diagnostic::new(
            codes::W0610,
            format!(
                "the classifier in '{shown}' is left out: {left_out} tensors named {}{CLASSIFIER}…",
                weights.prefix
            ),
        )
        .help("an encoder ends in features; remove the tensors from the file to silence this")
    }))
}

/// What every wanted name would have to begin with to be in the file.
fn prefix(wanted: &BTreeMap<String, Wanted<'_>>, given: &str, tensors: &Tensors) -> Option<String> {
    let bare = |name: &String| name.strip_prefix(given).unwrap_or(name).to_owned();
    let first = bare(wanted.keys().next()?);
    let candidates: BTreeSet<&str> = tensors
        .keys()
        .filter_map(|name| name.strip_suffix(&first))
        .filter(|p| *p != given && (p.is_empty() || p.ends_with('.')))
        .collect();
    candidates
        .into_iter()
        .find(|p| {
            wanted
                .keys()
                .all(|name| tensors.contains_key(&format!("{p}{}", bare(name))))
        })
        .map(str::to_owned)
}
