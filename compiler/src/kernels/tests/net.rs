//! Training steps to compile in tests: a ResNet of basic or bottleneck blocks on two views, a contrastive loss, and an optimizer.

use crate::core::autodiff::gradients;
use crate::core::builder::Builder;
use crate::core::graph::{Graph, ValueId};
use crate::core::ops;
use crate::core::simplify::simplify;

/// What network, at which size.
#[derive(Clone, Copy)]
pub struct Net {
    pub batch: usize,
    pub size: usize,
    pub width: usize,
    pub blocks: [usize; 4],
    pub bottleneck: bool,
    pub lars: bool,
}

struct Maker {
    b: Builder,
    /// Trained parameters, with the first node that reads each.
    params: Vec<(String, ValueId)>,
    /// Running statistics after the forward pass so far.
    buffers: Vec<(String, ValueId)>,
}

impl Maker {
    fn param(&mut self, path: &str, shape: &[usize]) -> ValueId {
        if let Some((_, v)) = self.params.iter().find(|(p, _)| p == path) {
            return *v;
        }
        let v = self.b.param(path, shape);
        self.params.push((path.to_string(), v));
        v
    }

    fn conv(
        &mut self,
        path: &str,
        x: ValueId,
        out: usize,
        kernel: usize,
        stride: usize,
    ) -> ValueId {
        let input = self.b.shape(x)[3];
        let w = self.param(&format!("{path}.weight"), &[kernel, kernel, input, out]);
        let attrs = vec![
            ("stride", stride.into()),
            ("padding", (kernel / 2).into()),
            ("groups", 1usize.into()),
        ];
        let y = self.b.push(&ops::CONV2D, &[x, w], attrs);
        self.b.name(y, path)
    }

    fn norm(&mut self, path: &str, x: ValueId) -> ValueId {
        let shape = self.b.shape(x);
        let axes: Vec<usize> = (0..shape.len() - 1).collect();
        let c = shape[shape.len() - 1];
        let last = [shape.len() - 1];
        let b = &mut self.b;
        let mean = b.mean(x, &axes);
        let var = b.variance(x, mean, &axes);
        for (name, value) in [("running_mean", mean), ("running_var", var)] {
            let path = format!("{path}.{name}");
            let old = match self.buffers.iter().find(|(p, _)| *p == path) {
                Some((_, v)) => *v,
                None => b.buffer(&path, &[c]),
            };
            let (old, new) = (b.scale(old, 0.9), b.scale(value, 0.1));
            let sum = b.add(old, new);
            self.buffers.retain(|(p, _)| *p != path);
            self.buffers.push((path, sum));
        }
        let var = b.offset(var, 1e-5);
        let std = b.sqrt(var);
        let (mean, std) = (
            b.broadcast(mean, &shape, &last),
            b.broadcast(std, &shape, &last),
        );
        let centred = b.sub(x, mean);
        let normal = b.div(centred, std);
        let gamma = self.param(&format!("{path}.weight"), &[c]);
        let beta = self.param(&format!("{path}.bias"), &[c]);
        let b = &mut self.b;
        let (gamma, beta) = (
            b.broadcast(gamma, &shape, &last),
            b.broadcast(beta, &shape, &last),
        );
        let scaled = b.mul(normal, gamma);
        let y = b.add(scaled, beta);
        b.name(y, path)
    }

    fn block(
        &mut self,
        path: &str,
        x: ValueId,
        out: usize,
        stride: usize,
        bottleneck: bool,
    ) -> ValueId {
        let relu = |m: &mut Maker, v| m.b.unary(&ops::RELU, v);
        let plan: &[(usize, usize)] = if bottleneck {
            &[(1, 1), (3, stride), (1, 1)]
        } else {
            &[(3, stride), (3, 1)]
        };
        let full = if bottleneck { 4 * out } else { out };
        let mut h = x;
        for (i, (kernel, stride)) in plan.iter().enumerate() {
            let last = i + 1 == plan.len();
            h = self.conv(
                &format!("{path}.conv{}", i + 1),
                h,
                if last { full } else { out },
                *kernel,
                *stride,
            );
            h = self.norm(&format!("{path}.bn{}", i + 1), h);
            if !last {
                h = relu(self, h);
            }
        }
        let mut skip = x;
        if stride != 1 || self.b.shape(x)[3] != full {
            skip = self.conv(&format!("{path}.downsample.0"), x, full, 1, stride);
            skip = self.norm(&format!("{path}.downsample.1"), skip);
        }
        let sum = self.b.add(h, skip);
        relu(self, sum)
    }

