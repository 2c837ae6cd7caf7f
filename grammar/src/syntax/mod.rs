//! What the parser could not read, said in the field's words: what stands there, what was expected, and the way out
//! of common slips.
//!
//! - [`slips`]: the common slips, each with its own message.
//! - [`names`]: what the rules of the grammar are called.

mod names;
mod slips;

use crate::brackets::Part;
use crate::codes::{self, Code};
use crate::diag::Diagnostic;
use crate::lex::{Kind, Lexed, Token};
use crate::parse::Rule;
use crate::span::{FileId, Span};
use crate::words;
use pest::error::{Error, ErrorVariant, InputLocation};
pub(crate) use slips::untouching;

/// The diagnostic for an error of the parser.
pub(crate) fn explain(
    file: FileId,
    text: &str,
    lexed: &Lexed,
    part: Part,
    error: &Error<Rule>,
) -> Diagnostic {
    let offset = match error.location {
        InputLocation::Pos(pos) | InputLocation::Span((pos, _)) => pos,
    };
    let expected: &[Rule] = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives,
        ErrorVariant::CustomError { .. } => &[],
    };
    let place = Place {
        file,
        text,
        tokens: &lexed.tokens,
        index: lexed.index_at(part.start + offset),
        part,
        expected,
    };
    place.slip().unwrap_or_else(|| place.plain())
}

/// Where the parser stopped.
struct Place<'a> {
    file: FileId,
    text: &'a str,
    tokens: &'a [Token],
    /// The token at which it stopped; the file may end there.
    index: usize,
    part: Part,
    expected: &'a [Rule],
}

impl<'a> Place<'a> {
    fn text_of(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    /// The token at which the parser stopped, if it is of the same item.
    fn token(&self) -> Option<Token> {
        let token = *self.tokens.get(self.index)?;
        (token.start < self.part.end).then_some(token)
    }

    fn found(&self) -> &'a str {
        self.token().map_or("", |t| self.text_of(t))
    }

    /// The text of the token `ahead` places behind it.
    fn next(&self, ahead: usize) -> &'a str {
        match self.tokens.get(self.index + ahead) {
            Some(token) if token.start < self.part.end => self.text_of(*token),
            _ => "",
        }
    }

    /// The token before it.
    fn previous(&self) -> Option<Token> {
        let token = *self.tokens.get(self.index.checked_sub(1)?)?;
        (token.start >= self.part.start).then_some(token)
    }

    fn previous_text(&self) -> &'a str {
        self.previous().map_or("", |t| self.text_of(t))
    }

    fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    /// Whether an expression ended before it, complete or not.
    fn after_operand(&self) -> bool {
        self.previous().is_some_and(|t| match t.kind {
            Kind::Number | Kind::Str => true,
            Kind::Close => self.text_of(t) != "}",
            Kind::Word => !words::is_reserved(self.text_of(t)),
            Kind::Open | Kind::Op | Kind::Bad => false,
        })
    }

    fn span_of(&self, token: Token) -> Span {
        Span::new(self.file, token.start, token.end)
    }

    fn span(&self) -> Span {
        match (self.token(), self.previous()) {
            (Some(token), _) => self.span_of(token),
            (None, Some(previous)) => Span::new(self.file, previous.end, previous.end),
            (None, None) => Span::new(self.file, self.part.start, self.part.start),
        }
    }

    fn error(&self, code: Code, message: impl Into<String>, label: &str) -> Diagnostic {
        Diagnostic::new(code, message).label(self.span(), label)
    }

    /// The innermost bracket that is open where the parser stopped.
    fn bracket(&self) -> Option<Token> {
        let mut depth = 0usize;
        for token in self.tokens[..self.index.min(self.tokens.len())]
            .iter()
            .rev()
        {
            if token.start < self.part.start {
                break;
            }
            match token.kind {
                Kind::Close => depth += 1,
                Kind::Open if depth == 0 => return Some(*token),
                Kind::Open => depth -= 1,
                _ => {}
            }
        }
        None
    }

    fn in_bracket(&self, bracket: &str) -> bool {
        self.bracket().is_some_and(|t| self.text_of(t) == bracket)
    }

    /// The keyword of the last item that starts before the place, outside all brackets.
    fn keyword(&self) -> &'a str {
        let first = self.tokens.partition_point(|t| t.start < self.part.start);
        self.tokens.get(first).map_or("", |t| self.text_of(*t))
    }

    fn plain(&self) -> Diagnostic {
        let found = self.describe_found();
        let expected = names::list(self.expected);
        let label = match self.token() {
            Some(_) => "not expected here",
            None => "missing here",
        };
        let help = self
            .hint()
            .unwrap_or_else(|| "`sslc explain E0001` shows the form of each item".to_string());
        self.error(
            codes::E0001,
            format!("expected {expected}, found {found}"),
            label,
        )
        .help(help)
    }

    fn describe_found(&self) -> String {
        let Some(token) = self.token() else {
            return match self.tokens.get(self.index) {
                Some(_) => "the next item".to_string(),
                None => "the end of the file".to_string(),
            };
        };
        let text = self.found();
        match token.kind {
            Kind::Str => "a string".to_string(),
            Kind::Number => format!("the number `{text}`"),
            Kind::Word if words::is_reserved(text) => format!("the keyword `{text}`"),
            Kind::Word => format!("the name `{text}`"),
            Kind::Open | Kind::Close | Kind::Op | Kind::Bad => format!("`{text}`"),
        }
    }
}
