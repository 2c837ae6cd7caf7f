//! The command line (exit code 2 where it is wrong), and the commands that neither check nor train.

use crate::drive::{Run, Sslc, TINY};
use std::fs;
use std::process::Stdio;

#[test]
fn a_wrong_command_line() {
    let sslc = Sslc::new();
    sslc.run(&["trian", "a.ssl"]).fails(2, &["trian"]);
    sslc.run(&["explain", "E9999"]).fails(2, &["E0901"]);
    sslc.run(&["std", "resnets"]).fails(2, &["E0902", "resnet"]);
    sslc.run(&["bench", "a.ssl", "--steps", "0"])
        .fails(2, &["--steps"]);
}

#[test]
fn a_stage_is_the_same_text_twice() {
    let sslc = Sslc::with("a.ssl", TINY);
    for stage in ["ast", "core", "step", "luminal", "kernels"] {
        let text = |_| {
            sslc.run(&["graph", "a.ssl", "--emit", stage])
                .succeeds()
                .to_owned()
        };
        assert_eq!(text(1), text(2), "{stage}");
        let json = sslc.run(&["graph", "a.ssl", "--emit", stage, "--format", "json"]);
        serde_json::from_str::<serde_json::Value>(json.succeeds()).expect(stage);
        let dot = sslc.run(&["graph", "a.ssl", "--emit", stage, "--format", "dot"]);
        assert!(dot.succeeds().starts_with("digraph"), "{stage}");
    }
}

#[test]
fn views_draw_a_sheet() {
    let sslc = Sslc::with("a.ssl", TINY);
    let args = [
        "views",
        "a.ssl",
        "--out",
        "sheet.png",
        "--raw",
        "raw.safetensors",
        "--count",
        "3",
    ];
    sslc.run(&args).succeeds();
    let sheet = image::open(sslc.path().join("sheet.png")).unwrap();
    assert!(sheet.width() > sheet.height());
    let raw = sslc_runtime::tensors::read(&sslc.path().join("raw.safetensors")).unwrap();
    assert_eq!(raw["x1"].shape, [3, 1, 8, 8]);
}

#[test]
fn bench_prints_what_a_machine_can_read() {
    let sslc = Sslc::with("a.ssl", TINY);
    let run = sslc.run(&["bench", "a.ssl", "--steps", "2", "--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(run.succeeds()).unwrap();
    for key in [
        "step_seconds",
        "samples_per_second",
        "flops_per_step",
        "peak_flops",
        "share_of_peak",
        "share_of_floor",
        "peak_memory_bytes",
        "kernels",
    ] {
        assert!(!object[key].is_null(), "{key} is missing: {object}");
    }
}

#[test]
fn bench_tells_what_views_cost() {
    let sslc = Sslc::with("a.ssl", TINY);
    let bench = ["bench", "a.ssl", "--views", "--steps", "1"];
    let run = sslc.run(&[&bench[..], &["--format", "json"]].concat());
    let reports: serde_json::Value = serde_json::from_str(run.succeeds()).unwrap();
    assert!(reports[0]["views_per_second"].as_f64().unwrap() > 0.0);
    assert!(!reports[0]["operations"].as_array().unwrap().is_empty());
    sslc.run(&[&bench[..], &["--compare", "pytorch", "--python", "true"]].concat())
        .fails(4, &["E0751", "--python"]);
}

#[test]
fn a_comparison_without_pytorch_says_what_is_missing() {
    let sslc = Sslc::with("a.ssl", TINY);
    let bench = ["bench", "a.ssl", "--compare", "pytorch", "--python"];
    for python in ["/no/such/python", "true"] {
        sslc.run(&[&bench[..], &[python]].concat())
            .fails(4, &["E0751", "--python"]);
    }
}

#[test]
fn fmt_formats_in_place_and_checks() {
    let sslc = Sslc::with("a.ssl", "data   =  fashion_mini( )   # small\n");
    sslc.run(&["fmt", "--check", "a.ssl"]).succeeds_not();
    sslc.run(&["fmt", "a.ssl"]).succeeds();
    let text = fs::read_to_string(sslc.path().join("a.ssl")).unwrap();
    assert_eq!(text, "data = fashion_mini() # small\n");
    sslc.run(&["fmt", "--check", "a.ssl"]).succeeds();
}

impl Run {
    #[track_caller]
    fn succeeds_not(&self) {
        assert_eq!(self.status, Some(1), "{}", self.stdout);
    }
}

#[test]
fn std_explain_and_completions_print() {
    let sslc = Sslc::new();
    assert!(sslc.run(&["std"]).succeeds().contains("resnet"));
    assert!(sslc.run(&["std", "resnet"]).succeeds().contains("module"));
    assert!(sslc.run(&["std", "conv2d"]).succeeds().contains("conv2d("));
    assert!(
        sslc.run(&["explain", "e0801"])
            .succeeds()
            .contains("## Right")
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            sslc.run(&["completions", shell])
                .succeeds()
                .contains("sslc")
        );
    }
}

#[test]
fn the_output_may_be_cut_off() {
    let sslc = Sslc::with("a.ssl", TINY);
    let mut child = sslc
        .command(&["graph", "a.ssl", "--emit", "core"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
