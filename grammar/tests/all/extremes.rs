//! Sources that nest deep or go on for long: an error or a tree, on the 2 MiB stack of a test thread.

use crate::FILE;
use sslc_grammar::ast::{self, MAX_DEPTH};

/// Parses, prints, formats, drops; the code of the error if there is one.
fn outcome(text: &str) -> Option<&'static str> {
    match sslc_grammar::parse(FILE, text) {
        Ok(file) => {
            assert!(!ast::print(&file).is_empty());
            assert!(serde_json::to_string(&file).is_ok());
            let once = sslc_grammar::format(text).unwrap();
            let again = sslc_grammar::parse(FILE, &once).unwrap();
            assert_eq!(again.items.len(), file.items.len());
            None
        }
        Err(errors) => {
            assert!(sslc_grammar::format(text).is_err());
            Some(errors[0].code.name())
        }
    }
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!(
        "let a = {}{inner}{}",
        open.repeat(depth),
        close.repeat(depth)
    )
}

#[test]
fn ten_thousand_brackets_are_an_error() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("f(", ")"),
        ("x[", "]"),
        ("if c {", "} else { 1 }"),
    ] {
        assert_eq!(
            outcome(&nested(open, "x", close, 10_000)),
            Some("E0007"),
            "{open}"
        );
    }
}

#[test]
fn brackets_nest_up_to_the_limit() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("f(", ")"),
        ("x[", "]"),
        ("if c {", "} else { 1 }"),
    ] {
        assert_eq!(
            outcome(&nested(open, "x", close, MAX_DEPTH)),
            None,
            "{open}"
        );
        assert_eq!(
            outcome(&nested(open, "x", close, MAX_DEPTH + 1)),
            Some("E0007"),
            "{open}"
        );
    }
}

#[test]
fn the_deepest_tree_fits_the_stack() {
    let open = "(a |> b or c and not d == e .. f + g * -h ^ f([if if_ == (1) { ";
    let close = " } else { 2 }]))";
    assert_eq!(outcome(&nested(open, "1", close, MAX_DEPTH / 4 - 1)), None);
    let open = "if [for x in y: z] == f(";
    let close = ") { 1 } else { 2 }";
    assert_eq!(outcome(&nested(open, "1", close, MAX_DEPTH)), None);
}

#[test]
fn an_if_in_a_condition_needs_parentheses() {
    let text = format!(
        "let a = {}x{}",
        "if ".repeat(10_000),
        " { 1 } else { 2 }".repeat(10_000)
    );
    assert_eq!(outcome(&text), Some("E0016"));
}

#[test]
fn ten_thousand_operators_in_a_row() {
    assert_eq!(outcome(&format!("let a = {}x", "-".repeat(10_000))), None);
    assert_eq!(outcome(&format!("let a = {}x", "- ".repeat(10_000))), None);
    assert_eq!(
        outcome(&format!("let a = {}x", "not ".repeat(10_000))),
        None
    );
    assert_eq!(
        outcome(&format!("let a = x{}", " ^ x".repeat(10_000))),
        None
    );
    assert_eq!(
        outcome(&format!("let a = x{}", " ^ -x".repeat(10_000))),
        None
    );
    assert_eq!(outcome(&format!("let a = x{}", "^2".repeat(10_000))), None);
    assert_eq!(
        outcome(&format!("let a = x ^ {}x", "-".repeat(10_000))),
        None
    );
    assert_eq!(
        outcome(&format!("let a = x{}", " |> f".repeat(10_000))),
        None
    );
    assert_eq!(outcome(&format!("let a = f{}", "(x)".repeat(10_000))), None);
    assert_eq!(outcome(&format!("let a = f{}", ".T".repeat(10_000))), None);
    assert_eq!(outcome(&format!("let a = f{}", "[0]".repeat(10_000))), None);
    assert_eq!(
        outcome(&format!("let a = x{}", " * x or y and z - x".repeat(3_000))),
        None
    );
    assert_eq!(
        outcome(&format!("let a = x{}", " == x".repeat(10_000))),
        Some("E0013")
    );
    assert_eq!(
        outcome(&format!("let a = x{}", "..x".repeat(10_000))),
        Some("E0013")
    );
}

#[test]
fn ten_thousand_else_ifs() {
    let text = format!(
        "let a = if c {{ 1 }}{} else {{ 3 }}",
        " else if d { 2 }".repeat(10_000)
    );
    assert_eq!(outcome(&text), None);
}

#[test]
fn a_megabyte_of_terms() {
    let text = format!("let a = {}1", "1+".repeat(500_000));
    let file = sslc_grammar::parse(FILE, &text).unwrap();
    assert_eq!(file.items.len(), 1);
    let once = sslc_grammar::format(&text).unwrap();
    assert!(once.len() > text.len());
}

#[test]
fn a_megabyte_of_items() {
    let text = "let a = 1\n".repeat(100_000);
    assert_eq!(
        sslc_grammar::parse(FILE, &text).unwrap().items.len(),
        100_000
    );
    assert_eq!(sslc_grammar::format(&text).unwrap(), text);
}

#[test]
fn a_megabyte_of_errors_ends_soon() {
    for text in [
        "let\n",
        "x x\n",
        "(",
        ")",
        "([{",
        "\0",
        "\"",
        "let a = (\n",
        "(]",
        "if ",
        "1.",
        "#\n",
        "é",
    ] {
        let errors = sslc_grammar::parse(FILE, &text.repeat((1 << 20) / text.len())).unwrap_err();
        assert!(
            !errors.is_empty() && errors.len() <= 50,
            "{text:?}: {}",
            errors.len()
        );
    }
}

#[test]
fn a_file_too_large_is_refused() {
    let text = " ".repeat(sslc_grammar::MAX_FILE_SIZE + 1);
    assert_eq!(outcome(&text), Some("E0023"));
}
