//! Operands that are made in scratch: a loop over the operand's pixels and channels runs on the pixels that a unit reads.

use super::normalise::Normalise;
use crate::level::Level;
use crate::loops::canon::{Canon, Op};
use crate::loops::plan::{LoopPlan, Pieces};
use crate::loops::run::LoopRunner;
use crate::scratch::Carver;
use sslc_compiler::kernels::ir::{Buffer, LoopKernel};
use std::ops::Range;

/// A contraction's operand that has no place in the arena.
#[derive(Clone, Debug)]
pub struct Prologue {
    how: How,
    /// Bytes of a pixel of the operand, and the most pixels that are made at once.
    pixel: usize,
    pixels: usize,
    source: Option<Source>,
}

#[derive(Clone, Debug)]
enum How {
    Normalise(Normalise),
    Loop(Box<LoopRunner>),
}

/// A tensor of the operand's pixels that the loop reads: what is worth fetching ahead.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its first byte in the arena, and the bytes of a pixel.
    pub place: usize,
    pub pixel: usize,
}

/// A thread's scratch for a prologue.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pixels: *mut f32,
    work: *mut f32,
}

impl Prologue {
    /// Plans a verified prologue of which at most `pixels` pixels are made at once.
    pub fn new(kernel: &LoopKernel, buffers: &[Buffer], level: Level, pixels: usize) -> Prologue {
        let mut canon = Canon::with_axes(kernel, buffers);
        canon.write_pieces();
        let channels = canon.sizes[1];
        let mut sources = canon.body.iter().flatten().filter_map(|op| match op {
            Op::Load(place) if place.strides == [channels as i64, 1] => {
                let bytes = place.element.bytes();
                Some(Source {
                    place: usize::try_from(place.base).ok()? * bytes,
                    pixel: channels * bytes,
                })
            }
            _ => None,
        });
        Prologue {
            source: sources.next_back(),
            pixel: channels * canon.outputs[0].to.element.bytes(),
            pixels,
            how: match Normalise::of(&canon, level) {
                Some(normalise) => How::Normalise(normalise),
                None => {
                    let pieces = Pieces {
                        count: 1,
                        longest: pixels,
                    };
                    let plan = LoopPlan::storing_pieces(&canon, level, pieces);
                    How::Loop(Box::new(LoopRunner::new(plan)))
                }
            },
        }
    }

    /// Cuts its part of a thread's scratch.
    pub fn carve(&self, carver: &mut Carver) -> Made {
        Made {
            pixels: carver.f32((self.pixels * self.pixel).div_ceil(4)),
            work: carver.f32(match &self.how {
                How::Normalise(_) => 0,
                How::Loop(runner) => runner.thread_scratch(),
            }),
        }
    }

    /// The tensor to fetch ahead.
    pub fn source(&self) -> Option<Source> {
        self.source
    }

    /// The first byte of that tensor, if its elements take the room of the operand's.
    pub fn source_like_itself(&self) -> Option<usize> {
        let source = self.source.filter(|s| s.pixel == self.pixel)?;
        Some(source.place)
    }

    /// Makes some pixels; returns where the operand's first pixel would be if all of it stood around them.
    ///
    /// # Safety
    /// The machine has the level; the loop's loads are within `arena`; `made` was carved of a thread's scratch, and the
    /// pixels are within the operand and no more than were planned.
    pub unsafe fn make(&self, arena: *mut f32, made: Made, pixels: Range<usize>) -> *const u8 {
        debug_assert!(pixels.len() <= self.pixels);
        let first = pixels.start * self.pixel;
        // SAFETY: the caller's; a loop that only stores has no partial results.
        unsafe {
            match &self.how {
                How::Normalise(normalise) => normalise.make(arena, made.pixels, pixels),
                How::Loop(runner) => {
                    let partials = std::ptr::null_mut();
                    runner.unit(arena, made.work, partials, 0, pixels, made.pixels);
                }
            }
        }
        made.pixels.wrapping_byte_sub(first).cast_const().cast()
    }
}
