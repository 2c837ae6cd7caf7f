//! k-NN evaluation before, during and after training.

use super::directory::RunDirectory;
use super::encoder::{self, Encoder};
use super::init::Values;
use super::{Event, Observer, Subject};
use crate::data::Split;
use crate::device::Target;
use crate::evaluate::{Features, knn_accuracy};
use serde::Serialize;
use sslc_compiler::program::{Knn, Program};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::sync::Arc;

/// An evaluation, as `metrics.jsonl` has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct KnnRecord {
    step: u64,
    subject: Subject,
    /// From 0 to 1.
    knn: f64,
}

/// Evaluates the encoder by the neighbours of its features.
pub struct KnnEvaluator<'a> {
    encoder: Encoder<'a>,
    settings: Knn,
    program: &'a Program,
    target: &'a Target,
    train: Arc<Split>,
    test: Arc<Split>,
}

impl<'a> KnnEvaluator<'a> {
    /// `None` where the spec asks for no k-NN, or, after a notice, where labels are missing.
    pub fn new(
        program: &'a Program,
        target: &'a Target,
        train: Arc<Split>,
        test: Option<Arc<Split>>,
        observer: &mut dyn Observer,
    ) -> Result<Option<KnnEvaluator<'a>>, Diagnostic> {
        let Some(settings) = program.eval.knn else {
            return Ok(None);
        };
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
        Ok(Some(KnnEvaluator {
            encoder: Encoder::new(program, target)?,
            settings,
            program,
            target,
            train,
            test,
        }))
    }

    pub fn encoder(&mut self) -> &mut Encoder<'a> {
        &mut self.encoder
    }

    pub fn due(&self, step: u64, total: u64) -> bool {
        self.settings
            .every
            .is_some_and(|n| n > 0 && step.is_multiple_of(n) && step < total)
    }

    /// Raw pixels and the untrained encoder.
    pub fn before(
        &mut self,
        initial: &Values,
        directory: &mut RunDirectory,
        observer: &mut dyn Observer,
    ) -> Result<(), Diagnostic> {
        let bank = encoder::pixels(self.program, self.target, &self.train)?;
        let queries = encoder::pixels(self.program, self.target, &self.test)?;
        self.tell(&bank, &queries, Subject::Raw, 0, directory, observer)?;
        let mut values = initial.clone();
        self.encoder.calibrate(&mut values, &self.train)?;
        self.run(&values, Subject::Untrained, 0, directory, observer)?;
        Ok(())
    }

    pub fn run(
        &mut self,
        values: &Values,
        subject: Subject,
        step: u64,
        directory: &mut RunDirectory,
        observer: &mut dyn Observer,
    ) -> Result<f64, Diagnostic> {
        let bank = self.encoder.features(values, &self.train)?;
        let queries = self.encoder.features(values, &self.test)?;
        self.tell(&bank, &queries, subject, step, directory, observer)
    }

    fn tell(
        &self,
        bank: &Features,
        queries: &Features,
        subject: Subject,
        step: u64,
        directory: &mut RunDirectory,
        observer: &mut dyn Observer,
    ) -> Result<f64, Diagnostic> {
        let accuracy = knn_accuracy(bank, queries, &self.settings);
        directory.log(&KnnRecord {
            step,
            subject,
            knn: accuracy,
        })?;
        observer.event(Event::Knn { subject, accuracy });
        Ok(accuracy)
    }
}
