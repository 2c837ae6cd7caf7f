//! MNIST's idx files, plain or gzip'd: <http://yann.lecun.com/exdb/mnist/>, "The IDX file format".
//!
//! A magic number (two zero bytes, the type, the number of axes), one big-endian size per axis, then the data.

use super::files::{access_error, count, expect_folder, find_root, open_file, show, thousands};
use super::split::{Memory, Store};
use super::{Dataset, Split, decode};
use flate2::read::MultiGzDecoder;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

pub(super) const FASHION_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

const UNSIGNED_BYTE: u8 = 8;

/// Images of an idx file, one channel.
#[derive(Debug)]
pub(super) struct IdxImages {
    path: PathBuf,
    count: usize,
    height: usize,
    width: usize,
    bytes: Vec<u8>,
}

/// Labels of an idx file.
#[derive(Debug)]
pub(super) struct IdxLabels {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl IdxImages {
    /// A split of these images; fails where there are not as many labels.
    pub(super) fn into_split(
        self,
        labels: Option<IdxLabels>,
        channels: usize,
    ) -> Result<Split, Diagnostic> {
        if let Some(l) = &labels
            && l.bytes.len() != self.count
        {
            return Err(Diagnostic::new(
                codes::E0606,
                format!(
                    "{} holds {}, but {} holds {}",
                    show(&self.path),
                    count(self.count, "image"),
                    show(&l.path),
                    count(l.bytes.len(), "label"),
                ),
            )
            .help("name the two files of one split"));
        }
        let store = Store::Memory(Memory {
            bytes: decode::convert_channels(self.bytes, 1, channels),
            height: self.height,
            width: self.width,
            channels,
        });
        let labels = labels.map(|l| l.bytes.iter().map(|b| u32::from(*b)).collect());
        Ok(Split::new(store, self.count, labels))
    }
}

/// The bytes of an idx file, through gzip where they begin with its magic number.
fn content<'a, R: Read + 'a>(mut source: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = [0; 2];
    let mut n = 0;
    while n < 2 {
        match source.read(&mut head[n..])? {
            0 => break,
            k => n += k,
        }
    }
    let whole = Cursor::new(head[..n].to_vec()).chain(source);
    Ok(if head == [0x1f, 0x8b] {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    })
}

fn not_idx(path: &Path, why: String) -> Diagnostic {
    Diagnostic::new(
        codes::E0604,
        format!("{} is not an idx file as needed here: {why}", show(path)),
    )
    .help("idx files are those of MNIST and Fashion-MNIST, such as train-images-idx3-ubyte.gz")
}

fn read_error(path: &Path, e: &io::Error) -> Diagnostic {
    match e.kind() {
        // What a damaged or cut gzip stream gives.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Diagnostic::new(
                codes::E0603,
                format!(
                    "{} is damaged: its compressed data ends or breaks off ({e})",
                    show(path)
                ),
            )
            .help("download the file again")
        }
        _ => access_error(e, "the idx file", path),
    }
}

