//! What specs mean: values, calls, names, modules.

mod support;
use sslc_compiler::program::Init;
use support::{FRAME, Outcome, framed, run, run_with};

/// The value of a number or list, told by the error that a string operand makes.
#[track_caller]
fn value(expression: &str) -> String {
    let outcome = framed(&format!(
        "let v = {expression}\nencoder f = sequential(flatten(), linear(4))\nloss = mean(f(x1)) + error_of(v)\nfn error_of(v) = v + \"\""
    ));
    let line = outcome
        .text
        .lines()
        .find(|l| l.contains("‹v›"))
        .unwrap_or_else(|| panic!("{}", outcome.text));
    line.split("this is ").nth(1).unwrap().to_string()
}

/// The shape of a tensor made of `z` = [4, 8].
#[track_caller]
fn shape(expression: &str) -> String {
    let outcome = framed(&format!(
        "encoder f = sequential(flatten(), linear(8))\nlet z = f(x1)\nlet v = {expression}\nloss = mean(z) + mean(v)"
    ));
    let p = outcome.program();
    let v = p.forward.output("value/v").unwrap();
    p.forward.ty(v).to_string()
}

#[track_caller]
fn fails(outcome: Outcome, code: &str, words: &[&str]) {
    assert!(outcome.codes.contains(&code), "{}", outcome.text);
    for word in words {
        assert!(
            outcome.text.contains(word),
            "no {word:?} in:\n{}",
            outcome.text
        );
    }
}

/// A spec around a loss, with an encoder `f` that gives [4, 8].
fn with(text: &str) -> Outcome {
    framed(&format!(
        "encoder f = sequential(flatten(), linear(8))\n{text}"
    ))
}

#[test]
fn numbers() {
    assert_eq!(value("3 / 4"), "the number 0.75");
    assert_eq!(value("4 / 2"), "the number 2");
    assert_eq!(value("2 ^ 10"), "the number 1024");
    assert_eq!(value("2 ^ -1"), "the number 0.5");
    assert_eq!(value("-2 ^ 2"), "the number -4");
    assert_eq!(value("2 ^ 3 ^ 2"), "the number 512");
    assert_eq!(value("1 - 2 - 3"), "the number -4");
    assert_eq!(value("2 * 3 / 4"), "the number 1.5");
    assert_eq!(value("1 + 2.5"), "the number 3.5");
    assert_eq!(value("sqrt(16)"), "the number 4");
    assert_eq!(value("maximum(2, 7)"), "the number 7");
    assert_eq!(value("abs(-3)"), "the number 3");
    assert_eq!(value("clamp(9, max: 4)"), "the number 4");
    assert_eq!(value("sum([1, 2, 3])"), "the number 6");
    assert_eq!(value("mean([1, 2])"), "the number 1.5");
}

#[test]
fn booleans_decide_without_the_right_side() {
    assert_eq!(
        value("if false and 1 / 0 > 1 { 1 } else { 2 }"),
        "the number 2"
    );
    assert_eq!(
        value("if true or 1 / 0 > 1 { 1 } else { 2 }"),
        "the number 1"
    );
    assert_eq!(value("if not (1 == 2) { 1 } else { 2 }"), "the number 1");
    assert_eq!(
        value("if \"a\" == \"b\" { 1 } else if 2 >= 2 { 5 } else { 2 }"),
        "the number 5"
    );
}

#[test]
fn lists_and_ranges() {
    assert_eq!(value("[for i in 0..4: i * i][3]"), "the number 9");
    assert_eq!(value("[10, 20, 30][-1]"), "the number 30");
    assert_eq!(value("[10, 20, 30][1..3]"), "a list of 2 elements");
    assert_eq!(value("[for i in 3..3: i]"), "a list of 0 elements");
    assert_eq!(value("(2..6)[1..3][1]"), "the number 4");
    assert_eq!(
        value("[for x in [1, 2]: [for y in 0..x: y]][1][1]"),
        "the number 1"
    );
}

