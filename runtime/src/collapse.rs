//! Indicators of collapse: is the embedding still spread over its dimensions?

use nalgebra::DMatrix;

/// How an embedding [rows, dim] is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean over dimensions of the standard deviation of the L2-normalised rows, times √dim: 1 where rows are spread
    /// evenly over the sphere, 0 where all are equal (SimSiam, Chen & He 2021, §4.1, whose value is 1/√dim).
    pub std: f64,
    /// exp of the entropy of the normalised singular values (RankMe, Garrido et al. 2023, Eq. 1), of at most
    /// [`RANK_ROWS`] rows.
    pub effective_rank: f64,
}

/// Rows that the effective rank looks at: its cost grows with their cube.
pub const RANK_ROWS: usize = 256;

/// The spread of `values`, row-major [rows, dim]; zeros for an empty embedding.
pub fn spread(values: &[f32], dim: usize) -> Spread {
    let rows = values.len().checked_div(dim).unwrap_or(0);
    if rows == 0 {
        return Spread {
            std: 0.0,
            effective_rank: 0.0,
        };
    }
    Spread {
        std: normalised_std(values, rows, dim) * (dim as f64).sqrt(),
        effective_rank: effective_rank(values, rows.min(RANK_ROWS), dim),
    }
}

fn normalised_std(values: &[f32], rows: usize, dim: usize) -> f64 {
    let mut sum = vec![0.0f64; dim];
    let mut square = vec![0.0f64; dim];
    for row in values.chunks_exact(dim) {
        let norm = row
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        for (d, v) in row.iter().enumerate() {
            let v = f64::from(*v) * scale;
            sum[d] += v;
            square[d] += v * v;
        }
    }
    let n = rows as f64;
    let total: f64 = (0..dim)
        .map(|d| (square[d] / n - (sum[d] / n).powi(2)).max(0.0).sqrt())
        .sum();
    total / dim as f64
}

/// Through the eigenvalues of the smaller Gram matrix, whose roots are the singular values.
fn effective_rank(values: &[f32], rows: usize, dim: usize) -> f64 {
    if values[..rows * dim].iter().any(|v| !v.is_finite()) {
        return 0.0;
    }
    let z = DMatrix::from_row_iterator(
        rows,
        dim,
        values[..rows * dim].iter().map(|v| f64::from(*v)),
    );
    let gram = if rows <= dim {
        &z * z.transpose()
    } else {
        z.transpose() * &z
    };
    let singular: Vec<f64> = gram
        .symmetric_eigenvalues()
        .iter()
        .map(|e| e.max(0.0).sqrt())
        .collect();
    let total: f64 = singular.iter().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let entropy: f64 = singular
        .iter()
        .map(|s| s / total)
        .filter(|p| *p > 0.0)
        .map(|p| -p * p.ln())
        .sum();
    entropy.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_have_collapsed() {
        let row = [0.3f32, -0.2, 0.5, 0.1];
        let s = spread(&row.repeat(8), 4);
        assert!(s.std < 1e-6, "{s:?}");
        assert!((s.effective_rank - 1.0).abs() < 1e-3, "{s:?}");
    }

    #[test]
    fn signed_axes_are_spread_evenly() {
        let mut values = Vec::new();
        for d in 0..4 {
            for sign in [1.0f32, -1.0] {
                let mut row = [0.0f32; 4];
                row[d] = sign;
                values.extend(row);
            }
        }
        let s = spread(&values, 4);
        assert!((s.std - 1.0).abs() < 1e-9, "{s:?}");
        assert!((s.effective_rank - 4.0).abs() < 1e-9, "{s:?}");
    }

    #[test]
    fn one_dimension_of_many_has_rank_one() {
        let values: Vec<f32> = (0..300)
            .flat_map(|i| [i as f32 - 150.0, 0.0, 0.0])
            .collect();
        assert!((spread(&values, 3).effective_rank - 1.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_and_infinities_do_not_panic() {
        assert_eq!(spread(&[], 0).std, 0.0);
        assert_eq!(spread(&[f32::NAN, 1.0], 2).effective_rank, 0.0);
    }
}
