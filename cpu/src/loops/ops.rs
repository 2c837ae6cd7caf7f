//! The instruction loops of the block machine: one tight loop per operation and kind of operand.
//!
//! Each takes pointers to blocks of `n` elements; a scalar operand is a pointer to one. A result may stand where an
//! operand stood, but blocks never overlap otherwise.

use crate::level::{Level, leveled};
use crate::math;
use sslc_compiler::core::bf16;
use sslc_compiler::kernels::ir::{Binary, Unary};

/// `dst[i] = op(a[i])`: (dst, a, n).
pub type UnaryLoop = unsafe fn(*mut f32, *const f32, usize);
/// `dst[i] = a[i] op b[i]`: (dst, a, b, n).
pub type BinaryLoop = unsafe fn(*mut f32, *const f32, *const f32, usize);
/// `dst[i]` of three operands: (dst, a, b, c, n).
pub type TernaryLoop = unsafe fn(*mut f32, *const f32, *const f32, *const f32, usize);

macro_rules! unary {
    ($name:ident, $x:ident => $e:expr) => {
        leveled! {
            fn $name(dst: *mut f32, a: *const f32, n: usize) {
                for i in 0..n {
                    let $x = *a.add(i);
                    *dst.add(i) = $e;
                }
            }
        }
    };
}

unary!(log2_loop, x => math::log2(x));
unary!(exp2_loop, x => math::exp2(x));
unary!(sqrt_loop, x => x.sqrt());
unary!(recip_loop, x => 1.0 / x);
unary!(erf_loop, x => math::erf(x));
unary!(bf16_loop, x => bf16::round(x));

/// `dst[i] = a[i]`, wider: (dst, a, n).
pub type WidenLoop = unsafe fn(*mut f32, *const u16, usize);
/// `dst[i] = a[i]`, rounded: (dst, a, n).
pub type NarrowLoop = unsafe fn(*mut u16, *const f32, usize);

leveled! {
    /// bf16 elements as f32.
    pub fn widen_loop(dst: *mut f32, a: *const u16, n: usize) {
        for i in 0..n {
            *dst.add(i) = bf16::widen(*a.add(i));
        }
    }
}

leveled! {
    /// f32 elements rounded to bf16.
    pub fn narrow_loop(dst: *mut u16, a: *const f32, n: usize) {
        for i in 0..n {
            *dst.add(i) = bf16::narrow(*a.add(i));
        }
    }
}

leveled! {
    fn sin_loop(dst: *mut f32, a: *const f32, n: usize) {
        let mut far = false;
        for i in 0..n {
            far |= (*a.add(i)).abs() > math::SIN_LIMIT;
        }
        if far {
            for i in 0..n {
                *dst.add(i) = math::sin(*a.add(i));
            }
        } else {
            for i in 0..n {
                *dst.add(i) = math::sin_reduced(*a.add(i));
            }
        }
    }
}

/// The three loops of a binary operation: vector–vector, vector–scalar, scalar–vector.
macro_rules! binary {
    ($vv:ident, $vs:ident, $sv:ident, $x:ident, $y:ident => $e:expr) => {
        leveled! {
            fn $vv(dst: *mut f32, a: *const f32, b: *const f32, n: usize) {
                for i in 0..n {
                    let $x = *a.add(i);
                    let $y = *b.add(i);
                    *dst.add(i) = $e;
                }
            }
        }
        leveled! {
            fn $vs(dst: *mut f32, a: *const f32, b: *const f32, n: usize) {
                let $y = *b;
                for i in 0..n {
                    let $x = *a.add(i);
                    *dst.add(i) = $e;
                }
            }
        }
        leveled! {
            fn $sv(dst: *mut f32, a: *const f32, b: *const f32, n: usize) {
                let $x = *a;
                for i in 0..n {
                    let $y = *b.add(i);
                    *dst.add(i) = $e;
                }
            }
        }
    };
}

binary!(add_vv, add_vs, add_sv, x, y => x + y);
binary!(sub_vv, sub_vs, sub_sv, x, y => x - y);
binary!(mul_vv, mul_vs, mul_sv, x, y => x * y);
binary!(div_vv, div_vs, div_sv, x, y => x / y);
binary!(mod_vv, mod_vs, mod_sv, x, y => x % y);
binary!(less_vv, less_vs, less_sv, x, y => if x < y { 1.0 } else { 0.0 });
binary!(max_vv, max_vs, max_sv, x, y => if x < y { y } else { x });
binary!(pow_vv, pow_vs, pow_sv, x, y => math::pow(x, y));

