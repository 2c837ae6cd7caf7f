//! One block of a loop kernel: where its operands lie, and what its steps do.

use super::canon::{MAX_AXES, Place};
use super::next::Next;
use super::ops::{self, NarrowLoop, WidenLoop};
use super::plan::{Accumulator, LoopPlan, Src, Step};
use crate::fetch::Fetches;
use sslc_compiler::core::bf16;
use sslc_compiler::kernels::ir::Element;

/// The arena's element at a place of its type.
#[inline(always)]
unsafe fn get(arena: *mut f32, element: Element, at: isize) -> f32 {
    // SAFETY: the caller's element.
    unsafe {
        match element {
            Element::F32 => *arena.offset(at),
            Element::Bf16 => bf16::widen(*arena.cast::<u16>().offset(at)),
        }
    }
}

/// Sets an output's element at a place of its type.
#[inline(always)]
pub unsafe fn put(target: *mut f32, element: Element, at: isize, value: f32) {
    // SAFETY: the caller's element.
    unsafe {
        match element {
            Element::F32 => *target.offset(at) = value,
            Element::Bf16 => *target.cast::<u16>().offset(at) = bf16::narrow(value),
        }
    }
}

/// What a block is made from: addresses of this block's operands.
pub struct Block<'a> {
    pub plan: &'a LoopPlan,
    pub arena: *mut f32,
    pub piece: *mut f32,
    pub widen: WidenLoop,
    pub narrow: NarrowLoop,
    pub slots: *mut f32,
    pub scalars: *mut f32,
    /// The place of each load, and of each output, in this block.
    pub loads: *mut isize,
    pub outputs: *mut isize,
    pub accumulators: *mut f64,
    pub index: [usize; MAX_AXES],
    pub lo: [usize; MAX_AXES],
    pub hi: [usize; MAX_AXES],
    pub rows: usize,
    pub lanes: usize,
}

