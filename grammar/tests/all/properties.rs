//! Properties of the formatter and the parser on generated and on all written programs.

use crate::FILE;
use crate::generate::program;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sslc_grammar::ast::{self, File};
use std::path::{Path, PathBuf};

fn parse(text: &str) -> File {
    match sslc_grammar::parse(FILE, text) {
        Ok(file) => file,
        Err(errors) => panic!("{text}\n{errors:#?}"),
    }
}

/// The tree without its spans and comments.
fn shape(file: &File) -> String {
    ast::print(file)
        .lines()
        .filter(|line| !line.starts_with("comment"))
        .map(|line| line.rsplit_once(" @").map_or(line, |(head, _)| head))
        .collect::<Vec<_>>()
        .join("\n")
}

fn comments(file: &File) -> String {
    let texts: Vec<&str> = file.comments.iter().map(|c| c.text.as_str()).collect();
    texts.join(" ")
}

/// Formatting keeps the tree and the comments, and a second time changes nothing.
fn check_format(text: &str) {
    let once = match sslc_grammar::format(text) {
        Ok(once) => once,
        Err(errors) => panic!("{text}\n{errors:#?}"),
    };
    let (before, after) = (parse(text), parse(&once));
    assert_eq!(shape(&before), shape(&after), "{text}\n----\n{once}");
    assert_eq!(comments(&before), comments(&after), "{text}\n----\n{once}");
    let twice = match sslc_grammar::format(&once) {
        Ok(twice) => twice,
        Err(errors) => panic!("{once}\n{errors:#?}"),
    };
    assert_eq!(once, twice, "{text}\n----\n{once}\n----\n{twice}");
}

fn spec_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            spec_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "ssl") {
            found.push(path);
        }
    }
}

#[test]
fn written_specs_are_kept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for dir in ["grammar/tests", "examples", "compiler/std", "tests/specs"] {
        spec_files(&root.join(dir), &mut files);
    }
    let mut checked = 0;
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        // Specs that show syntax errors have nothing to format.
        if sslc_grammar::parse(FILE, &text).is_ok() {
            check_format(&text);
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn examples_of_the_reference_are_specs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/language.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut lines = page.lines();
    let mut checked = 0;
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "```ssl" {
            let block: Vec<&str> = lines
                .by_ref()
                .take_while(|l| l.trim() != "```")
                .map(|l| l.get(indent..).unwrap_or(""))
                .collect();
            check_format(&block.join("\n"));
            checked += 1;
        }
    }
    assert!(checked > 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_specs_are_kept(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        check_format(&program(&bytes));
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,80}") {
        let _ = sslc_grammar::parse(FILE, &text);
        let _ = sslc_grammar::format(&text);
    }

    #[test]
    fn random_tokens_never_panic(words in prop::collection::vec(prop::sample::select(TOKENS), 0..60)) {
        let text = words.concat();
        let parsed = sslc_grammar::parse(FILE, &text);
        if let Err(errors) = &parsed {
            prop_assert!(!errors.is_empty());
        } else {
            check_format(&text);
        }
    }

    #[test]
    fn a_token_more_or_less_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        with in prop::sample::select(TOKENS),
    ) {
        let mut text = program(&bytes);
        let mut at = at.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, with);
        if sslc_grammar::parse(FILE, &text).is_ok() {
            check_format(&text);
        }
        text.truncate(at);
        let _ = sslc_grammar::parse(FILE, &text);
    }
}

const TOKENS: &[&str] = &[
    "let ",
    "x",
    "f",
    " ",
    "\n",
    "=",
    "==",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    ".",
    "..",
    "-",
    "- ",
    "+",
    "*",
    "@",
    "/",
    "^",
    "|>",
    "not ",
    "and ",
    " or ",
    "if ",
    "else ",
    "for ",
    "in ",
    "fn ",
    "module ",
    "forward",
    "train",
    "eval",
    "loss",
    "data ",
    "views ",
    "import ",
    "\"a\"",
    "\"",
    "\\",
    "# c\n",
    "#",
    "1",
    "0.5",
    "1.",
    ".5",
    "1e",
    "99999999999999999999",
    "T",
    "\r\n",
    "\t",
    "\0",
    "é",
    "−",
    "\u{feff}",
    "state ",
    "true",
    "x = 1\n",
    "let a = ",
    "f(x",
    "as ",
];
