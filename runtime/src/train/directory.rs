//! The run directory: what a training leaves behind.
//!
//! Invariant: at most one process writes in it. A lock on the file `lock` says so, which the system gives back when the
//! process ends, however it ends.

use super::checkpoint::{Notes, Stamp};
use crate::tensors::{Tensors, cannot_read, cannot_write, write, write_atomically};
use serde::{Deserialize, Serialize};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Names of the files of a run directory.
pub const INFO: &str = "run.json";
pub const SPEC: &str = "spec.ssl";
pub const METRICS: &str = "metrics.jsonl";
pub const ENCODER: &str = "encoder.safetensors";
const LOCK: &str = "lock";

/// The form of `run.json` that this version writes.
pub const FORMAT: u32 = 1;

/// `run.json`: what the spec in a run directory does not say of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    pub format: u32,
    /// The version of `sslc` that began it.
    pub sslc: String,
    /// The spec's name.
    pub name: String,
    /// The spec as it was given on the command line.
    pub spec: String,
    /// The working directory, which relative paths of the spec's data start from.
    pub folder: PathBuf,
    /// What `--set` overrode, in order.
    pub set: Vec<(String, String)>,
    /// Training images.
    pub images: usize,
    /// Whether the last step and the last evaluation are done.
    pub finished: bool,
}

impl RunInfo {
    /// Reads `run.json` of a directory; `None` where there is none.
    ///
    /// # Errors
    /// E0651 where it cannot be read, E0670 where it is damaged or of a later version.
    pub fn read(directory: &Path) -> Result<Option<RunInfo>, Diagnostic> {
        let path = directory.join(INFO);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(_) if !path.exists() => return Ok(None),
            Err(e) => return Err(cannot_read(&path, &e)),
        };
        let broken = |why: String| {
            Diagnostic::new(
                codes::E0670,
                format!("'{}' is no description of a run: {why}", path.display()),
            )
        };
        let value: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|e| broken(e.to_string()).help("restore the file, or train the spec anew"))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(n) if n > FORMAT.into() => {
                return Err(broken(format!(
                    "its format is {n}, and this version reads {FORMAT}"
                ))
                .help("use the version of sslc that began the run, or a later one"));
            }
            _ => {}
        }
        serde_json::from_value(value)
            .map(Some)
            .map_err(|e| broken(e.to_string()).help("restore the file, or train the spec anew"))
    }
}

/// The right to write in a run directory.
#[derive(Debug)]
pub struct Lock {
    _file: Option<File>,
}

impl Lock {
    /// Takes the right to write in a directory, which must be there.
    ///
    /// # Errors
    /// E0674 where another process has it, E0654 where the directory cannot be written.
    pub fn take(directory: &Path) -> Result<Lock, Diagnostic> {
        let path = directory.join(LOCK);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| cannot_write(&path, &e.to_string()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut who = String::new();
                // Some systems let nobody read a locked file.
                let _ = file.read_to_string(&mut who);
                let who = match who.trim() {
                    "" => String::new(),
                    who => format!(" {who}"),
                };
                return Err(Diagnostic::new(
                    codes::E0674,
                    format!(
                        "the run '{}' is in use by another process{who}",
                        directory.display()
                    ),
                )
                .help("wait until it has ended, or stop it with Ctrl-C: it saves a checkpoint"));
            }
            // A file system without locks: nothing is known of others.
            Err(TryLockError::Error(_)) => return Ok(Lock { _file: None }),
        }
        // The number is for the message above; the lock holds without it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        Ok(Lock { _file: Some(file) })
    }
}

/// A run directory, open for writing.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    info: RunInfo,
    stamp: Stamp,
    metrics: BufWriter<File>,
    _lock: Lock,
}

impl RunDirectory {
    /// Makes the directory with `files`, texts by their places in it; `run.json` comes last, so that where it is, they are.
    ///
    /// # Errors
    /// E0676 where it holds a run already, E0674 where another process uses it, E0654 where it cannot be made or written.
    pub fn create(
        path: &Path,
        info: RunInfo,
        stamp: Stamp,
        files: &[(PathBuf, String)],
    ) -> Result<RunDirectory, Diagnostic> {
        fs::create_dir_all(path).map_err(|e| cannot_write(path, &e.to_string()))?;
        let lock = Lock::take(path)?;
        if path.join(INFO).exists() {
            return Err(Diagnostic::new(
                codes::E0676,
                format!("'{}' holds a run already", path.display()),
            )
            .help(format!(
                "`sslc resume {}` goes on with it; give another folder with `--out`, or remove this one",
                path.display()
            )));
        }
        let directory = RunDirectory::open(path, info, stamp, lock, None)?;
        directory.describe(files)?;
        Ok(directory)
    }

