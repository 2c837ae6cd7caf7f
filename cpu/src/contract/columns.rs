//! The gradient of a convolution with respect to its filter, where a window has several taps or padding.
//!
//! It has a row for each tap and input channel and a column for each output channel; the inner index is a pixel. For pairs
//! of bf16, two chunks lie side by side and a pair is a pixel of each. Chunks of pixels are shared out over a number of
//! partial results that the shape fixes; each adds its chunks in order, and the partial results are added in order at the
//! end.

use super::ahead::{Region, Sweep};
use super::channel_block;
use super::form::Form;
use super::gradient::{Gradient, Side};
use super::partials::Partials;
use super::prologue::{Made, Prologue};
use super::shapes::pixels;
use super::simd::{Store, Tile};
use super::window::{Bring, Chunk, Chunks, Image, Lanes, Reach, Windows};
use crate::pool::Pool;
use crate::scratch::{Carver, Pointer};
use sslc_compiler::kernels::ir::ConvShape;
use std::ops::Range;

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

/// Rows of the result that see consecutive elements of a window.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Offset in a pixel's window.
    offset: usize,
    /// First row of the result, for the first block of channels.
    row: usize,
    len: usize,
}

#[derive(Clone, Debug)]
pub struct ColumnsPlan {
    /// Place of the input in the arena, in words.
    input: usize,
    windows: Windows,
    chunks: Chunks,
    /// For each pixel of a full chunk, its window's beginning.
    inputs: Vec<usize>,
    /// Bytes to each of some pixels of the input.
    offsets: Vec<usize>,
    /// Output pixels in a row.
    row_pixels: usize,
    runs: Vec<Run>,
    /// Channels are cut into equal blocks; each is work of its own.
    channel_blocks: usize,
    block_channels: usize,
    gradient: Gradient,
    /// How many groups, how far each is from the last in input, and in gradient and result; and the result's row stride.
    groups: usize,
    group_input: usize,
    group_output: usize,
    output_row: usize,
    partials: Partials,
    /// Parts that panels are cut into; each is work of its own.
    splits: usize,
    /// What makes the input, where it has no place.
    prologue: Option<Prologue>,
}

/// Scratch of a thread.
struct Room {
    windows: *mut f32,
    packed: *mut f32,
    /// The pixels of chunks that lie side by side, where they are made.
    made: [Option<Made>; 2],
}

/// What a unit makes: a block of channels and a range of panels of some groups.
struct Unit {
    partial: usize,
    block: usize,
    panels: Range<usize>,
    groups: Range<usize>,
}

impl ColumnsPlan {
    /// The gradient of a convolution with respect to its filter: places of x, dy and dw.
    pub fn new(s: &ConvShape, [x, dy, dw]: [usize; 3], form: Form) -> ColumnsPlan {
        let image = Image::dense(s.h, s.w, s.c);
        let reach = Reach::forward(s.kernel, s.stride, s.padding);
        let inner = s.c / s.groups;
        let block = if s.groups == 1 {
            channel_block(s.c)
        } else {
            inner
        };
        let channels = if s.groups == 1 { block } else { s.c };
        let bring = form.column_windows();
        let windows_for = |band: usize| {
            let outputs = (s.oh, s.ow);
            Windows::new(image, [reach, reach], outputs, band, channels, bring)
        };
        let chunks = Chunks::choose(s.n, s.oh, s.ow, 1, 0, |band| {
            windows_for(band).image_words()
        });
        let chunks = form.lanes(chunks);
        let windows = windows_for(chunks.band);
        let (row_pitch, image_pitch) = (windows.row_pitch(), windows.image_pitch());
        let mut runs: Vec<Run> = Vec::new();
        for ky in 0..s.kernel {
            for kx in 0..s.kernel {
                let offset = ky * row_pitch + kx * windows.pixel_pitch();
                let row = (ky * s.kernel + kx) * inner;
                match runs.last_mut() {
                    Some(last)
                        if last.offset + last.len == offset && last.row + last.len == row =>
                    {
                        last.len += block;
                    }
                    _ => runs.push(Run {
                        offset,
                        row,
                        len: block,
                    }),
                }
            }
        }
        let stored = form.products.stored();
        let mut plan = ColumnsPlan {
            input: x,
            inputs: pixels(&chunks, 0..chunks.band, 0..s.ow)
                .iter()
                .map(|(i, r, c)| {
                    i * image_pitch + (r * row_pitch + c * windows.pixel_pitch()) * s.stride
                })
                .collect(),
            offsets: (0..PIXELS).map(|i| i * s.c * stored).collect(),
            windows,
            chunks,
            row_pixels: s.ow,
            runs,
            channel_blocks: inner / block,
            block_channels: block,
            gradient: Gradient::new(form, dy, s.k / s.groups, (s.k, 1), PIXELS),
            groups: s.groups,
            group_input: inner,
            group_output: s.k / s.groups,
            output_row: s.k,
            partials: Partials {
                level: form.level,
                element: form.element,
                place: dw,
                len: s.w_len(),
                count: 1,
            },
            splits: 1,
            prologue: None,
        };
        plan.partials.count = plan
            .steps()
            .min(MAX_PARTIALS)
            .min((PARTIALS / s.w_len().max(1)).max(1));
        let units = plan.partials.count * plan.channel_blocks * plan.group_units();
        plan.splits = UNITS.div_ceil(units).min(plan.gradient.panels.len());
        plan
    }

