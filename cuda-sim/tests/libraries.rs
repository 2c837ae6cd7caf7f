//! NVIDIA's libraries on the simulated device: what they compute, when, and what they refuse.
mod support {
    pub mod libraries;
}

use sslc_cuda_sim::driver::*;
use sslc_cuda_sim::libraries::convolution::Pass;
use sslc_cuda_sim::libraries::cublaslt::*;
use sslc_cuda_sim::libraries::cudnn::descriptors::*;
use sslc_cuda_sim::libraries::cudnn::*;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null;
use support::libraries::*;

const CUBLASLT: [i32; 3] = [1, 7, 15];
const CUDNN: [i32; 3] = [1001, 2000, 3000];
/// Where a result is not written.
const UNTOUCHED: f32 = 77.0;

/// The matrices of a product of sizes m, n and k, with gaps between columns and between those of a batch.
fn matrices(
    kinds: [Kind; 2],
    [m, n, k]: [usize; 3],
    transposed: [bool; 2],
    gap: usize,
    batch: usize,
) -> [Matrix; 3] {
    let a = if transposed[0] { [k, m] } else { [m, k] };
    let b = if transposed[1] { [n, k] } else { [k, n] };
    let [of, to] = kinds;
    [(of, a), (of, b), (to, [m, n])].map(|(kind, [rows, columns])| {
        let leading = rows + gap;
        Matrix {
            kind,
            rows,
            columns,
            leading,
            batch,
            stride: if batch == 1 {
                0
            } else {
                leading * columns + gap
            },
        }
    })
}

/// Numbers in the place of a matrix, and NaN in its gaps.
fn filled(matrix: &Matrix, seed: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; matrix.span()];
    let numbers = numbers(matrix.span(), seed);
    for item in 0..matrix.batch {
        for (row, column) in cells(matrix) {
            let at = matrix.at(item, row, column);
            values[at] = numbers[at];
        }
    }
    values
}

fn cells(matrix: &Matrix) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (rows, columns) = (matrix.rows, matrix.columns);
    (0..columns).flat_map(move |c| (0..rows).map(move |r| (r, c)))
}

/// Computes a product and compares it with three loops.
fn compare_matmul(matrices: [Matrix; 3], transposed: [bool; 2], algorithm: usize, alpha: f32) {
    let s = begin();
    let [of_a, of_b, of_d] = matrices;
    let (a, b) = (filled(&of_a, 1), filled(&of_b, 4));
    let mut expected = vec![UNTOUCHED; of_d.span()];
    let at = [
        s.upload(of_a.kind, &a),
        s.upload(of_b.kind, &b),
        s.upload(of_d.kind, &expected),
    ];
    let mut call = Matmul::new(&s, matrices, transposed, at);
    call.algorithm = call.offered(WORKSPACE as u64).1[algorithm].0;
    call.alpha = &alpha;
    ok(call.call());
    for item in 0..of_d.batch {
        for (row, column) in cells(&of_d) {
            let terms = if transposed[0] {
                of_a.rows
            } else {
                of_a.columns
            };
            let sum: f32 = (0..terms)
                .map(|p| {
                    let (ra, ca) = if transposed[0] { (p, row) } else { (row, p) };
                    let (rb, cb) = if transposed[1] {
                        (column, p)
                    } else {
                        (p, column)
                    };
                    a[of_a.at(item, ra, ca)] * b[of_b.at(item, rb, cb)]
                })
                .sum();
            expected[of_d.at(item, row, column)] = of_d.kind.round(sum * alpha);
        }
    }
    assert_eq!(s.download(of_d.kind, at[2], expected.len()), expected);
}

#[test]
fn products_are_those_of_three_loops() {
    use Kind::{Bf16, F32};
    for kinds in [[F32, F32], [Bf16, F32], [Bf16, Bf16]] {
        for transposed in [[false, false], [true, false], [false, true], [true, true]] {
            for (sizes, gap, batch) in [
                ([5, 3, 40], 0, 1),
                ([3, 6, 17], 3, 1),
                ([1, 1, 1], 0, 1),
                ([4, 4, 9], 2, 3),
            ] {
                let matrices = matrices(kinds, sizes, transposed, gap, batch);
                compare_matmul(matrices, transposed, (gap > 0) as usize, 1.0);
            }
        }
    }
}

#[test]
fn a_product_may_be_scaled_and_share_an_operand() {
    let mut of = matrices([Kind::F32; 2], [4, 3, 5], [false; 2], 0, 3);
    of[1].stride = 0;
    compare_matmul(of, [false; 2], 0, 0.25);
}

