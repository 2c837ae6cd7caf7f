//! Speed of the CPU device's kernels on the layers of ResNet-18 (CIFAR stem, 256 images of 32×32) and of the small
//! ResNet of the examples (width 16, 512 images of 28×28); and of ResNet-50 (16 images of 224×224). Operations are counted as
//! direct convolution.
//!
//! `cargo bench -p sslc-cpu --bench kernels -- [threads] [filter] [level] [strict]`

use sslc_compiler::kernels::choose::choose;
use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::{
    Access, Algorithm, Binary, Buffer, BufferId, BufferKind, Combine, Contraction, ConvShape,
    Element, Fused, Inst, Kernel, KernelKind, KernelProgram, LoopKernel, LoopOutput, Unary,
};
use sslc_compiler::program::Math;
use sslc_cpu::{CpuDevice, Level, measure_peak_flops};
use std::rc::Rc;
use std::time::Instant;

/// One kernel with its buffers, and what it counts.
struct Case {
    name: String,
    program: KernelProgram,
    /// Operations, or bytes, of one run.
    amount: f64,
    unit: &'static str,
}

impl Case {
    fn new(name: String, amount: f64, unit: &'static str) -> Case {
        Case {
            name,
            program: KernelProgram::default(),
            amount,
            unit,
        }
    }

    fn buffer(&mut self, shape: &[usize]) -> BufferId {
        let program = &mut self.program;
        let id = BufferId(program.buffers.len() as u32);
        program.buffers.push(Buffer {
            name: format!("b{}", id.0),
            kind: BufferKind::State,
            element: Element::F32,
            shape: shape.to_vec(),
            offset: program.arena_len,
        });
        program.arena_len += shape.iter().product::<usize>().next_multiple_of(16);
        id
    }

    /// The same with bf16 in every buffer, but f32 in the ones named.
    fn in_bf16(mut self, whole: &[u32]) -> Case {
        let program = &mut self.program;
        program.arena_len = 0;
        for (i, buffer) in program.buffers.iter_mut().enumerate() {
            if !whole.contains(&(i as u32)) {
                buffer.element = Element::Bf16;
            }
            buffer.offset = program.arena_len;
            program.arena_len += buffer.words().next_multiple_of(16);
        }
        self.name += " bf16";
        self
    }

    fn kernel(mut self, kind: KernelKind) -> Case {
        self.program.kernels.push(Kernel {
            name: self.name.clone(),
            kind,
        });
        self
    }

    /// Its contraction, which something else is to be made of.
    fn take_contraction(&mut self) -> Option<Contraction> {
        match self.program.kernels.pop()?.kind {
            KernelKind::Contraction(contraction) => Some(contraction),
            _ => None,
        }
    }

    /// Runs for about half a second and prints the best rate.
    fn measure(&self, device: CpuDevice) -> f64 {
        let loaded = match device.load_cpu(Rc::new(self.program.clone())) {
            Ok(loaded) => loaded,
            Err(error) => {
                println!("{}: {}", self.name, error.message);
                return 0.0;
            }
        };
        for (i, buffer) in self.program.buffers.iter().enumerate() {
            let data: Vec<f32> = (0..buffer.len())
                .map(|j| ((j * 7919 + i) % 1013) as f32 / 500.0 - 1.0)
                .collect();
            loaded.write(BufferId(i as u32), &data);
        }
        loaded.run(0);
        let start = Instant::now();
        let mut best = f64::INFINITY;
        while start.elapsed().as_secs_f64() < 0.4 {
            let run = Instant::now();
            loaded.run(0);
            best = best.min(run.elapsed().as_secs_f64());
        }
        println!(
            "{:<44} {:>9.3} ms {:>8.1} {}",
            self.name,
            best * 1e3,
            self.amount / best / 1e9,
            self.unit
        );
        best
    }
}

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    Input,
    Filter,
}

