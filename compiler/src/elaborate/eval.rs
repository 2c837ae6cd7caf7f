//! Evaluation of expressions.
//!
//! Invariant: depth and work are bounded. Every call of [`Elab::eval`] counts against [`MAX_DEPTH`] and
//! [`MAX_WORK`], so no spec overflows the stack or runs on for ever.

use super::Elab;
use super::args::Given;
use super::scope::Scope;
use super::values::{Bound, Callable, R, Reported, Value};
use sslc_grammar::ast::{Block, ChainOp, Expr, ExprKind, Ident, Postfix, PostfixKind, UnaryOp};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

/// How deep expressions may nest while they are evaluated, calls included.
pub const MAX_DEPTH: usize = 10_000;

/// How many expressions the evaluation of a spec may take.
pub const MAX_WORK: u64 = 5_000_000;

/// How many elements a list may have.
const MAX_LIST: usize = 1_000_000;

impl<'a> Elab<'a> {
    /// The value of an expression. Everything that is wrong in it is reported, not only the first.
    pub fn eval(&mut self, e: &'a Expr, scope: &mut Scope) -> R<Value> {
        if self.depth >= MAX_DEPTH {
            return Err(self.too_deep(e.span));
        }
        self.spend(1, e.span)?;
        self.depth += 1;
        let value = self.eval_kind(e, scope);
        self.depth -= 1;
        value
    }

    fn eval_kind(&mut self, e: &'a Expr, scope: &mut Scope) -> R<Value> {
        match &e.kind {
            ExprKind::Int(v) => Ok(Value::Int(*v)),
            ExprKind::Float(v) => Ok(Value::Float(*v)),
            ExprKind::Str(v) => Ok(Value::str(v)),
            ExprKind::Bool(v) => Ok(Value::Bool(*v)),
            ExprKind::Name(name) => self.name(name, e.span, scope),
            ExprKind::Paren(inner) => self.eval(inner, scope),
            ExprKind::List(items) => self.list(items, scope),
            ExprKind::Comprehension { var, list, body } => {
                self.comprehension(var, list, body, scope)
            }
            ExprKind::Unary { ops, operand } => self.unary_run(ops, operand, scope),
            ExprKind::Chain { first, rest } => self.chain(first, rest, scope),
            ExprKind::Power { base, exponents } => self.power(base, exponents, scope),
            ExprKind::Compare { op, left, right } => {
                let a = self.eval(left, scope);
                let b = self.eval(right, scope);
                let (a, b) = (a?, b?);
                self.compare(*op, a, b, e.span, left.span, right.span)
            }
            ExprKind::Range { from, to } => self.range(from, to, scope),
            ExprKind::Pipe { first, stages } => self.pipe(first, stages, scope),
            ExprKind::Postfix { base, ops } => self.postfix(base, ops, scope),
            ExprKind::If {
                branches,
                otherwise,
            } => self.branch(branches, otherwise.as_ref(), e.span, scope),
        }
    }

    /// Counts work that a spec makes, against its limit.
    pub fn spend(&mut self, work: u64, span: Span) -> R<()> {
        self.work = self.work.saturating_add(work);
        if self.work > MAX_WORK {
            return Err(self.too_long(span));
        }
        Ok(())
    }

    pub fn too_deep(&mut self, span: Span) -> Reported {
        self.report_once(
            Diagnostic::new(codes::E0120, "the evaluation nests too deep")
                .label(span, "too deep here")
                .help("split the expression into `let`s, or recurse less"),
        )
    }

    fn too_long(&mut self, span: Span) -> Reported {
        self.report_once(
            Diagnostic::new(codes::E0122, "the evaluation of this spec takes too long")
                .label(span, "gave up here")
                .help("make lists shorter, or recurse less"),
        )
    }

    fn list(&mut self, items: &'a [Expr], scope: &mut Scope) -> R<Value> {
        let values: Vec<R<Value>> = items.iter().map(|i| self.eval(i, scope)).collect();
        Ok(Value::list(values.into_iter().collect::<R<Vec<Value>>>()?))
    }

    fn comprehension(
        &mut self,
        var: &'a Ident,
        list: &'a Expr,
        body: &'a Expr,
        scope: &mut Scope,
    ) -> R<Value> {
        let source = self.eval(list, scope)?;
        let items = self.items(&source, list.span)?;
        let mut values = Vec::with_capacity(items.len().min(1024));
        let mut failed = false;
        for item in items {
            scope.bind(&var.name, Some(item));
            let value = self.eval(body, scope);
            scope.locals.pop();
            match value {
                Ok(v) => values.push(v),
                Err(Reported) => failed = true,
            }
            if self.work > MAX_WORK {
                return Err(Reported);
            }
        }
        if failed {
            return Err(Reported);
        }
        Ok(Value::list(values))
    }

