//! Kernels with planted mistakes: each is refused by the simulator, or its results differ.

use super::cases::{Case, Which};
use crate::code::Code;
use crate::code::contract::form::Form;
use crate::code::contract::tiles::{Cut, Tile, tiles};
use crate::tests::nvrtc;
use sslc_compiler::kernels::ir::{ConvShape, Element};
use sslc_kernel_testing::Draw;

/// A mistake: what it is, and which text becomes which.
type Mistake = (&'static str, &'static str, &'static str);

/// How a run of a kernel ends.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Caught(String),
}

struct Subject {
    case: Case,
    cut: Cut,
    /// The largest number in its buffers.
    most: usize,
}

impl Subject {
    fn new(case: Case, tile: Tile, splits: usize) -> Subject {
        let mut cut = Cut::whole(&Form::new(&case.kernel.contraction), tile);
        let steps = cut.steps;
        cut.steps = steps.div_ceil(splits);
        cut.splits = steps.div_ceil(cut.steps);
        Subject { case, cut, most: 3 }
    }

    fn run(&self, code: &Code) -> Verdict {
        let bench = self.case.bench_of(&mut Draw::new(7), self.most);
        match bench.run_code(code).expect("NVRTC, as asked before") {
            Err(says) => Verdict::Caught(says),
            Ok(got) => match self.case.difference(&got, &bench.expected()) {
                Some(wrong) => Verdict::Caught(wrong),
                None => Verdict::Right,
            },
        }
    }

    /// Holds that the kernel is right, and that it is not with each of the mistakes.
    fn hold(&self, mistakes: &[Mistake]) {
        if nvrtc().is_none() {
            return;
        }
        let code = self.case.code(Some(self.cut));
        assert_eq!(self.run(&code), Verdict::Right, "{}", self.case.name);
        let mut missed = Vec::new();
        for (what, from, to) in mistakes {
            let mut wrong = code.clone();
            let mut found = 0;
            for function in &mut wrong.functions {
                found += function.source.matches(from).count();
                function.source = function.source.replacen(from, to, 1);
            }
            assert!(
                found > 0,
                "{what}: no `{from}` in {}",
                code.functions[0].source
            );
            match self.run(&wrong) {
                Verdict::Right => missed.push(*what),
                Verdict::Caught(how) if how.contains("error:") => panic!("{what}: {how}"),
                Verdict::Caught(how) => println!("{what}: {}", how.lines().next().unwrap_or("")),
            }
        }
        assert!(
            missed.is_empty(),
            "{}: not caught: {missed:?}",
            self.case.name
        );
    }
}

fn tile(element: Element, m: usize, n: usize) -> Tile {
    let all = tiles(element).iter().map(|(tile, _)| *tile);
    all.into_iter()
        .find(|t| t.m == m && t.n == n)
        .expect("a tile of that size")
}

/// What goes wrong in any kernel whose operands are copied.
const COPIES: [Mistake; 9] = [
    (
        "no barrier before a step",
        "copies_wait<STAGES - 2>();\n        __syncthreads();",
        "copies_wait<STAGES - 2>();",
    ),
    ("no wait for copies", "copies_wait<STAGES - 2>();\n", ""),
    (
        "a wait that lets one group more be on its way",
        "copies_wait<STAGES - 2>();",
        "copies_wait<STAGES - 1>();",
    ),
    (
        "copies to the place that is read",
        "fetch(next);",
        "fetch(stage);",
    ),
    (
        "a stage too few",
        "stage == STAGES - 1 ? 0 : stage + 1",
        "stage >= STAGES - 2 ? 0 : stage + 1",
    ),
    (
        "the last step left out",
        "step < end; step++",
        "step < end - 1; step++",
    ),
    (
        "no barrier before sums go over the operands",
        "{\n        __syncthreads();\n        #pragma unroll\n        for (int s = 0",
        "{\n        #pragma unroll\n        for (int s = 0",
    ),
    (
        "no barrier after sums are written",
        "        __syncthreads();\n        for (int r = down",
        "        for (int r = down",
    ),
    ("a slab left out", "p < SLABS", "p < SLABS - 1"),
];

