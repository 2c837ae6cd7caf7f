//! Arithmetic on floats. Approximate instructions are computed as well as the host's library does: their last bits are not a
//! device's.
use crate::code::{Compare, Float1, Float2, Mode, Round};

#[inline(always)]
pub fn flush(value: f32, on: bool) -> f32 {
    if on && value.is_subnormal() {
        0f32.copysign(value)
    } else {
        value
    }
}

/// NaN as a device makes it.
#[inline(always)]
fn canonical(value: f32) -> f32 {
    if value.is_nan() {
        f32::from_bits(0x7fff_ffff)
    } else {
        value
    }
}

#[inline(always)]
pub fn two32(op: Float2, a: f32, b: f32) -> f32 {
    match op {
        Float2::Add => canonical(a + b),
        Float2::Sub => canonical(a - b),
        Float2::Mul => canonical(a * b),
        Float2::Div => canonical(a / b),
        Float2::Min => canonical(least(a, b)),
        Float2::Max => canonical(-least(-a, -b)),
        Float2::MinNan => {
            if a.is_nan() || b.is_nan() {
                canonical(f32::NAN)
            } else {
                least(a, b)
            }
        }
        Float2::MaxNan => {
            if a.is_nan() || b.is_nan() {
                canonical(f32::NAN)
            } else {
                -least(-a, -b)
            }
        }
        Float2::CopySign => b.copysign(a),
    }
}

/// The lesser, where -0 is less than 0 and what is not a number is left out.
#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    let less = a < b || a == b && a.is_sign_negative() || b.is_nan();
    if less { a } else { b }
}

#[inline(always)]
pub fn two64(op: Float2, a: f64, b: f64) -> f64 {
    match op {
        Float2::Add => a + b,
        Float2::Sub => a - b,
        Float2::Mul => a * b,
        Float2::Div => a / b,
        Float2::Min => a.min(b),
        Float2::Max => a.max(b),
        Float2::MinNan => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.min(b)
            }
        }
        Float2::MaxNan => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.max(b)
            }
        }
        Float2::CopySign => b.copysign(a),
    }
}

/// Rounds `value + error` to f32, where `error` is what was lost in rounding `value` to f64.
pub fn round(value: f64, error: f64, round: Round) -> f32 {
    let near = value as f32;
    if near.is_nan() || value.is_infinite() {
        return near;
    }
    let over = (near as f64 - value) - error;
    match round {
        Round::Nearest => near,
        Round::Down if over > 0.0 => near.next_down(),
        Round::Up if over < 0.0 => near.next_up(),
        Round::Zero if near > 0.0 && over > 0.0 => near.next_down(),
        Round::Zero if near < 0.0 && over < 0.0 => near.next_up(),
        _ => near,
    }
}

/// The rounded sum in f64 and what it lost.
fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let back = sum - a;
    let error = (a - (sum - back)) + (b - back);
    (sum, if error.is_finite() { error } else { 0.0 })
}

fn finish(value: f32, mode: Mode) -> f32 {
    let value = flush(canonical(value), mode.flush);
    match mode.saturate {
        true if value.is_nan() => 0.0,
        true => value.clamp(0.0, 1.0) + 0.0,
        false => value,
    }
}

pub fn two32_slow(op: Float2, mode: Mode, a: f32, b: f32) -> f32 {
    let (a, b) = (flush(a, mode.flush), flush(b, mode.flush));
    if mode.round == Round::Nearest {
        return finish(two32(op, a, b), mode);
    }
    let (value, error) = match op {
        Float2::Add => exact_sum(a as f64, b as f64),
        Float2::Sub => exact_sum(a as f64, -b as f64),
        Float2::Mul => (a as f64 * b as f64, 0.0),
        Float2::Div => {
            let quotient = a as f64 / b as f64;
            let rest = (-quotient).mul_add(b as f64, a as f64) / b as f64;
            (quotient, if rest.is_finite() { rest } else { 0.0 })
        }
        _ => return finish(two32(op, a, b), mode),
    };
    finish(round(value, error, mode.round), mode)
}

pub fn fma_slow(mode: Mode, a: f32, b: f32, c: f32) -> f32 {
    let (a, b, c) = (
        flush(a, mode.flush),
        flush(b, mode.flush),
        flush(c, mode.flush),
    );
    if mode.round == Round::Nearest {
        return finish(a.mul_add(b, c), mode);
    }
    let (value, error) = exact_sum(a as f64 * b as f64, c as f64);
    finish(round(value, error, mode.round), mode)
}

