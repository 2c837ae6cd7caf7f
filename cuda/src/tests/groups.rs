//! Kernels that share a launch, and those that must not.

use super::Bench;
use sslc_compiler::kernels::ir::{
    Binary, BufferId, Combine, Element, Inst, KernelKind, LoopKernel, LoopOutput,
};
use sslc_kernel_testing::{Draw, access};

/// `m ← 0.9 m + g`, `p ← p − rate m`
fn update(bench: &mut Bench, [p, m, g, rate]: [BufferId; 4], n: usize) {
    let output = |value, to| LoopOutput {
        value,
        combine: Combine::Store,
        to: access(to, 0, &[1]),
    };
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![n],
        body: vec![
            Inst::Load(access(m, 0, &[1])),
            Inst::Const(0.9),
            Inst::Binary(Binary::Mul, 0, 1),
            Inst::Load(access(g, 0, &[1])),
            Inst::Binary(Binary::Add, 2, 3),
            Inst::Load(access(rate, 0, &[0])),
            Inst::Binary(Binary::Mul, 5, 4),
            Inst::Load(access(p, 0, &[1])),
            Inst::Binary(Binary::Sub, 7, 6),
        ],
        outputs: vec![output(4, m), output(8, p)],
    }));
}

fn double(bench: &mut Bench, x: BufferId, y: BufferId, n: usize) {
    bench.kernel(KernelKind::Loop(LoopKernel {
        shape: vec![n],
        body: vec![
            Inst::Load(access(x, 0, &[1])),
            Inst::Binary(Binary::Add, 0, 0),
        ],
        outputs: vec![LoopOutput {
            value: 1,
            combine: Combine::Store,
            to: access(y, 0, &[1]),
        }],
    }));
}

/// Kernels that have launches.
fn launched(bench: &Bench) -> Vec<usize> {
    bench.code().launches.iter().map(|l| l.kernel).collect()
}

#[test]
fn updates_of_all_parameters_are_one_launch() {
    let mut draw = Draw::new(21);
    let mut bench = Bench::default();
    let rate = bench.buffer(vec![0.1]);
    for (element, n) in [
        (Element::F32, 4096),
        (Element::F32, 64),
        (Element::Bf16, 128),
        (Element::F32, 1000),
        (Element::F32, 30),
        (Element::Bf16, 2048),
        (Element::F32, 1028),
    ] {
        let [p, m] = [(); 2].map(|()| bench.buffer_of(element, draw.numbers(n)));
        let g = bench.buffer(draw.numbers(n));
        update(&mut bench, [p, m, g, rate], n);
    }
    // One launch of f32, one of bf16; a list that is no multiple of four is alone.
    assert_eq!(launched(&bench), [0, 2, 4]);
    bench.hold();
}

#[test]
fn a_kernel_waits_for_what_it_reads() {
    let mut draw = Draw::new(22);
    let mut bench = Bench::default();
    let [a, b, c, d] = [(); 4].map(|()| bench.buffer(draw.numbers(256)));
    double(&mut bench, a, b, 256);
    double(&mut bench, b, c, 256);
    double(&mut bench, a, d, 256);
    assert_eq!(launched(&bench), [0, 1]);
    bench.hold();
}

/// The third kernel would write a place that the second still reads under another name.
#[test]
fn a_kernel_waits_for_its_place() {
    let mut draw = Draw::new(23);
    let mut bench = Bench::default();
    let [a, b, c, d, e] = [(); 5].map(|()| bench.buffer(draw.numbers(256)));
    let rate = bench.buffer(vec![0.5]);
    let offset = bench.program.buffers[c.0 as usize].offset;
    bench.program.buffers[e.0 as usize].offset = offset;
    bench.contents[e.0 as usize] = bench.contents[c.0 as usize].clone();
    double(&mut bench, a, b, 256);
    update(&mut bench, [d, b, c, rate], 256);
    double(&mut bench, a, e, 256);
    assert_eq!(launched(&bench), [0, 1, 2]);
    bench.hold();
}

#[test]
fn a_launch_has_a_bounded_number_of_pointers() {
    let mut bench = Bench::default();
    for _ in 0..250 {
        let [x, y] = [(); 2].map(|()| bench.buffer(vec![1.0; 8]));
        double(&mut bench, x, y, 8);
    }
    assert_eq!(launched(&bench), [0, 240]);
    bench.hold();
}
