//! How the elements of a contraction's operands are stored and multiplied, and how they are brought into scratch.

use crate::level::{Features, Level, leveled};
use crate::loops::ops::narrow_loop;
use sslc_compiler::core::bf16::widen;
use sslc_compiler::kernels::ir::Element;

/// How products are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// Of f32.
    F32,
    /// Of bf16, two at a time by the machine's dot product.
    Pairs,
    /// Of bf16 widened to f32 as they are brought into scratch.
    Widened,
}

impl Products {
    /// For operands of a type, with what the machine has.
    pub fn new(element: Element, features: Features) -> Products {
        match element {
            Element::F32 => Products::F32,
            Element::Bf16 if features.bf16_products => Products::Pairs,
            Element::Bf16 => Products::Widened,
        }
    }

    /// Bytes of an operand's element in the arena.
    pub fn stored(self) -> usize {
        match self {
            Products::F32 => 4,
            Products::Pairs | Products::Widened => 2,
        }
    }

    /// Words of the inner index that `len` consecutive elements make.
    pub fn words(self, len: usize) -> usize {
        match self {
            Products::F32 | Products::Widened => len,
            Products::Pairs => len.div_ceil(2),
        }
    }
}

/// Elements that are read before any is written, so that they move as vectors.
const BLOCK: usize = 16;

/// Moves `n` elements to words: blocks by `many`, what is left by `one`, both called with the place.
#[inline(always)]
fn by_blocks(n: usize, mut many: impl FnMut(usize), mut one: impl FnMut(usize)) {
    let whole = n / BLOCK * BLOCK;
    for i in (0..whole).step_by(BLOCK) {
        many(i);
    }
    for i in whole..n {
        one(i);
    }
}

