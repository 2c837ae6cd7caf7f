//! cuBLASLt: products of matrices.
use crate::support::*;
use sslc_cuda_sim::driver::info;
use sslc_cuda_sim::libraries::cublaslt::*;
use std::ffi::{c_int, c_void};
use std::ptr::null;

const CUBLASLT: [i32; 3] = [1, 7, 15];
/// Where a result is not written.
const UNTOUCHED: f32 = 77.0;

/// The matrices of a product of sizes m, n and k, with gaps between columns and between those of a batch.
pub fn matrices(
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
pub fn matmul(s: &Session) -> (Matmul, [Matrix; 3]) {
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
