//! A first pass over the text that needs no stack: tokens, comments, and what is wrong with single tokens.
//!
//! The parser proper (pest) reads the text again; the tokens serve to match brackets before it is called, to cut the
//! file into items and to say what stands at the place of an error.

use crate::codes::{self, Code};
use crate::diag::Diagnostic;
use crate::foreign::{FOREIGN, LOOKALIKES};
use crate::span::{FileId, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Number,
    Str,
    Open,
    Close,
    Op,
    /// Something that was already reported.
    Bad,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
    /// Whether it is the first of its line.
    pub line_start: bool,
}

/// What the first pass found.
pub(crate) struct Lexed {
    pub tokens: Vec<Token>,
    pub comments: Vec<(usize, usize)>,
    pub errors: Vec<Diagnostic>,
}

impl Lexed {
    /// The first token that starts at `pos` or behind it.
    pub fn at(&self, pos: usize) -> Option<&Token> {
        self.tokens.get(self.index_at(pos))
    }

    pub fn index_at(&self, pos: usize) -> usize {
        self.tokens.partition_point(|t| t.start < pos)
    }
}

/// The byte-order mark that some editors put at the beginning of a file.
pub(crate) const BOM: &str = "\u{feff}";

/// How many errors of one file are kept; a binary file would have one for every byte.
pub(crate) const MAX_ERRORS: usize = 50;

const OPS: &[&str] = &["|>", "==", "!=", "<=", ">=", ".."];

pub(crate) fn lex(file: FileId, text: &str) -> Lexed {
    let mut lexer = Lexer {
        file,
        text,
        bytes: text.as_bytes(),
        pos: if text.starts_with(BOM) { BOM.len() } else { 0 },
        line_start: true,
        binary: false,
        out: Lexed {
            tokens: Vec::new(),
            comments: Vec::new(),
            errors: Vec::new(),
        },
    };
    while lexer.pos < text.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer<'a> {
    file: FileId,
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    line_start: bool,
    /// Whether a control character was met.
    binary: bool,
    out: Lexed,
}

fn is_newline(b: u8) -> bool {
    b == b'\n' || b == b'\r'
}

