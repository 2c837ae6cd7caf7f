//! Batches of views, rendered ahead of the step on threads of their own.
//!
//! One thread takes the batches in order and shares out their images over a pool; a bounded queue keeps it from running far ahead.
//! Which thread renders an image changes nothing, so the batches are the same bytes for any number of threads.

use super::{Key, Renderer};
use crate::data::Split;
use crate::rng::{Domain, Stream};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use sslc_compiler::program::View;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

/// Batches that wait in the queue while one is used and one is made.
const AHEAD: usize = 2;
/// Images that a thread renders in one go.
const CHUNK: usize = 8;

/// In which order a loader goes through the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new random order each epoch, keyed by (seed, epoch); epoch after epoch without end.
    Shuffled,
    /// These images once, in this order, with the draws of epoch 0.
    Once(Vec<usize>),
}

/// What a loader delivers.
#[derive(Clone, Debug)]
pub struct Batches {
    /// The views of each image; a view's index here addresses its draws.
    pub views: Vec<View>,
    /// Images per batch.
    pub batch: usize,
    pub order: Order,
    /// Leaves out the rest of an epoch that does not fill a batch.
    pub drop_last: bool,
    pub seed: u64,
    /// Number of the first batch, counted over all epochs; not 0 where a training is taken up again.
    pub first: u64,
    /// Threads that render.
    pub threads: usize,
}

impl Batches {
    /// Batches in an epoch of `images` images.
    pub fn per_epoch(images: usize, batch: usize, drop_last: bool) -> usize {
        if drop_last {
            images / batch.max(1)
        } else {
            images.div_ceil(batch.max(1))
        }
    }
}

/// One batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Number of the batch, counted over all epochs.
    pub number: u64,
    pub epoch: u32,
    /// Indices of the images in their split.
    pub images: Vec<u32>,
    /// Classes of the images, where all of them are known.
    pub labels: Option<Vec<u32>>,
    /// For each view [B, H, W, C].
    pub views: Vec<Vec<f32>>,
}

/// Delivers batches in order; ends after the images of [`Order::Once`], never with [`Order::Shuffled`].
/// Dropping it stops its threads.
#[derive(Debug)]
pub struct Loader {
    batches: Option<Receiver<Result<Batch, Diagnostic>>>,
    used: Sender<Batch>,
    maker: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts to render.
    ///
    /// Errors: E0612 where there is not one whole batch; E0616 where no thread can be started.
    pub fn start(split: Arc<Split>, batches: Batches) -> Result<Loader, Diagnostic> {
        let images = match &batches.order {
            Order::Shuffled => split.len(),
            Order::Once(images) => images.len(),
        };
        let per_epoch = Batches::per_epoch(images, batches.batch, batches.drop_last);
        if batches.batch == 0 || (per_epoch == 0 && batches.order == Order::Shuffled) {
            return Err(batch_too_large(batches.batch, images));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(batches.threads.max(1))
            .thread_name(|i| format!("views-{i}"))
            .build()
            .map_err(|e| no_thread(&e))?;
        let (send, receive) = sync_channel(AHEAD);
        let (used, reused) = channel();
        let maker = Maker {
            split,
            batches,
            per_epoch: per_epoch as u64,
            pool,
            order: Vec::new(),
            ordered_epoch: None,
            reused,
        };
        let maker = thread::Builder::new()
            .name("views".to_owned())
            .spawn(move || maker.run(&send))
            .map_err(|e| no_thread(&e))?;
        Ok(Loader {
            batches: Some(receive),
            used,
            maker: Some(maker),
        })
    }

    /// Takes back a batch that is done with, so that its memory serves again.
    pub fn recycle(&self, batch: Batch) {
        // Where the maker has ended nobody needs it, and it is dropped.
        let _ = self.used.send(batch);
    }
}

/// E0612: not one whole batch can be filled.
pub fn batch_too_large(batch: usize, images: usize) -> Diagnostic {
    Diagnostic::new(
        codes::E0612,
        format!("a batch of {batch} cannot be filled: there are {images} images"),
    )
    .help(format!(
        "write `batch = {images}` or less: --set train.batch={images}"
    ))
}

fn no_thread(e: &dyn Display) -> Diagnostic {
    Diagnostic::new(
        codes::E0616,
        format!("the threads that render views could not be started: {e}"),
    )
    .help("give fewer threads with `--threads`")
}

impl Iterator for Loader {
    type Item = Result<Batch, Diagnostic>;

