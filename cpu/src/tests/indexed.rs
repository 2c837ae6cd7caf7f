//! Indexed kernels against the plain ones.

use super::{Bench, Draw};
use sslc_compiler::kernels::ir::{Indexed, KernelKind, Window};
use sslc_compiler::kernels::naive::{self, TakeShape};

/// Holds the last buffer to what is expected: bit for bit, or within 10⁻⁶ where sums may be ordered differently.
fn hold(bench: &Bench, expected: &[f32], exact: bool, name: &str) {
    let last = bench.contents.len() - 1;
    for (level, after) in bench.run_all() {
        for (i, (got, want)) in after[last].iter().zip(expected).enumerate() {
            let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            let near = !exact && (got - want).abs() <= 1e-6 * (1.0 + want.abs());
            assert!(same || near, "{name}, {}: {i}: {got} {want}", level.name());
        }
    }
}

#[test]
fn take_and_scatter_add() {
    let mut draw = Draw::new(11);
    for (outer, size, count, inner) in [
        (1, 5, 7, 1),
        (3, 4, 9, 6),
        (200, 30, 20, 33),
        (1, 10, 40_000, 3),
    ] {
        let s = TakeShape {
            outer,
            size,
            count,
            inner,
        };
        let index: Vec<f32> = (0..count)
            .map(|i| match i % 17 {
                3 => -2.0,
                5 => size as f32 + 8.0,
                7 => f32::NAN,
                _ => draw.below(size) as f32,
            })
            .collect();
        let x = draw.numbers(outer * size * inner);
        let y = draw.numbers(outer * count * inner);

        let mut bench = Bench::default();
        let ids = [
            bench.buffer(x.clone()),
            bench.buffer(index.clone()),
            bench.buffer(vec![f32::NAN; y.len()]),
        ];
        bench.kernel(KernelKind::Indexed(Indexed::Take {
            x: ids[0],
            index: ids[1],
            y: ids[2],
            outer,
            size,
            count,
            inner,
        }));
        let mut expected = vec![0.0; y.len()];
        naive::take(&x, &index, &mut expected, s);
        hold(&bench, &expected, true, "take");

        let mut bench = Bench::default();
        let ids = [
            bench.buffer(y.clone()),
            bench.buffer(index.clone()),
            bench.buffer(vec![f32::NAN; x.len()]),
        ];
        bench.kernel(KernelKind::Indexed(Indexed::ScatterAdd {
            y: ids[0],
            index: ids[1],
            x: ids[2],
            outer,
            size,
            count,
            inner,
        }));
        let mut expected = vec![0.0; x.len()];
        naive::scatter_add(&y, &index, &mut expected, s);
        hold(&bench, &expected, true, "scatter_add");
    }
}

#[test]
fn argmax_takes_the_first() {
    let mut draw = Draw::new(12);
    for (outer, size, inner) in [(1, 1, 1), (100, 10, 1), (7, 5, 9), (400, 30, 8)] {
        // Few distinct values, so that there are ties; some NaN.
        let x: Vec<f32> = (0..outer * size * inner)
            .map(|i| {
                if i % 31 == 4 {
                    f32::NAN
                } else {
                    draw.below(4) as f32
                }
            })
            .collect();
        let mut bench = Bench::default();
        let ids = [
            bench.buffer(x.clone()),
            bench.buffer(vec![f32::NAN; outer * inner]),
        ];
        bench.kernel(KernelKind::Indexed(Indexed::ArgMax {
            x: ids[0],
            y: ids[1],
            outer,
            size,
            inner,
        }));
        let mut expected = vec![0.0; outer * inner];
        naive::argmax(&x, &mut expected, outer, size, inner);
        hold(&bench, &expected, true, "argmax");
    }
}

#[test]
fn pooling() {
    let mut draw = Draw::new(13);
    let mut windows = Vec::new();
    for kernel in 1..=4 {
        for stride in 1..=3 {
            for padding in 0..kernel {
                let (n, h, w) = (1 + draw.below(3), 4 + draw.below(8), 4 + draw.below(8));
                windows.push((n, h, w, 1 + draw.below(9), kernel, stride, padding));
            }
        }
    }
    windows.push((20, 16, 16, 130, 3, 2, 1));
    for (n, h, w, c, kernel, stride, padding) in windows {
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        let s = Window {
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
        // Ties, as after a ReLU, and a NaN.
        let mut x: Vec<f32> = draw.numbers(s.x_len()).iter().map(|v| v.max(0.0)).collect();
        let nan = draw.below(x.len());
        x[nan] = f32::NAN;
        let dy = draw.numbers(s.y_len());
        let run = |inputs: &[&Vec<f32>], len: usize, make: &dyn Fn(&[_]) -> Indexed| {
            let mut bench = Bench::default();
            let mut ids: Vec<_> = inputs.iter().map(|d| bench.buffer(d.to_vec())).collect();
            ids.push(bench.buffer(vec![f32::NAN; len]));
            bench.kernel(KernelKind::Indexed(make(&ids)));
            bench
        };
        let (mut y, mut dx) = (vec![0.0; s.y_len()], vec![0.0; s.x_len()]);

        naive::max_pool(&x, &mut y, &s);
        let bench = run(&[&x], s.y_len(), &|b| Indexed::MaxPool {
            x: b[0],
            y: b[1],
            window: s,
        });
        hold(&bench, &y, true, "max_pool");

        naive::max_pool_grad(&x, &dy, &mut dx, &s);
        let bench = run(&[&x, &dy], s.x_len(), &|b| Indexed::MaxPoolGrad {
            x: b[0],
            dy: b[1],
            dx: b[2],
            window: s,
        });
        hold(&bench, &dx, true, "max_pool_grad");

        naive::avg_pool(&x, &mut y, &s);
        let bench = run(&[&x], s.y_len(), &|b| Indexed::AvgPool {
            x: b[0],
            y: b[1],
            window: s,
        });
        hold(&bench, &y, false, "avg_pool");

        naive::avg_pool_grad(&dy, &mut dx, &s);
        let bench = run(&[&dy], s.x_len(), &|b| Indexed::AvgPoolGrad {
            dy: b[0],
            dx: b[1],
            window: s,
        });
        hold(&bench, &dx, false, "avg_pool_grad");
    }
}

#[test]
fn draws_are_the_generators() {
    let mut bench = Bench::default();
    let step = bench.buffer(vec![17.0]);
    let y = bench.buffer(vec![f32::NAN; 100_000]);
    bench.kernel(KernelKind::Indexed(Indexed::Uniform {
        step,
        y,
        seed: 3 << 40,
        stream: 9 << 33,
    }));
    let mut expected = vec![0.0; 100_000];
    naive::uniform(17.0, &mut expected, 3 << 40, 9 << 33);
    hold(&bench, &expected, true, "uniform");
}
