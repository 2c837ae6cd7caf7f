//! How elements are stored in tensors and in the transform's domain, for each type of operands and of results.

use crate::contract::vector::Vector;
use sslc_compiler::core::bf16;

/// The most lanes of a vector.
const MAX_LANES: usize = 16;

/// An element as it is stored.
pub trait Stored: Copy + Default {}
impl Stored for f32 {}
impl Stored for u16 {}

/// Operands: elements of a tensor, and words of 4 bytes in the transform's domain.
///
/// # Safety
/// The operations may only be executed where the machine has the vector's and the form's instructions.
pub unsafe trait Operands<V: Vector> {
    type Element: Stored;
    /// Channels of a word.
    const CHANNELS: usize = 1;
    unsafe fn load(p: *const Self::Element) -> V;
    /// Puts a vector of channels into the domain.
    unsafe fn put(v: V, p: *mut f32);
    /// Puts the filters of a word's channels into the domain, a word for each output.
    unsafe fn put_filter(channels: [V; 2], p: *mut f32);
    /// `sums + a·b` for words of the domain.
    unsafe fn add_product(sums: V, a: V, b: V) -> V;
}

/// Results: elements of a tensor.
///
/// # Safety
/// As for [`Operands`].
pub unsafe trait Results<V: Vector> {
    type Element: Stored;
    unsafe fn put(v: V, p: *mut Self::Element);
    /// Past the caches; `p` is at a multiple of a vector of elements.
    unsafe fn stream(v: V, p: *mut Self::Element);
    /// Copies whole vectors of elements past the caches; `to` is at a multiple of one.
    unsafe fn stream_all(from: *const Self::Element, to: *mut Self::Element, len: usize);
}

/// f32, in the domain as well.
#[derive(Debug)]
pub struct Single;

// SAFETY: needs the vector's instructions only.
unsafe impl<V: Vector> Operands<V> for Single {
    type Element = f32;
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        // SAFETY: the caller's.
        unsafe { V::load(p) }
    }
    #[inline(always)]
    unsafe fn put(v: V, p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { v.store(p) }
    }
    #[inline(always)]
    unsafe fn put_filter(channels: [V; 2], p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { channels[0].store(p) }
    }
    #[inline(always)]
    unsafe fn add_product(sums: V, a: V, b: V) -> V {
        // SAFETY: the caller's.
        unsafe { sums.add_product(a, b) }
    }
}

// SAFETY: as above.
unsafe impl<V: Vector> Results<V> for Single {
    type Element = f32;
    #[inline(always)]
    unsafe fn put(v: V, p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { v.store(p) }
    }
    #[inline(always)]
    unsafe fn stream(v: V, p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { v.stream(p) }
    }
    #[inline(always)]
    unsafe fn stream_all(from: *const f32, to: *mut f32, len: usize) {
        for i in (0..len).step_by(V::LANES) {
            // SAFETY: the caller's.
            unsafe { V::load(from.add(i)).stream(to.add(i)) }
        }
    }
}

/// bf16, in the domain f32 that are bf16: for machines that cannot multiply bf16.
#[derive(Debug)]
pub struct Widened;

/// Changes every lane.
#[inline(always)]
unsafe fn each<V: Vector>(v: V, change: impl Fn(f32) -> f32) -> V {
    let mut lanes = [0.0f32; MAX_LANES];
    // SAFETY: the array is good for a vector.
    unsafe {
        v.store(lanes.as_mut_ptr());
        for lane in &mut lanes[..V::LANES] {
            *lane = change(*lane);
        }
        V::load(lanes.as_ptr())
    }
}

