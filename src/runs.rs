//! A run directory, opened again: its spec, its weights, its metrics.
//!
//! The spec is the run's own copy with the overrides of its command line, and means what it meant when the run began: relative
//! paths of its data start from the folder that the run was started in, and an epoch has as many images as it had. So a run
//! can be opened from any folder, and without its data.

use crate::compile::{Compilation, Failure, compile_with};
use crate::loader::read_text;
use clap::ValueEnum;
use sslc_compiler::program::DataSource;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_runtime::data::{self, Dataset};
use sslc_runtime::tensors::{self, Data, Tensors, near_file};
use sslc_runtime::train::checkpoint::Checkpoint;
use sslc_runtime::train::directory::{ENCODER, INFO, METRICS, RunInfo, SPEC};
use sslc_runtime::train::encoder;
use sslc_runtime::train::init::Values;
use sslc_runtime::train::store::Store;
use std::fs;
use std::path::{Path, PathBuf};

/// A run directory, read.
#[derive(Debug)]
pub struct Run {
    pub path: PathBuf,
    pub info: RunInfo,
    /// The run's own spec. Paths of its data as written; see [`Run::source`].
    pub compilation: Compilation,
}

/// Which weights of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// As far as they have been trained
    Last,
    /// Those with the best accuracy in an evaluation during training
    Best,
}

/// Trained parameters and buffers.
#[derive(Clone, Debug)]
pub struct Weights {
    /// By path, in their inside layout; those of the first encoder at least.
    pub values: Values,
    /// Optimizer steps that made them, where the file says it.
    pub step: Option<u64>,
    /// The file they are from.
    pub file: PathBuf,
}

impl Run {
    /// Opens a run directory.
    ///
    /// # Errors
    /// E0670 where it is none; those of its spec where that was changed by hand.
    pub fn open(path: &Path) -> Result<Run, Failure> {
        let info = RunInfo::read(path)?.ok_or_else(|| no_run(path))?;
        let images = info.images;
        let mut compilation = compile_with(&path.join(SPEC), &info.set, &|_| Some(images))?;
        compilation.program.name.clone_from(&info.name);
        Ok(Run {
            path: path.to_owned(),
            info,
            compilation,
        })
    }

    /// The data source, its relative paths resolved: against the folder that the run was started in, or, where nothing is
    /// there and something is here, the present one.
    pub fn source(&self) -> DataSource {
        let mut source = self.compilation.program.data.clone();
        for path in source.paths_mut() {
            let then = self.info.folder.join(&*path);
            if then.exists() || !path.exists() {
                *path = then;
            }
        }
        source
    }

    /// The images of the run.
    ///
    /// # Errors
    /// As [`data::open`].
    pub fn dataset(&self) -> Result<Dataset, Diagnostic> {
        data::open(&self.source())
    }

    /// The checkpoints of the run.
    pub fn store(&self) -> Store {
        Store::new(&self.path, self.compilation.program.train.checkpoint.keep)
    }

    /// Weights of a run: of the last, those of the newest whole checkpoint, with all networks, or else the encoder's file. A
    /// damaged checkpoint is told.
    ///
    /// # Errors
    /// E0671 where none have been saved yet, E0672 where they do not fit the run's spec, E0652 and E0673 where the files are
    /// damaged.
    pub fn weights(
        &self,
        which: Which,
        tell: impl FnMut(&Diagnostic),
    ) -> Result<Weights, Diagnostic> {
        let program = &self.compilation.program;
        let found = match which {
            Which::Last => self.store().newest(tell)?,
            Which::Best => Some(self.best()?),
        };
        if let Some((file, checkpoint)) = found {
            let values = checkpoint.values(program);
            let values = values.map_err(|why| other_spec(&file, &why))?;
            let step = Some(checkpoint.notes.step);
            return Ok(Weights { values, step, file });
        }
        let file = self.path.join(ENCODER);
        if !file.exists() {
            return Err(Diagnostic::new(
                codes::E0671,
                format!("the run '{}' has no weights yet", self.path.display()),
            )
            .help("they are there after the first checkpoint, at the end of an epoch or when training is stopped with Ctrl-C"));
        }
        let tensors = tensors::read(&file)?;
        let values =
            encoder::from_weights(program, &tensors).map_err(|why| other_spec(&file, &why))?;
        let step = batches_seen(&tensors);
        Ok(Weights { values, step, file })
    }

