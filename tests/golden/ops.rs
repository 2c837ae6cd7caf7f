//! Values and gradients of single layers and functions.

use crate::check::{Report, difference, norm};
use crate::sslc;
use crate::tensors::{self, Tensors, under};

fn case(name: &str, device: &str) {
    let (golden, _) = tensors::read(&sslc::tests_folder().join("golden/ops/ops.safetensors"));
    let inputs = under(&golden, &format!("{name}/in/"));
    let found = sslc::step_from(&format!("ops/{name}.ssl"), &inputs, 0, device);
    let mut report = Report::default();
    let want = under(&golden, &format!("{name}/want/"));
    for (key, wanted) in &want {
        let Some(found) = report.find(&found, key, &wanted.shape) else {
            continue;
        };
        let (found, wanted) = (found.floats(), wanted.floats());
        let distance = norm(&difference(&found, &wanted));
        let size = norm(&wanted);
        let allowed = match key.strip_prefix("grad/") {
            Some(path) => 1e-4 * size.max(0.1 * largest_beside(path, &want)).max(0.05),
            None => 2e-5 * size.max(1e-2),
        };
        report.distance(key, distance, allowed, size);
    }
    report.finish(&format!("{name} on {device}"));
}

/// The largest gradient of the network that has this parameter: a gradient that is 0 is compared with it.
fn largest_beside(path: &str, want: &Tensors) -> f64 {
    let network = path.split('.').next().unwrap_or(path);
    let prefix = format!("grad/{network}.");
    let beside = want.iter().filter(|(key, _)| key.starts_with(&prefix));
    beside.map(|(_, t)| norm(&t.floats())).fold(0.0, f64::max)
}

macro_rules! cases {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn on_the_reference() {
                super::case(stringify!($name), "reference");
            }
            #[test]
            fn on_cpu() {
                super::case(stringify!($name), "cpu");
            }
        }
    )*};
}

cases! { conv norms pool mlp sharing losses average elementwise reductions shapes composite edges }
