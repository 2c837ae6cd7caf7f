//! `sslc fetch`: a data set from its publisher.

use crate::compile::Failure;
use crate::report::print;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_runtime::fetch::{Event, Options, SETS, Set, fetch};
use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::time::Duration;

/// Before the first new try.
const PAUSE: Duration = Duration::from_millis(400);

/// Fetches a set by name.
pub fn run(name: &str, out: &Path, from: Option<&str>) -> Result<u8, Failure> {
    let set = find(name)?;
    let mut progress = Progress::new();
    let options = Options { from, pause: PAUSE };
    let result = fetch(set, out, options, &mut |event| progress.show(event));
    progress.bar.finish_and_clear();
    let folder = result?;
    print(&format!(
        "{}\nuse it with\n    data = {}(\"{}\")\n",
        folder.display(),
        set.name,
        folder.display()
    ));
    Ok(0)
}

fn find(name: &str) -> Result<&'static Set, Diagnostic> {
    let asked = name.to_lowercase().replace('-', "_");
    if let Some(set) = SETS.iter().find(|s| s.name == asked) {
        return Ok(set);
    }
    let names: Vec<&str> = SETS.iter().map(|s| s.name).collect();
    let unknown = Diagnostic::new(
        codes::E0911,
        format!("there is no data set '{name}' to fetch"),
    );
    Err(match nearest(&asked, names.iter().copied()) {
        Some(near) => unknown.help(format!("did you mean {near}?")),
        None => unknown.help(format!("there are {}", names.join(", "))),
    })
}

/// A bar on a terminal; otherwise a line for each file.
struct Progress {
    bar: ProgressBar,
    file: String,
}

impl Progress {
    fn new() -> Progress {
        let bar = if stderr().is_terminal() {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4))
        } else {
            ProgressBar::hidden()
        };
        let style = "{msg} {bar:16} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress {
            bar,
            file: String::new(),
        }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Bytes { file, done, total } => {
                if self.file != file {
                    self.file = file.to_owned();
                    self.bar.set_message(file.to_owned());
                    if self.bar.is_hidden() {
                        let size = total.map_or(String::new(), |t| format!(", {t} bytes"));
                        self.line(&format!("fetching {file}{size}"));
                    }
                }
                if let Some(total) = total {
                    self.bar.set_length(total);
                }
                self.bar.set_position(done);
            }
            Event::Retry { file, why } => self.line(&format!("{file}: {why}; trying again")),
            Event::Unpacking { file } => {
                self.bar.set_message(format!("unpacking {file}"));
                self.bar.tick();
            }
        }
    }
}