#[test]
fn functions_see_arguments_defaults_and_earlier_names() {
    assert_eq!(
        value("h(2)\nfn h(a, b = a + 1) = a * 10 + b"),
        "the number 23"
    );
    assert_eq!(
        value("h(b: 1, a: 2)\nfn h(a, b) = a * 10 + b"),
        "the number 21"
    );
    assert_eq!(
        value("h(1)\nfn h(a) { let b = a + 1 let a = b * 10 a }"),
        "the number 20"
    );
    assert_eq!(
        value("fact(5)\nfn fact(n) = if n == 0 { 1 } else { n * fact(n - 1) }"),
        "the number 120"
    );
}

#[test]
fn recursion_reaches_256_and_no_further() {
    assert_eq!(
        value("down(255)\nfn down(n) = if n == 0 { 7 } else { down(n - 1) }"),
        "the number 7"
    );
    fails(
        with("fn down(n) = if n == 0 { 7 } else { down(n - 1) }\nloss = mean(f(x1)) * down(256)"),
        "E0114",
        &["`down`"],
    );
}

#[test]
fn where_a_name_is_called_values_are_passed_over() {
    let p = run(r#"
data = fashion_mini()
param epochs = 10
param mean = 3
views x1 = random_resized_crop(8)
encoder f = sequential(flatten(), linear(8))
fn scaled(exp, x) = exp * exp(x)
loss = mean(scaled(2, f(x1))) * mean
train { epochs, batch = 100, optimizer = sgd(cosine_schedule(0.1, 0, warmup: epochs(1))) }
"#)
    .program();
    assert_eq!(p.train.steps, 500);
    assert_eq!(p.schedules["lr"].warmup, 50);
}

#[test]
fn pipes() {
    assert_eq!(value("2 |> h(1)\nfn h(a, b) = a * 10 + b"), "the number 21");
    assert_eq!(value("16 |> sqrt"), "the number 4");
    assert_eq!(shape("z |> relu"), "f32[4, 8]");
    assert_eq!(shape("z |> relu()"), "f32[4, 8]");
    assert_eq!(shape("z |> sum(axis: 1)"), "f32[4]");
    assert_eq!(shape("x1 |> max_pool(2) |> global_avg_pool()"), "f32[4, 1]");
    assert_eq!(shape("x1 |> f"), "f32[4, 8]");
}

#[test]
fn pipelines_chain_calls_names_and_functions() {
    let p = run(r#"
data = fashion_mini()
fn flips(p) = horizontal_flip(p: p) |> vertical_flip(p: p)
fn blurred(base, p) = base |> gaussian_blur(p: p)
let ending = normalize("fashion_mnist")
views x1 = random_resized_crop(8) |> flips(0.25) |> blurred(0.5) |> ending
encoder f = sequential(flatten(), linear(8))
loss = mean(f(x1))
train { epochs = 1, batch = 4, optimizer = sgd(0.1) }
"#)
    .program();
    let p: Vec<f64> = p.views[0].pipeline.ops.iter().map(|op| op.p).collect();
    assert_eq!(p, [1.0, 0.25, 0.25, 0.5, 1.0]);
}

#[test]
fn shapes_of_tensor_functions() {
    assert_eq!(shape("z.T @ z"), "f32[8, 8]");
    assert_eq!(shape("z + mean(z, axis: 0)"), "f32[4, 8]");
    assert_eq!(shape("z - mean(z, axis: 1, keep: true)"), "f32[4, 8]");
    assert_eq!(shape("sum(x1, axis: [1, 2])"), "f32[4, 1]");
    assert_eq!(shape("std(z, axis: -1, unbiased: true)"), "f32[4]");
    assert_eq!(shape("concat([z, z], axis: 1)"), "f32[4, 16]");
    assert_eq!(shape("stack(z, z, z)"), "f32[3, 4, 8]");
    assert_eq!(shape("stack([z, z], axis: -1)"), "f32[4, 8, 2]");
    assert_eq!(shape("reshape(z, [2, -1])"), "f32[2, 16]");
    assert_eq!(shape("reshape(z, 2, 16)"), "f32[2, 16]");
    assert_eq!(shape("transpose(x1, [0, 3, 1, 2])"), "f32[4, 1, 8, 8]");
    assert_eq!(shape("broadcast(z, [3, 4, 8])"), "f32[3, 4, 8]");
    assert_eq!(shape("z[0]"), "f32[8]");
    assert_eq!(shape("z[1..3]"), "f32[2, 8]");
    assert_eq!(shape("z[-1][2]"), "f32[]");
    assert_eq!(shape("take(z, [0, 2, 2], axis: 1)"), "f32[4, 3]");
    assert_eq!(shape("take(z, argmax(z, axis: 0))"), "f32[8, 8]");
    assert_eq!(shape("one_hot(labels, 10)"), "f32[4, 10]");
    assert_eq!(shape("cross_entropy(z, labels)"), "f32[4]");
    assert_eq!(shape("diag(z @ z.T)"), "f32[4]");
    assert_eq!(shape("diag(z[0])"), "f32[8, 8]");
    assert_eq!(shape("off_diagonal(z @ z.T)"), "f32[4, 4]");
    assert_eq!(shape("softmax(z)"), "f32[4, 8]");
    assert_eq!(shape("logsumexp(z, axis: 1, keep: true)"), "f32[4, 1]");
    assert_eq!(shape("cosine_similarity(z, z)"), "f32[4]");
    assert_eq!(shape("where(z > 0 and not (z > 1), z, 0)"), "f32[4, 8]");
    assert_eq!(shape("where(z[0] > 0, 1, z)"), "f32[4, 8]");
    assert_eq!(shape("mean(argmax(z, axis: 1) == labels)"), "f32[]");
    assert_eq!(shape("iota(4) * 2 + labels"), "i32[4]");
    assert_eq!(shape("iota(4) / 2"), "f32[4]");
    assert_eq!(
        shape("zeros(shape(z)) + ones([4, 1]) + full([8], 0.5)"),
        "f32[4, 8]"
    );
    assert_eq!(shape("eye(batch_size(z)) + z @ z.T"), "f32[4, 4]");
    assert_eq!(shape("clamp(z, min: 0, max: 1)"), "f32[4, 8]");
    assert_eq!(shape("z * [1, 2, 3, 4, 5, 6, 7, 8]"), "f32[4, 8]");
}

#[test]
fn all_errors_are_reported_at_once() {
    let outcome = run(r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8) |> colour_jitter(0.4)
encoder f = resnet18(stem: "cifar", widht: 4)
projector g = mlp(8, norm: "layer")
fn never_called(x) = meen(x)
loss = mean(g(f(x1)) + undefined) + foo(1)
train { epochs = 0, batch = 4, optimiser = sgd(0.1) }
eval { knnn(k: 2) }
"#);
    let mut codes = outcome.codes.clone();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            "E0101", "E0101", "E0101", "E0101", "E0108", "E0110", "E0401", "E0401", "E0405"
        ],
        "{}",
        outcome.text
    );
}

