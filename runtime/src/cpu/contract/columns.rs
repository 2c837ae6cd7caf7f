//! Contractions whose inner index is a pixel: the gradient of a convolution with respect to its filter, and Aᵀ·B.
//!
//! The filter's gradient has a row for each tap and input channel and a column for each output channel. Chunks of pixels
//! are shared out over a number of partial results that the shape fixes; each adds its chunks in order, and the partial
//! results are added in order at the end.

use super::simd::{Kernels, Tile};
use super::window::{Chunk, Chunks, Windows};
use crate::cpu::level::{Level, leveled};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{Carver, Pointer};

/// Elements that all partial results together may take.
const PARTIALS: usize = 8 << 20;
/// The most partial results.
const MAX_PARTIALS: usize = 64;
/// Units that keep the threads evenly busy.
const UNITS: usize = 16;
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
    /// Places in the arena.
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
    /// Elements of the whole result.
    pub len: usize,
    /// Derived by [`ColumnsPlan::finish`].
    pub panels: Vec<(usize, bool)>,
    pub partials: usize,
    pub splits: usize,
}

leveled! {
    /// `dst[i] = Σ_p src[p·stride + i]` in order of p: (dst, src, stride, count, n).
    pub fn sum_partials(dst: *mut f32, src: *const f32, stride: usize, count: usize, n: usize) {
        const BLOCK: usize = 64;
        let mut i = 0;
        while i < n {
            let len = BLOCK.min(n - i);
            let mut sums = [0.0f32; BLOCK];
            for p in 0..count {
                let src = src.add(p * stride + i);
                for (j, s) in sums.iter_mut().enumerate().take(len) {
                    *s += *src.add(j);
                }
            }
            for (j, s) in sums.iter().enumerate().take(len) {
                *dst.add(i + j) = *s;
            }
            i += len;
        }
    }
}

impl ColumnsPlan {
    /// Derives the panels, the number of partial results and of units.
    pub fn finish(mut self) -> ColumnsPlan {
        self.panels = self.kernels.panels(self.columns);
        let chunks = self.chunks.len();
        self.partials = chunks
            .min(MAX_PARTIALS)
            .min((PARTIALS / self.len.max(1)).max(1));
        let units = self.partials * self.channel_blocks * self.group_units();
        self.splits = UNITS.div_ceil(units).min(self.panels.len());
        self
    }

    /// Groups of a window that is copied share it; else each group is work of its own.
    fn group_units(&self) -> usize {
        if self.windows.direct { self.groups } else { 1 }
    }

    fn chunk_pixels(&self) -> usize {
        self.inputs.len()
    }

    /// f32 elements of scratch shared by all threads: the partial results.
    pub fn shared_scratch(&self) -> usize {
        if self.partials > 1 {
            self.partials * self.len
        } else {
            0
        }
    }

    /// f32 elements of scratch for each thread: windows, and a panel of the gradient.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        carver.f32(self.windows.scratch(self.chunks.group));
        carver.f32(self.chunk_pixels() * self.kernels.wide.width);
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
                let result = if self.partials > 1 {
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
        if self.partials > 1 {
            let sum = sum_partials(self.level);
            pool.run(self.len.div_ceil(COMBINE), &|_, unit| {
                let first = unit * COMBINE;
                let n = COMBINE.min(self.len - first);
                // SAFETY: all partial results are written; each unit writes its own part of the result.
                unsafe {
                    sum(
                        arena.get().add(self.output + first),
                        shared.get().add(first),
                        self.len,
                        self.partials,
                        n,
                    );
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
        let chunks = self.chunks.len();
        let first = partial * chunks / self.partials;
        let end = (partial + 1) * chunks / self.partials;
        // SAFETY: see `run`.
        unsafe {
            let mut carver = Carver::new(scratch);
            let window_scratch = carver.f32(self.windows.scratch(self.chunks.group));
            let packed = carver.f32(self.chunk_pixels() * self.kernels.wide.width);
            let input = arena.add(self.input).cast_const();
            for i in first..end {
                let chunk = self.chunks.get(i);
                let channel = block * self.block_channels;
                let base = if self.windows.direct {
                    channel + groups.start * self.group_input
                } else {
                    channel
                };
                let windows = self.windows.get(input, window_scratch, chunk, base);
                for group in groups.clone() {
                    let a = windows.add(
                        (group - if self.windows.direct { groups.start } else { 0 })
                            * self.group_input,
                    );
                    self.chunk(
                        arena,
                        a,
                        packed,
                        result,
                        chunk,
                        group,
                        block,
                        split,
                        i > first,
                    );
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    unsafe fn chunk(
        &self,
        arena: *mut f32,
        a: *const f32,
        packed: *mut f32,
        result: *mut f32,
        chunk: Chunk,
        group: usize,
        block: usize,
        split: usize,
        accumulate: bool,
    ) {
        let count = self.panels.len();
        let panels = split * count / self.splits..(split + 1) * count / self.splits;
        let pixels = chunk.images * chunk.rows * self.row_pixels;
        let first_pixel = (chunk.image * self.chunks.rows + chunk.row) * self.row_pixels;
        let offsets = &self.inputs[..pixels];
        // SAFETY: see `run`.
        unsafe {
            let gradient = arena
                .add(
                    self.gradient + group * self.group_gradient + first_pixel * self.gradient_pixel,
                )
                .cast_const();
            let result = result
                .add(group * self.group_output + block * self.block_channels * self.output_row);
            for panel in panels {
                let (column, wide) = self.panels[panel];
                let kernels = self.kernels.panel(wide);
                let columns = kernels.width.min(self.columns - column);
                let source = gradient.add(column * self.gradient_column);
                let whole = columns == kernels.width && self.gradient_column == 1;
                let (b, stride) = if whole && self.gradient_pixel == kernels.width {
                    (source, self.gradient_pixel)
                } else {
                    self.pack(source, packed, pixels, columns, kernels.width);
                    (packed.cast_const(), kernels.width)
                };
                let tile = Tile {
                    columns,
                    accumulate,
                };
                for run in &self.runs {
                    for (at, size) in kernels.cut(run.len) {
                        (size.columns)(
                            a.add(run.offset + at),
                            offsets,
                            b,
                            stride,
                            result.add((run.row + at) * self.output_row + column),
                            self.output_row,
                            tile,
                        );
                    }
                }
            }
        }
    }

    unsafe fn pack(
        &self,
        source: *const f32,
        packed: *mut f32,
        pixels: usize,
        columns: usize,
        width: usize,
    ) {
        // SAFETY: the gradient's elements by their strides; the scratch holds a panel of a chunk's pixels.
        unsafe {
            for p in 0..pixels {
                let row = packed.add(p * width);
                let from = source.add(p * self.gradient_pixel);
                if self.gradient_column == 1 {
                    std::ptr::copy_nonoverlapping(from, row, columns);
                } else {
                    for n in 0..columns {
                        *row.add(n) = *from.add(n * self.gradient_column);
                    }
                }
                std::slice::from_raw_parts_mut(row.add(columns), width - columns).fill(0.0);
            }
        }
    }
}
