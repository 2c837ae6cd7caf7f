//! Writing to the terminal: results to standard output, diagnostics to standard error.

use crate::cli::Global;
use crate::compile::Failure;
use crate::render::{self, Format};
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Sources;
use std::io::{self, IsTerminal, Write};

/// How diagnostics are written in this run.
#[derive(Clone, Copy, Debug)]
pub struct Reporter {
    format: Format,
    colour: bool,
}

impl Reporter {
    pub fn new(global: &Global) -> Reporter {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Reporter {
            format: global.error_format,
            colour: io::stderr().is_terminal() && !plain,
        }
    }

    /// Writes one diagnostic to standard error.
    pub fn tell(&self, sources: &Sources, diagnostic: &Diagnostic) {
        let text = self.text(sources, diagnostic);
        // Nobody is left to tell where standard error is closed.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// The text of a diagnostic in this run's format, with its line breaks.
    pub fn text(&self, sources: &Sources, diagnostic: &Diagnostic) -> String {
        match self.format {
            Format::Text => render::text(sources, diagnostic, self.colour, render::WIDTH),
            Format::Json => format!("{}\n", render::json(sources, diagnostic)),
        }
    }

    pub fn tell_all(&self, failure: &Failure) {
        for diagnostic in &failure.diagnostics {
            self.tell(&failure.sources, diagnostic);
        }
    }
}

/// Writes a result to standard output; a reader that has gone away ends the program quietly.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}
