//! Products, convolutions and their input gradients of each shape, as plans of rows.

use super::form::Form;
use super::operands::Moves;
use super::outer::OuterPlan;
use super::phase::{Phase, Tap, WeightStrides};
use super::rows::RowsPlan;
use super::window::{Bring, Chunks, Image, Reach, Windows};
use sslc_compiler::kernels::ir::ConvShape;

/// A matrix product as a convolution: each row of A is an image of one pixel.
pub struct MatMul {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub tb: bool,
    pub a: usize,
    pub b: usize,
    pub out: usize,
}

impl MatMul {
    /// A pointwise convolution from `k` channels to `n`, with its filter transposed if `tb`; places of A, B and the result.
    pub fn of_pixels(
        shape: &ConvShape,
        [k, n]: [usize; 2],
        tb: bool,
        [a, b, out]: [usize; 3],
    ) -> MatMul {
        MatMul {
            batch: 1,
            m: shape.n * shape.h * shape.w,
            n,
            k,
            tb,
            a,
            b,
            out,
        }
    }

    fn strides_of_b(&self) -> (usize, usize) {
        if self.tb { (1, self.k) } else { (self.n, 1) }
    }

    fn windows(&self, all: usize, channels: usize, bring: (Bring, Moves)) -> Windows {
        let image = Image::dense(1, 1, all);
        let reach = Reach::forward(1, 1, 0);
        Windows::new(image, [reach, reach], (1, 1), 1, channels, bring)
    }

    /// The plan of A·B.
    pub fn rows(&self, form: Form) -> RowsPlan {
        let windows = self.windows(self.k, self.k, form.row_windows());
        let kept = self.n * form.kept;
        let chunks = Chunks::choose(self.m, 1, 1, 1, kept, |_| windows.image_words());
        let (inner, output) = self.strides_of_b();
        let tap = Tap {
            offset: 0,
            weights: 0,
        };
        RowsPlan {
            output_image: self.n,
            output_row: self.n,
            step: 1,
            phases: vec![Phase {
                row: 0,
                inputs: (0..chunks.group).map(|i| i * self.k).collect(),
                outputs: (0..chunks.group).map(|i| i * self.n).collect(),
                columns: 1,
                taps: vec![tap],
                blocks: Vec::new(),
            }],
            inner: self.k,
            columns: self.n,
            weight_strides: WeightStrides { inner, output },
            groups: self.batch,
            group_input: self.m * self.k,
            group_weights: self.k * self.n,
            group_output: self.m * self.n,
            batched: true,
            ..RowsPlan::of_one_pixel(form, [self.a, self.b, self.out], windows, chunks)
        }
        .finish()
    }

    /// With A given as [k, m]: its rows are the pixels.
    pub fn outer(&self, form: Form) -> OuterPlan {
        let places = [self.a, self.b, self.out];
        let sizes = [self.batch, self.m, self.n, self.k];
        OuterPlan::of_matmul(places, sizes, self.strides_of_b(), form)
    }
}

/// Whether a convolution is a matrix product of pixels × channels.
pub fn is_pointwise(s: &ConvShape) -> bool {
    s.kernel == 1 && s.stride == 1 && s.padding == 0 && s.groups == 1
}

/// The input as a convolution's windows see it, and how far apart they are: of 1×1 windows only what they meet is there.
fn input_image(s: &ConvShape) -> (Image, usize) {
    let image = Image::dense(s.h, s.w, s.c);
    if s.kernel == 1 && s.padding == 0 {
        (image.every(s.stride), 1)
    } else {
        (image, s.stride)
    }
}

/// For each output pixel of a chunk, in order: the image, row and column.
pub fn pixels(
    chunks: &Chunks,
    rows: impl Iterator<Item = usize> + Clone,
    columns: impl Iterator<Item = usize> + Clone,
) -> Vec<(usize, usize, usize)> {
    let mut list = Vec::new();
    for image in 0..chunks.group {
        for row in rows.clone() {
            for column in columns.clone() {
                list.push((image, row, column));
            }
        }
    }
    list
}

