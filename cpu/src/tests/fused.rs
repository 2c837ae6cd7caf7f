//! Fused kernels against the contraction and the loop kernel one after the other.

use super::{Bench, Draw, access, bits};
use sslc_compiler::kernels::ir::{
    Algorithm, Binary, BufferId, Combine, Contraction, ConvShape, Element, Fused, Inst, KernelKind,
    LoopKernel, LoopOutput,
};

/// An epilogue with a load of each kind: the result, a tensor beside it, a value per column and one per row. It stores over
/// the result if `over`, and elsewhere; and it reduces rows, columns and both in every way.
fn epilogue(
    draw: &mut Draw,
    bench: &mut Bench,
    result: BufferId,
    [rows, columns]: [usize; 2],
    over: bool,
) -> LoopKernel {
    let beside = bench.buffer(draw.numbers(rows * columns));
    let shift = bench.buffer(draw.numbers(columns));
    let scale = bench.buffer(draw.numbers(rows));
    let full = [columns, 1];
    let body = vec![
        Inst::Load(access(result, full)),
        Inst::Load(access(shift, [0, 1])),
        Inst::Binary(Binary::Add, 0, 1),
        Inst::Const(0.0),
        Inst::Binary(Binary::Max, 2, 3),
        Inst::Load(access(beside, full)),
        Inst::Binary(Binary::Mul, 4, 5),
        Inst::Load(access(scale, [1, 0])),
        Inst::Binary(Binary::Mul, 6, 7),
    ];
    let mut to = |len: usize, strides: [usize; 2]| access(bench.buffer(vec![0.0; len]), strides);
    let mut outputs = vec![
        (8, Combine::Store, to(rows * columns, full)),
        (0, Combine::Sum(vec![0]), to(columns, [0, 1])),
        (0, Combine::Deviations(vec![0]), to(columns, [0, 1])),
        (8, Combine::Max(vec![0]), to(columns, [0, 1])),
        (8, Combine::Sum(vec![1]), to(rows, [1, 0])),
        (6, Combine::Deviations(vec![1]), to(rows, [1, 0])),
        (6, Combine::Sum(vec![0, 1]), to(1, [0, 0])),
    ];
    if over {
        outputs.push((4, Combine::Store, access(result, full)));
    }
    LoopKernel {
        shape: vec![rows, columns],
        body,
        outputs: outputs
            .into_iter()
            .map(|(value, combine, to)| LoopOutput { value, combine, to })
            .collect(),
    }
}

/// Holds stores and maxima to the same bits, and sums to 10⁻⁵ of the largest and 10⁻⁶ for each number that they add.
fn hold(draw: &mut Draw, mut bench: Bench, contraction: Contraction, name: &str) {
    let (result, shape) = (contraction.result(), contraction.result_shape());
    let over = draw.chance(50);
    let epilogue = epilogue(draw, &mut bench, result, shape, over);
    let mut apart = bench.clone();
    apart.kernel(KernelKind::Contraction(contraction.clone()));
    apart.kernel(KernelKind::Loop(epilogue.clone()));
    bench.kernel(KernelKind::Fused(Fused {
        prologue: None,
        contraction,
        epilogue: Some(epilogue.clone()),
    }));
    let result = result.0 as usize;
    for ((level, got), (_, want)) in bench.run_all().into_iter().zip(apart.run_all()) {
        let kept = result..=result;
        assert_eq!(
            bits(&got[kept.clone()]),
            bits(&want[kept]),
            "{name}, {}",
            level.name()
        );
        for output in &epilogue.outputs {
            let id = output.to.buffer.0 as usize;
            let (got, want) = (&got[id..=id], &want[id..=id]);
            if matches!(output.combine, Combine::Store | Combine::Max(_)) {
                assert_eq!(bits(got), bits(want), "{name}, {}", level.name());
                continue;
            }
            let size = want[0].iter().fold(1e-3f32, |m, v| m.max(v.abs()));
            let reduced = (shape[0] * shape[1] / want[0].len()) as f32;
            for (g, w) in got[0].iter().zip(&want[0]) {
                let fine = (g - w).abs() <= 1e-5 * size + 1e-6 * reduced;
                assert!(fine, "{name}, {}: {g}, not {w}", level.name());
            }
        }
    }
}

