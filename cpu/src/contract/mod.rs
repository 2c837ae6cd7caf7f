//! Contractions on the CPU.
//!
//! - [`operands`]: how elements are stored, multiplied and brought into scratch. [`pack`]: packed filters.
//! - [`gradient`]: packed gradients. [`ahead`]: bringing the next block's operands near. [`partials`]: partial results.
//! - [`prologue`]: operands that are made in scratch. [`normalise`]: the form that most of them have.
//! - [`vector`]: vectors of each level. [`words`]: what they hold. [`tiles`]: register tiles of them. [`simd`]: the choice
//!   among those.
//! - [`window`]: chunks of images and their windows.
//! - [`piece`]: pieces of a result, and their epilogue.
//! - [`form`]: how elements are stored and multiplied. [`shapes`]: contractions of each shape as plans of rows.
//! - [`rows`]: convolution, its input gradient, matmul. [`phase`]: pixels that see the same taps.
//! - [`columns`]: the filter's gradient. [`outer`]: the same for 1×1, and Aᵀ·B.
//! - [`winograd`]: 3×3 convolutions with fewer products.
mod ahead;
mod columns;
mod form;
mod gradient;
mod normalise;
pub mod operands;
mod outer;
mod pack;
mod partials;
mod phase;
pub mod piece;
mod prologue;
mod rows;
mod shapes;
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
use form::Form;
use operands::Products;
use outer::OuterPlan;
use piece::{Epilogue, Lie};
use prologue::Prologue;
use rows::RowsPlan;
use shapes::{MatMul, convolution, input_gradient, is_pointwise};
use sslc_compiler::kernels::ir::{Algorithm, Buffer, BufferId, Contraction, ConvShape, LoopKernel};
use winograd::{Convolution, FilterGradPlan, WinogradPlan};

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
                let places = [place(x), place(w), place(y)];
                let convolution = Convolution::forward(&s, places, [element(x), element(y)]);
                ContractionPlan::Winograd(Box::new(WinogradPlan::new(convolution, features)))
            }
            Contraction::ConvInputGrad {
                dy,
                w,
                dx,
                shape: s,
                algorithm: Algorithm::Winograd,
            } => {
                let places = [place(dy), place(w), place(dx)];
                let convolution =
                    Convolution::input_gradient(&s, places, [element(dy), element(dx)]);
                ContractionPlan::Winograd(Box::new(WinogradPlan::new(convolution, features)))
            }
            Contraction::Conv { x, w, y, shape, .. } if is_pointwise(&shape) => {
                let places = [place(x), place(w), place(y)];
                let product = MatMul::of_pixels(&shape, [shape.c, shape.k], false, places);
                ContractionPlan::Rows(Box::new(product.rows(form(x, y))))
            }
            Contraction::ConvInputGrad {
                dy, w, dx, shape, ..
            } if is_pointwise(&shape) => {
                let places = [place(dy), place(w), place(dx)];
                let product = MatMul::of_pixels(&shape, [shape.k, shape.c], true, places);
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
