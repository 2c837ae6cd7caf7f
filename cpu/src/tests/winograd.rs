//! Convolutions of 3×3 by Winograd's algorithm against plain ones in f64: within 5·10⁻⁶ in relative L2, on
//! bf16 within 2·10⁻².

use super::{Bench, Draw, bits};
use proptest::prelude::*;
use sslc_compiler::core::bf16;
use sslc_compiler::kernels::ir::{
    Algorithm, BufferId, Contraction, ConvShape, Element, KernelKind,
};

const TOLERANCE: f64 = 5e-6;
const TOLERANCE_BF16: f64 = 2e-2;
/// For results of which there may be few elements.
const TOLERANCE_BF16_FEW: f64 = 4e-2;

fn shape(n: usize, size: (usize, usize), c: usize, k: usize, padding: usize) -> ConvShape {
    strided(n, size, c, k, padding, 1)
}

fn strided(
    n: usize,
    (h, w): (usize, usize),
    c: usize,
    k: usize,
    padding: usize,
    stride: usize,
) -> ConvShape {
    ConvShape {
        n,
        h,
        w,
        c,
        k,
        oh: (h + 2 * padding - 3) / stride + 1,
        ow: (w + 2 * padding - 3) / stride + 1,
        kernel: 3,
        stride,
        padding,
        groups: 1,
    }
}

/// Adds up every product: `add(place in x, place in w, place in y)`.
fn each_product(s: &ConvShape, mut add: impl FnMut(usize, usize, usize)) {
    for pixel in 0..s.n * s.oh * s.ow {
        let (i, y, x) = (pixel / s.ow / s.oh, pixel / s.ow % s.oh, pixel % s.ow);
        for (ky, kx) in (0..9).map(|t| (t / 3, t % 3)) {
            let (Some(v), Some(u)) = (
                (y * s.stride + ky)
                    .checked_sub(s.padding)
                    .filter(|v| *v < s.h),
                (x * s.stride + kx)
                    .checked_sub(s.padding)
                    .filter(|u| *u < s.w),
            ) else {
                continue;
            };
            for c in 0..s.c {
                for k in 0..s.k {
                    add(
                        ((i * s.h + v) * s.w + u) * s.c + c,
                        ((ky * 3 + kx) * s.c + c) * s.k + k,
                        pixel * s.k + k,
                    );
                }
            }
        }
    }
}

/// A contraction of the buffers of two operands and a result.
type MakeKernel<'a> = &'a dyn Fn([BufferId; 3]) -> Contraction;

/// A pass over one shape, and what its output is to be.
struct Pass {
    name: &'static str,
    bench: Bench,
    expected: Vec<f64>,
}