#[test]
fn an_error_is_told_once_and_hides_its_consequences() {
    let outcome = with("let a = mistake\nlet b = a + 1\nloss = mean(f(x1)) + b");
    assert_eq!(outcome.codes, ["E0101"], "{}", outcome.text);
}

#[test]
fn errors_in_functions_name_the_call() {
    let outcome = with("fn h(x) = x + x.T\nloss = mean(h(f(x1)))");
    fails(
        outcome,
        "E0201",
        &["‹h(f(x1))› in this call", "f32[4, 8]", "f32[8, 4]"],
    );
}

#[test]
fn errors_in_the_library_are_shown_at_the_call() {
    let outcome =
        with("projector g = linear(3)\nloss = barlow_twins(f(x1), reshape(g(f(x2)), [3, 4]), 0.1)");
    fails(outcome, "E0202", &["barlow_twins"]);
    let outcome = framed("encoder f = resnet18(stem: \"cfar\")\nloss = mean(f(x1))");
    fails(outcome, "E0121", &["‹resnet18(stem: \"cfar\")›"]);
}

#[test]
fn names_of_later_items_are_not_visible_except_functions() {
    fails(
        with("loss = mean(g(f(x1)))\nprojector g = linear(2)"),
        "E0103",
        &["`g`"],
    );
    assert!(with("loss = h(f(x1))\nfn h(x) = mean(x)").program.is_some());
}

