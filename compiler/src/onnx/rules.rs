//! The forms of ops that are more than one ONNX operator on the same operands.

use super::emit::{Emit, Known, Run, Value, position};
use super::model::{Attr, Element};
use super::{Refusal, RefusalKind, element};
use crate::core::graph::{DType, ValueId};
use crate::core::interp::Tensor;
use std::rc::Rc;

type Made = Result<Value, Refusal>;

/// Images in the order of ONNX, of axes [B, H, W, C].
const NCHW: [usize; 4] = [0, 3, 1, 2];
/// Filters in the order of ONNX, of axes [kh, kw, in, out].
const OIHW: [usize; 4] = [3, 2, 0, 1];

fn known(tensor: Tensor, axes: Vec<usize>) -> Value {
    Value::Known(Known {
        tensor: Rc::new(tensor),
        axes,
    })
}

fn run(name: String, order: Vec<usize>, batch: Option<usize>) -> Value {
    Value::Run(Run { name, order, batch })
}

fn ascending(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

fn weight(e: &mut Emit<'_>, id: ValueId, kind: &str) -> Made {
    let node = e.graph.node(id);
    let key = format!("{kind}/{}", node.attrs.str("path"));
    match e.weight(&key) {
        Some(tensor) if tensor.shape == node.ty.shape => {
            Ok(known(tensor, ascending(node.ty.rank())))
        }
        _ => Err(e.refuse(RefusalKind::NoWeight, id)),
    }
}

pub fn param(e: &mut Emit<'_>, id: ValueId) -> Made {
    weight(e, id, "param")
}

pub fn buffer(e: &mut Emit<'_>, id: ValueId) -> Made {
    weight(e, id, "buffer")
}

pub fn constant(e: &mut Emit<'_>, id: ValueId) -> Made {
    let value = e.graph.node(id).attrs.float("value");
    Ok(known(Tensor::scalar(value), vec![]))
}

pub fn iota(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let axis = node.attrs.size("axis");
    let count = Tensor::from_fn(&[node.ty.shape[axis]], |i| i[0] as f64);
    Ok(known(count, vec![axis]))
}

/// Passes its operand on.
pub fn pass(e: &mut Emit<'_>, id: ValueId) -> Made {
    Ok(e.arg(id, 0))
}

/// The operator on a running operand and numbers.
fn with_number(e: &mut Emit<'_>, op: &'static str, x: &str, number: f64, id: ValueId) -> String {
    let number = e.number(number);
    e.push(op, vec![x.to_owned(), number], vec![], id)
}

/// x/2 · (1 + erf(x/√2)); ONNX has the function itself from operator set 20 on.
pub fn gelu(e: &mut Emit<'_>, id: ValueId) -> Made {
    let Value::Run(x) = e.arg(id, 0) else {
        return Err(e.refuse(RefusalKind::NoForm, id));
    };
    let scaled = with_number(e, "Mul", &x.name, std::f64::consts::FRAC_1_SQRT_2, id);
    let erf = e.push("Erf", vec![scaled], vec![], id);
    let cdf = with_number(e, "Add", &erf, 1.0, id);
    let half = with_number(e, "Mul", &x.name, 0.5, id);
    let name = e.push("Mul", vec![half, cdf], vec![], id);
    Ok(run(name, x.order, x.batch))
}

pub fn cast(e: &mut Emit<'_>, id: ValueId) -> Made {
    let Value::Run(x) = e.arg(id, 0) else {
        return Err(e.refuse(RefusalKind::NoForm, id));
    };
    let node = e.graph.node(id);
    let from = e.graph.ty(node.args[0]).dtype;
    if element(from) == element(node.ty.dtype) {
        return Ok(Value::Run(x));
    }
    let to = match node.ty.dtype {
        DType::F32 | DType::Bf16 => 1,
        DType::I32 => 7,
        DType::Bool => 9,
    };
    let name = e.push("Cast", vec![x.name], vec![("to", Attr::Int(to))], id);
    Ok(run(name, x.order, x.batch))
}

pub fn not_equal(e: &mut Emit<'_>, id: ValueId) -> Made {
    let Value::Run(equal) = e.elementwise("Equal", id)? else {
        return Err(e.refuse(RefusalKind::NoForm, id));
    };
    let name = e.push("Not", vec![equal.name], vec![], id);
    Ok(run(name, equal.order, equal.batch))
}

/// The operand with the axes that are reduced in place, and what becomes of its axes.
struct Reduced {
    name: String,
    /// The places of the reduced axes in the ONNX tensor.
    places: Vec<i64>,
    /// Those that stay, as the result has them.
    order: Vec<usize>,
    batch: Option<usize>,
    count: usize,
}

fn reduced(
    e: &mut Emit<'_>,
    x: &Value,
    of: ValueId,
    axes: &[usize],
    id: ValueId,
) -> Result<Reduced, Refusal> {
    let shape = &e.graph.ty(of).shape;
    let batch = e.batch_axis(x);
    if batch.is_some_and(|b| axes.contains(&b)) {
        return Err(e.refuse(RefusalKind::MixesImages, id));
    }
    let (name, order) = match x {
        Value::Run(r) if axes.iter().all(|a| r.order.contains(a)) => {
            (r.name.clone(), r.order.clone())
        }
        _ => {
            let order = ascending(shape.len());
            (e.dense(x, of, &order, None), order)
        }
    };
    let renumbered = |a: usize| a - axes.iter().filter(|r| **r < a).count();
    Ok(Reduced {
        name,
        places: axes.iter().map(|a| position(&order, *a) as i64).collect(),
        order: order
            .iter()
            .filter(|a| !axes.contains(a))
            .map(|a| renumbered(*a))
            .collect(),
        batch: batch.map(renumbered),
        count: axes.iter().map(|a| shape[*a]).product(),
    })
}

fn reduce(e: &mut Emit<'_>, op: &'static str, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let axes = node.attrs.sizes("axes");
    let x = e.arg(id, 0);
    if axes.is_empty() {
        return Ok(x);
    }
    let r = reduced(e, &x, node.args[0], &axes, id)?;
    let mut inputs = vec![r.name];
    let mut attrs = vec![("keepdims", Attr::Int(0))];
    // Operator set 17 takes the axes of a sum as an operand, those of other reductions as an attribute.
    if op == "ReduceSum" {
        inputs.push(e.integers("axes", &r.places));
    } else {
        attrs.insert(0, ("axes", Attr::Ints(r.places)));
    }
    let name = e.reduction(op, inputs, attrs, id, r.count);
    Ok(run(name, r.order, r.batch))
}

pub fn sum(e: &mut Emit<'_>, id: ValueId) -> Made {
    reduce(e, "ReduceSum", id)
}

pub fn max(e: &mut Emit<'_>, id: ValueId) -> Made {
    reduce(e, "ReduceMax", id)
}

pub fn min(e: &mut Emit<'_>, id: ValueId) -> Made {
    reduce(e, "ReduceMin", id)
}

pub fn argmax(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let x = e.arg(id, 0);
    let r = reduced(e, &x, node.args[0], &[node.attrs.size("axis")], id)?;
    let attrs = vec![
        ("axis", Attr::Int(r.places.first().copied().unwrap_or(0))),
        ("keepdims", Attr::Int(0)),
    ];
    let name = e.push("ArgMax", vec![r.name], attrs, id);
    Ok(run(name, r.order, r.batch))
}

/// The mean of (x − mean)².
pub fn variance(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let axes = node.attrs.sizes("axes");
    let rank = e.graph.ty(node.args[0]).rank();
    let kept: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
    let (x, mean) = (e.arg(id, 0), e.arg(id, 1).along(&kept));
    let centred = e.pointwise("Sub", &[(x, Element::F32), (mean, Element::F32)], id)?;
    let both = [
        (centred.clone(), Element::F32),
        (centred.clone(), Element::F32),
    ];
    let square = e.pointwise("Mul", &both, id)?;
    let r = reduced(e, &square, node.args[0], &axes, id)?;
    let attrs = vec![("axes", Attr::Ints(r.places)), ("keepdims", Attr::Int(0))];
    let name = e.push("ReduceMean", vec![r.name], attrs, id);
    Ok(run(name, r.order, r.batch))
}

/// A product of matrices: `Gemm` of two axes, which takes weights as PyTorch has them, else `MatMul`.
pub fn matmul(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let (ta, tb) = (node.attrs.bool("ta"), node.attrs.bool("tb"));
    let rank = node.ty.rank();
    let (a, b) = (e.arg(id, 0), e.arg(id, 1));
    let (rows, columns) = (rank - 2, rank - 1);
    // Where the images of an operand lie, as read.
    let turned = |axis: usize, t: bool| match (t, axis) {
        (true, i) if i == rows => columns,
        (true, i) if i == columns => rows,
        (_, i) => i,
    };
    let (left, right) = (
        e.batch_axis(&a).map(|i| turned(i, ta)),
        e.batch_axis(&b).map(|i| turned(i, tb)),
    );
    let batch = match (left, right) {
        (None, None) => None,
        (Some(i), None) if i == rows => Some(i),
        (None, Some(i)) if i == columns => Some(i),
        (Some(i), Some(j)) if i == j && i < rows => Some(i),
        _ => return Err(e.refuse(RefusalKind::MixesImages, id)),
    };
    let natural = ascending(rank);
    let mut swapped = natural.clone();
    swapped.swap(rows, columns);
    let name = if rank == 2 {
        let operand = |e: &mut Emit<'_>, value: &Value, of: ValueId, t: bool| {
            // A transposed operand is read as it lies.
            let lies_turned = matches!(value, Value::Run(r) if r.order == swapped);
            let order = if lies_turned { &swapped } else { &natural };
            (e.dense(value, of, order, None), t != lies_turned)
        };
        let (a, ta) = operand(e, &a, node.args[0], ta);
        let (b, tb) = operand(e, &b, node.args[1], tb);
        let attrs = vec![
            ("transA", Attr::Int(ta.into())),
            ("transB", Attr::Int(tb.into())),
        ];
        e.push("Gemm", vec![a, b], attrs, id)
    } else {
        let order = |t: bool| if t { &swapped } else { &natural };
        let a = e.dense(&a, node.args[0], order(ta), None);
        let b = e.dense(&b, node.args[1], order(tb), None);
        e.push("MatMul", vec![a, b], vec![], id)
    };
    Ok(run(name, natural, batch))
}

