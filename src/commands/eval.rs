//! `sslc eval`: how good the features of a run are, by neighbours and by a linear classifier.

use super::finetune::{RATE, Tuned, tune};
use crate::cli::Global;
use crate::compile::{Failure, json};
use crate::report::{Reporter, print};
use crate::runs::{Run, Which};
use serde::Serialize;
use sslc_compiler::program::Knn;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Sources;
use sslc_runtime::evaluate::{Features, accuracy, knn_predict};
use sslc_runtime::linear::{BATCH, HELD_OUT, RATES, sweep};
use sslc_runtime::tensors::write_atomically;
use sslc_runtime::train::encoder::Encoder;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is asked for.
pub struct Request<'a> {
    pub k: Option<usize>,
    pub temperature: Option<f64>,
    pub epochs: usize,
    /// Parts of the labels to fine-tune with.
    pub finetune: &'a [f64],
    pub seeds: u64,
    pub which: Which,
    /// In place of `eval.json` in the run directory.
    pub json: Option<&'a Path>,
}

/// Numbers of classes up to which the whole confusion table is printed.
const TABLE: usize = 20;
/// Pairs that are printed of a larger one.
const PAIRS: usize = 10;

#[derive(Debug, Serialize)]
struct Report {
    run: PathBuf,
    weights: PathBuf,
    step: Option<u64>,
    train_images: usize,
    test_images: usize,
    classes: Vec<String>,
    knn: KnnReport,
    linear: LinearReport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    finetune: Vec<FinetuneReport>,
}

#[derive(Debug, Serialize)]
struct KnnReport {
    k: usize,
    temperature: f64,
    #[serde(flatten)]
    result: Judged,
}

#[derive(Debug, Serialize)]
struct LinearReport {
    epochs: usize,
    batch: usize,
    learning_rates: Vec<f64>,
    held_out: f64,
    seeds: Vec<SeedReport>,
    #[serde(flatten)]
    result: Judged,
}

#[derive(Debug, Serialize)]
struct FinetuneReport {
    /// Of the labels.
    part: f64,
    images: usize,
    batch: usize,
    steps: usize,
    learning_rate: f64,
    seeds: Vec<f64>,
    #[serde(flatten)]
    result: Judged,
}

#[derive(Debug, Serialize)]
struct SeedReport {
    seed: u64,
    learning_rate: f64,
    accuracy: f64,
}

#[derive(Debug, Serialize)]
struct Judged {
    /// From 0 to 1; over seeds, the mean.
    accuracy: f64,
    /// 95 %.
    interval: (f64, f64),
    /// Rows: true classes; columns: predicted ones. Of the first seed.
    confusion: Vec<Vec<u64>>,
}

/// Evaluates a run and prints and writes the result.
pub fn run(
    path: &Path,
    request: &Request,
    global: &Global,
    reporter: Reporter,
) -> Result<u8, Failure> {
    let run = Run::open(path)?;
    let tell = |d: &Diagnostic| reporter.tell(&Sources::default(), d);
    let weights = run.weights(request.which, tell)?;
    let target = super::target(global)?;
    let dataset = run.dataset()?;
    let program = &run.compilation.program;
    let (train, test) = (Arc::new(dataset.train), dataset.test.map(Arc::new));
    let labelled = test.filter(|t| !t.labelled().is_empty() && !train.labelled().is_empty());
    let Some(test) = labelled else {
        return Err(Diagnostic::new(
            codes::E0678,
            "the source has no labelled training and test images to evaluate on",
        )
        .help("give `image_folder` class folders and `test:` or `holdout:`; `sslc embed` needs no labels")
        .into());
    };
    let mut encoder = Encoder::new(program, &target)?;
    let bank = encoder.features(&weights.values, &train)?;
    let queries = encoder.features(&weights.values, &test)?;
    [train.take_notice(), test.take_notice()]
        .iter()
        .flatten()
        .for_each(tell);
    let classes = class_names(&dataset.classes, &[&bank, &queries]);
    let given = program.eval.knn;
    let settings = Knn {
        k: request.k.or(given.map(|k| k.k)).unwrap_or(200),
        temperature: request
            .temperature
            .or(given.map(|k| k.temperature))
            .unwrap_or(0.1),
        every: None,
    };
    let mut finetune = Vec::new();
    for part in request.finetune {
        let mut tuned = Vec::new();
        for seed in 0..request.seeds {
            let images = (&train, &test);
            let what = (*part, seed);
            tuned.push(tune(&run, &weights, images, classes.len(), what, &target)?);
        }
        finetune.push(by_finetuning(*part, &tuned, &queries, classes.len()));
    }
    let network = &program.networks[program.encode.network].name;
    let report = Report {
        run: run.path.clone(),
        weights: weights.file.clone(),
        step: weights.step,
        train_images: bank.labels.len(),
        test_images: queries.labels.len(),
        knn: by_neighbours(&bank, &queries, &settings, classes.len()),
        linear: by_classifier(&bank, &queries, request, classes.len()),
        finetune,
        classes,
    };
    print(&text(&report, network));
    let file = match request.json {
        Some(file) => file.to_owned(),
        None => run.path.join("eval.json"),
    };
    write_atomically(&file, json(&report).as_bytes())?;
    print(&format!("written to {}\n", file.display()));
    Ok(0)
}