impl Block<'_> {
    /// Finds the extent of this block and the places of its loads and outputs.
    pub unsafe fn place(&mut self) {
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

    /// What the next block loads, in a turn for each innermost step and each output.
    pub fn fetches(&self) -> Fetches {
        let p = self.plan;
        let range = |next: &Next| {
            // SAFETY: the load has a place.
            let at = unsafe { *self.loads.add(next.load) };
            let load = &p.loads[next.load];
            let at = at * load.element.bytes() as isize + next.step;
            let first = self.origin(next.load).cast::<u8>().cast_const();
            (first.wrapping_offset(at), next.bytes)
        };
        Fetches::new(p.next.iter().map(range), p.turns())
    }

    fn at(&self, place: &Place) -> isize {
        let mut at = if place.of_piece { 0 } else { place.base };
        for (axis, stride) in place.strides.iter().enumerate() {
            let first = if place.of_piece { self.lo[axis] } else { 0 };
            at += (self.index[axis] - first) as i64 * stride;
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

    /// Where a load's places are counted from.
    fn origin(&self, load: usize) -> *mut f32 {
        if self.plan.loads[load].of_piece {
            self.piece
        } else {
            self.arena
        }
    }

    /// Where an output's places are counted from.
    fn target(&self, to: &Place) -> *mut f32 {
        if to.of_piece { self.piece } else { self.arena }
    }

    pub unsafe fn address(&self, src: Src) -> *mut f32 {
        // SAFETY: slots, scalars, loads and outputs are numbered by the plan.
        unsafe {
            match src {
                Src::Slot(s) => self.slots.add(s * self.plan.block()),
                Src::Scalar(s) => self.scalars.add(s),
                Src::Load(l) => self.origin(l).offset(*self.loads.add(l)),
                Src::Output(j) => self
                    .target(&self.plan.writes[j].to)
                    .offset(*self.outputs.add(j)),
            }
        }
    }

    pub unsafe fn step(&self, step: &Step) {
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
                Step::Ternary(f, dst, a, b, c) => f(
                    self.address(*dst),
                    self.address(*a),
                    self.address(*b),
                    self.address(*c),
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
                        let element = self.plan.loads[*load].element;
                        get(self.origin(*load), element, *self.loads.add(*load))
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
            let at = |r: usize, l: usize| *self.loads.add(load) + r as isize * sr + l as isize * sl;
            let element = place.element;
            if sl.abs() > 1 && sr.abs() < sl.abs() && r1 - r0 > 1 {
                for l in l0..l1 {
                    for r in r0..r1 {
                        *dst.add(r * lanes + l) = get(self.origin(load), element, at(r, l));
                    }
                }
                return;
            }
            if l0 >= l1 {
                return;
            }
            if sl == 1 && (r0, r1, l0, l1) == (0, rows, 0, lanes) && sr == lanes as isize {
                return self.copy(dst, load, at(0, 0), rows * lanes);
            }
            for r in r0..r1 {
                let row = dst.add(r * lanes);
                match sl {
                    0 => {
                        let value = get(self.origin(load), element, at(r, l0));
                        std::slice::from_raw_parts_mut(row.add(l0), l1 - l0).fill(value);
                    }
                    1 => self.copy(row.add(l0), load, at(r, l0), l1 - l0),
                    _ => {
                        for l in l0..l1 {
                            *row.add(l) = get(self.origin(load), element, at(r, l));
                        }
                    }
                }
            }
        }
    }

    /// Copies neighbouring elements of a load into scratch.
    unsafe fn copy(&self, dst: *mut f32, load: usize, at: isize, n: usize) {
        let from = self.origin(load);
        // SAFETY: the caller's elements; a slot meets neither the arena nor a piece.
        unsafe {
            match self.plan.loads[load].element {
                Element::F32 => std::ptr::copy_nonoverlapping(from.offset(at).cast_const(), dst, n),
                Element::Bf16 => (self.widen)(dst, from.cast::<u16>().offset(at), n),
            }
        }
    }

    /// Copies to neighbouring elements of an output; it may be stored where a load stood.
    unsafe fn put_row(&self, to: &Place, at: isize, src: *const f32, n: usize) {
        // SAFETY: the caller's elements; a value that goes to bf16 stands in scratch, or is an f32 block of another buffer.
        unsafe {
            let target = self.target(to);
            match to.element {
                Element::F32 => std::ptr::copy(src, target.offset(at), n),
                Element::Bf16 => (self.narrow)(target.cast::<u16>().offset(at), src, n),
            }
        }
    }

    /// Copies a block to an output's place.
    pub unsafe fn store(&self, j: usize, to: &Place, value: *const f32) {
        let (sr, sl) = self.block_strides(to);
        // SAFETY: the places of this block's points in the output.
        unsafe {
            let base = *self.outputs.add(j);
            if sl == 1 && (self.rows == 1 || sr == self.lanes as isize) {
                return self.put_row(to, base, value, self.rows * self.lanes);
            }
            for r in 0..self.rows {
                let at = base + r as isize * sr;
                let src = value.add(r * self.lanes);
                if sl == 1 {
                    self.put_row(to, at, src, self.lanes);
                } else {
                    for l in 0..self.lanes {
                        put(
                            self.target(to),
                            to.element,
                            at + l as isize * sl,
                            *src.add(l),
                        );
                    }
                }
            }
        }
    }

    /// Writes a unit's accumulator to its output.
    pub unsafe fn flush(&self, to: &Place, a: &Accumulator) {
        // The unit's own sizes: the last may be shorter than the accumulator.
        let mut sizes = [1; MAX_AXES];
        for (axis, stride) in a.strides.iter().enumerate() {
            if *stride > 0 {
                sizes[axis] = self.hi[axis] - self.lo[axis];
            }
        }
        let inner = a.strides.iter().rposition(|s| *s > 0).unwrap_or(0);
        let outer: usize = sizes[..inner].iter().product();
        let mut index = [0; MAX_AXES];
        for _ in 0..outer {
            let mut from = a.offset;
            let mut at = to.base;
            for (axis, stride) in a.strides.iter().enumerate() {
                from += index[axis] * stride;
                at += (self.lo[axis] + index[axis]) as i64 * to.strides[axis];
            }
            // The number that is the result stands last.
            let from = from + (a.reduce.width() - 1) * a.len;
            for i in 0..sizes[inner] {
                let place = at as isize + i as isize * to.strides[inner] as isize;
                // SAFETY: the innermost kept axis has stride 1 in the accumulator; the place belongs to this unit.
                unsafe {
                    let value = *self.accumulators.add(from + i) as f32;
                    put(self.target(to), to.element, place, value);
                }
            }
            for axis in (0..inner).rev() {
                index[axis] += 1;
                if index[axis] < sizes[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}
