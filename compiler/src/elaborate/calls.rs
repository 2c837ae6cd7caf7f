//! Calls: arguments, functions of the spec, constructor calls of modules, builtins.

use super::Elab;
use super::args::{Args, Given};
use super::builtins::Builtin;
use super::scope::Scope;
use super::units::DefKind;
use super::values::{Callable, DefId, R, Reported, Value};
use crate::program::ParamKind;
use sslc_grammar::ast::{self, Arg, Ident, Parameter};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;

/// How deep functions may call functions.
pub const MAX_CALLS: usize = 256;

impl<'a> Elab<'a> {
    /// Calls a value with the arguments as written; `piped` comes before them.
    pub fn call(
        &mut self,
        callee: &Value,
        name: Span,
        args: &'a [Arg],
        piped: Option<(Value, Span)>,
        span: Span,
        scope: &mut Scope,
    ) -> R<Value> {
        let kinds = match callee {
            Value::Callable(Callable::Builtin(b)) => b.takes_kinds(),
            _ => Kinds::Nowhere,
        };
        let mut given: Vec<Given> = Vec::with_capacity(args.len() + 1);
        if let Some((value, span)) = piped {
            given.push(Given {
                name: None,
                value,
                span,
            });
        }
        let mut failed = false;
        for arg in args {
            let with_kinds = match kinds {
                Kinds::Nowhere => false,
                Kinds::Positional => arg.name.is_none(),
                Kinds::Named(key) => arg.name.as_ref().is_some_and(|n| n.name == key),
            };
            if with_kinds {
                scope.bind("bias", Some(Value::Kind(ParamKind::Bias)));
                scope.bind("norm", Some(Value::Kind(ParamKind::Norm)));
            }
            let value = self.eval(&arg.value, scope);
            if with_kinds {
                scope.locals.truncate(scope.locals.len() - 2);
            }
            match value {
                Ok(value) => given.push(Given {
                    name: arg.name.clone(),
                    value,
                    span: arg.value.span,
                }),
                Err(Reported) => failed = true,
            }
        }
        if failed {
            return Err(Reported);
        }
        match callee {
            Value::Callable(callable) => self.call_given(*callable, given, span),
            Value::Module(module) => {
                let mut values = Vec::with_capacity(given.len());
                for g in given {
                    if let Some(key) = &g.name {
                        let shown = self.short_text(name);
                        return Err(self.report(
                            Diagnostic::new(
                                codes::E0108,
                                format!("`{shown}` is applied without argument names"),
                            )
                            .label(key.span, "not a name that `forward` takes")
                            .help(format!("write `{shown}(x)`")),
                        ));
                    }
                    values.push((g.value, g.span));
                }
                self.apply(*module, values, span)
            }
            other => Err(self.not_callable(other, name)),
        }
    }

    /// Calls with evaluated arguments.
    pub fn call_given(&mut self, callable: Callable, given: Vec<Given>, span: Span) -> R<Value> {
        match callable {
            Callable::Builtin(b) => self.call_builtin(b, given, span),
            Callable::Def(id) => match self.defs[id.index()].kind {
                DefKind::Fn(f) => self.call_fn(id, f, given, span),
                DefKind::Module(m) => self.construct(id, m, given, span),
                _ => Err(Reported),
            },
        }
    }

    fn call_builtin(&mut self, b: &'static Builtin, given: Vec<Given>, span: Span) -> R<Value> {
        let args = Args::bind(self, b, given, span)?;
        self.g.b.origin = Some(self.site(span));
        b.run(self, &args)
    }

    fn call_fn(
        &mut self,
        id: DefId,
        f: &'a ast::Function,
        given: Vec<Given>,
        span: Span,
    ) -> R<Value> {
        if self.fn_depth >= MAX_CALLS {
            return Err(self.report_once(
                Diagnostic::new(
                    codes::E0114,
                    format!(
                        "`{}` calls itself more than {MAX_CALLS} times deep",
                        f.name.name
                    ),
                )
                .label(span, "one call too deep")
                .label(f.name.span, "defined here")
                .help("end the recursion with an `if` that is reached"),
            ));
        }
        let def = self.defs[id.index()];
        self.calls.push(span);
        self.fn_depth += 1;
        let before = self.ctx.inside.replace(Inside::Fn(f.name.span));
        let mut scope = Scope::top(def.unit, def.item);
        let result = match self.bind_params(&f.name, &f.params, given, span, &mut scope) {
            Ok(()) => self.block(&f.body, &mut scope),
            Err(Reported) => Err(Reported),
        };
        self.ctx.inside = before;
        self.fn_depth -= 1;
        self.calls.pop();
        result
    }

