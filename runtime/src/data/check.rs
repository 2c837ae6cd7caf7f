//! A source looked through image by image: sizes, channels, labels, damaged and repeated files.

use super::decode::{DecodeBuffer, Facts, examine, facts_of};
use super::folder::{Folder, inventory};
use super::split::Split;
use super::{Dataset, open};
use rayon::prelude::*;
use serde::Serialize;
use sslc_compiler::program::{DataKind, DataSource};
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a source holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub splits: Vec<SplitReport>,
    /// Files that cannot be decoded, of all splits.
    pub corrupt: Vec<Corrupt>,
    pub duplicates: Duplicates,
}

/// What a split holds; its corrupt files are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitReport {
    pub name: &'static str,
    pub images: usize,
    /// Of the shorter and the longer side, in pixels.
    pub shorter_side: Spread,
    pub longer_side: Spread,
    /// The most frequent sizes, at most [`SIZES`] of them: width, height and how many images have it.
    pub sizes: Vec<Size>,
    /// How many sizes there are.
    pub distinct_sizes: usize,
    /// Images by how their files store colour: `RGB`, `gray`, `RGBA`, …
    pub modes: BTreeMap<String, usize>,
    /// Images that are turned by their camera's orientation.
    pub turned: usize,
    /// Images of each class, in the order of labels.
    pub classes: Vec<Class>,
    /// Images without a label.
    pub unlabelled: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub min: usize,
    pub median: usize,
    pub max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    pub width: usize,
    pub height: usize,
    pub images: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    pub name: String,
    pub images: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Corrupt {
    pub file: String,
    pub reason: String,
}

/// Images with the same pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Images beyond the first of each kind.
    pub images: usize,
    /// Test images that are among the training images as well.
    pub test_in_train: usize,
    /// Names of the first kinds that occur more than once, at most [`EXAMPLES`].
    pub examples: Vec<Vec<String>>,
}

/// Sizes that a report names.
pub const SIZES: usize = 5;
/// Kinds of repeated images that a report names.
pub const EXAMPLES: usize = 5;

/// An image of a split: its name, its class, and what it is.
struct Seen {
    name: String,
    label: Option<u32>,
    facts: Facts,
}

