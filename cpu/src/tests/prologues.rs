//! Contractions whose operand a prologue makes, against the loop kernel and the contraction one after the other.

use super::{Bench, Draw, access, bits, devices, relative_l2};
use crate::CpuDevice;
use sslc_compiler::kernels::ir::{
    Algorithm, Binary, BufferId, Combine, Contraction, ConvShape, Element, Fused, Inst, KernelKind,
    LoopKernel, LoopOutput,
};
use std::rc::Rc;

/// `max((x + shift)·scale + bias, least)`, where 0 becomes something else: padding is 0 after the prologue.
fn normalise(
    draw: &mut Draw,
    bench: &mut Bench,
    element: Element,
    [pixels, channels]: [usize; 2],
    to: BufferId,
) -> LoopKernel {
    let source = draw.pick(&[element, Element::F32]);
    let x = bench.buffer_of(source, draw.numbers(pixels * channels));
    let [shift, scale] = [0, 1].map(|_| bench.buffer(draw.numbers(channels)));
    let bias = bench.buffer(draw.numbers(channels).iter().map(|b| b + 2.0).collect());
    let mut body = vec![
        Inst::Load(access(x, [channels, 1])),
        Inst::Load(access(shift, [0, 1])),
        Inst::Binary(Binary::Add, 0, 1),
        Inst::Load(access(scale, [0, 1])),
        Inst::Binary(Binary::Mul, 2, 3),
        Inst::Load(access(bias, [0, 1])),
        Inst::Binary(Binary::Add, 4, 5),
        Inst::Const(1.5),
        Inst::Binary(Binary::Max, 6, 7),
    ];
    if draw.chance(50) {
        body[2] = Inst::Binary(Binary::Sub, 0, 1);
    }
    match draw.below(3) {
        // In another order of operands, and not cut off.
        0 => {
            body[4] = Inst::Binary(Binary::Mul, 3, 2);
            body[6] = Inst::Binary(Binary::Add, 5, 4);
            body.truncate(7);
        }
        // Of a form that has no loop of its own.
        1 => body[8] = Inst::Binary(Binary::Max, 7, 6),
        _ => {}
    }
    let value = body.len() as u32 - 1;
    LoopKernel {
        shape: vec![pixels, channels],
        body,
        outputs: vec![LoopOutput {
            value,
            combine: Combine::Store,
            to: access(to, [channels, 1]),
        }],
    }
}

/// A sum of each column and the relu of each point, over the result.
fn epilogue(bench: &mut Bench, result: BufferId, [rows, columns]: [usize; 2]) -> LoopKernel {
    let sums = bench.buffer(vec![0.0; columns]);
    let over = access(result, [columns, 1]);
    LoopKernel {
        shape: vec![rows, columns],
        body: vec![
            Inst::Load(over.clone()),
            Inst::Const(0.0),
            Inst::Binary(Binary::Max, 0, 1),
        ],
        outputs: vec![
            LoopOutput {
                value: 0,
                combine: Combine::Sum(vec![0]),
                to: access(sums, [0, 1]),
            },
            LoopOutput {
                value: 2,
                combine: Combine::Store,
                to: over,
            },
        ],
    }
}

/// Both programs from the same numbers; what the first computes of the result and the sums is held to the second's.
fn hold(seed: u64, element: Element, algorithm: Algorithm, shape: ConvShape, forward: bool) {
    let build = |fused: bool| -> (Bench, BufferId) {
        let (mut draw, mut bench) = (Draw::new(seed), Bench::default());
        let x = match fused {
            true => bench.piecewise(element, shape.x_len()),
            false => bench.buffer_of(element, vec![0.0; shape.x_len()]),
        };
        let pixels = [shape.n * shape.h * shape.w, shape.c];
        let prologue = normalise(&mut draw, &mut bench, element, pixels, x);
        let contraction = if forward {
            let w = bench.buffer_of(element, draw.numbers(shape.w_len()));
            let y = bench.buffer_of(element, vec![0.0; shape.y_len()]);
            Contraction::Conv {
                x,
                w,
                y,
                shape,
                algorithm,
            }
        } else {
            let dy = bench.buffer_of(element, draw.numbers(shape.y_len()));
            let dw = bench.buffer(vec![0.0; shape.w_len()]);
            Contraction::ConvFilterGrad {
                x,
                dy,
                dw,
                shape,
                algorithm,
            }
        };
        let result = contraction.result();
        let epilogue = (forward && draw.chance(70))
            .then(|| epilogue(&mut bench, result, contraction.result_shape()));
        if fused {
            bench.kernel(KernelKind::Fused(Fused {
                prologue: Some(prologue),
                contraction,
                epilogue,
            }));
            return (bench, result);
        }
        bench.kernel(KernelKind::Loop(prologue));
        bench.kernel(KernelKind::Contraction(contraction));
        epilogue
            .into_iter()
            .for_each(|e| bench.kernel(KernelKind::Loop(e)));
        (bench, result)
    };
    let ((fused, result), (apart, _)) = (build(true), build(false));
    for device in devices() {
        let got = fused.run(device(1));
        assert_eq!(bits(&fused.run(device(3))), bits(&got), "three threads");
        let want = apart.run(device(1));
        let level = device(1).level().name();
        let name = format!("{level}, {element:?}, {}, {shape:?}", algorithm.name());
        let at = result.0 as usize;
        if forward {
            assert_eq!(bits(&got[at..=at]), bits(&want[at..=at]), "{name}");
        }
        for (got, want) in got.iter().zip(&want).skip(at) {
            let error = relative_l2(got, want);
            assert!(
                error < 1e-6 || (!forward && error < 1e-2 && element == Element::Bf16),
                "{name}: {error}"
            );
        }
    }
}

