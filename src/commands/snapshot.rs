//! `sslc snapshot`: stages of specs held to what they were.

use crate::cli::{GraphFormat, SnapshotArgs, Stage};
use crate::compile::{Compilation, Failure, compile};
use crate::difference::texts_between;
use crate::report::{Reporter, print};
use crate::snapshots::{Header, Place, Verdict};
use clap::ValueEnum;
use std::path::Path;

/// Lines around a change that are shown.
const CONTEXT: usize = 3;
/// Lines of one difference that are shown.
const SHOWN: usize = 60;

/// Compares and writes snapshots; 1 where one differs.
pub fn run(args: &SnapshotArgs, reporter: Reporter) -> Result<u8, Failure> {
    let mut status = 0;
    let mut count = 0;
    let mut waiting = false;
    for spec in &args.specs {
        let compilation = match compile(spec, &args.overrides) {
            Ok(compilation) => compilation,
            Err(failure) => {
                reporter.tell_all(&failure);
                status = status.max(failure.exit().status());
                continue;
            }
        };
        super::warn(&compilation, reporter);
        for stage in &args.stages {
            count += 1;
            if !one(args, spec, &compilation, *stage)? {
                status = status.max(1);
                waiting = true;
            }
        }
    }
    if waiting {
        print("read the differences, then accept them with --accept or `cargo insta review`\n");
    } else if status == 0 {
        let s = if count == 1 { "" } else { "s" };
        print(&format!("{count} snapshot{s} in order\n"));
    }
    Ok(status)
}

/// One stage of one spec; false where it is not as the snapshot has it.
fn one(
    args: &SnapshotArgs,
    spec: &Path,
    compilation: &Compilation,
    stage: Stage,
) -> Result<bool, Failure> {
    let text = compilation.emit(stage, GraphFormat::Text)?;
    let word = stage
        .to_possible_value()
        .map_or_else(String::new, |v| v.get_name().to_owned());
    let place = Place::of(spec, &word);
    let header = header(args, spec, &word);
    let shown = place.path().display();
    let verdict = match place.judge(&text) {
        // What cannot be read is replaced where that is asked for.
        Err(_) if args.accept => Verdict::Missing,
        other => other?,
    };
    match verdict {
        Verdict::Same => place.settle(),
        Verdict::Missing if args.check => {
            place.propose(&header, &text)?;
            print(&format!("{shown}: there is no snapshot yet\n"));
            return Ok(false);
        }
        Verdict::Missing => {
            place.accept(&header, &text)?;
            print(&format!("{shown}: written\n"));
        }
        Verdict::Differs(_) if args.accept => {
            place.accept(&header, &text)?;
            print(&format!("{shown}: accepted\n"));
        }
        Verdict::Differs(before) => {
            place.propose(&header, &text)?;
            let lines = texts_between(&before, text.trim_end(), CONTEXT);
            let mut out = format!("{shown}: differs\n");
            lines
                .iter()
                .take(SHOWN)
                .for_each(|line| out.push_str(&format!("  {line}\n")));
            if lines.len() > SHOWN {
                let pending = place.pending();
                out.push_str(&format!(
                    "  … {} lines more: see {}\n",
                    lines.len() - SHOWN,
                    pending.display()
                ));
            }
            print(&out);
            return Ok(false);
        }
    }
    Ok(true)
}

fn header(args: &SnapshotArgs, spec: &Path, stage: &str) -> Header {
    let name = spec.file_name().unwrap_or_default().to_string_lossy();
    let set: String = args
        .overrides
        .iter()
        .map(|(name, value)| format!(" --set {name}={value}"))
        .collect();
    Header {
        command: format!("sslc graph {name} --emit {stage}{set}"),
        source: name.into_owned(),
    }
}
