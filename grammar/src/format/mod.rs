//! The formatter: one way to lay out a spec, with the comments kept and the author's line breaks honoured where they
//! carry meaning for a reader.
//!
//! - `doc`: layout: text with places where a line may break, and the printer.
//! - `comments`: which comment stands where.
//! - `rows`: items, bindings and settings one below the other, and their `=` in one column where the author put them so.
//! - `items`, `expr`: the layout of each construct.
//!
//! Invariant: the tokens of the source are written one after the other, as they stand there; only separators (`;`, and
//! `,` where it may be left out) come and go. So the text means what it meant.

mod comments;
mod doc;
mod expr;
mod items;
mod rows;

use crate::diag::Diagnostic;
use crate::lex::{self, Token};
use crate::parse::parse_any;
use crate::span::FileId;
use comments::{Comment, has_blank, has_newline};
use doc::Doc;
use std::collections::BTreeSet;

/// The spec, laid out. Formatting the result again gives the same text; a file that cannot be read gives its syntax
/// errors, with spans of file 0. Line ends stay what the first one is, `\n` or `\r\n`.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let file_id = FileId(0);
    let file = parse_any(file_id, text)?;
    let lexed = lex::lex(file_id, text);
    let mut formatter = Formatter {
        text,
        comments: comments::collect(text, &lexed.tokens, &lexed.comments),
        anchors: comments::anchors(&file, &lexed.tokens),
        tokens: &lexed.tokens,
        cursor: 0,
    };
    let doc = formatter.file(&file);
    let out = doc::print(&doc);
    let first_break = text.find(['\n', '\r']).map(|at| &text[at..]);
    Ok(match first_break {
        Some(rest) if rest.starts_with("\r\n") => out.replace('\n', "\r\n"),
        _ => out,
    })
}

/// Turns the tree into a document; takes the tokens of the source in order.
struct Formatter<'a> {
    text: &'a str,
    tokens: &'a [Token],
    comments: Vec<Comment<'a>>,
    /// Offsets of tokens before which comments keep lines of their own.
    anchors: BTreeSet<usize>,
    /// The next token to be written.
    cursor: usize,
}

/// A comment on a line of its own, with whether an empty line stands before it.
type Lead<'a> = (&'a str, bool);

impl<'a> Formatter<'a> {
    /// The next token, with the comments that go to the end of its line.
    fn token(&mut self) -> Doc<'a> {
        let Some(token) = self.tokens.get(self.cursor) else {
            return Doc::nil();
        };
        let text = Doc::text(&self.text[token.start..token.end]);
        let mut docs = self.skip_token();
        if docs.is_empty() {
            return text;
        }
        docs.insert(0, text);
        Doc::concat(docs)
    }

    /// Leaves the next token out; its comments remain.
    fn skip_token(&mut self) -> Vec<Doc<'a>> {
        self.cursor += 1;
        let anchor = self.is_anchor(self.cursor);
        self.comments_before(self.cursor)
            .iter()
            .filter(|c| !(anchor && c.own_line))
            .map(|c| Doc::suffix(c.text))
            .collect()
    }

    /// Tokens with a space between each two.
    fn spaced(&mut self, count: usize) -> Doc<'a> {
        let mut docs = Vec::new();
        for i in 0..count {
            if i > 0 {
                docs.push(Doc::text(" "));
            }
            docs.push(self.token());
        }
        Doc::concat(docs)
    }

    /// Leaves out a `;` or `,` if one is next.
    fn skip_separator(&mut self) -> Doc<'a> {
        if matches!(self.peek(), ";" | ",") {
            Doc::concat(self.skip_token())
        } else {
            Doc::nil()
        }
    }

    /// The text of the next token.
    fn peek(&self) -> &'a str {
        self.tokens
            .get(self.cursor)
            .map_or("", |t| &self.text[t.start..t.end])
    }

    fn is_anchor(&self, token: usize) -> bool {
        self.tokens
            .get(token)
            .is_none_or(|t| self.anchors.contains(&t.start))
    }

    /// The comments between a token and the one before it.
    fn comments_before(&self, token: usize) -> &[Comment<'a>] {
        let from = self.comments.partition_point(|c| c.next < token);
        let to = self.comments.partition_point(|c| c.next <= token);
        &self.comments[from..to]
    }

    fn has_comments_before(&self, token: usize) -> bool {
        !self.comments_before(token).is_empty()
    }

    /// The comments before the next token that have lines of their own, and whether an empty line stands between them
    /// (or what is before them) and the token.
    fn lead(&self) -> (Vec<Lead<'a>>, bool) {
        let mut at = self
            .cursor
            .checked_sub(1)
            .and_then(|i| self.tokens.get(i))
            .map_or(0, |t| t.end);
        let anchor = self.is_anchor(self.cursor);
        let mut lead = Vec::new();
        for comment in self.comments_before(self.cursor) {
            if anchor && comment.own_line {
                lead.push((comment.text, has_blank(&self.text[at..comment.start])));
            }
            at = comment.end;
        }
        let end = self
            .tokens
            .get(self.cursor)
            .map_or(self.text.len(), |t| t.start);
        (lead, has_blank(&self.text[at..end]))
    }

    /// The comments before the next token, each with a line break behind it.
    fn lead_lines(&self) -> Vec<Doc<'a>> {
        let (lead, _) = self.lead();
        lead.into_iter()
            .flat_map(|(text, _)| [Doc::text(text), Doc::hard_line()])
            .collect()
    }

    /// Whether the line breaks before the token at a place.
    fn newline_before(&self, offset: u32) -> bool {
        let index = self.tokens.partition_point(|t| t.start < offset as usize);
        self.newline_before_token(index)
    }

    fn newline_before_token(&self, index: usize) -> bool {
        let start = self.tokens.get(index).map_or(self.text.len(), |t| t.start);
        let before = index.checked_sub(1).map_or(0, |i| self.tokens[i].end);
        has_newline(&self.text[before..start])
    }
}
