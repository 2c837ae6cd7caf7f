//! Elementary functions of f32 without branches, so that loops over them vectorise.
//!
//! No fused multiply-add is used: every level gives the same bits. Special values are those of the C library.

/// 1.5·2²³: adding it rounds to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// 2ˣ within 1 ulp. The fraction is at most ½, where seven terms of the series of e^(x ln 2) are exact to 5·10⁻⁹.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    // Outside, the result is 0 or infinite; NaN passes both.
    let x = if x < -151.0 { -151.0 } else { x };
    let x = if x > 129.0 { 129.0 } else { x };
    let shifted = x + ROUND;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let f = x - (shifted - ROUND);
    let p = 1.525_273_4e-5;
    let p = p * f + 1.540_353_e-4;
    let p = p * f + 1.333_355_8e-3;
    let p = p * f + 9.618_129e-3;
    let p = p * f + 5.550_411e-2;
    let p = p * f + 0.240_226_5;
    let p = p * f + std::f32::consts::LN_2;
    let p = p * f + 1.0;
    // In two steps, so that each factor is a normal number and a denormal result is rounded once.
    let half = n >> 1;
    let rest = n.wrapping_sub(half);
    p * power_of_two(half) * power_of_two(rest)
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// log₂ x within 1 ulp, after FreeBSD's `e_log2f.c`: the mantissa's logarithm in two parts, each times 1/ln 2 in two parts.
#[inline(always)]
pub fn log2(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 33_554_432.0 } else { x };
    let bias = if small { -25.0 } else { 0.0 };
    // The mantissa is taken from [√½, √2).
    let bits = (scaled.to_bits() as i32).wrapping_add(0x3f80_0000 - 0x3f35_04f3);
    let k = (bits >> 23) - 0x7f;
    let m = f32::from_bits(((bits & 0x007f_ffff) + 0x3f35_04f3) as u32);
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let t1 = w * (0.400_009_72 + w * 0.242_790_79);
    let t2 = z * (0.666_666_6 + w * 0.284_987_87);
    let r = t2 + t1;
    let half_square = 0.5 * f * f;
    let hi = f - half_square;
    let hi = f32::from_bits(hi.to_bits() & 0xffff_f000);
    let lo = f - hi - half_square + s * (half_square + r);
    const INV_LN2_HI: f32 = 1.442_871_1;
    const INV_LN2_LO: f32 = -1.760_528_5e-4;
    let y = (lo + hi) * INV_LN2_LO + lo * INV_LN2_HI + hi * INV_LN2_HI + (k as f32 + bias);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    // Below 0 and NaN.
    if x >= 0.0 { y } else { f32::NAN }
}

/// Up to where [`sin_reduced`] has all bits.
pub const SIN_LIMIT: f32 = 1.0e6;

/// sin x for |x| ≤ [`SIN_LIMIT`], within 1 ulp; NaN for infinities. Computed in f64: reduced by multiples of π to [−π/2, π/2], then a series to x¹⁵.
#[inline(always)]
pub fn sin_reduced(x: f32) -> f32 {
    /// 1.5·2⁵².
    const ROUND64: f64 = 6_755_399_441_055_744.0;
    // π in three parts; the first two have 33 bits, so that their multiples are exact (FreeBSD's `e_rem_pio2f.c`).
    const PI_1: f64 = 3.141_592_653_468_251_2;
    const PI_2: f64 = 1.215_420_101_260_793_2e-10;
    const PI_3: f64 = 4.044_532_497_591_901e-21;
    let wide = f64::from(x);
    let shifted = wide * std::f64::consts::FRAC_1_PI + ROUND64;
    let n = shifted - ROUND64;
    let r = wide - n * PI_1 - n * PI_2 - n * PI_3;
    let z = r * r;
    let p = -7.647_163_731_819_816e-13;
    let p = p * z + 1.605_904_383_682_161_3e-10;
    let p = p * z - 2.505_210_838_544_172e-8;
    let p = p * z + 2.755_731_922_398_589_3e-6;
    let p = p * z - 1.984_126_984_126_984e-4;
    let p = p * z + 8.333_333_333_333_333e-3;
    let p = p * z - 1.666_666_666_666_666_6e-1;
    let y = r + r * z * p;
    // An odd multiple of π changes the sign.
    let sign = (shifted.to_bits() & 1) << 63;
    let y = f64::from_bits(y.to_bits() ^ sign) as f32;
    // Keeps −0.
    if x == 0.0 { x } else { y }
}

/// sin x for any x.
pub fn sin(x: f32) -> f32 {
    if x.abs() <= SIN_LIMIT {
        sin_reduced(x)
    } else {
        f64::from(x).sin() as f32
    }
}

