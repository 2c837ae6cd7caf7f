//! Whole programs on the CPU device against luminal's own operators.

use sslc_compiler::core::random;
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::build::Options;
use sslc_compiler::kernels::compile::Compiled;
use sslc_compiler::lower::reference::Reference;
use sslc_runtime::cpu::CpuDevice;

#[test]
fn random_programs_agree_with_the_reference() {
    let device = CpuDevice::new(2);
    for seed in 0..150 {
        let (graph, inputs) = random::program(1000 + seed, 4 + (seed % 40) as usize);
        let mut compiled = Compiled::new(&graph, Options::default(), &device).unwrap();
        let mut reference = Reference::new(&graph);
        for (name, tensor) in &inputs {
            let data: Vec<f32> = tensor.data.iter().map(|x| *x as f32).collect();
            assert_eq!(
                compiled.set(name, &data),
                reference.set(name, &data),
                "program {seed}: {name}"
            );
        }
        compiled.run();
        reference.run();
        let (mut want, mut got) = (Vec::new(), Vec::new());
        for (name, _) in reference.outputs() {
            assert!(reference.get(&name, &mut want) && compiled.get(&name, &mut got));
            let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs().min(1e30)));
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let close = (g - w).abs() <= 2e-5 * scale || g == w || (g.is_nan() && w.is_nan());
                assert!(close, "program {seed}: {name}[{i}] is {g}, not {w}");
            }
        }
    }
}
