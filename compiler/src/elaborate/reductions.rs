//! Reductions over axes, and functions composed of them.

use super::Elab;
use super::args::Args;
use super::broadcast::dims;
use super::tensors::index_tensor;
use super::values::{R, Value};
use crate::core::graph::ValueId;
use crate::core::ops::{self, Op};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

/// `sum`, `max`, `min`: a reduction of the registry.
pub fn reduction(el: &mut Elab<'_>, args: &Args, op: Op) -> R<Value> {
    if args.get("axis").is_none()
        && let Some(numbers) = numbers(args)
    {
        let fold = match op.name {
            "max" => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "min" => numbers.iter().copied().fold(f64::INFINITY, f64::min),
            _ => numbers.iter().sum(),
        };
        return whole_or_float(args, fold);
    }
    let r = Reduced::read(el, args)?;
    let y = r.reduce(el, op, r.x)?;
    Ok(Value::Tensor(r.keep(el, y)))
}

/// The elements of a non-empty list of numbers.
fn numbers(args: &Args) -> Option<Vec<f64>> {
    match args.get("x") {
        Some((Value::List(items), _)) if !items.is_empty() => {
            items.iter().map(Value::number).collect()
        }
        _ => None,
    }
}

fn whole_or_float(args: &Args, v: f64) -> R<Value> {
    let whole = match args.get("x") {
        Some((Value::List(items), _)) => items.iter().all(|i| matches!(i, Value::Int(_))),
        _ => false,
    };
    if whole && v.abs() < 9e15 {
        return Ok(Value::Int(v as i64));
    }
    Ok(Value::Float(v))
}

/// The arguments that every reduction takes.
struct Reduced {
    x: ValueId,
    axes: Vec<usize>,
    keep: bool,
    shape: Vec<usize>,
    span: Span,
}

impl Reduced {
    fn read(el: &mut Elab<'_>, args: &Args) -> R<Reduced> {
        let x = args.tensor(el, "x");
        let keep = args.flag(el, "keep", false);
        let x = x?;
        let x = el.float_tensor(x);
        let shape = el.g.b.shape(x);
        let axes = match axes(el, args, &shape)? {
            Some(axes) => axes,
            None => (0..shape.len()).collect(),
        };
        Ok(Reduced {
            x,
            axes,
            keep: keep?,
            shape,
            span: args.span,
        })
    }

    fn reduce(&self, el: &mut Elab<'_>, op: Op, x: ValueId) -> R<ValueId> {
        if self.axes.is_empty() {
            return Ok(x);
        }
        el.push(
            op,
            &[x],
            vec![("axes", self.axes.as_slice().into())],
            self.span,
        )
    }

    /// The number of elements reduced to one.
    fn count(&self) -> usize {
        self.axes.iter().map(|a| self.shape[*a]).product()
    }

    fn mean(&self, el: &mut Elab<'_>) -> R<ValueId> {
        let sum = self.reduce(el, &ops::SUM, self.x)?;
        Ok(el.g.b.scale(sum, 1.0 / self.count() as f64))
    }

    fn variance(&self, el: &mut Elab<'_>) -> R<ValueId> {
        let mean = self.mean(el)?;
        if self.axes.is_empty() {
            return Ok(el.g.b.sub(self.x, mean));
        }
        Ok(el.g.b.variance(self.x, mean, &self.axes))
    }

    /// A reduced value repeated to the shape before.
    fn back(&self, el: &mut Elab<'_>, y: ValueId) -> ValueId {
        el.g.b.unreduce(y, &self.shape, &self.axes)
    }

    /// With `keep`, the reduced axes stay as 1.
    fn keep(&self, el: &mut Elab<'_>, y: ValueId) -> ValueId {
        if !self.keep {
            return y;
        }
        let kept: Vec<usize> = (0..self.shape.len())
            .map(|i| {
                if self.axes.contains(&i) {
                    1
                } else {
                    self.shape[i]
                }
            })
            .collect();
        el.g.b.reshape(y, &kept)
    }

    /// x − max x, the maximum without gradient; and that maximum.
    fn shifted(&self, el: &mut Elab<'_>) -> R<(ValueId, ValueId)> {
        let max = self.reduce(el, &ops::MAX, self.x)?;
        let max = el.g.b.stop_gradient(max);
        let wide = self.back(el, max);
        Ok((el.g.b.sub(self.x, wide), max))
    }

    fn norm(&self, el: &mut Elab<'_>) -> R<ValueId> {
        let square = el.g.b.mul(self.x, self.x);
        let sum = self.reduce(el, &ops::SUM, square)?;
        Ok(el.g.b.unary(&ops::SQRT_SAFE, sum))
    }
}

