//! Evaluation of features by their neighbours.
//!
//! Weighted k-NN as in Wu et al. 2018 (arXiv:1805.01978, §3.4): features are L2-normalised, each of the k nearest
//! training features votes for its class with exp(cos/τ), and ties go to the lowest class.

use crate::matrix::{Operand, product};
use rayon::prelude::*;
use sslc_compiler::program::Knn;

/// Feature vectors, row-major [count, dim], with a class each.
#[derive(Clone, Debug, Default)]
pub struct Features {
    pub dim: usize,
    pub values: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Features {
    /// Some of them, in the order given.
    pub fn select(&self, rows: &[u32]) -> Features {
        let row = |i: &u32| &self.values[*i as usize * self.dim..][..self.dim];
        Features {
            dim: self.dim,
            values: rows.iter().flat_map(row).copied().collect(),
            labels: rows.iter().map(|i| self.labels[*i as usize]).collect(),
        }
    }

    /// Rows of length 1; a row of zeros stays.
    fn normalised(&self) -> Vec<f32> {
        let mut values = self.values.clone();
        for row in values.chunks_mut(self.dim.max(1)) {
            let norm = row
                .iter()
                .map(|v| f64::from(*v).powi(2))
                .sum::<f64>()
                .sqrt();
            if norm > 0.0 {
                row.iter_mut()
                    .for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
        }
        values
    }
}

/// Queries that are compared with the bank at a time: bounds the similarities kept to `BLOCK × bank`.
const BLOCK: usize = 64;

/// The share of `queries` whose class the vote of their neighbours in `bank` gives, from 0 to 1.
///
/// Both must have the same feature size; with no queries or an empty bank it is 0. `k` is at most the bank's size.
pub fn knn_accuracy(bank: &Features, queries: &Features, settings: &Knn) -> f64 {
    accuracy(&knn_predict(bank, queries, settings), &queries.labels)
}

/// The share of predictions that are right; 0 of none.
pub fn accuracy(predicted: &[u32], labels: &[u32]) -> f64 {
    let hits = predicted.iter().zip(labels).filter(|(p, l)| p == l).count();
    hits as f64 / labels.len().max(1) as f64
}

/// The class that the vote of its neighbours in `bank` gives each query; of an empty bank, none.
pub fn knn_predict(bank: &Features, queries: &Features, settings: &Knn) -> Vec<u32> {
    let (dim, count, n) = (bank.dim, bank.labels.len(), queries.labels.len());
    if dim == 0 || count == 0 || n == 0 {
        return Vec::new();
    }
    let classes = bank.labels.iter().max().map_or(0, |c| *c as usize + 1);
    let k = settings.k.clamp(1, count);
    let (b, q) = (bank.normalised(), queries.normalised());
    let of_block = |rows: &[f32]| {
        let mut cosines = vec![0.0f32; rows.len() / dim * count];
        similarities(rows, &b, rows.len() / dim, count, dim, &mut cosines);
        cosines
            .chunks(count)
            .map(|row| vote(row, &bank.labels, classes, k, settings.temperature))
            .collect::<Vec<u32>>()
    };
    q.par_chunks(BLOCK * dim).flat_map_iter(of_block).collect()
}

/// `out[m, n] = rows[m, d] · bank[n, d]ᵀ`; panics where a slice is too short.
pub fn similarities(rows: &[f32], bank: &[f32], m: usize, n: usize, d: usize, out: &mut [f32]) {
    product(
        Operand::rows(rows, d),
        Operand::columns(bank, d),
        (m, n, d),
        out,
    );
}

fn vote(cosines: &[f32], labels: &[u32], classes: usize, k: usize, temperature: f64) -> u32 {
    let mut order: Vec<u32> = (0..cosines.len() as u32).collect();
    let nearer = |a: &u32, b: &u32| {
        cosines[*b as usize]
            .total_cmp(&cosines[*a as usize])
            .then(a.cmp(b))
    };
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, nearer);
        order.truncate(k);
    }
    order.sort_unstable_by(nearer);
    let mut votes = vec![0.0f64; classes];
    // The factor exp(−1/τ), common to all votes, keeps small temperatures finite.
    for i in order {
        votes[labels[i as usize] as usize] +=
            ((f64::from(cosines[i as usize]) - 1.0) / temperature).exp();
    }
    let mut best = 0;
    for (class, weight) in votes.iter().enumerate() {
        if *weight > votes[best] {
            best = class;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(k: usize) -> Knn {
        Knn {
            k,
            temperature: 0.1,
            every: None,
        }
    }

    fn features(dim: usize, rows: &[(&[f32], u32)]) -> Features {
        Features {
            dim,
            values: rows.iter().flat_map(|(v, _)| v.to_vec()).collect(),
            labels: rows.iter().map(|(_, l)| *l).collect(),
        }
    }

    #[test]
    fn the_nearest_by_angle_wins_whatever_its_length() {
        let bank = features(2, &[(&[100.0, 0.0], 0), (&[0.0, 0.01], 1)]);
        let queries = features(2, &[(&[0.1, 0.2], 1), (&[3.0, 1.0], 0)]);
        assert_eq!(knn_accuracy(&bank, &queries, &settings(1)), 1.0);
    }

    #[test]
    fn a_near_neighbour_outweighs_two_far_ones() {
        let bank = features(2, &[(&[1.0, 0.0], 1), (&[0.0, 1.0], 0), (&[0.0, 1.0], 0)]);
        let queries = features(2, &[(&[1.0, 0.1], 1)]);
        assert_eq!(knn_accuracy(&bank, &queries, &settings(3)), 1.0);
    }

    #[test]
    fn a_tie_goes_to_the_lowest_class() {
        let bank = features(2, &[(&[1.0, 1.0], 2), (&[1.0, 1.0], 1)]);
        let queries = features(2, &[(&[1.0, 0.0], 1)]);
        assert_eq!(knn_accuracy(&bank, &queries, &settings(2)), 1.0);
    }

    #[test]
    fn more_neighbours_than_images_means_all() {
        let bank = features(1, &[(&[1.0], 0)]);
        assert_eq!(knn_accuracy(&bank, &bank, &settings(200)), 1.0);
    }

    #[test]
    fn a_tiny_temperature_stays_finite() {
        let bank = features(2, &[(&[1.0, 0.0], 0), (&[0.0, 1.0], 1)]);
        let queries = features(2, &[(&[0.1, 1.0], 1)]);
        let tiny = Knn {
            k: 2,
            temperature: 1e-3,
            every: None,
        };
        assert_eq!(knn_accuracy(&bank, &queries, &tiny), 1.0);
    }
}
