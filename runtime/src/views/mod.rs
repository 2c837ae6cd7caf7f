//! Views: augmented images. Each operation's arithmetic is torchvision's of that name on float tensors in [0, 1].
//!
//! - [`render`], [`render_raw`]: one view of one image. [`Key`] says which: the same key gives the same view, alone or in a batch.
//! - [`Loader`]: the batches of a training, rendered ahead on threads of its own.
//! - `draws`: random parameters, as torchvision draws them. `planes`: the image between operations.
//! - `resample`, `geometry`, `color`, `blur`: the operations.
//!
//! Invariant: a view is a function of its key, its pipeline and its image; never of the batch, the thread or the order of work.
mod blur;
mod color;
mod draws;
mod geometry;
#[cfg(test)]
mod golden;
mod loader;
mod planes;
mod resample;

pub use loader::{Batch, Batches, Loader, Order, batch_too_large};

use crate::data::ImageRef;
use crate::rng::{Domain, Stream};
use planes::Scratch;
use sslc_compiler::program::{Pipeline, ViewKind, ViewOp};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// What addresses the random draws of one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub seed: u64,
    pub epoch: u32,
    /// Index of the image in its split.
    pub image: u32,
    /// Index of the view among the views of the spec.
    pub view: u16,
}

impl Key {
    /// The draws of operation `op` of the pipeline. The first of them decides whether the operation acts.
    fn stream(self, op: usize) -> Stream {
        let place = u32::from(self.view) << 16 | (op as u32 & 0xffff);
        Stream::new(self.seed, Domain::Views, self.epoch, self.image, place)
    }
}

/// A view of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// [H, W, C]
    pub data: Vec<f32>,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// Renders one view.
///
/// Errors: E0614 where the image is too small for a crop.
pub fn render(pipeline: &Pipeline, image: &ImageRef<'_>, key: Key) -> Result<Rendered, Diagnostic> {
    render_ops(&pipeline.ops, image, key)
}

/// Renders one view up to its first `normalize`: values in [0, 1], but for what bicubic interpolation adds beyond.
///
/// Errors: E0614 where the image is too small for a crop.
pub fn render_raw(
    pipeline: &Pipeline,
    image: &ImageRef<'_>,
    key: Key,
) -> Result<Rendered, Diagnostic> {
    let n = pipeline
        .ops
        .iter()
        .position(|op| matches!(op.kind, ViewKind::Normalize { .. }))
        .unwrap_or(pipeline.ops.len());
    render_ops(&pipeline.ops[..n], image, key)
}

fn render_ops(ops: &[ViewOp], image: &ImageRef<'_>, key: Key) -> Result<Rendered, Diagnostic> {
    let mut scratch = Scratch::default();
    run(ops, image, key, &mut scratch)?;
    let image = &mut scratch.image;
    let mut data = vec![0.0; image.data.len()];
    image.write_interleaved(&mut data);
    Ok(Rendered {
        data,
        height: image.height,
        width: image.width,
        channels: image.channels,
    })
}

/// Renders one view into its place in a batch, [H, W, C].
///
/// Errors: E0614; E0615 where the view comes out in another size.
fn render_into(
    pipeline: &Pipeline,
    image: &ImageRef<'_>,
    key: Key,
    [height, width, channels]: [usize; 3],
    scratch: &mut Scratch,
    out: &mut [f32],
) -> Result<(), Diagnostic> {
    run(&pipeline.ops, image, key, scratch)?;
    let made = &mut scratch.image;
    if [made.height, made.width, made.channels] != [height, width, channels] {
        return Err(Diagnostic::new(
            codes::E0615,
            format!(
                "a view comes out as {}×{}×{} where {height}×{width}×{channels} is needed",
                made.height, made.width, made.channels
            ),
        )
        .help("images of different sizes need a crop or a resize to two numbers: add `center_crop(size)` or `random_resized_crop(size)`"));
    }
    made.write_interleaved(out);
    Ok(())
}

/// Runs the operations; the result is `scratch.image`.
fn run(
    ops: &[ViewOp],
    image: &ImageRef<'_>,
    key: Key,
    scratch: &mut Scratch,
) -> Result<(), Diagnostic> {
    let mut from = 0;
    // A pipeline that begins with a resampling takes its pixels directly from the bytes of the image.
    if let Some(op) = ops.first() {
        let mut draws = key.stream(0);
        if draws.unit() < op.p
            && let Some(plan) = resampling(&op.kind, image.height, image.width, &mut draws)
        {
            resample::from_bytes(image, &plan, scratch);
            from = 1;
        } else {
            scratch.image.load(image);
        }
    } else {
        scratch.image.load(image);
    }
    for (i, op) in ops.iter().enumerate().skip(from) {
        let mut draws = key.stream(i);
        if draws.unit() < op.p {
            apply(&op.kind, &mut draws, scratch)?;
        }
    }
    Ok(())
}

