//! Moves, comparisons and what goes on predicates.
use super::Decoder;
use super::operands::{Found, Frame, kind};
use crate::code::{Compare, Logic, Op, TRUE, Type};
use crate::ptx::{Instruction, Operand, Width};

fn compare(name: &str) -> Option<Compare> {
    Some(match name {
        "eq" => Compare::Eq,
        "ne" => Compare::Ne,
        "lt" | "lo" => Compare::Lt,
        "le" | "ls" => Compare::Le,
        "gt" | "hi" => Compare::Gt,
        "ge" | "hs" => Compare::Ge,
        "equ" => Compare::EqU,
        "neu" => Compare::NeU,
        "ltu" => Compare::LtU,
        "leu" => Compare::LeU,
        "gtu" => Compare::GtU,
        "geu" => Compare::GeU,
        "num" => Compare::Num,
        "nan" => Compare::Nan,
        _ => return None,
    })
}

fn logic(name: &str) -> Option<Logic> {
    Some(match name {
        "and" => Logic::And,
        "or" => Logic::Or,
        "xor" => Logic::Xor,
        _ => return None,
    })
}

/// Whether a register of the frame is a predicate.
pub fn is_predicate(frame: &Frame, operand: &Operand) -> bool {
    match operand {
        Operand::Register(register) => frame.widths[*register as usize] == Width::Predicate,
        Operand::Not(inner) => is_predicate(frame, inner),
        _ => false,
    }
}

