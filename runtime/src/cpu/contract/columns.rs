//! Contractions whose inner index is a pixel: the gradient of a convolution with respect to its filter, and Aᵀ·B.
//!
//! The filter's gradient has a row for each tap and input channel and a column for each output channel. For pairs of bf16,
//! two chunks lie side by side and a pair is a pixel of each. Chunks of pixels are shared out over a number of partial results that the shape fixes; each adds its chunks in order, and the partial
//! results are added in order at the end.

use super::gradient::Side;
use super::operands::{Moves, Products};
use super::simd::{Kernels, Store, Tile};
use super::window::{Bring, Chunk, Chunks, Lanes, Windows};
use crate::cpu::level::{Level, leveled};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{Carver, Pointer};
use sslc_compiler::core::bf16::narrow;
use sslc_compiler::kernels::ir::Element;

/// Elements that all partial results together may take.
const PARTIALS: usize = 1 << 20;
/// The most partial results.
const MAX_PARTIALS: usize = 64;
/// Units that keep the threads evenly busy.
const UNITS: usize = 16;
/// Pixels that are packed and multiplied at a time, so that a panel of them stays in the first-level cache.
const PIXELS: usize = 256;
/// Panels that are packed at a time, so that a pixel's columns are read in long runs, where a panel meets few rows.
const PANELS: usize = 8;
const FEW_ROWS: usize = 256;
/// Elements of the result that one thread combines at a time.
const COMBINE: usize = 16 * 1024;

/// Rows of the result that see consecutive elements of a window.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Offset in a pixel's window.
    pub offset: usize,
    /// First row of the result, for the first block of channels.
    pub row: usize,
    pub len: usize,
}

#[derive(Clone, Debug)]
pub struct ColumnsPlan {
    pub level: Level,
    pub kernels: Kernels,
    pub products: Products,
    pub moves: Moves,
    /// What the result is stored as.
    pub element: Element,
    /// Places in the arena, in words.
    pub input: usize,
    pub gradient: usize,
    pub output: usize,
    pub windows: Windows,
    pub chunks: Chunks,
    /// For each pixel of a full chunk, its window's beginning.
    pub inputs: Vec<usize>,
    /// Output pixels in a row.
    pub row_pixels: usize,
    pub runs: Vec<Run>,
    /// Channels are cut into equal blocks; each is work of its own.
    pub channel_blocks: usize,
    pub block_channels: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Places of the gradient's elements: from pixel to pixel, and from column to column.
    pub gradient_pixel: usize,
    pub gradient_column: usize,
    /// How many groups, how far each is from the last in input, gradient and result; and the result's row stride.
    pub groups: usize,
    pub group_input: usize,
    pub group_gradient: usize,
    pub group_output: usize,
    pub output_row: usize,
    /// Whether groups are products of their own rather than parts of the same images' channels.
    pub batched: bool,
    /// Elements of the whole result.
    pub len: usize,
    /// Derived by [`ColumnsPlan::finish`].
    pub panels: Vec<(usize, bool)>,
    pub partials: usize,
    pub splits: usize,
}

/// Elements of a result that are added up in one go.
const BLOCK: usize = 64;

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

impl ColumnsPlan {
    /// Derives the panels, the number of partial results and of units.
    pub fn finish(mut self) -> ColumnsPlan {
        self.panels = self.kernels.panels(self.columns);
        self.partials = self
            .steps()
            .min(MAX_PARTIALS)
            .min((PARTIALS / self.len.max(1)).max(1));
        let units = self.partials * self.channel_blocks * self.group_units();
        self.splits = UNITS.div_ceil(units).min(self.panels.len());
        self
    }

    /// Chunks, or pairs of them.
    fn steps(&self) -> usize {
        self.chunks.len().div_ceil(self.lanes())
    }

    /// Chunks that lie side by side.
    fn lanes(&self) -> usize {
        if self.windows.bring == Bring::Pair {
            2
        } else {
            1
        }
    }

