//! Views: augmented images. Each operation's arithmetic is torchvision's of that name on float tensors in [0, 1].
//!
//! - [`render`], [`render_raw`]: one view of one image. [`Key`] says which: the same key gives the same view, alone or in a batch.
//! - [`Loader`]: the batches of a training, rendered ahead on threads of its own.
//! - [`Renderer`]: views one after another, and the time of each operation.
//! - `draws`: random parameters, as torchvision draws them. `steps`: a pipeline with all parameters drawn. `passes`: runs those steps over the pixels.
//! - `resample` (with `transpose`), `geometry`, `color`, `blur`: the operations. `planes`: the image between them.
//!
//! Invariant: a view is a function of its key, its pipeline and its image; never of the batch, the thread, the order of work or the
//! instructions that the machine has: each operation is one source, compiled for each of them, without fused multiply-adds.
mod blur;
mod color;
mod draws;
mod geometry;
#[cfg(test)]
mod golden;
mod loader;
mod passes;
mod planes;
mod resample;
mod steps;
mod transpose;

pub use loader::{Batch, Batches, Loader, Order, batch_too_large};
pub use passes::OpTimes;

use crate::cpu::level::Level;
use crate::data::ImageRef;
use crate::rng::{Domain, Stream};
use planes::Scratch;
use sslc_compiler::program::{Pipeline, View, ViewKind, ViewOp};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::time::{Duration, Instant};

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
    let size = (image.height, image.width);
    let (height, width) = steps::draw(ops, size, key, &mut scratch.steps)?;
    let mut data = vec![0.0; height * width * image.channels];
    passes::run(image, &mut scratch, &mut data, None);
    Ok(Rendered {
        data,
        height,
        width,
        channels: image.channels,
    })
}

/// Renders views one after another, in memory of its own that serves for all of them.
#[derive(Debug, Default)]
pub struct Renderer {
    scratch: Scratch,
}

impl Renderer {
    /// A renderer that runs the instructions of a level which this machine has.
    pub fn at(level: Level) -> Renderer {
        Renderer {
            scratch: Scratch::at(level),
        }
    }

    /// Renders one view of `image` into `out`, [H, W, C].
    ///
    /// Errors: E0614 where the image is too small for a crop; E0615 where the view comes out in another size than the spec says.
    pub fn render(
        &mut self,
        view: &View,
        image: &ImageRef<'_>,
        key: Key,
        out: &mut [f32],
    ) -> Result<(), Diagnostic> {
        self.draw(view, image, key, out.len())?;
        passes::run(image, &mut self.scratch, out, None);
        Ok(())
    }

    /// As [`Renderer::render`], but each operation makes a pass of its own, and its time is added to `times`.
    ///
    /// Errors: as there.
    pub fn render_timed(
        &mut self,
        view: &View,
        image: &ImageRef<'_>,
        key: Key,
        out: &mut [f32],
        times: &mut OpTimes,
    ) -> Result<(), Diagnostic> {
        let begin = Instant::now();
        self.draw(view, image, key, out.len())?;
        times.draws += begin.elapsed();
        times
            .ops
            .resize(view.pipeline.ops.len(), Duration::default());
        passes::run(image, &mut self.scratch, out, Some(times));
        Ok(())
    }

    fn draw(
        &mut self,
        view: &View,
        image: &ImageRef<'_>,
        key: Key,
        room: usize,
    ) -> Result<(), Diagnostic> {
        let size = (image.height, image.width);
        let ops = &view.pipeline.ops;
        let (height, width) = steps::draw(ops, size, key, &mut self.scratch.steps)?;
        let made = [height, width, image.channels];
        let wanted = [view.height, view.width, view.channels];
        if made == wanted && made.iter().product::<usize>() == room {
            return Ok(());
        }
        Err(Diagnostic::new(
            codes::E0615,
            format!(
                "a view comes out as {}×{}×{} where {}×{}×{} is needed",
                made[0], made[1], made[2], wanted[0], wanted[1], wanted[2]
            ),
        )
        .help("images of different sizes need a crop or a resize to two numbers: add `center_crop(size)` or `random_resized_crop(size)`"))
    }
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
