//! What a name means where it stands: inner bindings, then the file's, then the standard library's and the builtins.

use super::Elab;
use super::builtins;
use super::units::{Binding, Name};
use super::values::{Callable, R, Reported, UnitId, Value};
use crate::core::graph::DType;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;
use std::rc::Rc;

/// A binding inside a function, module or comprehension.
#[derive(Clone, Debug)]
pub struct Local {
    pub name: Rc<str>,
    /// `None` where its value has an error.
    pub value: Option<Value>,
}

/// Where an expression stands.
#[derive(Clone, Debug)]
pub struct Scope {
    pub unit: UnitId,
    /// Top-level names of earlier items are visible.
    pub item: usize,
    /// Innermost last.
    pub locals: Vec<Local>,
}

impl Scope {
    pub fn top(unit: UnitId, item: usize) -> Scope {
        Scope {
            unit,
            item,
            locals: Vec::new(),
        }
    }

    pub fn bind(&mut self, name: &str, value: Option<Value>) {
        self.locals.push(Local {
            name: Rc::from(name),
            value,
        });
    }
}

/// The name that stands for the size of the input's last axis inside a module.
pub const CHANNELS_IN: &str = "channels_in";
/// How many errors may come with a near name.
const MAX_SUGGESTIONS: usize = 200;
const LABELS: &str = "labels";

impl<'a> Elab<'a> {
    /// The value of a name.
    pub fn name(&mut self, name: &str, span: Span, scope: &Scope) -> R<Value> {
        if let Some(local) = scope.locals.iter().rev().find(|l| &*l.name == name) {
            if name == CHANNELS_IN {
                self.ctx.sized = true;
            }
            return local.value.clone().ok_or(Reported);
        }
        if let Some(found) = self.unit_name(name, scope.unit) {
            if !found.free && found.item >= scope.item {
                return Err(self.too_early(name, span, found));
            }
            return self.binding(found.binding, span);
        }
        if let Some(callable) = self.library(name) {
            return Ok(Value::Callable(callable));
        }
        if name == LABELS {
            return Ok(Value::Tensor(self.labels(span)));
        }
        Err(self.unknown(name, span, scope, "name"))
    }

    /// What a name means before `(`: bindings that cannot be called are passed over.
    pub fn callee(&mut self, name: &str, span: Span, scope: &Scope) -> R<Value> {
        self.lookup(name, span, scope, Value::is_callable)
    }

    /// What a name means behind `|>`: something that can be called, or a pipeline.
    pub fn stage(&mut self, name: &str, span: Span, scope: &Scope) -> R<Value> {
        self.lookup(name, span, scope, |v| {
            v.is_callable() || matches!(v, Value::Pipeline(_))
        })
    }

    fn lookup(
        &mut self,
        name: &str,
        span: Span,
        scope: &Scope,
        fits: impl Fn(&Value) -> bool,
    ) -> R<Value> {
        let mut passed: Option<Value> = None;
        for local in scope.locals.iter().rev().filter(|l| &*l.name == name) {
            match &local.value {
                None => return Err(Reported),
                Some(v) if fits(v) => return Ok(v.clone()),
                Some(v) => passed = passed.or_else(|| Some(v.clone())),
            }
        }
        let mut early = None;
        if let Some(found) = self.unit_name(name, scope.unit) {
            if !found.free && found.item >= scope.item {
                early = Some(found);
            } else if !(self.is_plain(found.binding) && self.library(name).is_some()) {
                let value = self.binding(found.binding, span)?;
                if fits(&value) {
                    return Ok(value);
                }
                passed = passed.or(Some(value));
            }
        }
        if let Some(callable) = self.library(name) {
            return Ok(Value::Callable(callable));
        }
        if let Some(found) = early {
            return Err(self.too_early(name, span, found));
        }
        if let Some(value) = passed {
            return Err(self.not_callable(&value, span));
        }
        Err(self.unknown(name, span, scope, "function"))
    }

    fn unit_name(&self, name: &str, unit: UnitId) -> Option<Name> {
        self.units[unit.index()].names.get(name).copied()
    }

    /// Whether a binding certainly holds no callable, so that it needs no evaluation to be passed over.
    fn is_plain(&self, binding: Binding) -> bool {
        match binding {
            Binding::Alias(_) => true,
            Binding::Def(id) => matches!(
                self.defs[id.index()].kind,
                super::units::DefKind::Param(_)
                    | super::units::DefKind::View(_)
                    | super::units::DefKind::Watch(_)
            ),
        }
    }

    /// A function or module of the standard library, or a builtin.
    fn library(&self, name: &str) -> Option<Callable> {
        if let Some(id) = self.std_names.get(name) {
            return Some(Callable::Def(*id));
        }
        builtins::find(name).map(Callable::Builtin)
    }

