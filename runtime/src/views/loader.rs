//! Batches of views, rendered ahead of the step on threads of their own.
//!
//! One thread takes the batches in order and renders them beside the step, which has the other cores to itself. While the training waits for a batch,
//! and the cores have nothing else to do, the threads of a pool join in. A bounded queue keeps all of it from running far ahead.
//! Which thread renders an image changes nothing, so the batches are the same bytes for any number of threads.

use super::{Key, Renderer};
use crate::data::{DecodeBuffer, Split};
use crate::rng::{Domain, Stream};
use rayon::{Scope, ThreadPool, ThreadPoolBuilder};
use sslc_compiler::program::View;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Batches that wait in the queue while one is used and one is made.
const AHEAD: usize = 2;
/// Images that a thread renders in one go.
const CHUNK: usize = 4;

/// In which order a loader goes through the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new random order each epoch, keyed by (seed, epoch); epoch after epoch without end.
    Shuffled,
    /// As [`Order::Shuffled`], of these images alone.
    ShuffledOf(Vec<usize>),
    /// These images once, in this order, with the draws of epoch 0.
    Once(Vec<usize>),
}

impl Order {
    /// Whether epoch follows on epoch.
    fn is_endless(&self) -> bool {
        !matches!(self, Order::Once(_))
    }
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
    /// Threads that render while somebody waits for a batch; otherwise one does.
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
    /// Whether somebody waits for a batch.
    waiting: Arc<AtomicBool>,
}

