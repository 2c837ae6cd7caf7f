//! What the parser could not read, said in the field's words: what stands there, what was expected, and the way out
//! of common slips.

use crate::brackets::Part;
use crate::codes;
use crate::diag::{Diagnostic, nearest};
use crate::lex::{Kind, Lexed, Token};
use crate::parse::Rule;
use crate::span::{FileId, Span};
use crate::words;
use pest::error::{Error, ErrorVariant, InputLocation};

/// A `(` or `[` that should touch what it follows.
pub(crate) fn untouching(bracket: &str, at: Span) -> Diagnostic {
    let (what, example) = if bracket == "(" {
        ("call", "f(x)")
    } else {
        ("index", "x[i]")
    };
    Diagnostic::new(
        codes::E0012,
        format!("the `{bracket}` of a {what} has to touch what it follows"),
    )
    .label(at, "a space stands before it")
    .help(format!(
        "write `{example}` for a {what}, or `;` before it if a new expression is meant"
    ))
}

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
    let index = lexed.index_at(part.start + offset);
    let place = Place {
        file,
        text,
        tokens: &lexed.tokens,
        index,
        part,
        expected,
    };
    place.slip().unwrap_or_else(|| place.plain())
}

struct Place<'a> {
    file: FileId,
    text: &'a str,
    tokens: &'a [Token],
    /// The token at which the parser stopped; the file may end there.
    index: usize,
    part: Part,
    expected: &'a [Rule],
}

impl<'a> Place<'a> {
    fn token(&self, index: usize) -> &'a str {
        self.tokens
            .get(index)
            .map_or("", |t| &self.text[t.start..t.end])
    }

    /// The text of the token at which the parser stopped.
    fn found(&self) -> &'a str {
        self.token(self.index)
    }

    /// The token `back` places before that, if it is of the same item.
    fn before(&self, back: usize) -> Option<Token> {
        let token = *self.tokens.get(self.index.checked_sub(back)?)?;
        (token.start >= self.part.start).then_some(token)
    }

    fn before_text(&self, back: usize) -> &'a str {
        self.before(back).map_or("", |t| &self.text[t.start..t.end])
    }

    fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
    }

    fn span(&self) -> Span {
        match self.tokens.get(self.index) {
            Some(t) => Span::new(self.file, t.start, t.end),
            None => Span::new(self.file, self.text.len(), self.text.len()),
        }
    }

    fn error(&self, code: codes::Code, message: impl Into<String>, label: &str) -> Diagnostic {
        Diagnostic::new(code, message).label(self.span(), label)
    }

    /// The innermost bracket that is open where the parser stopped.
    fn bracket(&self) -> Option<&'a str> {
        let mut depth = 0usize;
        for i in (0..self.index).rev() {
            let token = self.tokens[i];
            if token.start < self.part.start {
                break;
            }
            match token.kind {
                Kind::Close => depth += 1,
                Kind::Open if depth == 0 => return Some(self.token(i)),
                Kind::Open => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The keyword of the item.
    fn keyword(&self) -> &'a str {
        let first = self.tokens.partition_point(|t| t.start < self.part.start);
        self.token(first)
    }

    fn plain(&self) -> Diagnostic {
        let found = self.describe_found();
        let expected = self.describe_expected();
        self.error(
            codes::E0001,
            format!("expected {expected}, found {found}"),
            "not expected here",
        )
        .help("see `sslc explain E0001` for the forms of items and expressions")
    }

    fn describe_found(&self) -> String {
        let Some(token) = self.tokens.get(self.index) else {
            return "the end of the file".to_string();
        };
        let text = self.found();
        match token.kind {
            Kind::Str => "a string".to_string(),
            Kind::Number => format!("the number `{text}`"),
            Kind::Word if words::is_reserved(text) => format!("the keyword `{text}`"),
            Kind::Word => format!("the name `{text}`"),
            _ => format!("`{text}`"),
        }
    }

    fn describe_expected(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for rule in self.expected {
            let name = rule_name(*rule);
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        match names.as_slice() {
            [] => "something else".to_string(),
            [one] => one.to_string(),
            [init @ .., last] => format!("{} or {last}", init.join(", ")),
        }
    }

    fn slip(&self) -> Option<Diagnostic> {
        None
    }
}

/// What a rule is called in a message.
fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::expr => "an expression",
        _ => "",
    }
}

#[allow(unused)]
fn unused() {
    let _ = nearest("", []);
}
