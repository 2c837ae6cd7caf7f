//! The text form of the syntax tree: a line for each node with its byte range, children indented.

use crate::ast::{
    Block, ChainOp, CompareOp, Entry, Expr, ExprKind, File, Ident, Item, ItemKind, Module,
    Parameter, Postfix, PostfixKind, Role, UnaryOp,
};
use crate::span::Span;
use std::fmt::Write;

/// The syntax tree of a file as indented text. The operator of a chain stands before the operand it applies to;
/// comments come last.
pub fn print(file: &File) -> String {
    let mut printer = Printer {
        out: String::new(),
        depth: 0,
    };
    for item in &file.items {
        printer.item(item);
    }
    for comment in &file.comments {
        printer.line(&format!("comment {:?}", comment.text), comment.span);
    }
    printer.out
}

struct Printer {
    out: String,
    depth: usize,
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Encoder => "encoder",
        Role::Projector => "projector",
        Role::Predictor => "predictor",
    }
}

fn idents(names: &[Ident]) -> String {
    let names: Vec<&str> = names.iter().map(|n| n.name.as_str()).collect();
    names.join(", ")
}

/// How an operator of a chain is written.
pub(crate) fn chain_op(op: ChainOp) -> &'static str {
    match op {
        ChainOp::Or => "or",
        ChainOp::And => "and",
        ChainOp::Add => "+",
        ChainOp::Sub => "-",
        ChainOp::Mul => "*",
        ChainOp::Div => "/",
        ChainOp::MatMul => "@",
    }
}

/// How a comparison is written.
pub(crate) fn compare_op(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "==",
        CompareOp::Ne => "!=",
        CompareOp::Lt => "<",
        CompareOp::Le => "<=",
        CompareOp::Gt => ">",
        CompareOp::Ge => ">=",
    }
}

