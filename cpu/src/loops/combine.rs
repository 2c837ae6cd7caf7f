//! Combines partial results of units, in their order.

use super::canon::Reduce;
use super::moments::Moments;
use crate::level::leveled;

/// Combines `n` neighbouring results: (totals, first partial result, results, f64 numbers of a unit, units, n). Where a result
/// has several numbers, all of the first stand before all of the second.
pub type CombineLoop = unsafe fn(*mut f64, *const f64, usize, usize, usize, usize);

/// Results that are combined side by side.
const WIDTH: usize = 16;

/// Calls a function with its width for all results: `WIDTH` at a time, then one by one.
macro_rules! by_width {
    ($some:ident, $totals:ident, $from:ident, $len:ident, $unit:ident, $units:ident, $n:ident) => {
        let mut i = 0;
        while i + WIDTH <= $n {
            $some::<WIDTH>($totals.add(i), $from.add(i), $len, $unit, $units);
            i += WIDTH;
        }
        while i < $n {
            $some::<1>($totals.add(i), $from.add(i), $len, $unit, $units);
            i += 1;
        }
    };
}

#[inline(always)]
unsafe fn some_sums<const W: usize>(
    totals: *mut f64,
    from: *const f64,
    _len: usize,
    unit: usize,
    units: usize,
) {
    let mut sums = [Reduce::Sum.start(); W];
    for u in 0..units {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's partial results.
            *sum += unsafe { *from.add(u * unit + i) };
        }
    }
    // SAFETY: the caller's totals.
    unsafe { totals.cast::<[f64; W]>().write_unaligned(sums) }
}

#[inline(always)]
unsafe fn some_maxima<const W: usize>(
    totals: *mut f64,
    from: *const f64,
    _len: usize,
    unit: usize,
    units: usize,
) {
    let mut most = [Reduce::Max.start(); W];
    for u in 0..units {
        for (i, m) in most.iter_mut().enumerate() {
            // SAFETY: the caller's partial results.
            let v = unsafe { *from.add(u * unit + i) };
            *m = if *m < v { v } else { *m };
        }
    }
    // SAFETY: the caller's totals.
    unsafe { totals.cast::<[f64; W]>().write_unaligned(most) }
}

#[inline(always)]
unsafe fn some_deviations<const W: usize>(
    totals: *mut f64,
    from: *const f64,
    len: usize,
    unit: usize,
    units: usize,
) {
    let (mut counts, mut means, mut squares) = ([0.0; W], [0.0; W], [0.0; W]);
    for u in 0..units {
        for i in 0..W {
            // SAFETY: the caller's partial results: counts, means and deviations.
            let number = |k: usize| unsafe { *from.add(u * unit + k * len + i) };
            let so_far = Moments {
                count: counts[i],
                mean: means[i],
                deviations: squares[i],
            };
            let now = so_far.and(Moments {
                count: number(0),
                mean: number(1),
                deviations: number(2),
            });
            (counts[i], means[i], squares[i]) = (now.count, now.mean, now.deviations);
        }
    }
    // SAFETY: the caller's totals.
    unsafe { totals.cast::<[f64; W]>().write_unaligned(squares) }
}

leveled! {
    /// Sums.
    pub fn sums(totals: *mut f64, from: *const f64, len: usize, unit: usize, units: usize, n: usize) {
        by_width!(some_sums, totals, from, len, unit, units, n);
    }
}

leveled! {
    /// Maxima, NaN ignored.
    pub fn maxima(totals: *mut f64, from: *const f64, len: usize, unit: usize, units: usize, n: usize) {
        by_width!(some_maxima, totals, from, len, unit, units, n);
    }
}

leveled! {
    /// Deviations of all points from their mean.
    pub fn deviations(totals: *mut f64, from: *const f64, len: usize, unit: usize, units: usize, n: usize) {
        by_width!(some_deviations, totals, from, len, unit, units, n);
    }
}
