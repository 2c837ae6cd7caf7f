//! Linear evaluation: a linear classifier trained on features that stay as they are.
//!
//! The protocol: features are standardised by mean and standard deviation of the training features (what a batch norm without
//! affine parameters before the classifier does, as in He et al. 2022, arXiv:2111.06377, appendix A), weights start at 0, and
//! SGD with momentum 0.9 and without weight decay minimises the mean cross-entropy of batches of 256; the learning rate falls
//! to 0 along a half cosine.
//!
//! Invariant: the same features and seed give the same bits, whatever the number of threads.

use crate::evaluate::{Features, accuracy};
use crate::matrix::{Operand, product};
use crate::rng::{Domain, Stream};
use rayon::prelude::*;

/// Images of a batch.
pub const BATCH: usize = 256;
/// The learning rates that [`sweep`] chooses from.
pub const RATES: [f64; 5] = [0.01, 0.03, 0.1, 0.3, 1.0];
/// The part of the training features that [`sweep`] judges them by.
pub const HELD_OUT: f64 = 0.1;
const MOMENTUM: f32 = 0.9;

/// How a classifier is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    pub epochs: usize,
    /// The learning rate at the beginning.
    pub lr: f64,
    /// Of the order of the features.
    pub seed: u64,
}

/// A linear classifier: `weights · (x − mean) · scale + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    classes: usize,
    mean: Vec<f32>,
    scale: Vec<f32>,
    /// [dim, classes]
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// Trains a classifier on features.
pub fn fit(train: &Features, training: &Training) -> Classifier {
    let classes = train.labels.iter().max().map_or(1, |c| *c as usize + 1);
    let (dim, count) = (train.dim, train.labels.len());
    let (mean, scale) = moments(train);
    let mut classifier = Classifier {
        classes,
        mean,
        scale,
        weights: vec![0.0; dim * classes],
        bias: vec![0.0; classes],
    };
    let mut speed = (vec![0.0f32; dim * classes], vec![0.0f32; classes]);
    let mut order: Vec<u32> = (0..count as u32).collect();
    let steps = count.div_ceil(BATCH) * training.epochs;
    let mut step = 0;
    let (mut rows, mut logits) = (Vec::new(), Vec::new());
    let mut gradient = vec![0.0f32; dim * classes];
    for epoch in 0..training.epochs {
        Stream::new(training.seed, Domain::Probe, epoch as u32, 0, 0).shuffle(&mut order);
        for batch in order.chunks(BATCH) {
            classifier.gather(train, batch, &mut rows);
            classifier.logits(&rows, batch.len(), &mut logits);
            // From logits to the gradient of the mean cross-entropy: (softmax − one-hot) / batch.
            for (row, image) in logits.chunks_mut(classes).zip(batch) {
                softmax(row);
                row[train.labels[*image as usize] as usize] -= 1.0;
                row.iter_mut().for_each(|v| *v /= batch.len() as f32);
            }
            product(
                Operand::columns(&rows, dim),
                Operand::rows(&logits, classes),
                (dim, classes, batch.len()),
                &mut gradient,
            );
            let progress = step as f64 / steps as f64;
            let lr = training.lr * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0;
            let lr = lr as f32;
            for ((w, s), g) in classifier
                .weights
                .iter_mut()
                .zip(&mut speed.0)
                .zip(&gradient)
            {
                *s = MOMENTUM * *s + g;
                *w -= lr * *s;
            }
            for (class, (b, s)) in classifier.bias.iter_mut().zip(&mut speed.1).enumerate() {
                let g: f32 = logits.chunks(classes).map(|row| row[class]).sum();
                *s = MOMENTUM * *s + g;
                *b -= lr * *s;
            }
            step += 1;
        }
    }
    classifier
}

/// Trains with each of [`RATES`] on a part of the features, chooses the one that is best on the rest, and trains with it on
/// all. The classifier and the learning rate.
pub fn sweep(train: &Features, epochs: usize, seed: u64) -> (Classifier, f64) {
    let mut order: Vec<u32> = (0..train.labels.len() as u32).collect();
    Stream::new(seed, Domain::Probe, u32::MAX, 0, 0).shuffle(&mut order);
    let held = ((order.len() as f64 * HELD_OUT).round() as usize).min(order.len());
    let (held, rest) = order.split_at(held);
    let (held, rest) = (train.select(held), train.select(rest));
    let training = |lr| Training { epochs, lr, seed };
    let scores: Vec<f64> = RATES
        .par_iter()
        .map(|lr| {
            let classifier = fit(&rest, &training(*lr));
            accuracy(&classifier.predict(&held), &held.labels)
        })
        .collect();
    // The smallest of equally good ones.
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    (fit(train, &training(RATES[best])), RATES[best])
}

