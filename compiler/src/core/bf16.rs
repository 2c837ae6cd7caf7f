//! bf16: the upper half of an f32. What rounding to it means, for every stage.

/// The nearest bf16, ties to even; a NaN stays one.
#[inline(always)]
pub fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // The payload's upper bits may all be 0, so the quiet bit is set.
    let nan = bits >> 16 | 0x40;
    (if x.is_nan() { nan } else { rounded }) as u16
}

/// The f32 that a bf16 is.
#[inline(always)]
pub fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// An f32 rounded to the nearest bf16.
#[inline(always)]
pub fn round(x: f32) -> f32 {
    widen(narrow(x))
}

#[cfg(test)]
mod tests {
    use super::{narrow, round, widen};

    #[test]
    fn ties_go_to_even() {
        let step = |n: u32| f32::from_bits(0x3f80_0000 + n);
        assert_eq!(round(step(0x7fff)), 1.0);
        assert_eq!(round(step(0x8000)), 1.0);
        assert_eq!(round(step(0x8001)), step(0x1_0000));
        assert_eq!(round(step(0x1_7fff)), step(0x1_0000));
        assert_eq!(round(step(0x1_8000)), step(0x2_0000));
        assert_eq!(round(-step(0x1_8000)), -step(0x2_0000));
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(round(f32::MAX), f32::INFINITY);
        assert_eq!(round(f32::NEG_INFINITY), f32::NEG_INFINITY);
        assert_eq!(narrow(-0.0), 0x8000);
        assert!(round(f32::NAN).is_nan() && round(f32::from_bits(0x7f80_0001)).is_nan());
        // Subnormal numbers keep their upper bits.
        assert_eq!(
            round(f32::from_bits(0x0001_0000)),
            f32::from_bits(0x0001_0000)
        );
    }

    #[test]
    fn every_bf16_is_itself() {
        for bits in 0..=u16::MAX {
            let x = widen(bits);
            assert!(x.is_nan() || narrow(x) == bits);
        }
    }
}
