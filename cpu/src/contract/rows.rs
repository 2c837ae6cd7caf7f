//! Contractions whose inner index runs along rows of A: convolution, its gradient with respect to the input, and matmul.
//!
//! Output pixels are A's rows: each sees its taps at fixed offsets of a window. The filter is packed into panels of a
//! vector or two of outputs; then tiles of pixels × outputs are made in registers, chunk by chunk. No columns are written out.

use super::form::Form;
use super::operands::{Moves, Products, clear_past_caches};
use super::pack::PanelSource;
use super::phase::{Phase, WeightStrides, blocks};
use super::piece::{Epilogue, Lie, Piece};
use super::prologue::{Made, Prologue};
use super::simd::{Kernels, Store, Tile};
use super::window::{Chunk, Chunks, Windows};
use crate::fetch::{Fetch, Fetches, LINE};
use crate::loops::fence;
use crate::loops::plan::Pieces;
use crate::pool::Pool;
use crate::scratch::{Carver, Pointer};
use sslc_compiler::kernels::ir::Element;

/// Bytes of an output that goes past the caches: it would be gone from them before it is read again. Tests take small ones for large.
const STREAMED: usize = if cfg!(test) { 64 << 10 } else { 12 << 20 };
/// Chunks times columns that keep the threads evenly busy.
const UNITS: usize = 16;

/// A thread's scratch.
struct Scratch {
    windows: *mut f32,
    /// A panel's sums.
    sums: *mut f32,
    /// A piece that lies apart.
    piece: *mut f32,
    /// The pixels that a chunk reads, where they are made.
    made: Option<Made>,
}

#[derive(Clone, Debug)]
pub struct RowsPlan {
    pub kernels: Kernels,
    pub products: Products,
    pub moves: Moves,
    /// What the output is stored as.
    pub element: Element,
    /// Places in the arena, in words.
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
    /// Whether groups are products of their own rather than parts of the same images' channels.
    pub batched: bool,
    /// First column of each panel, and whether it is wide; derived by [`RowsPlan::finish`].
    pub panels: Vec<(usize, bool)>,
    pub splits: usize,
    /// For each pixel of a chunk, the place of its sums where they are made in scratch, in bytes.
    pub sum_places: Vec<usize>,
    /// Whether the output goes past the caches.
    pub streamed: bool,
    /// How pieces lie.
    pub lie: Lie,
    /// What makes the input, where it has no place.
    pub prologue: Option<Prologue>,
}

impl RowsPlan {
    /// A plan of these operands with the sizes of a single product, for a shape to set its own; see [`RowsPlan::finish`].
    pub fn of_one_pixel(
        form: Form,
        [input, weights, output]: [usize; 3],
        windows: Windows,
        chunks: Chunks,
    ) -> RowsPlan {
        RowsPlan {
            kernels: form.kernels(),
            products: form.products,
            moves: form.moves(),
            element: form.element,
            input,
            weights,
            output,
            windows,
            chunks,
            output_image: 1,
            output_row: 1,
            step: 1,
            phases: Vec::new(),
            inner: 1,
            columns: 1,
            weight_strides: WeightStrides {
                inner: 1,
                output: 1,
            },
            groups: 1,
            group_input: 1,
            group_weights: 1,
            group_output: 1,
            batched: false,
            panels: Vec::new(),
            splits: 1,
            sum_places: Vec::new(),
            streamed: false,
            lie: Lie::InPlace,
            prologue: None,
        }
    }