/// The results of a batch may lie between each other, as those of attention's heads do.
#[test]
fn a_batch_may_be_interleaved() {
    let mut of = matrices([Kind::Bf16; 2], [4, 3, 5], [false; 2], 0, 2);
    (of[2].leading, of[2].stride) = (8, 4);
    compare_matmul(of, [false; 2], 0, 1.0);
}

/// A product whose operands were written, and their matrices.
fn matmul(s: &Session) -> (Matmul, [Matrix; 3]) {
    let of = matrices([Kind::F32; 2], [4, 3, 5], [false; 2], 1, 2);
    let [a, b, d] = [0, 1, 2].map(|i| s.upload(Kind::F32, &numbers(of[i].span(), i)));
    (Matmul::new(s, of, [false; 2], [a, b, d]), of)
}

#[test]
fn what_does_not_fit_is_no_product() {
    let [_, invalid, not_supported] = CUBLASLT;
    let s = begin();
    let (good, of) = matmul(&s);
    let [a, b, d] = of;
    let odd = |m: Matrix, f: fn(&mut Matrix)| {
        let mut m = m;
        f(&mut m);
        m.layout()
    };
    for (which, layout, code, why) in [
        (
            0,
            odd(a, |m| m.leading = 3),
            invalid,
            "leading dimension 3 of A is less",
        ),
        (1, odd(b, |m| m.rows = 4), invalid, "A is 4×5, B 4×3"),
        (3, odd(d, |m| m.columns = 2), invalid, "which do not fit"),
        (2, odd(d, |m| m.rows = 3), invalid, "C 3×3"),
        (
            0,
            odd(a, |m| m.batch = 3),
            invalid,
            "a batch of 3 of A, of 2 of D",
        ),
        (
            3,
            odd(d, |m| m.stride = 3),
            invalid,
            "in one place more than once",
        ),
        (
            3,
            odd(d, |m| m.stride = 0),
            invalid,
            "in one place more than once",
        ),
        (0, odd(a, |m| m.rows = 0), invalid, "which is empty"),
        (
            0,
            odd(a, |m| m.kind = Kind::Bf16),
            not_supported,
            "no product of the types",
        ),
        (
            3,
            odd(d, |m| m.kind = Kind::Bf16),
            not_supported,
            "no product of the types",
        ),
        (1, 12345, invalid, "is no layout of a matrix"),
        (1, good.descriptor, invalid, "is no layout of a matrix"),
    ] {
        let mut call = good.clone();
        call.layouts[which] = layout;
        if why.starts_with("in one") {
            call.layouts[2] = layout;
        }
        refused(call.offered(0).0, code, why);
        refused(call.call(), code, why);
    }
}

type Spoil<T> = fn(&mut T);

#[test]
fn a_product_is_checked_when_it_is_asked_for() {
    let [_, invalid, not_supported] = CUBLASLT;
    let s = begin();
    let (good, _) = matmul(&s);
    let cases: [(Spoil<Matmul>, i32, &str); 18] = [
        (|c| c.handle = 0, invalid, "is no handle of cuBLASLt"),
        (
            |c| c.descriptor = c.layouts[0],
            invalid,
            "is no descriptor of a product",
        ),
        (|c| c.alpha = null(), invalid, "alpha is null"),
        (|c| c.beta = null(), invalid, "beta is null"),
        (|c| c.beta = &ONE, not_supported, "a beta of 1"),
        (|c| c.at[0] = 0, invalid, "pointer to A is null"),
        (|c| c.at[1] += 8, invalid, "pointer to B"),
        (|c| c.at[3] += 16, invalid, "not aligned to 256 bytes"),
        (|c| c.at[2] = 0, invalid, "pointer to C is null"),
        (|c| c.at[3] = c.at[0], invalid, "A lies in the place of D"),
        (|c| c.algorithm = [0; 8], invalid, "the algorithm is null"),
        (|c| c.algorithm[1] += 1, invalid, "was not offered"),
        (
            |c| c.workspace.1 = 95,
            invalid,
            "needs a workspace of 256 bytes",
        ),
        (
            |c| c.workspace.0 = 0,
            invalid,
            "pointer to the workspace is null",
        ),
        (|c| c.workspace.0 += 16, invalid, "the workspace"),
        (|c| c.workspace.0 += 256, invalid, "is not in one buffer"),
        (
            |c| c.workspace = (c.at[0], 64),
            invalid,
            "needs a workspace",
        ),
        (|c| c.stream += 16, invalid, "is no stream"),
    ];
    for (spoil, code, why) in cases {
        let mut call = good.clone();
        spoil(&mut call);
        refused(call.call(), code, why);
    }
    // An algorithm is for one product only.
    let other = matrices([Kind::F32; 2], [4, 3, 6], [false; 2], 1, 2);
    let mut call = good.clone();
    call.layouts = [0, 1, 2, 2].map(|i| other[i].layout());
    refused(call.call(), invalid, "was not offered");
    // A workspace must be apart from what it is for.
    let mut call = good.clone();
    let large = s.alloc(4096);
    (call.at[3], call.at[2], call.workspace) = (large, large, (large, 4096));
    refused(call.call(), invalid, "D lies in the place of the workspace");
    ok(good.call());
    ok(info::cuCtxSynchronize());
    ok(cublasLtMatrixLayoutDestroy(good.layouts[0]));
    refused(good.call(), invalid, "or was destroyed");
    refused(
        cublasLtMatrixLayoutDestroy(good.layouts[0]),
        invalid,
        "or was destroyed",
    );
    ok(cublasLtMatmulDescDestroy(good.descriptor));
    ok(cublasLtDestroy(good.handle));
    refused(good.call(), invalid, "is no handle");
}

