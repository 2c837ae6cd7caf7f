//! Expressions: from a flat run of operands and operators to a tree, by the table of precedence.
//!
//! Invariant: one call of [`Builder::expr`] handles a whole run, however long; it calls itself for brackets only.

use super::Builder;
use crate::ast::{
    Arg, Block, ChainLink, ChainOp, CompareOp, Exponent, Expr, ExprKind, Postfix, PostfixKind,
    UnaryOp,
};
use crate::codes;
use crate::diag::Diagnostic;
use crate::parse::Rule;
use crate::span::Span;
use pest::iterators::Pair;

/// How tightly an operator binds, loosest first. Calls, indices and fields bind tightest: they are part of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Pipe,
    Or,
    And,
    Not,
    Compare,
    Range,
    Sum,
    Product,
    Negate,
    Power,
}

#[derive(Clone, Copy, Debug)]
enum OpKind {
    Prefix(UnaryOp),
    Chain(ChainOp),
    Compare(CompareOp),
    Pipe,
    Range,
    Power,
}

#[derive(Debug)]
struct Op {
    level: Level,
    kind: OpKind,
    span: Span,
    /// The `-` signs between `^` and its exponent.
    signs: Vec<Span>,
}

/// Operands and operators that wait for what follows. Operators of one level are gathered in a run, so that a chain
/// becomes one node.
#[derive(Default)]
struct Waiting {
    operands: Vec<Expr>,
    ops: Vec<Op>,
}

impl Waiting {
    fn top(&self) -> Option<Level> {
        self.ops.last().map(|op| op.level)
    }

    /// Builds all that binds tighter than `level`, or all there is.
    fn reduce(&mut self, level: Option<Level>) -> Option<()> {
        while let Some(top) = self.top() {
            if level.is_some_and(|level| top <= level) {
                break;
            }
            self.reduce_run(top)?;
        }
        Some(())
    }

    /// Builds the run of operators of one level on top.
    fn reduce_run(&mut self, level: Level) -> Option<()> {
        let run = self
            .ops
            .iter()
            .rposition(|op| op.level != level)
            .map_or(0, |i| i + 1);
        let ops: Vec<Op> = self.ops.drain(run..).collect();
        let expr = match ops.first()?.kind {
            OpKind::Prefix(_) => {
                let operand = Box::new(self.operands.pop()?);
                let span = ops.first()?.span.to(operand.span);
                let ops = ops
                    .iter()
                    .filter_map(|op| match op.kind {
                        OpKind::Prefix(unary) => Some((unary, op.span)),
                        _ => None,
                    })
                    .collect();
                Expr {
                    kind: ExprKind::Unary { ops, operand },
                    span,
                }
            }
            _ => {
                let first = self.operands.len().checked_sub(ops.len() + 1)?;
                let mut operands = self.operands.drain(first..);
                let first = Box::new(operands.next()?);
                infix(first, ops.into_iter().zip(operands).collect())?
            }
        };
        self.operands.push(expr);
        Some(())
    }
}

fn infix(first: Box<Expr>, rest: Vec<(Op, Expr)>) -> Option<Expr> {
    let (op, last) = rest.last()?;
    let span = first.span.to(last.span);
    let kind = match op.kind {
        OpKind::Pipe => ExprKind::Pipe {
            first,
            stages: rest.into_iter().map(|(_, stage)| stage).collect(),
        },
        OpKind::Power => ExprKind::Power {
            base: first,
            exponents: rest
                .into_iter()
                .map(|(op, operand)| Exponent {
                    signs: op.signs,
                    operand,
                })
                .collect(),
        },
        OpKind::Compare(op) => ExprKind::Compare {
            op,
            left: first,
            right: Box::new(rest.into_iter().next()?.1),
        },
        OpKind::Range => ExprKind::Range {
            from: first,
            to: Box::new(rest.into_iter().next()?.1),
        },
        OpKind::Chain(_) => ExprKind::Chain {
            first,
            rest: rest
                .into_iter()
                .filter_map(|(op, operand)| match op.kind {
                    OpKind::Chain(chain) => Some(ChainLink {
                        op: chain,
                        op_span: op.span,
                        operand,
                    }),
                    _ => None,
                })
                .collect(),
        },
        OpKind::Prefix(_) => return None,
    };
    Some(Expr { kind, span })
}

