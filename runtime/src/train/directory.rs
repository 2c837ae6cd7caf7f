//! The run directory: what a training leaves behind.

use crate::tensors::{Tensors, cannot_write, write, write_atomically};
use serde::Serialize;
use sslc_grammar::diag::Diagnostic;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A run directory, open for writing.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    metrics: BufWriter<File>,
}

impl RunDirectory {
    /// Makes the directory with `files`, texts by their places in it.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn create(path: &Path, files: &[(PathBuf, String)]) -> Result<RunDirectory, Diagnostic> {
        fs::create_dir_all(path).map_err(|e| cannot_write(path, &e.to_string()))?;
        let metrics = path.join("metrics.jsonl");
        let file = File::create(&metrics).map_err(|e| cannot_write(&metrics, &e.to_string()))?;
        let directory = RunDirectory {
            path: path.to_owned(),
            metrics: BufWriter::new(file),
        };
        for (place, text) in files {
            directory.add(place, text)?;
        }
        Ok(directory)
    }

    /// Writes a text at a place in the directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, place: &Path, text: &str) -> Result<(), Diagnostic> {
        let file = self.path.join(place);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|e| cannot_write(folder, &e.to_string()))?;
        }
        write_atomically(&file, text.as_bytes())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// When the disk is full or the file was taken away.
    pub fn log(&mut self, record: &impl Serialize) -> Result<(), Diagnostic> {
        let path = self.path.join("metrics.jsonl");
        let line =
            serde_json::to_string(record).map_err(|e| cannot_write(&path, &e.to_string()))?;
        writeln!(self.metrics, "{line}")
            .and_then(|()| self.metrics.flush())
            .map_err(|e| cannot_write(&path, &e.to_string()))
    }

    /// Writes the encoder's weights, atomically.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn save_encoder(&self, tensors: &Tensors) -> Result<PathBuf, Diagnostic> {
        let path = self.path.join("encoder.safetensors");
        write(&path, tensors)?;
        Ok(path)
    }
}