/// erf x within 2 ulp: an odd polynomial near 0, 1 − e^(−p(|x|)) beyond (coefficients by N. Juffa).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs();
    let s = x * x;
    let r = -1.728_534_7e-5 * t + 3.831_971_3e-4;
    let u = -3.883_964_4e-3 * t + 2.425_462_2e-2;
    let r = r * s + u;
    let r = r * t + -1.067_778e-1;
    let r = r * t + -6.348_467e-1;
    let r = r * t + -1.287_175_1e-1;
    let r = r * t - t;
    let far = 1.0 - exp2(r * std::f32::consts::LOG2_E);
    let far = far.copysign(x);
    let q = -5.967_617e-4;
    let q = q * s + 4.991_194_2e-3;
    let q = q * s + -2.676_813_5e-2;
    let q = q * s + 1.128_199_3e-1;
    let q = q * s + -3.761_253_4e-1;
    let q = q * s + 1.283_791_7e-1;
    let near = q * x + x;
    if t > 0.927_734_4 { far } else { near }
}

/// x to the power y, as C's `powf`.
#[inline(always)]
pub fn pow(x: f32, y: f32) -> f32 {
    x.powf(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of `y` in units of the last place of the exact value.
    fn ulps(y: f32, exact: f64) -> f64 {
        let near = exact as f32;
        let spacing = if near.abs() < f32::MIN_POSITIVE {
            f64::from(f32::from_bits(1))
        } else {
            f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs())
        };
        (f64::from(y) - exact).abs() / spacing
    }

    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, lo: f32, hi: f32) -> f64 {
        let n = 200_001;
        (0..n)
            .map(|i| {
                let x = lo + (hi - lo) * (i as f32 / (n - 1) as f32);
                ulps(f(x), exact(f64::from(x)))
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp2_is_accurate() {
        assert!(worst(exp2, f64::exp2, -20.0, 20.0) < 1.1);
        assert!(worst(exp2, f64::exp2, -126.0, 127.9) < 1.1);
        assert!(worst(exp2, f64::exp2, -150.0, -126.0) < 1.0);
    }

    #[test]
    fn exp2_has_the_special_values() {
        for n in -149..=127 {
            assert_eq!(exp2(n as f32), 2f64.powi(n) as f32, "2^{n}");
        }
        assert_eq!(exp2(128.0), f32::INFINITY);
        assert_eq!(exp2(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp2(f32::MAX), f32::INFINITY);
        assert_eq!(exp2(-151.0), 0.0);
        assert_eq!(exp2(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp2(-0.0), 1.0);
        assert!(exp2(f32::NAN).is_nan());
    }

    #[test]
    fn log2_is_accurate() {
        assert!(worst(log2, f64::log2, 0.5, 2.0) < 1.1);
        assert!(worst(log2, f64::log2, 1e-30, 1e-3) < 1.1);
        assert!(worst(log2, f64::log2, 2.0, 1e30) < 1.1);
        let denormal = |i: f32| log2(i * f32::from_bits(1));
        let exact = |i: f64| (i * f64::from(f32::from_bits(1))).log2();
        for i in 1..1000 {
            assert!(ulps(denormal(i as f32), exact(f64::from(i))) < 1.1);
        }
    }

    #[test]
    fn log2_has_the_special_values() {
        for n in -149..=127 {
            assert_eq!(log2(2f64.powi(n) as f32), n as f32);
        }
        assert_eq!(log2(0.0), f32::NEG_INFINITY);
        assert_eq!(log2(-0.0), f32::NEG_INFINITY);
        assert_eq!(log2(f32::INFINITY), f32::INFINITY);
        assert!(log2(-1.0).is_nan());
        assert!(log2(f32::NEG_INFINITY).is_nan());
        assert!(log2(f32::NAN).is_nan());
    }

    #[test]
    fn sin_is_accurate() {
        assert!(worst(sin, f64::sin, -10.0, 10.0) < 1.0);
        assert!(worst(sin, f64::sin, -1e6, 1e6) < 1.0);
        assert!(worst(sin, f64::sin, 1e6, 1e9) < 1.0);
        assert_eq!(sin(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(sin(f32::INFINITY).is_nan());
        assert!(sin(f32::NAN).is_nan());
        assert_eq!(sin(f32::from_bits(1)), f32::from_bits(1));
    }

    #[test]
    fn erf_is_accurate() {
        // Abramowitz and Stegun, table 7.1.
        let table = [
            (0.1, 0.112_462_916_018_285),
            (0.5, 0.520_499_877_813_047),
            (0.9, 0.796_908_212_422_832),
            (0.95, 0.820_890_807_273_278),
            (1.0, 0.842_700_792_949_715),
            (1.5, 0.966_105_146_475_311),
            (2.0, 0.995_322_265_018_953),
            (3.0, 0.999_977_909_503_001),
        ];
        for (x, y) in table {
            let slack = |x: f64| f64::from(x as f32) - x;
            // The argument's rounding moves the value by its slope.
            let exact = y + slack(x) * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp();
            assert!(ulps(erf(x as f32), exact) < 2.0, "erf {x}");
            assert_eq!(erf(-x as f32), -erf(x as f32));
        }
        assert_eq!(erf(f32::INFINITY), 1.0);
        assert_eq!(erf(f32::NEG_INFINITY), -1.0);
        assert_eq!(erf(f32::MAX), 1.0);
        assert_eq!(erf(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(erf(f32::NAN).is_nan());
        let small = f32::from_bits(1000);
        assert!(
            ulps(
                erf(small),
                f64::from(small) * std::f64::consts::FRAC_2_SQRT_PI
            ) < 1.1
        );
    }
}
