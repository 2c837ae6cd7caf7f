//! Training: from a program and its images to a trained encoder in a run directory.
//!
//! - [`init`]: initial values.
//! - [`stepper`]: one step after another on a device.
//! - [`encoder`]: features for evaluation, weights as a file. [`knn`]: evaluation by neighbours.
//! - [`embedding`]: features and thumbnails of some images, to look at.
//! - [`directory`]: what a run leaves behind.
//! - [`train`]: the loop. It tells an [`Observer`] what happens and draws nothing itself.
pub mod directory;
pub mod embedding;
pub mod encoder;
pub mod init;
mod knn;
pub mod stepper;

use crate::collapse::{Spread, spread};
use crate::data::{Dataset, Split};
use crate::device::Target;
use crate::memory;
use crate::views::{Batch, Batches, Loader, Order};
use directory::RunDirectory;
use embedding::Embedding;
use encoder::Encoder;
use init::Values;
use knn::KnnEvaluator;
use serde::Serialize;
use sslc_compiler::core::ops;
use sslc_compiler::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use stepper::Stepper;

/// What an evaluation looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Pixels as the evaluation's images have them.
    Raw,
    /// The encoder before training, running statistics from one pass over the data.
    Untrained,
    /// The encoder during training.
    Training,
    /// The encoder at the end.
    Trained,
}

/// One optimizer step, as `metrics.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// From 0.
    pub step: u64,
    pub epoch: f64,
    pub loss: f32,
    pub lr: f64,
    pub samples_per_second: f64,
    /// The share of the step's time that it waited for its views.
    pub waiting: f64,
    #[serde(flatten)]
    pub watches: BTreeMap<String, f32>,
    /// Spread of the embedding, at the steps where it is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_std: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_rank: Option<f64>,
    /// Bytes of the process that lie in memory, at the same steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What happens, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// k-NN accuracy from 0 to 1.
    Knn { subject: Subject, accuracy: f64 },
    Step {
        record: &'a StepRecord,
        total: u64,
        seconds_left: f64,
        spread: Option<Spread>,
        /// The share of the time so far that steps waited for their views; the first views, which nothing hides, are left out.
        waiting: f64,
    },
    /// Something a person should know that stops nothing.
    Notice(&'a Diagnostic),
}

/// Shows or records what happens.
pub trait Observer {
    fn event(&mut self, event: Event);
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Finished,
    /// The stop flag was set.
    Stopped,
}

/// What a training left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub ending: Ending,
    /// Optimizer steps done.
    pub steps: u64,
    pub encoder: PathBuf,
    /// k-NN accuracy at the end, where it was measured.
    pub knn: Option<f64>,
    /// What the encoder makes of some images, at the end of a training that was not stopped.
    pub embedding: Option<Embedding>,
}

/// An epoch that waits for its views for more than this share of its time, and for this many seconds, gives a warning.
const WAITING_SHARE: f64 = 0.1;
const WAITING_SECONDS: f64 = 1.0;
/// Steps between two snapshots that a diverged training falls back to.
const SNAPSHOT_EVERY: u64 = 50;
/// Steps between two measurements of the embedding's spread and of the memory held.
const SPREAD_EVERY: u64 = 10;

/// Trains a program on its images and writes the encoder; a set `stop` ends it after the present step.
///
/// # Errors
/// When the data is too small or damaged, the device cannot hold the program, the directory cannot be written, or the
/// loss is not finite: then the encoder of the last good snapshot is written first.
pub fn train(
    program: &Program,
    dataset: Dataset,
    target: &Target,
    directory: &mut RunDirectory,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Diagnostic> {
    for notice in &dataset.notices {
        observer.event(Event::Notice(notice));
    }
    check_labels(program, &dataset)?;
    let initial = init::values(program);
    let mut stepper = Stepper::new(program, target, &initial, false)?;
    if let Some(text) = stepper.kernels_text() {
        directory.add(Path::new("graph.txt"), &text)?;
    }
    let train = Arc::new(dataset.train);
    let test = dataset.test.map(Arc::new);
    let mut knn = KnnEvaluator::new(program, target, train.clone(), test.clone(), observer)?;
    if let Some(knn) = &mut knn {
        knn.before(&initial, directory, observer)?;
    }
    let run = Run {
        program,
        directory,
        observer,
        stop,
        initial: &initial,
        started: Instant::now(),
        threads: target.threads(),
        last: Timing::default(),
        total: Timing::default(),
    };
    let (mut outcome, values) = run.steps(&mut stepper, &train, &mut knn)?;
    if outcome.ending == Ending::Finished {
        let shown = test.filter(|t| !t.is_empty()).unwrap_or(train);
        let mut own = None;
        let encoder = match &mut knn {
            Some(knn) => knn.encoder(),
            None => own.insert(Encoder::new(program, target)?),
        };
        outcome.embedding = Some(Embedding::of(encoder, &values, &shown)?);
    }
    Ok(outcome)
}

/// A loss that reads `labels` needs the class of every training image.
fn check_labels(program: &Program, dataset: &Dataset) -> Result<(), Diagnostic> {
    let reads_labels = program.forward.nodes.iter().any(|n| n.is(&ops::LABELS));
    if !reads_labels || dataset.train.fully_labelled() {
        return Ok(());
    }
    Err(Diagnostic::new(
        codes::E0802,
        "the loss reads `labels`, and not every training image of this source has one",
    )
    .help("use a source with labels: class folders, or a set that comes with them"))
}

struct Run<'a> {
    program: &'a Program,
    directory: &'a mut RunDirectory,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
    initial: &'a Values,
    started: Instant,
    threads: usize,
    /// Of the last step, and of all steps but the first.
    last: Timing,
    total: Timing,
}

