//! Matrices transposed by blocks in registers.

/// Side of the square blocks that are transposed in registers.
const TURN: usize = 8;

/// `to[r][o] = from[o][r]` for `outputs` rows of `from`, `pitch` apart, and `rows` of their elements.
///
/// # Safety
/// Both matrices have the elements.
pub unsafe fn transpose<T: Copy>(
    from: *const T,
    pitch: usize,
    (outputs, rows): (usize, usize),
    to: *mut T,
    width: usize,
) {
    let (whole_outputs, whole_rows) = (outputs / TURN * TURN, rows / TURN * TURN);
    // SAFETY: the caller's matrices.
    unsafe {
        let element = |o: usize, r: usize| *to.add(r * width + o) = *from.add(o * pitch + r);
        for o in (0..whole_outputs).step_by(TURN) {
            for r in (0..whole_rows).step_by(TURN) {
                let block: [[T; TURN]; TURN] = std::array::from_fn(|i| {
                    from.add((o + i) * pitch + r)
                        .cast::<[T; TURN]>()
                        .read_unaligned()
                });
                #[allow(clippy::needless_range_loop)]
                for j in 0..TURN {
                    let row: [T; TURN] = std::array::from_fn(|i| block[i][j]);
                    to.add((r + j) * width + o)
                        .cast::<[T; TURN]>()
                        .write_unaligned(row);
                }
            }
            for r in whole_rows..rows {
                (o..o + TURN).for_each(|o| element(o, r));
            }
        }
        for o in whole_outputs..outputs {
            (0..rows).for_each(|r| element(o, r));
        }
    }
}
