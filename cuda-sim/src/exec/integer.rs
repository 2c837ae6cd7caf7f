//! Arithmetic on whole numbers, as PTX defines it.
use crate::code::{Count, Int1, Int2, Int3, Shift};

macro_rules! integers {
    ($two:ident, $one:ident, $three:ident, $u:ty, $s:ty, $double:ty, $signed:ty) => {
        #[inline(always)]
        pub fn $two(op: Int2, a: $u, b: $u, shift: u32) -> $u {
            const BITS: u32 = <$u>::BITS;
            match op {
                Int2::Add => a.wrapping_add(b),
                Int2::Sub => a.wrapping_sub(b),
                Int2::Mul => a.wrapping_mul(b),
                Int2::MulHighU => ((a as $double * b as $double) >> BITS) as $u,
                Int2::MulHighS => ((a as $s as $signed * b as $s as $signed) >> BITS) as $u,
                Int2::DivU => a.checked_div(b).unwrap_or(<$u>::MAX),
                Int2::DivS => {
                    if b == 0 {
                        <$u>::MAX
                    } else {
                        (a as $s).wrapping_div(b as $s) as $u
                    }
                }
                Int2::RemU => a.checked_rem(b).unwrap_or(a),
                Int2::RemS => {
                    if b == 0 {
                        a
                    } else {
                        (a as $s).wrapping_rem(b as $s) as $u
                    }
                }
                Int2::And => a & b,
                Int2::Or => a | b,
                Int2::Xor => a ^ b,
                Int2::Shl => {
                    if shift >= BITS {
                        0
                    } else {
                        a << shift
                    }
                }
                Int2::ShrU => {
                    if shift >= BITS {
                        0
                    } else {
                        a >> shift
                    }
                }
                Int2::ShrS => ((a as $s) >> shift.min(BITS - 1)) as $u,
                Int2::MinU => a.min(b),
                Int2::MinS => (a as $s).min(b as $s) as $u,
                Int2::MaxU => a.max(b),
                Int2::MaxS => (a as $s).max(b as $s) as $u,
            }
        }

        #[inline(always)]
        pub fn $one(op: Int1, a: $u) -> $u {
            match op {
                Int1::Not => !a,
                Int1::Neg => a.wrapping_neg(),
                Int1::Abs => (a as $s).wrapping_abs() as $u,
                Int1::Brev => a.reverse_bits(),
                Int1::Cnot => (a == 0) as $u,
            }
        }

        #[inline(always)]
        pub fn $three(op: Int3, a: $u, b: $u, c: $u, b_low: u32, c_low: u32) -> $u {
            const BITS: u32 = <$u>::BITS;
            match op {
                Int3::Mad => a.wrapping_mul(b).wrapping_add(c),
                Int3::MadHighU => $two(Int2::MulHighU, a, b, 0).wrapping_add(c),
                Int3::MadHighS => $two(Int2::MulHighS, a, b, 0).wrapping_add(c),
                Int3::SadU => a.abs_diff(b).wrapping_add(c),
                Int3::SadS => (a as $s).abs_diff(b as $s).wrapping_add(c),
                Int3::Dot2Low | Int3::Dot2High => {
                    let (a, b) = (
                        a as u64,
                        b as u64 >> if op == Int3::Dot2High { 16 } else { 0 },
                    );
                    let low = (a & 0xffff) * (b & 0xff);
                    let high = (a >> 16 & 0xffff) * (b >> 8 & 0xff);
                    ((low + high) as $u).wrapping_add(c)
                }
                Int3::BfeU | Int3::BfeS => {
                    let (position, length) = (b_low & 0xff, (c_low & 0xff).min(BITS));
                    if length == 0 {
                        return 0;
                    }
                    let signed = op == Int3::BfeS;
                    let shifted = match (position < BITS, signed) {
                        (true, true) => ((a as $s) >> position) as $u,
                        (true, false) => a >> position,
                        (false, true) => ((a as $s) >> (BITS - 1)) as $u,
                        (false, false) => 0,
                    };
                    let spare = BITS - length;
                    if signed {
                        (((shifted << spare) as $s) >> spare) as $u
                    } else {
                        shifted << spare >> spare
                    }
                }
            }
        }
    };
}

