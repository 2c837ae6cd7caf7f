//! A process that finds the simulated GPU, with its libraries.
//!
//! They are found by the loader, which looks where it was told when the process began: a test that needs them runs once more in a
//! process of its own.

use super::nvrtc;
use std::process::Command;

/// Set in that process: the mistake to plant, or nothing.
const MISTAKE: &str = "SSLC_TEST_MISTAKE";

/// Whether this process is one.
pub fn is_on_gpu() -> bool {
    std::env::var_os(MISTAKE).is_some()
}

/// The mistake that this process is to plant.
pub fn mistake() -> String {
    std::env::var(MISTAKE).unwrap_or_default()
}

/// Runs a test of this folder there; `None` where there is no compiler. `Err`: what a test that failed said.
pub fn on_gpu(test: &str, mistake: &str) -> Option<Result<(), String>> {
    nvrtc()?;
    let folder =
        sslc_cuda_sim::libraries().expect("the simulated libraries are built with the tests");
    let executable = std::env::current_exe().expect("a path");
    let output = Command::new(executable)
        .args([&format!("tests::{test}"), "--exact", "--nocapture"])
        .env("SSLC_CACHE", folder.join("kernels"))
        .env("LD_LIBRARY_PATH", folder)
        .env(MISTAKE, mistake)
        .output()
        .expect("it runs");
    if output.status.success() {
        return Some(Ok(()));
    }
    let text = [output.stdout, output.stderr].concat();
    Some(Err(String::from_utf8_lossy(&text).into_owned()))
}
