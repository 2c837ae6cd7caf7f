//! Makes the plan of a loop kernel: chooses blocks and units, and turns instructions into steps.

use super::canon::{Canon, Op, Output, Place, Reduce};
use super::join::join;
use super::next;
use super::ops;
use super::plan::{Accumulator, Counter, LoopPlan, Pieces, Src, Step, Write, WriteKind};
use super::ranges::overlap;
use crate::level::Level;
use sslc_compiler::kernels::ir::{Binary, Element};

/// The most points a block has.
const MAX_BLOCK: usize = 1024;
const MIN_BLOCK: usize = 512;
/// Columns of a tall block, and the most points it has: merging deviations of few rows would cost more than they do. The
/// block lies in a piece that is in the cache.
const TALL_COLUMNS: usize = 64;
const TALL_BLOCK: usize = 4096;
/// Elements that a block's slots, loads and outputs may take together, so that they stay in the first-level cache.
const BLOCK_BUDGET: usize = 5 * 1024;
/// Elements of an output that goes past the caches: it would be gone from them before it is read again.
const STREAMED: usize = 4 << 20;
/// The most units a kernel is cut into.
const MAX_UNITS: usize = 256;
/// Steps times points that make a unit worth a thread's while (about 15 µs).
const UNIT_WORK: usize = 400_000;
/// The most f64 partial results of a split reduction.
const MAX_PARTIALS: usize = 1 << 20;

impl LoopPlan {
    /// Plans a kernel for a level.
    pub fn new(canon: &Canon, level: Level) -> LoopPlan {
        LoopPlan::fitting(canon, level, None)
    }

    /// Plans a kernel of two axes whose units are pieces of the first; `None` if there would be too many partial results.
    pub fn in_pieces(canon: &Canon, level: Level, pieces: Pieces) -> Option<LoopPlan> {
        let plan = LoopPlan::fitting(canon, level, Some(pieces));
        (plan.partials() <= MAX_PARTIALS).then_some(plan)
    }

    /// Plans a kernel of two axes that stores its outputs in pieces of the first axis, and reduces nothing.
    pub fn storing_pieces(canon: &Canon, level: Level, pieces: Pieces) -> LoopPlan {
        LoopPlan::fitting(canon, level, Some(pieces))
    }

    fn fitting(canon: &Canon, level: Level, pieces: Option<Pieces>) -> LoopPlan {
        let canon = &join(canon);
        if pieces.is_some() && is_tall(canon) {
            let plan = Builder::new(canon, level, (TALL_BLOCK, TALL_COLUMNS), pieces).build();
            if plan.slots * TALL_BLOCK <= BLOCK_BUDGET {
                return plan;
            }
        }
        let mut block = MAX_BLOCK;
        loop {
            let plan = Builder::new(canon, level, (block, block), pieces).build();
            let pieces = plan.slots + plan.loads.len() + plan.writes.len();
            if pieces * block <= BLOCK_BUDGET || block <= MIN_BLOCK {
                return plan;
            }
            block /= 2;
        }
    }
}

/// Whether a kernel makes deviations of columns and reduces nothing else.
fn is_tall(canon: &Canon) -> bool {
    let columns = |o: &Output| o.reduced.iter().rev().copied().eq([false, true]);
    let mut reductions = canon.outputs.iter().filter(|o| o.reduce.is_some());
    reductions.clone().all(columns) && reductions.any(|o| o.reduce == Some(Reduce::Deviations))
}

/// Where an instruction's value stands, and how often it changes.
#[derive(Clone, Copy)]
struct Value {
    src: Src,
    /// How many counters of the nest, from the outermost on, it changes with at most.
    depth: usize,
}

struct Builder<'a> {
    canon: &'a Canon,
    pieces: Option<Pieces>,
    plan: LoopPlan,
    values: Vec<Option<Value>>,
    /// For each instruction of the innermost depth, the position of its last use; `usize::MAX` for outputs' values.
    last_use: Vec<usize>,
    /// The slot that holds a scalar value of an output, in every element.
    splats: Vec<Option<usize>>,
    free: Vec<usize>,
}