    /// The elements of a list or of an integer range.
    pub fn items(&mut self, value: &Value, span: Span) -> R<Vec<Value>> {
        match value {
            Value::List(items) => Ok(items.as_ref().clone()),
            Value::Range(Bound::Int(from), Bound::Int(to)) => {
                let n = (*to as i128 - *from as i128).max(0);
                if n > MAX_LIST as i128 {
                    return Err(self.report(
                        Diagnostic::new(
                            codes::E0122,
                            format!("a list has at most {MAX_LIST} elements"),
                        )
                        .label(span, format!("{n} elements"))
                        .help("use a shorter range"),
                    ));
                }
                Ok((*from..*to).map(Value::Int).collect())
            }
            other => Err(self.wrong_kind(
                "a list or a range of whole numbers",
                other,
                span,
                "write `[a, b]` or `0..n`",
            )),
        }
    }

    fn range(&mut self, from: &'a Expr, to: &'a Expr, scope: &mut Scope) -> R<Value> {
        let a = self.eval(from, scope);
        let b = self.eval(to, scope);
        let (a, b) = (a?, b?);
        let a = self.bound(a, from.span);
        let b = self.bound(b, to.span);
        Ok(Value::Range(a?, b?))
    }

    fn bound(&mut self, value: Value, span: Span) -> R<Bound> {
        match value {
            Value::Int(i) => Ok(Bound::Int(i)),
            Value::Float(f) => Ok(Bound::Float(f)),
            other => Err(self.wrong_kind(
                "a number",
                &other,
                span,
                "a range goes from a number to a number: `0.1..2.0`",
            )),
        }
    }

    fn unary_run(
        &mut self,
        ops: &[(UnaryOp, Span)],
        operand: &'a Expr,
        scope: &mut Scope,
    ) -> R<Value> {
        let mut value = self.eval(operand, scope)?;
        for (op, span) in ops.iter().rev() {
            value = self.unary(*op, value, span.to(operand.span), operand.span)?;
        }
        Ok(value)
    }

    fn chain(
        &mut self,
        first: &'a Expr,
        rest: &'a [sslc_grammar::ast::ChainLink],
        scope: &mut Scope,
    ) -> R<Value> {
        let mut left = self.eval(first, scope);
        let mut left_span = first.span;
        for link in rest {
            // `and` and `or` of booleans decide without the right side where they can.
            match (link.op, &left) {
                (ChainOp::And, Ok(Value::Bool(false))) | (ChainOp::Or, Ok(Value::Bool(true))) => {
                    continue;
                }
                _ => {}
            }
            let right = self.eval(&link.operand, scope);
            let span = left_span.to(link.operand.span);
            left = match (left, right) {
                (Ok(a), Ok(b)) => self.binary(link.op, a, b, span, left_span, link.operand.span),
                _ => Err(Reported),
            };
            left_span = span;
        }
        left
    }

    fn power(
        &mut self,
        base: &'a Expr,
        exponents: &'a [sslc_grammar::ast::Exponent],
        scope: &mut Scope,
    ) -> R<Value> {
        let base_value = self.eval(base, scope);
        let values: Vec<R<Value>> = exponents
            .iter()
            .map(|x| self.eval(&x.operand, scope))
            .collect();
        let mut values = values.into_iter().collect::<R<Vec<Value>>>()?;
        let base_value = base_value?;
        let Some(mut right) = values.pop() else {
            return Ok(base_value);
        };
        let end = exponents.last().map_or(base.span, |x| x.operand.span);
        for i in (0..exponents.len()).rev() {
            let mut span = exponents[i].operand.span.to(end);
            for sign in exponents[i].signs.iter().rev() {
                right = self.unary(UnaryOp::Neg, right, sign.to(end), span)?;
                span = sign.to(end);
            }
            let (left, left_span) = match i.checked_sub(1) {
                Some(before) => match values.pop() {
                    Some(v) => (v, exponents[before].operand.span),
                    None => return Err(Reported),
                },
                None => (base_value.clone(), base.span),
            };
            right = self.raise(left, right, left_span.to(end), left_span, span)?;
        }
        Ok(right)
    }

