//! How parameters start: their names, shapes and distributions.

use crate::check::norm;
use crate::sslc;
use crate::tensors::Tensors;
use std::collections::BTreeMap;

fn spec(network: &str, seed: u64) -> String {
    format!(
        r#"data = cifar10("data/cifar-10-batches-bin")
views x1 = random_resized_crop(32) |> normalize("cifar10")
encoder   f = {network}
projector g = sequential(linear(400), relu(), linear(20))
loss = mean(g(f(x1))^2)
train {{ steps = 1, batch = 2, seed = {seed}, optimizer = sgd(lr: 0.1) }}
"#
    )
}

fn found(tensors: &Tensors, path: &str) -> Vec<f64> {
    let tensor = tensors
        .get(path)
        .unwrap_or_else(|| panic!("{path} is missing"));
    tensor.floats()
}

fn deviation(values: &[f64]) -> f64 {
    norm(values) / (values.len() as f64).sqrt()
}

/// Mean, deviation and fourth moment of `values` are those of a distribution around 0 within five standard errors.
fn assert_moments(path: &str, values: &[f64], std: f64, kurtosis: f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let fourth = values.iter().map(|v| (v / std).powi(4)).sum::<f64>() / n;
    let error = 5.0 / n.sqrt();
    assert!(mean.abs() < error * std, "{path}: mean {mean}, of {std}");
    let ratio = deviation(values) / std;
    assert!(
        (ratio - 1.0).abs() < error,
        "{path}: {ratio} times the deviation {std}"
    );
    let room = error * 10.0;
    assert!(
        (fourth - kurtosis).abs() < room,
        "{path}: fourth moment {fourth}, not {kurtosis}"
    );
}

#[test]
fn distributions_are_those_of_the_language() {
    let tensors = sslc::initial(&spec(r#"resnet18(stem: "cifar")"#, 0));
    for (path, tensor) in &tensors {
        if let [out, _, kernel, _] = tensor.shape[..] {
            let std = (2.0 / (kernel * kernel * out) as f64).sqrt();
            assert_moments(path, &tensor.floats(), std, 3.0);
        }
    }
    // A uniform distribution's fourth moment is 9/5 of its squared variance.
    for (layer, fan_in) in [("g.0", 512.0), ("g.2", 400.0)] {
        let bound = 1.0 / f64::sqrt(fan_in);
        for name in ["weight", "bias"] {
            let path = format!("{layer}.{name}");
            let values = found(&tensors, &path);
            assert_moments(&path, &values, bound / 3f64.sqrt(), 1.8);
            assert!(
                values.iter().all(|v| v.abs() <= bound * (1.0 + 1e-6)),
                "{path} leaves ±{bound}"
            );
        }
    }
    let all = |path: &str, value: f64| {
        let values = found(&tensors, path);
        assert!(
            values.iter().all(|v| *v == value),
            "{path} is not {value} everywhere"
        );
    };
    all("f.bn1.weight", 1.0);
    all("f.bn1.bias", 0.0);
    all("f.bn1.running_mean", 0.0);
    all("f.bn1.running_var", 1.0);
    all("f.layer1.0.bn1.weight", 1.0);
    all("f.layer1.0.bn2.weight", 0.0);
    all("f.layer4.0.downsample.1.weight", 1.0);
}

#[test]
fn every_tensor_has_draws_of_its_own_and_the_seed_decides() {
    let first = sslc::initial(&spec(r#"resnet18(stem: "cifar", width: 8)"#, 0));
    let again = sslc::initial(&spec(r#"resnet18(stem: "cifar", width: 8)"#, 0));
    assert_eq!(first, again);
    let other = sslc::initial(&spec(r#"resnet18(stem: "cifar", width: 8)"#, 1));
    let convs = [
        "f.layer1.0.conv1.weight",
        "f.layer1.0.conv2.weight",
        "f.layer1.1.conv1.weight",
    ];
    let draws: Vec<Vec<f64>> = convs
        .iter()
        .flat_map(|path| [found(&first, path), found(&other, path)])
        .collect();
    for (i, a) in draws.iter().enumerate() {
        for b in &draws[..i] {
            let product: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
            let cosine = product / (norm(a) * norm(b));
            assert!(
                cosine.abs() < 5.0 / (a.len() as f64).sqrt(),
                "cosine {cosine}"
            );
        }
    }
}

#[test]
fn names_and_shapes_of_resnets_are_torchvisions() {
    let listed = std::fs::read_to_string(sslc::tests_folder().join("golden/resnet_names.txt"))
        .expect("the list of names");
    let mut wanted: BTreeMap<&str, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for line in listed.lines() {
        let [network, path, shape] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let shape = shape.split('x').map(|d| d.parse().expect("a number"));
        let of_network = wanted.entry(network).or_default();
        of_network.insert(format!("f.{path}"), shape.collect());
    }
    assert_eq!(wanted.len(), 4);
    for (network, wanted) in wanted {
        let found: BTreeMap<String, Vec<usize>> = sslc::initial(&spec(&format!("{network}()"), 0))
            .into_iter()
            .filter(|(path, _)| path.starts_with("f."))
            .map(|(path, tensor)| (path, tensor.shape))
            .collect();
        assert_eq!(found, wanted, "{network}");
    }
}
