//! `--device cuda` without a GPU: a simulated driver, and NVIDIA's compiler, which needs none.

use sslc_runtime::cuda::nvrtc;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// Whether there is a compiler for the simulated GPU. Where there is none the test says so, and has to pass.
///
/// # Panics
/// Where `SSLC_REQUIRE_NVRTC` is 1 and there is none.
pub fn can_simulate() -> bool {
    if let Err(why) = nvrtc::nvrtc() {
        let required = std::env::var("SSLC_REQUIRE_NVRTC").is_ok_and(|v| v == "1");
        assert!(!required, "{why}, and SSLC_REQUIRE_NVRTC is set");
        eprintln!("SKIPPED: {why}. To run it, {}", nvrtc::HOW);
        return false;
    }
    true
}

/// Lets a command find the simulated GPU, and keep compiled kernels among what tests leave; false where there is no compiler for it, as
/// [`can_simulate`] says.
pub fn simulate(command: &mut Command) -> bool {
    simulate_in(command, sslc_cuda_sim::library())
}

/// The same with stand-ins for cuBLASLt and cuDNN.
pub fn simulate_with_libraries(command: &mut Command) -> bool {
    simulate_in(command, sslc_cuda_sim::libraries())
}

fn simulate_in(command: &mut Command, folder: io::Result<PathBuf>) -> bool {
    if !can_simulate() {
        return false;
    }
    let folder = folder.expect("the simulated driver is built with the tests");
    let mut path = folder.into_os_string();
    if let Some(rest) = std::env::var_os("LD_LIBRARY_PATH") {
        path.push(":");
        path.push(rest);
    }
    command.env("LD_LIBRARY_PATH", path);
    command.env(
        "SSLC_CACHE",
        concat!(env!("CARGO_TARGET_TMPDIR"), "/kernels"),
    );
    true
}
