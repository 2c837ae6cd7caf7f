//! The lowering of sources, reductions, and ops that move elements.

use super::LowerCtx;
use super::build::Value;
use super::operators::{ArgMax, Iota, ScatterAdd, Take, Uniform};
use crate::kernels::naive::TakeShape;

pub fn view(c: &mut LowerCtx) -> Value {
    source(c, "view/", "name")
}

pub fn labels(c: &mut LowerCtx) -> Value {
    c.b.source("labels".to_string(), &c.ty.shape)
}

pub fn param(c: &mut LowerCtx) -> Value {
    source(c, "param/", "path")
}

pub fn buffer(c: &mut LowerCtx) -> Value {
    source(c, "buffer/", "path")
}

pub fn state(c: &mut LowerCtx) -> Value {
    source(c, "state/", "path")
}

pub fn schedule(c: &mut LowerCtx) -> Value {
    source(c, "schedule/", "name")
}

pub fn step(c: &mut LowerCtx) -> Value {
    c.b.source("step".to_string(), &c.ty.shape)
}

fn source(c: &mut LowerCtx, kind: &str, attr: &str) -> Value {
    let name = format!("{kind}{}", c.attrs.str(attr));
    c.b.source(name, &c.ty.shape)
}

pub fn constant(c: &mut LowerCtx) -> Value {
    c.b.constant(c.attrs.float("value") as f32, &c.ty.shape)
}

pub fn iota(c: &mut LowerCtx) -> Value {
    let axis = c.attrs.size("axis");
    let size = c.ty.shape[axis];
    let line = c.b.opaque(Iota { size }, &[], &[size]);
    line.broadcast(&c.ty.shape, &[axis])
}

pub fn uniform(c: &mut LowerCtx) -> Value {
    let op = Uniform {
        len: c.ty.len(),
        seed: c.attrs.int("seed") as u64,
        stream: c.attrs.int("stream") as u64,
    };
    c.b.opaque(op, &[&c.args[0]], &c.ty.shape)
}

pub fn sum(c: &mut LowerCtx) -> Value {
    c.b.sum(&c.args[0], &c.attrs.sizes("axes"))
}

pub fn max(c: &mut LowerCtx) -> Value {
    c.b.max(&c.args[0], &c.attrs.sizes("axes"))
}

/// −max(−x)
pub fn min(c: &mut LowerCtx) -> Value {
    let minus = c.b.neg(&c.args[0]);
    let max = c.b.max(&minus, &c.attrs.sizes("axes"));
    c.b.neg(&max)
}

/// Σ (x − mean)² / n
pub fn variance(c: &mut LowerCtx) -> Value {
    let (x, axes) = (&c.args[0], c.attrs.sizes("axes"));
    let shape = x.shape();
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
    let mean = c.args[1].broadcast(&shape, &kept);
    let centred = c.b.sub(x, &mean);
    let square = c.b.mul(&centred, &centred);
    let sum = c.b.sum(&square, &axes);
    let n: usize = axes.iter().map(|a| shape[*a]).product();
    c.b.times(&sum, (1.0 / n as f64) as f32)
}

pub fn argmax(c: &mut LowerCtx) -> Value {
    let (shape, axis) = (c.args[0].shape(), c.attrs.size("axis"));
    let op = ArgMax {
        outer: shape[..axis].iter().product(),
        size: shape[axis],
        inner: shape[axis + 1..].iter().product(),
    };
    c.b.opaque(op, &[&c.args[0]], &c.ty.shape)
}

pub fn reshape(c: &mut LowerCtx) -> Value {
    c.b.reshape(&c.args[0], &c.ty.shape)
}

pub fn transpose(c: &mut LowerCtx) -> Value {
    c.args[0].transpose(&c.attrs.sizes("perm"))
}

pub fn broadcast(c: &mut LowerCtx) -> Value {
    c.args[0].broadcast(&c.ty.shape, &c.attrs.sizes("dims"))
}

pub fn concat(c: &mut LowerCtx) -> Value {
    let parts: Vec<&Value> = c.args.iter().collect();
    c.b.concat(&parts, c.attrs.size("axis"))
}

pub fn slice(c: &mut LowerCtx) -> Value {
    c.b.slice(&c.args[0], &c.attrs.sizes("start"), &c.ty.shape)
}

pub fn pad(c: &mut LowerCtx) -> Value {
    c.b.pad(&c.args[0], &c.attrs.sizes("low"), &c.attrs.sizes("high"))
}

/// The axis of `shape` named by the attribute `axis`, between those outside and inside of it.
fn along(c: &LowerCtx, shape: &[usize], size: usize, count: usize) -> TakeShape {
    let axis = c.attrs.size("axis");
    TakeShape {
        outer: shape[..axis].iter().product(),
        size,
        count,
        inner: shape[axis + 1..].iter().product(),
    }
}

pub fn take(c: &mut LowerCtx) -> Value {
    let shape = c.args[0].shape();
    let (size, count) = (shape[c.attrs.size("axis")], c.args[1].shape()[0]);
    let op = Take(along(c, &shape, size, count));
    c.b.opaque(op, &[&c.args[0], &c.args[1]], &c.ty.shape)
}

pub fn scatter_add(c: &mut LowerCtx) -> Value {
    let shape = c.args[0].shape();
    let op = ScatterAdd(along(c, &shape, c.attrs.size("size"), c.args[1].shape()[0]));
    c.b.opaque(op, &[&c.args[0], &c.args[1]], &c.ty.shape)
}
