//! Contractions against the plain ones, within 5·10⁻⁶ in relative L2.

use super::{Bench, Draw, relative_l2};
use sslc_compiler::kernels::ir::{Algorithm, Contraction, ConvShape, KernelKind};
use sslc_compiler::kernels::naive::{self, MatMulShape};

const TOLERANCE: f64 = 5e-6;

fn hold(bench: &Bench, output: usize, expected: &[f32], name: &str) {
    for (level, after) in bench.run_all() {
        let error = relative_l2(&after[output], expected);
        assert!(error < TOLERANCE, "{name}, {}: {error:e}", level.name());
    }
}

fn matmul(draw: &mut Draw, s: MatMulShape) {
    let mut bench = Bench::default();
    let a = bench.buffer(draw.numbers(s.batch * s.m * s.k));
    let b = bench.buffer(draw.numbers(s.batch * s.k * s.n));
    let out = bench.buffer(vec![f32::NAN; s.batch * s.m * s.n]);
    bench.kernel(KernelKind::Contraction(Contraction::MatMul {
        a,
        b,
        out,
        batch: s.batch,
        m: s.m,
        n: s.n,
        k: s.k,
        ta: s.ta,
        tb: s.tb,
    }));
    let mut expected = vec![0.0; s.batch * s.m * s.n];
    naive::matmul(&bench.contents[0], &bench.contents[1], &mut expected, s);
    hold(&bench, 2, &expected, &format!("{s:?}"));
}

#[test]
fn products() {
    let mut draw = Draw::new(1);
    let sizes = [
        (1, 1, 1, 1),
        (1, 5, 7, 3),
        (1, 64, 64, 64),
        (1, 130, 200, 77),
        (1, 3, 1000, 513),
        (1, 513, 3, 1000),
        (1, 257, 33, 1),
        (4, 17, 19, 23),
        (2, 100, 16, 600),
        (1, 67, 32, 2000),
        (1, 1100, 1060, 9),
    ];
    for (batch, m, n, k) in sizes {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let s = MatMulShape {
                batch,
                m,
                n,
                k,
                ta,
                tb,
            };
            matmul(&mut draw, s);
        }
    }
}

fn convolution(draw: &mut Draw, s: ConvShape) {
    let name = format!("{s:?}");
    let x = draw.numbers(s.x_len());
    let w = draw.numbers(s.w_len());
    let dy = draw.numbers(s.y_len());

    let mut bench = Bench::default();
    let ids = [
        bench.buffer(x.clone()),
        bench.buffer(w.clone()),
        bench.buffer(vec![f32::NAN; s.y_len()]),
    ];
    bench.kernel(KernelKind::Contraction(Contraction::Conv {
        x: ids[0],
        w: ids[1],
        y: ids[2],
        shape: s,
        algorithm: Algorithm::Direct,
    }));
    let mut expected = vec![0.0; s.y_len()];
    naive::conv(&x, &w, &mut expected, &s);
    hold(&bench, 2, &expected, &format!("forward {name}"));

    let mut bench = Bench::default();
    let ids = [
        bench.buffer(dy.clone()),
        bench.buffer(w.clone()),
        bench.buffer(vec![f32::NAN; s.x_len()]),
    ];
    bench.kernel(KernelKind::Contraction(Contraction::ConvInputGrad {
        dy: ids[0],
        w: ids[1],
        dx: ids[2],
        shape: s,
        algorithm: Algorithm::Direct,
    }));
    let mut expected = vec![0.0; s.x_len()];
    naive::conv_input_grad(&dy, &w, &mut expected, &s);
    hold(&bench, 2, &expected, &format!("input gradient {name}"));

    let mut bench = Bench::default();
    let ids = [
        bench.buffer(x.clone()),
        bench.buffer(dy.clone()),
        bench.buffer(vec![f32::NAN; s.w_len()]),
    ];
    bench.kernel(KernelKind::Contraction(Contraction::ConvFilterGrad {
        x: ids[0],
        dy: ids[1],
        dw: ids[2],
        shape: s,
        algorithm: Algorithm::Direct,
    }));
    let mut expected = vec![0.0; s.w_len()];
    naive::conv_filter_grad(&x, &dy, &mut expected, &s);
    hold(&bench, 2, &expected, &format!("filter gradient {name}"));
}

/// Sizes of a convolution, if they make sense.
#[allow(clippy::too_many_arguments)]
fn shape(
    n: usize,
    (h, w): (usize, usize),
    c: usize,
    k: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
) -> Option<ConvShape> {
    let out = |size: usize| Some((size + 2 * padding).checked_sub(kernel)? / stride + 1);
    Some(ConvShape {
        n,
        h,
        w,
        c,
        k,
        oh: out(h)?,
        ow: out(w)?,
        kernel,
        stride,
        padding,
        groups,
    })
}

#[test]
fn random_convolutions() {
    let mut draw = Draw::new(2);
    let mut count = 0;
    while count < 120 {
        let groups = draw.pick(&[1, 1, 1, 2, 3]);
        let s = shape(
            1 + draw.below(4),
            (1 + draw.below(12), 1 + draw.below(12)),
            groups * (1 + draw.below(9)),
            groups * (1 + draw.below(20)),
            1 + draw.below(5),
            1 + draw.below(3),
            draw.below(4),
            groups,
        );
        if let Some(s) = s {
            convolution(&mut draw, s);
            count += 1;
        }
    }
}

#[test]
fn convolutions_of_networks() {
    let mut draw = Draw::new(3);
    let shapes = [
        // Several chunks of images, bands of rows, blocks of channels and several panels.
        shape(33, (8, 8), 16, 16, 3, 1, 1, 1),
        shape(2, (32, 32), 3, 64, 3, 1, 1, 1),
        shape(1, (50, 41), 3, 32, 7, 2, 3, 1),
        shape(2, (16, 16), 64, 128, 3, 2, 1, 1),
        shape(2, (16, 16), 64, 128, 1, 2, 0, 1),
        shape(20, (4, 4), 128, 48, 3, 1, 1, 1),
        shape(3, (9, 9), 96, 40, 1, 1, 0, 1),
        // 1×1: partial results with packed columns, several blocks of rows, groups apart.
        shape(3, (21, 20), 40, 600, 1, 1, 0, 1),
        shape(2, (30, 29), 300, 36, 1, 2, 0, 1),
        shape(2, (18, 17), 48, 72, 1, 2, 0, 3),
        shape(2, (10, 10), 12, 12, 3, 1, 1, 12),
        shape(18, (5, 5), 20, 24, 3, 2, 1, 4),
        shape(1, (90, 90), 24, 8, 3, 1, 1, 1),
    ];
    for s in shapes.into_iter().flatten() {
        convolution(&mut draw, s);
    }
}