#[allow(clippy::too_many_arguments)]
fn conv(
    math: Math,
    pass: Pass,
    n: usize,
    size: usize,
    c: usize,
    k: usize,
    kernel: usize,
    stride: usize,
) -> Case {
    let shape = ConvShape::square(n, size, [c, k], kernel, stride);
    let flops = 2.0 * (shape.y_len() * kernel * kernel * c) as f64;
    let pass_name = match pass {
        Pass::Forward => "forward",
        Pass::Input => "input grad",
        Pass::Filter => "filter grad",
    };
    let mut case = Case::new(String::new(), flops, "GFLOP/s");
    let x = case.buffer(&[shape.x_len()]);
    let w = case.buffer(&[shape.w_len()]);
    let y = case.buffer(&[shape.y_len()]);
    let algorithm = Algorithm::Direct;
    let mut kind = KernelKind::Contraction(match pass {
        Pass::Forward => Contraction::Conv {
            x,
            w,
            y,
            shape,
            algorithm,
        },
        Pass::Input => Contraction::ConvInputGrad {
            dy: y,
            w,
            dx: x,
            shape,
            algorithm,
        },
        Pass::Filter => Contraction::ConvFilterGrad {
            x,
            dy: y,
            dw: w,
            shape,
            algorithm,
        },
    });
    choose(&mut kind, math, |_| Element::F32);
    let algorithm = match &kind {
        KernelKind::Contraction(
            Contraction::Conv { algorithm, .. }
            | Contraction::ConvInputGrad { algorithm, .. }
            | Contraction::ConvFilterGrad { algorithm, .. },
        ) => algorithm.name(),
        _ => "",
    };
    case.name =
        format!("{kernel}x{kernel}/{stride} {n}x{size}x{size} {c}->{k} {pass_name} {algorithm}");
    case.kernel(kind)
}

/// The statistics of a convolution's result with it: the sum and the deviations of each channel.
fn with_statistics(mut case: Case) -> Case {
    let Some(contraction) = case.take_contraction() else {
        return case;
    };
    let [rows, c] = contraction.result_shape();
    let sum = case.buffer(&[c]);
    let deviations = case.buffer(&[c]);
    let epilogue = LoopKernel {
        shape: vec![rows, c],
        body: vec![Inst::Load(access(contraction.result(), &[c as i64, 1]))],
        outputs: vec![
            output(0, Combine::Sum(vec![0]), access(sum, &[0, 1])),
            output(0, Combine::Deviations(vec![0]), access(deviations, &[0, 1])),
        ],
    };
    case.name += " + statistics";
    case.kernel(KernelKind::Fused(Fused {
        prologue: None,
        contraction,
        epilogue: Some(epilogue),
    }))
}

/// What a residual block's first convolution does with its input's gradient: the other branch's is added, what ReLU cut off
/// is cleared, and the sums of batch norm's gradient are made.
fn with_residual(mut case: Case) -> Case {
    let Some(contraction) = case.take_contraction() else {
        return case;
    };
    let [rows, c] = contraction.result_shape();
    let full = [c as i64, 1];
    let [x, other, y] = [0; 3].map(|_| case.buffer(&[rows, c]));
    let [mean, sum, product] = [0; 3].map(|_| case.buffer(&[c]));
    let result = contraction.result();
    let epilogue = LoopKernel {
        shape: vec![rows, c],
        body: vec![
            Inst::Load(access(x, &full)),
            Inst::Load(access(mean, &[0, 1])),
            Inst::Load(access(other, &full)),
            Inst::Load(access(result, &full)),
            Inst::Load(access(y, &full)),
            Inst::Const(0.0),
            Inst::Binary(Binary::Less, 5, 4),
            Inst::Binary(Binary::Add, 2, 3),
            Inst::Select(6, 7, 5),
            Inst::Binary(Binary::Add, 0, 1),
            Inst::Binary(Binary::Mul, 9, 8),
        ],
        outputs: vec![
            output(8, Combine::Store, access(result, &full)),
            output(8, Combine::Sum(vec![0]), access(sum, &[0, 1])),
            output(10, Combine::Sum(vec![0]), access(product, &[0, 1])),
        ],
    };
    case.name += " + residual";
    case.kernel(KernelKind::Fused(Fused {
        prologue: None,
        contraction,
        epilogue: Some(epilogue),
    }))
}

fn matmul(m: usize, n: usize, k: usize, ta: bool, tb: bool) -> Case {
    let flops = 2.0 * (m * n * k) as f64;
    let name = format!(
        "matmul {m}x{n}x{k}{}{}",
        if ta { " ta" } else { "" },
        if tb { " tb" } else { "" }
    );
    let mut case = Case::new(name, flops, "GFLOP/s");
    let a = case.buffer(&[m * k]);
    let b = case.buffer(&[k * n]);
    let out = case.buffer(&[m * n]);
    case.kernel(KernelKind::Contraction(Contraction::MatMul {
        a,
        b,
        out,
        batch: 1,
        m,
        n,
        k,
        ta,
        tb,
    }))
}

fn access(buffer: BufferId, strides: &[i64]) -> Access {
    Access {
        buffer,
        offset: 0,
        strides: strides.to_vec(),
        valid: vec![None; strides.len()],
    }
}

