//! Operations on values: colour jitter, grayscale, solarize, normalize.
//!
//! A row of them runs over the image in chunks that stay in the first-level cache. Contrast needs the mean of the image as it is then: the row is cut
//! before it, and the pass before the cut sums up on its way.

use super::planes::{Planes, interleave};
use crate::cpu::level::{Level, leveled};

/// Pixels that all operations of a pass treat before the next ones.
const CHUNK: usize = 512;
/// Partial sums of a mean: their number fixes the order of additions at every level.
const LANES: usize = 16;

/// An operation that changes each pixel by itself. Those of `color_jitter` clip to [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Point {
    Brightness(f32),
    /// Towards or away from the mean luminance of the image: `value·factor + add`, where the pass fills `add` in.
    Contrast {
        factor: f32,
        rest: f32,
    },
    /// Towards or away from the gray image; gray images stay.
    Saturation {
        factor: f32,
        rest: f32,
    },
    /// Turns the hue by a share of the full circle; gray images stay.
    Hue(f32),
    /// All three channels become the luminance; gray images stay.
    Grayscale,
    /// Inverts the values that reach the threshold.
    Solarize(f32),
    /// Subtracts the mean and multiplies by the inverse of the standard deviation of each channel.
    Normalize {
        mean: [f32; 3],
        scale: [f32; 3],
    },
}

impl Point {
    /// Brightness, contrast, saturation and hue by their factors, in the given order of these four.
    pub fn jitter(factors: [Option<f64>; 4], order: [usize; 4]) -> impl Iterator<Item = Point> {
        order.into_iter().filter_map(move |part| {
            let factor = factors[part]?;
            let (f, rest) = (factor as f32, (1.0 - factor) as f32);
            Some(match part {
                0 => Point::Brightness(f),
                1 => Point::Contrast { factor: f, rest },
                2 => Point::Saturation { factor: f, rest },
                _ => Point::Hue(f),
            })
        })
    }

    /// One number serves all channels.
    pub fn normalize(mean: &[f64], std: &[f64]) -> Point {
        let of = |values: &[f64], c: usize, absent: f64| {
            values.get(c).or(values.last()).copied().unwrap_or(absent)
        };
        Point::Normalize {
            mean: [0, 1, 2].map(|c| of(mean, c, 0.0) as f32),
            scale: [0, 1, 2].map(|c| (1.0 / of(std, c, 1.0)) as f32),
        }
    }
}

/// The smaller one, in one instruction at every level.
#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn clip(v: f32) -> f32 {
    min(max(v, 0.0), 1.0)
}

/// torchvision's weights of red, green and blue (ITU-R 601-2 luma).
#[inline(always)]
fn luma(r: f32, g: f32, b: f32) -> f32 {
    r * 0.2989 + g * 0.587 + b * 0.114
}

/// Turns the hue of a pixel. `sixths` is the turn in sixths of the circle, −3 to 3.
///
/// Channel n of a hue h (in sixths) is v − (v − min)·clip(min(k, 4 − k)) with k = (n + h) mod 6 and n = 5, 3, 1 for red, green, blue.
#[inline(always)]
fn turn(r: f32, g: f32, b: f32, sixths: f32) -> [f32; 3] {
    let v = max(max(r, g), b);
    let range = v - min(min(r, g), b);
    let inverse = if range > 0.0 { 1.0 / range } else { 0.0 };
    let from_r = (g - b) * inverse;
    let from_g = (b - r) * inverse + 2.0;
    let from_b = (r - g) * inverse + 4.0;
    let h = if v == r {
        from_r
    } else if v == g {
        from_g
    } else {
        from_b
    } + sixths;
    let h = if h < 0.0 { h + 6.0 } else { h };
    let h = if h >= 6.0 { h - 6.0 } else { h };
    [5.0, 3.0, 1.0].map(|n| {
        let k = n + h;
        let k = if k >= 6.0 { k - 6.0 } else { k };
        clip(v - range * clip(min(k, 4.0 - k)))
    })
}

