//! Figures at the end of training: those of one run at a glance, and those of several in a table.

use super::charts;
use super::page::{escape, swatch};
use super::run::Run;
use crate::numbers::{bytes, count, duration, number, percent};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Accuracies at the end, with what they are compared with.
struct Accuracy {
    title: String,
    encoder: Option<f64>,
    untrained: Option<f64>,
    raw: Option<f64>,
}

fn accuracies(run: &Run) -> Vec<Accuracy> {
    let each = run.metrics.evaluations.keys();
    each.map(|what| {
        let of = |subjects: &[&str]| run.metrics.evaluation(what, subjects);
        Accuracy {
            title: charts::evaluation_title(what),
            encoder: of(&["trained", "training"]),
            untrained: of(&["untrained"]),
            raw: of(&["raw"]),
        }
    })
    .collect()
}

pub fn tiles(run: &Run) -> String {
    let mut tiles = String::new();
    let mut tile = |title: &str, value: &str, line: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            tiles,
            "<div class=\"tile\"><dt>{}</dt><dd><strong>{}</strong><span>{}</span></dd></div>",
            escape(title),
            escape(value),
            escape(line)
        );
    };
    for a in accuracies(run) {
        let mut compared = Vec::new();
        if let (Some(encoder), Some(untrained)) = (a.encoder, a.untrained) {
            compared.push(format!(
                "{:+.2} over untrained",
                100.0 * (encoder - untrained)
            ));
        }
        compared.extend(a.raw.map(|v| format!("raw pixels {}", percent(v))));
        if let Some(value) = a.encoder.or(a.untrained) {
            tile(&a.title, &percent(value), &compared.join(", "));
        }
    }
    let metrics = &run.metrics;
    if let Some(loss) = metrics.final_value("loss") {
        let first = metrics.curves["loss"]
            .values
            .first()
            .copied()
            .unwrap_or(loss);
        tile("Loss", &number(loss), &format!("from {}", number(first)));
    }
    if let Some(rank) = metrics.final_value("effective_rank") {
        let std = metrics.final_value("embedding_std");
        let line = std
            .map(|s| format!("standard deviation {s:.2}"))
            .unwrap_or_default();
        tile("Effective rank", &number(rank), &line);
    }
    if let Some(last) = metrics.last {
        let memory = run
            .peak_memory()
            .map(|m| format!("{} held at most", bytes(m)));
        tile(
            "Images a second",
            &count(last.samples_per_second.max(0.0).round() as u64),
            &memory.unwrap_or_default(),
        );
        let steps = match &run.facts {
            Some(f) => format!("{} of {} steps", count(last.steps), count(f.steps)),
            None => format!("{} steps", count(last.steps)),
        };
        let epochs = if last.epoch > 0.0 {
            format!(", {} epochs", short(last.epoch))
        } else {
            String::new()
        };
        let time = run.seconds().map_or_else(|| "unknown".to_owned(), duration);
        tile("Training time", &time, &format!("{steps}{epochs}"));
    }
    format!("<section aria-label=\"Summary\"><dl class=\"tiles\">\n{tiles}</dl></section>\n")
}

/// `2`, `2.5`
pub fn short(v: f64) -> String {
    let text = format!("{v:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A title, the value of each run, how it is written, and whether more is better.
type Column = (String, Vec<Option<f64>>, fn(f64) -> String, bool);

/// A row for each run, the best of a column marked.
pub fn comparison(runs: &[Run]) -> String {
    let measured: BTreeSet<&String> = runs
        .iter()
        .flat_map(|r| r.metrics.evaluations.keys())
        .collect();
    let mut columns: Vec<Column> = Vec::new();
    for what in measured {
        let values = runs
            .iter()
            .map(|r| r.metrics.evaluation(what, &["trained", "training"]));
        columns.push((
            charts::evaluation_title(what),
            values.collect(),
            percent,
            true,
        ));
        let gains = runs.iter().map(|r| {
            let trained = r.metrics.evaluation(what, &["trained", "training"])?;
            Some(trained - r.metrics.evaluation(what, &["untrained"])?)
        });
        columns.push((
            "over untrained".to_owned(),
            gains.collect(),
            |v| format!("{:+.2}", 100.0 * v),
            true,
        ));
    }
    let curve = |name: &str| runs.iter().map(|r| r.metrics.final_value(name)).collect();
    columns.push(("Loss".to_owned(), curve("loss"), number, false));
    columns.push((
        "Std. deviation".to_owned(),
        curve("embedding_std"),
        |v| format!("{v:.2}"),
        false,
    ));
    columns.push((
        "Effective rank".to_owned(),
        curve("effective_rank"),
        number,
        false,
    ));
    columns.push((
        "Images a second".to_owned(),
        curve("samples_per_second"),
        |v| count(v.max(0.0) as u64),
        true,
    ));
    columns.push((
        "Memory".to_owned(),
        runs.iter().map(Run::peak_memory).collect(),
        bytes,
        false,
    ));
    columns.push((
        "Time".to_owned(),
        runs.iter().map(Run::seconds).collect(),
        duration,
        false,
    ));
    let steps = runs.iter().map(|r| r.metrics.last.map(|l| l.steps as f64));
    columns.push((
        "Steps".to_owned(),
        steps.collect(),
        |v| count(v as u64),
        false,
    ));
    columns.retain(|(_, values, _, _)| values.iter().any(Option::is_some));
    let mut head = String::from("<th scope=\"col\">Run</th>");
    for (title, ..) in &columns {
        let _ = write!(head, "<th scope=\"col\">{}</th>", escape(title));
    }
    let mut rows = String::new();
    for (i, run) in runs.iter().enumerate() {
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}{}</th>",
            swatch(i),
            escape(&run.label)
        );
        for (_, values, text, higher_is_better) in &columns {
            let best = values.iter().flatten().copied().reduce(f64::max);
            let mark =
                *higher_is_better && runs.len() > 1 && values[i].is_some() && values[i] == best;
            let class = if mark { " class=\"best\"" } else { "" };
            let value = values[i].map_or_else(|| "–".to_owned(), text);
            let _ = write!(rows, "<td{class}>{}</td>", escape(&value));
        }
        rows.push_str("</tr>\n");
    }
    format!(
        "<section aria-labelledby=\"s-compare\"><h2 id=\"s-compare\">At the end</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"s-compare\"><table class=\"grid\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div></section>\n"
    )
}
