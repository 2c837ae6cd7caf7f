//! Reading files, with messages that say what was looked for and what lies near it.

use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A path as people write it.
pub(super) fn show(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        "(an empty path)".to_owned()
    } else {
        path.display().to_string()
    }
}

/// The diagnostic for a failed access of `path`; `what` says what it should have been ("the folder of images").
pub(super) fn access_error(error: &io::Error, what: &str, path: &Path) -> Diagnostic {
    match error.kind() {
        io::ErrorKind::NotFound => missing(what, path),
        io::ErrorKind::PermissionDenied => Diagnostic::new(
            codes::E0602,
            format!(
                "{what} cannot be read: permission denied for {}",
                show(path)
            ),
        )
        .help("give yourself the right to read it, or name another path"),
        _ => Diagnostic::new(
            codes::E0602,
            format!("{what} cannot be read: {} ({error})", show(path)),
        )
        .help("check the path and the disk"),
    }
}

/// E0601 for a path that is not there: names the deepest folder that is, and a near name in it.
pub(super) fn missing(what: &str, path: &Path) -> Diagnostic {
    let d = Diagnostic::new(
        codes::E0601,
        format!("{what} was not found: {}", show(path)),
    );
    if path.starts_with("~") {
        return d.help("`~` is not expanded in a spec: write the whole path");
    }
    d.help(missing_help(path))
}

fn missing_help(path: &Path) -> String {
    let mut parent = path;
    let mut wanted = None;
    loop {
        if !parent.as_os_str().is_empty() && parent.is_dir() {
            break;
        }
        wanted = parent.file_name().map(|n| n.to_string_lossy().into_owned());
        match parent.parent() {
            Some(p) if p.as_os_str().is_empty() => {
                parent = Path::new(".");
                break;
            }
            Some(p) => parent = p,
            None => return "name a path that exists".to_owned(),
        }
    }
    let place = if parent == Path::new(".") {
        "the working folder".to_owned()
    } else {
        show(parent)
    };
    let names = names_in(parent);
    let near = wanted
        .as_deref()
        .and_then(|w| nearest(w, names.iter().map(String::as_str)));
    match (near, names.len()) {
        (Some(name), _) => format!("did you mean `{}`?", show(&join(parent, name))),
        (None, 0) => format!("{place} is empty; paths are taken from the working folder"),
        (None, n) => {
            let list = names.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
            let more = if n > 6 { ", …" } else { "" };
            format!("{place} holds {list}{more}; paths are taken from the working folder")
        }
    }
}

fn join(parent: &Path, name: &str) -> PathBuf {
    if parent == Path::new(".") {
        PathBuf::from(name)
    } else {
        parent.join(name)
    }
}

/// Names of what lies in a folder, sorted, hidden ones left out; none where it cannot be read.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| !n.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
}

/// Opens a file and says how many bytes it has.
pub(super) fn open_file(what: &str, path: &Path) -> Result<(File, u64), Diagnostic> {
    let file = File::open(path).map_err(|e| access_error(&e, what, path))?;
    let meta = file.metadata().map_err(|e| access_error(&e, what, path))?;
    if meta.is_dir() {
        return Err(Diagnostic::new(
            codes::E0602,
            format!("{what} should be a file, and {} is a folder", show(path)),
        )
        .help("name the file inside it"));
    }
    Ok((file, meta.len()))
}

/// The whole content of a file.
pub(super) fn read_file(what: &str, path: &Path) -> Result<Vec<u8>, Diagnostic> {
    open_file(what, path)?;
    fs::read(path).map_err(|e| access_error(&e, what, path))
}

/// Fails unless `path` is a folder.
pub(super) fn expect_folder(what: &str, path: &Path) -> Result<(), Diagnostic> {
    let meta = fs::metadata(path).map_err(|e| access_error(&e, what, path))?;
    if meta.is_dir() {
        Ok(())
    } else {
        Err(Diagnostic::new(
            codes::E0602,
            format!("{what} should be a folder, and {} is a file", show(path)),
        )
        .help("name the folder that holds the files"))
    }
}

/// The first of `subfolders` of `root` (an empty one means `root` itself) in which one of `files` lies; `root` where none does.
pub(super) fn find_root(root: &Path, subfolders: &[&str], files: &[&str]) -> PathBuf {
    subfolders
        .iter()
        .map(|s| {
            if s.is_empty() {
                root.to_path_buf()
            } else {
                root.join(s)
            }
        })
        .find(|folder| files.iter().any(|f| folder.join(f).exists()))
        .unwrap_or_else(|| root.to_path_buf())
}

/// 30,730,000: a number with its thousands apart.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// "1 image", "5,000 images".
pub(super) fn count(n: usize, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", thousands(n as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(30_730_000), "30,730,000");
        assert_eq!(thousands(999), "999");
        assert_eq!(count(1, "image"), "1 image");
    }

    #[test]
    fn a_missing_path_names_its_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        let d = missing("the folder", &dir.path().join("imgaes/train"));
        assert_eq!(d.code, codes::E0601);
        let help = d.help.unwrap();
        assert!(
            help.contains("did you mean") && help.contains("images"),
            "{help}"
        );
    }
}