#[test]
fn attributes_are_checked() {
    let [_, invalid, not_supported] = CUBLASLT;
    let s = begin();
    let (good, _) = matmul(&s);
    let set =
        |f: unsafe extern "C" fn(u64, c_int, *const c_void, usize) -> i32,
         of: u64,
         which: c_int,
         value: i64,
         bytes: usize| unsafe { f(of, which, (&raw const value).cast(), bytes) };
    let (matmul, layout) = (good.descriptor, good.layouts[0]);
    let of_matmul = cublasLtMatmulDescSetAttribute;
    let of_layout = cublasLtMatrixLayoutSetAttribute;
    refused(
        set(of_matmul, matmul, 3, 1, 8),
        invalid,
        "of 8 bytes, which has 4",
    );
    refused(
        set(of_matmul, matmul, 3, 5, 4),
        invalid,
        "no way to transpose",
    );
    refused(
        set(of_matmul, matmul, 7, 4, 4),
        not_supported,
        "attribute 7 as 4",
    );
    refused(
        set(of_matmul, matmul, 8, 4, 8),
        not_supported,
        "attribute 8",
    );
    refused(set(of_layout, layout, 5, 0, 4), invalid, "a batch of 0");
    refused(
        set(of_layout, layout, 1, 1, 4),
        not_supported,
        "attribute 1 as 1",
    );
    let null = unsafe { of_layout(layout, 5, null(), 4) };
    refused(null, invalid, "the value of an attribute is null");
    let mut made = 0;
    let tf32 = unsafe { cublasLtMatmulDescCreate(&mut made, 77, 0) };
    refused(tf32, not_supported, "computing as 77");
    refused(
        unsafe { cublasLtCreate(std::ptr::null_mut()) },
        invalid,
        "null pointer",
    );
    drop(s);
}

