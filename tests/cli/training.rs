//! Training: exit code 5 where it diverges; what was trained is kept.

use crate::drive::{Sslc, TINY};
use std::fs;
use std::process::Command;
use std::process::Stdio;

#[test]
fn a_run_leaves_its_directory() {
    let sslc = Sslc::with("a.ssl", format!("{TINY}\neval {{ knn(k: 20) }}\n"));
    let run = sslc.run(&["run", "a.ssl", "--out", "out"]);
    let stdout = run.succeeds();
    for words in [
        "raw pixels",
        "untrained encoder",
        "trained encoder",
        "step 3/3",
        "loss",
    ] {
        assert!(stdout.contains(words), "'{words}' is not in:\n{stdout}");
    }
    for name in [
        "spec.ssl",
        "graph.txt",
        "metrics.jsonl",
        "encoder.safetensors",
    ] {
        assert!(sslc.path().join("out").join(name).is_file(), "{name}");
    }
    let metrics = fs::read_to_string(sslc.path().join("out/metrics.jsonl")).unwrap();
    let losses = metrics.lines().filter(|l| l.contains("\"loss\"")).count();
    assert_eq!(losses, 3, "{metrics}");
    sslc.run(&["check", "out/spec.ssl"]).succeeds();
}

#[test]
fn the_spec_of_a_run_stands_alone() {
    let text = TINY.replace("random_resized_crop(8)", "v.crop()");
    let sslc = Sslc::with("a.ssl", format!("import \"parts/v.ssl\" as v\n{text}"));
    sslc.write(
        "parts/v.ssl",
        "import \"size.ssl\"\nfn crop() = random_resized_crop(size())\n",
    );
    sslc.write("parts/size.ssl", "fn size() = 8\n");
    sslc.run(&["run", "a.ssl", "--out", "out", "--set", "train.steps=1"])
        .succeeds();
    fs::remove_dir_all(sslc.path().join("parts")).unwrap();
    sslc.run(&["check", "out/spec.ssl"]).succeeds();
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_encoder() {
    let sslc = Sslc::with(
        "a.ssl",
        TINY.replace("loss = ", "watch w = log(mean(x1) * 0 - 1)\nloss = "),
    );
    let run = sslc.run(&["run", "a.ssl", "--out", "out"]);
    run.fails(5, &["E0801", "'w'", "step 0"]);
    assert!(sslc.path().join("out/encoder.safetensors").is_file());
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_cleanly_and_keeps_the_encoder() {
    let sslc = Sslc::with("a.ssl", TINY.replace("steps = 3", "steps = 1000000"));
    let mut child = sslc
        .command(&["run", "a.ssl", "--out", "out"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = sslc.path().join("out/metrics.jsonl");
    for _ in 0..600 {
        if fs::read_to_string(&metrics).is_ok_and(|t| t.lines().count() > 2) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(sslc.path().join("out/encoder.safetensors").is_file());
}

#[test]
fn the_losses_do_not_depend_on_the_number_of_threads() {
    let sslc = Sslc::with("a.ssl", TINY);
    let losses = |threads: &str| {
        let out = format!("out{threads}");
        sslc.run(&["run", "a.ssl", "--out", &out, "--threads", threads])
            .succeeds();
        let metrics = fs::read_to_string(sslc.path().join(&out).join("metrics.jsonl")).unwrap();
        metrics
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["loss"].to_string())
            .collect::<Vec<_>>()
    };
    let one = losses("1");
    assert_eq!(one.len(), 3);
    assert_eq!(one, losses("2"));
    assert_eq!(one, losses("4"));
}

#[test]
fn events_are_one_object_a_line() {
    let sslc = Sslc::with("a.ssl", format!("{TINY}\neval {{ knn(k: 20) }}\n"));
    let run = sslc.run(&["run", "a.ssl", "--out", "out", "--json"]);
    let objects: Vec<serde_json::Value> = run
        .succeeds()
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let events: Vec<&str> = objects
        .iter()
        .map(|o| o["event"].as_str().unwrap())
        .collect();
    let expected = ["begin", "knn", "knn", "step", "step", "step", "knn", "end"];
    assert_eq!(events, expected);
    assert_eq!(objects[3]["step"], 0);
    assert!(objects[3]["loss"].is_f64());
    assert_eq!(objects[7]["ending"], "finished");
    assert_eq!(objects[7]["encoder"], "out/encoder.safetensors");
}

#[test]
fn a_collapse_is_called_out_while_it_happens() {
    let sslc = Sslc::with("a.ssl", TINY.replace("stop_gradient(g(f(x2)))", "g(f(x2))"));
    let set = "train.steps=150";
    let run = sslc.run(&[
        "run",
        "a.ssl",
        "--out",
        "out",
        "--set",
        set,
        "--set",
        "train.batch=32",
    ]);
    run.succeeds();
    for words in ["W0805", "collapse at step", "W0150"] {
        assert!(
            run.stderr.contains(words),
            "{words} is not in\n{}",
            run.stderr
        );
    }
}
