//! Pictures for people: views side by side on a contact sheet, PNG files.

use image::imageops::{FilterType, replace, resize};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use sslc_compiler::program::Program;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::{ImageRef, Split};
use sslc_runtime::tensors::cannot_write;
use sslc_runtime::views::{Key, Rendered, render_raw};
use std::io::Cursor;
use std::path::Path;

/// White pixels between two pictures of a sheet.
pub const GAP: u32 = 2;
/// Small pictures are enlarged by a whole factor to about this many pixels.
const SHOWN: u32 = 96;
/// Training images on the sheet of a run, and the longest side of its pictures.
const RUN_COLUMNS: usize = 8;
const RUN_LARGEST: u32 = 128;

/// Pictures in rows, all cells of the largest picture's size.
pub fn sheet(rows: &[Vec<RgbImage>]) -> RgbImage {
    let size = |f: fn(&RgbImage) -> u32| rows.iter().flatten().map(f).max().unwrap_or(1).max(1);
    let (height, width) = (size(RgbImage::height), size(RgbImage::width));
    let zoom = (SHOWN / height.max(width)).max(1);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let (cell_w, cell_h) = (width * zoom + GAP, height * zoom + GAP);
    let mut sheet = RgbImage::from_pixel(
        columns * cell_w + GAP,
        rows.len() as u32 * cell_h + GAP,
        Rgb([255; 3]),
    );
    for (r, row) in rows.iter().enumerate() {
        for (c, picture) in row.iter().enumerate() {
            let (w, h) = (picture.width() * zoom, picture.height() * zoom);
            let large = resize(picture, w, h, FilterType::Nearest);
            let (x, y) = (c as u32 * cell_w + GAP, r as u32 * cell_h + GAP);
            replace(&mut sheet, &large, x.into(), y.into());
        }
    }
    sheet
}

/// What training makes of some of its images in the first epoch: a row of the images, and one for each view.
///
/// # Errors
/// When an image cannot be read or is too small for a view.
pub fn run_rows(program: &Program, train: &Split) -> Result<Vec<Vec<RgbImage>>, Diagnostic> {
    let n = RUN_COLUMNS.min(train.len());
    let chosen: Vec<usize> = (0..n).map(|i| i * train.len() / n).collect();
    let mut rows = vec![Vec::new(); 1 + program.views.len()];
    for i in chosen {
        let image = train.image(i)?;
        rows[0].push(shrink(of_image(&image)));
        for (v, view) in program.views.iter().enumerate() {
            let key = Key {
                seed: program.train.seed,
                epoch: 0,
                image: i as u32,
                view: v as u16,
            };
            let rendered = render_raw(&view.pipeline, &image, key)?;
            rows[1 + v].push(shrink(of_view(&rendered)));
        }
    }
    Ok(rows)
}

/// A view before `normalize`; values beyond [0, 1] are cut off.
pub fn of_view(view: &Rendered) -> RgbImage {
    RgbImage::from_fn(view.width as u32, view.height as u32, |x, y| {
        let at = (y as usize * view.width + x as usize) * view.channels;
        let value = |c: usize| {
            let v = view.data[at + c.min(view.channels - 1)];
            (v.clamp(0.0, 1.0) * 255.0).round() as u8
        };
        Rgb([value(0), value(1), value(2)])
    })
}

fn of_image(image: &ImageRef) -> RgbImage {
    RgbImage::from_fn(image.width as u32, image.height as u32, |x, y| {
        let at = (y as usize * image.width + x as usize) * image.channels;
        let value = |c: usize| image.pixels[at + c.min(image.channels - 1)];
        Rgb([value(0), value(1), value(2)])
    })
}

fn shrink(picture: RgbImage) -> RgbImage {
    let longest = picture.width().max(picture.height());
    if longest <= RUN_LARGEST {
        return picture;
    }
    let scale = f64::from(RUN_LARGEST) / f64::from(longest);
    let side = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    resize(&picture, width, height, FilterType::Triangle)
}

/// A picture as a PNG file, gray where all its pixels are.
///
/// # Errors
/// E0654, with the name of the file to be, when it cannot be encoded.
pub fn png(picture: &RgbImage, name: &Path) -> Result<Vec<u8>, Diagnostic> {
    let gray = picture.pixels().all(|p| p[0] == p[1] && p[1] == p[2]);
    let mut bytes = Cursor::new(Vec::new());
    let written = if gray {
        let gray = DynamicImage::from(picture.clone()).to_luma8();
        gray.write_to(&mut bytes, ImageFormat::Png)
    } else {
        picture.write_to(&mut bytes, ImageFormat::Png)
    };
    written.map_err(|e| cannot_write(name, &e.to_string()))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_enlarges_small_pictures_and_keeps_a_gap() {
        let black = RgbImage::new(40, 30);
        let sheet = sheet(&[vec![black.clone(), black.clone()], vec![black]]);
        assert_eq!((sheet.width(), sheet.height()), (2 * 82 + 2, 2 * 62 + 2));
        let pixel = |x, y| sheet.get_pixel(x, y)[0];
        assert_eq!((pixel(1, 1), pixel(2, 2), pixel(81, 61)), (255, 0, 0));
        assert_eq!((pixel(82, 2), pixel(2, 64), pixel(90, 70)), (255, 0, 255));
    }

    #[test]
    fn gray_pictures_are_written_gray() {
        let written = |pixel| {
            let bytes = png(&RgbImage::from_pixel(2, 2, Rgb(pixel)), Path::new("a.png")).unwrap();
            image::load_from_memory(&bytes).unwrap().color()
        };
        assert_eq!(written([3; 3]), image::ColorType::L8);
        assert_eq!(written([3, 3, 4]), image::ColorType::Rgb8);
    }
}