    fn binding(&mut self, binding: Binding, span: Span) -> R<Value> {
        match binding {
            Binding::Alias(unit) => {
                self.used_units.insert(unit);
                Ok(Value::Unit(unit))
            }
            Binding::Def(id) => self.force(id, span),
        }
    }

    /// A name of an imported file: `aug.augment`.
    pub fn imported(&mut self, unit: UnitId, name: &str, span: Span) -> R<Value> {
        match self.unit_name(name, unit) {
            Some(found) => self.binding(found.binding, span),
            None => {
                let names: Vec<&str> = self.units[unit.index()].names.keys().copied().collect();
                let file = &self.sources.get(self.units[unit.index()].file).name;
                let mut d = Diagnostic::new(codes::E0101, format!("'{file}' has no `{name}`"))
                    .label(span, "not a name of that file");
                if let Some(near) = nearest(name, names) {
                    d = d.help(format!("did you mean `{near}`?"));
                }
                Err(self.report(d))
            }
        }
    }

    fn too_early(&mut self, name: &str, span: Span, found: Name) -> Reported {
        self.report(
            Diagnostic::new(
                codes::E0103,
                format!("`{name}` is used before it is defined"),
            )
            .label(span, "used here")
            .label(found.span, "defined here")
            .help("move the definition above its first use"),
        )
    }

    /// The text of a place, for a message.
    pub fn short_text(&self, span: Span) -> String {
        let text = self.sources.text(span);
        match text.char_indices().nth(40) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_string(),
        }
    }

    pub fn not_callable(&mut self, value: &Value, span: Span) -> Reported {
        let name = self.short_text(span);
        let what = self.describe(value);
        self.report(
            Diagnostic::new(codes::E0106, format!("`{name}` cannot be called"))
                .label(span, format!("this is {what}"))
                .help("only functions, layers and networks are called"),
        )
    }

    pub fn unknown(&mut self, name: &str, span: Span, scope: &Scope, what: &str) -> Reported {
        if name == CHANNELS_IN {
            return self.report(
                Diagnostic::new(
                    codes::E0308,
                    "`channels_in` is known inside a module only, once it is applied",
                )
                .label(span, "no module around this")
                .help("give the size as a number, or move this into a `module`"),
            );
        }
        if self.units[scope.unit.index()].incomplete {
            // It may well stand in the import that failed.
            return Reported;
        }
        let code = codes::E0101;
        let mut d = Diagnostic::new(code, format!("there is no {what} `{name}`"))
            .label(span, "not defined");
        let near = self.near_name(name, scope);
        if let Some(near) = near {
            d = d.help(format!("did you mean `{near}`?"));
        } else if what == "function" {
            d = d.help("`sslc std` lists the functions there are");
        } else {
            d = d.help(format!(
                "define it above: `let {name} = …` or `param {name} = …`"
            ));
        }
        self.report(d)
    }

    /// Whether anything has this name, before its definition too.
    pub fn is_known(&self, name: &str, scope: &Scope) -> bool {
        scope.locals.iter().any(|l| &*l.name == name)
            || self.unit_name(name, scope.unit).is_some()
            || self.library(name).is_some()
            || name == LABELS
    }

    /// What was meant, perhaps. A spec with very many errors gets no more suggestions.
    fn near_name(&self, name: &str, scope: &Scope) -> Option<String> {
        if self.diagnostics.len() > MAX_SUGGESTIONS {
            return None;
        }
        let names = self.names_in_reach(scope);
        nearest(name, names.iter().map(|n| &**n)).map(str::to_string)
    }

    fn names_in_reach(&self, scope: &Scope) -> Vec<String> {
        let mut names: Vec<String> = scope.locals.iter().map(|l| l.name.to_string()).collect();
        names.extend(
            self.units[scope.unit.index()]
                .names
                .iter()
                .filter(|(_, n)| n.free || n.item < scope.item)
                .map(|(n, _)| n.to_string()),
        );
        names.extend(self.std_names.keys().map(|n| n.to_string()));
        names.extend(builtins::all().map(|b| b.name.to_string()));
        names.push(LABELS.to_string());
        names
    }

    /// The batch's label vector.
    fn labels(&mut self, span: Span) -> crate::core::graph::ValueId {
        if let Some(v) = self.g.sources.get("labels") {
            return *v;
        }
        self.g.b.origin = Some(self.site(span));
        let batch = self.batch;
        let shape: &[usize] = &[batch];
        let v = self.g.b.push(
            &crate::core::ops::LABELS,
            &[],
            vec![("shape", shape.into())],
        );
        debug_assert_eq!(self.g.b.ty(v).dtype, DType::I32);
        self.g.sources.insert("labels".to_string(), v);
        v
    }
}
