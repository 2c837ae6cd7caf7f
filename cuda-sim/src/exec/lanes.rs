//! Maps over the lanes of a warp. Lanes that are not `masked` keep what they had.
use super::block::Block;
use super::warp::Warp;
use crate::code::{CONSTANT, Kernel};

/// Eight lanes at a time, so that they fit vector registers.
const PART: usize = 8;

impl Warp {
    /// Spreads a mask of lanes out for the maps.
    #[inline(always)]
    pub fn mask(&mut self, lanes: u32) {
        if self.masked != lanes {
            self.masked = lanes;
            for lane in 0..32 {
                let bit = lanes >> lane & 1;
                self.mask32.0[lane] = bit.wrapping_neg();
                self.mask64[lane] = (bit as u64).wrapping_neg();
            }
        }
    }

    #[inline(always)]
    pub fn row(&self, kernel: &Kernel, row: u32) -> *const u32 {
        // SAFETY: decoding gives out only rows that exist; those of 64 bits have two.
        unsafe {
            if row & CONSTANT != 0 {
                kernel
                    .constants
                    .as_ptr()
                    .add((row & !CONSTANT) as usize)
                    .cast()
            } else {
                self.registers.as_ptr().add(row as usize).cast()
            }
        }
    }

    #[inline(always)]
    pub fn row_mut(&mut self, row: u32) -> *mut u32 {
        debug_assert!((row as usize) < self.registers.len());
        // SAFETY: as for `row`; constants are never a target.
        unsafe { self.registers.as_mut_ptr().add(row as usize).cast() }
    }

    #[inline(always)]
    pub fn get32(&self, kernel: &Kernel, row: u32, lane: u32) -> u32 {
        // SAFETY: a row has 32 lanes.
        unsafe { *self.row(kernel, row).add((lane & 31) as usize) }
    }

    #[inline(always)]
    pub fn get64(&self, kernel: &Kernel, row: u32, lane: u32) -> u64 {
        // SAFETY: the row is one of 64 bits, aligned to 128 bytes.
        unsafe {
            *self
                .row(kernel, row)
                .cast::<u64>()
                .add((lane & 31) as usize)
        }
    }

    #[inline(always)]
    pub fn set32(&mut self, row: u32, lane: u32, value: u32) {
        // SAFETY: a row has 32 lanes.
        unsafe { *self.row_mut(row).add((lane & 31) as usize) = value }
    }

    #[inline(always)]
    pub fn set64(&mut self, row: u32, lane: u32, value: u64) {
        // SAFETY: the row is one of 64 bits.
        unsafe { *self.row_mut(row).cast::<u64>().add((lane & 31) as usize) = value }
    }

    /// An address or a value of either width.
    #[inline(always)]
    pub fn get(&self, kernel: &Kernel, row: u32, lane: u32, wide: bool) -> u64 {
        if wide {
            self.get64(kernel, row, lane)
        } else {
            self.get32(kernel, row, lane) as u64
        }
    }

    #[inline(always)]
    pub fn set(&mut self, row: u32, lane: u32, wide: bool, value: u64) {
        if wide {
            self.set64(row, lane, value)
        } else {
            self.set32(row, lane, value as u32)
        }
    }

    #[inline(always)]
    pub fn map(&mut self, block: &Block, rows: [u32; 4], f: impl Fn(u32, u32, u32) -> u32) {
        let kernel = block.launch.kernel;
        let [d, a, b, c] = rows;
        let (a, b, c) = (
            self.row(kernel, a),
            self.row(kernel, b),
            self.row(kernel, c),
        );
        let d = self.row_mut(d);
        for part in 0..32 / PART {
            let at = part * PART;
            let mut result = [0; PART];
            // SAFETY: all are rows of 32 values; those of sources are not written while they are read.
            unsafe {
                for (l, result) in result.iter_mut().enumerate() {
                    *result = f(*a.add(at + l), *b.add(at + l), *c.add(at + l));
                }
                for (l, result) in result.iter_mut().enumerate() {
                    let mask = self.mask32.0[at + l];
                    *result = *result & mask | *d.add(at + l) & !mask;
                }
                d.add(at).cast::<[u32; PART]>().write(result);
            }
        }
    }

