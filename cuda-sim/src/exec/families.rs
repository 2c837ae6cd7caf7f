//! Families of operations: each member in a loop of its own, so that each is a vector loop.
use super::access::Lanes;
use super::block::Block;
use super::convert::convert;
use super::float;
use super::integer::{two32, two64};
use super::warp::Warp;
use crate::code::{Compare, Convert, Float2, Inst, Int2, Logic, Mode, Type};

#[inline(always)]
pub fn canonical(value: f32) -> u32 {
    if value.is_nan() {
        0x7fff_ffff
    } else {
        value.to_bits()
    }
}

/// `product + c`, rounded to f32 in a way that another rounding to fewer bits is as if it were the only one.
pub fn odd(product: f64, c: f64) -> f32 {
    let sum = product + c;
    let back = sum - product;
    let error = (product - (sum - back)) + (c - back);
    let low = float::round(
        sum,
        if error.is_finite() { error } else { 0.0 },
        crate::code::Round::Zero,
    );
    let exact = low as f64 == sum && error == 0.0;
    if exact || !low.is_finite() {
        low
    } else {
        f32::from_bits(low.to_bits() | 1)
    }
}

#[inline(always)]
pub fn halves(one: impl Fn(u32) -> u16) -> u32 {
    one(0) as u32 | (one(16) as u32) << 16
}

#[inline(always)]
pub fn combine(logic: Logic, a: u32, b: u32) -> u32 {
    match logic {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

#[inline(always)]
pub fn decide(w: &mut Warp, i: &Inst, lanes: u32, found: u32) {
    w.decide(i.d, lanes, found);
    w.decide(i.c, lanes, !found);
}

#[inline(always)]
pub fn select32(w: &mut Warp, b: &Block, i: &Inst, chosen: u32) {
    let mut lane_is = [0u32; 32];
    for (lane, is) in lane_is.iter_mut().enumerate() {
        *is = (chosen >> lane & 1).wrapping_neg();
    }
    let k = b.launch.kernel;
    // SAFETY: rows of 32 values.
    let (x, y) = unsafe {
        (
            *w.row(k, i.a).cast::<[u32; 32]>(),
            *w.row(k, i.b).cast::<[u32; 32]>(),
        )
    };
    let d = w.row_mut(i.d);
    for lane in 0..32 {
        let mask = w.mask32.0[lane];
        let value = x[lane] & lane_is[lane] | y[lane] & !lane_is[lane];
        // SAFETY: `d` is a row of 32 values.
        unsafe { *d.add(lane) = value & mask | *d.add(lane) & !mask };
    }
}

/// One loop for each operation, so that each is a vector loop.
macro_rules! one_loop_each {
    ($op:expr, $kind:ident: $($name:ident)*, |$bind:ident| $body:expr) => {
        match $op {
            $($kind::$name => {
                let $bind = $kind::$name;
                $body
            })*
        }
    };
}

#[inline(always)]
pub fn integer32(w: &mut Warp, b: &Block, rows: [u32; 4], op: Int2) {
    one_loop_each!(op, Int2: Add Sub Mul MulHighU MulHighS DivU DivS RemU RemS And Or Xor Shl ShrU ShrS MinU MinS MaxU MaxS,
        |op| w.map(b, rows, |x, y, _| two32(op, x, y, y)));
}

#[inline(always)]
pub fn integer64(w: &mut Warp, b: &Block, rows: [u32; 4], op: Int2) {
    match op {
        Int2::Shl | Int2::ShrU | Int2::ShrS => {
            let k = b.launch.kernel;
            // SAFETY: the amount is a row of 32 bits.
            let amounts = unsafe { *w.row(k, rows[2]).cast::<[u32; 32]>() };
            for lane in Lanes(w.masked) {
                let value = two64(op, w.get64(k, rows[1], lane), 0, amounts[lane as usize]);
                w.set64(rows[0], lane, value);
            }
        }
        _ => {
            one_loop_each!(op, Int2: Add Sub Mul MulHighU MulHighS DivU DivS RemU RemS And Or Xor Shl ShrU ShrS MinU MinS MaxU MaxS,
            |op| w.map64(b, rows, |x, y, _| two64(op, x, y, y as u32)))
        }
    }
}

#[inline(always)]
pub fn float32(w: &mut Warp, b: &Block, rows: [u32; 4], op: Float2) {
    one_loop_each!(op, Float2: Add Sub Mul Div Min Max MinNan MaxNan CopySign,
        |op| w.map(b, rows, |x, y, _| float::two32(op, f32::from_bits(x), f32::from_bits(y)).to_bits()));
}

#[inline(always)]
pub fn set32(w: &Warp, b: &Block, i: &Inst, compare: Compare, signed: bool) -> u32 {
    macro_rules! each {
        ($($name:ident)*) => {
            match (compare, signed) {
                $(
                    (Compare::$name, true) => {
                        w.test(b, i.a, i.b, |x, y| float::compare(Compare::$name, x as i32, y as i32))
                    }
                    (Compare::$name, false) => w.test(b, i.a, i.b, |x, y| float::compare(Compare::$name, x, y)),
                )*
                // Decoding lets only the above through.
                _ => 0,
            }
        };
    }
    each!(Eq Ne Lt Le Gt Ge)
}

#[inline(always)]
pub fn conversion(w: &mut Warp, b: &Block, i: &Inst, c: &Convert, lanes: u32) {
    let rows = [i.d, i.a, i.b, i.c];
    let plain = !c.saturate && !c.flush;
    match (c.from, c.to, c.wide_from, c.wide_to) {
        (Type::S32, Type::S64 | Type::U64, false, true) => {
            w.widen(b, [i.d, i.a, i.a, i.d], |x, _, _| x as i32 as i64 as u64)
        }
        (Type::U32, Type::S64 | Type::U64, false, true) => {
            w.widen(b, [i.d, i.a, i.a, i.d], |x, _, _| x as u64)
        }
        (Type::U64 | Type::S64, Type::U32 | Type::S32, true, false) if plain => {
            w.narrow(b, i.d, i.a, |x| x as u32)
        }
        (Type::S32, Type::F32, false, false) if plain && c.round == Mode::PLAIN.round => {
            w.map(b, rows, |x, _, _| (x as i32 as f32).to_bits())
        }
        (Type::U32, Type::F32, false, false) if plain && c.round == Mode::PLAIN.round => {
            w.map(b, rows, |x, _, _| (x as f32).to_bits())
        }
        (Type::F32, Type::BF16, false, false) if plain && c.round == Mode::PLAIN.round => {
            w.map(b, rows, |x, _, _| float::bf16(f32::from_bits(x)) as u32)
        }
        (Type::U16, Type::U32 | Type::S32, false, false) if plain => {
            w.map(b, rows, |x, _, _| x & 0xffff)
        }
        _ => {
            let k = b.launch.kernel;
            for lane in Lanes(lanes) {
                let value = convert(c, w.get(k, i.a, lane, c.wide_from));
                w.set(i.d, lane, c.wide_to, value);
            }
        }
    }
}
