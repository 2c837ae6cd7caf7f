//! Random loop kernels against a point-by-point evaluator.

use super::{Bench, Draw};
use crate::math;
use sslc_compiler::core::bf16;
use sslc_compiler::kernels::ir::{
    Access, Binary, Combine, Element, Inst, KernelKind, LoopKernel, LoopOutput, Unary,
};
use sslc_kernel_testing::access;
use sslc_kernel_testing::random::{self, Operators};

/// Evaluates a kernel at every point; sums in f64, with the sum of magnitudes beside it.
struct Evaluated {
    /// For each output: elements written, and the sum of magnitudes of each where it is a sum; of deviations, the error
    /// that f32 numbers of this size bring with them.
    outputs: Vec<Vec<Option<(f64, f64)>>>,
}

/// Deviations of all values from their mean.
fn deviations(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let size = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    (
        values.iter().map(|v| (v - mean) * (v - mean)).sum(),
        n * (1e-6 * size) * (1e-6 * size),
    )
}

fn place(access: &Access, index: &[usize]) -> Option<usize> {
    let inside = access
        .valid
        .iter()
        .zip(index)
        .all(|(v, i)| v.is_none_or(|(lo, hi)| (lo..hi).contains(i)));
    let at = access
        .strides
        .iter()
        .zip(index)
        .fold(access.offset, |at, (s, i)| at + s * *i as i64);
    inside.then(|| usize::try_from(at).expect("inside of the buffer"))
}