/// Defines a loop over `rows` runs of `n` elements of some sources: `$word` makes a word of an element of each.
macro_rules! runs {
    ($(#[$meta:meta])* $name:ident, $element:ty, [$($source:ident),*], $word:expr) => {
        leveled! {
            $(#[$meta])*
            fn $name(
                dst: *mut f32,
                pitch: usize,
                $($source: *const u8,)*
                stride: usize,
                rows: usize,
                n: usize,
            ) {
                let word = $word;
                for r in 0..rows {
                    let dst = dst.cast::<u32>().add(r * pitch);
                    $(let $source = $source.add(r * stride).cast::<$element>();)*
                    by_blocks(
                        n,
                        |i| {
                            $(let $source = $source.add(i).cast::<[$element; BLOCK]>().read_unaligned();)*
                            let words: [u32; BLOCK] = std::array::from_fn(|j| word($($source[j]),*));
                            dst.add(i).cast::<[u32; BLOCK]>().write_unaligned(words);
                        },
                        |i| *dst.add(i) = word($($source.add(i).read_unaligned()),*),
                    );
                }
            }
        }
    };
}

runs!(
    /// Runs of f32 as they are.
    copy_runs, u32, [a], |a: u32| a
);
runs!(
    /// Runs of bf16, as f32.
    widen_runs, u16, [a], |a: u16| widen(a).to_bits()
);
runs!(
    /// Runs of bf16, paired with 0.
    single_runs, u16, [a], |a: u16| u32::from(a)
);
runs!(
    /// Runs of bf16 of two sources, paired.
    pair_runs, u16, [a, b], |a: u16, b: u16| u32::from(a) | u32::from(b) << 16
);

type Runs = unsafe fn(*mut f32, usize, *const u8, usize, usize, usize);
type PairRuns = unsafe fn(*mut f32, usize, *const u8, *const u8, usize, usize, usize);

/// The loops of a level. Runs lie `stride` bytes apart in the operand and `pitch` words apart in scratch.
#[derive(Clone, Copy, Debug)]
pub struct Moves {
    narrow: unsafe fn(*mut u16, *const f32, usize),
    copy: Runs,
    widen: Runs,
    single: Runs,
    pair: PairRuns,
}

impl Moves {
    pub fn new(level: Level) -> Moves {
        Moves {
            narrow: narrow_loop(level),
            copy: copy_runs(level),
            widen: widen_runs(level),
            single: single_runs(level),
            pair: pair_runs(level),
        }
    }

    /// The bf16 nearest to `n` f32.
    ///
    /// # Safety
    /// The machine has the level; both sides are good for `n` elements.
    pub unsafe fn narrow(&self, dst: *mut u16, src: *const f32, n: usize) {
        // SAFETY: the caller's.
        unsafe { (self.narrow)(dst, src, n) }
    }

    /// `rows` runs of `n` f32.
    ///
    /// # Safety
    /// The machine has the level; both sides are good for the runs.
    pub unsafe fn copy(
        &self,
        (dst, pitch): (*mut f32, usize),
        (src, stride): (*const u8, usize),
        rows: usize,
        n: usize,
    ) {
        // SAFETY: the caller's.
        unsafe { (self.copy)(dst, pitch, src, stride, rows, n) }
    }

    /// `rows` runs of `n` bf16, as f32.
    ///
    /// # Safety
    /// As for [`copy`](Self::copy).
    pub unsafe fn widen(
        &self,
        (dst, pitch): (*mut f32, usize),
        (src, stride): (*const u8, usize),
        rows: usize,
        n: usize,
    ) {
        // SAFETY: the caller's.
        unsafe { (self.widen)(dst, pitch, src, stride, rows, n) }
    }

    /// `rows` runs of `n` pairs of bf16, one of each side; zeros for a side that is not there.
    ///
    /// # Safety
    /// As for [`copy`](Self::copy), for each side that is there.
    pub unsafe fn pair(
        &self,
        (dst, pitch): (*mut f32, usize),
        (sides, stride): ([Option<*const u8>; 2], usize),
        rows: usize,
        n: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            match sides {
                [Some(a), Some(b)] => (self.pair)(dst, pitch, a, b, stride, rows, n),
                [Some(a), None] => (self.single)(dst, pitch, a, stride, rows, n),
                [None, Some(b)] => {
                    (self.single)(dst, pitch, b, stride, rows, n);
                    for r in 0..rows {
                        let dst = dst.cast::<u32>().add(r * pitch);
                        std::slice::from_raw_parts_mut(dst, n)
                            .iter_mut()
                            .for_each(|w| *w <<= 16);
                    }
                }
                [None, None] => {
                    for r in 0..rows {
                        std::slice::from_raw_parts_mut(dst.add(r * pitch), n).fill(0.0);
                    }
                }
            }
        }
    }
}

/// Zeros past the caches where there is such an instruction.
///
/// # Safety
/// `dst` is aligned to a cache line and good for `bytes` bytes, a multiple of a line's.
pub unsafe fn clear_past_caches(dst: *mut u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's; SSE2 is part of every x86-64 processor.
    unsafe {
        use std::arch::x86_64::{_mm_setzero_si128, _mm_stream_si128};
        for at in (0..bytes).step_by(16) {
            _mm_stream_si128(dst.add(at).cast(), _mm_setzero_si128());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's.
    unsafe {
        std::ptr::write_bytes(dst, 0, bytes);
    }
}

/// Side of the square blocks that are turned, and words of a cache line.
const TURN: usize = 4;
const LINE: usize = 16;

/// `dst[k·width + n] = src[n·stride + k·4]` in words, for `n` below `count` and `k` below `words`; zeros up to `width`.
/// `stride` is in bytes.
///
/// # Safety
/// `src` is good for `words` words at each of `count` rows, `dst` for `words` rows of `width`.
pub unsafe fn turn(
    dst: *mut f32,
    width: usize,
    src: *const u8,
    stride: usize,
    count: usize,
    words: usize,
) {
    let dst = dst.cast::<u32>();
    let whole_rows = count / TURN * TURN;
    // Lines of the source are used up before others, which may lie in the same sets of the cache, are touched.
    for first in (0..words).step_by(LINE) {
        let end = (first + LINE).min(words);
        let whole_words = first + (end - first) / TURN * TURN;
        // SAFETY: the caller's.
        unsafe {
            let move_word = |n: usize, k: usize| {
                let word = src.add(n * stride + 4 * k).cast::<u32>().read_unaligned();
                *dst.add(k * width + n) = word;
            };
            for n in (0..whole_rows).step_by(TURN) {
                for k in (first..whole_words).step_by(TURN) {
                    turn_block(
                        dst.add(k * width + n),
                        width,
                        src.add(n * stride + 4 * k),
                        stride,
                    );
                }
                for k in whole_words..end {
                    (n..n + TURN).for_each(|n| move_word(n, k));
                }
            }
            for k in first..end {
                (whole_rows..count).for_each(|n| move_word(n, k));
                std::slice::from_raw_parts_mut(dst.add(k * width + count), width - count).fill(0);
            }
        }
    }
}

/// Turns a block of 4 × 4 words.
#[cfg(target_arch = "x86_64")]
unsafe fn turn_block(dst: *mut u32, width: usize, src: *const u8, stride: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's; SSE is part of every x86-64 processor.
    unsafe {
        let [mut a, mut b, mut c, mut d] =
            [0, 1, 2, 3].map(|n| _mm_loadu_ps(src.add(n * stride).cast()));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (k, row) in [a, b, c, d].into_iter().enumerate() {
            _mm_storeu_ps(dst.add(k * width).cast(), row);
        }
    }
}

/// Turns a block of 4 × 4 words.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn turn_block(dst: *mut u32, width: usize, src: *const u8, stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        for n in 0..TURN {
            for k in 0..TURN {
                *dst.add(k * width + n) =
                    src.add(n * stride + 4 * k).cast::<u32>().read_unaligned();
            }
        }
    }
}
