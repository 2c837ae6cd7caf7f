//! `sslc step` as a user runs it.

use crate::tensors::{self, Tensors};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands for `cuda` where cuBLASLt and cuDNN are installed.
pub const LIBRARIES: &str = "cuda with libraries";

pub fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn run(mut command: Command) {
    let out = command.output().expect("sslc starts");
    assert!(
        out.status.success(),
        "{command:?} ends with {}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
}

fn step(spec: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslc"));
    command.arg("step").arg(spec).arg("--output").arg(output);
    command
}

/// The output of one step of `spec` (below `tests/specs`) from `inputs`.
pub fn step_from(spec: &str, inputs: &Tensors, at_step: u64, device: &str) -> Tensors {
    step_set(spec, inputs, at_step, device, &[])
}

/// The same with settings replaced.
pub fn step_set(
    spec: &str,
    inputs: &Tensors,
    at_step: u64,
    device: &str,
    settings: &[(&str, &str)],
) -> Tensors {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("in"), folder.path().join("out"));
    tensors::write(&from, inputs);
    let mut command = step(&tests_folder().join("specs").join(spec), &to);
    command.arg("--inputs").arg(&from);
    command.args(["--at-step", &at_step.to_string(), "--device"]);
    match device {
        "cuda" => crate::cuda::simulate(command.arg("cuda")),
        LIBRARIES => crate::cuda::simulate_with_libraries(command.arg("cuda")),
        other => {
            command.arg(other);
            true
        }
    };
    for (name, value) in settings {
        command.args(["--set", &format!("{name}={value}")]);
    }
    run(command);
    tensors::read(&to).0
}

/// The initial parameters and buffers of a spec of this text.
pub fn initial(text: &str) -> Tensors {
    let folder = tempfile::tempdir().expect("a folder");
    let (spec, to) = (folder.path().join("spec.ssl"), folder.path().join("out"));
    std::fs::write(&spec, text).expect("a written spec");
    let mut command = step(&spec, &to);
    command.arg("--init-only");
    run(command);
    tensors::read(&to).0
}
