//! Functions that make, move and reshape tensors; indexing.

use super::Elab;
use super::args::Args;
use super::broadcast::dims;
use super::reductions::one_axis;
use super::tensors::index_tensor;
use super::values::{R, Reported, Value};
use crate::core::graph::{DType, Type, ValueId};
use crate::core::ops::{self};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

/// Sizes or axes: the arguments from `name` on, which are whole numbers or one list of them.
fn integers(el: &mut Elab<'_>, args: &Args, name: &str) -> R<Vec<(i64, Span)>> {
    let given: Vec<(Value, Span)> = match (args.get(name), &args.rest[..]) {
        (Some(one), []) => vec![one.clone()],
        (None, rest) => rest.to_vec(),
        (Some(one), [first, ..]) => {
            return Err(el.argument_twice(name, one.1, first.1));
        }
    };
    let given = match &given[..] {
        [(Value::List(items), span)] => items.iter().map(|v| (v.clone(), *span)).collect(),
        _ => given,
    };
    let mut sizes = Vec::with_capacity(given.len());
    for (value, span) in &given {
        match value.whole() {
            Some(v) => sizes.push((v, *span)),
            None => {
                return Err(args.wrong(el, name, "a list of whole numbers", value, *span));
            }
        }
    }
    Ok(sizes)
}

/// A shape: sizes of at least 1.
fn sizes(el: &mut Elab<'_>, args: &Args, name: &str) -> R<Vec<usize>> {
    let mut shape = Vec::new();
    for (v, span) in integers(el, args, name)? {
        if v < 1 {
            return Err(not_a_size(el, v, span));
        }
        shape.push(v as usize);
    }
    el.check_size(&shape, args.span)?;
    Ok(shape)
}

fn not_a_size(el: &mut Elab<'_>, v: i64, span: Span) -> Reported {
    el.report(
        Diagnostic::new(codes::E0205, format!("an axis cannot have size {v}"))
            .label(span, "must be at least 1")
            .help("every axis has at least one element"),
    )
}

/// The arguments as tensors: several, or one list.
fn tensor_list(el: &mut Elab<'_>, args: &Args) -> R<Vec<(ValueId, Span)>> {
    let given: Vec<(Value, Span)> = match (args.get("tensors"), &args.rest[..]) {
        (Some((Value::List(items), span)), []) => {
            items.iter().map(|v| (v.clone(), *span)).collect()
        }
        (None, [(Value::List(items), span)]) => items.iter().map(|v| (v.clone(), *span)).collect(),
        (Some(one), []) => vec![one.clone()],
        (_, rest) => rest.to_vec(),
    };
    if given.is_empty() {
        return Err(el.report(
            Diagnostic::new(
                codes::E0107,
                format!("`{}` needs a tensor or more", args.builtin.name),
            )
            .label(args.span, "none here")
            .help(format!("it is called as `{}`", args.builtin.signature)),
        ));
    }
    let mut tensors = Vec::with_capacity(given.len());
    for (value, span) in &given {
        let v = match value.number() {
            Some(v) => Some(el.constant(v, DType::F32)),
            None => el.as_tensor(value, *span)?,
        };
        match v {
            Some(v) => tensors.push((v, *span)),
            None => return Err(args.wrong(el, "tensors", "a list of tensors", value, *span)),
        }
    }
    // Masks count as numbers; indices beside numbers too.
    let types: Vec<DType> = tensors.iter().map(|(v, _)| el.g.b.ty(*v).dtype).collect();
    if types.iter().any(|t| *t != types[0]) {
        for (v, _) in &mut tensors {
            *v = el.float_tensor(*v);
        }
    }
    Ok(tensors)
}

