//! `cvt`: a value of one type as the nearest of another.
use super::float::{bf16, f16, flush, round, widen_bf16, widen_f16};
use crate::code::{Convert, Round, Type};

/// A number on its way.
#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Float(f64),
}

/// Converts the low bits of a register. The result fills the type's bits, sign-extended to a wider register.
pub fn convert(c: &Convert, bits: u64) -> u64 {
    let number = match c.from {
        Type::U8 => Number::Whole(bits as u8 as i128),
        Type::S8 => Number::Whole(bits as i8 as i128),
        Type::U16 => Number::Whole(bits as u16 as i128),
        Type::S16 => Number::Whole(bits as i16 as i128),
        Type::U32 => Number::Whole(bits as u32 as i128),
        Type::S32 => Number::Whole(bits as i32 as i128),
        Type::U64 => Number::Whole(bits as i128),
        Type::S64 => Number::Whole(bits as i64 as i128),
        Type::F16 => Number::Float(widen_f16(bits as u16) as f64),
        Type::BF16 => Number::Float(widen_bf16(bits as u16) as f64),
        Type::F32 => Number::Float(flush(f32::from_bits(bits as u32), c.flush) as f64),
        Type::F64 => Number::Float(f64::from_bits(bits)),
    };
    let number = match number {
        Number::Float(value) if c.whole => Number::Float(whole(value, c.round)),
        other => other,
    };
    if c.to.float() {
        return to_float(c, number);
    }
    let value = match number {
        Number::Float(value) => {
            // Out of range goes to the nearest end, NaN to 0.
            let (low, high) = range(c.to);
            if value.is_nan() {
                0
            } else {
                (value as i128).clamp(low, high)
            }
        }
        Number::Whole(value) if c.saturate => {
            let (low, high) = range(c.to);
            value.clamp(low, high)
        }
        Number::Whole(value) => value,
    };
    extend(c.to, c.wide_to, value as u64)
}

fn extend(to: Type, wide: bool, value: u64) -> u64 {
    let extended = match to {
        Type::U8 => value as u8 as u64,
        Type::S8 => value as i8 as i64 as u64,
        Type::U16 => value as u16 as u64,
        Type::S16 => value as i16 as i64 as u64,
        Type::U32 => value as u32 as u64,
        Type::S32 => value as i32 as i64 as u64,
        _ => value,
    };
    if wide {
        extended
    } else {
        extended & 0xffff_ffff
    }
}

fn whole(value: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => value.round_ties_even(),
        Round::Zero => value.trunc(),
        Round::Down => value.floor(),
        Round::Up => value.ceil(),
    }
}

fn range(to: Type) -> (i128, i128) {
    let bits = to.bytes() * 8;
    if to.signed() {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

fn to_float(c: &Convert, number: Number) -> u64 {
    let (value, error) = match number {
        Number::Float(value) => (value, 0.0),
        Number::Whole(value) => {
            let near = value as f64;
            (near, (value - near as i128) as f64)
        }
    };
    if c.to == Type::F64 {
        return value.to_bits();
    }
    let mut single = match (number, c.round) {
        // One rounding, not two.
        (Number::Whole(whole), Round::Nearest) => whole as f32,
        _ => round(value, error, c.round),
    };
    if single.is_nan() {
        single = f32::from_bits(0x7fff_ffff);
    }
    single = flush(single, c.flush);
    if c.saturate {
        single = if single.is_nan() {
            0.0
        } else {
            single.clamp(0.0, 1.0) + 0.0
        };
    }
    match c.to {
        Type::F16 => f16(single) as u64,
        Type::BF16 => bf16(single) as u64,
        _ => single.to_bits() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion(from: Type, to: Type, whole: bool, round: Round) -> Convert {
        Convert {
            from,
            to,
            whole,
            round,
            flush: false,
            saturate: false,
            wide_from: false,
            wide_to: to.bytes() == 8,
        }
    }

    #[test]
    fn floats_become_whole_numbers_at_the_ends_of_the_range() {
        let c = conversion(Type::F32, Type::S32, true, Round::Zero);
        assert_eq!(convert(&c, (-1.5f32).to_bits() as u64) as u32 as i32, -1);
        assert_eq!(
            convert(&c, 1e20f32.to_bits() as u64) as u32 as i32,
            i32::MAX
        );
        assert_eq!(convert(&c, f32::NAN.to_bits() as u64), 0);
    }

    #[test]
    fn whole_numbers_are_rounded_once() {
        let c = conversion(Type::U64, Type::F32, false, Round::Nearest);
        assert_eq!(
            f32::from_bits(convert(&c, 0x0100_0001_0000_0001) as u32),
            0x0100_0002_0000_0000u64 as f32
        );
    }

    #[test]
    fn signs_reach_a_wider_register() {
        let c = conversion(Type::S32, Type::S64, false, Round::Nearest);
        assert_eq!(convert(&c, 0xffff_fffe) as i64, -2);
    }
}