/// A selection; the scalar sides are read once, before the loop.
macro_rules! select {
    ($name:ident, $a:ident, $b:ident, $i:ident, [$($before:stmt)?], $x:expr, $y:expr) => {
        leveled! {
            fn $name(dst: *mut f32, c: *const f32, $a: *const f32, $b: *const f32, n: usize) {
                $($before)?
                for $i in 0..n {
                    let (x, y) = ($x, $y);
                    *dst.add($i) = if *c.add($i) != 0.0 { x } else { y };
                }
            }
        }
    };
}

select!(select_vv, a, b, i, [], *a.add(i), *b.add(i));
select!(select_vs, a, b, i, [let y = *b], *a.add(i), y);
select!(select_sv, a, b, i, [let x = *a], x, *b.add(i));
select!(select_ss, a, b, i, [let (x, y) = (*a, *b)], x, y);

binary!(gate_vv, gate_vs, gate_sv, v, x => if 0.0 < v { x } else { 0.0 });

/// `a·b + c` with both roundings, and what follows; the scalar sides are read once, before the loop.
macro_rules! mul_add {
    ($name:ident, $a:ident, $b:ident, $c:ident, $i:ident, [$($before:stmt);*], $y:expr, $z:expr, $v:ident => $e:expr) => {
        leveled! {
            fn $name(dst: *mut f32, $a: *const f32, $b: *const f32, $c: *const f32, n: usize) {
                $($before)*
                for $i in 0..n {
                    let $v = *$a.add($i) * $y + $z;
                    *dst.add($i) = $e;
                }
            }
        }
    };
}

macro_rules! mul_adds {
    ([$vv:ident, $vs:ident, $sv:ident, $ss:ident], $v:ident => $e:expr) => {
        mul_add!($vv, a, b, c, i, [], *b.add(i), *c.add(i), $v => $e);
        mul_add!($vs, a, b, c, i, [let z = *c], *b.add(i), z, $v => $e);
        mul_add!($sv, a, b, c, i, [let y = *b], y, *c.add(i), $v => $e);
        mul_add!($ss, a, b, c, i, [let (y, z) = (*b, *c)], y, z, $v => $e);
    };
}

mul_adds!([mul_add_vv, mul_add_vs, mul_add_sv, mul_add_ss], v => v);
mul_adds!([relu_vv, relu_vs, relu_sv, relu_ss], v => if v < 0.0 { 0.0 } else { v });

/// The loop of `a·b + c` where `a` is a vector, or of the ReLU of that.
pub fn mul_add_loop(level: Level, b_scalar: bool, c_scalar: bool, relu: bool) -> TernaryLoop {
    macro_rules! pick {
        ($plain:ident, $relu:ident) => {
            if relu { $relu(level) } else { $plain(level) }
        };
    }
    match (b_scalar, c_scalar) {
        (false, false) => pick!(mul_add_vv, relu_vv),
        (false, true) => pick!(mul_add_vs, relu_vs),
        (true, false) => pick!(mul_add_sv, relu_sv),
        (true, true) => pick!(mul_add_ss, relu_ss),
    }
}

/// The loop of `0 < v ? x : 0`; at most one operand is scalar.
pub fn gate_loop(level: Level, v_scalar: bool, x_scalar: bool) -> BinaryLoop {
    match (v_scalar, x_scalar) {
        (false, false) => gate_vv(level),
        (false, true) => gate_vs(level),
        (true, _) => gate_sv(level),
    }
}

/// The loop of a unary operation.
pub fn unary_loop(level: Level, op: Unary) -> UnaryLoop {
    match op {
        Unary::Log2 => log2_loop(level),
        Unary::Exp2 => exp2_loop(level),
        Unary::Sin => sin_loop(level),
        Unary::Sqrt => sqrt_loop(level),
        Unary::Recip => recip_loop(level),
        Unary::Erf => erf_loop(level),
        Unary::Bf16 => bf16_loop(level),
    }
}

