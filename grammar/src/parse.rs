//! Text to syntax tree: the first pass, the brackets, then pest and the builder on each item.

use crate::ast::{Comment, File, Item};
use crate::brackets::{self, Part};
use crate::build::Builder;
use crate::codes;
use crate::diag::Diagnostic;
use crate::lex::{self, BOM, Lexed, MAX_ERRORS};
use crate::span::{FileId, Span};
use crate::syntax;
use pest::Parser;

#[derive(pest_derive::Parser)]
#[grammar = "ssl.pest"]
struct SslParser;

/// How large a spec may be, in bytes.
pub const MAX_FILE_SIZE: usize = 8 << 20;

/// Reads a file. Errors are all the syntax errors found, in order of place; a file without items is one.
pub fn parse(file: FileId, text: &str) -> Result<File, Vec<Diagnostic>> {
    let parsed = parse_any(file, text)?;
    if parsed.items.is_empty() {
        let what = if parsed.comments.is_empty() {
            "the file is empty"
        } else {
            "the file holds comments only"
        };
        return Err(vec![
            Diagnostic::new(codes::E0002, what)
                .label(
                    Span::new(file, text.len(), text.len()),
                    "no item up to here",
                )
                .help("`sslc new` writes a spec to start from"),
        ]);
    }
    Ok(parsed)
}

/// The same, but a file may be empty.
pub(crate) fn parse_any(file: FileId, text: &str) -> Result<File, Vec<Diagnostic>> {
    if text.len() > MAX_FILE_SIZE {
        return Err(vec![
            Diagnostic::new(
                codes::E0023,
                format!(
                    "the file has {} MiB and is too large for a spec",
                    text.len() >> 20
                ),
            )
            .label(Span::new(file, 0, 0), "this file")
            .help(format!(
                "a spec has at most {} MiB; name the spec itself, not its data",
                MAX_FILE_SIZE >> 20
            )),
        ]);
    }
    let mut lexed = lex::lex(file, text);
    let (parts, bracket_errors) = brackets::split(file, text, &lexed);
    let lexical: Vec<usize> = lexed.errors.iter().map(start).collect();
    let mut errors = std::mem::take(&mut lexed.errors);
    let unclosed_strings: Vec<usize> = errors
        .iter()
        .filter(|e| e.code == codes::E0004)
        .map(start)
        .collect();
    // A string that does not end hides the brackets behind it.
    errors.extend(bracket_errors.into_iter().filter(|e| {
        let part = parts.iter().rfind(|p| p.start <= start(e));
        part.is_none_or(|p| {
            !unclosed_strings
                .iter()
                .any(|s| (p.start..p.end).contains(s))
        })
    }));

    let mut items: Vec<Item> = Vec::new();
    for part in parts {
        let first = lexical.partition_point(|at| *at < part.start);
        let broken = lexical.get(first).is_some_and(|at| *at < part.end);
        if !part.sound || broken || errors.len() >= MAX_ERRORS {
            continue;
        }
        match parse_part(file, text, &lexed, part) {
            Ok(more) => items.extend(more),
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        errors.sort_by_key(|e| e.labels.first().map(|l| (l.span.start, l.span.end)));
        errors.truncate(MAX_ERRORS);
        return Err(errors);
    }
    let comments = lexed
        .comments
        .iter()
        .map(|(start, end)| Comment {
            text: text[*start..*end].to_string(),
            span: Span::new(file, *start, *end),
        })
        .collect();
    Ok(File {
        items,
        comments,
        span: Span::new(file, 0, text.len()),
    })
}

/// Where an error stands.
fn start(error: &Diagnostic) -> usize {
    error.labels.first().map_or(0, |l| l.span.start as usize)
}

fn parse_part(
    file: FileId,
    text: &str,
    lexed: &Lexed,
    part: Part,
) -> Result<Vec<Item>, Vec<Diagnostic>> {
    let start = if part.start == 0 && text.starts_with(BOM) {
        BOM.len()
    } else {
        part.start
    };
    if lexed.at(start).is_none_or(|t| t.start >= part.end) {
        return Ok(Vec::new());
    }
    match SslParser::parse(Rule::items, &text[start..part.end]) {
        Ok(pairs) => {
            let mut builder = Builder::new(file, text, start);
            let items = builder.items(pairs);
            if builder.errors.is_empty() {
                Ok(items)
            } else {
                Err(builder.errors)
            }
        }
        Err(error) => Err(vec![syntax::explain(
            file,
            text,
            lexed,
            Part { start, ..part },
            &error,
        )]),
    }
}
