//! The filter's gradient by Winograd: a sum over tiles in the transformed domain, transformed back once.
//!
//! Where the sum is small, ranges of tiles are work of their own: blocks of tiles are transformed into the thread's
//! scratch and multiplied into the thread's sum, which ends as a partial result; the partial results are added in order.
//! Where it is large, a chunk of tiles is transformed by all threads into shared scratch, then blocks of channels and
//! filters are work of their own. The shape decides on all of it.
//!
//! - [`tiles`]: transforms and products, for each level.
mod tiles;

use super::TAPS;
use crate::cpu::contract::columns::sum_partials;
use crate::cpu::level::Level;
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{Carver, Pointer};
use sslc_compiler::kernels::ir::ConvShape;
use std::ops::Range;
use tiles::{FilterKernels, Finish, LINE, Place, Plane, Product, prefetch};

/// Outputs of a tile along one axis.
const TILE: usize = 4;

/// Elements of a sum that a thread keeps for itself.
const OWN_SUM: usize = 36 * 128 * 128;
/// Elements of a block of transformed tiles, so that it stays in the second-level cache.
const OWN_TILES: usize = 160 * 1024;
/// Tiles of a block.
const OWN_BLOCK: std::ops::RangeInclusive<usize> = 16..=128;
/// Ranges of tiles, where each has at least a few blocks.
const RANGES: usize = 16;
/// Elements of the shared transformed tiles, so that they stay in the third-level cache.
const SHARED_TILES: usize = 5 << 20;
/// The fewest tiles of a chunk.
const SHARED_LEAST: usize = 32;
/// Units that transform a chunk.
const TRANSFORMS: usize = 16;
/// Channels and filters of a block of the sum, and filters where that makes few blocks.
const BLOCK: [usize; 2] = [128, 64];
const NARROW: usize = 32;
/// Blocks that keep the threads evenly busy.
const BLOCKS: usize = 16;
/// How many tiles before it is transformed a tile is brought into the cache.
const AHEAD: usize = 2;
/// Tiles multiplied at a time.
const DEPTH: usize = 64;
/// Elements of the result that one thread combines at a time.
const COMBINE: usize = 16 * 1024;

/// A filter gradient made ready.
#[derive(Clone, Debug)]
pub struct FilterGradPlan {
    level: Level,
    kernels: FilterKernels,
    /// The output's place in the arena.
    output: usize,
    shape: ConvShape,
    /// Tiles of an image: down, across; and of all images.
    down: usize,
    across: usize,
    tiles: usize,
    /// Ranges of tiles with a sum of their own; `None` where the transformed tiles are shared.
    ranges: Option<usize>,
    /// Tiles transformed at a time.
    block: usize,
    depth: usize,
    /// The input, transformed by B, and the output's gradient, transformed by A.
    x: Operand,
    dy: Operand,
    /// A point of the sum: from channel to channel, and from point to point.
    sum_pitch: usize,
    sum_point: usize,
}

/// Images, and where their transformed tiles lie: [block of channels][point][tile][channel].
#[derive(Clone, Copy, Debug)]
struct Operand {
    /// Place in the arena.
    place: usize,
    height: usize,
    width: usize,
    channels: usize,
    /// Channels of a block.
    block: usize,
    /// From tile to tile, from point to point, and from block to block.
    pitch: usize,
    point: usize,
    stride: usize,
    /// Pixels from one tile to the next, along one axis.
    step: usize,
}