impl Decoder<'_> {
    pub fn mov(&mut self, frame: &Frame, last: &str, i: &Instruction) -> Found<bool> {
        let [d, a] = i.operands.as_slice() else {
            return Ok(false);
        };
        if last == "pred" {
            return self.predicates(frame, "mov", i);
        }
        let Some(kind) = kind(last) else {
            return Ok(false);
        };
        let bytes = kind.bytes();
        match (d, a) {
            (d, Operand::Vector(parts)) => match (bytes, parts.as_slice()) {
                (8, [low, high]) => {
                    let rows = [
                        self.target(frame, d, 8)?,
                        self.source(frame, low, 4)?,
                        self.source(frame, high, 4)?,
                    ];
                    let inst = self.push(i.line, Op::Pack64);
                    [inst.d, inst.a, inst.b] = rows;
                }
                (4, [low, high]) => {
                    let rows = [
                        self.target(frame, d, 4)?,
                        self.source(frame, low, 2)?,
                        self.source(frame, high, 2)?,
                    ];
                    let inst = self.push(i.line, Op::Pack32);
                    [inst.d, inst.a, inst.b] = rows;
                }
                (8, [_, _, _, _]) => {
                    let row = self.target(frame, d, 8)?;
                    let (list, _) = self.list(frame, a, 2)?;
                    let inst = self.push(i.line, Op::Pack16x4);
                    (inst.d, inst.list) = (row, list);
                }
                _ => return Ok(false),
            },
            (Operand::Vector(parts), a) => match (bytes, parts.as_slice()) {
                (8, [low, high]) => {
                    let rows = [
                        self.target(frame, low, 4)?,
                        self.source(frame, a, 8)?,
                        self.target(frame, high, 4)?,
                    ];
                    let inst = self.push(i.line, Op::Unpack64);
                    [inst.d, inst.a, inst.b] = rows;
                }
                (4, [low, high]) => {
                    let rows = [
                        self.target(frame, low, 2)?,
                        self.source(frame, a, 4)?,
                        self.target(frame, high, 2)?,
                    ];
                    let inst = self.push(i.line, Op::Unpack32);
                    [inst.d, inst.a, inst.b] = rows;
                }
                (8, [_, _, _, _]) => {
                    let row = self.source(frame, a, 8)?;
                    let (list, _) = self.list(frame, d, 2)?;
                    let inst = self.push(i.line, Op::Unpack16x4);
                    (inst.a, inst.list) = (row, list);
                }
                _ => return Ok(false),
            },
            _ => {
                return self.plain(
                    frame,
                    i,
                    if bytes == 8 { Op::Mov64 } else { Op::Mov32 },
                    bytes,
                );
            }
        }
        Ok(true)
    }

    pub fn setp(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        let m: Vec<&str> = m.iter().copied().filter(|&m| m != "ftz").collect();
        let flush = m.len() + 1 == i.opcode.split('.').count() - 1;
        let (name, combine, last) = match m.as_slice() {
            [name, last] => (*name, None, *last),
            [name, combine, last] => (*name, Some(*combine), *last),
            _ => return Ok(false),
        };
        let (Some(compare), Some(kind)) = (compare(name), kind(last)) else {
            return Ok(false);
        };
        let bytes = kind.bytes();
        let signed = kind.signed();
        let op = match kind {
            Type::F32 => Op::SetF32(compare, flush),
            Type::F64 if !flush => Op::SetF64(compare),
            Type::U16 | Type::S16 => Op::Set16(compare, signed),
            Type::U32 | Type::S32 => Op::Set32(compare, signed),
            Type::U64 | Type::S64 => Op::Set64(compare, signed),
            _ => return Ok(false),
        };
        if !kind.float()
            && !matches!(
                compare,
                Compare::Eq | Compare::Ne | Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge
            )
        {
            return Ok(false);
        }
        if i.operands.len() != 3 + combine.is_some() as usize {
            return Ok(false);
        }
        let (d, other) = match &i.operands[0] {
            Operand::Pair(p, q) => (
                self.predicate_target(frame, p)?,
                self.predicate_target(frame, q)?,
            ),
            p => (self.predicate_target(frame, p)?, TRUE),
        };
        let (a, b) = (
            self.source(frame, &i.operands[1], bytes)?,
            self.source(frame, &i.operands[2], bytes)?,
        );
        let combined = match combine {
            Some(name) => {
                let Some(logic) = logic(name) else {
                    return Ok(false);
                };
                Some((logic, self.predicate(frame, &i.operands[3])?))
            }
            None => None,
        };
        // The comparison goes to fresh predicates first where it is combined with one that it may overwrite.
        if let Some((logic, (slot, negated))) = combined {
            self.kernel.predicates += 1;
            let fresh = self.kernel.predicates - 1;
            let inst = self.push(i.line, op);
            [inst.d, inst.a, inst.b] = [fresh, a, b];
            inst.c = TRUE;
            let inst = self.push(i.line, Op::Combine(logic));
            [inst.d, inst.a, inst.b, inst.c] = [d, fresh, other, slot];
            inst.extra = negated as u64;
        } else {
            let inst = self.push(i.line, op);
            [inst.d, inst.a, inst.b, inst.c] = [d, a, b, other];
        }
        Ok(true)
    }

    pub fn selp(&mut self, frame: &Frame, last: &str, i: &Instruction) -> Found<bool> {
        let (Some(kind), [d, a, b, p]) = (kind(last), i.operands.as_slice()) else {
            return Ok(false);
        };
        let bytes = kind.bytes();
        let rows = [
            self.target(frame, d, bytes)?,
            self.source(frame, a, bytes)?,
            self.source(frame, b, bytes)?,
        ];
        let (slot, negated) = self.predicate(frame, p)?;
        let inst = self.push(
            i.line,
            if bytes == 8 {
                Op::Select64
            } else {
                Op::Select32
            },
        );
        [inst.d, inst.a, inst.b] = rows;
        (inst.c, inst.extra) = (slot, negated as u64);
        Ok(true)
    }

    pub fn predicates(&mut self, frame: &Frame, base: &str, i: &Instruction) -> Found<bool> {
        let mut slots = Vec::new();
        for operand in i.operands.iter().skip(1) {
            slots.push(self.predicate(frame, operand)?);
        }
        let Some(target) = i.operands.first() else {
            return Ok(false);
        };
        let d = self.predicate_target(frame, target)?;
        let (op, a, b) = match (base, slots.as_slice()) {
            ("mov", &[a]) => (Op::PredMov, a, (TRUE, false)),
            ("not", &[a]) => (Op::PredNot, a, (TRUE, false)),
            ("and" | "or" | "xor", &[a, b]) => match logic(base) {
                Some(logic) => (Op::PredLogic(logic), a, b),
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        let inst = self.push(i.line, op);
        [inst.d, inst.a, inst.b] = [d, a.0, b.0];
        inst.extra = a.1 as u64 | (b.1 as u64) << 1;
        Ok(true)
    }
}
