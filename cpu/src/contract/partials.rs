//! Partial results, added up in their order.

use crate::level::{Level, leveled};
use crate::pool::Pool;
use crate::scratch::Pointer;
use sslc_compiler::core::bf16::narrow;
use sslc_compiler::kernels::ir::Element;

/// Elements of the result that one thread combines at a time.
const COMBINE: usize = 16 * 1024;
/// Elements of a result that are added up in one go.
const BLOCK: usize = 64;

/// A result that is made as a number of partial ones.
#[derive(Clone, Copy, Debug)]
pub struct Partials {
    pub level: Level,
    /// What the result is stored as.
    pub element: Element,
    /// Its place in the arena, in words, and its elements.
    pub place: usize,
    pub len: usize,
    pub count: usize,
}

impl Partials {
    /// Whether results are made in scratch and then added up or rounded.
    fn apart(&self) -> bool {
        self.count > 1 || self.element != Element::F32
    }

    /// Words of scratch that they take.
    pub fn scratch(&self) -> usize {
        if self.apart() {
            self.count * self.len
        } else {
            0
        }
    }

    /// Where a partial result is made.
    ///
    /// # Safety
    /// `arena` holds the result, `shared` what [`scratch`](Self::scratch) says.
    pub unsafe fn result(&self, arena: Pointer, shared: Pointer, partial: usize) -> *mut f32 {
        // SAFETY: the caller's.
        unsafe {
            if self.apart() {
                shared.get().add(partial * self.len)
            } else {
                arena.get().add(self.place)
            }
        }
    }

    /// Makes the result of the partial ones.
    ///
    /// # Safety
    /// The machine has the level; all partial results are written; as for [`result`](Self::result).
    pub unsafe fn combine(&self, pool: &Pool, arena: Pointer, shared: Pointer) {
        if !self.apart() {
            return;
        }
        pool.run(self.len.div_ceil(COMBINE), &|_, unit| {
            let first = unit * COMBINE;
            let n = COMBINE.min(self.len - first);
            // SAFETY: the caller's; each unit writes its own part of the result.
            unsafe {
                let (to, from) = (arena.get().add(self.place), shared.get().add(first));
                match self.element {
                    Element::F32 => {
                        let sum = sum_partials(self.level);
                        sum(to.add(first), from, self.len, self.count, n);
                    }
                    Element::Bf16 => {
                        let round = round_partials(self.level);
                        let to = to.cast::<u16>().add(first);
                        round(to, from, self.len, self.count, n);
                    }
                }
            }
        });
    }
}

/// Sums of `len` elements over partial results, in their order.
#[inline(always)]
unsafe fn sum_block(src: *const f32, stride: usize, count: usize, len: usize) -> [f32; BLOCK] {
    let mut sums = [0.0f32; BLOCK];
    for p in 0..count {
        for (j, s) in sums.iter_mut().enumerate().take(len) {
            // SAFETY: the caller's partial results are good for `len` elements.
            *s += unsafe { *src.add(p * stride + j) };
        }
    }
    sums
}

leveled! {
    /// `dst[i] = Σ_p src[p·stride + i]` in order of p: (dst, src, stride, count, n).
    pub fn sum_partials(dst: *mut f32, src: *const f32, stride: usize, count: usize, n: usize) {
        let mut i = 0;
        while i < n {
            let len = BLOCK.min(n - i);
            let sums = sum_block(src.add(i), stride, count, len);
            std::ptr::copy_nonoverlapping(sums.as_ptr(), dst.add(i), len);
            i += len;
        }
    }
}

leveled! {
    /// The same, rounded to the nearest bf16.
    pub fn round_partials(dst: *mut u16, src: *const f32, stride: usize, count: usize, n: usize) {
        let mut i = 0;
        while i < n {
            let len = BLOCK.min(n - i);
            let sums = sum_block(src.add(i), stride, count, len);
            for (j, s) in sums.iter().enumerate().take(len) {
                *dst.add(i + j) = narrow(*s);
            }
            i += len;
        }
    }
}