impl Builder<'_> {
    pub(super) fn expr(&mut self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let mut waiting = Waiting::default();
        for pair in pair.into_inner() {
            let span = self.span(&pair);
            match pair.as_rule() {
                Rule::negate | Rule::not => self.prefix(&mut waiting, &pair, span),
                Rule::call | Rule::index | Rule::field => {
                    let op = self.postfix(pair)?;
                    attach(waiting.operands.last_mut()?, op);
                }
                rule => match infix_op(rule, pair.as_str()) {
                    Some((level, kind)) => self.infix(&mut waiting, level, kind, span)?,
                    None => {
                        let primary = self.primary(pair)?;
                        waiting.operands.push(primary);
                    }
                },
            }
        }
        waiting.reduce(None)?;
        waiting.operands.pop()
    }

    fn prefix(&mut self, waiting: &mut Waiting, pair: &Pair<'_, Rule>, span: Span) {
        let (level, op) = match pair.as_rule() {
            Rule::not => (Level::Not, UnaryOp::Not),
            _ => (Level::Negate, UnaryOp::Neg),
        };
        if let Some(top) = waiting.ops.last_mut() {
            if level == Level::Negate && top.level == Level::Power {
                return top.signs.push(span);
            }
            if level == Level::Not && top.level > Level::Not {
                self.error(
                    Diagnostic::new(
                        codes::E0016,
                        "`not` binds looser than the operator before it and needs parentheses",
                    )
                    .label(span, "this `not`")
                    .label(top.span, "behind this operator")
                    .help("write `(not …)`"),
                );
            }
        }
        waiting.ops.push(Op {
            level,
            kind: OpKind::Prefix(op),
            span,
            signs: Vec::new(),
        });
    }

    fn infix(
        &mut self,
        waiting: &mut Waiting,
        level: Level,
        kind: OpKind,
        span: Span,
    ) -> Option<()> {
        waiting.reduce(Some(level))?;
        if matches!(level, Level::Compare | Level::Range)
            && let Some(first) = waiting.ops.last()
            && first.level == level
        {
            let (message, help) = if level == Level::Compare {
                (
                    "comparisons do not chain",
                    "write `a < b and b < c`, or put one of them in parentheses",
                )
            } else {
                (
                    "ranges do not chain",
                    "a range has two ends, `from..to`; put an inner range in parentheses",
                )
            };
            self.error(
                Diagnostic::new(codes::E0013, message)
                    .label(span, "a second one")
                    .label(first.span, "the first")
                    .help(help),
            );
            waiting.reduce_run(level)?;
        }
        waiting.ops.push(Op {
            level,
            kind,
            span,
            signs: Vec::new(),
        });
        Some(())
    }

    fn primary(&mut self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::number => self.number(pair.as_str(), span),
            Rule::string => ExprKind::Str(unescape(pair.as_str())),
            Rule::boolean => ExprKind::Bool(pair.as_str() == "true"),
            Rule::name => ExprKind::Name(pair.as_str().to_string()),
            Rule::paren => ExprKind::Paren(Box::new(self.nth_expr(pair, 0)?)),
            Rule::list => ExprKind::List(self.exprs(pair)?),
            Rule::comprehension => {
                let mut var = None;
                let mut exprs = Vec::new();
                for pair in pair.into_inner() {
                    match pair.as_rule() {
                        Rule::name => var = Some(self.ident(&pair)),
                        Rule::expr => exprs.push(self.expr(pair)?),
                        _ => {}
                    }
                }
                let body = Box::new(exprs.pop()?);
                let list = Box::new(exprs.pop()?);
                let var = var?;
                ExprKind::Comprehension { var, list, body }
            }
            Rule::if_expr => self.if_expr(pair)?,
            _ => return None,
        };
        Some(Expr { kind, span })
    }

    fn exprs(&mut self, pair: Pair<'_, Rule>) -> Option<Vec<Expr>> {
        let mut exprs = Vec::new();
        for pair in pair.into_inner() {
            if pair.as_rule() == Rule::expr {
                exprs.push(self.expr(pair)?);
            }
        }
        Some(exprs)
    }

    fn nth_expr(&mut self, pair: Pair<'_, Rule>, n: usize) -> Option<Expr> {
        let inner = pair
            .into_inner()
            .filter(|p| p.as_rule() == Rule::expr)
            .nth(n)?;
        self.expr(inner)
    }

    fn if_expr(&mut self, pair: Pair<'_, Rule>) -> Option<ExprKind> {
        let mut branches: Vec<(Expr, Block)> = Vec::new();
        let mut otherwise = None;
        let mut condition = None;
        for pair in pair.into_inner() {
            match pair.as_rule() {
                Rule::expr => condition = Some(self.expr(pair)?),
                Rule::block => {
                    let block = self.block(pair)?;
                    match condition.take() {
                        Some(condition) => branches.push((condition, block)),
                        None => otherwise = Some(block),
                    }
                }
                _ => {}
            }
        }
        Some(ExprKind::If {
            branches,
            otherwise,
        })
    }

    pub(super) fn postfix(&mut self, pair: Pair<'_, Rule>) -> Option<Postfix> {
        let mut span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::call => PostfixKind::Call(self.arguments(pair)?),
            Rule::index => PostfixKind::Index(Box::new(self.nth_expr(pair, 0)?)),
            _ => {
                let mut inner = pair.into_inner();
                let dot = inner.next()?;
                span.start = self.span(&dot).start;
                let word = inner.next()?;
                if word.as_str() == "T" {
                    PostfixKind::Transpose
                } else {
                    PostfixKind::Field(self.ident(&word))
                }
            }
        };
        Some(Postfix { kind, span })
    }

    fn arguments(&mut self, pair: Pair<'_, Rule>) -> Option<Vec<Arg>> {
        let mut args: Vec<Arg> = Vec::new();
        for pair in pair.into_inner() {
            if pair.as_rule() != Rule::argument {
                continue;
            }
            let mut name = None;
            let mut value = None;
            for part in pair.into_inner() {
                match part.as_rule() {
                    Rule::word => name = Some(self.ident(&part)),
                    Rule::expr => value = Some(self.expr(part)?),
                    _ => {}
                }
            }
            args.push(Arg {
                name,
                value: value?,
            });
        }
        let first_named = args.iter().position(|a| a.name.is_some());
        if let Some(first) = first_named
            && let Some(late) = args[first..].iter().find(|a| a.name.is_none())
            && let Some(named) = &args[first].name
        {
            let diagnostic = Diagnostic::new(
                codes::E0017,
                "an argument without a name stands behind one with a name",
            )
            .label(late.value.span, "this argument")
            .label(named.span, "named arguments start here")
            .help("put arguments without names first, or name this one too: `name: value`");
            self.error(diagnostic);
        }
        self.check_distinct(
            "argument",
            "keep one of them",
            args.iter().filter_map(|a| a.name.as_ref()),
        );
        Some(args)
    }

    fn number(&mut self, text: &str, span: Span) -> ExprKind {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return ExprKind::Int(text.parse().unwrap_or_else(|_| {
                self.error(
                    Diagnostic::new(codes::E0009, "an integer is too large")
                        .label(span, "this integer")
                        .help(format!(
                            "integers go up to {}; write a float, as in `1e20`, if that is meant",
                            i64::MAX
                        )),
                );
                0
            }));
        }
        let value = text.parse().unwrap_or(f64::INFINITY);
        if value.is_infinite() {
            self.error(
                Diagnostic::new(codes::E0009, "a number is too large")
                    .label(span, "this number")
                    .help("numbers go up to about 1.8e308"),
            );
        }
        ExprKind::Float(value)
    }
}