/// The loop of a binary operation whose operands are scalar or not; at most one is.
pub fn binary_loop(level: Level, op: Binary, a_scalar: bool, b_scalar: bool) -> BinaryLoop {
    macro_rules! pick {
        ($vv:ident, $vs:ident, $sv:ident) => {
            match (a_scalar, b_scalar) {
                (false, false) => $vv(level),
                (false, true) => $vs(level),
                (true, _) => $sv(level),
            }
        };
    }
    match op {
        Binary::Add => pick!(add_vv, add_vs, add_sv),
        Binary::Sub => pick!(sub_vv, sub_vs, sub_sv),
        Binary::Mul => pick!(mul_vv, mul_vs, mul_sv),
        Binary::Div => pick!(div_vv, div_vs, div_sv),
        Binary::Mod => pick!(mod_vv, mod_vs, mod_sv),
        Binary::Less => pick!(less_vv, less_vs, less_sv),
        Binary::Max => pick!(max_vv, max_vs, max_sv),
        Binary::Pow => pick!(pow_vv, pow_vs, pow_sv),
    }
}

/// `dst[i] = a[i] != 0 ? b[i] : c[i]`: the loop of a selection by a vector, with scalar or vector sides.
pub fn select_loop(level: Level, a_scalar: bool, b_scalar: bool) -> TernaryLoop {
    match (a_scalar, b_scalar) {
        (false, false) => select_vv(level),
        (false, true) => select_vs(level),
        (true, false) => select_sv(level),
        (true, true) => select_ss(level),
    }
}

/// One value of a unary operation, the same bits as the loops give.
pub fn unary_scalar(op: Unary, x: f32) -> f32 {
    match op {
        Unary::Log2 => math::log2(x),
        Unary::Exp2 => math::exp2(x),
        Unary::Sin => math::sin(x),
        Unary::Sqrt => x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Erf => math::erf(x),
        Unary::Bf16 => bf16::round(x),
    }
}

/// One value of a binary operation, the same bits as the loops give.
pub fn binary_scalar(op: Binary, x: f32, y: f32) -> f32 {
    match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Mod => x % y,
        Binary::Less => {
            if x < y {
                1.0
            } else {
                0.0
            }
        }
        Binary::Max => {
            if x < y {
                y
            } else {
                x
            }
        }
        Binary::Pow => math::pow(x, y),
    }
}

/// Lanes a sum is split over.
const LANES: usize = 16;

/// Sums of `WIDTH` neighbouring columns, four rows at a time: `acc[l] += Σ_r src[r·pitch + l]`.
#[inline(always)]
unsafe fn some_column_sums<const WIDTH: usize>(
    acc: *mut f64,
    src: *const f32,
    pitch: usize,
    rows: usize,
) {
    const ROWS: usize = 4;
    // SAFETY: the caller's block has `rows` rows of so many elements, and as many accumulators as columns.
    unsafe {
        let mut sums = [[0.0f32; WIDTH]; ROWS];
        let whole = rows / ROWS * ROWS;
        let mut r = 0;
        while r < whole {
            for (k, sums) in sums.iter_mut().enumerate() {
                let row = src.add((r + k) * pitch);
                for (i, s) in sums.iter_mut().enumerate() {
                    *s += *row.add(i);
                }
            }
            r += ROWS;
        }
        while r < rows {
            let row = src.add(r * pitch);
            for (i, s) in sums[0].iter_mut().enumerate() {
                *s += *row.add(i);
            }
            r += 1;
        }
        let [a, b, c, d] = sums;
        for (i, a) in a.iter().enumerate() {
            *acc.add(i) += f64::from((a + b[i]) + (c[i] + d[i]));
        }
    }
}

leveled! {
    /// Column sums: `acc[l] += Σ_r src[r·pitch + l]`, (acc, src, pitch, rows, lanes). Four partial sums of rows in f32, the total in f64.
    pub fn column_sums(acc: *mut f64, src: *const f32, pitch: usize, rows: usize, lanes: usize) {
        if rows == 1 {
            for l in 0..lanes {
                *acc.add(l) += f64::from(*src.add(l));
            }
            return;
        }
        let mut l = 0;
        while l + LANES <= lanes {
            some_column_sums::<LANES>(acc.add(l), src.add(l), pitch, rows);
            l += LANES;
        }
        while l < lanes {
            some_column_sums::<1>(acc.add(l), src.add(l), pitch, rows);
            l += 1;
        }
    }
}

leveled! {
    /// Column maxima, NaN ignored: (acc, src, pitch, rows, lanes).
    pub fn column_maxima(acc: *mut f64, src: *const f32, pitch: usize, rows: usize, lanes: usize) {
        for r in 0..rows {
            for l in 0..lanes {
                let v = f64::from(*src.add(r * pitch + l));
                let a = *acc.add(l);
                *acc.add(l) = if a < v { v } else { a };
            }
        }
    }
}

