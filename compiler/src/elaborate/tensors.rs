//! Tensor functions: elementwise, reductions, and what is composed of them. Numbers in, number out.

use super::Elab;
use super::args::Args;
use super::broadcast::Operand;
use super::values::{R, Reported, Value};
use crate::core::graph::{DType, ValueId};
use crate::core::ops::{self, Eval, Op};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

/// `exp(x)`, `maximum(a, b)`: an elementwise op of the registry, with broadcasting.
pub fn elementwise(el: &mut Elab<'_>, args: &Args, op: Op) -> R<Value> {
    let names: Vec<String> = args.builtin.params().into_iter().map(|p| p.name).collect();
    let values: Vec<(Value, Span)> = names.iter().filter_map(|n| args.get(n).cloned()).collect();
    // `stop_gradient` of a number is the number.
    if let ([(value, _)], true) = (&values[..], op == &ops::STOP_GRADIENT)
        && value.number().is_some()
    {
        return Ok(value.clone());
    }
    let numbers: Option<Vec<f64>> = values.iter().map(|(v, _)| v.number()).collect();
    if let Some(numbers) = numbers {
        let result = match (&op.eval, &numbers[..]) {
            (Eval::Unary(f), [x]) => Some(f(*x)),
            (Eval::Binary(f), [x, y]) => Some(f(*x, *y)),
            _ => None,
        };
        if let Some(result) = result {
            return number(el, args, result, &values);
        }
    }
    match &values[..] {
        [(value, span)] => {
            let Some(x) = el.as_tensor(value, *span)? else {
                return Err(args.wrong(el, &names[0], "a tensor or a number", value, *span));
            };
            let x = if op == &ops::STOP_GRADIENT {
                x
            } else {
                el.float_tensor(x)
            };
            el.push(op, &[x], vec![], args.span).map(Value::Tensor)
        }
        [a, b] => {
            let (x, y) = (
                operand(el, args, &names[0], a)?,
                operand(el, args, &names[1], b)?,
            );
            let (x, y) = el.pair(x, y, false, a.1, b.1)?;
            el.push(op, &[x, y], vec![], args.span).map(Value::Tensor)
        }
        _ => Err(Reported),
    }
}

/// A number as a result: whole where all arguments are and the value is.
fn number(el: &mut Elab<'_>, args: &Args, v: f64, from: &[(Value, Span)]) -> R<Value> {
    if !v.is_finite() {
        return Err(el.report(
            Diagnostic::new(
                codes::E0112,
                format!("`{}` of this is not a finite number", args.builtin.name),
            )
            .label(args.span, format!("would be {v}"))
            .help("check the argument"),
        ));
    }
    let whole = from.iter().all(|(v, _)| matches!(v, Value::Int(_)));
    if whole && v.fract() == 0.0 && matches!(args.builtin.name, "abs" | "maximum" | "minimum") {
        return Ok(Value::Int(v as i64));
    }
    Ok(Value::Float(v))
}

fn operand(el: &mut Elab<'_>, args: &Args, name: &str, given: &(Value, Span)) -> R<Operand> {
    match &given.0 {
        Value::Int(v) => Ok(Operand::Int(*v)),
        Value::Float(v) => Ok(Operand::Float(*v)),
        other => match el.as_tensor(other, given.1)? {
            Some(v) => Ok(Operand::Tensor(v)),
            None => Err(args.wrong(el, name, "a tensor or a number", other, given.1)),
        },
    }
}

/// Indices: an i32 tensor, or a list of whole numbers.
pub fn index_tensor(el: &mut Elab<'_>, args: &Args, name: &str) -> R<ValueId> {
    let Some((value, span)) = args.get(name) else {
        return Err(Reported);
    };
    if let Value::List(items) = value
        && let Some(indices) = items.iter().map(Value::whole).collect::<Option<Vec<i64>>>()
        && !indices.is_empty()
        && indices.iter().all(|i| (0..1 << 24).contains(i))
    {
        el.spend(indices.len() as u64, *span)?;
        let parts: Vec<ValueId> = indices
            .iter()
            .map(|i| el.constant(*i as f64, DType::I32))
            .collect();
        return el.stack(&parts, 0, *span);
    }
    let v = args.tensor(el, name)?;
    if el.g.b.ty(v).dtype == DType::I32 {
        return Ok(v);
    }
    let is = el.g.b.ty(v).to_string();
    Err(el.report(
        Diagnostic::new(
            codes::E0209,
            format!("`{name}` of `{}` must be indices", args.builtin.name),
        )
        .label(*span, format!("this is {is}"))
        .help("`labels`, `iota(n)` and `argmax(x)` are indices"),
    ))
}

pub fn clamp(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let Some(mut x) = args.get("x").cloned() else {
        return Err(Reported);
    };
    for (name, op) in [("min", &ops::MAXIMUM), ("max", &ops::MINIMUM)] {
        let Some(limit) = args.get(name) else {
            continue;
        };
        x.0 = match (x.0.number(), limit.0.number(), &op.eval) {
            (Some(a), Some(b), Eval::Binary(f)) => {
                let v = f(a, b);
                match (&x.0, &limit.0) {
                    (Value::Int(_), Value::Int(_)) => Value::Int(v as i64),
                    _ => Value::Float(v),
                }
            }
            _ => {
                let (a, b) = (operand(el, args, "x", &x)?, operand(el, args, name, limit)?);
                let (a, b) = el.pair(a, b, false, x.1, limit.1)?;
                Value::Tensor(el.push(op, &[a, b], vec![], args.span)?)
            }
        };
    }
    Ok(x.0)
}

pub fn select(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (Some(mask), Some(a), Some(b)) = (args.get("mask"), args.get("a"), args.get("b")) else {
        return Err(Reported);
    };
    if let Value::Bool(holds) = mask.0 {
        return Ok(if holds { a.0.clone() } else { b.0.clone() });
    }
    let m = el.mask(&mask.0, mask.1, "where")?;
    let (x, y) = (operand(el, args, "a", a)?, operand(el, args, "b", b)?);
    let (x, y) = el.pair(x, y, false, a.1, b.1)?;
    let (m, x) = el.broadcast_pair(m, x, mask.1, a.1)?;
    let shape = el.g.b.shape(x);
    let y = el.g.b.broadcast_to(y, &shape);
    el.push(&ops::SELECT, &[m, x, y], vec![], args.span)
        .map(Value::Tensor)
}

pub fn error(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let message = args.text(el, "message")?;
    Err(el.report(
        Diagnostic::new(
            codes::E0121,
            message
                .as_deref()
                .unwrap_or("an error of the spec")
                .to_string(),
        )
        .label(args.span, "the spec says so here")
        .help("give other arguments to what is called"),
    ))
}
