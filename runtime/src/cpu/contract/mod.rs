//! Contractions on the CPU.
//!
//! - [`operands`]: how elements are stored, multiplied and brought into scratch. [`pack`]: packed filters.
//! - [`gradient`]: packed gradients. [`ahead`]: bringing the next block's operands near. [`partials`]: partial results.
//! - [`prologue`]: operands that are made in scratch. [`normalise`]: the form that most of them have.
//! - [`vector`]: vectors of each level. [`words`]: what they hold. [`tiles`]: register tiles of them. [`simd`]: the choice
//!   among those.
//! - [`window`]: chunks of images and their windows.
//! - [`piece`]: pieces of a result, and their epilogue. [`fetch`]: fetching what is read next.
//! - [`rows`]: convolution, its input gradient, matmul.
//! - [`columns`]: the filter's gradient. [`outer`]: the same for 1×1, and Aᵀ·B.
//! - [`winograd`]: 3×3 convolutions with fewer products.
mod ahead;
mod columns;
mod fetch;
mod gradient;
mod normalise;
pub mod operands;
mod outer;
mod pack;
mod partials;
pub mod piece;
mod prologue;
mod rows;
pub mod simd;
mod tiles;
mod vector;
mod window;
mod winograd;
mod words;

use super::level::{Features, Level};
use super::loops::plan::Pieces;
use super::pool::Pool;
use super::scratch::Pointer;
use columns::ColumnsPlan;
use operands::{Moves, Products};
use outer::OuterPlan;
use piece::{Epilogue, Lie};
use prologue::Prologue;
use rows::{Phase, RowsPlan, Tap, WeightStrides};
use simd::Kernels;
use sslc_compiler::kernels::ir::{
    Algorithm, Buffer, BufferId, Contraction, ConvShape, Element, LoopKernel,
};
use window::{Bring, Chunks, Image, Reach, Windows};
use winograd::{Convolution, FilterGradPlan, Scheme, WinogradPlan};

/// Input channels that a unit of a filter gradient treats at a time, where there are many.
const CHANNEL_BLOCK: std::ops::RangeInclusive<usize> = 16..=64;

/// The largest block of channels that divides them; all of them where no size in range does.
fn channel_block(channels: usize) -> usize {
    CHANNEL_BLOCK
        .rev()
        .find(|b| channels.is_multiple_of(*b))
        .unwrap_or(channels)
}

/// A contraction made ready: its tables, and its working memory's sizes.
#[derive(Clone, Debug)]
pub enum ContractionPlan {
    Rows(Box<RowsPlan>),
    Columns(Box<ColumnsPlan>),
    Outer(Box<OuterPlan>),
    Winograd(Box<WinogradPlan>),
    FilterGrad(Box<FilterGradPlan>),
}

