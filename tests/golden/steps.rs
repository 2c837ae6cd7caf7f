//! Three steps in a row of each method, on a small network (every element compared) and on ResNet-18 (by sketches).

use crate::check::{Report, difference, norm};
use crate::portable::{self, SIGNS, sketch};
use crate::sslc;
use crate::tensors::{self, Tensor, Tensors, under};

const STEPS: u64 = 3;

/// The path of the parameter or buffer that a name such as `grad/f.conv1.weight` speaks of.
fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

/// Runs the three steps of a case, each from what the one before left, and hands each step's outputs to `check`.
fn chain(
    name: &str,
    device: &str,
    steps: u64,
    at_step: u64,
    init: Tensors,
    views: impl Fn(u64) -> Tensors,
    mut check: impl FnMut(u64, &Tensors),
) {
    let mut kept = init;
    for step in 0..steps {
        let mut inputs = kept;
        inputs.extend(views(step));
        let spec = format!("golden/{name}.ssl");
        let found = sslc::step_from(&spec, &inputs, at_step + step, device);
        check(step, &found);
        kept = Tensors::new();
        for (name, tensor) in found {
            match split(&name) {
                ("param" | "buffer", path) => kept.insert(path.to_owned(), tensor),
                ("state", _) => kept.insert(name, tensor),
                _ => None,
            };
        }
    }
}

fn loss(report: &mut Report, found: &Tensors, want: &Tensors, step: u64) {
    let Some(loss) = report.find(found, "loss", &[]) else {
        return;
    };
    let (found, want) = (loss.floats()[0], want["loss"].floats()[0]);
    let allowed = allowed_after(step) * want.abs();
    report.distance(
        &format!("loss of step {step}"),
        (found - want).abs(),
        allowed,
        want.abs(),
    );
}

/// How far the loss of a step, or parameters and buffers after it, may be off relative to their norms.
fn allowed_after(step: u64) -> f64 {
    if step == 0 { 1e-5 } else { 1e-4 }
}

/// Compared with a tensor's own norm, what lies within this for each element is no difference.
fn floor(count: usize) -> f64 {
    1e-3 * (count as f64).sqrt()
}

/// A step's update is checked by itself too: a weight decay left out is less than 1e-5 of the parameters.
/// What f32 cannot hold of the sum is allowed on top.
fn allowed_change(change: f64, whole: f64) -> f64 {
    1e-3 * change + 3e-7 * whole + 1e-9
}

fn small(name: &str, device: &str) {
    let path = sslc::tests_folder().join(format!("golden/step/{name}.safetensors"));
    let (golden, metadata) = tensors::read(&path);
    let at_step = metadata["at_step"].parse().expect("a number");
    let init = under(&golden, "init/");
    let mut report = Report::default();
    let views = |step| under(&golden, &format!("in{step}/"));
    chain(
        name,
        device,
        STEPS,
        at_step,
        init.clone(),
        views,
        |step, found| {
            let want = under(&golden, &format!("want{step}/"));
            loss(&mut report, found, &want, step);
            let grads = want.iter().filter(|(name, _)| name.starts_with("grad/"));
            let largest = grads.map(|(_, t)| norm(&t.floats())).fold(0.0, f64::max);
            for (key, tensor) in want.iter().filter(|(key, _)| *key != "loss") {
                let Some(found) = report.find(found, key, &tensor.shape) else {
                    continue;
                };
                let (found, want) = (found.floats(), tensor.floats());
                let distance = norm(&difference(&found, &want));
                let size = norm(&want);
                let shown = format!("{key} of step {step}");
                let (family, path) = split(key);
                match family {
                    "grad" => {
                        report.distance(&shown, distance, 1e-4 * size.max(1e-5 * largest), size)
                    }
                    "value" => report.distance(&shown, distance, 1e-5 * size.max(1e-3), size),
                    _ => {
                        let allowed = allowed_after(step) * size.max(floor(want.len()));
                        report.distance(&shown, distance, allowed, size);
                        let change = norm(&difference(&want, &init[path].floats()));
                        let shown = format!("change of {shown}");
                        report.distance(&shown, distance, allowed_change(change, size), change);
                    }
                }
            }
        },
    );
    report.finish(&format!("{name} on {device}"));
}

/// An estimate of a difference's norm from the products of both sides with vectors of signs.
fn estimate(a: &[f64], b: &[f64]) -> f64 {
    norm(&difference(&a[1..], &b[1..])) / (SIGNS as f64).sqrt()
}