    fn encode(&mut self, net: Net, x: ValueId) -> ValueId {
        let mut h = self.conv("f.conv1", x, net.width, 3, 1);
        h = self.norm("f.bn1", h);
        h = self.b.unary(&ops::RELU, h);
        for (stage, count) in net.blocks.iter().enumerate() {
            for i in 0..*count {
                let stride = if i == 0 && stage > 0 { 2 } else { 1 };
                h = self.block(
                    &format!("f.layer{}.{i}", stage + 1),
                    h,
                    net.width << stage,
                    stride,
                    net.bottleneck,
                );
            }
        }
        let h = self.b.mean(h, &[1, 2]);
        let d = self.b.shape(h)[1];
        let w = self.param("g.0.weight", &[d, 128]);
        let z = self.b.matmul(h, w, false, false);
        let z = self.norm("g.1", z);
        self.b.unary(&ops::RELU, z)
    }

    fn normalize(&mut self, x: ValueId) -> ValueId {
        let shape = self.b.shape(x);
        let square = self.b.mul(x, x);
        let sum = self.b.sum(square, &[1]);
        let norm = self.b.unary(&ops::SQRT_SAFE, sum);
        let eps = self.b.scalar(1e-8);
        let norm = self.b.maximum(norm, eps);
        let norm = self.b.broadcast(norm, &shape, &[0]);
        self.b.div(x, norm)
    }

    /// Rows of `a` are nearest to their own row of `b`: cross entropy of their cosines.
    fn contrast(&mut self, a: ValueId, b_: ValueId) -> ValueId {
        let (a, z) = (self.normalize(a), self.normalize(b_));
        let b = &mut self.b;
        let logits = b.matmul(a, z, false, true);
        let logits = b.scale(logits, 2.0);
        let shape = b.shape(logits);
        let max = b.max(logits, &[1]);
        let max = b.broadcast(max, &shape, &[0]);
        let shifted = b.sub(logits, max);
        let power = b.exp(shifted);
        let sum = b.sum(power, &[1]);
        let log = b.unary(&ops::LOG, sum);
        let (rows, columns) = (b.iota(&shape, 0), b.iota(&shape, 1));
        let own = b.eq(rows, columns);
        let zero = b.scalar(0.0);
        let right = b.select(own, shifted, zero);
        let right = b.sum(right, &[1]);
        let losses = b.sub(log, right);
        b.mean(losses, &[0])
    }

    fn update(&mut self, net: Net, path: &str, w: ValueId, grad: ValueId) {
        let shape = self.b.shape(w);
        let b = &mut self.b;
        let lr = b.schedule("lr");
        let decay = b.scale(w, 1e-4);
        let mut g = b.add(grad, decay);
        if net.lars && shape.len() > 1 {
            let (w2, g2) = (b.mul(w, w), b.mul(g, g));
            let (w2, g2) = (b.sum_all(w2), b.sum_all(g2));
            let (wn, gn) = (b.sqrt(w2), b.sqrt(g2));
            let zero = b.scalar(0.0);
            let one = b.scalar(1.0);
            let some = b.gt(gn, zero);
            let divisor = b.select(some, gn, one);
            let ratio = b.div(wn, divisor);
            let ratio = b.scale(ratio, 0.001);
            let ratio = b.select(some, ratio, one);
            g = b.mul(g, ratio);
        }
        let v = b.state(&format!("momentum/{path}"), &shape);
        let v = b.scale(v, 0.9);
        let v = b.add(v, g);
        let change = b.mul(v, lr);
        let next = b.sub(w, change);
        b.output(format!("state/momentum/{path}"), v);
        b.output(format!("param/{path}"), next);
    }
}

/// One training step, simplified.
pub fn step(net: Net) -> Graph {
    let mut m = Maker {
        b: Builder::new(),
        params: vec![],
        buffers: vec![],
    };
    let view = |m: &mut Maker, name: &str| {
        let shape = [net.batch, net.size, net.size, 3];
        m.b.push(
            &ops::VIEW,
            &[],
            vec![("name", name.into()), ("shape", shape.as_slice().into())],
        )
    };
    let (x1, x2) = (view(&mut m, "x1"), view(&mut m, "x2"));
    let (z1, z2) = (m.encode(net, x1), m.encode(net, x2));
    let (one, other) = (m.contrast(z1, z2), m.contrast(z2, z1));
    let loss = m.b.add(one, other);
    m.b.output("loss", loss);
    for (path, value) in std::mem::take(&mut m.buffers) {
        m.b.output(format!("buffer/{path}"), value);
    }
    let params = m.params.clone();
    let wrt: Vec<ValueId> = params.iter().map(|(_, v)| *v).collect();
    let grads = gradients(&mut m.b, loss, &wrt);
    for ((path, w), grad) in params.iter().zip(grads) {
        if let Some(grad) = grad {
            m.b.name(grad, format!("grad/{path}"));
            m.update(net, path, *w, grad);
        }
    }
    simplify(&m.b.graph)
}

pub const TINY: Net = Net {
    batch: 4,
    size: 8,
    width: 4,
    blocks: [1, 1, 0, 0],
    bottleneck: false,
    lars: true,
};
