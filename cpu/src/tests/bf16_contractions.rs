//! Contractions of bf16 against the plain ones on the same operands, at every level, with and without the machine's
//! products of bf16: random shapes, results in bf16 and in f32.

use super::{Bench, CpuDevice, Draw, bits, devices, relative_l2};
use proptest::prelude::*;
use sslc_compiler::kernels::ir::{
    Algorithm, BufferId, Contraction, ConvShape, Element, KernelKind,
};
use sslc_compiler::kernels::naive::{self, MatMulShape};

/// Relative L2 of a result in f32.
const TOLERANCE: f64 = 1e-5;
/// What rounding to bf16 moves a number by at most, relative to it.
const HALF_ULP: f64 = 1.0 / 256.0;

/// What a contraction of two operands is by definition.
type Plain<'a> = dyn Fn(&[f32], &[f32], &mut [f32]) + 'a;

/// A contraction of two operands, and what it is by definition.
struct Product<'a> {
    sizes: [usize; 3],
    kernel: &'a dyn Fn([BufferId; 3]) -> Contraction,
    plain: &'a Plain<'a>,
}

impl Product<'_> {
    /// Every device gives the product within the tolerances, and the same bits for any number of threads.
    fn hold(&self, seed: u64) {
        let [left, right, len] = self.sizes;
        for element in [Element::Bf16, Element::F32] {
            let mut draw = Draw::new(seed);
            let mut bench = Bench::default();
            let ids = [
                bench.buffer_of(Element::Bf16, draw.numbers(left)),
                bench.buffer_of(Element::Bf16, draw.numbers(right)),
                bench.buffer_of(element, vec![f32::NAN; len]),
            ];
            bench.kernel(KernelKind::Contraction((self.kernel)(ids)));
            let mut expected = vec![0.0; len];
            (self.plain)(&bench.contents[0], &bench.contents[1], &mut expected);
            for device in devices() {
                let one = bench.run(device(1));
                match element {
                    Element::F32 => {
                        let error = relative_l2(&one[2], &expected);
                        assert!(error < TOLERANCE, "{:?}: {error:e}", device(1));
                    }
                    Element::Bf16 => assert_rounded(&one[2], &expected, device(1)),
                }
                for threads in [2, 4] {
                    let more = bench.run(device(threads));
                    assert!(bits(&more) == bits(&one), "{:?}", device(threads));
                }
            }
        }
    }
}

/// Each number is what is expected, off by no more than a result in f32 may be, then rounded to the nearest.
fn assert_rounded(got: &[f32], expected: &[f32], device: CpuDevice) {
    let norm = expected.iter().map(|e| f64::from(*e).powi(2)).sum::<f64>();
    let sum = TOLERANCE * norm.sqrt() * (1.0 + HALF_ULP);
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let (got, expected) = (f64::from(*got), f64::from(*expected));
        assert!(
            (got - expected).abs() <= HALF_ULP * expected.abs() + sum,
            "{device:?}, element {i}: {got} of {expected}"
        );
    }
}

fn matmul(s: MatMulShape, seed: u64) {
    let MatMulShape {
        batch,
        m,
        n,
        k,
        ta,
        tb,
    } = s;
    Product {
        sizes: [batch * m * k, batch * k * n, batch * m * n],
        kernel: &|[a, b, out]| Contraction::MatMul {
            a,
            b,
            out,
            batch,
            m,
            n,
            k,
            ta,
            tb,
        },
        plain: &|a, b, out| naive::matmul(a, b, out, s),
    }
    .hold(seed);
}

fn convolution(shape: ConvShape, seed: u64) {
    Product {
        sizes: [shape.x_len(), shape.w_len(), shape.y_len()],
        kernel: &|[x, w, y]| Contraction::Conv {
            x,
            w,
            y,
            shape,
            algorithm: Algorithm::Direct,
        },
        plain: &|x, w, y| naive::conv(x, w, y, &shape),
    }
    .hold(seed);
    Product {
        sizes: [shape.y_len(), shape.w_len(), shape.x_len()],
        kernel: &|[dy, w, dx]| Contraction::ConvInputGrad {
            dy,
            w,
            dx,
            shape,
            algorithm: Algorithm::Direct,
        },
        plain: &|dy, w, dx| naive::conv_input_grad(dy, w, dx, &shape),
    }
    .hold(seed);
    Product {
        sizes: [shape.x_len(), shape.y_len(), shape.w_len()],
        kernel: &|[x, dy, dw]| Contraction::ConvFilterGrad {
            x,
            dy,
            dw,
            shape,
            algorithm: Algorithm::Direct,
        },
        plain: &|x, dy, dw| naive::conv_filter_grad(x, dy, dw, &shape),
    }
    .hold(seed);
}

prop_compose! {
    fn matmuls()(batch in 1..4usize, m in 1..150usize, n in 1..150usize, k in 1..150usize, ta: bool, tb: bool) -> MatMulShape {
        MatMulShape { batch, m, n, k, ta, tb }
    }
}

prop_compose! {
    /// Channels are `groups` times a few, so that they are odd as often as even.
    fn convolutions()(
        n in 1..5usize,
        kernel in 1..6usize,
        stride in 1..4usize,
        padding in 0..4usize,
        groups in prop::sample::select(vec![1, 1, 1, 2, 3]),
        (oh, ow) in (1..8usize, 1..8usize),
        (left_h, left_w) in (0..3usize, 0..3usize),
        (c, k) in (1..10usize, 1..24usize),
    ) -> Option<ConvShape> {
        // Inputs that give this many outputs, some with a rest that no window reaches.
        let side = |out: usize, left: usize| {
            ((out - 1) * stride + kernel + left % stride).checked_sub(2 * padding).filter(|s| *s > 0)
        };
        Some(ConvShape {
            n, h: side(oh, left_h)?, w: side(ow, left_w)?, c: groups * c, k: groups * k, oh, ow, kernel, stride, padding, groups,
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products(s in matmuls(), seed: u64) {
        matmul(s, seed);
    }

    #[test]
    fn random_convolutions(s in convolutions().prop_filter_map("padding beyond the input", |s| s), seed: u64) {
        convolution(s, seed);
    }
}

#[test]
fn convolutions_of_networks() {
    for shape in [
        ConvShape::square(1, 40, [3, 64], 7, 2),
        ConvShape::square(3, 16, [1, 16], 3, 1),
        ConvShape::square(2, 16, [64, 128], 3, 2),
        ConvShape::square(2, 16, [64, 80], 1, 2),
        ConvShape::square(3, 8, [96, 40], 1, 1),
        ConvShape::square(3, 9, [70, 40], 1, 2),
        ConvShape::square(33, 8, [16, 32], 3, 1),
    ] {
        convolution(shape, 7);
    }
}

#[test]
fn inner_indices_beyond_a_block() {
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let s = MatMulShape {
            batch: 1,
            m: 70,
            n: 50,
            k: 9001,
            ta,
            tb,
        };
        matmul(s, 11);
    }
}
