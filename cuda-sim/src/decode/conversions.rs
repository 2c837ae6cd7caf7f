//! `cvt`, `cvta` and `isspacep`.
use super::Decoder;
use super::operands::{Found, Frame, kind};
use crate::code::{Convert, LOCAL_WINDOW, Op, Round, SHARED_WINDOW, Type};
use crate::ptx::{Instruction, Space};

impl Decoder<'_> {
    pub fn conversion(
        &mut self,
        frame: &Frame,
        base: &str,
        m: &[&str],
        i: &Instruction,
    ) -> Found<bool> {
        match base {
            "cvt" => self.cvt(frame, m, i),
            "cvta" => {
                let (to, rest) = match m {
                    ["to", rest @ ..] => (true, rest),
                    rest => (false, rest),
                };
                let (space, bytes) = match rest {
                    [space, "u64"] => (*space, 8),
                    [space, "u32"] if *space == "shared" => (*space, 4),
                    _ => return Ok(false),
                };
                if bytes == 4 {
                    return Ok(false);
                }
                let op = match (space, to) {
                    ("global" | "const", _) => Op::Mov64,
                    ("shared", true) => Op::FromGeneric(SHARED_WINDOW),
                    ("shared", false) => Op::ToGeneric(SHARED_WINDOW),
                    ("local", true) => Op::FromGeneric(LOCAL_WINDOW),
                    ("local", false) => Op::ToGeneric(LOCAL_WINDOW),
                    _ => return Ok(false),
                };
                self.plain(frame, i, op, 8)
            }
            "isspacep" => {
                let ([space], [p, a]) = (m, i.operands.as_slice()) else {
                    return Ok(false);
                };
                let space = match *space {
                    "global" => Space::Global,
                    "shared" => Space::Shared,
                    "local" => Space::Local,
                    _ => return Ok(false),
                };
                let (d, a) = (self.predicate_target(frame, p)?, self.source(frame, a, 8)?);
                let inst = self.push(i.line, Op::IsSpace(space));
                (inst.d, inst.a) = (d, a);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn cvt(&mut self, frame: &Frame, m: &[&str], i: &Instruction) -> Found<bool> {
        match m {
            ["rn", "bf16x2", "f32"] => {
                return self.plain(frame, i, Op::PairBf16 { relu: false }, 4);
            }
            ["rn", "relu", "bf16x2", "f32"] => {
                return self.plain(frame, i, Op::PairBf16 { relu: true }, 4);
            }
            ["rn", "f16x2", "f32"] => return self.plain(frame, i, Op::PairF16, 4),
            ["rna", "tf32", "f32"] => return self.plain(frame, i, Op::Tf32, 4),
            _ => {}
        }
        let [before @ .., to, from] = m else {
            return Ok(false);
        };
        let (Some(to), Some(from)) = (kind(to), kind(from)) else {
            return Ok(false);
        };
        let ([d, a], mut convert) = (
            i.operands.as_slice(),
            Convert {
                from,
                to,
                whole: false,
                round: Round::Nearest,
                flush: false,
                saturate: false,
                wide_from: false,
                wide_to: false,
            },
        ) else {
            return Ok(false);
        };
        let mut rounded = false;
        for modifier in before {
            let (round, whole) = match *modifier {
                "rn" => (Round::Nearest, false),
                "rz" => (Round::Zero, false),
                "rm" => (Round::Down, false),
                "rp" => (Round::Up, false),
                "rni" => (Round::Nearest, true),
                "rzi" => (Round::Zero, true),
                "rmi" => (Round::Down, true),
                "rpi" => (Round::Up, true),
                "ftz" => {
                    convert.flush = true;
                    continue;
                }
                "sat" => {
                    convert.saturate = true;
                    continue;
                }
                _ => return Ok(false),
            };
            (convert.round, convert.whole, rounded) = (round, whole, true);
        }
        // A float made whole says how; a float made narrower or from an integer says how too.
        let narrows = to.float() && (!from.float() || to.bytes() < from.bytes());
        let made_whole = from.float() && !to.float();
        if (narrows || made_whole) && !rounded || made_whole && !convert.whole {
            return Ok(false);
        }
        if to.float() && !from.float() && convert.whole {
            return Ok(false);
        }
        // Directed rounding to a float is done through f64, which is exact for these.
        let narrow = matches!(to, Type::F16 | Type::BF16) || to == Type::F64;
        if convert.round != Round::Nearest && narrow && !convert.whole {
            return Ok(false);
        }
        let (a, wide_from) = self.any(frame, a, from.bytes())?;
        let (d, wide_to) = self.any(frame, d, to.bytes())?;
        (convert.wide_from, convert.wide_to) = (wide_from, wide_to);
        if from.bytes() == 8 && !wide_from || to.bytes() == 8 && !wide_to {
            return Ok(false);
        }
        let inst = self.push(i.line, Op::Convert(convert));
        (inst.d, inst.a) = (d, a);
        Ok(true)
    }
}
