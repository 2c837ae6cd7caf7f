//! From fused nodes to the body of a loop kernel, in its canonical form.

use super::dag::{Dag, Map, Op, Reduction};
use super::fuse::is_aligned;
use super::ir::{
    Access, Binary, BufferId, Combine, Element, Inst, LoopKernel, LoopOutput, Reg, Unary,
};
use super::keep::Body;
use super::peephole::peephole;
use super::space::{Read, Space};
use std::collections::HashMap;

/// What makes two instructions the same.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Load(BufferId, i64, Vec<i64>, Vec<Option<(usize, usize)>>),
    Const(u32),
    Other(String),
}

/// A loop body under construction: equal instructions are one.
struct Builder<'a> {
    dag: &'a Dag,
    space: &'a Space,
    body: Vec<Inst>,
    known: HashMap<Key, Reg>,
    /// Registers of nodes evaluated so far.
    values: HashMap<usize, Reg>,
}

/// The kernel that evaluates a body and stores or combines its roots. Buffers are named by the nodes that make them.
pub fn loop_kernel(dag: &Dag, space: &Space, body: &Body, roots: &[usize]) -> LoopKernel {
    let mut b = Builder {
        dag,
        space,
        body: Vec::new(),
        known: HashMap::new(),
        values: HashMap::new(),
    };
    for id in &body.maps {
        if let Op::Map(map) = dag.nodes[*id].op {
            let operands: Vec<Reg> = dag.nodes[*id].inputs.iter().map(|r| b.operand(r)).collect();
            let value = b.map(map, &operands);
            b.values.insert(*id, value);
        }
    }
    let outputs = roots.iter().map(|id| b.output(*id)).collect();
    let mut kernel = LoopKernel {
        shape: space.shape(),
        body: b.body,
        outputs,
    };
    peephole(&mut kernel);
    remove_dead(&mut kernel);
    merge_axes(&mut kernel);
    if kernel.shape.is_empty() {
        add_axis(&mut kernel);
    }
    kernel
}

impl Builder<'_> {
    fn inst(&mut self, inst: Inst) -> Reg {
        let key = match &inst {
            Inst::Load(a) => Key::Load(a.buffer, a.offset, a.strides.clone(), a.valid.clone()),
            Inst::Const(v) => Key::Const(v.to_bits()),
            other => Key::Other(format!("{other:?}")),
        };
        if let Some(reg) = self.known.get(&key) {
            return *reg;
        }
        let reg = self.body.len() as Reg;
        self.body.push(inst);
        self.known.insert(key, reg);
        reg
    }

    fn operand(&mut self, read: &Read) -> Reg {
        let from = &self.dag.nodes[read.node];
        match from.op {
            Op::Const(bits) => self.inst(Inst::Const(f32::from_bits(bits))),
            Op::Iota => self.count(read),
            Op::Source(_) | Op::Map(_) | Op::Reduce { .. } | Op::Fixed(_) => {
                match self.values.get(&read.node) {
                    Some(reg) if is_aligned(self.dag, read) => *reg,
                    _ => self.inst(Inst::Load(
                        read.access(self.space, BufferId(read.node as u32)),
                    )),
                }
            }
        }
    }

    /// The place that a read speaks of, as a number: `offset + Σ stride·index`.
    fn count(&mut self, read: &Read) -> Reg {
        let access = read.access(self.space, BufferId(0));
        let mut sum = None;
        for (axis, stride) in access.strides.iter().enumerate().filter(|(_, s)| **s != 0) {
            let mut term = self.inst(Inst::Index(axis));
            if *stride != 1 {
                let stride = self.inst(Inst::Const(*stride as f32));
                term = self.inst(Inst::Binary(Binary::Mul, term, stride));
            }
            sum = Some(match sum {
                Some(sum) => self.inst(Inst::Binary(Binary::Add, sum, term)),
                None => term,
            });
        }
        let offset = access.offset as f32;
        match sum {
            None => self.inst(Inst::Const(offset)),
            Some(sum) if offset == 0.0 => sum,
            Some(sum) => {
                let offset = self.inst(Inst::Const(offset));
                self.inst(Inst::Binary(Binary::Add, sum, offset))
            }
        }
    }

    fn map(&mut self, map: Map, operands: &[Reg]) -> Reg {
        match (map, operands) {
            (Map::Unary(op), [x]) => self.inst(Inst::Unary(op, *x)),
            (Map::Binary(op), [a, b]) => match (op, self.number(*a), self.number(*b)) {
                (Binary::Add, Some(a), Some(b)) => self.inst(Inst::Const(a + b)),
                (Binary::Mul, Some(a), Some(b)) => self.inst(Inst::Const(a * b)),
                _ => self.inst(Inst::Binary(op, *a, *b)),
            },
            (Map::Select, [mask, yes, no]) => match self.body[*mask as usize] {
                // A maximum, as lowering writes it.
                Inst::Binary(Binary::Less, a, b) if (b, a) == (*yes, *no) => {
                    self.inst(Inst::Binary(Binary::Max, a, b))
                }
                _ => self.inst(Inst::Select(*mask, *yes, *no)),
            },
            // A copy; the arities of the others are luminal's.
            (Map::Copy | Map::Unary(_) | Map::Binary(_) | Map::Select, _) => operands[0],
        }
    }

    fn number(&self, reg: Reg) -> Option<f32> {
        match self.body[reg as usize] {
            Inst::Const(v) => Some(v),
            _ => None,
        }
    }

    /// The value to store for a map: the store rounds what goes to bf16.
    fn stored(&self, id: usize) -> Reg {
        let value = self.values[&id];
        match (self.dag.nodes[id].element, &self.body[value as usize]) {
            (Element::Bf16, Inst::Unary(Unary::Bf16, x)) => *x,
            _ => value,
        }
    }

    fn output(&mut self, id: usize) -> LoopOutput {
        let node = &self.dag.nodes[id];
        let rank = self.space.cuts.len() - 1;
        let (value, combine, reduced) = match &node.op {
            Op::Reduce { how, intervals } => {
                let axes = self.space.axes_within(intervals);
                let value = self.operand(&node.inputs[0]);
                let combine = match how {
                    // A sum or a maximum over nothing is a copy; deviations are always over something.
                    Reduction::Sum | Reduction::Max if axes.is_empty() => Combine::Store,
                    Reduction::Sum => Combine::Sum(axes.clone()),
                    Reduction::Max => Combine::Max(axes.clone()),
                    Reduction::Deviations => Combine::Deviations(axes.clone()),
                };
                (value, combine, axes)
            }
            _ => (self.stored(id), Combine::Store, Vec::new()),
        };
        let shape = self.space.shape();
        let mut strides = vec![0; rank];
        let mut stride = 1;
        for axis in (0..rank).rev().filter(|a| !reduced.contains(a)) {
            strides[axis] = stride;
            stride *= shape[axis] as i64;
        }
        let to = Access {
            buffer: BufferId(id as u32),
            offset: 0,
            strides,
            valid: vec![None; rank],
        };
        LoopOutput { value, combine, to }
    }
}

