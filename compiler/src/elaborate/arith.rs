//! Operators: numbers are computed, tensors become nodes. Broadcasting is NumPy's, with explicit `broadcast` nodes.

use super::Elab;
use super::values::{R, Reported, Value};
use crate::core::graph::{DType, MAX_RANK, ValueId};
use crate::core::ops::{self, Op};
use sslc_grammar::ast::{ChainOp, CompareOp, UnaryOp};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

/// A number or a tensor.
#[derive(Clone, Copy, Debug)]
pub enum Operand {
    Int(i64),
    Float(f64),
    Tensor(ValueId),
}

impl Operand {
    fn float(self) -> f64 {
        match self {
            Operand::Int(i) => i as f64,
            Operand::Float(f) => f,
            Operand::Tensor(_) => f64::NAN,
        }
    }
}

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
                let (sign, wanted) = match op {
                    UnaryOp::Neg => ("-", "a number or a tensor"),
                    UnaryOp::Not => ("not", "true, false or a mask"),
                };
                let is = self.describe(&value);
                Err(self.report(
                    Diagnostic::new(codes::E0116, format!("`{sign}` needs {wanted}"))
                        .label(operand, format!("this is {is}")),
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
        let wanted = match sign {
            "@" => "two tensors",
            "and" | "or" => "true, false or masks on both sides",
            "==" | "!=" => "two values of one kind",
            _ => "numbers or tensors on both sides",
        };
        self.report(
            Diagnostic::new(codes::E0116, format!("`{sign}` needs {wanted}"))
                .label(a_span, format!("this is {left}"))
                .label(b_span, format!("this is {right}")),
        )
    }

    /// Both operands as tensors of one element type and one shape. Whole numbers stay whole where the tensor is of
    /// indices; masks count as 0 and 1.
    pub fn pair(
        &mut self,
        x: Operand,
        y: Operand,
        real: bool,
        x_span: Span,
        y_span: Span,
    ) -> R<(ValueId, ValueId)> {
        let own = |el: &Self, o: Operand| match o {
            Operand::Int(_) => DType::I32,
            Operand::Float(_) => DType::F32,
            Operand::Tensor(v) => match el.g.b.ty(v).dtype {
                DType::Bool => DType::F32,
                other => other,
            },
        };
        let whole = !real && own(self, x) == DType::I32 && own(self, y) == DType::I32;
        let dtype = if whole { DType::I32 } else { DType::F32 };
        let x = self.typed(x, dtype);
        let y = self.typed(y, dtype);
        self.broadcast_pair(x, y, x_span, y_span)
    }

    fn typed(&mut self, operand: Operand, dtype: DType) -> ValueId {
        match operand {
            Operand::Tensor(v) => self.g.b.cast(v, dtype),
            number => self.constant(number.float(), dtype),
        }
    }

    /// The tensor as f32: masks and indices as numbers.
    pub fn float_tensor(&mut self, v: ValueId) -> ValueId {
        self.g.b.cast(v, DType::F32)
    }

    /// Both at their common shape by NumPy's rule: axes align at the end, size 1 repeats.
    pub fn broadcast_pair(
        &mut self,
        x: ValueId,
        y: ValueId,
        x_span: Span,
        y_span: Span,
    ) -> R<(ValueId, ValueId)> {
        let (sx, sy) = (self.g.b.shape(x), self.g.b.shape(y));
        if sx == sy {
            return Ok((x, y));
        }
        match common_shape(&sx, &sy) {
            Some(shape) => {
                self.check_size(&shape, x_span.to_if_same(y_span))?;
                Ok((
                    self.g.b.broadcast_to(x, &shape),
                    self.g.b.broadcast_to(y, &shape),
                ))
            }
            None => {
                let (tx, ty) = (self.g.b.ty(x).to_string(), self.g.b.ty(y).to_string());
                Err(self.report(
                    Diagnostic::new(
                        codes::E0201,
                        format!(
                            "the shapes {} and {} do not fit together",
                            dims(&sx),
                            dims(&sy)
                        ),
                    )
                    .label(x_span, format!("this is {tx}"))
                    .label(y_span, format!("this is {ty}"))
                    .help("axes align at the end; each pair must be equal, or one of the two 1"),
                ))
            }
        }
    }

    /// `a @ b`: rows by columns over the last two axes; leading axes are equal, or `b` has none.
    fn matrix_product(&mut self, a: ValueId, b: ValueId, a_span: Span, b_span: Span) -> R<ValueId> {
        let (a, b) = (self.float_tensor(a), self.float_tensor(b));
        let (sa, sb) = (self.g.b.shape(a), self.g.b.shape(b));
        let fail = |el: &mut Self, message: String, help: &str| {
            let (ta, tb) = (el.g.b.ty(a).to_string(), el.g.b.ty(b).to_string());
            el.report(
                Diagnostic::new(codes::E0202, message)
                    .label(a_span, format!("this is {ta}"))
                    .label(b_span, format!("this is {tb}"))
                    .help(help),
            )
        };
        let (ra, rb) = (sa.len(), sb.len());
        if ra < 2 || rb < 2 {
            return Err(fail(
                self,
                "`@` multiplies matrices".to_string(),
                "give both sides two axes with `reshape`, or write `sum(a * b)` for vectors",
            ));
        }
        if sa[ra - 1] != sb[rb - 2] {
            return Err(fail(
                self,
                format!("{} @ {} does not fit", dims(&sa), dims(&sb)),
                "the last axis of the left side must be as long as the rows of the right side; `.T` transposes",
            ));
        }
        if ra > 2 && rb == 2 {
            let rows: usize = sa[..ra - 1].iter().product();
            let flat = self.g.b.reshape(a, &[rows, sa[ra - 1]]);
            let y = self.matmul(flat, b, a_span.to_if_same(b_span))?;
            let mut shape = sa[..ra - 1].to_vec();
            shape.push(sb[1]);
            return Ok(self.g.b.reshape(y, &shape));
        }
        if sa[..ra - 2] != sb[..rb - 2] {
            return Err(fail(
                self,
                format!("{} @ {} does not fit", dims(&sa), dims(&sb)),
                "the leading axes must be equal",
            ));
        }
        self.matmul(a, b, a_span.to_if_same(b_span))
    }

    /// A matrix that is a transpose is read transposed.
    fn matmul(&mut self, a: ValueId, b: ValueId, span: Span) -> R<ValueId> {
        let (a, ta) = self.untranspose(a);
        let (b, tb) = self.untranspose(b);
        self.push(
            &ops::MATMUL,
            &[a, b],
            vec![("ta", ta.into()), ("tb", tb.into())],
            span,
        )
    }

    fn untranspose(&self, v: ValueId) -> (ValueId, bool) {
        let node = self.g.b.graph.node(v);
        if node.is(&ops::TRANSPOSE) && node.attrs.ints("perm") == [1, 0] {
            (node.args[0], true)
        } else {
            (v, false)
        }
    }
}

/// Spans of two operands joined where they are of one file.
pub trait Join {
    fn to_if_same(self, other: Span) -> Span;
}

impl Join for Span {
    fn to_if_same(self, other: Span) -> Span {
        if self.file == other.file {
            self.to(other)
        } else {
            self
        }
    }
}

/// `[8, 32]`
pub fn dims(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
    format!("[{}]", dims.join(", "))
}

/// NumPy's common shape.
pub fn common_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], i: usize| match (i + s.len()).checked_sub(rank) {
        Some(at) => s[at],
        None => 1,
    };
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
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
