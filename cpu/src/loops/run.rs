//! Runs a planned loop kernel: units, their blocks, and the combination of partial results.

use super::block::{Block, put};
use super::canon::{MAX_AXES, Place, Reduce};
use super::combine::{self, CombineLoop};
use super::moments::{self, MomentLoop};
use super::ops::{self, ColumnLoop, NarrowLoop, RowLoop, UnaryLoop, WidenLoop};
use super::plan::{Accumulator, LoopPlan, Src, WriteKind};
use crate::level::Level;
use crate::pool::Pool;
use crate::scratch::{Carver, Pointer};
use std::ops::Range;

/// Results that one thread combines at a time.
const COMBINE_CHUNK: usize = 64;
/// Partial results that one thread alone combines.
const COMBINE_WORK: usize = 16 * 1024;

/// A planned kernel with the loops of its level.
#[derive(Clone, Debug)]
pub struct LoopRunner {
    plan: LoopPlan,
    column_sums: ColumnLoop,
    column_maxima: ColumnLoop,
    column_deviations: MomentLoop,
    row_sums: RowLoop,
    row_maxima: RowLoop,
    row_deviations: MomentLoop,
    combine_sums: CombineLoop,
    combine_maxima: CombineLoop,
    combine_deviations: CombineLoop,
    stream: UnaryLoop,
    widen: WidenLoop,
    narrow: NarrowLoop,
}

impl LoopRunner {
    pub fn new(plan: LoopPlan) -> LoopRunner {
        let level: Level = plan.level;
        LoopRunner {
            plan,
            column_sums: ops::column_sums(level),
            column_maxima: ops::column_maxima(level),
            column_deviations: moments::column_deviations(level),
            row_sums: ops::row_sums(level),
            row_maxima: ops::row_maxima(level),
            row_deviations: moments::row_deviations(level),
            combine_sums: combine::sums(level),
            combine_maxima: combine::maxima(level),
            combine_deviations: combine::deviations(level),
            stream: ops::stream_loop(level),
            widen: ops::widen_loop(level),
            narrow: ops::narrow_loop(level),
        }
    }

    /// f32 elements of scratch that each thread needs.
    pub fn thread_scratch(&self) -> usize {
        let p = &self.plan;
        let mut carver = Carver::measure();
        carver.f32(p.slots * p.block());
        carver.f32(p.scalars.len());
        carver.isize(p.loads.len());
        carver.isize(p.writes.len());
        carver.f64(p.accumulators);
        carver.used()
    }

    /// f32 elements of scratch shared by all threads.
    pub fn shared_scratch(&self) -> usize {
        2 * self.plan.partials()
    }

