//! Data sets from their publishers: downloaded, checked against the published checksums, unpacked.
//!
//! - [`Set`]: what there is to fetch; [`SETS`]: the sets of the language. [`fetch`] leaves a set in a folder.
//! - `download`: one file over HTTP, with retries, going on where an earlier try stopped. `unpack`: archives.
//!
//! Invariant: a folder or file bears its final name only when it is whole. What is not yet whole is called `.NAME.part`.
mod download;
#[cfg(test)]
mod tests;
mod unpack;

use crate::tensors::cannot_write;
use sslc_grammar::diag::Diagnostic;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A data set as its publisher offers it.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// The source of the language that reads it.
    pub name: &'static str,
    /// The address that the files' names follow.
    pub url: &'static str,
    pub files: &'static [Published],
    /// The folder that the archive holds, or that the files go into.
    pub folder: &'static str,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One `.tar.gz` that holds the folder.
    Archive,
    /// Files that are used as they are.
    Files,
}

/// A file and the checksum that its publisher (or torchvision) names.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    pub name: &'static str,
    pub md5: &'static str,
}

const fn published(name: &'static str, md5: &'static str) -> Published {
    Published { name, md5 }
}

/// The sets that can be fetched.
pub const SETS: [Set; 4] = [
    Set {
        name: "cifar10",
        url: "https://www.cs.toronto.edu/~kriz/",
        files: &[published(
            "cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
        )],
        folder: "cifar-10-batches-bin",
        form: Form::Archive,
    },
    Set {
        name: "cifar100",
        url: "https://www.cs.toronto.edu/~kriz/",
        files: &[published(
            "cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
        )],
        folder: "cifar-100-binary",
        form: Form::Archive,
    },
    Set {
        name: "stl10",
        url: "https://ai.stanford.edu/~acoates/stl10/",
        files: &[published(
            "stl10_binary.tar.gz",
            "91f7769df0f17e558f3565bffb0c7dfb",
        )],
        folder: "stl10_binary",
        form: Form::Archive,
    },
    Set {
        name: "fashion_mnist",
        url: "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        files: &[
            published(
                "train-images-idx3-ubyte.gz",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            ),
            published(
                "train-labels-idx1-ubyte.gz",
                "25c81989df183df01b3e8a0aad5dffbe",
            ),
            published(
                "t10k-images-idx3-ubyte.gz",
                "bef4ecab320f06d8554ea6380940ec79",
            ),
            published(
                "t10k-labels-idx1-ubyte.gz",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ],
        folder: "fashion_mnist",
        form: Form::Files,
    },
];

/// What happens while a set is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes of a file that are there, of how many if the server says so.
    Bytes {
        file: &'a str,
        done: u64,
        total: Option<u64>,
    },
    /// A try failed and another follows.
    Retry {
        file: &'a str,
        why: &'a str,
    },
    Unpacking {
        file: &'a str,
    },
}

/// How a set is fetched.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// An address to fetch from in place of the publisher's.
    pub from: Option<&'a str>,
    /// Before the first new try; twice as long before each further one.
    pub pause: Duration,
}

/// Fetches a set into a folder below `out` and returns that folder; what is there already is kept.
///
/// # Errors
/// E0690 where a file cannot be had, E0691 where it is not the published one, E0692 where an archive cannot be unpacked, E0654
/// where the disk does not take it.
pub fn fetch(
    set: &Set,
    out: &Path,
    options: Options<'_>,
    event: &mut dyn FnMut(Event<'_>),
) -> Result<PathBuf, Diagnostic> {
    let folder = out.join(set.folder);
    let url = |file: &Published| {
        let base = options.from.unwrap_or(set.url);
        format!("{}/{}", base.trim_end_matches('/'), file.name)
    };
    let make =
        |path: &Path| fs::create_dir_all(path).map_err(|e| cannot_write(path, &e.to_string()));
    match set.form {
        Form::Archive => {
            if folder.exists() {
                return Ok(folder);
            }
            make(out)?;
            for file in set.files {
                let part = hidden(out, file.name, "part");
                download::download(&url(file), file, &part, options.pause, event)?;
                event(Event::Unpacking { file: file.name });
                unpack::unpack(&part, out, set.folder)?;
                // The archive has served; should it stay, nothing is lost.
                let _ = fs::remove_file(&part);
            }
        }
        Form::Files => {
            make(&folder)?;
            for file in set.files {
                let place = folder.join(file.name);
                if download::md5_of(&place).is_ok_and(|sum| sum == file.md5) {
                    continue;
                }
                let part = hidden(&folder, file.name, "part");
                download::download(&url(file), file, &part, options.pause, event)?;
                fs::rename(&part, &place).map_err(|e| cannot_write(&place, &e.to_string()))?;
            }
        }
    }
    Ok(folder)
}

/// `.NAME.WHAT`
fn hidden(folder: &Path, name: &str, what: &str) -> PathBuf {
    folder.join(format!(".{name}.{what}"))
}