fn output(value: u32, combine: Combine, to: Access) -> LoopOutput {
    LoopOutput { value, combine, to }
}

/// Sums of x and x² of each channel.
fn statistics(rows: usize, c: usize) -> Case {
    let bytes = 4.0 * (rows * c) as f64;
    let mut case = Case::new(format!("batch norm sums {rows}x{c}"), bytes, "GB/s");
    let x = case.buffer(&[rows, c]);
    let s = case.buffer(&[c]);
    let q = case.buffer(&[c]);
    case.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![rows, c],
        body: vec![
            Inst::Load(access(x, &[c as i64, 1])),
            Inst::Binary(Binary::Mul, 0, 0),
        ],
        outputs: vec![
            output(0, Combine::Sum(vec![0]), access(s, &[0, 1])),
            output(1, Combine::Sum(vec![0]), access(q, &[0, 1])),
        ],
    }))
}

/// y = relu(x·a + b), a and b from mean, variance, scale and shift of each channel.
fn normalise(rows: usize, c: usize) -> Case {
    let bytes = 8.0 * (rows * c) as f64;
    let mut case = Case::new(format!("batch norm + relu {rows}x{c}"), bytes, "GB/s");
    let x = case.buffer(&[rows, c]);
    let per_channel: Vec<BufferId> = (0..4).map(|_| case.buffer(&[c])).collect();
    let y = case.buffer(&[rows, c]);
    let mut body = vec![Inst::Load(access(x, &[c as i64, 1]))];
    body.extend(per_channel.iter().map(|b| Inst::Load(access(*b, &[0, 1]))));
    body.extend([
        Inst::Const(-1.0),
        Inst::Binary(Binary::Mul, 1, 5),
        Inst::Binary(Binary::Add, 0, 6),
        Inst::Const(1e-5),
        Inst::Binary(Binary::Add, 2, 8),
        Inst::Unary(Unary::Sqrt, 9),
        Inst::Unary(Unary::Recip, 10),
        Inst::Binary(Binary::Mul, 7, 11),
        Inst::Binary(Binary::Mul, 12, 3),
        Inst::Binary(Binary::Add, 13, 4),
        Inst::Const(0.0),
        Inst::Binary(Binary::Max, 14, 15),
    ]);
    case.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![rows, c],
        body,
        outputs: vec![output(16, Combine::Store, access(y, &[c as i64, 1]))],
    }))
}

/// Σ dy·[y > 0] and Σ dy·[y > 0]·x of each channel.
fn backward_sums(rows: usize, c: usize) -> Case {
    let bytes = 12.0 * (rows * c) as f64;
    let mut case = Case::new(
        format!("batch norm gradient sums {rows}x{c}"),
        bytes,
        "GB/s",
    );
    let x = case.buffer(&[rows, c]);
    let y = case.buffer(&[rows, c]);
    let dy = case.buffer(&[rows, c]);
    let s = case.buffer(&[c]);
    let q = case.buffer(&[c]);
    let full = [c as i64, 1];
    case.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![rows, c],
        body: vec![
            Inst::Load(access(x, &full)),
            Inst::Load(access(y, &full)),
            Inst::Load(access(dy, &full)),
            Inst::Const(0.0),
            Inst::Binary(Binary::Less, 3, 1),
            Inst::Select(4, 2, 3),
            Inst::Binary(Binary::Mul, 5, 0),
        ],
        outputs: vec![
            output(5, Combine::Sum(vec![0]), access(s, &[0, 1])),
            output(6, Combine::Sum(vec![0]), access(q, &[0, 1])),
        ],
    }))
}

/// p ← p − r·(m ← μ·m + g + d·p), in place.
fn momentum(n: usize) -> Case {
    let bytes = 20.0 * n as f64;
    let mut case = Case::new(format!("SGD with momentum {n}"), bytes, "GB/s");
    let p = case.buffer(&[n]);
    let m = case.buffer(&[n]);
    let g = case.buffer(&[n]);
    let rate = case.buffer(&[1]);
    case.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![n],
        body: vec![
            Inst::Load(access(p, &[1])),
            Inst::Load(access(m, &[1])),
            Inst::Load(access(g, &[1])),
            Inst::Load(access(rate, &[0])),
            Inst::Const(0.9),
            Inst::Binary(Binary::Mul, 1, 4),
            Inst::Const(1e-4),
            Inst::Binary(Binary::Mul, 0, 6),
            Inst::Binary(Binary::Add, 2, 7),
            Inst::Binary(Binary::Add, 5, 8),
            Inst::Binary(Binary::Mul, 9, 3),
            Inst::Const(-1.0),
            Inst::Binary(Binary::Mul, 10, 11),
            Inst::Binary(Binary::Add, 0, 12),
        ],
        outputs: vec![
            output(9, Combine::Store, access(m, &[1])),
            output(13, Combine::Store, access(p, &[1])),
        ],
    }))
}

