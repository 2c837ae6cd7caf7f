//! Interrupted trainings: they go on as if nothing had happened, and nothing costs the checkpoint before.

use crate::drive::{Sslc, TINY};
use serde_json::Value;
use sslc_runtime::train::checkpoint::Checkpoint;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Each method on images of 8×8, with all kinds of state: momentum, moments, targets, accumulators.
pub const METHODS: [(&str, &str); 4] = [
    ("simclr", include_str!("../methods/simclr.ssl")),
    ("byol", include_str!("../methods/byol.ssl")),
    ("barlow_twins", include_str!("../methods/barlow_twins.ssl")),
    ("simsiam", include_str!("../methods/simsiam.ssl")),
];

/// [`TINY`] with a checkpoint every two steps.
fn tiny(steps: u32) -> String {
    TINY.replace(
        "steps = 3,",
        &format!("steps = {steps}, checkpoint = every(steps(2), keep: 3),"),
    )
}

fn checkpoints(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn newest(run: &Path) -> PathBuf {
    let names = checkpoints(run);
    let last = names
        .iter()
        .rfind(|n| n.starts_with("step-") && n.ends_with(".safetensors"));
    run.join("checkpoints").join(last.unwrap())
}

/// What does not depend on the clock in the lines of the metrics.
fn metrics(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            let fields = value.as_object_mut().unwrap();
            fields.remove("samples_per_second");
            fields.remove("waiting");
            fields.remove("memory_bytes");
            value.to_string()
        })
        .collect()
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let bytes = |run: &Path| fs::read(run.join("encoder.safetensors")).unwrap();
    assert!(bytes(a) == bytes(b), "the encoders differ");
    let last = [a, b].map(|run| Checkpoint::read(&newest(run)).unwrap());
    assert!(last[0] == last[1], "the last checkpoints differ");
    assert_eq!(metrics(a), metrics(b));
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn wait_for(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "nothing happened"
        );
        sleep(Duration::from_millis(1));
    }
}

fn lines(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |t| t.lines().count())
}

#[test]
fn the_last_checkpoints_and_the_best_are_kept() {
    let text = tiny(9) + "\neval { knn(k: 20, every: steps(5)) }\n";
    let sslc = Sslc::with("a.ssl", text);
    sslc.run(&["run", "a.ssl", "--out", "out"]).succeeds();
    assert_eq!(
        checkpoints(&sslc.path().join("out")),
        [
            "best.safetensors",
            "step-00000006.safetensors",
            "step-00000008.safetensors",
            "step-00000009.safetensors"
        ]
    );
    let best = sslc.path().join("out/checkpoints/best.safetensors");
    let best = Checkpoint::read(&best).unwrap().notes.best.unwrap();
    let knn: Vec<(u64, f64)> = metrics(&sslc.path().join("out"))
        .iter()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .filter(|v| v["subject"] == "training" || v["subject"] == "trained")
        .map(|v| (v["step"].as_u64().unwrap(), v["knn"].as_f64().unwrap()))
        .collect();
    assert_eq!(knn.len(), 2);
    let most = if knn[1].1 > knn[0].1 { knn[1] } else { knn[0] };
    assert_eq!((best.step, best.accuracy), most);
}

