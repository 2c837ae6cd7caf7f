//! Which curves stand in which chart.

use super::metrics::Curve;
use super::page::RUN_COLOURS;
use super::run::Run;
use serde::Serialize;
use std::collections::BTreeSet;

/// Where a chart stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Training,
    Evaluation,
    Collapse,
    Speed,
}

impl Section {
    pub const ALL: [Section; 4] = [
        Section::Training,
        Section::Evaluation,
        Section::Collapse,
        Section::Speed,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Section::Training => "Training",
            Section::Evaluation => "Evaluation",
            Section::Collapse => "Collapse",
            Section::Speed => "Speed and memory",
        }
    }

    pub fn id(self) -> &'static str {
        match self {
            Section::Training => "training",
            Section::Evaluation => "evaluation",
            Section::Collapse => "collapse",
            Section::Speed => "speed",
        }
    }
}

/// A chart, as the scripts draw it.
#[derive(Debug, Serialize)]
pub struct Chart {
    pub title: String,
    pub note: String,
    /// How values are written.
    pub format: Format,
    /// Whether the raw curve stays faint behind a smoothed one.
    pub noisy: bool,
    /// Whether a logarithmic scale may be chosen.
    pub log: bool,
    /// Values that the axis shows in any case.
    pub include: Vec<f64>,
    pub lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Number,
    Percent,
    Bytes,
}

#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    /// Which of the colours of runs.
    pub colour: usize,
    /// A value that is the same at every step, to compare with.
    pub level: Option<f64>,
    /// Few points: each has a mark.
    pub marks: bool,
    #[serde(flatten)]
    pub curve: Curve,
}

/// Curves with a place of their own, in order: field, section, title, note, format, whether it is noisy, values to show.
type Known = (
    &'static str,
    Section,
    &'static str,
    &'static str,
    Format,
    bool,
    &'static [f64],
);
const KNOWN: [Known; 7] = [
    (
        "loss",
        Section::Training,
        "Loss",
        "",
        Format::Number,
        true,
        &[],
    ),
    (
        "lr",
        Section::Training,
        "Learning rate",
        "",
        Format::Number,
        false,
        &[0.0],
    ),
    (
        "embedding_std",
        Section::Collapse,
        "Standard deviation of the embedding",
        "1: spread evenly over the sphere. 0: all images alike.",
        Format::Number,
        false,
        &[0.0, 1.0],
    ),
    (
        "effective_rank",
        Section::Collapse,
        "Effective rank of the embedding",
        "How many dimensions it makes use of.",
        Format::Number,
        false,
        &[0.0],
    ),
    (
        "samples_per_second",
        Section::Speed,
        "Images a second",
        "Mean from the beginning, each image with all its views.",
        Format::Number,
        false,
        &[0.0],
    ),
    (
        "waiting",
        Section::Speed,
        "Waiting for views",
        "Share of each step's time.",
        Format::Percent,
        true,
        &[0.0],
    ),
    (
        "memory_bytes",
        Section::Speed,
        "Memory held",
        "By the whole process.",
        Format::Bytes,
        false,
        &[0.0],
    ),
];

/// All charts of some runs, with their sections.
pub fn all(runs: &[Run]) -> Vec<(Section, Chart)> {
    let mut charts = Vec::new();
    for (field, section, title, note, format, noisy, include) in KNOWN {
        let lines = curve_lines(runs, field);
        if !lines.is_empty() {
            charts.push((
                section,
                Chart {
                    title: title.to_owned(),
                    note: note.to_owned(),
                    format,
                    noisy,
                    log: section == Section::Training,
                    include: include.to_vec(),
                    lines,
                },
            ));
        }
    }
    let fields: BTreeSet<&String> = runs.iter().flat_map(|r| r.metrics.curves.keys()).collect();
    for field in fields {
        if KNOWN.iter().any(|k| k.0 == field) {
            continue;
        }
        charts.push((
            Section::Training,
            Chart {
                title: field.clone(),
                note: "Watched by the spec.".to_owned(),
                format: Format::Number,
                noisy: true,
                log: true,
                include: Vec::new(),
                lines: curve_lines(runs, field),
            },
        ));
    }
    let measured: BTreeSet<&String> = runs
        .iter()
        .flat_map(|r| r.metrics.evaluations.keys())
        .collect();
    for what in measured {
        charts.push((
            Section::Evaluation,
            Chart {
                title: evaluation_title(what),
                note: String::new(),
                format: Format::Percent,
                noisy: false,
                log: false,
                include: Vec::new(),
                lines: evaluation_lines(runs, what),
            },
        ));
    }
    charts
}

/// What a field of an evaluation is called.
pub fn evaluation_title(what: &str) -> String {
    match what {
        "knn" => "k-NN accuracy".to_owned(),
        "probe" | "linear" | "linear_probe" => "Linear probe accuracy".to_owned(),
        other => other.to_owned(),
    }
}

fn curve_lines(runs: &[Run], field: &str) -> Vec<Line> {
    let with_curve = runs.iter().enumerate().filter_map(|(i, run)| {
        let curve = run.metrics.curves.get(field)?;
        Some(Line {
            name: run.label.clone(),
            colour: i % RUN_COLOURS,
            level: None,
            marks: false,
            curve: curve.clone(),
        })
    });
    with_curve.collect()
}

/// The encoder from untrained to trained, a line a run; and the levels of raw pixels, each once.
fn evaluation_lines(runs: &[Run], what: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut levels: Vec<f64> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let Some(list) = run.metrics.evaluations.get(what) else {
            continue;
        };
        let mut curve = Curve::default();
        for e in list {
            if e.subject == "raw" {
                if !levels.contains(&e.value) {
                    levels.push(e.value);
                }
            } else {
                curve.steps.push(e.step as f64);
                curve.values.push(e.value);
            }
        }
        lines.push(Line {
            name: if runs.len() > 1 {
                run.label.clone()
            } else {
                "encoder".to_owned()
            },
            colour: i % RUN_COLOURS,
            level: None,
            marks: true,
            curve,
        });
    }
    for level in levels {
        lines.push(Line {
            name: "raw pixels".to_owned(),
            colour: 0,
            level: Some(level),
            marks: false,
            curve: Curve::default(),
        });
    }
    lines
}
