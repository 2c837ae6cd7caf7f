//! Specs in, programs or plain diagnostics out.
#![allow(dead_code)]

use sslc_compiler::elaborate::{Loaded, Loader, Options, elaborate};
use sslc_compiler::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::{Sources, Span};

/// What is not the subject of a test: data, views, training.
pub const FRAME: &str = r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8)
train { epochs = 2, batch = 4, optimizer = sgd(0.1) }
"#;

/// Files in memory.
pub struct Files(pub Vec<(&'static str, &'static str)>);

impl Loader for Files {
    fn load(&mut self, _importer: &str, path: &str) -> Result<Loaded, Diagnostic> {
        match self.0.iter().find(|(name, _)| *name == path) {
            Some((name, text)) => Ok(Loaded {
                id: name.to_string(),
                name: name.to_string(),
                text: text.to_string(),
            }),
            None => Err(
                Diagnostic::new(codes::E0501, format!("the file '{path}' does not exist"))
                    .help("check the path"),
            ),
        }
    }
}

/// The program and the warnings, or everything that was reported, as text.
pub struct Outcome {
    pub program: Option<Program>,
    pub text: String,
    pub codes: Vec<&'static str>,
}

impl Outcome {
    pub fn program(self) -> Program {
        match self.program {
            Some(p) => p,
            None => panic!("{}", self.text),
        }
    }
}

pub fn run(spec: &str) -> Outcome {
    run_with(spec, &[], vec![])
}

/// The spec with [`FRAME`] before it.
pub fn framed(spec: &str) -> Outcome {
    run(&format!("{FRAME}{spec}"))
}

pub fn run_with(
    spec: &str,
    overrides: &[(&str, &str)],
    files: Vec<(&'static str, &'static str)>,
) -> Outcome {
    let spec = spec.to_string();
    let overrides: Vec<(String, String)> = overrides
        .iter()
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .collect();
    // As the command line does: specs may nest deeper than a test thread's stack.
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    let outcome = thread.spawn(move || {
        let mut sources = Sources::default();
        let entry = sources.add("spec.ssl", spec);
        let options = Options {
            overrides: &overrides,
            train_len: None,
        };
        match elaborate(&mut sources, entry, &mut Files(files), &options) {
            Ok((program, warnings)) => outcome(Some(program), &warnings, &sources),
            Err(diagnostics) => outcome(None, &diagnostics, &sources),
        }
    });
    outcome.unwrap().join().unwrap()
}

/// Every message shows a place, and a way out.
fn well_formed(d: &Diagnostic) {
    assert!(d.help.is_some(), "no help: {} {}", d.code.name(), d.message);
    assert!(
        !d.labels.is_empty(),
        "no place: {} {}",
        d.code.name(),
        d.message
    );
}

fn outcome(program: Option<Program>, diagnostics: &[Diagnostic], sources: &Sources) -> Outcome {
    diagnostics.iter().for_each(well_formed);
    Outcome {
        program,
        text: diagnostics
            .iter()
            .map(|d| plain(d, sources))
            .collect::<Vec<_>>()
            .join("\n"),
        codes: diagnostics.iter().map(|d| d.code.name()).collect(),
    }
}

/// `E0101: there is no name …`, then each place as `spec.ssl:3:5 ‹text› label`, then the help.
fn plain(d: &Diagnostic, sources: &Sources) -> String {
    let mut out = format!("{}: {}\n", d.code.name(), d.message);
    for label in &d.labels {
        out.push_str(&format!(
            "  {} {}\n",
            place(label.span, sources),
            label.text
        ));
    }
    if let Some(help) = &d.help {
        out.push_str(&format!("  help: {help}\n"));
    }
    out
}

fn place(span: Span, sources: &Sources) -> String {
    let source = sources.get(span.file);
    let before = &source.text[..span.start as usize];
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    let text = sources.text(span).replace('\n', "⏎");
    let short: String = text.chars().take(40).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{}:{line}:{column} ‹{short}{dots}›", source.name)
}