    /// Whether the gradient's pixels are a panel as they stand.
    fn in_place(&self) -> bool {
        self.products == Products::F32
            && self.panels.len() == 1
            && self.columns == self.kernels.panel(self.panels[0].1).width
            && self.gradient_pixel == self.columns
            && self.gradient_column == 1
    }

    /// Groups of a window that is copied share it; else each group is work of its own.
    fn group_units(&self) -> usize {
        if self.windows.direct || self.batched {
            self.groups
        } else {
            1
        }
    }

    /// Whether results are made in scratch and then added up or rounded.
    fn apart(&self) -> bool {
        self.partials > 1 || self.element != Element::F32
    }

    /// Words from one packed panel to the next: panels do not begin in the same sets of the cache.
    pub fn slot(&self) -> usize {
        PIXELS * self.kernels.wide.width + 16
    }

    /// Panels that are packed at a time.
    fn panels_at_once(&self) -> usize {
        let rows: usize = self.runs.iter().map(|r| r.len).sum();
        if rows < FEW_ROWS {
            PANELS.min(self.panels.len())
        } else {
            1
        }
    }

    /// Words of scratch for packed panels of the gradient.
    fn packed(&self) -> usize {
        self.panels_at_once() * self.slot()
    }

    /// Words of scratch shared by all threads: the partial results.
    pub fn shared_scratch(&self) -> usize {
        if self.apart() {
            self.partials * self.len
        } else {
            0
        }
    }

