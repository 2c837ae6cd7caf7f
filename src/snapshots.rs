//! Snapshot files in insta's format: a header in YAML between lines of `---`, then the text.

use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::write_atomically;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A snapshot by its place; the text that waits for review lies beside it under `.snap.new`.
#[derive(Clone, Debug)]
pub struct Place(PathBuf);

/// What a snapshot says of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// There is none yet.
    Missing,
    /// It holds another text.
    Differs(String),
}

impl Place {
    /// `snapshots/NAME@STAGE.snap` beside a spec.
    pub fn of(spec: &Path, stage: &str) -> Place {
        let stem = spec.file_stem().unwrap_or_default().to_string_lossy();
        let folder = spec.parent().unwrap_or(Path::new("")).join("snapshots");
        Place(folder.join(format!("{stem}@{stage}.snap")))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a text waits for review.
    pub fn pending(&self) -> PathBuf {
        let mut name = self.0.as_os_str().to_owned();
        name.push(".new");
        PathBuf::from(name)
    }

    /// Compares a text with the snapshot; line breaks at the end do not count.
    ///
    /// # Errors
    /// When the file cannot be read or is no snapshot.
    pub fn judge(&self, text: &str) -> Result<Verdict, Diagnostic> {
        let file = match fs::read_to_string(&self.0) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Verdict::Missing),
            Err(e) => return Err(self.damaged(&e.to_string())),
        };
        let file = file.replace("\r\n", "\n");
        let body = file
            .strip_prefix("---\n")
            .and_then(|rest| rest.split_once("\n---\n"))
            .map(|(_, body)| body.trim_end())
            .ok_or_else(|| self.damaged("it does not begin with a header between two `---`"))?;
        Ok(match body == text.trim_end() {
            true => Verdict::Same,
            false => Verdict::Differs(body.to_owned()),
        })
    }

    /// Writes a text as the snapshot, and drops one that waits for review.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn accept(&self, header: &Header, text: &str) -> Result<(), Diagnostic> {
        write(&self.0, header, text)?;
        self.settle();
        Ok(())
    }

    /// Writes a text to wait for review.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn propose(&self, header: &Header, text: &str) -> Result<(), Diagnostic> {
        write(&self.pending(), header, text)
    }

    /// Drops a text that waits for review.
    pub fn settle(&self) {
        // It is in nobody's way where it cannot be removed.
        let _ = fs::remove_file(self.pending());
    }

    fn damaged(&self, why: &str) -> Diagnostic {
        Diagnostic::new(
            codes::E0906,
            format!("the snapshot '{}' cannot be read: {why}", self.0.display()),
        )
        .help("look at it, and write it anew with --accept")
    }
}

/// What a snapshot says of its origin.
#[derive(Clone, Debug)]
pub struct Header {
    pub source: String,
    /// The command that makes the text.
    pub command: String,
}

fn write(path: &Path, header: &Header, text: &str) -> Result<(), Diagnostic> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|e| sslc_runtime::tensors::cannot_write(folder, &e.to_string()))?;
    }
    // A JSON string is a YAML string.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let file = format!(
        "---\nsource: {}\nexpression: {}\n---\n{}\n",
        quoted(&header.source),
        quoted(&header.command),
        text.trim_end()
    );
    write_atomically(path, file.as_bytes())
}
