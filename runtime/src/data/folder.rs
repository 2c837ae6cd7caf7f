//! `image_folder(path)`: one folder per class, or loose images without labels.
//!
//! - Which files are images is told by their endings (content decides the decoder), or by content where there is no ending.
//! - Up to [`DECODE_ALL`] files are decoded when the folder is opened, up to [`CHECK_HEADERS`] have their headers read, and damaged ones are left out. A file that proves damaged later is
//!   replaced, each time it is asked for, by the next good one of its class.
//! - `holdout` takes the files whose hashed paths come first, per class: it depends on the names only.

use super::Dataset;
use super::decode::{
    DecodeBuffer, ImageFailure, Pixels, check_header, read_image, read_image_into,
};
use super::files::{count, show, thousands};
use super::listing::{Listing, list};
use super::split::{ImageRef, Split, Store};
use crate::rng;
use rayon::prelude::*;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Folders of at most so many files are decoded once when opened.
const DECODE_ALL: usize = 2_000;
/// Folders of at most so many files have their headers read when opened.
const CHECK_HEADERS: usize = 50_000;
/// So many damaged files in a row mean that the folder is gone, not that files are damaged.
const GIVE_UP_AFTER: usize = 256;

/// The arguments of `image_folder`.
pub(super) struct Folder<'a> {
    pub path: &'a Path,
    pub test: Option<&'a Path>,
    pub holdout: f64,
    pub strict: bool,
    /// The number of training images that the spec states.
    pub count: Option<usize>,
}

/// Image files of any size, decoded when asked for.
#[derive(Debug)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    labels: Option<Vec<u32>>,
    channels: usize,
    strict: bool,
    late: Mutex<Late>,
}

/// Files found damaged after opening, by index, with the reason; `told` of them have been reported.
#[derive(Debug, Default)]
struct Late {
    failed: BTreeMap<usize, String>,
    told: BTreeSet<usize>,
}

fn reason(f: &ImageFailure) -> String {
    f.to_string()
}

fn damaged(path: &Path, why: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E0608,
        format!("{} cannot be decoded: {why}", show(path)),
    )
    .help("remove or mend the file, or leave out `strict: true` to skip damaged files")
}

/// "a.png (why), b.png (why) and 3 more"
fn name_some(failed: &[(PathBuf, String)]) -> String {
    let named: Vec<String> = failed
        .iter()
        .take(3)
        .map(|(p, why)| format!("{} ({why})", show(p)))
        .collect();
    let rest = failed.len().saturating_sub(3);
    let more = if rest == 0 {
        String::new()
    } else {
        format!(" and {} more", thousands(rest as u64))
    };
    named.join(", ") + &more
}

impl Files {
    fn late(&self) -> MutexGuard<'_, Late> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self, i: usize) -> String {
        show(&self.paths[i])
    }

    /// File `i`, or the next good one of its class, or the next good one at all.
    pub(super) fn image(&self, i: usize) -> Result<Pixels, Diagnostic> {
        match read_image(&self.paths[i], self.channels) {
            Ok(pixels) => Ok(pixels),
            Err(f) => self.replacement(i, &reason(&f)),
        }
    }

    /// As [`Files::image`], decoded into `buffer`.
    pub(super) fn image_in<'a>(
        &'a self,
        i: usize,
        buffer: &'a mut DecodeBuffer,
    ) -> Result<ImageRef<'a>, Diagnostic> {
        match read_image_into(&self.paths[i], self.channels, buffer) {
            Ok((height, width)) => Ok(ImageRef {
                pixels: Cow::Borrowed(&buffer.pixels),
                height,
                width,
                channels: self.channels,
            }),
            Err(f) => self.replacement(i, &reason(&f)).map(ImageRef::from),
        }
    }

    /// What takes the place of file `i`, which cannot be decoded.
    fn replacement(&self, i: usize, failure: &str) -> Result<Pixels, Diagnostic> {
        if self.strict {
            return Err(damaged(&self.paths[i], failure));
        }
        self.late()
            .failed
            .entry(i)
            .or_insert_with(|| failure.to_owned());
        let n = self.paths.len();
        let following = |same: bool| {
            (1..n).map(move |k| (i + k) % n).filter(move |j| {
                let alike = self.labels.as_ref().is_none_or(|l| l[i] == l[*j]);
                alike == same
            })
        };
        following(true)
            .chain(following(false))
            .take(GIVE_UP_AFTER)
            .find_map(|j| read_image(&self.paths[j], self.channels).ok())
            .ok_or_else(|| {
                damaged(&self.paths[i], failure)
                    .help("nor can the images after it: check that the folder is still there")
            })
    }

    pub(super) fn take_notice(&self) -> Option<Diagnostic> {
        let mut late = self.late();
        let fresh: Vec<(usize, String)> = late
            .failed
            .iter()
            .filter(|(i, _)| !late.told.contains(i))
            .map(|(i, why)| (*i, why.clone()))
            .collect();
        late.told.extend(fresh.iter().map(|(i, _)| *i));
        let failed: Vec<(PathBuf, String)> = fresh
            .into_iter()
            .map(|(i, why)| (self.paths[i].clone(), why))
            .collect();
        (!failed.is_empty()).then(|| {
            Diagnostic::new(
                codes::W0601,
                format!(
                    "{} could not be decoded and gave way to the next image of the class: {}",
                    count(failed.len(), "image file"),
                    name_some(&failed)
                ),
            )
            .help("remove or mend the files; `strict: true` makes this an error")
        })
    }
}

