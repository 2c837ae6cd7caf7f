//! Sums of outer products: the gradient of a 1×1 convolution's filter, and Aᵀ·B.
//!
//! The result has a row for each input channel and a column for each output channel, and each pixel adds the product of the
//! two. It is cut into blocks of rows and panels; a unit of work makes one block over a range of pixels, some hundred
//! of them at a time, so that a panel of the gradient stays in the first-level cache and the input's block in the second.
//! Meanwhile the next pixels are brought nearer. Where blocks are too few to keep threads busy, ranges of pixels make
//! partial results, which are added in order. For pairs of bf16 a pair is a pixel of each half of a block.

use super::ahead::{Region, Sweep};
use super::form::Form;
use super::gradient::{Gradient, NEAR, Side};
use super::operands::{Moves, Products};
use super::partials::Partials;
use super::prologue::{Made, Prologue};
use super::simd::{Store, Tile};
use crate::pool::Pool;
use crate::scratch::{Carver, Pointer};
use sslc_compiler::kernels::ir::ConvShape;
use std::ops::Range;

/// Pixels, or pairs of them, that are multiplied at a time.
const PIXELS: usize = 192;
/// Units that keep the threads of a machine evenly busy.
const UNITS: usize = 32;
/// Rows and panels of a block, from the best to the least.
const BLOCKS: [(usize, usize); 4] = [(256, 8), (128, 8), (128, 4), (64, 2)];
/// Rows of a block are a multiple of this, so that pixels are moved in whole vectors.
const ROUND: usize = 16;
/// Elements that all partial results together may take, how many there may be, and pixels that make one worth its while.
const PARTIALS: usize = 1 << 20;
const MAX_PARTIALS: usize = 64;
const PARTIAL_PIXELS: usize = 512;

/// Where pixels of an input lie: elements from pixel to pixel in a row, from row to row and from image to image.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub columns: usize,
    pub rows: usize,
    pub pixel: usize,
    pub row: usize,
    pub image: usize,
}

impl Grid {
    /// Pixels that follow each other evenly.
    fn line(pixels: usize, pixel: usize) -> Grid {
        Grid {
            columns: pixels.max(1),
            rows: 1,
            pixel,
            row: pixels * pixel,
            image: pixels * pixel,
        }
    }

    /// The pixels that a convolution of 1×1 meets.
    fn met(s: &ConvShape) -> Grid {
        if s.stride == 1 {
            return Grid::line(s.n * s.oh * s.ow, s.c);
        }
        Grid {
            columns: s.ow,
            rows: s.oh,
            pixel: s.stride * s.c,
            row: s.stride * s.w * s.c,
            image: s.h * s.w * s.c,
        }
    }

    /// A pixel's place, and how many follow it evenly, itself included.
    fn find(&self, pixel: usize) -> (usize, usize) {
        let (row, column) = (pixel / self.columns, pixel % self.columns);
        let (image, row) = (row / self.rows, row % self.rows);
        let place = image * self.image + row * self.row + column * self.pixel;
        (place, self.columns - column)
    }

    /// Whether pixels of a range lie as near as those of the gradient do.
    fn near(&self) -> bool {
        self.rows == 1 && self.image == self.columns * self.pixel && self.pixel * 4 <= NEAR
    }
}

/// Products that are alike: elements from one to the next, in the input, the gradient and the result.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    pub count: usize,
    pub input: usize,
    pub gradient: usize,
    pub output: usize,
}

#[derive(Clone, Debug)]
pub struct OuterPlan {
    products: Products,
    moves: Moves,
    /// Place of the input in the arena, in words.
    input: usize,
    grid: Grid,
    pixels: usize,
    /// Rows of the result: channels of the input.
    rows: usize,
    /// Elements from row to row of the result.
    output_row: usize,
    groups: Groups,
    gradient: Gradient,
    partials: Partials,
    /// Rows and panels of a block, and how many blocks there are along each.
    block: (usize, usize),
    blocks: (usize, usize),
    /// Words to each of the input's pixels where they are multiplied.
    offsets: Vec<usize>,
    /// What makes the input, where it has no place.
    prologue: Option<Prologue>,
}

/// One unit of work.
struct Unit {
    pixels: Range<usize>,
    group: usize,
    rows: Range<usize>,
    panels: Range<usize>,
}

/// A block of pixels: one lane, or two side by side.
#[derive(Clone)]
struct Block {
    lanes: [Range<usize>; 2],
}

impl Block {
    fn len(&self) -> usize {
        self.lanes[0].len()
    }
}

