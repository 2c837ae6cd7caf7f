//! The functions of each level, for each type of operands and each stride.

use super::products::{Finish, Product, finish, product};
use super::tiles::{Corner, Place, Plane, Strided, Unit, tiles};
use crate::contract::vector::{Four, Vector};
use crate::contract::winograd::Scheme;
use crate::contract::winograd::forms::{Single, Widened};
use crate::level::{Features, Level};
use sslc_compiler::kernels::ir::Element;

/// Transforms as many tiles as a word has.
pub type TileKernel = unsafe fn(&Plane, &[Corner; 2], Place);

/// The functions of a level, for operands of a type.
#[derive(Clone, Copy, Debug)]
pub struct FilterKernels {
    pub lanes: usize,
    /// Tiles of a word.
    pub word: usize,
    /// Bᵀ d B.
    pub input: TileKernel,
    /// A dY Aᵀ.
    pub gradient: TileKernel,
    pub product: unsafe fn(&Product),
    pub finish: unsafe fn(&Finish),
}

impl FilterKernels {
    pub fn new(scheme: Scheme, operands: Element, features: Features) -> FilterKernels {
        let [unit, strided] = match (features.level, operands) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, Element::F32) => x86::avx512(),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, Element::Bf16) if features.bf16_products => x86::avx512_pairs(),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, Element::Bf16) => x86::avx512_bf16(),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, Element::F32) => x86::avx2(),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, Element::Bf16) => x86::avx2_bf16(),
            (_, Element::F32) => portable(),
            (_, Element::Bf16) => portable_bf16(),
        };
        match scheme {
            Scheme::Unit => unit,
            Scheme::Strided | Scheme::StridedGradient => strided,
        }
    }
}

/// Defines a function that gives the functions of a level for strides 1 and 2: vector type, form of the operands, tiles of a
/// word, and the channels of a wide and a narrow block.
macro_rules! kernels {
    ($name:ident, $vector:ty, $form:ty, $word:literal, [$wide:literal, $narrow:literal], $(#[$feature:meta])*) => {
        pub fn $name() -> [FilterKernels; 2] {
            $(#[$feature])*
            unsafe fn input(plane: &Plane, corners: &[Corner; 2], place: Place) {
                // SAFETY: the caller's.
                unsafe { tiles::<$vector, $form, Unit, 6, $word>(plane, corners, place) }
            }
            $(#[$feature])*
            unsafe fn gradient(plane: &Plane, corners: &[Corner; 2], place: Place) {
                // SAFETY: the caller's.
                unsafe { tiles::<$vector, $form, Unit, 4, $word>(plane, corners, place) }
            }
            $(#[$feature])*
            unsafe fn strided_input(plane: &Plane, corners: &[Corner; 2], place: Place) {
                // SAFETY: the caller's.
                unsafe { tiles::<$vector, $form, Strided, 9, $word>(plane, corners, place) }
            }
            $(#[$feature])*
            unsafe fn strided_gradient(plane: &Plane, corners: &[Corner; 2], place: Place) {
                // SAFETY: the caller's.
                unsafe { tiles::<$vector, $form, Strided, 4, $word>(plane, corners, place) }
            }
            $(#[$feature])*
            unsafe fn multiply(p: &Product) {
                // SAFETY: the caller's.
                unsafe { product::<$vector, $form, $wide, $narrow>(p) }
            }
            $(#[$feature])*
            unsafe fn back(f: &Finish) {
                // SAFETY: the caller's.
                unsafe { finish::<$vector, Unit, 6>(f) }
            }
            $(#[$feature])*
            unsafe fn strided_back(f: &Finish) {
                // SAFETY: the caller's.
                unsafe { finish::<$vector, Strided, 9>(f) }
            }
            let unit = FilterKernels {
                lanes: <$vector as Vector>::LANES,
                word: $word,
                input,
                gradient,
                product: multiply,
                finish: back,
            };
            let strided = FilterKernels {
                input: strided_input,
                gradient: strided_gradient,
                finish: strided_back,
                ..unit
            };
            [unit, strided]
        }
    };
}

kernels!(portable, Four, Single, 1, [4, 8],);
kernels!(portable_bf16, Four, Widened, 1, [4, 8],);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use crate::contract::winograd::forms::Pairs;
    use std::arch::x86_64::{__m256, __m512};

    kernels!(avx2, __m256, Single, 1, [6, 8], #[target_feature(enable = "avx2,fma")]);
    kernels!(avx2_bf16, __m256, Widened, 1, [6, 8], #[target_feature(enable = "avx2,fma")]);
    kernels!(
        avx512, __m512, Single, 1, [8, 16],
        #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")]
    );
    kernels!(
        avx512_bf16, __m512, Widened, 1, [8, 16],
        #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")]
    );
    kernels!(
        avx512_pairs, __m512, Pairs, 2, [8, 16],
        #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")]
    );
}