/// Files of one split on the way from the listing to a [`Split`].
struct Chosen {
    paths: Vec<PathBuf>,
    labels: Option<Vec<u32>>,
}

impl Chosen {
    /// Leaves out the files that are damaged, as far as their number allows to look.
    fn check(self, strict: bool, notices: &mut Vec<Diagnostic>) -> Result<Chosen, Diagnostic> {
        let n = self.paths.len();
        let look = |path: &PathBuf| -> Option<String> {
            if n <= DECODE_ALL {
                read_image(path, 1).err()
            } else {
                check_header(path).err()
            }
            .map(|f| reason(&f))
        };
        if n > CHECK_HEADERS {
            return Ok(self);
        }
        let found: Vec<Option<String>> = self.paths.par_iter().map(look).collect();
        let failed: Vec<(PathBuf, String)> = self
            .paths
            .iter()
            .zip(&found)
            .filter_map(|(p, f)| f.clone().map(|why| (p.clone(), why)))
            .collect();
        let Some((path, why)) = failed.first() else {
            return Ok(self);
        };
        if failed.len() == n {
            return Err(damaged(path, why).help(format!(
                "none of the {} can be decoded",
                count(n, "image file")
            )));
        }
        if strict {
            return Err(if failed.len() == 1 {
                damaged(path, why)
            } else {
                Diagnostic::new(
                    codes::E0608,
                    format!(
                        "{} cannot be decoded: {}",
                        count(failed.len(), "image file"),
                        name_some(&failed)
                    ),
                )
                .help("remove or mend the files, or leave out `strict: true` to skip damaged files")
            });
        }
        notices.push(
            Diagnostic::new(
                codes::W0601,
                format!(
                    "{} skipped because they cannot be decoded: {}",
                    count(failed.len(), "image file"),
                    name_some(&failed)
                )
                .replacen(
                    "file skipped because they",
                    "file skipped because it",
                    1,
                ),
            )
            .help("remove or mend the files; `strict: true` makes this an error"),
        );
        let good = |i: &usize| found[*i].is_none();
        Ok(Chosen {
            labels: self
                .labels
                .map(|l| (0..n).filter(good).map(|i| l[i]).collect()),
            paths: (0..n).filter(good).map(|i| self.paths[i].clone()).collect(),
        })
    }

    fn into_split(self, channels: usize, strict: bool) -> Split {
        let len = self.paths.len();
        let files = Files {
            paths: self.paths,
            labels: self.labels.clone(),
            channels,
            strict,
            late: Mutex::default(),
        };
        Split::new(Store::Files(files), len, self.labels)
    }
}

impl Folder<'_> {
    /// For each file whether it is held out for testing: none where a folder of its own is.
    fn held_out(&self, listing: &Listing) -> Vec<bool> {
        let fraction = match self.test {
            Some(_) => 0.0,
            None => self.holdout,
        };
        held_out(listing, fraction)
    }
}

/// For each file whether it is held out for testing: of each class the given fraction, rounded, by hashed path.
fn held_out(listing: &Listing, fraction: f64) -> Vec<bool> {
    let mut held = vec![false; listing.files.len()];
    let mut by_class: BTreeMap<Option<u32>, Vec<(u64, usize)>> = BTreeMap::new();
    for (i, f) in listing.files.iter().enumerate() {
        let name = f.relative.to_string_lossy().replace('\\', "/");
        by_class
            .entry(f.class)
            .or_default()
            .push((rng::hash_bytes(name.as_bytes()), i));
    }
    for ranked in by_class.values_mut() {
        ranked.sort_unstable();
        let n = (fraction.clamp(0.0, 1.0) * ranked.len() as f64).round() as usize;
        for (_, i) in ranked.iter().take(n.min(ranked.len() - 1)) {
            held[*i] = true;
        }
    }
    held
}

fn choose(listing: &Listing, root: &Path, keep: impl Fn(usize) -> bool) -> Chosen {
    let kept = || {
        listing
            .files
            .iter()
            .enumerate()
            .filter(|(i, _)| keep(*i))
            .map(|(_, f)| f)
    };
    Chosen {
        paths: kept().map(|f| root.join(&f.relative)).collect(),
        labels: (!listing.classes.is_empty()).then(|| kept().filter_map(|f| f.class).collect()),
    }
}

