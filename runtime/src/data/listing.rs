//! Which files of a folder are images, and of which class.

use super::files::{access_error, count, expect_folder, show};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];
const SPLIT_NAMES: [&str; 6] = ["train", "test", "val", "valid", "validation", "dev"];

/// One image file.
#[derive(Debug)]
pub(super) struct Listed {
    /// Path below the folder.
    pub relative: PathBuf,
    pub class: Option<u32>,
}

/// The image files of a folder, in order of class and path.
#[derive(Debug)]
pub(super) struct Listing {
    /// Names of the class folders, sorted; empty where the images lie loose.
    pub classes: Vec<String>,
    pub files: Vec<Listed>,
    /// Loose images beside class folders, which are left out.
    pub ignored: usize,
}

/// Whether a file looks like an image: by its ending, or without one by its first bytes.
fn looks_like_image(path: &Path) -> bool {
    match path.extension() {
        Some(e) => e
            .to_str()
            .is_some_and(|e| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(e))),
        None => {
            let mut head = Vec::new();
            // A pipe would be waited for.
            path.is_file()
                && File::open(path)
                    .and_then(|f| f.take(16).read_to_end(&mut head))
                    .is_ok()
                && image::guess_format(&head).is_ok()
        }
    }
}

/// What lies in a folder, sorted by name: folders and files, hidden ones left out, links followed.
fn entries(folder: &Path, what: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Diagnostic> {
    let failed = |e: std::io::Error| access_error(&e, what, folder);
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
            folders.push(path);
        } else {
            files.push(path);
        }
    }
    folders.sort_unstable();
    files.sort_unstable();
    Ok((folders, files))
}

/// All image files below a folder of `root`, sorted by path. A folder reached twice (by links) is entered once, `root` not again.
fn walk(root: &Path, folder: &Path, what: &str) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut seen = BTreeSet::from_iter(fs::canonicalize(root));
    let mut waiting = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        let real = fs::canonicalize(&folder).map_err(|e| access_error(&e, what, &folder))?;
        if !seen.insert(real) {
            continue;
        }
        let (folders, files) = entries(&folder, what)?;
        found.extend(files.into_iter().filter(|f| looks_like_image(f)));
        waiting.extend(folders.into_iter().rev());
    }
    found.sort_unstable();
    Ok(found)
}

/// Lists a folder; `what` names it in messages.
///
/// Errors: E0601, E0602 (also for folders inside it), E0607 where it holds no images, E0613 where it holds splits.
pub(super) fn list(root: &Path, what: &str) -> Result<Listing, Diagnostic> {
    expect_folder(what, root)?;
    let (folders, top) = entries(root, what)?;
    let loose: Vec<&PathBuf> = top.iter().filter(|f| looks_like_image(f)).collect();
    let relative = |p: &Path| p.strip_prefix(root).unwrap_or(p).to_path_buf();
    let (mut classes, mut files) = (Vec::new(), Vec::new());
    for folder in &folders {
        let images = walk(root, folder, what)?;
        if images.is_empty() {
            continue;
        }
        let class = Some(classes.len() as u32);
        classes.push(
            folder
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
        );
        files.extend(images.iter().map(|p| Listed {
            relative: relative(p),
            class,
        }));
    }
    refuse_splits(root, &classes)?;
    if classes.is_empty() {
        files = loose
            .iter()
            .map(|p| Listed {
                relative: relative(p),
                class: None,
            })
            .collect();
    }
    if files.is_empty() {
        let found = match (top.first(), folders.len()) {
            (None, 0) => "it is empty".to_owned(),
            (None, n) => format!("it has {} without images", count(n, "folder")),
            (Some(f), _) => format!(
                "it has {}, such as {}",
                count(top.len(), "other file"),
                show(&relative(f))
            ),
        };
        return Err(Diagnostic::new(
            codes::E0607,
            format!("{what} holds no images: {} ({found})", show(root)),
        )
        .help("images are PNG, JPEG, WebP, GIF or BMP files, loose or in one folder per class"));
    }
    Ok(Listing {
        ignored: if classes.is_empty() { 0 } else { loose.len() },
        classes,
        files,
    })
}

/// Folders named `train` and `val` are splits that were taken for classes.
fn refuse_splits(root: &Path, classes: &[String]) -> Result<(), Diagnostic> {
    let all_splits = classes.iter().all(|c| SPLIT_NAMES.contains(&c.as_str()));
    if !all_splits || !classes.iter().any(|c| c == "train") {
        return Ok(());
    }
    let train = show(&root.join("train"));
    let help = match classes.iter().find(|c| *c != "train") {
        Some(other) => format!(
            "write `image_folder(\"{train}\", test: \"{}\")`",
            show(&root.join(other))
        ),
        None => format!("write `image_folder(\"{train}\")`"),
    };
    Err(Diagnostic::new(
        codes::E0613,
        format!(
            "{} holds the splits of a set ({}), not its classes",
            show(root),
            classes.join(", ")
        ),
    )
    .help(help))
}
