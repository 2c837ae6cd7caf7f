//! What the threads of a warp or a block do together.
use super::Decoder;
use super::moves::is_predicate;
use super::operands::{Found, Frame};
use crate::code::{Int2, Matrix, Op, Shuffle, TRUE, Vote};
use crate::ptx::{Instruction, Operand, Refusal};

impl Decoder<'_> {
    pub fn warp(&mut self, frame: &Frame, base: &str, m: &[&str], i: &Instruction) -> Found<bool> {
        match base {
            "bar" | "barrier" => self.barrier(frame, m, i),
            "membar" | "fence" => {
                self.push(i.line, Op::Fence);
                Ok(true)
            }
            "shfl" => self.shuffle(frame, m, i),
            "vote" => self.vote(frame, m, i),
            "activemask" => self.plain(frame, i, Op::ActiveMask, 4),
            "redux" => {
                let op = match m {
                    ["sync", "add", _] => Int2::Add,
                    ["sync", "min", "s32"] => Int2::MinS,
                    ["sync", "min", _] => Int2::MinU,
                    ["sync", "max", "s32"] => Int2::MaxS,
                    ["sync", "max", _] => Int2::MaxU,
                    ["sync", "and", _] => Int2::And,
                    ["sync", "or", _] => Int2::Or,
                    ["sync", "xor", _] => Int2::Xor,
                    _ => return Ok(false),
                };
                if !matches!(m[2], "u32" | "s32" | "b32") {
                    return Ok(false);
                }
                self.plain(frame, i, Op::Redux(op), 4)
            }
            "match" if m == ["any", "sync", "b32"] => self.plain(frame, i, Op::MatchAny, 4),
            "ldmatrix" => self.load_matrix(frame, m, i),
            "mma" => self.mma(frame, m, i),
            _ => Ok(false),
        }
    }

    fn barrier(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        let m: Vec<&str> = m
            .iter()
            .copied()
            .filter(|&m| !matches!(m, "cta" | "aligned"))
            .collect();
        match (m.as_slice(), i.operands.as_slice()) {
            (["warp", "sync"], [mask]) => {
                let c = self.source(frame, mask, 4)?;
                self.push(i.line, Op::WarpSync).c = c;
            }
            (["sync"], [Operand::Integer(0)]) => {
                self.push(i.line, Op::Barrier);
            }
            (["sync"], _) => {
                return Err(Refusal::new(
                    i.line,
                    "only barrier 0, of all threads of a block, is supported",
                ));
            }
            (["red", "popc", "u32"], [d, Operand::Integer(0), p]) => {
                let d = self.target(frame, d, 4)?;
                let (slot, negated) = self.predicate(frame, p)?;
                let inst = self.push(i.line, Op::BarrierCount);
                (inst.d, inst.a, inst.extra) = (d, slot, negated as u64);
            }
            (["red", op @ ("and" | "or"), "pred"], [d, Operand::Integer(0), p]) => {
                let vote = if *op == "and" { Vote::All } else { Vote::Any };
                let d = self.predicate_target(frame, d)?;
                let (slot, negated) = self.predicate(frame, p)?;
                let inst = self.push(i.line, Op::BarrierReduce(vote));
                (inst.d, inst.a, inst.extra) = (d, slot, negated as u64);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn shuffle(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        let ["sync", mode, "b32"] = m else {
            return Ok(false);
        };
        let op = match *mode {
            "up" => Shuffle::Up,
            "down" => Shuffle::Down,
            "bfly" => Shuffle::Butterfly,
            "idx" => Shuffle::Index,
            _ => return Ok(false),
        };
        let [d, a, b, c, mask] = i.operands.as_slice() else {
            return Ok(false);
        };
        let (d, p) = match d {
            Operand::Pair(d, p) => (self.target(frame, d, 4)?, self.predicate_target(frame, p)?),
            d => (self.target(frame, d, 4)?, TRUE),
        };
        let rows = [
            self.source(frame, a, 4)?,
            self.source(frame, b, 4)?,
            self.source(frame, mask, 4)?,
        ];
        let clamp = self.source(frame, c, 4)?;
        let inst = self.push(i.line, Op::Shuffle(op));
        inst.d = d;
        [inst.a, inst.b, inst.c] = rows;
        inst.extra = clamp as u64 | (p as u64) << 32;
        Ok(true)
    }

    fn vote(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        let vote = match m {
            ["sync", "all", "pred"] => Vote::All,
            ["sync", "any", "pred"] => Vote::Any,
            ["sync", "uni", "pred"] => Vote::Uniform,
            ["sync", "ballot", "b32"] => Vote::Ballot,
            _ => return Ok(false),
        };
        let [d, p, mask] = i.operands.as_slice() else {
            return Ok(false);
        };
        let d = match vote {
            Vote::Ballot => self.target(frame, d, 4)?,
            _ => self.predicate_target(frame, d)?,
        };
        if !is_predicate(frame, p) && !matches!(p, Operand::Integer(_)) {
            return Ok(false);
        }
        let (slot, negated) = self.predicate(frame, p)?;
        let c = self.source(frame, mask, 4)?;
        let inst = self.push(i.line, Op::Vote(vote));
        [inst.d, inst.a, inst.c] = [d, slot, c];
        inst.extra = negated as u64;
        Ok(true)
    }

    fn load_matrix(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        let (count, transpose) = match m {
            [
                "sync",
                "aligned",
                "m8n8",
                x,
                "shared" | "shared::cta",
                "b16",
            ] => (*x, false),
            [
                "sync",
                "aligned",
                "m8n8",
                x,
                "trans",
                "shared" | "shared::cta",
                "b16",
            ] => (*x, true),
            _ => return Ok(false),
        };
        let count = match count {
            "x1" => 1,
            "x2" => 2,
            "x4" => 4,
            _ => return Ok(false),
        };
        let [d, address] = i.operands.as_slice() else {
            return Ok(false);
        };
        let (list, wide) = self.list(frame, d, 4)?;
        if list.1 != count || wide {
            return Ok(false);
        }
        let (row, wide_address, offset) = self.address(frame, address)?;
        let inst = self.push(
            i.line,
            Op::LoadMatrix {
                count,
                transpose,
                wide_address,
            },
        );
        (inst.a, inst.extra, inst.list) = (row, offset as u64, list);
        Ok(true)
    }

    fn mma(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        let (matrix, sizes) = match m {
            [
                "sync",
                "aligned",
                "m16n8k16",
                "row",
                "col",
                "f32",
                "bf16",
                "bf16",
                "f32",
            ] => (Matrix::Bf16K16, [4, 4, 2, 4]),
            [
                "sync",
                "aligned",
                "m16n8k8",
                "row",
                "col",
                "f32",
                "bf16",
                "bf16",
                "f32",
            ] => (Matrix::Bf16K8, [4, 2, 1, 4]),
            [
                "sync",
                "aligned",
                "m16n8k16",
                "row",
                "col",
                "f32",
                "f16",
                "f16",
                "f32",
            ] => (Matrix::F16K16, [4, 4, 2, 4]),
            [
                "sync",
                "aligned",
                "m16n8k8",
                "row",
                "col",
                "f32",
                "tf32",
                "tf32",
                "f32",
            ] => (Matrix::Tf32K8, [4, 4, 2, 4]),
            [
                "sync",
                "aligned",
                "m16n8k4",
                "row",
                "col",
                "f32",
                "tf32",
                "tf32",
                "f32",
            ] => (Matrix::Tf32K4, [4, 2, 1, 4]),
            _ => return Ok(false),
        };
        if i.operands.len() != 4 {
            return Ok(false);
        }
        let first = self.kernel.lists.len() as u32;
        let mut total = 0;
        for (operand, size) in i.operands.iter().zip(sizes) {
            let (list, wide) = self.list(frame, operand, 4)?;
            if list.1 != size || wide {
                return Err(Refusal::new(
                    i.line,
                    "a fragment has another number of registers",
                ));
            }
            total += size;
        }
        let inst = self.push(i.line, Op::Mma(matrix));
        inst.list = (first, total);
        Ok(true)
    }
}
