//! Winograd's F(4×4, 3×3): a tile of 4×4 outputs of a 3×3 convolution from 6×6 inputs with 36 products.
//!
//! `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, equation 8).
//!
//! - [`transforms`]: the matrices along one axis.
#[allow(dead_code)]
mod transforms;
