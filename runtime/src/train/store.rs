//! The checkpoints of a run: which there are, which stay, and the one to go on from.
//!
//! `checkpoints/step-NNNNNNNN.safetensors` are the last ones, by optimizer steps done; `checkpoints/best.safetensors` is
//! the one with the best k-NN accuracy during training.
//!
//! Invariant: a checkpoint is removed only after a newer one has been written whole.

use super::checkpoint::Checkpoint;
use crate::tensors::{ASIDE, cannot_write, put};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of a run's checkpoints, and the file of the best.
pub const FOLDER: &str = "checkpoints";
pub const BEST: &str = "best.safetensors";

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Store {
    run: PathBuf,
    folder: PathBuf,
    keep: usize,
}

impl Store {
    /// Of a run directory; `keep` of them stay.
    pub fn new(run: &Path, keep: usize) -> Store {
        Store {
            run: run.to_owned(),
            folder: run.join(FOLDER),
            keep,
        }
    }

    /// The file of the checkpoint after `step` optimizer steps.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:08}.safetensors"))
    }

    pub fn best(&self) -> PathBuf {
        self.folder.join(BEST)
    }

    /// Steps and files of the checkpoints, in order; the best is among them only if it is one of the last.
    pub fn list(&self) -> Vec<(u64, PathBuf)> {
        let mut found: Vec<(u64, PathBuf)> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let name = path.file_name()?.to_str()?;
                let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
                Some((step.parse().ok()?, path))
            })
            .collect();
        found.sort();
        found
    }

    /// The newest checkpoint that is whole; those that are not are told.
    ///
    /// # Errors
    /// E0673 where there are checkpoints and none is whole.
    pub fn newest(
        &self,
        mut tell: impl FnMut(&Diagnostic),
    ) -> Result<Option<(PathBuf, Checkpoint)>, Diagnostic> {
        let steps = self.list().into_iter().rev().map(|(_, path)| path);
        let best = Some(self.best()).filter(|best| best.exists());
        let mut damaged = Vec::new();
        for path in steps.chain(best) {
            match Checkpoint::read(&path) {
                Ok(checkpoint) => {
                    damaged.iter().for_each(|error| tell(&passed_over(error)));
                    return Ok(Some((path, checkpoint)));
                }
                Err(error) => damaged.push(error),
            }
        }
        match damaged.into_iter().next() {
            None => Ok(None),
            Some(error) => Err(error.help(format!(
                "no checkpoint of '{}' can be read; restore a copy of one, or train the spec anew",
                self.run.display()
            ))),
        }
    }

    /// Makes the folder ready to go on after `step`: what was being written when the run was killed goes, and later
    /// checkpoints (which were damaged) are set aside.
    pub fn settle(&self, step: u64) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        for path in entries.filter_map(|e| Some(e.ok()?.path())) {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if name.ends_with(ASIDE) {
                // It is in nobody's way where it cannot be removed.
                let _ = fs::remove_file(&path);
            }
        }
        for (_, path) in self.list().into_iter().filter(|(k, _)| *k > step) {
            let mut name = path.clone().into_os_string();
            name.push(".damaged");
            let _ = fs::rename(&path, name);
        }
    }

    /// Saves a checkpoint, and removes those that are more than are kept.
    ///
    /// # Errors
    /// E0654 where it cannot be written; then all others are still there.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<PathBuf, Diagnostic> {
        self.make_folder()?;
        let path = self.path(checkpoint.notes.step);
        checkpoint.write(&path)?;
        let all = self.list();
        let many = all.len().saturating_sub(self.keep.max(1));
        for (_, old) in all.iter().take(many).filter(|(_, p)| *p != path) {
            fs::remove_file(old).map_err(|e| cannot_write(old, &e.to_string()))?;
        }
        Ok(path)
    }

    /// Saves the best checkpoint; where the same stands in a file already, under a second name.
    ///
    /// # Errors
    /// E0654 where it cannot be written.
    pub fn save_best(
        &self,
        checkpoint: &Checkpoint,
        same: Option<&Path>,
    ) -> Result<(), Diagnostic> {
        self.make_folder()?;
        let best = self.best();
        // Not every file system has second names.
        match same {
            Some(same) if put(&best, |aside| fs::hard_link(same, aside)).is_ok() => Ok(()),
            _ => checkpoint.write(&best),
        }
    }

    /// The folder inside of the run directory, which must be there.
    fn make_folder(&self) -> Result<(), Diagnostic> {
        match fs::create_dir(&self.folder) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(cannot_write(
                &self.folder,
                &format!("the run directory '{}' is gone", self.run.display()),
            )),
            Err(e) => Err(cannot_write(&self.folder, &e.to_string())),
        }
    }
}

/// W0604
fn passed_over(error: &Diagnostic) -> Diagnostic {
    Diagnostic::new(codes::W0604, error.message.clone()).help(
        "the checkpoint before it is used; this one is kept under a name that ends with .damaged",
    )
}