    /// Takes up a run again. Of the metrics, what was logged before the checkpoint stays; without one, nothing.
    ///
    /// # Errors
    /// E0654 where it cannot be written.
    pub fn open(
        path: &Path,
        info: RunInfo,
        stamp: Stamp,
        lock: Lock,
        from: Option<&Notes>,
    ) -> Result<RunDirectory, Diagnostic> {
        let metrics = path.join(METRICS);
        let kept = match from {
            Some(notes) => kept_lines(&metrics, notes.step, notes.evaluated)?,
            None => String::new(),
        };
        write_atomically(&metrics, kept.as_bytes())?;
        let file = File::options()
            .append(true)
            .open(&metrics)
            .map_err(|e| cannot_write(&metrics, &e.to_string()))?;
        Ok(RunDirectory {
            path: path.to_owned(),
            info,
            stamp,
            metrics: BufWriter::new(file),
            _lock: lock,
        })
    }

    /// Writes the spec and its imports, then `run.json`.
    ///
    /// # Errors
    /// E0654 where they cannot be written.
    pub fn describe(&self, files: &[(PathBuf, String)]) -> Result<(), Diagnostic> {
        for (place, text) in files {
            self.add(place, text)?;
        }
        self.save_info()
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

    fn save_info(&self) -> Result<(), Diagnostic> {
        let path = self.path.join(INFO);
        let mut text = serde_json::to_string_pretty(&self.info)
            .map_err(|e| cannot_write(&path, &e.to_string()))?;
        text.push('\n');
        write_atomically(&path, text.as_bytes())
    }

    /// Notes whether anything is left to do.
    ///
    /// # Errors
    /// When `run.json` cannot be written.
    pub fn set_finished(&mut self, finished: bool) -> Result<(), Diagnostic> {
        if self.info.finished == finished {
            return Ok(());
        }
        self.info.finished = finished;
        self.save_info()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// What its checkpoints have in common.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Adds a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn log(&mut self, record: &impl Serialize) -> Result<(), Diagnostic> {
        let path = self.path.join(METRICS);
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
        let path = self.path.join(ENCODER);
        write(&path, tensors)?;
        Ok(path)
    }
}

/// The lines of the metrics that a training has written up to `step` optimizer steps, the last evaluation among them after
/// `evaluated`, but for what is said of its end.
fn kept_lines(path: &Path, step: u64, evaluated: Option<u64>) -> Result<String, Diagnostic> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(cannot_read(path, &e)),
    };
    let kept = |line: &&str| {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else {
            return false;
        };
        let Some(at) = value.get("step").and_then(serde_json::Value::as_u64) else {
            return true;
        };
        match value.get("subject") {
            Some(subject) => subject != "trained" && evaluated.is_some_and(|last| at <= last),
            // A step's line has the number of steps before it.
            None => at + u64::from(value.get("loss").is_some()) <= step,
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(kept) {
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_kept_up_to_a_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let lines = [
            r#"{"step":0,"subject":"raw","knn":0.5}"#,
            r#"{"step":0,"loss":2.0}"#,
            r#"{"step":1,"loss":1.0}"#,
            r#"{"step":2,"subject":"training","knn":0.6}"#,
            r#"{"step":2,"loss":0.5}"#,
            r#"{"step":3,"subject":"trained","knn":0.7}"#,
            r#"{"step":3,"lo"#,
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        let kept = |step, evaluated, n: usize| {
            let text = kept_lines(&path, step, evaluated).unwrap();
            assert_eq!(text.lines().collect::<Vec<_>>(), lines[..n], "{step}");
        };
        kept(0, None, 0);
        kept(0, Some(0), 1);
        kept(1, Some(0), 2);
        // Stopped before the evaluation that is due after step 2 was over.
        kept(2, Some(0), 3);
        kept(2, Some(2), 4);
        kept(3, Some(2), 5);
        fs::remove_file(&path).unwrap();
        kept(3, Some(2), 0);
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let second = Lock::take(folder.path()).unwrap_err();
        assert_eq!(second.code, codes::E0674);
        assert!(second.message.contains(&std::process::id().to_string()));
        drop(first);
        Lock::take(folder.path()).unwrap();
    }
}
