//! Contractions whose inner index runs along rows of A: convolution, its gradient with respect to the input, and matmul.
//!
//! Output pixels are A's rows: each sees its taps at fixed offsets of a window. The filter is packed into panels of a
//! vector or two of outputs; then tiles of pixels × outputs are made in registers, chunk by chunk. No columns are written out.

use super::simd::{Kernels, Segment, Tile};
use super::window::{Chunk, Chunks, Windows};
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{Carver, Pointer};

/// Inner indices whose part of a panel stays in the second-level cache while a chunk's tiles pass over it.
const INNER: usize = 512;
/// Chunks times columns that keep the threads evenly busy.
const UNITS: usize = 16;
const MAX_TILE: usize = 16;

/// Some of the output pixels, a rectangle in steps of `step`, that see the same taps.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The first output row of a chunk that belongs to it.
    pub row: usize,
    /// For each output pixel of a full chunk: its window's beginning and its place in the output.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// Pixels in a row.
    pub columns: usize,
    /// For each tap, the elements of a pixel's window it reads and the first of its weights.
    pub taps: Vec<Tap>,
    /// The taps' segments, merged where they follow each other, cut into blocks.
    pub blocks: Vec<Vec<Segment>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Tap {
    pub offset: usize,
    pub weights: usize,
}

/// Places of the filter's elements: inner index of a tap, and output.
#[derive(Clone, Copy, Debug)]
pub struct WeightStrides {
    pub inner: usize,
    pub output: usize,
}

#[derive(Clone, Debug)]
pub struct RowsPlan {
    pub kernels: Kernels,
    /// Places in the arena.
    pub input: usize,
    pub weights: usize,
    pub output: usize,
    pub windows: Windows,
    pub chunks: Chunks,
    /// Elements from one image of the output to the next, and from one row to the next.
    pub output_image: usize,
    pub output_row: usize,
    pub step: usize,
    pub phases: Vec<Phase>,
    /// Inner length of a tap, and outputs, of one group.
    pub inner: usize,
    pub columns: usize,
    pub weight_strides: WeightStrides,
    /// How many groups, and how far each is from the last in input, weights and output.
    pub groups: usize,
    pub group_input: usize,
    pub group_weights: usize,
    pub group_output: usize,
    /// First column of each panel, and whether it is wide; derived by [`RowsPlan::finish`].
    pub panels: Vec<(usize, bool)>,
    pub splits: usize,
}

/// Merges taps whose elements follow each other, and cuts what is long.
pub fn segments(taps: &[Tap], len: usize) -> Vec<Vec<Segment>> {
    let mut merged: Vec<Segment> = Vec::new();
    for tap in taps {
        match merged.last_mut() {
            Some(last) if last.offset + last.len == tap.offset => last.len += len,
            _ => merged.push(Segment {
                offset: tap.offset,
                len,
            }),
        }
    }
    let mut blocks: Vec<Vec<Segment>> = Vec::new();
    let mut room = 0;
    for mut segment in merged {
        while segment.len > 0 {
            if room == 0 {
                blocks.push(Vec::new());
                room = INNER;
            }
            let take = segment.len.min(room);
            if let Some(block) = blocks.last_mut() {
                block.push(Segment {
                    offset: segment.offset,
                    len: take,
                });
            }
            segment.offset += take;
            segment.len -= take;
            room -= take;
        }
    }
    blocks
}

impl RowsPlan {
    /// Derives the panels and how many ranges of them chunks are split into.
    pub fn finish(mut self) -> RowsPlan {
        self.panels = self.kernels.panels(self.columns);
        let units = self.chunks.len()
            * if self.groups_are_units() {
                self.groups
            } else {
                1
            };
        self.splits = UNITS.div_ceil(units).min(self.panels.len());
        self
    }

    /// Groups of a window that is copied share it; else each group is work of its own.
    fn groups_are_units(&self) -> bool {
        self.windows.direct
    }

    fn width(&self, panel: usize) -> usize {
        self.kernels.panel(self.panels[panel].1).width
    }

    /// Packed elements of one group's phase.
    fn packed_phase(&self, phase: &Phase) -> usize {
        let width: usize = (0..self.panels.len()).map(|p| self.width(p)).sum();
        phase.taps.len() * self.inner * width
    }

    fn packed_group(&self) -> usize {
        self.phases.iter().map(|p| self.packed_phase(p)).sum()
    }

    /// f32 elements of scratch shared by all threads: the packed filter.
    pub fn shared_scratch(&self) -> usize {
        self.packed_group() * self.groups
    }

