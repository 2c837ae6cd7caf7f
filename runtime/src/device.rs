//! Where kernels run, chosen by name.

use crate::cpu::CpuDevice;
use sslc_compiler::core::graph::Graph;
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::build::Options;
use sslc_compiler::kernels::compile::Compiled;
use sslc_compiler::lower::check_sizes;
use sslc_compiler::lower::reference::Reference;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};

/// A device by the name on the command line.
#[derive(Debug)]
pub enum Target {
    /// The CPU device.
    Cpu(CpuDevice),
    /// luminal's own operators: the meaning of every graph, slow.
    Reference,
}

const NAMES: [&str; 2] = ["cpu", "reference"];

impl Target {
    /// The device of this name, computing on `threads` threads.
    ///
    /// # Errors
    /// E0750 where there is none of this name.
    pub fn open(name: &str, threads: usize) -> Result<Target, Diagnostic> {
        match name {
            "cpu" => Ok(Target::Cpu(CpuDevice::new(threads))),
            "reference" => Ok(Target::Reference),
            other => {
                let diagnostic =
                    Diagnostic::new(codes::E0750, format!("there is no device '{other}'"));
                Err(if other.starts_with("cuda") {
                    diagnostic.help("this build has no CUDA device; use `--device cpu`")
                } else if let Some(near) = nearest(other, NAMES) {
                    diagnostic.help(format!("did you mean '{near}'?"))
                } else {
                    diagnostic.help("devices are cpu and reference")
                })
            }
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
        match self {
            Target::Cpu(device) => Ok(Box::new(Compiled::new(graph, options, device)?)),
            Target::Reference => {
                check_sizes(graph)?;
                Ok(Box::new(Reference::new(graph)))
            }
        }
    }

    /// Threads for what the host does beside the device.
    pub fn threads(&self) -> usize {
        match self {
            Target::Cpu(device) => device.threads(),
            Target::Reference => 1,
        }
    }
}