/// The pieces of a softmax over rows: maximum, and sum of exponentials of differences.
fn softmax(n: usize) -> [Case; 2] {
    let mut first = Case::new(format!("row maxima {n}x{n}"), 4.0 * (n * n) as f64, "GB/s");
    let x = first.buffer(&[n, n]);
    let m = first.buffer(&[n]);
    let full = [n as i64, 1];
    let first = first.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![n, n],
        body: vec![Inst::Load(access(x, &full))],
        outputs: vec![output(0, Combine::Max(vec![1]), access(m, &[1, 0]))],
    }));
    let mut second = Case::new(
        format!("row sums of exp {n}x{n}"),
        8.0 * (n * n) as f64,
        "GB/s",
    );
    let x = second.buffer(&[n, n]);
    let m = second.buffer(&[n]);
    let e = second.buffer(&[n, n]);
    let s = second.buffer(&[n]);
    let second = second.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![n, n],
        body: vec![
            Inst::Load(access(x, &full)),
            Inst::Load(access(m, &[1, 0])),
            Inst::Const(-1.0),
            Inst::Binary(Binary::Mul, 1, 2),
            Inst::Binary(Binary::Add, 0, 3),
            Inst::Const(std::f32::consts::LOG2_E),
            Inst::Binary(Binary::Mul, 4, 5),
            Inst::Unary(Unary::Exp2, 6),
        ],
        outputs: vec![
            output(7, Combine::Store, access(e, &full)),
            output(7, Combine::Sum(vec![1]), access(s, &[1, 0])),
        ],
    }));
    [first, second]
}

/// The convolutions of a ResNet-18.
fn resnet(math: Math, n: usize, size: usize, c: usize, width: usize) -> Vec<(usize, Case)> {
    let mut layers = vec![(size, c, width, 3, 1, 1), (size, width, width, 3, 1, 4)];
    let (mut size, mut c) = (size, width);
    for _ in 0..3 {
        let half = (size - 1) / 2 + 1;
        layers.extend([
            (size, c, 2 * c, 3, 2, 1),
            (size, c, 2 * c, 1, 2, 1),
            (half, 2 * c, 2 * c, 3, 1, 3),
        ]);
        (size, c) = (half, 2 * c);
    }
    passes(math, n, &layers)
}

/// The convolutions of a ResNet-50, after its stem.
fn resnet50(math: Math, n: usize) -> Vec<(usize, Case)> {
    let mut layers = Vec::new();
    let (mut size, mut c) = (56, 64);
    for (width, blocks) in [(64, 3), (128, 4), (256, 6), (512, 3)] {
        let stride = if width == 64 { 1 } else { 2 };
        let after = size / stride;
        layers.extend([
            (size, c, width, 1, 1, 1),
            (size, width, width, 3, stride, 1),
            (size, c, 4 * width, 1, stride, 1),
            (after, 4 * width, width, 1, 1, blocks - 1),
            (after, width, width, 3, 1, blocks - 1),
            (after, width, 4 * width, 1, 1, blocks),
        ]);
        (size, c) = (after, 4 * width);
    }
    passes(math, n, &layers)
}

/// Size, channels in and out, kernel, stride, and how often.
type Layer = (usize, usize, usize, usize, usize, usize);

/// The passes of the layers, and how often each runs. The input's gradient is not needed where it has few channels.
fn passes(math: Math, n: usize, layers: &[Layer]) -> Vec<(usize, Case)> {
    let mut cases = Vec::new();
    for &(size, c, k, kernel, stride, count) in layers {
        for pass in [Pass::Forward, Pass::Input, Pass::Filter] {
            if c > 3 || !matches!(pass, Pass::Input) {
                cases.push((count, conv(math, pass, n, size, c, k, kernel, stride)));
            }
        }
    }
    cases
}

