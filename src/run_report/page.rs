//! The page: HTML with what can be read as it is, and the data of what the scripts draw.

use super::charts::{self, Chart, Section};
use super::facts::{facts, texts};
use super::run::{Map, Run};
use super::summary::{comparison, tiles};
use crate::embedding_map::{SPRITE_COLUMNS, class_name};
use crate::numbers::count;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;

const STYLE: &str = include_str!("assets/page.css");
const SCRIPTS: [&str; 3] = [
    include_str!("assets/charts.js"),
    include_str!("assets/map.js"),
    include_str!("assets/page.js"),
];

/// Colours of runs: later runs start again.
pub const RUN_COLOURS: usize = 8;

/// What the scripts draw.
#[derive(Serialize)]
struct Data<'a> {
    charts: Vec<Chart>,
    maps: Vec<MapData<'a>>,
}

#[derive(Serialize)]
struct MapData<'a> {
    run: &'a str,
    pca: Vec<f32>,
    tsne: Vec<f32>,
    /// Index into `classes`; −1 where the class is not known.
    labels: Vec<i64>,
    classes: Vec<String>,
    images: &'a [i64],
    cell: (usize, usize),
    columns: usize,
    sprite: String,
}

/// The report of some runs.
pub fn html(runs: &[Run]) -> String {
    let charts = charts::all(runs);
    let title = match runs {
        [run] => format!("{} · {}", name(run), run.label),
        runs => format!("{} runs compared", runs.len()),
    };
    let mut body = header(runs);
    body.push_str("<main>\n");
    body.push_str(&notes(runs));
    body.push_str(&match runs {
        [run] => tiles(run),
        runs => comparison(runs),
    });
    for section in Section::ALL {
        body.push_str(&chart_section(section, &charts));
    }
    body.push_str(&views(runs));
    body.push_str(&map_section(runs));
    body.push_str(&network(runs));
    body.push_str(&facts(runs));
    body.push_str(&texts(runs));
    body.push_str("</main>\n");
    let data = Data {
        charts: charts.into_iter().map(|(_, chart)| chart).collect(),
        maps: maps(runs),
    };
    // No text of the data can end the element that it stands in.
    let data = serde_json::to_string(&data)
        .unwrap_or_default()
        .replace('<', "\\u003c");
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{STYLE}</style>
</head>
<body>
{body}<footer>Written by sslc {version}</footer>
<div id="tip" class="tip" hidden></div>
<div id="spoken" class="unseen" aria-live="polite"></div>
<script type="application/json" id="data">{data}</script>
<script>
"use strict";
{scripts}</script>
</body>
</html>
"#,
        title = escape(&title),
        version = env!("CARGO_PKG_VERSION"),
        scripts = SCRIPTS.concat(),
    )
}

/// The spec's name, or the folder's where that is not known.
fn name(run: &Run) -> &str {
    run.facts
        .as_ref()
        .map(|f| f.name.as_str())
        .filter(|n| !n.is_empty())
        .unwrap_or(&run.label)
}

fn header(runs: &[Run]) -> String {
    let (title, line) = match runs {
        [run] => (name(run).to_owned(), subtitle(run)),
        runs => (format!("{} runs compared", runs.len()), legend(runs)),
    };
    format!(
        "<header>\n<p class=\"kind\">Training report</p>\n<h1>{}</h1>\n{line}</header>\n",
        escape(&title)
    )
}

fn subtitle(run: &Run) -> String {
    let mut parts = vec![escape(run.path.display().to_string())];
    if let Some(facts) = &run.facts {
        // Without seconds and the time zone, which stand among the facts.
        parts.extend(facts.started.get(..16).map(escape));
        parts.push(escape(&facts.device));
    }
    let state = match run.finished() {
        Some(true) => "<span class=\"state done\">finished</span>".to_owned(),
        Some(false) => "<span class=\"state open\">not finished</span>".to_owned(),
        None => String::new(),
    };
    format!(
        "<p class=\"line\">{state}{}</p>\n",
        parts.join("<span class=\"dot\">·</span>")
    )
}

