//! From the parser's pairs to the syntax tree; what the grammar lets pass but the language does not is reported here.
//!
//! - [`items`]: items, modules, functions, blocks of settings.
//! - [`expr`]: expressions: the table of precedence.

mod expr;
mod items;

use crate::ast::{Ident, Item};
use crate::codes;
use crate::diag::Diagnostic;
use crate::parse::Rule;
use crate::span::{FileId, Span};
use pest::iterators::{Pair, Pairs};

/// Builds the items of one part of a file. `None` stands for a pair that the grammar does not make.
pub(crate) struct Builder<'a> {
    file: FileId,
    /// The whole file; pairs speak of a part that starts at `base`.
    text: &'a str,
    base: usize,
    pub errors: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    pub fn new(file: FileId, text: &'a str, base: usize) -> Self {
        Builder {
            file,
            text,
            base,
            errors: Vec::new(),
        }
    }

    /// The items of a part, in order.
    pub fn items(&mut self, pairs: Pairs<'_, Rule>) -> Vec<Item> {
        let mut items = Vec::new();
        for pair in pairs.flat_map(|p| p.into_inner()) {
            if matches!(pair.as_rule(), Rule::EOI | Rule::separator) {
                continue;
            }
            let span = self.span(&pair);
            match self.item(pair) {
                Some(item) => items.push(item),
                None => self.errors.push(
                    Diagnostic::new(codes::E0001, "this item cannot be read")
                        .label(span, "here")
                        .help("write it in simpler parts"),
                ),
            }
        }
        items
    }

    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let span = pair.as_span();
        Span::new(self.file, self.base + span.start(), self.base + span.end())
    }

    fn ident(&self, pair: &Pair<'_, Rule>) -> Ident {
        Ident {
            name: pair.as_str().to_string(),
            span: self.span(pair),
        }
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.errors.push(diagnostic);
    }

    /// Reports a name that stands twice in one list.
    fn check_distinct<'n>(
        &mut self,
        what: &str,
        help: &str,
        names: impl Iterator<Item = &'n Ident>,
    ) {
        let mut seen: std::collections::BTreeMap<&str, Span> = std::collections::BTreeMap::new();
        for ident in names {
            if let Some(first) = seen.get(ident.name.as_str()) {
                self.errors.push(
                    Diagnostic::new(
                        codes::E0018,
                        format!("{what} `{}` is given twice", ident.name),
                    )
                    .label(ident.span, "a second time")
                    .label(*first, "first here")
                    .help(help),
                );
            } else {
                seen.insert(&ident.name, ident.span);
            }
        }
    }
}