/// Seconds of steps, and those among them that were spent waiting for views.
#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    seconds: f64,
    waiting: f64,
}

impl Timing {
    /// Rounded to a thousandth.
    fn share(self) -> f64 {
        (self.waiting / self.seconds.max(1e-9) * 1e3).round() * 1e-3
    }
}

impl Run<'_> {
    fn steps(
        mut self,
        stepper: &mut Stepper,
        split: &Arc<Split>,
        knn: &mut Option<KnnEvaluator>,
    ) -> Result<(Outcome, Values), Diagnostic> {
        let settings = &self.program.train;
        let mut loader = Loader::start(
            split.clone(),
            Batches {
                views: self.program.views.clone(),
                batch: settings.batch,
                order: Order::Shuffled,
                drop_last: settings.drop_last,
                seed: settings.seed,
                first: 0,
                threads: self.threads,
            },
        )?;
        let mut snapshot = (0, self.initial.clone());
        self.started = Instant::now();
        let mut evaluating = 0.0;
        while stepper.step() < settings.steps && !self.stop.load(Ordering::Relaxed) {
            let step = stepper.step();
            let Some(()) = self.one_step(stepper, &mut loader)? else {
                break;
            };
            let record = self.record(stepper, step, evaluating);
            if let Some((what, value)) = not_finite(&record) {
                return self.diverged(step, &what, value, &snapshot);
            }
            self.report(stepper, record)?;
            if self.ends_epoch(stepper.step()) {
                self.tell_damage(split);
                if settings.steps_per_epoch == Some(stepper.step()) {
                    self.tell_waiting();
                }
            }
            if stepper.step().is_multiple_of(SNAPSHOT_EVERY) {
                let values = stepper.values(self.program, self.initial);
                if values.values().flatten().all(|v| v.is_finite()) {
                    snapshot = (stepper.step(), values);
                }
            }
            if let Some(knn) = knn
                && knn.due(stepper.step(), settings.steps)
            {
                let begin = Instant::now();
                let values = stepper.values(self.program, self.initial);
                knn.run(
                    &values,
                    Subject::Training,
                    stepper.step(),
                    self.directory,
                    self.observer,
                )?;
                evaluating += begin.elapsed().as_secs_f64();
            }
        }
        drop(loader);
        self.tell_damage(split);
        self.finish(stepper, knn)
    }

    /// One optimizer step, of as many micro-batches as it takes. `None` where the images have ended.
    fn one_step(
        &mut self,
        stepper: &mut Stepper,
        loader: &mut Loader,
    ) -> Result<Option<()>, Diagnostic> {
        let begin = Instant::now();
        self.last = Timing::default();
        loop {
            let asked = Instant::now();
            let Some(batch) = loader.next().transpose()? else {
                return Ok(None);
            };
            self.last.waiting += asked.elapsed().as_secs_f64();
            feed(stepper, self.program, &batch);
            loader.recycle(batch);
            if stepper.run() {
                break;
            }
        }
        self.last.seconds = begin.elapsed().as_secs_f64();
        if stepper.step() > 1 {
            self.total.seconds += self.last.seconds;
            self.total.waiting += self.last.waiting;
        }
        Ok(Some(()))
    }

    /// Tells that views are made more slowly than steps.
    fn tell_waiting(&mut self) {
        if self.total.share() <= WAITING_SHARE || self.total.waiting < WAITING_SECONDS {
            return;
        }
        let notice = Diagnostic::new(
            codes::W0802,
            format!(
                "{:.0} % of the first epoch was spent waiting for views",
                100.0 * self.total.share()
            ),
        )
        .help("`sslc bench --views SPEC` shows what they cost: make the image files smaller, or leave costly operations out");
        self.observer.event(Event::Notice(&notice));
    }

    fn record(&self, stepper: &Stepper, step: u64, evaluating: f64) -> StepRecord {
        let settings = &self.program.train;
        let seconds = (self.started.elapsed().as_secs_f64() - evaluating).max(1e-9);
        let images = (step + 1) * settings.accumulate * settings.batch as u64;
        let lr = &settings.optimizer.base.lr;
        let watches = self
            .program
            .forward
            .outputs
            .iter()
            .filter_map(|(name, value)| {
                let short = name.strip_prefix("value/")?;
                let scalar = self.program.forward.ty(*value).rank() == 0;
                Some((short.to_owned(), scalar.then(|| stepper.scalar(name))??))
            })
            .collect();
        StepRecord {
            step,
            epoch: match settings.steps_per_epoch {
                Some(n) if n > 0 => (step + 1) as f64 / n as f64,
                _ => 0.0,
            },
            loss: stepper.scalar("loss").unwrap_or(f32::NAN),
            lr: self.program.schedules.get(lr).map_or(0.0, |s| s.at(step)),
            samples_per_second: images as f64 / seconds,
            waiting: self.last.share(),
            watches,
            embedding_std: None,
            effective_rank: None,
            memory_bytes: None,
        }
    }

    fn report(&mut self, stepper: &Stepper, mut record: StepRecord) -> Result<(), Diagnostic> {
        let settings = &self.program.train;
        let last = record.step + 1 == settings.steps;
        let measured = record.step.is_multiple_of(SPREAD_EVERY) || last;
        record.memory_bytes = measured.then(memory::resident).flatten();
        let spread = (settings.watch_collapse && measured)
            .then(|| self.spread(stepper))
            .flatten();
        record.embedding_std = spread.map(|s| s.std);
        record.effective_rank = spread.map(|s| s.effective_rank);
        self.directory.log(&record)?;
        let left = settings.steps - record.step - 1;
        let per_step =
            (settings.accumulate * settings.batch as u64) as f64 / record.samples_per_second;
        self.observer.event(Event::Step {
            record: &record,
            total: settings.steps,
            seconds_left: left as f64 * per_step,
            spread,
            waiting: self.total.share(),
        });
        Ok(())
    }

    fn ends_epoch(&self, steps: u64) -> bool {
        let epoch = self.program.train.steps_per_epoch;
        epoch.is_some_and(|n| n > 0 && steps.is_multiple_of(n))
    }

    /// Tells of image files that turned out to be damaged.
    fn tell_damage(&mut self, split: &Split) {
        if let Some(notice) = split.take_notice() {
            self.observer.event(Event::Notice(&notice));
        }
    }

    fn spread(&self, stepper: &Stepper) -> Option<Spread> {
        let id = self.program.forward.output("embedding")?;
        let dim = *self.program.forward.ty(id).shape.last()?;
        Some(spread(&stepper.value("embedding")?, dim))
    }

    fn save(&self, values: &Values, steps: u64) -> Result<PathBuf, Diagnostic> {
        self.directory
            .save_encoder(&encoder::weights(self.program, values, steps))
    }

    fn diverged(
        self,
        step: u64,
        what: &str,
        value: f32,
        snapshot: &(u64, Values),
    ) -> Result<(Outcome, Values), Diagnostic> {
        let encoder = self.save(&snapshot.1, snapshot.0)?;
        Err(Diagnostic::new(
            codes::E0801,
            format!("{what} is {value} at step {step}; training stopped"),
        )
        .help(format!(
            "lower the learning rate or lengthen its warm-up; the encoder of step {} is kept in {}",
            snapshot.0,
            encoder.display()
        )))
    }

    fn finish(
        self,
        stepper: &Stepper,
        knn: &mut Option<KnnEvaluator>,
    ) -> Result<(Outcome, Values), Diagnostic> {
        let steps = stepper.step();
        let values = stepper.values(self.program, self.initial);
        let encoder = self.save(&values, steps)?;
        let stopped = self.stop.load(Ordering::Relaxed);
        let accuracy = match knn {
            Some(knn) if !stopped => Some(knn.run(
                &values,
                Subject::Trained,
                steps,
                self.directory,
                self.observer,
            )?),
            _ => None,
        };
        let outcome = Outcome {
            ending: if stopped {
                Ending::Stopped
            } else {
                Ending::Finished
            },
            steps,
            encoder,
            knn: accuracy,
            embedding: None,
        };
        Ok((outcome, values))
    }
}

/// Sets the views and labels of a batch.
pub fn feed(stepper: &mut Stepper, program: &Program, batch: &Batch) {
    for (view, data) in program.views.iter().zip(&batch.views) {
        stepper.set_view(&view.name, data);
    }
    if let Some(labels) = &batch.labels {
        stepper.set_classes(labels);
    }
}

fn not_finite(record: &StepRecord) -> Option<(String, f32)> {
    if !record.loss.is_finite() {
        return Some(("the loss".to_owned(), record.loss));
    }
    record
        .watches
        .iter()
        .find(|(_, v)| !v.is_finite())
        .map(|(name, v)| (format!("the value '{name}'"), *v))
}
