//! Results on the simulator against the interpreter of the kernel IR.
//!
//! Operands are small whole numbers, whose sums of products are exact: results are held to the same bits. Sums of squared
//! deviations are not whole numbers: they are held to 10⁻⁵.

use super::cases::{Case, Which, as_trained};
use crate::code::contract::form::Form;
use crate::code::contract::of_cut;
use crate::code::contract::tiles::{Cut, Tile, tiles};
use crate::code::loops::loop_kernel;
use crate::code::{Code, of_kernel};
use crate::tests::{Bench, source};
use proptest::prelude::*;
use sslc_compiler::core::bf16;
use sslc_compiler::kernels::ir::{BufferKind, Combine, ConvShape, Element, KernelKind};
use sslc_kernel_testing::Draw;

impl Case {
    /// The kernel with whole numbers as the contents of its buffers: from −3 to 3.
    pub fn bench(&self, draw: &mut Draw) -> Bench {
        self.bench_of(draw, 3)
    }

    /// The same with numbers from −most to most.
    pub fn bench_of(&self, draw: &mut Draw, most: usize) -> Bench {
        let mut bench = Bench::default();
        for buffer in &self.buffers {
            let numbers: Vec<f32> = (0..buffer.len())
                .map(|_| draw.below(2 * most + 1) as f32 - most as f32)
                .collect();
            match buffer.kind {
                BufferKind::Piecewise => bench.piecewise(buffer.element, buffer.len()),
                _ => bench.buffer_of(buffer.element, numbers),
            };
        }
        let plain = self.kernel.prologue.is_none() && self.kernel.epilogue.is_none();
        bench.kernel(match plain {
            true => KernelKind::Contraction(self.kernel.contraction.clone()),
            false => KernelKind::Fused(self.kernel.clone()),
        });
        bench
    }

    /// Holds what the simulator makes of it to what the interpreter does.
    pub fn hold(&self, draw: &mut Draw) {
        self.hold_code(draw, &self.code(None));
    }

    /// The same with tiles of one kind, and `splits` parts of the terms.
    fn hold_tile(&self, draw: &mut Draw, tile: Tile, splits: usize) {
        let form = Form::new(&self.kernel.contraction);
        let mut cut = Cut::whole(&form, tile);
        if form.classes.is_none() {
            let steps = cut.steps;
            cut.steps = steps.div_ceil(splits);
            cut.splits = steps.div_ceil(cut.steps);
        }
        self.hold_code(draw, &self.code(Some(cut)));
    }

    fn hold_code(&self, draw: &mut Draw, code: &Code) {
        let bench = self.bench(draw);
        let Some(got) = bench.run_code(code) else {
            return;
        };
        let wrong = match got {
            Ok(got) => self.difference(&got, &bench.expected()),
            Err(says) => Some(says),
        };
        if let Some(wrong) = wrong {
            panic!("{}: {wrong}\n{}", self.name, source(code));
        }
    }

    /// Its code, in the cut given or the one that is chosen.
    pub fn code(&self, cut: Option<Cut>) -> Code {
        let form = Form::new(&self.kernel.contraction);
        let cut =
            cut.unwrap_or_else(|| Cut::new(&form, self.element(), self.kernel.epilogue.is_some()));
        let (prologue, epilogue) = (&self.kernel.prologue, &self.kernel.epilogue);
        let (drafts, rest) = of_cut(
            &form,
            cut,
            prologue.as_ref(),
            epilogue.as_ref(),
            &self.buffers,
        );
        let rest = rest.map(|r| loop_kernel(r, &self.buffers));
        of_kernel([drafts].into_iter().chain(rest).collect())
    }

