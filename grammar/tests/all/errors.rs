//! Each syntax error as a person sees it: code, sentence, places, help.

use crate::FILE;
use sslc_grammar::diag::Diagnostic;
use std::fmt::Write;

/// The errors of a source, each label with its line, column and the text it covers.
fn errors(text: &str) -> String {
    let Err(errors) = sslc_grammar::parse(FILE, text) else {
        panic!("no error in {text}");
    };
    errors.iter().map(|e| show(text, e)).collect()
}

fn show(text: &str, error: &Diagnostic) -> String {
    let mut out = String::new();
    writeln!(out, "{}: {}", error.code.name(), error.message).unwrap();
    for label in &error.labels {
        let (start, end) = (label.span.start as usize, label.span.end as usize);
        let line = text[..start].matches('\n').count() + 1;
        let column = start - text[..start].rfind('\n').map_or(0, |i| i + 1) + 1;
        let covered = &text[start..end];
        writeln!(
            out,
            "  {line}:{column} `{}` {}",
            covered.escape_debug(),
            label.text
        )
        .unwrap();
    }
    let help = error.help.as_ref().expect("an error has a help line");
    writeln!(out, "  help: {help}").unwrap();
    out
}

/// The errors of several sources, one after the other.
fn all(sources: &[&str]) -> String {
    sources
        .iter()
        .map(|text| format!("{}\n{}\n", text.escape_debug(), errors(text)))
        .collect()
}

#[test]
fn something_else_was_expected() {
    insta::assert_snapshot!(all(&[
        "let a = ",
        "let a = 1 +\nlet b = 2",
        "let = 1",
        "let a 1",
        "let a = f(b c)",
        "let a = [1 2]",
        "let a = (1, 2)",
        "let a = x[1:2]",
        "let a = [x^2 for x in y]",
        "let a = [for x y: x]",
        "let a = [for x in y, x]",
        "let a = b if c else d",
        "let a = if b then c",
        "let a = if b { c } elif d { e }",
        "let a = +1",
        "let a, b = f(x)",
        "let a = x.=",
        "fn f = 1",
        "fn f(x) x + 1",
        "fn f(x) { let a = x }",
        "fn f(x) { return x }",
        "fn f(1) = 2",
        "views l[6] = f",
        "target a b = f",
        "import common",
        "import \"a\" as 3",
        "module m(x) { a b }",
        "module m(x) { let a = b() }",
        "train { 3 }",
        "train { let a = b }",
        "train",
        "let a = 1 2",
    ]));
}

#[test]
fn no_item() {
    insta::assert_snapshot!(all(&["", " \n\t\n", "# a comment\n"]));
}

#[test]
fn characters_that_mean_nothing() {
    insta::assert_snapshot!(all(&[
        "let a = \0",
        "let a = \"x\u{1}y\"",
        "# \u{7}\nlet a = 1",
        "let τ = 1",
        "let a = 2 − 1",
        "let a = “x”",
        "let a = 1\u{a0}+ 2",
        "let a = ✓",
        "\u{7f}ELF\u{1}\u{2}",
    ]));
}

#[test]
fn strings() {
    insta::assert_snapshot!(all(&[
        "data = cifar10(\"data)\nlet a = 1",
        "data = cifar10(\"data",
        "data = cifar10(\"data\\",
        "data = cifar10(\"C:\\data\")",
    ]));
}

#[test]
fn brackets() {
    insta::assert_snapshot!(all(&[
        "let a = f(x",
        "let a = f(x\nlet b = 1\n",
        "train {\n  optimizer = sgd(lr: 0.1\n}\nlet a = 1",
        "let a = (1]",
        "let a = 1)",
        "let a = (1 +\nlet b = 2\nlet c = )",
        "train {\n    epochs\n\neval { knn() }\n",
    ]));
}

#[test]
fn numbers() {
    insta::assert_snapshot!(all(&[
        "let a = 1.",
        "let a = .5",
        "let a = x.5",
        "let a = 1_000",
        "let a = 2x",
        "let a = 1e",
        "let a = 1.5.T",
        "let a = 9223372036854775808",
        "let a = 1e999",
    ]));
}

#[test]
fn reserved_words() {
    insta::assert_snapshot!(all(&[
        "let data = 1",
        "let a = loss + 1",
        "fn f(in) = 1",
        "let a = 1 + else",
        "train { loss }",
        "state queue = 1",
        "let a = update",
        "let parameter = 1",
    ]));
}

