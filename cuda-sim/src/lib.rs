//! A CUDA device for tests on machines without one: a PTX interpreter, and the driver's interface to it.
//!
//! - [`ptx`]: PTX as a tree
//! - [`code`]: decoded kernels, [`decode`]: the way there
//! - [`memory`], [`shadow`]: the device's memory and what is remembered of accesses
//! - [`exec`]: running kernels, with their checks
//! - [`device`]: modules and launches without the driver's interface, [`driver`]: and with it
//! - [`libraries`](mod@libraries): the calls of cuBLASLt and cuDNN that programs here make
//!
//! # What is checked
//!
//! Bounds and alignment of every access; reads of what nothing wrote; races between threads of a block, blocks of a launch and
//! streams; barriers that not all threads reach; shuffles that name lanes which do not come; asynchronous copies that are read
//! before a wait; kernels without an end. Text that is not understood in full does not load. What is found names the kernel,
//! the thread and the line of PTX.
//!
//! # What it cannot show
//!
//! Speed; the last bits of approximate instructions and of `mma`; a misreading of PTX that kernel and interpreter share. Blocks
//! that wait for each other through memory count as racing. Several owners of one word of 4 bytes are told apart only in part.
//!
//! # Use without the driver
//!
//! ```
//! use sslc_cuda_sim::{Argument, Device};
//! let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n
//!     .visible .entry one(.param .u64 one_param_0) {
//!     .reg .b32 %r<2>; .reg .b64 %rd<3>;
//!     ld.param.u64 %rd1, [one_param_0];
//!     cvta.to.global.u64 %rd2, %rd1;
//!     mov.u32 %r1, 7;
//!     st.global.u32 [%rd2+4], %r1;
//!     ret; }";
//! let mut device = Device::default();
//! let module = device.load(ptx).unwrap();
//! let small = device.empty(4).unwrap();
//! let found = device.launch(&module, "one", [1, 1, 1], [1, 1, 1], 0, &[Argument::Pointer(small)]);
//! assert!(found.unwrap_err().contains("out of bounds"));
//! ```
//!
//! # Use by a program
//!
//! [`library`] gives a folder that holds the simulated `libcuda.so`. A test runs the program with `LD_LIBRARY_PATH` set to that
//! folder (and to NVRTC's, which also looks for `libcuda.so.1`). [`libraries()`] gives one where the same file stands for cuBLASLt
//! and cuDNN too, which share the driver's streams and memory. The library takes PTX only, no binaries: NVRTC is to compile for
//! `compute_80`, not `sm_80`. Environment variables say what it pretends to be:
//!
//! | variable | meaning | without it |
//! |---|---|---|
//! | `SSLC_SIM_ARCH` | the compute capability, times ten | 80 |
//! | `SSLC_SIM_MEMORY` | bytes of memory | 4 GiB |
//! | `SSLC_SIM_BUDGET` | instructions of warps that a launch may take | 2·10¹⁰ |
//!
//! What the checks find is said on stderr, and every call fails from then on.
pub mod code;
pub mod decode;
pub mod device;
pub mod driver;
pub mod exec;
pub mod libraries;
pub mod memory;
pub mod ptx;
pub mod shadow;

pub use device::{Argument, Device, Module};

use std::io;
use std::path::{Path, PathBuf};

/// The file that cargo makes of this crate beside the tests that depend on it.
const BUILT: &str = if cfg!(target_os = "macos") {
    "libsslc_cuda_sim.dylib"
} else {
    "libsslc_cuda_sim.so"
};

/// A folder that holds the simulated driver under the names that programs look for. For tests: it is found from the place of the
/// running executable. It has a name of its own otherwise, so that no program takes it for a driver by accident.
pub fn library() -> io::Result<PathBuf> {
    folder("simulated-cuda", &["libcuda.so", "libcuda.so.1"])
}

/// As [`library`], with cuBLASLt and cuDNN in the same folder.
pub fn libraries() -> io::Result<PathBuf> {
    let names = [
        "libcuda.so",
        "libcuda.so.1",
        "libcublasLt.so",
        "libcublasLt.so.12",
        "libcudnn.so",
        "libcudnn.so.9",
    ];
    folder("simulated-cuda-libraries", &names)
}

/// A folder of links to the library that was built: a loader takes them all for one.
fn folder(name: &str, files: &[&str]) -> io::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let built = executable.ancestors().skip(1).take(3).find_map(|folder| {
        let beside = [folder.join("deps").join(BUILT), folder.join(BUILT)];
        beside.into_iter().find(|file| file.is_file())
    });
    let Some(built) = built else {
        let message = format!("there is no {BUILT} beside {}", executable.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    };
    let folder = built.with_file_name(name);
    std::fs::create_dir_all(&folder)?;
    for name in files {
        link(&built, &folder.join(name))?;
    }
    Ok(folder)
}

/// Makes a link to a file of the folder above, whoever else does it at the same time; both may be moved together.
fn link(to: &Path, at: &Path) -> io::Result<()> {
    #[cfg(unix)]
    let made = {
        let file = to.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(Path::new("..").join(file), at)
    };
    #[cfg(not(unix))]
    let made = std::fs::copy(to, at).map(|_| ());
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