fn legend(runs: &[Run]) -> String {
    let items: String = runs
        .iter()
        .enumerate()
        .map(|(i, run)| format!("<li>{}{}</li>", swatch(i), escape(&run.label)))
        .collect();
    format!("<ul class=\"legend\">{items}</ul>\n")
}

pub fn swatch(run: usize) -> String {
    format!("<span class=\"swatch r{}\"></span>", run % RUN_COLOURS)
}

fn notes(runs: &[Run]) -> String {
    let mut items = String::new();
    for run in runs {
        for note in &run.notes {
            let run = if runs.len() > 1 {
                format!("{}: ", run.label)
            } else {
                String::new()
            };
            // Writing to a string cannot fail.
            let _ = write!(items, "<li>{}</li>", escape(format!("{run}{note}")));
        }
    }
    if items.is_empty() {
        return items;
    }
    format!("<aside class=\"notes\" aria-label=\"Notes\"><ul>{items}</ul></aside>\n")
}

fn chart_section(section: Section, charts: &[(Section, Chart)]) -> String {
    let mut figures = String::new();
    for (i, (_, chart)) in charts
        .iter()
        .enumerate()
        .filter(|(_, (s, _))| *s == section)
    {
        let _ = writeln!(
            figures,
            "<figure class=\"chart\" data-chart=\"{i}\"><figcaption><h3>{}</h3><p>{}</p></figcaption></figure>",
            escape(&chart.title),
            escape(&chart.note)
        );
    }
    if figures.is_empty() {
        return figures;
    }
    let id = section.id();
    let tools = match section {
        Section::Training => {
            "<label class=\"smooth\">Smoothing <input id=\"smoothing\" type=\"range\" min=\"0\" max=\"100\" value=\"50\"></label>"
        }
        Section::Evaluation | Section::Collapse | Section::Speed => "",
    };
    format!(
        "<section aria-labelledby=\"s-{id}\"><div class=\"head\"><h2 id=\"s-{id}\">{}</h2>{tools}</div>\n<div class=\"charts\">\n{figures}</div></section>\n",
        section.title()
    )
}

fn views(runs: &[Run]) -> String {
    let mut out = String::new();
    for run in runs.iter().filter(|r| !r.views.is_empty()) {
        if runs.len() > 1 {
            let _ = writeln!(out, "<h3>{}</h3>", escape(&run.label));
        }
        out.push_str("<div class=\"sheet\">\n");
        for row in &run.views {
            let name = escape(&row.name);
            let _ = write!(
                out,
                "<div class=\"sheet-name\">{name}</div><div class=\"sheet-row\">"
            );
            for (i, picture) in row.pictures.iter().enumerate() {
                let _ = write!(
                    out,
                    "<img src=\"{}\" width=\"{}\" height=\"{}\" alt=\"{name}, image {}\">",
                    png(picture),
                    row.size.0,
                    row.size.1,
                    i + 1
                );
            }
            out.push_str("</div>\n");
        }
        out.push_str("</div>\n");
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<section aria-labelledby=\"s-views\"><h2 id=\"s-views\">Views</h2>\n<p class=\"about\">Training images, and what the first epoch makes of them, before <code>normalize</code>.</p>\n{out}</section>\n"
    )
}

