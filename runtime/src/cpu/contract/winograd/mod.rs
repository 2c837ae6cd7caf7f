//! Winograd's F(4×4, 3×3): a tile of 4×4 outputs of a 3×3 convolution from 6×6 inputs with 36 products.
//!
//! `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, equation 8).
//! Tensors in the transform's domain have 36 *points*; at each, the sums over channels are a matrix product.
//!
//! - [`transforms`]: the matrices along one axis.
//! - [`kernels`]: both axes of a tile, for each level. [`product`]: the register tiles of the products.
//! - [`blocks`]: how tiles are cut into blocks.
//! - [`ahead`]: fetching what comes next.
//! - [`plan`]: convolution and its input gradient.
mod ahead;
mod blocks;
mod kernels;
mod plan;
mod product;
#[allow(dead_code)]
mod transforms;

pub use plan::{Convolution, WinogradPlan};

/// Points of the transform's domain along one axis, and in all.
const SIDE: usize = 6;
const POINTS: usize = SIDE * SIDE;
/// Outputs of a tile along one axis.
const TILE: usize = 4;
/// Taps of the filter along one axis.
const TAPS: usize = 3;