#[cfg(unix)]
#[test]
fn a_stopped_run_goes_on_within_an_epoch_bit_for_bit() {
    let text = tiny(400)
        + "\neval { knn(k: 20, every: steps(150)), linear(epochs: 2, every: steps(100)) }\n";
    let sslc = Sslc::with("a.ssl", text);
    sslc.run(&["run", "a.ssl", "--out", "whole"]).succeeds();
    let out = sslc.path().join("out");
    let mut child = sslc
        .command(&["run", "a.ssl", "--out", "out"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(|| lines(&out) > 20);
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let steps = Checkpoint::read(&newest(&out)).unwrap().notes.step;
    let done = metrics(&out)
        .iter()
        .filter(|l| l.contains("\"loss\""))
        .count();
    assert_eq!(done as u64, steps, "it stopped within a step");
    let run = sslc.run(&["resume", "out", "--threads", "3"]);
    assert!(
        run.succeeds()
            .contains(&format!("going on after step {steps}"))
    );
    same(&sslc.path().join("whole"), &out);
    let again = sslc.run(&["resume", "out"]);
    assert!(again.succeeds().contains("finished"), "{}", again.stdout);
    let again = sslc.run(&["run", "a.ssl", "--resume", "out"]);
    assert!(again.succeeds().contains("finished"), "{}", again.stdout);
    let again = sslc.run(&["resume", "out", "--json"]);
    let told: serde_json::Value = serde_json::from_str(again.succeeds()).expect("one object");
    assert_eq!(told["event"], "end");
    assert_eq!(told["ending"], "finished");
}

/// A run of 6 steps, as if it had been killed after its last checkpoint.
fn killed() -> Sslc {
    killed_training(tiny(6))
}

fn killed_training(text: String) -> Sslc {
    let sslc = Sslc::with("a.ssl", text);
    sslc.run(&["run", "a.ssl", "--out", "out"]).succeeds();
    let json = sslc.path().join("out/run.json");
    let text = fs::read_to_string(&json).unwrap();
    fs::write(
        &json,
        text.replace("\"finished\": true", "\"finished\": false"),
    )
    .unwrap();
    sslc
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    for damage in ["truncated", "flipped", "foreign", "none"] {
        let sslc = killed();
        let out = sslc.path().join("out");
        let encoder = fs::read(out.join("encoder.safetensors")).unwrap();
        let last = newest(&out);
        let mut bytes = fs::read(&last).unwrap();
        match damage {
            "truncated" => bytes.truncate(bytes.len() / 2),
            "flipped" => {
                let at = bytes.len() - 3;
                bytes[at] ^= 16;
            }
            "foreign" => bytes = encoder.clone(),
            _ => {}
        }
        fs::write(&last, bytes).unwrap();
        let run = sslc.run(&["resume", "out"]);
        let step = if damage == "none" { 6 } else { 4 };
        let words = format!("going on after step {step}");
        assert!(run.succeeds().contains(&words), "{damage}: {}", run.stdout);
        assert_eq!(
            run.stderr.contains("W0604"),
            damage != "none",
            "{}",
            run.stderr
        );
        assert_eq!(fs::read(out.join("encoder.safetensors")).unwrap(), encoder);
    }
}

#[test]
fn without_a_whole_checkpoint_nothing_is_overwritten() {
    let sslc = killed();
    let out = sslc.path().join("out");
    for name in checkpoints(&out) {
        fs::write(out.join("checkpoints").join(name), "nonsense").unwrap();
    }
    let before = fs::read(out.join("metrics.jsonl")).unwrap();
    sslc.run(&["resume", "out"])
        .fails(3, &["E0673", "step-00000006"]);
    assert_eq!(fs::read(out.join("metrics.jsonl")).unwrap(), before);
    // Without the folder there is nothing to lose: it begins anew.
    fs::remove_dir_all(out.join("checkpoints")).unwrap();
    let run = sslc.run(&["resume", "out"]);
    assert!(run.succeeds().contains("from the beginning"));
    assert_eq!(lines(&out), 6);
}

#[test]
fn a_changed_spec_is_refused_with_the_difference() {
    let sslc = killed();
    let out = sslc.path().join("out");
    // Another way to write the same.
    let text = tiny(6).replace("lr: 0.05", "lr: 0.1 / 2") + "# a comment\n";
    sslc.write("same.ssl", text);
    sslc.run(&["run", "same.ssl", "--resume", "out"]).succeeds();
    sslc.write("longer.ssl", tiny(8).replace("lr: 0.05", "lr: 0.02"));
    let refused = sslc.run(&["run", "longer.ssl", "--resume", "out"]);
    refused.fails(
        1,
        &["E0675", "steps", "6", "8", "0.02", "--allow-spec-change"],
    );
    let run = sslc.run(&[
        "run",
        "longer.ssl",
        "--resume",
        "out",
        "--allow-spec-change",
    ]);
    assert!(
        run.succeeds().contains("going on after step 6"),
        "{}",
        run.stdout
    );
    assert_eq!(Checkpoint::read(&newest(&out)).unwrap().notes.step, 8);
    assert!(out.join("spec.until-00000006.ssl").is_file());
    // From now on it is this run's spec.
    let again = sslc.run(&["resume", "out"]);
    assert!(again.succeeds().contains("finished"));
}

#[test]
fn a_changed_network_takes_what_fits() {
    let sslc = killed();
    sslc.write("wide.ssl", tiny(8).replace("mlp(8, 4)", "mlp(16, 4)"));
    let args = ["run", "wide.ssl", "--resume", "out", "--allow-spec-change"];
    let run = sslc.run(&args);
    run.succeeds();
    assert!(
        run.stderr.contains("W0804") && run.stderr.contains("g.layers.1.running_mean"),
        "{}",
        run.stderr
    );
}

#[test]
fn an_edited_spec_of_a_run_is_told() {
    let sslc = killed();
    let spec = sslc.path().join("out/spec.ssl");
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, text.replace("lr: 0.05", "lr: 0.5")).unwrap();
    sslc.run(&["resume", "out"]).fails(
        1,
        &["E0675", "0.05, momentum", "0.5, momentum", "step-00000006"],
    );
}

#[test]
fn data_that_have_changed_are_told() {
    let sslc = killed();
    let json = sslc.path().join("out/run.json");
    let text = fs::read_to_string(&json).unwrap();
    fs::write(&json, text.replace("\"images\": 5000", "\"images\": 5001")).unwrap();
    sslc.run(&["resume", "out"])
        .fails(3, &["E0677", "5000", "5001"]);
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_costs_no_checkpoint() {
    let large = |steps| tiny(steps).replace("mlp(8, 4)", "mlp(20000, 4)");
    let sslc = killed_training(large(6));
    let out = sslc.path().join("out");
    let before = checkpoints(&out);
    sslc.write("longer.ssl", large(10));
    let command = format!(
        "trap '' XFSZ; ulimit -f 2000; exec {} run longer.ssl --resume out --allow-spec-change",
        env!("CARGO_BIN_EXE_sslc")
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .current_dir(sslc.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("E0654") && stderr.contains("checkpoints/step-"),
        "{stderr}"
    );
    assert_eq!(checkpoints(&out), before);
    for name in before {
        Checkpoint::read(&out.join("checkpoints").join(name)).unwrap();
    }
    sslc.run(&[
        "run",
        "longer.ssl",
        "--resume",
        "out",
        "--allow-spec-change",
    ])
    .succeeds();
}

#[cfg(unix)]
#[test]
fn a_run_directory_that_is_taken_away_is_told() {
    let sslc = Sslc::with("a.ssl", tiny(1_000_000));
    let out = sslc.path().join("out");
    let child = sslc
        .command(&["run", "a.ssl", "--out", "out"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(|| lines(&out) > 2);
    // Somebody else does not get in between.
    sslc.run(&["resume", "out"])
        .fails(3, &["E0674", &child.id().to_string()]);
    fs::rename(&out, sslc.path().join("moved")).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("E0654"), "{stderr}");
    Checkpoint::read(&newest(&sslc.path().join("moved"))).unwrap();
}

/// Draws that differ from call to call and are the same in every run of the tests.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// Kills a training `kills` times with SIGKILL, at any time and while checkpoints are written, and resumes it with another
/// number of threads each time; what comes out is what an undisturbed training makes. Returns how many of the kills left a
/// checkpoint half written.
fn kill_and_resume(name: &str, text: &str, kills: u32, steps: u32) -> u32 {
    let sslc = Sslc::with("a.ssl", text);
    let set = format!("train.steps={steps}");
    let out = sslc.path().join("out");
    let args = ["run", "a.ssl", "--out", "whole", "--set", &set];
    sslc.run(&args).succeeds();
    let mut draws = Draws(name.len() as u64 + 7);
    let writes = || -> bool {
        fs::read_dir(out.join("checkpoints"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|e| e.file_name().to_string_lossy().ends_with(".tmp"))
    };
    let mut half = 0;
    for kill in 0..kills {
        let threads = (1 + kill % 4).to_string();
        let mut child = if out.join("run.json").exists() {
            sslc.command(&["resume", "out", "--threads", &threads])
        } else {
            sslc.command(&[
                "run",
                "a.ssl",
                "--out",
                "out",
                "--set",
                &set,
                "--threads",
                &threads,
            ])
        }
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
        // A third while a checkpoint is written, a third some steps in, a third at any time from the start on.
        let before = lines(&out);
        let begin = Instant::now();
        let ended = |child: &mut Child| {
            assert!(
                begin.elapsed() < Duration::from_secs(120),
                "nothing happens"
            );
            child.try_wait().unwrap().is_some()
        };
        match kill % 3 {
            0 => {
                for _ in 0..=draws.below(3) {
                    while writes() && !ended(&mut child) {}
                    while !writes() && !ended(&mut child) {}
                }
            }
            1 => {
                let more = 1 + draws.below(20) as usize;
                while lines(&out).saturating_sub(before) < more && !ended(&mut child) {
                    sleep(Duration::from_millis(1));
                }
            }
            _ => {
                let time = Duration::from_millis(draws.below(400));
                while begin.elapsed() < time && lines(&out) < before + 60 {
                    sleep(Duration::from_millis(1));
                }
            }
        }
        assert!(
            !ended(&mut child),
            "{name}: it ended before kill {kill}; it needs more steps"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        half += u32::from(writes());
    }
    sslc.run(&["resume", "out", "--threads", "3"]).succeeds();
    same(&sslc.path().join("whole"), &out);
    assert!(!writes(), "what was half written is gone");
    half
}

#[test]
fn ten_kills_change_nothing() {
    let (name, text) = METHODS[1];
    kill_and_resume(name, text, 10, 1500);
}

/// `cargo test --release --test cli -- --ignored --nocapture fifty_kills`
#[test]
#[ignore = "minutes"]
fn fifty_kills_of_each_method_change_nothing() {
    for (name, text) in METHODS {
        let half = kill_and_resume(name, text, 50, 6000);
        println!(
            "{name}: killed 50 times, {half} of them while a checkpoint was written; the bits are those of an undisturbed run"
        );
    }
}
