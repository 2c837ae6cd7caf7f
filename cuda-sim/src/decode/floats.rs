//! Arithmetic on floats.
use super::Decoder;
use super::operands::{Found, Frame};
use crate::code::{Float1, Float2, Mode, Op, Round, Type};
use crate::ptx::Instruction;

/// Modifiers of an operation on floats, without the type; none where one is not known.
fn mode(modifiers: &[&str]) -> Option<Mode> {
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

impl Decoder<'_> {
    pub fn floats(
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
        // The only approximate operations on f64, which code for exact ones begins with.
        let start = matches!(base, "rcp" | "rsqrt") && before == ["approx", "ftz"];
        if !single && (kind != Type::F64 || mode != Mode::PLAIN && !start) {
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
    pub fn half(
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
}
