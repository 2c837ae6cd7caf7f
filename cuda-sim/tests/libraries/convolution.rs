//! cuDNN: convolutions and their gradients.
use crate::support::*;
use sslc_cuda_sim::driver::*;
use sslc_cuda_sim::libraries::convolution::Pass;
use sslc_cuda_sim::libraries::cudnn::descriptors::*;
use sslc_cuda_sim::libraries::cudnn::*;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null;

const CUDNN: [i32; 3] = [1001, 2000, 3000];

/// A small convolution with everything in it.
pub const SMALL: Sizes = Sizes {
    kind: Kind::F32,
    images: 2,
    input: [5, 6],
    channels: 4,
    outputs: 6,
    filter: 3,
    padding: 1,
    stride: 2,
    groups: 1,
};
/// `CUDNN_TENSOR_OP_MATH` and `CUDNN_FMA_MATH`.
const TENSOR_OP: c_int = 1;
pub const FMA: c_int = 3;
const PASSES: [Pass; 3] = [Pass::Forward, Pass::Data, Pass::Filter];

/// All three from their definition; `x`, `w` and `y` are what they are computed from.
fn definition(of: &Sizes, [x, w, y]: [&[f32]; 3]) -> [Vec<f32>; 3] {
    let ([height, width], [rows, columns]) = (of.input, of.output());
    let (inputs, outputs) = (of.channels / of.groups, of.outputs / of.groups);
    let mut found = of.counts().map(|count| vec![0.0; count]);
    for (n, row) in (0..of.images).flat_map(|n| (0..rows).map(move |row| (n, row))) {
        for (column, k) in (0..columns).flat_map(|c| (0..of.outputs).map(move |k| (c, k))) {
            let at_y = ((n * rows + row) * columns + column) * of.outputs + k;
            for (r, s) in (0..of.filter).flat_map(|r| (0..of.filter).map(move |s| (r, s))) {
                let from = [row * of.stride + r, column * of.stride + s];
                let [h, v] = from.map(|at| at.wrapping_sub(of.padding));
                if h >= height || v >= width {
                    continue;
                }
                for c in 0..inputs {
                    let channel = k / outputs * inputs + c;
                    let at_x = ((n * height + h) * width + v) * of.channels + channel;
                    let at_w = ((k * of.filter + r) * of.filter + s) * inputs + c;
                    found[2][at_y] += x[at_x] * w[at_w];
                    found[0][at_x] += y[at_y] * w[at_w];
                    found[1][at_w] += y[at_y] * x[at_x];
                }
            }
        }
    }
    found
}

/// A convolution's product whose operands were written: the call, and what it should give.
pub fn convolution(s: &Session, pass: Pass, of: &Sizes, math: c_int) -> (Convolution, Vec<f32>) {
    let counts = of.counts();
    let values = [0, 1, 2].map(|i| numbers(counts[i], 3 * i + 1));
    let at = [0, 1, 2].map(|i| s.upload(of.kind, &values[i]));
    let [dx, dw, y] = definition(of, [&values[0], &values[1], &values[2]]);
    let mut expected = match pass {
        Pass::Forward => y,
        Pass::Data => dx,
        Pass::Filter => dw,
    };
    expected.iter_mut().for_each(|v| *v = of.kind.round(*v));
    (
        Convolution::new(s, pass, of.descriptors(math), at),
        expected,
    )
}

fn result(call: &Convolution) -> u64 {
    match call.pass {
        Pass::Forward => call.at[2],
        Pass::Data => call.at[0],
        Pass::Filter => call.at[1],
    }
}

#[test]
fn convolutions_are_those_of_the_definition() {
    let sizes = |filter, padding, stride, channels, outputs, groups| Sizes {
        filter,
        padding,
        stride,
        channels,
        outputs,
        groups,
        input: [8, 9],
        ..SMALL
    };
    for of in [
        sizes(1, 0, 1, 4, 6, 1),
        sizes(1, 0, 2, 4, 6, 1),
        sizes(3, 1, 1, 4, 6, 1),
        sizes(3, 1, 2, 5, 2, 1),
        sizes(7, 3, 2, 3, 8, 1),
        sizes(3, 0, 1, 4, 6, 2),
    ] {
        for (kind, math) in [(Kind::F32, FMA), (Kind::Bf16, TENSOR_OP)] {
            for pass in PASSES {
                let s = begin();
                let of = Sizes { kind, ..of };
                let (call, expected) = convolution(&s, pass, &of, math);
                let [x, w, c, _] = call.of;
                let mut found = [0; 4];
                let [n, k, h, v] = &mut found;
                ok(unsafe { cudnnGetConvolution2dForwardOutputDim(c, x, w, n, k, h, v) });
                let [rows, columns] = of.output();
                assert_eq!(found.map(|s| s as usize), [2, of.outputs, rows, columns]);
                ok(call.call());
                let found = s.download(kind, result(&call), expected.len());
                assert_eq!(found, expected, "{pass:?} {of:?}");
            }
        }
    }
}

