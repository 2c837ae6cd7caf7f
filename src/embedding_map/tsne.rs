//! t-SNE (van der Maaten & Hinton 2008; Barnes–Hut approximation, van der Maaten 2014).

use bhtsne::{Neighbor, tSNE};
use rayon::prelude::*;
use sslc_runtime::evaluate::similarities;

const PERPLEXITY: f32 = 30.0;
/// Fewer points are seen at a glance as they are.
const LEAST: usize = 20;
/// Standard deviation of the first axis that the optimization starts from (Kobak & Berens 2019, §"Initialisation").
const START: f32 = 1e-4;
/// Rows whose neighbours are looked for at a time.
const BLOCK: usize = 64;

/// Places for rows of length 1, [rows, dim], by their angles; starts from the principal components, and runs on one
/// thread, so that the same rows give the same map. Empty for fewer than [`LEAST`] rows or rows that are not finite.
pub fn map(values: &[f32], dim: usize, pca: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let rows = pca.len();
    if rows < LEAST || values.iter().any(|v| !v.is_finite()) {
        return Vec::new();
    }
    let perplexity = PERPLEXITY.min((rows - 1) as f32 / 3.0);
    let neighbours = neighbours(values, dim, rows, (3.0 * perplexity) as usize);
    let start: Vec<f32> = pca.iter().flatten().map(|v| v * START).collect();
    let places: Vec<usize> = (0..rows).collect();
    let fit = || {
        let mut tsne: tSNE<f32, usize> = tSNE::new(&places);
        tsne.perplexity(perplexity).initial_embedding(start);
        tsne.barnes_hut_with_neighbors(0.5, &neighbours);
        tsne.embedding()
    };
    // Sums over several threads are taken in an order that changes from run to run.
    let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(1).build() else {
        return Vec::new();
    };
    let map = pool.install(fit);
    if map.iter().any(|v| !v.is_finite()) {
        return Vec::new();
    }
    map.as_chunks::<2>().0.to_vec()
}

/// The `k` nearest of each row, the nearest first.
fn neighbours(values: &[f32], dim: usize, rows: usize, k: usize) -> Vec<Vec<Neighbor<f32>>> {
    let firsts: Vec<usize> = (0..rows).step_by(BLOCK).collect();
    let blocks: Vec<Vec<Vec<Neighbor<f32>>>> = firsts
        .par_iter()
        .map(|first| {
            let count = BLOCK.min(rows - first);
            let block = &values[first * dim..(first + count) * dim];
            let mut cosines = vec![0.0; count * rows];
            similarities(block, values, count, rows, dim, &mut cosines);
            let each = cosines.chunks_exact(rows).enumerate();
            each.map(|(i, row)| nearest(row, first + i, k)).collect()
        })
        .collect();
    blocks.into_iter().flatten().collect()
}

/// The distance on the unit sphere is √(2 − 2 cos).
fn nearest(cosines: &[f32], own: usize, k: usize) -> Vec<Neighbor<f32>> {
    let mut order: Vec<usize> = (0..cosines.len()).filter(|i| *i != own).collect();
    let nearer = |a: &usize, b: &usize| cosines[*b].total_cmp(&cosines[*a]).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, nearer);
        order.truncate(k);
    }
    order.sort_unstable_by(nearer);
    order
        .into_iter()
        .map(|index| Neighbor {
            index,
            distance: (2.0 - 2.0 * cosines[index]).max(0.0).sqrt(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{normalised, pca};
    use super::*;

    /// Three groups of rows around three axes.
    fn groups() -> Vec<f32> {
        let values: Vec<f32> = (0..60 * 8)
            .map(|i| {
                let (row, d) = (i / 8, i % 8);
                let noise = (i as f32 * 0.618_034).fract() * 0.3;
                noise + if d == row % 3 { 2.0 } else { 0.0 }
            })
            .collect();
        normalised(&values, 8)
    }

    #[test]
    fn groups_stay_together_and_the_map_is_the_same_each_time() {
        let values = groups();
        let start = pca::map(&values, 8);
        let made = map(&values, 8, &start);
        assert_eq!(made.len(), 60);
        assert_eq!(made, map(&values, 8, &start));
        let distance = |a: usize, b: usize| {
            let d = [0, 1].map(|k| made[a][k] - made[b][k]);
            d[0].hypot(d[1])
        };
        for row in 0..60 {
            let others = (0..60).filter(|o| *o != row);
            let near = others.min_by(|a, b| distance(row, *a).total_cmp(&distance(row, *b)));
            assert_eq!(near.map(|n| n % 3), Some(row % 3), "row {row}");
        }
    }

    #[test]
    fn few_rows_and_rows_that_are_not_finite_have_no_map() {
        assert!(map(&[1.0; 10], 1, &[[0.0; 2]; 10]).is_empty());
        assert!(map(&[f32::NAN; 60], 1, &[[0.0; 2]; 60]).is_empty());
    }
}
