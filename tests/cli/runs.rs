//! Run directories, opened again.

use crate::drive::{Sslc, TINY};
use sslc::runs::{Run, Which};
use sslc_grammar::codes;
use std::fs;

#[test]
fn a_run_opens_from_another_folder_with_what_it_was_given() {
    let text = TINY.replace("fashion_mini()", "image_folder(\"photos\", channels: 1)");
    let sslc = Sslc::with(
        "specs/a.ssl",
        format!(
            "import \"w.ssl\"\n{}",
            text.replace("width: 2", "width: w()")
        ),
    );
    sslc.write("specs/w.ssl", "fn w() = 2\n");
    for i in 0..20u8 {
        let image = image::GrayImage::from_fn(9, 9, |x, y| image::Luma([(x * y) as u8 ^ i]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        sslc.write(&format!("photos/{i}.png"), bytes.into_inner());
    }
    sslc.run(&[
        "run",
        "specs/a.ssl",
        "--out",
        "out",
        "--set",
        "train.steps=2",
    ])
    .succeeds();
    fs::remove_dir_all(sslc.path().join("specs")).unwrap();
    // The tests' own working directory is not the one that the run was started in.
    let run = Run::open(&sslc.path().join("out")).unwrap();
    let program = &run.compilation.program;
    assert_eq!(program.name, "a");
    assert_eq!(program.train.steps, 2);
    assert_eq!(program.train.steps_per_epoch, Some(20 / 8));
    assert_eq!(run.dataset().unwrap().train.len(), 20);
    let weights = run.weights(Which::Last, |_| {}).unwrap();
    assert_eq!(weights.step, Some(2));
    assert!(weights.values.contains_key("g.layers.0.weight"));
    assert_eq!(weights.values["f.conv1.weight"].len(), 3 * 3 * 2);
    assert!(weights.values.contains_key("f.bn1.running_var"));
    assert_eq!(run.metrics().unwrap().len(), 2);
    assert!(run.info.finished);
}

#[test]
fn what_is_no_run_directory_is_told_with_what_may_be_meant() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.run(&[
        "run",
        "a.ssl",
        "--out",
        "runs/first",
        "--set",
        "train.steps=1",
    ])
    .succeeds();
    let refused = |place: &str, near: &str| {
        let failure = Run::open(&sslc.path().join(place)).unwrap_err();
        let d = &failure.diagnostics[0];
        assert_eq!(d.code, codes::E0670, "{place}");
        let help = d.help.as_deref().unwrap_or_default();
        assert!(help.contains(near), "{place}: {help}");
    };
    refused("runs/frist", "runs/first");
    refused("runs", "runs/first");
    refused("runs/first/spec.ssl", "runs/first'");
    refused("a.ssl", "sslc run");
    let json = sslc.path().join("runs/first/run.json");
    let text = fs::read_to_string(&json).unwrap();
    fs::write(&json, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
    refused("runs/first", "version");
    fs::write(&json, &text[..text.len() / 2]).unwrap();
    refused("runs/first", "restore");
}

#[test]
fn weights_that_are_missing_or_foreign_are_told() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.run(&["run", "a.ssl", "--out", "out", "--set", "train.steps=1"])
        .succeeds();
    let spec = sslc.path().join("out/spec.ssl");
    let text = fs::read_to_string(&spec).unwrap();
    for (from, to, word) in [
        ("width: 2", "width: 3", "conv1.weight"),
        ("resnet18", "resnet50", "conv1"),
        (
            "resnet18(stem: \"cifar\", width: 2)",
            "sequential(flatten(), linear(3))",
            "f.1.weight",
        ),
    ] {
        fs::write(&spec, text.replace(from, to)).unwrap();
        let error = Run::open(&sslc.path().join("out"))
            .unwrap()
            .weights(Which::Last, |_| {})
            .unwrap_err();
        assert_eq!(error.code, codes::E0672);
        assert!(error.message.contains(word), "{}", error.message);
    }
    fs::write(&spec, text).unwrap();
    let run = Run::open(&sslc.path().join("out")).unwrap();
    fs::remove_dir_all(sslc.path().join("out/checkpoints")).unwrap();
    let encoder = run.weights(Which::Last, |_| {}).unwrap();
    assert_eq!(encoder.step, Some(1));
    assert!(encoder.values.keys().all(|path| path.starts_with("f.")));
    fs::remove_file(sslc.path().join("out/encoder.safetensors")).unwrap();
    assert_eq!(
        run.weights(Which::Last, |_| {}).unwrap_err().code,
        codes::E0671
    );
}

#[test]
fn a_run_is_not_overwritten() {
    let sslc = Sslc::with("a.ssl", TINY);
    let run = || sslc.run(&["run", "a.ssl", "--out", "out", "--set", "train.steps=1"]);
    run().succeeds();
    let before = fs::read(sslc.path().join("out/metrics.jsonl")).unwrap();
    run().fails(3, &["E0676", "out"]);
    assert_eq!(
        fs::read(sslc.path().join("out/metrics.jsonl")).unwrap(),
        before
    );
}