    /// Has the input made by a prologue, which is planned for the most pixels that a chunk reads.
    pub fn begin_with(&mut self, plan: impl FnOnce(usize) -> Prologue) {
        let chunks = (0..self.chunks.len()).map(|c| self.windows.reads(self.chunks.get(c)).len());
        self.prologue = Some(plan(chunks.max().unwrap_or(0)));
    }

    /// Where the input's first pixel is, or would be, for each of the chunks that lie side by side.
    unsafe fn inputs(
        &self,
        arena: *mut f32,
        made: [Option<Made>; 2],
        lanes: Lanes,
    ) -> [*const u8; 2] {
        let whole = arena.wrapping_add(self.input).cast_const().cast();
        let mut inputs = [whole; 2];
        for ((input, made), chunk) in inputs.iter_mut().zip(made).zip(lanes) {
            if let (Some(prologue), Some(made), Some(chunk)) = (&self.prologue, made, chunk) {
                // SAFETY: the caller's.
                *input = unsafe { prologue.make(arena, made, self.windows.reads(chunk)) };
            }
        }
        inputs
    }

    /// What the input is read from, if its elements are as wide: the place of its first pixel.
    fn source(&self, arena: *const f32) -> Option<*const u8> {
        let place = match &self.prologue {
            None => 4 * self.input,
            Some(prologue) => prologue.source_like_itself()?,
        };
        Some(arena.cast::<u8>().wrapping_add(place))
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

    /// Groups of a window that is copied share it; else each group is work of its own.
    fn group_units(&self) -> usize {
        if self.windows.direct { self.groups } else { 1 }
    }

    /// Panels that are packed at a time.
    fn panels_at_once(&self) -> usize {
        let rows: usize = self.runs.iter().map(|r| r.len).sum();
        if rows < FEW_ROWS {
            PANELS.min(self.gradient.panels.len())
        } else {
            1
        }
    }

    /// Words of scratch shared by all threads: the partial results.
    pub fn shared_scratch(&self) -> usize {
        self.partials.scratch()
    }

    /// Words of scratch for each thread: windows, and panels of the gradient.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        self.room(&mut carver);
        carver.used()
    }

    fn room(&self, carver: &mut Carver) -> Room {
        let windows = carver.f32(self.windows.scratch(self.chunks.group));
        let packed = carver.f32(self.gradient.scratch(self.panels_at_once()));
        let mut made = [None; 2];
        for made in &mut made[..self.lanes()] {
            *made = self.prologue.as_ref().map(|p| p.carve(carver));
        }
        Room {
            windows,
            packed,
            made,
        }
    }