/// The images of an operator on windows, in ONNX's order.
fn images(e: &mut Emit<'_>, id: ValueId) -> Result<(String, Option<usize>), Refusal> {
    let of = e.graph.node(id).args[0];
    let x = e.value(of);
    let batch = e.batch_axis(&x);
    if batch.is_some_and(|b| b != 0) {
        return Err(e.refuse(RefusalKind::MixesImages, id));
    }
    Ok((e.dense(&x, of, &NCHW, None), batch))
}

fn window(e: &Emit<'_>, id: ValueId, kernel: i64) -> Vec<(&'static str, Attr)> {
    let attrs = &e.graph.node(id).attrs;
    let twice = |v: i64| Attr::Ints(vec![v; 2]);
    vec![
        ("kernel_shape", twice(kernel)),
        ("pads", Attr::Ints(vec![attrs.int("padding"); 4])),
        ("strides", twice(attrs.int("stride"))),
    ]
}

pub fn conv2d(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let (x, batch) = images(e, id)?;
    let of = node.args[1];
    let filter = e.value(of);
    if e.batch_axis(&filter).is_some() {
        return Err(e.refuse(RefusalKind::MixesImages, id));
    }
    let filter = e.dense(&filter, of, &OIHW, None);
    let kernel = e.graph.ty(of).shape[0] as i64;
    let mut attrs = window(e, id, kernel);
    attrs.insert(0, ("group", Attr::Int(node.attrs.int("groups"))));
    let name = e.push("Conv", vec![x, filter], attrs, id);
    Ok(run(name, NCHW.to_vec(), batch))
}

