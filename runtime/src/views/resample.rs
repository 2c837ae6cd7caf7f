//! Bilinear and bicubic resampling, with and without antialiasing: PyTorch's `interpolate(align_corners=False)`.
//!
//! Each axis is a table of weights; rows are combined first, then columns. Bytes are read directly and divided by 255 on the way.

use super::geometry::Area;
use super::planes::Scratch;
use crate::data::ImageRef;
use sslc_compiler::program::Interpolation;

/// The part of an image taken, the size it is given, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub from: Area,
    pub height: usize,
    pub width: usize,
    pub interpolation: Interpolation,
    pub antialias: bool,
}

/// For each position of the result, the positions of the source that it is made of, and their weights.
#[derive(Debug, Default)]
pub(super) struct Axis {
    spans: Vec<Span>,
    /// `taps` for each position, of which the first `len` count.
    weights: Vec<f32>,
    taps: usize,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
}

/// Keys' cubic convolution kernel with parameter `a`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

impl Axis {
    /// Fills the table for `from` positions resampled to `to`. `unit` multiplies every weight.
    fn fill(&mut self, from: usize, to: usize, how: &Plan, unit: f64) {
        self.spans.clear();
        self.weights.clear();
        if from == 0 || to == 0 {
            return;
        }
        if how.antialias {
            self.fill_antialiased(from, to, how.interpolation, unit);
        } else {
            self.fill_plain(from, to, how.interpolation, unit);
        }
    }

    /// The filter is stretched by the scale when shrinking, so that every source pixel counts (as Pillow does); cubic a = −0.5.
    fn fill_antialiased(&mut self, from: usize, to: usize, how: Interpolation, unit: f64) {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let radius = match how {
            Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
        } * stretch;
        self.taps = (radius.ceil() as usize * 2 + 1).min(from);
        for i in 0..to {
            let center = scale * (i as f64 + 0.5);
            let start = ((center - radius + 0.5).max(0.0) as usize).min(from - 1);
            let end = ((center + radius + 0.5) as usize).clamp(start + 1, from);
            let len = (end - start).min(self.taps);
            let filter = |k: usize| {
                let x = ((start + k) as f64 - center + 0.5) / stretch;
                match how {
                    Interpolation::Bilinear => triangle(x),
                    Interpolation::Bicubic => cubic(x, -0.5),
                }
            };
            let sum: f64 = (0..len).map(filter).sum();
            let unit = if sum == 0.0 { 0.0 } else { unit / sum };
            self.spans.push(Span { start, len });
            self.weights
                .extend((0..len).map(|k| (filter(k) * unit) as f32));
            self.weights.resize(self.spans.len() * self.taps, 0.0);
        }
    }

    /// Two or four neighbours, borders repeated; cubic a = −0.75.
    fn fill_plain(&mut self, from: usize, to: usize, how: Interpolation, unit: f64) {
        let scale = from as f64 / to as f64;
        let last = from as isize - 1;
        let neighbours: isize = match how {
            Interpolation::Bilinear => 2,
            Interpolation::Bicubic => 4,
        };
        self.taps = neighbours as usize;
        for i in 0..to {
            let mut at = scale * (i as f64 + 0.5) - 0.5;
            if how == Interpolation::Bilinear {
                at = at.max(0.0);
            }
            let first = at.floor() as isize - (neighbours / 2 - 1);
            let start = first.clamp(0, last) as usize;
            let base = self.weights.len();
            self.weights.resize(base + self.taps, 0.0);
            let mut len = 1;
            for k in first..first + neighbours {
                let x = k as f64 - at;
                let weight = match how {
                    Interpolation::Bilinear => triangle(x),
                    Interpolation::Bicubic => cubic(x, -0.75),
                };
                let slot = k.clamp(0, last) as usize - start;
                self.weights[base + slot] += (weight * unit) as f32;
                len = len.max(slot + 1);
            }
            self.spans.push(Span { start, len });
        }
    }

    /// First source position and weights of result position `i`.
    fn at(&self, i: usize) -> (usize, &[f32]) {
        let Span { start, len } = self.spans[i];
        (start, &self.weights[i * self.taps..i * self.taps + len])
    }
}

