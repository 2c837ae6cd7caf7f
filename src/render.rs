//! Diagnostics as people and machines read them.

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity as Level, SourceCode,
};
use serde::Serialize;
use sslc_grammar::diag::{Diagnostic, Severity};
use sslc_grammar::span::{FileId, Sources, Span};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// How wide text is set where the terminal does not say.
pub const WIDTH: usize = 100;

/// A diagnostic with the labels of one file; those of other files follow as related ones.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<NamedSource<String>>,
    labels: Vec<LabeledSpan>,
    related: Vec<Elsewhere>,
}

impl<'a> Report<'a> {
    fn new(sources: &Sources, diagnostic: &'a Diagnostic) -> Report<'a> {
        let mut files: Vec<FileId> = Vec::new();
        for label in &diagnostic.labels {
            if !files.contains(&label.span.file) {
                files.push(label.span.file);
            }
        }
        let labels_of = |file: FileId| {
            diagnostic
                .labels
                .iter()
                .enumerate()
                .filter(|(_, l)| l.span.file == file)
                .map(|(i, l)| labelled(l.span, &l.text, i == 0))
                .collect::<Vec<_>>()
        };
        let mut files = files.into_iter();
        let primary = files.next();
        Report {
            diagnostic,
            source: primary.map(|file| named(sources, file)),
            labels: primary.map(labels_of).unwrap_or_default(),
            related: files
                .map(|file| Elsewhere {
                    source: named(sources, file),
                    labels: labels_of(file),
                })
                .collect(),
        }
    }
}

fn labelled(span: Span, text: &str, primary: bool) -> LabeledSpan {
    let (start, len) = (span.start as usize, (span.end - span.start) as usize);
    let text = (!text.is_empty()).then(|| text.to_owned());
    if primary {
        LabeledSpan::new_primary_with_span(text, (start, len))
    } else {
        LabeledSpan::new(text, start, len)
    }
}

fn named(sources: &Sources, file: FileId) -> NamedSource<String> {
    let source = sources.get(file);
    NamedSource::new(&source.name, source.text.clone())
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.diagnostic.code.name()))
    }

    fn severity(&self) -> Option<Level> {
        Some(match self.diagnostic.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.diagnostic
            .help
            .as_ref()
            .map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn related<'b>(&'b self) -> Option<Box<dyn Iterator<Item = &'b dyn miette::Diagnostic> + 'b>> {
        if self.related.is_empty() {
            return None;
        }
        Some(Box::new(
            self.related.iter().map(|r| r as &dyn miette::Diagnostic),
        ))
    }
}

/// The labels of a diagnostic that lie in another file than its first one.
#[derive(Debug)]
struct Elsewhere {
    source: NamedSource<String>,
    labels: Vec<LabeledSpan>,
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this concerns another file as well")
    }
}

impl std::error::Error for Elsewhere {}

impl miette::Diagnostic for Elsewhere {
    fn severity(&self) -> Option<Level> {
        Some(Level::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// Text for people: the sentence, the source with its labels, the help. `colour` adds ANSI colours.
pub fn text(sources: &Sources, diagnostic: &Diagnostic, colour: bool, width: usize) -> String {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false);
    match handler.render_report(&mut out, &Report::new(sources, diagnostic)) {
        Ok(()) => out,
        Err(_) => format!("{}: {}\n", diagnostic.code.name(), diagnostic.message),
    }
}

#[derive(Serialize)]
struct JsonLabel<'a> {
    file: &'a str,
    /// Bytes.
    start: u32,
    end: u32,
    /// From 1; columns count characters.
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    text: &'a str,
}

#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    code: &'a str,
    severity: Severity,
    message: &'a str,
    labels: Vec<JsonLabel<'a>>,
    help: Option<&'a str>,
}

/// Line and column, both from 1; the column counts characters.
pub fn line_column(text: &str, offset: u32) -> (usize, usize) {
    let mut end = (offset as usize).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// One JSON object, without a line break.
pub fn json(sources: &Sources, diagnostic: &Diagnostic) -> String {
    let labels = diagnostic
        .labels
        .iter()
        .map(|label| {
            let source = sources.get(label.span.file);
            let (line, column) = line_column(&source.text, label.span.start);
            let (end_line, end_column) = line_column(&source.text, label.span.end);
            JsonLabel {
                file: &source.name,
                start: label.span.start,
                end: label.span.end,
                line,
                column,
                end_line,
                end_column,
                text: &label.text,
            }
        })
        .collect();
    let object = JsonDiagnostic {
        code: diagnostic.code.name(),
        severity: diagnostic.severity,
        message: &diagnostic.message,
        labels,
        help: diagnostic.help.as_deref(),
    };
    serde_json::to_string(&object).unwrap_or_default()
}