    /// The first place where two runs differ, in words.
    pub fn difference(&self, got: &[Vec<f32>], want: &[Vec<f32>]) -> Option<String> {
        let outputs = self.kernel.epilogue.iter().flat_map(|e| &e.outputs);
        let deviations: Vec<_> = outputs
            .filter(|o| matches!(o.combine, Combine::Deviations(_)))
            .map(|o| o.to.buffer.0 as usize)
            .collect();
        for (b, (got, want)) in got.iter().zip(want).enumerate() {
            for (at, (g, w)) in got.iter().zip(want).enumerate() {
                let slack = match deviations.contains(&b) {
                    true => 1e-5 * w.abs() + 1e-5,
                    false => 0.0,
                };
                if (g - w).abs() > slack || g.is_nan() != w.is_nan() {
                    return Some(format!("buffer {b} at {at} is {g}, expected {w}"));
                }
            }
        }
        None
    }
}

#[test]
fn products_of_every_orientation() {
    let mut draw = Draw::new(1);
    for element in [Element::F32, Element::Bf16] {
        for sizes in [
            [1, 5, 3, 7],
            [2, 33, 40, 20],
            [1, 130, 66, 72],
            [3, 64, 64, 32],
        ] {
            for turned in [[false, false], [false, true], [true, false], [true, true]] {
                Case::matmul([element, element], sizes, turned).hold(&mut draw);
            }
        }
    }
}

/// Every tile, with more rows, columns and terms than one has; the terms whole and in three parts.
#[test]
fn every_tile_of_products() {
    let mut draw = Draw::new(2);
    for element in [Element::F32, Element::Bf16] {
        for (turn, (tile, _)) in tiles(element).iter().enumerate() {
            for (way, turned) in [[false, false], [true, true], [false, true], [true, false]]
                .into_iter()
                .enumerate()
            {
                let odd = [0, 4, 1, 2][(turn + way) % 4];
                let sizes = [1, tile.m + 8 + odd, tile.n + 16 + odd, 3 * tile.k + 8 + odd];
                let case = Case::matmul([element, element], sizes, turned);
                match (turn + way) % 3 {
                    0 => case.hold_tile(&mut draw, *tile, 1),
                    1 => case.with_statistics().hold_tile(&mut draw, *tile, 1),
                    _ => case.with_statistics().hold_tile(&mut draw, *tile, 3),
                }
            }
        }
    }
}

/// Every tile of every product of a convolution.
#[test]
fn every_tile_of_convolutions() {
    let mut draw = Draw::new(3);
    for element in [Element::F32, Element::Bf16] {
        for (turn, (tile, _)) in tiles(element).iter().enumerate() {
            let (c, k, stride) = [(24, 40, 1), (8, 136, 2), (136, 8, 2)][turn % 3];
            let shape = ConvShape::square(3, 9, [c, k], 3, stride);
            for which in [Which::Forward, Which::InputGrad, Which::FilterGrad] {
                let case = || Case::conv(which, element, shape);
                case().hold_tile(&mut draw, *tile, 3);
                let both = case().with_normalised().with_residual();
                both.hold_tile(&mut draw, *tile, 1);
            }
        }
    }
}

/// Loops that no network has: all that a kernel may be made of.
#[test]
fn loops_of_any_form() {
    let mut draw = Draw::new(5);
    for element in [Element::F32, Element::Bf16] {
        for rows in [false, true] {
            for sizes in [[3, 20, 12, 16], [2, 7, 5, 9]] {
                let case = Case::matmul([element, Element::F32], sizes, [false, true]);
                case.with_odd_epilogue(rows).hold(&mut draw);
            }
        }
        let shape = ConvShape {
            groups: 2,
            ..ConvShape::square(2, 6, [16, 12], 3, 1)
        };
        for shape in [
            shape,
            ConvShape::square(2, 5, [6, 8], 2, 1),
            ConvShape::square(2, 5, [8, 12], 1, 1),
        ] {
            for which in [Which::Forward, Which::FilterGrad] {
                Case::conv(which, element, shape)
                    .with_odd_prologue()
                    .with_odd_epilogue(false)
                    .hold(&mut draw);
            }
            Case::conv(Which::InputGrad, element, shape)
                .with_odd_epilogue(false)
                .hold(&mut draw);
        }
    }
}