fn shape(
    [n, h, w]: [usize; 3],
    [c, k]: [usize; 2],
    [kernel, stride, padding]: [usize; 3],
    groups: usize,
) -> ConvShape {
    let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
    ConvShape {
        n,
        h,
        w,
        c,
        k,
        oh: out(h),
        ow: out(w),
        kernel,
        stride,
        padding,
        groups,
    }
}

#[test]
fn operands_are_made_for_every_algorithm() {
    let cases = [
        shape([1, 5, 4], [3, 4], [3, 1, 1], 1),
        shape([19, 4, 4], [16, 24], [3, 1, 1], 1),
        shape([3, 17, 9], [8, 20], [3, 1, 1], 1),
        shape([2, 33, 12], [5, 70], [3, 2, 1], 1),
        shape([2, 13, 13], [33, 16], [3, 1, 0], 1),
        shape([2, 9, 9], [16, 17], [3, 1, 2], 1),
        shape([20, 8, 8], [12, 12], [1, 1, 0], 1),
        shape([3, 30, 30], [40, 10], [1, 1, 0], 1),
        shape([9, 8, 7], [12, 10], [1, 2, 0], 1),
        shape([2, 11, 11], [3, 8], [7, 2, 3], 1),
        shape([18, 6, 6], [8, 8], [3, 1, 1], 4),
        shape([1, 1, 1], [2, 1], [1, 1, 0], 1),
        shape([2, 4, 4], [130, 300], [3, 1, 1], 1),
    ];
    for (i, shape) in cases.into_iter().enumerate() {
        for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
            if algorithm == Algorithm::Winograd && !shape.has_winograd() {
                continue;
            }
            for element in [Element::F32, Element::Bf16] {
                for seed in [i as u64, 100 + i as u64] {
                    hold(seed, element, algorithm, shape, true);
                    hold(seed, element, algorithm, shape, false);
                }
            }
        }
    }
}

#[test]
fn filter_gradients_of_many_channels_share_what_is_made() {
    let shape = shape([9, 6, 6], [144, 136], [3, 1, 1], 1);
    for element in [Element::F32, Element::Bf16] {
        hold(5, element, Algorithm::Winograd, shape, false);
    }
}

/// What a device says to a program that uses a buffer without a place other than as what a prologue makes.
fn refused(change: impl Fn(&mut Bench, &mut KernelKind)) -> String {
    let (mut draw, mut bench) = (Draw::new(1), Bench::default());
    let shape = shape([1, 4, 4], [2, 2], [1, 1, 0], 1);
    let x = bench.piecewise(Element::F32, shape.x_len());
    let prologue = normalise(&mut draw, &mut bench, Element::F32, [16, 2], x);
    let w = bench.buffer(draw.numbers(shape.w_len()));
    let y = bench.buffer(draw.numbers(shape.y_len()));
    let mut kind = KernelKind::Fused(Fused {
        prologue: Some(prologue),
        contraction: Contraction::Conv {
            x,
            w,
            y,
            shape,
            algorithm: Algorithm::Direct,
        },
        epilogue: None,
    });
    change(&mut bench, &mut kind);
    bench.kernel(kind);
    let loaded = CpuDevice::new(1).load_cpu(Rc::new(bench.program.clone()));
    loaded.err().map_or("taken".to_string(), |d| d.message)
}

fn fused(kind: &mut KernelKind) -> &mut Fused {
    match kind {
        KernelKind::Fused(fused) => fused,
        _ => unreachable!("a fused kernel"),
    }
}

#[test]
fn a_buffer_without_a_place_is_only_what_a_prologue_makes() {
    assert_eq!(refused(|_, _| {}), "taken");
    let without = refused(|_, kind| fused(kind).prologue = None);
    assert!(without.contains("has no place"), "{without}");
    let alone = refused(|_, kind| {
        let kernel = fused(kind).prologue.take().expect("a prologue");
        *kind = KernelKind::Loop(kernel);
    });
    assert!(alone.contains("has no place"), "{alone}");
    let part = refused(|_, kind| {
        if let Some(prologue) = &mut fused(kind).prologue {
            prologue.shape[0] = 15;
        }
    });
    assert!(part.contains("does not make all"), "{part}");
    let itself = refused(|_, kind| {
        let to = fused(kind).contraction.result();
        if let Some(Inst::Load(load)) = fused(kind).prologue.as_mut().map(|p| &mut p.body[0]) {
            load.buffer = to;
        }
    });
    assert!(itself.contains("lies over"), "{itself}");
    let nothing = refused(|bench, kind| {
        let place = bench.buffer(vec![0.0; 32]);
        if let Some(prologue) = &mut fused(kind).prologue {
            prologue.outputs[0].to.buffer = place;
        }
    });
    assert!(
        nothing.contains("has no place") || nothing.contains("makes no operand"),
        "{nothing}"
    );
    let begins = refused(|bench, _| bench.program.buffers[0].offset = 16);
    assert!(begins.contains("begins somewhere"), "{begins}");
}
