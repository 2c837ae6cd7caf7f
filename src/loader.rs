//! Reads specs and their imports from disk, never outside the folder of the spec on the command line.

use sslc_compiler::elaborate::{Loaded, Loader};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::{cannot_read, near_file};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Reads a text file that people wrote.
///
/// # Errors
/// When the file is missing, unreadable or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let bytes = fs::read(path).map_err(|error| cannot_read(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        Diagnostic::new(
            codes::E0655,
            format!(
                "the file '{}' is not text: byte {} is not UTF-8",
                path.display(),
                error.utf8_error().valid_up_to()
            ),
        )
        .help("a spec is a UTF-8 text file")
    })
}

/// Loads imports relative to the importing file.
///
/// Invariant: no file is read whose place, links resolved, is outside of `root`.
pub struct FileLoader {
    root: PathBuf,
    /// The folder as shown to people.
    shown_root: PathBuf,
    /// Folders of the files loaded so far, by id.
    folders: BTreeMap<String, PathBuf>,
    /// What was loaded, by place below the root.
    pub loaded: BTreeMap<PathBuf, String>,
}

impl FileLoader {
    /// For a spec; `entry` is the name that its source has.
    ///
    /// # Errors
    /// When the spec's folder cannot be found.
    pub fn new(spec: &Path, entry: &str) -> Result<FileLoader, Diagnostic> {
        let shown_root = match spec.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let root = shown_root
            .canonicalize()
            .map_err(|error| cannot_read(&shown_root, &error))?;
        Ok(FileLoader {
            folders: BTreeMap::from([(entry.to_owned(), root.clone())]),
            loaded: BTreeMap::new(),
            shown_root,
            root,
        })
    }

    fn outside(&self, path: &str) -> Diagnostic {
        Diagnostic::new(
            codes::E0502,
            format!(
                "'{path}' is outside of the folder of the spec, '{}'",
                self.shown_root.display()
            ),
        )
        .help("move the file into the spec's folder or below it; links are followed before they are judged")
    }
}

/// Resolves `..` by the names alone, so that a missing file outside is told from a missing file inside.
fn normalised(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

impl Loader for FileLoader {
    fn load(&mut self, importer: &str, path: &str) -> Result<Loaded, Diagnostic> {
        let folder = self.folders.get(importer).unwrap_or(&self.root);
        let wanted = folder.join(path);
        if !normalised(&wanted).starts_with(&self.root) {
            return Err(self.outside(path));
        }
        let place = wanted.canonicalize().map_err(|error| {
            let missing = Diagnostic::new(
                codes::E0501,
                format!("the import '{path}' cannot be read: {}", reason(&error)),
            );
            match near_file(&wanted).and_then(|n| Some(Path::new(&n).file_name()?.to_owned())) {
                Some(near) => missing.help(format!(
                    "did you mean '{}'?",
                    Path::new(path).with_file_name(near).display()
                )),
                None => missing.help("the path is relative to the file that imports"),
            }
        })?;
        let Ok(inside) = place.strip_prefix(&self.root) else {
            return Err(self.outside(path));
        };
        let name = self.shown_root.join(inside);
        let name = name
            .strip_prefix(".")
            .unwrap_or(&name)
            .display()
            .to_string();
        let id = inside.display().to_string();
        if let Some(parent) = place.parent() {
            self.folders.insert(id.clone(), parent.to_owned());
        }
        let text = read_text(&place)?;
        self.loaded.insert(inside.to_owned(), text.clone());
        Ok(Loaded { id, name, text })
    }
}

fn reason(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file",
        std::io::ErrorKind::PermissionDenied => "permission denied",
        _ => "it is not a file that can be opened",
    }
}