/// The names that the data set has for its classes, and numbers for those that it has no name for.
fn class_names(names: &[String], features: &[&Features]) -> Vec<String> {
    let labels = features.iter().flat_map(|f| &f.labels);
    let count = labels.max().map_or(0, |c| *c as usize + 1);
    (0..count.max(names.len()))
        .map(|i| names.get(i).cloned().unwrap_or_else(|| i.to_string()))
        .collect()
}

fn by_neighbours(bank: &Features, queries: &Features, knn: &Knn, classes: usize) -> KnnReport {
    let predicted = knn_predict(bank, queries, knn);
    let accuracy = accuracy(&predicted, &queries.labels);
    KnnReport {
        k: knn.k.min(bank.labels.len()),
        temperature: knn.temperature,
        result: Judged {
            accuracy,
            interval: wilson(accuracy, queries.labels.len()),
            confusion: confusion(&predicted, &queries.labels, classes),
        },
    }
}

fn by_classifier(
    bank: &Features,
    queries: &Features,
    request: &Request,
    classes: usize,
) -> LinearReport {
    let mut seeds = Vec::new();
    let mut first = Vec::new();
    for seed in 0..request.seeds {
        let (classifier, learning_rate) = sweep(bank, request.epochs, seed);
        let predicted = classifier.predict(queries);
        seeds.push(SeedReport {
            seed,
            learning_rate,
            accuracy: accuracy(&predicted, &queries.labels),
        });
        if seed == 0 {
            first = confusion(&predicted, &queries.labels, classes);
        }
    }
    let all: Vec<f64> = seeds.iter().map(|s| s.accuracy).collect();
    let (mean, interval) = judge(&all, queries.labels.len());
    LinearReport {
        epochs: request.epochs,
        batch: BATCH,
        learning_rates: RATES.to_vec(),
        held_out: HELD_OUT,
        seeds,
        result: Judged {
            accuracy: mean,
            interval,
            confusion: first,
        },
    }
}

fn by_finetuning(part: f64, tuned: &[Tuned], queries: &Features, classes: usize) -> FinetuneReport {
    let labels = &queries.labels;
    let seeds: Vec<f64> = tuned
        .iter()
        .map(|t| accuracy(&t.predicted, labels))
        .collect();
    let (mean, interval) = judge(&seeds, labels.len());
    let first = tuned.first();
    FinetuneReport {
        part,
        images: first.map_or(0, |t| t.images),
        batch: first.map_or(0, |t| t.batch),
        steps: first.map_or(0, |t| t.steps),
        learning_rate: RATE,
        seeds,
        result: Judged {
            accuracy: mean,
            interval,
            confusion: confusion(first.map_or(&[], |t| &t.predicted), labels, classes),
        },
    }
}

/// The mean over seeds, and its interval.
fn judge(all: &[f64], images: usize) -> (f64, (f64, f64)) {
    let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
    let interval = match all.len() {
        0 | 1 => wilson(mean, images),
        _ => over_seeds(all, mean),
    };
    (mean, interval)
}

fn confusion(predicted: &[u32], labels: &[u32], classes: usize) -> Vec<Vec<u64>> {
    let mut table = vec![vec![0; classes]; classes];
    for (p, l) in predicted.iter().zip(labels) {
        table[*l as usize][*p as usize] += 1;
    }
    table
}

/// The 95 % interval of a share of `n` independent trials (Wilson 1927).
fn wilson(share: f64, n: usize) -> (f64, f64) {
    let (n, z) = (n.max(1) as f64, 1.959_964);
    let middle = share + z * z / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (
        ((middle - half) / scale).max(0.0),
        ((middle + half) / scale).min(1.0),
    )
}

/// Quantiles of Student's t at 97.5 %, by degrees of freedom from 1.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The 95 % interval of the mean of two or more seeds.
fn over_seeds(all: &[f64], mean: f64) -> (f64, f64) {
    let n = all.len() as f64;
    let variance = all.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = T.get(all.len() - 2).copied().unwrap_or(1.96);
    let half = t * (variance / n).sqrt();
    ((mean - half).max(0.0), (mean + half).min(1.0))
}