impl ContractionPlan {
    /// Plans a contraction that has been verified. `kept` is how many elements are to stay in the cache for each of the
    /// result until its piece is done: itself and what an epilogue reads beside it; 0 without an epilogue.
    pub fn new(
        contraction: &Contraction,
        buffers: &[Buffer],
        features: Features,
        kept: usize,
    ) -> ContractionPlan {
        let place = |id: BufferId| buffers[id.0 as usize].offset;
        let element = |id: BufferId| buffers[id.0 as usize].element;
        let form = |operand: BufferId, output: BufferId| Form {
            level: features.level,
            products: Products::new(element(operand), features),
            element: element(output),
            kept,
        };
        match *contraction {
            Contraction::MatMul {
                a,
                b,
                out,
                batch,
                m,
                n,
                k,
                ta,
                tb,
            } => {
                let sizes = MatMul {
                    batch,
                    m,
                    n,
                    k,
                    tb,
                    a: place(a),
                    b: place(b),
                    out: place(out),
                };
                let form = form(a, out);
                if ta {
                    ContractionPlan::Outer(Box::new(sizes.outer(form)))
                } else {
                    ContractionPlan::Rows(Box::new(sizes.rows(form)))
                }
            }
            Contraction::Conv {
                x,
                w,
                y,
                shape: s,
                algorithm: Algorithm::Winograd,
            } => {
                let convolution = Convolution {
                    input: place(x),
                    weights: place(w),
                    output: place(y),
                    images: s.n,
                    from: (s.h, s.w),
                    to: (s.oh, s.ow),
                    inner: s.c,
                    outer: s.k,
                    scheme: match s.stride {
                        1 => Scheme::Unit,
                        _ => Scheme::Strided,
                    },
                    padding: s.padding as isize,
                    turned: false,
                    operands: element(x),
                    result: element(y),
                };
                ContractionPlan::Winograd(Box::new(WinogradPlan::new(convolution, features)))
            }
            Contraction::ConvInputGrad {
                dy,
                w,
                dx,
                shape: s,
                algorithm: Algorithm::Winograd,
            } => {
                let convolution = Convolution {
                    input: place(dy),
                    weights: place(w),
                    output: place(dx),
                    images: s.n,
                    from: (s.oh, s.ow),
                    to: (s.h, s.w),
                    inner: s.k,
                    outer: s.c,
                    scheme: match s.stride {
                        1 => Scheme::Unit,
                        _ => Scheme::StridedGradient,
                    },
                    padding: match s.stride {
                        1 => 2 - s.padding as isize,
                        _ => 0,
                    },
                    turned: true,
                    operands: element(dy),
                    result: element(dx),
                };
                ContractionPlan::Winograd(Box::new(WinogradPlan::new(convolution, features)))
            }
            Contraction::Conv { x, w, y, shape, .. } if is_pointwise(&shape) => {
                let product = MatMul {
                    batch: 1,
                    m: shape.n * shape.h * shape.w,
                    n: shape.k,
                    k: shape.c,
                    tb: false,
                    a: place(x),
                    b: place(w),
                    out: place(y),
                };
                ContractionPlan::Rows(Box::new(product.rows(form(x, y))))
            }
            Contraction::ConvInputGrad {
                dy, w, dx, shape, ..
            } if is_pointwise(&shape) => {
                let product = MatMul {
                    batch: 1,
                    m: shape.n * shape.h * shape.w,
                    n: shape.c,
                    k: shape.k,
                    tb: true,
                    a: place(dy),
                    b: place(w),
                    out: place(dx),
                };
                ContractionPlan::Rows(Box::new(product.rows(form(dy, dx))))
            }
            Contraction::Conv { x, w, y, shape, .. } => {
                let plan = convolution(&shape, [place(x), place(w), place(y)], form(x, y));
                ContractionPlan::Rows(Box::new(plan))
            }
            Contraction::ConvInputGrad {
                dy, w, dx, shape, ..
            } => {
                let plan = input_gradient(&shape, [place(dy), place(w), place(dx)], form(dy, dx));
                ContractionPlan::Rows(Box::new(plan))
            }
            Contraction::ConvFilterGrad {
                x,
                dy,
                dw,
                shape,
                algorithm,
            } => {
                let places = [place(x), place(dy), place(dw)];
                match algorithm {
                    Algorithm::Winograd => {
                        let plan = FilterGradPlan::new(&shape, places, element(x), features);
                        ContractionPlan::FilterGrad(Box::new(plan))
                    }
                    Algorithm::Direct => {
                        ContractionPlan::filter_gradient(&shape, places, form(x, dw))
                    }
                }
            }
        }
    }

    /// A filter's gradient by its definition: places of x, dy and dw.
    fn filter_gradient(shape: &ConvShape, places: [usize; 3], form: Form) -> ContractionPlan {
        if shape.kernel == 1 && shape.padding == 0 {
            ContractionPlan::Outer(Box::new(OuterPlan::of_filter(shape, places, form)))
        } else {
            ContractionPlan::Columns(Box::new(ColumnsPlan::new(shape, places, form)))
        }
    }

    /// Words of scratch that each thread needs.
    pub fn thread_scratch(&self) -> usize {
        match self {
            ContractionPlan::Rows(p) => p.thread_scratch(),
            ContractionPlan::Columns(p) => p.thread_scratch(),
            ContractionPlan::Outer(p) => p.thread_scratch(),
            ContractionPlan::Winograd(p) => p.thread_scratch(),
            ContractionPlan::FilterGrad(p) => p.thread_scratch(),
        }
    }

    /// Words of scratch shared by all threads.
    pub fn shared_scratch(&self) -> usize {
        match self {
            ContractionPlan::Rows(p) => p.shared_scratch(),
            ContractionPlan::Columns(p) => p.shared_scratch(),
            ContractionPlan::Outer(p) => p.shared_scratch(),
            ContractionPlan::Winograd(p) => p.shared_scratch(),
            ContractionPlan::FilterGrad(p) => p.shared_scratch(),
        }
    }