    /// Derives the panels, the blocks of segments and how many ranges of panels chunks are split into.
    pub fn finish(mut self) -> RowsPlan {
        self.panels = self.kernels.panels(self.columns);
        let units = self.chunks.len() * self.group_units();
        self.splits = UNITS.div_ceil(units).min(self.panels.len());
        let (brought, stored) = (self.windows.bring.brought(), self.element.bytes());
        for phase in &mut self.phases {
            phase.blocks = blocks(&phase.taps, self.inner, self.products);
            phase.inputs.iter_mut().for_each(|p| *p *= brought);
            phase.outputs.iter_mut().for_each(|p| *p *= stored);
        }
        if self.sums_apart() {
            let pixels = self.phases.iter().map(|p| p.inputs.len()).max();
            let bytes = 4 * self.kernels.wide.width;
            self.sum_places = (0..pixels.unwrap_or(0)).map(|p| p * bytes).collect();
        }
        self.output_image *= stored;
        self.output_row *= stored;
        self.group_output *= stored;
        let places = self.phases.iter().flat_map(|p| &p.outputs);
        let steps = [self.output_image, self.output_row, self.group_output];
        self.streamed =
            self.chunks.images * self.output_image * if self.batched { self.groups } else { 1 }
                >= STREAMED
                && places.chain(&steps).all(|p| p.is_multiple_of(LINE));
        self
    }

    /// Groups of a window that is copied share it; else each group is work of its own.
    fn group_units(&self) -> usize {
        if self.windows.direct || self.batched {
            self.groups
        } else {
            1
        }
    }

    /// Whether the output is summed up in scratch before it is rounded.
    fn sums_apart(&self) -> bool {
        self.element == Element::Bf16 && self.phases.iter().any(|p| p.blocks.len() > 1)
    }

    /// Words of scratch for a panel's sums.
    fn sums(&self) -> usize {
        if self.sums_apart() {
            self.sum_places.len() * self.kernels.wide.width
        } else {
            0
        }
    }

    fn width(&self, panel: usize) -> usize {
        self.kernels.panel(self.panels[panel].1).width
    }

    /// Packed elements of one group's phase.
    fn packed_phase(&self, phase: &Phase) -> usize {
        let width: usize = (0..self.panels.len()).map(|p| self.width(p)).sum();
        phase.words() * width
    }

    fn packed_group(&self) -> usize {
        self.phases.iter().map(|p| self.packed_phase(p)).sum()
    }

    /// Words of scratch shared by all threads: the packed filter.
    pub fn shared_scratch(&self) -> usize {
        self.packed_group() * self.groups
    }

    /// Words of scratch for each thread.
    pub fn thread_scratch(&self) -> usize {
        let mut carver = Carver::measure();
        self.scratch(&mut carver);
        carver.used()
    }

    /// Words of scratch for a piece that lies apart.
    fn piece_words(&self) -> usize {
        if self.lie.is_apart() {
            let rows = self.chunks.group * self.chunks.band;
            (rows * self.output_row).div_ceil(4)
        } else {
            0
        }
    }

    fn scratch(&self, carver: &mut Carver) -> Scratch {
        Scratch {
            windows: carver.f32(self.windows.scratch(self.chunks.group)),
            sums: carver.f32(self.sums()),
            piece: carver.f32(self.piece_words()),
            made: self.prologue.as_ref().map(|p| p.carve(carver)),
        }
    }

    /// What a chunk reads in one piece, to be fetched: where it begins, and its bytes.
    fn ahead(&self, arena: *const f32, chunk: Chunk) -> Option<(*const u8, usize)> {
        let (place, (first, bytes)) = match &self.prologue {
            None => (4 * self.input, self.windows.span(chunk)?),
            Some(prologue) => {
                let source = prologue.source()?;
                let pixels = self.windows.reads(chunk);
                let bytes = pixels.len() * source.pixel;
                (source.place, (pixels.start * source.pixel, bytes))
            }
        };
        Some((arena.cast::<u8>().wrapping_add(place + first), bytes))
    }

    /// Has the input made by a prologue, which is planned for the most pixels that a chunk reads.
    pub fn begin_with(&mut self, plan: impl FnOnce(usize) -> Prologue) {
        let chunks = (0..self.chunks.len()).map(|c| self.windows.reads(self.chunks.get(c)).len());
        self.prologue = Some(plan(chunks.max().unwrap_or(0)));
    }

