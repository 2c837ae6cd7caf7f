//! The table of opcodes: whole numbers and branches here, the rest by family elsewhere.
use super::Decoder;
use super::operands::{Found, Frame, kind as type_of};
use crate::code::{Count, Int1, Int2, Int3, Op, Shift};
use crate::ptx::{Instruction, Operand, Refusal};

fn int2(base: &str, signed: bool, high: bool) -> Option<Int2> {
    Some(match (base, signed) {
        ("add", _) => Int2::Add,
        ("sub", _) => Int2::Sub,
        ("mul", true) if high => Int2::MulHighS,
        ("mul", false) if high => Int2::MulHighU,
        ("mul", _) => Int2::Mul,
        ("div", true) => Int2::DivS,
        ("div", false) => Int2::DivU,
        ("rem", true) => Int2::RemS,
        ("rem", false) => Int2::RemU,
        ("min", true) => Int2::MinS,
        ("min", false) => Int2::MinU,
        ("max", true) => Int2::MaxS,
        ("max", false) => Int2::MaxU,
        ("and", _) => Int2::And,
        ("or", _) => Int2::Or,
        ("xor", _) => Int2::Xor,
        ("shl", _) => Int2::Shl,
        ("shr", true) => Int2::ShrS,
        ("shr", false) => Int2::ShrU,
        _ => return None,
    })
}

fn by_width(bytes: u32, b16: Op, b32: Op, b64: Op) -> Op {
    match bytes {
        2 => b16,
        4 => b32,
        _ => b64,
    }
}