    #[inline(always)]
    pub fn map64(&mut self, block: &Block, rows: [u32; 4], f: impl Fn(u64, u64, u64) -> u64) {
        let kernel = block.launch.kernel;
        let [d, a, b, c] = rows;
        let (a, b, c): (*const u64, *const u64, *const u64) = (
            self.row(kernel, a).cast(),
            self.row(kernel, b).cast(),
            self.row(kernel, c).cast(),
        );
        let d: *mut u64 = self.row_mut(d).cast();
        for part in 0..32 / PART {
            let at = part * PART;
            let mut result = [0; PART];
            // SAFETY: all are rows of 64-bit values; those of sources are not written while they are read.
            unsafe {
                for (l, result) in result.iter_mut().enumerate() {
                    *result = f(*a.add(at + l), *b.add(at + l), *c.add(at + l));
                }
                for (l, result) in result.iter_mut().enumerate() {
                    let mask = self.mask64[at + l];
                    *result = *result & mask | *d.add(at + l) & !mask;
                }
                d.add(at).cast::<[u64; PART]>().write(result);
            }
        }
    }

    /// From rows of 32 bits (`c`: of 64) to one of 64.
    #[inline(always)]
    pub fn widen(&mut self, block: &Block, rows: [u32; 4], f: impl Fn(u32, u32, u64) -> u64) {
        let kernel = block.launch.kernel;
        let [d, a, b, c] = rows;
        let mut result = [0u64; 32];
        // SAFETY: rows of 32 values each.
        let (a, b, c) = unsafe {
            (
                *self.row(kernel, a).cast::<[u32; 32]>(),
                *self.row(kernel, b).cast::<[u32; 32]>(),
                *self.row(kernel, c).cast::<[u64; 32]>(),
            )
        };
        for l in 0..32 {
            result[l] = f(a[l], b[l], c[l]);
        }
        let d: *mut u64 = self.row_mut(d).cast();
        for (l, value) in result.into_iter().enumerate() {
            let mask = self.mask64[l];
            // SAFETY: `d` is a row of 64-bit values.
            unsafe { *d.add(l) = value & mask | *d.add(l) & !mask };
        }
    }

    /// From rows of 64 bits to one of 32.
    #[inline(always)]
    pub fn narrow(&mut self, block: &Block, d: u32, a: u32, f: impl Fn(u64) -> u32) {
        // SAFETY: a row of 64-bit values.
        let a = unsafe { *self.row(block.launch.kernel, a).cast::<[u64; 32]>() };
        let d = self.row_mut(d);
        for (l, value) in a.into_iter().enumerate() {
            let mask = self.mask32.0[l];
            // SAFETY: `d` is a row of 32 values.
            unsafe { *d.add(l) = f(value) & mask | *d.add(l) & !mask };
        }
    }

    /// The lanes for which `f` holds.
    #[inline(always)]
    pub fn test(&self, block: &Block, a: u32, b: u32, f: impl Fn(u32, u32) -> bool) -> u32 {
        let kernel = block.launch.kernel;
        let (a, b) = (self.row(kernel, a), self.row(kernel, b));
        let mut found = 0;
        for l in 0..32 {
            // SAFETY: rows of 32 values.
            found |= (unsafe { f(*a.add(l), *b.add(l)) } as u32) << l;
        }
        found
    }

    #[inline(always)]
    pub fn test64(&self, block: &Block, a: u32, b: u32, f: impl Fn(u64, u64) -> bool) -> u32 {
        let kernel = block.launch.kernel;
        let (a, b): (*const u64, *const u64) =
            (self.row(kernel, a).cast(), self.row(kernel, b).cast());
        let mut found = 0;
        for l in 0..32 {
            // SAFETY: rows of 32 values.
            found |= (unsafe { f(*a.add(l), *b.add(l)) } as u32) << l;
        }
        found
    }

    /// Writes the lanes of `lanes` in a predicate.
    #[inline(always)]
    pub fn decide(&mut self, slot: u32, lanes: u32, values: u32) {
        if slot != crate::code::TRUE {
            let old = &mut self.predicates[slot as usize];
            *old = values & lanes | *old & !lanes;
        }
    }

    #[inline(always)]
    pub fn predicate(&self, slot: u32, negated: bool) -> u32 {
        self.predicates[slot as usize] ^ (negated as u32).wrapping_neg()
    }
}
