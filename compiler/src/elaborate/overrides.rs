//! `--set name=value`: params, and settings as `train.epochs`.

use super::Elab;
use super::settings::TRAIN_KEYS;
use super::units::{Binding, DefKind};
use super::values::{DefId, R, UnitId, Value};
use sslc_grammar::ast::{Expr, ExprKind, File, ItemKind, UnaryOp};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::{Sources, Span};

/// One `--set`.
#[derive(Clone, Debug)]
pub struct Override {
    pub name: String,
    pub text: String,
    pub name_span: Span,
    pub value_span: Span,
    /// The text parsed as an expression, where it is one.
    pub parsed: Option<File>,
}

/// All overrides, and what is wrong with their text.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub list: Vec<Override>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Adds each override as a source of its own, so that messages can show it.
pub fn parse(sources: &mut Sources, given: &[(String, String)]) -> Overrides {
    let mut all = Overrides::default();
    for (name, text) in given {
        let line = format!("{name}={text}");
        let length = line.len();
        let file = sources.add("--set", line);
        let item = format!("let value = {text}");
        let scratch = sources.add("--set", item.clone());
        all.list.push(Override {
            name: name.clone(),
            text: text.clone(),
            name_span: Span::new(file, 0, name.len()),
            value_span: Span::new(file, (name.len() + 1).min(length), length),
            parsed: sslc_grammar::parse(scratch, &item).ok(),
        });
    }
    all
}

