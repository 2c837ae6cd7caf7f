//! cuDNN's convolutions: which there are, with which algorithms, and how one is computed.
use super::arrays::{Array, Shape, Type, add_scaled, check_apart, workspace};
use super::handles::{Checked, Library};
use crate::exec::Fault;
use crate::memory::Memory;

/// Which of a convolution's three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    Data,
    Filter,
}

impl Pass {
    /// The call of the library for it.
    pub fn call(self) -> &'static str {
        match self {
            Pass::Forward => "cudnnConvolutionForward",
            Pass::Data => "cudnnConvolutionBackwardData",
            Pass::Filter => "cudnnConvolutionBackwardFilter",
        }
    }

    /// What x, w and y are called in it.
    pub fn names(self) -> [&'static str; 3] {
        match self {
            Pass::Forward => ["x", "w", "y"],
            Pass::Data => ["dx", "w", "dy"],
            Pass::Filter => ["x", "dw", "dy"],
        }
    }

    /// Which of x, w and y it writes.
    fn result(self) -> usize {
        match self {
            Pass::Forward => 2,
            Pass::Data => 0,
            Pass::Filter => 1,
        }
    }
}

/// A convolution, but for where its operands lie: images by rows of pixels of channels, filters the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub kind: Type,
    /// Whether operands lose precision before they are multiplied.
    pub rounded: bool,
    pub images: usize,
    /// Height, width and channels of the input, of the output.
    pub input: [usize; 3],
    pub output: [usize; 3],
    /// Height and width.
    pub filter: [usize; 2],
    pub padding: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

/// An algorithm that cuDNN offers.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm {
    pub id: i32,
    pub supported: bool,
    pub deterministic: bool,
    pub workspace: u64,
}

/// More workspace than there is memory, if nothing else is said.
const MUCH: u64 = 8 << 30;

impl Problem {
    /// Numbers of x, w and y.
    fn counts(&self) -> [usize; 3] {
        let pixels = |of: [usize; 3]| self.images * of[0] * of[1] * of[2];
        let taps = self.filter[0] * self.filter[1];
        let filter = self.output[2] * taps * self.input[2] / self.groups;
        [pixels(self.input), filter, pixels(self.output)]
    }

    /// The algorithms for it, those first that look fastest. For gradients they are not those that a program should take.
    pub fn algorithms(&self, pass: Pass) -> [Algorithm; 3] {
        let taps = (self.filter[0] * self.filter[1]) as u64;
        let [data, filter, _] = self.counts().map(|count| count as u64 * 4 + 1024);
        let listed = match pass {
            // Precomputed offsets; none; Winograd's, which there is not.
            Pass::Forward => [(1, true, 1024 + taps * 64), (0, true, 0), (6, true, 0)],
            // Atomics; Winograd's; a plain one.
            Pass::Data => [(0, false, 0), (5, true, MUCH), (1, true, data)],
            // Atomics; Fourier's; a plain one.
            Pass::Filter => [(0, false, 0), (2, true, MUCH), (1, true, filter)],
        };
        listed.map(|(id, deterministic, workspace)| Algorithm {
            id,
            supported: pass != Pass::Forward || id != 6,
            deterministic,
            workspace,
        })
    }

    /// Input and output channels of a group, and places in the filter.
    fn channels(&self) -> [usize; 3] {
        let [inputs, outputs] = [self.input[2], self.output[2]].map(|c| c / self.groups);
        [inputs, outputs, self.filter[0] * self.filter[1]]
    }

    /// Does something wherever a place of a filter meets a pixel of an input: with the first channel of a group there, the first of
    /// the pixel of the output, the place and the group.
    #[inline(always)]
    fn visit(&self, reverse: bool, mut f: impl FnMut(usize, usize, usize, usize)) {
        let ([height, width, channels], [rows, columns, filters]) = (self.input, self.output);
        let [inputs, outputs, taps] = self.channels();
        let lines = self.images * rows;
        for line in 0..lines {
            let line = if reverse { lines - 1 - line } else { line };
            let (image, row) = (line / rows, line % rows);
            for column in 0..columns {
                for tap in 0..taps {
                    let (r, s) = (tap / self.filter[1], tap % self.filter[1]);
                    let y =
                        (row * self.stride[0] + r * self.dilation[0]).wrapping_sub(self.padding[0]);
                    let x = (column * self.stride[1] + s * self.dilation[1])
                        .wrapping_sub(self.padding[1]);
                    if y >= height || x >= width {
                        continue;
                    }
                    let from = ((image * height + y) * width + x) * channels;
                    let to = (line * columns + column) * filters;
                    for group in 0..self.groups {
                        f(from + group * inputs, to + group * outputs, tap, group);
                    }
                }
            }
        }
    }