    /// Runs the kernel.
    ///
    /// # Safety
    /// The machine has the plan's level; every access of the plan is within `arena`; `threads` holds
    /// [`thread_scratch`](Self::thread_scratch) elements for each thread and `shared` holds
    /// [`shared_scratch`](Self::shared_scratch); nothing else uses them meanwhile.
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer, threads: &[Pointer], shared: Pointer) {
        let partials: Pointer = shared;
        let p = &self.plan;
        pool.run(p.units, &|thread, unit| {
            let range = unit * p.unit_len..p.sizes[p.unit_axis].min((unit + 1) * p.unit_len);
            // SAFETY: units write disjoint parts of the arena and of the partial results, and no unit reads what another
            // writes (both verified when the program was loaded); a thread has its own scratch.
            unsafe {
                self.unit(
                    arena.get(),
                    threads[thread].get(),
                    partials.get().cast(),
                    unit,
                    range,
                    std::ptr::null_mut(),
                )
            }
        });
        // SAFETY: all units are done.
        unsafe { self.finish(pool, arena, partials) }
    }

    /// Combines the units' partial results, where they are kept.
    ///
    /// # Safety
    /// As for [`run`](Self::run); all units are done.
    pub unsafe fn finish(&self, pool: &Pool, arena: Pointer, partials: Pointer) {
        if self.plan.split {
            // SAFETY: results of different outputs and chunks are disjoint.
            unsafe { self.combine(pool, arena, partials) }
        }
    }

    /// Runs one unit over a range of the axis that units share out: its own, or where units are pieces the piece.
    ///
    /// # Safety
    /// As for [`run`](Self::run), with a thread's scratch; `piece` holds what the plan reads of it.
    pub unsafe fn unit(
        &self,
        arena: *mut f32,
        scratch: *mut f32,
        partials: *mut f64,
        unit: usize,
        range: Range<usize>,
        piece: *mut f32,
    ) {
        let p = &self.plan;
        // SAFETY: the scratch was measured by the same carving; see `run` for the rest.
        unsafe {
            let mut carver = Carver::new(scratch);
            let slots = carver.f32(p.slots * p.block());
            let scalars = carver.f32(p.scalars.len());
            let loads = carver.isize(p.loads.len());
            let outputs = carver.isize(p.writes.len());
            let own = carver.f64(p.accumulators);
            let accumulators = if p.split {
                partials.add(unit * p.accumulators)
            } else {
                own
            };
            std::ptr::copy_nonoverlapping(p.scalars.as_ptr(), scalars, p.scalars.len());
            let mut block = Block {
                plan: p,
                arena,
                piece,
                widen: self.widen,
                narrow: self.narrow,
                slots,
                scalars,
                loads,
                outputs,
                accumulators,
                index: [0; MAX_AXES],
                lo: [0; MAX_AXES],
                hi: [0; MAX_AXES],
                rows: 0,
                lanes: 0,
            };
            for (axis, size) in p.sizes.iter().enumerate() {
                block.hi[axis] = *size;
            }
            block.lo[p.unit_axis] = range.start;
            block.hi[p.unit_axis] = range.end;
            block.index = block.lo;
            for write in &p.writes {
                if let WriteKind::Reduce(a) = &write.kind {
                    std::slice::from_raw_parts_mut(accumulators.add(a.offset), a.numbers())
                        .fill(a.reduce.start());
                }
            }
            self.blocks(&mut block);
            ops::fence();
            for write in &p.writes {
                if let WriteKind::Reduce(a) = &write.kind
                    && !a.split
                {
                    block.flush(&write.to, a);
                }
            }
        }
    }

    /// All blocks of a unit.
    unsafe fn blocks(&self, block: &mut Block<'_>) {
        let p = &self.plan;
        let mut depth = 0;
        loop {
            // SAFETY: the index is within the unit, so that every place is within its access.
            unsafe {
                block.place();
                let mut fetches = block.fetches();
                for step in &p.steps[p.starts[depth]..] {
                    block.step(step);
                    fetches.turn();
                }
                for (j, write) in p.writes.iter().enumerate() {
                    fetches.turn();
                    let value = block.address(write.value);
                    match &write.kind {
                        WriteKind::Done => {}
                        WriteKind::Stream => {
                            let n = block.rows * block.lanes;
                            (self.stream)(block.address(Src::Output(j)), value, n);
                        }
                        WriteKind::Store => block.store(j, &write.to, value),
                        WriteKind::Reduce(a) => self.reduce(block, a, write.value),
                    }
                }
            }
            let mut level = p.nest.len();
            loop {
                if level == 0 {
                    return;
                }
                level -= 1;
                let counter = p.nest[level];
                block.index[counter.axis] += counter.step;
                if block.index[counter.axis] < block.hi[counter.axis] {
                    depth = level + 1;
                    break;
                }
                block.index[counter.axis] = block.lo[counter.axis];
            }
        }
    }

    unsafe fn reduce(&self, block: &Block<'_>, a: &Accumulator, value: Src) {
        // Rows of a load need not follow each other where columns are reduced.
        let pitch = match (value, self.plan.row) {
            (Src::Load(l), Some(row)) => self.plan.loads[l].strides[row] as usize,
            _ => block.lanes,
        };
        // SAFETY: the plan's operand.
        let value = unsafe { block.address(value).cast_const() };
        let mut at = a.offset;
        for axis in 0..self.plan.sizes.len() {
            at += (block.index[axis] - block.lo[axis]) * a.strides[axis];
        }
        let (rows, lanes) = (block.rows, block.lanes);
        let row_stride = self.plan.row.map_or(0, |row| a.strides[row]);
        if a.reduce == Reduce::Deviations {
            // SAFETY: as below.
            return unsafe { self.deviations(block, a, at, row_stride, (value, pitch)) };
        }
        let (column, row): (ColumnLoop, RowLoop) = match a.reduce {
            Reduce::Max => (self.column_maxima, self.row_maxima),
            Reduce::Sum | Reduce::Deviations => (self.column_sums, self.row_sums),
        };
        // SAFETY: `at` and the block's extent are within the accumulator, whose sizes are the unit's; where both axes are
        // kept the block is contiguous in it, because lanes are its last axis and a block of several rows has all lanes.
        unsafe {
            let acc = block.accumulators.add(at);
            match (a.rows_reduced, a.lanes_reduced) {
                (true, false) => column(acc, value, pitch, rows, lanes),
                (false, false) => column(acc, value, 0, 1, rows * lanes),
                (false, true) => row(acc, row_stride, value, rows, lanes),
                (true, true) => row(acc, 0, value, 1, rows * lanes),
            }
        }
    }

    /// [`reduce`](Self::reduce) for deviations: the same cases.
    unsafe fn deviations(
        &self,
        block: &Block<'_>,
        a: &Accumulator,
        at: usize,
        row_stride: usize,
        (value, pitch): (*const f32, usize),
    ) {
        let (rows, lanes) = (block.rows, block.lanes);
        // SAFETY: see `reduce`; all numbers of the results lie `a.len` apart.
        unsafe {
            let acc = block.accumulators.add(at);
            match (a.rows_reduced, a.lanes_reduced) {
                (true, false) => (self.column_deviations)(acc, a.len, pitch, value, rows, lanes),
                (false, false) => {
                    (self.column_deviations)(acc, a.len, 0, value, 1, rows * lanes);
                }
                (false, true) => (self.row_deviations)(acc, a.len, row_stride, value, rows, lanes),
                (true, true) => (self.row_deviations)(acc, a.len, 0, value, 1, rows * lanes),
            }
        }
    }

    /// Combines the partial results of all units, in their order.
    unsafe fn combine(&self, pool: &Pool, arena: Pointer, partials: Pointer) {
        let p = &self.plan;
        for write in &p.writes {
            let WriteKind::Reduce(a) = &write.kind else {
                continue;
            };
            if !a.split {
                continue;
            }
            let combine = match a.reduce {
                Reduce::Sum => self.combine_sums,
                Reduce::Max => self.combine_maxima,
                Reduce::Deviations => self.combine_deviations,
            };
            let few = a.len * p.units < COMBINE_WORK;
            let chunk_len = if few { a.len } else { COMBINE_CHUNK };
            pool.run(a.len.div_ceil(chunk_len), &|_, chunk| {
                let end = a.len.min((chunk + 1) * chunk_len);
                for first in (chunk * chunk_len..end).step_by(COMBINE_CHUNK) {
                    let n = COMBINE_CHUNK.min(end - first);
                    let mut totals = [0.0; COMBINE_CHUNK];
                    // SAFETY: within the partial results of `units` units; a place of the output is written by one chunk only.
                    unsafe {
                        let from = partials.get().cast::<f64>().add(a.offset + first);
                        let from = from.cast_const();
                        combine(totals.as_mut_ptr(), from, a.len, p.accumulators, p.units, n);
                        for (i, total) in totals.iter().enumerate().take(n) {
                            let at = result_place(&write.to, a, &[0; MAX_AXES], first + i);
                            put(arena.get(), write.to.element, at, *total as f32);
                        }
                    }
                }
            });
        }
    }
}

/// The place of the accumulator's element `i` in the output, for a unit that begins at `lo`.
fn result_place(to: &Place, a: &Accumulator, lo: &[usize; MAX_AXES], i: usize) -> isize {
    let mut at = to.base;
    for (axis, stride) in a.strides.iter().enumerate() {
        if *stride > 0 {
            let index = i / stride % a.sizes[axis] + lo[axis];
            at += index as i64 * to.strides[axis];
        }
    }
    at as isize
}
