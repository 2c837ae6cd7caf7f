//! Gaussian blur with reflected borders, one axis after the other.

use super::planes::Scratch;

/// The smallest odd number of taps that is at least 6σ.
pub(super) fn auto_kernel(sigma: f64) -> usize {
    let taps = (6.0 * sigma).ceil().max(1.0) as usize;
    taps | 1
}

/// exp(−i²/2σ²) at whole i around 0, of sum 1.
fn weights(sigma: f64, taps: usize, out: &mut Vec<f32>) {
    let middle = (taps / 2) as f64;
    let value = |i: usize| (-((i as f64 - middle) / sigma).powi(2) / 2.0).exp();
    let sum: f64 = (0..taps).map(value).sum();
    out.clear();
    out.extend((0..taps).map(|i| (value(i) / sum) as f32));
}

/// The index that position `i` takes in a row of `n`, reflected at the first and last pixel without repeating them, as often as needed.
fn reflect(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    i.min(period - i) as usize
}

/// Blurs with `taps` (odd) taps along each axis. A σ of 0 leaves the image.
pub(super) fn gaussian(scratch: &mut Scratch, sigma: f64, taps: usize) {
    let Scratch {
        image,
        spare,
        row: padded,
        kernel,
        ..
    } = scratch;
    let (h, w) = (image.height, image.width);
    if sigma <= 0.0 || taps <= 1 || h * w == 0 {
        return;
    }
    weights(sigma, taps, kernel);
    let reach = (taps / 2) as isize;
    spare.reshape(image.channels, h, w);
    for (from, to) in image.data.chunks_exact(h * w).zip(spare.planes_mut()) {
        for (y, out) in to.chunks_exact_mut(w).enumerate() {
            out.fill(0.0);
            for (k, weight) in kernel.iter().enumerate() {
                let source = reflect(y as isize + k as isize - reach, h) * w;
                add_scaled(out, &from[source..source + w], *weight);
            }
        }
    }
    padded.resize(w + taps - 1, 0.0);
    let rows = spare.data.chunks_exact(w);
    for (from, to) in rows.zip(image.data.chunks_exact_mut(w)) {
        for (i, v) in padded.iter_mut().enumerate() {
            *v = from[reflect(i as isize - reach, w)];
        }
        to.fill(0.0);
        for (k, weight) in kernel.iter().enumerate() {
            add_scaled(to, &padded[k..k + w], *weight);
        }
    }
}

fn add_scaled(out: &mut [f32], row: &[f32], weight: f32) {
    for (o, v) in out.iter_mut().zip(row) {
        *o += weight * v;
    }
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
    fn weights_sum_to_one() {
        let mut w = Vec::new();
        weights(1.3, 9, &mut w);
        assert!((w.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(w[0], w[8]);
    }
}
