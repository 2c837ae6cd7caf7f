//! Whole programs on the CPU device against luminal's own operators.

use sslc_compiler::core::autodiff::gradients;
use sslc_compiler::core::builder::Builder;
use sslc_compiler::core::graph::{Graph, ValueId};
use sslc_compiler::core::interp::Inputs;
use sslc_compiler::core::simplify::simplify;
use sslc_compiler::core::{ops, random, rng};
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::build::Options;
use sslc_compiler::kernels::compile::Compiled;
use sslc_compiler::kernels::ir::KernelKind;
use sslc_compiler::lower::reference::Reference;
use sslc_compiler::program::Math;
use sslc_cpu::{CpuDevice, Level};

#[test]
fn random_programs_agree_with_the_reference() {
    let device = CpuDevice::new(2);
    for seed in 0..150 {
        let (graph, inputs) = random::program(1000 + seed, 4 + (seed % 40) as usize);
        let math = Options::default().math;
        agree(&format!("program {seed}"), &graph, &inputs, math, &device);
    }
}

/// Sums of products of bf16 are f32, at every level. Winograd's algorithm rounds its terms to bf16 and is not among these.
#[test]
fn random_programs_of_bf16_agree_with_the_reference() {
    for level in Level::ALL.into_iter().filter(|l| l.available()) {
        for seed in 0..60 {
            let (graph, inputs) = random::bf16_program(2000 + seed, 4 + (seed % 40) as usize);
            let what = format!("bf16 program {seed}, {}", level.name());
            let device = CpuDevice::with_level(2, level).unwrap();
            agree(&what, &graph, &inputs, Math::Strict, &device);
        }
    }
}

/// Runs a program on the device and on the reference, and compares every output.
fn agree(what: &str, graph: &Graph, inputs: &Inputs, math: Math, device: &CpuDevice) {
    let options = Options {
        math,
        ..Options::default()
    };
    let mut compiled = Compiled::new(graph, options, device).unwrap();
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

/// A residual block of two convolutions with batch norms, and the gradients of everything that it reads.
fn block(images: usize, size: usize, channels: usize, kernel: usize) -> Graph {
    let mut b = Builder::new();
    let shape = [images, size, size, channels];
    let mut reads: Vec<(String, ValueId)> = Vec::new();
    let mut param = |b: &mut Builder, path: &str, shape: &[usize]| {
        let v = b.param(path, shape);
        reads.push((path.to_string(), v));
        v
    };
    let x = param(&mut b, "x", &shape);
    let mut h = x;
    for layer in ["one", "two"] {
        let filter = [kernel, kernel, channels, channels];
        let w = param(&mut b, &format!("{layer}.weight"), &filter);
        let attrs = vec![
            ("stride", 1usize.into()),
            ("padding", (kernel / 2).into()),
            ("groups", 1usize.into()),
        ];
        h = b.push(&ops::CONV2D, &[h, w], attrs);
        let mean = b.mean(h, &[0, 1, 2]);
        let var = b.variance(h, mean, &[0, 1, 2]);
        let var = b.offset(var, 1e-5);
        let std = b.sqrt(var);
        let scale = param(&mut b, &format!("{layer}.scale"), &[channels]);
        let shift = param(&mut b, &format!("{layer}.shift"), &[channels]);
        let [mean, std, scale, shift] =
            [mean, std, scale, shift].map(|v| b.broadcast(v, &shape, &[3]));
        let centred = b.sub(h, mean);
        let normal = b.div(centred, std);
        let scaled = b.mul(normal, scale);
        h = b.add(scaled, shift);
        if layer == "two" {
            h = b.add(h, x);
        }
        h = b.unary(&ops::RELU, h);
    }
    let square = b.mul(h, h);
    let loss = b.sum_all(square);
    b.output("loss", loss);
    let values: Vec<ValueId> = reads.iter().map(|(_, v)| *v).collect();
    let grads = gradients(&mut b, loss, &values);
    for ((path, _), grad) in reads.into_iter().zip(grads) {
        b.output(
            format!("grad {path}"),
            grad.expect("the loss depends on it"),
        );
    }
    simplify(&b.graph)
}

#[test]
fn residual_blocks_agree_with_the_reference_at_every_level() {
    for (images, size, channels, kernel) in
        [(2, 4, 4, 3), (3, 7, 6, 3), (20, 4, 16, 1), (5, 9, 20, 3)]
    {
        let graph = block(images, size, channels, kernel);
        let mut reference = Reference::new(&graph);
        let sources: Vec<(String, Vec<f32>)> = reference
            .sources()
            .into_iter()
            .enumerate()
            .map(|(i, (name, shape))| {
                let len: usize = shape.iter().product();
                let at = |e| rng::uniform(4, i as u64, 0, e) - 0.45;
                (name, (0..len as u64).map(at).collect())
            })
            .collect();
        for (name, data) in &sources {
            assert!(reference.set(name, data));
        }
        reference.run();
        for level in Level::ALL {
            let Some(device) = CpuDevice::with_level(2, level) else {
                continue;
            };
            let mut compiled = Compiled::new(&graph, Options::default(), &device).unwrap();
            let kernels = &compiled.program().kernels;
            let is_fused = |k: &&_| matches!(k, KernelKind::Fused(_));
            // The statistics of both convolutions; the sums of the first batch norm's gradient.
            assert!(kernels.iter().map(|k| &k.kind).filter(is_fused).count() >= 3);
            // Between the convolutions nothing is stored: the second and its filter's gradient normalise what they read.
            let begins = |k: &&_| matches!(k, KernelKind::Fused(f) if f.prologue.is_some());
            assert_eq!(kernels.iter().map(|k| &k.kind).filter(begins).count(), 2);
            for (name, data) in &sources {
                assert!(compiled.set(name, data));
            }
            compiled.run();
            let (mut want, mut got) = (Vec::new(), Vec::new());
            for (name, _) in reference.outputs() {
                assert!(reference.get(&name, &mut want) && compiled.get(&name, &mut got));
                let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
                for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                    assert!(
                        (g - w).abs() <= 1e-3 * scale,
                        "{images} × {size}² × {channels}, {}: {name}[{i}] is {g}, not {w}",
                        level.name()
                    );
                }
            }
        }
    }
}