/// The test folder's files with the training folder's labels.
fn choose_test(train: &Listing, path: &Path) -> Result<Chosen, Diagnostic> {
    let listing = list(path, "the folder of test images")?;
    let mut chosen = choose(&listing, path, |_| true);
    if train.classes.is_empty() {
        chosen.labels = None;
        return Ok(chosen);
    }
    if listing.classes.is_empty() {
        return Err(Diagnostic::new(
            codes::E0610,
            format!(
                "{} holds loose images, but the training folder has {} class folders",
                show(path),
                train.classes.len()
            ),
        )
        .help("give the test folder one folder per class, named as in the training folder"));
    }
    let names = || train.classes.iter().map(String::as_str);
    let mut classes = Vec::new();
    for class in &listing.classes {
        match train.classes.iter().position(|c| c == class) {
            Some(i) => classes.push(i as u32),
            None => {
                let help = match nearest(class, names()) {
                    Some(near) => format!("is it `{near}` of the training folder?"),
                    None => "remove it, or add the class to the training folder".to_owned(),
                };
                return Err(Diagnostic::new(
                    codes::E0610,
                    format!(
                        "the test folder {} has a class `{class}` that the training folder lacks",
                        show(path)
                    ),
                )
                .help(help));
            }
        }
    }
    let lacking: Vec<&str> = names()
        .filter(|n| !listing.classes.iter().any(|c| c == n))
        .collect();
    if !lacking.is_empty() {
        let some = lacking
            .iter()
            .take(5)
            .copied()
            .collect::<Vec<_>>()
            .join("`, `");
        let more = if lacking.len() > 5 { " and more" } else { "" };
        return Err(Diagnostic::new(
            codes::E0610,
            format!(
                "the test folder {} lacks {} of the {} classes: `{some}`{more}",
                show(path),
                lacking.len(),
                train.classes.len()
            ),
        )
        .help("give it one folder with images for each class, or use `holdout: 0.1` in place of `test:`"));
    }
    if let Some(labels) = &mut chosen.labels {
        for l in labels {
            *l = classes[*l as usize];
        }
    }
    Ok(chosen)
}

pub(super) fn open(folder: &Folder<'_>, channels: usize) -> Result<Dataset, Diagnostic> {
    let listing = list(folder.path, "the folder of images")?;
    let mut notices = Vec::new();
    if listing.ignored > 0 {
        notices.push(
            Diagnostic::new(
                codes::W0603,
                format!(
                    "{} directly in {} left out: its folders are taken as classes",
                    count(listing.ignored, "image"),
                    show(folder.path)
                ),
            )
            .help("move them into a class folder, or remove them"),
        );
    }
    let held = folder.held_out(&listing);
    let train = choose(&listing, folder.path, |i| !held[i]);
    let listed = train.paths.len();
    let train = train.check(folder.strict, &mut notices)?;
    if let Some(stated) = folder.count
        && stated != listed
        && stated != train.paths.len()
    {
        return Err(Diagnostic::new(
            codes::E0611,
            format!(
                "the spec says `count: {stated}`, but {} holds {} for training",
                show(folder.path),
                count(train.paths.len(), "image")
            ),
        )
        .help(format!(
            "write `count: {}`, or leave `count` out",
            train.paths.len()
        )));
    }
    let test = match folder.test {
        Some(path) => Some(choose_test(&listing, path)?),
        None => Some(choose(&listing, folder.path, |i| held[i])).filter(|c| !c.paths.is_empty()),
    };
    let test = match test {
        Some(chosen) => Some(chosen.check(folder.strict, &mut notices)?),
        None => None,
    };
    Ok(Dataset {
        channels,
        train: train.into_split(channels, folder.strict),
        test: test.map(|c| c.into_split(channels, folder.strict)),
        classes: listing.classes,
        notices,
    })
}

/// The files of a folder by split, damaged or not.
pub(super) struct Inventory {
    pub classes: Vec<String>,
    pub splits: Vec<super::check::Files>,
}

/// Lists what [`open`] would look at.
pub(super) fn inventory(folder: &Folder<'_>) -> Result<Inventory, Diagnostic> {
    let listing = list(folder.path, "the folder of images")?;
    let held = folder.held_out(&listing);
    let train = choose(&listing, folder.path, |i| !held[i]);
    let test = match folder.test {
        Some(path) => choose_test(&listing, path)?,
        None => choose(&listing, folder.path, |i| held[i]),
    };
    let files = |chosen: Chosen| {
        let labels = chosen.labels;
        let label = |i: usize| labels.as_ref().and_then(|l| l.get(i).copied());
        let paths = chosen.paths.into_iter().enumerate();
        paths.map(|(i, path)| (path, label(i))).collect::<Vec<_>>()
    };
    let mut splits = vec![("train", files(train))];
    if !test.paths.is_empty() {
        splits.push(("test", files(test)));
    }
    Ok(Inventory {
        classes: listing.classes,
        splits,
    })
}

/// The number of files listed for training.
pub(super) fn probe(path: &Path, holdout: f64) -> Result<usize, Diagnostic> {
    let listing = list(path, "the folder of images")?;
    Ok(held_out(&listing, holdout).iter().filter(|h| !**h).count())
}