    /// Where a panel of a phase of a group begins in the packed filter.
    fn packed_place(&self, group: usize, phase: usize, panel: usize) -> usize {
        let before: usize = self.phases[..phase]
            .iter()
            .map(|p| self.packed_phase(p))
            .sum();
        // All panels before are wide.
        let rows = self.phases[phase].words();
        group * self.packed_group() + before + panel * self.kernels.wide.width * rows
    }

    /// Rows of the result in a row of an image, and in an image.
    fn row_pixels(&self) -> (usize, usize) {
        let bytes = self.columns * self.groups * self.element.bytes();
        (self.output_row / bytes, self.output_image / bytes)
    }

    /// Chunks, where a unit makes all columns of one.
    pub fn pieces(&self) -> Option<Pieces> {
        (self.splits == 1 && self.group_units() == 1).then(|| Pieces {
            count: self.chunks.len(),
            longest: self.chunks.group * self.chunks.band * self.row_pixels().0,
        })
    }

    /// The rows of the result that a chunk makes.
    fn piece(&self, chunk: Chunk) -> std::ops::Range<usize> {
        let (row, image) = self.row_pixels();
        let first = chunk.image * image + chunk.row * row;
        first..first + chunk.images * chunk.rows * row
    }

    /// See [`ContractionPlan::lay_pieces`](super::ContractionPlan::lay_pieces).
    pub fn lay_pieces(&mut self, kept: bool) -> Lie {
        if self.streamed && !self.sums_apart() {
            self.lie = Lie::Apart { kept };
        }
        self.streamed = false;
        self.lie
    }