fn text(report: &Report, network: &str) -> String {
    let mut out = String::new();
    let step = match report.step {
        Some(step) => format!(" after step {step}"),
        None => String::new(),
    };
    out.push_str(&format!(
        "{network}{step}, from {}\n{} images to learn from, {} to test on, {} classes\n\n",
        report.weights.display(),
        report.train_images,
        report.test_images,
        report.classes.len()
    ));
    let knn = &report.knn;
    out.push_str(&format!(
        "k-NN: the {} nearest by cosine, votes exp(cos/{})\n{}",
        knn.k,
        knn.temperature,
        judged(&knn.result, &format!("by {} images", report.test_images))
    ));
    let linear = &report.linear;
    let rates: Vec<String> = linear.learning_rates.iter().map(f64::to_string).collect();
    out.push_str(&format!(
        "\nlinear: features standardised, SGD with momentum 0.9, no decay, cosine, {} epochs of batches of {}, \
         learning rate of {} by {:.0} % held out\n",
        linear.epochs,
        linear.batch,
        rates.join(", "),
        100.0 * linear.held_out
    ));
    for seed in &linear.seeds {
        out.push_str(&format!(
            "  seed {}  lr {:<4}  {:6.2} %\n",
            seed.seed,
            seed.learning_rate,
            100.0 * seed.accuracy
        ));
    }
    let how = match linear.seeds.len() {
        1 => format!("by {} images", report.test_images),
        n => format!("by {n} seeds"),
    };
    out.push_str(&judged(&linear.result, &how));
    for tuned in &report.finetune {
        let seeds: Vec<String> = tuned
            .seeds
            .iter()
            .map(|a| format!("{:.2} %", 100.0 * a))
            .collect();
        out.push_str(&format!(
            "\nfine-tuning with {} % of the labels: {} images, {} steps of {}, encoder and a linear layer, crops and flips, \
             SGD with momentum 0.9, learning rate {} and a cosine\n  seeds: {}\n{}",
            100.0 * tuned.part,
            tuned.images,
            tuned.steps,
            tuned.batch,
            tuned.learning_rate,
            seeds.join(", "),
            judged(&tuned.result, &how)
        ));
    }
    out.push_str("\nwhat the linear classifier takes each class for\n");
    out.push_str(&table(&linear.result.confusion, &report.classes));
    out
}

fn judged(result: &Judged, how: &str) -> String {
    format!(
        "  accuracy {:6.2} %  (95 % within {:.2} and {:.2}, {how})\n",
        100.0 * result.accuracy,
        100.0 * result.interval.0,
        100.0 * result.interval.1
    )
}

/// The whole table, or of many classes the commonest mistakes.
fn table(confusion: &[Vec<u64>], classes: &[String]) -> String {
    let mut out = String::new();
    if classes.len() > TABLE {
        let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
        for (is, row) in confusion.iter().enumerate() {
            for (taken, n) in row.iter().enumerate().filter(|(j, n)| *j != is && **n > 0) {
                pairs.push((*n, is, taken));
            }
        }
        pairs.sort_by_key(|(n, is, taken)| (std::cmp::Reverse(*n), *is, *taken));
        for (n, is, taken) in pairs.into_iter().take(PAIRS) {
            out.push_str(&format!("  {} for {}: {n}\n", classes[is], classes[taken]));
        }
        return out;
    }
    let most = confusion
        .iter()
        .flatten()
        .max()
        .map_or(1, |n| n.to_string().len());
    let cell = most.max(2) + 1;
    let name = classes
        .iter()
        .map(|c| c.chars().count())
        .max()
        .unwrap_or(0)
        .min(20);
    let head: String = (0..classes.len()).map(|i| format!("{i:cell$}")).collect();
    out.push_str(&format!("  {:1$}   {head}\n", "", name + 3));
    for (i, row) in confusion.iter().enumerate() {
        let cells: String = row.iter().map(|n| format!("{n:cell$}")).collect();
        let short: String = classes[i].chars().take(name).collect();
        let total: u64 = row.iter().sum();
        let right = 100.0 * row[i] as f64 / total.max(1) as f64;
        out.push_str(&format!("  {i:2} {short:name$}   {cells}  {right:5.1} %\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_books() {
        // Newcombe 1998, table I: 81 of 263, and 0 of 20.
        let (lo, hi) = wilson(81.0 / 263.0, 263);
        assert!(
            (lo - 0.2553).abs() < 1e-4 && (hi - 0.3662).abs() < 1e-4,
            "{lo} {hi}"
        );
        let (lo, hi) = wilson(0.0, 20);
        assert!(lo.abs() < 1e-12 && (hi - 0.1611).abs() < 1e-4, "{lo} {hi}");
        // Mean 2, standard deviation 1, t(2) = 4.303; beyond the range of shares it is cut.
        let all = [0.1, 0.2, 0.3];
        let (lo, hi) = over_seeds(&all, 0.2);
        let half = 4.303 * 0.1 / 3f64.sqrt();
        assert!((hi - (0.2 + half)).abs() < 1e-9 && lo == 0.0, "{lo} {hi}");
    }

    #[test]
    fn many_classes_show_the_commonest_mistakes() {
        let classes: Vec<String> = (0..21).map(|i| format!("c{i}")).collect();
        let mut confusion = vec![vec![0; 21]; 21];
        confusion[3][3] = 50;
        confusion[3][4] = 2;
        confusion[7][1] = 9;
        assert_eq!(
            table(&confusion, &classes),
            "  c7 for c1: 9\n  c3 for c4: 2\n"
        );
    }
}
