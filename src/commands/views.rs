//! `sslc views`: a contact sheet of the views, or their exact tensors.

use crate::cli::SpecArgs;
use crate::compile::{Compilation, Failure};
use crate::pictures::{of_view, sheet};
use crate::report::{Reporter, print};
use image::RgbImage;
use sslc_compiler::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::{self, ImageFailure, ImageRef};
use sslc_runtime::layout;
use sslc_runtime::tensors::{
    self, FileTensor, Tensors, cannot_read, cannot_write, write_atomically,
};
use sslc_runtime::views::{Key, Rendered, render_raw};
use std::io::Cursor;
use std::path::Path;

pub struct Request<'a> {
    pub image: Option<&'a Path>,
    pub out: Option<&'a Path>,
    pub raw: Option<&'a Path>,
    pub seed: Option<u64>,
    pub count: u32,
}

/// Writes the sheet (one row for each view, one column for each draw) and the raw tensors.
pub fn run(spec: &SpecArgs, request: &Request, reporter: Reporter) -> Result<u8, Failure> {
    let compilation = Compilation::from_args(spec)?;
    super::warn(&compilation, reporter);
    let program = &compilation.program;
    let seed = request.seed.unwrap_or(program.train.seed);
    let rows = match request.image {
        Some(path) => {
            let pixels = data::read_image(path, program.data.channels)
                .map_err(|failure| unreadable(path, failure))?;
            draw(program, &ImageRef::from(pixels), seed, request.count)?
        }
        None => {
            let dataset = data::open(&program.data)?;
            draw(program, &dataset.train.image(0)?, seed, request.count)?
        }
    };
    if let Some(path) = request.raw {
        tensors::write(path, &raw(program, &rows))?;
        print(&format!("{}\n", path.display()));
    }
    if let Some(path) = request.out {
        let pictures: Vec<Vec<RgbImage>> = rows
            .iter()
            .map(|row| row.iter().map(of_view).collect())
            .collect();
        let mut png = Cursor::new(Vec::new());
        sheet(&pictures)
            .write_to(&mut png, image::ImageFormat::Png)
            .map_err(|error| cannot_write(path, &error.to_string()))?;
        write_atomically(path, png.get_ref())?;
        print(&format!("{}\n", path.display()));
    }
    Ok(0)
}

fn unreadable(path: &Path, failure: ImageFailure) -> Diagnostic {
    match failure {
        ImageFailure::Access(error) => cannot_read(path, &error),
        ImageFailure::Damaged(why) => Diagnostic::new(
            codes::E0608,
            format!("'{}' cannot be decoded: {why}", path.display()),
        )
        .help("give a PNG, JPEG, WebP, GIF or BMP file"),
    }
}

/// For each view, `count` draws before `normalize`: those of epochs 0, 1, 2, … of image 0.
fn draw(
    program: &Program,
    image: &ImageRef,
    seed: u64,
    count: u32,
) -> Result<Vec<Vec<Rendered>>, Diagnostic> {
    program
        .views
        .iter()
        .enumerate()
        .map(|(view, v)| {
            (0..count)
                .map(|epoch| {
                    let key = Key {
                        seed,
                        epoch,
                        image: 0,
                        view: view as u16,
                    };
                    render_raw(&v.pipeline, image, key)
                })
                .collect()
        })
        .collect()
}

/// Each view's draws as one tensor [count, C, H, W].
fn raw(program: &Program, rows: &[Vec<Rendered>]) -> Tensors {
    program
        .views
        .iter()
        .zip(rows)
        .filter_map(|(view, row)| {
            let first = row.first()?;
            let inside = [row.len(), first.height, first.width, first.channels];
            let values: Vec<f32> = row.iter().flat_map(|r| r.data.iter().copied()).collect();
            let shape = [inside[0], inside[3], inside[1], inside[2]];
            let tensor = FileTensor::f32(&shape, layout::nhwc_to_nchw(&values, &inside));
            Some((view.name.clone(), tensor))
        })
        .collect()
}
