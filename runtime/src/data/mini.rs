//! `fashion_mini()`: the small real set inside the binary. Its source and licence stand in `data/fashion_mini/README.md`.

use super::idx::{FASHION_CLASSES, parse_images, parse_labels};
use super::{Dataset, Split};
use sslc_grammar::diag::Diagnostic;
use std::path::Path;

pub(super) const TRAIN_LEN: usize = 5_000;

const TRAIN_IMAGES: &[u8] = include_bytes!("../../data/fashion_mini/train-images-idx3-ubyte.gz");
const TRAIN_LABELS: &[u8] = include_bytes!("../../data/fashion_mini/train-labels-idx1-ubyte.gz");
const TEST_IMAGES: &[u8] = include_bytes!("../../data/fashion_mini/t10k-images-idx3-ubyte.gz");
const TEST_LABELS: &[u8] = include_bytes!("../../data/fashion_mini/t10k-labels-idx1-ubyte.gz");

pub(super) fn open(channels: usize) -> Result<Dataset, Diagnostic> {
    let split = |images: &[u8], labels: &[u8]| -> Result<Split, Diagnostic> {
        let name = Path::new("fashion_mini");
        let images = parse_images(images, name)?;
        let labels = parse_labels(labels, name)?;
        images.into_split(Some(labels), channels)
    };
    Ok(Dataset {
        channels,
        classes: FASHION_CLASSES.iter().map(|c| (*c).to_owned()).collect(),
        train: split(TRAIN_IMAGES, TRAIN_LABELS)?,
        test: Some(split(TEST_IMAGES, TEST_LABELS)?),
        notices: Vec::new(),
    })
}
