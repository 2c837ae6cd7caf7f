//! The image between operations: one plane of floats per channel.

use super::color::Point;
use super::resample::Resampler;
use super::steps::Step;
use crate::cpu::level::{Level, leveled};
use crate::data::ImageRef;
use std::sync::OnceLock;

/// [C, H, W]; every operation of a channel runs over contiguous rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Planes {
    pub data: Vec<f32>,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// The image and the memory that operations work in, kept from view to view.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The instructions that operations are run with. The values do not depend on it.
    pub level: Level,
    pub image: Planes,
    /// Where an operation that cannot work in place puts its result, before the two are swapped.
    pub spare: Planes,
    pub row: Vec<f32>,
    pub kernel: Vec<f32>,
    pub resampler: Resampler,
    pub steps: Vec<Step>,
    pub points: Vec<Point>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        static DETECTED: OnceLock<Level> = OnceLock::new();
        Scratch::at(*DETECTED.get_or_init(Level::detect))
    }
}

impl Scratch {
    /// Scratch for operations at a level that this machine has.
    pub fn at(level: Level) -> Scratch {
        Scratch {
            level,
            image: Planes::default(),
            spare: Planes::default(),
            row: Vec::new(),
            kernel: Vec::new(),
            resampler: Resampler::default(),
            steps: Vec::new(),
            points: Vec::new(),
        }
    }
}

leveled! {
    /// Bytes of one channel divided by 255.
    fn load_gray(bytes: &[u8], out: &mut [f32]) {
        for (out, v) in out.iter_mut().zip(bytes) {
            *out = f32::from(*v) / 255.0;
        }
    }
}

leveled! {
    /// Interleaved bytes of three channels, divided by 255, into planes.
    fn load_rgb(bytes: &[u8], r: &mut [f32], g: &mut [f32], b: &mut [f32]) {
        for (((r, g), b), pixel) in r.iter_mut().zip(g).zip(b).zip(bytes.as_chunks::<3>().0) {
            *r = f32::from(pixel[0]) / 255.0;
            *g = f32::from(pixel[1]) / 255.0;
            *b = f32::from(pixel[2]) / 255.0;
        }
    }
}

leveled! {
    /// Three planes to pixels.
    pub(super) fn interleave(r: &[f32], g: &[f32], b: &[f32], out: &mut [f32]) {
        for (((r, g), b), pixel) in r.iter().zip(g).zip(b).zip(out.as_chunks_mut::<3>().0) {
            *pixel = [*r, *g, *b];
        }
    }
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
    pub fn load(&mut self, image: &ImageRef<'_>, level: Level) {
        self.reshape(image.channels, image.height, image.width);
        match self.rgb() {
            // SAFETY: scratch is made with a level that the machine has.
            Some([r, g, b]) => unsafe { load_rgb(level)(&image.pixels, r, g, b) },
            // SAFETY: as above.
            None => unsafe { load_gray(level)(&image.pixels, &mut self.data) },
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
}