/// An odd number of cache lines, so that what is that far apart does not fall on the same few lines of a cache.
fn odd_lines(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

impl Operand {
    fn new(
        place: usize,
        [height, width, channels]: [usize; 3],
        step: usize,
        [block, tiles, points]: [usize; 3],
    ) -> Operand {
        let block = block.min(channels);
        let pitch = odd_lines(block);
        let point = odd_lines(tiles * pitch);
        Operand {
            place,
            height,
            width,
            channels,
            block,
            pitch,
            point,
            stride: points * point,
            step,
        }
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// First channel and number of channels of a block.
    fn range(&self, block: usize) -> (usize, usize) {
        let first = block * self.block;
        (first, self.block.min(self.channels - first))
    }

    /// Elements of the transformed tiles.
    fn len(&self) -> usize {
        self.blocks() * self.stride
    }

    unsafe fn image(&self, arena: *const f32, image: usize) -> *const f32 {
        // SAFETY: the images are within the arena.
        unsafe { arena.add(self.place + image * self.height * self.width * self.channels) }
    }

    /// Transforms a tile to place `at` of all blocks.
    #[allow(clippy::too_many_arguments)]
    unsafe fn transform(
        &self,
        arena: *const f32,
        zeros: *const f32,
        image: usize,
        (row, column): (isize, isize),
        to: *mut f32,
        at: usize,
        kernel: unsafe fn(Plane, isize, isize, Place),
    ) {
        for block in 0..self.blocks() {
            let (first, channels) = self.range(block);
            // SAFETY: the images are within the arena, the place is within the transformed tiles.
            unsafe {
                let plane = Plane {
                    base: self.image(arena, image).add(first),
                    height: self.height,
                    width: self.width,
                    pitch: self.channels,
                    channels,
                    zeros,
                };
                let place = Place {
                    base: to.add(block * self.stride + at * self.pitch),
                    stride: self.point,
                };
                kernel(plane, row, column, place);
            }
        }
    }

    /// Brings some rows of a tile's pixels into the second-level cache.
    fn prefetch(&self, arena: *const f32, image: usize, row: usize, column: usize) {
        if row >= self.height || column >= self.width {
            return;
        }
        let pixels = self.step.min(self.width - column);
        let at = (image * self.height + row) * self.width + column;
        let first = arena.wrapping_add(self.place + at * self.channels);
        prefetch(first, pixels * self.channels);
    }
}

impl FilterGradPlan {
    /// Plans the gradient of a 3×3 convolution of stride 1 or 2 in one group: places of x, dy and dw.
    pub fn new(s: &ConvShape, [x, dy, dw]: [usize; 3], level: Level) -> FilterGradPlan {
        let kernels = FilterKernels::new(level, s.stride);
        let points = kernels.points;
        let down = s.oh.div_ceil(TILE);
        let across = s.ow.div_ceil(TILE);
        let tiles = s.n * down * across;
        let each = points * (s.c + s.k);
        let (ranges, block, sum) = if points * s.c * s.k <= OWN_SUM {
            let block = (OWN_TILES / each).clamp(*OWN_BLOCK.start(), *OWN_BLOCK.end());
            let ranges = tiles.div_ceil(2 * block).clamp(1, RANGES);
            (Some(ranges), block, [s.c, s.k])
        } else {
            let most = (SHARED_TILES / each).max(SHARED_LEAST);
            let chunk = tiles.div_ceil(tiles.div_ceil(most).max(1));
            let few = s.c.div_ceil(BLOCK[0]) * s.k.div_ceil(BLOCK[1]) < BLOCKS;
            (None, chunk, [BLOCK[0], if few { NARROW } else { BLOCK[1] }])
        };
        let x = Operand::new(x, [s.h, s.w, s.c], TILE * s.stride, [sum[0], block, points]);
        let dy = Operand::new(dy, [s.oh, s.ow, s.k], TILE, [sum[1], block, points]);
        let sum_pitch = dy.block.next_multiple_of(kernels.lanes);
        FilterGradPlan {
            level,
            kernels,
            output: dw,
            shape: *s,
            down,
            across,
            tiles,
            ranges,
            block,
            depth: DEPTH,
            x,
            dy,
            sum_pitch,
            sum_point: odd_lines(x.block * sum_pitch),
        }
    }

    fn len(&self) -> usize {
        TAPS * TAPS * self.shape.c * self.shape.k
    }

    /// f32 elements of scratch for each thread.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        self.thread_pieces(&mut carver);
        carver.used()
    }

    /// Zeros, the sum, and the transformed tiles where each thread has its own.
    fn thread_pieces(&self, carver: &mut Carver) -> (*mut f32, *mut f32, [*mut f32; 2]) {
        let zeros = carver.f32(self.zeros());
        let sum = carver.f32(self.kernels.points * self.sum_point);
        let tiles = match self.ranges {
            Some(_) => self.tile_pieces(carver),
            None => [std::ptr::null_mut(); 2],
        };
        (zeros, sum, tiles)
    }

    fn tile_pieces(&self, carver: &mut Carver) -> [*mut f32; 2] {
        [carver.f32(self.x.len()), carver.f32(self.dy.len())]
    }

    fn zeros(&self) -> usize {
        self.x.block.max(self.dy.block)
    }

    /// f32 elements of scratch shared by all threads.
    pub fn shared_scratch(&self) -> usize {
        match self.ranges {
            Some(1) => 0,
            Some(ranges) => ranges * self.len(),
            None => {
                let mut carver = Carver::measure();
                self.tile_pieces(&mut carver);
                carver.used()
            }
        }
    }

    /// Runs the contraction.
    ///
    /// # Safety
    /// The machine has the kernels' level; the plan's buffers are within `arena` and the output meets no input; scratch
    /// is as [`shared_scratch`](Self::shared_scratch) and [`thread_scratch`](Self::thread_scratch) say, unused meanwhile.
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        // SAFETY: the caller's.
        unsafe {
            match self.ranges {
                Some(ranges) => self.run_ranges(pool, arena, threads, shared, ranges),
                None => self.run_shared(pool, arena, threads, shared),
            }
        }
    }

    unsafe fn run_ranges(
        &self,
        pool: &Pool,
        arena: Pointer,
        threads: &[Pointer],
        shared: Pointer,
        ranges: usize,
    ) {
        pool.run(ranges, &|thread, range| {
            let first = range * self.tiles / ranges;
            let end = (range + 1) * self.tiles / ranges;
            // SAFETY: a thread has its own scratch, a range its own partial result.
            unsafe {
                let arena = arena.get();
                let (zeros, sum, tiles) =
                    self.thread_pieces(&mut Carver::new(threads[thread].get()));
                self.clear(zeros);
                let mut at = first;
                while at < end {
                    let count = self.block.min(end - at);
                    let next = at + count..end.min(at + count + self.block);
                    self.transform(arena, zeros, tiles, at, at..at + count);
                    for point in 0..self.kernels.points {
                        self.prefetch(arena, &next, point);
                        self.multiply(tiles, sum, [0, 0], point, count, at > first);
                    }
                    at += count;
                }
                let out = if ranges > 1 {
                    shared.get().add(range * self.len())
                } else {
                    arena.add(self.output)
                };
                self.finish(sum, out, [0, 0], false);
            }
        });
        if ranges > 1 {
            let add = sum_partials(self.level);
            pool.run(self.len().div_ceil(COMBINE), &|_, unit| {
                let first = unit * COMBINE;
                let n = COMBINE.min(self.len() - first);
                // SAFETY: all partial results are written; each unit writes its own part of the result.
                unsafe {
                    let out = arena.get().add(self.output + first);
                    add(out, shared.get().add(first), self.len(), ranges, n);
                }
            });
        }
    }

    unsafe fn run_shared(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        let mut first = 0;
        while first < self.tiles {
            let count = self.block.min(self.tiles - first);
            pool.run(TRANSFORMS, &|thread, unit| {
                let from = first + unit * count / TRANSFORMS;
                let to = first + (unit + 1) * count / TRANSFORMS;
                // SAFETY: a thread has its own scratch; units write tiles of their own.
                unsafe {
                    let (zeros, _, _) = self.thread_pieces(&mut Carver::new(threads[thread].get()));
                    self.clear(zeros);
                    let tiles = self.tile_pieces(&mut Carver::new(shared.get()));
                    self.transform(arena.get(), zeros, tiles, first, from..to);
                }
            });
            pool.run(self.x.blocks() * self.dy.blocks(), &|thread, unit| {
                let at = [unit / self.dy.blocks(), unit % self.dy.blocks()];
                // SAFETY: a thread has its own scratch; the tiles are transformed; units write their own part of the
                // result.
                unsafe {
                    let (_, sum, _) = self.thread_pieces(&mut Carver::new(threads[thread].get()));
                    let tiles = self.tile_pieces(&mut Carver::new(shared.get()));
                    for point in 0..self.kernels.points {
                        self.multiply(tiles, sum, at, point, count, false);
                    }
                    self.finish(sum, arena.get().add(self.output), at, first > 0);
                }
            });
            first += count;
        }
    }

    unsafe fn clear(&self, zeros: *mut f32) {
        // SAFETY: as `thread_pieces` measured.
        unsafe { std::slice::from_raw_parts_mut(zeros, self.zeros()) }.fill(0.0);
    }

    /// The image of a tile, and its row and column of tiles.
    fn locate(&self, tile: usize) -> (usize, usize, usize) {
        let each = self.down * self.across;
        let place = tile % each;
        (tile / each, place / self.across, place % self.across)
    }

    /// Transforms tiles of both operands; tile `begin` goes to the front.
    unsafe fn transform(
        &self,
        arena: *const f32,
        zeros: *const f32,
        [u, v]: [*mut f32; 2],
        begin: usize,
        tiles: Range<usize>,
    ) {
        let padding = self.shape.padding as isize;
        let end = tiles.end;
        for tile in tiles {
            let (image, row, column) = self.locate(tile);
            let first = |operand: &Operand, padding: isize| {
                let at = |tile: usize| (tile * operand.step) as isize - padding;
                (at(row), at(column))
            };
            let at = tile - begin;
            if self.ranges.is_none() && tile + AHEAD < end {
                for row in 0..TILE {
                    self.prefetch_row(arena, tile + AHEAD, row);
                }
            }
            let kernels = &self.kernels;
            // SAFETY: the images are within the arena, the tile's place is within the transformed tiles.
            unsafe {
                let x = &self.x;
                x.transform(arena, zeros, image, first(x, padding), u, at, kernels.input);
                let dy = &self.dy;
                dy.transform(arena, zeros, image, first(dy, 0), v, at, kernels.gradient);
            }
        }
    }

    /// Brings a part of the tiles' pixels, one for each point, into the second-level cache.
    fn prefetch(&self, arena: *const f32, tiles: &Range<usize>, point: usize) {
        let rows = tiles.len() * TILE;
        let points = self.kernels.points;
        for i in point * rows / points..(point + 1) * rows / points {
            self.prefetch_row(arena, tiles.start + i / TILE, i % TILE);
        }
    }

    /// A row of the tile's outputs, and as many of its input.
    fn prefetch_row(&self, arena: *const f32, tile: usize, i: usize) {
        let (image, row, column) = self.locate(tile);
        for operand in [&self.x, &self.dy] {
            let rows = operand.step / TILE;
            for r in i * rows..(i + 1) * rows {
                let (row, column) = (row * operand.step + r, column * operand.step);
                operand.prefetch(arena, image, row, column);
            }
        }
    }

    /// Multiplies tiles at a point into the sum for a block of channels and of filters.
    unsafe fn multiply(
        &self,
        [u, v]: [*mut f32; 2],
        sum: *mut f32,
        [x, dy]: [usize; 2],
        point: usize,
        tiles: usize,
        accumulate: bool,
    ) {
        let u = u.wrapping_add(x * self.x.stride + point * self.x.point);
        let v = v.wrapping_add(dy * self.dy.stride + point * self.dy.point);
        // Tiles of a thread's own are in the cache already.
        let next = |operand: &Operand, first: *const f32| {
            let more = self.ranges.is_none() && point + 1 < self.kernels.points;
            let len = if more { tiles * operand.pitch } else { 0 };
            (first.wrapping_add(operand.point), len)
        };
        let next = [next(&self.x, u), next(&self.dy, v)];
        // SAFETY: the tiles are transformed; the blocks exist.
        unsafe {
            (self.kernels.product)(&Product {
                u,
                u_pitch: self.x.pitch,
                v,
                v_pitch: self.dy.pitch,
                tiles,
                depth: self.depth,
                m: sum.add(point * self.sum_point),
                m_pitch: self.sum_pitch,
                channels: self.x.range(x).1,
                filters: self.dy.range(dy).1.next_multiple_of(self.kernels.lanes),
                accumulate,
                next,
            });
        }
    }

    /// Transforms the sum of a block back into `out`.
    unsafe fn finish(&self, sum: *const f32, out: *mut f32, [x, dy]: [usize; 2], accumulate: bool) {
        let s = &self.shape;
        let (channel, channels) = self.x.range(x);
        let (filter, filters) = self.dy.range(dy);
        // SAFETY: the sum is complete; the block is within the result.
        unsafe {
            (self.kernels.finish)(&Finish {
                m: sum,
                m_pitch: self.sum_pitch,
                m_point: self.sum_point,
                channels,
                filters,
                out: out.add(channel * s.k + filter),
                out_pitch: s.k,
                out_tap: s.c * s.k,
                accumulate,
            });
        }
    }
}