#[test]
fn unknown_items() {
    insta::assert_snapshot!(all(&[
        "encodr f = resnet18()",
        "def f(x) = x",
        "x = 1",
        "los = 1",
        "forward(x) = x",
        "knn(k: 3)",
        "whatever it is",
        "class a() {}",
    ]));
}

#[test]
fn brackets_that_stand_apart() {
    insta::assert_snapshot!(all(&[
        "let a = f (x)",
        "let a = x [0]",
        "fn f(x) { let a = g (x) }",
        "let a = h(f (x))",
    ]));
}

#[test]
fn chains_of_comparisons_and_ranges() {
    insta::assert_snapshot!(all(&[
        "let a = 1 < b < c",
        "let a = b == c != d",
        "let a = 1..2..3"
    ]));
}

#[test]
fn signs_of_definition() {
    insta::assert_snapshot!(all(&[
        "let a = f(p = 0.5)",
        "let a == 1",
        "train { seed: 3 }",
        "fn f(a: 1) = a",
        "train = { }",
        "fn f(x) = { x }",
        "let a = if b = c { 1 } else { 2 }",
        "let a = b = c",
        "fn f(x) { a = x; a }",
        "fn f(x) {\n    let a = x\n    b = a\n    b }",
    ]));
}

#[test]
fn signs_of_other_languages() {
    insta::assert_snapshot!(all(&[
        "let a = b ** 2",
        "let a = b && c",
        "let a = b || c",
        "let a = !b",
        "// comment",
        "let a = 'x'",
        "let a = b % c",
        "let a = x ? y",
        "let a = aug::f(x)",
        "fn f(x) -> y",
        "let a := 1",
    ]));
}

#[test]
fn parentheses_are_needed() {
    insta::assert_snapshot!(all(&["let a = b == not c", "let a = if if b { 1 } { 2 }"]));
}

#[test]
fn arguments() {
    insta::assert_snapshot!(all(&[
        "let a = f(p: 1, x)",
        "let a = f(p: 1, p: 2)",
        "fn f(a, a) = a",
        "module m() { forward(x, x) = x }",
        "train { seed = 1 seed = 2 }",
        "module m() { a = b() a = c() forward(x) = x }",
    ]));
}

#[test]
fn forward() {
    insta::assert_snapshot!(all(&[
        "module m() { a = b() }",
        "module m() { forward(x) = x forward(y) = y }",
    ]));
}

#[test]
fn params_take_literals() {
    insta::assert_snapshot!(all(&["param a = 1 + 2", "param a = f()", "param a = --1"]));
}

#[test]
fn a_minus_at_the_beginning_of_a_line() {
    insta::assert_snapshot!(all(&[
        "loss = a\n  -b",
        "let a = if b { c } else { d }\n  -e"
    ]));
}

#[test]
fn several_errors_in_one_go() {
    insta::assert_snapshot!(errors(
        "let a = 1.
let b = f (x)
encodr f = resnet18()
let c = 1 < 2 < 3
x = 1
fn good(x) = x
let d = (1
let e = 2 +
loss = f(p = 1)
"
    ));
}

#[test]
fn every_code_has_a_test_here_and_a_page() {
    let tests = include_str!("errors.rs").to_string() + include_str!("extremes.rs");
    let snapshots =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all/snapshots")).unwrap();
    let shown: String = snapshots
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().contains("errors__"))
        .map(|e| std::fs::read_to_string(e.path()).unwrap())
        .collect();
    for code in sslc_grammar::codes::ALL {
        if !code.name().starts_with("E00") {
            continue;
        }
        let name = code.name();
        assert!(
            shown.contains(name) || tests.contains(&format!("\"{name}\"")),
            "{name}"
        );
        let page = format!("{}/../docs/errors/{name}.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{page}: {e}"));
        if name == "E0023" {
            // A spec of 8 MiB makes no example.
            continue;
        }
        let (wrong, right) = examples(&page);
        let Err(errors) = sslc_grammar::parse(FILE, wrong) else {
            panic!("the wrong example of {name} is right");
        };
        assert!(
            errors.iter().all(|e| e.code == *code),
            "{name}: {errors:#?}"
        );
        if let Err(errors) = sslc_grammar::parse(FILE, right) {
            panic!("{name}: {errors:#?}");
        }
    }
}

/// The code blocks below `## Wrong` and `## Right`.
fn examples(page: &str) -> (&str, &str) {
    let block = |heading: &str| {
        let (_, rest) = page.split_once(heading).expect(heading);
        let (_, rest) = rest.split_once("```ssl\n").expect("a block of ssl");
        rest.split_once("```").expect("the end of the block").0
    };
    (block("## Wrong\n"), block("## Right\n"))
}
