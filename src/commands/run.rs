//! `sslc run`: compile, train, evaluate, write a run directory.

use crate::cli::{Global, GraphFormat, SpecArgs, Stage};
use crate::compile::{Compilation, Failure, compile_with};
use crate::display::Display;
use crate::report::Reporter;
use crate::resolved;
use crate::run_facts::Facts;
use crate::run_outputs::RunOutputs;
use sslc_compiler::program::Program;
use sslc_runtime::data::{self, Dataset};
use sslc_runtime::device::Target;
use sslc_runtime::train::checkpoint::{Stamp, fingerprint};
use sslc_runtime::train::directory::{FORMAT, RunDirectory, RunInfo, SPEC};
use sslc_runtime::train::{Begin, Ending, train};
use sslc_runtime::views::batch_too_large;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Trains a spec; `out` is the run directory, by default `runs/NAME-DATE`. With `json`, one object a line.
pub fn run(
    spec: &SpecArgs,
    out: Option<&Path>,
    json: bool,
    global: &Global,
    reporter: Reporter,
) -> Result<u8, Failure> {
    let stop = Stop::install();
    let target = super::target(global)?;
    let (compilation, dataset) = open(spec)?;
    super::warn(&compilation, reporter);
    let program = &compilation.program;
    let path = out.map_or_else(|| default_directory(&program.name), Path::to_owned);
    let files = files(&compilation, spec, &target)?;
    let info = info(&compilation, spec, dataset.train.len());
    let stamp = stamp(&compilation, &info, &files);
    let directory = RunDirectory::create(&path, info, stamp, &files)?;
    let job = Job {
        program,
        dataset,
        target: &target,
        directory,
        begin: Begin::Anew,
        json,
    };
    go(job, &stop, reporter)
}

/// A spec and its images, compiled for as many as there are.
pub fn open(spec: &SpecArgs) -> Result<(Compilation, Dataset), Failure> {
    let mut compilation = Compilation::from_args(spec)?;
    let dataset = data::open(&compilation.program.data)?;
    let images = dataset.train.len();
    if data::probe(&compilation.program.data)? != Some(images) {
        // Damaged files are counted before they are looked at, and an epoch has fewer images than that.
        compilation = compile_with(&spec.spec, &spec.overrides, &|_| Some(images))?;
    }
    if images < compilation.program.train.batch {
        return Err(batch_too_large(compilation.program.train.batch, images).into());
    }
    Ok((compilation, dataset))
}

/// The texts of a run directory.
pub fn files(
    compilation: &Compilation,
    spec: &SpecArgs,
    target: &Target,
) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files = resolved::files(compilation, &spec.overrides);
    if let Target::Reference = target {
        // It runs no kernels; a device writes those that it runs.
        let graph = compilation.emit(Stage::Kernels, GraphFormat::Text)?;
        files.push((PathBuf::from("graph.txt"), graph));
    }
    Ok(files)
}

/// What `run.json` says of a run that begins here and now.
pub fn info(compilation: &Compilation, spec: &SpecArgs, images: usize) -> RunInfo {
    RunInfo {
        format: FORMAT,
        sslc: env!("CARGO_PKG_VERSION").to_owned(),
        name: compilation.program.name.clone(),
        spec: spec.spec.display().to_string(),
        folder: std::env::current_dir().unwrap_or_default(),
        set: spec.overrides.clone(),
        images,
        finished: false,
    }
}

/// What the checkpoints of a run have in common.
pub fn stamp(compilation: &Compilation, info: &RunInfo, files: &[(PathBuf, String)]) -> Stamp {
    let spec = files.iter().find(|(place, _)| place == Path::new(SPEC));
    Stamp {
        program: fingerprint(&compilation.program),
        spec: spec.map(|(_, text)| text.clone()).unwrap_or_default(),
        images: info.images,
    }
}

/// A training that can begin.
pub struct Job<'a> {
    pub program: &'a Program,
    pub dataset: Dataset,
    pub target: &'a Target,
    pub directory: RunDirectory,
    pub begin: Begin,
    /// Tells what happens as objects.
    pub json: bool,
}

/// Trains, shows it, and returns the exit code.
pub fn go(job: Job, stop: &Stop, reporter: Reporter) -> Result<u8, Failure> {
    let Job {
        program,
        dataset,
        target,
        mut directory,
        begin,
        json,
    } = job;
    let facts = Facts::new(program, &dataset, target);
    let mut display = Display::begin(&facts, json, reporter);
    let outputs = RunOutputs::begin(directory.path(), program, &dataset, facts)?;
    let mut recorder = outputs.recorder(begin.step(), &mut display);
    let outcome = train(
        program,
        dataset,
        target,
        &mut directory,
        begin,
        &mut recorder,
        &stop.0,
    );
    recorder.finish();
    display.leave();
    let embedding = outcome.as_ref().ok().and_then(|o| o.embedding.as_ref());
    let report = outputs.end(embedding);
    let outcome = outcome?;
    display.end(&outcome, program.train.steps, directory.path(), &report?);
    Ok(match outcome.ending {
        Ending::Finished => 0,
        Ending::Stopped => super::INTERRUPTED,
    })
}

/// Whether somebody wants the training to end.
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The first Ctrl-C or SIGTERM ends training after the present step; a second one ends the program at once.
    pub fn install() -> Stop {
        let stop = Arc::new(AtomicBool::new(false));
        let set = stop.clone();
        let handler = move || {
            if set.swap(true, Ordering::Relaxed) {
                std::process::exit(super::INTERRUPTED.into());
            }
        };
        // Without a handler Ctrl-C still ends the program; only what was trained since the last checkpoint is lost.
        let _ = ctrlc::set_handler(handler);
        Stop(stop)
    }
}

/// `runs/NAME-DATE`, with a number behind it where that is taken.
fn default_directory(name: &str) -> PathBuf {
    let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S");
    let mut path = Path::new("runs").join(format!("{name}-{now}"));
    let mut n = 2;
    while path.exists() {
        path.set_file_name(format!("{name}-{now}-{n}"));
        n += 1;
    }
    path
}
