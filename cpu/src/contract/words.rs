//! What the register tiles of the direct kernels need of vectors besides their arithmetic.
//!
//! Operands come in words of 4 bytes: an f32, or a pair of bf16 whose products are added in one step.

use super::vector::{Four, Vector};
use sslc_compiler::core::bf16::narrow;

/// A vector of f32 sums, and of words to multiply: [`Vector::load`] gives words as well, [`Vector::add_product`]
/// multiplies them.
///
/// # Safety
/// The operations may only be executed where the machine has the vector's instructions.
pub unsafe trait Words: Vector {
    /// Whether a word is a pair of bf16.
    const PAIRS: bool = false;
    /// The word at any address in each lane.
    #[inline(always)]
    unsafe fn word(p: *const u8) -> Self {
        // SAFETY: the caller's pointer is good for a word.
        unsafe { Self::number(p.cast::<f32>().read_unaligned()) }
    }
    /// A single bf16, paired with 0, in each lane; only where words are pairs.
    #[inline(always)]
    unsafe fn half_word(p: *const u8) -> Self {
        // SAFETY: the caller's; not reached where words are not pairs.
        unsafe { Self::word(p) }
    }
    /// The nearest bf16 of each lane.
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16) {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the caller's pointer is good for a bf16 of each lane.
        unsafe {
            self.store(lanes.as_mut_ptr());
            for (i, lane) in lanes.iter().enumerate().take(Self::LANES) {
                *p.add(i) = narrow(*lane);
            }
        }
    }
    /// The nearest bf16 of two vectors' lanes, past the caches where the level can; `p` is aligned to what is written.
    #[inline(always)]
    unsafe fn stream_bf16(self, other: Self, p: *mut u16) {
        // SAFETY: the caller's pointer is good for a bf16 of each lane.
        unsafe {
            self.store_bf16(p);
            other.store_bf16(p.add(Self::LANES));
        }
    }
}

/// The most lanes of a vector.
const MAX_LANES: usize = 16;

// SAFETY: needs no instructions beyond the target's.
unsafe impl Words for Four {}

#[cfg(target_arch = "x86_64")]
pub use x86::Pairs;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Vector, Words};
    use std::arch::x86_64::*;

    // SAFETY: the kernels that use it are only handed out for the level that has its instructions.
    unsafe impl Words for __m256 {}
    // SAFETY: as above.
    unsafe impl Words for __m512 {}

    /// Sums of bf16 products by AVX512-BF16, which takes subnormal operands and results for 0.
    #[derive(Clone, Copy)]
    pub struct Pairs(__m512);

    // SAFETY: the kernels that use it are only handed out where the machine has AVX512-BF16.
    unsafe impl Vector for Pairs {
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: see the impl.
            Pairs(unsafe { <__m512 as Vector>::zero() })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            // SAFETY: see the impl; the caller's pointer is good for a vector.
            Pairs(unsafe { <__m512 as Vector>::load(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            // SAFETY: see the impl; the caller's pointer is good for a vector.
            unsafe { self.0.store(p) }
        }
        #[inline(always)]
        unsafe fn stream(self, p: *mut f32) {
            // SAFETY: see the impl; the caller's pointer is good for a vector and aligned to it.
            unsafe { self.0.stream(p) }
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> Self {
            // SAFETY: see the impl; the caller's pointer is good for a word.
            unsafe { Self::word(p.cast()) }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: see the impl; the types are of one size and any bits are valid in both.
            unsafe {
                let a = std::mem::transmute::<__m512, __m512bh>(a.0);
                let b = std::mem::transmute::<__m512, __m512bh>(b.0);
                Pairs(_mm512_dpbf16_ps(self.0, a, b))
            }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            // SAFETY: see the impl.
            Pairs(unsafe { self.0.add(b.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            // SAFETY: see the impl.
            Pairs(unsafe { self.0.sub(b.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            // SAFETY: see the impl.
            Pairs(unsafe { self.0.mul(b.0) })
        }
        #[inline(always)]
        unsafe fn number(value: f32) -> Self {
            // SAFETY: see the impl.
            Pairs(unsafe { <__m512 as Vector>::number(value) })
        }
    }

    // SAFETY: as above.
    unsafe impl Words for Pairs {
        const PAIRS: bool = true;
        #[inline(always)]
        unsafe fn word(p: *const u8) -> Self {
            // SAFETY: see the impl; the caller's pointer is good for a pair.
            unsafe {
                let pair = _mm512_set1_epi32(p.cast::<i32>().read_unaligned());
                Pairs(_mm512_castsi512_ps(pair))
            }
        }
        #[inline(always)]
        unsafe fn half_word(p: *const u8) -> Self {
            // SAFETY: see the impl; the caller's pointer is good for a bf16.
            unsafe {
                let single = i32::from(p.cast::<u16>().read_unaligned());
                Pairs(_mm512_castsi512_ps(_mm512_set1_epi32(single)))
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, p: *mut u16) {
            // SAFETY: see the impl; the caller's pointer is good for a bf16 of each lane; the types are of one size.
            unsafe {
                let lanes = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0));
                _mm256_storeu_si256(p.cast(), lanes);
            }
        }
        #[inline(always)]
        unsafe fn stream_bf16(self, other: Self, p: *mut u16) {
            // SAFETY: as above, for two vectors; `p` is aligned to a cache line.
            unsafe {
                let lanes = _mm512_cvtne2ps_pbh(other.0, self.0);
                _mm512_stream_si512(p.cast(), std::mem::transmute::<__m512bh, __m512i>(lanes));
            }
        }
    }
}
