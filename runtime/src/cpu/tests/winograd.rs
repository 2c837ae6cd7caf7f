//! Convolutions of 3×3 by Winograd's algorithm against plain ones in f64, within 5·10⁻⁶ in relative L2.

use super::{Bench, Draw};
use proptest::prelude::*;
use sslc_compiler::kernels::ir::{Algorithm, Contraction, ConvShape, KernelKind};

const TOLERANCE: f64 = 5e-6;

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

/// The largest error over levels; results are the same bits for one to four threads.
fn error(bench: &Bench, output: usize, expected: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let size = norm(&mut expected.iter().copied());
    let mut worst = 0.0f64;
    for (_, after) in bench.run_all() {
        let pairs = after[output].iter().zip(expected);
        let difference = norm(&mut pairs.map(|(a, b)| f64::from(*a) - b));
        let relative = difference / size.max(1e-30);
        assert!(!relative.is_nan(), "an element is not a number");
        worst = worst.max(relative);
    }
    worst
}

/// Errors of the forward pass, of the input gradient and of the filter gradient.
fn errors(draw: &mut Draw, s: ConvShape) -> [f64; 3] {
    let x = draw.numbers(s.x_len());
    let w = draw.numbers(s.w_len());
    let dy = draw.numbers(s.y_len());
    let algorithm = Algorithm::Winograd;
    let (mut forward, mut backward) = (Bench::default(), Bench::default());
    let mut filter = Bench::default();
    let (a, b, c) = (
        forward.buffer(x.clone()),
        forward.buffer(w.clone()),
        forward.buffer(vec![f32::NAN; s.y_len()]),
    );
    forward.kernel(KernelKind::Contraction(Contraction::Conv {
        x: a,
        w: b,
        y: c,
        shape: s,
        algorithm,
    }));
    let (a, b, c) = (
        backward.buffer(dy.clone()),
        backward.buffer(w.clone()),
        backward.buffer(vec![f32::NAN; s.x_len()]),
    );
    backward.kernel(KernelKind::Contraction(Contraction::ConvInputGrad {
        dy: a,
        w: b,
        dx: c,
        shape: s,
        algorithm,
    }));
    let (a, b, c) = (
        filter.buffer(x.clone()),
        filter.buffer(dy.clone()),
        filter.buffer(vec![f32::NAN; s.w_len()]),
    );
    filter.kernel(KernelKind::Contraction(Contraction::ConvFilterGrad {
        x: a,
        dy: b,
        dw: c,
        shape: s,
        algorithm,
    }));
    let mut y = vec![0.0; s.y_len()];
    let mut dx = vec![0.0; s.x_len()];
    let mut dw = vec![0.0; s.w_len()];
    each_product(&s, |i, j, k| {
        y[k] += f64::from(x[i]) * f64::from(w[j]);
        dx[i] += f64::from(dy[k]) * f64::from(w[j]);
        dw[j] += f64::from(dy[k]) * f64::from(x[i]);
    });
    [
        error(&forward, 2, &y),
        error(&backward, 2, &dx),
        error(&filter, 2, &dw),
    ]
}

fn hold(draw: &mut Draw, s: ConvShape) {
    for (error, pass) in
        errors(draw, s)
            .into_iter()
            .zip(["forward", "input gradient", "filter gradient"])
    {
        assert!(error < TOLERANCE, "{pass} of {s:?}: {error:e}");
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
