//! The lowering of elementwise ops: compositions that stay accurate where the plain formula cancels or overflows.

use super::LowerCtx;
use super::build::Value;
use crate::core::graph::DType;

pub fn neg(c: &mut LowerCtx) -> Value {
    c.b.neg(&c.args[0])
}

pub fn exp(c: &mut LowerCtx) -> Value {
    c.b.exp(&c.args[0])
}

pub fn log(c: &mut LowerCtx) -> Value {
    c.b.log(&c.args[0])
}

pub fn sqrt(c: &mut LowerCtx) -> Value {
    c.b.sqrt(&c.args[0])
}

/// max(x, −x)
pub fn abs(c: &mut LowerCtx) -> Value {
    let minus = c.b.neg(&c.args[0]);
    c.b.maximum(&c.args[0], &minus)
}

/// max(x, 0); NaN stays NaN.
pub fn relu(c: &mut LowerCtx) -> Value {
    let zero = c.b.constant(0.0, &c.ty.shape);
    c.b.maximum(&c.args[0], &zero)
}

/// x/2 · (1 + erf(x/√2))
pub fn gelu(c: &mut LowerCtx) -> Value {
    let scaled = c.b.times(&c.args[0], std::f32::consts::FRAC_1_SQRT_2);
    let erf = c.b.erf(&scaled);
    let sum = c.b.plus(&erf, 1.0);
    let half = c.b.times(&c.args[0], 0.5);
    c.b.mul(&half, &sum)
}

pub fn erf(c: &mut LowerCtx) -> Value {
    c.b.erf(&c.args[0])
}

/// 1 / (1 + e^−x): e^−x may be infinite.
pub fn sigmoid(c: &mut LowerCtx) -> Value {
    let minus = c.b.times(&c.args[0], -std::f32::consts::LOG2_E);
    let power = c.b.exp2(&minus);
    let sum = c.b.plus(&power, 1.0);
    c.b.recip(&sum)
}

/// 2 / (1 + e^−2x) − 1, and its Taylor series to x⁹ where |x| < 1/4.
pub fn tanh(c: &mut LowerCtx) -> Value {
    let x = &c.args[0];
    let minus = c.b.times(x, -2.0 * std::f32::consts::LOG2_E);
    let power = c.b.exp2(&minus);
    let sum = c.b.plus(&power, 1.0);
    let recip = c.b.recip(&sum);
    let twice = c.b.times(&recip, 2.0);
    let far = c.b.plus(&twice, -1.0);
    let square = c.b.mul(x, x);
    let mut series = c.b.constant(62.0 / 2835.0, &c.ty.shape);
    for term in [-17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
        series = c.b.mul(&series, &square);
        series = c.b.plus(&series, term);
    }
    let near = c.b.mul(&series, x);
    let bound = c.b.constant(1.0 / 16.0, &c.ty.shape);
    let small = c.b.less(&square, &bound);
    c.b.select(&small, &near, &far)
}

/// max(x, 0) + log(1 + e^−|x|), where log(1 + u) is u·log(1 + u)/((1 + u) − 1), exact where 1 + u rounds.
pub fn softplus(c: &mut LowerCtx) -> Value {
    let magnitude = abs(c);
    let minus = c.b.neg(&magnitude);
    let u = c.b.exp(&minus);
    let sum = c.b.plus(&u, 1.0);
    let rounded = c.b.plus(&sum, -1.0);
    let log = c.b.log(&sum);
    let product = c.b.mul(&log, &u);
    let exact = c.b.div(&product, &rounded);
    let log1p = c.b.select(&rounded, &exact, &u);
    let positive = relu(c);
    c.b.add2(&positive, &log1p)
}

pub fn sin(c: &mut LowerCtx) -> Value {
    c.b.sin(&c.args[0])
}

/// sin(x + π/2)
pub fn cos(c: &mut LowerCtx) -> Value {
    let shifted = c.b.plus(&c.args[0], std::f32::consts::FRAC_PI_2);
    c.b.sin(&shifted)
}

