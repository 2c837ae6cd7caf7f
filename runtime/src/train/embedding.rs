//! What the encoder makes of some images, with a thumbnail of each: for people to look at.

use super::encoder::Encoder;
use super::init::Values;
use crate::data::{ImageRef, Split};
use image::imageops::{FilterType, overlay, resize};
use image::{Rgb, RgbImage};
use rayon::prelude::*;
use sslc_grammar::diag::Diagnostic;
use std::sync::Arc;

/// At most as many images are looked at.
pub const MOST: usize = 2000;
/// Height and width of a thumbnail at most.
const THUMBNAIL: u32 = 32;

/// Features of some images of a split, spread evenly over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    pub dim: usize,
    /// Row-major [images, dim].
    pub features: Vec<f32>,
    /// Which images of the split they are.
    pub images: Vec<usize>,
    /// Their classes, where known.
    pub labels: Vec<Option<u32>>,
    /// Small pictures of them, all of one size.
    pub thumbnails: Vec<RgbImage>,
}

impl Embedding {
    /// Looks at the labelled images of a split, or at all where none is labelled; at [`MOST`] of them.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn of(
        encoder: &mut Encoder,
        values: &Values,
        split: &Arc<Split>,
    ) -> Result<Embedding, Diagnostic> {
        let mut all = split.labelled();
        if all.is_empty() {
            all = (0..split.len()).collect();
        }
        let images = spread(&all, MOST);
        let features = encoder.features_of(values, split, images.clone())?;
        let pictures: Result<Vec<RgbImage>, Diagnostic> = images
            .par_iter()
            .map(|i| Ok(fit(&rgb(&split.image(*i)?))))
            .collect();
        Ok(Embedding {
            dim: features.dim,
            features: features.values,
            labels: images.iter().map(|i| split.label(*i)).collect(),
            images,
            thumbnails: cells(pictures?),
        })
    }
}

/// `most` of the items, evenly spaced, or all.
fn spread(items: &[usize], most: usize) -> Vec<usize> {
    let n = items.len().min(most);
    (0..n).map(|i| items[i * items.len() / n]).collect()
}

fn rgb(image: &ImageRef) -> RgbImage {
    RgbImage::from_fn(image.width as u32, image.height as u32, |x, y| {
        let at = (y as usize * image.width + x as usize) * image.channels;
        let value = |c: usize| image.pixels[at + c.min(image.channels - 1)];
        Rgb([value(0), value(1), value(2)])
    })
}

/// Smaller by a common factor where it is larger than a thumbnail.
fn fit(image: &RgbImage) -> RgbImage {
    let longest = image.width().max(image.height());
    if longest <= THUMBNAIL {
        return image.clone();
    }
    let scaled =
        |n: u32| ((f64::from(n) * f64::from(THUMBNAIL) / f64::from(longest)).round() as u32).max(1);
    resize(
        image,
        scaled(image.width()),
        scaled(image.height()),
        FilterType::Triangle,
    )
}

/// All of the largest's size, in the middle of black.
fn cells(pictures: Vec<RgbImage>) -> Vec<RgbImage> {
    let width = pictures.iter().map(RgbImage::width).max().unwrap_or(1);
    let height = pictures.iter().map(RgbImage::height).max().unwrap_or(1);
    pictures
        .into_iter()
        .map(|picture| {
            if (picture.width(), picture.height()) == (width, height) {
                return picture;
            }
            let mut cell = RgbImage::new(width, height);
            let x = (width - picture.width()) / 2;
            let y = (height - picture.height()) / 2;
            overlay(&mut cell, &picture, x.into(), y.into());
            cell
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_images_are_all_taken_and_many_evenly() {
        let all: Vec<usize> = (10..20).collect();
        assert_eq!(spread(&all, 20), all);
        assert_eq!(spread(&all, 5), [10, 12, 14, 16, 18]);
        assert_eq!(spread(&[], 5), [0usize; 0]);
    }

    #[test]
    fn thumbnails_of_any_shape_fill_one_size() {
        let wide = fit(&RgbImage::from_pixel(200, 50, Rgb([9; 3])));
        let tall = fit(&RgbImage::from_pixel(1, 4000, Rgb([9; 3])));
        assert_eq!((wide.width(), wide.height()), (32, 8));
        assert_eq!((tall.width(), tall.height()), (1, 32));
        let cells = cells(vec![wide, tall]);
        assert!(cells.iter().all(|c| (c.width(), c.height()) == (32, 32)));
        assert_eq!(cells[0].get_pixel(0, 16), &Rgb([9; 3]));
        assert_eq!(cells[0].get_pixel(0, 0), &Rgb([0; 3]));
    }
}
