//! Packing of a gradient's pixels into panels of a vector or two of columns, a row for each pixel or pair of pixels.

use super::columns::ColumnsPlan;
use super::operands::Products;
use std::ops::Range;

/// A lane's pixels of the gradient.
#[derive(Clone, Copy)]
pub struct Side {
    /// The first pixel's columns.
    pub first: *const u8,
    pub pixels: usize,
}

impl ColumnsPlan {
    /// Packs some pixels' panels, [`slot`](Self::slot) words apart.
    ///
    /// # Safety
    /// The machine has the plan's level; the sides are good for their pixels; `packed` is good for the panels.
    pub unsafe fn pack(
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
                if whole > 1 && self.gradient_column == 1 {
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
                let at = (pixel * self.gradient_pixel + self.panels[first].0) * stored;
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
        let stride = self.gradient_pixel * stored;
        // SAFETY: the caller's.
        unsafe {
            let dst = packed.add(row * width);
            let at = |column: usize| {
                let at =
                    (pixels.start * self.gradient_pixel + column * self.gradient_column) * stored;
                sides.map(|side| Some(side?.first.add(at)))
            };
            if self.gradient_column == 1 {
                self.pack_runs((dst, width), (at(first), stride), pixels.len(), columns);
            } else {
                for n in 0..columns {
                    let to = (dst.add(n), width);
                    self.pack_runs(to, (at(first + n), stride), pixels.len(), 1);
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
