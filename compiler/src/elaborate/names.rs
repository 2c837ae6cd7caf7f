//! Names that nothing defines, found without evaluation: in functions that are not called and branches not taken too.

use super::Elab;
use super::scope::{CHANNELS_IN, Scope};
use super::values::UnitId;
use sslc_grammar::ast::{Block, Entry, Expr, ExprKind, ItemKind, Parameter, PostfixKind};

/// How a name is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    Called,
}

impl<'a> Elab<'a> {
    /// Reports unknown names in all items of the spec.
    pub fn check_names(&mut self) {
        for unit in self.order() {
            let ast = self.units[unit.index()].ast;
            for (item, node) in ast.items.iter().enumerate() {
                self.check_item(&node.kind, unit, item);
            }
        }
    }

    fn check_item(&mut self, kind: &'a ItemKind, unit: UnitId, item: usize) {
        let mut s = Scope::top(unit, item);
        match kind {
            ItemKind::Import { .. } => {}
            ItemKind::Param { value, .. }
            | ItemKind::Data { value }
            | ItemKind::Views { value, .. }
            | ItemKind::Network { value, .. }
            | ItemKind::Target { value, .. }
            | ItemKind::Let { value, .. }
            | ItemKind::Loss { value, .. }
            | ItemKind::Watch { value, .. } => self.check_expr(value, &mut s),
            ItemKind::Fn(f) => {
                self.check_params(&f.params, &mut s);
                self.check_block(&f.body, &mut s);
            }
            ItemKind::Module(m) => {
                self.check_params(&m.params, &mut s);
                s.bind(CHANNELS_IN, None);
                for b in &m.bindings {
                    self.check_expr(&b.value, &mut s);
                    s.bind(&b.name.name, None);
                }
                for p in &m.forward.params {
                    s.bind(&p.name, None);
                }
                self.check_block(&m.forward.body, &mut s);
            }
            ItemKind::Train { entries, .. } | ItemKind::Eval { entries, .. } => {
                for entry in entries {
                    match entry {
                        Entry::Set { value, .. } => self.check_expr(value, &mut s),
                        Entry::Bare { .. } => {}
                        Entry::Evaluator { call } => {
                            if let ExprKind::Postfix { ops, .. } = &call.kind {
                                for op in ops {
                                    self.check_postfix(&op.kind, &mut s);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn check_params(&mut self, params: &'a [Parameter], s: &mut Scope) {
        for p in params {
            if let Some(default) = &p.default {
                self.check_expr(default, s);
            }
            s.bind(&p.name.name, None);
        }
    }

    fn check_block(&mut self, block: &'a Block, s: &mut Scope) {
        let before = s.locals.len();
        for b in &block.lets {
            self.check_expr(&b.value, s);
            s.bind(&b.name.name, None);
        }
        self.check_expr(&block.value, s);
        s.locals.truncate(before);
    }

    fn check_postfix(&mut self, kind: &'a PostfixKind, s: &mut Scope) {
        match kind {
            PostfixKind::Call(args) => args.iter().for_each(|a| self.check_expr(&a.value, s)),
            PostfixKind::Index(index) => self.check_expr(index, s),
            PostfixKind::Field(_) | PostfixKind::Transpose => {}
        }
    }

    fn check_expr(&mut self, e: &'a Expr, s: &mut Scope) {
        match &e.kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Bool(_) => {}
            ExprKind::Name(name) => self.check_name(name, e, Use::Value, s),
            ExprKind::List(items) => items.iter().for_each(|i| self.check_expr(i, s)),
            ExprKind::Comprehension { var, list, body } => {
                self.check_expr(list, s);
                s.bind(&var.name, None);
                self.check_expr(body, s);
                s.locals.pop();
            }
            ExprKind::Paren(inner) => self.check_expr(inner, s),
            ExprKind::Unary { operand, .. } => self.check_expr(operand, s),
            ExprKind::Chain { first, rest } => {
                self.check_expr(first, s);
                rest.iter().for_each(|l| self.check_expr(&l.operand, s));
            }
            ExprKind::Power { base, exponents } => {
                self.check_expr(base, s);
                exponents
                    .iter()
                    .for_each(|x| self.check_expr(&x.operand, s));
            }
            ExprKind::Compare { left, right, .. } => {
                self.check_expr(left, s);
                self.check_expr(right, s);
            }
            ExprKind::Range { from, to } => {
                self.check_expr(from, s);
                self.check_expr(to, s);
            }
            ExprKind::Pipe { first, stages } => {
                self.check_expr(first, s);
                for stage in stages {
                    match &stage.kind {
                        ExprKind::Name(name) => self.check_name(name, stage, Use::Called, s),
                        _ => self.check_expr(stage, s),
                    }
                }
            }
            ExprKind::Postfix { base, ops } => {
                match (&base.kind, ops.first().map(|op| &op.kind)) {
                    (ExprKind::Name(name), Some(PostfixKind::Call(_))) => {
                        self.check_name(name, base, Use::Called, s);
                    }
                    _ => self.check_expr(base, s),
                }
                ops.iter().for_each(|op| self.check_postfix(&op.kind, s));
            }
            ExprKind::If {
                branches,
                otherwise,
            } => {
                for (condition, block) in branches {
                    self.check_expr(condition, s);
                    self.check_block(block, s);
                }
                if let Some(block) = otherwise {
                    self.check_block(block, s);
                }
            }
        }
    }

    fn check_name(&mut self, name: &str, e: &Expr, how: Use, s: &Scope) {
        // In `exclude` and `group`, `bias` is a kind of parameter.
        if name == "bias" || self.is_known(name, s) {
            return;
        }
        let what = match how {
            Use::Value => "name",
            Use::Called => "function",
        };
        self.unknown(name, e.span, s, what);
    }
}
