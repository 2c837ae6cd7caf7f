//! The examples of the error pages: the wrong one has its error, the right one has not.

mod support;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::run_with;

/// The first `ssl` block after a heading.
fn example<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let part = page.split_once(heading)?.1;
    let part = part.split("\n## ").next()?;
    let code = part.split_once("```ssl\n")?.1;
    Some(code.split_once("```")?.0)
}

/// A whole spec: what the example leaves out, around it.
fn whole(example: &str) -> String {
    let has = |item: &str| {
        example.contains(&format!("# no {item}"))
            || example.lines().any(|l| {
                l.strip_prefix(item)
                    .is_some_and(|rest| rest.starts_with([' ', '=']))
            })
    };
    let mut spec = String::new();
    if !has("data") {
        spec.push_str("data = fashion_mini()\n");
    }
    if !has("views") {
        spec.push_str("views x1, x2 = random_resized_crop(8)\n");
    }
    if !has("encoder") {
        spec.push_str("encoder f = sequential(flatten(), linear(32))\n");
    }
    spec.push_str(example);
    if !has("loss") && !has("encoder") {
        spec.push_str("\nloss = mean(f(x1))\n");
    }
    if !has("train") {
        spec.push_str("\ntrain { epochs = 2, batch = 64, optimizer = sgd(0.1) }\n");
    }
    spec
}

#[test]
fn examples_do_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let code = path.file_stem().unwrap().to_string_lossy().to_string();
        let elaboration = ["E01", "E02", "E03", "E04", "E05", "W010"];
        // Only real files lie outside of a folder.
        if code != "E0502" && elaboration.iter().any(|p| code.starts_with(p)) {
            pages.insert(code, fs::read_to_string(path).unwrap());
        }
    }
    assert!(pages.len() > 60, "{} pages", pages.len());
    let files = || vec![("views.ssl", "fn augment() = random_resized_crop(8)")];
    let mut wrong = Vec::new();
    for (code, page) in &pages {
        if let Some(text) = example(page, "## Wrong") {
            let outcome = run_with(&whole(text), &[], files());
            if !outcome.codes.contains(&code.as_str()) {
                wrong.push(format!("{code}, wrong: {}\n{}", outcome.text, whole(text)));
            }
        }
        if let Some(text) = example(page, "## Right") {
            let outcome = run_with(&whole(text), &[], files());
            if outcome.codes.contains(&code.as_str()) || outcome.program.is_none() {
                wrong.push(format!("{code}, right: {}\n{}", outcome.text, whole(text)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}