leveled! {
    /// One operation on pixels of three channels.
    fn rgb(r: &mut [f32], g: &mut [f32], b: &mut [f32], point: Point, add: f32) {
        let pixels = r.iter_mut().zip(g.iter_mut()).zip(b.iter_mut());
        match point {
            Point::Brightness(factor) => {
                for plane in [r, g, b] {
                    for v in plane {
                        *v = clip(*v * factor);
                    }
                }
            }
            Point::Contrast { factor, .. } => {
                for plane in [r, g, b] {
                    for v in plane {
                        *v = clip(*v * factor + add);
                    }
                }
            }
            Point::Saturation { factor, rest } => {
                for ((r, g), b) in pixels {
                    let gray = luma(*r, *g, *b) * rest;
                    *r = clip(*r * factor + gray);
                    *g = clip(*g * factor + gray);
                    *b = clip(*b * factor + gray);
                }
            }
            Point::Hue(share) => {
                let sixths = share * 6.0;
                for ((r, g), b) in pixels {
                    [*r, *g, *b] = turn(*r, *g, *b, sixths);
                }
            }
            Point::Grayscale => {
                for ((r, g), b) in pixels {
                    let gray = luma(*r, *g, *b);
                    [*r, *g, *b] = [gray; 3];
                }
            }
            Point::Solarize(threshold) => {
                for plane in [r, g, b] {
                    for v in plane {
                        *v = if *v >= threshold { 1.0 - *v } else { *v };
                    }
                }
            }
            Point::Normalize { mean, scale } => {
                for (plane, (mean, scale)) in [r, g, b].into_iter().zip(mean.into_iter().zip(scale)) {
                    for v in plane {
                        *v = (*v - mean) * scale;
                    }
                }
            }
        }
    }
}

leveled! {
    /// One operation on pixels of one channel.
    fn gray(plane: &mut [f32], point: Point, add: f32) {
        match point {
            Point::Brightness(factor) => {
                for v in plane {
                    *v = clip(*v * factor);
                }
            }
            Point::Contrast { factor, .. } => {
                for v in plane {
                    *v = clip(*v * factor + add);
                }
            }
            Point::Solarize(threshold) => {
                for v in plane {
                    *v = if *v >= threshold { 1.0 - *v } else { *v };
                }
            }
            Point::Normalize { mean, scale } => {
                for v in plane {
                    *v = (*v - mean[0]) * scale[0];
                }
            }
            Point::Saturation { .. } | Point::Hue(_) | Point::Grayscale => {}
        }
    }
}

leveled! {
    /// Adds the luminances to `total`.
    fn sum_rgb(r: &[f32], g: &[f32], b: &[f32], total: &mut f64) {
        let mut lanes = [0.0f32; LANES];
        let (r, r_rest) = r.as_chunks::<LANES>();
        let (g, g_rest) = g.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        for ((r, g), b) in r.iter().zip(g).zip(b) {
            for i in 0..LANES {
                lanes[i] += luma(r[i], g[i], b[i]);
            }
        }
        for (i, ((r, g), b)) in r_rest.iter().zip(g_rest).zip(b_rest).enumerate() {
            lanes[i] += luma(*r, *g, *b);
        }
        *total += lanes.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
}

leveled! {
    /// Adds the values to `total`.
    fn sum_gray(plane: &[f32], total: &mut f64) {
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = plane.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                lanes[i] += chunk[i];
            }
        }
        for (lane, v) in lanes.iter_mut().zip(rest) {
            *lane += v;
        }
        *total += lanes.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
}

/// Applies `points` in order. With `out`, the result goes there as [H, W, C], and what is left in `image` is of no use.
pub(super) fn run(image: &mut Planes, points: &[Point], mut out: Option<&mut [f32]>, level: Level) {
    let is_contrast = |p: &Point| matches!(p, Point::Contrast { .. });
    let area = (image.height * image.width).max(1) as f64;
    let mut rest = points;
    let mut sum = 0.0;
    if rest.first().is_some_and(is_contrast) {
        sum = pass(image, &[], 0.0, true, None, level);
    }
    loop {
        let next = rest.iter().skip(1).position(is_contrast);
        let (now, later) = rest.split_at(next.map_or(rest.len(), |i| i + 1));
        let mean = (sum / area) as f32;
        if later.is_empty() {
            if !now.is_empty() || out.is_some() {
                pass(image, now, mean, false, out.take(), level);
            }
            return;
        }
        sum = pass(image, now, mean, true, None, level);
        rest = later;
    }
}