    /// f32 elements of scratch for each thread: a chunk's windows.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        carver.f32(self.windows.scratch(self.chunks.group));
        carver.used()
    }

    /// Where a panel of a phase of a group begins in the packed filter.
    fn packed_place(&self, group: usize, phase: usize, panel: usize) -> usize {
        let before: usize = self.phases[..phase]
            .iter()
            .map(|p| self.packed_phase(p))
            .sum();
        // All panels before are wide.
        let rows = self.phases[phase].taps.len() * self.inner;
        group * self.packed_group() + before + panel * self.kernels.wide.width * rows
    }

    /// Runs the contraction.
    ///
    /// # Safety
    /// The machine has the kernels' level; the plan's buffers are within `arena` and the output meets no input; scratch
    /// is as [`shared_scratch`](Self::shared_scratch) and [`thread_scratch`](Self::thread_scratch) say, unused meanwhile.
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        let panels = self.panels.len();
        let packs = self.groups * self.phases.len() * panels;
        pool.run(packs, &|_, unit| {
            let (rest, panel) = (unit / panels, unit % panels);
            let (group, phase) = (rest / self.phases.len(), rest % self.phases.len());
            // SAFETY: each unit packs a panel of its own.
            unsafe { self.pack(arena.get(), shared.get(), group, phase, panel) }
        });
        let chunks = self.chunks.len();
        let group_units = if self.groups_are_units() {
            self.groups
        } else {
            1
        };
        pool.run(chunks * self.splits * group_units, &|thread, unit| {
            let (rest, split) = (unit / self.splits, unit % self.splits);
            let (group, chunk) = (rest / chunks, rest % chunks);
            let groups = if self.groups_are_units() {
                group..group + 1
            } else {
                0..self.groups
            };
            let first = split * panels / self.splits;
            let end = (split + 1) * panels / self.splits;
            // SAFETY: units write disjoint pixels or columns; a thread has its own scratch.
            unsafe {
                let arena = arena.get();
                let chunk = self.chunks.get(chunk);
                let scratch =
                    Carver::new(threads[thread].get()).f32(self.windows.scratch(self.chunks.group));
                let mut windows = std::ptr::null();
                for group in groups.clone() {
                    if group == groups.start {
                        // A direct group has its own place; copied windows hold all groups.
                        let own = if self.windows.direct {
                            group * self.group_input
                        } else {
                            0
                        };
                        windows = self.windows.get(
                            arena.add(self.input).cast_const(),
                            scratch,
                            chunk,
                            own,
                        );
                    }
                    let a = if self.windows.direct {
                        windows
                    } else {
                        windows.add(group * self.group_input)
                    };
                    self.chunk(arena, a, shared.get(), chunk, group, first..end);
                }
            }
        });
    }

    unsafe fn pack(
        &self,
        arena: *mut f32,
        packed: *mut f32,
        group: usize,
        phase: usize,
        panel: usize,
    ) {
        let first = self.panels[panel].0;
        let width = self.width(panel);
        let columns = width.min(self.columns - first);
        let WeightStrides { inner, output } = self.weight_strides;
        // SAFETY: the weights' elements by their strides; a panel of the packed filter.
        unsafe {
            let mut dst = packed.add(self.packed_place(group, phase, panel));
            let weights = arena.add(self.weights + group * self.group_weights + first * output);
            for tap in &self.phases[phase].taps {
                let source = weights.add(tap.weights).cast_const();
                if output == 1 {
                    for k in 0..self.inner {
                        let row = dst.add(k * width);
                        std::ptr::copy_nonoverlapping(source.add(k * inner), row, columns);
                        std::slice::from_raw_parts_mut(row.add(columns), width - columns).fill(0.0);
                    }
                } else {
                    for n in 0..width {
                        for k in 0..self.inner {
                            *dst.add(k * width + n) = if n < columns {
                                *source.add(n * output + k * inner)
                            } else {
                                0.0
                            };
                        }
                    }
                }
                dst = dst.add(self.inner * width);
            }
        }
    }

    /// The panels of a range, for a chunk and a group whose windows begin at `a`.
    unsafe fn chunk(
        &self,
        arena: *mut f32,
        a: *const f32,
        packed: *const f32,
        chunk: Chunk,
        group: usize,
        panels: std::ops::Range<usize>,
    ) {
        // SAFETY: see `run`.
        unsafe {
            let c = arena.add(
                self.output
                    + group * self.group_output
                    + chunk.image * self.output_image
                    + chunk.row * self.output_row,
            );
            for (i, phase) in self.phases.iter().enumerate() {
                let rows = if chunk.rows > phase.row {
                    (chunk.rows - phase.row).div_ceil(self.step)
                } else {
                    0
                };
                // Images come first in the tables, or there is one: the chunk's pixels are the first ones.
                let pixels = chunk.images * rows * phase.columns;
                if phase.taps.is_empty() {
                    for output in &phase.outputs[..pixels] {
                        std::slice::from_raw_parts_mut(c.add(*output), self.columns).fill(0.0);
                    }
                    continue;
                }
                for panel in panels.clone() {
                    let mut b = packed.add(self.packed_place(group, i, panel));
                    for (j, block) in phase.blocks.iter().enumerate() {
                        self.tiles(a, b, c, block, phase, pixels, panel, j > 0);
                        let len: usize = block.iter().map(|s| s.len).sum();
                        b = b.add(len * self.width(panel));
                    }
                }
            }
        }
    }

    /// All tiles of a panel and a block of inner indices.
    #[allow(clippy::too_many_arguments)]
    unsafe fn tiles(
        &self,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        block: &[Segment],
        phase: &Phase,
        pixels: usize,
        panel: usize,
        accumulate: bool,
    ) {
        let (first, wide) = self.panels[panel];
        let kernels = self.kernels.panel(wide);
        let tile = Tile {
            columns: kernels.width.min(self.columns - first),
            accumulate,
        };
        for (at, size) in kernels.cut(pixels) {
            let mut rows = [std::ptr::null(); MAX_TILE];
            let mut outputs = [std::ptr::null_mut(); MAX_TILE];
            // SAFETY: windows and outputs of the chunk's pixels.
            unsafe {
                for m in 0..size.height {
                    rows[m] = a.add(phase.inputs[at + m]);
                    outputs[m] = c.add(phase.outputs[at + m] + first);
                }
                (size.rows)(rows.as_ptr(), block, b, outputs.as_ptr(), tile);
            }
        }
    }
}
