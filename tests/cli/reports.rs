//! What a run leaves for people: TensorBoard's files, the report, the drawing of the networks.

use crate::drive::{Sslc, TINY};
use crate::{browser, python};
use prost::Message;
use sslc::tensorboard::messages::{Content, Event, SessionStatus, What};
use sslc::tensorboard::recorder::Recorder;
use sslc::tensorboard::records;
use sslc_runtime::train::{Event as Happening, Observer};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A spec with a watch and k-NN during training.
fn spec() -> String {
    let watched = TINY.replace("loss = ", "watch spread = mean(abs(f(x1)))\nloss = ");
    format!("{watched}\neval {{ knn(k: 20, every: steps(2)) }}\n")
}

/// A folder with a run of that spec in `out`.
fn trained() -> Sslc {
    let sslc = Sslc::with("tiny.ssl", spec());
    sslc.run(&["run", "tiny.ssl", "--out", "out"]).succeeds();
    sslc
}

/// The whole events of each file, in the order of their names, and whether each ends whole.
fn events(run: &Path) -> Vec<(Vec<Event>, bool)> {
    let entries = fs::read_dir(run.join("tensorboard")).unwrap();
    let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.to_string_lossy().contains("tfevents"));
    files.sort();
    let read = |file| {
        let bytes = fs::read(file).unwrap();
        let (records, whole) = records::read(&bytes);
        let events = records.iter().map(|r| Event::decode(*r).unwrap());
        (events.collect(), whole)
    };
    files.iter().map(read).collect()
}

fn scalars(events: &[Event]) -> BTreeMap<String, Vec<(i64, f32)>> {
    let mut scalars: BTreeMap<String, Vec<(i64, f32)>> = BTreeMap::new();
    for event in events {
        if let Some(What::Summary(summary)) = &event.what {
            for value in &summary.value {
                if let Some(Content::SimpleValue(v)) = value.content {
                    scalars
                        .entry(value.tag.clone())
                        .or_default()
                        .push((event.step, v));
                }
            }
        }
    }
    scalars
}

/// The values of a field of `metrics.jsonl`.
fn metrics(run: &Path, field: &str) -> Vec<(i64, f32)> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let records = text
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let with_field = records.filter_map(|r| Some((r["step"].as_i64()?, r[field].as_f64()? as f32)));
    with_field.collect()
}

#[test]
fn events_say_what_the_metrics_say() {
    let sslc = trained();
    let run = sslc.path().join("out");
    let files = events(&run);
    assert_eq!(files.len(), 1);
    let (events, whole) = &files[0];
    assert!(whole);
    assert_eq!(
        events[0].what,
        Some(What::FileVersion("brain.Event:2".to_owned()))
    );
    let scalars = scalars(events);
    for (tag, field) in [
        ("train/loss", "loss"),
        ("train/lr", "lr"),
        ("watch/spread", "spread"),
        ("speed/waiting", "waiting"),
        ("collapse/embedding_std", "embedding_std"),
        ("collapse/effective_rank", "effective_rank"),
        ("memory/resident_bytes", "memory_bytes"),
    ] {
        let expected = metrics(&run, field);
        assert!(!expected.is_empty(), "{field}");
        assert_eq!(scalars[tag], expected, "{tag}");
    }
    let knn: Vec<_> = ["knn/raw", "knn/untrained", "knn/encoder"]
        .iter()
        .flat_map(|tag| scalars[*tag].clone())
        .collect();
    assert_eq!(knn, metrics(&run, "knn"));
    let images = events.iter().filter_map(|e| match &e.what {
        Some(What::Summary(s)) => s.value.iter().find_map(|v| match &v.content {
            Some(Content::Image(image)) => Some(image.clone()),
            _ => None,
        }),
        _ => None,
    });
    let images: Vec<_> = images.collect();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].encoded, fs::read(run.join("views.png")).unwrap());
}

/// Sees nothing.
struct Nobody;