    /// The pieces of the result, as ranges of its rows, that units make whole; `None` where units make only columns of them.
    pub fn pieces(&self) -> Option<Pieces> {
        match self {
            ContractionPlan::Rows(p) => p.pieces(),
            ContractionPlan::Columns(_)
            | ContractionPlan::Outer(_)
            | ContractionPlan::FilterGrad(_) => None,
            ContractionPlan::Winograd(p) => p.pieces(),
        }
    }

    /// Has a prologue make the operand that has no place.
    pub fn begin_with(&mut self, prologue: &LoopKernel, buffers: &[Buffer], level: Level) {
        let plan = |pixels: usize| Prologue::new(prologue, buffers, level, pixels);
        match self {
            ContractionPlan::Rows(p) => p.begin_with(plan),
            ContractionPlan::Columns(p) => p.begin_with(plan),
            ContractionPlan::Outer(p) => p.begin_with(plan),
            ContractionPlan::Winograd(p) => p.begin_with(plan),
            ContractionPlan::FilterGrad(p) => p.begin_with(plan),
        }
    }

    /// Settles how pieces lie that an epilogue uses: one that would go past the caches is made in scratch, and goes to the
    /// result's place too if the sums themselves are `kept`.
    pub fn lay_pieces(&mut self, kept: bool) -> Lie {
        match self {
            ContractionPlan::Rows(p) => p.lay_pieces(kept),
            ContractionPlan::Columns(_)
            | ContractionPlan::Outer(_)
            | ContractionPlan::FilterGrad(_) => Lie::InPlace,
            ContractionPlan::Winograd(p) => p.lay_pieces(kept),
        }
    }

    /// Runs the contraction; where it makes [`pieces`](Self::pieces), `after` is called with each as it is made.
    ///
    /// # Safety
    /// As for [`RowsPlan::run`], [`ColumnsPlan::run`], [`OuterPlan::run`], [`WinogradPlan::run`] and [`FilterGradPlan::run`].
    pub unsafe fn run(
        &self,
        pool: &Pool,
        arena: Pointer,
        threads: &[Pointer],
        shared: Pointer,
        epilogue: Epilogue,
    ) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                ContractionPlan::Rows(p) => p.run(pool, arena, threads, shared, epilogue),
                ContractionPlan::Columns(p) => p.run(pool, arena, threads, shared),
                ContractionPlan::Outer(p) => p.run(pool, arena, threads, shared),
                ContractionPlan::Winograd(p) => p.run(pool, arena, threads, shared, epilogue),
                ContractionPlan::FilterGrad(p) => p.run(pool, arena, threads, shared),
            }
        }
    }
}

/// How a contraction's elements are stored and multiplied.
#[derive(Clone, Copy)]
pub struct Form {
    level: Level,
    products: Products,
    /// What the result is stored as.
    element: Element,
    /// Elements that stay in the cache for each of the result; see [`ContractionPlan::new`].
    kept: usize,
}

impl Form {
    fn kernels(&self) -> Kernels {
        Kernels::new(self.level, self.products)
    }

    fn moves(&self) -> Moves {
        Moves::new(self.level)
    }

    /// Windows whose channels are the inner index.
    fn row_windows(&self) -> (Bring, Moves) {
        let bring = match self.products {
            Products::F32 | Products::Pairs => Bring::Copy(self.products.stored()),
            Products::Widened => Bring::Widen,
        };
        (bring, self.moves())
    }

    /// Chunks of which there are two, where pairs lie side by side.
    fn lanes(&self, chunks: Chunks) -> Chunks {
        if self.products == Products::Pairs {
            chunks.halved_if_one()
        } else {
            chunks
        }
    }

    /// Windows whose pixels are the inner index.
    fn column_windows(&self) -> (Bring, Moves) {
        let bring = match self.products {
            Products::F32 => Bring::Copy(self.products.stored()),
            Products::Pairs => Bring::Pair,
            Products::Widened => Bring::Widen,
        };
        (bring, self.moves())
    }
}

/// A matrix product as a convolution: each row of A is an image of one pixel.
struct MatMul {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    tb: bool,
    a: usize,
    b: usize,
    out: usize,
}

impl MatMul {
    fn strides_of_b(&self) -> (usize, usize) {
        if self.tb { (1, self.k) } else { (self.n, 1) }
    }

    fn windows(&self, all: usize, channels: usize, bring: (Bring, Moves)) -> Windows {
        let image = Image::dense(1, 1, all);
        let reach = Reach::forward(1, 1, 0);
        Windows::new(image, [reach, reach], (1, 1), 1, channels, bring)
    }

