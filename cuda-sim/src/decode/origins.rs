//! Which kernel parameter an address was made from.
//!
//! Whatever is computed from a parameter of 64 bits comes from it; what comes from two, or from memory, comes from none. A
//! register that is written in several places comes from what all of them say. This holds for any order of execution.
use crate::code::{CONSTANT, Int2, Int3, Kernel, Op, Place};
use crate::ptx::Space;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Not written so far, or plain numbers.
    Number,
    Parameter(u8),
    Many,
}

impl Origin {
    fn join(self, other: Origin) -> Origin {
        match (self, other) {
            (Origin::Number, o) | (o, Origin::Number) => o,
            (a, b) if a == b => a,
            _ => Origin::Many,
        }
    }
}

/// Writes the origin of every address into its instruction.
pub fn find(kernel: &mut Kernel) {
    let mut origins = vec![Origin::Number; kernel.rows as usize];
    // Constants are beyond the registers.
    let of =
        |origins: &[Origin], row: u32| origins.get(row as usize).copied().unwrap_or(Origin::Number);
    loop {
        let mut changed = false;
        for inst in &kernel.code {
            let found = match inst.op {
                Op::Load(access) => {
                    let parameter = (access.place == Place::In(Space::Param)
                        && access.wide
                        && inst.a & CONSTANT != 0)
                        .then(|| {
                            let base = kernel.constants[(inst.a & !CONSTANT) as usize].0[0] as u64;
                            let at = base.wrapping_add(inst.extra);
                            kernel
                                .parameters
                                .iter()
                                .position(|p| p.offset as u64 == at && p.size == 8)
                        })
                        .flatten();
                    let found = match parameter {
                        Some(index) if index < 255 => Origin::Parameter(index as u8 + 1),
                        _ => Origin::Many,
                    };
                    let rows = &kernel.lists[inst.list.0 as usize..][..inst.list.1 as usize];
                    for &row in rows.iter().filter(|_| access.wide) {
                        let joined = origins[row as usize].join(found);
                        changed |= joined != origins[row as usize];
                        origins[row as usize] = joined;
                    }
                    continue;
                }
                Op::Mov64 => of(&origins, inst.a),
                Op::I64(Int2::Add | Int2::Sub) | Op::Select64 => {
                    of(&origins, inst.a).join(of(&origins, inst.b))
                }
                Op::MadWide32(_) => of(&origins, inst.c),
                Op::T64(Int3::Mad) => of(&origins, inst.a)
                    .join(of(&origins, inst.b))
                    .join(of(&origins, inst.c)),
                Op::I64(_) => match of(&origins, inst.a).join(of(&origins, inst.b)) {
                    Origin::Number => Origin::Number,
                    _ => Origin::Many,
                },
                Op::Pack64
                | Op::Pack16x4
                | Op::ToGeneric(_)
                | Op::FromGeneric(_)
                | Op::Atom(..)
                | Op::Bfi64 => Origin::Many,
                _ => continue,
            };
            if inst.d & CONSTANT == 0 && (inst.d as usize) < origins.len() {
                let joined = origins[inst.d as usize].join(found);
                changed |= joined != origins[inst.d as usize];
                origins[inst.d as usize] = joined;
            }
        }
        if !changed {
            break;
        }
    }
    for inst in &mut kernel.code {
        let found = match of(&origins, inst.a) {
            Origin::Parameter(index) => index,
            _ => 0,
        };
        match &mut inst.op {
            Op::Load(access) | Op::Store(access) | Op::Atom(_, access) if access.wide_address => {
                access.origin = found
            }
            Op::CopyAsync {
                origin,
                wide_global: true,
                ..
            } => *origin = found,
            _ => {}
        }
    }
}
