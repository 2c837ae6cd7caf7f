//! The image between operations: one plane of floats per channel.

use super::resample::Axis;
use crate::data::ImageRef;

/// [C, H, W]; every operation of a channel runs over contiguous rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Planes {
    pub data: Vec<f32>,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// The image and the memory that operations work in, kept from view to view.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub image: Planes,
    /// Where an operation that cannot work in place puts its result, before the two are swapped.
    pub spare: Planes,
    pub row: Vec<f32>,
    pub kernel: Vec<f32>,
    pub vertical: Axis,
    pub horizontal: Axis,
}

impl Planes {
    /// Takes a size; the values are what they happen to be.
    pub fn reshape(&mut self, channels: usize, height: usize, width: usize) {
        self.channels = channels;
        self.height = height;
        self.width = width;
        self.data.resize(channels * height * width, 0.0);
    }

    /// Each channel with its pixels.
    pub fn planes_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let area = (self.height * self.width).max(1);
        self.data.chunks_exact_mut(area)
    }

    /// The image's bytes divided by 255.
    pub fn load(&mut self, image: &ImageRef<'_>) {
        self.reshape(image.channels, image.height, image.width);
        for (c, plane) in self.planes_mut().enumerate() {
            let values = image.pixels.iter().skip(c).step_by(image.channels);
            for (out, v) in plane.iter_mut().zip(values) {
                *out = f32::from(*v) / 255.0;
            }
        }
    }

    /// The planes of an RGB image; none of other images.
    pub fn rgb(&mut self) -> Option<[&mut [f32]; 3]> {
        if self.channels != 3 {
            return None;
        }
        let area = self.height * self.width;
        let (r, rest) = self.data.split_at_mut(area);
        let (g, b) = rest.split_at_mut(area);
        Some([r, g, b])
    }

    /// Writes the image as [H, W, C].
    pub fn write_interleaved(&mut self, out: &mut [f32]) {
        match self.rgb() {
            Some([r, g, b]) => {
                let pixels = r.iter().zip(g.iter()).zip(b.iter());
                for (out, ((r, g), b)) in out.chunks_exact_mut(3).zip(pixels) {
                    out.copy_from_slice(&[*r, *g, *b]);
                }
            }
            None => out.copy_from_slice(&self.data),
        }
    }
}