#[test]
fn convolutions_with_epilogues() {
    let mut draw = Draw::new(31);
    let cases = [
        // images, size, channels in and out, kernel, stride, groups
        (1, 5, 3, 4, 3, 1, 1),
        (40, 4, 16, 24, 3, 1, 1),
        (3, 17, 8, 20, 3, 1, 1),
        (2, 33, 5, 70, 3, 2, 1),
        (20, 8, 12, 12, 1, 1, 1),
        (20, 8, 12, 10, 1, 2, 1),
        (18, 6, 8, 8, 3, 1, 4),
        (1, 1, 2, 1, 1, 1, 1),
        (2, 9, 4, 1030, 1, 1, 1),
    ];
    for (n, h, c, k, kernel, stride, groups) in cases {
        let shape = ConvShape {
            groups,
            ..ConvShape::square(n, h, [c, k], kernel, stride)
        };
        for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
            if algorithm == Algorithm::Winograd && !shape.has_winograd() {
                continue;
            }
            let name = format!("{} {shape:?}", algorithm.name());
            let mut bench = Bench::default();
            let x = bench.buffer(draw.numbers(shape.x_len()));
            let w = bench.buffer(draw.numbers(shape.w_len()));
            let y = bench.buffer(vec![f32::NAN; shape.y_len()]);
            let conv = Contraction::Conv {
                x,
                w,
                y,
                shape,
                algorithm,
            };
            hold(&mut draw, bench, conv, &name);
            let mut bench = Bench::default();
            let dy = bench.buffer(draw.numbers(shape.y_len()));
            let w = bench.buffer(draw.numbers(shape.w_len()));
            let dx = bench.buffer(vec![f32::NAN; shape.x_len()]);
            let gradient = Contraction::ConvInputGrad {
                dy,
                w,
                dx,
                shape,
                algorithm,
            };
            hold(&mut draw, bench, gradient, &format!("gradient, {name}"));
        }
    }
}

#[test]
fn products_with_epilogues() {
    let mut draw = Draw::new(32);
    for (batch, m, n, k) in [
        (1, 1, 1, 1),
        (1, 300, 40, 20),
        (3, 20, 17, 9),
        (1, 7, 900, 30),
    ] {
        for (ta, tb) in [(false, false), (false, true), (true, false)] {
            let mut bench = Bench::default();
            let a = bench.buffer(draw.numbers(batch * m * k));
            let b = bench.buffer(draw.numbers(batch * k * n));
            let out = bench.buffer(vec![f32::NAN; batch * m * n]);
            let product = Contraction::MatMul {
                a,
                b,
                out,
                batch,
                m,
                n,
                k,
                ta,
                tb,
            };
            let name = format!("{batch} × [{m}, {k}] [{k}, {n}], {ta} {tb}");
            hold(&mut draw, bench, product, &name);
        }
    }
}

/// Results that would go past the caches: their pieces are made apart.
#[test]
fn large_results_with_epilogues() {
    let mut draw = Draw::new(33);
    let cases = [
        // images, size, channels in and out, kernel, stride, whether it is the input's gradient; how it is stored
        (4, 30, 3, 32, 1, 1, false, Element::F32),
        (4, 30, 3, 64, 1, 1, false, Element::F32),
        (4, 30, 3, 32, 1, 1, false, Element::Bf16),
        (2, 12, 520, 256, 1, 1, false, Element::F32),
        (2, 12, 520, 256, 1, 1, false, Element::Bf16),
        (4, 30, 32, 4, 1, 2, true, Element::F32),
        (4, 30, 32, 4, 1, 2, true, Element::Bf16),
        (4, 31, 2, 64, 3, 1, false, Element::F32),
        (4, 31, 64, 2, 3, 1, true, Element::F32),
        (4, 31, 64, 2, 3, 1, true, Element::Bf16),
    ];
    for (n, h, c, k, kernel, stride, gradient, element) in cases {
        let shape = ConvShape::square(n, h, [c, k], kernel, stride);
        let algorithm = match kernel {
            3 => Algorithm::Winograd,
            _ => Algorithm::Direct,
        };
        let mut bench = Bench::default();
        let (from, to) = match gradient {
            true => (shape.y_len(), shape.x_len()),
            false => (shape.x_len(), shape.y_len()),
        };
        let operand = bench.buffer_of(element, draw.numbers(from));
        let w = bench.buffer_of(element, draw.numbers(shape.w_len()));
        let result = bench.buffer_of(element, vec![f32::NAN; to]);
        let contraction = if gradient {
            Contraction::ConvInputGrad {
                dy: operand,
                w,
                dx: result,
                shape,
                algorithm,
            }
        } else {
            Contraction::Conv {
                x: operand,
                w,
                y: result,
                shape,
                algorithm,
            }
        };
        let name = format!("{} {shape:?} {}", algorithm.name(), element.name());
        hold(&mut draw, bench, contraction, &name);
    }
}
