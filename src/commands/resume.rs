//! `sslc resume RUN` and `sslc run SPEC --resume RUN`: go on with a run that was interrupted.

use super::run::{self, Job, Stop};
use crate::cli::{Global, SpecArgs};
use crate::compile::Failure;
use crate::difference;
use crate::report::{Reporter, print};
use crate::runs::Run;
use sslc_compiler::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Sources;
use sslc_runtime::train::Begin;
use sslc_runtime::train::checkpoint::{Checkpoint, Stamp, fingerprint};
use sslc_runtime::train::directory::{Lock, RunDirectory, RunInfo};
use std::path::{Path, PathBuf};

/// Goes on with a run by its own spec.
pub fn run(path: &Path, json: bool, global: &Global, reporter: Reporter) -> Result<u8, Failure> {
    let stop = Stop::install();
    let target = super::target(global)?;
    let (lock, run) = take(path)?;
    if run.info.finished {
        return Ok(finished(&run, json));
    }
    let dataset = run.dataset()?;
    same_data(&run, dataset.train.len())?;
    let stamp = Stamp {
        program: fingerprint(&run.compilation.program),
        spec: text(&run).to_owned(),
        images: run.info.images,
    };
    let found = newest(&run, reporter)?;
    if let Some((file, checkpoint)) = &found
        && checkpoint.notes.program != stamp.program
    {
        return Err(edited(file, checkpoint, &stamp.spec).into());
    }
    let begin = match found {
        Some((_, checkpoint)) => Begin::At(checkpoint),
        None => Begin::Anew,
    };
    tell(path, &begin, json);
    let directory = RunDirectory::open(path, run.info.clone(), stamp, lock, begin.notes())?;
    let program = Program {
        data: run.source(),
        ..run.compilation.program
    };
    let job = Job {
        program: &program,
        dataset,
        target: &target,
        directory,
        begin,
        json,
    };
    run::go(job, &stop, reporter)
}

/// How to go on with a run by a spec.
pub struct Request {
    pub allow_spec_change: bool,
    /// Tells what happens as objects.
    pub json: bool,
}

/// Goes on with a run by a spec, which must be the run's unless a change is allowed.
pub fn with_spec(
    spec: &SpecArgs,
    path: &Path,
    request: &Request,
    global: &Global,
    reporter: Reporter,
) -> Result<u8, Failure> {
    let allow_change = request.allow_spec_change;
    let stop = Stop::install();
    let target = super::target(global)?;
    let (lock, run) = take(path)?;
    let (compilation, dataset) = run::open(spec)?;
    super::warn(&compilation, reporter);
    let program = &compilation.program;
    let sections = difference::between(&run.compilation.program, program);
    let changed = !sections.is_empty();
    if changed && !allow_change {
        let text = difference::text(&sections);
        return Err(changed_spec(path, &text).into());
    }
    if run.info.finished && !changed {
        return Ok(finished(&run, request.json));
    }
    if !allow_change {
        same_data(&run, dataset.train.len())?;
    }
    let files = run::files(&compilation, spec, &target)?;
    let images = dataset.train.len();
    let info = if changed || images != run.info.images {
        RunInfo {
            name: run.info.name.clone(),
            ..run::info(&compilation, spec, images)
        }
    } else {
        run.info.clone()
    };
    let mut stamp = run::stamp(&compilation, &info, &files);
    if !changed {
        text(&run).clone_into(&mut stamp.spec);
    }
    let begin = match newest(&run, reporter)? {
        None => Begin::Anew,
        Some((_, checkpoint)) if checkpoint.notes.program == stamp.program => Begin::At(checkpoint),
        Some((_, checkpoint)) if allow_change => Begin::AtChanged(checkpoint),
        Some((file, checkpoint)) => {
            return Err(edited(&file, &checkpoint, text(&run)).into());
        }
    };
    tell(path, &begin, request.json);
    let step = begin.step();
    let other = info != run.info;
    let directory = RunDirectory::open(path, info, stamp, lock, begin.notes())?;
    if other {
        let old = format!("spec.until-{step:08}.ssl");
        directory.add(Path::new(&old), text(&run))?;
        directory.describe(&files)?;
    }
    let job = Job {
        program,
        dataset,
        target: &target,
        directory,
        begin,
        json: request.json,
    };
    run::go(job, &stop, reporter)
}

/// The text of a run's own spec.
fn text(run: &Run) -> &str {
    &run.compilation.sources.get(run.compilation.entry).text
}

/// A run, and the right to write in it.
fn take(path: &Path) -> Result<(Lock, Run), Failure> {
    // Looked at first, so that nothing is written into what is no run.
    Run::open(path)?;
    let lock = Lock::take(path)?;
    // Another process may have had it until now.
    Ok((lock, Run::open(path)?))
}

fn newest(run: &Run, reporter: Reporter) -> Result<Option<(PathBuf, Checkpoint)>, Diagnostic> {
    let tell = |d: &Diagnostic| reporter.tell(&Sources::default(), d);
    run.store().newest(tell)
}

fn finished(run: &Run, json: bool) -> u8 {
    let steps = run.compilation.program.train.steps;
    let run = run.path.display().to_string();
    print(&if json {
        let object =
            serde_json::json!({ "event": "end", "ending": "finished", "run": run, "steps": steps });
        format!("{object}\n")
    } else {
        format!("{run} is finished: {steps} steps are done, and nothing is left to do\n")
    });
    0
}

fn tell(path: &Path, begin: &Begin, json: bool) {
    if json {
        let step = begin.step();
        let run = path.display().to_string();
        let object = serde_json::json!({ "event": "resume", "run": run, "step": step });
        return print(&format!("{object}\n"));
    }
    print(&match begin.notes() {
        Some(notes) => format!("{}: going on after step {}\n", path.display(), notes.step),
        None => format!(
            "{}: no checkpoint yet, from the beginning\n",
            path.display()
        ),
    });
}

/// E0677
fn same_data(run: &Run, images: usize) -> Result<(), Diagnostic> {
    if images == run.info.images {
        return Ok(());
    }
    Err(Diagnostic::new(
        codes::E0677,
        format!(
            "the run '{}' was begun with {} training images, and now there are {images}",
            run.path.display(),
            run.info.images
        ),
    )
    .help("restore the data; `sslc run SPEC --resume RUN --allow-spec-change` goes on with what is there"))
}

/// E0675 of a spec that was given.
fn changed_spec(path: &Path, difference: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E0675,
        format!(
            "the spec differs from the one that '{}' was begun with:\n{}",
            path.display(),
            difference.trim_end()
        ),
    )
    .help(format!(
        "`sslc resume {}` goes on with the run's own spec; `--allow-spec-change` goes on with this one",
        path.display()
    ))
}

/// E0675 of a run's own spec that is not the one its checkpoints were made by.
fn edited(file: &Path, checkpoint: &Checkpoint, now: &str) -> Diagnostic {
    let lines = difference::texts_between(&checkpoint.notes.spec, now, 1);
    let text: String = lines.iter().map(|line| format!("\n  {line}")).collect();
    let why = if text.is_empty() {
        format!(
            "an import was edited, or sslc {} reads the spec in another way",
            checkpoint.notes.sslc
        )
    } else {
        format!("its spec was edited{text}")
    };
    Diagnostic::new(
        codes::E0675,
        format!(
            "the checkpoint '{}' is not of the spec beside it: {why}",
            file.display()
        ),
    )
    .help("undo the edit, or go on with `sslc run SPEC --resume RUN --allow-spec-change`")
}
