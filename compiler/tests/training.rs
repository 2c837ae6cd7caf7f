//! What specs say of networks applied, targets, running statistics, views and training.

mod support;
use sslc_compiler::core::graph::{Graph, ValueId};
use sslc_compiler::core::ops;
use sslc_compiler::core::verify::verify;
use sslc_compiler::program::{
    DataKind, Init, Math, NetworkRole, OptimizerRule, ParamKind, Program, ScheduleShape, Selector,
    Span64, ViewKind,
};
use support::{FRAME, Outcome, framed, run, run_with};

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

/// Every value that a value depends on.
fn sources_of(graph: &Graph, v: ValueId) -> Vec<String> {
    let mut reached = vec![false; graph.nodes.len()];
    reached[v.index()] = true;
    let mut names = Vec::new();
    for i in (0..=v.index()).rev() {
        if !reached[i] {
            continue;
        }
        let node = &graph.nodes[i];
        if node.is(&ops::VIEW) {
            names.push(node.attrs.str("name").to_string());
        }
        for a in &node.args {
            reached[a.index()] = true;
        }
    }
    names.sort();
    names
}

/// Names of the views in the order in which they enter a buffer: the last one enters last.
fn update_order(p: &Program, buffer: &str) -> Vec<String> {
    let g = &p.forward;
    let mut order = Vec::new();
    let mut v = g.output(&format!("buffer/{buffer}")).unwrap();
    // add(mul(before, keep), mul(statistic, momentum))
    while g.node(v).is(&ops::ADD) {
        let (kept, taken) = (g.node(v).args[0], g.node(v).args[1]);
        order.extend(sources_of(g, taken));
        v = g.node(kept).args[0];
    }
    assert!(g.node(v).is(&ops::BUFFER));
    order.reverse();
    order
}

const NORMED: &str = "encoder f = sequential(flatten(), linear(8), batch_norm())\n";

fn normed(text: &str) -> Program {
    let p = framed(&format!("{NORMED}{text}")).program();
    for graph in [&p.forward, &p.encode.evaluate, &p.encode.calibrate] {
        assert_eq!(verify(graph), Vec::<String>::new());
    }
    p
}

fn applications(p: &Program) -> Vec<(String, String)> {
    p.applications
        .iter()
        .map(|a| {
            let name = p.networks[a.network].name.clone();
            (name, sources_of(&p.forward, a.input).join("+"))
        })
        .collect()
}

#[test]
fn the_same_network_on_the_same_value_is_one_application() {
    let p = normed("loss = mean(f(2 * x1) * f(2 * x1)) + mean(f(x2))");
    assert_eq!(applications(&p).len(), 2);
    assert_eq!(update_order(&p, "f.2.running_mean"), ["x1", "x2"]);
}

#[test]
fn running_statistics_follow_the_losss_evaluation_order() {
    let p = normed("let b = f(x2)\nlet a = f(x1)\nloss = mean(a * b)");
    assert_eq!(update_order(&p, "f.2.running_var"), ["x1", "x2"]);
    let p = normed("fn swap(a, b) = b - a\nloss = mean(swap(f(x2), f(x1)))");
    assert_eq!(update_order(&p, "f.2.running_var"), ["x2", "x1"]);
}

#[test]
fn what_only_a_watch_or_let_reaches_updates_nothing() {
    let p =
        normed("let unused = f(x2)\nwatch spread = mean(std(f(x2), axis: 0))\nloss = mean(f(x1))");
    assert_eq!(update_order(&p, "f.2.running_mean"), ["x1"]);
    assert!(p.forward.output("value/spread").is_some());
    assert!(p.forward.output("value/unused").is_some());
    let p = normed("watch spread = mean(std(f(x1), axis: 0))\nloss = mean(f(x1)) + 0 * mean(x2)");
    assert_eq!(update_order(&p, "f.2.running_mean"), ["x1"]);
}

