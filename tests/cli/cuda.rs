//! `--device cuda`, on a simulated GPU, and where there is none.

use crate::drive::{Run, Sslc, TINY};
use crate::gpu::{simulate, simulate_with_libraries};
use serde_json::Value;
use sslc_runtime::tensors::{self, Data, Tensors};
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// Runs it where `--device cuda` is a simulated GPU, with variables set; `None` where there is no compiler for it.
fn on_gpu(sslc: &Sslc, args: &[&str], set: &[(&str, &str)]) -> Option<Run> {
    let mut command = sslc.command(args);
    if !simulate(&mut command) {
        return None;
    }
    command.envs(set.iter().copied());
    Some(Run::of(command.output().unwrap()))
}

/// The same with cuBLASLt and cuDNN, which the simulated GPU runs faster than any kernel.
fn with_libraries(sslc: &Sslc, args: &[&str]) -> Option<Run> {
    let mut command = sslc.command(args);
    simulate_with_libraries(&mut command).then(|| Run::of(command.output().unwrap()))
}

fn weights(path: &Path) -> Tensors {
    tensors::read(path).unwrap()
}

fn floats(data: &Data) -> &[f32] {
    match data {
        Data::F32(values) => values,
        Data::I64(_) => &[],
    }
}

/// What goes on with a run by the spec as it is now.
fn resuming(run: &str) -> [&str; 7] {
    [
        "run",
        "a.ssl",
        "--resume",
        run,
        "--allow-spec-change",
        "--device",
        "cuda",
    ]
}

/// Two runs have the same encoder, bit for bit.
#[track_caller]
fn same_encoders(sslc: &Sslc, runs: [&str; 2]) {
    let [a, b] = runs.map(|run| weights(&sslc.path().join(run).join("encoder.safetensors")));
    assert!(a == b, "the encoders differ");
}

/// The losses of two runs, so many, are those of the same training on two devices.
#[track_caller]
fn close_losses(sslc: &Sslc, runs: [&str; 2], steps: usize) {
    let [a, b] = runs.map(|run| losses(&sslc.path().join(run)));
    assert_eq!([a.len(), b.len()], [steps; 2]);
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() < 2e-3, "{a:?} and {b:?}");
    }
}

fn losses(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    lines.filter_map(|l| l["loss"].as_f64()).collect()
}

/// The first step is launched kernel by kernel, the second recorded, the others replayed.
#[test]
fn a_training_on_a_gpu_goes_as_on_the_cpu() {
    let sslc = Sslc::with("a.ssl", TINY.replace("steps = 3", "steps = 4"));
    let Some(run) = on_gpu(
        &sslc,
        &["run", "a.ssl", "--device", "cuda", "--out", "gpu"],
        &[],
    ) else {
        return;
    };
    assert!(
        run.succeeds().contains("device: Simulated"),
        "{}",
        run.stdout
    );
    sslc.run(&["run", "a.ssl", "--device", "cpu", "--out", "cpu"])
        .succeeds();
    let [gpu, cpu] = ["gpu", "cpu"].map(|name| sslc.path().join(name));
    close_losses(&sslc, ["gpu", "cpu"], 4);
    let [gpu, cpu] = [gpu, cpu].map(|run| weights(&run.join("encoder.safetensors")));
    for (name, tensor) in &gpu {
        let (a, b) = (floats(&tensor.data), floats(&cpu[name].data));
        let apart = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        let whole = b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>();
        let off = (apart.sum::<f64>() / whole.max(1e-6)).sqrt();
        assert!(off < 0.02, "{name} is off by {off}");
    }
}

/// The update takes the sums of gradients from the step on the GPU.
#[test]
fn gradients_are_accumulated_on_a_gpu_as_on_the_cpu() {
    let sslc = Sslc::with(
        "a.ssl",
        TINY.replace("batch = 8", "batch = 8, accumulate = 2"),
    );
    let run = ["run", "a.ssl", "--device", "cuda", "--out", "gpu"];
    let Some(run) = on_gpu(&sslc, &run, &[]) else {
        return;
    };
    run.succeeds();
    let run = ["run", "a.ssl", "--device", "cpu", "--out", "cpu"];
    sslc.run(&run).succeeds();
    close_losses(&sslc, ["gpu", "cpu"], 3);
}