    /// The next batch; waits for it where it is not ready. After an error there is no other.
    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(batch) = self.batches.as_ref()?.recv() {
            return Some(batch);
        }
        // The maker has ended: after its last batch, or because something in it broke.
        self.batches = None;
        match self.maker.take()?.join() {
            Ok(()) => None,
            Err(_) => Some(Err(Diagnostic::new(
                codes::E0616,
                "the threads that render views broke off",
            )
            .help("this is a mistake of the compiler: please report it with the spec"))),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Without a receiver the maker's next send fails, and it ends.
        self.batches = None;
        if let Some(maker) = self.maker.take() {
            let _ = maker.join();
        }
    }
}

/// What the loader's thread works with.
struct Maker {
    split: Arc<Split>,
    batches: Batches,
    per_epoch: u64,
    pool: ThreadPool,
    /// The order of `ordered_epoch`.
    order: Vec<u32>,
    ordered_epoch: Option<u32>,
    reused: Receiver<Batch>,
}

impl Maker {
    fn run(mut self, send: &SyncSender<Result<Batch, Diagnostic>>) {
        let mut number = self.batches.first;
        while let Some(batch) = self.make(number).transpose() {
            let failed = batch.is_err();
            if send.send(batch).is_err() || failed {
                return;
            }
            number += 1;
        }
    }

    fn set_order(&mut self, epoch: u32) {
        if self.ordered_epoch == Some(epoch) {
            return;
        }
        self.order.clear();
        match &self.batches.order {
            Order::Shuffled => {
                self.order.extend(0..self.split.len() as u32);
                Stream::new(self.batches.seed, Domain::Shuffle, epoch, 0, 0)
                    .shuffle(&mut self.order);
            }
            Order::Once(images) => self.order.extend(images.iter().map(|i| *i as u32)),
        }
        self.ordered_epoch = Some(epoch);
    }

    /// Batch `number`; `None` after the last.
    fn make(&mut self, number: u64) -> Result<Option<Batch>, Diagnostic> {
        let endless = self.batches.order == Order::Shuffled;
        if self.per_epoch == 0 || (!endless && number >= self.per_epoch) {
            return Ok(None);
        }
        let epoch = (number / self.per_epoch) as u32;
        self.set_order(epoch);
        let start = (number % self.per_epoch) as usize * self.batches.batch;
        let end = (start + self.batches.batch).min(self.order.len());
        let mut batch = self.reused.try_recv().unwrap_or_default();
        batch.number = number;
        batch.epoch = epoch;
        batch.images.clear();
        batch.images.extend_from_slice(&self.order[start..end]);
        batch.labels = batch
            .images
            .iter()
            .map(|i| self.split.label(*i as usize))
            .collect();
        self.render(&mut batch)?;
        Ok(Some(batch))
    }

    fn render(&self, batch: &mut Batch) -> Result<(), Diagnostic> {
        let (views, split) = (&self.batches.views, &*self.split);
        batch.views.resize_with(views.len(), Vec::new);
        // For each chunk of images, its part of every view.
        let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
        parts.resize_with(batch.images.len().div_ceil(CHUNK), Vec::new);
        for (data, view) in batch.views.iter_mut().zip(views) {
            data.resize(batch.images.len() * size(view), 0.0);
            for (part, slice) in parts
                .iter_mut()
                .zip(data.chunks_mut((CHUNK * size(view)).max(1)))
            {
                part.push(slice);
            }
        }
        let key = Key {
            seed: self.batches.seed,
            epoch: batch.epoch,
            image: 0,
            view: 0,
        };
        let done: Vec<Result<(), Diagnostic>> = self.pool.install(|| {
            parts
                .par_iter_mut()
                .zip(batch.images.par_chunks(CHUNK))
                .map_init(Renderer::default, |renderer, (part, images)| {
                    images.iter().enumerate().try_for_each(|(k, image)| {
                        let key = Key {
                            image: *image,
                            ..key
                        };
                        render_image(split, views, key, k, renderer, part)
                    })
                })
                .collect()
        });
        // The first failure in the order of images, whichever thread met it.
        done.into_iter().collect()
    }
}

fn size(view: &View) -> usize {
    view.height * view.width * view.channels
}

/// Renders all views of one image, the `k`th of its chunk.
fn render_image(
    split: &Split,
    views: &[View],
    key: Key,
    k: usize,
    renderer: &mut Renderer,
    part: &mut [&mut [f32]],
) -> Result<(), Diagnostic> {
    let pixels = split.image(key.image as usize)?;
    for (v, (view, out)) in views.iter().zip(part).enumerate() {
        let key = Key {
            view: v as u16,
            ..key
        };
        let out = &mut out[k * size(view)..(k + 1) * size(view)];
        renderer.render(view, &pixels, key, out).map_err(|mut d| {
            let name = split.image_name(key.image as usize);
            d.message = format!("{} (view `{}` of {name})", d.message, view.name);
            d
        })?;
    }
    Ok(())
}
