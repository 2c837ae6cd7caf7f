//! Arithmetic, comparisons, moves and branches.
use super::Decoder;
use super::operands::{Found, Frame, kind};
use crate::code::{
    Compare, Count, Float1, Float2, Int1, Int2, Int3, Logic, Mode, Op, Round, Shift, TRUE, Type,
};
use crate::ptx::{Instruction, Operand, Refusal, Width};

/// Modifiers of an operation on floats, without the type; none where one is not known.
pub fn mode(modifiers: &[&str]) -> Option<Mode> {
    let mut mode = Mode::PLAIN;
    for modifier in modifiers {
        match *modifier {
            "rn" => mode.round = Round::Nearest,
            "rz" => mode.round = Round::Zero,
            "rm" => mode.round = Round::Down,
            "rp" => mode.round = Round::Up,
            "ftz" => mode.flush = true,
            "sat" => mode.saturate = true,
            "approx" | "full" => {}
            _ => return None,
        }
    }
    Some(mode)
}

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

fn float2(base: &str, nan: bool) -> Option<Float2> {
    Some(match base {
        "add" => Float2::Add,
        "sub" => Float2::Sub,
        "mul" => Float2::Mul,
        "div" => Float2::Div,
        "min" if nan => Float2::MinNan,
        "max" if nan => Float2::MaxNan,
        "min" => Float2::Min,
        "max" => Float2::Max,
        "copysign" => Float2::CopySign,
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
        let Some(kind) = kind(last) else {
            return Ok(false);
        };
        let bytes = kind.bytes();
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
            ("slct", ["s32"]) if bytes == 4 => self.plain(frame, i, Op::Slct32, 4),
            _ => Ok(false),
        }
    }

    fn floats(
        &mut self,
        frame: &Frame,
        base: &str,
        before: &[&str],
        kind: Type,
        i: &Instruction,
    ) -> Found<bool> {
        let nan = before.contains(&"NaN");
        let before: Vec<&str> = before.iter().copied().filter(|&m| m != "NaN").collect();
        let Some(mode) = mode(&before) else {
            return Ok(false);
        };
        let single = kind == Type::F32;
        let bytes = kind.bytes();
        if !single && (kind != Type::F64 || mode != Mode::PLAIN) {
            return Ok(false);
        }
        let op = match base {
            "add" | "sub" | "mul" | "div" | "min" | "max" | "copysign" => {
                let Some(op) = float2(base, nan) else {
                    return Ok(false);
                };
                match (single, mode == Mode::PLAIN) {
                    (true, true) => Op::F32(op),
                    (true, false) => Op::F32Slow(op, mode),
                    _ => Op::F64(op),
                }
            }
            "fma" | "mad" => match (single, mode == Mode::PLAIN) {
                (true, true) => Op::Fma,
                (true, false) => Op::FmaSlow(mode),
                _ => Op::Fma64,
            },
            "abs" | "neg" | "sqrt" | "rcp" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => {
                let op = match base {
                    "abs" => Float1::Abs,
                    "neg" => Float1::Neg,
                    "sqrt" => Float1::Sqrt,
                    "rcp" => Float1::Rcp,
                    "rsqrt" => Float1::Rsqrt,
                    "ex2" => Float1::Exp2,
                    "lg2" => Float1::Log2,
                    "sin" => Float1::Sin,
                    "cos" => Float1::Cos,
                    _ => Float1::Tanh,
                };
                let approximate = !matches!(base, "abs" | "neg" | "sqrt" | "rcp");
                if approximate && !before.contains(&"approx") || mode.round != Round::Nearest {
                    return Ok(false);
                }
                if single {
                    Op::G32(op, mode)
                } else {
                    Op::G64(op)
                }
            }
            _ => return Ok(false),
        };
        self.plain(frame, i, op, bytes)
    }

    /// Arithmetic on bf16, one or two in a register.
    fn half(
        &mut self,
        frame: &Frame,
        base: &str,
        before: &[&str],
        pair: bool,
        i: &Instruction,
    ) -> Found<bool> {
        let bytes = if pair { 4 } else { 2 };
        let (nan, rounded) = (before == ["NaN"], before.is_empty() || before == ["rn"]);
        let op = match base {
            "add" | "sub" | "mul" if rounded => float2(base, false).map(Op::Bf16),
            "min" | "max" if nan || before.is_empty() => float2(base, nan).map(Op::Bf16),
            "fma" if rounded => Some(Op::Bf16Fma),
            "neg" if before.is_empty() => Some(Op::Bf16Neg),
            "abs" if before.is_empty() => Some(Op::Bf16Abs),
            _ => None,
        };
        let Some(op) = op else { return Ok(false) };
        self.plain(frame, i, op, bytes)
    }

    fn mov(&mut self, frame: &Frame, last: &str, i: &Instruction) -> Found<bool> {
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

    fn setp(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
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

    fn selp(&mut self, frame: &Frame, last: &str, i: &Instruction) -> Found<bool> {
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

    fn predicates(&mut self, frame: &Frame, base: &str, i: &Instruction) -> Found<bool> {
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

/// Whether a register of the frame is a predicate.
pub fn is_predicate(frame: &Frame, operand: &Operand) -> bool {
    match operand {
        Operand::Register(register) => frame.widths[*register as usize] == Width::Predicate,
        Operand::Not(inner) => is_predicate(frame, inner),
        _ => false,
    }
}