/// Kernels that are launched, recorded and replayed make the same bits.
#[test]
fn a_training_on_a_gpu_goes_on_bit_for_bit() {
    let text = |steps: u32| TINY.replace("steps = 3", &format!("steps = {steps}"));
    let sslc = Sslc::with("a.ssl", text(5));
    let args = |out| ["run", "a.ssl", "--device", "cuda", "--out", out];
    let Some(run) = on_gpu(&sslc, &args("whole"), &[]) else {
        return;
    };
    run.succeeds();
    sslc.write("b.ssl", text(2));
    let parts = ["run", "b.ssl", "--device", "cuda", "--out", "parts"];
    on_gpu(&sslc, &parts, &[]).unwrap().succeeds();
    on_gpu(&sslc, &resuming("parts"), &[]).unwrap().succeeds();
    same_encoders(&sslc, ["whole", "parts"]);
}

#[test]
fn what_a_gpu_lacks_is_told() {
    let sslc = Sslc::with("a.ssl", TINY);
    let cases: [(&str, &str, &str, &[&str]); 4] = [
        (
            "cuda:3",
            "",
            "",
            &["E0752", "no GPU number 3", "--device cuda"],
        ),
        (
            "cuda",
            "SSLC_SIM_ARCH",
            "75",
            &["E0752", "compute capability 7.5"],
        ),
        (
            "cuda",
            "SSLC_NVRTC",
            "/nowhere",
            &["E0753", "'/nowhere'", "nvidia-cuda-nvrtc-cu12"],
        ),
        (
            "cuda",
            "SSLC_SIM_MEMORY",
            "200000",
            &["E0701", "free of 195.3 KiB", "smaller"],
        ),
    ];
    for (device, name, value, words) in cases {
        let begun = sslc.path().join("runs").exists();
        assert!(!begun, "a run was begun without a device");
        let set = [(name, value)];
        let set = if name.is_empty() { &[] } else { &set[..] };
        let Some(run) = on_gpu(&sslc, &["run", "a.ssl", "--device", device], set) else {
            return;
        };
        run.fails(4, words);
    }
}

#[test]
fn without_a_driver_the_cpu_is_taken_and_said() {
    if Path::new("/dev/nvidiactl").exists() {
        eprintln!("SKIPPED: there is a driver");
        return;
    }
    let sslc = Sslc::with("a.ssl", TINY);
    let run = sslc.run(&["run", "a.ssl", "--device", "cuda"]);
    run.fails(4, &["E0752", "no NVIDIA driver", "--device cpu"]);
    let run = sslc.run(&["run", "a.ssl"]);
    let text = run.succeeds();
    assert!(text.contains("there is no NVIDIA driver"), "{text}");
}

/// Two processes fill one cache at once; what is damaged in it is made again.
#[test]
fn kernels_are_compiled_once_on_a_machine() {
    let sslc = Sslc::with("a.ssl", TINY.replace("steps = 3", "steps = 1"));
    let cache = sslc.path().join("cache");
    let set = [("SSLC_CACHE", cache.to_str().unwrap())];
    let mut both = Vec::new();
    for out in ["1", "2"] {
        let mut command = sslc.command(&["run", "a.ssl", "--device", "cuda", "--out", out]);
        if !simulate(&mut command) {
            return;
        }
        command.envs(set).stdout(Stdio::null());
        both.push(command.spawn().unwrap());
    }
    for mut child in both {
        assert!(child.wait().unwrap().success());
    }
    let files = || {
        let mut files: Vec<_> = fs::read_dir(&cache)
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        files.sort();
        files
    };
    let all = files();
    assert!(all.len() > 20 && all.iter().all(|f| f.extension().is_none()));
    let whole = fs::read(&all[0]).unwrap();
    fs::write(&all[0], &whole[..whole.len() / 2]).unwrap();
    let args = ["run", "a.ssl", "--device", "cuda", "--out", "3"];
    on_gpu(&sslc, &args, &set).unwrap().succeeds();
    assert_eq!(files(), all);
    assert!(fs::read(&all[0]).unwrap() == whole);
}