impl Loader {
    /// Starts to render.
    ///
    /// Errors: E0612 where there is not one whole batch; E0616 where no thread can be started.
    pub fn start(split: Arc<Split>, batches: Batches) -> Result<Loader, Diagnostic> {
        let images = match &batches.order {
            Order::Shuffled => split.len(),
            Order::ShuffledOf(images) | Order::Once(images) => images.len(),
        };
        let per_epoch = Batches::per_epoch(images, batches.batch, batches.drop_last);
        if batches.batch == 0 || (per_epoch == 0 && batches.order.is_endless()) {
            return Err(batch_too_large(batches.batch, images));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(batches.threads.saturating_sub(1).max(1))
            .thread_name(|i| format!("views-{i}"))
            .build()
            .map_err(|e| no_thread(&e))?;
        let (send, receive) = sync_channel(AHEAD);
        let (used, reused) = channel();
        let waiting = Arc::new(AtomicBool::new(false));
        let maker = Maker {
            split,
            batches,
            per_epoch: per_epoch as u64,
            pool,
            waiting: waiting.clone(),
            hands: Mutex::default(),
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
            waiting,
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
        let queue = self.batches.as_ref()?;
        let batch = match queue.try_recv() {
            Err(TryRecvError::Empty) => {
                self.waiting.store(true, Ordering::Relaxed);
                let batch = queue.recv().ok();
                self.waiting.store(false, Ordering::Relaxed);
                batch
            }
            now => now.ok(),
        };
        if batch.is_some() {
            return batch;
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
    /// The threads that join in.
    pool: ThreadPool,
    waiting: Arc<AtomicBool>,
    /// Working memory that no thread uses at present.
    hands: Mutex<Vec<Hand>>,
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
            Order::Shuffled => self.order.extend(0..self.split.len() as u32),
            Order::ShuffledOf(images) | Order::Once(images) => {
                self.order.extend(images.iter().map(|i| *i as u32));
            }
        }
        if self.batches.order.is_endless() {
            Stream::new(self.batches.seed, Domain::Shuffle, epoch, 0, 0).shuffle(&mut self.order);
        }
        self.ordered_epoch = Some(epoch);
    }

    /// Batch `number`; `None` after the last.
    fn make(&mut self, number: u64) -> Result<Option<Batch>, Diagnostic> {
        let endless = self.batches.order.is_endless();
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
        let views = &self.batches.views;
        batch.views.resize_with(views.len(), Vec::new);
        // For each chunk of images, its part of every view.
        let mut parts: Vec<Part<'_>> = batch
            .images
            .chunks(CHUNK)
            .map(|images| Part {
                images,
                views: Vec::new(),
            })
            .collect();
        for (data, view) in batch.views.iter_mut().zip(views) {
            data.resize(batch.images.len() * size(view), 0.0);
            let slices = data.chunks_mut((CHUNK * size(view)).max(1));
            for (part, slice) in parts.iter_mut().zip(slices) {
                part.views.push(slice);
            }
        }
        let work = Work {
            split: &self.split,
            batches: &self.batches,
            waiting: &self.waiting,
            hands: &self.hands,
            epoch: batch.epoch,
            parts: Mutex::new(parts.into_iter().enumerate()),
            helpers: AtomicUsize::new(0),
            failed: Mutex::new(None),
        };
        self.pool.in_place_scope(|scope| work.lead(scope));
        let failed = lock(&work.failed).take();
        failed.map_or(Ok(()), |(_, why)| Err(why))
    }
}

/// What one thread works with.
#[derive(Default)]
struct Hand {
    renderer: Renderer,
    decoded: DecodeBuffer,
}

/// A few images of a batch, and the places of their views.
struct Part<'a> {
    images: &'a [u32],
    views: Vec<&'a mut [f32]>,
}

/// The rendering of one batch.
struct Work<'a, I> {
    split: &'a Split,
    batches: &'a Batches,
    waiting: &'a AtomicBool,
    hands: &'a Mutex<Vec<Hand>>,
    epoch: u32,
    parts: Mutex<I>,
    /// Threads of the pool that have joined in.
    helpers: AtomicUsize,
    /// The failure of the first part that has one.
    failed: Mutex<Option<(usize, Diagnostic)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, I: Iterator<Item = (usize, Part<'a>)> + Send> Work<'a, I> {
    /// Renders parts until none is left, and calls for help while somebody waits.
    fn lead<'scope>(&'scope self, scope: &Scope<'scope>) {
        let most = self.batches.threads.saturating_sub(1);
        self.render_while(|| {
            while self.waited_for() && self.helpers.load(Ordering::Relaxed) < most {
                self.helpers.fetch_add(1, Ordering::Relaxed);
                scope.spawn(|_| {
                    self.render_while(|| self.waited_for());
                    self.helpers.fetch_sub(1, Ordering::Relaxed);
                });
            }
            true
        });
    }

    fn waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    fn render_while(&self, go_on: impl Fn() -> bool) {
        let mut hand = lock(self.hands).pop().unwrap_or_default();
        while go_on() {
            let Some((n, mut part)) = lock(&self.parts).next() else {
                break;
            };
            if let Err(why) = self.render_part(&mut part, &mut hand) {
                let mut failed = lock(&self.failed);
                if failed.as_ref().is_none_or(|(first, _)| n < *first) {
                    *failed = Some((n, why));
                }
            }
        }
        lock(self.hands).push(hand);
    }

    fn render_part(&self, part: &mut Part<'_>, hand: &mut Hand) -> Result<(), Diagnostic> {
        let Batches { views, seed, .. } = &self.batches;
        for (k, image) in part.images.iter().enumerate() {
            let key = Key {
                seed: *seed,
                epoch: self.epoch,
                image: *image,
                view: 0,
            };
            render_image(self.split, views, key, k, hand, &mut part.views)?;
        }
        Ok(())
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
    hand: &mut Hand,
    part: &mut [&mut [f32]],
) -> Result<(), Diagnostic> {
    let pixels = split.image_in(key.image as usize, &mut hand.decoded)?;
    for (v, (view, out)) in views.iter().zip(part).enumerate() {
        let key = Key {
            view: v as u16,
            ..key
        };
        let out = &mut out[k * size(view)..(k + 1) * size(view)];
        let done = hand.renderer.render(view, &pixels, key, out);
        done.map_err(|mut d| {
            let name = split.image_name(key.image as usize);
            d.message = format!("{} (view `{}` of {name})", d.message, view.name);
            d
        })?;
    }
    Ok(())
}