#[test]
fn imports_bring_names_once_and_aliases_keep_them_apart() {
    let spec = format!(
        "{FRAME}import \"a.ssl\"\nimport \"b.ssl\" as b\nencoder f = sequential(flatten(), linear(width))\nloss = half(mean(f(x1))) + b.half(1) + b.width"
    );
    let files = vec![
        ("a.ssl", "import \"c.ssl\"\nparam width = 3\n"),
        ("b.ssl", "import \"c.ssl\"\nlet width = 5"),
        ("c.ssl", "fn half(x) = x / 2"),
    ];
    let outcome = run_with(&spec, &[("width", "6")], files);
    assert_eq!(outcome.codes, ["W0101"], "{}", outcome.text);
    assert_eq!(outcome.program().parameters[0].shape, [6, 64]);
}

#[test]
fn import_cycles_are_shown() {
    let files = vec![
        ("a.ssl", "import \"b.ssl\"\nfn a() = 1"),
        ("b.ssl", "import \"a.ssl\"\nfn b() = 1"),
    ];
    let outcome = run_with("import \"a.ssl\"\ndata = fashion_mini()", &[], files);
    assert_eq!(outcome.codes, ["E0503"], "{}", outcome.text);
    assert!(
        outcome.text.contains("a.ssl → b.ssl → a.ssl"),
        "{}",
        outcome.text
    );
}

#[test]
fn overrides_keep_the_type() {
    let spec = format!(
        "{FRAME}param n = 3\nparam rate = 0.5\nparam kind = \"a\"\nparam on = true\nencoder f = sequential(flatten(), linear(if on {{ n }} else {{ 9 }}))\nloss = mean(f(x1)) * rate + (if kind == \"b c\" {{ 1 }} else {{ 0 }})"
    );
    let set = |o: &[(&str, &str)]| run_with(&spec, o, vec![]);
    assert_eq!(set(&[("n", "7")]).program().parameters[0].shape[0], 7);
    assert_eq!(set(&[("on", "false")]).program().parameters[0].shape[0], 9);
    assert!(set(&[("rate", "2"), ("kind", "b c")]).program.is_some());
    fails(set(&[("n", "7.5")]), "E0119", &["a whole number"]);
    fails(set(&[("on", "1")]), "E0119", &["true or false"]);
    fails(set(&[("rat", "1")]), "E0118", &["did you mean `rate`"]);
    fails(
        set(&[("epochs", "1")]),
        "E0118",
        &["did you mean `train.epochs`"],
    );
    fails(
        set(&[("train.epoch", "1")]),
        "E0401",
        &["did you mean `train.epochs`"],
    );
    let p = set(&[
        ("train.steps", "12"),
        ("train.seed", "5"),
        ("train.clip_norm", "1"),
        ("train.optimizer", "adamw(0.01, weight_decay: 0.1)"),
        ("train.precision", "f32"),
    ])
    .program();
    assert_eq!(
        (p.train.steps, p.train.seed, p.train.clip_norm),
        (12, 5, Some(1.0))
    );
    assert_eq!(p.train.optimizer.base.weight_decay, 0.1);
}