/// A small convolution with everything in it.
const SMALL: Sizes = Sizes {
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
const FMA: c_int = 3;
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
fn convolution(s: &Session, pass: Pass, of: &Sizes, math: c_int) -> (Convolution, Vec<f32>) {
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

#[test]
fn the_libraries_need_a_context() {
    let s = without_context();
    let mut handle = 0;
    let create = |handle: &mut u64| unsafe { [cublasLtCreate(handle), cudnnCreate(handle)] };
    assert_eq!(create(&mut handle), [1, 1001]);
    ok(info::cuInit(0));
    assert_eq!(create(&mut handle), [1, 1001]);
    assert!(last_message().contains("no context is current"));
    let context = made(|c| unsafe { info::cuDevicePrimaryCtxRetain(c, 0) });
    ok(info::cuCtxSetCurrent(context));
    assert_eq!(create(&mut handle), [0, 0]);
    assert_eq!((cublasLtGetVersion(), cudnnGetVersion()), (120_900, 90_201));
    drop(s);
}

/// Copies a result to pinned memory in the stream of the call.
fn copy_out(s: &Session, from: u64, stream: u64) -> &'static [f32] {
    let _ = s;
    let mut pointer = std::ptr::null_mut();
    ok(unsafe { memory::cuMemHostAlloc(&mut pointer, 4, 0) });
    ok(unsafe { memory::cuMemcpyDtoHAsync_v2(pointer, from, 4, stream) });
    // SAFETY: the memory lives as long as the test.
    unsafe { std::slice::from_raw_parts(pointer.cast(), 1) }
}

#[test]
fn nothing_is_computed_before_the_host_waits() {
    let s = begin();
    let (call, _) = matmul(&s);
    ok(call.call());
    let found = copy_out(&s, call.at[3], call.stream);
    assert_eq!(unsafe { (&raw const found[0]).read_volatile() }, 0.0);
    ok(streams::cuStreamSynchronize(call.stream));
    assert_ne!(unsafe { (&raw const found[0]).read_volatile() }, 0.0);
}

#[test]
fn captured_products_run_again() {
    let s = begin();
    let (call, _) = matmul(&s);
    let (other, _) = convolution(&s, Pass::Filter, &SMALL, FMA);
    ok(cudnnSetStream(other.handle, call.stream));
    let ones = vec![1.0; 64];
    let clear = |at: u64| ok(unsafe { memory::cuMemsetD8Async(at, 0, 64, call.stream) });
    clear(call.at[3]);
    clear(other.at[1]);
    ok(call.call());
    ok(other.call());
    let expected = [call.at[3], other.at[1]].map(|at| s.download(Kind::F32, at, 16));
    assert_ne!(expected[0], vec![0.0; 16]);
    ok(capture::cuStreamBeginCapture_v2(call.stream, 1));
    ok(call.call());
    ok(other.call());
    let mut handle = 0;
    let graph = made(|g| unsafe { capture::cuStreamEndCapture(call.stream, g) });
    let run = made(|r| unsafe { graphs::cuGraphInstantiateWithFlags(r, graph, 0) });
    clear(call.at[3]);
    clear(other.at[1]);
    for at in [call.at[3], other.at[1]] {
        assert_eq!(s.download(Kind::F32, at, 16), vec![0.0; 16], "not yet");
    }
    ok(graphs::cuGraphLaunch(run, call.stream));
    let found = [call.at[3], other.at[1]].map(|at| s.download(Kind::F32, at, 16));
    assert_eq!(found, expected);
    // Later values are those that a replay takes.
    ok(unsafe { memory::cuMemcpyHtoD_v2(call.at[0], ones.as_ptr().cast(), 64) });
    ok(info::cuCtxSynchronize());
    ok(graphs::cuGraphLaunch(run, call.stream));
    assert_ne!(s.download(Kind::F32, call.at[3], 16), expected[0]);
    // Making a handle allocates.
    ok(capture::cuStreamBeginCapture_v2(call.stream, 0));
    refused(
        unsafe { cublasLtCreate(&mut handle) },
        13,
        "while a stream captures",
    );
}

/// How a product fails, where everything else is right.
#[track_caller]
fn fails(code: i32, why: &str) {
    refused(info::cuCtxSynchronize(), code, why);
    let mut handle = 0;
    refused(
        unsafe { cudnnCreate(&mut handle) },
        5000,
        "the device failed before",
    );
}

#[test]
fn an_operand_must_have_been_written() {
    let s = begin();
    let (mut call, of) = matmul(&s);
    call.at[1] = s.alloc(of[1].span() * 4);
    ok(call.call());
    fails(status::LAUNCH_FAILED, "which nothing wrote: uninitialised");
    drop(s);
    let s = begin();
    let (mut call, _) = convolution(&s, Pass::Data, &SMALL, FMA);
    call.at[2] = s.alloc(SMALL.counts()[2] * 4);
    ok(call.call());
    fails(status::LAUNCH_FAILED, "cudnnConvolutionBackwardData reads");
}

#[test]
fn an_operand_must_lie_in_one_buffer() {
    let s = begin();
    let (mut call, of) = matmul(&s);
    call.at[3] = s.alloc(of[2].span() * 4 - 4);
    ok(call.call());
    fails(status::ILLEGAL_ADDRESS, "out of bounds");
    drop(s);
    let s = begin();
    let (mut call, _) = convolution(&s, Pass::Forward, &SMALL, FMA);
    // A large allocation with a buffer in it that is too small.
    call.at[2] = s.alloc(1 << 16);
    ok(state::sslc_sim_mark(call.at[2], 64));
    ok(call.call());
    fails(status::ILLEGAL_ADDRESS, "byte 0 of a buffer of 64");
}

#[test]
fn a_workspace_means_nothing_afterwards() {
    let s = begin();
    let (call, of) = matmul(&s);
    ok(unsafe { memory::cuMemsetD8Async(call.workspace.0, 0, WORKSPACE, call.stream) });
    ok(call.call());
    let found = s.download(Kind::F32, call.workspace.0, 65);
    assert!(found[0].is_nan() && found[63].is_nan() && found[64] == 0.0);
    let mut second = call.clone();
    second.at[0] = call.workspace.0;
    second.workspace = (s.alloc(WORKSPACE), WORKSPACE);
    assert!(of[0].span() < 64);
    ok(second.call());
    fails(status::LAUNCH_FAILED, "uninitialised");
}

/// A result is used in another stream, with an event between or not.
fn two_streams(wait: bool) -> i32 {
    let s = begin();
    let (first, _) = matmul(&s);
    let mut second = first.clone();
    (second.stream, second.at[2], second.at[3]) = (s.stream(), first.at[0], first.at[0]);
    second.workspace = (s.alloc(WORKSPACE), WORKSPACE);
    // The second writes what the first reads.
    second.at[0] = s.upload(Kind::F32, &numbers(64, 0));
    let of = matrices([Kind::F32; 2], [4, 3, 5], [false; 2], 1, 2);
    assert!(of[2].span() <= of[0].span());
    ok(first.call());
    let event = made(|e| unsafe { streams::cuEventCreate(e, 0) });
    ok(streams::cuEventRecord(event, first.stream));
    if wait {
        ok(streams::cuStreamWaitEvent(second.stream, event, 0));
    }
    ok(second.call());
    info::cuCtxSynchronize()
}

#[test]
fn streams_must_be_ordered() {
    ok(two_streams(true));
    refused(two_streams(false), status::LAUNCH_FAILED, "cublasLtMatmul");
    assert!(last_message().contains("nothing orders the two"));
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// All names that a program asks for, of functions that it calls.
const CALLS: &str = "cuInit cublasLtCreate cublasLtDestroy cublasLtGetVersion cublasLtMatmul \
    cublasLtMatmulAlgoGetHeuristic cublasLtMatmulDescCreate cublasLtMatmulDescDestroy \
    cublasLtMatmulDescSetAttribute cublasLtMatmulPreferenceCreate cublasLtMatmulPreferenceDestroy \
    cublasLtMatmulPreferenceSetAttribute cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy \
    cublasLtMatrixLayoutSetAttribute cudnnConvolutionBackwardData cudnnConvolutionBackwardFilter \
    cudnnConvolutionForward cudnnCreate cudnnCreateConvolutionDescriptor cudnnCreateFilterDescriptor \
    cudnnCreateTensorDescriptor cudnnDestroy cudnnDestroyConvolutionDescriptor \
    cudnnDestroyFilterDescriptor cudnnDestroyTensorDescriptor cudnnGetConvolution2dForwardOutputDim \
    cudnnGetConvolutionBackwardDataAlgorithm_v7 cudnnGetConvolutionBackwardDataWorkspaceSize \
    cudnnGetConvolutionBackwardFilterAlgorithm_v7 cudnnGetConvolutionBackwardFilterWorkspaceSize \
    cudnnGetConvolutionForwardAlgorithm_v7 cudnnGetConvolutionForwardWorkspaceSize \
    cudnnGetErrorString cudnnGetLastErrorString cudnnGetVersion cudnnSetConvolution2dDescriptor \
    cudnnSetConvolutionGroupCount cudnnSetConvolutionMathType cudnnSetFilter4dDescriptor \
    cudnnSetStream cudnnSetTensor4dDescriptor";

#[test]
fn all_names_are_one_library() {
    let folder = sslc_cuda_sim::libraries().unwrap();
    let open = |name: &str| {
        let path = CString::new(folder.join(name).into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: the library does nothing when it is loaded.
        let library = unsafe { dlopen(path.as_ptr(), 1) };
        assert!(!library.is_null(), "{name}");
        library
    };
    let library = open("libcuda.so");
    for name in [
        "libcuda.so.1",
        "libcublasLt.so",
        "libcublasLt.so.12",
        "libcudnn.so",
        "libcudnn.so.9",
    ] {
        assert_eq!(open(name), library, "{name}");
    }
    for name in CALLS.split_whitespace() {
        let symbol = CString::new(name).unwrap();
        let found = unsafe { dlsym(library, symbol.as_ptr()) };
        assert!(!found.is_null(), "{name}");
    }
    let plain = sslc_cuda_sim::library().unwrap();
    assert!(!plain.join("libcudnn.so").exists() && !plain.join("libcublasLt.so").exists());
}