impl Override {
    pub fn expr(&self) -> Option<&Expr> {
        match &self.parsed.as_ref()?.items[..] {
            [item] => match &item.kind {
                ItemKind::Let { value, .. } => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text without the quotes it may have.
    pub fn string(&self) -> String {
        match self.expr().map(|e| &e.kind) {
            Some(ExprKind::Str(s)) => s.clone(),
            _ => self.text.clone(),
        }
    }
}

/// The value of a literal.
pub fn literal(e: &Expr) -> Option<Value> {
    match &e.kind {
        ExprKind::Int(v) => Some(Value::Int(*v)),
        ExprKind::Float(v) => Some(Value::Float(*v)),
        ExprKind::Str(v) => Some(Value::str(v)),
        ExprKind::Bool(v) => Some(Value::Bool(*v)),
        ExprKind::Paren(inner) => literal(inner),
        ExprKind::List(items) => items
            .iter()
            .map(literal)
            .collect::<Option<_>>()
            .map(Value::list),
        ExprKind::Unary { ops, operand } => {
            let mut value = literal(operand)?;
            for (op, _) in ops {
                value = match (op, value) {
                    (UnaryOp::Neg, Value::Int(v)) => Value::Int(v.checked_neg()?),
                    (UnaryOp::Neg, Value::Float(v)) => Value::Float(-v),
                    _ => return None,
                };
            }
            Some(value)
        }
        ExprKind::Range { from, to } => {
            let bound = |e: &Expr| match literal(e)? {
                Value::Int(v) => Some(super::values::Bound::Int(v)),
                Value::Float(v) => Some(super::values::Bound::Float(v)),
                _ => None,
            };
            Some(Value::Range(bound(from)?, bound(to)?))
        }
        _ => None,
    }
}

impl<'a> Elab<'a> {
    /// Gives params their overridden values; reports names that nothing has, and values of another type.
    pub fn apply_overrides(&mut self, overrides: &'a Overrides) {
        for o in &overrides.list {
            match o.name.split_once('.') {
                Some(("train", key)) => {
                    if !TRAIN_KEYS.iter().any(|k| k.name == key) {
                        let names = TRAIN_KEYS.iter().map(|k| k.name);
                        let d = Diagnostic::new(
                            codes::E0401,
                            format!("`train` has no setting `{key}`"),
                        )
                        .label(o.name_span, "unknown setting");
                        let d = match nearest(key, names) {
                            Some(near) => d.help(format!("did you mean `train.{near}`?")),
                            None => d.help("`sslc explain E0401` lists the settings"),
                        };
                        self.report(d);
                    }
                }
                Some((alias, name)) => {
                    let unit = match self.units[0].names.get(alias).map(|n| n.binding) {
                        Some(Binding::Alias(unit)) => Some(unit),
                        _ => None,
                    };
                    self.override_param(o, unit, name);
                }
                None => self.override_param(o, Some(UnitId(0)), &o.name),
            }
        }
    }

    fn override_param(&mut self, o: &'a Override, unit: Option<UnitId>, name: &str) {
        let found = unit.and_then(|u| match self.units[u.index()].names.get(name)?.binding {
            Binding::Def(id) => match self.defs[id.index()].kind {
                DefKind::Param(value) => Some((id, value)),
                _ => None,
            },
            Binding::Alias(_) => None,
        });
        match found {
            Some((id, default)) => {
                let _reported = self.typed_override(o, id, default);
            }
            None => self.unknown_override(o),
        }
    }

    fn unknown_override(&mut self, o: &Override) {
        let mut names: Vec<String> = Vec::new();
        for (name, n) in &self.units[0].names {
            match n.binding {
                Binding::Def(id) => {
                    if matches!(self.defs[id.index()].kind, DefKind::Param(_)) {
                        names.push(name.to_string());
                    }
                }
                Binding::Alias(unit) => {
                    for id in &self.units[unit.index()].defs {
                        let def = &self.defs[id.index()];
                        if matches!(def.kind, DefKind::Param(_)) {
                            names.push(format!("{name}.{}", def.name.name));
                        }
                    }
                }
            }
        }
        let params = names.len();
        names.extend(TRAIN_KEYS.iter().map(|k| format!("train.{}", k.name)));
        let d = Diagnostic::new(
            codes::E0118,
            format!("`--set {}`: the spec has no param of this name", o.name),
        )
        .label(o.name_span, "unknown name");
        // `epochs` is near to `train.epochs`.
        let setting = TRAIN_KEYS.iter().find(|k| k.name == o.name);
        let d = match (nearest(&o.name, names.iter().map(|n| &**n)), setting) {
            (_, Some(key)) => d.help(format!("did you mean `train.{}`?", key.name)),
            (Some(near), None) => d.help(format!("did you mean `{near}`?")),
            (None, None) if params == 0 => {
                d.help("the spec has no params; settings are `train.epochs=…` and the like")
            }
            (None, None) => d.help(format!("its params are `{}`", names[..params].join("`, `"))),
        };
        self.report(d);
    }

    /// The override as a value of the param's type.
    fn typed_override(&mut self, o: &'a Override, id: DefId, default: &'a Expr) -> R<()> {
        let own = literal(default);
        let given = o.expr().and_then(literal);
        let value = match (&own, given) {
            (Some(Value::Str(_)), _) => Some(Value::str(&o.string())),
            (Some(Value::Int(_)), Some(v @ Value::Int(_))) => Some(v),
            (Some(Value::Float(_)), Some(v)) => v.number().map(Value::Float),
            (Some(Value::Bool(_)), Some(v @ Value::Bool(_))) => Some(v),
            (Some(Value::List(_)), Some(v @ Value::List(_))) => Some(v),
            (Some(Value::Range(..)), Some(v @ Value::Range(..))) => Some(v),
            _ => None,
        };
        match (value, own) {
            (Some(value), _) => {
                self.param_overrides.insert(id, value);
                Ok(())
            }
            (None, Some(own)) => {
                let name = self.defs[id.index()].name;
                Err(self.report(
                    Diagnostic::new(
                        codes::E0119,
                        format!("`--set {}`: the param takes {}", o.name, own.kind()),
                    )
                    .label(o.value_span, "a value of another type")
                    .label(name.span, format!("`{}` is {}", name.name, own.kind()))
                    .help("a param keeps the type of the value that the spec gives it"),
                ))
            }
            // The spec's own value is no literal: that is reported where the param is evaluated.
            (None, None) => Ok(()),
        }
    }
}
