//! Deviations from a mean in one pass: each block is centred, and blocks are merged in f64 by the formula of
//! Chan, Golub and LeVeque (1983), eq. 1.5. So a large mean costs no digits, as it would in Σx² − n·mean².

use crate::level::leveled;

/// A running result: how many points, their mean, and Σ (v − mean)².
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    pub count: f64,
    pub mean: f64,
    pub deviations: f64,
}

impl Moments {
    /// Those of the points of both.
    #[inline(always)]
    pub fn and(self, other: Moments) -> Moments {
        let count = self.count + other.count;
        let share = if count > 0.0 {
            other.count / count
        } else {
            0.0
        };
        let difference = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + difference * share,
            deviations: self.deviations
                + other.deviations
                + difference * difference * (self.count * share),
        }
    }
}

/// Adds a block to running results: (acc, distance of count, mean and deviations, stride, src, rows, lanes). The stride is that
/// of the source's rows where columns are reduced, of the results where rows are.
pub type MomentLoop = unsafe fn(*mut f64, usize, usize, *const f32, usize, usize);

/// Lanes a sum is split over.
const LANES: usize = 16;

/// The mean of each of `WIDTH` columns.
#[inline(always)]
unsafe fn means<const WIDTH: usize>(src: *const f32, pitch: usize, rows: usize) -> [f32; WIDTH] {
    let mut sums = [0.0f32; WIDTH];
    for r in 0..rows {
        for (i, s) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's block.
            *s += unsafe { *src.add(r * pitch + i) };
        }
    }
    sums.map(|s| s / rows as f32)
}

/// Adds `WIDTH` columns.
///
/// The first block is centred by its own mean, others by the mean so far: where theirs is far from that, so far that digits
/// are lost, the distance itself makes up the deviations.
#[inline(always)]
unsafe fn some_columns<const WIDTH: usize>(
    acc: *mut f64,
    len: usize,
    pitch: usize,
    src: *const f32,
    rows: usize,
) {
    // SAFETY: the caller's block has `rows` rows of so many elements, and as many results as columns.
    unsafe {
        let before = *acc;
        let centres: [f32; WIDTH] = if before == 0.0 {
            means(src, pitch, rows)
        } else {
            std::array::from_fn(|i| *acc.add(len + i) as f32)
        };
        // Σ(v − c)² − (Σ(v − c))²/n is the same for any c.
        let mut squares = [[0.0f32; WIDTH]; 2];
        let mut rests = [[0.0f32; WIDTH]; 2];
        let whole = rows / 2 * 2;
        let mut r = 0;
        while r < whole {
            for k in 0..2 {
                let row = src.add((r + k) * pitch);
                for i in 0..WIDTH {
                    let d = *row.add(i) - centres[i];
                    rests[k][i] += d;
                    squares[k][i] += d * d;
                }
            }
            r += 2;
        }
        if whole < rows {
            let row = src.add(whole * pitch);
            for i in 0..WIDTH {
                let d = *row.add(i) - centres[i];
                rests[0][i] += d;
                squares[0][i] += d * d;
            }
        }
        let scale = 1.0 / rows as f64;
        let count = before + rows as f64;
        let share = rows as f64 / count;
        let both = before * share;
        for i in 0..WIDTH {
            let sum = f64::from(rests[0][i] + rests[1][i]);
            let rest = sum * scale;
            let square = f64::from(squares[0][i] + squares[1][i]) - sum * rest;
            let mean = acc.add(len + i);
            let difference = f64::from(centres[i]) + rest - *mean;
            *acc.add(i) = count;
            *mean += difference * share;
            *acc.add(2 * len + i) += square + difference * difference * both;
        }
    }
}

leveled! {
    /// Deviations of each column; all columns have seen the same number of points.
    pub fn column_deviations(acc: *mut f64, len: usize, pitch: usize, src: *const f32, rows: usize, lanes: usize) {
        let mut l = 0;
        while l + LANES <= lanes {
            some_columns::<LANES>(acc.add(l), len, pitch, src.add(l), rows);
            l += LANES;
        }
        while l < lanes {
            some_columns::<1>(acc.add(l), len, pitch, src.add(l), rows);
            l += 1;
        }
    }
}

/// The sum of sixteen partial sums: halves onto halves.
#[inline(always)]
fn total(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

leveled! {
    /// Deviations of each row, to a result per row.
    pub fn row_deviations(acc: *mut f64, len: usize, stride: usize, src: *const f32, rows: usize, lanes: usize) {
        for r in 0..rows {
            let row = std::slice::from_raw_parts(src.add(r * lanes), lanes);
            let mut sums = [0.0f32; LANES];
            for piece in row.chunks(LANES) {
                for (s, v) in sums.iter_mut().zip(piece) {
                    *s += v;
                }
            }
            let mean = total(sums) / lanes as f32;
            let (mut rests, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
            for piece in row.chunks(LANES) {
                for ((rest, square), v) in rests.iter_mut().zip(&mut squares).zip(piece) {
                    let d = v - mean;
                    *rest += d;
                    *square += d * d;
                }
            }
            let count = lanes as f64;
            let rest = f64::from(total(rests)) / count;
            let block = Moments {
                count,
                mean: f64::from(mean) + rest,
                deviations: f64::from(total(squares)) - rest * rest * count,
            };
            let acc = acc.add(r * stride);
            let now = Moments {
                count: *acc,
                mean: *acc.add(len),
                deviations: *acc.add(2 * len),
            }
            .and(block);
            *acc = now.count;
            *acc.add(len) = now.mean;
            *acc.add(2 * len) = now.deviations;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_is_the_same_as_seeing_all() {
        let of = |v: &[f64]| {
            v.iter().fold(Moments::default(), |m, v| {
                m.and(Moments {
                    count: 1.0,
                    mean: *v,
                    deviations: 0.0,
                })
            })
        };
        let (a, b) = ([1.0, 2.0, 4.0], [1001.0, 1003.0]);
        let all = of(&[1.0, 2.0, 4.0, 1001.0, 1003.0]);
        let merged = of(&a).and(of(&b));
        assert!((merged.deviations / all.deviations - 1.0).abs() < 1e-14);
        assert_eq!(merged.count, 5.0);
        assert_eq!(Moments::default().and(all), all);
    }
}
