//! What the encoder made of some images, as a map for people: kept in the run directory, drawn by the report.
//!
//! - [`StoredEmbedding`]: `embedding.safetensors`; [`sprite`]: the thumbnails as one picture, `embedding.png`.
//! - [`pca`], [`tsne`]: two ways from many dimensions to two.
pub mod pca;
pub mod tsne;

use crate::pictures::png;
use image::RgbImage;
use image::imageops::replace;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::{self, Data, FileTensor, Tensors, write_atomically};
use sslc_runtime::train::embedding::Embedding;
use std::path::Path;

/// Features of images, and their places on two maps.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEmbedding {
    pub dim: usize,
    /// Row-major [images, dim].
    pub features: Vec<f32>,
    /// Indices in their split.
    pub images: Vec<i64>,
    pub labels: Vec<Option<u32>>,
    /// Width and height of a thumbnail.
    pub thumbnail: (usize, usize),
    pub pca: Vec<[f32; 2]>,
    /// Empty for fewer images than t-SNE makes sense for.
    pub tsne: Vec<[f32; 2]>,
}

/// Thumbnails in a row of the sprite.
pub const SPRITE_COLUMNS: usize = 50;
/// The files in the run directory.
pub const FILE: &str = "embedding.safetensors";
pub const SPRITE_FILE: &str = "embedding.png";

impl StoredEmbedding {
    /// Makes the maps.
    pub fn new(embedding: &Embedding) -> StoredEmbedding {
        let normalised = normalised(&embedding.features, embedding.dim);
        let pca = pca::map(&normalised, embedding.dim);
        let tsne = tsne::map(&normalised, embedding.dim, &pca);
        let thumbnail = embedding
            .thumbnails
            .first()
            .map_or((1, 1), |t| (t.width() as usize, t.height() as usize));
        StoredEmbedding {
            dim: embedding.dim,
            features: embedding.features.clone(),
            images: embedding.images.iter().map(|i| *i as i64).collect(),
            labels: embedding.labels.clone(),
            thumbnail,
            pca,
            tsne,
        }
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.images.len()
    }

    /// Writes the file and, beside it, the sprite.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, run: &Path, sprite: &[u8]) -> Result<(), Diagnostic> {
        let n = self.count();
        let labels = self.labels.iter().map(|l| l.map_or(-1, i64::from));
        let (width, height) = self.thumbnail;
        let flat = |map: &[[f32; 2]]| FileTensor::f32(&[map.len(), 2], map.concat());
        let file = Tensors::from([
            (
                "features".to_owned(),
                FileTensor::f32(&[n, self.dim], self.features.clone()),
            ),
            (
                "images".to_owned(),
                FileTensor::i64(&[n], self.images.clone()),
            ),
            ("labels".to_owned(), FileTensor::i64(&[n], labels.collect())),
            (
                "thumbnail".to_owned(),
                FileTensor::i64(&[2], vec![width as i64, height as i64]),
            ),
            ("pca".to_owned(), flat(&self.pca)),
            ("tsne".to_owned(), flat(&self.tsne)),
        ]);
        tensors::write(&run.join(FILE), &file)?;
        write_atomically(&run.join(SPRITE_FILE), sprite)
    }

    /// Reads the file of a run directory.
    ///
    /// # Errors
    /// When it is missing, damaged, or holds something else.
    pub fn read(run: &Path) -> Result<StoredEmbedding, Diagnostic> {
        let path = run.join(FILE);
        let file = tensors::read(&path)?;
        StoredEmbedding::from_tensors(&file).ok_or_else(|| {
            Diagnostic::new(
                codes::E0652,
                format!("'{}' does not hold the embedding of a run", path.display()),
            )
            .help("delete it; `sslc run` writes it at the end of a training")
        })
    }

    fn from_tensors(file: &Tensors) -> Option<StoredEmbedding> {
        let floats = |name: &str| match file.get(name)? {
            FileTensor {
                shape,
                data: Data::F32(data),
            } if shape.len() == 2 => Some((shape[0], shape[1], data)),
            _ => None,
        };
        let integers = |name: &str| match &file.get(name)?.data {
            Data::I64(data) => Some(data),
            Data::F32(_) => None,
        };
        let (n, dim, features) = floats("features")?;
        let (images, labels) = (integers("images")?, integers("labels")?);
        let map = |name: &str| {
            let (rows, columns, data) = floats(name)?;
            (columns == 2 && (rows == n || rows == 0)).then(|| data.as_chunks::<2>().0.to_vec())
        };
        let [width, height] = integers("thumbnail")?.as_slice() else {
            return None;
        };
        let side = |v: i64| usize::try_from(v).ok().filter(|v| (1..=4096).contains(v));
        let embedding = StoredEmbedding {
            dim,
            features: features.clone(),
            images: images.clone(),
            labels: labels.iter().map(|l| u32::try_from(*l).ok()).collect(),
            thumbnail: (side(*width)?, side(*height)?),
            pca: map("pca")?,
            tsne: map("tsne")?,
        };
        (embedding.images.len() == n && embedding.labels.len() == n && embedding.pca.len() == n)
            .then_some(embedding)
    }
}