    fn rows(&self, form: Form) -> RowsPlan {
        let windows = self.windows(self.k, self.k, form.row_windows());
        let kept = self.n * form.kept;
        let chunks = Chunks::choose(self.m, 1, 1, 1, kept, |_| windows.image_words());
        let (inner, output) = self.strides_of_b();
        let tap = Tap {
            offset: 0,
            weights: 0,
        };
        RowsPlan {
            kernels: form.kernels(),
            products: form.products,
            moves: form.moves(),
            element: form.element,
            input: self.a,
            weights: self.b,
            output: self.out,
            windows,
            chunks,
            output_image: self.n,
            output_row: self.n,
            step: 1,
            phases: vec![Phase {
                row: 0,
                inputs: (0..chunks.group).map(|i| i * self.k).collect(),
                outputs: (0..chunks.group).map(|i| i * self.n).collect(),
                columns: 1,
                taps: vec![tap],
                blocks: Vec::new(),
            }],
            inner: self.k,
            columns: self.n,
            weight_strides: WeightStrides { inner, output },
            groups: self.batch,
            group_input: self.m * self.k,
            group_weights: self.k * self.n,
            group_output: self.m * self.n,
            batched: true,
            panels: Vec::new(),
            splits: 1,
            sum_places: Vec::new(),
            streamed: false,
            lie: Lie::InPlace,
            prologue: None,
        }
        .finish()
    }

    /// With A given as [k, m]: its rows are the pixels.
    fn outer(&self, form: Form) -> OuterPlan {
        let places = [self.a, self.b, self.out];
        let sizes = [self.batch, self.m, self.n, self.k];
        OuterPlan::of_matmul(places, sizes, self.strides_of_b(), form)
    }
}

/// Whether a convolution is a matrix product of pixels × channels.
fn is_pointwise(s: &ConvShape) -> bool {
    s.kernel == 1 && s.stride == 1 && s.padding == 0 && s.groups == 1
}

/// The input as a convolution's windows see it, and how far apart they are: of 1×1 windows only what they meet is there.
fn input_image(s: &ConvShape) -> (Image, usize) {
    let image = Image::dense(s.h, s.w, s.c);
    if s.kernel == 1 && s.padding == 0 {
        (image.every(s.stride), 1)
    } else {
        (image, s.stride)
    }
}

/// For each output pixel of a chunk, in order: the image, row and column.
fn pixels(
    chunks: &Chunks,
    rows: impl Iterator<Item = usize> + Clone,
    columns: impl Iterator<Item = usize> + Clone,
) -> Vec<(usize, usize, usize)> {
    let mut list = Vec::new();
    for image in 0..chunks.group {
        for row in rows.clone() {
            for column in columns.clone() {
                list.push((image, row, column));
            }
        }
    }
    list
}

fn convolution(s: &ConvShape, [x, w, y]: [usize; 3], form: Form) -> RowsPlan {
    let (image, stride) = input_image(s);
    let reach = Reach::forward(s.kernel, stride, s.padding);
    let windows_for = |band: usize| {
        let outputs = (s.oh, s.ow);
        Windows::new(
            image,
            [reach, reach],
            outputs,
            band,
            s.c,
            form.row_windows(),
        )
    };
    let kept = s.k * form.kept;
    let chunks = Chunks::choose(s.n, s.oh, s.ow, 1, kept, |band| {
        windows_for(band).image_words()
    });
    let windows = windows_for(chunks.band);
    let (row_pitch, image_pitch) = (windows.row_pitch(), windows.image_pitch());
    let inner = s.c / s.groups;
    let mut taps = Vec::new();
    for ky in 0..s.kernel {
        for kx in 0..s.kernel {
            taps.push(Tap {
                offset: ky * row_pitch + kx * windows.pixel_pitch(),
                weights: (ky * s.kernel + kx) * inner * s.k,
            });
        }
    }
    let pixels = pixels(&chunks, 0..chunks.band, 0..s.ow);
    let phase = Phase {
        row: 0,
        inputs: pixels
            .iter()
            .map(|(i, r, c)| i * image_pitch + (r * row_pitch + c * windows.pixel_pitch()) * stride)
            .collect(),
        outputs: pixels
            .iter()
            .map(|(i, r, c)| ((i * s.oh + r) * s.ow + c) * s.k)
            .collect(),
        columns: s.ow,
        blocks: Vec::new(),
        taps,
    };
    RowsPlan {
        kernels: form.kernels(),
        products: form.products,
        moves: form.moves(),
        element: form.element,
        input: x,
        weights: w,
        output: y,
        windows,
        chunks,
        output_image: s.oh * s.ow * s.k,
        output_row: s.ow * s.k,
        step: 1,
        phases: vec![phase],
        inner,
        columns: s.k / s.groups,
        weight_strides: WeightStrides {
            inner: s.k,
            output: 1,
        },
        groups: s.groups,
        group_input: inner,
        group_weights: s.k / s.groups,
        group_output: s.k / s.groups,
        batched: false,
        panels: Vec::new(),
        splits: 1,
        sum_places: Vec::new(),
        streamed: false,
        lie: Lie::InPlace,
        prologue: None,
    }
    .finish()
}

