//! Operators: numbers are computed, tensors become nodes.

use super::Elab;
use super::broadcast::Operand;
use super::values::{R, Reported, Value};
use crate::core::graph::{DType, MAX_RANK, ValueId};
use crate::core::ops::{self, Op};
use sslc_grammar::ast::{ChainOp, CompareOp, UnaryOp};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

fn symbol(op: ChainOp) -> &'static str {
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

impl<'a> Elab<'a> {
    fn operand(&mut self, value: &Value, span: Span) -> R<Option<Operand>> {
        Ok(match value {
            Value::Int(i) => Some(Operand::Int(*i)),
            Value::Float(f) => Some(Operand::Float(*f)),
            other => self.as_tensor(other, span)?.map(Operand::Tensor),
        })
    }

    /// A tensor, or a list that stacks to one; `None` for anything else, numbers included.
    pub fn as_tensor(&mut self, value: &Value, span: Span) -> R<Option<ValueId>> {
        self.stacked(value, span, MAX_RANK)
    }

    fn stacked(&mut self, value: &Value, span: Span, depth: usize) -> R<Option<ValueId>> {
        match value {
            Value::Tensor(v) => Ok(Some(*v)),
            Value::List(items) if !items.is_empty() && depth > 0 => {
                self.spend(items.len() as u64, span)?;
                let mut parts = Vec::with_capacity(items.len());
                for item in items.iter() {
                    let part = match item {
                        Value::Int(_) | Value::Float(_) => {
                            self.g.b.origin = Some(self.site(span));
                            self.constant(item.number().unwrap_or(0.0), DType::F32)
                        }
                        other => match self.stacked(other, span, depth - 1)? {
                            Some(v) => v,
                            None => return Ok(None),
                        },
                    };
                    parts.push(part);
                }
                self.stack(&parts, 0, span).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A rank-0 constant.
    pub fn constant(&mut self, value: f64, dtype: DType) -> ValueId {
        let ty = crate::core::graph::Type::new(dtype, &[]);
        self.g.b.full(&ty, value)
    }

    /// `a op b` for one operator of a chain.
    pub fn binary(
        &mut self,
        op: ChainOp,
        a: Value,
        b: Value,
        span: Span,
        a_span: Span,
        b_span: Span,
    ) -> R<Value> {
        if let ChainOp::And | ChainOp::Or = op {
            return self.logic(op, a, b, span, a_span, b_span);
        }
        let (Some(x), Some(y)) = (self.operand(&a, a_span)?, self.operand(&b, b_span)?) else {
            return Err(self.bad_operands(symbol(op), &a, &b, a_span, b_span));
        };
        if let (Operand::Tensor(x), Operand::Tensor(y), ChainOp::MatMul) = (x, y, op) {
            self.g.b.origin = Some(self.site(span));
            return self.matrix_product(x, y, a_span, b_span).map(Value::Tensor);
        }
        match (x, y) {
            (Operand::Tensor(_), _) | (_, Operand::Tensor(_)) => {
                let op = match op {
                    ChainOp::Add => &ops::ADD,
                    ChainOp::Sub => &ops::SUB,
                    ChainOp::Mul => &ops::MUL,
                    ChainOp::Div => &ops::DIV,
                    _ => return Err(self.bad_operands(symbol(op), &a, &b, a_span, b_span)),
                };
                self.g.b.origin = Some(self.site(span));
                let (x, y) = self.pair(x, y, op == &ops::DIV, a_span, b_span)?;
                self.push(op, &[x, y], vec![], span).map(Value::Tensor)
            }
            (Operand::Int(x), Operand::Int(y)) => {
                let result = match op {
                    ChainOp::Add => x.checked_add(y),
                    ChainOp::Sub => x.checked_sub(y),
                    ChainOp::Mul => x.checked_mul(y),
                    ChainOp::Div => return self.quotient(x as f64, y as f64, span, b_span),
                    _ => return Err(self.bad_operands(symbol(op), &a, &b, a_span, b_span)),
                };
                match result {
                    Some(v) => Ok(Value::Int(v)),
                    None => Err(self.overflow(span)),
                }
            }
            (x, y) => {
                let (x, y) = (x.float(), y.float());
                match op {
                    ChainOp::Add => Ok(Value::Float(x + y)),
                    ChainOp::Sub => Ok(Value::Float(x - y)),
                    ChainOp::Mul => Ok(Value::Float(x * y)),
                    ChainOp::Div => self.quotient(x, y, span, b_span),
                    _ => Err(self.bad_operands(symbol(op), &a, &b, a_span, b_span)),
                }
            }
        }
    }

    fn quotient(&mut self, x: f64, y: f64, span: Span, y_span: Span) -> R<Value> {
        if y == 0.0 {
            return Err(self.report(
                Diagnostic::new(codes::E0112, "this divides by zero")
                    .label(y_span, "is 0")
                    .label(span, "in this quotient")
                    .help("guard it with `if`"),
            ));
        }
        Ok(Value::Float(x / y))
    }

    fn overflow(&mut self, span: Span) -> Reported {
        self.report(
            Diagnostic::new(codes::E0112, "this whole number is too large")
                .label(span, "does not fit 64 bits")
                .help("write one of the numbers with a decimal point: `2.0`"),
        )
    }

    fn logic(
        &mut self,
        op: ChainOp,
        a: Value,
        b: Value,
        span: Span,
        a_span: Span,
        b_span: Span,
    ) -> R<Value> {
        match (&a, &b) {
            (Value::Bool(x), Value::Bool(y)) => Ok(Value::Bool(if op == ChainOp::And {
                *x && *y
            } else {
                *x || *y
            })),
            (Value::Tensor(_) | Value::Bool(_), Value::Tensor(_) | Value::Bool(_)) => {
                self.g.b.origin = Some(self.site(span));
                let x = self.mask(&a, a_span, symbol(op))?;
                let y = self.mask(&b, b_span, symbol(op))?;
                let (x, y) = self.broadcast_pair(x, y, a_span, b_span)?;
                let op = if op == ChainOp::And {
                    &ops::AND
                } else {
                    &ops::OR
                };
                self.push(op, &[x, y], vec![], span).map(Value::Tensor)
            }
            _ => Err(self.bad_operands(symbol(op), &a, &b, a_span, b_span)),
        }
    }

    /// A mask: a bool tensor, or a boolean as one.
    pub fn mask(&mut self, value: &Value, span: Span, what: &str) -> R<ValueId> {
        match value {
            Value::Bool(v) => Ok(self.constant(f64::from(*v), DType::Bool)),
            Value::Tensor(v) if self.g.b.ty(*v).dtype == DType::Bool => Ok(*v),
            other => {
                let is = self.describe(other);
                Err(self.report(
                    Diagnostic::new(codes::E0209, format!("`{what}` needs a mask"))
                        .label(span, format!("this is {is}"))
                        .help("a comparison of tensors makes a mask: `x > 0`"),
                ))
            }
        }
    }

    pub fn unary(&mut self, op: UnaryOp, value: Value, span: Span, operand: Span) -> R<Value> {
        match (op, &value) {
            (UnaryOp::Neg, Value::Int(v)) => match v.checked_neg() {
                Some(v) => Ok(Value::Int(v)),
                None => Err(self.overflow(span)),
            },
            (UnaryOp::Neg, Value::Float(v)) => Ok(Value::Float(-v)),
            (UnaryOp::Not, Value::Bool(v)) => Ok(Value::Bool(!v)),
            (UnaryOp::Neg, Value::Tensor(v)) => {
                self.g.b.origin = Some(self.site(span));
                let v = self.float_tensor(*v);
                self.push(&ops::NEG, &[v], vec![], span).map(Value::Tensor)
            }
            (UnaryOp::Not, Value::Tensor(_)) => {
                self.g.b.origin = Some(self.site(span));
                let v = self.mask(&value, operand, "not")?;
                self.push(&ops::NOT, &[v], vec![], span).map(Value::Tensor)
            }
            _ => {
                let (sign, wanted, help) = match op {
                    UnaryOp::Neg => ("-", "a number or a tensor", "take the sign away"),
                    UnaryOp::Not => (
                        "not",
                        "true, false or a mask",
                        "a comparison makes these: `x > 0`",
                    ),
                };
                let is = self.describe(&value);
                Err(self.report(
                    Diagnostic::new(codes::E0116, format!("`{sign}` needs {wanted}"))
                        .label(operand, format!("this is {is}"))
                        .help(help),
                ))
            }
        }
    }

    /// `base ^ exponent`
    pub fn raise(
        &mut self,
        base: Value,
        exponent: Value,
        span: Span,
        base_span: Span,
        exponent_span: Span,
    ) -> R<Value> {
        let (Some(x), Some(y)) = (
            self.operand(&base, base_span)?,
            self.operand(&exponent, exponent_span)?,
        ) else {
            return Err(self.bad_operands("^", &base, &exponent, base_span, exponent_span));
        };
        match (x, y) {
            (Operand::Int(x), Operand::Int(y)) if y >= 0 => {
                match u32::try_from(y).ok().and_then(|y| x.checked_pow(y)) {
                    Some(v) => Ok(Value::Int(v)),
                    None => Err(self.overflow(span)),
                }
            }
            (Operand::Tensor(x), Operand::Int(2)) => {
                self.g.b.origin = Some(self.site(span));
                let x = self.float_tensor(x);
                self.push(&ops::MUL, &[x, x], vec![], span)
                    .map(Value::Tensor)
            }
            (Operand::Tensor(_), _) | (_, Operand::Tensor(_)) => {
                self.g.b.origin = Some(self.site(span));
                let (x, y) = self.pair(x, y, true, base_span, exponent_span)?;
                self.push(&ops::POW, &[x, y], vec![], span)
                    .map(Value::Tensor)
            }
            (x, y) => {
                let v = x.float().powf(y.float());
                if v.is_finite() {
                    return Ok(Value::Float(v));
                }
                Err(self.report(
                    Diagnostic::new(codes::E0112, "this power is not a finite number")
                        .label(span, format!("{} ^ {}", x.float(), y.float()))
                        .help("check the base and the exponent"),
                ))
            }
        }
    }

    pub fn compare(
        &mut self,
        op: CompareOp,
        a: Value,
        b: Value,
        span: Span,
        a_span: Span,
        b_span: Span,
    ) -> R<Value> {
        let equality = matches!(op, CompareOp::Eq | CompareOp::Ne);
        let (core_op, sign): (Op, &str) = match op {
            CompareOp::Eq => (&ops::EQ, "=="),
            CompareOp::Ne => (&ops::NE, "!="),
            CompareOp::Lt => (&ops::LT, "<"),
            CompareOp::Le => (&ops::LE, "<="),
            CompareOp::Gt => (&ops::GT, ">"),
            CompareOp::Ge => (&ops::GE, ">="),
        };
        if equality && let Some(same) = plain_equal(&a, &b) {
            return Ok(Value::Bool(same == (op == CompareOp::Eq)));
        }
        if let (Some(x), Some(y)) = (a.number(), b.number()) {
            return Ok(Value::Bool(match op {
                CompareOp::Eq => x == y,
                CompareOp::Ne => x != y,
                CompareOp::Lt => x < y,
                CompareOp::Le => x <= y,
                CompareOp::Gt => x > y,
                CompareOp::Ge => x >= y,
            }));
        }
        let (Some(x), Some(y)) = (self.operand(&a, a_span)?, self.operand(&b, b_span)?) else {
            return Err(self.bad_operands(sign, &a, &b, a_span, b_span));
        };
        self.g.b.origin = Some(self.site(span));
        let (x, y) = self.pair(x, y, false, a_span, b_span)?;
        self.push(core_op, &[x, y], vec![], span).map(Value::Tensor)
    }

    fn bad_operands(
        &mut self,
        sign: &str,
        a: &Value,
        b: &Value,
        a_span: Span,
        b_span: Span,
    ) -> Reported {
        let (left, right) = (self.describe(a), self.describe(b));
        let (wanted, help) = match sign {
            "@" => ("two tensors", "`*` multiplies numbers"),
            "and" | "or" => (
                "true, false or masks on both sides",
                "a comparison makes these: `x > 0`",
            ),
            "==" | "!=" => (
                "two values of one kind",
                "numbers, strings, truth values, lists of these, and tensors can be compared",
            ),
            _ => (
                "numbers or tensors on both sides",
                "numbers are written without quotes; networks are applied first: `f(x)`",
            ),
        };
        self.report(
            Diagnostic::new(codes::E0116, format!("`{sign}` needs {wanted}"))
                .label(a_span, format!("this is {left}"))
                .label(b_span, format!("this is {right}"))
                .help(help),
        )
    }
}

/// Equality of values that are no tensors, where they are of one kind.
fn plain_equal(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::Str(x), Value::Str(y)) => Some(x == y),
        (Value::Bool(x), Value::Bool(y)) => Some(x == y),
        (Value::List(x), Value::List(y)) => {
            let flat =
                |v: &Value| matches!(v, Value::Str(_) | Value::Bool(_)) || v.number().is_some();
            if !x.iter().chain(y.iter()).all(flat) {
                return None;
            }
            let same = |(x, y): (&Value, &Value)| match (x.number(), y.number()) {
                (Some(x), Some(y)) => x == y,
                _ => plain_equal(x, y) == Some(true),
            };
            Some(x.len() == y.len() && x.iter().zip(y.iter()).all(same))
        }
        _ => None,
    }
}