fn is_word(b: u8) -> bool {
    b == b'_' || b.is_ascii_alphanumeric()
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, keep: impl Fn(u8) -> bool) {
        while self.bytes.get(self.pos).is_some_and(|b| keep(*b)) {
            self.pos += 1;
        }
    }

    fn push(&mut self, kind: Kind, start: usize) {
        self.out.tokens.push(Token {
            kind,
            start,
            end: self.pos,
            line_start: self.line_start,
        });
        self.line_start = false;
    }

    fn error(
        &mut self,
        code: Code,
        message: impl Into<String>,
        start: usize,
        end: usize,
        label: &str,
        help: impl Into<String>,
    ) {
        if self.out.errors.len() < MAX_ERRORS {
            self.out.errors.push(
                Diagnostic::new(code, message)
                    .label(Span::new(self.file, start, end), label)
                    .help(help),
            );
        }
    }

    fn step(&mut self) {
        let start = self.pos;
        match self.bytes[start] {
            b' ' | b'\t' => self.pos += 1,
            b'\n' | b'\r' => {
                self.pos += 1;
                self.line_start = true;
            }
            b'#' => {
                self.skip_while(|b| !is_newline(b));
                let end = start + self.text[start..self.pos].trim_end().len();
                self.out.comments.push((start, end));
                self.check_comment(start, end);
            }
            b'"' => self.string(),
            b'(' | b'[' | b'{' => {
                self.pos += 1;
                self.push(Kind::Open, start);
            }
            b')' | b']' | b'}' => {
                self.pos += 1;
                self.push(Kind::Close, start);
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.dotted_number(),
            b if is_word(b) => {
                self.skip_while(is_word);
                self.push(Kind::Word, start);
            }
            b if b.is_ascii_graphic() => self.operator(),
            _ => self.strange(),
        }
    }

    fn operator(&mut self) {
        let start = self.pos;
        let rest = &self.text[start..];
        if let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) {
            self.pos += op.len();
            return self.push(Kind::Op, start);
        }
        if let Some((op, help)) = FOREIGN.iter().find(|(op, _)| rest.starts_with(*op)) {
            self.pos += op.len();
            self.push(Kind::Bad, start);
            let shown = if *op == "`" {
                "a back quote".to_string()
            } else {
                format!("`{op}`")
            };
            return self.error(
                codes::E0015,
                format!("{shown} is not a sign of the language"),
                start,
                self.pos,
                "here",
                *help,
            );
        }
        self.pos += 1;
        self.push(Kind::Op, start);
    }

    fn number(&mut self) {
        let start = self.pos;
        self.skip_while(|b| b.is_ascii_digit());
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            self.pos += 1;
            self.skip_while(|b| b.is_ascii_digit());
        }
        let exponent = match (self.peek(0), self.peek(1)) {
            (b'e' | b'E', b'+' | b'-') if self.peek(2).is_ascii_digit() => 3,
            (b'e' | b'E', b'0'..=b'9') => 2,
            _ => 0,
        };
        if exponent > 0 {
            self.pos += exponent;
            self.skip_while(|b| b.is_ascii_digit());
        }
        let digits = self.pos;
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.pos += 1;
            self.skip_while(is_word);
            self.push(Kind::Bad, start);
            let number = &self.text[start..digits];
            let help = if self.pos > digits + 1 {
                format!("write the number as `{number}` and separate what follows")
            } else {
                format!("write `{number}.0`, or `{number}` for an integer")
            };
            return self.error(
                codes::E0008,
                "a number cannot end with a point",
                start,
                self.pos,
                "this number",
                help,
            );
        }
        if is_word(self.peek(0)) {
            self.skip_while(is_word);
            self.push(Kind::Bad, start);
            let written = &self.text[start..self.pos];
            let plain = written.replace('_', "");
            let (message, help) = if plain.bytes().all(|b| b.is_ascii_digit()) {
                (
                    "digits are not grouped with `_`".to_string(),
                    format!("write `{plain}`"),
                )
            } else if self.text[digits..self.pos].starts_with(['e', 'E']) {
                (
                    format!("`{written}` has no digits in its exponent"),
                    "write an exponent as in `5e-4`".to_string(),
                )
            } else {
                (
                    format!("`{written}` is neither a number nor a name"),
                    "a name starts with a letter; a product is written `2 * x`".to_string(),
                )
            };
            return self.error(codes::E0008, message, start, self.pos, "here", help);
        }
        self.push(Kind::Number, start);
    }

    /// `.5`, which no number is; `x.5` neither is a field.
    fn dotted_number(&mut self) {
        let start = self.pos;
        self.pos += 1;
        self.skip_while(is_word);
        let touches = self
            .out
            .tokens
            .last()
            .is_some_and(|t| t.end == start && matches!(t.kind, Kind::Word | Kind::Close));
        self.push(Kind::Bad, start);
        let digits = self.text[start + 1..self.pos].to_string();
        if touches {
            self.error(
                codes::E0008,
                "a field is a name, not a number",
                start,
                self.pos,
                "this field",
                format!("write `[{digits}]` for the element at place {digits}"),
            );
        } else {
            self.error(
                codes::E0008,
                "a number cannot start with a point",
                start,
                self.pos,
                "this number",
                format!("write `0.{digits}`"),
            );
        }
    }

    fn string(&mut self) {
        let start = self.pos;
        self.pos += 1;
        loop {
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    break self.push(Kind::Str, start);
                }
                Some(b'\\') => self.escape(),
                Some(b) if !is_newline(*b) => {
                    if is_control(*b) {
                        self.control();
                    } else {
                        self.pos += 1;
                    }
                }
                _ => {
                    self.push(Kind::Bad, start);
                    return self.error(
                        codes::E0004,
                        "a string is not closed on its line",
                        start,
                        self.pos,
                        "it starts here",
                        "end it with `\"`; a line break inside a string is written `\\n`",
                    );
                }
            }
        }
    }

    fn escape(&mut self) {
        let start = self.pos;
        self.pos += 1;
        match self.text[self.pos..].chars().next() {
            Some('"' | '\\' | 'n' | 't') => self.pos += 1,
            Some('\n' | '\r') | None => {}
            Some(c) => {
                self.pos += c.len_utf8();
                self.error(
                    codes::E0005,
                    format!("`\\{c}` means nothing in a string"),
                    start,
                    self.pos,
                    "here",
                    "a backslash is written `\\\\`; the others are `\\\"`, `\\n` and `\\t`; paths may use `/` everywhere",
                );
            }
        }
    }

    fn check_comment(&mut self, start: usize, end: usize) {
        if let Some(i) = self.bytes[start..end].iter().position(|b| is_control(*b)) {
            let after = self.pos;
            self.pos = start + i;
            self.control();
            self.pos = after;
        }
    }

    /// A control character, anywhere; the first stands for all.
    fn control(&mut self) {
        let start = self.pos;
        let byte = self.bytes[start];
        self.pos += 1;
        if std::mem::replace(&mut self.binary, true) {
            return;
        }
        self.error(
            codes::E0003,
            format!("the text holds a control character (byte {byte:#04x})"),
            start,
            self.pos,
            "here",
            "remove it; if the file is no text at all, name the spec instead",
        );
    }

    fn strange(&mut self) {
        let start = self.pos;
        let Some(c) = self.text[start..].chars().next() else {
            return;
        };
        if c.is_ascii() {
            self.control();
            return self.push(Kind::Bad, start);
        }
        self.pos += c.len_utf8();
        if let Some((_, plain)) = LOOKALIKES.iter().find(|(l, _)| *l == c) {
            self.error(
                codes::E0003,
                format!("the sign `{c}` only looks like `{plain}`"),
                start,
                self.pos,
                "here",
                format!("write `{plain}`"),
            );
        } else if c.is_alphabetic() {
            while let Some(c) = self.text[self.pos..].chars().next()
                && (c.is_alphanumeric() || c == '_')
            {
                self.pos += c.len_utf8();
            }
            let word = &self.text[start..self.pos];
            self.error(
                codes::E0003,
                format!("`{word}` cannot stand in a name"),
                start,
                self.pos,
                "here",
                "names are made of the letters a to z, digits and `_`, as in `tau`",
            );
        } else if c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}' {
            self.error(
                codes::E0003,
                format!("the text holds an unusual space (U+{:04X})", u32::from(c)),
                start,
                self.pos,
                "here",
                "use ordinary spaces",
            );
        } else {
            self.error(
                codes::E0003,
                format!(
                    "the character `{}` (U+{:04X}) means nothing here",
                    c.escape_debug(),
                    u32::from(c)
                ),
                start,
                self.pos,
                "here",
                "only strings and comments may hold it",
            );
        }
        self.push(Kind::Bad, start);
    }
}

fn is_control(b: u8) -> bool {
    b.is_ascii_control() && b != b'\t' && !is_newline(b)
}