// SAFETY: needs the vector's instructions only.
unsafe impl<V: Vector> Operands<V> for Widened {
    type Element = u16;
    #[inline(always)]
    unsafe fn load(p: *const u16) -> V {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the caller's pointer is good for an element of each lane, the array for a vector.
        unsafe {
            for (i, lane) in lanes[..V::LANES].iter_mut().enumerate() {
                *lane = bf16::widen(*p.add(i));
            }
            V::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn put(v: V, p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { each(v, bf16::round).store(p) }
    }
    #[inline(always)]
    unsafe fn put_filter(channels: [V; 2], p: *mut f32) {
        // SAFETY: the caller's.
        unsafe { each(channels[0], bf16::round).store(p) }
    }
    #[inline(always)]
    unsafe fn add_product(sums: V, a: V, b: V) -> V {
        // SAFETY: the caller's.
        unsafe { sums.add_product(a, b) }
    }
}

// SAFETY: as above.
unsafe impl<V: Vector> Results<V> for Widened {
    type Element = u16;
    #[inline(always)]
    unsafe fn put(v: V, p: *mut u16) {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the array is good for a vector, the caller's pointer for an element of each lane.
        unsafe {
            v.store(lanes.as_mut_ptr());
            for (i, lane) in lanes[..V::LANES].iter().enumerate() {
                *p.add(i) = bf16::narrow(*lane);
            }
        }
    }
    #[inline(always)]
    unsafe fn stream(v: V, p: *mut u16) {
        // SAFETY: the caller's.
        unsafe { <Widened as Results<V>>::put(v, p) }
    }
    #[inline(always)]
    unsafe fn stream_all(from: *const u16, to: *mut u16, len: usize) {
        // SAFETY: the caller's; the places are apart.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::Pairs;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Operands, Results};
    use std::arch::x86_64::*;

    /// bf16, two channels to a word in the domain, by AVX512-BF16.
    #[derive(Debug)]
    pub struct Pairs;

    #[inline(always)]
    unsafe fn narrow(v: __m512) -> __m256i {
        // SAFETY: see the impls; the types are of one size and any bits are valid in both.
        unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)) }
    }

    // SAFETY: the kernels that use it are only handed out where the machine has AVX512-BF16.
    unsafe impl Operands<__m512> for Pairs {
        type Element = u16;
        const CHANNELS: usize = 2;
        #[inline(always)]
        unsafe fn load(p: *const u16) -> __m512 {
            // SAFETY: see the impl; the caller's pointer is good for an element of each lane.
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
            }
        }
        #[inline(always)]
        unsafe fn put(v: __m512, p: *mut f32) {
            // SAFETY: see the impl; the caller's pointer is good for half a word of each lane.
            unsafe { _mm256_storeu_si256(p.cast(), narrow(v)) }
        }
        #[inline(always)]
        unsafe fn put_filter([low, high]: [__m512; 2], p: *mut f32) {
            // SAFETY: see the impl; the caller's pointer is good for a word of each lane.
            unsafe {
                let low = _mm512_cvtepu16_epi32(narrow(low));
                let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow(high)));
                _mm512_storeu_si512(p.cast(), _mm512_or_si512(low, high));
            }
        }
        #[inline(always)]
        unsafe fn add_product(sums: __m512, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see the impl; the types are of one size and any bits are valid in both.
            unsafe {
                let a = std::mem::transmute::<__m512, __m512bh>(a);
                let b = std::mem::transmute::<__m512, __m512bh>(b);
                _mm512_dpbf16_ps(sums, a, b)
            }
        }
    }

    // SAFETY: as above.
    unsafe impl Results<__m512> for Pairs {
        type Element = u16;
        #[inline(always)]
        unsafe fn put(v: __m512, p: *mut u16) {
            // SAFETY: see the impl; the caller's pointer is good for an element of each lane.
            unsafe { _mm256_storeu_si256(p.cast(), narrow(v)) }
        }
        #[inline(always)]
        unsafe fn stream(v: __m512, p: *mut u16) {
            // SAFETY: as above; `p` is aligned to what is written.
            unsafe { _mm256_stream_si256(p.cast(), narrow(v)) }
        }
        #[inline(always)]
        unsafe fn stream_all(from: *const u16, to: *mut u16, len: usize) {
            for i in (0..len).step_by(16) {
                // SAFETY: as above.
                unsafe {
                    let elements = _mm256_loadu_si256(from.add(i).cast());
                    _mm256_stream_si256(to.add(i).cast(), elements);
                }
            }
        }
    }
}
