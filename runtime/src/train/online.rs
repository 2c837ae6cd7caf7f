//! Evaluation before, during and after training: by the neighbours of features, and by a linear classifier on them.

use super::directory::RunDirectory;
use super::encoder::{self, Encoder};
use super::init::Values;
use super::{Event, Observer, Subject};
use crate::data::Split;
use crate::device::Target;
use crate::evaluate::{Features, accuracy, knn_accuracy};
use crate::linear::{self, Training};
use serde::Serialize;
use sslc_compiler::program::{Knn, Linear, Program};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Accuracies from 0 to 1, of what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<f64>,
}

impl Scores {
    /// What checkpoints are compared by: k-NN where there is one.
    pub fn deciding(&self) -> Option<f64> {
        self.knn.or(self.linear)
    }
}

/// An evaluation, as `metrics.jsonl` has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Record {
    step: u64,
    subject: Subject,
    #[serde(flatten)]
    scores: Scores,
}

/// Evaluates the encoder by its features.
pub struct Evaluator<'a> {
    encoder: Encoder<'a>,
    knn: Option<Knn>,
    linear: Option<Linear>,
    program: &'a Program,
    target: &'a Target,
    train: Arc<Split>,
    test: Arc<Split>,
    stop: &'a AtomicBool,
}

impl<'a> Evaluator<'a> {
    /// `None` where the spec asks for no evaluation, or, after a notice, where labels are missing.
    pub fn new(
        program: &'a Program,
        target: &'a Target,
        train: Arc<Split>,
        test: Option<Arc<Split>>,
        stop: &'a AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Option<Evaluator<'a>>, Diagnostic> {
        let (knn, linear) = (program.eval.knn, program.eval.linear);
        if knn.is_none() && linear.is_none() {
            return Ok(None);
        }
        let labelled = |split: &Arc<Split>| !split.labelled().is_empty();
        let test = test.filter(labelled);
        let (Some(test), true) = (test, labelled(&train)) else {
            let notice = Diagnostic::new(
                codes::W0801,
                "k-NN is left out: the source has no labelled training and test images",
            )
            .help("give `image_folder` class folders and `test:` or `holdout:`, or drop `knn` from `eval`");
            observer.event(Event::Notice(&notice));
            return Ok(None);
        };
        Ok(Some(Evaluator {
            encoder: Encoder::new(program, target)?.until(stop),
            knn,
            linear,
            program,
            target,
            train,
            test,
            stop,
        }))
    }

    pub fn encoder(&mut self) -> &mut Encoder<'a> {
        &mut self.encoder
    }

    pub fn due(&self, step: u64, total: u64) -> bool {
        let (knn, linear) = self.due_at(step);
        (knn || linear) && step < total
    }

    /// Whether k-NN and the linear classifier are due after a step.
    fn due_at(&self, step: u64) -> (bool, bool) {
        let due = |every: Option<u64>| every.is_some_and(|n| n > 0 && step.is_multiple_of(n));
        (
            due(self.knn.and_then(|k| k.every)),
            due(self.linear.and_then(|l| l.every)),
        )
    }

    /// Raw pixels and the untrained encoder. False where it was stopped.
    pub fn before(
        &mut self,
        initial: &Values,
        directory: &mut RunDirectory,
        observer: &mut dyn Observer,
    ) -> Result<bool, Diagnostic> {
        let bank = encoder::pixels(self.program, self.target, &self.train)?;
        let queries = encoder::pixels(self.program, self.target, &self.test)?;
        if self.stopped() {
            return Ok(false);
        }
        self.tell(&bank, &queries, Subject::Raw, 0, directory, observer)?;
        let mut values = initial.clone();
        self.encoder.calibrate(&mut values, &self.train)?;
        let done = self.run(&values, Subject::Untrained, 0, directory, observer)?;
        Ok(done.is_some())
    }

    /// What is due after this step, or all of it where training has not begun or is over; `None` where it was stopped.
    pub fn run(
        &mut self,
        values: &Values,
        subject: Subject,
        step: u64,
        directory: &mut RunDirectory,
        observer: &mut dyn Observer,
    ) -> Result<Option<Scores>, Diagnostic> {
        if self.stopped() {
            return Ok(None);
        }
        let bank = self.encoder.features(values, &self.train)?;
        let queries = self.encoder.features(values, &self.test)?;
        if self.stopped() {
            return Ok(None);
        }
        self.tell(&bank, &queries, subject, step, directory, observer)
            .map(Some)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell(
        &self,
        bank: &Features,
        queries: &Features,
        subject: Subject,
        step: u64,
        directory: &mut RunDirectory,
        observer: &mut dyn Observer,
    ) -> Result<Scores, Diagnostic> {
        let all = subject != Subject::Training;
        let (knn, linear) = self.due_at(step);
        let mut scores = Scores::default();
        if let Some(settings) = self.knn.filter(|_| all || knn) {
            let accuracy = knn_accuracy(bank, queries, &settings);
            scores.knn = Some(accuracy);
            observer.event(Event::Knn { subject, accuracy });
        }
        if let Some(settings) = self.linear.filter(|_| all || linear) {
            let training = Training {
                epochs: settings.epochs,
                lr: settings.lr,
                seed: self.program.train.seed,
            };
            let predicted = linear::fit(bank, &training).predict(queries);
            let accuracy = accuracy(&predicted, &queries.labels);
            scores.linear = Some(accuracy);
            observer.event(Event::Linear { subject, accuracy });
        }
        directory.log(&Record {
            step,
            subject,
            scores,
        })?;
        Ok(scores)
    }
}