pub fn transpose(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let x = args.tensor(el, "x")?;
    let wanted = integers(el, args, "axes")?;
    let shape = el.g.b.shape(x);
    let mut perm = Vec::with_capacity(shape.len());
    for (axis, span) in &wanted {
        perm.push(el.axis(*axis, &shape, *span)?);
    }
    if wanted.is_empty() {
        perm = (0..shape.len()).rev().collect();
    }
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted != (0..shape.len()).collect::<Vec<usize>>() {
        return Err(el.report(
            Diagnostic::new(
                codes::E0203,
                format!("`transpose` needs each axis of {} once", dims(&shape)),
            )
            .label(
                args.span,
                format!("{} of {} axes here", perm.len(), shape.len()),
            )
            .help("list all axes in their new order: `transpose(x, [0, 2, 1])`"),
        ));
    }
    Ok(Value::Tensor(el.g.b.transpose(x, &perm)))
}

pub fn reshape(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let x = args.tensor(el, "x")?;
    let wanted = integers(el, args, "shape")?;
    let from = el.g.b.shape(x);
    let total: usize = from.iter().product();
    let open = wanted.iter().filter(|(v, _)| *v == -1).count();
    let mut known = 1usize;
    for (v, span) in &wanted {
        match v {
            -1 => {}
            v if *v >= 1 => known = known.saturating_mul(*v as usize),
            v => return Err(not_a_size(el, *v, *span)),
        }
    }
    let fits = match open {
        0 => known == total,
        1 => total.is_multiple_of(known),
        _ => false,
    };
    if !fits {
        let shape: Vec<String> = wanted.iter().map(|(v, _)| v.to_string()).collect();
        let span = args.span_of("x");
        return Err(el.report(
            Diagnostic::new(
                codes::E0206,
                format!(
                    "{} with its {total} elements cannot become [{}]",
                    dims(&from),
                    shape.join(", ")
                ),
            )
            .label(args.span, "reshaped here")
            .label(span, format!("this has shape {}", dims(&from)))
            .help("the product of the sizes must stay; one of them may be -1 and is then computed"),
        ));
    }
    let shape: Vec<usize> = wanted
        .iter()
        .map(|(v, _)| if *v == -1 { total / known } else { *v as usize })
        .collect();
    el.push(
        &ops::RESHAPE,
        &[x],
        vec![("shape", shape.as_slice().into())],
        args.span,
    )
    .map(Value::Tensor)
}

pub fn concat(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let tensors = tensor_list(el, args)?;
    let first = el.g.b.shape(tensors[0].0);
    let axis = one_axis(el, args, &first, 0)?;
    for (v, span) in &tensors[1..] {
        let shape = el.g.b.shape(*v);
        let same = shape.len() == first.len()
            && (0..shape.len()).all(|i| i == axis || shape[i] == first[i]);
        if !same {
            return Err(el.report(
                Diagnostic::new(
                    codes::E0210,
                    format!(
                        "{} and {} cannot be joined along axis {axis}",
                        dims(&first),
                        dims(&shape)
                    ),
                )
                .label(*span, format!("this has shape {}", dims(&shape)))
                .label(tensors[0].1, format!("this has shape {}", dims(&first)))
                .help("all other axes must be equal"),
            ));
        }
    }
    let parts: Vec<ValueId> = tensors.iter().map(|(v, _)| *v).collect();
    el.push(&ops::CONCAT, &parts, vec![("axis", axis.into())], args.span)
        .map(Value::Tensor)
}

pub fn stack(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let tensors = tensor_list(el, args)?;
    let mut shape = el.g.b.shape(tensors[0].0);
    shape.insert(0, 1);
    let axis = one_axis(el, args, &shape, 0)?;
    let parts: Vec<ValueId> = tensors.iter().map(|(v, _)| *v).collect();
    el.stack(&parts, axis, args.span).map(Value::Tensor)
}

pub fn broadcast(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let Some((value, span)) = args.get("x") else {
        return Err(Reported);
    };
    let x = match value.number() {
        Some(v) => el.constant(v, DType::F32),
        None => args.tensor(el, "x")?,
    };
    let shape = sizes(el, args, "shape")?;
    let own = el.g.b.shape(x);
    if super::broadcast::common_shape(&own, &shape).as_ref() != Some(&shape) {
        return Err(el.report(
            Diagnostic::new(
                codes::E0201,
                format!("{} does not repeat to {}", dims(&own), dims(&shape)),
            )
            .label(*span, format!("this has shape {}", dims(&own)))
            .label(args.span, "repeated here")
            .help("axes align at the end; each must be equal, or 1 before"),
        ));
    }
    Ok(Value::Tensor(el.g.b.broadcast_to(x, &shape)))
}

