//! The text form: what it looks like, that it reads back, and what is said of a text that does not.

use crate::core::autodiff::gradients;
use crate::core::builder::Builder;
use crate::core::graph::{DType, Graph, Type};
use crate::core::print::dot;
use crate::core::random;
use crate::core::read::read;
use crate::core::verify::verify;
use proptest::prelude::*;

fn small_step() -> Graph {
    let mut b = Builder::new();
    let x = b.push(
        &crate::core::ops::VIEW,
        &[],
        vec![
            ("name", "x1".into()),
            ("shape", [2usize, 3].as_slice().into()),
        ],
    );
    let w = b.param("f.fc.weight", &[3, 2]);
    let y = b.matmul(x, w, false, false);
    b.name(y, "f.fc");
    let y = b.scale(y, 0.1);
    let loss = b.sum_all(y);
    b.output("loss", loss);
    let grad = gradients(&mut b, loss, &[w])[0].unwrap();
    b.output("grad/f.fc.weight", grad);
    b.graph
}

#[test]
fn text_form() {
    insta::assert_snapshot!(small_step());
}

#[test]
fn dot_form() {
    insta::assert_snapshot!(dot(&small_step()));
}

#[test]
fn json_form() {
    let mut b = Builder::new();
    let x = b.param("w", &[2]);
    let c = b.full(&Type::f32(&[2]), 0.5);
    let y = b.mul(x, c);
    b.name(y, "half");
    b.output("loss", y);
    insta::assert_snapshot!(serde_json::to_string(&b.graph).unwrap());
}

#[test]
fn odd_values_read_back() {
    let mut b = Builder::new();
    for v in [
        0.0,
        -0.0,
        1e-300,
        0.1,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        1e22,
    ] {
        b.scalar(v);
    }
    b.full(&Type::new(DType::I32, &[2]), -3.0);
    b.full(&Type::new(DType::Bool, &[1]), 1.0);
    let odd = b.param("a \"b\"\n\\ // ü", &[1]);
    b.output("value/a b\t\"", odd);
    for name in [
        "",
        " ",
        "\"quoted\"",
        "two\nlines",
        "// slashes",
        "plain name",
        "ends ",
    ] {
        let v = b.scalar(1.0);
        b.name(v, name);
    }
    assert_eq!(read(&b.graph.to_string()), Ok(b.graph));
}

proptest! {
    #![proptest_config(super::property(200))]

    #[test]
    fn random_programs_read_back(seed in 0u64..1 << 40, size in 0usize..60) {
        let (graph, _) = random::program(seed, size);
        prop_assert_eq!(verify(&graph), Vec::<String>::new());
        let text = graph.to_string();
        let again = read(&text).unwrap();
        prop_assert_eq!(again.to_string(), text);
        prop_assert_eq!(again, graph);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(%[0-9]{1,3} = |add|sum|conv2d|\\[|\\]|axes=|\"|f32|[0-9]{1,20}|[(),:/-]|%0|output |\n| )*") {
        if let Ok(graph) = read(&text) {
            verify(&graph);
        }
    }
}

#[test]
fn values_may_be_numbered_in_any_way() {
    let graph = read("// a comment\n\n%7 = param[path=\"w\", shape=[2]]() : f32[2]\n%3=neg( %7 ):f32[2] // n\noutput \"loss\" = %3").unwrap();
    insta::assert_snapshot!(graph, @r#"
    %0 = param[path="w", shape=[2]]() : f32[2]
    %1 = neg(%0) : f32[2]  // n
    output "loss" = %1
    "#);
}

#[test]
fn errors_of_the_reader() {
    let texts = [
        "%0 = nonsense() : f32[]",
        "%0 = neg(%1) : f32[]",
        "%0 = step() : i32[]\n%0 = step() : i32[]",
        "%0 = constant[value=one, shape=[], dtype=\"f32\"]() : f32[]",
        "%0 = constant[value=1.0, shape=[]]() : f32[]",
        "%0 = constant[value=1.0, value=1.0, shape=[], dtype=\"f32\"]() : f32[]",
        "%0 = step[size=3]() : i32[]",
        "%0 = step() : i64[]",
        "%0 = step() : i32[-1]",
        "%0 = step() : i32[] trailing",
        "%0 = step() : i32[",
        "%99999999999 = step() : i32[]",
        "%0 = param[path=w, shape=[]]() : f32[]",
        "output loss = %0",
        "hello",
    ];
    let told: Vec<String> = texts
        .iter()
        .map(|t| format!("{t}\n    {}", read(t).unwrap_err()))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn violations_are_all_reported() {
    let text = r#"
        %0 = param[path="w", shape=[2, 3]]() : f32[2, 3]
        %1 = param[path="w", shape=[3, 2]]() : f32[3, 2]
        %2 = add(%0, %1) : f32[2, 3]
        %3 = neg(%0) : f32[3, 2]
        %4 = neg(%3) : f32[2]
        %5 = neg(%0, %1) : f32[2, 3]
        %6 = broadcast[shape=[10000000, 10000000, 2, 3], dims=[2, 3]](%0) : f32[10000000, 10000000, 2, 3]
        %7 = reshape[shape=[1, 1, 1, 1, 1, 2, 3]](%0) : f32[1, 1, 1, 1, 1, 2, 3]
        %8 = constant[value=0.5, shape=[], dtype="bool"]() : bool[]
        %9 = constant[value=0.5, shape=[0], dtype="f32"]() : f32[0]
        %10 = sum[axes=[1, 0]](%0) : f32[]
        %11 = slice[start=[0, -1], end=[1, 1]](%0) : f32[1, 1]
        output "loss" = %0
        output "loss" = %1
    "#;
    insta::assert_snapshot!(verify(&read(text).unwrap()).join("\n"));
}

#[test]
fn violations_that_no_text_can_hold() {
    let mut graph = small_step();
    graph.nodes[2].args.reverse();
    graph.nodes[2].args[0].0 = 900;
    graph.nodes[4].args.clear();
    graph.nodes[6].attrs.0.clear();
    graph.nodes[7].attrs.0.reverse();
    graph.outputs[0].1.0 = 400;
    insta::assert_snapshot!(verify(&graph).join("\n"));
}
