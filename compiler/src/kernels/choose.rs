//! The choice of an algorithm, by a model of what each costs.
//!
//! Work is counted in multiply-adds of f32 on vectors that are full: what a step of another kind costs is in how many of those it
//! takes as long. The factors were measured on AVX-512 with two threads; what matters is only which of two sums is less.

use super::ir::{Algorithm, BufferId, Contraction, ConvShape, Element, KernelKind};
use crate::program::Math;

/// What of a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    InputGrad,
    FilterGrad,
}

/// Channels of a vector.
const LANES: usize = 16;
/// Outputs along a side of a tile.
const TILE: usize = 4;
/// Products of a tile, at stride 1 and at stride 2.
const POINTS: [usize; 2] = [36, 81];
/// Bringing an element of the input into the transform's domain, or an element of the products' sums out of it.
const TRANSFORM: f64 = 8.0;
/// The same in the filter's gradient at stride 2, whose tiles and sums together are more than a second-level cache holds.
const SPILLED: f64 = 36.0;
/// An element of the filter in the transform's domain: computed, written and read again.
const FILTER: f64 = 24.0;
/// An element read from memory or written there.
const MEMORY: f64 = 13.0;

/// Multiply-adds that a convolution takes as long as; `None` where there is no such algorithm for it.
pub fn work(s: &ConvShape, pass: Pass, algorithm: Algorithm) -> Option<f64> {
    // Sums run over one kind of channel; the other fills vectors.
    let (inner, outer) = match pass {
        Pass::Forward => (s.c, s.k),
        Pass::InputGrad | Pass::FilterGrad => (s.k, s.c),
    };
    let memory = MEMORY * (s.x_len() + s.y_len() + s.w_len()) as f64;
    let products = match algorithm {
        Algorithm::Direct => {
            let columns = match pass {
                Pass::FilterGrad => s.k / s.groups,
                Pass::Forward | Pass::InputGrad => outer / s.groups,
            };
            let taps = product(&[s.n, s.oh, s.ow, s.kernel, s.kernel]);
            let rows = match pass {
                Pass::FilterGrad => s.c,
                Pass::Forward | Pass::InputGrad => inner,
            };
            taps * product(&[rows, columns.next_multiple_of(LANES)])
        }
        Algorithm::Winograd if s.has_winograd() => {
            // The input gradient's tiles cover the input, those of the others the output.
            let (h, w) = match pass {
                Pass::InputGrad => (s.h, s.w),
                Pass::Forward | Pass::FilterGrad => (s.oh * s.stride, s.ow * s.stride),
            };
            let side = TILE * s.stride;
            let tiles = product(&[s.n, h.div_ceil(side), w.div_ceil(side)]);
            let (inner, outer) = (inner.next_multiple_of(LANES), outer.next_multiple_of(LANES));
            let points = POINTS[s.stride - 1] as f64;
            let transform = match pass {
                Pass::FilterGrad if s.stride == 2 => SPILLED,
                Pass::Forward | Pass::InputGrad | Pass::FilterGrad => TRANSFORM,
            };
            points
                * (tiles * product(&[inner, outer])
                    + transform * tiles * product(&[inner + outer])
                    + FILTER * product(&[inner, outer]))
        }
        Algorithm::Winograd => return None,
    };
    Some(products.max(memory))
}

fn product(sizes: &[usize]) -> f64 {
    sizes.iter().map(|s| *s as f64).product()
}

/// Sets the algorithm of a convolution to the one of least work, by how the elements of its result are stored.
pub fn choose(kind: &mut KernelKind, math: Math, stored: impl Fn(BufferId) -> Element) {
    let Some(contraction) = kind.contraction_mut() else {
        return;
    };
    let has = contraction.algorithm(stored(contraction.result()));
    let (shape, pass, algorithm) = match contraction {
        Contraction::Conv {
            shape, algorithm, ..
        } => (shape, Pass::Forward, algorithm),
        Contraction::ConvInputGrad {
            shape, algorithm, ..
        } => (shape, Pass::InputGrad, algorithm),
        Contraction::ConvFilterGrad {
            shape, algorithm, ..
        } => (shape, Pass::FilterGrad, algorithm),
        Contraction::MatMul { .. } => return,
    };
    *algorithm = match has {
        Some((_, true)) => best(shape, pass, math),
        Some((_, false)) | None => Algorithm::Direct,
    };
}