impl Decoder<'_> {
    /// Pushes an operation whose operands all have `bytes` bytes.
    pub fn plain(&mut self, frame: &Frame, i: &Instruction, op: Op, bytes: u32) -> Found<bool> {
        self.sized(frame, i, op, &[bytes; 4][..i.operands.len().min(4)])
    }

    /// Pushes an operation with a result and up to three operands of the given bytes.
    pub fn sized(&mut self, frame: &Frame, i: &Instruction, op: Op, bytes: &[u32]) -> Found<bool> {
        if i.operands.len() != bytes.len() {
            return Err(Refusal::new(
                i.line,
                format!("`{}` has {} operands", i.opcode, i.operands.len()),
            ));
        }
        let mut rows = [0; 4];
        for (at, (operand, &bytes)) in i.operands.iter().zip(bytes).enumerate() {
            rows[at] = match at {
                0 => self.target(frame, operand, bytes)?,
                _ => self.source(frame, operand, bytes)?,
            };
        }
        let inst = self.push(i.line, op);
        [inst.d, inst.a, inst.b, inst.c] = rows;
        Ok(true)
    }

    pub fn arithmetic(
        &mut self,
        frame: &Frame,
        base: &str,
        m: &[&str],
        i: &Instruction,
    ) -> Found<bool> {
        let Some((&last, before)) = m.split_last() else {
            return self.control(frame, base, m, i);
        };
        let count = i.operands.len();
        match base {
            "mov" if before.is_empty() => return self.mov(frame, last, i),
            "setp" => return self.setp(frame, m, i),
            "set" => return Ok(false),
            "selp" if before.is_empty() => return self.selp(frame, last, i),
            "bra" | "ret" | "exit" | "trap" | "brx" => return self.control(frame, base, m, i),
            _ => {}
        }
        if last == "pred" && before.is_empty() {
            return self.predicates(frame, base, i);
        }
        if matches!(last, "bf16x2" | "bf16") {
            return self.half(frame, base, before, last == "bf16x2", i);
        }
        let Some(kind) = type_of(last) else {
            return Ok(false);
        };
        let bytes = kind.bytes();
        if let ("slct", &[chosen]) = (base, before)
            && bytes == 4
            && type_of(chosen).is_some_and(|k| k.bytes() == 4)
        {
            return match last {
                "s32" => self.plain(frame, i, Op::Slct32, 4),
                "f32" => self.plain(frame, i, Op::SlctF32, 4),
                _ => Ok(false),
            };
        }
        if kind.float() {
            return self.floats(frame, base, before, kind, i);
        }
        if bytes == 1 {
            return Ok(false);
        }
        let signed = kind.signed();
        match (base, before) {
            ("add" | "sub" | "div" | "rem" | "min" | "max", [])
            | ("and" | "or" | "xor", [])
            | ("mul", ["lo" | "hi"]) => {
                let Some(op) = int2(base, signed, before == ["hi"]) else {
                    return Ok(false);
                };
                self.plain(
                    frame,
                    i,
                    by_width(bytes, Op::I16(op), Op::I32(op), Op::I64(op)),
                    bytes,
                )
            }
            ("shl" | "shr", []) => {
                let Some(op) = int2(base, signed, false) else {
                    return Ok(false);
                };
                self.sized(
                    frame,
                    i,
                    by_width(bytes, Op::I16(op), Op::I32(op), Op::I64(op)),
                    &[bytes, bytes, 4],
                )
            }
            ("mul", ["wide"]) if bytes == 2 => self.sized(frame, i, Op::Wide16(signed), &[4, 2, 2]),
            ("mul", ["wide"]) if bytes == 4 => self.sized(frame, i, Op::Wide32(signed), &[8, 4, 4]),
            ("mad", ["wide"]) if bytes == 2 => {
                self.sized(frame, i, Op::MadWide16(signed), &[4, 2, 2, 4])
            }
            ("mad", ["wide"]) if bytes == 4 => {
                self.sized(frame, i, Op::MadWide32(signed), &[8, 4, 4, 8])
            }
            ("mad", ["lo" | "hi"]) | ("sad", []) => {
                let op = match (base, before, signed) {
                    ("sad", _, true) => Int3::SadS,
                    ("sad", _, false) => Int3::SadU,
                    (_, ["lo"], _) => Int3::Mad,
                    (_, _, true) => Int3::MadHighS,
                    _ => Int3::MadHighU,
                };
                self.plain(
                    frame,
                    i,
                    by_width(bytes, Op::T16(op), Op::T32(op), Op::T64(op)),
                    bytes,
                )
            }
            ("dp2a", [half @ ("lo" | "hi"), "u32"]) if last == "u32" => {
                let op = if *half == "lo" {
                    Int3::Dot2Low
                } else {
                    Int3::Dot2High
                };
                self.plain(frame, i, Op::T32(op), 4)
            }
            ("bfe", []) if bytes > 2 => {
                let op = if signed { Int3::BfeS } else { Int3::BfeU };
                self.sized(
                    frame,
                    i,
                    by_width(bytes, Op::Nop, Op::T32(op), Op::T64(op)),
                    &[bytes, bytes, 4, 4],
                )
            }
            ("bfi", []) if bytes > 2 && count == 5 => {
                let rows = [
                    self.target(frame, &i.operands[0], bytes)?,
                    self.source(frame, &i.operands[1], bytes)?,
                    self.source(frame, &i.operands[2], bytes)?,
                    self.source(frame, &i.operands[3], 4)?,
                ];
                let length = self.source(frame, &i.operands[4], 4)?;
                let inst = self.push(i.line, if bytes == 4 { Op::Bfi32 } else { Op::Bfi64 });
                [inst.d, inst.a, inst.b, inst.c] = rows;
                inst.extra = length as u64;
                Ok(true)
            }
            ("not" | "neg" | "abs" | "brev" | "cnot", []) => {
                let op = match base {
                    "not" => Int1::Not,
                    "neg" => Int1::Neg,
                    "abs" => Int1::Abs,
                    "brev" => Int1::Brev,
                    _ => Int1::Cnot,
                };
                self.plain(
                    frame,
                    i,
                    by_width(bytes, Op::J16(op), Op::J32(op), Op::J64(op)),
                    bytes,
                )
            }
            ("popc" | "clz" | "bfind", []) | ("bfind", ["shiftamt"]) if bytes > 2 => {
                let op = match (base, before, signed) {
                    ("popc", ..) => Count::Popc,
                    ("clz", ..) => Count::Clz,
                    (_, [], true) => Count::FindS,
                    (_, [], false) => Count::FindU,
                    (_, _, true) => Count::ShiftS,
                    _ => Count::ShiftU,
                };
                self.sized(
                    frame,
                    i,
                    by_width(bytes, Op::Nop, Op::Count32(op), Op::Count64(op)),
                    &[4, bytes],
                )
            }
            ("lop3", []) if last == "b32" && count == 5 => {
                let Operand::Integer(table) = i.operands[4] else {
                    return Ok(false);
                };
                let rows = [
                    self.target(frame, &i.operands[0], 4)?,
                    self.source(frame, &i.operands[1], 4)?,
                    self.source(frame, &i.operands[2], 4)?,
                    self.source(frame, &i.operands[3], 4)?,
                ];
                let inst = self.push(i.line, Op::Lop3);
                [inst.d, inst.a, inst.b, inst.c] = rows;
                inst.extra = table & 0xff;
                Ok(true)
            }
            ("prmt", []) if last == "b32" => self.plain(frame, i, Op::Prmt, 4),
            ("shf", [side @ ("l" | "r"), edge @ ("wrap" | "clamp")]) if last == "b32" => {
                let op = match (*side, *edge) {
                    ("l", "wrap") => Shift::LeftWrap,
                    ("l", _) => Shift::LeftClamp,
                    (_, "wrap") => Shift::RightWrap,
                    _ => Shift::RightClamp,
                };
                self.plain(frame, i, Op::Funnel(op), 4)
            }
            _ => Ok(false),
        }
    }

    fn control(&mut self, frame: &Frame, base: &str, m: &[&str], i: &Instruction) -> Found<bool> {
        match (base, m, i.operands.as_slice()) {
            ("bra", [] | ["uni"], [_]) => {
                self.push(i.line, Op::Branch);
            }
            ("brx", ["idx"] | ["idx", "uni"], [index, _]) => {
                let a = self.source(frame, index, 4)?;
                self.push(i.line, Op::BranchIndexed).a = a;
            }
            ("ret", [] | ["uni"], []) | ("exit", [], []) => {
                self.push(i.line, Op::Exit);
            }
            ("trap", [], []) => {
                self.push(i.line, Op::Trap);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
