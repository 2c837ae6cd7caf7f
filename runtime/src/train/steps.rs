//! The loop of a training: step after step, with evaluations and checkpoints between them.
//!
//! Invariant: what a step computes depends on the state before it and its number alone, so that a training that goes on from
//! a checkpoint makes the bits of one that was never interrupted.

use super::checkpoint::{Best, Checkpoint, Progress};
use super::directory::RunDirectory;
use super::encoder;
use super::init::Values;
use super::online::{Evaluator, Scores};
use super::stepper::Stepper;
use super::store::Store;
use super::{Ending, Event, Observer, Outcome, StepRecord, Subject};
use crate::collapse::{Spread, spread};
use crate::data::Split;
use crate::memory;
use crate::views::{Batch, Batches, Loader, Order};
use sslc_compiler::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// An epoch that waits for its views for more than this share of its time, and for this many seconds, gives a warning.
const WAITING_SHARE: f64 = 0.1;
const WAITING_SECONDS: f64 = 1.0;
/// Steps between two snapshots that a diverged training falls back to.
const SNAPSHOT_EVERY: u64 = 50;
/// Steps between two measurements of the embedding's spread and of the memory held.
const SPREAD_EVERY: u64 = 10;

/// The loop, and what it works with.
pub struct Run<'a> {
    pub program: &'a Program,
    pub directory: &'a mut RunDirectory,
    pub store: Store,
    pub observer: &'a mut dyn Observer,
    pub stop: &'a AtomicBool,
    /// Parameters and buffers at the first step.
    pub initial: &'a Values,
    /// The number of the first batch, counted over all epochs.
    pub first_batch: u64,
    pub progress: Progress,
    /// The step of the last checkpoint.
    pub saved: Option<u64>,
    pub clock: Clock,
    pub threads: usize,
    /// Whether the inputs of the next run are set.
    pub fed: bool,
}

/// Where the time goes.
pub struct Clock {
    started: Instant,
    /// The step that it started at.
    first: u64,
    /// Seconds of evaluations and checkpoints.
    aside: f64,
    /// Of the last step, and of all steps but the first.
    last: Timing,
    total: Timing,
}

