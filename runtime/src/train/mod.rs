//! Training: from a program and its images to a trained encoder in a run directory.
//!
//! - [`init`]: initial values.
//! - [`stepper`]: one step after another on a device.
//! - [`encoder`]: features for evaluation, weights as a file. [`online`]: evaluation on the way.
//! - [`embedding`]: features and thumbnails of some images, to look at.
//! - [`kernels`]: which kernels of a GPU a run takes.
//! - [`directory`]: what a run leaves behind. [`checkpoint`]: the state of a training as a file; [`store`]: which are kept.
//! - [`alarm`]: calls collapse out.
//! - [`train`]: all of it. It tells an [`Observer`] what happens and draws nothing itself. `steps`: its loop.
mod alarm;
pub mod checkpoint;
pub mod directory;
pub mod embedding;
pub mod encoder;
pub mod init;
mod kernels;
pub mod online;
pub mod stepper;
mod steps;
pub mod store;
mod weights;

use crate::collapse::Spread;
use crate::data::Dataset;
use crate::device::Target;
use alarm::Alarm;
use checkpoint::{Checkpoint, Notes, Progress};
use directory::RunDirectory;
use embedding::Embedding;
use encoder::Encoder;
use online::{Evaluator, Scores};
use serde::Serialize;
use sslc_compiler::core::ops;
use sslc_compiler::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
pub use steps::feed;
use store::Store;

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
    /// A linear classifier's accuracy from 0 to 1.
    Linear { subject: Subject, accuracy: f64 },
    Step {
        record: &'a StepRecord,
        total: u64,
        seconds_left: f64,
        spread: Option<Spread>,
        /// The share of the time so far that steps waited for their views; the first views, which nothing hides, are left out.
        waiting: f64,
    },
    /// What runs the kernels, where there was a choice.
    Kernels(&'a str),
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
    /// Accuracies at the end, where they were measured.
    pub scores: Option<Scores>,
    /// What the encoder makes of some images, at the end of a training that was not stopped.
    pub embedding: Option<Embedding>,
}

/// How a training begins.
#[derive(Debug)]
pub enum Begin {
    /// From the seed.
    Anew,
    /// Where a checkpoint of the same program was taken.
    At(Checkpoint),
    /// Where a checkpoint of another program was taken, with what of it fits.
    AtChanged(Checkpoint),
}

impl Begin {
    /// What the checkpoint says, where there is one.
    pub fn notes(&self) -> Option<&Notes> {
        match self {
            Begin::Anew => None,
            Begin::At(checkpoint) | Begin::AtChanged(checkpoint) => Some(&checkpoint.notes),
        }
    }

    /// Optimizer steps that are done already.
    pub fn step(&self) -> u64 {
        self.notes().map_or(0, |notes| notes.step)
    }
}

/// Trains a program on its images and writes checkpoints and the encoder; a set `stop` ends it after the present step.
///
/// # Errors
/// When the data is too small or damaged, the device cannot hold the program, the directory cannot be written, a checkpoint
/// does not fit the program (E0672), or the loss is not finite: then the encoder of the last good snapshot is written first.
pub fn train(
    program: &Program,
    dataset: Dataset,
    target: &Target,
    directory: &mut RunDirectory,
    begin: Begin,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Diagnostic> {
    let observer: &mut dyn Observer = &mut Alarm::new(program, observer);
    for notice in &dataset.notices {
        observer.event(Event::Notice(notice));
    }
    check_labels(program, &dataset)?;
    let mut initial = match &begin {
        // All of it is in the checkpoint, and the files that it once began with may be gone.
        Begin::At(_) => init::values(program),
        Begin::Anew | Begin::AtChanged(_) => init::start(program, &mut |notice| {
            observer.event(Event::Notice(notice));
        })?,
    };
    let mut stepper = kernels::stepper(program, target, &initial, directory, observer)?;
    if let Some(text) = stepper.kernels_text() {
        directory.add(Path::new("graph.txt"), &text)?;
    }
    let mut progress = Progress::default();
    if let Begin::At(checkpoint) | Begin::AtChanged(checkpoint) = &begin {
        let misfits = checkpoint.restore(&mut stepper, program, &mut initial);
        tell_misfits(&misfits, matches!(begin, Begin::At(_)), observer)?;
        progress = Progress {
            evaluated: checkpoint.notes.evaluated,
            best: checkpoint.notes.best,
        };
    }
    let train = Arc::new(dataset.train);
    let test = dataset.test.map(Arc::new);
    let mut evaluator =
        Evaluator::new(program, target, train.clone(), test.clone(), stop, observer)?;
    if let Some(evaluator) = &mut evaluator
        && progress.evaluated.is_none()
        && stepper.step() == 0
        && evaluator.before(&initial, directory, observer)?
    {
        progress.evaluated = Some(0);
    }
    let store = Store::new(directory.path(), program.train.checkpoint.keep);
    store.settle(stepper.step());
    let run = steps::Run {
        program,
        directory,
        store,
        observer,
        stop,
        initial: &initial,
        first_batch: match &begin {
            Begin::At(checkpoint) => checkpoint.notes.batches,
            // The batches before the same step, if it had always been this program.
            Begin::Anew | Begin::AtChanged(_) => stepper.step() * program.train.accumulate,
        },
        progress,
        saved: match &begin {
            Begin::At(checkpoint) => Some(checkpoint.notes.step),
            Begin::Anew | Begin::AtChanged(_) => None,
        },
        clock: steps::Clock::new(stepper.step()),
        threads: target.threads(),
        fed: false,
    };
    let (mut outcome, values) = run.steps(&mut stepper, &train, &mut evaluator)?;
    if outcome.ending == Ending::Finished {
        let shown = test.filter(|t| !t.is_empty()).unwrap_or(train);
        let mut own = None;
        let encoder = match &mut evaluator {
            Some(evaluator) => evaluator.encoder(),
            None => own.insert(Encoder::new(program, target)?),
        };
        let embedding = Embedding::of(encoder, &values, &shown)?;
        // A pass that was broken off has not seen all images.
        outcome.embedding = (!stop.load(Ordering::Relaxed)).then_some(embedding);
    }
    Ok(outcome)
}

/// What of a checkpoint does not fit the program: an error, or of a spec that was changed on purpose, a warning.
fn tell_misfits(
    misfits: &[String],
    same: bool,
    observer: &mut dyn Observer,
) -> Result<(), Diagnostic> {
    let Some(first) = misfits.first() else {
        return Ok(());
    };
    let others = match misfits.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more like this"),
    };
    if same {
        return Err(Diagnostic::new(
            codes::E0672,
            format!("the checkpoint holds the state of another spec: {first}{others}"),
        )
        .help("`--allow-spec-change` takes what fits, and the rest from the seed"));
    }
    let notice = Diagnostic::new(
        codes::W0804,
        format!("what does not fit the changed spec is left out: {first}{others}"),
    )
    .help("tensors that the checkpoint lacks start as in a new run");
    observer.event(Event::Notice(&notice));
    Ok(())
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
