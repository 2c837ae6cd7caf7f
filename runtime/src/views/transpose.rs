//! Matrices turned, in blocks of 8×8.

use crate::cpu::level::Level;

/// Rows and columns of a block.
const BLOCK: usize = 8;

/// `to[j, i] = from[i, j]` for i below `rows` and j below `columns`; the strides are the distances of rows.
///
/// # Panics
/// Where a matrix does not fit its slice.
///
/// # Safety
/// The machine has the level.
pub(super) unsafe fn transpose(
    level: Level,
    from: &[f32],
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
    [rows, columns]: [usize; 2],
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * from_stride + columns <= from.len());
    assert!((columns - 1) * to_stride + rows <= to.len());
    let whole = [rows, columns].map(|n| n / BLOCK * BLOCK);
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the matrices fit, and the level is the caller's promise.
        Level::Avx2 | Level::Avx512 => unsafe {
            x86::blocks(
                from.as_ptr(),
                from_stride,
                to.as_mut_ptr(),
                to_stride,
                whole,
            );
        },
        _ => {
            for i in (0..whole[0]).step_by(BLOCK) {
                for j in 0..whole[1] {
                    let to = &mut to[j * to_stride + i..][..BLOCK];
                    for (k, to) in to.iter_mut().enumerate() {
                        *to = from[(i + k) * from_stride + j];
                    }
                }
            }
        }
    }
    for i in 0..rows {
        let done = if i < whole[0] { whole[1] } else { 0 };
        for j in done..columns {
            to[j * to_stride + i] = from[i * from_stride + j];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::BLOCK;
    use std::arch::x86_64::*;

    /// Whole blocks.
    ///
    /// # Safety
    /// The machine has AVX2; both matrices lie in their memory.
    #[target_feature(enable = "avx2")]
    pub unsafe fn blocks(
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
        [rows, columns]: [usize; 2],
    ) {
        for i in (0..rows).step_by(BLOCK) {
            for j in (0..columns).step_by(BLOCK) {
                // SAFETY: the block lies in both matrices.
                unsafe {
                    let from = from.add(i * from_stride + j);
                    let to = to.add(j * to_stride + i);
                    block(from, from_stride, to, to_stride);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn block(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // Rows i and i + 4 share a register: its halves are columns 0 to 3 or 4 to 7 of them.
        let pair = |i: usize, half: usize| {
            // SAFETY: the caller's block has 8 rows of 8.
            unsafe {
                let low = _mm_loadu_ps(from.add(i * from_stride + 4 * half));
                let high = _mm_loadu_ps(from.add((i + 4) * from_stride + 4 * half));
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
            }
        };
        for half in 0..2 {
            let [a, b, c, d] = [pair(0, half), pair(1, half), pair(2, half), pair(3, half)];
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let columns = [
                _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
                _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
                _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
                _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
            ];
            for (j, column) in columns.into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm256_storeu_ps(to.add((4 * half + j) * to_stride), column) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_arrives_at_every_level() {
        for level in Level::ALL.into_iter().filter(|l| l.available()) {
            for (rows, columns) in [(16, 24), (16, 23), (12, 9), (7, 40), (1, 1), (0, 5)] {
                let (from_stride, to_stride) = (columns + 3, rows + 2);
                let from: Vec<f32> = (0..(rows + 1) * from_stride).map(|i| i as f32).collect();
                let mut to = vec![-1.0; (columns + 1) * to_stride];
                let size = [rows, columns];
                // SAFETY: the level is available.
                unsafe { transpose(level, &from, from_stride, &mut to, to_stride, size) };
                for (at, v) in to.iter().enumerate() {
                    let (j, i) = (at / to_stride, at % to_stride);
                    let wanted = if i < rows && j < columns {
                        (i * from_stride + j) as f32
                    } else {
                        -1.0
                    };
                    assert_eq!(*v, wanted, "{level:?} {rows}×{columns} at {i}, {j}");
                }
            }
        }
    }
}
