//! `accumulate = n`: n micro-batches make one optimizer step.

use sslc::compile::compile;
use sslc_compiler::program::Program;
use sslc_runtime::device::Target;
use sslc_runtime::rng::{Domain, Stream};
use sslc_runtime::train::init;
use sslc_runtime::train::stepper::Stepper;
use std::fs;

const SPEC: &str = r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8)
encoder   f = resnet18(stem: "cifar", width: 2)
predictor h = mlp(4, 16)
target    f_t = ema(f, decay: 0.9)
loss = negative_cosine(h(f(x1)), stop_gradient(f_t(x2)))
train { steps = 4, batch = 4, optimizer = adamw(lr: 0.01, weight_decay: 0.1), clip_norm = 0.5 }
"#;

fn program(accumulate: u32) -> Program {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ssl");
    fs::write(&path, SPEC).unwrap();
    let overrides = [("train.accumulate".to_owned(), accumulate.to_string())];
    match compile(&path, &overrides) {
        Ok(compilation) => compilation.program,
        Err(failure) => panic!("{:?}", failure.diagnostics),
    }
}

/// Parameters after two optimizer steps, whose micro-batches are all the same.
fn trained(accumulate: u32) -> Vec<(String, Vec<f32>)> {
    let program = program(accumulate);
    let target = Target::open("cpu", 2).unwrap();
    let initial = init::values(&program);
    let mut stepper = Stepper::new(&program, &target, &initial, false).unwrap();
    for (i, view) in program.views.iter().enumerate() {
        let mut draws = Stream::new(3, Domain::Views, i as u32, 0, 0);
        let pixels: Vec<f32> = (0..4 * 8 * 8)
            .map(|_| draws.uniform(-1.0, 1.0) as f32)
            .collect();
        stepper.set_view(&view.name, &pixels);
    }
    for step in 1..=2 {
        for micro in 1..=accumulate {
            assert_eq!(stepper.run().unwrap(), micro == accumulate);
        }
        assert_eq!(stepper.step(), step);
    }
    stepper
        .values(&program, &initial)
        .unwrap()
        .into_iter()
        .filter(|(path, _)| program.parameters.iter().any(|p| p.path == *path))
        .collect()
}

#[test]
fn equal_micro_batches_are_one_batch() {
    let (whole, parts) = (trained(1), trained(2));
    assert!(whole.len() > 60);
    for ((path, a), (_, b)) in whole.iter().zip(&parts) {
        let norm =
            |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
        // AdamW divides by the gradient's size, so what is nearly 0 may differ.
        assert!(
            difference <= 2e-3 * norm(&mut a.iter().copied()).max(0.1),
            "{path}: {difference}"
        );
    }
}