#[test]
fn f32_loses_precision_without_fma() {
    let s = begin();
    let of = Sizes {
        filter: 1,
        padding: 0,
        ..SMALL
    };
    let counts = of.counts();
    let fine = vec![1.0 + 1.0 / 4096.0; counts[0]];
    for (math, product) in [(FMA, 1.0 + 1.0 / 4096.0), (0, 1.0), (TENSOR_OP, 1.0)] {
        let at = [
            s.upload(of.kind, &fine),
            s.upload(of.kind, &vec![1.0; counts[1]]),
            s.alloc(counts[2] * 4),
        ];
        let call = Convolution::new(&s, Pass::Forward, of.descriptors(math), at);
        ok(call.call());
        assert_eq!(s.download(of.kind, at[2], 1), [4.0 * product]);
    }
}

#[test]
fn the_first_algorithms_for_gradients_are_not_the_right_ones() {
    let s = begin();
    for pass in PASSES {
        let (mut call, _) = convolution(&s, pass, &SMALL, FMA);
        let (code, offered) = call.offered();
        ok(code);
        assert_eq!(offered.iter().map(|o| o.math).collect::<Vec<_>>(), [FMA; 3]);
        for of in &offered {
            call.algorithm = of.algorithm;
            let mut bytes = 0;
            match of.status {
                0 => {
                    ok(call.workspace_size(&mut bytes));
                    assert_eq!(bytes, of.memory);
                }
                status => {
                    assert_eq!(status, CUDNN[2]);
                    refused(call.workspace_size(&mut bytes), status, "was not offered");
                    refused(call.call(), status, "was not offered");
                }
            }
        }
        assert_eq!(offered[0].determinism == 1, pass == Pass::Forward);
        assert_eq!(offered[1].memory > 4 << 30, pass != Pass::Forward);
    }
}

/// What is not deterministic has other bits the next time.
#[test]
fn sums_that_come_in_another_order_differ() {
    let s = begin();
    let of = Sizes {
        filter: 1,
        padding: 0,
        stride: 1,
        ..SMALL
    };
    let (mut call, _) = convolution(&s, Pass::Filter, &of, FMA);
    let [x, _, y] = of.counts();
    let uneven = |count: usize| {
        (0..count)
            .map(|i| 1.0 / (i as f32 + 3.0))
            .collect::<Vec<_>>()
    };
    (call.at[0], call.at[2]) = (
        s.upload(Kind::F32, &uneven(x)),
        s.upload(Kind::F32, &uneven(y)),
    );
    let thrice = |call: &Convolution| {
        [0, 1, 2].map(|_| {
            ok(call.call());
            s.download(Kind::F32, call.at[1], of.counts()[1])
        })
    };
    let [one, second, third] = thrice(&call);
    assert!(one == second && one == third);
    call.algorithm = 0;
    let [one, second, third] = thrice(&call);
    assert!(one != second || one != third);
}