/// For an operation that resamples, the part of an image that it takes, the size it gives it, and how.
fn resampling(
    kind: &ViewKind,
    height: usize,
    width: usize,
    draws: &mut Stream,
) -> Option<resample::Plan> {
    match kind {
        ViewKind::RandomResizedCrop {
            height: h,
            width: w,
            scale,
            ratio,
            interpolation,
            antialias,
        } => Some(resample::Plan {
            from: draws::resized_crop(height, width, *scale, *ratio, draws),
            height: *h,
            width: *w,
            interpolation: *interpolation,
            antialias: *antialias,
        }),
        ViewKind::Resize {
            height: h,
            width: w,
            interpolation,
            antialias,
        } => {
            let (h, w) = match w {
                Some(w) => (*h, *w),
                None => geometry::shorter_side(height, width, *h),
            };
            Some(resample::Plan {
                from: geometry::Area::whole(height, width),
                height: h,
                width: w,
                interpolation: *interpolation,
                antialias: *antialias,
            })
        }
        ViewKind::CenterCrop { .. }
        | ViewKind::RandomCrop { .. }
        | ViewKind::HorizontalFlip
        | ViewKind::VerticalFlip
        | ViewKind::ColorJitter { .. }
        | ViewKind::Grayscale
        | ViewKind::GaussianBlur { .. }
        | ViewKind::Solarize { .. }
        | ViewKind::RandomRotation { .. }
        | ViewKind::RandomErasing { .. }
        | ViewKind::Normalize { .. } => None,
    }
}

fn apply(kind: &ViewKind, draws: &mut Stream, scratch: &mut Scratch) -> Result<(), Diagnostic> {
    let (height, width) = (scratch.image.height, scratch.image.width);
    match kind {
        ViewKind::RandomResizedCrop { .. } | ViewKind::Resize { .. } => {
            if let Some(plan) = resampling(kind, height, width, draws) {
                resample::from_planes(&plan, scratch);
            }
        }
        ViewKind::CenterCrop {
            height: h,
            width: w,
        } => {
            let (top, left) = geometry::center(height, width, *h, *w);
            geometry::crop(scratch, top, left, *h, *w);
        }
        ViewKind::RandomCrop {
            height: h,
            width: w,
            padding,
        } => {
            let corner = draws::crop_corner((height, width), (*h, *w), *padding, draws);
            let Some((top, left)) = corner else {
                return Err(too_small((height, width), (*h, *w), *padding));
            };
            geometry::crop(scratch, top, left, *h, *w);
        }
        ViewKind::HorizontalFlip => geometry::flip_horizontally(&mut scratch.image),
        ViewKind::VerticalFlip => geometry::flip_vertically(&mut scratch.image),
        ViewKind::ColorJitter {
            brightness,
            contrast,
            saturation,
            hue,
            random_order,
        } => {
            let mut order = [0, 1, 2, 3];
            if *random_order {
                draws.shuffle(&mut order);
            }
            let factors = [brightness, contrast, saturation, hue]
                .map(|r| r.map(|r| draws.uniform(r.lo, r.hi)));
            color::jitter(&mut scratch.image, factors, order);
        }
        ViewKind::Grayscale => color::grayscale(&mut scratch.image),
        ViewKind::GaussianBlur { sigma, kernel } => {
            let sigma = draws.uniform(sigma.lo, sigma.hi);
            blur::gaussian(scratch, sigma, kernel.unwrap_or(blur::auto_kernel(sigma)));
        }
        ViewKind::Solarize { threshold } => color::solarize(&mut scratch.image, *threshold),
        ViewKind::RandomRotation { degrees } => {
            let angle = draws.uniform(degrees.lo, degrees.hi);
            geometry::rotate(scratch, angle);
        }
        ViewKind::RandomErasing { scale, ratio } => {
            if let Some(area) = draws::erased(height, width, *scale, *ratio, draws) {
                geometry::erase(&mut scratch.image, area);
            }
        }
        ViewKind::Normalize { mean, std } => color::normalize(&mut scratch.image, mean, std),
    }
    Ok(())
}

fn too_small(image: (usize, usize), crop: (usize, usize), padding: usize) -> Diagnostic {
    Diagnostic::new(
        codes::E0614,
        format!(
            "an image of {}×{} with {padding} of padding on each side is too small for a random crop of {}×{}",
            image.0, image.1, crop.0, crop.1
        ),
    )
    .help("put `resize` before `random_crop`, raise `padding`, or use `random_resized_crop`")
}