/// The `axis:` argument as ascending axes of a tensor; `None` where it is absent.
pub fn axes(el: &mut Elab<'_>, args: &Args, shape: &[usize]) -> R<Option<Vec<usize>>> {
    let Some((value, span)) = args.get("axis") else {
        return Ok(None);
    };
    let wanted: Option<Vec<i64>> = match value {
        Value::List(items) => items.iter().map(Value::whole).collect(),
        other => other.whole().map(|v| vec![v]),
    };
    let Some(wanted) = wanted else {
        return Err(args.wrong(el, "axis", "a whole number or a list of them", value, *span));
    };
    let mut axes = Vec::with_capacity(wanted.len());
    for axis in wanted {
        let axis = el.axis(axis, shape, *span)?;
        if axes.contains(&axis) {
            return Err(el.report(
                Diagnostic::new(codes::E0203, format!("axis {axis} is listed twice"))
                    .label(*span, "each axis once")
                    .help("negative axes count from the end"),
            ));
        }
        axes.push(axis);
    }
    axes.sort_unstable();
    Ok(Some(axes))
}

/// One axis, with a default.
pub fn one_axis(el: &mut Elab<'_>, args: &Args, shape: &[usize], default: i64) -> R<usize> {
    let span = args.span_of("axis");
    let axis = args.int(el, "axis")?.unwrap_or(default);
    el.axis(axis, shape, span)
}

impl Elab<'_> {
    /// An axis counted from 0, negative ones from the end.
    pub fn axis(&mut self, axis: i64, shape: &[usize], span: Span) -> R<usize> {
        let rank = shape.len() as i64;
        let at = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&at) {
            return Ok(at as usize);
        }
        Err(self.report(
            Diagnostic::new(
                codes::E0203,
                format!(
                    "there is no axis {axis} in a tensor of shape {}",
                    dims(shape)
                ),
            )
            .label(span, format!("axes are 0 to {}", (rank - 1).max(0)))
            .help("axes count from 0, negative ones from the end"),
        ))
    }
}

pub fn mean(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    if args.get("axis").is_none()
        && let Some(numbers) = numbers(args)
    {
        return Ok(Value::Float(
            numbers.iter().sum::<f64>() / numbers.len() as f64,
        ));
    }
    let r = Reduced::read(el, args)?;
    let y = r.mean(el)?;
    Ok(Value::Tensor(r.keep(el, y)))
}

fn unbiased(el: &mut Elab<'_>, args: &Args, r: &Reduced) -> R<ValueId> {
    let unbiased = args.flag(el, "unbiased", false)?;
    let var = r.variance(el)?;
    if !unbiased {
        return Ok(var);
    }
    let n = r.count();
    if n < 2 {
        return Err(el.report(
            Diagnostic::new(
                codes::E0110,
                format!(
                    "`{}` with `unbiased: true` needs two values or more",
                    args.builtin.name
                ),
            )
            .label(args.span, "over one value here")
            .help("leave `unbiased` out"),
        ));
    }
    Ok(el.g.b.scale(var, n as f64 / (n as f64 - 1.0)))
}

pub fn var(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = Reduced::read(el, args)?;
    let y = unbiased(el, args, &r)?;
    Ok(Value::Tensor(r.keep(el, y)))
}

pub fn std(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = Reduced::read(el, args)?;
    let y = unbiased(el, args, &r)?;
    let y = el.g.b.unary(&ops::SQRT_SAFE, y);
    Ok(Value::Tensor(r.keep(el, y)))
}

pub fn logsumexp(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = Reduced::read(el, args)?;
    let y = log_sum_exp(el, &r)?;
    Ok(Value::Tensor(r.keep(el, y)))
}

fn log_sum_exp(el: &mut Elab<'_>, r: &Reduced) -> R<ValueId> {
    let (shifted, max) = r.shifted(el)?;
    let e = el.g.b.exp(shifted);
    let sum = r.reduce(el, &ops::SUM, e)?;
    let log = el.g.b.unary(&ops::LOG, sum);
    Ok(el.g.b.add(log, max))
}

pub fn argmax(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = Reduced::read(el, args)?;
    let (x, axis) = match r.axes[..] {
        [axis] => (r.x, axis),
        _ if r.axes.len() == r.shape.len() => {
            let all = r.shape.iter().product();
            (el.g.b.reshape(r.x, &[all]), 0)
        }
        _ => {
            let span = args.span_of("axis");
            return Err(el.report(
                Diagnostic::new(codes::E0203, "`argmax` searches one axis, or all of them")
                    .label(span, "several axes")
                    .help("give one axis, or none for the position among all elements"),
            ));
        }
    };
    let y = el.push(&ops::ARGMAX, &[x], vec![("axis", axis.into())], args.span)?;
    Ok(Value::Tensor(r.keep(el, y)))
}

pub fn norm(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = Reduced::read(el, args)?;
    let y = r.norm(el)?;
    Ok(Value::Tensor(r.keep(el, y)))
}

