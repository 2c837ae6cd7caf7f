//! Parts of lists and tensors, and what shapes are built of: stacking, transposing, diagonals, limits.

use super::Elab;
use super::args::Args;
use super::broadcast::dims;
use super::values::{Bound, R, Reported, Value};
use crate::core::graph::{DType, Type, ValueId};
use crate::core::ops::{self, check_limits};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

impl Elab<'_> {
    /// Tensors of one shape along a new axis.
    pub fn stack(&mut self, parts: &[ValueId], axis: usize, span: Span) -> R<ValueId> {
        let shape = self.g.b.shape(parts[0]);
        if let Some(other) = parts.iter().find(|p| self.g.b.shape(**p) != shape) {
            let other = self.g.b.shape(*other);
            return Err(self.report(
                Diagnostic::new(
                    codes::E0210,
                    format!("{} and {} cannot be stacked", dims(&shape), dims(&other)),
                )
                .label(span, "stacked here")
                .help("all of them must have one shape"),
            ));
        }
        let mixed = parts
            .iter()
            .any(|p| self.g.b.ty(*p).dtype != self.g.b.ty(parts[0]).dtype);
        let mut wide = shape.clone();
        wide.insert(axis.min(shape.len()), 1);
        self.check_size(&wide, span)?;
        let mut rows = Vec::with_capacity(parts.len());
        for part in parts {
            let part = if mixed {
                self.float_tensor(*part)
            } else {
                *part
            };
            rows.push(self.g.b.reshape(part, &wide));
        }
        self.push(&ops::CONCAT, &rows, vec![("axis", axis.into())], span)
    }

    /// Rank and number of elements that a tensor may have.
    pub fn check_size(&mut self, shape: &[usize], span: Span) -> R<()> {
        match check_limits(&Type::f32(shape)) {
            Ok(()) => Ok(()),
            Err(message) => Err(self.report(
                Diagnostic::new(codes::E0205, message)
                    .label(span, "made here")
                    .help("make the batch or the sizes smaller"),
            )),
        }
    }

    /// `x.T`
    pub fn transposed(&mut self, value: Value, span: Span, before: Span) -> R<Value> {
        let Some(x) = self.as_tensor(&value, before)? else {
            let d = self
                .wrong_kind_diagnostic("a matrix", &value, before)
                .help("`.T` transposes tensors of two axes");
            return Err(self.report(d));
        };
        let shape = self.g.b.shape(x);
        if shape.len() != 2 {
            return Err(self.report(
                Diagnostic::new(
                    codes::E0204,
                    format!("`.T` transposes matrices, not {}", dims(&shape)),
                )
                .label(before, format!("this has {} axes", shape.len()))
                .help("`transpose(x, [0, 2, 1])` names the new order of the axes"),
            ));
        }
        self.g.b.origin = Some(self.site(span));
        Ok(Value::Tensor(self.g.b.transpose(x, &[1, 0])))
    }

    /// `x[i]`, `x[a..b]` of a list or along a tensor's first axis.
    pub fn index(
        &mut self,
        value: Value,
        index: Value,
        span: Span,
        base: Span,
        at: Span,
    ) -> R<Value> {
        let value = match value {
            Value::Range(..) => Value::list(self.items(&value, base)?),
            other => other,
        };
        let n = match &value {
            Value::List(items) => items.len(),
            Value::Tensor(v) => match self.g.b.ty(*v).shape.first() {
                Some(n) => *n,
                None => {
                    return Err(self.report(
                        Diagnostic::new(codes::E0204, "a scalar has no axis to index")
                            .label(base, "this is a tensor of shape []")
                            .help("leave the index out"),
                    ));
                }
            },
            other => {
                let d = self
                    .wrong_kind_diagnostic("a list or a tensor", other, base)
                    .label(at, "indexed here")
                    .help("leave the index out");
                return Err(self.report(d));
            }
        };
        if let (Value::Tensor(x), Value::Tensor(i)) = (&value, &index) {
            return self.gather(*x, *i, 0, span, at).map(Value::Tensor);
        }
        let (from, to, single) = match (&index, index.whole()) {
            (Value::Range(Bound::Int(a), Bound::Int(b)), _) => (*a, *b, false),
            (_, Some(i)) => (i, i + 1, true),
            _ => {
                let d = self
                    .wrong_kind_diagnostic("a whole number or a range of whole numbers", &index, at)
                    .help("write `x[0]`, `x[-1]` or `x[1..3]`");
                return Err(self.report(d));
            }
        };
        let len = n as i64;
        let wrap = |i: i64| if i < 0 { i + len } else { i };
        let (start, end) = if single {
            (wrap(from), wrap(from) + 1)
        } else {
            (wrap(from), wrap(to))
        };
        let empty_ok = matches!(value, Value::List(_)) && !single;
        if start < 0 || end > len || start > end || (start == end && !empty_ok) {
            let what = if single {
                format!("there is no index {from} in {n} elements")
            } else {
                format!("there is no part {from}..{to} in {n} elements")
            };
            return Err(self.report(
                Diagnostic::new(codes::E0113, what)
                    .label(at, format!("must lie in 0..{n}"))
                    .label(base, format!("this has {n} elements"))
                    .help("indices count from 0, negative ones from the end"),
            ));
        }
        let (start, end) = (start as usize, end as usize);
        match value {
            Value::List(items) => Ok(if single {
                items[start].clone()
            } else {
                Value::list(items[start..end].to_vec())
            }),
            Value::Tensor(x) => {
                self.g.b.origin = Some(self.site(span));
                let shape = self.g.b.shape(x);
                let (mut low, mut high) = (vec![0; shape.len()], shape.clone());
                (low[0], high[0]) = (start, end);
                let part = if low[0] == 0 && high[0] == shape[0] {
                    x
                } else {
                    self.g.b.slice(x, &low, &high)
                };
                Ok(Value::Tensor(if single {
                    self.g.b.reshape(part, &shape[1..])
                } else {
                    part
                }))
            }
            _ => Err(Reported),
        }
    }

    /// Entries at a vector of indices.
    pub fn gather(
        &mut self,
        x: ValueId,
        index: ValueId,
        axis: usize,
        span: Span,
        at: Span,
    ) -> R<ValueId> {
        let ty = self.g.b.ty(index).clone();
        if ty.dtype != DType::I32 || ty.rank() != 1 {
            return Err(self.report(
                Diagnostic::new(codes::E0209, "indices are a vector of whole numbers")
                    .label(at, format!("this is {ty}"))
                    .help("`labels`, `iota(n)` and `argmax(x, axis: -1)` are such vectors"),
            ));
        }
        self.g.b.origin = Some(self.site(span));
        self.push(&ops::TAKE, &[x, index], vec![("axis", axis.into())], span)
    }

    pub fn matrix_side(&mut self, args: &Args, c: ValueId) -> R<usize> {
        let shape = self.g.b.shape(c);
        match shape[..] {
            [n, m] if n == m => Ok(n),
            _ => {
                let span = args.span_of("c");
                Err(self.report(
                    Diagnostic::new(
                        codes::E0204,
                        format!(
                            "`{}` takes a square matrix, not {}",
                            args.builtin.name,
                            dims(&shape)
                        ),
                    )
                    .label(span, format!("this has shape {}", dims(&shape)))
                    .help("both axes must have one size"),
                ))
            }
        }
    }

    /// The mask of the diagonal.
    pub fn diagonal(&mut self, n: usize, span: Span) -> R<ValueId> {
        self.check_size(&[n, n], span)?;
        let rows = self.g.b.iota(&[n, n], 0);
        let columns = self.g.b.iota(&[n, n], 1);
        Ok(self.g.b.eq(rows, columns))
    }
}
