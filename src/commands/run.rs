//! `sslc run`: compile, train, evaluate, write a run directory.

use crate::cli::{Global, GraphFormat, SpecArgs, Stage};
use crate::compile::{Compilation, Failure, compile_with};
use crate::report::{Reporter, print};
use crate::resolved;
use crate::run_outputs::RunOutputs;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sslc_compiler::program::Program;
use sslc_grammar::span::Sources;
use sslc_runtime::data::{self, Dataset};
use sslc_runtime::device::Target;
use sslc_runtime::train::checkpoint::{Stamp, fingerprint};
use sslc_runtime::train::directory::{FORMAT, RunDirectory, RunInfo, SPEC};
use sslc_runtime::train::{Begin, Ending, Event, Observer, Subject, train};
use sslc_runtime::views::batch_too_large;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Trains a spec; `out` is the run directory, by default `runs/NAME-DATE`.
pub fn run(
    spec: &SpecArgs,
    out: Option<&Path>,
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
}

/// Trains, shows it, and returns the exit code.
pub fn go(job: Job, stop: &Stop, reporter: Reporter) -> Result<u8, Failure> {
    let Job {
        program,
        dataset,
        target,
        mut directory,
        begin,
    } = job;
    print(&format!(
        "{}: {} training images, {} parameters, {} steps of {}\n",
        program.name,
        dataset.train.len(),
        program
            .parameters
            .iter()
            .map(|p| p.shape.iter().product::<usize>())
            .sum::<usize>(),
        program.train.steps,
        program.train.batch * program.train.accumulate as usize,
    ));
    let mut display = Display::new(reporter, program.train.steps);
    let outputs = RunOutputs::begin(directory.path(), program, &dataset, target)?;
    let step = begin.notes().map_or(0, |notes| notes.step);
    let mut recorder = outputs.recorder(step, &mut display);
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
    display.finish();
    let embedding = outcome.as_ref().ok().and_then(|o| o.embedding.as_ref());
    let report = outputs.end(embedding);
    let outcome = outcome?;
    print(&format!("encoder: {}\n", outcome.encoder.display()));
    print(&format!("report: {}\n", report?.display()));
    if outcome.ending == Ending::Stopped {
        print(&format!(
            "stopped after {} of {} steps; `sslc resume {}` goes on\n",
            outcome.steps,
            program.train.steps,
            directory.path().display()
        ));
        return Ok(super::INTERRUPTED);
    }
    Ok(0)
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

/// Shows training: one live line on a terminal, plain lines now and then otherwise.
struct Display {
    reporter: Reporter,
    bar: Option<ProgressBar>,
    total: u64,
    last_line: Option<Instant>,
    spread: String,
    untrained: Option<f64>,
}

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A smaller share of the time that is spent waiting for views is not shown.
const SHOWN_WAITING: f64 = 0.01;

impl Display {
    fn new(reporter: Reporter, total: u64) -> Display {
        let bar = stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(4));
            if let Ok(style) = ProgressStyle::with_template("{bar:16} {pos}/{len} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Display {
            reporter,
            bar,
            total,
            last_line: None,
            spread: String::new(),
            untrained: None,
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(text)),
            None => print(text),
        }
    }
}

impl Observer for Display {
    fn event(&mut self, event: Event) {
        match event {
            Event::Notice(diagnostic) => {
                let reporter = self.reporter;
                match &self.bar {
                    Some(bar) => bar.suspend(|| reporter.tell(&Sources::default(), diagnostic)),
                    None => reporter.tell(&Sources::default(), diagnostic),
                }
            }
            Event::Knn { subject, accuracy } => {
                let percent = accuracy * 100.0;
                let text = match (subject, self.untrained) {
                    (Subject::Raw, _) => format!("k-NN of raw pixels          {percent:6.2} %\n"),
                    (Subject::Untrained, _) => {
                        self.untrained = Some(percent);
                        format!("k-NN of the untrained encoder {percent:4.2} %\n")
                    }
                    (Subject::Training, _) => {
                        format!("k-NN so far                 {percent:6.2} %\n")
                    }
                    (Subject::Trained, Some(before)) => format!(
                        "k-NN of the trained encoder {percent:6.2} %  ({:+.2} over untrained)\n",
                        percent - before
                    ),
                    (Subject::Trained, None) => {
                        format!("k-NN of the trained encoder {percent:6.2} %\n")
                    }
                };
                self.line(&text);
            }
            Event::Linear { subject, accuracy } => {
                let of = match subject {
                    Subject::Raw => "of raw pixels        ",
                    Subject::Untrained => "of the untrained encoder",
                    Subject::Training => "so far               ",
                    Subject::Trained => "of the trained encoder",
                };
                self.line(&format!("linear {of:25} {:6.2} %\n", accuracy * 100.0));
            }
            Event::Step {
                record,
                total,
                seconds_left,
                spread,
                waiting,
            } => {
                if let Some(s) = spread {
                    self.spread = format!("  std {:.2}  rank {:.0}", s.std, s.effective_rank);
                }
                let watches: String = record
                    .watches
                    .iter()
                    .map(|(n, v)| format!("  {n} {v:.4}"))
                    .collect();
                let waiting = if waiting < SHOWN_WAITING {
                    String::new()
                } else {
                    format!("  waits for views {:.0} %", 100.0 * waiting)
                };
                let text = format!(
                    "loss {:.4}{watches}  lr {:.2e}  {:.0} samples/s{waiting}{}  {} left",
                    record.loss,
                    record.lr,
                    record.samples_per_second,
                    self.spread,
                    duration(seconds_left),
                );
                if let Some(bar) = &self.bar {
                    bar.set_position(record.step + 1);
                    bar.set_message(text);
                    return;
                }
                let last = record.step + 1 == self.total;
                if last || self.last_line.is_none_or(|t| t.elapsed() >= LINE_EVERY) {
                    self.last_line = Some(Instant::now());
                    print(&format!("step {}/{total}  {text}\n", record.step + 1));
                }
            }
        }
    }
}

/// `1:05:09`, `5:09`
fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}
