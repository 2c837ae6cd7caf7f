//! The device: from a kernel program to one that is loaded.

use crate::cache::Cache;
use crate::code::{Code, Unsupported, generate, generate_with};
use crate::gpu::{Gpu, failed, troubled};
use crate::images::images;
use crate::libraries::Libraries;
use crate::loaded::CudaLoaded;
use crate::nvrtc::Form;
use crate::ready::Trouble;
use crate::tuning::{self, By, Candidate, Choice, ProgramChoices, Tuning};
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

/// A byte that makes a small number of all four or two bytes of an element: products of zeros need less power, and so less time.
const SOMETHING: u8 = 0x3c;

/// A GPU that programs are compiled for.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    gpu: Gpu,
    cache: Cache,
    threads: usize,
    autotune: bool,
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
            autotune: false,
        })
    }

    /// The same, with or without leave to run kernels by NVIDIA's libraries where they are faster.
    #[must_use]
    pub fn with_autotune(self, on: bool) -> CudaDevice {
        CudaDevice {
            autotune: on,
            ..self
        }
    }

    /// Whether it has that leave.
    pub fn autotune(&self) -> bool {
        self.autotune
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Threads for what the host does beside the GPU.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Loads a program with kernels by NVIDIA's libraries as the tuning has it. What it does not know of this program it measures, where
    /// it may.
    ///
    /// # Errors
    /// E0701 where the GPU has no room, E0754 where a kernel cannot be made, E0755 where the driver fails, E0756 where a
    /// library that runs kernels of this program is missing.
    pub fn load_tuned(
        &self,
        program: Rc<KernelProgram>,
        tuning: &mut Tuning,
    ) -> Result<CudaLoaded, Diagnostic> {
        let key = tuning::key(&program);
        let known = &mut tuning.known.programs;
        if !tuning.on {
            known.entry(key).or_default();
            return self.load_own(program);
        }
        if let Some(choices) = known.get(&key) {
            return self.load_chosen(program, choices);
        }
        let (loaded, choices) = self.load_measured(program, &key)?;
        known.insert(key, choices);
        Ok(loaded)
    }

    /// Loads a program with our own kernels alone; the typed form of [`Device::load`].
    pub(crate) fn load_own(&self, program: Rc<KernelProgram>) -> Result<CudaLoaded, Diagnostic> {
        self.load_chosen(program, &ProgramChoices::default())
    }

    fn load_chosen(
        &self,
        program: Rc<KernelProgram>,
        choices: &ProgramChoices,
    ) -> Result<CudaLoaded, Diagnostic> {
        let libraries = match choices.any_by_library() {
            true => Libraries::open(&self.gpu.context),
            false => Libraries::default(),
        };
        let code = generate_with(&program, &|l| libraries.has(l)).map_err(no_code)?;
        self.load_by(program, code, choices, &libraries)
    }

    /// Loads code, each kernel in the way that was chosen.
    fn load_by(
        &self,
        program: Rc<KernelProgram>,
        mut code: Code,
        choices: &ProgramChoices,
        libraries: &Libraries,
    ) -> Result<CudaLoaded, Diagnostic> {
        code.keep(&|kernel| choices.by_library(kernel));
        let (mut loaded, functions) = self.load_code(program, &code)?;
        let (candidates, refused) = candidates(&loaded, &code, &functions, libraries);
        check_there(choices, &candidates, refused)?;
        for Candidate { alternative, steps } in candidates {
            loaded.replace(alternative.kernel, steps);
        }
        Ok(loaded)
    }

    /// Loads a program and chooses, by what was measured on this machine before or is now.
    fn load_measured(
        &self,
        program: Rc<KernelProgram>,
        key: &str,
    ) -> Result<(CudaLoaded, ProgramChoices), Diagnostic> {
        let libraries = Libraries::open(&self.gpu.context);
        let mut code = generate_with(&program, &|l| libraries.has(l)).map_err(no_code)?;
        if self.check_memory(&program, &code).is_err() {
            // What libraries take beside the step's own memory must not be what ends a training.
            code = generate(&program).map_err(no_code)?;
        } else if let Some(choices) = self.measured_before(key, &libraries) {
            let loaded = self.load_by(program, code, &choices, &libraries)?;
            return Ok((loaded, choices));
        }
        let (mut loaded, functions) = self.load_code(program, &code)?;
        let (candidates, _) = candidates(&loaded, &code, &functions, &libraries);
        let told = |e| troubled(&format!("timing kernels on '{}'", self.gpu.name), e);
        let choices = ProgramChoices {
            gpu: self.gpu.name.clone(),
            libraries: libraries.names(),
            kernels: measure(&loaded, &code, &candidates).map_err(told)?,
        };
        if !choices.kernels.is_empty() {
            self.keep_measured(key, &libraries, &choices);
        }
        for Candidate { alternative, steps } in candidates {
            if choices.by_library(alternative.kernel) {
                loaded.replace(alternative.kernel, steps);
            }
        }
        Ok((loaded, choices))
    }

    /// Loads the launches of code, and gives its functions.
    fn load_code(
        &self,
        program: Rc<KernelProgram>,
        code: &Code,
    ) -> Result<(CudaLoaded, Vec<CudaFunction>), Diagnostic> {
        self.check_memory(&program, code)?;
        let functions = self.functions(code)?;
        let loaded = CudaLoaded::new(&self.gpu, program, code, &functions)?;
        Ok((loaded, functions))
    }

    /// What was measured on this machine for the same program, GPU and libraries, so that a second run of a seed has the same bits.
    fn measured_before(&self, program: &str, libraries: &Libraries) -> Option<ProgramChoices> {
        let bytes = self
            .cache
            .get(self.measured_key(program, libraries).as_bytes())?;
        serde_json::from_slice(&bytes).ok()
    }

    fn keep_measured(&self, program: &str, libraries: &Libraries, choices: &ProgramChoices) {
        if let Ok(bytes) = serde_json::to_vec(choices) {
            let key = self.measured_key(program, libraries);
            self.cache.put(key.as_bytes(), &bytes);
        }
    }

    fn measured_key(&self, program: &str, libraries: &Libraries) -> String {
        let (gpu, libraries) = (&self.gpu.name, libraries.names());
        format!("choices {program} {gpu} {libraries:?}")
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
    pub(crate) fn functions(&self, code: &Code) -> Result<Vec<CudaFunction>, Diagnostic> {
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
        Ok(Rc::new(self.load_own(program)?))
    }
}

fn no_code(error: Unsupported) -> Diagnostic {
    Diagnostic::new(codes::E0754, error.to_string()).help("use `--device cpu`")
}

/// The alternatives that libraries take, and why one is not taken.
fn candidates<'a>(
    loaded: &CudaLoaded,
    code: &'a Code,
    functions: &[CudaFunction],
    libraries: &Libraries,
) -> (Vec<Candidate<'a>>, Option<String>) {
    let placing = loaded.placing(code, functions);
    let mut candidates = Vec::new();
    let mut refused = None;
    for alternative in &code.alternatives {
        match placing.alternative(alternative, libraries) {
            Ok(steps) => candidates.push(Candidate { alternative, steps }),
            Err(why) => refused = Some(why),
        }
    }
    (candidates, refused)
}