    /// Runs the contraction.
    ///
    /// # Safety
    /// The machine has the form's level; the plan's buffers are within `arena` and the output meets no input; scratch
    /// is as [`shared_scratch`](Self::shared_scratch) and [`thread_scratch`](Self::thread_scratch) say, unused meanwhile.
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        let group_units = self.group_units();
        let partials = self.partials.count;
        let units = partials * self.channel_blocks * self.splits * group_units;
        pool.run(units, &|thread, unit| {
            let (rest, split) = (unit / self.splits, unit % self.splits);
            let (rest, block) = (rest / self.channel_blocks, rest % self.channel_blocks);
            let (group, partial) = (rest / partials, rest % partials);
            let panels = self.gradient.panels.len();
            let unit = Unit {
                partial,
                block,
                panels: split * panels / self.splits..(split + 1) * panels / self.splits,
                groups: if group_units > 1 {
                    group..group + 1
                } else {
                    0..self.groups
                },
            };
            // SAFETY: units write disjoint rows, columns, groups or partial results; a thread has its own scratch.
            unsafe {
                let result = self.partials.result(arena, shared, partial);
                let room = self.room(&mut Carver::new(threads[thread].get()));
                self.unit(arena.get(), &room, result, &unit);
            }
        });
        // SAFETY: the caller's; all partial results are written.
        unsafe { self.partials.combine(pool, arena, shared) }
    }

    /// Adds the chunks of a partial result.
    unsafe fn unit(&self, arena: *mut f32, room: &Room, result: *mut f32, unit: &Unit) {
        let steps = self.steps();
        let first = unit.partial * steps / self.partials.count;
        let end = (unit.partial + 1) * steps / self.partials.count;
        let groups = unit.groups.clone();
        // SAFETY: see `run`.
        unsafe {
            let source = self.source(arena);
            let channel = unit.block * self.block_channels;
            let base = if self.group_units() > 1 {
                channel + groups.start * self.group_input
            } else {
                channel
            };
            for i in first..end {
                let lanes = self.chunk_lanes(i);
                let inputs = self.inputs(arena, room.made, lanes);
                let windows = self
                    .windows
                    .get(inputs, room.windows.cast(), lanes, base)
                    .cast::<f32>();
                for group in groups.clone() {
                    let a = windows.add((group - groups.start) * self.group_input);
                    let mut regions = [Region::none(); 4];
                    if i + 1 < end && groups.len() == 1 {
                        let next = self.chunk_lanes(i + 1);
                        let sides = self.sides(arena, next, group);
                        for (lane, side) in sides.into_iter().enumerate() {
                            let (Some(chunk), Some(side)) = (next[lane], side) else {
                                continue;
                            };
                            regions[2 * lane] = self.gradient.region(side, unit.panels.clone());
                            if let Some(source) = source {
                                regions[2 * lane + 1] = self.region(source, chunk, base);
                            }
                        }
                    }
                    let result = result.add(group * self.group_output + channel * self.output_row);
                    let sides = self.sides(arena, lanes, group);
                    self.chunk(a, room.packed, result, sides, unit, regions, i > first);
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

    /// The gradient's pixels of some chunks.
    fn sides(&self, arena: *mut f32, lanes: Lanes, group: usize) -> [Option<Side>; 2] {
        let gradient = arena.wrapping_add(self.gradient.place).cast::<u8>();
        lanes.map(|lane| {
            let chunk = lane?;
            let pixel = (chunk.image * self.chunks.rows + chunk.row) * self.row_pixels;
            let place = group * self.group_output + pixel * self.gradient.pixel;
            Some(Side {
                first: gradient.wrapping_add(place * self.gradient.products.stored()),
                pixels: chunk.images * chunk.rows * self.row_pixels,
            })
        })
    }

    /// The input's pixels that a chunk's windows meet, to be brought nearer from channel `first` on.
    fn region(&self, input: *const u8, chunk: Chunk, first: usize) -> Region<'_> {
        let image = &self.windows.image;
        let height = image.height as isize;
        let top = self.windows.vertical.origin(chunk.row);
        let below = top + self.windows.vertical.extent(chunk.rows) as isize;
        let (top, below) = (top.clamp(0, height), below.clamp(0, height));
        let rows = (chunk.images - 1) * image.height + (below - top) as usize;
        let place = chunk.image * image.len + top as usize * image.row + first;
        let stored = self.gradient.products.stored();
        Region {
            place: input.wrapping_add(place * stored),
            bytes: self.windows.channels * stored,
            pixels: rows * image.width,
            pitch: image.pixel * stored,
            offsets: &self.offsets,
        }
    }

    /// Adds the products of chunks that lie side by side.
    #[allow(clippy::too_many_arguments)]
    unsafe fn chunk(
        &self,
        a: *const f32,
        packed: *mut f32,
        result: *mut f32,
        sides: [Option<Side>; 2],
        unit: &Unit,
        regions: [Region; 4],
        accumulate: bool,
    ) {
        let gradient = &self.gradient;
        let kernels = |panel: usize| gradient.kernels.panel(gradient.panels[panel].1);
        let pixels = sides.iter().flatten().map(|s| s.pixels).max().unwrap_or(0);
        let tiles = unit.panels.clone().map(|panel| {
            let runs = self.runs.iter();
            runs.map(|run| kernels(panel).cut(run.len).count())
                .sum::<usize>()
        });
        let tiles = tiles.sum::<usize>() * pixels.div_ceil(PIXELS);
        let mut sweep = Sweep::new(regions, tiles);
        for some in split_range(unit.panels.clone(), self.panels_at_once()) {
            for pixels in split_range(0..pixels, PIXELS) {
                // SAFETY: see `run`.
                unsafe {
                    let b = gradient.get(sides, packed, pixels.clone(), some.clone());
                    let store = if accumulate || pixels.start > 0 {
                        Store::Add
                    } else {
                        Store::F32
                    };
                    for (i, panel) in some.clone().enumerate() {
                        let kernels = kernels(panel);
                        let column = gradient.panels[panel].0;
                        let columns = kernels.width.min(gradient.columns - column);
                        let (b, b_stride) = b.panel(i, column, kernels.width);
                        let offsets = &self.inputs[pixels.clone()];
                        for run in &self.runs {
                            for (at, size) in kernels.cut(run.len) {
                                (size.columns)(
                                    a.add(run.offset + at),
                                    offsets,
                                    b,
                                    b_stride,
                                    result.add((run.row + at) * self.output_row + column),
                                    self.output_row,
                                    Tile {
                                        columns,
                                        store,
                                        twin: 0,
                                    },
                                    sweep.next(),
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A range in even pieces of at most `most`.
fn split_range(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (first, len) = (range.start, range.len());
    let count = len.div_ceil(most);
    (0..count).map(move |i| first + i * len / count..first + (i + 1) * len / count)
}
