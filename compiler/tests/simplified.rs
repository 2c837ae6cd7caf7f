//! What simplification makes of a whole training step.

mod support;

use sslc_compiler::core::ops::{Class, VARIANCE};
use sslc_compiler::core::read::read;
use sslc_compiler::core::simplify::simplify;
use sslc_compiler::core::verify::verify;
use sslc_compiler::step::{Part, build};

const SPEC: &str = "
data = cifar10(\"data\")
views x1, x2 = random_resized_crop(32) |> normalize(\"cifar10\")
encoder f = resnet18(stem: \"cifar\")
projector g = mlp(512, 128)
loss = nt_xent(g(f(x1)), g(f(x2)), temperature: 0.5)
train { steps = 10  batch = 8  optimizer = sgd(lr: 0.1) }
";

#[test]
fn each_batch_norm_of_a_resnet_sums_four_times() {
    let program = support::run(SPEC).program();
    let step = build(&program, Part::Whole, true).graph;
    assert_eq!(verify(&step), Vec::<String>::new());
    let simpler = simplify(&step);
    assert_eq!(verify(&simpler), Vec::<String>::new());
    let maps = |n: &&sslc_compiler::core::graph::Node| {
        n.op.class == Class::Reduction && simpler.ty(n.args[0]).rank() == 4
    };
    let norms = simpler
        .nodes
        .iter()
        .filter(maps)
        .filter(|n| n.is(&VARIANCE))
        .count();
    assert_eq!(norms, 2 * 20);
    // Mean and variance, Σ dy and Σ dy·(x − mean), where the two norms that a residual adds share Σ dy (three a view);
    // and the pooling of each view.
    assert_eq!(
        simpler.nodes.iter().filter(maps).count(),
        4 * norms - 2 * 3 + 2
    );
}

#[test]
fn a_whole_step_reads_back() {
    let program = support::run(SPEC).program();
    let step = build(&program, Part::Whole, true).graph;
    assert_eq!(read(&step.to_string()), Ok(step));
}