macro_rules! counts {
    ($count:ident, $insert:ident, $u:ty, $s:ty) => {
        #[inline(always)]
        pub fn $count(op: Count, a: $u) -> u32 {
            match op {
                Count::Popc => a.count_ones(),
                Count::Clz => a.leading_zeros(),
                Count::FindU => a.checked_ilog2().unwrap_or(u32::MAX),
                Count::FindS => $count(Count::FindU, if (a as $s) < 0 { !a } else { a }),
                Count::ShiftU => {
                    if a == 0 {
                        u32::MAX
                    } else {
                        a.leading_zeros()
                    }
                }
                Count::ShiftS => $count(Count::ShiftU, if (a as $s) < 0 { !a } else { a }),
            }
        }

        /// `bfi`: the lowest bits of `a` in place of those of `b`.
        #[inline(always)]
        pub fn $insert(a: $u, b: $u, position: u32, length: u32) -> $u {
            const BITS: u32 = <$u>::BITS;
            let (position, length) = (position & 0xff, length & 0xff);
            if length == 0 || position >= BITS {
                return b;
            }
            let ones = if length >= BITS {
                <$u>::MAX
            } else {
                (1 << length) - 1
            };
            b & !(ones << position) | (a & ones) << position
        }
    };
}

integers!(two16, one16, three16, u16, i16, u32, i32);
integers!(two32, one32, three32, u32, i32, u64, i64);
integers!(two64, one64, three64, u64, i64, u128, i128);
counts!(count32, insert32, u32, i32);
counts!(count64, insert64, u64, i64);

#[inline(always)]
pub fn lop3(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        if table >> row & 1 == 1 {
            let pick = |value: u32, bit: u32| if row >> bit & 1 == 1 { value } else { !value };
            result |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    result
}

#[inline(always)]
pub fn prmt(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = a as u64 | (b as u64) << 32;
    let mut result = 0;
    for at in 0..4 {
        let select = selector >> (4 * at) & 15;
        let mut byte = (bytes >> (8 * (select & 7))) as u8;
        if select & 8 != 0 {
            byte = ((byte as i8) >> 7) as u8;
        }
        result |= (byte as u32) << (8 * at);
    }
    result
}

#[inline(always)]
pub fn funnel(op: Shift, a: u32, b: u32, c: u32) -> u32 {
    let both = (b as u64) << 32 | a as u64;
    let by = match op {
        Shift::LeftWrap | Shift::RightWrap => c & 31,
        Shift::LeftClamp | Shift::RightClamp => c.min(32),
    };
    match op {
        Shift::LeftWrap | Shift::LeftClamp => ((both << by) >> 32) as u32,
        Shift::RightWrap | Shift::RightClamp => (both >> by) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutes_bytes_and_signs() {
        assert_eq!(prmt(0x3322_1100, 0x7766_5544, 0x5410), 0x5544_1100);
        assert_eq!(prmt(0x0000_0080, 0, 0x8888), 0xffff_ffff);
    }

    #[test]
    fn lookup_tables_are_logic() {
        assert_eq!(lop3(0b1100, 0b1010, 0b1111_0000, 0xc0), 0b1000);
        assert_eq!(lop3(1, 2, 4, 0xfe), 7);
    }

    #[test]
    fn fields_of_bits_come_out_with_their_sign() {
        let dot = |op| three32(op, 0x0003_0002, 0x0706_0504, 1, 0, 0);
        assert_eq!(dot(Int3::Dot2Low), 2 * 4 + 3 * 5 + 1);
        assert_eq!(dot(Int3::Dot2High), 2 * 6 + 3 * 7 + 1);
        assert_eq!(three32(Int3::BfeU, 0xabcd_1234, 0, 0, 8, 8), 0x12);
        assert_eq!(three32(Int3::BfeS, 0x0000_f000, 0, 0, 12, 4), 0xffff_ffff);
        assert_eq!(insert32(0xff, 0, 4, 4), 0xf0);
    }

    #[test]
    fn shifts_by_a_register_or_more_are_defined() {
        assert_eq!(two32(Int2::Shl, 1, 0, 32), 0);
        assert_eq!(two32(Int2::ShrS, 0x8000_0000, 0, 99), u32::MAX);
        assert_eq!(funnel(Shift::LeftWrap, 0x8000_0000, 1, 1), 3);
    }
}
