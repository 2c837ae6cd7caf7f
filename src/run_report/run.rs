//! A run directory, read as far as it is there: an interrupted run has a report too.

use super::metrics::Metrics;
use crate::embedding_map::{SPRITE_FILE, StoredEmbedding};
use crate::pictures::{GAP, png};
use crate::run_facts::Facts;
use crate::run_outputs::{NETWORK_FILE, SHEET_FILE};
use image::RgbImage;
use image::imageops::crop_imm;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::cannot_read;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a run directory holds.
#[derive(Debug, Default)]
pub struct Run {
    pub path: PathBuf,
    /// What tells it from the other runs of the report.
    pub label: String,
    pub metrics: Metrics,
    pub facts: Option<Facts>,
    /// `spec.ssl` and what it imports, with the places of the files.
    pub specs: Vec<(String, String)>,
    /// `graph.txt`
    pub kernels: Option<String>,
    /// `network.svg`
    pub network: Option<String>,
    pub views: Vec<SheetRow>,
    pub embedding: Option<Map>,
    /// What is there and cannot be shown, in words.
    pub notes: Vec<String>,
}

/// A row of the sheet of views: its name, and its pictures as PNG files.
#[derive(Debug)]
pub struct SheetRow {
    pub name: String,
    pub pictures: Vec<Vec<u8>>,
    /// Width and height of a picture.
    pub size: (u32, u32),
}

/// The embedding, and the sprite of its thumbnails as a PNG file.
#[derive(Debug)]
pub struct Map {
    pub stored: StoredEmbedding,
    pub sprite: Vec<u8>,
}

/// Files that only a run directory has; one of them is enough.
const MARKS: [&str; 3] = ["metrics.jsonl", "run.json", crate::run_facts::FILE];

impl Run {
    /// Reads a run directory. What is missing or damaged is left out and noted.
    ///
    /// # Errors
    /// E0670 where it is not a run directory, E0651 where `metrics.jsonl` is there and cannot be read.
    pub fn read(path: &Path) -> Result<Run, Diagnostic> {
        if !MARKS.iter().any(|m| path.join(m).is_file()) {
            return Err(no_run(path));
        }
        let mut run = Run {
            path: path.to_owned(),
            label: path.file_name().map_or_else(
                || path.display().to_string(),
                |n| n.to_string_lossy().into_owned(),
            ),
            ..Run::default()
        };
        match lines(&path.join("metrics.jsonl"))? {
            Some(text) => run.metrics = Metrics::parse(&text),
            None => run.note("metrics.jsonl is missing: there are no curves"),
        }
        match run.metrics.broken {
            0 => {}
            1 => run.note("one line of metrics.jsonl is no record and is left out"),
            n => run.note(&format!(
                "{n} lines of metrics.jsonl are no records and are left out"
            )),
        }
        if run.metrics.last.is_none() {
            run.note("no step is recorded yet");
        }
        run.facts = Facts::read(path);
        run.read_specs();
        run.kernels = fs::read_to_string(path.join("graph.txt")).ok();
        run.network = fs::read_to_string(path.join(NETWORK_FILE))
            .ok()
            .filter(|svg| svg.starts_with("<svg"));
        run.read_views();
        run.read_embedding();
        Ok(run)
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn read_specs(&mut self) {
        if let Ok(text) = fs::read_to_string(self.path.join("spec.ssl")) {
            self.specs.push(("spec.ssl".to_owned(), text));
        }
        let mut imports = Vec::new();
        collect(&self.path.join("imports"), &mut imports);
        imports.sort();
        for file in imports {
            if let Ok(text) = fs::read_to_string(&file) {
                let place = file.strip_prefix(&self.path).unwrap_or(&file);
                self.specs.push((place.display().to_string(), text));
            }
        }
    }

    fn read_views(&mut self) {
        let path = self.path.join(SHEET_FILE);
        let Some(facts) = &self.facts else { return };
        if !path.exists() {
            return;
        }
        let (rows, columns) = (facts.sheet_rows.clone(), facts.sheet_columns);
        match image::open(&path) {
            Ok(sheet) => self.views = cut(&sheet.to_rgb8(), &rows, columns),
            Err(error) => self.note(&format!("{SHEET_FILE} cannot be shown: {error}")),
        }
    }

    fn read_embedding(&mut self) {
        if !self.path.join(crate::embedding_map::FILE).exists() {
            return;
        }
        match StoredEmbedding::read(&self.path) {
            Ok(stored) => {
                let sprite = fs::read(self.path.join(SPRITE_FILE)).unwrap_or_default();
                self.embedding = Some(Map { stored, sprite });
            }
            Err(error) => self.note(&error.message),
        }
    }

    /// Whether the last step of the spec is done; `None` where its number is not known.
    pub fn finished(&self) -> Option<bool> {
        let steps = self.facts.as_ref()?.steps;
        Some(self.metrics.last.is_some_and(|l| l.steps >= steps))
    }

    /// Seconds that training took, evaluation left out.
    pub fn seconds(&self) -> Option<f64> {
        let (last, facts) = (self.metrics.last?, self.facts.as_ref()?);
        let images = last.steps * facts.accumulate * facts.batch as u64;
        (last.samples_per_second > 0.0).then(|| images as f64 / last.samples_per_second)
    }

    /// The most memory that was held.
    pub fn peak_memory(&self) -> Option<f64> {
        let curve = self.metrics.curves.get("memory_bytes")?;
        let most = if curve.high.is_empty() {
            &curve.values
        } else {
            &curve.high
        };
        most.iter().copied().reduce(f64::max)
    }
}

/// E0670
fn no_run(path: &Path) -> Diagnostic {
    let shown = path.display();
    if path.exists() {
        Diagnostic::new(
            codes::E0670,
            format!("'{shown}' is not a run directory: it has no metrics.jsonl"),
        )
        .help("give the folder that `sslc run` made")
    } else {
        Diagnostic::new(codes::E0670, format!("there is no run directory '{shown}'"))
            .help("`sslc run SPEC` makes one, runs/NAME-DATE unless `--out` says another")
    }
}

/// A text, whatever its bytes; `None` where there is no file.
fn lines(path: &Path) -> Result<Option<String>, Diagnostic> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_read(path, &error)),
    }
}

