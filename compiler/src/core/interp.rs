//! A naive interpreter in f64: what the ops mean, for tests and constant folding.

use super::graph::{Attrs, Graph, Type};
use super::ops::Eval;
use std::collections::BTreeMap;

/// A dense, row-major tensor of any element type: indices are whole numbers, masks 0 or 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Tensor {
    pub fn full(shape: &[usize], value: f64) -> Tensor {
        Tensor {
            shape: shape.to_vec(),
            data: vec![value; shape.iter().product()],
        }
    }

    pub fn scalar(value: f64) -> Tensor {
        Tensor::full(&[], value)
    }

    /// A tensor from a function of the index.
    pub fn from_fn(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Tensor {
        let mut data = Vec::with_capacity(shape.iter().product());
        let mut index = vec![0; shape.len()];
        if !shape.contains(&0) {
            loop {
                data.push(f(&index));
                if !advance(&mut index, shape) {
                    break;
                }
            }
        }
        Tensor {
            shape: shape.to_vec(),
            data,
        }
    }

    /// The element at an index of the tensor's rank.
    pub fn at(&self, index: &[usize]) -> f64 {
        self.data[self.offset(index)]
    }

    pub fn offset(&self, index: &[usize]) -> usize {
        index
            .iter()
            .zip(&self.shape)
            .fold(0, |offset, (i, d)| offset * d + i)
    }
}

/// The next index in row-major order; false after the last.
pub fn advance(index: &mut [usize], shape: &[usize]) -> bool {
    for (i, d) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < *d {
            return true;
        }
        *i = 0;
    }
    false
}

/// Values from outside, by name: `view/x1`, `labels`, `param/f.conv1.weight`, `buffer/…`, `state/…`, `schedule/lr`, `step`.
pub type Inputs = BTreeMap<String, Tensor>;

/// What an op's evaluation sees.
pub struct EvalCtx<'a> {
    pub args: &'a [&'a Tensor],
    pub attrs: &'a Attrs,
    /// The type of the result.
    pub ty: &'a Type,
    pub inputs: &'a Inputs,
}

/// The values of all nodes of a verified graph, in order. Fails where an input is missing or has another shape.
pub fn eval_all(graph: &Graph, inputs: &Inputs) -> Result<Vec<Tensor>, String> {
    let mut values: Vec<Tensor> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let args: Vec<&Tensor> = node.args.iter().map(|a| &values[a.index()]).collect();
        let ctx = EvalCtx {
            args: &args,
            attrs: &node.attrs,
            ty: &node.ty,
            inputs,
        };
        let value = eval_op(&node.op.eval, &ctx)?;
        if value.shape != node.ty.shape {
            return Err(format!(
                "`{}` gave a value of shape {:?} where {} stands",
                node.op.name, value.shape, node.ty
            ));
        }
        values.push(value);
    }
    Ok(values)
}

/// The outputs of a verified graph, by name.
pub fn eval_outputs(graph: &Graph, inputs: &Inputs) -> Result<BTreeMap<String, Tensor>, String> {
    let values = eval_all(graph, inputs)?;
    Ok(graph
        .outputs
        .iter()
        .map(|(name, id)| (name.clone(), values[id.index()].clone()))
        .collect())
}

/// The value of one op.
pub fn eval_op(eval: &Eval, ctx: &EvalCtx) -> Result<Tensor, String> {
    match eval {
        Eval::Unary(f) => {
            let data = ctx.args[0].data.iter().map(|x| f(*x)).collect();
            Ok(with_shape(ctx.args[0], data))
        }
        Eval::Binary(f) => {
            let (a, b) = (ctx.args[0], ctx.args[1]);
            let data = a.data.iter().zip(&b.data).map(|(a, b)| f(*a, *b)).collect();
            Ok(with_shape(a, data))
        }
        Eval::Ternary(f) => {
            let (a, b, c) = (ctx.args[0], ctx.args[1], ctx.args[2]);
            let data = a
                .data
                .iter()
                .zip(&b.data)
                .zip(&c.data)
                .map(|((a, b), c)| f(*a, *b, *c))
                .collect();
            Ok(with_shape(a, data))
        }
        Eval::General(f) => f(ctx),
    }
}

fn with_shape(like: &Tensor, data: Vec<f64>) -> Tensor {
    Tensor {
        shape: like.shape.clone(),
        data,
    }
}
