//! The filter's gradient by Winograd: a sum over tiles in the transformed domain, transformed back once.
//!
//! Where the sum is small, ranges of tiles are work of their own: blocks of tiles are transformed into the thread's
//! scratch and multiplied into the thread's sum, which ends as a partial result; the partial results are added in order.
//! Where it is large, a chunk of tiles is transformed by all threads into shared scratch, then blocks of channels and
//! filters are work of their own. The shape decides on all of it.
//!
//! - [`operand`]: the operands and their transformed tiles. [`tiles`]: the transforms. [`products`]: the products.
//! - [`kernels`]: all of that for each level.
mod kernels;
mod operand;
mod products;
mod tiles;

use super::{Scheme, TAPS};
use crate::contract::partials::sum_partials;
use crate::contract::prologue::{Made, Prologue};
use crate::fetch::Fetches;
use crate::level::Features;
use crate::pool::Pool;
use crate::scratch::{Carver, Pointer};
use kernels::FilterKernels;
use operand::{Operand, Tile, odd_lines};
use products::{Finish, Product};
use sslc_compiler::kernels::ir::{ConvShape, Element};
use std::ops::Range;

/// Outputs of a tile along one axis.
const TILE: usize = 4;
/// Elements of a sum that a thread keeps for itself.
const OWN_SUM: usize = 36 * 128 * 128;
/// Words of a block of transformed tiles, so that it stays in the second-level cache beside the sum.
const OWN_TILES: usize = 64 * 1024;
/// Words of tiles of a block: no fewer than are worth passing over the sum for.
const OWN_BLOCK: std::ops::RangeInclusive<usize> = 32..=128;
/// Ranges of tiles, where each has at least a few blocks.
const RANGES: usize = 16;
/// Words of the shared transformed tiles, so that they stay in the third-level cache.
const SHARED_TILES: usize = 5 << 20;
/// Elements of the input that are made at a time for such a chunk, about.
const MADE: usize = 64 * 1024;
/// The fewest words of tiles of a chunk.
const SHARED_LEAST: usize = 32;
/// Units that transform a chunk.
const TRANSFORMS: usize = 16;
/// Channels and filters of a block of the sum, and filters where that makes few blocks.
const BLOCK: [usize; 2] = [128, 64];
const NARROW: usize = 32;
/// Blocks that keep the threads evenly busy.
const BLOCKS: usize = 16;
/// How many words before they are transformed tiles are brought into the cache.
const AHEAD: usize = 2;
/// Words multiplied at a time.
const DEPTH: usize = 64;
/// Elements of the result that one thread combines at a time.
const COMBINE: usize = 16 * 1024;

/// A thread's scratch.
struct Scratch {
    sum: *mut f32,
    /// The transformed tiles, where each thread has its own.
    tiles: [*mut f32; 2],
    /// The pixels of the input, where they are made.
    made: Option<Made>,
}

/// A filter gradient made ready.
#[derive(Clone, Debug)]
pub struct FilterGradPlan {
    features: Features,
    kernels: FilterKernels,
    /// The output's place in the arena.
    output: usize,
    shape: ConvShape,
    /// Points of the transform's domain.
    points: usize,
    /// Tiles of an image: down, across; of all images; and the words they make.
    down: usize,
    across: usize,
    tiles: usize,
    words: usize,
    /// Ranges of words with a sum of their own; `None` where the transformed tiles are shared.
    ranges: Option<usize>,
    /// Words transformed at a time.
    block: usize,
    /// The input, transformed by B, and the output's gradient, transformed by A.
    x: Operand,
    dy: Operand,
    /// A point of the sum: from channel to channel, and from point to point.
    sum_pitch: usize,
    sum_point: usize,
    prologue: Option<Prologue>,
}