#[test]
fn targets_are_copies_with_statistics_of_their_own() {
    let p = normed(
        "projector g = linear(4)\ntarget f_t, g_t = ema(f, g, decay: cosine_schedule(0.9, 1.0))\nloss = mean(g(f(x1)) * stop_gradient(g_t(f_t(x2))))",
    );
    let names: Vec<_> = p.networks.iter().map(|n| (&*n.name, n.role)).collect();
    assert!(matches!(names[2], ("f_t", NetworkRole::Target(_))));
    let copy = p
        .parameters
        .iter()
        .find(|q| q.path == "g_t.weight")
        .unwrap();
    assert_eq!(copy.init, Init::Copy("g.weight".to_string()));
    assert_eq!(copy.network, 3);
    assert_eq!(p.targets.len(), 6);
    assert!(p.targets.iter().all(|t| t.decay == "decay.f_t"));
    assert_eq!(p.schedules["decay.f_t"].total, p.train.steps);
    assert_eq!(update_order(&p, "f_t.2.running_mean"), ["x2"]);
    assert_eq!(update_order(&p, "f.2.running_mean"), ["x1"]);
    let embedding = p.forward.output("embedding").unwrap();
    assert_eq!(p.forward.ty(embedding).shape, [4, 4]);
}

#[test]
fn a_target_may_be_applied_first_and_may_average_buffers() {
    let p = normed(
        "target f_t = ema(f, decay: 0.9, buffers: \"average\")\nloss = mean(stop_gradient(f_t(x2)) * f(x1))",
    );
    assert_eq!(
        applications(&p),
        [("f_t".into(), "x2".into()), ("f".into(), "x1".into())]
    );
    assert!(p.forward.output("buffer/f_t.2.running_mean").is_none());
    assert!(p.targets.iter().any(|t| t.target == "f_t.2.running_var"));
    assert_eq!(p.parameters[0].path, "f.1.weight");
}

#[test]
fn the_encoders_graphs_use_running_statistics_or_calibrate_them() {
    let p = normed("loss = mean(f(x1) * f(x2))");
    let has = |g: &Graph, op| g.nodes.iter().any(|n| n.is(op));
    assert!(has(&p.encode.evaluate, &ops::BUFFER));
    assert!(!has(&p.encode.evaluate, &ops::VARIANCE));
    assert!(p.encode.evaluate.output("features").is_some());
    assert!(
        p.encode
            .calibrate
            .output("buffer/f.2.running_mean")
            .is_some()
    );
    assert!(has(&p.encode.calibrate, &ops::SCHEDULE));
}

#[test]
fn dropout_draws_in_training_only() {
    let p = framed(
        "encoder f = sequential(flatten(), linear(8), dropout(0.5))\nloss = mean(f(x1) * f(x2))",
    )
    .program();
    let draws: Vec<i64> = p
        .forward
        .nodes
        .iter()
        .filter(|n| n.is(&ops::UNIFORM))
        .map(|n| n.attrs.int("stream"))
        .collect();
    assert_eq!(draws, [0, 1]);
    assert!(!p.encode.evaluate.nodes.iter().any(|n| n.is(&ops::UNIFORM)));
}

/// A spec whose only varying part is training and evaluation.
fn trained(rest: &str) -> Outcome {
    run(&format!(
        "data = fashion_mini()\nviews x1 = random_resized_crop(8)\nencoder f = sequential(flatten(), linear(8))\nprojector g = linear(4)\nloss = mean(g(f(x1)))\n{rest}"
    ))
}

#[test]
fn the_length_comes_from_the_data() {
    let p =
        trained("train { epochs = 3, batch = 64, accumulate = 2, optimizer = sgd(0.1) }").program();
    assert_eq!(
        (p.train.steps, p.train.steps_per_epoch, p.train.accumulate),
        (117, Some(39), 2)
    );
    let p = trained("train { steps = 10, batch = 64, optimizer = sgd(0.1) }").program();
    assert_eq!((p.train.steps, p.train.steps_per_epoch), (10, Some(78)));
    assert_eq!(p.train.seed, 0);
    assert!(p.train.watch_collapse);
}

#[test]
fn folders_need_steps_or_a_count() {
    let folder = |data: &str, train: &str| {
        run(&format!(
            "data = {data}\nviews x1 = random_resized_crop(8)\nencoder f = sequential(flatten(), linear(8))\nloss = mean(f(x1))\n{train}"
        ))
    };
    let p = folder(
        "image_folder(\"d\", channels: 1, test: \"t\", strict: true)",
        "train { steps = 10, batch = 4, optimizer = sgd(cosine_schedule(0.1, 0, warmup: steps(2))) }",
    )
    .program();
    assert_eq!((p.data.channels, p.train.steps_per_epoch), (1, None));
    assert!(matches!(
        p.data.kind,
        DataKind::ImageFolder { strict: true, .. }
    ));
    let p = folder(
        "image_folder(\"d\", count: 100)",
        "train { epochs = 2, batch = 4, optimizer = sgd(0.1) }",
    )
    .program();
    assert_eq!(p.train.steps, 50);
    fails(
        folder(
            "image_folder(\"d\")",
            "train { steps = 10, batch = 4, optimizer = sgd(cosine_schedule(0.1, 0, warmup: epochs(1))) }",
        ),
        "E0416",
        &["count:"],
    );
}