/// Direct convolutions: of stride 2, the first layers, and 1×1 of a ResNet-50; in f32 and in bf16.
fn direct() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, size, c, k, kernel, stride) in [
        (128, 32, 64, 128, 3, 2),
        (128, 16, 128, 256, 3, 2),
        (128, 8, 256, 512, 3, 2),
        (256, 32, 64, 128, 1, 2),
        (256, 32, 3, 64, 3, 1),
        (16, 224, 3, 64, 7, 2),
        (512, 28, 1, 16, 3, 1),
        (16, 56, 64, 256, 1, 1),
        (16, 56, 256, 64, 1, 1),
        (16, 14, 1024, 256, 1, 1),
        (16, 7, 512, 2048, 1, 1),
        (16, 56, 256, 512, 1, 2),
    ] {
        for pass in [Pass::Forward, Pass::Input, Pass::Filter] {
            let case = || conv(Math::Strict, pass, n, size, c, k, kernel, stride);
            // The filter's gradient stays in f32.
            let whole: &[u32] = match pass {
                Pass::Forward | Pass::Input => &[],
                Pass::Filter => &[1],
            };
            cases.extend([case(), case().in_bf16(whole)]);
        }
    }
    cases
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let threads = arguments
        .first()
        .and_then(|a| a.parse().ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let filter = arguments.get(1).cloned().unwrap_or_default();
    let level = arguments
        .get(2)
        .and_then(|name| Level::ALL.into_iter().find(|l| l.name() == name))
        .unwrap_or_else(Level::detect);
    let math = match arguments.get(3).map(String::as_str) {
        Some("strict") => Math::Strict,
        _ => Math::Fast,
    };
    let Some(device) = CpuDevice::with_level(threads, level) else {
        println!("this machine does not have {}", level.name());
        return;
    };
    println!(
        "{threads} threads, {}, peak {:.1} GFLOP/s",
        device.level().name(),
        measure_peak_flops(threads) / 1e9
    );
    for (name, cases) in [
        ("ResNet-18", resnet(math, 256, 32, 3, 64)),
        ("small ResNet", resnet(math, 512, 28, 1, 16)),
        ("ResNet-50", resnet50(math, 16)),
    ] {
        let (mut time, mut flops) = (0.0, 0.0);
        for (count, case) in cases {
            if case.name.contains(&filter) {
                time += count as f64 * case.measure(device);
                flops += count as f64 * case.amount;
            }
        }
        if time > 0.0 {
            println!(
                "{name}: all convolutions {:.0} ms, {:.1} GFLOP/s",
                time * 1e3,
                flops / time / 1e9
            );
        }
    }
    let mut others = vec![
        matmul(256, 512, 512, false, false),
        matmul(256, 512, 512, false, true),
        matmul(512, 512, 256, true, false),
        matmul(256, 256, 128, false, true),
        matmul(1024, 1024, 1024, false, false),
        momentum(11_000_000),
        momentum(700_000),
    ];
    others.extend(direct());
    others.extend([
        matmul(128, 2048, 512, false, false).in_bf16(&[]),
        matmul(128, 512, 2048, false, true).in_bf16(&[]),
        matmul(512, 2048, 128, true, false).in_bf16(&[2]),
        matmul(128, 2048, 2048, false, false).in_bf16(&[]),
        matmul(1024, 1024, 1024, false, false).in_bf16(&[]),
    ]);
    for (rows, c) in [
        (256 * 1024, 64),
        (256 * 16, 512),
        (512 * 784, 16),
        (512 * 16, 128),
    ] {
        others.push(statistics(rows, c));
        others.push(normalise(rows, c));
        others.push(backward_sums(rows, c));
    }
    others.extend(softmax(512));
    for (n, size, c, k, kernel, stride) in [
        (16, 56, 64, 64, 1, 1),
        (16, 56, 64, 256, 1, 1),
        (16, 56, 256, 64, 1, 1),
        (16, 28, 128, 512, 1, 1),
        (16, 14, 256, 1024, 1, 1),
        (16, 7, 512, 2048, 1, 1),
        (256, 28, 16, 16, 3, 1),
        (256, 28, 16, 32, 3, 2),
        (256, 14, 32, 64, 3, 2),
    ] {
        let forward = conv(math, Pass::Forward, n, size, c, k, kernel, stride);
        // At stride 1 the gradient of as many inputs as the convolution has outputs.
        let (inner, outer) = if stride == 1 { (k, c) } else { (c, k) };
        let input = conv(math, Pass::Input, n, size, inner, outer, kernel, stride);
        others.push(with_statistics(forward));
        others.push(with_residual(input));
    }
    for case in others {
        if case.name.contains(&filter) {
            case.measure(device);
        }
    }
}
