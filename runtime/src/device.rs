//! Where kernels run, chosen by name.

use crate::cpu::CpuDevice;
use sslc_compiler::core::graph::Graph;
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::build::Options;
use sslc_compiler::kernels::compile::Compiled;
use sslc_compiler::kernels::device::Device;
use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::KernelProgram;
use sslc_compiler::lower::check_sizes;
use sslc_compiler::lower::reference::Reference;
use sslc_cuda::{Choices, CudaDevice, Tuning};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use std::cell::RefCell;
use std::rc::Rc;

/// A device by the name on the command line.
#[derive(Debug)]
pub enum Target {
    /// The CPU device; where a GPU was looked for first, why it was not taken.
    Cpu(CpuDevice, Option<Box<Diagnostic>>),
    /// A GPU.
    Cuda(CudaDevice),
    /// luminal's own operators: the meaning of every graph, slow.
    Reference,
}

const NAMES: [&str; 4] = ["auto", "cpu", "cuda", "reference"];

impl Target {
    /// The device of this name, computing on `threads` threads. `auto` is the first GPU, or the CPU where there is none that can
    /// be used.
    ///
    /// # Errors
    /// E0750 where there is none of this name, E0752 and E0753 where a GPU cannot be used.
    pub fn open(name: &str, threads: usize) -> Result<Target, Diagnostic> {
        let ordinal = match name.split_once(':') {
            Some(("cuda", number)) => Some(number.parse().map_err(|_| unknown(name))?),
            None if name == "cuda" => Some(0),
            _ => None,
        };
        match (name, ordinal) {
            (_, Some(ordinal)) => CudaDevice::open(ordinal, threads).map(Target::Cuda),
            ("auto", None) => Ok(match CudaDevice::open(0, threads) {
                Ok(device) => Target::Cuda(device),
                Err(why) => Target::Cpu(CpuDevice::new(threads), Some(Box::new(why))),
            }),
            ("cpu", None) => Ok(Target::Cpu(CpuDevice::new(threads), None)),
            ("reference", None) => Ok(Target::Reference),
            _ => Err(unknown(name)),
        }
    }

    /// Makes a graph ready to run.
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn compile(
        &self,
        graph: &Graph,
        options: Options,
    ) -> Result<Box<dyn Executor>, Diagnostic> {
        let device: &dyn Device = match self {
            Target::Cpu(device, _) => device,
            Target::Cuda(device) => device,
            Target::Reference => {
                check_sizes(graph)?;
                return Ok(Box::new(Reference::new(graph)));
            }
        };
        Ok(Box::new(Compiled::new(graph, options, device)?))
    }

    /// The same device, with or without leave to run kernels by NVIDIA's libraries where they are faster.
    #[must_use]
    pub fn with_autotune(self, on: bool) -> Target {
        match self {
            Target::Cuda(device) => Target::Cuda(device.with_autotune(on)),
            other => other,
        }
    }

    /// How kernels are chosen here, where some choices are known.
    pub fn tuning(&self, known: Choices) -> Tuning {
        let on = matches!(self, Target::Cuda(device) if device.autotune());
        Tuning { on, known }
    }

    /// [`Target::compile`] with kernels chosen by a tuning.
    ///
    /// # Errors
    /// When the device has no room for it; E0756 where a library that was chosen is missing.
    pub fn compile_tuned(
        &self,
        graph: &Graph,
        options: Options,
        tuning: &mut Tuning,
    ) -> Result<Box<dyn Executor>, Diagnostic> {
        let Target::Cuda(device) = self else {
            return self.compile(graph, options);
        };
        let tuning = RefCell::new(tuning);
        let device = Tuned { device, tuning };
        Ok(Box::new(Compiled::new(graph, options, &device)?))
    }

    /// Threads for what the host does beside the device.
    pub fn threads(&self) -> usize {
        match self {
            Target::Cpu(device, _) => device.threads(),
            Target::Cuda(device) => device.threads(),
            Target::Reference => 1,
        }
    }
}

/// A GPU with the choices for what is loaded on it.
struct Tuned<'a> {
    device: &'a CudaDevice,
    tuning: RefCell<&'a mut Tuning>,
}

impl Device for Tuned<'_> {
    fn load(&self, program: Rc<KernelProgram>) -> Result<Rc<dyn Loaded>, Diagnostic> {
        let mut tuning = self.tuning.borrow_mut();
        Ok(Rc::new(self.device.load_tuned(program, &mut tuning)?))
    }
}

/// E0750
fn unknown(name: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(codes::E0750, format!("there is no device '{name}'"));
    match nearest(name, NAMES) {
        Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
        None => diagnostic.help("devices are auto, cpu, cuda, cuda:1 and so on, and reference"),
    }
}

/// What went wrong on an executor's device so far.
///
/// # Errors
/// E0701 and E0755, as the device says.
pub fn check(executor: &dyn Executor) -> Result<(), Diagnostic> {
    executor.failure().map_or(Ok(()), Err)
}