/// The sizes of an idx file of bytes with `axes` axes.
fn read_header(source: &mut impl Read, path: &Path, axes: usize) -> Result<Vec<usize>, Diagnostic> {
    let mut header = Vec::new();
    source
        .by_ref()
        .take(4 + 4 * axes as u64)
        .read_to_end(&mut header)
        .map_err(|e| read_error(path, &e))?;
    let Some((magic, sizes)) = header.split_first_chunk::<4>() else {
        return Err(not_idx(
            path,
            format!("it has only {}", count(header.len(), "byte")),
        ));
    };
    if magic[..2] != [0, 0] || magic[3] == 0 {
        return Err(not_idx(
            path,
            format!(
                "it begins with {magic:02x?}, not with two zero bytes, a type and a number of axes"
            ),
        ));
    }
    if magic[2] != UNSIGNED_BYTE {
        return Err(not_idx(
            path,
            format!(
                "its values are of type 0x{:02x}, not bytes (0x08)",
                magic[2]
            ),
        ));
    }
    if usize::from(magic[3]) != axes {
        let wanted = if axes == 3 {
            "images [N, H, W] have 3"
        } else {
            "labels [N] have 1"
        };
        return Err(not_idx(
            path,
            format!(
                "it has {}, and {wanted}",
                count(usize::from(magic[3]), "axis").replace("axiss", "axes")
            ),
        ));
    }
    if sizes.len() < 4 * axes {
        return Err(not_idx(path, "it ends within its header".to_owned()));
    }
    Ok(sizes
        .chunks_exact(4)
        .map(|c| c.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
        .collect())
}

/// Reads a file of `axes` axes: its sizes and exactly as many bytes as they say.
fn read_idx<R: Read>(
    source: R,
    path: &Path,
    axes: usize,
) -> Result<(Vec<usize>, Vec<u8>), Diagnostic> {
    let mut source = content(source).map_err(|e| read_error(path, &e))?;
    let sizes = read_header(&mut source, path, axes)?;
    let expected = sizes
        .iter()
        .try_fold(1usize, |n, s| n.checked_mul(*s))
        .ok_or_else(|| not_idx(path, format!("its sizes {sizes:?} are beyond any memory")))?;
    let mut bytes = Vec::new();
    source
        .take(expected as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| read_error(path, &e))?;
    if bytes.len() != expected {
        let actual = if bytes.len() > expected {
            "more".to_owned()
        } else {
            thousands(bytes.len() as u64)
        };
        return Err(Diagnostic::new(
            codes::E0603,
            format!(
                "{} has the wrong length: its header {sizes:?} asks for {} bytes of data, and there are {actual}",
                show(path),
                thousands(expected as u64),
            ),
        )
        .help("download the file again"));
    }
    Ok((sizes, bytes))
}

pub(super) fn parse_images<R: Read>(source: R, path: &Path) -> Result<IdxImages, Diagnostic> {
    let (sizes, bytes) = read_idx(source, path, 3)?;
    if bytes.is_empty() {
        return Err(Diagnostic::new(
            codes::E0607,
            format!("{} holds no images: its header says {sizes:?}", show(path)),
        )
        .help("name a file of images [N, H, W]"));
    }
    Ok(IdxImages {
        path: path.to_path_buf(),
        count: sizes[0],
        height: sizes[1],
        width: sizes[2],
        bytes,
    })
}

pub(super) fn parse_labels<R: Read>(source: R, path: &Path) -> Result<IdxLabels, Diagnostic> {
    let (_, bytes) = read_idx(source, path, 1)?;
    Ok(IdxLabels {
        path: path.to_path_buf(),
        bytes,
    })
}

fn images_file(path: &Path) -> Result<IdxImages, Diagnostic> {
    let (file, _) = open_file("the file of images", path)?;
    parse_images(BufReader::new(file), path)
}

fn labels_file(path: &Path) -> Result<IdxLabels, Diagnostic> {
    let (file, _) = open_file("the file of labels", path)?;
    parse_labels(BufReader::new(file), path)
}

fn check_labels(labels: &IdxLabels, classes: usize) -> Result<(), Diagnostic> {
    match labels.bytes.iter().position(|l| usize::from(*l) >= classes) {
        None => Ok(()),
        Some(i) => Err(Diagnostic::new(
            codes::E0605,
            format!(
                "label {i} of {} is {}, and the set has classes 0 to {}",
                show(&labels.path),
                labels.bytes[i],
                classes - 1
            ),
        )
        .help("use `idx(images, labels)` for a set of one's own, or download the file again")),
    }
}

/// `idx(images, labels)`: as many classes as the largest label says.
pub(super) fn open_files(
    images: &Path,
    labels: Option<&Path>,
    test: Option<(&Path, Option<&Path>)>,
    channels: usize,
) -> Result<Dataset, Diagnostic> {
    let train_labels = labels.map(labels_file).transpose()?;
    let classes = train_labels
        .as_ref()
        .and_then(|l| l.bytes.iter().max())
        .map_or(0, |m| usize::from(*m) + 1);
    let train = images_file(images)?.into_split(train_labels, channels)?;
    let test = match test {
        None => None,
        Some((images, labels)) => {
            let labels = labels.map(labels_file).transpose()?;
            if let Some(l) = &labels {
                check_labels(l, classes.max(1))?;
            }
            Some(images_file(images)?.into_split(labels, channels)?)
        }
    };
    Ok(Dataset {
        channels,
        classes: (0..classes).map(|c| c.to_string()).collect(),
        train,
        test,
        notices: Vec::new(),
    })
}

/// The four files of a set: training images and labels, test images and labels.
const STEMS: [(&str, u8); 4] = [
    ("train-images", 3),
    ("train-labels", 1),
    ("t10k-images", 3),
    ("t10k-labels", 1),
];

/// The names under which a file of a set is found, the usual one first.
fn names((stem, axes): (&str, u8)) -> [String; 4] {
    ["-idx", "-idx.gz", ".idx", ".idx.gz"].map(|form| {
        let (sep, gz) = form.split_at(1);
        format!("{stem}{sep}idx{axes}-ubyte{}", &gz[3..])
    })
}

/// The path of one file of a set; where it is not there, the usual path of it.
fn set_file(root: &Path, stem: (&str, u8)) -> PathBuf {
    let names = names(stem);
    names
        .iter()
        .map(|n| root.join(n))
        .find(|p| p.exists())
        .unwrap_or_else(|| root.join(&names[0]))
}

/// The folder that holds the files: `path`, or where torchvision puts them below it.
fn set_root(path: &Path, mnist: bool) -> PathBuf {
    let torchvision = if mnist {
        "MNIST/raw"
    } else {
        "FashionMNIST/raw"
    };
    let files = names(STEMS[0]);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    find_root(path, &["", "raw", torchvision], &files)
}

fn open_set(
    path: &Path,
    mnist: bool,
    classes: Vec<String>,
    channels: usize,
) -> Result<Dataset, Diagnostic> {
    expect_folder("the folder of idx files", path)?;
    let root = set_root(path, mnist);
    let split = |images, labels| {
        let labels = labels_file(&set_file(&root, labels))?;
        check_labels(&labels, classes.len())?;
        images_file(&set_file(&root, images))?.into_split(Some(labels), channels)
    };
    Ok(Dataset {
        channels,
        train: split(STEMS[0], STEMS[1])?,
        test: Some(split(STEMS[2], STEMS[3])?),
        classes,
        notices: Vec::new(),
    })
}

pub(super) fn open_mnist(path: &Path, channels: usize) -> Result<Dataset, Diagnostic> {
    let digits = (0..10).map(|d| d.to_string()).collect();
    open_set(path, true, digits, channels)
}

pub(super) fn open_fashion_mnist(path: &Path, channels: usize) -> Result<Dataset, Diagnostic> {
    let classes = FASHION_CLASSES.iter().map(|c| (*c).to_owned()).collect();
    open_set(path, false, classes, channels)
}

/// The number of images that a file's header states.
pub(super) fn probe_file(path: &Path) -> Result<usize, Diagnostic> {
    let (file, _) = open_file("the file of images", path)?;
    let mut source = content(BufReader::new(file)).map_err(|e| read_error(path, &e))?;
    Ok(read_header(&mut source, path, 3)?[0])
}

/// The number of training images that a set's header states.
pub(super) fn probe_set(path: &Path, mnist: bool) -> Result<usize, Diagnostic> {
    expect_folder("the folder of idx files", path)?;
    probe_file(&set_file(&set_root(path, mnist), STEMS[0]))
}
