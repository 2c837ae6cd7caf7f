//! Vectors of f32 of each level, behind one trait.

/// A vector of f32 and what tiles and transforms need of it.
///
/// # Safety
/// The operations may only be executed where the machine has the vector's instructions.
pub unsafe trait Vector: Copy {
    const LANES: usize;
    /// Vectors that the processor has registers for.
    const REGISTERS: usize = if Self::LANES == 16 { 32 } else { 16 };
    unsafe fn zero() -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn splat(p: *const f32) -> Self;
    /// Stores past the caches where there is such an instruction; `p` is at a multiple of the vector's size.
    unsafe fn stream(self, p: *mut f32);
    /// `a·b + self`
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    /// A number in every lane.
    unsafe fn number(value: f32) -> Self;
    /// Brings the line of `p`, which need not be valid, into the first-level cache.
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE is part of every such processor, and a prefetch of any address is harmless.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(p.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }
    /// The first `n` lanes from memory, the others 0.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the caller's pointer is good for n elements.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n.min(Self::LANES));
            Self::load(lanes.as_ptr())
        }
    }
    /// Stores the first `n` lanes.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the caller's pointer is good for n elements.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n.min(Self::LANES));
        }
    }
}

/// The most lanes of a vector.
const MAX_LANES: usize = 16;

/// Four lanes in the instructions that every processor of the target has.
#[derive(Clone, Copy)]
pub struct Four([f32; 4]);

// SAFETY: needs no instructions beyond the target's.
unsafe impl Vector for Four {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Four {
        Four([0.0; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Four {
        // SAFETY: the caller's pointer is good for four elements.
        Four(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's pointer is good for four elements.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn stream(self, p: *mut f32) {
        // SAFETY: as for `store`.
        unsafe { self.store(p) }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Four {
        // SAFETY: the caller's pointer is good for one element.
        Four([unsafe { *p }; 4])
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Four, b: Four) -> Four {
        Four(std::array::from_fn(|i| a.0[i] * b.0[i] + self.0[i]))
    }
    #[inline(always)]
    unsafe fn add(self, b: Four) -> Four {
        Four(std::array::from_fn(|i| self.0[i] + b.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, b: Four) -> Four {
        Four(std::array::from_fn(|i| self.0[i] - b.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, b: Four) -> Four {
        Four(std::array::from_fn(|i| self.0[i] * b.0[i]))
    }
    #[inline(always)]
    unsafe fn number(value: f32) -> Four {
        Four([value; 4])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    macro_rules! vector {
        ($ty:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $stream:ident, $set1:ident, $fma:ident, $add:ident, $sub:ident, $mul:ident) => {
            // SAFETY: the kernels that use it are only handed out for the level that has its instructions.
            unsafe impl Vector for $ty {
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: see the impl.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn load(p: *const f32) -> Self {
                    // SAFETY: see the impl; the caller's pointer is good for a vector.
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut f32) {
                    // SAFETY: see the impl; the caller's pointer is good for a vector.
                    unsafe { $store(p, self) }
                }
                #[inline(always)]
                unsafe fn stream(self, p: *mut f32) {
                    // SAFETY: see the impl; the caller's pointer is good for a vector and aligned to it.
                    unsafe { $stream(p, self) }
                }
                #[inline(always)]
                unsafe fn splat(p: *const f32) -> Self {
                    // SAFETY: see the impl; the caller's pointer is good for an element.
                    unsafe { $set1(*p) }
                }
                #[inline(always)]
                unsafe fn add_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: see the impl.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn add(self, b: Self) -> Self {
                    // SAFETY: see the impl.
                    unsafe { $add(self, b) }
                }
                #[inline(always)]
                unsafe fn sub(self, b: Self) -> Self {
                    // SAFETY: see the impl.
                    unsafe { $sub(self, b) }
                }
                #[inline(always)]
                unsafe fn mul(self, b: Self) -> Self {
                    // SAFETY: see the impl.
                    unsafe { $mul(self, b) }
                }
                #[inline(always)]
                unsafe fn number(value: f32) -> Self {
                    // SAFETY: see the impl.
                    unsafe { $set1(value) }
                }
            }
        };
    }

    vector!(
        __m256,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_stream_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps
    );
    vector!(
        __m512,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_stream_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps
    );
}
