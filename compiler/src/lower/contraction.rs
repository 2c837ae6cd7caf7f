//! The lowering of products and windows: each is one operator over dense inputs.

use super::LowerCtx;
use super::build::Value;
use super::operators::{
    AvgPool, AvgPoolGrad, Conv2d, Conv2dFilterGrad, Conv2dInputGrad, MatMul, MaxPool, MaxPoolGrad,
};
use crate::kernels::ir::{ConvShape, Window};
use crate::kernels::naive::MatMulShape;

/// A transpose of the last two axes that makes the operand dense is taken into the product.
pub fn matmul(c: &mut LowerCtx) -> Value {
    let (a, ta) = untransposed(&c.args[0], c.attrs.bool("ta"));
    let (b, tb) = untransposed(&c.args[1], c.attrs.bool("tb"));
    let rank = c.ty.shape.len();
    let a_shape = a.shape();
    let op = MatMul(MatMulShape {
        batch: c.ty.shape[..rank - 2].iter().product(),
        m: c.ty.shape[rank - 2],
        n: c.ty.shape[rank - 1],
        k: a_shape[if ta { rank - 2 } else { rank - 1 }],
        ta,
        tb,
    });
    c.b.opaque(op, &[&a, &b], &c.ty.shape)
}

fn untransposed(x: &Value, transposed: bool) -> (Value, bool) {
    let rank = x.view.rank();
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    let swapped = x.transpose(&order);
    match !x.view.is_dense() && swapped.view.is_dense() {
        true => (swapped, !transposed),
        false => (x.clone(), transposed),
    }
}

fn conv_shape(c: &LowerCtx, x: &[usize], w: &[usize], y: &[usize]) -> ConvShape {
    ConvShape {
        n: x[0],
        h: x[1],
        w: x[2],
        c: x[3],
        k: w[3],
        oh: y[1],
        ow: y[2],
        kernel: w[0],
        stride: c.attrs.size("stride"),
        padding: c.attrs.size("padding"),
        groups: c.attrs.size("groups"),
    }
}

pub fn conv2d(c: &mut LowerCtx) -> Value {
    let op = Conv2d(conv_shape(
        c,
        &c.args[0].shape(),
        &c.args[1].shape(),
        &c.ty.shape,
    ));
    c.b.opaque(op, &[&c.args[0], &c.args[1]], &c.ty.shape)
}

pub fn conv2d_input_grad(c: &mut LowerCtx) -> Value {
    let op = Conv2dInputGrad(conv_shape(
        c,
        &c.ty.shape,
        &c.args[1].shape(),
        &c.args[0].shape(),
    ));
    c.b.opaque(op, &[&c.args[0], &c.args[1]], &c.ty.shape)
}

pub fn conv2d_filter_grad(c: &mut LowerCtx) -> Value {
    let op = Conv2dFilterGrad(conv_shape(
        c,
        &c.args[0].shape(),
        &c.ty.shape,
        &c.args[1].shape(),
    ));
    c.b.opaque(op, &[&c.args[0], &c.args[1]], &c.ty.shape)
}

fn window(c: &LowerCtx, x: &[usize], y: &[usize]) -> Window {
    Window {
        n: x[0],
        h: x[1],
        w: x[2],
        c: x[3],
        oh: y[1],
        ow: y[2],
        kernel: c.attrs.size("kernel"),
        stride: c.attrs.size("stride"),
        padding: c.attrs.size("padding"),
    }
}

pub fn max_pool(c: &mut LowerCtx) -> Value {
    let op = MaxPool(window(c, &c.args[0].shape(), &c.ty.shape));
    c.b.opaque(op, &[&c.args[0]], &c.ty.shape)
}

pub fn max_pool_grad(c: &mut LowerCtx) -> Value {
    let op = MaxPoolGrad(window(c, &c.args[0].shape(), &c.args[1].shape()));
    c.b.opaque(op, &[&c.args[0], &c.args[1]], &c.ty.shape)
}

pub fn avg_pool(c: &mut LowerCtx) -> Value {
    let op = AvgPool(window(c, &c.args[0].shape(), &c.ty.shape));
    c.b.opaque(op, &[&c.args[0]], &c.ty.shape)
}

pub fn avg_pool_grad(c: &mut LowerCtx) -> Value {
    let op = AvgPoolGrad(window(c, &c.ty.shape, &c.args[0].shape()));
    c.b.opaque(op, &[&c.args[0]], &c.ty.shape)
}
