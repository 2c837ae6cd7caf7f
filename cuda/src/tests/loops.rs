//! Loop kernels of the shapes that the compiler makes, and at the edges.

use super::nvrtc::{assembled, nvrtc};
use super::random::random_kernel;
use super::{Bench, source};
use crate::code::{Function, generate};
use sslc_compiler::kernels::ir::{
    Binary, BufferId, Combine, Element, Inst, KernelKind, LoopKernel, LoopOutput, Unary,
};
use sslc_kernel_testing::{Draw, access};

fn output(value: u32, combine: Combine, to: BufferId, strides: &[i64]) -> LoopOutput {
    LoopOutput {
        value,
        combine,
        to: access(to, 0, strides),
    }
}

/// An elementwise function of two operands at numbers that try it.
fn apply(body: impl Fn(&mut Vec<Inst>) -> u32) -> Bench {
    let mut draw = Draw::new(3);
    let mut bench = Bench::default();
    let tries = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -2.5,
        3.0,
        1e-40,
        -1e-40,
        1e30,
        -1e30,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for a in tries {
        for b in tries {
            x.push(a);
            y.push(b);
        }
    }
    x.extend(draw.numbers(60).iter().map(|v| v * 20.0));
    y.extend(draw.numbers(60).iter().map(|v| v * 3.0));
    let n = x.len();
    let [x, y, z] = [x, y, vec![0.0; n]].map(|v| bench.buffer(v));
    let mut list = vec![
        Inst::Load(access(x, 0, &[1])),
        Inst::Load(access(y, 0, &[1])),
    ];
    let value = body(&mut list);
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![n],
        body: list,
        outputs: vec![output(value, Combine::Store, z, &[1])],
    }));
    bench
}

#[test]
fn every_operator_means_what_the_interpreter_says() {
    // Each with the error of CUDA's own function, in units of the last place (CUDA C Programming Guide, mathematical functions).
    let unaries = [
        (Unary::Log2, 1),
        (Unary::Exp2, 2),
        (Unary::Sin, 2),
        (Unary::Sqrt, 0),
        (Unary::Recip, 0),
        (Unary::Erf, 2),
        (Unary::Bf16, 0),
    ];
    let binaries = [
        (Binary::Add, 0),
        (Binary::Sub, 0),
        (Binary::Mul, 0),
        (Binary::Div, 0),
        (Binary::Mod, 0),
        (Binary::Less, 0),
        (Binary::Max, 0),
        (Binary::Pow, 4),
    ];
    let mut benches: Vec<(String, i64, Bench)> = Vec::new();
    for (op, ulps) in unaries {
        let bench = apply(|body| {
            body.push(Inst::Unary(op, 0));
            2
        });
        benches.push((format!("{op:?}"), ulps, bench));
    }
    for (op, ulps) in binaries {
        let bench = apply(|body| {
            body.push(Inst::Binary(op, 0, 1));
            2
        });
        benches.push((format!("{op:?}"), ulps, bench));
    }
    let select = apply(|body| {
        body.push(Inst::Const(7.0));
        body.push(Inst::Select(0, 1, 2));
        3
    });
    benches.push(("Select".to_string(), 0, select));
    for (name, ulps, bench) in benches {
        let Some(after) = bench.run() else { return };
        let [x, y, want] = &bench.expected()[..] else {
            panic!("three buffers");
        };
        for (at, (got, want)) in after[2].iter().zip(want).enumerate() {
            // One more for the interpreter's own function.
            let ulps = if ulps == 0 { 0 } else { ulps + 1 };
            let apart = (i64::from(got.to_bits()) - i64::from(want.to_bits())).abs();
            let same = (got.is_nan() && want.is_nan()) || apart <= ulps;
            assert!(same, "{name}({}, {}) = {got}, not {want}", x[at], y[at]);
        }
    }
}

#[test]
fn batch_statistics_of_few_and_many_channels() {
    let mut draw = Draw::new(4);
    let mut bench = Bench::default();
    for (rows, c) in [(5000, 16), (700, 256), (9, 2048), (6000, 3), (1, 64)] {
        let x = bench.buffer(draw.numbers(rows * c));
        let [sum, spread] = [(); 2].map(|()| bench.buffer(vec![0.0; c]));
        bench.kernel(KernelKind::Loop(LoopKernel {
            shape: vec![rows, c],
            body: vec![Inst::Load(access(x, 0, &[c as i64, 1]))],
            outputs: vec![
                output(0, Combine::Sum(vec![0]), sum, &[0, 1]),
                output(0, Combine::Deviations(vec![0]), spread, &[0, 1]),
            ],
        }));
    }
    // Few channels of many pixels are summed in parts.
    let code = bench.code();
    let launches = |kernel| code.launches.iter().filter(|l| l.kernel == kernel).count();
    assert_eq!([0, 1, 2, 3, 4].map(launches), [2, 2, 1, 2, 1]);
    bench.hold();
}

