//! Convolution, and its input gradient, which is the convolution of the output's gradient with the filter turned.
//!
//! A block of tiles is brought into the transform's domain, multiplied by one panel of outputs after the other at all 36 points,
//! and each panel's sums are brought back while they are in the cache. Where the filter is much and the tiles are few, panels are
//! the units of work instead: each brings its part of the filter into the domain and goes over the tiles of all blocks.

use super::blocks::{Block, Blocks};
use super::convolution::Convolution;
use super::kernels::{Kernels, Outputs, Pixels};
use super::product::Products;
use super::transpose::transpose;
use super::{Arithmetic, TAPS};
use crate::contract::piece::{Epilogue, Lie, Piece};
use crate::contract::prologue::{Made, Prologue};
use crate::fetch::{Fetch, Fetches};
use crate::level::Features;
use crate::loops::plan::Pieces;
use crate::pool::Pool;
use crate::scratch::{Carver, Pointer};
use sslc_compiler::kernels::ir::Element;
use std::ops::{Range, RangeInclusive};

/// Elements of a block's input in the transform's domain that leave the second-level cache room for a panel.
const BLOCK_LIMIT: usize = 64 * 1024;
/// Tiles of a block: enough to reuse a panel of the filter that comes from the third-level cache, and no more.
const MOST_TILES: usize = 48;
const FEWEST_TILES: usize = 24;
/// The filter in the transform's domain that stays in the second-level cache, where blocks may be small.
const SMALL_FILTER: usize = 160 * 1024;
/// Blocks that keep the threads of a machine evenly busy.
const UNITS: usize = 16;
/// Outputs of so many bytes go past the caches; tests take small ones for large.
const STREAMED: usize = if cfg!(test) { 64 << 10 } else { 12 << 20 };
/// Input channels of a panel that are brought into the domain together.
const FILTER_ROWS: usize = 32;
/// Elements of a cache line: it sets apart rows that would fall on the same places of a cache.
const LINE: usize = 16;

/// What the units of work are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Blocks of tiles, each with all panels of outputs.
    Blocks,
    /// Panels of outputs, each with all tiles.
    Panels,
}

/// Some outputs side by side: one vector or two.
#[derive(Clone, Copy, Debug)]
struct Panel {
    first: usize,
    /// Outputs that exist.
    outputs: usize,
    wide: bool,
}

#[derive(Clone, Debug)]
pub struct WinogradPlan {
    convolution: Convolution,
    kernels: Kernels,
    products: Products,
    blocks: Blocks,
    panels: Vec<Panel>,
    order: Order,
    /// Channels of a word in the transform's domain, and words of all input channels.
    channels: usize,
    words: usize,
    /// In the transform's domain, elements from one tile of the input to the next, and from one point to the next.
    tile_pitch: usize,
    point_pitch: usize,
    stream: bool,
    /// How pieces lie.
    lie: Lie,
    prologue: Option<Prologue>,
}

impl WinogradPlan {
    pub fn new(convolution: Convolution, features: Features) -> WinogradPlan {
        let arithmetic = Arithmetic::new(convolution.operands, features);
        let products = Products::new(arithmetic);
        let points = convolution.scheme.points();
        let (outer, lanes) = (convolution.outer, products.lanes);
        let words = convolution.inner.div_ceil(arithmetic.channels());
        let panels: Vec<Panel> = (0..outer)
            .step_by(2 * lanes)
            .map(|first| {
                let outputs = (outer - first).min(2 * lanes);
                Panel {
                    first,
                    outputs,
                    wide: outputs > lanes,
                }
            })
            .collect();
        let rows = words.next_multiple_of(LINE);
        let tile_pitch = if rows.is_multiple_of(4 * LINE) {
            rows + LINE
        } else {
            rows
        };
        let fewest = if points * words * outer <= SMALL_FILTER {
            1
        } else {
            FEWEST_TILES
        };
        let wanted = (BLOCK_LIMIT / (points * tile_pitch)).clamp(fewest, MOST_TILES);
        let choose = |least| {
            let side = convolution.scheme.tile();
            Blocks::choose(convolution.images, convolution.to, side, wanted, least)
        };
        let mut blocks = choose(UNITS);
        let tiles = blocks.tiles();
        let mut order = Order::Blocks;
        // What is read again from a cache far away: the filter for each block, or the tiles for each panel.
        let (filter, domain) = (words * outer, tiles * tile_pitch);
        if domain < filter
            && panels.len() >= UNITS / 2
            && blocks.len() * filter > panels.len() * domain
        {
            order = Order::Panels;
            blocks = choose(1);
        }
        let outputs = convolution.images * convolution.to.0 * convolution.to.1 * outer;
        let point_pitch = LINE + blocks.capacity() * tile_pitch;
        WinogradPlan {
            kernels: Kernels::new(
                convolution.scheme,
                features.level,
                arithmetic,
                convolution.operands,
                convolution.result,
            ),
            channels: arithmetic.channels(),
            words,
            products,
            panels,
            order,
            tile_pitch,
            point_pitch,
            stream: outputs * convolution.result.bytes() >= STREAMED && outer.is_multiple_of(LINE),
            lie: Lie::InPlace,
            blocks,
            convolution,
            prologue: None,
        }
    }

