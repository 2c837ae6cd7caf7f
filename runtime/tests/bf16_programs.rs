//! Programs with products of bf16 on the CPU device against luminal's own operators.

use sslc_compiler::core::graph::Graph;
use sslc_compiler::core::interp::Inputs;
use sslc_compiler::core::random;
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::build::Options;
use sslc_compiler::kernels::compile::Compiled;
use sslc_compiler::lower::reference::Reference;
use sslc_compiler::program::Math;
use sslc_runtime::cpu::{CpuDevice, Level};

/// Sums of products of bf16 are f32, at every level. Winograd's algorithm rounds its terms to bf16 and is not among these.
#[test]
fn random_programs_of_bf16_agree_with_the_reference() {
    for level in Level::ALL.into_iter().filter(|l| l.available()) {
        for seed in 0..60 {
            let (graph, inputs) = random::bf16_program(2000 + seed, 4 + (seed % 40) as usize);
            let what = format!("bf16 program {seed}, {}", level.name());
            agree(&what, &graph, &inputs, Math::Strict, level);
        }
    }
}

fn agree(what: &str, graph: &Graph, inputs: &Inputs, math: Math, level: Level) {
    let device = CpuDevice::with_level(2, level).unwrap();
    let options = Options {
        math,
        ..Options::default()
    };
    let mut compiled = Compiled::new(graph, options, &device).unwrap();
    let mut reference = Reference::new(graph);
    for (name, tensor) in inputs {
        let data: Vec<f32> = tensor.data.iter().map(|x| *x as f32).collect();
        let (set, known) = (compiled.set(name, &data), reference.set(name, &data));
        assert_eq!(set, known, "{what}: {name}");
    }
    compiled.run();
    reference.run();
    let (mut want, mut got) = (Vec::new(), Vec::new());
    for (name, _) in reference.outputs() {
        assert!(reference.get(&name, &mut want) && compiled.get(&name, &mut got));
        let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs().min(1e30)));
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            let close = (g - w).abs() <= 2e-5 * scale || g == w || (g.is_nan() && w.is_nan());
            assert!(close, "{what}: {name}[{i}] is {g}, not {w}");
        }
    }
}
