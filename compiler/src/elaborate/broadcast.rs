//! Operands at one element type and one shape; matrix products. Broadcasting is NumPy's, with explicit `broadcast` nodes.

use super::Elab;
use super::values::R;
use crate::core::graph::{DType, ValueId};
use crate::core::ops::{self};
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
    pub fn float(self) -> f64 {
        match self {
            Operand::Int(i) => i as f64,
            Operand::Float(f) => f,
            Operand::Tensor(_) => f64::NAN,
        }
    }
}

impl<'a> Elab<'a> {
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

    pub fn typed(&mut self, operand: Operand, dtype: DType) -> ValueId {
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
    pub fn matrix_product(
        &mut self,
        a: ValueId,
        b: ValueId,
        a_span: Span,
        b_span: Span,
    ) -> R<ValueId> {
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
    pub fn matmul(&mut self, a: ValueId, b: ValueId, span: Span) -> R<ValueId> {
        let (a, ta) = self.untranspose(a);
        let (b, tb) = self.untranspose(b);
        self.push(
            &ops::MATMUL,
            &[a, b],
            vec![("ta", ta.into()), ("tb", tb.into())],
            span,
        )
    }

    pub fn untranspose(&self, v: ValueId) -> (ValueId, bool) {
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
