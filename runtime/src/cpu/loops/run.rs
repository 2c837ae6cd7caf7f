//! Runs a planned loop kernel: the block machine.

use super::canon::{MAX_AXES, Place, Reduce};
use super::ops::{self, ColumnLoop, RowLoop, UnaryLoop};
use super::plan::{Accumulator, LoopPlan, Src, Step, WriteKind};
use crate::cpu::level::Level;
use crate::cpu::pool::Pool;
use crate::cpu::scratch::{Carver, Pointer};

/// Partial results of a reduction that one thread combines at a time.
const COMBINE_CHUNK: usize = 4096;

/// A planned kernel with the loops of its level.
#[derive(Clone, Debug)]
pub struct LoopRunner {
    plan: LoopPlan,
    column_sums: ColumnLoop,
    column_maxima: ColumnLoop,
    row_sums: RowLoop,
    row_maxima: RowLoop,
    stream: UnaryLoop,
}

/// What a block is made from: addresses of this block's operands.
struct Block<'a> {
    plan: &'a LoopPlan,
    arena: *mut f32,
    slots: *mut f32,
    scalars: *mut f32,
    /// The place of each load, and of each output, in this block.
    loads: *mut isize,
    outputs: *mut isize,
    accumulators: *mut f64,
    index: [usize; MAX_AXES],
    lo: [usize; MAX_AXES],
    hi: [usize; MAX_AXES],
    rows: usize,
    lanes: usize,
}