impl Observer for Nobody {
    fn event(&mut self, _: Happening) {}
}

#[test]
fn a_training_that_goes_on_begins_another_file_and_says_from_where() {
    let folder = tempfile::tempdir().unwrap();
    for step in [0, 7] {
        let mut nobody = Nobody;
        let mut recorder = Recorder::new(folder.path(), step, &mut nobody);
        recorder.finish();
    }
    let files = events(folder.path());
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].0.len(), 1);
    let start = &files[1].0[1];
    assert_eq!(start.step, 7);
    let Some(What::SessionLog(log)) = &start.what else {
        panic!("{start:?}");
    };
    assert_eq!(log.status, i32::from(SessionStatus::Start));
}

#[test]
fn events_that_cannot_be_written_are_told_and_training_goes_on() {
    let sslc = Sslc::with("tiny.ssl", TINY);
    sslc.write("out/tensorboard", "a file in the way");
    let run = sslc.run(&["run", "tiny.ssl", "--out", "out"]);
    assert!(run.stderr.contains("W0803"), "{}", run.stderr);
    assert!(sslc.path().join("out/encoder.safetensors").is_file());
}

#[test]
fn tensorboard_reads_the_run() {
    let sslc = trained();
    let run = sslc.path().join("out");
    let found = python::check(
        "check_tensorboard.py",
        &["tensorboard"],
        &[run.to_str().unwrap()],
    );
    let Some(found) = found else { return };
    let found: serde_json::Value = serde_json::from_str(found.lines().last().unwrap()).unwrap();
    assert_eq!(found["run"], "tensorboard");
    let loss: Vec<(i64, f32)> =
        serde_json::from_value(found["scalars"]["train/loss"].clone()).unwrap();
    assert_eq!(loss, metrics(&run, "loss"));
    let png = "89504e470d0a1a0a";
    assert_eq!(found["images"][0][3], png);
    assert_eq!(found["sprite"], png);
    assert_eq!(
        (&found["vectors"], &found["dim"]),
        (&1000.into(), &16.into())
    );
    assert_eq!(found["label_lines"], 1001);
    assert_eq!(found["labels"][0], "label\timage");
    assert_eq!(found["cell"], serde_json::json!([28, 28]));
}

#[test]
fn a_run_ends_with_a_report_that_stands_alone() {
    let sslc = trained();
    let page = fs::read_to_string(sslc.path().join("out/report.html")).unwrap();
    for words in [
        "k-NN accuracy",
        "over untrained",
        "Learning rate",
        "Effective rank",
        "Memory held",
        "spread",
        "id=\"map\"",
        "alt=\"x2, image 1\"",
        "Encoder f",
        "kernel 0",
        "negative_cosine",
    ] {
        assert!(page.contains(words), "'{words}' is not in the report");
    }
    let names = page.replace("http://www.w3.org/2000/svg", "");
    for elsewhere in [
        "http://",
        "https://",
        "src=\"//",
        "@import",
        "<link rel=\"stylesheet",
    ] {
        assert!(!names.contains(elsewhere), "{elsewhere}");
    }
    let again = sslc.run(&["report", "out"]);
    assert_eq!(
        again.succeeds(),
        format!("{}\n", Path::new("out/report.html").display())
    );
    let same = fs::read_to_string(sslc.path().join("out/report.html")).unwrap();
    assert!(page == same, "the same run has another report");
}

#[test]
fn several_runs_are_compared() {
    let sslc = trained();
    sslc.run(&[
        "run",
        "tiny.ssl",
        "--out",
        "other/out",
        "--set",
        "train.seed=1",
    ])
    .succeeds();
    sslc.run(&["report", "out", "other/out", "--out", "both.html"])
        .succeeds();
    let page = fs::read_to_string(sslc.path().join("both.html")).unwrap();
    for words in [
        "2 runs compared",
        "other/out",
        "class=\"best\"",
        "name=\"map-run\"",
    ] {
        assert!(page.contains(words), "'{words}' is not in the report");
    }
}