#[test]
fn rows_and_everything_and_stores_in_one_kernel() {
    let mut draw = Draw::new(5);
    let mut bench = Bench::default();
    for (rows, c) in [(70, 1000), (600, 40), (2, 30_000), (300, 3)] {
        let x = bench.buffer_of(Element::Bf16, draw.numbers(rows * c));
        let y = bench.buffer(vec![0.5; rows * c]);
        let row = [(); 2].map(|()| bench.buffer(vec![0.0; rows]));
        let column = bench.buffer(vec![0.0; c]);
        let all = bench.buffer(vec![0.0; 1]);
        let full = [c as i64, 1];
        bench.kernel(KernelKind::Loop(LoopKernel {
            shape: vec![rows, c],
            body: vec![
                Inst::Load(access(x, 0, &full)),
                Inst::Const(3.0),
                Inst::Binary(Binary::Mul, 0, 1),
            ],
            outputs: vec![
                output(2, Combine::Sum(vec![1]), row[0], &[1, 0]),
                output(0, Combine::Max(vec![1]), row[1], &[1, 0]),
                output(2, Combine::Sum(vec![0]), column, &[0, 1]),
                output(2, Combine::Deviations(vec![0, 1]), all, &[0, 0]),
                output(2, Combine::Store, y, &full),
            ],
        }));
    }
    bench.hold();
}

/// A mean a thousand times the deviation, whose last place in f32 is a ten-thousandth of it, costs no more digits than that.
#[test]
fn deviations_keep_their_digits_with_a_large_mean() {
    let (rows, c) = (4000, 24);
    let mut draw = Draw::new(6);
    let mut bench = Bench::default();
    let data = (0..rows * c).map(|_| draw.number() + 1000.0).collect();
    let x = bench.buffer(data);
    let axes = [vec![0], vec![1], vec![0, 1]];
    let strides: [&[i64]; 3] = [&[0, 1], &[1, 0], &[0, 0]];
    let outputs = axes.into_iter().zip(strides).zip([c, rows, 1]);
    let outputs = outputs
        .map(|((axes, strides), len)| {
            let to = bench.buffer(vec![0.0; len]);
            output(0, Combine::Deviations(axes), to, strides)
        })
        .collect();
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![rows, c],
        body: vec![Inst::Load(access(x, 0, &[c as i64, 1]))],
        outputs,
    }));
    let Some(after) = bench.run() else { return };
    for (got, want) in after[1..]
        .iter()
        .flatten()
        .zip(bench.expected()[1..].iter().flatten())
    {
        assert!((got / want - 1.0).abs() < 3e-4, "{got}, not {want}");
    }
}

/// `p ← p − r·m`, with the old p kept elsewhere: an output stands where a load stood.
#[test]
fn updates_in_place() {
    let mut draw = Draw::new(7);
    let mut bench = Bench::default();
    for (element, n) in [(Element::F32, 5000), (Element::Bf16, 5001)] {
        let p = bench.buffer_of(element, draw.numbers(n));
        let m = bench.buffer(draw.numbers(n));
        let old = bench.buffer(vec![0.0; n]);
        let rate = bench.buffer(vec![-0.5]);
        bench.kernel(KernelKind::Loop(LoopKernel {
            shape: vec![n],
            body: vec![
                Inst::Load(access(p, 0, &[1])),
                Inst::Load(access(m, 0, &[1])),
                Inst::Load(access(rate, 0, &[0])),
                Inst::Binary(Binary::Mul, 1, 2),
                Inst::Binary(Binary::Add, 0, 3),
            ],
            outputs: vec![
                output(4, Combine::Store, p, &[1]),
                output(0, Combine::Store, old, &[1]),
            ],
        }));
    }
    bench.hold();
}

/// An output that takes the place of a buffer which it reads at the same points.
#[test]
fn a_result_in_the_place_of_what_it_is_made_of() {
    let mut draw = Draw::new(8);
    let mut bench = Bench::default();
    let x = bench.buffer(draw.numbers(1024));
    let y = bench.buffer(draw.numbers(1024));
    bench.program.buffers[y.0 as usize].offset = bench.program.buffers[x.0 as usize].offset;
    bench.contents[y.0 as usize] = bench.contents[x.0 as usize].clone();
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![1024],
        body: vec![
            Inst::Load(access(x, 0, &[1])),
            Inst::Binary(Binary::Mul, 0, 0),
        ],
        outputs: vec![output(1, Combine::Store, y, &[1])],
    }));
    bench.hold();
    assert!(!bench.code().functions[0].source.contains("__restrict__"));
}

