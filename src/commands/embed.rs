//! `sslc embed`: the features of images, as a file.

use crate::cli::{Global, SplitName};
use crate::compile::Failure;
use crate::report::{Reporter, print};
use crate::runs::{Run, Which};
use sslc_compiler::program::{DataKind, DataSource};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Sources;
use sslc_runtime::data::{self, Split};
use sslc_runtime::tensors::{self, FileTensor, Tensors};
use sslc_runtime::train::encoder::Encoder;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// What is asked for.
pub struct Request<'a> {
    /// A folder of images in place of the run's data.
    pub data: Option<&'a Path>,
    pub split: SplitName,
    pub out: &'a Path,
    pub which: Which,
}

#[derive(Clone, Copy)]
enum Form {
    Safetensors,
    Npy,
    Csv,
}

/// Writes the features of a run's encoder for all images of a split.
pub fn run(
    path: &Path,
    request: &Request,
    global: &Global,
    reporter: Reporter,
) -> Result<u8, Failure> {
    let form = form(request.out)?;
    let run = Run::open(path)?;
    let tell = |d: &Diagnostic| reporter.tell(&Sources::default(), d);
    let weights = run.weights(request.which, tell)?;
    let target = super::target(global)?;
    let program = &run.compilation.program;
    let dataset = match request.data {
        None => run.dataset()?,
        Some(folder) => data::open(&DataSource {
            kind: DataKind::ImageFolder {
                path: folder.to_owned(),
                test: None,
                holdout: 0.0,
                strict: false,
            },
            channels: program.data.channels,
            train_len: None,
        })?,
    };
    dataset.notices.iter().for_each(tell);
    let split = match (request.split, dataset.test) {
        (SplitName::Train, _) => dataset.train,
        (SplitName::Test, Some(test)) => test,
        (SplitName::Test, None) => {
            return Err(
                Diagnostic::new(codes::E0607, "the source has no test images")
                    .help("`--split train` takes its training images")
                    .into(),
            );
        }
    };
    let split = Arc::new(split);
    let images: Vec<usize> = (0..split.len()).collect();
    let features = Encoder::new(program, &target)?.features_of(&weights.values, &split, images)?;
    split.take_notice().iter().for_each(tell);
    match form {
        Form::Safetensors => tensors::write(
            request.out,
            &as_tensors(&split, features.dim, &features.values),
        )?,
        Form::Npy => tensors::put(request.out, |aside| {
            write_npy(
                File::create(aside)?,
                split.len(),
                features.dim,
                &features.values,
            )
        })?,
        Form::Csv => tensors::put(request.out, |aside| {
            write_csv(File::create(aside)?, &split, features.dim, &features.values)
        })?,
    }
    print(&format!(
        "{} features of {} images: {}\n",
        features.dim,
        split.len(),
        request.out.display()
    ));
    Ok(0)
}

/// E0904 where the ending is none of ours.
fn form(out: &Path) -> Result<Form, Diagnostic> {
    match out.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => Ok(Form::Safetensors),
        Some("npy") => Ok(Form::Npy),
        Some("csv") => Ok(Form::Csv),
        _ => Err(Diagnostic::new(
            codes::E0904,
            format!("the ending of '{}' names no format", out.display()),
        )
        .help("let it end with .safetensors, .npy or .csv")),
    }
}

/// `features` [N, D], and `labels` [N] where some are known, −1 for the others.
fn as_tensors(split: &Split, dim: usize, values: &[f32]) -> Tensors {
    let features = FileTensor::f32(&[split.len(), dim], values.to_vec());
    let mut tensors = Tensors::from([("features".to_owned(), features)]);
    if !split.labelled().is_empty() {
        let label = |i| split.label(i).map_or(-1, i64::from);
        let labels = (0..split.len()).map(label).collect();
        tensors.insert("labels".to_owned(), FileTensor::i64(&[split.len()], labels));
    }
    tensors
}

/// Version 1.0 of NumPy's format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn write_npy(out: impl Write, rows: usize, dim: usize, values: &[f32]) -> std::io::Result<()> {
    let mut out = BufWriter::new(out);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    // The data begin at a multiple of 64.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for v in values {
        out.write_all(&v.to_le_bytes())?;
    }
    out.flush()
}

/// A line an image: its name, its class (empty where it is not known), its features.
fn write_csv(out: impl Write, split: &Split, dim: usize, values: &[f32]) -> std::io::Result<()> {
    let mut out = BufWriter::new(out);
    write!(out, "image,label")?;
    for i in 0..dim {
        write!(out, ",{i}")?;
    }
    writeln!(out)?;
    for (i, row) in values.chunks(dim.max(1)).enumerate() {
        let name = split.image_name(i);
        if name.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", name.replace('"', "\"\""))?;
        } else {
            write!(out, "{name}")?;
        }
        match split.label(i) {
            Some(label) => write!(out, ",{label}")?,
            None => write!(out, ",")?,
        }
        for v in row {
            write!(out, ",{v}")?;
        }
        writeln!(out)?;
    }
    out.flush()
}
