//! Simplification: equal nodes become one, constants are folded, identities applied, dead nodes dropped. Linear time.
//!
//! - [`rules`]: identities of single ops. [`sums`]: taking what does not vary out of sums.
//!
//! What may change a value's bits, and nothing else does:
//! - constants are folded in f64 and rounded once, never to a number that f32 cannot hold;
//! - `x + 0` is `x` and `0 − x` is `−x`, which differ in the sign of a zero;
//! - `x^2` is `x·x`, `x^0.5` is `sqrt x`, `x^−1` is `1/x`;
//! - sums are reassociated as [`sums`] says.
//!
//! Invariant: the result computes every output of the graph, in the same order of outputs, and `stop_gradient` stays.

use super::builder::Builder;
use super::graph::{Attr, Attrs, DType, Graph, Node, ValueId};
use super::interp::{EvalCtx, Inputs, Tensor, eval_op};
use super::ops::{self, Class, Op};
use std::collections::HashMap;

pub mod rules;
pub mod sums;

/// How deep rules may call for one another before nodes are taken as they are: bounds time and stack.
const MAX_DEPTH: usize = 24;

/// The graph without what it does not need. The graph must be verified.
pub fn simplify(graph: &Graph) -> Graph {
    let mut rewriter = Rewriter::new();
    let mut renamed: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        rewriter.b.origin = node.origin;
        let args: Vec<ValueId> = node.args.iter().map(|a| renamed[a.index()]).collect();
        let v = rewriter.make(node.op, &args, node.attrs.clone());
        let new = &mut rewriter.b.graph.nodes[v.index()];
        if new.name.is_none() {
            new.name.clone_from(&node.name);
        }
        renamed.push(v);
    }
    let mut simpler = rewriter.b.graph;
    simpler.outputs = graph
        .outputs
        .iter()
        .map(|(name, id)| (name.clone(), renamed[id.index()]))
        .collect();
    without_dead_nodes(simpler)
}

/// The graph without the nodes that no output needs; the others keep their order.
pub fn without_dead_nodes(graph: Graph) -> Graph {
    let mut live = vec![false; graph.nodes.len()];
    for (_, id) in &graph.outputs {
        live[id.index()] = true;
    }
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if live[i] {
            node.args.iter().for_each(|a| live[a.index()] = true);
        }
    }
    let mut renamed = vec![ValueId(0); graph.nodes.len()];
    let mut nodes = Vec::new();
    for (i, mut node) in graph.nodes.into_iter().enumerate() {
        if live[i] {
            renamed[i] = ValueId(nodes.len() as u32);
            node.args.iter_mut().for_each(|a| *a = renamed[a.index()]);
            nodes.push(node);
        }
    }
    let rename = |(name, id): (String, ValueId)| (name, renamed[id.index()]);
    Graph {
        nodes,
        outputs: graph.outputs.into_iter().map(rename).collect(),
    }
}

/// A graph under construction in which no two nodes are equal.
pub struct Rewriter {
    pub(super) b: Builder,
    /// Only looked up, never iterated.
    table: HashMap<(&'static str, Vec<ValueId>, Attrs), ValueId>,
    rules: HashMap<&'static str, rules::Rule>,
    depth: usize,
}

impl Rewriter {
    fn new() -> Rewriter {
        Rewriter {
            b: Builder::new(),
            table: HashMap::new(),
            rules: rules::RULES
                .iter()
                .map(|(op, rule)| (op.name, *rule))
                .collect(),
            depth: 0,
        }
    }

    /// The value of an op, as simple as the rules make it.
    fn make(&mut self, op: Op, args: &[ValueId], attrs: Attrs) -> ValueId {
        let mut args = args.to_vec();
        if rules::COMMUTATIVE.contains(&op) {
            args.sort_unstable();
        }
        let key = (op.name, args, attrs);
        if let Some(v) = self.table.get(&key) {
            return *v;
        }
        let (_, args, attrs) = &key;
        let simpler = if self.depth < MAX_DEPTH {
            self.depth += 1;
            let simpler = self.rewrite(op, args, attrs);
            self.depth -= 1;
            simpler
        } else {
            None
        };
        let simpler = simpler.filter(|v| self.keeps_type(*v, op, args, attrs));
        let v = simpler.unwrap_or_else(|| match self.b.try_push_attrs(op, args, attrs.clone()) {
            Ok(v) => v,
            Err(e) => panic!("compiler bug: a rewrite made a wrong `{}`: {e}", op.name),
        });
        self.table.insert(key, v);
        v
    }

    /// Whether a value has the type of what it stands for: an identity must not let bf16 pass as f32.
    fn keeps_type(&self, v: ValueId, op: Op, args: &[ValueId], attrs: &Attrs) -> bool {
        let narrow = |v: ValueId| self.b.ty(v).dtype == DType::Bf16;
        if !narrow(v) && !args.iter().any(|a| narrow(*a)) {
            return true;
        }
        let types: Vec<_> = args.iter().map(|a| self.b.ty(*a)).collect();
        op.result_type(&types, attrs)
            .is_ok_and(|ty| ty == *self.b.ty(v))
    }