    fn branch(
        &mut self,
        branches: &'a [(Expr, Block)],
        otherwise: Option<&'a Block>,
        span: Span,
        scope: &mut Scope,
    ) -> R<Value> {
        for (condition, block) in branches {
            match self.eval(condition, scope)? {
                Value::Bool(true) => return self.block(block, scope),
                Value::Bool(false) => {}
                other => {
                    let d = self
                        .wrong_kind_diagnostic("true or false", &other, condition.span)
                        .help(match other {
                            Value::Tensor(_) => {
                                "`if` decides while the graph is built; use `where(mask, a, b)` for tensors"
                            }
                            _ => "write a comparison, such as `n > 0`",
                        });
                    return Err(self.report(d));
                }
            }
        }
        match otherwise {
            Some(block) => self.block(block, scope),
            None => Err(self.report(
                Diagnostic::new(codes::E0110, "no condition of this `if` holds")
                    .label(span, "has no value then")
                    .help("add `else { … }`"),
            )),
        }
    }

    /// `let … expr`: the value of the expression, with the lets in scope.
    pub fn block(&mut self, block: &'a Block, scope: &mut Scope) -> R<Value> {
        let before = scope.locals.len();
        for binding in &block.lets {
            let value = self.eval(&binding.value, scope);
            if let Ok(Value::Tensor(v)) = &value
                && self.g.b.graph.node(*v).name.is_none()
            {
                self.g.b.name(*v, binding.name.name.clone());
            }
            scope.bind(&binding.name.name, value.ok());
        }
        let value = self.eval(&block.value, scope);
        scope.locals.truncate(before);
        value
    }

    fn postfix(&mut self, base: &'a Expr, ops: &'a [Postfix], scope: &mut Scope) -> R<Value> {
        let mut span = base.span;
        let mut ops = ops.iter();
        let mut value = match (&base.kind, ops.as_slice().first()) {
            // A name directly before `(` is looked up among what can be called.
            (ExprKind::Name(name), Some(first)) => match &first.kind {
                PostfixKind::Call(args) => {
                    ops.next();
                    span = base.span.to(first.span);
                    match self.callee(name, base.span, scope) {
                        Ok(callee) => self.call(&callee, base.span, args, None, span, scope),
                        Err(Reported) => {
                            self.check_args(args, scope);
                            Err(Reported)
                        }
                    }
                }
                PostfixKind::Index(_) | PostfixKind::Field(_) | PostfixKind::Transpose => {
                    self.eval(base, scope)
                }
            },
            _ => self.eval(base, scope),
        };
        for op in ops {
            let before = span;
            span = span.to(op.span);
            value = match &op.kind {
                PostfixKind::Call(args) => match value {
                    Ok(callee) => self.call(&callee, before, args, None, span, scope),
                    Err(Reported) => {
                        self.check_args(args, scope);
                        Err(Reported)
                    }
                },
                PostfixKind::Index(index) => {
                    let i = self.eval(index, scope);
                    match (value, i) {
                        (Ok(v), Ok(i)) => self.index(v, i, span, before, index.span),
                        _ => Err(Reported),
                    }
                }
                PostfixKind::Field(field) => match value {
                    Ok(v) => self.field(v, field, before),
                    Err(Reported) => Err(Reported),
                },
                PostfixKind::Transpose => match value {
                    Ok(v) => self.transposed(v, span, before),
                    Err(Reported) => Err(Reported),
                },
            };
        }
        value
    }

    /// Evaluates arguments for their errors alone.
    fn check_args(&mut self, args: &'a [sslc_grammar::ast::Arg], scope: &mut Scope) {
        for arg in args {
            let _reported = self.eval(&arg.value, scope);
        }
    }

    fn field(&mut self, value: Value, field: &Ident, before: Span) -> R<Value> {
        match value {
            Value::Unit(unit) => self.imported(unit, &field.name, field.span),
            Value::Module(module) => self.child(module, field, before),
            other => {
                let what = self.describe(&other);
                Err(self.report(
                    Diagnostic::new(codes::E0111, format!("`.{}` is nothing here", field.name))
                        .label(before, format!("this is {what}"))
                        .label(field.span, "no such field")
                        .help("imports with an alias and modules have fields; a matrix has `.T`"),
                ))
            }
        }
    }

    /// `x |> f |> g(b)`
    fn pipe(&mut self, first: &'a Expr, stages: &'a [Expr], scope: &mut Scope) -> R<Value> {
        let mut value = self.eval(first, scope);
        let mut span = first.span;
        for stage in stages {
            let whole = span.to(stage.span);
            value = match value {
                Ok(v) => self.pipe_stage(v, span, stage, whole, scope),
                Err(Reported) => {
                    self.check_stage(stage, scope);
                    Err(Reported)
                }
            };
            span = whole;
        }
        value
    }