/// Nothing is stored over an empty index space; sums over one are 0, maxima −∞.
#[test]
fn empty_index_spaces() {
    let mut bench = Bench::default();
    let x = bench.buffer(vec![1.0; 8]);
    let kept = bench.buffer(vec![5.0; 8]);
    let [sum, most] = [(); 2].map(|()| bench.buffer(vec![5.0; 8]));
    let load = |strides: &[i64]| vec![Inst::Load(access(x, 0, strides))];
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![0, 8],
        body: load(&[8, 1]),
        outputs: vec![
            output(0, Combine::Sum(vec![0]), sum, &[0, 1]),
            output(0, Combine::Max(vec![0]), most, &[0, 1]),
            output(0, Combine::Store, kept, &[8, 1]),
        ],
    }));
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![0],
        body: load(&[1]),
        outputs: vec![output(0, Combine::Store, kept, &[1])],
    }));
    let Some(after) = bench.run() else { return };
    assert_eq!(after[1], [5.0; 8]);
    assert_eq!(after[2], [0.0; 8]);
    assert_eq!(after[3], [f32::NEG_INFINITY; 8]);
}

/// Sizes beyond 2^31 elements cannot be run here; their code assembles, and counts in 64 bits.
#[test]
fn sizes_beyond_32_bits_assemble() {
    let mut bench = Bench::default();
    let [x, y, sum] = [(); 3].map(|()| bench.buffer(Vec::new()));
    let (rows, c) = (3 << 30, 5);
    let full = [c as i64, 1];
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![rows, c],
        body: vec![
            Inst::Load(access(x, 0, &full)),
            Inst::Unary(Unary::Recip, 0),
        ],
        outputs: vec![
            output(1, Combine::Store, y, &full),
            output(1, Combine::Sum(vec![0]), sum, &[0, 1]),
        ],
    }));
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![rows * c],
        body: vec![Inst::Load(access(x, 0, &[1]))],
        outputs: vec![output(0, Combine::Store, y, &[1])],
    }));
    let code = bench.code();
    assert!(
        code.functions
            .iter()
            .filter(|f| f.source.contains("long long"))
            .count()
            >= 2
    );
    let Some(nvrtc) = nvrtc() else { return };
    for architecture in [80, 90] {
        assembled(nvrtc, &source(&code), architecture);
    }
}

#[test]
fn a_grid_has_a_largest_size() {
    let mut bench = Bench::default();
    let [x, y] = [(); 2].map(|()| bench.buffer(Vec::new()));
    let n = (1 << 41) + 1;
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![n],
        body: vec![Inst::Load(access(x, 0, &[1]))],
        outputs: vec![output(0, Combine::Store, y, &[1])],
    }));
    let refused = generate(&bench.program).expect_err("too large");
    let said = "kernel 0 (test 0) is too large for a grid of CUDA";
    assert_eq!(refused.to_string(), said);
}

/// Everything stays in registers, but for what the slow ways of sinf and powf do.
#[test]
fn loops_use_no_local_memory() {
    let Some(nvrtc) = nvrtc() else { return };
    let mut draw = Draw::new(9);
    let mut bench = Bench::default();
    for shape in [
        &[64, 32][..],
        &[5, 7, 9],
        &[3, 4096],
        &[6000, 16],
        &[100_000],
    ] {
        random_kernel(&mut draw, &mut bench, shape.to_vec());
    }
    let mut all = bench.code();
    for op in [Unary::Log2, Unary::Exp2, Unary::Erf] {
        let bench = apply(|body| {
            body.push(Inst::Unary(op, 0));
            2
        });
        all.functions
            .extend(bench.code().functions.into_iter().map(|f| Function {
                source: f.source.replace(&f.name, &format!("{op:?}_{}", f.name)),
                ..f
            }));
    }
    for architecture in [80, 90] {
        let log = assembled(nvrtc, &source(&all), architecture);
        let frames: Vec<&str> = log.lines().filter(|l| l.contains("stack frame")).collect();
        assert_eq!(frames.len(), all.functions.len(), "{log}");
        for frame in frames {
            let none = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
            assert!(frame.contains(&format!(" {none}")), "{log}");
        }
    }
}

/// Ranges that begin or end inside of four neighbours, and such that do not.
#[test]
fn ranges_cut_fours() {
    let mut draw = Draw::new(10);
    let mut bench = Bench::default();
    for (from, to) in [(2, 8), (4, 10), (4, 8), (0, 3), (5, 12)] {
        let x = bench.buffer(draw.numbers(36));
        let y = bench.buffer(vec![0.5; 36]);
        let mut ranged = access(x, 0, &[12, 1]);
        ranged.valid[1] = Some((from, to));
        bench.kernel(KernelKind::Loop(LoopKernel {
            shape: vec![3, 12],
            body: vec![Inst::Load(ranged)],
            outputs: vec![output(0, Combine::Store, y, &[12, 1])],
        }));
    }
    bench.hold();
}

/// Kernels of one shape share a function.
#[test]
fn equal_kernels_share_a_function() {
    let mut bench = Bench::default();
    for _ in 0..3 {
        let [x, y] = [(); 2].map(|()| bench.buffer(vec![0.0; 64]));
        bench.kernel(KernelKind::Loop(LoopKernel {
            shape: vec![8, 8],
            body: vec![Inst::Load(access(x, 0, &[1, 8]))],
            outputs: vec![output(0, Combine::Store, y, &[8, 1])],
        }));
    }
    let code = bench.code();
    assert_eq!((code.functions.len(), code.launches.len()), (1, 3));
}
