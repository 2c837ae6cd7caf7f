//! Gradients by their pixels' columns: read where they stand, or packed into panels of a vector or two of columns, a row for
//! each pixel or pair of pixels.

use super::ahead::Region;
use super::form::Form;
use super::operands::{Moves, Products, turn};
use super::simd::Kernels;
use crate::fetch::LINE;
use std::ops::Range;

/// Bytes from pixel to pixel up to which pixels are multiplied where they stand: they fall into enough sets of the caches.
pub const NEAR: usize = 2048;

/// A gradient whose pixels are the inner index of a product.
#[derive(Clone, Debug)]
pub struct Gradient {
    pub kernels: Kernels,
    pub products: Products,
    pub moves: Moves,
    /// Place in the arena, in words.
    pub place: usize,
    pub columns: usize,
    /// Elements from pixel to pixel, and from column to column.
    pub pixel: usize,
    pub column: usize,
    /// The first column of each panel, and whether it is wide.
    pub panels: Vec<(usize, bool)>,
    /// Words, or pairs, that are packed at a time.
    pub most: usize,
    /// Bytes to each of `most` pixels.
    pub offsets: Vec<usize>,
}

/// A lane's pixels of the gradient.
#[derive(Clone, Copy)]
pub struct Side {
    /// The first pixel's columns.
    pub first: *const u8,
    pub pixels: usize,
}

/// Panels of some pixels.
#[derive(Clone, Copy)]
pub struct Panels {
    first: *const f32,
    /// Words from pixel to pixel of a panel, where they are the gradient's own.
    pixel: Option<usize>,
    slot: usize,
    /// The first panel's first column.
    column: usize,
}

impl Panels {
    /// The panel of this number among them, which has this first column and width: its words, and how far its pixels are
    /// from each other.
    pub fn panel(&self, i: usize, column: usize, width: usize) -> (*const f32, usize) {
        match self.pixel {
            Some(pixel) => (self.first.wrapping_add(column - self.column), pixel),
            None => (self.first.wrapping_add(i * self.slot), width),
        }
    }
}

impl Gradient {
    /// A gradient at `place` with `columns`, given the elements from pixel to pixel and column to column, of which `most`
    /// pixels are met at a time.
    pub fn new(
        form: Form,
        place: usize,
        columns: usize,
        (pixel, column): (usize, usize),
        most: usize,
    ) -> Gradient {
        let kernels = form.kernels();
        let bytes = pixel * form.products.stored();
        Gradient {
            panels: kernels.panels(columns),
            kernels,
            products: form.products,
            moves: form.moves(),
            place,
            columns,
            pixel,
            column,
            most,
            offsets: (0..most).map(|i| i * bytes).collect(),
        }
    }

    /// Whether pixels are multiplied where they stand: a panel has two lines or more of each, or a quarter.
    fn in_place(&self) -> bool {
        let width = self.kernels.wide.width;
        let near = if width * 4 < 2 * LINE {
            4 * width * 4
        } else {
            NEAR
        };
        self.products == Products::F32
            && self.column == 1
            && self.pixel * 4 <= near
            && self.full(self.panels.len() - 1)
    }

    /// Words from one packed panel to the next: panels do not begin in the same sets of the cache.
    fn slot(&self) -> usize {
        self.most * self.kernels.wide.width + 16
    }

    /// Words of scratch for some panels.
    pub fn scratch(&self, panels: usize) -> usize {
        if self.in_place() {
            0
        } else {
            panels * self.slot()
        }
    }

    /// Some panels of a range of the sides' pixels, packed unless they can be read where they stand.
    ///
    /// # Safety
    /// The machine has the form's level; the sides are good for their pixels, `packed` for [`scratch`](Self::scratch).
    pub unsafe fn get(
        &self,
        sides: [Option<Side>; 2],
        packed: *mut f32,
        pixels: Range<usize>,
        panels: Range<usize>,
    ) -> Panels {
        let column = self.panels[panels.start].0;
        match sides[0] {
            Some(side) if self.in_place() => Panels {
                first: side
                    .first
                    .cast::<f32>()
                    .wrapping_add(pixels.start * self.pixel + column),
                pixel: Some(self.pixel),
                slot: 0,
                column,
            },
            _ => {
                // SAFETY: the caller's.
                unsafe { self.pack(sides, packed, pixels, panels) };
                Panels {
                    first: packed,
                    pixel: None,
                    slot: self.slot(),
                    column,
                }
            }
        }
    }