#[test]
fn a_run_that_was_cut_off_has_a_report() {
    let sslc = trained();
    let run = sslc.path().join("out");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let half = &metrics[..metrics.len() - 20];
    fs::write(run.join("metrics.jsonl"), half).unwrap();
    fs::write(run.join("embedding.safetensors"), "not a tensor").unwrap();
    fs::write(run.join("views.png"), "not a picture").unwrap();
    for name in ["facts.json", "graph.txt", "network.svg", "spec.ssl"] {
        fs::remove_file(run.join(name)).unwrap();
        sslc.run(&["report", "out"]).succeeds();
    }
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(
        page.contains("one line of metrics.jsonl is no record"),
        "{page}"
    );
    assert!(
        page.contains("&#39;out/embedding.safetensors&#39; is not"),
        "{page}"
    );
    fs::write(run.join("metrics.jsonl"), "").unwrap();
    sslc.run(&["report", "out"]).succeeds();
}

#[test]
fn what_is_no_run_is_told() {
    let sslc = Sslc::with("folder/notes.txt", "");
    sslc.run(&["report", "folder"])
        .fails(3, &["E0670", "'folder'"]);
    sslc.run(&["report", "nothing"])
        .fails(3, &["E0670", "'nothing'"]);
    sslc.run(&["report"]).fails(2, &["RUN"]);
    let sslc = Sslc::with("run/metrics.jsonl", "{\"step\":0,\"loss\":1.0}\n");
    sslc.run(&["report", "run", "--out", "none/r.html"])
        .fails(3, &["E0654", "none"]);
}

#[test]
fn a_report_holds_no_markup_of_the_runs_own() {
    let sslc = Sslc::with(
        "<b>run/metrics.jsonl",
        "{\"step\":0,\"loss\":1.0,\"</script><script>alert(1)</script>\":2}\n",
    );
    sslc.write("<b>run/spec.ssl", "# <script>alert(2)</script>\n");
    sslc.run(&["report", "<b>run", "--out", "r.html"])
        .succeeds();
    let page = fs::read_to_string(sslc.path().join("r.html")).unwrap();
    assert!(
        !page.contains("<b>") && !page.contains("<script>alert"),
        "{page}"
    );
}

#[test]
fn a_browser_draws_the_report_without_a_complaint() {
    let sslc = trained();
    let page = sslc.path().join("out/report.html");
    for (width, dark) in [(1400, false), (500, true)] {
        let Some(seen) = browser::open(&page, width, dark) else {
            return;
        };
        assert_eq!(seen.complaints, Vec::<String>::new());
        let charts = seen.document.matches("data-chart=").count();
        let drawn = format!("data-drawn=\"{charts}\"");
        assert!(
            charts > 6 && seen.document.contains(&drawn),
            "{charts} charts"
        );
        assert_eq!(seen.document.matches("<svg").count(), charts);
        assert!(seen.document.contains("class=\"curve r0\""));
        // Not in the whole document: pictures in it are base64, where any letters meet.
        let drawings = seen.document.split("<svg").skip(1);
        for drawing in drawings.filter_map(|rest| rest.split("</svg>").next()) {
            assert!(!drawing.contains("NaN"), "{drawing}");
        }
    }
}

#[test]
fn the_networks_are_drawn() {
    let sslc = Sslc::with("tiny.ssl", TINY);
    let svg = sslc.run(&["graph", "tiny.ssl", "--format", "svg"]);
    insta::assert_snapshot!(svg.succeeds());
    let core = sslc.run(&["graph", "tiny.ssl", "--format", "svg", "--emit", "core"]);
    assert_eq!(core.succeeds(), svg.stdout);
    sslc.run(&["graph", "tiny.ssl", "--format", "svg", "--emit", "kernels"])
        .fails(2, &["E0905", "kernels"]);
    sslc.run(&["graph", "tiny.ssl"])
        .fails(2, &["E0905", "--emit"]);
}
