//! Layers in bf16 against the same layers in f32 from the same inputs: every gradient within 2·10⁻² in relative L2.

use sslc_compiler::core::autodiff::gradients;
use sslc_compiler::core::builder::Builder;
use sslc_compiler::core::graph::{Graph, ValueId};
use sslc_compiler::core::precision::{read_rounded, to_bf16};
use sslc_compiler::core::simplify::simplify;
use sslc_compiler::core::{ops, rng};
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::build::Options;
use sslc_compiler::kernels::compile::Compiled;
use sslc_compiler::program::{Math, Precision};
use sslc_cpu::{CpuDevice, Level};
use std::collections::BTreeMap;

/// What a layer gives for its input; it names its parameters.
type Layer<'a> = &'a dyn Fn(&mut Builder, ValueId) -> ValueId;

const TOLERANCE: f64 = 2e-2;

/// The gradients by everything that a layer reads, of its result's product with given numbers.
fn graph(input: &[usize], layer: Layer, precision: Precision) -> Graph {
    let mut b = Builder::new();
    let x = b.buffer("x", input);
    let y = layer(&mut b, x);
    let shape = b.shape(y);
    let given = b.buffer("dy", &shape);
    let product = b.mul(y, given);
    let loss = b.sum_all(product);
    b.output("loss", loss);
    let narrow = precision == Precision::Bf16;
    let graph = if narrow { to_bf16(&b.graph) } else { b.graph };
    let mut b = Builder::from_graph(graph);
    let loss = b.graph.output("loss").unwrap();
    let read: Vec<(String, ValueId)> = b
        .graph
        .iter()
        .filter(|(_, n)| n.is(&ops::PARAM) || n.is(&ops::BUFFER))
        .map(|(id, n)| (n.attrs.str("path").to_owned(), id))
        .filter(|(path, _)| path != "dy")
        .collect();
    let values: Vec<ValueId> = read.iter().map(|(_, id)| *id).collect();
    let found = gradients(&mut b, loss, &values);
    if narrow {
        read_rounded(&mut b.graph);
    }
    for ((path, _), gradient) in read.into_iter().zip(found) {
        b.output(path, gradient.expect("the loss depends on it"));
    }
    simplify(&b.graph)
}

/// The gradients, from inputs that depend on their names alone.
fn run(graph: &Graph, math: Math, device: &CpuDevice) -> BTreeMap<String, Vec<f32>> {
    let options = Options {
        math,
        ..Options::default()
    };
    let mut compiled = Compiled::new(graph, options, device).unwrap();
    for (name, shape) in compiled.sources() {
        let len: usize = shape.iter().product();
        let stream = name.bytes().map(u64::from).sum();
        let at = |e| rng::uniform(9, stream, 0, e) - 0.4;
        let data: Vec<f32> = (0..len as u64).map(at).collect();
        assert!(compiled.set(&name, &data));
    }
    compiled.run();
    let outputs = compiled.outputs().into_iter().map(|(name, _)| {
        let mut data = Vec::new();
        assert!(compiled.get(&name, &mut data));
        (name, data)
    });
    outputs.collect()
}

fn relative(found: &[f32], want: &[f32]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = found.iter().zip(want);
    let off = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
    off / norm(&mut want.iter().map(|b| f64::from(*b)))
}

fn hold(what: &str, input: &[usize], layer: Layer) {
    let [wide, narrow] = [Precision::F32, Precision::Bf16].map(|p| graph(input, layer, p));
    for level in Level::ALL {
        let Some(device) = CpuDevice::with_level(2, level) else {
            continue;
        };
        let want = run(&wide, Math::Strict, &device);
        for math in [Math::Strict, Math::Fast] {
            let found = run(&narrow, math, &device);
            let mut off = 0.0f64;
            for (name, want) in want.iter().filter(|(name, _)| *name != "loss") {
                let error = relative(&found[name], want);
                assert!(
                    error < TOLERANCE,
                    "{what}, {}, {math:?}: {name} is off by {error:.1e}",
                    level.name()
                );
                off = off.max(error);
            }
            assert!(off > 5e-4, "{what}: nothing was rounded");
        }
    }
}

fn conv(b: &mut Builder, x: ValueId, channels: usize, kernel: usize, stride: usize) -> ValueId {
    let inputs = b.shape(x)[3];
    let w = b.param("weight", &[kernel, kernel, inputs, channels]);
    let attrs = vec![
        ("stride", stride.into()),
        ("padding", (kernel / 2).into()),
        ("groups", 1usize.into()),
    ];
    b.push(&ops::CONV2D, &[x, w], attrs)
}

fn batch_norm(b: &mut Builder, x: ValueId) -> ValueId {
    let shape = b.shape(x);
    let last = shape.len() - 1;
    let axes: Vec<usize> = (0..last).collect();
    let mean = b.mean(x, &axes);
    let var = b.variance(x, mean, &axes);
    let var = b.offset(var, 1e-5);
    let std = b.sqrt(var);
    let scale = b.param("scale", &shape[last..]);
    let shift = b.param("shift", &shape[last..]);
    let [mean, std, scale, shift] =
        [mean, std, scale, shift].map(|v| b.broadcast(v, &shape, &[last]));
    let centred = b.sub(x, mean);
    let normal = b.div(centred, std);
    let scaled = b.mul(normal, scale);
    b.add(scaled, shift)
}

#[test]
fn convolutions() {
    for (size, inputs, channels, kernel, stride) in [
        (12, 32, 48, 3, 1),
        (16, 64, 128, 3, 2),
        (12, 32, 48, 1, 1),
        (12, 32, 48, 1, 2),
        (14, 3, 16, 7, 2),
    ] {
        let what = format!("convolution {inputs}→{channels}, {kernel}×{kernel} / {stride}");
        hold(&what, &[8, size, size, inputs], &|b, x| {
            conv(b, x, channels, kernel, stride)
        });
    }
}

#[test]
fn linear_layers() {
    hold("linear", &[64, 96], &|b, x| {
        let w = b.param("weight", &[96, 80]);
        let bias = b.param("bias", &[80]);
        let y = b.matmul(x, w, false, false);
        let bias = b.broadcast(bias, &[64, 80], &[1]);
        b.add(y, bias)
    });
}

#[test]
fn batch_norms_of_what_convolutions_give() {
    hold("convolution and batch norm", &[8, 12, 12, 32], &|b, x| {
        let y = conv(b, x, 48, 3, 1);
        batch_norm(b, y)
    });
}

#[test]
fn batch_norms_of_what_linear_layers_give() {
    hold("linear and batch norm", &[64, 96], &|b, x| {
        let w = b.param("weight", &[96, 80]);
        let y = b.matmul(x, w, false, false);
        batch_norm(b, y)
    });
}