impl Classifier {
    /// From the weights [classes, dim] and the bias [classes] of a linear layer on features as they are.
    pub fn of(layer: &[f32], bias: Vec<f32>) -> Classifier {
        let dim = layer.len() / bias.len().max(1);
        let weights = (0..dim)
            .flat_map(|d| layer.iter().skip(d).step_by(dim))
            .copied()
            .collect();
        Classifier {
            classes: bias.len(),
            mean: vec![0.0; dim],
            scale: vec![1.0; dim],
            weights,
            bias,
        }
    }

    /// The likeliest class of each row; the lowest of equally likely ones.
    pub fn predict(&self, features: &Features) -> Vec<u32> {
        let all: Vec<u32> = (0..features.labels.len() as u32).collect();
        let of_batch = |batch: &[u32]| {
            let (mut rows, mut logits) = (Vec::new(), Vec::new());
            self.gather(features, batch, &mut rows);
            self.logits(&rows, batch.len(), &mut logits);
            logits
                .chunks(self.classes)
                .map(argmax)
                .collect::<Vec<u32>>()
        };
        all.par_chunks(BATCH).flat_map_iter(of_batch).collect()
    }

    /// Rows, standardised.
    fn gather(&self, features: &Features, batch: &[u32], rows: &mut Vec<f32>) {
        rows.clear();
        for image in batch {
            let row = &features.values[*image as usize * features.dim..][..features.dim];
            let scaled = row.iter().zip(&self.mean).zip(&self.scale);
            rows.extend(scaled.map(|((v, m), s)| (v - m) * s));
        }
    }

    fn logits(&self, rows: &[f32], count: usize, logits: &mut Vec<f32>) {
        logits.clear();
        logits.resize(count * self.classes, 0.0);
        let dim = self.mean.len();
        product(
            Operand::rows(rows, dim),
            Operand::rows(&self.weights, self.classes),
            (count, self.classes, dim),
            logits,
        );
        for row in logits.chunks_mut(self.classes) {
            row.iter_mut().zip(&self.bias).for_each(|(v, b)| *v += b);
        }
    }
}

fn argmax(row: &[f32]) -> u32 {
    let mut best = 0;
    for (class, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = class;
        }
    }
    best as u32
}

fn softmax(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for v in row.iter_mut() {
        *v = (*v - most).exp();
        sum += *v;
    }
    row.iter_mut().for_each(|v| *v /= sum);
}

/// Mean and 1 / standard deviation of each feature; 0 for one that never changes.
fn moments(features: &Features) -> (Vec<f32>, Vec<f32>) {
    let (dim, count) = (features.dim, features.labels.len().max(1) as f64);
    let mut sums = vec![(0.0f64, 0.0f64); dim];
    for row in features.values.chunks(dim.max(1)) {
        for ((sum, squares), v) in sums.iter_mut().zip(row) {
            *sum += f64::from(*v);
            *squares += f64::from(*v).powi(2);
        }
    }
    let of = |(sum, squares): &(f64, f64)| {
        let mean = sum / count;
        let variance = (squares / count - mean * mean).max(0.0);
        // A variance of rounding alone is none.
        let scale = if variance > 1e-12 * (1e-12 + mean * mean) {
            1.0 / variance.sqrt()
        } else {
            0.0
        };
        (mean as f32, scale as f32)
    };
    sums.iter().map(of).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clouds around the corners of a simplex, off centre and of different sizes, and a feature that never changes.
    fn clouds(count: usize, seed: u64) -> Features {
        let mut draws = Stream::new(seed, Domain::Probe, 0, 1, 0);
        let mut features = Features {
            dim: 4,
            ..Features::default()
        };
        for i in 0..count {
            let class = i % 3;
            for axis in 0..3 {
                let centre = if axis == class { 2.0 } else { 0.0 };
                let v = (centre + draws.unit() * 1.5) * 10f64.powi(axis as i32) + 100.0;
                features.values.push(v as f32);
            }
            features.values.push(7.0);
            features.labels.push(class as u32);
        }
        features
    }

    #[test]
    fn classes_that_a_plane_parts_are_told_apart() {
        let (train, test) = (clouds(600, 1), clouds(300, 2));
        let (classifier, _) = sweep(&train, 10, 0);
        assert_eq!(accuracy(&classifier.predict(&test), &test.labels), 1.0);
    }

    #[test]
    fn a_seed_gives_the_same_bits_on_any_number_of_threads() {
        let train = clouds(600, 1);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| sweep(&train, 3, 5))
        };
        assert_eq!(on(1), on(3));
        let training = |seed| Training {
            epochs: 1,
            lr: 0.1,
            seed,
        };
        assert_ne!(fit(&train, &training(5)), fit(&train, &training(6)));
    }

    #[test]
    fn nothing_to_learn_from_is_no_harm() {
        let none = Features::default();
        let (classifier, _) = sweep(&none, 2, 0);
        assert!(classifier.predict(&none).is_empty());
    }
}
