//! Loads, stores, atomics and asynchronous copies.
use super::Decoder;
use super::operands::{Found, Frame, kind};
use crate::code::{Access, Atomic, Op, Place, Type};
use crate::ptx::{Instruction, Operand, Refusal, Space};

/// Modifiers that say how far away a value may be seen or kept, which changes nothing here.
fn hint(modifier: &str) -> bool {
    matches!(
        modifier,
        "nc" | "ca"
            | "cg"
            | "cs"
            | "lu"
            | "cv"
            | "wb"
            | "wt"
            | "weak"
            | "relaxed"
            | "acquire"
            | "release"
            | "acq_rel"
            | "gpu"
            | "cta"
            | "sys"
            | "volatile"
            | "L1::evict_last"
            | "L1::evict_first"
            | "L1::no_allocate"
    )
}

fn place(modifier: &str) -> Option<Place> {
    Some(Place::In(match modifier {
        "global" => Space::Global,
        "const" => Space::Const,
        "shared" | "shared::cta" => Space::Shared,
        "local" => Space::Local,
        "param" => Space::Param,
        _ => return None,
    }))
}

impl Decoder<'_> {
    pub fn memory(
        &mut self,
        frame: &Frame,
        base: &str,
        m: &[&str],
        i: &Instruction,
    ) -> Found<bool> {
        match base {
            "ld" | "ldu" => self.access(frame, m, i, true),
            "st" => self.access(frame, m, i, false),
            "atom" | "red" => self.atomic(frame, base == "atom", m, i),
            "cp" => self.copy(frame, m, i),
            "prefetch" | "prefetchu" => {
                self.push(i.line, Op::Nop);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn access(&mut self, frame: &Frame, m: &[&str], i: &Instruction, load: bool) -> Found<bool> {
        let Some((&last, before)) = m.split_last() else {
            return Ok(false);
        };
        let Some(kind) = kind(last) else {
            return Ok(false);
        };
        let (mut at, mut count) = (Place::Generic, 1);
        for modifier in before {
            match *modifier {
                "v2" => count = 2,
                "v4" => count = 4,
                other => match place(other) {
                    Some(found) => at = found,
                    None if hint(other) => {}
                    None => return Ok(false),
                },
            }
        }
        let [first, second] = i.operands.as_slice() else {
            return Ok(false);
        };
        let (value, address) = if load {
            (first, second)
        } else {
            (second, first)
        };
        let bytes = kind.bytes();
        if bytes * count as u32 > 16 {
            return Ok(false);
        }
        let (list, wide) = self.list(frame, value, bytes)?;
        if list.1 != count || bytes == 8 && !wide {
            return Err(Refusal::new(i.line, "registers do not fit what is moved"));
        }
        let (row, wide_address, offset) = self.address(frame, address)?;
        if let (Place::In(Space::Param), Operand::Address(base, _)) = (at, address)
            && let Operand::Local(variable, _) = base.as_ref()
            && !frame.formal[*variable as usize]
        {
            at = Place::In(Space::Local);
        }
        if !load && matches!(at, Place::In(Space::Param | Space::Const)) {
            return Ok(false);
        }
        let access = Access {
            place: at,
            size: bytes as u8,
            count,
            signed: kind.signed(),
            wide,
            wide_address,
            origin: 0,
        };
        let inst = self.push(
            i.line,
            if load {
                Op::Load(access)
            } else {
                Op::Store(access)
            },
        );
        (inst.a, inst.extra, inst.list) = (row, offset as u64, list);
        Ok(true)
    }

    fn atomic(&mut self, frame: &Frame, returns: bool, m: &[&str], i: &Instruction) -> Found<bool> {
        let [before @ .., name, last] = m else {
            return Ok(false);
        };
        let Some(kind) = kind(last) else {
            return Ok(false);
        };
        if kind.float() {
            return Err(Refusal::new(
                i.line,
                "atomics on floats give other bits on every run: not supported",
            ));
        }
        let signed = kind.signed();
        let op = match (*name, signed) {
            ("add", _) => Atomic::Add,
            ("min", true) => Atomic::MinS,
            ("min", false) => Atomic::MinU,
            ("max", true) => Atomic::MaxS,
            ("max", false) => Atomic::MaxU,
            ("and", _) => Atomic::And,
            ("or", _) => Atomic::Or,
            ("xor", _) => Atomic::Xor,
            ("exch", _) => Atomic::Exch,
            ("cas", _) => Atomic::Cas,
            ("inc", _) => Atomic::Inc,
            ("dec", _) => Atomic::Dec,
            _ => return Ok(false),
        };
        let mut at = Place::Generic;
        for modifier in before {
            match place(modifier) {
                Some(found @ Place::In(Space::Global | Space::Shared)) => at = found,
                None if hint(modifier) => {}
                _ => return Ok(false),
            }
        }
        let bytes = kind.bytes();
        let given = &i.operands[returns.min(!i.operands.is_empty()) as usize..];
        let (address, values) = match given {
            [address, values @ ..] if values.len() == 1 + (op == Atomic::Cas) as usize => {
                (address, values)
            }
            _ => return Ok(false),
        };
        if bytes < 4
            || matches!(kind, Type::U64 | Type::S64) && matches!(op, Atomic::Inc | Atomic::Dec)
        {
            return Ok(false);
        }
        let d = if returns {
            self.target(frame, &i.operands[0], bytes)?
        } else {
            self.rows(2)
        };
        let (row, wide_address, offset) = self.address(frame, address)?;
        let b = self.source(frame, &values[0], bytes)?;
        let c = if op == Atomic::Cas {
            self.source(frame, &values[1], bytes)?
        } else {
            b
        };
        let access = Access {
            place: at,
            size: bytes as u8,
            count: 1,
            signed,
            wide: bytes == 8,
            wide_address,
            origin: 0,
        };
        let inst = self.push(i.line, Op::Atom(op, access));
        [inst.d, inst.a, inst.b, inst.c] = [d, row, b, c];
        inst.extra = offset as u64;
        Ok(true)
    }

    fn copy(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        match (m, i.operands.as_slice()) {
            (["async", "commit_group"], []) => {
                self.push(i.line, Op::CopyCommit);
            }
            (["async", "wait_all"], []) => {
                self.push(i.line, Op::CopyWait).extra = 0;
                self.push(i.line, Op::CopyWait).extra = u64::MAX;
            }
            (["async", "wait_group"], [Operand::Integer(groups)]) => {
                self.push(i.line, Op::CopyWait).extra = (*groups).min(u32::MAX as u64);
            }
            (
                ["async", kept @ ("ca" | "cg"), shared, "global", rest @ ..],
                [to, from, Operand::Integer(bytes), more @ ..],
            ) if matches!(*shared, "shared" | "shared::cta")
                && rest.iter().all(|r| r.starts_with("L2::"))
                && more.len() <= 1 =>
            {
                let sizes: &[u64] = if *kept == "cg" { &[16] } else { &[4, 8, 16] };
                if !sizes.contains(bytes) {
                    return Err(Refusal::new(
                        i.line,
                        format!("cp.async of {bytes} bytes does not exist"),
                    ));
                }
                let (to, wide_shared, to_offset) = self.address(frame, to)?;
                let (from, wide_global, from_offset) = self.address(frame, from)?;
                let size = match more {
                    [size] => self.source(frame, size, 4)?,
                    _ => self.constant(*bytes, false),
                };
                let (Ok(to_offset), Ok(from_offset)) =
                    (i32::try_from(to_offset), i32::try_from(from_offset))
                else {
                    return Ok(false);
                };
                let op = Op::CopyAsync {
                    bytes: *bytes as u8,
                    wide_global,
                    origin: 0,
                };
                let inst = self.push(i.line, op);
                [inst.d, inst.a, inst.b] = [to, from, size];
                inst.c = wide_shared as u32;
                inst.extra = to_offset as u32 as u64 | (from_offset as u32 as u64) << 32;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
