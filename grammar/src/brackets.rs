//! Brackets matched before the parser is called, and the file cut into parts that each begin at an item.
//!
//! A name in the first column where an expression has ended begins a part, too: it is a misspelt item.
//!
//! Invariant: what is handed on nests at most [`MAX_DEPTH`] deep, so that the parser, which is recursive, has the
//! stack it needs. Besides brackets only an `if` in the condition of an `if` nests, and that wants parentheses.

use crate::ast::MAX_DEPTH;
use crate::codes;
use crate::diag::Diagnostic;
use crate::lex::{Kind, Lexed, MAX_ERRORS, Token};
use crate::span::{FileId, Span};
use crate::words;

/// A part of the file: from one item's keyword to the next at the beginning of a line outside brackets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub start: usize,
    pub end: usize,
    /// Whether its brackets are in order; if not, that was reported.
    pub sound: bool,
}

pub(crate) fn split(file: FileId, text: &str, lexed: &Lexed) -> (Vec<Part>, Vec<Diagnostic>) {
    let mut scan = Scan::new(file, text, false);
    scan.run(&lexed.tokens);
    if scan.unclosed {
        // An item that starts a line ends what was left open before it.
        scan = Scan::new(file, text, true);
        scan.run(&lexed.tokens);
    }
    (scan.parts, scan.errors)
}

#[derive(Clone, Copy)]
struct Frame {
    open: Token,
    /// The `if` whose block has not begun yet.
    condition: Option<Token>,
}

struct Scan<'a> {
    file: FileId,
    text: &'a str,
    /// Whether an item keyword in the first column closes all brackets.
    recover: bool,
    stack: Vec<Frame>,
    /// How many `(`, `[` and `{` are on the stack.
    open_counts: [usize; 3],
    /// The same outside all brackets.
    condition: Option<Token>,
    parts: Vec<Part>,
    errors: Vec<Diagnostic>,
    unclosed: bool,
    too_deep: bool,
}

impl<'a> Scan<'a> {
    fn new(file: FileId, text: &'a str, recover: bool) -> Self {
        Scan {
            file,
            text,
            recover,
            stack: Vec::new(),
            open_counts: [0; 3],
            condition: None,
            parts: vec![Part {
                start: 0,
                end: text.len(),
                sound: true,
            }],
            errors: Vec::new(),
            unclosed: false,
            too_deep: false,
        }
    }