pub fn max_pool(e: &mut Emit<'_>, id: ValueId) -> Made {
    let (x, batch) = images(e, id)?;
    let attrs = window(e, id, e.graph.node(id).attrs.int("kernel"));
    let name = e.push("MaxPool", vec![x], attrs, id);
    Ok(run(name, NCHW.to_vec(), batch))
}

pub fn avg_pool(e: &mut Emit<'_>, id: ValueId) -> Made {
    let (x, batch) = images(e, id)?;
    let mut attrs = window(e, id, e.graph.node(id).attrs.int("kernel"));
    attrs.insert(0, ("count_include_pad", Attr::Int(1)));
    let name = e.push("AveragePool", vec![x], attrs, id);
    Ok(run(name, NCHW.to_vec(), batch))
}

pub fn reshape(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let (of, shape) = (node.args[0], &node.ty.shape);
    let x = e.value(of);
    if e.graph.ty(of).shape == *shape {
        return Ok(x);
    }
    let before = &e.graph.ty(of).shape;
    let batch = match e.batch_axis(&x) {
        None => None,
        Some(axis) => {
            // The images stay whole where nothing but sizes of 1 stands before them.
            let leads = before[..axis].iter().all(|n| *n == 1);
            let first = shape.iter().position(|n| *n != 1).unwrap_or(0);
            let whole = shape
                .get(first)
                .is_some_and(|n| n.is_multiple_of(e.images().max(1)));
            let first = if e.images() == 1 { 0 } else { first };
            if !leads || !whole || shape.is_empty() {
                return Err(e.refuse(RefusalKind::MixesImages, id));
            }
            Some(first)
        }
    };
    let name = e.dense(&x, of, &ascending(before.len()), None);
    let sizes: Vec<i64> = shape
        .iter()
        .enumerate()
        .map(|(a, n)| if batch == Some(a) { -1 } else { *n as i64 })
        .collect();
    let sizes = e.integers("shape", &sizes);
    let name = e.push("Reshape", vec![name, sizes], vec![], id);
    Ok(run(name, ascending(shape.len()), batch))
}

