//! What a training leaves for people in its run directory: facts, pictures, TensorBoard's files, the map of its embedding
//! and a report of all of it.

use crate::embedding_map::{self, StoredEmbedding};
use crate::network_drawing;
use crate::pictures::{png, run_rows, sheet};
use crate::run_facts::Facts;
use crate::run_report;
use crate::tensorboard::projector;
use crate::tensorboard::recorder::Recorder;
use image::RgbImage;
use sslc_compiler::program::Program;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::Dataset;
use sslc_runtime::tensors::write_atomically;
use sslc_runtime::train::Observer;
use sslc_runtime::train::embedding::Embedding;
use std::path::{Path, PathBuf};

/// The sheet of views in the run directory.
pub const SHEET_FILE: &str = "views.png";
/// The drawing of the networks.
pub const NETWORK_FILE: &str = "network.svg";

/// A run directory in which a training happens.
pub struct RunOutputs {
    run: PathBuf,
    facts: Facts,
    sheet: RgbImage,
    sheet_png: Vec<u8>,
}

impl RunOutputs {
    /// Writes what is known before training: the facts, the sheet of views and the drawing of the networks.
    ///
    /// # Errors
    /// When an image cannot be read, is too small for a view, or the directory cannot be written.
    pub fn begin(
        run: &Path,
        program: &Program,
        dataset: &Dataset,
        mut facts: Facts,
    ) -> Result<RunOutputs, Diagnostic> {
        let rows = run_rows(program, &dataset.train)?;
        facts.sheet_columns = rows.first().map_or(0, Vec::len);
        facts.write(run)?;
        let sheet = sheet(&rows);
        let path = run.join(SHEET_FILE);
        let sheet_png = png(&sheet, &path)?;
        write_atomically(&path, &sheet_png)?;
        let drawing = network_drawing::svg(program);
        write_atomically(&run.join(NETWORK_FILE), drawing.as_bytes())?;
        Ok(RunOutputs {
            run: run.to_owned(),
            facts,
            sheet,
            sheet_png,
        })
    }

    /// Passes on what happens from optimizer step `step` on, and records it for TensorBoard.
    pub fn recorder<'a>(&self, step: u64, inner: &'a mut dyn Observer) -> Recorder<'a> {
        let mut recorder = Recorder::new(&self.run, step, inner);
        recorder.views(&self.sheet, &self.sheet_png);
        recorder
    }

    /// Writes what is known when training has ended, however it did, and returns the report's place.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn end(&self, embedding: Option<&Embedding>) -> Result<PathBuf, Diagnostic> {
        if let Some(embedding) = embedding {
            let stored = StoredEmbedding::new(embedding);
            let sprite = embedding_map::sprite(&embedding.thumbnails)?;
            stored.write(&self.run, &sprite)?;
            projector::write(&self.run, &stored, &self.facts.classes, &sprite)?;
        }
        let report = self.run.join(run_report::FILE);
        run_report::write(std::slice::from_ref(&self.run), &report)?;
        Ok(report)
    }
}