/// One pass over the image: all of `points` on one chunk after another. `mean` is for a contrast among them.
/// Returns the sum of the luminances that come out, where it is asked for.
fn pass(
    image: &mut Planes,
    points: &[Point],
    mean: f32,
    sums: bool,
    out: Option<&mut [f32]>,
    level: Level,
) -> f64 {
    let mut total = 0.0;
    let channels = image.channels;
    let mut outs = out.map(|out| out.chunks_mut(CHUNK * channels));
    let add = |point: &Point| match point {
        Point::Contrast { rest, .. } => mean * rest,
        _ => 0.0,
    };
    let Some([r, g, b]) = image.rgb() else {
        for plane in image.data.chunks_mut(CHUNK) {
            for point in points {
                // SAFETY: scratch is made with a level that the machine has.
                unsafe { gray(level)(plane, *point, add(point)) };
            }
            if sums {
                // SAFETY: as above.
                unsafe { sum_gray(level)(plane, &mut total) };
            }
            if let Some(out) = outs.as_mut().and_then(Iterator::next) {
                out.copy_from_slice(plane);
            }
        }
        return total;
    };
    let chunks = r.chunks_mut(CHUNK).zip(g.chunks_mut(CHUNK));
    for ((r, g), b) in chunks.zip(b.chunks_mut(CHUNK)) {
        for point in points {
            // SAFETY: scratch is made with a level that the machine has.
            unsafe { rgb(level)(r, g, b, *point, add(point)) };
        }
        if sums {
            // SAFETY: as above.
            unsafe { sum_rgb(level)(r, g, b, &mut total) };
        }
        if let Some(out) = outs.as_mut().and_then(Iterator::next) {
            // SAFETY: as above.
            unsafe { interleave(level)(r, g, b, out) };
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(channels: usize, data: Vec<f32>) -> Planes {
        Planes {
            width: data.len() / channels,
            height: 1,
            channels,
            data,
        }
    }

    #[test]
    fn a_turn_of_the_hue_and_back_is_nothing() {
        for i in 0..1000 {
            let [r, g, b] = [i % 10, i / 10 % 10, i / 100].map(|v| v as f32 / 9.0);
            for sixths in [-3.0, -0.4, 0.0, 1.0, 2.7] {
                let [x, y, z] = turn(r, g, b, sixths);
                let back = turn(x, y, z, -sixths);
                for (x, y) in back.iter().zip([r, g, b]) {
                    assert!((x - y).abs() < 1e-5, "{r} {g} {b} by {sixths} -> {back:?}");
                }
            }
        }
    }

    #[test]
    fn a_third_of_a_turn_exchanges_the_channels() {
        let turned = turn(0.9, 0.4, 0.2, 2.0);
        for (a, b) in turned.iter().zip([0.2, 0.9, 0.4]) {
            assert!((a - b).abs() < 1e-6, "{turned:?}");
        }
    }

    #[test]
    fn colour_operations_leave_gray_images() {
        let gray = image(1, vec![0.1, 0.5, 0.9, 0.3]);
        let mut made = gray.clone();
        let rest = Point::Saturation {
            factor: 0.3,
            rest: 0.7,
        };
        let points = [rest, Point::Hue(0.2), Point::Grayscale];
        run(&mut made, &points, None, Level::Portable);
        assert_eq!(made, gray);
        run(&mut made, &[Point::Brightness(0.5)], None, Level::Portable);
        assert_eq!(made.data, [0.05, 0.25, 0.45, 0.15]);
    }

    #[test]
    fn contrast_takes_the_mean_of_what_the_points_before_it_leave() {
        let mut made = image(1, vec![0.0, 0.2, 0.4, 0.2]);
        let contrast = |factor: f32| Point::Contrast {
            factor,
            rest: 1.0 - factor,
        };
        let points = [
            Point::Brightness(2.0),
            contrast(0.0),
            Point::Solarize(0.1),
            contrast(0.5),
        ];
        let mut out = [0.0; 4];
        run(&mut made, &points, Some(&mut out), Level::Portable);
        for v in out {
            assert!((v - 0.6).abs() < 1e-6, "{out:?}");
        }
    }
}
