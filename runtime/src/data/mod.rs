//! Where images come from: every data source of the language as one [`Dataset`] of labelled splits.
//!
//! - [`open`], [`probe`]: from a [`DataSource`] of the compiled program to images, or to their number.
//! - `split`: [`Split`], the images of one split; fixed-size sets lie in memory, files are read when an image is asked for.
//! - `mini`, `idx`, `cifar`, `stl10`, `folder`: one file format each.
//! - [`check`]: what a source holds, image by image.
//! - `decode`: one image file to pixels. `files`: reading with messages that say what was looked for.
//!
//! Invariant: the order of images, and with it every draw of a run, depends on names and contents only, never on the file system's order.
pub mod check;
mod cifar;
mod decode;
mod files;
mod folder;
mod idx;
mod listing;
mod mini;
mod split;
mod stl10;

pub use decode::{DecodeBuffer, ImageFailure, Pixels, decode_image, read_image};
pub use split::{ImageRef, Split};

use sslc_compiler::program::{DataKind, DataSource};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// The images of a source.
#[derive(Debug)]
pub struct Dataset {
    /// Channels of every image: 1 or 3.
    pub channels: usize,
    /// Names of the classes by label; empty where the source has no labels.
    pub classes: Vec<String>,
    pub train: Split,
    pub test: Option<Split>,
    /// What a person should know though it stops nothing: files skipped, sets of an unusual size.
    pub notices: Vec<Diagnostic>,
}

/// Opens a source: reads the fixed-size sets, lists and checks the files of a folder.
///
/// Errors: E0601–E0611, E0613.
pub fn open(source: &DataSource) -> Result<Dataset, Diagnostic> {
    let channels = source.channels;
    if channels != 1 && channels != 3 {
        return Err(Diagnostic::new(
            codes::E0609,
            format!("images have 1 or 3 channels, not {channels}"),
        )
        .help("write `channels: 1` for gray images or `channels: 3` for colour"));
    }
    match &source.kind {
        DataKind::FashionMini => mini::open(channels),
        DataKind::FashionMnist { path } => idx::open_fashion_mnist(path, channels),
        DataKind::Mnist { path } => idx::open_mnist(path, channels),
        DataKind::Idx {
            images,
            labels,
            test_images,
            test_labels,
        } => {
            let test = test_images.as_deref().map(|t| (t, test_labels.as_deref()));
            idx::open_files(images, labels.as_deref(), test, channels)
        }
        DataKind::Cifar10 { path } => cifar::open(path, &cifar::CIFAR10, channels),
        DataKind::Cifar100 { path } => cifar::open(path, &cifar::CIFAR100, channels),
        DataKind::Stl10 { path } => stl10::open(path, channels),
        DataKind::ImageFolder {
            path,
            test,
            holdout,
            strict,
        } => folder::open(
            &folder::Folder {
                path,
                test: test.as_deref(),
                holdout: *holdout,
                strict: *strict,
                count: source.train_len,
            },
            channels,
        ),
    }
}

/// The number of training images, from file sizes and listings alone: nothing is decoded.
/// Folders count the files that look like images; [`open`] may then skip damaged ones.
/// `None` where the source is not on this machine but the spec states a number or none is needed yet.
///
/// Errors: as [`open`], for what sizes and listings show.
pub fn probe(source: &DataSource) -> Result<Option<usize>, Diagnostic> {
    let found = match &source.kind {
        DataKind::FashionMini => return Ok(Some(mini::TRAIN_LEN)),
        DataKind::FashionMnist { path } | DataKind::Mnist { path } => {
            idx::probe_set(path, matches!(source.kind, DataKind::Mnist { .. }))
        }
        DataKind::Idx { images, .. } => idx::probe_file(images),
        DataKind::Cifar10 { path } => cifar::probe(path, &cifar::CIFAR10),
        DataKind::Cifar100 { path } => cifar::probe(path, &cifar::CIFAR100),
        DataKind::Stl10 { path } => stl10::probe(path),
        DataKind::ImageFolder {
            path,
            test,
            holdout,
            ..
        } => folder::probe(path, if test.is_some() { 0.0 } else { *holdout }),
    };
    match found {
        Ok(n) => Ok(Some(n)),
        Err(d) if d.code == codes::E0601 => Ok(None),
        Err(d) => Err(d),
    }
}
