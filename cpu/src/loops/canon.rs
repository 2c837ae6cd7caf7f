//! The canonical form of a loop kernel: dead instructions gone, axes of size 1 dropped, adjacent axes merged wherever
//! every access and reduction agrees, buffers replaced by places in the arena.

use sslc_compiler::kernels::ir::{
    Access, Binary, Buffer, Combine, Element, Inst, LoopKernel, LoopOutput, Reg, Unary,
};

/// The most axes a canonical kernel may have.
pub const MAX_AXES: usize = 12;

/// A place in the arena for each point: `base + Σ strides[a]·i[a]`, counted in elements of its type from the arena's
/// first byte. Outside a range of `valid`, a load reads 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub element: Element,
    pub base: i64,
    pub strides: Vec<i64>,
    pub valid: Vec<Option<(usize, usize)>>,
    /// Whether it lies in the piece that a unit is given instead of the arena, counted from the unit's first point.
    pub of_piece: bool,
}

#[derive(Clone, Debug)]
pub enum Op {
    Load(Place),
    Const(f32),
    Index(usize),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Select(usize, usize, usize),
    /// `a·b + c`, and the ReLU of that; see [`join`](super::join).
    MulAdd([usize; 3], bool),
    /// `0 < v ? x : 0`.
    Gate(usize, usize),
}

impl Op {
    /// The registers it reads.
    pub fn operands(&self) -> impl Iterator<Item = usize> {
        let list = match *self {
            Op::Load(_) | Op::Const(_) | Op::Index(_) => [None, None, None],
            Op::Unary(_, a) => [Some(a), None, None],
            Op::Binary(_, a, b) | Op::Gate(a, b) => [Some(a), Some(b), None],
            Op::Select(c, a, b) | Op::MulAdd([c, a, b], _) => [Some(c), Some(a), Some(b)],
        };
        list.into_iter().flatten()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    Sum,
    Max,
    /// Σ (v − mean v)²
    Deviations,
}

impl Reduce {
    /// f64 numbers of a running result: a sum or a maximum; or count, mean and deviations.
    pub fn width(self) -> usize {
        match self {
            Reduce::Sum | Reduce::Max => 1,
            Reduce::Deviations => 3,
        }
    }