pub fn iota(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let n = args.size(el, "n")?;
    if n > 1 << 24 {
        return Err(args.out_of_range(el, "n", &n.to_string(), "at most 2^24"));
    }
    Ok(Value::Tensor(el.g.b.iota(&[n], 0)))
}

fn filled(el: &mut Elab<'_>, shape: &[usize], value: f64) -> R<Value> {
    Ok(Value::Tensor(el.g.b.full(&Type::f32(shape), value)))
}

pub fn zeros(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let shape = sizes(el, args, "shape")?;
    filled(el, &shape, 0.0)
}

pub fn ones(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let shape = sizes(el, args, "shape")?;
    filled(el, &shape, 1.0)
}

pub fn full(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let value = args.float(el, "value")?.unwrap_or(0.0);
    let shape = sizes(el, args, "shape")?;
    filled(el, &shape, value)
}

pub fn eye(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let n = args.size(el, "n")?;
    let mask = el.diagonal(n, args.span)?;
    Ok(Value::Tensor(el.float_tensor(mask)))
}

pub fn diag(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let c = args.tensor(el, "c")?;
    let c = el.float_tensor(c);
    let zero = el.g.b.scalar(0.0);
    if let [n] = el.g.b.shape(c)[..] {
        let mask = el.diagonal(n, args.span)?;
        let wide = el.g.b.broadcast(c, &[n, n], &[1]);
        return Ok(Value::Tensor(el.g.b.select(mask, wide, zero)));
    }
    let n = el.matrix_side(args, c)?;
    let mask = el.diagonal(n, args.span)?;
    let kept = el.g.b.select(mask, c, zero);
    Ok(Value::Tensor(el.g.b.sum(kept, &[1])))
}

pub fn off_diagonal(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let c = args.tensor(el, "c")?;
    let c = el.float_tensor(c);
    let n = el.matrix_side(args, c)?;
    let mask = el.diagonal(n, args.span)?;
    let zero = el.g.b.scalar(0.0);
    Ok(Value::Tensor(el.g.b.select(mask, zero, c)))
}

pub fn one_hot(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let index = index_tensor(el, args, "index");
    let n = args.size(el, "n");
    let (index, n) = (index?, n?);
    let mut shape = el.g.b.shape(index);
    let axis = shape.len();
    shape.push(n);
    el.check_size(&shape, args.span)?;
    let place = el.g.b.iota(&shape, axis);
    let wide = el.g.b.unreduce(index, &shape, &[axis]);
    let mask = el.g.b.eq(place, wide);
    Ok(Value::Tensor(el.float_tensor(mask)))
}

pub fn take(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let x = args.tensor(el, "x");
    let index = index_tensor(el, args, "index");
    let (x, index) = (x?, index?);
    let shape = el.g.b.shape(x);
    let axis = one_axis(el, args, &shape, 0)?;
    let at = args.span_of("index");
    el.gather(x, index, axis, args.span, at).map(Value::Tensor)
}

pub fn batch_size(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let x = args.tensor(el, "x")?;
    match el.g.b.ty(x).shape.first() {
        Some(n) => Ok(Value::Int(*n as i64)),
        None => Err(el.report(
            Diagnostic::new(codes::E0204, "a scalar has no batch")
                .label(args.span_of("x"), "this is a tensor of shape []")
                .help("give it a view, or features of one"),
        )),
    }
}

pub fn shape(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let x = args.tensor(el, "x")?;
    let shape = el.g.b.shape(x);
    Ok(Value::list(
        shape.iter().map(|d| Value::Int(*d as i64)).collect(),
    ))
}
