//! Products of matrices, for evaluation.

/// A matrix, and how far apart its columns and rows lie.
pub struct Operand<'a> {
    data: &'a [f32],
    columns: usize,
    rows: usize,
}

impl<'a> Operand<'a> {
    /// A matrix of this width, row by row.
    pub fn rows(data: &'a [f32], width: usize) -> Operand<'a> {
        Operand {
            data,
            columns: 1,
            rows: width,
        }
    }

    /// The transpose of a matrix of this width.
    pub fn columns(data: &'a [f32], width: usize) -> Operand<'a> {
        Operand {
            data,
            columns: width,
            rows: 1,
        }
    }
}

/// `out[m, n] = a[m, k] · b[k, n]`, on one thread: the order of its sums is the same always. Panics where a
/// slice is too short.
pub fn product(a: Operand, b: Operand, (m, n, k): (usize, usize, usize), out: &mut [f32]) {
    assert!(a.data.len() >= m * k && b.data.len() >= k * n && out.len() >= m * n);
    // SAFETY: the three slices hold m×k, k×n and m×n elements, as asserted, and are not aliased; an operand's strides
    // address its matrix or the matrix's transpose, both of which end with its last element.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.data.as_ptr(),
            a.columns as isize,
            a.rows as isize,
            b.data.as_ptr(),
            b.columns as isize,
            b.rows as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
