//! The layout of items, modules, functions and blocks of settings.

use super::Formatter;
use super::doc::Doc;
use super::rows::{self, Head, Row};
use crate::ast::{Binding, Block, Entry, Expr, ExprKind, File, Item, ItemKind, Parameter};

/// A member of a module, in the order of the source.
enum Member<'t> {
    Binding(&'t Binding),
    Forward,
}

impl<'a> Formatter<'a> {
    pub(super) fn file(&mut self, file: &File) -> Doc<'a> {
        let mut items = Vec::new();
        for item in &file.items {
            let row = Row::start(self);
            let (head, tail) = self.item(item);
            let mut row = row.with(head, tail);
            row.push(self.skip_separator());
            items.push(row);
        }
        let empty = items.is_empty();
        let mut docs = vec![rows::stack(items)];
        let (lead, _) = self.lead();
        docs.extend(rows::closing(lead, empty));
        Doc::concat(docs)
    }

    fn item(&mut self, item: &Item) -> (Head<'a>, Doc<'a>) {
        match &item.kind {
            ItemKind::Import { alias, .. } => {
                let words = if alias.is_some() { 4 } else { 2 };
                (Head::Whole(self.spaced(words)), Doc::nil())
            }
            ItemKind::Param { value, .. }
            | ItemKind::Network { value, .. }
            | ItemKind::Let { value, .. }
            | ItemKind::Watch { value, .. } => {
                let head = self.keyword_head(|f| f.token());
                (head, self.definition(value))
            }
            ItemKind::Data { value } | ItemKind::Loss { value, .. } => {
                let head = self.name_head(|f| f.token());
                (head, self.definition(value))
            }
            ItemKind::Views { names, value } | ItemKind::Target { names, value } => {
                let head = self.keyword_head(|f| f.names(names.len()));
                (head, self.definition(value))
            }
            ItemKind::Module(module) => {
                let start = self.spaced(2);
                let params = self.parameters(&module.params);
                let mut members: Vec<(u32, Member<'_>)> = module
                    .bindings
                    .iter()
                    .map(|b| (b.name.span.start, Member::Binding(b)))
                    .collect();
                members.push((module.forward.span.start, Member::Forward));
                members.sort_by_key(|(start, _)| *start);
                let starts: Vec<u32> = members.iter().map(|(start, _)| *start).collect();
                let mut members = members.into_iter();
                let body = self.braces(&starts, item.span.end, ";", |f| {
                    match members.next().map(|(_, member)| member) {
                        Some(Member::Binding(binding)) => {
                            let head = f.name_head(|f| f.token());
                            (head, f.definition(&binding.value))
                        }
                        Some(Member::Forward) => {
                            let count = module.forward.params.len();
                            let body = &module.forward.body;
                            f.function(body, false, |f| {
                                let start = f.token();
                                let params = f.delimited(count, |f, _| f.token());
                                Doc::concat(vec![start, params])
                            })
                        }
                        None => (Head::Whole(Doc::nil()), Doc::nil()),
                    }
                });
                let docs = vec![start, params, Doc::text(" "), body];
                (Head::Whole(Doc::concat(docs)), Doc::nil())
            }
            ItemKind::Fn(function) => self.function(&function.body, true, |f| {
                let name = f.token();
                let params = f.parameters(&function.params);
                Doc::concat(vec![name, params])
            }),
            ItemKind::Train { entries, .. } | ItemKind::Eval { entries, .. } => {
                let keyword = self.token();
                let body = self.settings(entries, item.span.end);
                let docs = vec![keyword, Doc::text(" "), body];
                (Head::Whole(Doc::concat(docs)), Doc::nil())
            }
        }
    }

    /// The number of spaces between the token written last and the next one; 1 if anything else stands there.
    fn gap(&self) -> usize {
        let (Some(before), Some(next)) = (
            self.cursor.checked_sub(1).and_then(|i| self.tokens.get(i)),
            self.tokens.get(self.cursor),
        ) else {
            return 1;
        };
        let between = &self.text[before.end..next.start];
        if !between.is_empty() && between.bytes().all(|b| b == b' ') {
            between.len()
        } else {
            1
        }
    }

    /// `keyword name`, before a `=`.
    fn keyword_head(&mut self, name: impl FnOnce(&mut Self) -> Doc<'a>) -> Head<'a> {
        let keyword = self.token();
        let keyword_gap = self.gap();
        let name = name(self);
        let gap = self.gap();
        Head::Keyword {
            keyword,
            keyword_gap,
            name,
            gap,
        }
    }

    fn name_head(&mut self, name: impl FnOnce(&mut Self) -> Doc<'a>) -> Head<'a> {
        let name = name(self);
        let gap = self.gap();
        Head::Name { name, gap }
    }

    /// `a, b`
    fn names(&mut self, count: usize) -> Doc<'a> {
        let mut docs = Vec::new();
        for i in 0..count {
            if i > 0 {
                docs.push(self.token());
                docs.push(Doc::text(" "));
            }
            docs.push(self.token());
        }
        Doc::concat(docs)
    }

    /// A function (with its keyword) or `forward`: with `=`, or with a body in braces.
    fn function(
        &mut self,
        body: &Block,
        keyword: bool,
        name: impl FnOnce(&mut Self) -> Doc<'a>,
    ) -> (Head<'a>, Doc<'a>) {
        let head = if keyword {
            self.keyword_head(name)
        } else {
            self.name_head(name)
        };
        if !body.braces {
            return (head, self.definition(&body.value));
        }
        let docs = match head {
            Head::Keyword { keyword, name, .. } => {
                vec![keyword, Doc::text(" "), name, Doc::text(" ")]
            }
            Head::Name { name, .. } => vec![name, Doc::text(" ")],
            Head::Whole(doc) => vec![doc],
        };
        let body = self.block(body, self.block_breaks(body));
        (Head::Whole(Doc::concat(docs)), body.group())
    }

    fn parameters(&mut self, params: &[Parameter]) -> Doc<'a> {
        self.delimited(params.len(), |f, i| {
            let name = f.token();
            match &params[i].default {
                Some(default) => {
                    let equals = f.token();
                    let value = f.expr(default);
                    Doc::concat(vec![name, Doc::text(" "), equals, Doc::text(" "), value])
                }
                None => name,
            }
        })
    }

    /// `= value`; a pipeline that breaks starts on the next line, and so does what has a comment before it.
    pub(super) fn definition(&mut self, value: &Expr) -> Doc<'a> {
        let equals = self.token();
        let mut lead = self.lead_lines();
        if !lead.is_empty() {
            lead.insert(0, Doc::hard_line());
            lead.push(self.expr(value));
            return Doc::concat(vec![equals, Doc::concat(lead).nest()]);
        }
        if let ExprKind::Pipe { first, stages } = &value.kind {
            let breaks = self.pipe_breaks(stages);
            let line = if breaks {
                Doc::hard_line()
            } else {
                Doc::line()
            };
            let pipe = self.pipe(first, stages, breaks);
            return Doc::concat(vec![equals, Doc::concat(vec![line, pipe]).nest()]).group();
        }
        let value = self.expr(value);
        Doc::concat(vec![equals, Doc::text(" "), value])
    }

    fn settings(&mut self, entries: &[Entry], end: u32) -> Doc<'a> {
        let starts: Vec<u32> = entries
            .iter()
            .map(|entry| match entry {
                Entry::Set { key, .. } | Entry::Bare { key } => key.span.start,
                Entry::Evaluator { call } => call.span.start,
            })
            .collect();
        // Bare keys that stand on one line stay together: they are one entry to the eye.
        let mut firsts: Vec<usize> = Vec::new();
        for (i, start) in starts.iter().enumerate() {
            let joined = i > 0
                && matches!(entries[i], Entry::Bare { .. })
                && matches!(entries[i - 1], Entry::Bare { .. })
                && !self.newline_before(*start);
            if !joined {
                firsts.push(i);
            }
        }
        let row_starts: Vec<u32> = firsts.iter().map(|i| starts[*i]).collect();
        let mut ends: Vec<usize> = firsts.iter().skip(1).copied().collect();
        ends.push(entries.len());
        let mut ranges = firsts.into_iter().zip(ends);
        self.braces(&row_starts, end, ",", |f| {
            let group = ranges.next().map_or(&[][..], |(a, b)| &entries[a..b]);
            match group {
                [Entry::Set { value, .. }] => {
                    let head = f.name_head(|f| f.token());
                    (head, f.definition(value))
                }
                [Entry::Evaluator { call }] => (Head::Whole(f.expr(call)), Doc::nil()),
                bare => {
                    let mut docs = Vec::new();
                    for i in 0..bare.len() {
                        if i > 0 {
                            docs.extend([f.skip_separator(), Doc::text(", ")]);
                        }
                        docs.push(f.token());
                    }
                    (Head::Whole(Doc::concat(docs)), Doc::nil())
                }
            }
        })
    }

    /// `{ … }` around rows that start at the places given; on one line if they were and fit.
    fn braces(
        &mut self,
        starts: &[u32],
        end: u32,
        separator: &'static str,
        mut row: impl FnMut(&mut Self) -> (Head<'a>, Doc<'a>),
    ) -> Doc<'a> {
        let breaks =
            starts.iter().any(|start| self.newline_before(*start)) || self.newline_before(end - 1);
        let open = self.token();
        if starts.is_empty() && self.lead().0.is_empty() {
            return Doc::concat(vec![open, self.token()]);
        }
        let mut items = Vec::new();
        for _ in starts {
            let start = Row::start(self);
            let (head, tail) = row(self);
            let mut row = start.with(head, tail);
            row.push(self.skip_separator());
            items.push(row);
        }
        self.close_braces(open, items, breaks, separator)
    }

    /// The rest of a block of rows, from its rows on.
    fn close_braces(
        &mut self,
        open: Doc<'a>,
        items: Vec<Row<'a>>,
        breaks: bool,
        separator: &'static str,
    ) -> Doc<'a> {
        let (lead, _) = self.lead();
        if breaks {
            let empty = items.is_empty();
            let mut inner = vec![Doc::hard_line(), rows::stack(items)];
            inner.extend(rows::closing(lead, empty));
            let inner = Doc::concat(inner).nest();
            return Doc::concat(vec![open, inner, Doc::hard_line(), self.token()]);
        }
        let inner = rows::in_line(items, separator).nest();
        Doc::concat(vec![open, inner, Doc::line(), self.token()]).group()
    }

    /// Whether a block in braces has line breaks of its own.
    pub(super) fn block_breaks(&self, block: &Block) -> bool {
        let newline_before_let = block.lets.iter().any(|binding| {
            let name = self
                .tokens
                .partition_point(|t| t.start < binding.name.span.start as usize);
            name > 0 && self.newline_before_token(name - 1)
        });
        newline_before_let
            || self.newline_before(block.value.span.start)
            || self.newline_before(block.span.end - 1)
    }

    /// `{ let … value }`. Without line breaks of its own it is left to the group around it whether it breaks.
    pub(super) fn block(&mut self, block: &Block, breaks: bool) -> Doc<'a> {
        let open = self.token();
        let mut items = Vec::new();
        for binding in &block.lets {
            let start = Row::start(self);
            let head = self.keyword_head(|f| f.token());
            let tail = self.definition(&binding.value);
            let mut row = start.with(head, tail);
            row.push(self.skip_separator());
            items.push(row);
        }
        let start = Row::start(self);
        let value = self.expr(&block.value);
        let mut row = start.with(Head::Whole(value), Doc::nil());
        row.push(self.skip_separator());
        items.push(row);
        if breaks {
            return self.close_braces(open, items, true, ";");
        }
        let inner = rows::in_line(items, ";").nest();
        Doc::concat(vec![open, inner, Doc::line(), self.token()])
    }
}