/// The algorithm of least work that the arithmetic asked for allows.
fn best(shape: &ConvShape, pass: Pass, math: Math) -> Algorithm {
    let work = |algorithm| work(shape, pass, algorithm).unwrap_or(f64::INFINITY);
    if math == Math::Fast && work(Algorithm::Winograd) < work(Algorithm::Direct) {
        Algorithm::Winograd
    } else {
        Algorithm::Direct
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::ir::{Buffer, BufferKind, Kernel, KernelProgram};
    use crate::kernels::verify::verify;

    fn shape(size: usize, c: usize, k: usize, kernel: usize, stride: usize) -> ConvShape {
        ConvShape::square(256, size, [c, k], kernel, stride)
    }

    #[test]
    fn fewer_products_win_where_there_are_channels_to_share_the_transforms() {
        for (size, c) in [(32, 64), (8, 256), (28, 16), (7, 64)] {
            let s = shape(size, c, c, 3, 1);
            assert_eq!(best(&s, Pass::Forward, Math::Fast), Algorithm::Winograd);
            assert_eq!(best(&s, Pass::InputGrad, Math::Fast), Algorithm::Winograd);
        }
        let first = shape(32, 3, 64, 3, 1);
        assert_eq!(best(&first, Pass::Forward, Math::Fast), Algorithm::Direct);
    }

    #[test]
    fn strict_arithmetic_adds_every_product() {
        let s = shape(32, 64, 64, 3, 1);
        for pass in [Pass::Forward, Pass::InputGrad, Pass::FilterGrad] {
            assert_eq!(best(&s, pass, Math::Strict), Algorithm::Direct);
        }
    }

    #[test]
    fn a_filters_gradient_of_bf16_adds_every_product() {
        let gradient = Contraction::ConvFilterGrad {
            x: BufferId(0),
            dy: BufferId(1),
            dw: BufferId(2),
            shape: shape(32, 64, 64, 3, 1),
            algorithm: Algorithm::Direct,
        };
        let chosen = |stored: Element| {
            let mut kind = KernelKind::Contraction(gradient.clone());
            choose(&mut kind, Math::Fast, |_| stored);
            kind.contraction()
                .and_then(|c| c.algorithm(stored))
                .map(|(a, _)| a)
        };
        assert_eq!(chosen(Element::F32), Some(Algorithm::Winograd));
        assert_eq!(chosen(Element::Bf16), Some(Algorithm::Direct));
    }

    #[test]
    fn other_windows_have_no_winograd() {
        let mut grouped = shape(32, 64, 64, 3, 1);
        grouped.groups = 4;
        for s in [shape(32, 64, 64, 1, 1), shape(32, 64, 64, 7, 2), grouped] {
            assert_eq!(work(&s, Pass::Forward, Algorithm::Winograd), None);
            assert_eq!(best(&s, Pass::Forward, Math::Fast), Algorithm::Direct);
        }
    }

    #[test]
    fn the_verifier_refuses_an_algorithm_that_is_not_there() {
        let mut program = KernelProgram::default();
        program.kernels.push(Kernel {
            name: "conv".to_string(),
            kind: KernelKind::Contraction(Contraction::Conv {
                x: BufferId(0),
                w: BufferId(0),
                y: BufferId(0),
                shape: shape(32, 64, 64, 1, 1),
                algorithm: Algorithm::Winograd,
            }),
        });
        program.buffers.push(Buffer {
            name: "x".to_string(),
            kind: BufferKind::State,
            element: Element::F32,
            shape: vec![1],
            offset: 0,
        });
        program.arena_len = 16;
        let said = verify(&program).join("\n");
        assert!(said.contains("winograd is not for"), "{said}");
    }
}
