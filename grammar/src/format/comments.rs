//! Which comments stand before which token, and where a comment may keep a line of its own.
//!
//! A comment on a line of its own stays there if what follows it is an *anchor*: something that starts a line anyway,
//! or can. Every other comment goes to the end of the line of the token before it.

use crate::ast::{
    Block, Entry, Expr, ExprKind, File, Function, ItemKind, Module, Parameter, Postfix, PostfixKind,
};
use crate::lex::Token;
use std::collections::BTreeSet;

/// A comment of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comment<'a> {
    pub text: &'a str,
    pub start: usize,
    pub end: usize,
    /// The token that follows it; the number of tokens if none does.
    pub next: usize,
    /// Whether no token stands before it on its line.
    pub own_line: bool,
}

/// The comments of the file in order.
pub(super) fn collect<'a>(
    text: &'a str,
    tokens: &[Token],
    comments: &[(usize, usize)],
) -> Vec<Comment<'a>> {
    let mut out: Vec<Comment<'a>> = Vec::new();
    for (start, end) in comments {
        let next = tokens.partition_point(|t| t.start < *start);
        let before = next.checked_sub(1).map(|i| tokens[i].end);
        let own_line = before.is_none_or(|before| has_newline(&text[before..*start]));
        out.push(Comment {
            text: &text[*start..*end],
            start: *start,
            end: *end,
            next,
            own_line,
        });
    }
    out
}

/// Whether a text between two tokens breaks the line.
pub(super) fn has_newline(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// Whether a text between a token and a comment, or two of either, holds an empty line.
pub(super) fn has_blank(text: &str) -> bool {
    let bytes = text.as_bytes();
    let breaks = (0..bytes.len())
        .filter(|i| bytes[*i] == b'\n' || (bytes[*i] == b'\r' && bytes.get(i + 1) != Some(&b'\n')))
        .count();
    breaks > 1
}

/// The byte offsets of all anchors but the end of the file.
pub(super) fn anchors(file: &File, tokens: &[Token]) -> BTreeSet<usize> {
    let mut anchors = Anchors {
        tokens,
        at: BTreeSet::new(),
    };
    for item in &file.items {
        anchors.add(item.span.start);
        match &item.kind {
            ItemKind::Import { .. } => {}
            ItemKind::Param { value, .. }
            | ItemKind::Data { value }
            | ItemKind::Views { value, .. }
            | ItemKind::Network { value, .. }
            | ItemKind::Target { value, .. }
            | ItemKind::Let { value, .. }
            | ItemKind::Loss { value, .. }
            | ItemKind::Watch { value, .. } => anchors.definition(value),
            ItemKind::Module(module) => anchors.module(module, item.span.end),
            ItemKind::Fn(Function { params, body, .. }) => {
                anchors.parameters(params);
                anchors.block(body);
            }
            ItemKind::Train { entries, .. } | ItemKind::Eval { entries, .. } => {
                entries.iter().for_each(|e| anchors.entry(e));
                anchors.add(item.span.end - 1);
            }
        }
    }
    anchors.at
}

struct Anchors<'t> {
    tokens: &'t [Token],
    at: BTreeSet<usize>,
}

impl Anchors<'_> {
    fn add(&mut self, at: u32) {
        self.at.insert(at as usize);
    }

    /// The token before a place: the `let` of a name, the `|>` of a stage.
    fn add_before(&mut self, at: u32) {
        let next = self.tokens.partition_point(|t| t.start < at as usize);
        if let Some(token) = next.checked_sub(1) {
            self.at.insert(self.tokens[token].start);
        }
    }

    /// What stands behind a `=`, or last in a block.
    fn definition(&mut self, value: &Expr) {
        self.add(value.span.start);
        self.expr(value);
    }

    fn module(&mut self, module: &Module, end: u32) {
        self.parameters(&module.params);
        for binding in &module.bindings {
            self.add(binding.name.span.start);
            self.definition(&binding.value);
        }
        self.add(module.forward.span.start);
        self.block(&module.forward.body);
        self.add(end - 1);
    }

    fn parameters(&mut self, params: &[Parameter]) {
        for param in params {
            self.add(param.name.span.start);
            if let Some(default) = &param.default {
                self.expr(default);
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Set { key, value } => {
                self.add(key.span.start);
                self.definition(value);
            }
            Entry::Bare { key } => self.add(key.span.start),
            Entry::Evaluator { call } => {
                self.add(call.span.start);
                self.expr(call);
            }
        }
    }

    fn block(&mut self, block: &Block) {
        for binding in &block.lets {
            self.add_before(binding.name.span.start);
            self.definition(&binding.value);
        }
        if block.braces {
            self.add(block.span.end - 1);
        }
        self.definition(&block.value);
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Bool(_)
            | ExprKind::Name(_) => {}
            ExprKind::List(items) => {
                for item in items {
                    self.add(item.span.start);
                    self.expr(item);
                }
                if !items.is_empty() {
                    self.add(expr.span.end - 1);
                }
            }
            ExprKind::Comprehension { list, body, .. } => {
                self.expr(list);
                self.expr(body);
            }
            ExprKind::Paren(inner) => self.expr(inner),
            ExprKind::Unary { operand, .. } => self.expr(operand),
            ExprKind::Chain { first, rest } => {
                self.expr(first);
                for link in rest {
                    self.add(link.op_span.start);
                    self.expr(&link.operand);
                }
            }
            ExprKind::Power { base, exponents } => {
                self.expr(base);
                exponents.iter().for_each(|e| self.expr(&e.operand));
            }
            ExprKind::Compare { left, right, .. } => {
                self.expr(left);
                self.expr(right);
            }
            // What stands in a range is written without spaces and never breaks.
            ExprKind::Range { from, to } => {
                self.tight(from);
                self.tight(to);
            }
            ExprKind::Pipe { first, stages } => {
                self.expr(first);
                for stage in stages {
                    self.add_before(stage.span.start);
                    self.expr(stage);
                }
            }
            ExprKind::Postfix { base, ops } => {
                self.expr(base);
                ops.iter().for_each(|op| self.postfix(op));
            }
            ExprKind::If {
                branches,
                otherwise,
            } => {
                for (condition, block) in branches {
                    self.expr(condition);
                    self.block(block);
                }
                if let Some(block) = otherwise {
                    self.block(block);
                }
            }
        }
    }

    fn tight(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Chain { first, rest } => {
                self.tight(first);
                rest.iter().for_each(|link| self.tight(&link.operand));
            }
            ExprKind::Unary { operand, .. } => self.tight(operand),
            _ => self.expr(expr),
        }
    }

    fn postfix(&mut self, op: &Postfix) {
        match &op.kind {
            PostfixKind::Call(args) => {
                for arg in args {
                    let start = arg.name.as_ref().map_or(arg.value.span, |n| n.span).start;
                    self.add(start);
                    self.expr(&arg.value);
                }
                if !args.is_empty() {
                    self.add(op.span.end - 1);
                }
            }
            PostfixKind::Index(index) => self.expr(index),
            PostfixKind::Field(_) | PostfixKind::Transpose => {}
        }
    }
}