/// What goes wrong in the reductions of columns.
const REDUCTIONS: [Mistake; 9] = [
    (
        "a row of accumulators left out",
        "int d = 1; d < DOWN",
        "int d = 2; d < DOWN",
    ),
    (
        "no barrier before accumulators are merged",
        "        __syncthreads();\n        if (thread < TILE_N",
        "        if (thread < TILE_N",
    ),
    (
        "no barrier before accumulators go over sums",
        "shared;\n        __syncthreads();\n        #pragma unroll\n        for (int q = 0",
        "shared;\n        #pragma unroll\n        for (int q = 0",
    ),
    (
        "parts of all blocks in one place",
        "part_row = tile_m",
        "part_row = 0 * tile_m",
    ),
    (
        "a wrong number of values seen",
        "seen += 1.0f;",
        "seen += 2.0f;",
    ),
    (
        "a part left out",
        "part < PARTS; part",
        "part < PARTS - 1; part",
    ),
    (
        "no barrier in the tree of parts",
        "            __syncthreads();\n            if (down < by)",
        "            if (down < by)",
    ),
    (
        "a tree that ends early",
        "by > 0; by /= 2",
        "by > 1; by /= 2",
    ),
    (
        "columns beyond the last",
        "thread < TILE_N && n0 + thread < N",
        "thread < TILE_N",
    ),
];

#[test]
fn mistakes_in_convolutions_of_f32() {
    let shape = ConvShape::square(6, 9, [20, 72], 3, 2);
    let case = Case::conv(Which::Forward, Element::F32, shape).with_statistics();
    let subject = Subject::new(case, tile(Element::F32, 128, 64), 1);
    subject.hold(&COPIES);
    subject.hold(&REDUCTIONS);
    subject.hold(&[
        ("a pixel too many", "row < M", "row <= M"),
        ("rows outside of the image", " && (unsigned)y < 9", ""),
        (
            "a column outside of the image",
            "(unsigned)x < 9",
            "(unsigned)x <= 9",
        ),
        ("no padding", "% 5 * 2 - 1, x", "% 5 * 2, x"),
        ("a wrong stride", "% 5 * 2 - 1, x", "% 5 * 1 - 1, x"),
        (
            "a wrong width of the image",
            "(tap_y * 9 + tap_x)",
            "(tap_y * 10 + tap_x)",
        ),
        (
            "a tap too few in a row",
            "tap_x == TAPS_X",
            "tap_x == TAPS_X - 1",
        ),
        (
            "channels not taken on to the next tap",
            "channel -= INNER",
            "channel = 0",
        ),
        ("terms beyond the last", " && b_k + i * B_DOWN < K", ""),
        ("columns beyond the last", "n0 + b_along < N && ", ""),
        (
            "a wrong leading dimension",
            "i * B_DOWN * 72",
            "i * B_DOWN * 20",
        ),
        ("a leading dimension of terms", "b_k * 72", "b_k * 64"),
        (
            "rows of shared memory too near",
            "A_PITCH = 20",
            "A_PITCH = 12",
        ),
        (
            "rows of a thread in the wrong order",
            "first_row + 4 * i) * A_PITCH",
            "first_row + i) * A_PITCH",
        ),
        (
            "columns of a thread in the wrong order",
            "first_column + 8 * j)",
            "first_column + 4 * j)",
        ),
        ("a row stored too far", "in_columns && m < M", "in_columns"),
        ("columns stored too far", "in_columns && m < M", "m < M"),
        (
            "rows of a slab in the wrong order",
            "r / 4 % 4 + r % 4 * 4",
            "r % 16",
        ),
        (
            "a chunk too wide",
            "copy_async<16>(a_to",
            "copy_async<8>(a_to",
        ),
        (
            "a place that is not aligned",
            "a_to + i * A_DOWN * A_PITCH",
            "a_to + 1 + i * A_DOWN * A_PITCH",
        ),
        (
            "too little shared memory asked for",
            "STAGES * A_TILE",
            "2 * STAGES * A_TILE",
        ),
    ]);
}