    /// Some panels of a side's pixels, to be brought nearer.
    pub fn region(&self, side: Side, panels: Range<usize>) -> Region<'_> {
        if self.column != 1 {
            return Region::none();
        }
        let (first, (last, wide)) = (self.panels[panels.start].0, self.panels[panels.end - 1]);
        let end = (last + self.kernels.panel(wide).width).min(self.columns);
        let stored = self.products.stored();
        Region {
            place: side.first.wrapping_add(first * stored),
            bytes: (end - first) * stored,
            pixels: side.pixels,
            pitch: self.pixel * stored,
            offsets: &self.offsets,
        }
    }

    unsafe fn pack(
        &self,
        sides: [Option<Side>; 2],
        packed: *mut f32,
        pixels: Range<usize>,
        panels: Range<usize>,
    ) {
        let slot = self.slot();
        let whole = panels
            .clone()
            .take_while(|p| self.panels[*p].1 && self.full(*p))
            .count();
        // All pixels that both lanes have, and those that one has.
        let both = sides.iter().map(|side| side.map_or(0, |s| s.pixels)).min();
        let middle = both.unwrap_or(0).clamp(pixels.start, pixels.end);
        for part in [pixels.start..middle, middle..pixels.end] {
            let from = sides.map(|side| side.filter(|s| part.start < s.pixels));
            let row = part.start - pixels.start;
            // SAFETY: the caller's.
            unsafe {
                if whole > 1 && self.column == 1 {
                    self.pack_across(from, packed, row, part.clone(), panels.start, whole);
                } else {
                    for (i, panel) in panels.clone().enumerate().take(whole) {
                        self.pack_panel(from, packed.add(i * slot), row, part.clone(), panel);
                    }
                }
                for (i, panel) in panels.clone().enumerate().skip(whole) {
                    self.pack_panel(from, packed.add(i * slot), row, part.clone(), panel);
                }
            }
        }
    }

    /// Whether all of a panel's columns exist.
    fn full(&self, panel: usize) -> bool {
        let (first, wide) = self.panels[panel];
        first + self.kernels.panel(wide).width <= self.columns
    }

    /// Several whole panels, pixel by pixel.
    unsafe fn pack_across(
        &self,
        sides: [Option<Side>; 2],
        packed: *mut f32,
        row: usize,
        pixels: Range<usize>,
        first: usize,
        count: usize,
    ) {
        let width = self.kernels.wide.width;
        let stored = self.products.stored();
        for (r, pixel) in pixels.enumerate() {
            // SAFETY: the caller's.
            unsafe {
                let at = (pixel * self.pixel + self.panels[first].0) * stored;
                let from = sides.map(|side| Some(side?.first.add(at)));
                let to = (packed.add((row + r) * width), self.slot());
                self.pack_runs(to, (from, width * stored), count, width);
            }
        }
    }

    /// One panel.
    unsafe fn pack_panel(
        &self,
        sides: [Option<Side>; 2],
        packed: *mut f32,
        row: usize,
        pixels: Range<usize>,
        panel: usize,
    ) {
        let (first, wide) = self.panels[panel];
        let width = self.kernels.panel(wide).width;
        let columns = width.min(self.columns - first);
        let stored = self.products.stored();
        let stride = self.pixel * stored;
        // SAFETY: the caller's.
        unsafe {
            let dst = packed.add(row * width);
            let at = |column: usize| {
                let at = (pixels.start * self.pixel + column * self.column) * stored;
                sides.map(|side| Some(side?.first.add(at)))
            };
            match at(first) {
                from if self.column == 1 => {
                    self.pack_runs((dst, width), (from, stride), pixels.len(), columns);
                }
                [Some(from), _] if self.products == Products::F32 && self.pixel == 1 => {
                    turn(
                        dst,
                        width,
                        from,
                        self.column * stored,
                        columns,
                        pixels.len(),
                    );
                    return;
                }
                _ => {
                    for n in 0..columns {
                        let to = (dst.add(n), width);
                        self.pack_runs(to, (at(first + n), stride), pixels.len(), 1);
                    }
                }
            }
            if columns < width {
                for r in 0..pixels.len() {
                    let rest = dst.add(r * width + columns);
                    std::slice::from_raw_parts_mut(rest, width - columns).fill(0.0);
                }
            }
        }
    }

    /// Runs of `n` columns.
    unsafe fn pack_runs(
        &self,
        to: (*mut f32, usize),
        (from, stride): ([Option<*const u8>; 2], usize),
        rows: usize,
        n: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            match (self.products, from) {
                (Products::F32, [Some(a), _]) => self.moves.copy(to, (a, stride), rows, n),
                (Products::Widened, [Some(a), _]) => self.moves.widen(to, (a, stride), rows, n),
                (Products::Pairs, sides) => self.moves.pair(to, (sides, stride), rows, n),
                (_, [None, _]) => {}
            }
        }
    }
}
