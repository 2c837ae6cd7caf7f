//! A contraction with its epilogue: the loop runs on each piece of the result as soon as it is made, while it is in the cache.
//! Where a contraction's units make no whole rows of the result, the loop runs after it: then the result is small.

use super::contract::ContractionPlan;
use super::contract::piece::{Beside, Epilogue, Piece};
use super::level::Features;
use super::loops::canon::Canon;
use super::loops::plan::LoopPlan;
use super::loops::run::LoopRunner;
use super::pool::Pool;
use super::scratch::{Carver, Pointer};
use sslc_compiler::kernels::ir::{Buffer, Fused, Inst};

#[derive(Clone, Debug)]
pub struct FusedPlan {
    contraction: ContractionPlan,
    epilogue: LoopRunner,
    /// Arrays that the epilogue reads along with the result.
    beside: Vec<Beside>,
    /// Whether the epilogue runs piece by piece.
    in_pieces: bool,
}

impl FusedPlan {
    /// Plans a fused kernel that has been verified.
    pub fn new(fused: &Fused, buffers: &[Buffer], features: Features) -> FusedPlan {
        let level = features.level;
        let beside = beside(fused, buffers);
        let kept = 1 + beside.len();
        let mut contraction = ContractionPlan::new(&fused.contraction, buffers, features, kept);
        let canon = Canon::with_axes(&fused.epilogue, buffers);
        let pieces = contraction.pieces();
        let in_pieces = pieces.and_then(|pieces| {
            LoopPlan::in_pieces(&canon, level, pieces)?;
            let mut canon = canon;
            let outputs = &fused.epilogue.outputs;
            let replaced = outputs.iter().any(|o| fused.is_result(&o.to));
            if contraction.lay_pieces(!replaced).is_apart() {
                let body = &fused.epilogue.body;
                canon.read_pieces(
                    |i| matches!(&body[i], Inst::Load(access) if fused.is_result(access)),
                );
            }
            LoopPlan::in_pieces(&canon, level, pieces)
        });
        FusedPlan {
            contraction,
            beside,
            in_pieces: in_pieces.is_some(),
            epilogue: LoopRunner::new(
                in_pieces
                    .unwrap_or_else(|| LoopPlan::new(&Canon::new(&fused.epilogue, buffers), level)),
            ),
        }
    }

    /// f32 elements of scratch that each thread needs.
    pub fn thread_scratch(&self) -> usize {
        self.split(
            self.contraction.thread_scratch(),
            self.epilogue.thread_scratch(),
        )
        .1
    }

    /// f32 elements of scratch shared by all threads.
    pub fn shared_scratch(&self) -> usize {
        self.split(
            self.contraction.shared_scratch(),
            self.epilogue.shared_scratch(),
        )
        .1
    }

    /// Where the epilogue's part of scratch begins, and the length of both.
    fn split(&self, contraction: usize, epilogue: usize) -> (usize, usize) {
        let mut carver = Carver::measure();
        carver.f32(contraction);
        let begin = carver.used();
        carver.f32(epilogue);
        (begin, carver.used())
    }

    /// Runs the kernel.
    ///
    /// # Safety
    /// As for [`ContractionPlan::run`] and [`LoopRunner::run`].
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        if !self.in_pieces {
            // SAFETY: the caller's.
            unsafe {
                self.contraction
                    .run(pool, arena, threads, shared, Epilogue::NONE);
                self.epilogue.run(pool, arena, threads, shared);
            }
            return;
        }
        let (own, _) = self.split(self.contraction.thread_scratch(), 0);
        let (partials, _) = self.split(self.contraction.shared_scratch(), 0);
        let partials = Pointer::new(shared.get().wrapping_add(partials));
        let after = |piece: &Piece| {
            // SAFETY: pieces are disjoint rows of every output and have partial results of their own; the epilogue's
            // scratch lies behind the contraction's.
            unsafe {
                let scratch = threads[piece.thread].get().add(own);
                self.epilogue.unit(
                    arena.get(),
                    scratch,
                    partials.get().cast(),
                    piece.number,
                    piece.rows.clone(),
                    piece.place,
                );
            }
        };
        // SAFETY: the caller's; the pieces are done when the contraction is.
        unsafe {
            let epilogue = Epilogue {
                after: &after,
                beside: &self.beside,
            };
            self.contraction.run(pool, arena, threads, shared, epilogue);
            self.epilogue.finish(pool, arena, partials);
        }
    }
}

/// The arrays of the result's size that the epilogue reads besides, point by point.
fn beside(fused: &Fused, buffers: &[Buffer]) -> Vec<Beside> {
    let [rows, columns] = fused.contraction.result_shape();
    let along = [columns as i64, 1];
    let mut list: Vec<Beside> = Vec::new();
    for access in fused.epilogue.loads() {
        let buffer = &buffers[access.buffer.0 as usize];
        let full = buffer.len() == rows * columns && access.strides == along;
        let first = 4 * buffer.offset;
        if full && !fused.is_result(access) && list.iter().all(|b| b.first != first) {
            list.push(Beside {
                first,
                row: columns * buffer.element.bytes(),
            });
        }
    }
    list
}