/// What the run's file says of who runs a kernel: for each that a library could run.
fn chosen(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("kernels.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let programs = file["programs"].as_object().unwrap();
    let kernels = programs
        .values()
        .flat_map(|p| p["kernels"].as_array().unwrap());
    kernels
        .map(|k| k["by"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn libraries_run_kernels_and_a_run_goes_on_with_them() {
    let text = |steps: u32| TINY.replace("steps = 3", &format!("steps = {steps}"));
    let sslc = Sslc::with("a.ssl", text(5));
    sslc.write("b.ssl", text(2));
    let parts = ["run", "b.ssl", "--device", "cuda", "--out", "parts"];
    let Some(run) = with_libraries(&sslc, &parts) else {
        return;
    };
    let told = run.succeeds();
    let line = told.lines().find(|l| l.starts_with("kernels: "));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    assert!(
        line.contains("contractions run by cuBLASLt 12.9.0 and cuDNN 9.2.1"),
        "{line}"
    );
    let folder = |name: &str| sslc.path().join(name);
    let by = chosen(&folder("parts"));
    for library in ["cuBLASLt", "cuDNN"] {
        assert!(by.iter().any(|b| b == library), "{by:?}");
    }
    let file = fs::read(folder("parts").join("kernels.json")).unwrap();
    // What was measured once on a machine is not measured again.
    let whole = ["run", "a.ssl", "--device", "cuda", "--out", "whole"];
    with_libraries(&sslc, &whole).unwrap().succeeds();
    with_libraries(&sslc, &resuming("parts"))
        .unwrap()
        .succeeds();
    for name in ["parts", "whole"] {
        assert!(
            fs::read(folder(name).join("kernels.json")).unwrap() == file,
            "{name}"
        );
    }
    same_encoders(&sslc, ["whole", "parts"]);
}

#[test]
fn libraries_that_a_run_lacks_are_told() {
    let sslc = Sslc::with("a.ssl", TINY);
    let stopped = TINY.replace("steps = 3", "steps = 1");
    sslc.write("b.ssl", stopped);
    let Some(run) = with_libraries(&sslc, &["run", "b.ssl", "--device", "cuda", "--out", "r"])
    else {
        return;
    };
    run.succeeds();
    let more = |rest: &[&'static str]| [&resuming("r"), rest].concat();
    let missing = on_gpu(&sslc, &more(&[]), &[]).unwrap();
    missing.fails(
        4,
        &[
            "E0756",
            "which cannot be had",
            "cuDNN 9.2.1",
            "--autotune off",
        ],
    );
    let file = sslc.path().join("r/kernels.json");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let damaged = with_libraries(&sslc, &more(&[])).unwrap();
    damaged.fails(3, &["E0670", "kernels.json"]);
    fs::write(&file, &whole).unwrap();
    on_gpu(&sslc, &more(&["--autotune", "off"]), &[])
        .unwrap()
        .succeeds();
}

#[test]
fn autotune_off_is_as_if_there_were_no_libraries() {
    let sslc = Sslc::with("a.ssl", TINY);
    let args = |out| {
        [
            "run",
            "a.ssl",
            "--device",
            "cuda",
            "--out",
            out,
            "--autotune",
            "off",
        ]
    };
    let Some(run) = with_libraries(&sslc, &args("off")) else {
        return;
    };
    let told = run.succeeds();
    assert!(!told.contains("kernels:"), "{told}");
    let none = ["run", "a.ssl", "--device", "cuda", "--out", "none"];
    on_gpu(&sslc, &none, &[]).unwrap().succeeds();
    let chosen = ["off", "none"].map(|run| chosen(&sslc.path().join(run)));
    assert!(chosen.iter().all(Vec::is_empty), "{chosen:?}");
    same_encoders(&sslc, ["off", "none"]);
}