pub fn one32(op: Float1, mode: Mode, a: f32) -> f32 {
    let a = flush(a, mode.flush);
    let value = match op {
        Float1::Abs => return flush(a.abs(), mode.flush),
        Float1::Neg => return -a,
        Float1::Sqrt => a.sqrt(),
        Float1::Rcp => 1.0 / a,
        Float1::Rsqrt => (1.0 / (a as f64).sqrt()) as f32,
        Float1::Exp2 => a.exp2(),
        Float1::Log2 => a.log2(),
        Float1::Sin => (a as f64).sin() as f32,
        Float1::Cos => (a as f64).cos() as f32,
        Float1::Tanh => a.tanh(),
    };
    finish(value, mode)
}

pub fn one64(op: Float1, a: f64) -> f64 {
    match op {
        Float1::Abs => a.abs(),
        Float1::Neg => -a,
        Float1::Sqrt => a.sqrt(),
        Float1::Rcp => 1.0 / a,
        Float1::Rsqrt => 1.0 / a.sqrt(),
        Float1::Exp2 => a.exp2(),
        Float1::Log2 => a.log2(),
        Float1::Sin => a.sin(),
        Float1::Cos => a.cos(),
        Float1::Tanh => a.tanh(),
    }
}

#[inline(always)]
pub fn compare<T: PartialOrd + Copy>(op: Compare, a: T, b: T) -> bool {
    let ordered = a.partial_cmp(&b).is_some();
    match op {
        Compare::Eq => a == b,
        Compare::Ne => a != b && ordered,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
        Compare::EqU => a == b || !ordered,
        Compare::NeU => a != b,
        Compare::LtU => a < b || !ordered,
        Compare::LeU => a <= b || !ordered,
        Compare::GtU => a > b || !ordered,
        Compare::GeU => a >= b || !ordered,
        Compare::Num => ordered,
        Compare::Nan => !ordered,
    }
}

/// bf16 to f32.
#[inline(always)]
pub fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// f32 to bf16, to the nearest, ties to even.
#[inline(always)]
pub fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return 0x7fff;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// f16 to f32.
pub fn widen_f16(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (
        (bits as u32 & 0x8000) << 16,
        bits >> 10 & 31,
        bits as u32 & 1023,
    );
    let magnitude = match exponent {
        0 => fraction as f32 * 2f32.powi(-24),
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((exponent as u32 + 112) << 23 | fraction << 13),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// f32 to f16, to the nearest, ties to even.
pub fn f16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16 & 0x8000) as u16;
    let size = value.abs();
    if size.is_nan() {
        return 0x7fff;
    }
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    if size < 2f32.powi(-14) {
        return sign | (size * 2f32.powi(24)).round_ties_even() as u16;
    }
    let bits = size.to_bits();
    sign | ((bits - (112 << 23) + 0xfff + (bits >> 13 & 1)) >> 13) as u16
}

/// f32 to tf32: 10 bits of fraction, ties away from zero.
#[inline(always)]
pub fn tf32(bits: u32) -> u32 {
    if bits & 0x7f80_0000 == 0x7f80_0000 {
        return bits;
    }
    (bits + 0x1000) & !0x1fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directed_rounding_goes_its_way() {
        let down = Mode {
            round: Round::Down,
            ..Mode::PLAIN
        };
        let up = Mode {
            round: Round::Up,
            ..Mode::PLAIN
        };
        let tiny = 2f32.powi(-60);
        assert_eq!(two32_slow(Float2::Add, down, 1.0, tiny), 1.0);
        assert_eq!(two32_slow(Float2::Add, up, 1.0, tiny), 1f32.next_up());
        assert_eq!(two32_slow(Float2::Sub, down, 1.0, tiny), 1f32.next_down());
        assert_eq!(fma_slow(down, 3.0, 5.0, -tiny), 15f32.next_down());
    }

    #[test]
    fn halves_round_to_even() {
        assert_eq!(bf16(1.0), 0x3f80);
        assert_eq!(bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        for bits in 0..0x7c00u16 {
            assert_eq!(f16(widen_f16(bits)), bits);
        }
    }

    #[test]
    fn what_is_not_a_number_compares_as_it_is_asked() {
        assert!(!compare(Compare::Ne, f32::NAN, 1.0) && compare(Compare::NeU, f32::NAN, 1.0));
        assert!(compare(Compare::LtU, f32::NAN, 1.0) && !compare(Compare::Lt, f32::NAN, 1.0));
        assert_eq!(two32(Float2::Max, f32::NAN, 1.0), 1.0);
    }
}
