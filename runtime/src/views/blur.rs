//! Gaussian blur with reflected borders, both axes in one pass over the rows.

use super::planes::Scratch;
use crate::cpu::level::leveled;

/// The smallest odd number of taps that is at least 6σ.
pub(super) fn auto_kernel(sigma: f64) -> usize {
    let taps = (6.0 * sigma).ceil().max(1.0) as usize;
    taps | 1
}

/// Weights below this share of the middle one are left out: a value in [0, 1] cannot hold what they add.
const LEAST: f64 = 1.0 / (1u64 << 24) as f64;

/// exp(−i²/2σ²) at i = 0, 1, 2, … up to half of `taps`, such that with the mirrored ones their sum is 1.
fn weights(sigma: f64, taps: usize, out: &mut Vec<f32>) {
    let value = |i: usize| (-(i as f64 / sigma).powi(2) / 2.0).exp();
    let half = taps / 2;
    let sum = 1.0 + 2.0 * (1..=half).map(value).sum::<f64>();
    out.clear();
    out.extend(
        (0..=half)
            .map(value)
            .take_while(|v| *v > LEAST)
            .map(|v| (v / sum) as f32),
    );
}

/// The index that position `i` takes in a row of `n`, reflected at the first and last pixel without repeating them, as often as needed.
#[inline(always)]
fn reflect(i: isize, n: usize) -> usize {
    if (0..n as isize).contains(&i) {
        return i as usize;
    }
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    i.min(period - i) as usize
}

/// `out += Σ weight·(left + right)` over M pairs of rows.
#[inline(always)]
fn add_pairs<const M: usize>(pairs: [(&[f32], &[f32]); M], weights: &[f32], out: &mut [f32]) {
    let n = out.len();
    let pairs = pairs.map(|(a, b)| (&a[..n], &b[..n]));
    let weights: [f32; M] = std::array::from_fn(|m| weights[m]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = *out;
        for ((a, b), weight) in pairs.iter().zip(weights) {
            sum += weight * (a[i] + b[i]);
        }
        *out = sum;
    }
}

/// `out = weights[0]·row(0) + Σ weights[k]·(row(−k) + row(k))`
#[inline(always)]
fn symmetric<'a>(row: impl Fn(isize) -> &'a [f32], weights: &[f32], out: &mut [f32]) {
    for (out, v) in out.iter_mut().zip(row(0)) {
        *out = weights[0] * v;
    }
    let pair = |k: usize| (row(-(k as isize)), row(k as isize));
    let mut k = 1;
    while k < weights.len() {
        let left = weights.len() - k;
        let w = &weights[k..];
        match left {
            1 => add_pairs([pair(k)], w, out),
            2 => add_pairs([pair(k), pair(k + 1)], w, out),
            3 => add_pairs([pair(k), pair(k + 1), pair(k + 2)], w, out),
            _ => add_pairs([pair(k), pair(k + 1), pair(k + 2), pair(k + 3)], w, out),
        }
        k += left.min(4);
    }
}

leveled! {
    /// One plane of rows of `width`; `padded` holds a row and the reach of the kernel on both sides of it.
    fn plane(from: &[f32], width: usize, weights: &[f32], padded: &mut [f32], to: &mut [f32]) {
        let height = from.len() / width;
        let reach = weights.len() - 1;
        for (y, out) in to.chunks_exact_mut(width).enumerate() {
            let row = |k: isize| &from[reflect(y as isize + k, height) * width..][..width];
            symmetric(row, weights, &mut padded[reach..reach + width]);
            for i in 1..=reach {
                let left = reflect(-(i as isize), width);
                let right = reflect((width - 1 + i) as isize, width);
                padded[reach - i] = padded[reach + left];
                padded[reach + width - 1 + i] = padded[reach + right];
            }
            let shifted = |k: isize| &padded[(reach as isize + k) as usize..][..width];
            symmetric(shifted, weights, out);
        }
    }
}

/// Blurs with `taps` (odd) taps along each axis. A σ of 0 leaves the image.
pub(super) fn gaussian(scratch: &mut Scratch, sigma: f64, taps: usize) {
    let Scratch {
        image,
        spare,
        row: padded,
        kernel,
        level,
        ..
    } = scratch;
    let (h, w) = (image.height, image.width);
    if sigma <= 0.0 || taps <= 1 || h * w == 0 {
        return;
    }
    weights(sigma, taps, kernel);
    if kernel.len() == 1 {
        return;
    }
    spare.reshape(image.channels, h, w);
    padded.resize(w + 2 * (kernel.len() - 1), 0.0);
    for (from, to) in image.data.chunks_exact(h * w).zip(spare.planes_mut()) {
        // SAFETY: scratch is made with a level that the machine has.
        unsafe { plane(*level)(from, w, kernel, padded, to) };
    }
    std::mem::swap(image, spare);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_odd_and_reaches_three_sigmas() {
        assert_eq!([0.1, 0.5, 1.0, 1.1, 2.0].map(auto_kernel), [1, 3, 7, 7, 13]);
    }

    #[test]
    fn reflection_repeats_no_border() {
        let row: Vec<usize> = (-3..7).map(|i| reflect(i, 3)).collect();
        assert_eq!(row, [1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(reflect(-5, 1), 0);
    }

    #[test]
    fn weights_sum_to_one_and_end_where_they_add_nothing() {
        let mut w = Vec::new();
        for (sigma, taps, len) in [(1.3, 9, 5), (0.3, 23, 2), (0.1, 23, 1), (4.0, 3, 2)] {
            weights(sigma, taps, &mut w);
            assert_eq!(w.len(), len);
            let sum = w[0] + 2.0 * w[1..].iter().sum::<f32>();
            assert!((sum - 1.0).abs() < 1e-6, "{sigma}: {sum}");
        }
    }
}