/// Adds a postfix operator to the operand before it.
fn attach(operand: &mut Expr, op: Postfix) {
    let base_span = operand.span;
    operand.span = base_span.to(op.span);
    if let ExprKind::Postfix { ops, .. } = &mut operand.kind {
        return ops.push(op);
    }
    let base = std::mem::replace(
        operand,
        Expr {
            kind: ExprKind::Bool(false),
            span: operand.span,
        },
    );
    operand.kind = ExprKind::Postfix {
        base: Box::new(Expr {
            kind: base.kind,
            span: base_span,
        }),
        ops: vec![op],
    };
}

fn infix_op(rule: Rule, text: &str) -> Option<(Level, OpKind)> {
    Some(match rule {
        Rule::pipe => (Level::Pipe, OpKind::Pipe),
        Rule::or => (Level::Or, OpKind::Chain(ChainOp::Or)),
        Rule::and => (Level::And, OpKind::Chain(ChainOp::And)),
        Rule::compare => {
            let op = match text {
                "==" => CompareOp::Eq,
                "!=" => CompareOp::Ne,
                "<" => CompareOp::Lt,
                "<=" => CompareOp::Le,
                ">" => CompareOp::Gt,
                _ => CompareOp::Ge,
            };
            (Level::Compare, OpKind::Compare(op))
        }
        Rule::range => (Level::Range, OpKind::Range),
        Rule::add => (Level::Sum, OpKind::Chain(ChainOp::Add)),
        Rule::subtract => (Level::Sum, OpKind::Chain(ChainOp::Sub)),
        Rule::multiply => (Level::Product, OpKind::Chain(ChainOp::Mul)),
        Rule::divide => (Level::Product, OpKind::Chain(ChainOp::Div)),
        Rule::matmul => (Level::Product, OpKind::Chain(ChainOp::MatMul)),
        Rule::power => (Level::Power, OpKind::Power),
        _ => return None,
    })
}

/// What a string literal with its quotes stands for.
pub(super) fn unescape(literal: &str) -> String {
    let mut out = String::new();
    let inner = literal
        .strip_prefix('"')
        .and_then(|s| s.strip_suffix('"'))
        .unwrap_or(literal);
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(c) => c,
                None => '\\',
            },
            c => c,
        });
    }
    out
}