    /// What a running result begins with.
    pub fn start(self) -> f64 {
        match self {
            Reduce::Sum | Reduce::Deviations => 0.0,
            Reduce::Max => f64::NEG_INFINITY,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Output {
    pub value: usize,
    /// `None` stores each point's value.
    pub reduce: Option<Reduce>,
    /// For each axis, whether it is reduced.
    pub reduced: Vec<bool>,
    pub to: Place,
}

/// A loop kernel in canonical form. There is at least one axis.
#[derive(Clone, Debug)]
pub struct Canon {
    pub sizes: Vec<usize>,
    /// SSA, as in the IR; `None` where an instruction is dead.
    pub body: Vec<Option<Op>>,
    pub outputs: Vec<Output>,
}

impl Canon {
    /// The canonical form of a kernel that has been verified.
    pub fn new(kernel: &LoopKernel, buffers: &[Buffer]) -> Canon {
        let mut canon = Canon::with_axes(kernel, buffers);
        for axis in (0..canon.sizes.len()).rev() {
            if canon.sizes[axis] == 1 {
                canon.remove(axis);
            }
        }
        for axis in (1..canon.sizes.len()).rev() {
            if canon.can_merge(axis - 1) {
                canon.merge(axis - 1);
            }
        }
        if canon.sizes.is_empty() {
            canon.insert_unit_axis();
        }
        canon
    }

    /// A verified kernel with its axes as they are; it has at least one.
    pub fn with_axes(kernel: &LoopKernel, buffers: &[Buffer]) -> Canon {
        let live = live(kernel);
        let body = kernel
            .body
            .iter()
            .zip(&live)
            .map(|(inst, live)| live.then(|| op(inst, &kernel.shape, buffers)))
            .collect();
        let outputs = kernel
            .outputs
            .iter()
            .map(|o| output(o, &kernel.shape, buffers))
            .collect();
        Canon {
            sizes: kernel.shape.clone(),
            body,
            outputs,
        }
    }

    /// For each instruction, the set of axes its value depends on.
    pub fn dependences(&self) -> Vec<u32> {
        let mut depends: Vec<u32> = Vec::with_capacity(self.body.len());
        for op in &self.body {
            let d = match op {
                Some(Op::Load(p)) => (0..p.strides.len())
                    .filter(|a| p.strides[*a] != 0 || p.valid[*a].is_some())
                    .fold(0, |d, a| d | 1 << a),
                Some(Op::Index(a)) => 1 << a,
                Some(op) => op.operands().fold(0, |d, r| d | depends[r]),
                None => 0,
            };
            depends.push(d);
        }
        depends
    }

    /// Has the loads of these instructions read from the pieces that units are given.
    pub fn read_pieces(&mut self, loads: impl Fn(usize) -> bool) {
        for (i, op) in self.body.iter_mut().enumerate() {
            if let Some(Op::Load(place)) = op {
                place.of_piece = loads(i);
            }
        }
    }

    /// Has the outputs go to the pieces that units are given.
    pub fn write_pieces(&mut self) {
        self.outputs.iter_mut().for_each(|o| o.to.of_piece = true);
    }

    /// Number of points.
    pub fn points(&self) -> usize {
        self.sizes.iter().product()
    }

    fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        let loads = self.body.iter_mut().filter_map(|op| match op {
            Some(Op::Load(place)) => Some(place),
            _ => None,
        });
        loads.chain(self.outputs.iter_mut().map(|o| &mut o.to))
    }

    /// Drops an axis of size 1.
    fn remove(&mut self, axis: usize) {
        self.sizes.remove(axis);
        for place in self.places() {
            place.strides.remove(axis);
            place.valid.remove(axis);
        }
        for output in &mut self.outputs {
            output.reduced.remove(axis);
        }
        for op in self.body.iter_mut().flatten() {
            match op {
                Op::Index(a) if *a == axis => *op = Op::Const(0.0),
                Op::Index(a) if *a > axis => *a -= 1,
                _ => {}
            }
        }
    }

    /// Whether the axis and the next can be walked as one.
    fn can_merge(&self, axis: usize) -> bool {
        let inner = axis + 1;
        let size = self.sizes[inner] as i64;
        let agrees =
            |p: &Place| p.strides[axis] == p.strides[inner] * size && p.valid[inner].is_none();
        let body = self.body.iter().flatten().all(|op| match op {
            Op::Load(place) => agrees(place),
            Op::Index(a) => *a != axis && *a != inner,
            _ => true,
        });
        body && self
            .outputs
            .iter()
            .all(|o| o.reduced[axis] == o.reduced[inner] && agrees(&o.to))
    }

    fn merge(&mut self, axis: usize) {
        let inner = axis + 1;
        let size = self.sizes[inner];
        self.sizes[axis] *= size;
        self.sizes.remove(inner);
        for place in self.places() {
            place.strides[axis] = place.strides[inner];
            place.strides.remove(inner);
            place.valid[axis] = place.valid[axis].map(|(lo, hi)| (lo * size, hi * size));
            place.valid.remove(inner);
        }
        for output in &mut self.outputs {
            output.reduced.remove(inner);
        }
        for op in self.body.iter_mut().flatten() {
            if let Op::Index(a) = op
                && *a > inner
            {
                *a -= 1;
            }
        }
    }

    fn insert_unit_axis(&mut self) {
        self.sizes.push(1);
        for place in self.places() {
            place.strides.push(0);
            place.valid.push(None);
        }
        for output in &mut self.outputs {
            output.reduced.push(false);
        }
    }
}

/// For each instruction, whether an output needs it.
fn live(kernel: &LoopKernel) -> Vec<bool> {
    let mut live = vec![false; kernel.body.len()];
    for output in &kernel.outputs {
        live[output.value as usize] = true;
    }
    for i in (0..kernel.body.len()).rev() {
        if live[i] {
            let mut mark = |r: Reg| live[r as usize] = true;
            match kernel.body[i] {
                Inst::Load(_) | Inst::Const(_) | Inst::Index(_) => {}
                Inst::Unary(_, a) => mark(a),
                Inst::Binary(_, a, b) => {
                    mark(a);
                    mark(b);
                }
                Inst::Select(c, a, b) => {
                    mark(c);
                    mark(a);
                    mark(b);
                }
            }
        }
    }
    live
}

fn place(access: &Access, shape: &[usize], buffers: &[Buffer]) -> Place {
    let buffer = &buffers[access.buffer.0 as usize];
    let per_word = 4 / buffer.element.bytes();
    let base = (buffer.offset * per_word) as i64 + access.offset;
    let valid = access
        .valid
        .iter()
        .zip(shape)
        .map(|(valid, size)| {
            valid.and_then(|(lo, hi)| {
                let (lo, hi) = (lo.min(*size), hi.min(*size));
                ((lo, hi) != (0, *size)).then_some((lo, hi.max(lo)))
            })
        })
        .collect();
    Place {
        element: buffer.element,
        base,
        strides: access.strides.clone(),
        valid,
        of_piece: false,
    }
}

fn op(inst: &Inst, shape: &[usize], buffers: &[Buffer]) -> Op {
    match inst {
        Inst::Load(access) => {
            let place = place(access, shape, buffers);
            let never = place.valid.iter().flatten().any(|(lo, hi)| lo >= hi);
            if never {
                Op::Const(0.0)
            } else {
                Op::Load(place)
            }
        }
        Inst::Const(v) => Op::Const(*v),
        Inst::Index(a) => Op::Index(*a),
        Inst::Unary(u, a) => Op::Unary(*u, *a as usize),
        Inst::Binary(b, x, y) => Op::Binary(*b, *x as usize, *y as usize),
        Inst::Select(c, x, y) => Op::Select(*c as usize, *x as usize, *y as usize),
    }
}

fn output(o: &LoopOutput, shape: &[usize], buffers: &[Buffer]) -> Output {
    let mut reduced = vec![false; shape.len()];
    o.combine.axes().iter().for_each(|a| reduced[*a] = true);
    let reduce = match &o.combine {
        Combine::Store => None,
        Combine::Sum(_) => Some(Reduce::Sum),
        Combine::Max(_) => Some(Reduce::Max),
        Combine::Deviations(_) => Some(Reduce::Deviations),
    };
    Output {
        value: o.value as usize,
        reduce,
        reduced,
        to: place(&o.to, shape, buffers),
    }
}
