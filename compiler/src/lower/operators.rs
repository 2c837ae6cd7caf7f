//! Our own luminal operators: what luminal's primitives cannot say.
//!
//! [`Select`] honours its inputs' shape trackers, as luminal's binary operators do. The others demand dense inputs in
//! row-major order; lowering puts `Contiguous` before them where needed. Each makes one output.

use crate::core::bf16;
use crate::kernels::ir::{ConvShape, Window};
use crate::kernels::naive::{self, MatMulShape, TakeShape};
use luminal::op::{InputTensor, Operator, get_vec_from_tensor};
use luminal::prelude::ShapeTracker;
use luminal::tensor::Tensor;

type Inputs<'a> = Vec<(InputTensor<'a>, ShapeTracker)>;

/// Runs `f` on the inputs' data and a cleared output of `len` elements.
fn dense<const N: usize>(
    inputs: &Inputs,
    len: usize,
    f: impl FnOnce([&[f32]; N], &mut [f32]),
) -> Vec<Tensor> {
    let mut out = vec![0.0; len];
    f(
        std::array::from_fn(|i| get_vec_from_tensor(&inputs[i].0).as_slice()),
        &mut out,
    );
    vec![Tensor::new(out)]
}

/// A value from outside: the executor sets its tensor before the graph runs. Unset, it is zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// `view/x1`, `param/f.conv1.weight`, `step`
    pub name: String,
    pub shape: Vec<usize>,
}

impl Operator for Source {
    fn process(&mut self, _: Inputs) -> Vec<Tensor> {
        vec![Tensor::new(vec![0f32; self.shape.iter().product()])]
    }
}

/// 0, 1, …, size − 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Iota {
    pub size: usize,
}

impl Operator for Iota {
    fn process(&mut self, _: Inputs) -> Vec<Tensor> {
        vec![Tensor::new(
            (0..self.size).map(|i| i as f32).collect::<Vec<f32>>(),
        )]
    }
}

/// Its second input where the first is not 0, else its third.
#[derive(Clone, Debug, PartialEq)]
pub struct Select;

impl Operator for Select {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let read: Vec<_> = inputs
            .iter()
            .map(|(tensor, tracker)| {
                let (index, valid) = (tracker.index_expression(), tracker.valid_expression());
                let data = get_vec_from_tensor(tensor);
                move |i: usize| match valid.exec_single_var(i) {
                    0 => 0.0,
                    _ => data[index.exec_single_var(i)],
                }
            })
            .collect();
        let len = inputs[0].1.n_elements().to_usize().unwrap_or(0);
        let out: Vec<f32> = (0..len)
            .map(|i| {
                if read[0](i) != 0.0 {
                    read[1](i)
                } else {
                    read[2](i)
                }
            })
            .collect();
        vec![Tensor::new(out)]
    }
}

/// The error function.
#[derive(Clone, Debug, PartialEq)]
pub struct Erf;

impl Operator for Erf {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let x = get_vec_from_tensor(&inputs[0].0);
        vec![Tensor::new(
            x.iter().map(|x| naive::erf(*x)).collect::<Vec<f32>>(),
        )]
    }
}

/// The nearest bf16, ties to even, as an f32.
#[derive(Clone, Debug, PartialEq)]
pub struct ToBf16;

impl Operator for ToBf16 {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let x = get_vec_from_tensor(&inputs[0].0);
        vec![Tensor::new(
            x.iter().map(|x| bf16::round(*x)).collect::<Vec<f32>>(),
        )]
    }
}

/// Its first input to the power of its second, as C's `powf`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pow;

impl Operator for Pow {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let (x, y) = (
            get_vec_from_tensor(&inputs[0].0),
            get_vec_from_tensor(&inputs[1].0),
        );
        vec![Tensor::new(
            x.iter()
                .zip(y)
                .map(|(x, y)| x.powf(*y))
                .collect::<Vec<f32>>(),
        )]
    }
}

/// Batched matrix product.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul(pub MatMulShape);

impl Operator for MatMul {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = self.0;
        dense(&inputs, s.batch * s.m * s.n, |[a, b], out| {
            naive::matmul(a, b, out, s)
        })
    }
}

/// Convolution of x (NHWC) with w (HWIO).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d(pub ConvShape);

impl Operator for Conv2d {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = &self.0;
        dense(&inputs, s.y_len(), |[x, w], y| naive::conv(x, w, y, s))
    }
}

/// The gradient of [`Conv2d`] by x, of dy and w.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dInputGrad(pub ConvShape);

impl Operator for Conv2dInputGrad {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = &self.0;
        dense(&inputs, s.x_len(), |[dy, w], dx| {
            naive::conv_input_grad(dy, w, dx, s)
        })
    }
}

/// The gradient of [`Conv2d`] by w, of x and dy.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dFilterGrad(pub ConvShape);

impl Operator for Conv2dFilterGrad {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = &self.0;
        dense(&inputs, s.w_len(), |[x, dy], dw| {
            naive::conv_filter_grad(x, dy, dw, s)
        })
    }
}

/// Maximum over windows.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool(pub Window);

impl Operator for MaxPool {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = &self.0;
        dense(&inputs, s.y_len(), |[x], y| naive::max_pool(x, y, s))
    }
}

/// The gradient of [`MaxPool`], of x and dy.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPoolGrad(pub Window);

impl Operator for MaxPoolGrad {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = &self.0;
        dense(&inputs, s.x_len(), |[x, dy], dx| {
            naive::max_pool_grad(x, dy, dx, s)
        })
    }
}

/// Mean over windows.
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPool(pub Window);

impl Operator for AvgPool {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = &self.0;
        dense(&inputs, s.y_len(), |[x], y| naive::avg_pool(x, y, s))
    }
}

/// The gradient of [`AvgPool`], of dy.
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPoolGrad(pub Window);

impl Operator for AvgPoolGrad {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = &self.0;
        dense(&inputs, s.x_len(), |[dy], dx| {
            naive::avg_pool_grad(dy, dx, s)
        })
    }
}

/// `y[o, j, i] = x[o, index[j], i]`, of x and the index.
#[derive(Clone, Debug, PartialEq)]
pub struct Take(pub TakeShape);

impl Operator for Take {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = self.0;
        dense(&inputs, s.outer * s.count * s.inner, |[x, index], y| {
            naive::take(x, index, y, s)
        })
    }
}

/// The transpose of [`Take`], of y and the index.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterAdd(pub TakeShape);

impl Operator for ScatterAdd {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let s = self.0;
        dense(&inputs, s.outer * s.size * s.inner, |[y, index], x| {
            naive::scatter_add(y, index, x, s)
        })
    }
}

/// The position of the first maximum along the middle axis of [outer, size, inner].
#[derive(Clone, Debug, PartialEq)]
pub struct ArgMax {
    pub outer: usize,
    pub size: usize,
    pub inner: usize,
}

impl Operator for ArgMax {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let (outer, size, inner) = (self.outer, self.size, self.inner);
        dense(&inputs, outer * inner, |[x], y| {
            naive::argmax(x, y, outer, size, inner)
        })
    }
}

/// Uniform draws of one stream, of the step counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Uniform {
    pub len: usize,
    pub seed: u64,
    pub stream: u64,
}

impl Operator for Uniform {
    fn process(&mut self, inputs: Inputs) -> Vec<Tensor> {
        let (seed, stream) = (self.seed, self.stream);
        dense(&inputs, self.len, |[step], y| {
            naive::uniform(step.first().copied().unwrap_or(0.0), y, seed, stream);
        })
    }
}
