//! Indexed kernels.

use super::Bench;
use sslc_compiler::kernels::ir::{Indexed, KernelKind, Window};
use sslc_kernel_testing::Draw;

fn indices(draw: &mut Draw, count: usize, size: usize) -> Vec<f32> {
    let mut index: Vec<f32> = (0..count).map(|_| draw.below(size) as f32).collect();
    for (at, odd) in index.iter_mut().zip([-3.0, 1e9, f32::NAN, f32::INFINITY]) {
        *at = odd;
    }
    index
}

#[test]
fn take_and_scatter_add() {
    let mut draw = Draw::new(11);
    let mut bench = Bench::default();
    for [outer, size, count, inner] in [[1, 10, 64, 1], [3, 7, 20, 8], [2, 5, 9, 3]] {
        let x = bench.buffer(draw.numbers(outer * size * inner));
        let index = indices(&mut draw, count, size);
        let index = bench.buffer(index);
        let y = bench.buffer(draw.numbers(outer * count * inner));
        let back = bench.buffer(vec![7.0; outer * size * inner]);
        bench.kernel(KernelKind::Indexed(Indexed::ScatterAdd {
            y,
            index,
            x: back,
            outer,
            size,
            count,
            inner,
        }));
        bench.kernel(KernelKind::Indexed(Indexed::Take {
            x,
            index,
            y,
            outer,
            size,
            count,
            inner,
        }));
    }
    bench.hold();
}

/// Ties go to the first; a NaN never wins, but stays where it is first.
#[test]
fn argmax_of_short_and_long_rows() {
    let mut draw = Draw::new(12);
    let mut bench = Bench::default();
    for [outer, size, inner] in [[5, 10, 1], [40, 300, 1], [3, 90, 4], [2, 1, 3]] {
        let mut x: Vec<f32> = (0..outer * size * inner)
            .map(|_| draw.below(50) as f32 - 25.0)
            .collect();
        x[0] = f32::NAN;
        let last = x.len() - 1;
        x[last] = f32::NAN;
        if inner == 1 && size > 9 {
            x[size..2 * size].fill(f32::NEG_INFINITY);
            x[2 * size + 7] = f32::INFINITY;
        }
        let x = bench.buffer(x);
        let y = bench.buffer(vec![0.0; outer * inner]);
        bench.kernel(KernelKind::Indexed(Indexed::ArgMax {
            x,
            y,
            outer,
            size,
            inner,
        }));
    }
    bench.hold();
}

/// Few different values, so that windows have ties; NaN and −∞ among them.
#[test]
fn pools_and_their_gradients() {
    let mut draw = Draw::new(13);
    let mut bench = Bench::default();
    for (kernel, stride, padding, c) in [
        (3, 2, 1, 8),
        (2, 2, 0, 3),
        (3, 1, 1, 4),
        (5, 3, 2, 1),
        (1, 2, 0, 4),
    ] {
        let (n, h, w) = (2, 9, 7);
        let out = |i: usize| (i + 2 * padding - kernel) / stride + 1;
        let window = Window {
            n,
            h,
            w,
            c,
            oh: out(h),
            ow: out(w),
            kernel,
            stride,
            padding,
        };
        let values = [0.0, 1.0, 2.0, 2.0, -1.0, f32::NAN, f32::NEG_INFINITY];
        let many = |draw: &mut Draw, of: &[f32], n: usize| -> Vec<f32> {
            (0..n).map(|_| draw.pick(of)).collect()
        };
        let ties = many(&mut draw, &values[..5], window.x_len());
        let odd = many(&mut draw, &values, window.x_len());
        let dy = bench.buffer(draw.numbers(window.y_len()));
        for x in [ties, odd] {
            let x = bench.buffer(x);
            let [most, mean] = [(); 2].map(|()| bench.buffer(vec![0.0; window.y_len()]));
            let [back, spread] = [(); 2].map(|()| bench.buffer(vec![0.0; window.x_len()]));
            let kernels = [
                Indexed::MaxPool { x, y: most, window },
                Indexed::MaxPoolGrad {
                    x,
                    dy,
                    dx: back,
                    window,
                },
                Indexed::AvgPool { x, y: mean, window },
                Indexed::AvgPoolGrad {
                    dy,
                    dx: spread,
                    window,
                },
            ];
            kernels
                .into_iter()
                .for_each(|k| bench.kernel(KernelKind::Indexed(k)));
        }
    }
    bench.hold();
}

#[test]
fn uniform_draws_have_the_reference_bits() {
    let mut bench = Bench::default();
    for (step, seed, stream) in [
        (0.0, 0, 0),
        (7.0, 0x1234_5678_9abc_def0, 3 << 40),
        (16_777_216.0, u64::MAX, 1),
    ] {
        let step = bench.buffer(vec![step]);
        let y = bench.buffer(vec![0.0; 1000]);
        bench.kernel(KernelKind::Indexed(Indexed::Uniform {
            step,
            y,
            seed,
            stream,
        }));
    }
    bench.hold();
}
