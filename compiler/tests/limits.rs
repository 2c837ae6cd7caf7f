//! Specs that are large, deep or endless end in an error or work; nothing overflows or runs on.

// A spec that runs on and on must fail here, and only a clock can tell.
#![allow(clippy::disallowed_methods)]

mod support;
use std::time::{Duration, Instant};
use support::{Outcome, framed, run};

/// A spec around a value `v`.
fn with(text: &str) -> Outcome {
    let start = Instant::now();
    let outcome = framed(&format!(
        "{text}\nencoder f = sequential(flatten(), linear(4))\nloss = mean(f(x1) * f(x2)) * v"
    ));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "took {took:?}");
    outcome
}

#[track_caller]
fn works(text: &str) {
    let outcome = with(text);
    assert!(outcome.program.is_some(), "{}", outcome.text);
}

#[track_caller]
fn fails(text: &str, code: &str) {
    let outcome = with(text);
    assert_eq!(
        outcome.codes,
        [code],
        "{}",
        &outcome.text[..outcome.text.len().min(2000)]
    );
}

#[test]
fn a_megabyte_of_sums() {
    works(&format!("let v = 0{}", "+1".repeat(500_000)));
}

#[test]
fn a_long_chain_of_definitions() {
    let mut text = String::from("let a0 = mean(ones(2))\n");
    for i in 1..20_000 {
        text.push_str(&format!("let a{i} = a{} + 1\n", i - 1));
    }
    text.push_str("let v = a19999");
    works(&text);
}

#[test]
fn many_alternatives() {
    let mut text = String::from("let n = 7\nlet v = if n == 0 { 0 }");
    for i in 1..20_000 {
        text.push_str(&format!(" else if n == {i} {{ {i} }}"));
    }
    text.push_str(" else { 1 }");
    works(&text);
}

#[test]
fn long_pipes_and_postfixes() {
    works(&format!(
        "let v = mean(ones(2)){}",
        " |> relu".repeat(20_000)
    ));
    works(&format!("let v = mean(ones(2, 2){})", ".T".repeat(20_000)));
    works(&format!("let v = {}1", "- ".repeat(20_000)));
    works(&format!("let v = 1{}", " ^ 1".repeat(20_000)));
}

#[test]
fn deep_recursion_of_deep_expressions() {
    let open = "(".repeat(30);
    let close = ")".repeat(30);
    works(&format!(
        "let v = down(250)\nfn down(n) = if n == 0 {{ 0 }} else {{ {open}down(n - 1){close} }}"
    ));
    let open = "(".repeat(150);
    let close = ")".repeat(150);
    fails(
        &format!(
            "let v = down(250)\nfn down(n) = if n == 0 {{ 0 }} else {{ {open}down(n - 1){close} }}"
        ),
        "E0120",
    );
}

#[test]
fn exponential_recursion() {
    fails(
        "let v = fib(60)\nfn fib(n) = if n < 2 { n } else { fib(n - 1) + fib(n - 2) }",
        "E0122",
    );
    fails(
        "let v = sum([for i in 0..100000: [for j in 0..100000: 1][0]])",
        "E0122",
    );
}

#[test]
fn nested_lists_that_share() {
    fails(
        "let v = mean(grow(40))\nfn grow(n) = if n == 0 { [1, 2] } else { [grow(n - 1)[0..2], [1, 2]] }",
        "E0104",
    );
    let mut text = String::from("let a0 = [1, 1]\n");
    for i in 1..60 {
        text.push_str(&format!("let a{i} = [a{}, a{}]\n", i - 1, i - 1));
    }
    fails(&format!("{text}let v = mean(a59)"), "E0104");
    fails(
        &format!("{text}let v = if a59 == a58 {{ 1 }} else {{ 2 }}"),
        "E0116",
    );
}

#[test]
fn a_network_that_applies_itself() {
    let outcome = framed(
        "encoder f = around()\nmodule around() {\n    inner = linear(64)\n    forward(x) = f(inner(flatten()(x)))\n}\nloss = mean(f(x1) * f(x2))",
    );
    assert!(outcome.codes.contains(&"E0120"), "{}", outcome.text);
}

#[test]
fn sizes_beyond_any_tensor() {
    fails("let v = sum(zeros(1000000000, 1000000000))", "E0205");
    fails("let v = sum(zeros(1, 1, 1, 1, 1, 1, 1))", "E0205");
    fails(
        "let v = sum(reshape(ones(4), [9000000000000000000, 9000000000000000000]))",
        "E0206",
    );
    fails("let v = sum(eye(100000000))", "E0205");
    fails("let v = 9223372036854775807 + 1", "E0112");
    fails("let v = 10 ^ 400 * 1.0", "E0112");
    let outcome = framed(
        "encoder f = sequential(conv2d(1000000000000, 3), global_avg_pool())\nloss = mean(f(x1) * f(x2))",
    );
    assert!(
        outcome.codes.iter().all(|c| c.starts_with("E02")),
        "{}",
        outcome.text
    );
}

#[test]
fn empty_and_strange_files() {
    for text in [
        "",
        "# nothing\n",
        "\u{0}\u{1}\u{2}",
        "let",
        "loss = ",
        "}{",
        "data = data",
    ] {
        let outcome = run(text);
        assert!(outcome.program.is_none() && !outcome.codes.is_empty());
    }
}

#[test]
fn a_resnet50_with_a_target() {
    let outcome = run(r#"
data = image_folder("d", count: 1281167)
views x1, x2 = random_resized_crop(224)
encoder f = resnet50()
projector g = mlp(4096, 256)
target f_t, g_t = ema(f, g, decay: 0.99)
loss = byol_regression(g(f(x1)), stop_gradient(g_t(f_t(x2)))) + byol_regression(g(f(x2)), stop_gradient(g_t(f_t(x1))))
train { epochs = 1, batch = 256, optimizer = sgd(0.1) }
"#);
    assert!(outcome.program.is_some(), "{}", outcome.text);
}

#[test]
fn very_many_errors() {
    let outcome = with(&format!("let v = [{}]", "a, ".repeat(50_000)));
    assert_eq!(outcome.codes.len(), 50_000);
    assert!(outcome.codes.iter().all(|c| *c == "E0101"));
}

#[test]
fn long_runs_of_calls() {
    fails(&format!("let v = relu{}", "(1)".repeat(20_000)), "E0106");
}