impl<'a> Builder<'a> {
    /// For blocks of at most so many points and columns.
    fn new(
        canon: &'a Canon,
        level: Level,
        (block, columns): (usize, usize),
        pieces: Option<Pieces>,
    ) -> Builder<'a> {
        let rank = canon.sizes.len();
        let lane = rank - 1;
        let row = rank.checked_sub(2);
        let lane_size = canon.sizes[lane];
        let lanes = lane_size.min(columns);
        let rows = match row {
            Some(row) => (block / lanes).clamp(1, canon.sizes[row]),
            None => 1,
        };
        let lane_reduced = canon.outputs.iter().any(|o| o.reduced[lane]);
        // Lanes innermost where rows of several blocks are reduced, else rows, so that what belongs to a column is kept.
        let lanes_inside = row.is_none() || (lane_reduced && lane_size > lanes);
        let outside = (0..rank.saturating_sub(2)).map(|axis| Counter { axis, step: 1 });
        let lane_counter = Counter {
            axis: lane,
            step: lanes,
        };
        let row_counter = row.map(|axis| Counter { axis, step: rows });
        let nest = if lanes_inside {
            outside.chain(row_counter).chain([lane_counter]).collect()
        } else {
            [lane_counter]
                .into_iter()
                .chain(outside)
                .chain(row_counter)
                .collect()
        };
        Builder {
            canon,
            pieces,
            plan: LoopPlan {
                level,
                sizes: canon.sizes.clone(),
                row,
                lane,
                rows,
                lanes,
                nest,
                loads: Vec::new(),
                scalars: Vec::new(),
                slots: 0,
                steps: Vec::new(),
                starts: Vec::new(),
                writes: Vec::new(),
                next: Vec::new(),
                unit_axis: 0,
                unit_len: canon.sizes[0],
                units: 1,
                accumulators: 0,
                split: false,
            },
            values: vec![None; canon.body.len()],
            last_use: vec![0; canon.body.len()],
            splats: vec![None; canon.body.len()],
            free: Vec::new(),
        }
    }

    fn build(mut self) -> LoopPlan {
        let depends = self.canon.dependences();
        let depths: Vec<usize> = depends.iter().map(|d| self.depth(*d)).collect();
        self.find_last_uses();
        let mut direct = self.direct_outputs(&depths, &depends);
        let apart = |op: &Op| matches!(op, Op::Load(place) if place.of_piece);
        let streamed =
            self.canon.points() >= STREAMED || self.canon.body.iter().flatten().any(apart);
        // Pieces stay in the cache.
        let streamed = streamed && !self.canon.outputs.iter().any(|o| o.to.of_piece);
        let stream: Vec<bool> = (0..self.canon.outputs.len())
            .map(|j| streamed && direct.contains(&Some(j)))
            .collect();
        if streamed {
            direct.fill(None);
        }
        for depth in 0..=self.plan.nest.len() {
            self.plan.starts.push(self.plan.steps.len());
            for i in 0..self.canon.body.len() {
                if depths[i] == depth
                    && let Some(op) = &self.canon.body[i]
                {
                    self.instruction(i, op, self.in_block(depends[i]), depth, direct[i]);
                }
            }
        }
        self.choose_units();
        for (j, output) in self.canon.outputs.iter().enumerate() {
            let done = direct[output.value] == Some(j);
            self.write(output, done, stream[j]);
        }
        self.plan.next = next::loads(&self.plan);
        self.plan
    }

    /// How many counters of the nest have to be looked at to find the last that a value depends on.
    fn depth(&self, depends: u32) -> usize {
        self.plan
            .nest
            .iter()
            .rposition(|counter| depends & 1 << counter.axis != 0)
            .map_or(0, |position| position + 1)
    }

    fn is_innermost(&self, depth: usize) -> bool {
        depth == self.plan.nest.len()
    }

    /// Whether a value with these dependences differs within a block.
    fn in_block(&self, depends: u32) -> bool {
        depends & 1 << self.plan.lane != 0
            || self
                .plan
                .row
                .is_some_and(|row| self.plan.rows > 1 && depends & 1 << row != 0)
    }

    fn find_last_uses(&mut self) {
        for (i, op) in self.canon.body.iter().enumerate() {
            if let Some(op) = op {
                for r in op.operands() {
                    self.last_use[r] = self.last_use[r].max(i);
                }
            }
        }
        for output in &self.canon.outputs {
            self.last_use[output.value] = usize::MAX;
        }
    }

    /// For each instruction, the output whose place its loop can write itself: contiguous, and read by no load.
    fn direct_outputs(&self, depths: &[usize], depends: &[u32]) -> Vec<Option<usize>> {
        let mut direct = vec![None; self.canon.body.len()];
        for (j, output) in self.canon.outputs.iter().enumerate() {
            let i = output.value;
            let computed = matches!(
                self.canon.body[i],
                Some(
                    Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::MulAdd(..) | Op::Gate(..)
                )
            );
            let alone = !self.canon.body.iter().flatten().any(|op| match op {
                Op::Load(p) => overlap(p, &output.to, &self.canon.sizes),
                _ => false,
            });
            if output.reduce.is_none()
                && direct[i].is_none()
                && computed
                && self.is_innermost(depths[i])
                && self.in_block(depends[i])
                && self.contiguous(&output.to)
                && alone
            {
                direct[i] = Some(j);
            }
        }
        direct
    }

    /// Whether every block of a place lies contiguously in the arena as f32, wholly valid or in no range of `valid` at all.
    fn contiguous(&self, place: &Place) -> bool {
        let lane = self.plan.lane;
        if place.element != Element::F32 {
            return false;
        }
        let rows_follow = self.plan.rows == 1
            || self
                .plan
                .row
                .is_some_and(|row| place.strides[row] == self.plan.lanes as i64);
        (place.strides[lane] == 1 || self.plan.lanes == 1)
            && rows_follow
            && place.valid.iter().all(Option::is_none)
    }

    /// Whether a load of f32 is read along rows by reductions of columns only: its rows need not follow each other.
    fn only_reduced(&self, i: usize, place: &Place) -> bool {
        let lane = self.plan.lane;
        let mut outputs = self.canon.outputs.iter().filter(|o| o.value == i);
        let mut users = self.canon.body.iter().flatten();
        place.element == Element::F32
            && place.strides[lane] == 1
            && place.valid.iter().all(Option::is_none)
            && outputs.all(|o| {
                o.reduce.is_some()
                    && !o.reduced[lane]
                    && self.plan.row.is_some_and(|r| o.reduced[r])
            })
            && !users.any(|op| op.operands().any(|r| r == i))
    }

    fn slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.plan.slots += 1;
            self.plan.slots - 1
        })
    }

    fn scalar(&mut self, value: f32) -> usize {
        self.plan.scalars.push(value);
        self.plan.scalars.len() - 1
    }

    fn src(&self, r: usize) -> Src {
        // Operands stand before their users and are not deeper.
        self.values[r].map_or(Src::Scalar(0), |v| v.src)
    }

    /// The index of a scalar operand.
    fn scalar_of(&self, r: usize) -> usize {
        match self.src(r) {
            Src::Scalar(s) => s,
            _ => unreachable!("a value that is the same within a block has only such operands"),
        }
    }

    fn instruction(
        &mut self,
        i: usize,
        op: &Op,
        in_block: bool,
        depth: usize,
        direct: Option<usize>,
    ) {
        let innermost = self.is_innermost(depth);
        let for_output = self.canon.outputs.iter().any(|o| o.value == i);
        let src = if in_block {
            self.block_instruction(i, op, innermost, direct)
        } else {
            self.scalar_instruction(op)
        };
        self.values[i] = Some(Value { src, depth });
        if let (Src::Scalar(s), true) = (src, for_output) {
            let slot = self.slot();
            self.plan.steps.push(Step::Splat(slot, s));
            self.splats[i] = Some(slot);
        }
        // Slots of lesser depth are never given back: deeper steps of later blocks read them.
        if innermost {
            let done: Vec<usize> = op.operands().filter(|r| self.last_use[*r] == i).collect();
            for r in done {
                if let Some(Value {
                    src: Src::Slot(s),
                    depth,
                }) = self.values[r]
                    && self.is_innermost(depth)
                    && !self.free.contains(&s)
                {
                    self.free.push(s);
                }
            }
        }
    }

    fn scalar_instruction(&mut self, op: &Op) -> Src {
        let constant = match op {
            Op::Const(v) => *v,
            _ => 0.0,
        };
        let dst = self.scalar(constant);
        let step = match op {
            Op::Const(_) => return Src::Scalar(dst),
            Op::Load(place) => {
                self.plan.loads.push(place.clone());
                Step::ScalarLoad(dst, self.plan.loads.len() - 1)
            }
            Op::Index(a) => Step::ScalarIndex(dst, *a),
            Op::Unary(u, a) => Step::ScalarUnary(dst, *u, self.scalar_of(*a)),
            Op::Binary(b, x, y) => {
                Step::ScalarBinary(dst, *b, self.scalar_of(*x), self.scalar_of(*y))
            }
            Op::Select(c, x, y) => Step::ScalarSelect(
                dst,
                self.scalar_of(*c),
                self.scalar_of(*x),
                self.scalar_of(*y),
            ),
            Op::MulAdd([a, b, c], relu) => {
                let [a, b, c] = [*a, *b, *c].map(|r| self.scalar_of(r));
                let (product, zero) = (self.scalar(0.0), self.scalar(0.0));
                let steps = &mut self.plan.steps;
                steps.push(Step::ScalarBinary(product, Binary::Mul, a, b));
                if *relu {
                    steps.push(Step::ScalarBinary(product, Binary::Add, product, c));
                    Step::ScalarBinary(dst, Binary::Max, product, zero)
                } else {
                    Step::ScalarBinary(dst, Binary::Add, product, c)
                }
            }
            Op::Gate(v, x) => {
                let (v, x) = (self.scalar_of(*v), self.scalar_of(*x));
                let (zero, above) = (self.scalar(0.0), self.scalar(0.0));
                let less = Step::ScalarBinary(above, Binary::Less, zero, v);
                self.plan.steps.push(less);
                Step::ScalarSelect(dst, above, x, zero)
            }
        };
        self.plan.steps.push(step);
        Src::Scalar(dst)
    }

    fn block_instruction(
        &mut self,
        i: usize,
        op: &Op,
        innermost: bool,
        direct: Option<usize>,
    ) -> Src {
        let level = self.plan.level;
        if let Op::Load(place) = op {
            self.plan.loads.push(place.clone());
            let load = self.plan.loads.len() - 1;
            // What an output stores later must not be read from where another output is stored before.
            let overwritten = self.canon.outputs.iter().any(|o| o.value == i)
                && self
                    .canon
                    .outputs
                    .iter()
                    .any(|o| overlap(place, &o.to, &self.canon.sizes));
            let in_place = self.contiguous(place) || self.only_reduced(i, place);
            if in_place && !overwritten {
                return Src::Load(load);
            }
            let slot = self.slot();
            self.plan.steps.push(Step::Fill(slot, load));
            return Src::Slot(slot);
        }
        // A selection by a scalar needs its condition as a block.
        let condition = match op {
            Op::Select(c, ..) => Some(match self.src(*c) {
                Src::Scalar(s) => {
                    let slot = self.slot();
                    self.plan.steps.push(Step::Splat(slot, s));
                    Src::Slot(slot)
                }
                src => src,
            }),
            _ => None,
        };
        let dst = match direct {
            Some(j) => Src::Output(j),
            None => Src::Slot(self.slot()),
        };
        let step = match (op, dst) {
            (Op::Index(a), Src::Slot(slot)) if *a == self.plan.lane => Step::Lanes(slot),
            (Op::Index(_), Src::Slot(slot)) => Step::Rows(slot),
            (Op::Unary(u, a), _) => Step::Unary(ops::unary_loop(level, *u), dst, self.src(*a)),
            (Op::Binary(b, x, y), _) => {
                let (x, y) = (self.src(*x), self.src(*y));
                let f = ops::binary_loop(level, *b, x.is_scalar(), y.is_scalar());
                Step::Binary(f, dst, x, y)
            }
            (Op::Select(_, x, y), _) => {
                let (x, y) = (self.src(*x), self.src(*y));
                let f = ops::select_loop(level, x.is_scalar(), y.is_scalar());
                Step::Ternary(f, dst, condition.unwrap_or(x), x, y)
            }
            (Op::Gate(v, x), _) => {
                let (v, x) = (self.src(*v), self.src(*x));
                let f = ops::gate_loop(level, v.is_scalar(), x.is_scalar());
                Step::Binary(f, dst, v, x)
            }
            (Op::MulAdd(operands, relu), _) => {
                let [mut a, mut b, c] = operands.map(|r| self.src(r));
                if a.is_scalar() {
                    std::mem::swap(&mut a, &mut b);
                }
                let f = ops::mul_add_loop(level, b.is_scalar(), c.is_scalar(), *relu);
                Step::Ternary(f, dst, a, b, c)
            }
            _ => unreachable!(
                "constants are scalar, loads are done, and an index has no output's place"
            ),
        };
        self.plan.steps.push(step);
        if let (Op::Select(c, ..), Some(Src::Slot(slot))) = (op, condition)
            && matches!(self.src(*c), Src::Scalar(_))
            && innermost
        {
            self.free.push(slot);
        }
        dst
    }

    fn choose_units(&mut self) {
        if let Some(pieces) = self.pieces {
            self.plan.unit_axis = 0;
            self.plan.unit_len = pieces.longest;
            self.plan.units = pieces.count;
            return;
        }
        let canon = self.canon;
        let work = canon.points() * (self.plan.steps.len() + canon.outputs.len() + 1);
        let wanted = (work / UNIT_WORK).clamp(1, MAX_UNITS);
        let mut best = None;
        for (axis, &size) in canon.sizes.iter().enumerate() {
            let granule = if axis == self.plan.lane {
                self.plan.lanes
            } else if Some(axis) == self.plan.row {
                self.plan.rows
            } else {
                1
            };
            let chunks = size.div_ceil(granule);
            let partial: usize = canon
                .outputs
                .iter()
                .filter(|o| o.reduced[axis])
                .map(|o| kept(&canon.sizes, o) * o.reduce.map_or(1, Reduce::width))
                .sum();
            let limit = MAX_PARTIALS
                .checked_div(partial)
                .unwrap_or(MAX_UNITS)
                .max(1);
            let units = chunks.min(wanted).min(limit);
            let unit_len = chunks.div_ceil(units) * granule;
            let units = size.div_ceil(unit_len);
            // Beyond 16 units, a split without partial results is worth more than further units.
            let merit = Some((units.min(16), partial == 0, units));
            if merit > best {
                best = merit;
                self.plan.unit_axis = axis;
                self.plan.unit_len = unit_len;
                self.plan.units = units;
            }
        }
    }

    fn write(&mut self, output: &Output, done: bool, stream: bool) {
        let mut value = self.src(output.value);
        let kind = match output.reduce {
            None if done => WriteKind::Done,
            None if stream => WriteKind::Stream,
            None => WriteKind::Store,
            Some(reduce) => WriteKind::Reduce(self.accumulator(output, reduce)),
        };
        if let Some(slot) = self.splats[output.value] {
            value = Src::Slot(slot);
        }
        self.plan.writes.push(Write {
            value,
            to: output.to.clone(),
            kind,
        });
    }

    fn accumulator(&mut self, output: &Output, reduce: Reduce) -> Accumulator {
        let plan = &mut self.plan;
        let rank = plan.sizes.len();
        let mut strides = vec![0; rank];
        let mut sizes = vec![1; rank];
        let mut len = 1;
        for axis in (0..rank).rev() {
            if !output.reduced[axis] {
                sizes[axis] = if axis == plan.unit_axis {
                    plan.unit_len
                } else {
                    plan.sizes[axis]
                };
                strides[axis] = len;
                len *= sizes[axis];
            }
        }
        let split = plan.units > 1 && output.reduced[plan.unit_axis];
        let offset = plan.accumulators;
        plan.accumulators += len * reduce.width();
        plan.split |= split;
        Accumulator {
            reduce,
            strides,
            sizes,
            offset,
            len,
            rows_reduced: plan.row.is_none_or(|row| output.reduced[row]),
            lanes_reduced: output.reduced[plan.lane],
            split,
        }
    }
}

/// Number of results of a reduction.
fn kept(sizes: &[usize], output: &Output) -> usize {
    sizes
        .iter()
        .zip(&output.reduced)
        .filter(|(_, r)| !**r)
        .map(|(s, _)| s)
        .product()
}