    /// Has the input made by a prologue, which is planned for the pixels that a row of tiles reads.
    pub fn begin_with(&mut self, plan: impl FnOnce(usize) -> Prologue) {
        let rows = self
            .convolution
            .to
            .0
            .div_ceil(self.convolution.scheme.tile());
        let side = self.convolution.scheme.side();
        let longest = (0..rows).map(|row| self.reads((0, row)..=(0, row), side).len());
        self.prologue = Some(plan(longest.max().unwrap_or(0)));
    }

    /// The pixels of the input from the first that rows of tiles read, which are named by image and row, up to `rows` rows of
    /// pixels from the last.
    fn reads(&self, tiles: RangeInclusive<(usize, usize)>, rows: usize) -> Range<usize> {
        let Convolution {
            scheme,
            padding,
            from: (height, width),
            ..
        } = self.convolution;
        let pixel = |(image, row): (usize, usize), more: usize| {
            let row = (row * scheme.step() + more) as isize - padding;
            (image * height + row.clamp(0, height as isize) as usize) * width
        };
        let end = pixel(*tiles.end(), rows);
        pixel(*tiles.start(), 0).min(end)..end
    }

    /// Points of the transform's domain.
    fn points(&self) -> usize {
        self.convolution.scheme.points()
    }

    fn width(&self, panel: Panel) -> usize {
        (1 + usize::from(panel.wide)) * self.products.lanes
    }

    /// In a panel of the filter, elements from one point to the next.
    fn filter_pitch(&self, panel: Panel) -> usize {
        self.words * self.width(panel) + LINE
    }

    /// Elements of a wide panel of the filter in the transform's domain.
    fn panel_len(&self) -> usize {
        self.points() * (self.words * 2 * self.products.lanes + LINE)
    }

    /// In a panel's sums, elements from one point to the next.
    fn sums_pitch(&self) -> usize {
        self.blocks.capacity() * 2 * self.products.lanes + LINE
    }

    /// Elements of a block in the transform's domain.
    fn block_len(&self) -> usize {
        self.points() * self.point_pitch
    }

    /// f32 elements of scratch shared by all threads: the filter or the input in the transform's domain.
    pub fn shared_scratch(&self) -> usize {
        match self.order {
            Order::Blocks => self.panels.len() * self.panel_len(),
            Order::Panels => self.blocks.len() * self.block_len(),
        }
    }