/// The forward pass, the input gradient and the filter gradient.
fn passes(draw: &mut Draw, s: ConvShape, operands: Element, result: Element) -> [Pass; 3] {
    let mut numbers = |len: usize| {
        let mut numbers = draw.numbers(len);
        if operands == Element::Bf16 {
            numbers.iter_mut().for_each(|v| *v = bf16::round(*v));
        }
        numbers
    };
    let (x, w, dy) = (numbers(s.x_len()), numbers(s.w_len()), numbers(s.y_len()));
    let mut expected = [s.y_len(), s.x_len(), s.w_len()].map(|len| vec![0.0; len]);
    each_product(&s, |i, j, k| {
        expected[0][k] += f64::from(x[i]) * f64::from(w[j]);
        expected[1][i] += f64::from(dy[k]) * f64::from(w[j]);
        expected[2][j] += f64::from(dy[k]) * f64::from(x[i]);
    });
    let algorithm = Algorithm::Winograd;
    let kernels: [(&str, MakeKernel<'_>, [&[f32]; 2]); 3] = [
        (
            "forward",
            &|[x, w, y]| Contraction::Conv {
                x,
                w,
                y,
                shape: s,
                algorithm,
            },
            [&x, &w],
        ),
        (
            "input gradient",
            &|[dy, w, dx]| Contraction::ConvInputGrad {
                dy,
                w,
                dx,
                shape: s,
                algorithm,
            },
            [&dy, &w],
        ),
        (
            "filter gradient",
            &|[x, dy, dw]| Contraction::ConvFilterGrad {
                x,
                dy,
                dw,
                shape: s,
                algorithm,
            },
            [&x, &dy],
        ),
    ];
    let mut expected = expected.into_iter();
    kernels.map(|(name, kernel, [a, b])| {
        let mut bench = Bench::default();
        let expected = expected.next().unwrap_or_default();
        let ids = [
            bench.buffer_of(operands, a.to_vec()),
            bench.buffer_of(operands, b.to_vec()),
            // A filter's gradient is f32.
            bench.buffer_of(
                if name == "filter gradient" {
                    Element::F32
                } else {
                    result
                },
                vec![f32::NAN; expected.len()],
            ),
        ];
        bench.kernel(KernelKind::Contraction(kernel(ids)));
        Pass {
            name,
            bench,
            expected,
        }
    })
}

/// Relative L2 of the output.
fn error(after: &[Vec<f32>], expected: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let size = norm(&mut expected.iter().copied());
    let pairs = after[2].iter().zip(expected);
    let relative = norm(&mut pairs.map(|(a, b)| f64::from(*a) - b)) / size.max(1e-30);
    assert!(!relative.is_nan(), "an element is not a number");
    relative
}

/// In f32, at every level, the same bits for one to four threads.
fn hold(draw: &mut Draw, s: ConvShape) {
    for pass in passes(draw, s, Element::F32, Element::F32) {
        for (level, after) in pass.bench.run_all() {
            let error = error(&after, &pass.expected);
            let (name, level) = (pass.name, level.name());
            assert!(error < TOLERANCE, "{name} of {s:?}, {level}: {error:e}");
        }
    }
}

/// With operands of bf16, at every level, with and without the machine's products of bf16.
fn hold_bf16(draw: &mut Draw, s: ConvShape, result: Element, tolerance: f64) {
    for pass in passes(draw, s, Element::Bf16, result) {
        for device in super::devices() {
            let one = pass.bench.run(device(1));
            let error = error(&one, &pass.expected);
            let (name, device_name) = (pass.name, device(1));
            assert!(
                error < tolerance,
                "{name} of {s:?}, {device_name:?}: {error:e}"
            );
            assert!(
                bits(&pass.bench.run(device(3))) == bits(&one),
                "{device_name:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(
        n in 1usize..5,
        size in (1usize..14, 1usize..14),
        c in 1usize..40,
        k in 1usize..70,
        padding in 0usize..4,
        seed in 0u64..1000,
    ) {
        // At least one window.
        let at_least = |size: usize| size.max(3usize.saturating_sub(2 * padding)).max(1);
        let s = shape(n, (at_least(size.0), at_least(size.1)), c, k, padding);
        hold(&mut Draw::new(seed), s);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape_of_stride_two(
        n in 1usize..5,
        size in (1usize..28, 1usize..28),
        c in 1usize..40,
        k in 1usize..70,
        seed in 0u64..1000,
    ) {
        hold(&mut Draw::new(seed), strided(n, size, c, k, 1, 2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape_of_bf16(
        n in 1usize..4,
        size in (2usize..14, 2usize..14),
        c in 1usize..40,
        k in 1usize..70,
        stride in 1usize..3,
        wide: bool,
        seed in 0u64..1000,
    ) {
        let result = if wide { Element::F32 } else { Element::Bf16 };
        let s = strided(n, size, c, k, 1, stride);
        hold_bf16(&mut Draw::new(seed), s, result, TOLERANCE_BF16_FEW);
    }
}

#[test]
fn shapes_of_networks_of_bf16() {
    let mut draw = Draw::new(5);
    for s in [
        shape(40, (4, 4), 32, 32, 1),
        shape(1, (40, 40), 16, 64, 1),
        shape(2, (7, 7), 256, 272, 1),
        strided(2, (32, 32), 48, 64, 1, 2),
        strided(20, (8, 8), 32, 512, 1, 2),
        // Of the filter's gradient: several partial sums of several blocks; blocks of channels.
        shape(70, (7, 7), 64, 64, 1),
        shape(2, (4, 5), 300, 130, 1),
    ] {
        for result in [Element::F32, Element::Bf16] {
            hold_bf16(&mut draw, s, result, TOLERANCE_BF16);
        }
    }
}

#[test]
fn shapes_of_networks() {
    let mut draw = Draw::new(5);
    for s in [
        // Several images in a block, bands of an image, panels as units, and more than one block of them.
        shape(40, (4, 4), 32, 32, 1),
        shape(1, (40, 40), 16, 64, 1),
        shape(2, (7, 7), 256, 272, 1),
        shape(30, (4, 4), 48, 512, 1),
        strided(2, (32, 32), 48, 64, 1, 2),
        strided(20, (8, 8), 32, 512, 1, 2),
        // Of the filter's gradient: several partial sums of several blocks; blocks of channels; chunks of tiles.
        shape(70, (7, 7), 64, 64, 1),
        shape(2, (4, 5), 300, 130, 1),
        shape(600, (2, 2), 130, 129, 1),
    ] {
        hold(&mut draw, s);
    }
}