/// All files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// The pictures of a sheet as [`crate::pictures::sheet`] laid them out.
fn cut(sheet: &RgbImage, rows: &[String], columns: usize) -> Vec<SheetRow> {
    let (n, m) = (rows.len() as u32, columns as u32);
    if n == 0 || m == 0 || sheet.width() <= GAP || sheet.height() <= GAP {
        return Vec::new();
    }
    let cell = ((sheet.width() - GAP) / m, (sheet.height() - GAP) / n);
    if cell.0 <= GAP || cell.1 <= GAP {
        return Vec::new();
    }
    let size = (cell.0 - GAP, cell.1 - GAP);
    let each = rows.iter().enumerate();
    each.map(|(r, name)| {
        let pictures = (0..m).filter_map(|c| {
            let (x, y) = (GAP + c * cell.0, GAP + r as u32 * cell.1);
            let picture = crop_imm(sheet, x, y, size.0, size.1).to_image();
            png(&picture, Path::new(SHEET_FILE)).ok()
        });
        SheetRow {
            name: name.clone(),
            pictures: pictures.collect(),
            size,
        }
    })
    .collect()
}

/// Gives runs of one name as much of their paths as tells them apart, and a number where nothing does.
pub fn tell_apart(runs: &mut [Run]) {
    let mut depth = 1;
    while depth < 6 && clash(runs) {
        depth += 1;
        for run in runs.iter_mut() {
            let parts: Vec<_> = run.path.components().collect();
            let last = &parts[parts.len().saturating_sub(depth)..];
            run.label = last.iter().collect::<PathBuf>().display().to_string();
        }
    }
    if clash(runs) {
        for (i, run) in runs.iter_mut().enumerate() {
            run.label = format!("{} ({})", run.label, i + 1);
        }
    }
}

fn clash(runs: &[Run]) -> bool {
    let others = |i: usize| runs[..i].iter();
    (0..runs.len()).any(|i| others(i).any(|r| r.label == runs[i].label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::sheet;
    use image::Rgb;

    #[test]
    fn a_sheet_comes_apart_as_it_was_put_together() {
        let picture = |v| RgbImage::from_pixel(5, 3, Rgb([v; 3]));
        let rows = [vec![picture(1), picture(2)], vec![picture(3), picture(4)]];
        let cut = cut(&sheet(&rows), &["image".to_owned(), "x1".to_owned()], 2);
        let value = |r: usize, c: usize| {
            let png: &[u8] = &cut[r].pictures[c];
            let picture = image::load_from_memory(png).unwrap().to_rgb8();
            assert!(picture.pixels().all(|p| p == picture.get_pixel(0, 0)));
            picture.get_pixel(0, 0)[0]
        };
        assert_eq!(
            [value(0, 0), value(0, 1), value(1, 0), value(1, 1)],
            [1, 2, 3, 4]
        );
        assert_eq!(cut[1].name, "x1");
    }

    #[test]
    fn runs_of_one_name_are_told_apart_by_their_folders() {
        let named = |path: &str| Run {
            path: path.into(),
            label: Path::new(path)
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned(),
            ..Run::default()
        };
        let mut runs = [named("a/seed0"), named("b/seed0")];
        tell_apart(&mut runs);
        assert_eq!([&*runs[0].label, &*runs[1].label], ["a/seed0", "b/seed0"]);
        let mut same = [named("a/x"), named("a/x")];
        tell_apart(&mut same);
        assert_eq!([&*same[0].label, &*same[1].label], ["a/x (1)", "a/x (2)"]);
    }
}
