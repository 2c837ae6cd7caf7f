//! The two directions in which rows differ most.

/// Directions that are iterated together: more than the two that are wanted, so that near ties do not slow them down.
const BLOCK: usize = 6;
const ITERATIONS: usize = 40;

/// Row-major [rows, dim] projected on its first two principal components, scaled together so that the first has a
/// standard deviation of 1. By subspace iteration (Golub & Van Loan, Matrix Computations, §8.2.4) from a fixed start, so
/// that the same rows give the same map. Each component points to where most of its weight is.
pub fn map(values: &[f32], dim: usize) -> Vec<[f32; 2]> {
    let rows = values.len().checked_div(dim).unwrap_or(0);
    if rows == 0 {
        return Vec::new();
    }
    let centred = centred(values, dim, rows);
    let directions = directions(&centred, dim);
    let mut map: Vec<[f64; 2]> = centred
        .chunks_exact(dim)
        .map(|row| [0, 1].map(|k| directions.get(k).map_or(0.0, |d| dot(row, d))))
        .collect();
    let variance = map.iter().map(|p| p[0] * p[0]).sum::<f64>() / rows as f64;
    let scale = if variance > 0.0 && variance.is_finite() {
        1.0 / variance.sqrt()
    } else {
        0.0
    };
    for p in &mut map {
        p.iter_mut()
            .for_each(|v| *v = if v.is_finite() { *v * scale } else { 0.0 });
    }
    map.iter().map(|p| p.map(|v| v as f32)).collect()
}

fn centred(values: &[f32], dim: usize, rows: usize) -> Vec<f64> {
    let mut mean = vec![0.0f64; dim];
    for row in values.chunks_exact(dim) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, v)| *m += f64::from(*v));
    }
    mean.iter_mut().for_each(|m| *m /= rows as f64);
    let each = values.chunks_exact(dim);
    each.flat_map(|row| row.iter().zip(&mean).map(|(v, m)| f64::from(*v) - m))
        .collect()
}

/// Up to [`BLOCK`] orthonormal directions, the strongest first.
fn directions(centred: &[f64], dim: usize) -> Vec<Vec<f64>> {
    let block = BLOCK.min(dim);
    // A start that no structure of the data is orthogonal to: the golden ratio's multiples.
    let mut basis: Vec<Vec<f64>> = (0..block)
        .map(|k| {
            (0..dim)
                .map(|d| ((k * dim + d + 1) as f64 * 0.618_033_988_749_895).fract() - 0.5)
                .collect()
        })
        .collect();
    orthonormalise(&mut basis);
    for _ in 0..ITERATIONS {
        let mut next = vec![vec![0.0; dim]; basis.len()];
        for row in centred.chunks_exact(dim) {
            for (direction, sum) in basis.iter().zip(&mut next) {
                let along = dot(row, direction);
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += along * v);
            }
        }
        // The strongest of the last round come first, so that the others are made orthogonal to them.
        next.sort_by(|a, b| dot(b, b).total_cmp(&dot(a, a)));
        basis = next;
        orthonormalise(&mut basis);
    }
    for direction in &mut basis {
        if direction.iter().map(|v| v.powi(3)).sum::<f64>() < 0.0 {
            direction.iter_mut().for_each(|v| *v = -*v);
        }
    }
    basis
}

/// Gram–Schmidt, twice for accuracy; directions without a length of their own are dropped.
fn orthonormalise(basis: &mut Vec<Vec<f64>>) {
    let mut done: Vec<Vec<f64>> = Vec::new();
    for mut direction in basis.drain(..) {
        let before = dot(&direction, &direction).sqrt();
        for _ in 0..2 {
            for other in &done {
                let along = dot(&direction, other);
                direction
                    .iter_mut()
                    .zip(other)
                    .for_each(|(v, o)| *v -= along * o);
            }
        }
        let norm = dot(&direction, &direction).sqrt();
        if norm > before * 1e-10 && norm.is_finite() {
            direction.iter_mut().for_each(|v| *v /= norm);
            done.push(direction);
        }
    }
    *basis = done;
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_a_plane_come_back_along_its_axes() {
        // An ellipse of half-axes 3 and 1 in a plane of five dimensions.
        let u = [0.5f32, 0.5, 0.5, 0.5, 0.0];
        let v = [0.5f32, -0.5, 0.5, -0.5, 0.0];
        let angles = (0..64).map(|i| i as f32 * std::f32::consts::TAU / 64.0);
        let values: Vec<f32> = angles
            .clone()
            .flat_map(|a| (0..5).map(move |d| 3.0 * a.cos() * u[d] + a.sin() * v[d] + 10.0))
            .collect();
        let map = map(&values, 5);
        for (p, a) in map.iter().zip(angles) {
            // The first component's standard deviation, 3/√2, becomes 1.
            let scale = 2f32.sqrt() / 3.0;
            assert!((p[0] - 3.0 * a.cos() * scale).abs() < 1e-4, "{p:?} {a}");
            assert!(
                (p[1].abs() - (a.sin() * scale).abs()).abs() < 1e-4,
                "{p:?} {a}"
            );
        }
    }

    #[test]
    fn equal_rows_infinities_and_one_dimension_stay_finite() {
        let equal = map(&[1.0; 12], 3);
        let infinite = map(&[f32::INFINITY, 1.0, 0.0, 1.0], 2);
        let line = map(&[1.0, 2.0, 4.0], 1);
        for p in equal.iter().chain(&infinite).chain(&line) {
            assert!(p.iter().all(|v| v.is_finite()), "{p:?}");
        }
        assert!(
            line[0][0] < line[1][0] && line[1][0] < line[2][0],
            "{line:?}"
        );
    }
}