#[test]
fn a_convolution_is_checked_when_it_is_asked_for() {
    let [_, invalid, not_supported] = CUDNN;
    for pass in PASSES {
        let s = begin();
        let (good, _) = convolution(&s, pass, &SMALL, FMA);
        let cases: [(Spoil<Convolution>, i32, &str); 16] = [
            (|c| c.handle = 0, invalid, "is no handle of cuDNN"),
            (
                |c| c.of[0] = c.of[1],
                invalid,
                "is no descriptor of a tensor",
            ),
            (
                |c| c.of[1] = c.of[0],
                invalid,
                "is no descriptor of a filter",
            ),
            (
                |c| c.of[2] = c.of[0],
                invalid,
                "is no descriptor of a convolution",
            ),
            (
                |c| c.of[3] = c.of[0],
                invalid,
                "images, channels, height and width",
            ),
            (|c| c.alpha = null(), invalid, "alpha is null"),
            (|c| c.beta = &ONE, not_supported, "a beta of 1"),
            (|c| c.at[0] += 4, invalid, "not aligned to 16 bytes"),
            (|c| c.at[1] = 0, invalid, "is null"),
            (|c| c.at[2] = !15, invalid, "is none"),
            (|c| c.at[0] = c.at[2], invalid, "lies in the place of"),
            (
                |c| c.algorithm = 4,
                not_supported,
                "algorithm 4 was not offered",
            ),
            (|c| c.workspace.1 -= 1, invalid, "needs a workspace of"),
            (
                |c| c.workspace.0 = 0,
                invalid,
                "pointer to the workspace is null",
            ),
            (|c| c.workspace.0 += 16, invalid, "is not in one buffer"),
            (|c| c.workspace.0 = c.at[0], invalid, ""),
        ];
        for (index, (spoil, code, why)) in cases.into_iter().enumerate() {
            let mut call = good.clone();
            spoil(&mut call);
            if why == "lies in the place of" && pass == Pass::Filter {
                call.at = [good.at[0], good.at[0], good.at[2]];
            }
            assert_ne!(call.call(), 0, "{index}");
            refused(call.call(), code, why);
        }
        ok(good.call());
        ok(info::cuCtxSynchronize());
        ok(cudnnDestroyConvolutionDescriptor(good.of[2]));
        refused(good.call(), invalid, "or was destroyed");
        ok(cudnnDestroyTensorDescriptor(good.of[0]));
        ok(cudnnDestroyFilterDescriptor(good.of[1]));
        ok(cudnnDestroy(good.handle));
        refused(cudnnDestroy(good.handle), invalid, "is no handle");
    }
}

#[test]
fn what_does_not_fit_is_no_convolution() {
    let [_, invalid, not_supported] = CUDNN;
    let s = begin();
    let (good, _) = convolution(&s, Pass::Forward, &SMALL, FMA);
    let bf16 = Sizes {
        kind: Kind::Bf16,
        ..SMALL
    };
    let channels = Sizes {
        channels: 5,
        ..SMALL
    };
    let large = Sizes {
        input: [3, 2],
        ..SMALL
    };
    let with = |which: usize, sizes: &Sizes| {
        let mut call = good.clone();
        call.of[which] = sizes.descriptors(FMA)[which];
        call.offered().0
    };
    refused(with(1, &bf16), not_supported, "no convolution of the types");
    refused(with(3, &bf16), not_supported, "no convolution of the types");
    refused(with(1, &channels), invalid, "do not fit");
    refused(
        with(0, &large),
        invalid,
        "images, channels, height and width",
    );
    let mut call = good.clone();
    call.of = bf16.descriptors(FMA);
    refused(call.offered().0, not_supported, "restricted to FMA");
    call.of[0] = made(|t| unsafe { cudnnCreateTensorDescriptor(t) });
    refused(call.offered().0, invalid, "was not set");
    let [x, w, c, _] = good.of;
    refused(
        cudnnSetTensor4dDescriptor(x, 0, 0, 1, 1, 1, 1),
        not_supported,
        "only NHWC",
    );
    refused(
        cudnnSetTensor4dDescriptor(x, 1, 2, 1, 1, 1, 1),
        not_supported,
        "the type 2",
    );
    refused(
        cudnnSetTensor4dDescriptor(x, 1, 0, 1, 0, 1, 1),
        invalid,
        "sizes of",
    );
    let most = c_int::MAX;
    refused(
        cudnnSetFilter4dDescriptor(w, 0, 1, most, 2, 1, 1),
        not_supported,
        "more than",
    );
    let set =
        |pad, stride, mode| cudnnSetConvolution2dDescriptor(c, pad, 0, stride, 1, 1, 1, mode, 0);
    refused(set(-1, 1, 1), invalid, "a padding");
    refused(set(0, 0, 1), invalid, "a stride");
    refused(set(0, 1, 0), not_supported, "only cross-correlation");
    refused(
        cudnnSetConvolutionMathType(c, 2),
        not_supported,
        "the math 2",
    );
    refused(
        cudnnSetConvolutionGroupCount(c, 0),
        invalid,
        "a number of groups",
    );
    let mut text = [0 as c_char; 64];
    unsafe { cudnnGetLastErrorString(text.as_mut_ptr(), 48) };
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    assert_eq!(text, c"cudnnSetConvolutionGroupCount: a number of grou");
    let text = unsafe { CStr::from_ptr(cudnnGetErrorString(invalid)) };
    assert_eq!(text, c"CUDNN_STATUS_BAD_PARAM");
}
