//! The specs that come with the compiler.

mod support;
use sslc_compiler::program::Layout;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::{run, run_with};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn specs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            specs(&path, found);
        } else if path.extension().is_some_and(|e| e == "ssl") {
            found.push(path);
        }
    }
    found.sort();
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[test]
fn recipes_and_examples_are_right() {
    let mut found = Vec::new();
    specs(&root().join("examples"), &mut found);
    for folder in ["golden", "ops", "step", "emit"] {
        specs(&root().join("tests/specs").join(folder), &mut found);
    }
    assert!(found.len() > 20);
    let mut wrong = Vec::new();
    for path in &found {
        let text = fs::read_to_string(path).unwrap();
        if !text.contains("\nloss") {
            continue;
        }
        let mut files = Vec::new();
        for beside in fs::read_dir(path.parent().unwrap()).unwrap() {
            let beside = beside.unwrap().path();
            if let (Some(name), Ok(text)) = (beside.file_name(), fs::read_to_string(&beside)) {
                files.push((leak(name.to_string_lossy().into_owned()), leak(text)));
            }
        }
        let outcome = run_with(&text, &[], files);
        if outcome.program.is_none() || !outcome.text.is_empty() {
            wrong.push(format!("{}:\n{}", path.display(), outcome.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names and shapes as PyTorch has them.
fn state_of(network: &str) -> BTreeMap<String, Vec<usize>> {
    let p = run(&format!(
        r#"
data = cifar10("d")
views x = random_resized_crop(64)
encoder f = {network}()
loss = mean(f(x)^2)
train {{ epochs = 1, batch = 2, optimizer = sgd(0.1) }}
"#
    ))
    .program();
    let params = p.parameters.iter().map(|q| {
        let s = &q.shape;
        let shape = match q.layout {
            Layout::Same => s.clone(),
            Layout::Hwio => vec![s[3], s[2], s[0], s[1]],
            Layout::Transposed => vec![s[1], s[0]],
        };
        (q.path.clone(), shape)
    });
    let buffers = p.buffers.iter().map(|b| (b.path.clone(), b.shape.clone()));
    params
        .chain(buffers)
        .map(|(path, shape)| (path.strip_prefix("f.").unwrap().to_string(), shape))
        .collect()
}

#[test]
fn resnets_have_torchvisions_names_and_shapes() {
    let names = fs::read_to_string(root().join("tests/golden/resnet_names.txt")).unwrap();
    let mut wanted: BTreeMap<&str, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for line in names.lines() {
        let mut parts = line.split_whitespace();
        let (Some(network), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let Some(shape) = parts.next() else { continue };
        if path.starts_with("fc.") || path.ends_with("num_batches_tracked") {
            continue;
        }
        let shape = shape.split('x').map(|d| d.parse().unwrap()).collect();
        let network = wanted.entry(network).or_default();
        network.insert(path.to_string(), shape);
    }
    assert_eq!(wanted.len(), 4);
    for (network, state) in &wanted {
        assert_eq!(&state_of(network), state, "{network}");
    }
}