/// ResNet-18 at batch 8: the first `steps` steps.
fn large(name: &str, steps: u64) {
    let path = sslc::tests_folder().join(format!("golden/step/{name}.safetensors"));
    let (golden, metadata) = tensors::read(&path);
    let at_step = metadata["at_step"].parse().expect("a number");
    let shape: [usize; 4] = serde_json::from_str(&metadata["views"]).expect("a shape");
    let init: Tensors = under(&golden, "init/")
        .into_iter()
        .map(|(path, recipe)| {
            let tensor = portable::from_recipe(&path, &recipe.floats());
            (path, tensor)
        })
        .collect();
    let views = |step| {
        let view = |name: &str| {
            let (image, view) = (format!("step{step}/image"), format!("step{step}/{name}"));
            Tensor::f32(&shape, &portable::images(&image, &view, shape))
        };
        Tensors::from([("x1".to_owned(), view("x1")), ("x2".to_owned(), view("x2"))])
    };
    let mut report = Report::default();
    chain(
        name,
        "cpu",
        steps,
        at_step,
        init.clone(),
        views,
        |step, found| {
            let want = under(&golden, &format!("want{step}/"));
            loss(&mut report, found, &want, step);
            let grads = want.iter().filter(|(name, _)| name.starts_with("grad/"));
            let largest = grads.map(|(_, t)| t.floats()[0]).fold(0.0, f64::max);
            for (key, wanted) in want.iter().filter(|(key, _)| *key != "loss") {
                let (family, path) = split(key);
                let Some(found) = report.find(found, key, &init[path].shape) else {
                    continue;
                };
                let (found, wanted) = (found.floats(), wanted.floats());
                let shown = format!("{key} of step {step}");
                if family == "grad" {
                    let distance = estimate(&sketch(&found), &wanted);
                    let size = wanted[0];
                    report.distance(&shown, distance, 1e-4 * size.max(1e-5 * largest), size);
                } else {
                    let change = difference(&found, &init[path].floats());
                    let distance = estimate(&sketch(&change), &wanted);
                    let size = norm(&found);
                    // Running statistics are of the activations' size: a mean that is 0 in f64 is rounding in f32.
                    let rounding = if family == "buffer" {
                        1e-7 * (found.len() as f64).sqrt()
                    } else {
                        0.0
                    };
                    let allowed = allowed_after(step) * size.max(floor(found.len()));
                    report.distance(&shown, distance, allowed + rounding, size);
                    let shown = format!("change of {shown}");
                    let allowed = allowed_change(wanted[0], size) + rounding;
                    report.distance(&shown, distance, allowed, wanted[0]);
                }
            }
        },
    );
    report.finish(&format!("{name} on cpu"));
}

macro_rules! small {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn on_the_reference() {
                super::small(stringify!($name), "reference");
            }
            #[test]
            fn on_cpu() {
                super::small(stringify!($name), "cpu");
            }
            #[test]
            fn on_cuda() {
                if crate::cuda::can_simulate() {
                    super::small(stringify!($name), "cuda");
                }
            }
            #[test]
            fn on_cuda_by_libraries() {
                if crate::cuda::can_simulate() {
                    super::small(stringify!($name), super::sslc::LIBRARIES);
                }
            }
        }
    )*};
}

macro_rules! large {
    ($($name:ident: $steps:expr;)*) => {$(
        #[test]
        fn $name() {
            large(stringify!($name), $steps);
        }
    )*};
}

small! { simclr byol barlow_twins simsiam }
large! {
    resnet18_simclr: STEPS;
    resnet18_simsiam: STEPS;
    // One step: in the later ones a few of ten million ReLU inputs fall on another side in f32 than in f64.
    resnet18_byol: 1;
    resnet18_barlow_twins: 1;
}

#[test]
fn sketches_tell_how_far_tensors_are_apart() {
    let a: Vec<f64> = portable::tensor("a", 1000, 0.0, 1.0, 0.0)
        .into_iter()
        .map(f64::from)
        .collect();
    let noise = portable::tensor("noise", 1000, 0.0, 1e-4, 0.0);
    let b: Vec<f64> = a
        .iter()
        .zip(&noise)
        .map(|(x, n)| x + f64::from(*n))
        .collect();
    let (estimate, exact) = (
        estimate(&sketch(&a), &sketch(&b)),
        norm(&difference(&a, &b)),
    );
    assert!(
        (0.5..2.0).contains(&(estimate / exact)),
        "{estimate} for {exact}"
    );
}