/// The gradient's pixels fall into stride² phases; in each, a pixel is reached by the same taps.
fn input_gradient(s: &ConvShape, [dy, w, dx]: [usize; 3], form: Form) -> RowsPlan {
    let image = Image::dense(s.oh, s.ow, s.k);
    let reach = Reach::backward(s.kernel, s.stride, s.padding);
    let windows_for = |band: usize| {
        let outputs = (s.h, s.w);
        Windows::new(
            image,
            [reach, reach],
            outputs,
            band,
            s.k,
            form.row_windows(),
        )
    };
    let kept = s.c * form.kept;
    let chunks = Chunks::choose(s.n, s.h, s.w, s.stride, kept, |band| {
        windows_for(band).image_words()
    });
    let windows = windows_for(chunks.band);
    let (row_pitch, image_pitch) = (windows.row_pitch(), windows.image_pitch());
    let inner = s.k / s.groups;
    let columns = s.c / s.groups;
    let mut phases = Vec::new();
    for row_phase in 0..s.stride {
        for column_phase in 0..s.stride {
            // Rows r of the chunk with (r + padding) mod stride = phase.
            let first = |phase: usize| (phase + s.stride * s.padding - s.padding) % s.stride;
            let (row, column) = (first(row_phase), first(column_phase));
            let tap_count = |phase: usize| (s.kernel + s.stride - 1 - phase) / s.stride;
            let (tall, broad) = (tap_count(row_phase), tap_count(column_phase));
            let mut taps = Vec::new();
            for ty in (0..tall).rev() {
                for tx in (0..broad).rev() {
                    let (ky, kx) = (row_phase + s.stride * ty, column_phase + s.stride * tx);
                    taps.push(Tap {
                        offset: (tall - 1 - ty) * row_pitch + (broad - 1 - tx) * s.k,
                        weights: (ky * s.kernel + kx) * columns * s.k,
                    });
                }
            }
            let pixels = pixels(
                &chunks,
                (row..chunks.band).step_by(s.stride),
                (column..s.w).step_by(s.stride),
            );
            // The place in the window of the farthest tap of pixel r: never before the window's beginning.
            let place = |r: usize, phase: usize, count: usize| {
                let window = ((r + s.padding - phase) / s.stride) as isize;
                (window - reach.low - (count as isize - 1)) as usize
            };
            let inputs = if taps.is_empty() {
                vec![0; pixels.len()]
            } else {
                pixels
                    .iter()
                    .map(|(i, r, c)| {
                        i * image_pitch
                            + place(*r, row_phase, tall) * row_pitch
                            + place(*c, column_phase, broad) * s.k
                    })
                    .collect()
            };
            phases.push(Phase {
                row,
                inputs,
                outputs: pixels
                    .iter()
                    .map(|(i, r, c)| ((i * s.h + r) * s.w + c) * s.c)
                    .collect(),
                columns: (column..s.w).step_by(s.stride).len(),
                blocks: Vec::new(),
                taps,
            });
        }
    }
    RowsPlan {
        kernels: form.kernels(),
        products: form.products,
        moves: form.moves(),
        element: form.element,
        input: dy,
        weights: w,
        output: dx,
        windows,
        chunks,
        output_image: s.h * s.w * s.c,
        output_row: s.w * s.c,
        step: s.stride,
        phases,
        inner,
        columns,
        weight_strides: WeightStrides {
            inner: 1,
            output: s.k,
        },
        groups: s.groups,
        group_input: inner,
        group_weights: inner,
        group_output: columns,
        batched: false,
        panels: Vec::new(),
        splits: 1,
        sum_places: Vec::new(),
        streamed: false,
        lie: Lie::InPlace,
        prologue: None,
    }
    .finish()
}
