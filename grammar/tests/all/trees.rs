//! Small sources and their trees.

use crate::FILE;
use sslc_grammar::ast;

fn tree(text: &str) -> String {
    match sslc_grammar::parse(FILE, text) {
        Ok(file) => ast::print(&file),
        Err(errors) => panic!("{text}\n{errors:#?}"),
    }
}

/// The tree of one expression without its spans.
fn expr(text: &str) -> String {
    tree(&format!("let a = {text}"))
        .lines()
        .skip(1)
        .map(|line| line.rsplit_once(" @").map_or(line, |(head, _)| head))
        .map(|line| line.strip_prefix("  ").unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn whole_spec() {
    insta::assert_snapshot!(tree(include_str!("byol.ssl")));
}

#[test]
fn every_item() {
    insta::assert_snapshot!(tree(
        "import \"a\\\\b \\\"c\\\".ssl\"
import \"common.ssl\" as aug
param rate = -1.5e-3
param sizes = [1, 2..3, \"x\", true]
data = fashion_mini()
views x1, x2 = augment()
encoder f = resnet18()
projector g = mlp(1)
predictor q = mlp(2)
target f_t, g_t = ema(f, g)
module block(n, stride = 1) { conv = conv2d(n); forward(x, y) { let z = conv(x); z + y } }
fn one() = 1
fn two(a, b = 2) { let c = a, let d = b c + d }
let v = one()
loss = v
watch w = v
train { epochs, batch seed = 0; loss = v }
eval { images = aug.resize knn(k: 200) aug.linear() }"
    ));
}

#[test]
fn precedence_from_loose_to_tight() {
    insta::assert_snapshot!(expr("a |> b or c and not d == e .. f + g * -h ^ i(j)"));
}

#[test]
fn operators_of_one_level_make_one_chain() {
    insta::assert_snapshot!(expr("a + b - c * d / e @ f + g"));
}

#[test]
fn sums_bind_tighter_than_ranges_and_comparisons() {
    insta::assert_snapshot!(expr("a - 1 .. b + 1 == c and not not d or e"));
}

#[test]
fn powers_associate_right_and_take_signs() {
    insta::assert_snapshot!(expr("-a ^ -b ^ c * - -d ^ 2"));
}

#[test]
fn calls_indices_and_fields_follow_one_another() {
    insta::assert_snapshot!(expr("aug.f(x, p: 1)(y)[0][1..2].T.loss\n  .data"));
}

#[test]
fn a_choice_and_its_blocks() {
    insta::assert_snapshot!(expr(
        "if a == 1 or b { let c = 1 c } else if d { 2 } else { 3 } + 1"
    ));
}

#[test]
fn a_choice_without_else() {
    insta::assert_snapshot!(expr("if a { 1 }"));
}

#[test]
fn lists_and_comprehensions() {
    insta::assert_snapshot!(expr("[[], [1,], [for i in 0..n: block(i)]]"));
}

#[test]
fn reserved_words_name_arguments_keys_and_fields() {
    insta::assert_snapshot!(tree(
        "let a = f(data: 1, if: 2, not: 3).train\ntrain { if = 1 or = 2 data = 3 }"
    ));
}

#[test]
fn keywords_end_at_word_boundaries() {
    insta::assert_snapshot!(expr(
        "order and index or notation + input - forwards * format / trained"
    ));
}

#[test]
fn a_minus_at_the_beginning_of_a_line() {
    // Touching: a new expression. Apart: subtraction.
    insta::assert_snapshot!(tree(
        "fn f(x) { let a = x\n -a }\nfn g(x) { let a = x\n - x a }\nlet b = x -1 - 2 -\n3"
    ));
}

#[test]
fn a_bracket_on_the_next_line_begins_an_expression() {
    insta::assert_snapshot!(tree(
        "fn f(x) { let a = g\n(a) }\nfn h(x) { let a = g; [a] }"
    ));
}

#[test]
fn line_breaks_separate_like_spaces() {
    let spread = "let\na\n=\nf(\nx\n,\ny\n:\n1\n)\n+\n1\n|>\ng";
    let shape = |text: &str| {
        tree(text)
            .lines()
            .filter(|line| !line.starts_with("comment"))
            .map(|line| {
                line.rsplit_once(" @")
                    .map_or("", |(head, _)| head)
                    .to_string()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(shape(spread), shape("let a = f(x, y: 1) + 1 |> g"));
    assert_eq!(shape(spread), shape(&spread.replace('\n', "\r\n")));
    assert_eq!(shape(spread), shape(&spread.replace('\n', "\r")));
    assert_eq!(shape(spread), shape(&spread.replace('\n', "\t# c\n")));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    insta::assert_snapshot!(tree("\u{feff}let a = 1"));
}

#[test]
fn comments_are_kept_with_their_places() {
    insta::assert_snapshot!(tree("# one\nlet a = 1 # two  \r\n#three"));
}

#[test]
fn numbers() {
    insta::assert_snapshot!(expr(
        "[1, 007, 0.5, 5e-4, 1.5E+3, 1e5, 9223372036854775807]"
    ));
}

#[test]
fn the_tree_is_serialised() {
    let file = sslc_grammar::parse(FILE, "let a = x.T").unwrap();
    insta::assert_snapshot!(serde_json::to_string(&file).unwrap());
}