/// Sums of numbers that are not whole are as near as f32 is.
#[test]
fn sums_are_in_f32() {
    let mut draw = Draw::new(4);
    for element in [Element::F32, Element::Bf16] {
        let k = 700;
        let case = Case::matmul([element, Element::F32], [1, 40, 24, k], [false, true]);
        let mut bench = case.bench(&mut draw);
        for contents in &mut bench.contents[..2] {
            let len = contents.len();
            *contents = draw.numbers(len).into_iter().map(bf16::round).collect();
        }
        let Some(got) = bench.run() else { return };
        for (g, w) in got[2].iter().zip(&bench.expected()[2]) {
            assert!((g - w).abs() < 2e-5, "{g}, expected {w}");
        }
    }
}

/// Any convolution that has an output.
fn shapes() -> impl Strategy<Value = ConvShape> {
    let channels = prop::sample::select(vec![1usize, 2, 3, 4, 5, 8, 16, 24, 33]);
    (
        1usize..4,
        1usize..10,
        1usize..10,
        channels.clone(),
        channels,
        (1usize..5, 1usize..4, 0usize..3),
        prop::sample::select(vec![1usize, 1, 1, 2, 3]),
    )
        .prop_filter_map(
            "an output",
            |(n, h, w, c, k, (kernel, stride, padding), groups)| {
                let out =
                    |size: usize| Some((size + 2 * padding).checked_sub(kernel)? / stride + 1);
                Some(ConvShape {
                    n,
                    h,
                    w,
                    c: c * groups,
                    k: k * groups,
                    oh: out(h)?,
                    ow: out(w)?,
                    kernel,
                    stride,
                    padding,
                    groups,
                })
            },
        )
}

fn products() -> impl Strategy<Value = (Which, Element)> {
    (
        prop::sample::select(vec![Which::Forward, Which::InputGrad, Which::FilterGrad]),
        prop::sample::select(vec![Element::F32, Element::Bf16]),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_of_any_shape((which, element) in products(), shape in shapes(), seed: u64) {
        Case::conv(which, element, shape).hold(&mut Draw::new(seed));
    }

    #[test]
    fn convolutions_with_epilogues((which, element) in products(), shape in shapes(), residual: bool, seed: u64) {
        let case = Case::conv(which, element, shape);
        let case = if residual { case.with_residual() } else { case.with_statistics() };
        case.hold(&mut Draw::new(seed));
    }

    #[test]
    fn convolutions_with_prologues(element in prop::sample::select(vec![Element::F32, Element::Bf16]), forward: bool, shape in shapes(), rounded: bool, seed: u64) {
        let which = if forward { Which::Forward } else { Which::FilterGrad };
        let case = Case::conv(which, element, shape);
        let case = if rounded { case.with_rounded() } else { case.with_normalised() };
        case.hold(&mut Draw::new(seed));
    }
}

/// The convolutions of ResNet-18 with the CIFAR stem by shape, an image at a time.
mod resnet18 {
    use super::*;

    fn hold([c, k, size, kernel, stride]: [usize; 5]) {
        let mut draw = Draw::new(18);
        let shape = ConvShape::square(1, size, [c, k], kernel, stride);
        for element in [Element::F32, Element::Bf16] {
            for case in as_trained(element, shape) {
                case.hold(&mut draw);
            }
        }
    }

    macro_rules! layers {
        ($($name:ident: $layer:expr;)*) => {$(
            #[test]
            fn $name() {
                hold($layer);
            }
        )*};
    }

    // Channels in and out, size of the input, kernel, stride.
    layers! {
        conv1: [3, 64, 32, 3, 1];
        layer1: [64, 64, 32, 3, 1];
        layer2_first: [64, 128, 32, 3, 2];
        layer2_shortcut: [64, 128, 32, 1, 2];
        layer2: [128, 128, 16, 3, 1];
        layer3_first: [128, 256, 16, 3, 2];
        layer3_shortcut: [128, 256, 16, 1, 2];
        layer3: [256, 256, 8, 3, 1];
        layer4_first: [256, 512, 8, 3, 2];
        layer4_shortcut: [256, 512, 8, 1, 2];
        layer4: [512, 512, 4, 3, 1];
    }
}