impl FilterGradPlan {
    /// Plans the gradient of a 3×3 convolution in one group, of stride 1, or of stride 2 with a padding of 1: places of x,
    /// dy and dw, and the type of x and dy; dw is f32.
    pub fn new(
        s: &ConvShape,
        [x, dy, dw]: [usize; 3],
        operands: Element,
        features: Features,
    ) -> FilterGradPlan {
        let scheme = if s.stride == 1 {
            Scheme::Unit
        } else {
            Scheme::Strided
        };
        let kernels = FilterKernels::new(scheme, operands, features);
        let points = scheme.points();
        let down = s.oh.div_ceil(TILE);
        let across = s.ow.div_ceil(TILE);
        let tiles = s.n * down * across;
        let words = tiles.div_ceil(kernels.word);
        let each = points * (s.c + s.k);
        let (ranges, block, sum) = if points * s.c * s.k <= OWN_SUM {
            let block = (OWN_TILES / each).clamp(*OWN_BLOCK.start(), *OWN_BLOCK.end());
            let ranges = words.div_ceil(2 * block).clamp(1, RANGES);
            (Some(ranges), block, [s.c, s.k])
        } else {
            let most = (SHARED_TILES / each).max(SHARED_LEAST);
            let chunk = words.div_ceil(words.div_ceil(most));
            let few = s.c.div_ceil(BLOCK[0]) * s.k.div_ceil(BLOCK[1]) < BLOCKS;
            (None, chunk, [BLOCK[0], if few { NARROW } else { BLOCK[1] }])
        };
        let mut x = Operand {
            place: x,
            element: operands.bytes(),
            height: s.h,
            width: s.w,
            channels: s.c,
            step: TILE * s.stride,
            side: scheme.side(),
            before: s.padding,
            transform: kernels.input,
            block: 0,
            pitch: 0,
            point: 0,
            stride: 0,
        };
        let mut dy = Operand {
            place: dy,
            height: s.oh,
            width: s.ow,
            channels: s.k,
            step: TILE,
            before: 0,
            transform: kernels.gradient,
            ..x
        };
        x.lay_out(sum[0], block, points);
        dy.lay_out(sum[1], block, points);
        let sum_pitch = dy.block.next_multiple_of(kernels.lanes);
        FilterGradPlan {
            features,
            kernels,
            output: dw,
            shape: *s,
            points,
            down,
            across,
            tiles,
            words,
            ranges,
            block,
            x,
            dy,
            sum_pitch,
            sum_point: odd_lines(x.block * sum_pitch),
            prologue: None,
        }
    }

    /// Has the input made by a prologue, which is planned for the most pixels that are made at once.
    pub fn begin_with(&mut self, plan: impl FnOnce(usize) -> Prologue) {
        // Whole rows of tiles, so that as few rows of pixels as may be are made twice.
        let tiles = self.block * self.kernels.word;
        if self.ranges.is_some() && tiles > self.across {
            let whole = tiles / self.across * self.across;
            self.block = (whole / self.kernels.word).max(1);
        }
        let turns = self.turns();
        let reads = turns.iter().map(|words| self.reads(&self.x, words).len());
        self.prologue = Some(plan(reads.max().unwrap_or(0)));
    }

    /// The ranges of words that are transformed one after the other, by one unit each.
    fn turns(&self) -> Vec<Range<usize>> {
        let mut turns = Vec::new();
        match self.ranges {
            Some(ranges) => {
                for range in 0..ranges {
                    let (mut at, end) = self.range(range, ranges);
                    while at < end {
                        let next = end.min(at + self.block);
                        turns.push(at..next);
                        at = next;
                    }
                }
            }
            None => {
                for first in (0..self.words).step_by(self.block) {
                    let count = self.block.min(self.words - first);
                    turns.extend(
                        (0..TRANSFORMS).flat_map(|unit| self.unit_turns(first, count, unit)),
                    );
                }
            }
        }
        turns
    }

    /// The words of a range.
    fn range(&self, range: usize, ranges: usize) -> (usize, usize) {
        (
            range * self.words / ranges,
            (range + 1) * self.words / ranges,
        )
    }

