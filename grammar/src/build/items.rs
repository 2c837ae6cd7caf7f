//! Items, modules, functions and blocks of settings.

use super::Builder;
use crate::ast::{
    Binding, Block, Entry, Expr, ExprKind, Forward, Function, Ident, Item, ItemKind, Module,
    Parameter, Postfix, Role, UnaryOp,
};
use crate::codes;
use crate::diag::Diagnostic;
use crate::parse::Rule;
use crate::span::Span;
use pest::iterators::{Pair, Pairs};

impl Builder<'_> {
    pub(super) fn item(&mut self, pair: Pair<'_, Rule>) -> Option<Item> {
        let rule = pair.as_rule();
        let mut inner = pair.into_inner();
        let keyword = inner.next()?;
        let keyword_span = self.span(&keyword);
        let (kind, end) = match rule {
            Rule::import_item => self.import(inner)?,
            Rule::param_item => {
                let name = self.name(&mut inner)?;
                let value = self.value(&mut inner)?;
                self.check_literal(&name, &value);
                let end = value.span;
                (ItemKind::Param { name, value }, end)
            }
            Rule::data_item => {
                let value = self.value(&mut inner)?;
                let end = value.span;
                (ItemKind::Data { value }, end)
            }
            Rule::views_item | Rule::target_item => {
                let names = self.names(inner.next()?);
                let value = self.value(&mut inner)?;
                let end = value.span;
                let kind = if rule == Rule::views_item {
                    ItemKind::Views { names, value }
                } else {
                    ItemKind::Target { names, value }
                };
                (kind, end)
            }
            Rule::network_item => {
                let role = match keyword.as_str() {
                    "encoder" => Role::Encoder,
                    "projector" => Role::Projector,
                    _ => Role::Predictor,
                };
                let name = self.name(&mut inner)?;
                let value = self.value(&mut inner)?;
                let end = value.span;
                (ItemKind::Network { role, name, value }, end)
            }
            Rule::module_item => self.module(inner)?,
            Rule::fn_item => {
                let name = self.name(&mut inner)?;
                let params = self.parameters(inner.next()?)?;
                let body = self.body(&mut inner)?;
                let end = body.span;
                (ItemKind::Fn(Function { name, params, body }), end)
            }
            Rule::let_item => {
                let name = self.name(&mut inner)?;
                let value = self.value(&mut inner)?;
                let end = value.span;
                (ItemKind::Let { name, value }, end)
            }
            Rule::loss_item => {
                let value = self.value(&mut inner)?;
                let (keyword, end) = (keyword_span, value.span);
                (ItemKind::Loss { keyword, value }, end)
            }
            Rule::watch_item => {
                let name = self.name(&mut inner)?;
                let value = self.value(&mut inner)?;
                let end = value.span;
                (ItemKind::Watch { name, value }, end)
            }
            Rule::train_item | Rule::eval_item => {
                let (entries, end) = self.entries(inner)?;
                let keyword = keyword_span;
                let kind = if rule == Rule::train_item {
                    ItemKind::Train { keyword, entries }
                } else {
                    ItemKind::Eval { keyword, entries }
                };
                (kind, end)
            }
            _ => return None,
        };
        Some(Item {
            kind,
            span: keyword_span.to(end),
        })
    }

    fn import(&mut self, mut inner: Pairs<'_, Rule>) -> Option<(ItemKind, Span)> {
        let path = inner.next()?;
        let path_span = self.span(&path);
        let alias = match inner.next() {
            Some(alias) => Some(self.ident(&alias.into_inner().nth(1)?)),
            None => None,
        };
        let end = alias.as_ref().map_or(path_span, |a| a.span);
        let path = super::expr::unescape(path.as_str());
        Some((
            ItemKind::Import {
                path,
                path_span,
                alias,
            },
            end,
        ))
    }

    fn name(&mut self, inner: &mut Pairs<'_, Rule>) -> Option<Ident> {
        inner.next().map(|p| self.ident(&p))
    }

    /// `= expr`
    fn value(&mut self, inner: &mut Pairs<'_, Rule>) -> Option<Expr> {
        let equals = inner.next()?;
        if equals.as_rule() != Rule::equals {
            return None;
        }
        self.expr(inner.next()?)
    }

    /// `= expr`, or a block.
    fn body(&mut self, inner: &mut Pairs<'_, Rule>) -> Option<Block> {
        let pair = inner.next()?;
        if pair.as_rule() == Rule::block {
            return self.block(pair);
        }
        let value = self.expr(inner.next()?)?;
        Some(Block {
            lets: Vec::new(),
            span: value.span,
            value: Box::new(value),
            braces: false,
        })
    }

    fn names(&mut self, pair: Pair<'_, Rule>) -> Vec<Ident> {
        pair.into_inner()
            .filter(|p| p.as_rule() == Rule::name)
            .map(|p| self.ident(&p))
            .collect()
    }

    fn parameters(&mut self, pair: Pair<'_, Rule>) -> Option<Vec<Parameter>> {
        let mut params = Vec::new();
        for pair in pair.into_inner() {
            if pair.as_rule() != Rule::parameter {
                continue;
            }
            let mut inner = pair.into_inner();
            let name = self.name(&mut inner)?;
            let default = match inner.next() {
                Some(_) => Some(self.expr(inner.next()?)?),
                None => None,
            };
            params.push(Parameter { name, default });
        }
        self.check_distinct(
            "parameter",
            "give each parameter a name of its own",
            params.iter().map(|p| &p.name),
        );
        Some(params)
    }

    pub(super) fn block(&mut self, pair: Pair<'_, Rule>) -> Option<Block> {
        let span = self.span(&pair);
        let mut lets: Vec<Binding> = Vec::new();
        let mut value = None;
        let mut open_end: Option<Span> = None;
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::let_binding => {
                    let mut inner = pair.into_inner();
                    inner.next()?;
                    let name = self.name(&mut inner)?;
                    let value = self.value(&mut inner)?;
                    open_end = inner.next().is_none().then_some(value.span);
                    lets.push(Binding { name, value });
                }
                Rule::expr => value = Some(self.expr(pair)?),
                _ => {}
            }
        }
        let value = value?;
        if let Some(end) = open_end {
            self.check_touching(end, &value);
        }
        Some(Block {
            lets,
            value: Box::new(value),
            braces: true,
            span,
        })
    }

    /// `let a = g (x)` would be two expressions, `g` and `(x)`; on one line that is never meant.
    fn check_touching(&mut self, end: Span, value: &Expr) {
        let between = &self.text[end.end as usize..value.span.start as usize];
        let bracket = &self.text[value.span.start as usize..=value.span.start as usize];
        if (bracket == "(" || bracket == "[") && !between.contains(['\n', '\r']) {
            let at = Span::new(
                self.file,
                value.span.start as usize,
                value.span.start as usize + 1,
            );
            self.error(crate::syntax::untouching(bracket, at));
        }
    }

    fn module(&mut self, mut inner: Pairs<'_, Rule>) -> Option<(ItemKind, Span)> {
        let name = self.name(&mut inner)?;
        let params = self.parameters(inner.next()?)?;
        let mut bindings = Vec::new();
        let mut forwards: Vec<Forward> = Vec::new();
        let mut end = name.span;
        for pair in inner {
            match pair.as_rule() {
                Rule::binding => {
                    let mut inner = pair.into_inner();
                    let name = self.name(&mut inner)?;
                    let value = self.value(&mut inner)?;
                    bindings.push(Binding { name, value });
                }
                Rule::forward => forwards.push(self.forward(pair)?),
                Rule::close_brace => end = self.span(&pair),
                _ => {}
            }
        }
        self.check_distinct(
            "binding",
            "give each binding of the module a name of its own",
            bindings.iter().map(|b| &b.name),
        );
        if let [first, second, ..] = forwards.as_slice() {
            let (first, second) = (first.span, second.span);
            self.error(
                Diagnostic::new(
                    codes::E0019,
                    format!("module `{}` has two `forward`", name.name),
                )
                .label(second, "a second time")
                .label(first, "first here")
                .help("keep one; what both do may go into a `fn`"),
            );
        }
        let Some(forward) = forwards.into_iter().next() else {
            self.error(
                Diagnostic::new(
                    codes::E0019,
                    format!("module `{}` has no `forward`", name.name),
                )
                .label(name.span, "this module")
                .help("say what it computes: `forward(x) = expression`"),
            );
            // The tree is thrown away with the error; it only has to have its shape.
            let span = end;
            let value = Expr {
                kind: ExprKind::List(Vec::new()),
                span,
            };
            let forward = Forward {
                params: Vec::new(),
                body: Block {
                    lets: Vec::new(),
                    value: Box::new(value),
                    braces: false,
                    span,
                },
                span,
            };
            let module = Module {
                name,
                params,
                bindings,
                forward,
            };
            return Some((ItemKind::Module(module), end));
        };
        let module = Module {
            name,
            params,
            bindings,
            forward,
        };
        Some((ItemKind::Module(module), end))
    }

    fn forward(&mut self, pair: Pair<'_, Rule>) -> Option<Forward> {
        let start = self.span(&pair);
        let mut inner = pair.into_inner();
        inner.next()?;
        let params = self.names(inner.next()?);
        self.check_distinct(
            "parameter",
            "give each parameter a name of its own",
            params.iter(),
        );
        let body = self.body(&mut inner)?;
        let span = Span::new(self.file, start.start as usize, body.span.end as usize);
        Some(Forward { params, body, span })
    }

    fn entries(&mut self, inner: Pairs<'_, Rule>) -> Option<(Vec<Entry>, Span)> {
        let mut entries = Vec::new();
        let mut end = None;
        for pair in inner {
            match pair.as_rule() {
                Rule::set_entry => {
                    let mut inner = pair.into_inner();
                    let key = self.name(&mut inner)?;
                    let value = self.value(&mut inner)?;
                    entries.push(Entry::Set { key, value });
                }
                Rule::bare_entry => {
                    let key = self.ident(&pair.into_inner().next()?);
                    if crate::words::is_reserved(&key.name) {
                        let help = if key.name == "let" {
                            "a setting is written `key = value`, without `let`".to_string()
                        } else {
                            format!("give the key a value: `{} = …`", key.name)
                        };
                        self.error(
                            Diagnostic::new(
                                codes::E0010,
                                format!("`{}` is a word of the language and no value", key.name),
                            )
                            .label(key.span, "a bare key means `key = key`")
                            .help(help),
                        );
                    }
                    entries.push(Entry::Bare { key });
                }
                Rule::evaluator => {
                    let call = self.evaluator(pair)?;
                    entries.push(Entry::Evaluator { call });
                }
                Rule::close_brace => end = Some(self.span(&pair)),
                _ => {}
            }
        }
        self.check_distinct(
            "key",
            "keep one of them",
            entries.iter().filter_map(|e| match e {
                Entry::Set { key, .. } | Entry::Bare { key } => Some(key),
                Entry::Evaluator { .. } => None,
            }),
        );
        Some((entries, end?))
    }

    fn evaluator(&mut self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let span = self.span(&pair);
        let mut inner = pair.into_inner();
        let name = inner.next()?;
        let base = Expr {
            kind: ExprKind::Name(name.as_str().to_string()),
            span: self.span(&name),
        };
        let mut ops: Vec<Postfix> = Vec::new();
        for op in inner {
            ops.push(self.postfix(op)?);
        }
        Some(Expr {
            kind: ExprKind::Postfix {
                base: Box::new(base),
                ops,
            },
            span,
        })
    }

    fn check_literal(&mut self, name: &Ident, value: &Expr) {
        if !is_literal(value) {
            self.error(
                Diagnostic::new(
                    codes::E0020,
                    format!("param `{}` has no literal as its value", name.name),
                )
                .label(value.span, "this is computed")
                .help(format!(
                    "give a number, a string, `true` or `false`; a computed value is named with `let {} = …`",
                    name.name
                )),
            );
        }
    }
}

/// A literal: a number with its sign, a string, a truth value, and lists and ranges of those.
fn is_literal(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Bool(_) => true,
        ExprKind::Unary { ops, operand } => {
            matches!(ops.as_slice(), [(UnaryOp::Neg, _)])
                && matches!(operand.kind, ExprKind::Int(_) | ExprKind::Float(_))
        }
        ExprKind::List(items) => items.iter().all(is_literal),
        ExprKind::Range { from, to } => is_literal(from) && is_literal(to),
        _ => false,
    }
}
