//! What the plan of a convolution is made for.

use super::Scheme;
use sslc_compiler::kernels::ir::{ConvShape, Element};

/// A 3×3 convolution, or its gradient with respect to the input.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    pub scheme: Scheme,
    /// Places in the arena, in words.
    pub input: usize,
    pub weights: usize,
    pub output: usize,
    pub images: usize,
    /// Height and width of what is read and of what is written.
    pub from: (usize, usize),
    pub to: (usize, usize),
    /// Channels of what is read and of what is written.
    pub inner: usize,
    pub outer: usize,
    /// Rows, and columns, of zeros before the first of what is read; negative where some are left out.
    pub padding: isize,
    /// Whether the filter, of shape [3, 3, outer, inner], is to be turned; else it is [3, 3, inner, outer].
    pub turned: bool,
    /// How the operands and the result are stored.
    pub operands: Element,
    pub result: Element,
}

impl Convolution {
    /// A convolution: places of input, filter and output; how operands and result are stored.
    pub fn forward(
        s: &ConvShape,
        [input, weights, output]: [usize; 3],
        [operands, result]: [Element; 2],
    ) -> Convolution {
        Convolution {
            scheme: match s.stride {
                1 => Scheme::Unit,
                _ => Scheme::Strided,
            },
            input,
            weights,
            output,
            images: s.n,
            from: (s.h, s.w),
            to: (s.oh, s.ow),
            inner: s.c,
            outer: s.k,
            padding: s.padding as isize,
            turned: false,
            operands,
            result,
        }
    }

    /// Its input's gradient: places of the output's gradient, the filter and the input's gradient.
    pub fn input_gradient(
        s: &ConvShape,
        [input, weights, output]: [usize; 3],
        [operands, result]: [Element; 2],
    ) -> Convolution {
        let (scheme, padding) = match s.stride {
            1 => (Scheme::Unit, 2 - s.padding as isize),
            _ => (Scheme::StridedGradient, 0),
        };
        Convolution {
            scheme,
            input,
            weights,
            output,
            images: s.n,
            from: (s.oh, s.ow),
            to: (s.h, s.w),
            inner: s.k,
            outer: s.c,
            padding,
            turned: true,
            operands,
            result,
        }
    }
}
