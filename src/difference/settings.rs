//! Settings of a program as rows of names and values.

use super::{Line, Rows, texts_between};
use crate::run_facts::role_name;
use serde::Serialize;
use serde_json::Value;
use sslc_compiler::program::{
    Network, NetworkRole, ParamKind, Pipeline, Program, Schedule, ScheduleShape, Selector,
};
use std::collections::BTreeMap;

pub fn data(program: &Program) -> Rows {
    let mut rows = Rows::new();
    flatten("", &value(&program.data), &mut rows);
    // One kind of source stands as the first part of all its names; the kind itself is a row.
    for row in &mut rows {
        if let Some(rest) = row.0.strip_prefix("kind.") {
            row.0 = rest.to_owned();
        }
    }
    rows
}

pub fn views(a: &Program, b: &Program) -> Vec<Line> {
    let mut lines = Vec::new();
    let ops = |program: &Program, name: &str| {
        let view = program.views.iter().find(|v| v.name == name)?;
        Some(pipeline(&view.pipeline))
    };
    let mut names: Vec<&str> = a.views.iter().map(|v| &*v.name).collect();
    names.extend(b.views.iter().map(|v| &*v.name));
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        match (ops(a, name), ops(b, name)) {
            (Some(first), Some(second)) if first == second => {}
            (Some(first), Some(second)) => {
                lines.push(Line::Both(name.to_owned()));
                lines.extend(texts_between(&first, &second, 0));
            }
            (Some(_), None) => lines.push(Line::Minus(name.to_owned())),
            (None, _) => lines.push(Line::Plus(name.to_owned())),
        }
    }
    let order = |p: &Program| {
        let names: Vec<&str> = p.views.iter().map(|v| &*v.name).collect();
        names.join(", ")
    };
    if lines.is_empty() && order(a) != order(b) {
        // Draws are keyed by a view's place.
        lines.push(Line::Minus(format!("order  {}", order(a))));
        lines.push(Line::Plus(format!("order  {}", order(b))));
    }
    lines
}

pub fn train(program: &Program) -> Rows {
    let train = &program.train;
    let mut rows = Rows::new();
    flatten("", &value(train), &mut rows);
    // Of the optimizer, what the JSON form says by references.
    rows.retain(|(name, _)| !name.starts_with("optimizer."));
    let optimizer = &train.optimizer;
    flatten("optimizer", &value(&optimizer.rule), &mut rows);
    let excluded = selectors(program, &optimizer.exclude);
    rows.push(("optimizer.exclude".to_owned(), excluded));
    let momentum = optimizer.base.momentum.to_string();
    rows.push(("optimizer.momentum".to_owned(), momentum));
    let decay = optimizer.base.weight_decay.to_string();
    rows.push(("optimizer.weight_decay".to_owned(), decay));
    for (i, group) in optimizer.groups.iter().enumerate() {
        let of = format!("optimizer.group.{}", i + 1);
        rows.push((of.clone(), selectors(program, &group.select)));
        for (name, value) in [
            ("momentum", group.momentum),
            ("weight_decay", group.weight_decay),
        ] {
            rows.extend(value.map(|v| (format!("{of}.{name}"), v.to_string())));
        }
    }
    for (name, s) in &program.schedules {
        rows.push((format!("schedule {name}"), schedule(s)));
    }
    rows.extend(targets(program));
    rows
}

/// `target f_t   12 tensors of f, decay.f_t`
fn targets(program: &Program) -> Rows {
    let network = |path: &str| path.split('.').next().unwrap_or(path).to_owned();
    let mut counts = BTreeMap::new();
    for link in &program.targets {
        let pair = (network(&link.target), network(&link.source), &link.decay);
        *counts.entry(pair).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .map(|((target, source, decay), n)| {
            (
                format!("target {target}"),
                format!("{n} tensors of {source}, {decay}"),
            )
        })
        .collect()
}

pub fn eval(program: &Program) -> Rows {
    let mut rows = Rows::new();
    flatten("", &value(&program.eval), &mut rows);
    rows.retain(|(name, _)| !name.starts_with("images."));
    let images = pipeline(&program.eval.images);
    rows.push(("images".to_owned(), images.trim_end().replace('\n', " |> ")));
    let encoder = program.networks.get(program.encode.network);
    rows.extend(encoder.map(|n| ("encoder".to_owned(), n.name.clone())));
    rows
}

/// `encoder`, `target (encoder)`
pub fn role(network: &Network) -> String {
    match network.role {
        NetworkRole::Online(_) => role_name(network.role),
        NetworkRole::Target(role) => format!("target ({})", role_name(NetworkRole::Online(role))),
    }
}

fn selectors(program: &Program, list: &[Selector]) -> String {
    let name = |selector: &Selector| match selector {
        Selector::Kind(ParamKind::Weight) => "weight".to_owned(),
        Selector::Kind(ParamKind::Bias) => "bias".to_owned(),
        Selector::Kind(ParamKind::Norm) => "norm".to_owned(),
        Selector::Network(i) => program
            .networks
            .get(*i)
            .map_or_else(String::new, |n| n.name.clone()),
    };
    let names: Vec<String> = list.iter().map(name).collect();
    format!("[{}]", names.join(", "))
}

/// `cosine 0.5 → 0, warm-up of 39, 780 steps`
fn schedule(s: &Schedule) -> String {
    let shape = match &s.shape {
        ScheduleShape::Constant(v) => return format!("{v}"),
        ScheduleShape::Cosine { from, to } => format!("cosine {from} → {to}"),
        ScheduleShape::Linear { from, to } => format!("linear {from} → {to}"),
        ScheduleShape::Step { values, at } => format!("{values:?} at {at:?}"),
        ScheduleShape::Correction { beta } => return format!("1 − {beta}^(k+1)"),
    };
    let warmup = match s.warmup {
        0 => String::new(),
        n => format!(", warm-up of {n}"),
    };
    let each = match s.per_epoch {
        Some(n) => format!(", each {n} alike"),
        None => String::new(),
    };
    format!("{shape}{warmup}, {} steps{each}", s.total)
}

/// One operation a line: `color_jitter(brightness: 0.2..1.8, p: 0.8)`
fn pipeline(pipeline: &Pipeline) -> String {
    let mut out = String::new();
    for op in &pipeline.ops {
        let (name, mut arguments) = match value(&op.kind) {
            Value::Object(map) => {
                let (name, fields) = map.into_iter().next().unwrap_or_default();
                let mut rows = Rows::new();
                flatten("", &fields, &mut rows);
                rows.retain(|(_, v)| v != "none");
                (name, rows)
            }
            other => (plain(&other), Rows::new()),
        };
        if op.p != 1.0 {
            arguments.push(("p".to_owned(), op.p.to_string()));
        }
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|(n, v)| format!("{n}: {v}"))
            .collect();
        out.push_str(&format!("{name}({})\n", arguments.join(", ")));
    }
    out
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// The leaves of a JSON value, names joined by dots. A range is one leaf, as is a list of plain values.
fn flatten(prefix: &str, of: &Value, rows: &mut Rows) {
    let name = |key: &str| match prefix {
        "" => key.to_owned(),
        _ => format!("{prefix}.{key}"),
    };
    match of {
        Value::Object(map) => match (map.get("lo"), map.get("hi"), map.len()) {
            (Some(lo), Some(hi), 2) => {
                rows.push((prefix.to_owned(), format!("{}..{}", plain(lo), plain(hi))));
            }
            _ => map.iter().for_each(|(k, v)| flatten(&name(k), v, rows)),
        },
        other => rows.push((prefix.to_owned(), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