/// Resamples `C` interleaved channels of a source, whose rows lie `stride` apart, to as many planes.
fn resample<T: Copy + Into<f32>, const C: usize>(
    source: &[T],
    stride: usize,
    plan: &Plan,
    (vertical, horizontal): (&Axis, &Axis),
    row: &mut Vec<f32>,
    out: &mut [f32],
) {
    let columns = plan.from.left * C..(plan.from.left + plan.from.width) * C;
    let area = plan.height * plan.width;
    row.resize(columns.len(), 0.0);
    for y in 0..plan.height {
        row.fill(0.0);
        let (start, weights) = vertical.at(y);
        for (k, weight) in weights.iter().enumerate() {
            let base = (plan.from.top + start + k) * stride;
            let line = &source[base + columns.start..base + columns.end];
            for (sum, v) in row.iter_mut().zip(line) {
                *sum += weight * (*v).into();
            }
        }
        for x in 0..plan.width {
            let (start, weights) = horizontal.at(x);
            let mut sum = [0.0; C];
            for (weight, pixel) in weights.iter().zip(row[start * C..].chunks_exact(C)) {
                for (s, v) in sum.iter_mut().zip(pixel) {
                    *s += weight * v;
                }
            }
            for (c, s) in sum.iter().enumerate() {
                out[c * area + y * plan.width + x] = *s;
            }
        }
    }
}

/// Makes `scratch.image` of a part of an image's bytes.
pub(super) fn from_bytes(image: &ImageRef<'_>, plan: &Plan, scratch: &mut Scratch) {
    let Scratch {
        image: out,
        row,
        vertical,
        horizontal,
        ..
    } = scratch;
    vertical.fill(plan.from.height, plan.height, plan, 1.0 / 255.0);
    horizontal.fill(plan.from.width, plan.width, plan, 1.0);
    out.reshape(image.channels, plan.height, plan.width);
    let stride = image.width * image.channels;
    let axes = (&*vertical, &*horizontal);
    if image.channels == 3 {
        resample::<u8, 3>(&image.pixels, stride, plan, axes, row, &mut out.data);
    } else {
        resample::<u8, 1>(&image.pixels, stride, plan, axes, row, &mut out.data);
    }
}

/// Replaces `scratch.image` by a part of it, resampled.
pub(super) fn from_planes(plan: &Plan, scratch: &mut Scratch) {
    let Scratch {
        image,
        spare,
        row,
        vertical,
        horizontal,
        ..
    } = scratch;
    vertical.fill(plan.from.height, plan.height, plan, 1.0);
    horizontal.fill(plan.from.width, plan.width, plan, 1.0);
    spare.reshape(image.channels, plan.height, plan.width);
    let planes = image.data.chunks_exact((image.height * image.width).max(1));
    let axes = (&*vertical, &*horizontal);
    for (plane, out) in planes.zip(spare.planes_mut()) {
        resample::<f32, 1>(plane, image.width, plan, axes, row, out);
    }
    std::mem::swap(image, spare);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: usize, to: usize, interpolation: Interpolation, antialias: bool) -> Axis {
        let plan = Plan {
            from: Area::whole(from, from),
            height: to,
            width: to,
            interpolation,
            antialias,
        };
        let mut axis = Axis::default();
        axis.fill(from, to, &plan, 1.0);
        axis
    }

    fn each_way(mut check: impl FnMut(Interpolation, bool)) {
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for antialias in [true, false] {
                check(interpolation, antialias);
            }
        }
    }

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        each_way(|interpolation, antialias| {
            for from in [1, 2, 3, 7, 28, 100] {
                for to in [1, 2, 5, 28, 64] {
                    let a = axis(from, to, interpolation, antialias);
                    for i in 0..to {
                        let (start, weights) = a.at(i);
                        assert!(start + weights.len() <= from);
                        let sum: f32 = weights.iter().sum();
                        assert!((sum - 1.0).abs() < 1e-5, "{from} to {to}: {sum}");
                    }
                }
            }
        });
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        each_way(|interpolation, antialias| {
            let a = axis(9, 9, interpolation, antialias);
            for i in 0..9 {
                let (start, weights) = a.at(i);
                for (k, w) in weights.iter().enumerate() {
                    assert_eq!(*w, if start + k == i { 1.0 } else { 0.0 });
                }
            }
        });
    }
}
