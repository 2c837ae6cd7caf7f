//! CIFAR-10 and CIFAR-100, binary version: <https://www.cs.toronto.edu/~kriz/cifar.html>.
//!
//! Records of label bytes followed by 3,072 bytes: the red, green and blue planes of a 32×32 image.

use super::files::{
    count, expect_folder, find_root, missing, open_file, read_file, show, thousands,
};
use super::split::{Memory, Split, Store};
use super::{Dataset, decode};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::path::Path;

const SIDE: usize = 32;
const IMAGE_BYTES: usize = 3 * SIDE * SIDE;

/// What tells the two sets apart.
pub(super) struct Cifar {
    title: &'static str,
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Where the class stands among the label bytes, and how many of those there are.
    label_at: usize,
    label_bytes: usize,
    classes: usize,
    /// File with one class name a line.
    names: &'static str,
    /// Images in each training file as published, and in the test file.
    published: (usize, usize),
    /// A file of the Python version, which people take for this one.
    python: &'static str,
}

pub(super) const CIFAR10: Cifar = Cifar {
    title: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    label_at: 0,
    label_bytes: 1,
    classes: 10,
    names: "batches.meta.txt",
    published: (10_000, 10_000),
    python: "data_batch_1",
};

pub(super) const CIFAR100: Cifar = Cifar {
    title: "CIFAR-100",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    // A coarse label, then the fine one.
    label_at: 1,
    label_bytes: 2,
    classes: 100,
    names: "fine_label_names.txt",
    published: (50_000, 10_000),
    python: "train",
};

impl Cifar {
    fn record(&self) -> usize {
        self.label_bytes + IMAGE_BYTES
    }

    fn what(&self) -> String {
        format!("a file of {} (binary version)", self.title)
    }

    /// The folder that holds the files: the one named, or the archive's own inside it.
    fn root(&self, path: &Path) -> Result<std::path::PathBuf, Diagnostic> {
        expect_folder(&format!("the folder of {}", self.title), path)?;
        let root = find_root(path, &["", self.folder], &[self.train[0]]);
        if !root.join(self.train[0]).exists() && root.join(self.python).exists() {
            return Err(missing(&self.what(), &root.join(self.train[0])).help(format!(
                "this folder holds the Python version: download the binary version, whose folder is {}",
                self.folder
            )));
        }
        Ok(root)
    }

    /// How many records `bytes` make; fails where the last one is cut.
    fn records(&self, bytes: u64, path: &Path, published: usize) -> Result<usize, Diagnostic> {
        let record = self.record() as u64;
        if bytes == 0 || !bytes.is_multiple_of(record) {
            return Err(Diagnostic::new(
                codes::E0603,
                format!(
                    "{} has {} bytes, not the {} of {} images of {} bytes each",
                    show(path),
                    thousands(bytes),
                    thousands(published as u64 * record),
                    thousands(published as u64),
                    thousands(record),
                ),
            )
            .help(format!("download {} (binary version) again", self.title)));
        }
        usize::try_from(bytes / record).map_err(|_| missing(&self.what(), path))
    }

    fn read_split(
        &self,
        root: &Path,
        files: &[&str],
        published: usize,
        channels: usize,
        notices: &mut Vec<Diagnostic>,
    ) -> Result<Split, Diagnostic> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for name in files {
            let path = root.join(name);
            let bytes = read_file(&self.what(), &path)?;
            let n = self.records(bytes.len() as u64, &path, published)?;
            if n != published {
                notices.push(Diagnostic::new(
                    codes::W0602,
                    format!(
                        "{} holds {}, the published file {}",
                        show(&path),
                        count(n, "image"),
                        thousands(published as u64)
                    ),
                ));
            }
            pixels.reserve(n * IMAGE_BYTES);
            for (i, record) in bytes.chunks_exact(self.record()).enumerate() {
                let label = record[self.label_at];
                if usize::from(label) >= self.classes {
                    return Err(Diagnostic::new(
                        codes::E0605,
                        format!(
                            "image {i} of {} has label {label}, and {} has classes 0 to {}",
                            show(&path),
                            self.title,
                            self.classes - 1
                        ),
                    )
                    .help(format!(
                        "check that these are the files of {} (binary version)",
                        self.title
                    )));
                }
                labels.push(u32::from(label));
                decode::push_planes(&record[self.label_bytes..], SIDE, SIDE, &mut pixels);
            }
        }
        let store = Store::Memory(Memory {
            bytes: decode::convert_channels(pixels, 3, channels),
            height: SIDE,
            width: SIDE,
            channels,
        });
        Ok(Split::new(store, labels.len(), Some(labels)))
    }

    /// The class names of the set's own list, or numbers where it is not there.
    fn class_names(&self, root: &Path) -> Vec<String> {
        let listed: Vec<String> = std::fs::read_to_string(root.join(self.names))
            .unwrap_or_default()
            .lines()
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect();
        if listed.len() == self.classes {
            listed
        } else {
            (0..self.classes).map(|c| c.to_string()).collect()
        }
    }
}

pub(super) fn open(path: &Path, set: &Cifar, channels: usize) -> Result<Dataset, Diagnostic> {
    let root = set.root(path)?;
    let mut notices = Vec::new();
    let (train, test) = set.published;
    Ok(Dataset {
        channels,
        classes: set.class_names(&root),
        train: set.read_split(&root, set.train, train, channels, &mut notices)?,
        test: Some(set.read_split(&root, &[set.test], test, channels, &mut notices)?),
        notices,
    })
}

pub(super) fn probe(path: &Path, set: &Cifar) -> Result<usize, Diagnostic> {
    let root = set.root(path)?;
    set.train.iter().try_fold(0, |n, name| {
        let path = root.join(name);
        let (_, bytes) = open_file(&set.what(), &path)?;
        Ok(n + set.records(bytes, &path, set.published.0)?)
    })
}