    fn rewrite(&mut self, op: Op, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
        let elementwise = op.class == Class::Elementwise;
        if elementwise && let Some(v) = self.fold(op, args, attrs) {
            return Some(v);
        }
        let rule = self.rules.get(op.name).copied();
        if let Some(v) = rule.and_then(|rule| rule(self, args, attrs)) {
            return Some(v);
        }
        if elementwise {
            return self.before_broadcast(op, args, attrs);
        }
        None
    }

    /// An elementwise op of constants.
    fn fold(&mut self, op: Op, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
        let values: Vec<Tensor> = args
            .iter()
            .map(|a| self.constant(*a).map(Tensor::scalar))
            .collect::<Option<_>>()?;
        let types: Vec<_> = args.iter().map(|a| self.b.ty(*a)).collect();
        let ty = op.result_type(&types, attrs).ok()?;
        let ctx = EvalCtx {
            args: &values.iter().collect::<Vec<_>>(),
            attrs,
            ty: &ty,
            inputs: &Inputs::new(),
        };
        let value = eval_op(&op.eval, &ctx).ok()?.data[0];
        let held = match ty.dtype {
            DType::F32 => {
                (value as f32).is_finite() && (value == 0.0 || (value as f32).is_normal())
            }
            // Numbers are f32.
            DType::Bf16 => false,
            DType::I32 => value.fract() == 0.0 && value.abs() <= 16_777_216.0,
            DType::Bool => true,
        };
        held.then(|| self.full(&ty.shape, value, ty.dtype))
    }

    /// An elementwise op of broadcasts along the same axes is a broadcast of the op: it works on fewer elements.
    /// Operands that are one value everywhere follow.
    fn before_broadcast(&mut self, op: Op, args: &[ValueId], attrs: &Attrs) -> Option<ValueId> {
        let (small, shape, dims) = args
            .iter()
            .filter_map(|a| self.broadcast_parts(*a))
            .max_by_key(|(_, _, dims)| dims.len())?;
        let small = self.b.shape(small);
        let mut operands = Vec::with_capacity(args.len());
        for arg in args {
            let operand = if let Some(value) = self.constant(*arg) {
                self.full(&small, value, self.b.ty(*arg).dtype)
            } else {
                match self.broadcast_parts(*arg)? {
                    (x, _, own) if own == dims => x,
                    (x, _, own) if own.is_empty() => self.broadcast(x, &small, &[]),
                    _ => return None,
                }
            };
            operands.push(operand);
        }
        let y = self.make(op, &operands, attrs.clone());
        Some(self.broadcast(y, &shape, &dims))
    }

    pub(super) fn node(&self, v: ValueId) -> &Node {
        self.b.graph.node(v)
    }

    /// The argument of a value that `op` made.
    fn arg_of(&self, v: ValueId, op: Op) -> Option<ValueId> {
        let node = self.node(v);
        node.is(op).then(|| node.args[0])
    }

    /// The value that a tensor has everywhere, if it is known.
    fn constant(&self, v: ValueId) -> Option<f64> {
        let node = self.node(v);
        node.is(&ops::CONSTANT).then(|| node.attrs.float("value"))
    }

    /// The argument, shape and dims of a broadcast.
    fn broadcast_parts(&self, v: ValueId) -> Option<(ValueId, Vec<usize>, Vec<usize>)> {
        let node = self.node(v);
        node.is(&ops::BROADCAST).then(|| {
            (
                node.args[0],
                node.ty.shape.clone(),
                node.attrs.sizes("dims"),
            )
        })
    }

    fn full(&mut self, shape: &[usize], value: f64, dtype: DType) -> ValueId {
        self.op(
            &ops::CONSTANT,
            &[],
            [
                ("value", value.into()),
                ("shape", shape.into()),
                ("dtype", dtype.into()),
            ],
        )
    }

    fn broadcast(&mut self, x: ValueId, shape: &[usize], dims: &[usize]) -> ValueId {
        self.op(
            &ops::BROADCAST,
            &[x],
            [("shape", shape.into()), ("dims", dims.into())],
        )
    }

    fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        self.op(&ops::RESHAPE, &[x], [("shape", shape.into())])
    }

    fn sum(&mut self, x: ValueId, axes: &[usize]) -> ValueId {
        self.op(&ops::SUM, &[x], [("axes", axes.into())])
    }

    fn unary(&mut self, op: Op, x: ValueId) -> ValueId {
        self.make(op, &[x], Attrs::default())
    }

    fn binary(&mut self, op: Op, a: ValueId, b: ValueId) -> ValueId {
        self.make(op, &[a, b], Attrs::default())
    }

    /// `x · factor`
    fn scaled(&mut self, x: ValueId, factor: f64) -> ValueId {
        let shape = self.b.shape(x);
        let factor = self.full(&shape, factor, DType::F32);
        self.binary(&ops::MUL, x, factor)
    }

    /// [`Rewriter::make`] with attributes in the order of the op's schema.
    fn op<const N: usize>(
        &mut self,
        op: Op,
        args: &[ValueId],
        attrs: [(&'static str, Attr); N],
    ) -> ValueId {
        self.make(op, args, Attrs(attrs.to_vec()))
    }
}