/// A reduction over the `axis:` argument, or over `default`.
fn over(el: &mut Elab<'_>, args: &Args, name: &str, default: i64) -> R<Reduced> {
    let x = args.tensor(el, name)?;
    let x = el.float_tensor(x);
    let shape = el.g.b.shape(x);
    let axes = match axes(el, args, &shape)? {
        Some(axes) => axes,
        None => {
            let span = args.span_of(name);
            vec![el.axis(default, &shape, span)?]
        }
    };
    Ok(Reduced {
        x,
        axes,
        keep: false,
        shape,
        span: args.span,
    })
}

pub fn softmax(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = over(el, args, "x", -1)?;
    let (shifted, _) = r.shifted(el)?;
    let e = el.g.b.exp(shifted);
    let sum = r.reduce(el, &ops::SUM, e)?;
    let sum = r.back(el, sum);
    Ok(Value::Tensor(el.g.b.div(e, sum)))
}

pub fn log_softmax(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = over(el, args, "x", -1)?;
    let (shifted, _) = r.shifted(el)?;
    let e = el.g.b.exp(shifted);
    let sum = r.reduce(el, &ops::SUM, e)?;
    let log = el.g.b.unary(&ops::LOG, sum);
    let log = r.back(el, log);
    Ok(Value::Tensor(el.g.b.sub(shifted, log)))
}

pub fn l2_normalize(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = over(el, args, "x", -1)?;
    let eps = args
        .float_in(el, "eps", |v| v >= 0.0, "0 or more")?
        .unwrap_or(1e-12);
    let norm = r.norm(el)?;
    let norm = at_least(el, norm, eps);
    let norm = r.back(el, norm);
    Ok(Value::Tensor(el.g.b.div(r.x, norm)))
}

fn at_least(el: &mut Elab<'_>, x: ValueId, least: f64) -> ValueId {
    let least = el.g.b.scalar(least);
    el.g.b.maximum(x, least)
}

pub fn cosine_similarity(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let eps = args
        .float_in(el, "eps", |v| v >= 0.0, "0 or more")?
        .unwrap_or(1e-8);
    let a = args.tensor(el, "a");
    let b = args.tensor(el, "b");
    let (a, b) = (a?, b?);
    let (a, b) = (el.float_tensor(a), el.float_tensor(b));
    let (a_span, b_span) = (args.span_of("a"), args.span_of("b"));
    let (a, b) = el.broadcast_pair(a, b, a_span, b_span)?;
    let shape = el.g.b.shape(a);
    if shape.is_empty() {
        el.axis(-1, &shape, a_span)?;
    }
    let over = |x| Reduced {
        x,
        axes: vec![shape.len() - 1],
        keep: false,
        shape: shape.clone(),
        span: args.span,
    };
    let norm_a = over(a).norm(el)?;
    let norm_a = at_least(el, norm_a, eps);
    let norm_b = over(b).norm(el)?;
    let norm_b = at_least(el, norm_b, eps);
    let product = el.g.b.mul(a, b);
    let dot = over(product).reduce(el, &ops::SUM, product)?;
    let norms = el.g.b.mul(norm_a, norm_b);
    Ok(Value::Tensor(el.g.b.div(dot, norms)))
}

pub fn standardize(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let r = over(el, args, "x", 0)?;
    let eps = args
        .float_in(el, "eps", |v| v >= 0.0, "0 or more")?
        .unwrap_or(1e-5);
    let mean = r.mean(el)?;
    let var = r.variance(el)?;
    let spread = el.g.b.offset(var, eps);
    let spread = el.g.b.sqrt(spread);
    let mean = r.back(el, mean);
    let spread = r.back(el, spread);
    let centred = el.g.b.sub(r.x, mean);
    Ok(Value::Tensor(el.g.b.div(centred, spread)))
}

pub fn cross_entropy(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let logits = args.tensor(el, "logits");
    let index = index_tensor(el, args, "index");
    let (logits, index) = (logits?, index?);
    let logits = el.float_tensor(logits);
    let (shape, rows) = (el.g.b.shape(logits), el.g.b.shape(index));
    if shape.len() < 2 || shape[..shape.len() - 1] != rows[..] {
        return Err(el.report(
            Diagnostic::new(
                codes::E0201,
                "`cross_entropy` takes one index for each row of logits",
            )
            .label(
                args.span_of("logits"),
                format!("this is f32{}", dims(&shape)),
            )
            .label(args.span_of("index"), format!("this is i32{}", dims(&rows)))
            .help("logits are [B, classes] and indices [B]"),
        ));
    }
    let axis = shape.len() - 1;
    let r = Reduced {
        x: logits,
        axes: vec![axis],
        keep: false,
        shape: shape.clone(),
        span: args.span,
    };
    let all = log_sum_exp(el, &r)?;
    let place = el.g.b.iota(&shape, axis);
    let wide = el.g.b.unreduce(index, &shape, &[axis]);
    let own = el.g.b.eq(place, wide);
    let zero = el.g.b.scalar(0.0);
    let chosen = el.g.b.select(own, logits, zero);
    let chosen = r.reduce(el, &ops::SUM, chosen)?;
    Ok(Value::Tensor(el.g.b.sub(all, chosen)))
}