/// Scratch of a thread.
struct Room {
    input: *mut f32,
    gradient: *mut f32,
    /// For each lane, bytes to each pixel of the next block.
    ahead: [*mut usize; 2],
    /// The input's pixels of a block, where they are made.
    made: Option<Made>,
}

impl OuterPlan {
    /// The gradient of a 1×1 convolution without padding with respect to its filter: places of x, dy and dw.
    pub fn of_filter(s: &ConvShape, [x, dy, dw]: [usize; 3], form: Form) -> OuterPlan {
        let (inner, outer) = (s.c / s.groups, s.k / s.groups);
        let groups = Groups {
            count: s.groups,
            input: inner,
            gradient: outer,
            output: outer,
        };
        let gradient = Gradient::new(form, dy, outer, (s.k, 1), PIXELS);
        let pixels = s.n * s.oh * s.ow;
        let (grid, result) = (Grid::met(s), (dw, inner, s.k));
        OuterPlan::new(form, (x, grid, pixels), gradient, result, groups)
    }

    /// Aᵀ·B for each of a batch, with A given as [k, m]: places of A, B and the result.
    pub fn of_matmul(
        [a, b, out]: [usize; 3],
        [batch, m, n, k]: [usize; 4],
        strides_of_b: (usize, usize),
        form: Form,
    ) -> OuterPlan {
        let groups = Groups {
            count: batch,
            input: k * m,
            gradient: k * n,
            output: m * n,
        };
        let gradient = Gradient::new(form, b, n, strides_of_b, PIXELS);
        let (grid, result) = (Grid::line(k, m), (out, m, n));
        OuterPlan::new(form, (a, grid, k), gradient, result, groups)
    }

    fn new(
        form: Form,
        (input, grid, pixels): (usize, Grid, usize),
        gradient: Gradient,
        (output, rows, output_row): (usize, usize, usize),
        groups: Groups,
    ) -> OuterPlan {
        let len = groups.count * rows * gradient.columns;
        let most = (PARTIALS / len.max(1))
            .min(MAX_PARTIALS)
            .min(pixels / PARTIAL_PIXELS)
            .max(1);
        let panels = gradient.panels.len();
        let count = |block: (usize, usize)| (rows.div_ceil(block.0), panels.div_ceil(block.1));
        let units = |block| groups.count * count(block).0 * count(block).1;
        let block = BLOCKS
            .into_iter()
            .find(|block| units(*block) * most >= UNITS)
            .unwrap_or(BLOCKS[BLOCKS.len() - 1]);
        let blocks = count(block);
        let even = (
            rows.div_ceil(blocks.0).next_multiple_of(ROUND),
            panels.div_ceil(blocks.1),
        );
        let partials = Partials {
            level: form.level,
            element: form.element,
            place: output,
            len,
            count: UNITS.div_ceil(units(block).max(1)).min(most),
        };
        let mut plan = OuterPlan {
            products: form.products,
            moves: form.moves(),
            input,
            grid,
            pixels,
            rows,
            output_row,
            groups,
            gradient,
            partials,
            block: even,
            blocks: count(even),
            offsets: Vec::new(),
            prologue: None,
        };
        let pitch = if plan.in_place() { grid.pixel } else { even.0 };
        plan.offsets = (0..PIXELS).map(|i| i * pitch).collect();
        plan
    }

    /// Whether the input is multiplied where it stands.
    fn in_place(&self) -> bool {
        self.products == Products::F32 && self.grid.near()
    }

    /// Pixels side by side.
    fn lanes(&self) -> usize {
        if self.products == Products::Pairs {
            2
        } else {
            1
        }
    }

    /// Words of scratch shared by all threads: the partial results.
    pub fn shared_scratch(&self) -> usize {
        self.partials.scratch()
    }

