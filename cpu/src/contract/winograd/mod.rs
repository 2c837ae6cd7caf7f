//! Winograd's algorithm for 3×3 convolutions: a tile of outputs from a tile of inputs with fewer products.
//!
//! `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, equation 8).
//! Tensors in the transform's domain have 36 or 81 *points*; at each, the sums over channels are a matrix product.
//!
//! - [`transforms`]: the matrices along one axis; [`strided`]: those of stride 2.
//! - [`forms`]: f32 and bf16 in tensors and in the domain.
//! - [`kernels`]: both axes of a tile, for each level. [`product`]: the register tiles of the products.
//! - [`blocks`]: how tiles are cut into blocks. [`transpose`]: turning filters round.
//! - [`convolution`]: what a plan is made for. [`plan`]: convolution and its input gradient.
//! - [`filter_grad`]: the filter's gradient.
mod blocks;
mod convolution;
mod filter_grad;
mod forms;
mod kernels;
mod plan;
mod product;
mod strided;
mod transforms;
mod transpose;

use crate::level::{Features, Level};
use sslc_compiler::kernels::ir::Element;

pub use convolution::Convolution;
pub use filter_grad::FilterGradPlan;
pub use plan::WinogradPlan;

/// How products are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// One at a time, in f32; operands of bf16 are f32 in the domain.
    Single(Level),
    /// Two of bf16 at a time, by AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    Pairs,
}

impl Arithmetic {
    /// For operands of a type, with what the machine has.
    fn new(operands: Element, features: Features) -> Arithmetic {
        match operands {
            #[cfg(target_arch = "x86_64")]
            Element::Bf16 if features.bf16_products => Arithmetic::Pairs,
            Element::F32 | Element::Bf16 => Arithmetic::Single(features.level),
        }
    }

    /// Channels of a word in the transform's domain.
    fn channels(self) -> usize {
        match self {
            Arithmetic::Single(_) => 1,
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Pairs => 2,
        }
    }
}

/// Taps of the filter along one axis.
const TAPS: usize = 3;

/// Inputs of the longest tile along one axis.
const LONGEST: usize = 9;

/// What a tile is made of, along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Stride 1: F(4, 3).
    Unit,
    /// Stride 2.
    Strided,
    /// The input's gradient at stride 2 and padding 1.
    StridedGradient,
}

impl Scheme {
    /// Inputs of a tile, at most [`LONGEST`].
    fn side(self) -> usize {
        match self {
            Scheme::Unit => 6,
            Scheme::Strided => 9,
            Scheme::StridedGradient => 5,
        }
    }

    /// Points in the transform's domain, of both axes.
    fn points(self) -> usize {
        match self {
            Scheme::Unit => 36,
            Scheme::Strided | Scheme::StridedGradient => strided::POINTS * strided::POINTS,
        }
    }

    /// Outputs of a tile.
    fn tile(self) -> usize {
        match self {
            Scheme::Unit | Scheme::Strided => 4,
            Scheme::StridedGradient => 8,
        }
    }

    /// Inputs from one tile to the next.
    fn step(self) -> usize {
        match self {
            Scheme::Unit | Scheme::StridedGradient => 4,
            Scheme::Strided => 8,
        }
    }
}
