//! The arguments of a builtin, bound to the names of its signature, and read with their kinds checked.

use super::Elab;
use super::builtins::Builtin;
use super::calls::count;
use super::values::{R, Reported, ScheduleValue, Value};
use crate::core::graph::ValueId;
use crate::program::{Duration, Span64};
use sslc_grammar::ast::Ident;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;
use std::rc::Rc;

/// An evaluated argument.
#[derive(Clone, Debug)]
pub struct Given {
    pub name: Option<Ident>,
    pub value: Value,
    pub span: Span,
}

/// A parameter of a builtin's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureParam {
    pub name: String,
    pub required: bool,
    /// Takes all further positional arguments.
    pub rest: bool,
}

/// The parameters of `name(a, b: 1, c…)`: those with a default are optional, `…` takes the rest.
pub fn parse_signature(signature: &str) -> Vec<SignatureParam> {
    let inner = signature
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'))
        .map_or("", |(inner, _)| inner);
    let mut params = Vec::new();
    let (mut depth, mut start) = (0, 0);
    let ends = inner.char_indices().chain([(inner.len(), ',')]);
    for (at, c) in ends {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                let text = inner[start..at].trim();
                start = (at + 1).min(inner.len());
                if text.is_empty() {
                    continue;
                }
                let (name, default) = match text.split_once(':') {
                    Some((name, _)) => (name.trim(), true),
                    None => (text, false),
                };
                let (name, rest) = match name.strip_suffix('…') {
                    Some(name) => (name, true),
                    None => (name, false),
                };
                params.push(SignatureParam {
                    name: name.to_string(),
                    required: !default && !rest,
                    rest,
                });
            }
            _ => {}
        }
    }
    params
}

/// Bound arguments of one call of a builtin.
#[derive(Debug)]
pub struct Args {
    pub builtin: &'static Builtin,
    pub span: Span,
    slots: Vec<(String, Option<(Value, Span)>)>,
    pub rest: Vec<(Value, Span)>,
}

impl Args {
    /// Binds what was given to the signature.
    pub fn bind(el: &mut Elab<'_>, b: &'static Builtin, given: Vec<Given>, span: Span) -> R<Args> {
        let params = b.params();
        let mut args = Args {
            builtin: b,
            span,
            slots: params
                .iter()
                .filter(|p| !p.rest)
                .map(|p| (p.name.clone(), None))
                .collect(),
            rest: Vec::new(),
        };
        // Positional arguments fill the parameters before `…`; without one, all of them in order.
        let rest_at = params.iter().position(|p| p.rest);
        let positional = rest_at.unwrap_or(params.len());
        let mut next = 0;
        let mut failed = false;
        let total = given.len();
        let layer = total == 0 && b.is_function_too();
        for g in given {
            let at = match &g.name {
                None if next < positional => {
                    next += 1;
                    next - 1
                }
                None if rest_at.is_some() => {
                    args.rest.push((g.value, g.span));
                    continue;
                }
                None => {
                    el.report(
                        Diagnostic::new(
                            codes::E0108,
                            format!(
                                "`{}` takes {}, not {total}",
                                b.name,
                                count(params.len(), "argument")
                            ),
                        )
                        .label(g.span, "one argument too many")
                        .help(format!("it is called as `{}`", b.signature)),
                    );
                    return Err(Reported);
                }
                Some(key) => match args.slots.iter().position(|(n, _)| *n == key.name) {
                    Some(at) => at,
                    None => {
                        let names: Vec<&str> = args.slots.iter().map(|(n, _)| &**n).collect();
                        el.unknown_argument(b.name, key, &names, None);
                        failed = true;
                        continue;
                    }
                },
            };
            let slot = &mut args.slots[at];
            match &slot.1 {
                None => slot.1 = Some((g.value, g.span)),
                Some((_, first)) => {
                    let (name, first) = (slot.0.clone(), *first);
                    el.argument_twice(&name, g.span, first);
                    failed = true;
                }
            }
        }
        for param in params.iter().filter(|p| p.required && !layer) {
            if args.get(&param.name).is_none() {
                el.report(
                    Diagnostic::new(codes::E0107, format!("`{}` needs `{}`", b.name, param.name))
                        .label(span, "left out here")
                        .help(format!("it is called as `{}`", b.signature)),
                );
                failed = true;
            }
        }
        if failed { Err(Reported) } else { Ok(args) }
    }