    /// Words of scratch for each thread.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        self.room(&mut carver);
        carver.used()
    }

    fn room(&self, carver: &mut Carver) -> Room {
        let input = if self.in_place() {
            0
        } else {
            PIXELS * self.block.0
        };
        Room {
            input: carver.f32(input),
            gradient: carver.f32(self.gradient.scratch(self.block.1)),
            ahead: [0; 2].map(|_| carver.isize(PIXELS).cast()),
            made: self.prologue.as_ref().map(|p| p.carve(carver)),
        }
    }

    /// Runs the contraction.
    ///
    /// # Safety
    /// The machine has the form's level; the plan's buffers are within `arena` and the output meets no input; scratch is as
    /// [`shared_scratch`](Self::shared_scratch) and [`thread_scratch`](Self::thread_scratch) say, unused meanwhile.
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        let (row_blocks, panel_blocks) = self.blocks;
        let partials = self.partials.count;
        let units = partials * self.groups.count * row_blocks * panel_blocks;
        pool.run(units, &|thread, unit| {
            let (rest, panels) = (unit / panel_blocks, unit % panel_blocks);
            let (rest, rows) = (rest / row_blocks, rest % row_blocks);
            let (partial, group) = (rest / self.groups.count, rest % self.groups.count);
            let cut = |i: usize, size: usize, all: usize| i * size..((i + 1) * size).min(all);
            let unit = Unit {
                pixels: self.partial(partial),
                group,
                rows: cut(rows, self.block.0, self.rows),
                panels: cut(panels, self.block.1, self.gradient.panels.len()),
            };
            // SAFETY: units write disjoint rows, panels, groups or partial results; a thread has its own scratch.
            unsafe {
                let result = self.partials.result(arena, shared, partial);
                let room = self.room(&mut Carver::new(threads[thread].get()));
                self.unit(arena.get(), &room, result, &unit);
            }
        });
        // SAFETY: the caller's; all partial results are written.
        unsafe { self.partials.combine(pool, arena, shared) }
    }

    /// Has the input of a convolution made by a prologue, which is planned for the most pixels that a block reads.
    pub fn begin_with(&mut self, plan: impl FnOnce(usize) -> Prologue) {
        let mut most = 0;
        for partial in 0..self.partials.count {
            let pixels = self.partial(partial);
            let blocks = self.blocks_of(&pixels);
            for i in 0..blocks {
                most = most.max(self.reads(&self.pixels_of(&pixels, i, blocks)).len());
            }
        }
        self.prologue = Some(plan(most));
    }

    /// The pixels of a partial result.
    fn partial(&self, i: usize) -> Range<usize> {
        let count = self.partials.count;
        i * self.pixels / count..(i + 1) * self.pixels / count
    }

    fn blocks_of(&self, pixels: &Range<usize>) -> usize {
        pixels.len().div_ceil(PIXELS * self.lanes()).max(1)
    }

    /// The pixels of the input, with all groups' channels, from the first to the last of a block.
    fn reads(&self, block: &Block) -> Range<usize> {
        let all = block.lanes[0].start..block.lanes[1].end;
        if all.is_empty() {
            return 0..0;
        }
        let channels = self.rows * self.groups.count;
        let pixel = |i: usize| self.grid.find(i).0 / channels;
        pixel(all.start)..pixel(all.end - 1) + 1
    }

    /// Where the input's first pixel is, or would be: those of the block are there.
    unsafe fn input(&self, arena: *mut f32, made: Option<Made>, block: &Block) -> *const u8 {
        match (&self.prologue, made) {
            // SAFETY: the caller's.
            (Some(prologue), Some(made)) => unsafe {
                prologue.make(arena, made, self.reads(block))
            },
            _ => arena.wrapping_add(self.input).cast_const().cast(),
        }
    }

    /// What the input is read from, if its elements are as wide: the place of its first pixel.
    fn source(&self, arena: *const f32) -> Option<*const u8> {
        let place = match &self.prologue {
            None => 4 * self.input,
            Some(prologue) => prologue.source_like_itself()?,
        };
        Some(arena.cast::<u8>().wrapping_add(place))
    }

    /// A block of some pixels of a unit, of equal ones.
    fn pixels_of(&self, pixels: &Range<usize>, i: usize, blocks: usize) -> Block {
        let place = |i: usize| pixels.start + i * pixels.len() / blocks;
        let (first, end) = (place(i), place(i + 1));
        let middle = first + (end - first).div_ceil(self.lanes());
        Block {
            lanes: [first..middle, middle..end],
        }
    }

    unsafe fn unit(&self, arena: *mut f32, room: &Room, result: *mut f32, unit: &Unit) {
        let gradient = &self.gradient;
        let stored = self.products.stored();
        let blocks = self.blocks_of(&unit.pixels);
        let tiles = unit.panels.clone().map(|p| {
            let (_, wide) = gradient.panels[p];
            gradient.kernels.panel(wide).cut(unit.rows.len()).count()
        });
        let tiles = tiles.sum();
        // SAFETY: see `run`.
        unsafe {
            let bytes = |place: usize| arena.add(place).cast::<u8>().cast_const();
            let first = (unit.group * self.groups.input + unit.rows.start) * stored;
            let source = self.source(arena).map(|s| s.wrapping_add(first));
            let dy = bytes(gradient.place).add(unit.group * self.groups.gradient * stored);
            let result = result.add(unit.group * self.groups.output);
            let sides = |block: &Block| {
                block.lanes.clone().map(|lane| {
                    (!lane.is_empty()).then(|| Side {
                        first: dy.wrapping_add(lane.start * gradient.pixel * stored),
                        pixels: lane.len(),
                    })
                })
            };
            for i in 0..blocks {
                let block = self.pixels_of(&unit.pixels, i, blocks);
                let input = self.input(arena, room.made, &block).wrapping_add(first);
                let a = self.bring(input, &block, unit.rows.len(), room.input);
                let pixels = 0..block.len();
                let panels = unit.panels.clone();
                let b = gradient.get(sides(&block), room.gradient, pixels.clone(), panels);
                let offsets = &self.offsets[pixels];
                let mut regions = [Region::none(); 4];
                if i + 1 < blocks {
                    let next = self.pixels_of(&unit.pixels, i + 1, blocks);
                    for (lane, side) in sides(&next).into_iter().enumerate() {
                        let Some(side) = side else { continue };
                        regions[2 * lane] = gradient.region(side, unit.panels.clone());
                        let pixels = next.lanes[lane].clone();
                        let Some(source) = source else { continue };
                        regions[2 * lane + 1] = Region {
                            place: source,
                            bytes: unit.rows.len() * stored,
                            pixels: side.pixels,
                            pitch: 0,
                            offsets: self.places(pixels, room.ahead[lane]),
                        };
                    }
                }
                let mut sweep = Sweep::new(regions, tiles);
                let store = if i > 0 { Store::Add } else { Store::F32 };
                for (i, panel) in unit.panels.clone().enumerate() {
                    let (column, wide) = gradient.panels[panel];
                    let kernels = gradient.kernels.panel(wide);
                    let columns = kernels.width.min(gradient.columns - column);
                    let (b, b_stride) = b.panel(i, column, kernels.width);
                    for (at, size) in kernels.cut(unit.rows.len()) {
                        (size.columns)(
                            a.add(at),
                            offsets,
                            b,
                            b_stride,
                            result.add((unit.rows.start + at) * self.output_row + column),
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

    /// The rows' channels of a block of pixels, `offsets` apart: where they stand in `input`, or brought into `scratch`.
    unsafe fn bring(
        &self,
        input: *const u8,
        block: &Block,
        rows: usize,
        scratch: *mut f32,
    ) -> *const f32 {
        let stored = self.products.stored();
        // SAFETY: see `run`.
        unsafe {
            if self.in_place() {
                let (place, _) = self.grid.find(block.lanes[0].start);
                return input.cast::<f32>().wrapping_add(place);
            }
            let (pitch, stride) = (self.block.0, self.grid.pixel * stored);
            let mut done = 0;
            while done < block.len() {
                // Pixels that follow each other evenly in all lanes that have any.
                let mut count = block.len() - done;
                let sides = block.lanes.clone().map(|lane| {
                    let left = lane.len().checked_sub(done).filter(|n| *n > 0)?;
                    let (place, even) = self.grid.find(lane.start + done);
                    count = count.min(even).min(left);
                    Some(input.wrapping_add(place * stored))
                });
                let to = (scratch.add(done * pitch), pitch);
                match (self.products, sides) {
                    (Products::F32, [Some(from), _]) => {
                        self.moves.copy(to, (from, stride), count, rows);
                    }
                    (Products::Widened, [Some(from), _]) => {
                        self.moves.widen(to, (from, stride), count, rows);
                    }
                    (_, sides) => self.moves.pair(to, (sides, stride), count, rows),
                }
                done += count;
            }
            scratch
        }
    }

    /// Bytes to each of some pixels of the input, written into `table`; those beyond stand for the last.
    unsafe fn places(&self, pixels: Range<usize>, table: *mut usize) -> &[usize] {
        let stored = self.products.stored();
        // SAFETY: the table is a piece of the thread's scratch, with PIXELS places.
        unsafe {
            let table = std::slice::from_raw_parts_mut(table.cast::<usize>(), PIXELS);
            let mut done = 0;
            while done < pixels.len() {
                let (place, even) = self.grid.find(pixels.start + done);
                let count = even.min(pixels.len() - done);
                for (i, to) in table[done..done + count].iter_mut().enumerate() {
                    *to = (place + i * self.grid.pixel) * stored;
                }
                done += count;
            }
            let last = table[done - 1];
            table[done..].fill(last);
            table
        }
    }
}