/// What to call a class: its name, or its number.
pub fn class_name(classes: &[String], label: u32) -> String {
    classes
        .get(label as usize)
        .cloned()
        .unwrap_or_else(|| format!("class {label}"))
}

/// Rows of length 1, as evaluation compares them; a row of zeros stays.
fn normalised(values: &[f32], dim: usize) -> Vec<f32> {
    let mut values = values.to_vec();
    for row in values.chunks_mut(dim.max(1)) {
        let norm = row
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm > 0.0 && norm.is_finite() {
            row.iter_mut()
                .for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
    }
    values
}

/// The thumbnails as one PNG file, [`SPRITE_COLUMNS`] in a row; gray where all of them are.
///
/// # Errors
/// When the picture cannot be encoded.
pub fn sprite(thumbnails: &[RgbImage]) -> Result<Vec<u8>, Diagnostic> {
    let (width, height) = thumbnails
        .first()
        .map_or((1, 1), |t| (t.width(), t.height()));
    let columns = thumbnails.len().clamp(1, SPRITE_COLUMNS) as u32;
    let rows = (thumbnails.len().div_ceil(SPRITE_COLUMNS) as u32).max(1);
    let mut sprite = RgbImage::new(columns * width, rows * height);
    for (i, thumbnail) in thumbnails.iter().enumerate() {
        let (x, y) = (i % SPRITE_COLUMNS, i / SPRITE_COLUMNS);
        let place = (x as i64 * i64::from(width), y as i64 * i64::from(height));
        replace(&mut sprite, thumbnail, place.0, place.1);
    }
    png(&sprite, Path::new(SPRITE_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn embedding(n: usize) -> Embedding {
        Embedding {
            dim: 3,
            features: (0..3 * n).map(|i| (i * i % 7) as f32).collect(),
            images: (0..n).collect(),
            labels: (0..n).map(|i| (i > 0).then_some(i as u32 % 3)).collect(),
            thumbnails: vec![RgbImage::from_pixel(4, 2, image::Rgb([7; 3])); n],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let made = embedding(60);
        let stored = StoredEmbedding::new(&made);
        let sprite = sprite(&made.thumbnails).unwrap();
        stored.write(folder.path(), &sprite).unwrap();
        assert_eq!(StoredEmbedding::read(folder.path()).unwrap(), stored);
        let picture = image::open(folder.path().join(SPRITE_FILE)).unwrap();
        assert_eq!((picture.width(), picture.height()), (200, 4));
        assert_eq!(picture.color(), image::ColorType::L8);
    }

    #[test]
    fn few_and_damaged_embeddings_are_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        for n in [0, 1, 2, 5] {
            let stored = StoredEmbedding::new(&embedding(n));
            assert_eq!(stored.pca.len(), n);
            stored.write(folder.path(), &[]).unwrap();
            assert_eq!(StoredEmbedding::read(folder.path()).unwrap(), stored);
        }
        let path = folder.path().join(FILE);
        let mut file = tensors::read(&path).unwrap();
        file.insert("pca".to_owned(), FileTensor::f32(&[4, 2], vec![0.0; 8]));
        tensors::write(&path, &file).unwrap();
        let error = StoredEmbedding::read(folder.path()).unwrap_err();
        assert_eq!(error.code, codes::E0652);
        fs::remove_file(&path).unwrap();
        let error = StoredEmbedding::read(folder.path()).unwrap_err();
        assert_eq!(error.code, codes::E0650);
    }
}
