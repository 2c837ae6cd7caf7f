//! `sslc data check`: what the data source of a spec holds.

use crate::cli::SpecArgs;
use crate::compile::{Compilation, Failure, json};
use crate::render::Format;
use crate::report::{Reporter, print};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::check::{Report, SplitReport, Spread, check};
use std::fmt::Write;
use std::io::{IsTerminal, stderr};

/// Damaged files that the text names; the JSON has all.
const NAMED: usize = 20;
/// Classes that the text lists; of more it says the smallest and the largest.
const CLASSES: usize = 20;

/// Looks through the images of a spec's source.
pub fn run(spec: &SpecArgs, format: Format, reporter: Reporter) -> Result<u8, Failure> {
    let compilation = Compilation::from_args(spec)?;
    super::warn(&compilation, reporter);
    let bar = progress();
    let report = check(&compilation.program.data, &|done, total| {
        if done == total || done.is_multiple_of(64) {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    });
    bar.finish_and_clear();
    let report = report?;
    print(&match format {
        Format::Text => text(&report),
        Format::Json => json(&report),
    });
    if report.corrupt.is_empty() {
        return Ok(0);
    }
    let files = match report.corrupt.len() {
        1 => "1 image file cannot be decoded".to_owned(),
        n => format!("{n} image files cannot be decoded"),
    };
    Err(Diagnostic::new(codes::E0693, files)
        .help(
            "remove or mend them; training leaves them out, and `strict: true` makes that an error",
        )
        .into())
}

fn progress() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
    if let Ok(style) = ProgressStyle::with_template("{bar:16} {pos}/{len} images") {
        bar.set_style(style);
    }
    bar
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for split in &report.splits {
        split_text(&mut out, split);
    }
    let d = &report.duplicates;
    if d.images > 0 {
        let _ = writeln!(out, "duplicates  {} images are others again", d.images);
        if d.test_in_train > 0 {
            let _ = writeln!(
                out,
                "            {} test images are training images as well",
                d.test_in_train
            );
        }
        for example in &d.examples {
            let _ = writeln!(out, "            {}", example.join(" = "));
        }
    }
    if !report.corrupt.is_empty() {
        let _ = writeln!(out, "damaged     {}", report.corrupt.len());
        for file in report.corrupt.iter().take(NAMED) {
            let _ = writeln!(out, "            {}: {}", file.file, file.reason);
        }
        let more = report.corrupt.len().saturating_sub(NAMED);
        if more > 0 {
            let _ = writeln!(
                out,
                "            and {more} more: `--format json` names all"
            );
        }
    }
    out
}

fn split_text(out: &mut String, s: &SplitReport) {
    let _ = writeln!(out, "{:<11} {} images", s.name, s.images);
    if s.images == 0 {
        return;
    }
    let side = |spread: Spread| match spread.min == spread.max {
        true => spread.min.to_string(),
        false => format!("{} to {}, median {}", spread.min, spread.max, spread.median),
    };
    if s.distinct_sizes == 1 {
        let _ = writeln!(
            out,
            "  size      {}×{}",
            s.sizes[0].width, s.sizes[0].height
        );
    } else {
        let _ = writeln!(out, "  shorter   {}", side(s.shorter_side));
        let _ = writeln!(out, "  longer    {}", side(s.longer_side));
        let sizes: Vec<String> = s
            .sizes
            .iter()
            .map(|z| format!("{}×{} ({})", z.width, z.height, z.images))
            .collect();
        let more = match s.distinct_sizes.saturating_sub(sizes.len()) {
            0 => String::new(),
            n => format!(" and {n} other sizes"),
        };
        let _ = writeln!(out, "  sizes     {}{more}", sizes.join(", "));
    }
    let modes: Vec<String> = s
        .modes
        .iter()
        .map(|(mode, n)| format!("{mode} ({n})"))
        .collect();
    let _ = writeln!(out, "  colour    {}", modes.join(", "));
    if s.turned > 0 {
        let _ = writeln!(out, "  turned    {} by the camera's orientation", s.turned);
    }
    let counts: Vec<String> = s
        .classes
        .iter()
        .map(|c| format!("{} {}", c.name, c.images))
        .collect();
    if (1..=CLASSES).contains(&counts.len()) {
        let _ = writeln!(out, "  labels    {}", counts.join(", "));
    } else if let (Some(least), Some(most)) = (
        s.classes.iter().min_by_key(|c| c.images),
        s.classes.iter().max_by_key(|c| c.images),
    ) {
        let _ = writeln!(
            out,
            "  labels    {} classes, from {} ({}) to {} ({})",
            counts.len(),
            least.images,
            least.name,
            most.images,
            most.name
        );
    }
    if s.unlabelled > 0 {
        let _ = writeln!(out, "  labels    {} images have none", s.unlabelled);
    }
}
