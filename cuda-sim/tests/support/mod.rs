//! What tests of kernels share.
use sslc_cuda_sim::{Argument, Device, Module};

/// A module of `tests/kernels`.
pub fn load(device: &mut Device, name: &str) -> Module {
    let path = format!("{}/tests/kernels/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    device
        .load(&std::fs::read_to_string(path).unwrap())
        .unwrap()
}

/// Launches blocks of threads, both in a line, without dynamic shared memory.
pub fn launch(
    device: &mut Device,
    module: &Module,
    kernel: &str,
    (blocks, threads): (u32, u32),
    arguments: &[Argument],
) -> Result<(), String> {
    let (grid, block) = ([blocks, 1, 1], [threads, 1, 1]);
    device.launch(module, kernel, grid, block, 0, arguments)
}
