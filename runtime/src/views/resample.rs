//! Bilinear and bicubic resampling, with and without antialiasing: PyTorch's `interpolate(align_corners=False)`.
//!
//! Each axis is a table of weights. A few rows of the result at a time: first the rows of the source are combined, which runs along the source's rows and takes
//! its bytes as they are, then the columns are. For the second, the rows are turned so that they lie side by side, and one weight serves all of them.

use super::geometry::Area;
use super::planes::Planes;
use super::transpose::transpose;
use crate::cpu::level::{Level, leveled};
use crate::data::ImageRef;
use sslc_compiler::program::Interpolation;

/// Rows of the result made at a time.
const ROWS: usize = 16;

/// The part of an image taken, the size it is given, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    pub from: Area,
    pub height: usize,
    pub width: usize,
    pub interpolation: Interpolation,
    pub antialias: bool,
    /// The result is mirrored left to right.
    pub mirrored: bool,
}

/// The tables of a plan and the memory of its passes.
#[derive(Debug, Default)]
pub(super) struct Resampler {
    vertical: Axis,
    horizontal: Axis,
    /// [ROWS, columns of the source], rows combined.
    rows: Vec<f32>,
    /// The same as [columns of the source, ROWS].
    turned: Vec<f32>,
    /// [columns of the result, ROWS].
    result: Vec<f32>,
}

/// For each position of the result, the positions of the source that it is made of, and their weights.
#[derive(Debug, Default)]
struct Axis {
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
        let shrink = 1.0 / stretch;
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
            let base = self.weights.len();
            let mut sum = 0.0;
            for k in 0..len {
                let x = ((start + k) as f64 - center + 0.5) * shrink;
                let weight = match how {
                    Interpolation::Bilinear => triangle(x),
                    Interpolation::Bicubic => cubic(x, -0.5),
                };
                sum += weight;
                self.weights.push(weight as f32);
            }
            let unit = if sum == 0.0 { 0.0 } else { unit / sum };
            for weight in &mut self.weights[base..] {
                *weight = (f64::from(*weight) * unit) as f32;
            }
            self.weights.resize(base + self.taps, 0.0);
            self.spans.push(Span { start, len });
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

    /// The last position of the result becomes the first.
    fn mirror(&mut self) {
        let (n, taps) = (self.spans.len(), self.taps);
        self.spans.reverse();
        for i in 0..n / 2 {
            let (head, tail) = self.weights.split_at_mut((n - 1 - i) * taps);
            head[i * taps..(i + 1) * taps].swap_with_slice(&mut tail[..taps]);
        }
    }

    /// First source position and weights of result position `i`.
    #[inline(always)]
    fn at(&self, i: usize) -> (usize, &[f32]) {
        let Span { start, len } = self.spans[i];
        (start, &self.weights[i * self.taps..i * self.taps + len])
    }
}

/// `out = Σ weight·row`, or `out += …`. All rows are as long as `out`.
#[inline(always)]
fn combine<T: Copy + Into<f32>, const M: usize>(
    rows: [&[T]; M],
    weights: &[f32],
    out: &mut [f32],
    add: bool,
) {
    let n = out.len();
    let rows = rows.map(|row| &row[..n]);
    let weights: [f32; M] = std::array::from_fn(|m| weights[m]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = if add { *out } else { 0.0 };
        for (row, weight) in rows.iter().zip(weights) {
            sum += weight * row[i].into();
        }
        *out = sum;
    }
}

/// `out = Σ weights[k]·row(k)`: few rows at a time, so that the sums stay in registers.
#[inline(always)]
fn weighted<'a, T: Copy + Into<f32> + 'a>(
    row: impl Fn(usize) -> &'a [T],
    weights: &[f32],
    out: &mut [f32],
) {
    let first = match weights.len() % 4 {
        0 => 4,
        n => n,
    };
    match first {
        1 => combine([row(0)], weights, out, false),
        2 => combine([row(0), row(1)], weights, out, false),
        3 => combine([row(0), row(1), row(2)], weights, out, false),
        _ => combine([row(0), row(1), row(2), row(3)], weights, out, false),
    }
    for k in (first..weights.len()).step_by(4) {
        let rows = [row(k), row(k + 1), row(k + 2), row(k + 3)];
        combine(rows, &weights[k..], out, true);
    }
}

/// Combines rows of the source to rows `from`… of the result. `source` begins with the first pixel of the part that is taken.
#[inline(always)]
fn vertical<T: Copy + Into<f32>>(
    source: &[T],
    stride: usize,
    axis: &Axis,
    from: usize,
    columns: usize,
    out: &mut [f32],
) {
    for (y, out) in out.chunks_exact_mut(columns).enumerate() {
        let (start, weights) = axis.at(from + y);
        let row = |k: usize| &source[(start + k) * stride..][..columns];
        weighted(row, weights, out);
    }
}

