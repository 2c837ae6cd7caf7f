//! STL-10: <https://cs.stanford.edu/~acoates/stl10/>.
//!
//! `*_X.bin` holds images of 96×96 pixels as red, green and blue planes, each plane column by column; `*_y.bin` one byte
//! per image, classes from 1. The training split is the unlabeled images followed by the labelled ones, so that the
//! labels are known of the last 5,000 only. Images stay on disk (2.9 GB) and are read one at a time.

use super::Dataset;
use super::decode::{Pixels, convert_channels};
use super::files::{
    access_error, count, expect_folder, find_root, open_file, read_file, show, thousands,
};
use super::split::{Split, Store, UNKNOWN};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

const SIDE: usize = 96;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 3 * PLANE;
const CLASSES: [&str; 10] = [
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
];
const WHAT: &str = "a file of STL-10";

/// A file of images.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    len: usize,
}

/// Images of one size, read from files one record at a time.
#[derive(Debug)]
pub(super) struct Records {
    parts: Vec<Part>,
    channels: usize,
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[n..];
        offset += n as u64;
    }
    Ok(())
}

impl Records {
    pub(super) fn size(&self) -> (usize, usize) {
        (SIDE, SIDE)
    }

    /// Image `i`, which must exist.
    pub(super) fn image(&self, mut i: usize) -> Result<Pixels, Diagnostic> {
        let mut part = &self.parts[0];
        for p in &self.parts {
            part = p;
            if i < p.len {
                break;
            }
            i -= p.len;
        }
        let mut record = vec![0; RECORD];
        read_at(&part.file, &mut record, (i * RECORD) as u64)
            .map_err(|e| access_error(&e, WHAT, &part.path))?;
        let mut bytes = Vec::with_capacity(RECORD);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let at = x * SIDE + y;
                bytes.extend_from_slice(&[record[at], record[PLANE + at], record[2 * PLANE + at]]);
            }
        }
        Ok(Pixels {
            bytes: convert_channels(bytes, 3, self.channels),
            height: SIDE,
            width: SIDE,
            channels: self.channels,
        })
    }
}

fn part(root: &Path, name: &str) -> Result<Part, Diagnostic> {
    let path = root.join(name);
    let (file, bytes) = open_file(WHAT, &path)?;
    let record = RECORD as u64;
    if bytes == 0 || !bytes.is_multiple_of(record) {
        return Err(Diagnostic::new(
            codes::E0603,
            format!(
                "{} has {} bytes, not a multiple of the {} of an image (96×96×3)",
                show(&path),
                thousands(bytes),
                thousands(record)
            ),
        )
        .help("download STL-10 (binary files) again"));
    }
    let len = (bytes / record) as usize;
    Ok(Part { path, file, len })
}

/// The labels that belong to `images`, counted from 0.
fn labels(root: &Path, name: &str, images: &Part) -> Result<Vec<u32>, Diagnostic> {
    let path = root.join(name);
    let bytes = read_file(WHAT, &path)?;
    if bytes.len() != images.len {
        return Err(Diagnostic::new(
            codes::E0606,
            format!(
                "{} holds {}, but {} holds {}",
                show(&images.path),
                count(images.len, "image"),
                show(&path),
                count(bytes.len(), "label")
            ),
        )
        .help("download STL-10 (binary files) again"));
    }
    match bytes.iter().position(|l| !(1..=10).contains(l)) {
        None => Ok(bytes.iter().map(|l| u32::from(*l) - 1).collect()),
        Some(i) => Err(Diagnostic::new(
            codes::E0605,
            format!(
                "label {i} of {} is {}, and STL-10 has classes 1 to 10",
                show(&path),
                bytes[i]
            ),
        )
        .help("check that these are the binary files of STL-10")),
    }
}

fn root(path: &Path) -> Result<PathBuf, Diagnostic> {
    expect_folder("the folder of STL-10", path)?;
    Ok(find_root(path, &["", "stl10_binary"], &["train_X.bin"]))
}

pub(super) fn open(path: &Path, channels: usize) -> Result<Dataset, Diagnostic> {
    let root = root(path)?;
    let unlabeled = part(&root, "unlabeled_X.bin")?;
    let train = part(&root, "train_X.bin")?;
    let test = part(&root, "test_X.bin")?;
    let test_labels = labels(&root, "test_y.bin", &test)?;
    let mut train_labels = vec![UNKNOWN; unlabeled.len];
    train_labels.extend(labels(&root, "train_y.bin", &train)?);
    let split = |parts, labels: Vec<u32>| {
        Split::new(
            Store::Records(Records { parts, channels }),
            labels.len(),
            Some(labels),
        )
    };
    Ok(Dataset {
        channels,
        classes: CLASSES.iter().map(|c| (*c).to_owned()).collect(),
        train: split(vec![unlabeled, train], train_labels),
        test: Some(split(vec![test], test_labels)),
        notices: Vec::new(),
    })
}

pub(super) fn probe(path: &Path) -> Result<usize, Diagnostic> {
    let root = root(path)?;
    Ok(part(&root, "unlabeled_X.bin")?.len + part(&root, "train_X.bin")?.len)
}