/// Drops instructions whose value nothing uses.
pub fn remove_dead(kernel: &mut LoopKernel) {
    let mut used = vec![false; kernel.body.len()];
    kernel
        .outputs
        .iter()
        .for_each(|o| used[o.value as usize] = true);
    for i in (0..kernel.body.len()).rev() {
        if used[i] {
            let operands = kernel.body[i].operands();
            operands.for_each(|r| used[r as usize] = true);
        }
    }
    let mut at = vec![0; kernel.body.len()];
    let mut body = Vec::new();
    for (i, mut inst) in std::mem::take(&mut kernel.body)
        .into_iter()
        .enumerate()
        .filter(|(i, _)| used[*i])
    {
        match &mut inst {
            Inst::Load(_) | Inst::Const(_) | Inst::Index(_) => {}
            Inst::Unary(_, x) => *x = at[*x as usize],
            Inst::Binary(_, a, b) => (*a, *b) = (at[*a as usize], at[*b as usize]),
            Inst::Select(a, b, c) => {
                (*a, *b, *c) = (at[*a as usize], at[*b as usize], at[*c as usize])
            }
        }
        at[i] = body.len() as Reg;
        body.push(inst);
    }
    kernel
        .outputs
        .iter_mut()
        .for_each(|o| o.value = at[o.value as usize]);
    kernel.body = body;
}

/// Merges neighbouring axes wherever every place of the kernel allows it.
fn merge_axes(kernel: &mut LoopKernel) {
    for axis in (1..kernel.shape.len()).rev() {
        let (outer, size) = (axis - 1, kernel.shape[axis] as i64);
        let fits = |a: &Access| {
            a.strides[outer] == a.strides[axis] * size
                && a.valid[outer].is_none()
                && a.valid[axis].is_none()
        };
        let indexed = |inst: &Inst| matches!(inst, Inst::Index(i) if *i == axis || *i == outer);
        let body = kernel.body.iter().all(|inst| match inst {
            Inst::Load(access) => fits(access),
            other => !indexed(other),
        });
        let outputs = kernel.outputs.iter().all(|o| {
            let reduced = o.combine.axes();
            fits(&o.to) && reduced.contains(&axis) == reduced.contains(&outer)
        });
        if body && outputs {
            kernel.shape[axis] *= kernel.shape[outer];
            remove_axis(kernel, outer);
        }
    }
}

/// Takes an axis out; the next one takes its number.
fn remove_axis(kernel: &mut LoopKernel, axis: usize) {
    kernel.shape.remove(axis);
    let cut = |a: &mut Access| {
        a.strides.remove(axis);
        a.valid.remove(axis);
    };
    for inst in &mut kernel.body {
        match inst {
            Inst::Load(access) => cut(access),
            Inst::Index(i) if *i > axis => *i -= 1,
            _ => {}
        }
    }
    for output in &mut kernel.outputs {
        cut(&mut output.to);
        output.combine.remove_axis(axis);
    }
}

/// Gives a kernel of one point an axis of size 1.
fn add_axis(kernel: &mut LoopKernel) {
    kernel.shape.push(1);
    let extend = |a: &mut Access| {
        a.strides.push(0);
        a.valid.push(None);
    };
    for inst in &mut kernel.body {
        if let Inst::Load(access) = inst {
            extend(access);
        }
    }
    kernel.outputs.iter_mut().for_each(|o| extend(&mut o.to));
}
