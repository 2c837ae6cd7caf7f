//! Winograd's algorithm for 3×3 convolutions: a tile of outputs from a tile of inputs with fewer products.
//!
//! `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, equation 8).
//! Tensors in the transform's domain have 36 or 81 *points*; at each, the sums over channels are a matrix product.
//!
//! - [`transforms`]: the matrices along one axis; [`strided`]: those of stride 2.
//! - [`kernels`]: both axes of a tile, for each level. [`product`]: the register tiles of the products.
//! - [`blocks`]: how tiles are cut into blocks.
//! - [`ahead`]: fetching what comes next.
//! - [`plan`]: convolution and its input gradient.
//! - [`filter_grad`]: the filter's gradient.
mod ahead;
mod blocks;
mod filter_grad;
mod kernels;
mod plan;
mod product;
mod strided;
mod transforms;

pub use filter_grad::FilterGradPlan;
pub use plan::{Convolution, WinogradPlan};

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