impl LoopRunner {
    pub fn new(plan: LoopPlan) -> LoopRunner {
        let level: Level = plan.level;
        LoopRunner {
            plan,
            column_sums: ops::column_sums(level),
            column_maxima: ops::column_maxima(level),
            row_sums: ops::row_sums(level),
            row_maxima: ops::row_maxima(level),
            stream: ops::stream_loop(level),
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
        pool.run(self.plan.units, &|thread, unit| {
            // SAFETY: units write disjoint parts of the arena and of the partial results, and no unit reads what another
            // writes (both verified when the program was loaded); a thread has its own scratch.
            unsafe {
                self.unit(
                    arena.get(),
                    threads[thread].get(),
                    partials.get().cast(),
                    unit,
                )
            }
        });
        if self.plan.split {
            // SAFETY: all units are done; results of different outputs and chunks are disjoint.
            unsafe { self.combine(pool, arena, partials) }
        }
    }

    unsafe fn unit(&self, arena: *mut f32, scratch: *mut f32, partials: *mut f64, unit: usize) {
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
            block.lo[p.unit_axis] = unit * p.unit_len;
            block.hi[p.unit_axis] = p.sizes[p.unit_axis].min((unit + 1) * p.unit_len);
            block.index = block.lo;
            for write in &p.writes {
                if let WriteKind::Reduce(a) = &write.kind {
                    let start = match a.reduce {
                        Reduce::Sum => 0.0,
                        Reduce::Max => f64::NEG_INFINITY,
                    };
                    std::slice::from_raw_parts_mut(accumulators.add(a.offset), a.len).fill(start);
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
        let mut moved = true;
        loop {
            // SAFETY: the index is within the unit, so that every place is within its access.
            unsafe {
                block.place();
                if moved {
                    for step in &p.outer_steps {
                        block.step(step);
                    }
                }
                for step in &p.steps {
                    block.step(step);
                }
                for (j, write) in p.writes.iter().enumerate() {
                    let value = block.address(write.value);
                    match &write.kind {
                        WriteKind::Done => {}
                        WriteKind::Stream => {
                            let n = block.rows * block.lanes;
                            (self.stream)(block.address(Src::Output(j)), value, n);
                        }
                        WriteKind::Store => block.store(j, &write.to, value),
                        WriteKind::Reduce(a) => self.reduce(block, a, value),
                    }
                }
            }
            moved = false;
            let mut level = p.nest.len();
            loop {
                if level == 0 {
                    return;
                }
                level -= 1;
                let counter = p.nest[level];
                block.index[counter.axis] += counter.step;
                if block.index[counter.axis] < block.hi[counter.axis] {
                    break;
                }
                block.index[counter.axis] = block.lo[counter.axis];
                moved = true;
            }
        }
    }

    unsafe fn reduce(&self, block: &Block<'_>, a: &Accumulator, value: *const f32) {
        let mut at = a.offset;
        for axis in 0..self.plan.sizes.len() {
            at += (block.index[axis] - block.lo[axis]) * a.strides[axis];
        }
        let (rows, lanes) = (block.rows, block.lanes);
        let row_stride = self.plan.row.map_or(0, |row| a.strides[row]);
        let (column, row): (ColumnLoop, RowLoop) = match a.reduce {
            Reduce::Sum => (self.column_sums, self.row_sums),
            Reduce::Max => (self.column_maxima, self.row_maxima),
        };
        // SAFETY: `at` and the block's extent are within the accumulator, whose sizes are the unit's; where both axes are
        // kept the block is contiguous in it, because lanes are its last axis and a block of several rows has all lanes.
        unsafe {
            let acc = block.accumulators.add(at);
            match (a.rows_reduced, a.lanes_reduced) {
                (true, false) => column(acc, value, rows, lanes),
                (false, false) => column(acc, value, 1, rows * lanes),
                (false, true) => row(acc, row_stride, value, rows, lanes),
                (true, true) => row(acc, 0, value, 1, rows * lanes),
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
            let chunks = if a.len * p.units < 4 * COMBINE_CHUNK {
                1
            } else {
                a.len.div_ceil(COMBINE_CHUNK)
            };
            let chunk_len = a.len.div_ceil(chunks);
            pool.run(chunks, &|_, chunk| {
                for i in chunk * chunk_len..a.len.min((chunk + 1) * chunk_len) {
                    let mut total = match a.reduce {
                        Reduce::Sum => 0.0,
                        Reduce::Max => f64::NEG_INFINITY,
                    };
                    for unit in 0..p.units {
                        // SAFETY: within the partial results of `units` units.
                        let v = unsafe {
                            *partials
                                .get()
                                .cast::<f64>()
                                .add(unit * p.accumulators + a.offset + i)
                        };
                        total = match a.reduce {
                            Reduce::Sum => total + v,
                            Reduce::Max if total < v => v,
                            Reduce::Max => total,
                        };
                    }
                    let at = result_place(&write.to, a, &[0; MAX_AXES], i);
                    // SAFETY: a place of the output, written by this chunk only.
                    unsafe { *arena.get().offset(at) = total as f32 };
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

impl Block<'_> {
    /// Finds the extent of this block and the places of its loads and outputs.
    unsafe fn place(&mut self) {
        let p = self.plan;
        self.rows = p
            .row
            .map_or(1, |row| p.rows.min(self.hi[row] - self.index[row]));
        self.lanes = p.lanes.min(self.hi[p.lane] - self.index[p.lane]);
        for (l, place) in p.loads.iter().enumerate() {
            // SAFETY: one place per load.
            unsafe { *self.loads.add(l) = self.at(place) };
        }
        for (j, write) in p.writes.iter().enumerate() {
            // SAFETY: one place per output.
            unsafe { *self.outputs.add(j) = self.at(&write.to) };
        }
    }

    fn at(&self, place: &Place) -> isize {
        let mut at = place.base;
        for (axis, stride) in place.strides.iter().enumerate() {
            at += self.index[axis] as i64 * stride;
        }
        at as isize
    }

    /// Whether a load is valid as far as the axes outside of the block tell.
    fn present(&self, place: &Place) -> bool {
        let p = self.plan;
        place.valid.iter().enumerate().all(|(axis, valid)| {
            let inside = axis == p.lane || Some(axis) == p.row && p.rows > 1;
            inside || valid.is_none_or(|(lo, hi)| (lo..hi).contains(&self.index[axis]))
        })
    }

    unsafe fn address(&self, src: Src) -> *mut f32 {
        // SAFETY: slots, scalars, loads and outputs are numbered by the plan.
        unsafe {
            match src {
                Src::Slot(s) => self.slots.add(s * self.plan.block()),
                Src::Scalar(s) => self.scalars.add(s),
                Src::Load(l) => self.arena.offset(*self.loads.add(l)),
                Src::Output(j) => self.arena.offset(*self.outputs.add(j)),
            }
        }
    }

    unsafe fn step(&self, step: &Step) {
        let n = self.rows * self.lanes;
        // SAFETY: operands are blocks of at least `n` elements, or single ones where the loop reads a scalar; a result's
        // place differs from its operands'.
        unsafe {
            let scalar = |s: usize| *self.scalars.add(s);
            let slot = |s: usize| self.address(Src::Slot(s));
            match step {
                Step::Unary(f, dst, a) => f(self.address(*dst), self.address(*a), n),
                Step::Binary(f, dst, a, b) => {
                    f(self.address(*dst), self.address(*a), self.address(*b), n);
                }
                Step::Select(f, dst, c, a, b) => f(
                    self.address(*dst),
                    self.address(*c),
                    self.address(*a),
                    self.address(*b),
                    n,
                ),
                Step::Fill(dst, load) => self.fill(slot(*dst), *load),
                Step::Rows(dst) => {
                    let first = self.plan.row.map_or(0, |row| self.index[row]);
                    for r in 0..self.rows {
                        self.slice(slot(*dst), r).fill((first + r) as f32);
                    }
                }
                Step::Lanes(dst) => {
                    let first = self.index[self.plan.lane];
                    for r in 0..self.rows {
                        for (l, v) in self.slice(slot(*dst), r).iter_mut().enumerate() {
                            *v = (first + l) as f32;
                        }
                    }
                }
                Step::Splat(dst, s) => {
                    std::slice::from_raw_parts_mut(slot(*dst), n).fill(scalar(*s));
                }
                Step::ScalarLoad(dst, load) => {
                    let present =
                        self.plan.loads[*load]
                            .valid
                            .iter()
                            .enumerate()
                            .all(|(axis, valid)| {
                                valid.is_none_or(|(lo, hi)| (lo..hi).contains(&self.index[axis]))
                            });
                    *self.scalars.add(*dst) = if present {
                        *self.address(Src::Load(*load))
                    } else {
                        0.0
                    };
                }
                Step::ScalarIndex(dst, axis) => {
                    *self.scalars.add(*dst) = self.index[*axis] as f32;
                }
                Step::ScalarUnary(dst, op, a) => {
                    *self.scalars.add(*dst) = ops::unary_scalar(*op, scalar(*a));
                }
                Step::ScalarBinary(dst, op, a, b) => {
                    *self.scalars.add(*dst) = ops::binary_scalar(*op, scalar(*a), scalar(*b));
                }
                Step::ScalarSelect(dst, c, a, b) => {
                    *self.scalars.add(*dst) = if scalar(*c) != 0.0 {
                        scalar(*a)
                    } else {
                        scalar(*b)
                    };
                }
            }
        }
    }

    /// Row `r` of a block in scratch.
    unsafe fn slice<'b>(&self, block: *mut f32, r: usize) -> &'b mut [f32] {
        // SAFETY: a block has `rows` rows of `lanes` elements, and the caller holds one row at a time.
        unsafe { std::slice::from_raw_parts_mut(block.add(r * self.lanes), self.lanes) }
    }

    /// Strides of a place over rows and lanes.
    fn block_strides(&self, place: &Place) -> (isize, isize) {
        let row = self.plan.row.map_or(0, |row| place.strides[row]);
        (row as isize, place.strides[self.plan.lane] as isize)
    }

    /// Copies a load's block into a slot; 0 where it is not valid.
    unsafe fn fill(&self, dst: *mut f32, load: usize) {
        let place = &self.plan.loads[load];
        let (rows, lanes) = (self.rows, self.lanes);
        let clip = |axis: usize, count: usize| match place.valid[axis] {
            None => (0, count),
            Some((lo, hi)) => {
                let at = self.index[axis];
                let first = lo.saturating_sub(at).min(count);
                (first, hi.saturating_sub(at).clamp(first, count))
            }
        };
        let (l0, l1) = clip(self.plan.lane, lanes);
        let (r0, r1) = match self.plan.row {
            Some(row) if self.plan.rows > 1 => clip(row, rows),
            _ => (0, rows),
        };
        let whole = (r0, r1, l0, l1) == (0, rows, 0, lanes);
        let present = self.present(place);
        // SAFETY: the slot holds a block; the elements read are those of valid points.
        unsafe {
            if !whole || !present {
                std::slice::from_raw_parts_mut(dst, rows * lanes).fill(0.0);
            }
            if !present {
                return;
            }
            let (sr, sl) = self.block_strides(place);
            let base = *self.loads.add(load);
            let src = |r: usize, l: usize| {
                self.arena
                    .offset(base + r as isize * sr + l as isize * sl)
                    .cast_const()
            };
            if sr.abs() < sl.abs() && r1 - r0 > 1 {
                for l in l0..l1 {
                    for r in r0..r1 {
                        *dst.add(r * lanes + l) = *src(r, l);
                    }
                }
                return;
            }
            for r in r0..r1 {
                let row = dst.add(r * lanes);
                match sl {
                    0 if l0 < l1 => {
                        std::slice::from_raw_parts_mut(row.add(l0), l1 - l0).fill(*src(r, l0));
                    }
                    1 if l0 < l1 => {
                        std::ptr::copy_nonoverlapping(src(r, l0), row.add(l0), l1 - l0);
                    }
                    _ => {
                        for l in l0..l1 {
                            *row.add(l) = *src(r, l);
                        }
                    }
                }
            }
        }
    }

    /// Copies a block to an output's place.
    unsafe fn store(&self, j: usize, to: &Place, value: *const f32) {
        let (sr, sl) = self.block_strides(to);
        // SAFETY: the places of this block's points in the output; an output may be stored where a load stood, hence `copy`.
        unsafe {
            let base = *self.outputs.add(j);
            for r in 0..self.rows {
                let dst = self.arena.offset(base + r as isize * sr);
                let src = value.add(r * self.lanes);
                if sl == 1 {
                    std::ptr::copy(src, dst, self.lanes);
                } else {
                    for l in 0..self.lanes {
                        *dst.offset(l as isize * sl) = *src.add(l);
                    }
                }
            }
        }
    }

    /// Writes a unit's accumulator to its output.
    unsafe fn flush(&self, to: &Place, a: &Accumulator) {
        let mut sizes = [1; MAX_AXES];
        let mut len = 1;
        for axis in 0..self.plan.sizes.len() {
            if a.strides[axis] > 0 {
                sizes[axis] = self.hi[axis] - self.lo[axis];
                len *= sizes[axis];
            }
        }
        // The last unit may be shorter than the accumulator's sizes: walk the unit's own.
        let mut index = [0; MAX_AXES];
        for _ in 0..len {
            let mut from = a.offset;
            let mut at = to.base;
            for axis in 0..self.plan.sizes.len() {
                from += index[axis] * a.strides[axis];
                at += (self.lo[axis] + index[axis]) as i64 * to.strides[axis];
            }
            // SAFETY: within the accumulator; a place of the output that belongs to this unit.
            unsafe { *self.arena.offset(at as isize) = *self.accumulators.add(from) as f32 };
            for axis in (0..self.plan.sizes.len()).rev() {
                index[axis] += 1;
                if index[axis] < sizes[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}