impl Clock {
    pub fn new(first: u64) -> Clock {
        Clock {
            started: Instant::now(),
            first,
            aside: 0.0,
            last: Timing::default(),
            total: Timing::default(),
        }
    }
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
    pub fn steps(
        mut self,
        stepper: &mut Stepper,
        split: &Arc<Split>,
        evaluator: &mut Option<Evaluator>,
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
                first: self.first_batch,
                threads: self.threads,
            },
        )?;
        let mut snapshot = (stepper.step(), self.initial.clone());
        self.clock.started = Instant::now();
        // A training that was stopped before an evaluation was over goes on with it.
        self.after_step(stepper, evaluator)?;
        while stepper.step() < settings.steps && !self.stopped() {
            let step = stepper.step();
            let Some(()) = self.one_step(stepper, &mut loader)? else {
                break;
            };
            let record = self.record(stepper, step);
            stepper.check()?;
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
                let values = stepper.values(self.program, self.initial)?;
                if values.values().flatten().all(|v| v.is_finite()) {
                    snapshot = (stepper.step(), values);
                }
            }
            self.after_step(stepper, evaluator)?;
        }
        drop(loader);
        self.tell_damage(split);
        self.finish(stepper, evaluator)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Evaluation and checkpoint, where they are due.
    fn after_step(
        &mut self,
        stepper: &Stepper,
        evaluator: &mut Option<Evaluator>,
    ) -> Result<(), Diagnostic> {
        let begin = Instant::now();
        let (step, settings) = (stepper.step(), &self.program.train);
        let mut best = false;
        if let Some(evaluator) = evaluator
            && step > 0
            && evaluator.due(step, settings.steps)
            && self.progress.evaluated != Some(step)
        {
            best = self.evaluate(evaluator, stepper, Subject::Training)?.1;
        }
        let due = settings.checkpoint.every;
        let due = step > 0 && due.is_some_and(|n| step.is_multiple_of(n)) && step < settings.steps;
        if best || (due && self.saved != Some(step)) {
            self.checkpoint(stepper, due, best)?;
        }
        self.clock.aside += begin.elapsed().as_secs_f64();
        Ok(())
    }

    /// What was measured, `None` where it was stopped, and whether it is the best.
    fn evaluate(
        &mut self,
        evaluator: &mut Evaluator,
        stepper: &Stepper,
        subject: Subject,
    ) -> Result<(Option<Scores>, bool), Diagnostic> {
        let step = stepper.step();
        let values = stepper.values(self.program, self.initial)?;
        let scores = evaluator.run(&values, subject, step, self.directory, self.observer)?;
        let Some(scores) = scores else {
            return Ok((None, false));
        };
        self.progress.evaluated = Some(step);
        let best = self.progress.best;
        let better = match (scores.knn, scores.linear) {
            // Where the spec asks for k-NN, a linear accuracy alone decides nothing.
            (None, _) if self.program.eval.knn.is_some() => None,
            _ => scores.deciding(),
        };
        let better = better.filter(|accuracy| best.is_none_or(|b| *accuracy > b.accuracy));
        if let Some(accuracy) = better {
            self.progress.best = Some(Best { step, accuracy });
        }
        Ok((Some(scores), better.is_some()))
    }

    /// Saves the present state as the newest checkpoint, the best or both.
    fn checkpoint(
        &mut self,
        stepper: &Stepper,
        newest: bool,
        best: bool,
    ) -> Result<(), Diagnostic> {
        let step = stepper.step();
        let checkpoint = Checkpoint::take(
            stepper,
            self.program,
            self.initial,
            self.directory.stamp(),
            self.progress,
        );
        stepper.check()?;
        let go_on = |d: Diagnostic| {
            let path = self.directory.path().display();
            d.help(format!(
                "earlier checkpoints are whole: when there is room, `sslc resume {path}` goes on from the last"
            ))
        };
        let mut file = None;
        if newest {
            file = Some(self.store.save(&checkpoint).map_err(go_on)?);
            self.saved = Some(step);
        }
        if best {
            self.store
                .save_best(&checkpoint, file.as_deref())
                .map_err(go_on)?;
        }
        Ok(())
    }

    /// One optimizer step, of as many micro-batches as it takes. `None` where the images have ended.
    fn one_step(
        &mut self,
        stepper: &mut Stepper,
        loader: &mut Loader,
    ) -> Result<Option<()>, Diagnostic> {
        let begin = Instant::now();
        self.clock.last = Timing::default();
        loop {
            if !std::mem::take(&mut self.fed) && !self.feed_next(stepper, loader)? {
                return Ok(None);
            }
            let done = stepper.run()?;
            if stepper.takes_inputs_early() && stepper.step() < self.program.train.steps {
                self.fed = self.feed_next(stepper, loader)?;
            }
            if done {
                break;
            }
        }
        self.clock.last.seconds = begin.elapsed().as_secs_f64();
        if stepper.step() > self.clock.first + 1 {
            self.clock.total.seconds += self.clock.last.seconds;
            self.clock.total.waiting += self.clock.last.waiting;
        }
        Ok(Some(()))
    }

    /// Sets the inputs of the next run; false where the images have ended.
    fn feed_next(
        &mut self,
        stepper: &mut Stepper,
        loader: &mut Loader,
    ) -> Result<bool, Diagnostic> {
        let asked = Instant::now();
        let Some(batch) = loader.next().transpose()? else {
            return Ok(false);
        };
        self.clock.last.waiting += asked.elapsed().as_secs_f64();
        feed(stepper, self.program, &batch);
        loader.recycle(batch);
        Ok(true)
    }

    /// Tells that views are made more slowly than steps.
    fn tell_waiting(&mut self) {
        if self.clock.total.share() <= WAITING_SHARE || self.clock.total.waiting < WAITING_SECONDS {
            return;
        }
        let notice = Diagnostic::new(
            codes::W0802,
            format!(
                "{:.0} % of the first epoch was spent waiting for views",
                100.0 * self.clock.total.share()
            ),
        )
        .help("`sslc bench --views SPEC` shows what they cost: make the image files smaller, or leave costly operations out");
        self.observer.event(Event::Notice(&notice));
    }

    fn record(&self, stepper: &Stepper, step: u64) -> StepRecord {
        let settings = &self.program.train;
        let clock = &self.clock;
        // The device is done when this is here.
        let loss = stepper.scalar("loss").unwrap_or(f32::NAN);
        let seconds = (clock.started.elapsed().as_secs_f64() - clock.aside).max(1e-9);
        let images = (step + 1 - clock.first) * settings.accumulate * settings.batch as u64;
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
            loss,
            lr: self.program.schedules.get(lr).map_or(0.0, |s| s.at(step)),
            samples_per_second: images as f64 / seconds,
            waiting: self.clock.last.share(),
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
            waiting: self.clock.total.share(),
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
            "lower the learning rate or lengthen its warm-up; the encoder of step {} is kept in {}, and `sslc run SPEC --resume {} \
             --allow-spec-change` goes on from the last checkpoint with other settings",
            snapshot.0,
            encoder.display(),
            self.directory.path().display()
        )))
    }

    fn finish(
        mut self,
        stepper: &Stepper,
        evaluator: &mut Option<Evaluator>,
    ) -> Result<(Outcome, Values), Diagnostic> {
        let steps = stepper.step();
        if self.saved != Some(steps) {
            self.checkpoint(stepper, true, false)?;
        }
        let values = stepper.values(self.program, self.initial)?;
        let encoder = self.save(&values, steps)?;
        let mut scores = None;
        if let Some(evaluator) = evaluator
            && !self.stopped()
        {
            let (found, best) = self.evaluate(evaluator, stepper, Subject::Trained)?;
            scores = found;
            if best {
                self.checkpoint(stepper, false, true)?;
            }
        }
        let unfinished =
            steps < self.program.train.steps || (evaluator.is_some() && scores.is_none());
        let stopped = self.stopped() && unfinished;
        self.directory.set_finished(!stopped)?;
        let outcome = Outcome {
            ending: if stopped {
                Ending::Stopped
            } else {
                Ending::Finished
            },
            steps,
            encoder,
            scores,
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
