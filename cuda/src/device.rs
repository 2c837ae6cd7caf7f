//! The device: from a kernel program to one that is loaded.

use crate::cache::Cache;
use crate::code::{Code, generate};
use crate::gpu::{Gpu, failed};
use crate::images::images;
use crate::loaded::CudaLoaded;
use crate::nvrtc::Form;
use cudarc::driver::sys::CUfunction_attribute_enum as Attribute;
use cudarc::driver::sys::cudaError_enum as Status;
use cudarc::driver::{CudaFunction, DriverError};
use cudarc::nvrtc::Ptx;
use sslc_compiler::kernels::device::{Device, Loaded};
use sslc_compiler::kernels::ir::{BufferKind, KernelProgram};
use sslc_compiler::kernels::summary::size;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::rc::Rc;

/// Bytes of dynamic shared memory that every block may have without asking.
const SHARED: u32 = 48 << 10;

/// A GPU that programs are compiled for.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    gpu: Gpu,
    cache: Cache,
    threads: usize,
}

impl CudaDevice {
    /// The GPU of this number; kernels are compiled on `threads` threads.
    ///
    /// # Errors
    /// E0752 and E0753, as [`Gpu::open`].
    pub fn open(ordinal: usize, threads: usize) -> Result<CudaDevice, Diagnostic> {
        Ok(CudaDevice {
            gpu: Gpu::open(ordinal)?,
            cache: Cache::of_user(),
            threads,
        })
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Threads for what the host does beside the GPU.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Loads a program; the typed form of [`Device::load`].
    ///
    /// # Errors
    /// E0701 where the GPU has no room, E0754 where a kernel cannot be made, E0755 where the driver fails.
    pub fn load_cuda(&self, program: Rc<KernelProgram>) -> Result<CudaLoaded, Diagnostic> {
        let code = generate(&program)
            .map_err(|e| Diagnostic::new(codes::E0754, e.to_string()).help("use `--device cpu`"))?;
        self.check_memory(&program, &code)?;
        let functions = self.functions(&code)?;
        CudaLoaded::new(&self.gpu, program, &code, &functions)
    }

    fn check_memory(&self, program: &KernelProgram, code: &Code) -> Result<(), Diagnostic> {
        let told = |e| failed("asking for the free memory", e);
        let (free, total) = self.gpu.context.mem_get_info().map_err(told)?;
        let inputs = program.buffers.iter();
        let inputs = inputs.filter(|b| b.kind == BufferKind::Input);
        let inputs: u64 = inputs.map(|b| b.bytes() as u64).sum();
        let words = (program.arena_len as u64).saturating_add(code.scratch_words as u64);
        let needed = words.saturating_mul(4).saturating_add(inputs);
        if needed <= free as u64 {
            return Ok(());
        }
        Err(Diagnostic::new(
            codes::E0701,
            format!(
                "a step needs {} of memory, and '{}' has {} free of {}",
                size(needed),
                self.gpu.name,
                size(free as u64),
                size(total as u64)
            ),
        )
        .help("make the batch or the views smaller, or let values be made again: `train { memory = \"…GiB\" }`"))
    }

    /// The code's functions on the GPU, in their order. Drivers that are older than the compiler take machine code.
    fn functions(&self, code: &Code) -> Result<Vec<CudaFunction>, Diagnostic> {
        match self.functions_as(code, Form::Ptx)? {
            Ok(functions) => Ok(functions),
            Err(name) => self.functions_as(code, Form::Cubin)?.map_err(|_| {
                Diagnostic::new(
                    codes::E0755,
                    format!("the driver of '{}' cannot load the kernel `{name}`", self.gpu.name),
                )
                .help("it is older than the CUDA version of NVRTC: install a newer driver or an older NVRTC")
            }),
        }
    }

    /// The name of a function instead, where the driver is too old for its form.
    fn functions_as(
        &self,
        code: &Code,
        form: Form,
    ) -> Result<Result<Vec<CudaFunction>, String>, Diagnostic> {
        let gpu = &self.gpu;
        let (functions, cache) = (&code.functions, &self.cache);
        let images = images(
            functions,
            gpu.compiler,
            gpu.architecture,
            form,
            cache,
            self.threads,
        )?;
        let mut loaded = Vec::with_capacity(functions.len());
        for (function, image) in functions.iter().zip(images) {
            let told =
                |e: DriverError| failed(&format!("loading the kernel `{}`", function.name), e);
            let module = match gpu.context.load_module(Ptx::from_binary(image)) {
                Ok(module) => module,
                Err(e)
                    if [
                        Status::CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
                        Status::CUDA_ERROR_NO_BINARY_FOR_GPU,
                    ]
                    .contains(&e.0) =>
                {
                    return Ok(Err(function.name.clone()));
                }
                Err(e) => return Err(told(e)),
            };
            let entry = module.load_function(&function.name).map_err(told)?;
            if function.shared_bytes > gpu.shared_limit {
                return Err(Diagnostic::new(
                    codes::E0754,
                    format!(
                        "the kernel `{}` needs {} bytes of shared memory, and '{}' has {}",
                        function.name, function.shared_bytes, gpu.name, gpu.shared_limit
                    ),
                )
                .help("use `--device cpu`"));
            }
            if function.shared_bytes > SHARED {
                let bytes = function.shared_bytes.cast_signed();
                let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                entry.set_attribute(attribute, bytes).map_err(told)?;
            }
            loaded.push(entry);
        }
        Ok(Ok(loaded))
    }
}

impl Device for CudaDevice {
    fn load(&self, program: Rc<KernelProgram>) -> Result<Rc<dyn Loaded>, Diagnostic> {
        Ok(Rc::new(self.load_cuda(program)?))
    }
}