#[test]
fn parameters_are_named_by_path_and_shared_by_module() {
    let p = with(
        r#"
module twice(d) {
    inner = linear(d)
    parts = [for i in 0..2: linear(d)]
    forward(x) = parts[1](parts[0](inner(inner(x))))
}
projector g = sequential(twice(8), [relu(), linear(3, bias: false)])
loss = mean(g(f(x1)))
"#,
    )
    .program();
    let paths: Vec<&str> = p.parameters.iter().map(|q| &*q.path).collect();
    assert_eq!(
        paths,
        [
            "f.1.weight",
            "f.1.bias",
            "g.0.inner.weight",
            "g.0.inner.bias",
            "g.0.parts.0.weight",
            "g.0.parts.0.bias",
            "g.0.parts.1.weight",
            "g.0.parts.1.bias",
            "g.2.weight"
        ]
    );
}

#[test]
fn mlp_has_children_as_in_pytorch() {
    let paths = |text: &str| -> Vec<String> {
        let p = with(&format!("projector g = {text}\nloss = mean(g(f(x1))^2)")).program();
        let own = p.parameters.iter().filter(|q| q.path.starts_with("g."));
        own.map(|q| q.path["g.layers.".len()..].to_string())
            .collect()
    };
    assert_eq!(
        paths("mlp(16, 4)"),
        ["0.weight", "1.weight", "1.bias", "3.weight", "3.bias"]
    );
    assert_eq!(
        paths("mlp(16, 4, bias: false, last_norm: true, last_affine: false)"),
        ["0.weight", "1.weight", "1.bias", "3.weight"]
    );
    assert_eq!(
        paths("mlp(16, 4, norm: \"none\")"),
        ["0.weight", "0.bias", "2.weight", "2.bias"]
    );
}

#[test]
fn initial_values_are_pytorchs() {
    let p = framed(
        "encoder f = sequential(conv2d(16, 3), batch_norm(init: 0), global_avg_pool(), linear(4))\nloss = mean(f(x1))",
    )
    .program();
    let init = |path: &str| {
        p.parameters
            .iter()
            .find(|q| q.path == path)
            .unwrap()
            .init
            .clone()
    };
    assert_eq!(
        init("f.0.weight"),
        Init::Normal {
            std: (2.0f64 / 144.0).sqrt()
        }
    );
    assert_eq!(init("f.0.bias"), Init::Uniform { bound: 1.0 / 3.0 });
    assert_eq!(init("f.1.weight"), Init::Constant(0.0));
    assert_eq!(init("f.3.weight"), Init::Uniform { bound: 0.25 });
    assert_eq!(p.buffers[1].init, Init::Constant(1.0));
}

#[test]
fn a_layer_for_two_sizes_shows_both_places() {
    let outcome = with("projector g = linear(3)\nloss = mean(g(f(x1))) + mean(g(flatten()(x2)))");
    fails(
        outcome,
        "E0301",
        &[
            "8 and 64",
            "‹g(f(x1))›",
            "‹g(flatten()(x2))›",
            "‹linear(3)›",
        ],
    );
}

#[test]
fn children_of_networks_can_be_applied() {
    let p = framed(
        "encoder f = resnet18(stem: \"cifar\", width: 2)\nlet h = f(x1)\nloss = mean(h) + mean(f.layer1(relu(f.bn1(f.conv1(x2)))))",
    );
    assert!(p.program.is_some(), "{}", p.text);
}

#[test]
fn pure_layers_may_be_made_anywhere() {
    assert_eq!(
        shape("h(x1)\nfn h(x) = flatten()(max_pool(2)(x))"),
        "f32[4, 16]"
    );
}

#[test]
fn modules_made_inside_functions_may_have_no_parameters() {
    let module = "module act(d) {\n    inner = if d == 0 { relu() } else { linear(d) }\n    forward(x) = inner(x)\n}\n";
    assert!(
        with(&format!(
            "{module}fn h(x) = act(0)(x)\nloss = mean(h(f(x1)))"
        ))
        .program
        .is_some()
    );
    fails(
        with(&format!(
            "{module}fn h(x) = act(3)(x)\nloss = mean(h(f(x1)))"
        )),
        "E0302",
        &["`linear`", "inside a function"],
    );
    fails(
        with("fn h(x) = resnet18()(x)\nloss = mean(h(x1))"),
        "E0302",
        &["resnet18()"],
    );
}