    pub fn get(&self, name: &str) -> Option<&(Value, Span)> {
        self.slots
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, v)| v.as_ref())
    }

    /// The place of an argument, else of the call.
    pub fn span_of(&self, name: &str) -> Span {
        self.get(name).map_or(self.span, |(_, s)| *s)
    }

    /// A whole number.
    pub fn int(&self, el: &mut Elab<'_>, name: &str) -> R<Option<i64>> {
        let Some((value, span)) = self.get(name) else {
            return Ok(None);
        };
        match value.whole() {
            Some(v) => Ok(Some(v)),
            None => Err(self.wrong(el, name, "a whole number", value, *span)),
        }
    }

    /// A whole number of at least `least`.
    pub fn at_least(&self, el: &mut Elab<'_>, name: &str, least: i64) -> R<Option<usize>> {
        match self.int(el, name)? {
            Some(v) if v < least => {
                Err(self.out_of_range(el, name, &v.to_string(), &format!("at least {least}")))
            }
            Some(v) => Ok(Some(v as usize)),
            None => Ok(None),
        }
    }

    /// A size: a whole number of at least 1. For parameters that are required.
    pub fn size(&self, el: &mut Elab<'_>, name: &str) -> R<usize> {
        Ok(self.at_least(el, name, 1)?.unwrap_or(1))
    }

    /// A finite number.
    pub fn float(&self, el: &mut Elab<'_>, name: &str) -> R<Option<f64>> {
        let Some((value, span)) = self.get(name) else {
            return Ok(None);
        };
        match value.number() {
            Some(v) if v.is_finite() => Ok(Some(v)),
            Some(v) => Err(self.out_of_range(el, name, &v.to_string(), "finite")),
            None => Err(self.wrong(el, name, "a number", value, *span)),
        }
    }

    /// A number for which `ok` holds; `range` says which those are.
    pub fn float_in(
        &self,
        el: &mut Elab<'_>,
        name: &str,
        ok: impl Fn(f64) -> bool,
        range: &str,
    ) -> R<Option<f64>> {
        match self.float(el, name)? {
            Some(v) if !ok(v) => Err(self.out_of_range(el, name, &v.to_string(), range)),
            other => Ok(other),
        }
    }

    pub fn flag(&self, el: &mut Elab<'_>, name: &str, default: bool) -> R<bool> {
        match self.get(name) {
            None => Ok(default),
            Some((Value::Bool(v), _)) => Ok(*v),
            Some((value, span)) => Err(self.wrong(el, name, "true or false", value, *span)),
        }
    }

    pub fn text(&self, el: &mut Elab<'_>, name: &str) -> R<Option<Rc<str>>> {
        match self.get(name) {
            None => Ok(None),
            Some((Value::Str(v), _)) => Ok(Some(v.clone())),
            Some((value, span)) => Err(self.wrong(el, name, "a string", value, *span)),
        }
    }

    /// One of the given words.
    pub fn word<'w>(&self, el: &mut Elab<'_>, name: &str, words: &[&'w str]) -> R<Option<&'w str>> {
        let Some(text) = self.text(el, name)? else {
            return Ok(None);
        };
        if let Some(word) = words.iter().find(|w| **w == &*text) {
            return Ok(Some(word));
        }
        let quoted: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
        let mut d = Diagnostic::new(
            codes::E0110,
            format!("`{name}` of `{}` cannot be \"{text}\"", self.builtin.name),
        )
        .label(self.span_of(name), format!("one of {}", quoted.join(", ")));
        d = match nearest(&text, words.iter().copied()) {
            Some(near) => d.help(format!("did you mean \"{near}\"?")),
            None => d.help(format!("write {}", quoted.join(" or "))),
        };
        Err(el.report(d))
    }

    /// A tensor; a list of numbers or tensors is stacked into one. For parameters that are required.
    pub fn tensor(&self, el: &mut Elab<'_>, name: &str) -> R<ValueId> {
        let Some((value, span)) = self.get(name) else {
            return Err(Reported);
        };
        match el.as_tensor(value, *span)? {
            Some(v) => Ok(v),
            None => Err(self.wrong(el, name, "a tensor", value, *span)),
        }
    }

    /// A range of numbers in order; a number is a range of width 0.
    pub fn range(&self, el: &mut Elab<'_>, name: &str) -> R<Option<Span64>> {
        let Some((value, span)) = self.get(name) else {
            return Ok(None);
        };
        let (lo, hi) = match value {
            Value::Range(lo, hi) => (lo.float(), hi.float()),
            other => match other.number() {
                Some(v) => (v, v),
                None => return Err(self.wrong(el, name, "a range `a..b`", value, *span)),
            },
        };
        if !(lo.is_finite() && hi.is_finite() && lo <= hi) {
            return Err(el.report(
                Diagnostic::new(
                    codes::E0414,
                    format!("`{name}` of `{}` is not in order", self.builtin.name),
                )
                .label(*span, format!("goes from {lo} to {hi}"))
                .help("write the smaller end first"),
            ));
        }
        Ok(Some(Span64 { lo, hi }))
    }

    /// Numbers: a list of them, or one.
    pub fn floats(&self, el: &mut Elab<'_>, name: &str) -> R<Option<Vec<f64>>> {
        let Some((value, span)) = self.get(name) else {
            return Ok(None);
        };
        let numbers = match value {
            Value::List(items) => items
                .iter()
                .map(Value::number)
                .collect::<Option<Vec<f64>>>(),
            other => other.number().map(|v| vec![v]),
        };
        match numbers {
            Some(v) if v.iter().all(|x| x.is_finite()) => Ok(Some(v)),
            _ => Err(self.wrong(el, name, "a list of numbers", value, *span)),
        }
    }

    /// A schedule; a number is a constant one.
    pub fn schedule(&self, el: &mut Elab<'_>, name: &str) -> R<Option<Rc<ScheduleValue>>> {
        let Some((value, span)) = self.get(name) else {
            return Ok(None);
        };
        match value {
            Value::Schedule(s) => Ok(Some(s.clone())),
            other => match other.number() {
                Some(v) if v.is_finite() => Ok(Some(Rc::new(ScheduleValue::constant(v, *span)))),
                _ => Err(self.wrong(el, name, "a number or a schedule", value, *span)),
            },
        }
    }

    /// `epochs(n)` or `steps(n)`.
    pub fn duration(&self, el: &mut Elab<'_>, name: &str) -> R<Option<(Duration, Span)>> {
        match self.get(name) {
            None => Ok(None),
            Some((Value::Duration(d), span)) => Ok(Some((*d, *span))),
            Some((value, span)) => {
                let d = self
                    .wrong_diagnostic(el, name, "a duration", value, *span)
                    .help("write `epochs(10)` or `steps(500)`");
                Err(el.report(d))
            }
        }
    }

    pub fn wrong(
        &self,
        el: &mut Elab<'_>,
        name: &str,
        wanted: &str,
        value: &Value,
        span: Span,
    ) -> Reported {
        let d = self
            .wrong_diagnostic(el, name, wanted, value, span)
            .help(format!("it is called as `{}`", self.builtin.signature));
        el.report(d)
    }

    fn wrong_diagnostic(
        &self,
        el: &Elab<'_>,
        name: &str,
        wanted: &str,
        value: &Value,
        span: Span,
    ) -> Diagnostic {
        let what = el.describe(value);
        Diagnostic::new(
            codes::E0104,
            format!("`{name}` of `{}` must be {wanted}", self.builtin.name),
        )
        .label(span, format!("this is {what}"))
    }

    pub fn out_of_range(
        &self,
        el: &mut Elab<'_>,
        name: &str,
        value: &str,
        range: &str,
    ) -> Reported {
        let d = Diagnostic::new(
            codes::E0110,
            format!("`{name}` of `{}` cannot be {value}", self.builtin.name),
        )
        .label(self.span_of(name), format!("must be {range}"))
        .help(format!("it is called as `{}`", self.builtin.signature));
        el.report(d)
    }
}
