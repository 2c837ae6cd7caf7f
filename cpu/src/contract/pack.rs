//! Packing of filters into panels of a vector or two of outputs, a row for each word of the inner index.

use super::operands::{Moves, Products, turn};
use super::phase::{Phase, WeightStrides};
use sslc_compiler::core::bf16::widen;

/// A panel's columns of one group's filter.
pub struct PanelSource<'a> {
    pub products: Products,
    pub moves: Moves,
    pub phase: &'a Phase,
    /// Inner length of a tap.
    pub inner: usize,
    pub strides: WeightStrides,
    /// The first column's weights.
    pub weights: *const u8,
    /// Columns that exist, of the panel's width.
    pub columns: usize,
    pub width: usize,
}

impl PanelSource<'_> {
    /// Weights of the first column at an inner index, counted through the taps.
    fn place(&self, index: usize) -> usize {
        let tap = self.phase.taps[index / self.inner];
        tap.weights + index % self.inner * self.strides.inner
    }

    unsafe fn at(&self, element: usize) -> *const u8 {
        // SAFETY: the caller's element is one of the filter's.
        unsafe { self.weights.add(element * self.products.stored()) }
    }

    /// Writes the panel.
    ///
    /// # Safety
    /// The machine has the moves' level; the weights are good for the phase's taps and the columns, `dst` for the panel.
    pub unsafe fn pack(&self, dst: *mut f32) {
        let whole_words = self.products != Products::Pairs || self.inner.is_multiple_of(2);
        // SAFETY: the caller's.
        unsafe {
            if self.strides.output == 1 {
                self.pack_rows(dst);
            } else if self.products != Products::Widened && whole_words {
                self.pack_turned(dst);
            } else {
                self.pack_each(dst);
            }
        }
    }

    /// Calls `row` with each row of the panel: its elements' inner indices, of which there may be one.
    fn each_row(&self, mut row: impl FnMut(usize, usize, Option<usize>)) {
        let (mut index, mut at) = (0, 0);
        for segment in self.phase.blocks.iter().flat_map(|b| &b.segments) {
            let end = index + segment.len;
            while index < end {
                if self.products == Products::Pairs {
                    row(at, index, Some(index + 1).filter(|i| *i < end));
                    index = (index + 2).min(end);
                } else {
                    row(at, index, None);
                    index += 1;
                }
                at += 1;
            }
        }
    }

    /// Where outputs follow each other.
    unsafe fn pack_rows(&self, dst: *mut f32) {
        self.each_row(|at, first, second| {
            // SAFETY: the caller's.
            unsafe {
                let row = dst.add(at * self.width);
                let a = self.at(self.place(first));
                match self.products {
                    Products::F32 => {
                        std::ptr::copy_nonoverlapping(a.cast(), row, self.columns);
                    }
                    Products::Widened => self.moves.widen((row, 0), (a, 0), 1, self.columns),
                    Products::Pairs => {
                        let b = second.map(|i| self.at(self.place(i)));
                        self.moves
                            .pair((row, 0), ([Some(a), b], 0), 1, self.columns);
                    }
                }
                let rest = self.width - self.columns;
                std::slice::from_raw_parts_mut(row.add(self.columns), rest).fill(0.0);
            }
        });
    }

    /// Where a tap's inner index runs through consecutive elements, in whole words.
    unsafe fn pack_turned(&self, dst: *mut f32) {
        let words = self.products.words(self.inner);
        let stride = self.strides.output * self.products.stored();
        for (i, tap) in self.phase.taps.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe {
                let dst = dst.add(i * words * self.width);
                turn(
                    dst,
                    self.width,
                    self.at(tap.weights),
                    stride,
                    self.columns,
                    words,
                );
            }
        }
    }

    /// Element by element.
    unsafe fn pack_each(&self, dst: *mut f32) {
        let stride = self.strides.output;
        self.each_row(|at, first, second| {
            // SAFETY: the caller's.
            unsafe {
                let row = dst.add(at * self.width);
                let half = |first: *const u8, n: usize| {
                    first.cast::<u16>().add(n * stride).read_unaligned()
                };
                let a = self.at(self.place(first));
                let b = second.map(|i| self.at(self.place(i)));
                for n in 0..self.columns {
                    if self.products == Products::Widened {
                        *row.add(n) = widen(half(a, n));
                    } else {
                        let upper = b.map_or(0, |b| u32::from(half(b, n)));
                        *row.add(n).cast::<u32>() = u32::from(half(a, n)) | upper << 16;
                    }
                }
                let rest = self.width - self.columns;
                std::slice::from_raw_parts_mut(row.add(self.columns), rest).fill(0.0);
            }
        });
    }
}