#[test]
fn mistakes_on_tensor_cores() {
    let shape = ConvShape::square(3, 9, [24, 72], 3, 1);
    let case = Case::conv(Which::Forward, Element::Bf16, shape).with_statistics();
    let mut subject = Subject::new(case, tile(Element::Bf16, 64, 64), 1);
    subject.most = 9;
    subject.hold(&COPIES);
    subject.hold(&[
        (
            "halves of a column swapped",
            "right[j][0], right[j][1]",
            "right[j][1], right[j][0]",
        ),
        (
            "columns swapped",
            "right[j][2], right[j][3]",
            "right[j][0], right[j][1]",
        ),
        (
            "a matrix not turned",
            "matrices_turned(right",
            "matrices(right",
        ),
        ("a matrix turned", "matrices(left", "matrices_turned(left"),
        (
            "quarters of rows swapped",
            "a_part + row * A_PITCH + k + lane / 16 * 8",
            "a_part + row * A_PITCH + k + lane / 8 % 2 * 8",
        ),
        (
            "quarters of columns swapped",
            "(k + lane / 8 % 2 * 8 + lane % 8)",
            "(k + lane / 16 * 8 + lane % 8)",
        ),
        (
            "half of the terms",
            "k < TILE_K; k += 16",
            "k < TILE_K; k += 32",
        ),
        (
            "rows of sums swapped",
            "to + 8 * SLAB_PITCH",
            "to + 4 * SLAB_PITCH",
        ),
        (
            "statistics of what is not rounded",
            "round_bf16(sum[q])",
            "sum[q]",
        ),
        (
            "steps by channels too small",
            "channel = term % INNER;",
            "channel = (term + 8) % INNER;",
        ),
    ]);
}

#[test]
fn mistakes_in_gradients_of_inputs() {
    let shape = ConvShape::square(2, 9, [40, 20], 3, 2);
    let case = Case::conv(Which::InputGrad, Element::F32, shape).with_residual();
    Subject::new(case, tile(Element::F32, 64, 64), 1).hold(&[
        (
            "a class of the other parity",
            "first_y = (class_y + 1)",
            "first_y = (class_y + 0)",
        ),
        (
            "taps of another class",
            "(class_y + tap_y * 2)",
            "(class_y + tap_y)",
        ),
        (
            "a filter not turned",
            "b_first + i * B_DOWN * 20",
            "b_first + i * B_DOWN * 40",
        ),
        (
            "taps in the other direction",
            "a_y[i] - tap_y",
            "a_y[i] + tap_y",
        ),
        ("a pixel too many", "row < class_m", "row <= class_m"),
        (
            "pixels stored too far",
            "in_columns && i >= 0",
            "in_columns",
        ),
        (
            "pixels of a class too near",
            "m / class_w % class_h * STRIDE",
            "m / class_w % class_h",
        ),
        (
            "parts of classes in one place",
            "pixel_class * TILES_M + tile_m",
            "tile_m",
        ),
        (
            "another tensor of the epilogue",
            "load_all(own7, ",
            "load_all(own7, 1 + ",
        ),
        (
            "no store over the last columns",
            "store_all(out1 + at",
            "if (along < 36) store_all(out1 + at",
        ),
    ]);
}

#[test]
fn mistakes_in_gradients_of_filters() {
    let shape = ConvShape::square(3, 9, [20, 36], 3, 2);
    let case = Case::conv(Which::FilterGrad, Element::F32, shape).with_normalised();
    Subject::new(case, tile(Element::F32, 64, 64), 2).hold(&[
        (
            "splits that overlap",
            "begin = split * 3",
            "begin = split * 2",
        ),
        (
            "the last step of a split left out",
            "min(begin + 3",
            "min(begin + 2",
        ),
        (
            "splits in one place",
            "split * (RESULT_ROWS * RESULT_COLUMNS) + ",
            "",
        ),
        ("a split left out", "s < SPLITS", "s < SPLITS - 1"),
        ("a sum too many", "at < SIZE", "at <= SIZE"),
        ("a row of pixels too long", "a_x[i] >= 5", "a_x[i] > 5"),
        ("an image too long", "a_y[i] -= 5;", "a_y[i] = 1;"),
        ("pixels beyond the last", " && a_k + i * A_DOWN < K", ""),
        (
            "padding that the prologue makes something of",
            "if (a_from[i] >= 0)",
            "if (true)",
        ),
        (
            "channels of another chunk",
            "made_channel = batch * 20 + channel",
            "made_channel = batch * 20 + channel % 4",
        ),
        (
            "values not kept for their step",
            "keep(next);",
            "keep(stage);",
        ),
        (
            "no value kept",
            "if (more) {\n            keep(next);",
            "if (false) {\n            keep(next);",
        ),
        (
            "rows of another term",
            "(k + q) * A_PITCH",
            "(k + q + 1) % TILE_K * A_PITCH",
        ),
    ]);
}
