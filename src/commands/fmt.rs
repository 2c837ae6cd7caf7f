//! `sslc fmt`: specs in their one form.

use crate::compile::Failure;
use crate::loader::read_text;
use crate::report::{Reporter, print};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::{FileId, Sources};
use sslc_runtime::tensors::{cannot_read, write_atomically};
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

/// Formats files in place, or with `check` only tells which are not formatted; `-` is standard input.
pub fn run(specs: &[PathBuf], check: bool, reporter: Reporter) -> Result<u8, Failure> {
    let mut status = 0;
    for spec in specs {
        let outcome = if spec.as_os_str() == "-" {
            from_stdin(check)
        } else {
            in_place(spec, check)
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                print(&format!("{} is not formatted\n", spec.display()));
                status = status.max(1);
            }
            Err(failure) => {
                reporter.tell_all(&failure);
                status = status.max(failure.exit().status());
            }
        }
    }
    Ok(status)
}

fn formatted(name: String, text: String) -> Result<(String, String), Failure> {
    match sslc_grammar::format(&text) {
        Ok(new) => Ok((text, new)),
        Err(diagnostics) => {
            let mut sources = Sources::default();
            let FileId(_) = sources.add(name, text);
            Err(Failure {
                sources,
                diagnostics,
            })
        }
    }
}

/// True where the file is formatted, or now is.
fn in_place(spec: &Path, check: bool) -> Result<bool, Failure> {
    let (old, new) = formatted(spec.display().to_string(), read_text(spec)?)?;
    if old == new {
        return Ok(true);
    }
    if check {
        return Ok(false);
    }
    write_atomically(spec, new.as_bytes())?;
    Ok(true)
}

fn from_stdin(check: bool) -> Result<bool, Failure> {
    let mut bytes = Vec::new();
    stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(Path::new("-"), &error))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Diagnostic::new(codes::E0655, "standard input is not UTF-8 text")
            .help("a spec is a UTF-8 text file")
    })?;
    let (old, new) = formatted("standard input".to_owned(), text)?;
    if check {
        return Ok(old == new);
    }
    print(&new);
    Ok(true)
}