fn evaluate(kernel: &LoopKernel, buffers: &[Vec<f32>]) -> Evaluated {
    let mut outputs: Vec<Vec<Option<(f64, f64)>>> = kernel
        .outputs
        .iter()
        .map(|o| vec![None; buffers[o.to.buffer.0 as usize].len()])
        .collect();
    let mut values: Vec<Vec<Vec<f64>>> = kernel
        .outputs
        .iter()
        .map(|o| vec![Vec::new(); buffers[o.to.buffer.0 as usize].len()])
        .collect();
    let points: usize = kernel.shape.iter().product();
    let mut index = vec![0; kernel.shape.len()];
    for _ in 0..points {
        let mut r: Vec<f32> = Vec::with_capacity(kernel.body.len());
        for inst in &kernel.body {
            let v = match inst {
                Inst::Load(a) => {
                    place(a, &index).map_or(0.0, |at| buffers[a.buffer.0 as usize][at])
                }
                Inst::Const(v) => *v,
                Inst::Index(a) => index[*a] as f32,
                Inst::Unary(op, a) => {
                    let x = r[*a as usize];
                    match op {
                        Unary::Log2 => math::log2(x),
                        Unary::Exp2 => math::exp2(x),
                        Unary::Sin => math::sin(x),
                        Unary::Sqrt => x.sqrt(),
                        Unary::Recip => 1.0 / x,
                        Unary::Erf => math::erf(x),
                        Unary::Bf16 => bf16::round(x),
                    }
                }
                Inst::Binary(op, a, b) => {
                    let (x, y) = (r[*a as usize], r[*b as usize]);
                    match op {
                        Binary::Add => x + y,
                        Binary::Sub => x - y,
                        Binary::Mul => x * y,
                        Binary::Div => x / y,
                        Binary::Mod => x % y,
                        Binary::Less => f32::from(x < y),
                        Binary::Max if x < y => y,
                        Binary::Max => x,
                        Binary::Pow => x.powf(y),
                    }
                }
                Inst::Select(c, a, b) => {
                    if r[*c as usize] != 0.0 {
                        r[*a as usize]
                    } else {
                        r[*b as usize]
                    }
                }
            };
            r.push(v);
        }
        for ((o, out), values) in kernel.outputs.iter().zip(&mut outputs).zip(&mut values) {
            let v = f64::from(r[o.value as usize]);
            let at = place(&o.to, &index).expect("outputs are always valid");
            let slot = &mut out[at];
            *slot = Some(match (&o.combine, *slot) {
                (Combine::Store, _) => (v, 0.0),
                (Combine::Sum(_), was) => {
                    let (sum, size) = was.unwrap_or((0.0, 0.0));
                    (sum + v, size + v.abs())
                }
                (Combine::Max(_), was) => {
                    let most = was.map_or(f64::NEG_INFINITY, |w| w.0);
                    (if most < v { v } else { most }, 0.0)
                }
                (Combine::Deviations(_), _) => {
                    values[at].push(v);
                    (0.0, 0.0)
                }
            });
        }
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < kernel.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    for (out, values) in outputs.iter_mut().zip(&values) {
        for (slot, values) in out.iter_mut().zip(values) {
            if !values.is_empty() {
                *slot = Some(deviations(values));
            }
        }
    }
    Evaluated { outputs }
}

/// Holds the device to the evaluator: stores and maxima bit for bit, sums within 3·10⁻⁶ of the sum of magnitudes and, into
/// bf16, a step of that.
fn hold(bench: &Bench, kernel: &LoopKernel, name: &str) {
    let expected = evaluate(kernel, &bench.contents);
    for (level, after) in bench.run_all() {
        for (o, want) in kernel.outputs.iter().zip(&expected.outputs) {
            let id = o.to.buffer.0 as usize;
            let narrow = bench.program.buffers[id].element == Element::Bf16;
            for (at, want) in want.iter().enumerate() {
                let got = after[id][at];
                let fine = match want {
                    None => got.to_bits() == bench.contents[id][at].to_bits(),
                    Some((v, size)) if matches!(o.combine, Combine::Sum(_)) => {
                        !size.is_finite()
                            || *size > 1e37
                            || (f64::from(got) - v).abs()
                                <= 3e-6 * size + 1e-37 + if narrow { v.abs() / 256.0 } else { 0.0 }
                    }
                    Some((v, error)) if matches!(o.combine, Combine::Deviations(_)) => {
                        !v.is_finite()
                            || *v > 1e36
                            || (f64::from(got) - v).abs()
                                <= 2e-5 * v + error + 1e-37 + if narrow { v / 256.0 } else { 0.0 }
                    }
                    Some((v, _)) => {
                        let v = if narrow {
                            bf16::round(*v as f32)
                        } else {
                            *v as f32
                        };
                        v.to_bits() == got.to_bits() || (v.is_nan() && got.is_nan())
                    }
                };
                assert!(
                    fine,
                    "{name}, level {}: buffer {id} element {at} is {got}, expected {want:?}\n{kernel:#?}",
                    level.name()
                );
            }
        }
    }
}

const OPERATORS: Operators = Operators {
    unary: &[
        Unary::Log2,
        Unary::Exp2,
        Unary::Sin,
        Unary::Sqrt,
        Unary::Recip,
        Unary::Erf,
        Unary::Bf16,
    ],
    binary: &[
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Mul,
        Binary::Div,
        Binary::Mod,
        Binary::Less,
        Binary::Max,
        Binary::Pow,
    ],
};

fn random_kernel(draw: &mut Draw, bench: &mut Bench, shape: Vec<usize>) -> LoopKernel {
    random::kernel(draw, bench, shape, OPERATORS, |_, _| (1, 1))
}

#[test]
fn small_random_kernels() {
    for seed in 0..400 {
        let mut draw = Draw::new(seed);
        let rank = draw.below(6);
        let shape = (0..rank)
            .map(|_| draw.pick(&[1, 1, 2, 3, 4, 5, 7, 9]))
            .collect();
        let mut bench = Bench::default();
        let kernel = random_kernel(&mut draw, &mut bench, shape);
        bench.kernel(KernelKind::Loop(kernel.clone()));
        hold(&bench, &kernel, &format!("seed {seed}"));
    }
}

#[test]
fn large_random_kernels() {
    for seed in 0..36 {
        let mut draw = Draw::new(1000 + seed);
        let mut bench = Bench::default();
        let shape = random::LARGE[seed as usize % random::LARGE.len()].to_vec();
        let kernel = random_kernel(&mut draw, &mut bench, shape);
        bench.kernel(KernelKind::Loop(kernel.clone()));
        hold(&bench, &kernel, &format!("seed {seed}"));
    }
}

/// A bf16 tensor is updated in its place, from bf16 and f32.
#[test]
fn bf16_updates_in_place() {
    let mut draw = Draw::new(6);
    let mut bench = Bench::default();
    let n = 50 * 101;
    let p = bench.buffer_of(Element::Bf16, draw.numbers(n));
    let m = bench.buffer(draw.numbers(n));
    let sums = bench.buffer_of(Element::Bf16, vec![0.0; 50]);
    let strides = [101, 1];
    let output = |value, combine, to| LoopOutput { value, combine, to };
    let kernel = |outputs| LoopKernel {
        shape: vec![50, 101],
        body: vec![
            Inst::Load(access(p, 0, &strides)),
            Inst::Load(access(m, 0, &strides)),
            Inst::Binary(Binary::Mul, 0, 1),
        ],
        outputs,
    };
    let mut once = kernel(vec![output(
        2,
        Combine::Sum(vec![1]),
        access(sums, 0, &[1, 0]),
    )]);
    bench.kernel(KernelKind::Loop(once.clone()));
    hold(&bench, &once, "sums");
    once.outputs = vec![output(2, Combine::Store, access(p, 0, &strides))];
    bench.program.kernels.clear();
    bench.kernel(KernelKind::Loop(once.clone()));
    hold(&bench, &once, "in place");
}

/// `p ← p − r·m`, with the old p kept elsewhere: an output stands where a load stood.
#[test]
fn updates_in_place() {
    let mut draw = Draw::new(5);
    let mut bench = Bench::default();
    let n = 5000;
    let p = bench.buffer(draw.numbers(n));
    let m = bench.buffer(draw.numbers(n));
    let old = bench.buffer(vec![0.0; n]);
    let rate = bench.buffer(vec![-0.5]);
    let kernel = LoopKernel {
        shape: vec![50, 100],
        body: vec![
            Inst::Load(access(p, 0, &[100, 1])),
            Inst::Load(access(m, 0, &[100, 1])),
            Inst::Load(access(rate, 0, &[0, 0])),
            Inst::Binary(Binary::Mul, 1, 2),
            Inst::Binary(Binary::Add, 0, 3),
        ],
        outputs: vec![
            LoopOutput {
                value: 4,
                combine: Combine::Store,
                to: access(p, 0, &[100, 1]),
            },
            LoopOutput {
                value: 0,
                combine: Combine::Store,
                to: access(old, 0, &[100, 1]),
            },
        ],
    };
    bench.kernel(KernelKind::Loop(kernel.clone()));
    hold(&bench, &kernel, "in place");
}

/// Normalise and ReLU, and the gradient of ReLU, with operands that are full, one per column, and constant; in columns, and
/// at a single point.
#[test]
fn products_sums_and_relu_in_one_pass() {
    let specials = [f32::NAN, -0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY];
    for (rows, c) in [(50, 24), (1, 1), (3, 1100)] {
        let mut draw = Draw::new(5);
        let mut bench = Bench::default();
        let mut data = draw.numbers(rows * c);
        data.iter_mut().zip(specials).for_each(|(d, s)| *d = s);
        let x = bench.buffer(data);
        let g = bench.buffer(draw.numbers(rows * c));
        let scale = bench.buffer(draw.numbers(c));
        let shift = bench.buffer(draw.numbers(c));
        let full = [c as i64, 1];
        let body = vec![
            Inst::Load(access(x, 0, &full)),
            Inst::Load(access(scale, 0, &[0, 1])),
            Inst::Load(access(shift, 0, &[0, 1])),
            Inst::Load(access(g, 0, &full)),
            Inst::Const(0.0),
            Inst::Binary(Binary::Mul, 1, 0),
            Inst::Binary(Binary::Add, 2, 5),
            Inst::Binary(Binary::Max, 6, 4),
            Inst::Binary(Binary::Less, 4, 7),
            Inst::Select(8, 3, 4),
            Inst::Const(1.5),
            Inst::Binary(Binary::Mul, 3, 10),
            Inst::Binary(Binary::Add, 11, 10),
            Inst::Binary(Binary::Mul, 0, 3),
            Inst::Binary(Binary::Add, 13, 10),
            Inst::Binary(Binary::Max, 14, 4),
            Inst::Binary(Binary::Less, 4, 0),
            Inst::Select(16, 10, 4),
        ];
        let outputs = [7, 9, 12, 15, 17].map(|value| LoopOutput {
            value,
            combine: Combine::Store,
            to: access(bench.buffer(vec![0.0; rows * c]), 0, &full),
        });
        let kernel = LoopKernel {
            shape: vec![rows, c],
            body,
            outputs: outputs.to_vec(),
        };
        bench.kernel(KernelKind::Loop(kernel.clone()));
        let expected = evaluate(&kernel, &bench.contents);
        for (level, after) in bench.run_all() {
            for (output, want) in kernel.outputs.iter().zip(&expected.outputs) {
                let got = &after[output.to.buffer.0 as usize];
                for (got, want) in got.iter().zip(want) {
                    let want = want.expect("every point is written").0;
                    let same = f64::from(*got) == want || got.is_nan() && want.is_nan();
                    assert!(same, "{}: {got}, not {want}", level.name());
                }
            }
        }
    }
}

/// Batch statistics of [rows, C] for small and large C: a column's mean far from 0 must not cost the sum its digits.
#[test]
fn column_sums_are_accurate() {
    for c in [1, 16, 64, 1500] {
        let rows = 1_000_000 / c;
        let mut draw = Draw::new(c as u64);
        let mut bench = Bench::default();
        let data: Vec<f32> = (0..rows * c).map(|_| draw.number() + 3.0).collect();
        let x = bench.buffer(data);
        let y = bench.buffer(vec![0.0; c]);
        let kernel = LoopKernel {
            shape: vec![rows, c],
            body: vec![Inst::Load(access(x, 0, &[c as i64, 1]))],
            outputs: vec![LoopOutput {
                value: 0,
                combine: Combine::Sum(vec![0]),
                to: access(y, 0, &[0, 1]),
            }],
        };
        bench.kernel(KernelKind::Loop(kernel.clone()));
        let expected = evaluate(&kernel, &bench.contents);
        for (level, after) in bench.run_all() {
            for (got, want) in after[1].iter().zip(&expected.outputs[0]) {
                let (want, _) = want.expect("every column is written");
                let error = (f64::from(*got) / want - 1.0).abs();
                assert!(error < 3e-7, "{c} columns, {}: {error}", level.name());
            }
        }
    }
}

/// Deviations in one pass, with a mean a thousand times the deviation: along columns, along rows and over everything.
#[test]
fn deviations_keep_their_digits_with_a_large_mean() {
    let (rows, c) = (20_000, 48);
    let mut draw = Draw::new(77);
    let mut bench = Bench::default();
    let data: Vec<f32> = (0..rows * c)
        .map(|_| (0..6).map(|_| draw.number()).sum::<f32>() + 1000.0)
        .collect();
    let x = bench.buffer(data);
    let to = [vec![0], vec![1], vec![0, 1]].map(|axes| {
        let (strides, len) = match axes[..] {
            [0] => (vec![0, 1], c),
            [1] => (vec![1, 0], rows),
            _ => (vec![0, 0], 1),
        };
        let buffer = bench.buffer(vec![0.0; len]);
        LoopOutput {
            value: 0,
            combine: Combine::Deviations(axes),
            to: access(buffer, 0, &strides),
        }
    });
    let kernel = LoopKernel {
        shape: vec![rows, c],
        body: vec![Inst::Load(access(x, 0, &[c as i64, 1]))],
        outputs: to.to_vec(),
    };
    bench.kernel(KernelKind::Loop(kernel.clone()));
    let expected = evaluate(&kernel, &bench.contents);
    for (level, after) in bench.run_all() {
        for (got, want) in after[1..].iter().zip(&expected.outputs) {
            for (got, want) in got.iter().zip(want) {
                let (want, _) = want.expect("every result is written");
                let error = (f64::from(*got) / want - 1.0).abs();
                assert!(error < 2e-6, "{}: {error}", level.name());
            }
        }
    }
}

/// The levels share their arithmetic: loop kernels give the same bits at each.
#[test]
fn levels_agree_on_loops() {
    for seed in 0..60 {
        let mut draw = Draw::new(7000 + seed);
        let mut bench = Bench::default();
        let kernel = random_kernel(&mut draw, &mut bench, vec![7, 30, 40]);
        bench.kernel(KernelKind::Loop(kernel));
        let all = bench.run_all();
        for (level, after) in &all[1..] {
            let nan_free = |data: &[Vec<f32>]| -> Vec<Vec<u32>> {
                data.iter()
                    .map(|d| {
                        d.iter()
                            .map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() })
                            .collect()
                    })
                    .collect()
            };
            assert_eq!(nan_free(after), nan_free(&all[0].1), "{}", level.name());
        }
    }
}