leveled! {
    fn vertical_bytes(source: &[u8], stride: usize, axis: &Axis, from: usize, columns: usize, out: &mut [f32]) {
        vertical(source, stride, axis, from, columns, out);
    }
}

leveled! {
    fn vertical_floats(source: &[f32], stride: usize, axis: &Axis, from: usize, columns: usize, out: &mut [f32]) {
        vertical(source, stride, axis, from, columns, out);
    }
}

/// Combines the columns of [`ROWS`] rows that lie side by side; a pixel is N numbers: its channels, and of each the rows.
#[inline(always)]
fn horizontal<const N: usize>(turned: &[f32], axis: &Axis, out: &mut [f32]) {
    let pixels = turned.as_chunks::<N>().0;
    for (x, out) in out.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let (start, weights) = axis.at(x);
        weighted(|k| &pixels[start + k][..], weights, out);
    }
}

leveled! {
    fn horizontal_rgb(turned: &[f32], axis: &Axis, out: &mut [f32]) {
        horizontal::<{ 3 * ROWS }>(turned, axis, out);
    }
}

leveled! {
    fn horizontal_gray(turned: &[f32], axis: &Axis, out: &mut [f32]) {
        horizontal::<ROWS>(turned, axis, out);
    }
}

/// A source of interleaved pixels.
enum Source<'a> {
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
}

impl Resampler {
    fn prepare(&mut self, plan: &Plan, channels: usize, unit: f64) {
        self.vertical
            .fill(plan.from.height, plan.height, plan, unit);
        self.horizontal.fill(plan.from.width, plan.width, plan, 1.0);
        if plan.mirrored {
            self.horizontal.mirror();
        }
        let columns = plan.from.width * channels;
        self.rows.resize(ROWS * columns, 0.0);
        self.turned.resize(ROWS * columns, 0.0);
        self.result.resize(ROWS * plan.width * channels, 0.0);
    }

    /// Resamples a source whose rows lie `stride` apart to planes.
    fn run(
        &mut self,
        source: &Source<'_>,
        stride: usize,
        plan: &Plan,
        channels: usize,
        out: &mut [f32],
        level: Level,
    ) {
        let columns = plan.from.width * channels;
        let first = plan.from.top * stride + plan.from.left * channels;
        if columns == 0 || plan.from.height == 0 || plan.width == 0 {
            return;
        }
        let area = plan.height * plan.width;
        for top in (0..plan.height).step_by(ROWS) {
            let made = ROWS.min(plan.height - top);
            let rows = &mut self.rows[..made * columns];
            let axis = &self.vertical;
            // SAFETY: scratch is made with a level that the machine has.
            unsafe {
                match source {
                    Source::Bytes(s) => {
                        vertical_bytes(level)(&s[first..], stride, axis, top, columns, rows);
                    }
                    Source::Floats(s) => {
                        vertical_floats(level)(&s[first..], stride, axis, top, columns, rows);
                    }
                }
                transpose(
                    level,
                    &self.rows,
                    columns,
                    &mut self.turned,
                    ROWS,
                    [made, columns],
                );
                if channels == 3 {
                    horizontal_rgb(level)(&self.turned, &self.horizontal, &mut self.result);
                } else {
                    horizontal_gray(level)(&self.turned, &self.horizontal, &mut self.result);
                }
            }
            for c in 0..channels {
                let from = &self.result[c * ROWS..];
                let to = &mut out[c * area + top * plan.width..];
                let pixel = channels * ROWS;
                // SAFETY: as above.
                unsafe { transpose(level, from, pixel, to, plan.width, [plan.width, made]) };
            }
        }
    }

    /// Makes `out` of a part of an image's bytes.
    pub fn bytes(&mut self, image: &ImageRef<'_>, plan: &Plan, out: &mut Planes, level: Level) {
        self.prepare(plan, image.channels, 1.0 / 255.0);
        out.reshape(image.channels, plan.height, plan.width);
        let stride = image.width * image.channels;
        let source = Source::Bytes(&image.pixels);
        self.run(&source, stride, plan, image.channels, &mut out.data, level);
    }

    /// Makes `out` of a part of an image.
    pub fn planes(&mut self, image: &Planes, plan: &Plan, out: &mut Planes, level: Level) {
        self.prepare(plan, 1, 1.0);
        out.reshape(image.channels, plan.height, plan.width);
        let planes = image.data.chunks_exact((image.height * image.width).max(1));
        for (plane, out) in planes.zip(out.planes_mut()) {
            self.run(&Source::Floats(plane), image.width, plan, 1, out, level);
        }
    }
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
            mirrored: false,
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

    #[test]
    fn a_mirrored_axis_is_read_from_its_end() {
        each_way(|interpolation, antialias| {
            let plain = axis(20, 7, interpolation, antialias);
            let mut mirrored = axis(20, 7, interpolation, antialias);
            mirrored.mirror();
            for i in 0..7 {
                assert_eq!(mirrored.at(i), plain.at(6 - i));
            }
        });
    }
}