/// To i32 the fraction is dropped (luminal's remainder has the sign of x); to bool, `x ≠ 0`.
pub fn cast(c: &mut LowerCtx) -> Value {
    let x = &c.args[0];
    match (c.arg_types[0].dtype, c.ty.dtype) {
        (DType::F32 | DType::Bf16, DType::I32) => {
            let one = c.b.constant(1.0, &c.ty.shape);
            let fraction = c.b.rem(x, &one);
            c.b.sub(x, &fraction)
        }
        (DType::F32 | DType::Bf16 | DType::I32, DType::Bool) => {
            let (zero, one) = (
                c.b.constant(0.0, &c.ty.shape),
                c.b.constant(1.0, &c.ty.shape),
            );
            c.b.select(x, &one, &zero)
        }
        (_, DType::F32 | DType::Bf16)
        | (DType::I32 | DType::Bool, DType::I32)
        | (DType::Bool, DType::Bool) => x.clone(),
    }
}

/// The nearest bf16.
pub fn to_bf16(c: &mut LowerCtx) -> Value {
    c.b.to_bf16(&c.args[0])
}

/// The value itself.
pub fn identity(c: &mut LowerCtx) -> Value {
    c.args[0].clone()
}

pub fn add(c: &mut LowerCtx) -> Value {
    c.b.add2(&c.args[0], &c.args[1])
}

pub fn sub(c: &mut LowerCtx) -> Value {
    match c.b.as_constant(&c.args[1]) {
        Some(v) => c.b.plus(&c.args[0], -v),
        None => c.b.sub(&c.args[0], &c.args[1]),
    }
}

pub fn mul(c: &mut LowerCtx) -> Value {
    c.b.mul(&c.args[0], &c.args[1])
}

pub fn div(c: &mut LowerCtx) -> Value {
    match c.b.as_constant(&c.args[1]) {
        Some(v) => c.b.times(&c.args[0], 1.0 / v),
        None => c.b.div(&c.args[0], &c.args[1]),
    }
}

/// Small whole exponents are products; others are C's `powf`.
pub fn pow(c: &mut LowerCtx) -> Value {
    let x = &c.args[0];
    match c.b.as_constant(&c.args[1]) {
        Some(1.0) => x.clone(),
        Some(2.0) => c.b.mul(x, x),
        Some(3.0) => {
            let square = c.b.mul(x, x);
            c.b.mul(&square, x)
        }
        Some(4.0) => {
            let square = c.b.mul(x, x);
            c.b.mul(&square, &square)
        }
        Some(0.5) => c.b.sqrt(x),
        Some(-1.0) => c.b.recip(x),
        Some(-0.5) => {
            let root = c.b.sqrt(x);
            c.b.recip(&root)
        }
        Some(_) | None => c.b.pow(x, &c.args[1]),
    }
}

pub fn maximum(c: &mut LowerCtx) -> Value {
    c.b.maximum(&c.args[0], &c.args[1])
}

/// `b` where b < a, else `a`.
pub fn minimum(c: &mut LowerCtx) -> Value {
    let less = c.b.less(&c.args[1], &c.args[0]);
    c.b.select(&less, &c.args[1], &c.args[0])
}

/// Neither a < b nor b < a.
pub fn eq(c: &mut LowerCtx) -> Value {
    let different = ne(c);
    c.b.not(&different)
}

/// a < b or b < a.
pub fn ne(c: &mut LowerCtx) -> Value {
    let below = c.b.less(&c.args[0], &c.args[1]);
    let above = c.b.less(&c.args[1], &c.args[0]);
    c.b.add2(&below, &above)
}

pub fn lt(c: &mut LowerCtx) -> Value {
    c.b.less(&c.args[0], &c.args[1])
}

pub fn gt(c: &mut LowerCtx) -> Value {
    c.b.less(&c.args[1], &c.args[0])
}

/// Not b < a.
pub fn le(c: &mut LowerCtx) -> Value {
    let above = gt(c);
    c.b.not(&above)
}

/// Not a < b.
pub fn ge(c: &mut LowerCtx) -> Value {
    let below = lt(c);
    c.b.not(&below)
}

pub fn not(c: &mut LowerCtx) -> Value {
    c.b.not(&c.args[0])
}

pub fn and(c: &mut LowerCtx) -> Value {
    c.b.mul(&c.args[0], &c.args[1])
}

/// 1 where the first mask holds, else the second mask.
pub fn or(c: &mut LowerCtx) -> Value {
    let one = c.b.constant(1.0, &c.ty.shape);
    c.b.select(&c.args[0], &one, &c.args[1])
}

pub fn select(c: &mut LowerCtx) -> Value {
    c.b.select(&c.args[0], &c.args[1], &c.args[2])
}