    /// Words of scratch for each thread: windows, and panels of the gradient.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        carver.f32(self.windows.scratch(self.chunks.group));
        carver.f32(self.packed());
        carver.used()
    }

    /// Runs the contraction.
    ///
    /// # Safety
    /// The machine has the kernels' level; the plan's buffers are within `arena` and the output meets no input; scratch
    /// is as [`shared_scratch`](Self::shared_scratch) and [`thread_scratch`](Self::thread_scratch) say, unused meanwhile.
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        let group_units = self.group_units();
        let units = self.partials * self.channel_blocks * self.splits * group_units;
        pool.run(units, &|thread, unit| {
            let (rest, split) = (unit / self.splits, unit % self.splits);
            let (rest, block) = (rest / self.channel_blocks, rest % self.channel_blocks);
            let (group, partial) = (rest / self.partials, rest % self.partials);
            let groups = if group_units > 1 {
                group..group + 1
            } else {
                0..self.groups
            };
            // SAFETY: units write disjoint rows, columns, groups or partial results; a thread has its own scratch.
            unsafe {
                let arena = arena.get();
                let result = if self.apart() {
                    shared.get().add(partial * self.len)
                } else {
                    arena.add(self.output)
                };
                self.unit(
                    arena,
                    threads[thread].get(),
                    result,
                    partial,
                    block,
                    split,
                    groups,
                );
            }
        });
        if self.apart() {
            pool.run(self.len.div_ceil(COMBINE), &|_, unit| {
                let first = unit * COMBINE;
                let n = COMBINE.min(self.len - first);
                // SAFETY: all partial results are written; each unit writes its own part of the result.
                unsafe {
                    let (to, from) = (arena.get().add(self.output), shared.get().add(first));
                    match self.element {
                        Element::F32 => {
                            let sum = sum_partials(self.level);
                            sum(to.add(first), from, self.len, self.partials, n);
                        }
                        Element::Bf16 => {
                            let round = round_partials(self.level);
                            let to = to.cast::<u16>().add(first);
                            round(to, from, self.len, self.partials, n);
                        }
                    }
                }
            });
        }
    }

    /// Adds the chunks of a partial result, for a block of channels and a range of panels.
    #[allow(clippy::too_many_arguments)]
    unsafe fn unit(
        &self,
        arena: *mut f32,
        scratch: *mut f32,
        result: *mut f32,
        partial: usize,
        block: usize,
        split: usize,
        groups: std::ops::Range<usize>,
    ) {
        let steps = self.steps();
        let first = partial * steps / self.partials;
        let end = (partial + 1) * steps / self.partials;
        // SAFETY: see `run`.
        unsafe {
            let mut carver = Carver::new(scratch);
            let window_scratch = carver.f32(self.windows.scratch(self.chunks.group));
            let packed = carver.f32(self.packed());
            let input = arena.add(self.input).cast_const().cast();
            for i in first..end {
                let lanes = self.chunk_lanes(i);
                let channel = block * self.block_channels;
                let base = if self.group_units() > 1 {
                    channel + groups.start * self.group_input
                } else {
                    channel
                };
                let windows = self
                    .windows
                    .get(input, window_scratch.cast(), lanes, base)
                    .cast::<f32>();
                for group in groups.clone() {
                    let a = windows.add((group - groups.start) * self.group_input);
                    self.chunk(
                        arena,
                        a,
                        packed,
                        result,
                        lanes,
                        group,
                        block,
                        split,
                        i > first,
                    );
                }
            }
        }
    }

    /// The chunks of a step.
    fn chunk_lanes(&self, step: usize) -> Lanes {
        let first = step * self.lanes();
        let second = first + 1;
        let paired = self.lanes() > 1 && second < self.chunks.len();
        [
            Some(self.chunks.get(first)),
            paired.then(|| self.chunks.get(second)),
        ]
    }

    fn pixels(&self, chunk: Chunk) -> usize {
        chunk.images * chunk.rows * self.row_pixels
    }

    #[allow(clippy::too_many_arguments)]
    unsafe fn chunk(
        &self,
        arena: *mut f32,
        a: *const f32,
        packed: *mut f32,
        result: *mut f32,
        lanes: Lanes,
        group: usize,
        block: usize,
        split: usize,
        accumulate: bool,
    ) {
        let count = self.panels.len();
        let panels = split * count / self.splits..(split + 1) * count / self.splits;
        let pixels = lanes.iter().flatten().map(|c| self.pixels(*c)).max();
        let pixels = pixels.unwrap_or(0);
        // SAFETY: see `run`.
        unsafe {
            let gradient = arena.add(self.gradient).cast::<u8>().cast_const();
            let result = result
                .add(group * self.group_output + block * self.block_channels * self.output_row);
            let sides = lanes.map(|lane| {
                let chunk = lane?;
                let pixel = (chunk.image * self.chunks.rows + chunk.row) * self.row_pixels;
                let place = group * self.group_gradient + pixel * self.gradient_pixel;
                Some(Side {
                    first: gradient.add(place * self.products.stored()),
                    pixels: self.pixels(chunk),
                })
            });
            for some in split_range(panels, self.panels_at_once()) {
                for pixels in split_range(0..pixels, PIXELS) {
                    let b = match sides[0] {
                        Some(side) if self.in_place() => {
                            side.first.cast::<f32>().add(pixels.start * self.columns)
                        }
                        _ => {
                            self.pack(sides, packed, pixels.clone(), some.clone());
                            packed.cast_const()
                        }
                    };
                    let accumulate = accumulate || pixels.start > 0;
                    let store = if accumulate { Store::Add } else { Store::F32 };
                    for (i, panel) in some.clone().enumerate() {
                        let (column, wide) = self.panels[panel];
                        let kernels = self.kernels.panel(wide);
                        let columns = kernels.width.min(self.columns - column);
                        let tile = Tile { columns, store };
                        let b = b.add(i * self.slot());
                        let offsets = &self.inputs[pixels.clone()];
                        for run in &self.runs {
                            for (at, size) in kernels.cut(run.len) {
                                (size.columns)(
                                    a.add(run.offset + at),
                                    offsets,
                                    b,
                                    kernels.width,
                                    result.add((run.row + at) * self.output_row + column),
                                    self.output_row,
                                    tile,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A range in pieces of at most `most`.
fn split_range(
    range: std::ops::Range<usize>,
    most: usize,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let end = range.end;
    range
        .step_by(most)
        .map(move |first| first..end.min(first + most))
}
