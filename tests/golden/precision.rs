//! Steps in bf16 against the same steps in f32, beside what PyTorch's autocast gives: see `docs/precision.md`.

use crate::check::{difference, norm};
use crate::portable;
use crate::sslc;
use crate::tensors::{self, Tensor, Tensors, under};

/// By `train.math`: how far the gradients of all parameters together may be off, and that of any by itself, as a share of how
/// far autocast's are. Terms of Winograd's products are rounded to bf16, once more than those of the products that
/// autocast makes.
const AUTOCAST: [(&str, f64, f64); 2] = [("strict", 1.1, 1.25), ("fast", 1.9, 2.2)];

/// Without jumps: how far the gradients of all parameters may be off, and that of any.
const SMOOTH: [(&str, f64, f64); 2] = [("strict", 2.5e-2, 5e-2), ("fast", 7e-2, 0.1)];

fn views(shape: [usize; 4]) -> Tensors {
    let view = |view: &str| {
        let images = portable::images("images", view, shape);
        (view.to_owned(), Tensor::f32(&shape, &images))
    };
    Tensors::from([view("x1"), view("x2")])
}

/// For each gradient by its parameter's path, its norm in f32 and that of the difference in bf16.
fn differences(spec: &str, inputs: &Tensors, batch: usize, math: &str) -> Vec<(String, [f64; 2])> {
    let [wide, narrow] = ["f32", "bf16"].map(|precision| {
        let mut settings = vec![("train.precision", precision), ("train.math", math)];
        let batch = batch.to_string();
        settings.push(("train.batch", &batch));
        sslc::step_set(spec, inputs, 0, "cpu", &settings)
    });
    let gradient = |(name, wide): (&String, &Tensor)| {
        let path = name.strip_prefix("grad/")?.to_owned();
        let wide = wide.floats();
        let off = norm(&difference(&narrow[name].floats(), &wide));
        Some((path, [norm(&wide), off]))
    };
    wide.iter().filter_map(gradient).collect()
}

type Measure = fn(&[[f64; 2]]) -> f64;

/// What all gradients together are off by.
fn whole(gradients: &[[f64; 2]]) -> f64 {
    let root = |of: usize| gradients.iter().map(|g| g[of] * g[of]).sum::<f64>().sqrt();
    root(1) / root(0)
}

/// What the gradient that is furthest off is off by.
fn worst(gradients: &[[f64; 2]]) -> f64 {
    gradients.iter().map(|g| g[1] / g[0]).fold(0.0, f64::max)
}

fn as_autocast(name: &str) {
    let path = sslc::tests_folder().join("golden/precision/autocast.safetensors");
    let (golden, metadata) = tensors::read(&path);
    let shape: [usize; 4] = serde_json::from_str(&metadata["views"]).expect("a shape");
    let mut inputs = views(shape);
    for (path, recipe) in under(&golden, &format!("{name}/init/")) {
        let tensor = portable::from_recipe(&path, &recipe.floats());
        inputs.insert(path, tensor);
    }
    let autocast = under(&golden, &format!("{name}/grad/"));
    let spec = format!("../../examples/{name}.ssl");
    for (math, bound, single) in AUTOCAST {
        let (mut all, mut theirs) = (Vec::new(), Vec::new());
        for (path, [size, off]) in differences(&spec, &inputs, shape[0], math) {
            let [their_size, their_off] = autocast[&path].floats()[..] else {
                panic!("{path}: not a norm and a difference");
            };
            // A bias before a batch norm has none: rounding is all there is.
            if their_size > 1e-6 {
                let same = (size - their_size).abs() < 1e-2 * their_size;
                assert!(same, "{name}: {path} has {size:e}, not {their_size:e}");
                all.push([size, off]);
                theirs.push([their_size, their_off]);
            }
        }
        let what = format!("{name}, {math}");
        assert!(whole(&all) > 1e-2, "{what}: nothing was rounded");
        for (which, of, bound) in [("all", whole as Measure, bound), ("one", worst, single)] {
            let (ours, theirs) = (of(&all), of(&theirs));
            let said = format!("{what}: {which} off by {ours:.3}, autocast's by {theirs:.3}");
            assert!(ours < bound * theirs, "{said}");
        }
    }
}

#[test]
fn simclr() {
    as_autocast("simclr");
}

#[test]
fn byol() {
    as_autocast("byol");
}

#[test]
fn simsiam() {
    as_autocast("simsiam");
}

#[test]
fn barlow_twins() {
    as_autocast("barlow_twins");
}

#[test]
fn without_jumps() {
    let inputs = views([64, 1, 28, 28]);
    for (math, bound, single) in SMOOTH {
        let found = differences("golden/smooth.ssl", &inputs, 64, math);
        let found: Vec<[f64; 2]> = found.into_iter().map(|(_, g)| g).collect();
        let (all, one) = (whole(&found), worst(&found));
        assert!(all > 1e-3, "{math}: nothing was rounded");
        assert!(all < bound, "{math}: all off by {all:.1e}");
        assert!(one < single, "{math}: one off by {one:.1e}");
    }
}