    /// Binds the parameters of a `fn` or `module`; defaults see the parameters before them.
    pub fn bind_params(
        &mut self,
        name: &'a Ident,
        params: &'a [Parameter],
        given: Vec<Given>,
        span: Span,
        scope: &mut Scope,
    ) -> R<()> {
        let mut slots: Vec<Option<Given>> = params.iter().map(|_| None).collect();
        let mut failed = false;
        let total = given.len();
        let mut next = 0;
        for g in given {
            let at = match &g.name {
                None => {
                    next += 1;
                    next - 1
                }
                Some(key) => match params.iter().position(|p| p.name.name == key.name) {
                    Some(at) => at,
                    None => {
                        let names: Vec<&str> = params.iter().map(|p| &*p.name.name).collect();
                        self.unknown_argument(&name.name, key, &names, Some(name.span));
                        failed = true;
                        continue;
                    }
                },
            };
            match slots.get_mut(at) {
                Some(slot @ None) => *slot = Some(g),
                Some(Some(first)) => {
                    let first = first.span;
                    self.argument_twice(&params[at].name.name, g.span, first);
                    failed = true;
                }
                None => {
                    self.report(
                        Diagnostic::new(
                            codes::E0108,
                            format!(
                                "`{}` takes {}, not {total}",
                                name.name,
                                count(params.len(), "argument")
                            ),
                        )
                        .label(g.span, "one argument too many")
                        .label(name.span, "defined here")
                        .help(usage(&name.name, params)),
                    );
                    return Err(Reported);
                }
            }
        }
        for (param, slot) in params.iter().zip(slots) {
            let value = match (slot, &param.default) {
                (Some(g), _) => Ok(g.value),
                (None, Some(default)) => self.eval(default, scope),
                (None, None) => {
                    self.report(
                        Diagnostic::new(
                            codes::E0107,
                            format!("`{}` needs `{}`", name.name, param.name.name),
                        )
                        .label(span, "left out here")
                        .label(param.name.span, "the parameter")
                        .help(usage(&name.name, params)),
                    );
                    failed = true;
                    Err(Reported)
                }
            };
            failed |= value.is_err();
            scope.bind(&param.name.name, value.ok());
        }
        if failed { Err(Reported) } else { Ok(()) }
    }

    pub fn unknown_argument(
        &mut self,
        name: &str,
        key: &Ident,
        names: &[&str],
        defined: Option<Span>,
    ) -> Reported {
        let mut d = Diagnostic::new(
            codes::E0108,
            format!("`{name}` has no argument `{}`", key.name),
        )
        .label(key.span, "unknown argument");
        if let Some(defined) = defined {
            d = d.label(defined, "defined here");
        }
        d = match nearest(&key.name, names.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if names.is_empty() => d.help(format!("`{name}` takes no arguments")),
            None => d.help(format!("it takes `{}`", names.join("`, `"))),
        };
        self.report(d)
    }

    pub fn argument_twice(&mut self, name: &str, again: Span, first: Span) -> Reported {
        self.report(
            Diagnostic::new(codes::E0109, format!("`{name}` is given twice"))
                .label(again, "given again here")
                .label(first, "first given here")
                .help("leave one of them out"),
        )
    }
}

/// Which arguments of a builtin know `bias` and `norm` as kinds of parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    Nowhere,
    Positional,
    Named(&'static str),
}

/// Inside which body an expression is evaluated, and where that was defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Fn(Span),
    Forward(Span),
}

/// `1 argument`, `2 arguments`
pub fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

fn usage(name: &str, params: &[Parameter]) -> String {
    let params: Vec<String> = params
        .iter()
        .map(|p| match &p.default {
            Some(_) => format!("{}: …", p.name.name),
            None => p.name.name.clone(),
        })
        .collect();
    format!("it is called as `{name}({})`", params.join(", "))
}