fn png(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

/// The runs that have a map.
fn mapped(runs: &[Run]) -> impl Iterator<Item = (&Run, &Map)> {
    let with_map = runs.iter().filter_map(|r| Some((r, r.embedding.as_ref()?)));
    with_map.filter(|(_, m)| m.stored.count() > 0)
}

fn map_section(runs: &[Run]) -> String {
    let Some((first_run, first)) = mapped(runs).next() else {
        return String::new();
    };
    let count = count(first.stored.count() as u64);
    let split = match &first_run.facts {
        Some(facts) if facts.test_images == 0 => "training",
        _ => "test",
    };
    let which: String = mapped(runs)
        .enumerate()
        .map(|(i, (run, _))| {
            let checked = if i == 0 { " checked" } else { "" };
            format!(
                "<label><input type=\"radio\" name=\"map-run\" value=\"{i}\"{checked}><span>{}</span></label>",
                escape(&run.label)
            )
        })
        .collect();
    let which = if mapped(runs).count() > 1 {
        format!(
            "<fieldset class=\"choice\"><legend class=\"unseen\">Run</legend>{which}</fieldset>"
        )
    } else {
        String::new()
    };
    format!(
        r#"<section aria-labelledby="s-map"><div class="head"><h2 id="s-map">Embedding</h2>{which}<fieldset class="choice"><legend class="unseen">Projection</legend><label><input type="radio" name="map-kind" value="tsne" checked><span>t-SNE</span></label><label><input type="radio" name="map-kind" value="pca"><span>PCA</span></label></fieldset></div>
<p class="about">What the encoder makes of {count} {split} images at the end of training, by the angles between features. Near in t-SNE means alike; distances across its map mean little.</p>
<div class="map"><canvas id="map" tabindex="0" role="img" aria-label="Map of the embedding. Arrow keys go from point to point."></canvas><div id="classes" class="classes" role="group" aria-label="Classes shown"></div></div></section>
"#
    )
}

fn maps(runs: &[Run]) -> Vec<MapData<'_>> {
    mapped(runs)
        .map(|(run, map)| {
            let stored = &map.stored;
            let given = run.facts.as_ref().map_or(&[][..], |f| &f.classes);
            let labels: BTreeSet<u32> = stored.labels.iter().flatten().copied().collect();
            let labels: Vec<u32> = labels.into_iter().collect();
            let flat = |map: &[[f32; 2]]| {
                map.iter()
                    .flatten()
                    .map(|v| (v * 1e3).round() / 1e3)
                    .collect()
            };
            let place = |label: &Option<u32>| {
                label.map_or(-1, |l| labels.binary_search(&l).map_or(-1, |i| i as i64))
            };
            MapData {
                run: &run.label,
                pca: flat(&stored.pca),
                tsne: flat(&stored.tsne),
                labels: stored.labels.iter().map(place).collect(),
                classes: labels.iter().map(|l| class_name(given, *l)).collect(),
                images: &stored.images,
                cell: stored.thumbnail,
                columns: SPRITE_COLUMNS.min(stored.count().max(1)),
                sprite: png(&map.sprite),
            }
        })
        .collect()
}

/// The drawing of each run's network; one for those that are the same.
fn network(runs: &[Run]) -> String {
    let mut drawn: Vec<(&str, Vec<&str>)> = Vec::new();
    for run in runs {
        let Some(svg) = &run.network else { continue };
        match drawn.iter_mut().find(|(d, _)| d == svg) {
            Some((_, labels)) => labels.push(&run.label),
            None => drawn.push((svg, vec![&run.label])),
        }
    }
    if drawn.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for (svg, labels) in &drawn {
        if drawn.len() > 1 {
            let _ = writeln!(out, "<h3>{}</h3>", escape(labels.join(", ")));
        }
        // As an image, so that nothing in it acts in the page.
        let _ = writeln!(
            out,
            "<div class=\"scroll network\" tabindex=\"0\" role=\"region\" aria-label=\"Network\"><img src=\"data:image/svg+xml;base64,{}\" alt=\"Views, networks and loss\"></div>",
            STANDARD.encode(svg)
        );
    }
    format!(
        "<section aria-labelledby=\"s-network\"><h2 id=\"s-network\">Network</h2>\n{out}</section>\n"
    )
}

/// Text for HTML, in elements and in quoted attributes.
pub fn escape(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