    /// After an error before it, a stage is looked at for errors of its own.
    fn check_stage(&mut self, stage: &'a Expr, scope: &mut Scope) {
        let ExprKind::Postfix { base, ops } = &stage.kind else {
            return;
        };
        let callee = match &base.kind {
            ExprKind::Name(name) => self.callee(name, base.span, scope).ok(),
            _ => None,
        };
        if let (Some(Value::Callable(Callable::Builtin(b))), [op]) = (&callee, &ops[..])
            && let PostfixKind::Call(args) = &op.kind
            && b.makes_stage(args.len())
        {
            let made = Value::Callable(Callable::Builtin(b));
            let _reported = self.call(&made, base.span, args, None, stage.span, scope);
            return;
        }
        for op in ops {
            if let PostfixKind::Call(args) = &op.kind {
                self.check_args(args, scope);
            }
        }
    }

    fn pipe_stage(
        &mut self,
        x: Value,
        x_span: Span,
        stage: &'a Expr,
        whole: Span,
        scope: &mut Scope,
    ) -> R<Value> {
        // `f(b)`: the last operation of the stage is a call.
        if let ExprKind::Postfix { base, ops } = &stage.kind
            && let Some((last, before)) = ops.split_last()
            && let PostfixKind::Call(args) = &last.kind
        {
            let callee_span = before.last().map_or(base.span, |op| base.span.to(op.span));
            let callee = match (&base.kind, before.is_empty()) {
                (ExprKind::Name(name), true) => self.callee(name, base.span, scope),
                (_, true) => self.eval(base, scope),
                (_, false) => self.postfix(base, before, scope),
            };
            let callee = match callee {
                Ok(c) => c,
                Err(Reported) => {
                    self.check_args(args, scope);
                    return Err(Reported);
                }
            };
            if self.makes_stage(&callee, &x, args) {
                let made = self.call(&callee, callee_span, args, None, stage.span, scope)?;
                return self.feed(x, x_span, made, stage.span, whole);
            }
            return self.call(&callee, callee_span, args, Some((x, x_span)), whole, scope);
        }
        let f = match &stage.kind {
            ExprKind::Name(name) => self.stage(name, stage.span, scope)?,
            _ => self.eval(stage, scope)?,
        };
        self.feed(x, x_span, f, stage.span, whole)
    }

    /// Gives `x` to what a stage stands for: applies a module, calls a function, chains a pipeline.
    fn feed(&mut self, x: Value, x_span: Span, f: Value, f_span: Span, whole: Span) -> R<Value> {
        match f {
            Value::Pipeline(next) => match x {
                Value::Pipeline(first) => {
                    let mut stages = first.as_ref().clone();
                    stages.extend(next.iter().cloned());
                    Ok(Value::Pipeline(std::rc::Rc::new(stages)))
                }
                other => {
                    let d = self
                        .wrong_kind_diagnostic("a view pipeline", &other, x_span)
                        .label(f_span, "this works on images before they become a batch")
                        .help("augmentations belong into `views name = …`");
                    Err(self.report(d))
                }
            },
            Value::Module(module) => self.apply(module, vec![(x, x_span)], whole),
            Value::Callable(callable) => {
                let given = vec![Given {
                    name: None,
                    value: x,
                    span: x_span,
                }];
                self.call_given(callable, given, whole)
            }
            other => Err(self.not_callable_in_pipe(&other, f_span)),
        }
    }

    fn not_callable_in_pipe(&mut self, value: &Value, span: Span) -> Reported {
        let what = self.describe(value);
        self.report(
            Diagnostic::new(
                codes::E0106,
                "`|>` needs a function, a layer or an augmentation",
            )
            .label(span, format!("this is {what}"))
            .help("`x |> f` is `f(x)`"),
        )
    }

    /// Whether `f(b)` in `x |> f(b)` makes something that `x` is given to, instead of meaning `f(x, b)`.
    fn makes_stage(&self, callee: &Value, x: &Value, args: &[sslc_grammar::ast::Arg]) -> bool {
        match callee {
            Value::Callable(Callable::Builtin(b)) => b.makes_stage(args.len()),
            Value::Callable(Callable::Def(id)) => match self.defs[id.index()].kind {
                super::units::DefKind::Module(_) => true,
                super::units::DefKind::Fn(f) => {
                    let given = args.len();
                    let required = f.params.iter().filter(|p| p.default.is_none()).count();
                    let fits_alone = given >= required && given <= f.params.len();
                    let fits_with_x = given < f.params.len();
                    fits_alone && (!fits_with_x || matches!(x, Value::Pipeline(_)))
                }
                _ => false,
            },
            _ => false,
        }
    }
}