    /// f32 elements of scratch for each thread.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        self.scratch(&mut carver);
        carver.used()
    }

    fn scratch(&self, carver: &mut Carver) -> Scratch {
        Scratch {
            zeros: carver.f32(self.convolution.scheme.side() * self.convolution.inner),
            domain: carver.f32(match self.order {
                Order::Blocks => self.block_len(),
                Order::Panels => self.panel_len(),
            }),
            sums: carver.f32(self.points() * self.sums_pitch()),
            transposed: carver.f32(if self.convolution.turned {
                TAPS * TAPS * FILTER_ROWS * 2 * self.products.lanes
            } else {
                0
            }),
            piece: carver.f32(self.piece_words()),
            made: self.prologue.as_ref().map(|p| p.carve(carver)),
        }
    }

    /// Words of scratch for a piece that lies apart.
    fn piece_words(&self) -> usize {
        let longest = self.pieces().map_or(0, |p| p.longest);
        if self.lie.is_apart() {
            (longest * self.pixel_bytes()).div_ceil(4)
        } else {
            0
        }
    }

    /// Blocks of tiles are whole images, or rows of one; panels make only columns.
    pub fn pieces(&self) -> Option<Pieces> {
        let side = self.convolution.scheme.tile();
        (self.order == Order::Blocks).then(|| Pieces {
            count: self.blocks.len(),
            longest: self.blocks.capacity() * side * side,
        })
    }

    /// The pixels of a block, which follow each other.
    fn piece(&self, block: Block) -> Range<usize> {
        let (height, width) = self.convolution.to;
        let side = self.convolution.scheme.tile();
        let row = block.row * side;
        let rows = (block.rows * side).min(height - row);
        let first = (block.image * height + row) * width;
        first..first + block.images * rows * width
    }

    /// See [`ContractionPlan::lay_pieces`](crate::contract::ContractionPlan::lay_pieces).
    pub fn lay_pieces(&mut self, kept: bool) -> Lie {
        if self.stream {
            self.lie = Lie::Apart { kept };
        }
        self.stream = false;
        self.lie
    }

    /// Bytes of a pixel of the result.
    fn pixel_bytes(&self) -> usize {
        self.convolution.outer * self.convolution.result.bytes()
    }

    /// Runs it; see [`ContractionPlan::run`](crate::contract::ContractionPlan::run).
    ///
    /// # Safety
    /// The machine has the level; the plan's buffers are within `arena` and the output meets no input; scratch is as
    /// [`shared_scratch`](Self::shared_scratch) and [`thread_scratch`](Self::thread_scratch) say, unused meanwhile.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        arena: Pointer,
        threads: &[Pointer],
        shared: Pointer,
        epilogue: Epilogue,
    ) {
        let scratch = |thread: usize| self.scratch(&mut Carver::new(threads[thread].get()));
        let panel_place = |p: usize| shared.get().wrapping_add(p * self.panel_len());
        let block_place = |b: usize| shared.get().wrapping_add(b * self.block_len());
        match self.order {
            Order::Blocks => {
                let parts = self.convolution.inner.div_ceil(FILTER_ROWS);
                pool.run(self.panels.len() * parts, &|thread, unit| {
                    let (panel, part) = (unit / parts, unit % parts);
                    // SAFETY: each unit writes rows of its own.
                    unsafe {
                        let weights = arena.get().add(self.convolution.weights).cast::<u8>();
                        self.filter_part(
                            weights,
                            self.panels[panel],
                            part,
                            panel_place(panel),
                            &scratch(thread),
                        );
                    }
                });
                // Units are taken in turn: a thread's next is most likely this far ahead.
                let stride = pool.threads();
                pool.run(self.blocks.len(), &|thread, unit| {
                    let block = self.blocks.get(unit);
                    let scratch = scratch(thread);
                    // SAFETY: blocks write disjoint outputs; a thread has its own scratch.
                    unsafe {
                        self.bring(arena.get(), block, scratch.domain, &scratch);
                        let arena = arena.get();
                        let rows = self.piece(block);
                        let result = self.result(arena);
                        let to = if self.lie.is_apart() {
                            let before = rows.start * self.pixel_bytes();
                            scratch.piece.cast::<u8>().wrapping_sub(before)
                        } else {
                            result
                        };
                        let to = (to, self.lie.twin(to, result));
                        let mut ahead = self.ahead(arena, unit + stride);
                        let turns = self.points() * self.panels.len();
                        let beside = epilogue.beside.iter().map(|b| b.part(arena, &rows));
                        let mut beside = Fetches::new(beside, turns);
                        for (p, panel) in self.panels.iter().enumerate() {
                            let sums = scratch.sums;
                            self.multiply(
                                (scratch.domain, panel_place(p)),
                                block,
                                *panel,
                                sums,
                                || {
                                    ahead.turn();
                                    beside.turn();
                                },
                            );
                            self.store(to, block, *panel, sums);
                        }
                        self.finish();
                        (epilogue.after)(&Piece {
                            thread,
                            number: unit,
                            place: to.0.wrapping_add(rows.start * self.pixel_bytes()).cast(),
                            rows,
                        });
                    }
                });
            }
            Order::Panels => {
                pool.run(self.blocks.len(), &|thread, unit| {
                    // SAFETY: each unit writes a block of its own.
                    unsafe {
                        let block = self.blocks.get(unit);
                        self.bring(arena.get(), block, block_place(unit), &scratch(thread));
                    }
                });
                pool.run(self.panels.len(), &|thread, unit| {
                    let panel = self.panels[unit];
                    let scratch = scratch(thread);
                    // SAFETY: panels write disjoint outputs; a thread has its own scratch.
                    unsafe {
                        let weights = arena.get().add(self.convolution.weights).cast::<u8>();
                        for part in 0..self.convolution.inner.div_ceil(FILTER_ROWS) {
                            self.filter_part(weights, panel, part, scratch.domain, &scratch);
                        }
                        for b in 0..self.blocks.len() {
                            let (block, sums) = (self.blocks.get(b), scratch.sums);
                            self.multiply(
                                (block_place(b), scratch.domain),
                                block,
                                panel,
                                sums,
                                || {},
                            );
                            let to = (self.result(arena.get()), 0);
                            self.store(to, block, panel, sums);
                        }
                    }
                    self.finish();
                });
            }
        }
    }

    /// Orders streamed stores before what other threads do after the unit.
    fn finish(&self) {
        if self.stream || self.lie.is_apart() {
            crate::loops::fence();
        }
    }

    /// Brings some input channels of a panel of the filter into the domain.
    unsafe fn filter_part(
        &self,
        weights: *const u8,
        panel: Panel,
        part: usize,
        place: *mut f32,
        scratch: &Scratch,
    ) {
        let Convolution {
            inner,
            outer,
            operands,
            ..
        } = self.convolution;
        let bytes = operands.bytes();
        let (width, pitch) = (self.width(panel), self.filter_pitch(panel));
        let vectors = width / self.products.lanes;
        let begin = part * FILTER_ROWS;
        let rows = FILTER_ROWS.min(inner - begin);
        // SAFETY: taps of the filter, rows of the panel, and the thread's scratch.
        unsafe {
            // The first row of `begin`, elements from one row to the next, and from one tap to the next.
            let (first, row, tap) = if self.convolution.turned {
                let tap_len = FILTER_ROWS * width;
                for tap in 0..TAPS * TAPS {
                    let from = weights.add(((tap * outer + panel.first) * inner + begin) * bytes);
                    // The filter is turned by half: the last tap comes first.
                    let to = (TAPS * TAPS - 1 - tap) * tap_len;
                    let size = (panel.outputs, rows);
                    match operands {
                        Element::F32 => {
                            let to = scratch.transposed.add(to);
                            transpose(from.cast::<f32>(), inner, size, to, width);
                        }
                        Element::Bf16 => {
                            let to = scratch.transposed.cast::<u16>().add(to);
                            transpose(from.cast::<u16>(), inner, size, to, width);
                        }
                    }
                }
                (scratch.transposed.cast::<u8>().cast_const(), width, tap_len)
            } else {
                let first = weights.add((begin * outer + panel.first) * bytes);
                (first, outer, inner * outer)
            };
            for r in (0..rows).step_by(self.channels) {
                let at = |r: usize| {
                    if r < rows {
                        first.add(r * row * bytes)
                    } else {
                        std::ptr::null()
                    }
                };
                (self.kernels.filter)(
                    [at(r), at(r + 1)],
                    tap,
                    panel.outputs,
                    vectors,
                    place.add((begin + r) / self.channels * width),
                    pitch,
                );
            }
        }
    }

    /// Brings a block of the input into the domain.
    unsafe fn bring(&self, arena: *mut f32, block: Block, domain: *mut f32, scratch: &Scratch) {
        let Convolution {
            scheme,
            inner,
            padding,
            from: (height, width),
            operands,
            ..
        } = self.convolution;
        let bytes = operands.bytes();
        // SAFETY: only pixels of the image are read; the block's tiles are in the domain.
        unsafe {
            let mut input = arena.add(self.convolution.input).cast_const().cast();
            let mut made_row = None;
            std::slice::from_raw_parts_mut(scratch.zeros, scheme.side() * inner).fill(0.0);
            for (t, (image, row, column)) in block.places().enumerate() {
                if let (Some(prologue), Some(made)) = (&self.prologue, scratch.made)
                    && made_row != Some((image, row))
                {
                    made_row = Some((image, row));
                    let pixels = self.reads((image, row)..=(image, row), scheme.side());
                    input = prologue.make(arena, made, pixels);
                }
                let image = input.wrapping_add(image * height * width * inner * bytes);
                let top = (row * scheme.step()) as isize - padding;
                let left = (column * scheme.step()) as isize - padding;
                let within = |at: isize, size: usize| at.clamp(0, size as isize);
                let pixels = Pixels {
                    rows: std::array::from_fn(|i| {
                        let y = top + i as isize;
                        if y >= 0 && (y as usize) < height {
                            image.wrapping_offset(
                                (y * width as isize + left) * (inner * bytes) as isize,
                            )
                        } else {
                            scratch.zeros.cast_const().cast()
                        }
                    }),
                    pitch: inner,
                    columns: (
                        within(-left, scheme.side()) as usize,
                        within(width as isize - left, scheme.side()) as usize,
                    ),
                };
                let to = domain.add(t * self.tile_pitch);
                (self.kernels.input)(&pixels, inner, to, self.point_pitch);
            }
        }
    }

    /// What a block reads, in as many turns as its products have points.
    fn ahead(&self, arena: *const f32, unit: usize) -> Fetch {
        if unit >= self.blocks.len() {
            return Fetch::none();
        }
        let Convolution {
            scheme,
            input,
            inner,
            operands,
            ..
        } = self.convolution;
        let (place, pixel) = match &self.prologue {
            None => (4 * input, inner * operands.bytes()),
            Some(prologue) => match prologue.source() {
                Some(source) => (source.place, source.pixel),
                None => return Fetch::none(),
            },
        };
        let block = self.blocks.get(unit);
        let first = (block.image, block.row);
        let last = (block.image + block.images - 1, block.row + block.rows - 1);
        // Rows that the next block reads as well come with that.
        let pixels = self.reads(first..=last, scheme.step());
        let begin = arena
            .cast::<u8>()
            .wrapping_add(place + pixels.start * pixel);
        let turns = self.points() * self.panels.len();
        Fetch::new(begin, pixels.len() * pixel, turns)
    }

    /// The sums of products of a block and a panel, at every point.
    unsafe fn multiply(
        &self,
        (domain, filter): (*const f32, *const f32),
        block: Block,
        panel: Panel,
        sums: *mut f32,
        mut between: impl FnMut(),
    ) {
        let (tiles, pitch) = (block.tiles(), self.filter_pitch(panel));
        for point in 0..self.points() {
            // SAFETY: the block's tiles, the panel's filter and the sums have every point.
            unsafe {
                self.products.run(
                    panel.wide,
                    tiles,
                    (domain.add(point * self.point_pitch), self.tile_pitch),
                    filter.add(point * pitch),
                    self.words,
                    sums.add(point * self.sums_pitch()),
                );
            }
            between();
        }
    }

    /// Where the result has its place.
    fn result(&self, arena: *mut f32) -> *mut u8 {
        arena.wrapping_add(self.convolution.output).cast()
    }

    /// Brings the sums of a block and a panel back, and stores the outputs: to where the result would begin, and so many
    /// bytes from there.
    unsafe fn store(
        &self,
        (to, twin): (*mut u8, isize),
        block: Block,
        panel: Panel,
        sums: *const f32,
    ) {
        let Convolution {
            scheme,
            outer,
            to: (height, width),
            result,
            ..
        } = self.convolution;
        let side = scheme.tile();
        for (t, (image, row, column)) in block.places().enumerate() {
            let (y, x) = (row * side, column * side);
            let pixel = (image * height + y) * width + x;
            // SAFETY: the block's tiles have outputs of their own.
            unsafe {
                let to = Outputs {
                    first: to.wrapping_add((pixel * outer + panel.first) * result.bytes()),
                    twin,
                    row_pitch: width * outer,
                    column_pitch: outer,
                    rows: side.min(height - y),
                    columns: side.min(width - x),
                    channels: panel.outputs,
                    stream: self.stream,
                };
                (self.kernels.output)(sums.add(t * self.width(panel)), self.sums_pitch(), &to);
            }
        }
    }
}

/// A thread's scratch.
struct Scratch {
    /// A row of pixels outside of the image.
    zeros: *mut f32,
    /// A block of the input, or a panel of the filter, in the domain.
    domain: *mut f32,
    /// A panel's sums of products.
    sums: *mut f32,
    /// Taps of a panel, transposed.
    transposed: *mut f32,
    /// A piece that lies apart.
    piece: *mut f32,
    /// The pixels of the input that a row of tiles reads, where they are made.
    made: Option<Made>,
}