/// E0756 where a kernel that a library should run cannot be.
fn check_there(
    choices: &ProgramChoices,
    candidates: &[Candidate],
    refused: Option<String>,
) -> Result<(), Diagnostic> {
    let there = |k: &&Choice| candidates.iter().any(|c| c.alternative.kernel == k.kernel);
    let mut chosen = choices.kernels.iter().filter(|k| k.by != By::Own);
    let Some(missing) = chosen.find(|k| !there(k)) else {
        return Ok(());
    };
    let why = refused.unwrap_or_else(|| "it is not installed".to_owned());
    Err(Diagnostic::new(
        codes::E0756,
        format!(
            "the run takes `{}` from {}, which cannot be had: {why}",
            missing.name,
            missing.by.name()
        ),
    )
    .help(format!(
        "the run was begun with {}; `--autotune off` goes on without them, with other last digits",
        choices.libraries.join(" and ")
    )))
}

/// Times all that libraries could run, on values that are no state of anything yet.
fn measure(
    loaded: &CudaLoaded,
    code: &Code,
    candidates: &[Candidate],
) -> Result<Vec<Choice>, Trouble> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    loaded.fill(SOMETHING)?;
    let own = |kernel| loaded.steps(kernel);
    let time = |steps: &_| loaded.time(steps);
    let choices = tuning::choose(loaded.program(), code, candidates, own, time)?;
    loaded.fill(0)?;
    Ok(choices)
}