#[test]
fn schedules() {
    let p = trained(
        "train { epochs = 10, batch = 50, optimizer = sgd(step_schedule([1, 0.1, 0.01], at: [epochs(5), steps(900)])) }",
    )
    .program();
    let lr = &p.schedules["lr"];
    assert_eq!(lr.at(0), 1.0);
    assert_eq!(lr.at(499), 1.0);
    assert_eq!(lr.at(500), 0.1);
    assert_eq!(lr.at(900), 0.01);
    let p = trained(
        "train { epochs = 10, batch = 50, optimizer = sgd(linear_schedule(1, 0, warmup: epochs(1), per: \"epoch\")) }",
    )
    .program();
    let lr = &p.schedules["lr"];
    assert_eq!((lr.warmup, lr.total, lr.per_epoch), (100, 1000, Some(100)));
    assert_eq!(lr.at(150), 1.0);
    assert!(matches!(lr.shape, ScheduleShape::Linear { .. }));
    fails(
        trained(
            "train { epochs = 2, batch = 50, optimizer = sgd(cosine_schedule(1, 0, warmup: epochs(2))) }",
        ),
        "E0415",
        &["200"],
    );
    fails(
        trained("train { epochs = 2, batch = 50, optimizer = sgd(step_schedule([1, 2], at: [])) }"),
        "E0110",
        &["2 values need 1 time"],
    );
}

#[test]
fn optimizers_with_groups_and_exclusions() {
    let p = trained(
        "train { epochs = 1, batch = 50, optimizer = lars(0.2, weight_decay: 1e-6, lr_in_momentum: true, groups: [group(g, lr: 0.5, momentum: 0), group(bias, norm, lr: cosine_schedule(0.0048, 0))]) }",
    )
    .program();
    let o = &p.train.optimizer;
    assert_eq!(
        o.rule,
        OptimizerRule::Lars {
            eta: 0.001,
            lr_in_momentum: true
        }
    );
    assert_eq!(o.base.momentum, 0.9);
    assert_eq!(
        o.exclude,
        [
            Selector::Kind(ParamKind::Bias),
            Selector::Kind(ParamKind::Norm)
        ]
    );
    assert_eq!(o.groups[0].select, [Selector::Network(1)]);
    assert_eq!(o.groups[0].lr.as_deref(), Some("lr.1"));
    assert_eq!(o.groups[0].momentum, Some(0.0));
    assert_eq!(p.schedules["lr.2"].at(0), 0.0048);
    let p = trained("train { epochs = 1, batch = 50, optimizer = adamw(0.1, exclude: [g, bias]) }")
        .program();
    assert_eq!(
        p.train.optimizer.exclude,
        [Selector::Network(1), Selector::Kind(ParamKind::Bias)]
    );
    fails(
        trained("train { epochs = 1, batch = 50, optimizer = sgd(0.1, nesterov: true) }"),
        "E0110",
        &["momentum"],
    );
}

#[test]
fn arithmetic_is_fast_unless_it_is_to_be_strict() {
    let math = |setting: &str| {
        let train = format!("train {{ epochs = 1, batch = 50, optimizer = sgd(0.1){setting} }}");
        trained(&train).program().train.math
    };
    assert_eq!(math(""), Math::Fast);
    assert_eq!(math(", math = \"fast\""), Math::Fast);
    assert_eq!(math(", math = \"strict\""), Math::Strict);
}

