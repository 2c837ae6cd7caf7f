//! Loop kernels that make one value, and loop kernels written into those that use what they make.

use crate::kernels::emit::remove_dead;
use crate::kernels::ir::{Access, Combine, Element, Inst, LoopKernel, LoopOutput, Reg, Unary};
use std::collections::BTreeMap;

/// What of a loop kernel makes one of the buffers that it writes.
pub fn alone(kernel: &LoopKernel, value: usize) -> Option<LoopKernel> {
    let output = kernel.outputs.iter().find(|o| is(&o.to, value))?;
    let mut alone = LoopKernel {
        outputs: vec![output.clone()],
        ..kernel.clone()
    };
    remove_dead(&mut alone);
    Some(alone)
}

fn is(access: &Access, value: usize) -> bool {
    access.buffer.0 as usize == value
}

/// Whether every load of a value in `user` is at the point where `maker`, which makes that value alone, stores it.
pub fn fits(user: &LoopKernel, maker: &LoopKernel) -> bool {
    let [LoopOutput { combine, to, .. }] = &maker.outputs[..] else {
        return false;
    };
    *combine == Combine::Store
        && user.shape == maker.shape
        && user.body.iter().all(|inst| match inst {
            Inst::Load(a) if a.buffer == to.buffer => a == to,
            _ => true,
        })
}

/// `user` with the values of `makers` computed in place of being loaded; each of them [`fits`] where it is used, and is
/// rounded as its elements are.
pub fn inline(user: &LoopKernel, makers: &BTreeMap<usize, (&LoopKernel, Element)>) -> LoopKernel {
    let mut splice = Splice {
        makers,
        body: Vec::new(),
        values: BTreeMap::new(),
    };
    let at = splice.write(user);
    let place = |o: &LoopOutput| LoopOutput {
        value: at[o.value as usize],
        ..o.clone()
    };
    LoopKernel {
        shape: user.shape.clone(),
        outputs: user.outputs.iter().map(place).collect(),
        body: splice.body,
    }
}

/// A body under construction: equal instructions are one.
struct Splice<'a> {
    makers: &'a BTreeMap<usize, (&'a LoopKernel, Element)>,
    body: Vec<Inst>,
    values: BTreeMap<usize, Reg>,
}

impl Splice<'_> {
    fn inst(&mut self, inst: Inst) -> Reg {
        let known = self.body.iter().position(|i| *i == inst);
        known.unwrap_or_else(|| {
            self.body.push(inst);
            self.body.len() - 1
        }) as Reg
    }

    /// Writes a kernel's body; returns where each of its registers is.
    fn write(&mut self, kernel: &LoopKernel) -> Vec<Reg> {
        let mut at: Vec<Reg> = Vec::with_capacity(kernel.body.len());
        for inst in &kernel.body {
            let to = |r: &Reg| at[*r as usize];
            let inst = match inst {
                Inst::Load(access) => {
                    let value = access.buffer.0 as usize;
                    if let Some((maker, element)) = self.makers.get(&value).copied() {
                        at.push(self.value(value, maker, element));
                        continue;
                    }
                    inst.clone()
                }
                Inst::Const(_) | Inst::Index(_) => inst.clone(),
                Inst::Unary(op, x) => Inst::Unary(*op, to(x)),
                Inst::Binary(op, a, b) => Inst::Binary(*op, to(a), to(b)),
                Inst::Select(a, b, c) => Inst::Select(to(a), to(b), to(c)),
            };
            at.push(self.inst(inst));
        }
        at
    }

    fn value(&mut self, value: usize, maker: &LoopKernel, element: Element) -> Reg {
        if let Some(reg) = self.values.get(&value) {
            return *reg;
        }
        let at = self.write(maker);
        let mut reg = at[maker.outputs[0].value as usize];
        if element == Element::Bf16 {
            reg = self.inst(Inst::Unary(Unary::Bf16, reg));
        }
        self.values.insert(value, reg);
        reg
    }
}