/// Each output pixel sees the taps of its window.
pub fn convolution(s: &ConvShape, [x, w, y]: [usize; 3], form: Form) -> RowsPlan {
    let (image, stride) = input_image(s);
    let reach = Reach::forward(s.kernel, stride, s.padding);
    let windows_for = |band: usize| {
        let outputs = (s.oh, s.ow);
        Windows::new(
            image,
            [reach, reach],
            outputs,
            band,
            s.c,
            form.row_windows(),
        )
    };
    let kept = s.k * form.kept;
    let chunks = Chunks::choose(s.n, s.oh, s.ow, 1, kept, |band| {
        windows_for(band).image_words()
    });
    let windows = windows_for(chunks.band);
    let (row_pitch, image_pitch) = (windows.row_pitch(), windows.image_pitch());
    let inner = s.c / s.groups;
    let mut taps = Vec::new();
    for ky in 0..s.kernel {
        for kx in 0..s.kernel {
            taps.push(Tap {
                offset: ky * row_pitch + kx * windows.pixel_pitch(),
                weights: (ky * s.kernel + kx) * inner * s.k,
            });
        }
    }
    let pixels = pixels(&chunks, 0..chunks.band, 0..s.ow);
    let phase = Phase {
        row: 0,
        inputs: pixels
            .iter()
            .map(|(i, r, c)| i * image_pitch + (r * row_pitch + c * windows.pixel_pitch()) * stride)
            .collect(),
        outputs: pixels
            .iter()
            .map(|(i, r, c)| ((i * s.oh + r) * s.ow + c) * s.k)
            .collect(),
        columns: s.ow,
        blocks: Vec::new(),
        taps,
    };
    RowsPlan {
        output_image: s.oh * s.ow * s.k,
        output_row: s.ow * s.k,
        step: 1,
        phases: vec![phase],
        inner,
        columns: s.k / s.groups,
        weight_strides: WeightStrides {
            inner: s.k,
            output: 1,
        },
        groups: s.groups,
        group_input: inner,
        group_weights: s.k / s.groups,
        group_output: s.k / s.groups,
        batched: false,
        ..RowsPlan::of_one_pixel(form, [x, w, y], windows, chunks)
    }
    .finish()
}

/// The gradient's pixels fall into stride² phases; in each, a pixel is reached by the same taps.
pub fn input_gradient(s: &ConvShape, [dy, w, dx]: [usize; 3], form: Form) -> RowsPlan {
    let image = Image::dense(s.oh, s.ow, s.k);
    let reach = Reach::backward(s.kernel, s.stride, s.padding);
    let windows_for = |band: usize| {
        let outputs = (s.h, s.w);
        Windows::new(
            image,
            [reach, reach],
            outputs,
            band,
            s.k,
            form.row_windows(),
        )
    };
    let kept = s.c * form.kept;
    let chunks = Chunks::choose(s.n, s.h, s.w, s.stride, kept, |band| {
        windows_for(band).image_words()
    });
    let windows = windows_for(chunks.band);
    let (row_pitch, image_pitch) = (windows.row_pitch(), windows.image_pitch());
    let inner = s.k / s.groups;
    let columns = s.c / s.groups;
    let mut phases = Vec::new();
    for row_phase in 0..s.stride {
        for column_phase in 0..s.stride {
            // Rows r of the chunk with (r + padding) mod stride = phase.
            let first = |phase: usize| (phase + s.stride * s.padding - s.padding) % s.stride;
            let (row, column) = (first(row_phase), first(column_phase));
            let tap_count = |phase: usize| (s.kernel + s.stride - 1 - phase) / s.stride;
            let (tall, broad) = (tap_count(row_phase), tap_count(column_phase));
            let mut taps = Vec::new();
            for ty in (0..tall).rev() {
                for tx in (0..broad).rev() {
                    let (ky, kx) = (row_phase + s.stride * ty, column_phase + s.stride * tx);
                    taps.push(Tap {
                        offset: (tall - 1 - ty) * row_pitch + (broad - 1 - tx) * s.k,
                        weights: (ky * s.kernel + kx) * columns * s.k,
                    });
                }
            }
            let pixels = pixels(
                &chunks,
                (row..chunks.band).step_by(s.stride),
                (column..s.w).step_by(s.stride),
            );
            // The place in the window of the farthest tap of pixel r: never before the window's beginning.
            let place = |r: usize, phase: usize, count: usize| {
                let window = ((r + s.padding - phase) / s.stride) as isize;
                (window - reach.low - (count as isize - 1)) as usize
            };
            let inputs = if taps.is_empty() {
                vec![0; pixels.len()]
            } else {
                pixels
                    .iter()
                    .map(|(i, r, c)| {
                        i * image_pitch
                            + place(*r, row_phase, tall) * row_pitch
                            + place(*c, column_phase, broad) * s.k
                    })
                    .collect()
            };
            phases.push(Phase {
                row,
                inputs,
                outputs: pixels
                    .iter()
                    .map(|(i, r, c)| ((i * s.h + r) * s.w + c) * s.c)
                    .collect(),
                columns: (column..s.w).step_by(s.stride).len(),
                blocks: Vec::new(),
                taps,
            });
        }
    }
    RowsPlan {
        output_image: s.h * s.w * s.c,
        output_row: s.w * s.c,
        step: s.stride,
        phases,
        inner,
        columns,
        weight_strides: WeightStrides {
            inner: 1,
            output: s.k,
        },
        groups: s.groups,
        group_input: inner,
        group_weights: inner,
        group_output: columns,
        batched: false,
        ..RowsPlan::of_one_pixel(form, [dy, w, dx], windows, chunks)
    }
    .finish()
}
