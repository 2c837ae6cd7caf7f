//! Steps in bf16 against the same steps in f32, of the examples' small ResNet.

use crate::check::{difference, norm};
use crate::portable;
use crate::sslc;
use crate::tensors::{Tensor, Tensors};

const BATCH: usize = 64;

/// How far all gradients together may be off. Pooled features of a network that is not trained differ little between images,
/// so that a loss that compares images sees their roundings enlarged: from 2^-9 to 0.09 with BYOL, 0.13 with SimCLR and Barlow
/// Twins, 0.17 with SimSiam. A rounding of a gradient that is left out or done twice is less; a wrong product is more.
const WHOLE: f64 = 0.25;

fn gradients_are_near(name: &str) {
    let shape = [BATCH, 1, 28, 28];
    let view = |view: &str| {
        let images = portable::images("images", view, shape);
        (view.to_owned(), Tensor::f32(&shape, &images))
    };
    let inputs = Tensors::from([view("x1"), view("x2")]);
    let spec = format!("../../examples/{name}.ssl");
    let [wide, narrow] = ["f32", "bf16"].map(|precision| {
        let batch = BATCH.to_string();
        let settings = [
            ("train.precision", precision),
            ("batch", &batch),
            ("train.math", "strict"),
        ];
        sslc::step_set(&spec, &inputs, 0, "cpu", &settings)
    });
    let gradients = || wide.iter().filter(|(name, _)| name.starts_with("grad/"));
    let all = gradients()
        .map(|(_, t)| norm(&t.floats()).powi(2))
        .sum::<f64>()
        .sqrt();
    let mut off = 0.0;
    for (name, tensor) in gradients() {
        let difference = difference(&narrow[name].floats(), &tensor.floats());
        off += norm(&difference).powi(2);
    }
    let off = off.sqrt() / all;
    assert!(off > 1e-3, "{name}: nothing was rounded");
    assert!(off < WHOLE, "{name}: {off:.1e}");
}

#[test]
fn simclr() {
    gradients_are_near("simclr");
}

#[test]
fn byol() {
    gradients_are_near("byol");
}

#[test]
fn simsiam() {
    gradients_are_near("simsiam");
}

#[test]
fn barlow_twins() {
    gradients_are_near("barlow_twins");
}
