//! `sslc diff`: how two specs differ after evaluation.

use crate::drive::{Sslc, TINY};

/// `TINY` beside a spec made of it by replacements, as `sslc diff` tells them apart.
fn diff(replacements: &[(&str, &str)]) -> String {
    let other = replacements
        .iter()
        .fold(TINY.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.write("b.ssl", other);
    sslc.run(&["diff", "a.ssl", "b.ssl"]).succeeds().to_owned()
}

#[test]
fn comments_and_names_that_change_nothing() {
    let same = diff(&[("x1,", "x1 ,"), ("data =", "# a comment\ndata =")]);
    assert_eq!(same, "the specs train the same\n");
}

#[test]
fn a_batch_changes_settings_and_no_operation() {
    let text = diff(&[("batch = 8", "batch = 4")]);
    insta::assert_snapshot!(text, @r#"
    --- a.ssl
    +++ b.ssl
    train
      - batch                   8
      + batch                   4
      - checkpoint.every        625
      + checkpoint.every        1250
      - steps_per_epoch         625
      + steps_per_epoch         1250
    "#);
}

#[test]
fn views_networks_loss_and_optimizer() {
    let text = diff(&[
        (
            "random_resized_crop(8)",
            "random_resized_crop(8, scale: 0.2..1.0) |> horizontal_flip(p: 0.5)",
        ),
        ("mlp(8, 4)", "mlp(16, 4)"),
        ("loss = negative", "loss = 2 * negative"),
        ("lr: 0.05", "lr: cosine_schedule(0.1, 0.0)"),
    ]);
    insta::assert_snapshot!(text, @r#"
    --- a.ssl
    +++ b.ssl
    views
        x1
      - random_resized_crop(antialias: true, height: 8, interpolation: bilinear, ratio: 0.75..1.3333333333333333, scale: 0.08..1.0, width: 8)
      + random_resized_crop(antialias: true, height: 8, interpolation: bilinear, ratio: 0.75..1.3333333333333333, scale: 0.2..1.0, width: 8)
      + horizontal_flip(p: 0.5)
        x2
      - random_resized_crop(antialias: true, height: 8, interpolation: bilinear, ratio: 0.75..1.3333333333333333, scale: 0.08..1.0, width: 8)
      + random_resized_crop(antialias: true, height: 8, interpolation: bilinear, ratio: 0.75..1.3333333333333333, scale: 0.2..1.0, width: 8)
      + horizontal_flip(p: 0.5)
    networks
      - g: projector, 180 parameters
      + g: projector, 356 parameters
      -   g.layers.0.weight [8, 16]
      -   g.layers.1.weight [8]
      -   g.layers.1.bias [8]
      -   g.layers.3.weight [4, 8]
      +   g.layers.0.weight [16, 16]
      +   g.layers.1.weight [16]
      +   g.layers.1.bias [16]
      +   g.layers.3.weight [4, 16]
        ⋮
      -   g.layers.1.running_mean [8]
      -   g.layers.1.running_var [8]
      +   g.layers.1.running_mean [16]
      +   g.layers.1.running_var [16]
    loss
      - %20 = neg(%19) : f32[]  # loss
      + %20 = neg(%19) : f32[]
      + %21 = constant[value=2.0, shape=[], dtype="f32"]() : f32[]
      + %22 = mul(%21, %20) : f32[]  # loss
    train
      - schedule lr             0.05
      + schedule lr             cosine 0.1 → 0, 3 steps
    "#);
}

#[test]
fn the_inside_of_a_network_and_what_is_stopped() {
    let text = diff(&[
        (
            "predictor h = mlp(4, 4)",
            "predictor h = mlp(4, 4, norm: \"none\", bias: false)",
        ),
        ("stop_gradient(g(f(x2)))", "g(f(x2))"),
    ]);
    insta::assert_snapshot!(text, @r#"
    --- a.ssl
    +++ b.ssl
    networks
      - h: predictor, 44 parameters
      + h: predictor, 32 parameters
      -   h.layers.1.weight [4]
      -   h.layers.1.bias [4]
      -   h.layers.3.weight [4, 4]
      -   h.layers.3.bias [4]
      -   h.layers.1.running_mean [4]
      -   h.layers.1.running_var [4]
      +   h.layers.2.weight [4, 4]
    loss
      - %0 = stop_gradient(g(f(x2))) : f32[8, 4]
      - %7 = mul(%0, %0) : f32[8, 4]
      + %6 = mul(g(f(x2)), g(f(x2))) : f32[8, 4]
      - %13 = mul(h(g(f(x1))), %0) : f32[8, 4]
      + %12 = mul(h(g(f(x1))), g(f(x2))) : f32[8, 4]
    "#);
}

#[test]
fn the_exit_code_tells_where_it_is_asked_for() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.write("b.ssl", TINY.replace("0.05", "0.1"));
    let args = ["diff", "a.ssl", "b.ssl", "--exit-code"];
    assert_eq!(sslc.run(&args).status, Some(1));
    let same = ["diff", "a.ssl", "a.ssl", "--exit-code"];
    assert_eq!(sslc.run(&same).status, Some(0));
    sslc.run(&["diff", "a.ssl", "c.ssl"])
        .fails(3, &["E0650", "c.ssl"]);
}
