//! The facts of runs as a table, their specs and kernels as folded texts.

use super::page::{escape, swatch};
use super::run::Run;
use super::summary::short;
use crate::numbers::{bytes, count, duration};
use std::fmt::Write;

/// Longer texts of kernels are cut off.
const MOST_KERNELS: usize = 2 << 20;

pub fn facts(runs: &[Run]) -> String {
    let lists: Vec<Vec<(String, String)>> = runs.iter().map(fact_list).collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in lists.iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut rows = String::new();
    for key in keys {
        let _ = write!(rows, "<tr><th scope=\"row\">{}</th>", escape(key));
        let values: Vec<&str> = lists
            .iter()
            .map(|list| list.iter().find(|(k, _)| k == key).map_or("–", |(_, v)| v))
            .collect();
        let differ = values.iter().any(|v| *v != values[0]);
        for value in values {
            let class = if differ { " class=\"differs\"" } else { "" };
            let _ = write!(rows, "<td{class}>{}</td>", escape(value));
        }
        rows.push_str("</tr>\n");
    }
    let head = if runs.len() > 1 {
        let titles: String = runs
            .iter()
            .enumerate()
            .map(|(i, r)| format!("<th scope=\"col\">{}{}</th>", swatch(i), escape(&r.label)))
            .collect();
        format!("<thead><tr><th></th>{titles}</tr></thead>")
    } else {
        String::new()
    };
    format!(
        "<section aria-labelledby=\"s-facts\"><h2 id=\"s-facts\">Facts</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"s-facts\"><table class=\"facts\">{head}<tbody>\n{rows}</tbody></table></div></section>\n"
    )
}

fn fact_list(run: &Run) -> Vec<(String, String)> {
    let mut list = vec![("Directory".to_owned(), run.path.display().to_string())];
    let mut add = |key: &str, value: String| list.push((key.to_owned(), value));
    if let Some(f) = &run.facts {
        add("Spec", f.name.clone());
        add("Started", f.started.clone());
        add("Device", f.device.clone());
        add("Threads", f.threads.to_string());
        add("sslc", f.version.clone());
        add("Seed", f.seed.to_string());
        add("Precision", f.precision.clone());
        let batch = count(f.batch as u64);
        let accumulated = format!("{} × {batch}", f.accumulate);
        add("Batch", if f.accumulate > 1 { accumulated } else { batch });
        add("Steps", count(f.steps));
        if let Some(n) = f.steps_per_epoch.filter(|n| *n > 0) {
            add("Epochs", short(f.steps as f64 / n as f64));
        }
        add("Training images", count(f.train_images as u64));
        if f.test_images > 0 {
            add("Test images", count(f.test_images as u64));
        }
        for n in &f.networks {
            add(
                &format!("{} {}", capital(&n.role), n.name),
                format!("{} parameters", count(n.parameters as u64)),
            );
        }
    }
    if let Some(last) = run.metrics.last {
        add("Steps done", count(last.steps));
    }
    if let Some(seconds) = run.seconds() {
        add("Training time", duration(seconds));
    }
    if let Some(memory) = run.peak_memory() {
        add("Memory held at most", bytes(memory));
    }
    list
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

/// Specs and kernels, folded.
pub fn texts(runs: &[Run]) -> String {
    let mut out = String::new();
    for run in runs {
        let of = if runs.len() > 1 {
            format!(" of {}", run.label)
        } else {
            String::new()
        };
        for (place, text) in &run.specs {
            out.push_str(&folded(&format!("{place}{of}"), &spec(text)));
        }
        if let Some(kernels) = &run.kernels {
            let mut end = kernels.len().min(MOST_KERNELS);
            while !kernels.is_char_boundary(end) {
                end -= 1;
            }
            let rest = if end < kernels.len() {
                "\n… cut off here; the run directory has all of graph.txt"
            } else {
                ""
            };
            let number = kernels.lines().filter(|l| l.starts_with("kernel ")).count();
            let title = format!("{} kernels{of}", count(number as u64));
            out.push_str(&folded(
                &title,
                &format!("{}{rest}", escape(&kernels[..end])),
            ));
        }
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<section aria-labelledby=\"s-spec\"><h2 id=\"s-spec\">Spec and kernels</h2>\n{out}</section>\n"
    )
}

fn folded(title: &str, text: &str) -> String {
    format!(
        "<details><summary>{}</summary><pre><code>{text}</code></pre></details>\n",
        escape(title)
    )
}

/// A spec with its comments marked.
fn spec(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let comment = line.char_indices().find(|(_, c)| {
            quoted ^= *c == '"';
            *c == '#' && !quoted
        });
        let (code, comment) = line.split_at(comment.map_or(line.len(), |(at, _)| at));
        out.push_str(&escape(code));
        if !comment.is_empty() {
            let _ = write!(out, "<span class=\"c\">{}</span>", escape(comment));
        }
        out.push('\n');
    }
    out
}