    fn text(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    fn span(&self, token: Token) -> Span {
        Span::new(self.file, token.start, token.end)
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        // What follows the first error of a part is mostly its consequence.
        let sound = match self.parts.last_mut() {
            Some(part) => std::mem::replace(&mut part.sound, false),
            None => true,
        };
        if sound && self.errors.len() < MAX_ERRORS {
            self.errors.push(diagnostic);
        }
    }

    fn run(&mut self, tokens: &[Token]) {
        for (i, token) in tokens.iter().enumerate() {
            match token.kind {
                Kind::Open => self.open(*token),
                Kind::Close => self.close(*token),
                Kind::Word => {
                    let next = tokens.get(i + 1).map_or("", |t| self.text(*t));
                    let previous = i.checked_sub(1).map(|p| tokens[p]);
                    self.word(*token, previous, next);
                }
                _ => {}
            }
        }
        self.close_all();
    }

    fn word(&mut self, token: Token, previous: Option<Token>, next: &str) {
        let word = self.text(token);
        let first_column =
            token.start == 0 || self.text[..token.start].ends_with(['\n', '\r', '\u{feff}']);
        if token.line_start && words::starts_item(word) {
            if self.recover && first_column && next != ":" {
                self.close_all();
            }
            if self.stack.is_empty() {
                self.begin_part(token.start);
            }
        } else if token.line_start
            && first_column
            && self.stack.is_empty()
            && !words::is_reserved(word)
            && previous.is_none_or(|p| ends_operand(p, self.text(p)))
        {
            // No expression goes on with a name: this was meant to be an item.
            self.begin_part(token.start);
        }
        let previous = previous.map_or("", |p| self.text(p));
        if word == "if" && previous != "." && next != ":" && next != "=" {
            let condition = match self.stack.last_mut() {
                Some(frame) => &mut frame.condition,
                None => &mut self.condition,
            };
            match *condition {
                None => *condition = Some(token),
                Some(outer) => {
                    let (outer, inner) = (self.span(outer), self.span(token));
                    self.error(
                        Diagnostic::new(
                            codes::E0016,
                            "an `if` in the condition of another one needs parentheses",
                        )
                        .label(inner, "this `if`")
                        .label(outer, "stands in the condition of this one")
                        .help("write `if (if a { b } else { c }) { … }`, or name the condition with `let`"),
                    );
                }
            }
        }
    }

    fn begin_part(&mut self, start: usize) {
        self.condition = None;
        self.too_deep = false;
        if let Some(last) = self.parts.last_mut() {
            last.end = start;
        }
        self.parts.push(Part {
            start,
            end: self.text.len(),
            sound: true,
        });
    }

    fn open(&mut self, token: Token) {
        if self.text(token) == "{" {
            match self.stack.last_mut() {
                Some(frame) => frame.condition = None,
                None => self.condition = None,
            }
        }
        self.open_counts[kind_index(self.text(token))] += 1;
        self.stack.push(Frame {
            open: token,
            condition: None,
        });
        if self.stack.len() > MAX_DEPTH && !self.too_deep {
            self.too_deep = true;
            let span = self.span(token);
            self.error(
                Diagnostic::new(
                    codes::E0007,
                    format!("brackets nest deeper than {MAX_DEPTH}"),
                )
                .label(
                    span,
                    format!("bracket {} inside one another", MAX_DEPTH + 1),
                )
                .help("name parts of the expression with `let`, or move them into a `fn`"),
            );
        }
    }

    fn close(&mut self, token: Token) {
        let opening = match self.text(token) {
            ")" => "(",
            "]" => "[",
            _ => "{",
        };
        let span = self.span(token);
        let matched = self.open_counts[kind_index(opening)] > 0;
        match self.stack.last().copied() {
            Some(top) if self.text(top.open) == opening => self.pop(),
            Some(top) if matched => {
                self.unclosed = true;
                self.report_unclosed(top.open, Some(span));
                while self
                    .stack
                    .last()
                    .is_some_and(|f| self.text(f.open) != opening)
                {
                    self.pop();
                }
                self.pop();
            }
            Some(top) => {
                let (open, shut) = (self.text(top.open), self.text(token));
                let right = closing(open);
                let open_span = self.span(top.open);
                self.error(
                    Diagnostic::new(codes::E0006, format!("`{open}` is closed by `{shut}`"))
                        .label(open_span, "opened here")
                        .label(span, "closed here")
                        .help(format!("write `{right}`")),
                );
                self.pop();
            }
            None => {
                let shut = self.text(token);
                self.error(
                    Diagnostic::new(codes::E0006, format!("`{shut}` closes nothing"))
                        .label(span, "here")
                        .help(format!("remove it, or open it with `{opening}` before")),
                );
            }
        }
    }

    fn pop(&mut self) {
        if let Some(frame) = self.stack.pop() {
            self.open_counts[kind_index(self.text(frame.open))] -= 1;
        }
    }

    fn close_all(&mut self) {
        if let Some(top) = self.stack.last().copied() {
            self.unclosed = true;
            self.report_unclosed(top.open, None);
            self.stack.clear();
            self.open_counts = [0; 3];
        }
    }

    fn report_unclosed(&mut self, open: Token, before: Option<Span>) {
        let bracket = self.text(open);
        let right = closing(bracket);
        let mut diagnostic = Diagnostic::new(codes::E0006, format!("`{bracket}` is not closed"))
            .label(self.span(open), "opened here");
        if let Some(before) = before {
            diagnostic = diagnostic.label(before, format!("`{right}` is missing before this"));
        }
        self.error(diagnostic.help(format!("add the missing `{right}`")));
    }
}

fn closing(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}

fn kind_index(open: &str) -> usize {
    match open {
        "(" => 0,
        "[" => 1,
        _ => 2,
    }
}

fn ends_operand(token: Token, text: &str) -> bool {
    match token.kind {
        Kind::Number | Kind::Str | Kind::Close => true,
        Kind::Word => !words::is_reserved(text),
        Kind::Open | Kind::Op | Kind::Bad => false,
    }
}