/// An output too large for the caches takes another way to memory; its beginning and end are not on cache lines.
#[test]
fn large_outputs() {
    large_output(Element::F32);
    large_output(Element::Bf16);
}

fn large_output(element: Element) {
    let (rows, c) = (70_001, 61);
    let mut draw = Draw::new(21);
    let mut bench = Bench::default();
    let x = bench.buffer_of(element, draw.numbers(rows * c));
    let scale = bench.buffer(draw.numbers(c));
    let y = bench.buffer_of(element, vec![0.5; rows * c + 2]);
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![rows, c],
        body: vec![
            Inst::Load(access(x, 0, &[c as i64, 1])),
            Inst::Load(access(scale, 0, &[0, 1])),
            Inst::Binary(Binary::Mul, 0, 1),
        ],
        outputs: vec![LoopOutput {
            value: 2,
            combine: Combine::Store,
            to: access(y, 1, &[c as i64, 1]),
        }],
    }));
    for (level, after) in bench.run_all() {
        let written = &after[2];
        assert_eq!((written[0], written[rows * c + 1]), (0.5, 0.5));
        for (i, x) in bench.contents[0].iter().enumerate() {
            let want = x * bench.contents[1][i % c];
            let want = match element {
                Element::F32 => want,
                Element::Bf16 => bf16::round(want),
            };
            assert_eq!(written[i + 1], want, "{i}, {}", level.name());
        }
    }
}