leveled! {
    /// The sum of each row, added to an accumulator per row: (acc, acc stride, src, rows, lanes).
    /// Sixteen partial sums, then halves onto halves.
    pub fn row_sums(acc: *mut f64, stride: usize, src: *const f32, rows: usize, lanes: usize) {
        for r in 0..rows {
            let row = src.add(r * lanes);
            let mut sums = [0.0f32; LANES];
            let whole = lanes / LANES * LANES;
            let mut l = 0;
            while l < whole {
                for (i, s) in sums.iter_mut().enumerate() {
                    *s += *row.add(l + i);
                }
                l += LANES;
            }
            for (i, s) in sums.iter_mut().enumerate().take(lanes - whole) {
                *s += *row.add(whole + i);
            }
            let mut width = LANES / 2;
            while width > 0 {
                for i in 0..width {
                    sums[i] += sums[i + width];
                }
                width /= 2;
            }
            *acc.add(r * stride) += f64::from(sums[0]);
        }
    }
}

leveled! {
    /// The maximum of each row, NaN ignored: (acc, acc stride, src, rows, lanes).
    pub fn row_maxima(acc: *mut f64, stride: usize, src: *const f32, rows: usize, lanes: usize) {
        for r in 0..rows {
            let row = src.add(r * lanes);
            let mut most = [f32::NEG_INFINITY; LANES];
            let whole = lanes / LANES * LANES;
            let mut l = 0;
            while l < whole {
                for (i, m) in most.iter_mut().enumerate() {
                    let v = *row.add(l + i);
                    *m = if *m < v { v } else { *m };
                }
                l += LANES;
            }
            for (i, m) in most.iter_mut().enumerate().take(lanes - whole) {
                let v = *row.add(whole + i);
                *m = if *m < v { v } else { *m };
            }
            let mut best = most[0];
            for m in most {
                best = if best < m { m } else { best };
            }
            let a = *acc.add(r * stride);
            let v = f64::from(best);
            *acc.add(r * stride) = if a < v { v } else { a };
        }
    }
}

/// `dst[i] = a[i]` past the caches, where the level can; [`fence`] has to follow before another thread reads it.
pub fn stream_loop(level: Level) -> UnaryLoop {
    #[cfg(target_arch = "x86_64")]
    mod x86 {
        use std::arch::x86_64::*;

        /// Elements before the next multiple of a cache line.
        fn head(dst: *mut f32, n: usize) -> usize {
            dst.align_offset(64).min(n)
        }

        #[target_feature(enable = "avx512f")]
        pub unsafe fn avx512(dst: *mut f32, a: *const f32, n: usize) {
            let head = head(dst, n);
            // SAFETY: the blocks have `n` elements; the streamed part begins on a cache line.
            unsafe {
                std::ptr::copy_nonoverlapping(a, dst, head);
                let mut i = head;
                while i + 16 <= n {
                    _mm512_stream_ps(dst.add(i), _mm512_loadu_ps(a.add(i)));
                    i += 16;
                }
                std::ptr::copy_nonoverlapping(a.add(i), dst.add(i), n - i);
            }
        }

        #[target_feature(enable = "avx2")]
        pub unsafe fn avx2(dst: *mut f32, a: *const f32, n: usize) {
            let head = head(dst, n);
            // SAFETY: as above.
            unsafe {
                std::ptr::copy_nonoverlapping(a, dst, head);
                let mut i = head;
                while i + 8 <= n {
                    _mm256_stream_ps(dst.add(i), _mm256_loadu_ps(a.add(i)));
                    i += 8;
                }
                std::ptr::copy_nonoverlapping(a.add(i), dst.add(i), n - i);
            }
        }
    }
    unsafe fn portable(dst: *mut f32, a: *const f32, n: usize) {
        // SAFETY: the blocks have `n` elements.
        unsafe { std::ptr::copy_nonoverlapping(a, dst, n) }
    }
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => x86::avx512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::avx2,
        _ => portable,
    }
}

/// Orders streamed stores before what follows.
pub fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of SSE, which every x86-64 processor has.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// A reduction over the rows of a block: (acc, src, stride of rows, rows, lanes).
pub type ColumnLoop = unsafe fn(*mut f64, *const f32, usize, usize, usize);
/// A reduction over the lanes of a block: (acc, acc stride, src, rows, lanes).
pub type RowLoop = unsafe fn(*mut f64, usize, *const f32, usize, usize);
