//! A contraction with loops on both sides. The prologue makes what a unit of the contraction reads, in scratch. The epilogue
//! runs on each piece of the result as soon as it is made, while it is in the cache; where a contraction's units make no whole
//! rows of the result, it runs after it: then the result is small.

use super::contract::ContractionPlan;
use super::contract::piece::{Beside, Epilogue, Piece};
use super::level::{Features, Level};
use super::loops::canon::Canon;
use super::loops::plan::LoopPlan;
use super::loops::run::LoopRunner;
use super::pool::Pool;
use super::scratch::{Carver, Pointer};
use sslc_compiler::kernels::ir::{Buffer, Fused, Inst, LoopKernel};

#[derive(Clone, Debug)]
pub struct FusedPlan {
    contraction: ContractionPlan,
    after: Option<AfterPlan>,
}

/// The epilogue made ready.
#[derive(Clone, Debug)]
struct AfterPlan {
    runner: LoopRunner,
    /// Arrays that it reads along with the result.
    beside: Vec<Beside>,
    /// Whether it runs piece by piece.
    in_pieces: bool,
}

impl AfterPlan {
    fn new(
        fused: &Fused,
        epilogue: &LoopKernel,
        beside: Vec<Beside>,
        contraction: &mut ContractionPlan,
        buffers: &[Buffer],
        level: Level,
    ) -> AfterPlan {
        let canon = Canon::with_axes(epilogue, buffers);
        let pieces = contraction.pieces();
        let in_pieces = pieces.and_then(|pieces| {
            LoopPlan::in_pieces(&canon, level, pieces)?;
            let mut canon = canon;
            let replaced = epilogue.outputs.iter().any(|o| fused.is_result(&o.to));
            if contraction.lay_pieces(!replaced).is_apart() {
                let body = &epilogue.body;
                canon.read_pieces(
                    |i| matches!(&body[i], Inst::Load(access) if fused.is_result(access)),
                );
            }
            LoopPlan::in_pieces(&canon, level, pieces)
        });
        AfterPlan {
            beside,
            in_pieces: in_pieces.is_some(),
            runner: LoopRunner::new(
                in_pieces.unwrap_or_else(|| LoopPlan::new(&Canon::new(epilogue, buffers), level)),
            ),
        }
    }
}

impl FusedPlan {
    /// Plans a fused kernel that has been verified.
    pub fn new(fused: &Fused, buffers: &[Buffer], features: Features) -> FusedPlan {
        let level = features.level;
        let epilogue = fused.epilogue.as_ref();
        let beside = epilogue.map_or(Vec::new(), |e| beside(fused, e, buffers));
        let kept = epilogue.map_or(0, |_| 1 + beside.len());
        let mut contraction = ContractionPlan::new(&fused.contraction, buffers, features, kept);
        if let Some(prologue) = &fused.prologue {
            contraction.begin_with(prologue, buffers, level);
        }
        let after =
            epilogue.map(|e| AfterPlan::new(fused, e, beside, &mut contraction, buffers, level));
        FusedPlan { contraction, after }
    }

    /// f32 elements of scratch that each thread needs.
    pub fn thread_scratch(&self) -> usize {
        let after = self.after.as_ref().map_or(0, |a| a.runner.thread_scratch());
        self.split(self.contraction.thread_scratch(), after).1
    }

    /// f32 elements of scratch shared by all threads.
    pub fn shared_scratch(&self) -> usize {
        let after = self.after.as_ref().map_or(0, |a| a.runner.shared_scratch());
        self.split(self.contraction.shared_scratch(), after).1
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
        let Some(AfterPlan { runner, beside, .. }) = self.after.as_ref().filter(|a| a.in_pieces)
        else {
            // SAFETY: the caller's.
            unsafe {
                self.contraction
                    .run(pool, arena, threads, shared, Epilogue::NONE);
                if let Some(after) = &self.after {
                    after.runner.run(pool, arena, threads, shared);
                }
            }
            return;
        };
        let (own, _) = self.split(self.contraction.thread_scratch(), 0);
        let (partials, _) = self.split(self.contraction.shared_scratch(), 0);
        let partials = Pointer::new(shared.get().wrapping_add(partials));
        let after = |piece: &Piece| {
            // SAFETY: pieces are disjoint rows of every output and have partial results of their own; the epilogue's
            // scratch lies behind the contraction's.
            unsafe {
                let scratch = threads[piece.thread].get().add(own);
                runner.unit(
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
                beside,
            };
            self.contraction.run(pool, arena, threads, shared, epilogue);
            runner.finish(pool, arena, partials);
        }
    }
}

/// The arrays of the result's size that the epilogue reads besides, point by point.
fn beside(fused: &Fused, epilogue: &LoopKernel, buffers: &[Buffer]) -> Vec<Beside> {
    let [rows, columns] = fused.contraction.result_shape();
    let along = [columns as i64, 1];
    let mut list: Vec<Beside> = Vec::new();
    for access in epilogue.loads() {
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