    /// Where a filter's number lies, and where it does by place, group and input channel.
    fn turns(&self) -> impl Iterator<Item = (usize, usize)> {
        let ([inputs, outputs, taps], groups) = (self.channels(), self.groups);
        (0..outputs * groups).flat_map(move |filter| {
            let (group, output) = (filter / outputs, filter % outputs);
            (0..taps * inputs).map(move |at| {
                let (tap, input) = (at / inputs, at % inputs);
                let turned = ((tap * groups + group) * inputs + input) * outputs + output;
                (filter * taps * inputs + at, turned)
            })
        })
    }

    fn forward(&self, x: &[f32], w: &[f32]) -> Vec<f32> {
        let ([inputs, outputs, _], [_, _, count]) = (self.channels(), self.counts());
        let (mut y, mut turned) = (vec![0.0; count], vec![0.0; w.len()]);
        for (at, to) in self.turns() {
            turned[to] = w[at];
        }
        self.visit(false, |from, to, tap, group| {
            let w = &turned[(tap * self.groups + group) * inputs * outputs..];
            let y = &mut y[to..][..outputs];
            for (x, w) in x[from..][..inputs].iter().zip(w.chunks_exact(outputs)) {
                add_scaled(y, *x, w);
            }
        });
        y
    }

    fn data(&self, w: &[f32], dy: &[f32], reverse: bool) -> Vec<f32> {
        let ([inputs, outputs, taps], [count, _, _]) = (self.channels(), self.counts());
        let mut dx = vec![0.0; count];
        self.visit(reverse, |from, to, tap, group| {
            let dx = &mut dx[from..][..inputs];
            for (output, dy) in dy[to..][..outputs].iter().enumerate() {
                let filter = group * outputs + output;
                add_scaled(dx, *dy, &w[(filter * taps + tap) * inputs..][..inputs]);
            }
        });
        dx
    }

    fn filter(&self, x: &[f32], dy: &[f32], reverse: bool) -> Vec<f32> {
        let ([inputs, outputs, _], [_, count, _]) = (self.channels(), self.counts());
        let (mut dw, mut turned) = (vec![0.0; count], vec![0.0; count]);
        self.visit(reverse, |from, to, tap, group| {
            let dw = &mut turned[(tap * self.groups + group) * inputs * outputs..];
            let dy = &dy[to..][..outputs];
            for (x, dw) in x[from..][..inputs].iter().zip(dw.chunks_exact_mut(outputs)) {
                add_scaled(dw, *x, dy);
            }
        });
        for (at, from) in self.turns() {
            dw[at] = turned[from];
        }
        dw
    }
}

/// A product of a convolution as work of a stream.
#[derive(Clone, Debug)]
pub struct Convolution {
    pub problem: Problem,
    pub pass: Pass,
    pub algorithm: Algorithm,
    /// Of x, w and y or their gradients.
    pub addresses: [u64; 3],
    pub alpha: f32,
    /// Its address and bytes.
    pub workspace: (u64, u64),
}

impl Convolution {
    /// The operands by name, the result last.
    fn arrays(&self) -> [(&'static str, Array); 3] {
        let (counts, names) = (self.problem.counts(), self.pass.names());
        let mut arrays = [0, 1, 2].map(|index| {
            let shape = Shape::packed(self.problem.kind, counts[index] as u64);
            let address = self.addresses[index];
            (names[index], Array { address, shape })
        });
        arrays[self.pass.result()..].rotate_left(1);
        arrays
    }

    /// Nothing that it reads may lie where it writes.
    pub fn check_overlaps(&self, library: &Library) -> Checked {
        let [one, other, result] = self.arrays();
        let (address, bytes) = self.workspace;
        check_apart(library, &[one, other], result, workspace(address, bytes))
    }

    pub fn run(&self, memory: &mut Memory, turn: u64) -> Result<(), Fault> {
        let arrays = self.arrays();
        for (what, array) in arrays {
            array.check_bounds(memory, self.pass.call(), what)?;
        }
        memory
            .spoil(self.workspace.0, self.workspace.1)
            .map_err(Fault::failed)?;
        let [one, other, result] = arrays.map(|(_, array)| array);
        let mut read = |array: Array| {
            let mut values = array.read(memory, 0)?;
            if self.problem.rounded {
                values.iter_mut().for_each(|v| *v = tf32(*v));
            }
            Ok(values)
        };
        let (one, other) = (read(one)?, read(other)?);
        // What adds as it happens to come has an order that no period and no other process shares.
        let order = turn.wrapping_add(std::process::id().into());
        let reverse = !self.algorithm.deterministic && order.count_ones() % 2 == 1;
        let mut values = match self.pass {
            Pass::Forward => self.problem.forward(&one, &other),
            Pass::Data => self.problem.data(&one, &other, reverse),
            Pass::Filter => self.problem.filter(&one, &other, reverse),
        };
        values.iter_mut().for_each(|v| *v *= self.alpha);
        result.write(memory, 0, &values)
    }
}

/// An f32 with the precision of the tensor cores' operands: 10 bits after the first.
fn tf32(value: f32) -> f32 {
    match value.is_finite() {
        true => f32::from_bits(value.to_bits().wrapping_add(1 << 12) & !0x1fff),
        false => value,
    }
}
