//! A steady training step allocates nothing: feeding it, running it through luminal, and reading the loss.

#[path = "support/allocations.rs"]
mod allocations;

use sslc::compile::compile;
use sslc_runtime::device::Target;
use sslc_runtime::train::init;
use sslc_runtime::train::stepper::Stepper;
use std::fs;

const SPEC: &str = r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8)
encoder   f = resnet18(stem: "cifar", width: 2)
predictor h = mlp(4, 16)
target    f_t = ema(f, decay: cosine_schedule(0.9, 1.0))
loss = negative_cosine(h(f(x1)), stop_gradient(f_t(x2)))
train { steps = 4000, batch = 4, optimizer = lars(lr: cosine_schedule(0.1, 0.0, warmup: steps(3))) }
"#;

#[test]
fn a_steady_step_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ssl");
    fs::write(&path, SPEC).unwrap();
    let target = Target::open("cpu", 2).unwrap();
    let pixels = [0.5; 4 * 8 * 8];
    for accumulate in ["1", "2"] {
        let overrides = [("train.accumulate".to_owned(), accumulate.to_owned())];
        let program = match compile(&path, &overrides) {
            Ok(compilation) => compilation.program,
            Err(failure) => panic!("{:?}", failure.diagnostics),
        };
        let initial = init::values(&program);
        let mut stepper = Stepper::new(&program, &target, &initial, false).unwrap();
        let mut step = || {
            stepper.set_view("x1", &pixels);
            stepper.set_view("x2", &pixels);
            stepper.set_classes(&[0, 1, 2, 3]);
            while !stepper.run().unwrap() {}
            stepper.scalar("loss")
        };
        // A worker thread allocates once, when the system lets it start, and luminal sorts its graph in the first run.
        let steady = (0..200).any(|_| {
            let before = allocations::count();
            assert!(step().is_some_and(f32::is_finite));
            step();
            allocations::count() == before
        });
        assert!(steady, "accumulate = {accumulate}");
    }
}