#[test]
fn settings_not_available_are_refused() {
    let train = |extra: &str| {
        trained(&format!(
            "train {{ epochs = 1, batch = 50, optimizer = sgd(0.1), {extra} }}"
        ))
    };
    fails(train("drop_last = false"), "E0406", &["not available yet"]);
    fails(train("precision = \"f16\""), "E0405", &[]);
    for memory in ["\"low\"", "\"2\"", "\"-1GiB\"", "\"2 gib\"", "\"0KB\""] {
        let setting = format!("memory = {memory}");
        fails(train(&setting), "E0405", &["\"2GiB\""]);
    }
    fails(train("memory = 2"), "E0405", &["a string"]);
    fails(train("math = \"exact\""), "E0405", &["\"strict\""]);
    fails(train("clip_norm = 0"), "E0405", &[]);
    fails(train("seed = \"a\""), "E0405", &["the string \"a\""]);
}

#[test]
fn checkpoints_are_an_epoch_apart_unless_the_spec_says_another() {
    let train = |setting: &str| {
        trained(&format!(
            "train {{ epochs = 9, batch = 50, optimizer = sgd(0.1), {setting} }}"
        ))
    };
    let of = |setting: &str| {
        let train = train(setting).program().train;
        let per_epoch = train.steps_per_epoch.unwrap();
        let every = train.checkpoint.every.unwrap();
        (
            every as f64 / per_epoch as f64,
            every,
            train.checkpoint.keep,
        )
    };
    assert_eq!((of("").0, of("").2), (1.0, 3));
    assert_eq!(of("checkpoint = every(epochs(2))").0, 2.0);
    let own = of("checkpoint = every(steps(7), keep: 5)");
    assert_eq!((own.1, own.2), (7, 5));
    fails(
        train("checkpoint = 3"),
        "E0405",
        &["the number 3", "every("],
    );
    fails(train("checkpoint = every(steps(0))"), "E0405", &["step"]);
    fails(
        train("checkpoint = every(steps(7), keep: 0)"),
        "E0110",
        &["keep"],
    );
}

#[test]
fn a_linear_classifier_is_an_evaluator() {
    let eval = |call: &str| {
        trained(&format!(
            "train {{ epochs = 9, batch = 50, optimizer = sgd(0.1) }}\neval {{ {call} }}"
        ))
    };
    let linear = |call: &str| eval(call).program().eval.linear.unwrap();
    let plain = linear("linear()");
    assert_eq!((plain.epochs, plain.lr, plain.every), (20, 0.1, None));
    let own = linear("knn(k: 3), linear(epochs: 2, lr: 0.5, every: steps(7))");
    assert_eq!((own.epochs, own.lr, own.every), (2, 0.5, Some(7)));
    fails(eval("linear(), linear()"), "E0402", &["twice"]);
    fails(eval("linear(lr: 0)"), "E0110", &["more than 0"]);
    fails(eval("linear(every: steps(0))"), "E0405", &["step"]);
}