    /// The words of the chunk from `first` on that a unit transforms: all in one turn, or where their pixels are made as many
    /// as fit.
    fn unit_turns(
        &self,
        first: usize,
        count: usize,
        unit: usize,
    ) -> impl Iterator<Item = Range<usize>> {
        let from = first + unit * count / TRANSFORMS;
        let to = first + (unit + 1) * count / TRANSFORMS;
        let tile = self.x.step * self.x.step * self.x.channels * self.kernels.word;
        let most = (MADE / tile).max(1);
        (from..to)
            .step_by(most)
            .map(move |at| at..to.min(at + most))
    }

    /// The pixels of an operand from the first to the last that the tiles of words read.
    fn reads(&self, operand: &Operand, words: &Range<usize>) -> Range<usize> {
        let last = (words.end * self.kernels.word).min(self.tiles) - 1;
        operand.reads(self.tile(words.start * self.kernels.word), self.tile(last))
    }

    /// Where the input's first pixel is, or would be: the pixels that the words' tiles read are there.
    unsafe fn input(&self, arena: *mut f32, made: Option<Made>, words: Range<usize>) -> *const u8 {
        match (&self.prologue, made) {
            // SAFETY: the caller's.
            (Some(prologue), Some(made)) => unsafe {
                prologue.make(arena, made, self.reads(&self.x, &words))
            },
            _ => self.x.first(arena),
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

    fn thread_pieces(&self, carver: &mut Carver) -> Scratch {
        Scratch {
            sum: carver.f32(self.points * self.sum_point),
            tiles: match self.ranges {
                Some(_) => self.tile_pieces(carver),
                None => [std::ptr::null_mut(); 2],
            },
            made: self.prologue.as_ref().map(|p| p.carve(carver)),
        }
    }

    fn tile_pieces(&self, carver: &mut Carver) -> [*mut f32; 2] {
        [carver.f32(self.x.len()), carver.f32(self.dy.len())]
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
            let (first, end) = self.range(range, ranges);
            // SAFETY: a thread has its own scratch, a range its own partial result.
            unsafe {
                let arena = arena.get();
                let Scratch { sum, tiles, made } =
                    self.thread_pieces(&mut Carver::new(threads[thread].get()));
                let mut at = first;
                while at < end {
                    let count = self.block.min(end - at);
                    let next = at + count..end.min(at + count + self.block);
                    let x = self.input(arena, made, at..at + count);
                    self.transform((arena, x), tiles, at, at..at + count);
                    let mut ahead = self.ahead(arena, &next);
                    for point in 0..self.points {
                        ahead.turn();
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
            let add = sum_partials(self.features.level);
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
        while first < self.words {
            let count = self.block.min(self.words - first);
            pool.run(TRANSFORMS, &|thread, unit| {
                // SAFETY: a thread has its own scratch; units write tiles of their own.
                unsafe {
                    let (arena, own) = (arena.get(), threads[thread].get());
                    let Scratch { made, .. } = self.thread_pieces(&mut Carver::new(own));
                    let tiles = self.tile_pieces(&mut Carver::new(shared.get()));
                    for words in self.unit_turns(first, count, unit) {
                        let x = self.input(arena, made, words.clone());
                        self.transform((arena, x), tiles, first, words);
                    }
                }
            });
            pool.run(self.x.blocks() * self.dy.blocks(), &|thread, unit| {
                let at = [unit / self.dy.blocks(), unit % self.dy.blocks()];
                // SAFETY: a thread has its own scratch; the tiles are transformed; units write their own part of the
                // result.
                unsafe {
                    let own = threads[thread].get();
                    let Scratch { sum, .. } = self.thread_pieces(&mut Carver::new(own));
                    let tiles = self.tile_pieces(&mut Carver::new(shared.get()));
                    for point in 0..self.points {
                        self.multiply(tiles, sum, at, point, count, false);
                    }
                    self.finish(sum, arena.get().add(self.output), at, first > 0);
                }
            });
            first += count;
        }
    }

    /// A tile's image and place.
    fn tile(&self, tile: usize) -> Tile {
        let each = self.down * self.across;
        let place = tile % each;
        (tile / each, place / self.across, place % self.across)
    }

    /// The tiles from the first of a word on.
    fn walk(&self, word: usize) -> impl Iterator<Item = Tile> {
        let first = word * self.kernels.word;
        let (down, across) = (self.down, self.across);
        let next = move |&(image, row, column): &Tile| {
            Some(if column + 1 < across {
                (image, row, column + 1)
            } else if row + 1 < down {
                (image, row + 1, 0)
            } else {
                (image + 1, 0, 0)
            })
        };
        std::iter::successors(Some(self.tile(first)), next).take(self.tiles.saturating_sub(first))
    }

    /// Transforms words of both operands, of which the input's first pixel is `x`; word `first` goes to the front.
    unsafe fn transform(
        &self,
        (arena, x): (*const f32, *const u8),
        [u, v]: [*mut f32; 2],
        first: usize,
        words: Range<usize>,
    ) {
        let end = words.end;
        let dy = self.dy.first(arena);
        let mut tiles = self.walk(words.start);
        for word in words {
            if self.ranges.is_none() && word + AHEAD < end {
                self.prefetch(arena, word + AHEAD);
            }
            // Only the last word may have fewer tiles than others.
            let mut pair = [None; 2];
            pair[..self.kernels.word].fill_with(|| tiles.next());
            // SAFETY: the images are within the arena, the word's place is within the transformed tiles.
            unsafe {
                self.x.transform(x, pair, u, word - first);
                self.dy.transform(dy, pair, v, word - first);
            }
        }
    }

    /// What words are transformed of, to be brought into the second-level cache in as many turns as there are points: where the
    /// input is made, what it is made of.
    fn ahead(&self, arena: *const f32, words: &Range<usize>) -> Fetches {
        if words.is_empty() {
            return Fetches::new(std::iter::empty(), 1);
        }
        let x = match &self.prologue {
            None => Some((self.x.first(arena), self.x.pixel())),
            Some(prologue) => prologue.source().map(|source| {
                let first = arena.cast::<u8>().wrapping_add(source.place);
                (first, source.pixel)
            }),
        };
        let dy = Some((self.dy.first(arena), self.dy.pixel()));
        let parts = [(&self.x, x), (&self.dy, dy)].map(|(operand, place)| {
            let (first, pixel) = place?;
            let pixels = self.reads(operand, words);
            Some((
                first.wrapping_add(pixels.start * pixel),
                pixels.len() * pixel,
            ))
        });
        Fetches::new(parts.into_iter().flatten(), self.points)
    }

    /// Brings a word's pixels into the second-level cache, but no input that is made.
    fn prefetch(&self, arena: *const f32, word: usize) {
        for tile in self.walk(word).take(self.kernels.word) {
            if self.prologue.is_none() {
                self.x.prefetch(self.x.first(arena), tile);
            }
            self.dy.prefetch(self.dy.first(arena), tile);
        }
    }

    /// Multiplies words at a point into the sum for a block of channels and of filters.
    unsafe fn multiply(
        &self,
        [u, v]: [*mut f32; 2],
        sum: *mut f32,
        [x, dy]: [usize; 2],
        point: usize,
        words: usize,
        accumulate: bool,
    ) {
        let u = u.wrapping_add(x * self.x.stride + point * self.x.point);
        let v = v.wrapping_add(dy * self.dy.stride + point * self.dy.point);
        // Tiles of a thread's own are in the cache already.
        let next = |operand: &Operand, first: *const f32| {
            let more = self.ranges.is_none() && point + 1 < self.points;
            let len = if more { words * operand.pitch } else { 0 };
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
                words,
                depth: DEPTH,
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
