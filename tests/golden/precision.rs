//! Steps in bf16 against the same steps in f32.

use crate::check::{difference, norm};
use crate::sslc;
use crate::tensors::{self, under};

/// Gradients of a step in bf16 lie within 2e-2 of those in f32, the small ones within that of a hundredth of the largest.
fn gradients_are_near(name: &str, device: &str) {
    let path = sslc::tests_folder().join(format!("golden/step/{name}.safetensors"));
    let (golden, _) = tensors::read(&path);
    let mut inputs = under(&golden, "init/");
    inputs.extend(under(&golden, "in0/"));
    let spec = format!("golden/{name}.ssl");
    let [wide, narrow] = ["f32", "bf16"].map(|precision| {
        sslc::step_set(&spec, &inputs, 0, device, &[("train.precision", precision)])
    });
    let gradients = || wide.iter().filter(|(name, _)| name.starts_with("grad/"));
    let largest = gradients()
        .map(|(_, t)| norm(&t.floats()))
        .fold(0.0, f64::max);
    let mut wrong = Vec::new();
    let mut moved = 0;
    for (name, tensor) in gradients() {
        let want = tensor.floats();
        let distance = norm(&difference(&narrow[name].floats(), &want));
        moved += usize::from(distance > 0.0);
        let error = distance / norm(&want).max(1e-2 * largest);
        if error.is_nan() || error > 2e-2 {
            wrong.push(format!("{name}: {error:.1e}"));
        }
    }
    assert!(moved > 0, "{name}: nothing was rounded");
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[test]
fn simclr() {
    gradients_are_near("simclr", "cpu");
}

#[test]
fn byol() {
    gradients_are_near("byol", "cpu");
}

#[test]
fn simsiam() {
    gradients_are_near("simsiam", "cpu");
}

#[test]
fn barlow_twins() {
    gradients_are_near("barlow_twins", "cpu");
}

#[test]
fn simclr_on_the_reference() {
    gradients_are_near("simclr", "reference");
}