#[test]
fn evaluation_prepares_images_like_the_first_view() {
    let p = run(r#"
data = cifar10("d")
views x1 = random_resized_crop(24) |> normalize("cifar10")
encoder f = sequential(conv2d(4, 3), global_avg_pool())
loss = mean(f(x1))
train { epochs = 10, batch = 50, optimizer = sgd(0.1) }
eval { knn(k: 20, temperature: 0.07, every: epochs(2)) }
"#)
    .program();
    let ops = &p.eval.images.ops;
    assert!(matches!(
        ops[0].kind,
        ViewKind::Resize {
            height: 24,
            width: None,
            ..
        }
    ));
    assert!(matches!(
        ops[1].kind,
        ViewKind::CenterCrop {
            height: 24,
            width: 24
        }
    ));
    assert!(matches!(ops[2].kind, ViewKind::Normalize { .. }));
    assert_eq!((p.encode.height, p.encode.width), (24, 24));
    let knn = p.eval.knn.unwrap();
    assert_eq!((knn.k, knn.temperature, knn.every), (20, 0.07, Some(2000)));
}

#[test]
fn evaluation_may_have_images_of_its_own() {
    let p = trained(
        "train { epochs = 1, batch = 50, optimizer = sgd(0.1) }\neval { images = resize([8, 8]) |> normalize(0.5, 0.25) }",
    );
    let p = p.program();
    assert!(
        matches!(&p.eval.images.ops[1].kind, ViewKind::Normalize { mean, .. } if mean == &[0.5])
    );
    assert!(p.eval.knn.is_none());
    // Another size than the one the encoder's linear layer was made for.
    fails(
        trained(
            "train { epochs = 1, batch = 50, optimizer = sgd(0.1) }\neval { images = center_crop(28) }",
        ),
        "E0301",
        &["64 and 784"],
    );
}

#[test]
fn views_know_their_sizes_and_ranges() {
    let view = |pipeline: &str| {
        run(&format!(
            "data = cifar10(\"d\")\nviews x1 = {pipeline}\nencoder f = sequential(conv2d(4, 3), global_avg_pool())\nloss = mean(f(x1))\ntrain {{ epochs = 1, batch = 50, optimizer = sgd(0.1) }}"
        ))
    };
    let size = |pipeline: &str| {
        let p = view(pipeline).program();
        (p.views[0].height, p.views[0].width, p.views[0].channels)
    };
    assert_eq!(size("horizontal_flip()"), (32, 32, 3));
    assert_eq!(size("resize(16)"), (16, 16, 3));
    assert_eq!(size("random_resized_crop([8, 12])"), (8, 12, 3));
    assert_eq!(size("random_crop(32, padding: 4)"), (32, 32, 3));
    let p = view("color_jitter(0.4, 0.2..0.8, hue: 0.1, order: \"fixed\")").program();
    assert_eq!(
        p.views[0].pipeline.ops[0].kind,
        ViewKind::ColorJitter {
            brightness: Some(Span64 { lo: 0.6, hi: 1.4 }),
            contrast: Some(Span64 { lo: 0.2, hi: 0.8 }),
            saturation: None,
            hue: Some(Span64 { lo: -0.1, hi: 0.1 }),
            random_order: false,
        }
    );
    fails(view("random_crop(40)"), "E0411", &["40 by 40"]);
    fails(view("grayscale(p: 1.5)"), "E0414", &[]);
    fails(view("gaussian_blur(kernel: 4)"), "E0110", &["odd"]);
    fails(view("color_jitter(hue: 0.7)"), "E0110", &[]);
    fails(view("random_resized_crop(8, scale: 0..1)"), "E0414", &[]);
    fails(
        view("random_resized_crop(8, p: 0.5)"),
        "E0411",
        &["different sizes"],
    );
    fails(
        view("normalize(\"cifar\")"),
        "E0110",
        &["did you mean \"cifar10\""],
    );
    fails(view("normalize(\"fashion_mnist\")"), "E0413", &["3"]);
    fails(view("resize(\"16\")"), "E0104", &[]);
}

#[test]
fn colours_of_one_channel_images_are_a_warning() {
    let outcome = run(r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8) |> color_jitter(0.4, 0.4, 0.2, 0.1) |> grayscale(p: 0.2)
encoder f = sequential(flatten(), linear(8))
loss = mean(f(x1) * f(x2))
train { epochs = 1, batch = 50, optimizer = sgd(0.1) }
"#);
    assert_eq!(outcome.codes, ["W0103", "W0103"], "{}", outcome.text);
    assert!(outcome.program.is_some());
}

#[test]
fn batch_may_not_depend_on_a_view() {
    fails(
        trained("train { epochs = 1, batch = batch_size(x1), optimizer = sgd(0.1) }"),
        "E0115",
        &["`batch`"],
    );
}

#[test]
fn unused_things_warn() {
    let outcome = framed(
        r#"
param width = 3
fn spare(a, b) = a
module never() {
    c = linear(2)
    forward(x) = x
}
encoder f = sequential(flatten(), linear(8))
loss = mean(f(x1) * f(x2))
"#,
    );
    let names = |word: &str| outcome.text.matches(word).count();
    assert_eq!(outcome.codes, ["W0101"; 5], "{}", outcome.text);
    assert_eq!(
        names("the param `width`") + names("the fn `spare`") + names("the parameter `b`"),
        3
    );
    assert_eq!(names("the module `never`") + names("the binding `c`"), 2);
}

#[test]
fn what_a_replaced_setting_names_is_used() {
    let spec = format!(
        "param rate = 0.2\n{FRAME}encoder f = sequential(flatten(), linear(8))\nloss = mean(f(x1) * f(x2))"
    );
    let spec = spec.replace("sgd(0.1)", "sgd(rate)");
    let outcome = run_with(&spec, &[("train.optimizer", "sgd(0.3)")], vec![]);
    assert!(outcome.codes.is_empty(), "{}", outcome.text);
}