impl Printer {
    fn line(&mut self, text: &str, span: Span) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{text} @{}..{}", span.start, span.end);
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self)) {
        self.depth += 1;
        inner(self);
        self.depth -= 1;
    }

    fn item(&mut self, item: &Item) {
        let span = item.span;
        let (head, value) = match &item.kind {
            ItemKind::Import { path, alias, .. } => {
                let alias = alias
                    .as_ref()
                    .map_or(String::new(), |a| format!(" as {}", a.name));
                return self.line(&format!("import {path:?}{alias}"), span);
            }
            ItemKind::Module(module) => return self.module(module, span),
            ItemKind::Fn(function) => {
                self.line(&format!("fn {}", function.name.name), span);
                return self.nested(|p| {
                    p.parameters(&function.params);
                    p.block("", &function.body);
                });
            }
            ItemKind::Train { entries, .. } => return self.entries("train", entries, span),
            ItemKind::Eval { entries, .. } => return self.entries("eval", entries, span),
            ItemKind::Param { name, value } => (format!("param {}", name.name), value),
            ItemKind::Data { value } => ("data".to_string(), value),
            ItemKind::Views { names, value } => (format!("views {}", idents(names)), value),
            ItemKind::Target { names, value } => (format!("target {}", idents(names)), value),
            ItemKind::Network {
                role: kind,
                name,
                value,
            } => (format!("{} {}", role(*kind), name.name), value),
            ItemKind::Let { name, value } => (format!("let {}", name.name), value),
            ItemKind::Loss { value, .. } => ("loss".to_string(), value),
            ItemKind::Watch { name, value } => (format!("watch {}", name.name), value),
        };
        self.line(&head, span);
        self.nested(|p| p.expr("", value));
    }

    fn module(&mut self, module: &Module, span: Span) {
        self.line(&format!("module {}", module.name.name), span);
        self.nested(|p| {
            p.parameters(&module.params);
            for binding in &module.bindings {
                p.line(&format!("binding {}", binding.name.name), binding.name.span);
                p.nested(|p| p.expr("", &binding.value));
            }
            let forward = &module.forward;
            p.line(
                &format!("forward({})", idents(&forward.params)),
                forward.span,
            );
            p.nested(|p| p.block("", &forward.body));
        });
    }

    fn parameters(&mut self, params: &[Parameter]) {
        for param in params {
            self.line(&format!("parameter {}", param.name.name), param.name.span);
            if let Some(default) = &param.default {
                self.nested(|p| p.expr("", default));
            }
        }
    }

    fn entries(&mut self, head: &str, entries: &[Entry], span: Span) {
        self.line(head, span);
        self.nested(|p| {
            for entry in entries {
                match entry {
                    Entry::Set { key, value } => {
                        p.line(&format!("set {}", key.name), key.span);
                        p.nested(|p| p.expr("", value));
                    }
                    Entry::Bare { key } => p.line(&format!("bare {}", key.name), key.span),
                    Entry::Evaluator { call } => p.expr("evaluator ", call),
                }
            }
        });
    }

    fn block(&mut self, prefix: &str, block: &Block) {
        if !block.braces {
            return self.expr(prefix, &block.value);
        }
        self.line(&format!("{prefix}block"), block.span);
        self.nested(|p| {
            for binding in &block.lets {
                p.line(&format!("let {}", binding.name.name), binding.name.span);
                p.nested(|p| p.expr("", &binding.value));
            }
            p.expr("", &block.value);
        });
    }

    fn expr(&mut self, prefix: &str, expr: &Expr) {
        let head = match &expr.kind {
            ExprKind::Int(value) => format!("int {value}"),
            ExprKind::Float(value) => format!("float {value:?}"),
            ExprKind::Str(value) => format!("string {value:?}"),
            ExprKind::Bool(value) => format!("bool {value}"),
            ExprKind::Name(name) => format!("name {name}"),
            ExprKind::List(_) => "list".to_string(),
            ExprKind::Comprehension { var, .. } => format!("comprehension {}", var.name),
            ExprKind::Paren(_) => "paren".to_string(),
            ExprKind::Unary { ops, .. } => ops.iter().fold("unary".to_string(), |head, (op, _)| {
                head + match op {
                    UnaryOp::Neg => " -",
                    UnaryOp::Not => " not",
                }
            }),
            ExprKind::Chain { .. } => "chain".to_string(),
            ExprKind::Power { .. } => "power".to_string(),
            ExprKind::Compare { op, .. } => format!("compare {}", compare_op(*op)),
            ExprKind::Range { .. } => "range".to_string(),
            ExprKind::Pipe { .. } => "pipe".to_string(),
            ExprKind::Postfix { .. } => "postfix".to_string(),
            ExprKind::If { .. } => "if".to_string(),
        };
        self.line(&format!("{prefix}{head}"), expr.span);
        self.nested(|p| p.children(&expr.kind));
    }

    fn children(&mut self, kind: &ExprKind) {
        match kind {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Bool(_)
            | ExprKind::Name(_) => {}
            ExprKind::List(items) => items.iter().for_each(|i| self.expr("", i)),
            ExprKind::Comprehension { list, body, .. } => {
                self.expr("in ", list);
                self.expr("each ", body);
            }
            ExprKind::Paren(inner) => self.expr("", inner),
            ExprKind::Unary { operand, .. } => self.expr("", operand),
            ExprKind::Chain { first, rest } => {
                self.expr("", first);
                for link in rest {
                    self.expr(&format!("{} ", chain_op(link.op)), &link.operand);
                }
            }
            ExprKind::Power { base, exponents } => {
                self.expr("", base);
                for exponent in exponents {
                    let signs = "- ".repeat(exponent.signs.len());
                    self.expr(&format!("^ {signs}"), &exponent.operand);
                }
            }
            ExprKind::Compare { left, right, .. } => {
                self.expr("", left);
                self.expr("", right);
            }
            ExprKind::Range { from, to } => {
                self.expr("", from);
                self.expr("", to);
            }
            ExprKind::Pipe { first, stages } => {
                self.expr("", first);
                stages.iter().for_each(|s| self.expr("|> ", s));
            }
            ExprKind::Postfix { base, ops } => {
                self.expr("", base);
                ops.iter().for_each(|op| self.postfix(op));
            }
            ExprKind::If {
                branches,
                otherwise,
            } => {
                for (condition, block) in branches {
                    self.expr("when ", condition);
                    self.block("then ", block);
                }
                if let Some(block) = otherwise {
                    self.block("else ", block);
                }
            }
        }
    }

    fn postfix(&mut self, op: &Postfix) {
        match &op.kind {
            PostfixKind::Call(args) => {
                self.line("call", op.span);
                self.nested(|p| {
                    for arg in args {
                        match &arg.name {
                            Some(name) => p.expr(&format!("{}: ", name.name), &arg.value),
                            None => p.expr("", &arg.value),
                        }
                    }
                });
            }
            PostfixKind::Index(index) => {
                self.line("index", op.span);
                self.nested(|p| p.expr("", index));
            }
            PostfixKind::Field(name) => self.line(&format!("field {}", name.name), op.span),
            PostfixKind::Transpose => self.line("transpose", op.span),
        }
    }
}
