//! A GPU, opened; and what goes wrong with one, told.

use crate::nvrtc::{self, Nvrtc, nvrtc};
use crate::ready::Trouble;
use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::sys::cudaError_enum as Status;
use cudarc::driver::{CudaContext, DriverError, result, sys};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::sync::Arc;

/// The least compute capability: 8.0, which has asynchronous copies and products of bf16.
const LEAST: i32 = 80;

/// A GPU and the compiler for it.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) compiler: &'static Nvrtc,
    pub(crate) name: String,
    /// The architecture that kernels are compiled for, `80` for 8.0.
    pub(crate) architecture: i32,
    /// Bytes of dynamic shared memory that a block may ask for.
    pub(crate) shared_limit: u32,
}

impl Gpu {
    /// Opens the GPU of this number.
    ///
    /// # Errors
    /// E0752 where there is no driver, no such GPU or one that is too old; E0753 where the compiler is missing.
    pub fn open(ordinal: usize) -> Result<Gpu, Diagnostic> {
        // SAFETY: it loads and unloads the driver's library, which has no initialisers that ask anything of the caller.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                unavailable("there is no NVIDIA driver: libcuda.so cannot be loaded").help(
                    "install the driver, or use `--device cpu`; in a container, give it the GPU (`--gpus all`)",
                ),
            );
        }
        let driver = |error: DriverError| {
            unavailable(&format!(
                "the NVIDIA driver does not start: {}",
                text(error)
            ))
            .help("`nvidia-smi` tells more; or use `--device cpu`")
        };
        result::init().map_err(driver)?;
        let count = CudaContext::device_count().map_err(driver)?;
        let count = usize::try_from(count).unwrap_or(0);
        if ordinal >= count {
            return Err(match count {
                0 => unavailable("there is no GPU").help("use `--device cpu`"),
                1 => unavailable(&format!("there is no GPU number {ordinal}, but one GPU"))
                    .help("use `--device cuda`"),
                _ => unavailable(&format!(
                    "there is no GPU number {ordinal}, but {count} GPUs"
                ))
                .help(format!(
                    "use `--device cuda:0` to `--device cuda:{}`",
                    count - 1
                )),
            });
        }
        let context = CudaContext::new(ordinal).map_err(driver)?;
        // SAFETY: no `CudaSlice` is shared between streams; events order all that is.
        unsafe { context.disable_event_tracking() };
        let name = context.name().map_err(driver)?;
        let (major, minor) = context.compute_capability().map_err(driver)?;
        let capability = 10 * major + minor;
        if capability < LEAST {
            return Err(unavailable(&format!(
                "the GPU '{name}' has compute capability {major}.{minor}; 8.0 is the least"
            ))
            .help("GPUs from the Ampere generation on have it; use `--device cpu`"));
        }
        let compiler = nvrtc().map_err(|why| {
            Diagnostic::new(
                codes::E0753,
                format!("the compiler of CUDA kernels is missing: {why}"),
            )
            .help(nvrtc::HOW)
        })?;
        let architecture = compiler
            .architecture(capability)
            .filter(|a| *a >= LEAST)
            .ok_or_else(|| {
                let (major, minor) = compiler.version();
                unavailable(&format!(
                    "NVRTC {major}.{minor} compiles for no architecture that '{name}' runs"
                ))
                .help(nvrtc::HOW)
            })?;
        let shared_limit = context
            .attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
            .map_err(driver)?;
        Ok(Gpu {
            context,
            compiler,
            name,
            architecture,
            shared_limit: u32::try_from(shared_limit).unwrap_or(0),
        })
    }

    /// Its name, as the driver tells it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn unavailable(why: &str) -> Diagnostic {
    Diagnostic::new(codes::E0752, why)
}

/// What the driver says of an error: its name and a few words.
pub(crate) fn text(error: DriverError) -> String {
    let name = error.error_name().map(|t| t.to_string_lossy().into_owned());
    let words = error
        .error_string()
        .map(|t| t.to_string_lossy().into_owned());
    match (name, words) {
        (Ok(name), Ok(words)) => format!("{words} ({name})"),
        (Ok(name), Err(_)) => name,
        _ => format!("error {}", error.0 as i32),
    }
}

/// E0755: a call to a device that worked before; E0701 where it is about memory.
pub(crate) fn failed(what: &str, error: DriverError) -> Diagnostic {
    if error.0 == Status::CUDA_ERROR_OUT_OF_MEMORY {
        return Diagnostic::new(
            codes::E0701,
            format!("{what}: the GPU has no memory left"),
        )
        .help("make the batch smaller, or free what others hold of the GPU's memory (`nvidia-smi` lists them)");
    }
    Diagnostic::new(codes::E0755, format!("{what}: {}", text(error))).help(
        "`nvidia-smi` and the system's log tell more; `sslc resume` goes on from the last checkpoint",
    )
}

/// The same of all that a GPU is asked for.
pub(crate) fn troubled(what: &str, trouble: Trouble) -> Diagnostic {
    match trouble {
        Trouble::Driver(error) => failed(what, error),
        Trouble::Library(why) => Diagnostic::new(codes::E0755, format!("{what}: {why}")).help(
            "`sslc resume RUN --autotune off` goes on from the last checkpoint without NVIDIA's libraries",
        ),
    }
}