/// Looks through a source; `progress` hears how many images of how many have been seen.
///
/// # Errors
/// As [`open`], but for damaged image files, which the report lists.
pub fn check(
    source: &DataSource,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Report, Diagnostic> {
    match &source.kind {
        DataKind::ImageFolder {
            path,
            test,
            holdout,
            strict,
        } => {
            let found = inventory(&Folder {
                path,
                test: test.as_deref(),
                holdout: *holdout,
                strict: *strict,
                count: source.train_len,
            })?;
            Ok(files(&found.classes, found.splits, progress))
        }
        DataKind::FashionMini
        | DataKind::FashionMnist { .. }
        | DataKind::Mnist { .. }
        | DataKind::Idx { .. }
        | DataKind::Cifar10 { .. }
        | DataKind::Cifar100 { .. }
        | DataKind::Stl10 { .. } => images(&open(source)?, progress),
    }
}

/// Files of one split, with their classes.
pub(super) type Files = (&'static str, Vec<(PathBuf, Option<u32>)>);

fn files(
    classes: &[String],
    splits: Vec<Files>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Report {
    let total = splits.iter().map(|(_, files)| files.len()).sum();
    let done = AtomicUsize::new(0);
    let mut corrupt = Vec::new();
    let mut seen = Vec::new();
    for (split, files) in splits {
        let looked: Vec<_> = files
            .par_iter()
            .map_init(DecodeBuffer::default, |buffer, (path, label)| {
                let facts = examine(path, buffer);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                (path, *label, facts)
            })
            .collect();
        let mut good = Vec::new();
        for (path, label, facts) in looked {
            let name = path.display().to_string();
            match facts {
                Ok(facts) => good.push(Seen { name, label, facts }),
                Err(why) => corrupt.push(Corrupt {
                    file: name,
                    reason: why.to_string(),
                }),
            }
        }
        seen.push((split, good));
    }
    report(classes, seen, corrupt)
}

/// Images of a set of one size.
fn images(
    dataset: &Dataset,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Report, Diagnostic> {
    let splits: Vec<(&'static str, &Split)> = std::iter::once(("train", &dataset.train))
        .chain(dataset.test.as_ref().map(|t| ("test", t)))
        .collect();
    let total = splits.iter().map(|(_, s)| s.len()).sum();
    let done = AtomicUsize::new(0);
    let mut seen = Vec::new();
    for (name, split) in splits {
        let looked: Result<Vec<Seen>, Diagnostic> = (0..split.len())
            .into_par_iter()
            .map(|i| {
                let image = split.image(i)?;
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                Ok(Seen {
                    name: format!("{name} {i}"),
                    label: split.label(i),
                    facts: facts_of(&image),
                })
            })
            .collect();
        seen.push((name, looked?));
    }
    Ok(report(&dataset.classes, seen, Vec::new()))
}

fn report(
    classes: &[String],
    splits: Vec<(&'static str, Vec<Seen>)>,
    corrupt: Vec<Corrupt>,
) -> Report {
    Report {
        duplicates: duplicates(&splits),
        splits: splits
            .iter()
            .map(|(name, seen)| split_report(name, seen, classes))
            .collect(),
        corrupt,
    }
}

fn split_report(name: &'static str, seen: &[Seen], classes: &[String]) -> SplitReport {
    let mut sizes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut modes: BTreeMap<String, usize> = BTreeMap::new();
    let mut labels = vec![0; classes.len()];
    let mut unlabelled = 0;
    for s in seen {
        *sizes.entry((s.facts.width, s.facts.height)).or_default() += 1;
        *modes.entry(s.facts.mode.clone()).or_default() += 1;
        match s.label.and_then(|l| labels.get_mut(l as usize)) {
            Some(n) => *n += 1,
            None => unlabelled += 1,
        }
    }
    let side = |of: fn(usize, usize) -> usize| {
        spread(seen.iter().map(|s| of(s.facts.width, s.facts.height)))
    };
    let distinct_sizes = sizes.len();
    let mut frequent: Vec<Size> = sizes
        .into_iter()
        .map(|((width, height), images)| Size {
            width,
            height,
            images,
        })
        .collect();
    frequent.sort_by_key(|b| std::cmp::Reverse(b.images));
    frequent.truncate(SIZES);
    SplitReport {
        name,
        images: seen.len(),
        shorter_side: side(usize::min),
        longer_side: side(usize::max),
        sizes: frequent,
        distinct_sizes,
        modes,
        turned: seen.iter().filter(|s| s.facts.turned).count(),
        classes: classes
            .iter()
            .zip(labels)
            .map(|(name, images)| Class {
                name: name.clone(),
                images,
            })
            .collect(),
        unlabelled,
    }
}

fn spread(values: impl Iterator<Item = usize>) -> Spread {
    let mut values: Vec<usize> = values.collect();
    values.sort_unstable();
    match values[..] {
        [] => Spread::default(),
        [min, ..] => Spread {
            min,
            median: values[values.len() / 2],
            max: values[values.len() - 1],
        },
    }
}

fn duplicates(splits: &[(&'static str, Vec<Seen>)]) -> Duplicates {
    let mut kinds: BTreeMap<u64, Vec<(usize, usize)>> = BTreeMap::new();
    for (s, (_, seen)) in splits.iter().enumerate() {
        for (i, image) in seen.iter().enumerate() {
            kinds.entry(image.facts.hash).or_default().push((s, i));
        }
    }
    let mut repeated: Vec<&Vec<(usize, usize)>> = kinds.values().filter(|k| k.len() > 1).collect();
    // In the order of the images, not of their hashes.
    repeated.sort();
    Duplicates {
        images: repeated.iter().map(|k| k.len() - 1).sum(),
        test_in_train: repeated
            .iter()
            .filter(|k| k[0].0 == 0)
            .map(|k| k.iter().filter(|(s, _)| *s == 1).count())
            .sum(),
        examples: repeated
            .iter()
            .take(EXAMPLES)
            .map(|k| {
                k.iter()
                    .map(|(s, i)| splits[*s].1[*i].name.clone())
                    .collect()
            })
            .collect(),
    }
}