    /// Runs the contraction.
    ///
    /// # Safety
    /// The machine has the kernels' level; the plan's buffers are within `arena` and the output meets no input; scratch
    /// is as [`shared_scratch`](Self::shared_scratch) and [`thread_scratch`](Self::thread_scratch) say, unused meanwhile.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        arena: Pointer,
        threads: &[Pointer],
        shared: Pointer,
        epilogue: Epilogue,
    ) {
        let whole = self.pieces().is_some();
        let panels = self.panels.len();
        let packs = self.groups * self.phases.len() * panels;
        pool.run(packs, &|_, unit| {
            let (rest, panel) = (unit / panels, unit % panels);
            let (group, phase) = (rest / self.phases.len(), rest % self.phases.len());
            // SAFETY: each unit packs a panel of its own.
            unsafe { self.pack(arena.get(), shared.get(), group, phase, panel) }
        });
        let chunks = self.chunks.len();
        let group_units = self.group_units();
        // Units are taken in turn: a thread's next is most likely this far ahead.
        let stride = pool.threads();
        pool.run(chunks * self.splits * group_units, &|thread, unit| {
            let (rest, split) = (unit / self.splits, unit % self.splits);
            let (group, piece) = (rest / chunks, rest % chunks);
            let chunk = self.chunks.get(piece);
            let groups = if group_units > 1 {
                group..group + 1
            } else {
                0..self.groups
            };
            let first = split * panels / self.splits;
            let end = (split + 1) * panels / self.splits;
            // SAFETY: units write disjoint pixels or columns; a thread has its own scratch.
            unsafe {
                let arena = arena.get();
                let scratch = self.scratch(&mut Carver::new(threads[thread].get()));
                // A group that is a unit has its own place; copied windows hold all groups.
                let own = if group_units > 1 {
                    group * self.group_input
                } else {
                    0
                };
                let input = match (&self.prologue, scratch.made) {
                    (Some(prologue), Some(made)) => {
                        prologue.make(arena, made, self.windows.reads(chunk))
                    }
                    _ => arena.add(self.input).cast_const().cast(),
                };
                let lanes = [Some(chunk), None];
                let windows = self
                    .windows
                    .get([input; 2], scratch.windows.cast(), lanes, own);
                let result = arena
                    .add(self.output)
                    .cast::<u8>()
                    .add(chunk.image * self.output_image + chunk.row * self.output_row);
                let place = if self.lie.is_apart() {
                    scratch.piece.cast()
                } else {
                    result
                };
                let rows = self.piece(chunk);
                let beside = epilogue.beside.iter().map(|b| b.part(arena, &rows));
                let next = (self.splits * group_units == 1 && piece + stride < chunks)
                    .then(|| self.ahead(arena, self.chunks.get(piece + stride)))
                    .flatten();
                let mut work = Work {
                    sums: scratch.sums,
                    place,
                    twin: self.lie.twin(place, result),
                    ahead: Fetches::new(beside.chain(next), self.turns(chunk)),
                };
                for group in groups.clone() {
                    let at = (group - groups.start) * self.group_input;
                    let a = windows.add(at * self.windows.bring.brought());
                    self.chunk(a, shared.get(), &mut work, chunk, group, first..end);
                }
                if self.streamed || work.twin != 0 {
                    fence();
                }
                if whole {
                    (epilogue.after)(&Piece {
                        thread,
                        number: piece,
                        rows,
                        place: place.cast(),
                    });
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
        let place = group * self.group_weights + first * self.weight_strides.output;
        // SAFETY: the weights' elements by their strides; a panel of the packed filter.
        unsafe {
            let weights = arena.add(self.weights).cast::<u8>().cast_const();
            let source = PanelSource {
                products: self.products,
                moves: self.moves,
                phase: &self.phases[phase],
                inner: self.inner,
                strides: self.weight_strides,
                weights: weights.add(place * self.products.stored()),
                columns: width.min(self.columns - first),
                width,
            };
            source.pack(packed.add(self.packed_place(group, phase, panel)));
        }
    }

    /// Pixels of a phase in a chunk. Images come first in the tables, or there is one: they are the first ones.
    fn pixels(&self, phase: &Phase, chunk: Chunk) -> usize {
        let rows = if chunk.rows > phase.row {
            (chunk.rows - phase.row).div_ceil(self.step)
        } else {
            0
        };
        chunk.images * rows * phase.columns
    }

    /// Tiles of a chunk.
    fn turns(&self, chunk: Chunk) -> usize {
        let tiles = |phase: &Phase| {
            let height = self.kernels.wide.tiles.len();
            self.pixels(phase, chunk).div_ceil(height) * phase.blocks.len()
        };
        self.phases.iter().map(tiles).sum::<usize>() * self.panels.len()
    }

    /// The panels of a range, for a chunk and a group whose windows begin at `a`.
    unsafe fn chunk(
        &self,
        a: *const u8,
        packed: *const f32,
        work: &mut Work,
        chunk: Chunk,
        group: usize,
        panels: std::ops::Range<usize>,
    ) {
        // SAFETY: see `run`.
        unsafe {
            let c = work.place.add(group * self.group_output);
            for (i, phase) in self.phases.iter().enumerate() {
                let pixels = self.pixels(phase, chunk);
                if phase.taps.is_empty() {
                    let bytes = self.columns * self.element.bytes();
                    for output in &phase.outputs[..pixels] {
                        let c = c.add(*output);
                        if self.streamed && bytes.is_multiple_of(LINE) {
                            clear_past_caches(c, bytes);
                        } else {
                            std::ptr::write_bytes(c, 0, bytes);
                        }
                        if work.twin != 0 {
                            std::ptr::write_bytes(c.wrapping_offset(work.twin), 0, bytes);
                        }
                    }
                    continue;
                }
                for panel in panels.clone() {
                    let b = packed.add(self.packed_place(group, i, panel));
                    if self.element == Element::Bf16 && phase.blocks.len() > 1 {
                        self.panel_apart(a, b, c, work, phase, pixels, panel);
                    } else {
                        self.panel(a, b, c, work, phase, pixels, panel);
                    }
                }
            }
        }
    }

    /// All tiles of a panel.
    #[allow(clippy::too_many_arguments)]
    unsafe fn panel(
        &self,
        a: *const u8,
        b: *const f32,
        c: *mut u8,
        work: &mut Work,
        phase: &Phase,
        pixels: usize,
        panel: usize,
    ) {
        let (first, wide) = self.panels[panel];
        let stored = self.element.bytes();
        let store = match (self.element, self.streamed) {
            (Element::F32, true) if phase.blocks.len() == 1 => Store::Stream,
            (Element::F32, _) => Store::F32,
            (Element::Bf16, true) if wide => Store::StreamBf16,
            (Element::Bf16, _) => Store::Bf16,
        };
        // SAFETY: windows and outputs of the chunk's pixels.
        unsafe {
            let c = (c.add(first * stored), phase.outputs.as_slice());
            self.blocks(a, b, c, work, phase, pixels, panel, store);
        }
    }

    /// All tiles of a panel whose sums are made in scratch and then rounded.
    #[allow(clippy::too_many_arguments)]
    unsafe fn panel_apart(
        &self,
        a: *const u8,
        b: *const f32,
        c: *mut u8,
        work: &mut Work,
        phase: &Phase,
        pixels: usize,
        panel: usize,
    ) {
        let first = self.panels[panel].0;
        let columns = self.width(panel).min(self.columns - first);
        // SAFETY: windows and outputs of the chunk's pixels; the sums hold a row of the panel for each.
        unsafe {
            let sums = work.sums;
            let rows = (sums.cast(), self.sum_places.as_slice());
            self.blocks(a, b, rows, work, phase, pixels, panel, Store::F32);
            for (p, output) in phase.outputs.iter().enumerate().take(pixels) {
                let to = c.add(*output).cast::<u16>().add(first);
                self.moves
                    .narrow(to, sums.byte_add(self.sum_places[p]), columns);
            }
        }
    }

    /// All tiles of a panel, block by block of inner indices.
    #[allow(clippy::too_many_arguments)]
    unsafe fn blocks(
        &self,
        a: *const u8,
        mut b: *const f32,
        (c, places): (*mut u8, &[usize]),
        work: &mut Work,
        phase: &Phase,
        pixels: usize,
        panel: usize,
        store: Store,
    ) {
        let (first, wide) = self.panels[panel];
        let kernels = self.kernels.panel(wide);
        let columns = kernels.width.min(self.columns - first);
        let (inputs, places) = (&phase.inputs[..pixels], &places[..pixels]);
        let tiles = pixels.div_ceil(kernels.tiles.len()) * phase.blocks.len();
        let bytes = 4 * kernels.width * phase.words();
        let mut panel = Fetch::new(b.wrapping_byte_add(bytes).cast(), bytes, tiles);
        for (j, block) in phase.blocks.iter().enumerate() {
            let store = if j > 0 { Store::Add } else { store };
            let last = j + 1 == phase.blocks.len();
            let tile = Tile {
                columns,
                store,
                twin: if last { work.twin } else { 0 },
            };
            for (at, size) in kernels.cut(pixels) {
                let rows = (a, inputs[at..].as_ptr());
                let outputs = (c, places[at..].as_ptr());
                // SAFETY: the caller's; the tables have a place for each of the tile's rows.
                unsafe { (size.rows)(rows, &block.segments, b, outputs, tile) }
                work.ahead.turn();
                panel.turn();
            }
            // SAFETY: the panel has a row for each word of its blocks.
            b = unsafe { b.add(block.words * kernels.width) };
        }
    }
}

/// A unit's working memory, and where its outputs go.
struct Work {
    /// A panel's sums.
    sums: *mut f32,
    /// The chunk's first output, of the first group.
    place: *mut u8,
    /// Bytes from there to the same place of the result, if it goes there as well; else 0.
    twin: isize,
    /// What an epilogue reads beside.
    ahead: Fetches,
}
