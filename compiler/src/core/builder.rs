//! Building graphs node by node.
//!
//! [`Builder::try_push`] serves what a spec wrote: a wrong shape is a [`ShapeError`] for the person. Everything else is
//! for nodes the compiler makes itself (gradients, optimizers): there a wrong shape is a mistake of the compiler.

use super::graph::{Attr, Attrs, DType, Graph, Node, Type, ValueId};
use super::ops::{self, Op, ShapeError};
use sslc_grammar::span::Span;

/// A graph under construction.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    pub graph: Graph,
    /// Given to every node pushed from now on.
    pub origin: Option<Span>,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Goes on building where a graph ends.
    pub fn from_graph(graph: Graph) -> Builder {
        Builder {
            graph,
            origin: None,
        }
    }

    /// Adds a node, or says in one sentence why its arguments do not fit.
    pub fn try_push(
        &mut self,
        op: Op,
        args: &[ValueId],
        attrs: Vec<(&'static str, Attr)>,
    ) -> Result<ValueId, ShapeError> {
        let attrs = op.check_attrs(attrs)?;
        self.try_push_attrs(op, args, attrs)
    }

    /// [`Builder::try_push`] with attributes already in the order of the schema, as those of another node are.
    pub fn try_push_attrs(
        &mut self,
        op: Op,
        args: &[ValueId],
        attrs: Attrs,
    ) -> Result<ValueId, ShapeError> {
        let types: Vec<&Type> = args.iter().map(|a| self.graph.ty(*a)).collect();
        let ty = op.result_type(&types, &attrs)?;
        let id = ValueId(self.graph.nodes.len() as u32);
        self.graph.nodes.push(Node {
            op,
            attrs,
            args: args.to_vec(),
            ty,
            name: None,
            origin: self.origin,
        });
        Ok(id)
    }

    /// Adds a node that the compiler makes; one whose arguments do not fit is a mistake of the compiler.
    pub fn push(&mut self, op: Op, args: &[ValueId], attrs: Vec<(&'static str, Attr)>) -> ValueId {
        match self.try_push(op, args, attrs) {
            Ok(id) => id,
            Err(e) => self.bug(op, args, &e),
        }
    }

    /// [`Builder::push`] with attributes already in the order of the schema.
    pub fn push_attrs(&mut self, op: Op, args: &[ValueId], attrs: Attrs) -> ValueId {
        match self.try_push_attrs(op, args, attrs) {
            Ok(id) => id,
            Err(e) => self.bug(op, args, &e),
        }
    }

    fn bug(&self, op: Op, args: &[ValueId], e: &ShapeError) -> ! {
        let types: Vec<String> = args.iter().map(|a| self.ty(*a).to_string()).collect();
        panic!("compiler bug: {} of ({}): {e}", op.name, types.join(", "))
    }

    pub fn ty(&self, v: ValueId) -> &Type {
        self.graph.ty(v)
    }

    pub fn shape(&self, v: ValueId) -> Vec<usize> {
        self.ty(v).shape.clone()
    }

    /// Gives a value a name for people, and returns the value.
    pub fn name(&mut self, v: ValueId, name: impl Into<String>) -> ValueId {
        self.graph.nodes[v.index()].name = Some(name.into());
        v
    }

    /// Makes a value a result of the graph.
    pub fn output(&mut self, name: impl Into<String>, v: ValueId) {
        self.graph.outputs.push((name.into(), v));
    }

    /// A constant f32 of shape [].
    pub fn scalar(&mut self, value: f64) -> ValueId {
        self.full(&Type::f32(&[]), value)
    }

    /// A tensor with one value everywhere; masks are 0 or 1.
    pub fn full(&mut self, ty: &Type, value: f64) -> ValueId {
        self.push(
            &ops::CONSTANT,
            &[],
            vec![
                ("value", value.into()),
                ("shape", ty.shape.as_slice().into()),
                ("dtype", ty.dtype.into()),
            ],
        )
    }

    /// The index along `axis`, i32.
    pub fn iota(&mut self, shape: &[usize], axis: usize) -> ValueId {
        self.push(
            &ops::IOTA,
            &[],
            vec![("shape", shape.into()), ("axis", axis.into())],
        )
    }

    /// A parameter, f32.
    pub fn param(&mut self, path: &str, shape: &[usize]) -> ValueId {
        self.push(
            &ops::PARAM,
            &[],
            vec![("path", path.into()), ("shape", shape.into())],
        )
    }

    /// A buffer (running statistics), f32.
    pub fn buffer(&mut self, path: &str, shape: &[usize]) -> ValueId {
        self.push(
            &ops::BUFFER,
            &[],
            vec![("path", path.into()), ("shape", shape.into())],
        )
    }

    /// State kept from step to step (optimizer moments, accumulators), f32.
    pub fn state(&mut self, path: &str, shape: &[usize]) -> ValueId {
        self.push(
            &ops::STATE,
            &[],
            vec![("path", path.into()), ("shape", shape.into())],
        )
    }

    /// A number the host computes for each step, f32[].
    pub fn schedule(&mut self, name: &str) -> ValueId {
        self.push(&ops::SCHEDULE, &[], vec![("name", name.into())])
    }

    /// The number of optimizer steps done, i32[].
    pub fn step(&mut self) -> ValueId {
        self.push(&ops::STEP, &[], vec![])
    }

    /// An elementwise op of one argument without attributes.
    pub fn unary(&mut self, op: Op, x: ValueId) -> ValueId {
        self.push(op, &[x], vec![])
    }

    /// An elementwise op of two arguments without attributes; an operand of shape [] is broadcast to the other.
    pub fn binary(&mut self, op: Op, a: ValueId, b: ValueId) -> ValueId {
        let (a, b) = self.same_shape(a, b);
        self.push(op, &[a, b], vec![])
    }

    pub fn neg(&mut self, x: ValueId) -> ValueId {
        self.unary(&ops::NEG, x)
    }

    pub fn exp(&mut self, x: ValueId) -> ValueId {
        self.unary(&ops::EXP, x)
    }

    pub fn sqrt(&mut self, x: ValueId) -> ValueId {
        self.unary(&ops::SQRT, x)
    }

    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::ADD, a, b)
    }

    pub fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::SUB, a, b)
    }

    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::MUL, a, b)
    }

    pub fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::DIV, a, b)
    }

    pub fn pow(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::POW, a, b)
    }

    pub fn maximum(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::MAXIMUM, a, b)
    }

    pub fn minimum(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::MINIMUM, a, b)
    }

    pub fn gt(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::GT, a, b)
    }

    pub fn lt(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::LT, a, b)
    }

    pub fn eq(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(&ops::EQ, a, b)
    }

    /// `x · factor`
    pub fn scale(&mut self, x: ValueId, factor: f64) -> ValueId {
        let c = self.scalar(factor);
        self.mul(x, c)
    }

    /// `x + term`
    pub fn offset(&mut self, x: ValueId, term: f64) -> ValueId {
        let c = self.scalar(term);
        self.add(x, c)
    }

    /// `a` where `cond` holds, else `b`; operands of shape [] are broadcast.
    pub fn select(&mut self, cond: ValueId, a: ValueId, b: ValueId) -> ValueId {
        let shape = [cond, a, b]
            .into_iter()
            .map(|v| self.shape(v))
            .max_by_key(|s| s.len())
            .unwrap_or_default();
        let args = [cond, a, b].map(|v| self.spread(v, &shape));
        self.push(&ops::SELECT, &args, vec![])
    }

    pub fn cast(&mut self, x: ValueId, dtype: DType) -> ValueId {
        if self.ty(x).dtype == dtype {
            return x;
        }
        self.push(&ops::CAST, &[x], vec![("dtype", dtype.into())])
    }

    /// `x` rounded to bf16, unless it is; `gradient` says whether its gradient is rounded as well.
    pub fn to_bf16(&mut self, x: ValueId, gradient: bool) -> ValueId {
        if self.ty(x).dtype == DType::Bf16 {
            return x;
        }
        self.push(&ops::TO_BF16, &[x], vec![("gradient", gradient.into())])
    }

    pub fn stop_gradient(&mut self, x: ValueId) -> ValueId {
        self.unary(&ops::STOP_GRADIENT, x)
    }

    /// Repeats `x` along new axes: axis i of `x` becomes axis `dims[i]` of the result, whose shape is `shape`.
    pub fn broadcast(&mut self, x: ValueId, shape: &[usize], dims: &[usize]) -> ValueId {
        if self.ty(x).shape == shape {
            return x;
        }
        self.push(
            &ops::BROADCAST,
            &[x],
            vec![("shape", shape.into()), ("dims", dims.into())],
        )
    }

    /// NumPy's broadcasting of `x` to `shape`: axes align at the end, size 1 repeats.
    pub fn broadcast_to(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let own = self.shape(x);
        if own == shape {
            return x;
        }
        let lead = shape.len().saturating_sub(own.len());
        let dims: Vec<usize> = (0..own.len())
            .filter(|i| own[*i] != 1 || shape.get(lead + i) == Some(&1))
            .map(|i| lead + i)
            .collect();
        let kept: Vec<usize> = dims.iter().map(|d| own[d - lead]).collect();
        let x = self.reshape(x, &kept);
        self.broadcast(x, shape, &dims)
    }

    pub fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        if self.ty(x).shape == shape {
            return x;
        }
        self.push(&ops::RESHAPE, &[x], vec![("shape", shape.into())])
    }

    /// Axis i of the result is axis `perm[i]` of `x`.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        if perm.iter().enumerate().all(|(i, p)| i == *p) {
            return x;
        }
        self.push(&ops::TRANSPOSE, &[x], vec![("perm", perm.into())])
    }

    /// `start..end` of each axis.
    pub fn slice(&mut self, x: ValueId, start: &[usize], end: &[usize]) -> ValueId {
        self.push(
            &ops::SLICE,
            &[x],
            vec![("start", start.into()), ("end", end.into())],
        )
    }

    /// Zeros before and after each axis.
    pub fn pad(&mut self, x: ValueId, low: &[usize], high: &[usize]) -> ValueId {
        self.push(
            &ops::PAD,
            &[x],
            vec![("low", low.into()), ("high", high.into())],
        )
    }

    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> ValueId {
        self.push(&ops::CONCAT, parts, vec![("axis", axis.into())])
    }

    /// The sum over `axes`, which disappear; `x` itself where there are none.
    pub fn sum(&mut self, x: ValueId, axes: &[usize]) -> ValueId {
        self.reduce(&ops::SUM, x, axes)
    }

    /// The sum over every axis, f32[].
    pub fn sum_all(&mut self, x: ValueId) -> ValueId {
        let axes: Vec<usize> = (0..self.ty(x).rank()).collect();
        self.sum(x, &axes)
    }

    /// The mean over `axes`, which disappear: the sum times 1/n.
    pub fn mean(&mut self, x: ValueId, axes: &[usize]) -> ValueId {
        let n: usize = axes.iter().map(|a| self.ty(x).shape[*a]).product();
        let sum = self.sum(x, axes);
        self.scale(sum, 1.0 / n as f64)
    }

    pub fn max(&mut self, x: ValueId, axes: &[usize]) -> ValueId {
        self.reduce(&ops::MAX, x, axes)
    }

    pub fn min(&mut self, x: ValueId, axes: &[usize]) -> ValueId {
        self.reduce(&ops::MIN, x, axes)
    }

    fn reduce(&mut self, op: Op, x: ValueId, axes: &[usize]) -> ValueId {
        if axes.is_empty() {
            return x;
        }
        self.push(op, &[x], vec![("axes", axes.into())])
    }

    /// The mean of (x − mean)² over `axes`; `mean` is that of `x` over the same axes.
    pub fn variance(&mut self, x: ValueId, mean: ValueId, axes: &[usize]) -> ValueId {
        self.push(&ops::VARIANCE, &[x, mean], vec![("axes", axes.into())])
    }

    /// Undoes a reduction over `axes`: repeats `x` to `shape`, whose other axes are those of `x` in order.
    pub fn unreduce(&mut self, x: ValueId, shape: &[usize], axes: &[usize]) -> ValueId {
        let dims: Vec<usize> = (0..shape.len()).filter(|d| !axes.contains(d)).collect();
        self.broadcast(x, shape, &dims)
    }

    /// The product of `a` (transposed if `ta`) and `b` (transposed if `tb`), over equal leading axes.
    pub fn matmul(&mut self, a: ValueId, b: ValueId, ta: bool, tb: bool) -> ValueId {
        self.push(
            &ops::MATMUL,
            &[a, b],
            vec![("ta", ta.into()), ("tb", tb.into())],
        )
    }

    fn same_shape(&mut self, a: ValueId, b: ValueId) -> (ValueId, ValueId) {
        let (sa, sb) = (self.shape(a), self.shape(b));
        if sa.is_empty() {
            (self.spread(a, &sb), b)
        } else {
            (a, self.spread(b, &sa))
        }
    }

    /// A value of shape [] repeated to `shape`; others are left as they are.
    fn spread(&mut self, v: ValueId, shape: &[usize]) -> ValueId {
        if self.ty(v).rank() == 0 {
            self.broadcast(v, shape, &[])
        } else {
            v
        }
    }
}