    fn best(&self) -> Result<(PathBuf, Checkpoint), Diagnostic> {
        let file = self.store().best();
        if !file.exists() {
            return Err(Diagnostic::new(
                codes::E0671,
                format!(
                    "the run '{}' has no best checkpoint: nothing was evaluated in it yet",
                    self.path.display()
                ),
            )
            .help("`eval { knn(k: 20, every: epochs(10)) }` evaluates while it trains"));
        }
        let checkpoint = Checkpoint::read(&file)?;
        Ok((file, checkpoint))
    }

    /// The lines of `metrics.jsonl`, in order; a line that was cut off at the end is left out.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn metrics(&self) -> Result<Vec<serde_json::Value>, Diagnostic> {
        let text = read_text(&self.path.join(METRICS))?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }
}

/// The steps that batch norms have counted.
fn batches_seen(tensors: &Tensors) -> Option<u64> {
    let counted = tensors
        .iter()
        .find_map(|(name, tensor)| match &tensor.data {
            Data::I64(count) if name.ends_with("num_batches_tracked") => count.first(),
            _ => None,
        });
    u64::try_from(*counted?).ok()
}

/// E0672
fn other_spec(file: &Path, why: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E0672,
        format!(
            "'{}' holds the weights of another spec: {why}",
            file.display()
        ),
    )
    .help("`spec.ssl` beside it must be the one that it was trained by")
}

/// E0670, with what may have been meant.
fn no_run(path: &Path) -> Diagnostic {
    let shown = path.display();
    if !path.exists() {
        let missing = Diagnostic::new(codes::E0670, format!("there is no run directory '{shown}'"));
        return match near_file(path).or_else(|| in_runs(path)) {
            Some(near) => missing.help(format!("did you mean '{near}'?")),
            None => missing
                .help("`sslc run SPEC` makes one, runs/NAME-DATE unless `--out` says another"),
        };
    }
    let other = Diagnostic::new(
        codes::E0670,
        format!("'{shown}' is not a run directory: it has no {INFO}"),
    );
    let above = path.ancestors().skip(1).find(|a| a.join(INFO).exists());
    match (above, newest(path)) {
        (Some(above), _) => other.help(format!("did you mean '{}'?", above.display())),
        (None, Some(run)) => other.help(format!("did you mean '{}'?", run.display())),
        (None, None) => other.help("give the folder that `sslc run` made"),
    }
}

/// A run of `runs/` whose name is near to what was given.
fn in_runs(path: &Path) -> Option<String> {
    let runs = runs_in(Path::new("runs"));
    let names: Vec<String> = runs
        .iter()
        .filter_map(|r| Some(r.file_name()?.to_str()?.to_owned()))
        .collect();
    let name = path.file_name()?.to_str()?;
    let near = names
        .iter()
        .find(|n| *n == name)
        .map(String::as_str)
        .or_else(|| nearest(name, names.iter().map(String::as_str)))?;
    Some(Path::new("runs").join(near).display().to_string())
}

/// The run directories in a folder, by name.
fn runs_in(folder: &Path) -> Vec<PathBuf> {
    let mut runs: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join(INFO).exists())
        .collect();
    runs.sort();
    runs
}

/// The run in a folder that was begun or changed last.
fn newest(folder: &Path) -> Option<PathBuf> {
    runs_in(folder)
        .into_iter()
        .max_by_key(|run| fs::metadata(run.join(INFO)).and_then(|m| m.modified()).ok())
}