/// No operator: the axes are called otherwise.
pub fn transpose(e: &mut Emit<'_>, id: ValueId) -> Made {
    let perm = e.graph.node(id).attrs.sizes("perm");
    let mut inverse = vec![0; perm.len()];
    for (i, p) in perm.iter().enumerate() {
        inverse[*p] = i;
    }
    match e.arg(id, 0) {
        Value::Run(r) => Ok(Value::Run(r).along(&inverse)),
        Value::Known(_) => Err(e.refuse(RefusalKind::NoForm, id)),
    }
}

/// No operator: ONNX's broadcasting repeats where it is needed.
pub fn broadcast(e: &mut Emit<'_>, id: ValueId) -> Made {
    let dims = e.graph.node(id).attrs.sizes("dims");
    Ok(e.arg(id, 0).along(&dims))
}

pub fn concat(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let axis = node.attrs.size("axis");
    let values: Vec<Value> = node.args.iter().map(|a| e.value(*a)).collect();
    let batch = e.common_batch(&values, id)?;
    if batch == Some(axis) {
        return Err(e.refuse(RefusalKind::MixesImages, id));
    }
    let order = values
        .iter()
        .find_map(|v| match v {
            Value::Run(r) if r.order.len() == node.ty.rank() => Some(r.order.clone()),
            _ => None,
        })
        .unwrap_or_else(|| ascending(node.ty.rank()));
    let parts = node
        .args
        .iter()
        .zip(&values)
        .map(|(of, v)| e.dense(v, *of, &order, batch))
        .collect();
    let place = Attr::Int(position(&order, axis) as i64);
    let name = e.push("Concat", parts, vec![("axis", place)], id);
    Ok(run(name, order, batch))
}

pub fn slice(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let (start, end) = (node.attrs.sizes("start"), node.attrs.sizes("end"));
    let shape = &e.graph.ty(node.args[0]).shape;
    let Value::Run(x) = e.arg(id, 0) else {
        return Err(e.refuse(RefusalKind::NoForm, id));
    };
    // Where the value repeats, less of it is the same.
    let cut: Vec<usize> = (0..shape.len())
        .filter(|a| (start[*a], end[*a]) != (0, shape[*a]) && x.order.contains(a))
        .collect();
    if cut.is_empty() {
        return Ok(Value::Run(x));
    }
    if x.batch.is_some_and(|b| cut.contains(&b)) {
        return Err(e.refuse(RefusalKind::MixesImages, id));
    }
    let each =
        |f: &dyn Fn(usize) -> usize| -> Vec<i64> { cut.iter().map(|a| f(*a) as i64).collect() };
    let starts = e.integers("starts", &each(&|a| start[a]));
    let ends = e.integers("ends", &each(&|a| end[a]));
    let axes = e.integers("axes", &each(&|a| position(&x.order, a)));
    let name = e.push("Slice", vec![x.name, starts, ends, axes], vec![], id);
    Ok(run(name, x.order, x.batch))
}

pub fn pad(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let (low, high) = (node.attrs.sizes("low"), node.attrs.sizes("high"));
    let of = node.args[0];
    let x = e.value(of);
    let batch = e.batch_axis(&x);
    if batch.is_some_and(|b| low[b] + high[b] > 0) {
        return Err(e.refuse(RefusalKind::MixesImages, id));
    }
    let order = match &x {
        Value::Run(r) if r.order.len() == node.ty.rank() => r.order.clone(),
        _ => ascending(node.ty.rank()),
    };
    let name = e.dense(&x, of, &order, None);
    let pads: Vec<i64> = order
        .iter()
        .map(|a| low[*a] as i64)
        .chain(order.iter().map(|a| high[*a] as i64))
        .collect();
    let pads = e.integers("pads", &pads);
    let name = e.push("Pad", vec![name, pads], vec![], id);
    Ok(run(name, order, batch))
}

pub fn take(e: &mut Emit<'_>, id: ValueId) -> Made {
    let node = e.graph.node(id);
    let axis = node.attrs.size("axis");
    let (x, index) = (e.arg(id, 0), e.arg(id, 1));
    let batch = match (e.batch_axis(&x), e.batch_axis(&index)) {
        (None, None) => None,
        (Some(a), None) if a != axis => Some(a),
        (None, Some(_)) => Some(axis),
        _ => return Err(e.refuse(RefusalKind::MixesImages, id)),
    };
    let order = ascending(node.ty.rank());
    let x = e.dense(&x, node.args[0], &order, None);
    let index = e.dense(&index, node.args[1], &[0], None);
    let attrs = vec![("axis", Attr::Int(axis as i64))];
    let name = e.push("Gather", vec![x, index], attrs, id);
    Ok(run(name, order, batch))
}
