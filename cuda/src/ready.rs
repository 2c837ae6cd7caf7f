//! Launches and calls with their arguments in place.

use crate::code::{Alternative, Argument, Code, Launch, Step};
use crate::libraries::{self, Libraries, Places};
use cudarc::driver::{CudaFunction, CudaStream, DriverError, result};
use sslc_compiler::kernels::ir::{Buffer, BufferId};
use std::ffi::c_void;

/// What went wrong with the GPU.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    Driver(DriverError),
    /// What a library says.
    Library(String),
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Trouble {
        Trouble::Driver(error)
    }
}

/// A launch of a function, or a call of a library.
pub(crate) enum Ready {
    Launch(ReadyLaunch),
    Call(libraries::Ready, Places),
}

/// A launch with its arguments in place.
pub(crate) struct ReadyLaunch {
    function: CudaFunction,
    grid: (u32, u32, u32),
    threads: u32,
    shared_bytes: u32,
    /// The arguments' words one after the other; `first` tells where each begins.
    words: Vec<u64>,
    first: Vec<usize>,
}

impl Ready {
    /// Hands it to a stream.
    pub(crate) fn run(&self, stream: &CudaStream) -> Result<(), Trouble> {
        match self {
            Ready::Launch(launch) => Ok(launch.run(stream)?),
            Ready::Call(call, places) => {
                // SAFETY: the places are in the arena and the scratch, which live as long as the program, and have what the call
                // was made for.
                unsafe { call.run(*places, stream) }.map_err(Trouble::Library)
            }
        }
    }
}

impl ReadyLaunch {
    fn run(&self, stream: &CudaStream) -> Result<(), DriverError> {
        let mut pointers: Vec<*mut c_void> = self
            .first
            .iter()
            .map(|i| (&raw const self.words[*i]).cast_mut().cast())
            .collect();
        // SAFETY: the arguments are those that the function was generated with; their places are in the arena and the scratch,
        // which live as long as the program. The driver reads the words before it returns.
        unsafe {
            result::launch_kernel(
                self.function.cu_function(),
                self.grid,
                (self.threads, 1, 1),
                self.shared_bytes,
                stream.cu_stream(),
                &mut pointers,
            )
        }
    }
}

/// Where a program's buffers and its scratch are, and its functions.
pub(crate) struct Placing<'a> {
    pub(crate) code: &'a Code,
    pub(crate) functions: &'a [CudaFunction],
    pub(crate) buffers: &'a [Buffer],
    pub(crate) arena: u64,
    pub(crate) scratch: u64,
}

impl Placing<'_> {
    fn place(&self, buffer: BufferId) -> u64 {
        self.arena + 4 * self.buffers[buffer.0 as usize].offset as u64
    }

    pub(crate) fn launch(&self, launch: &Launch) -> Ready {
        let (mut words, mut first) = (Vec::new(), Vec::new());
        for argument in &launch.arguments {
            first.push(words.len());
            match argument {
                Argument::Table(table) => words.extend(table.iter().map(|b| self.place(*b))),
                one => words.push(self.pointer(one)),
            }
        }
        let [x, y, z] = launch.grid;
        let function = &self.code.functions[launch.function];
        Ready::Launch(ReadyLaunch {
            function: self.functions[launch.function].clone(),
            grid: (x, y, z),
            threads: function.threads,
            shared_bytes: function.shared_bytes,
            words,
            first,
        })
    }

    /// The steps of an alternative.
    ///
    /// # Errors
    /// The library's reason not to take its call.
    pub(crate) fn alternative(
        &self,
        alternative: &Alternative,
        libraries: &Libraries,
    ) -> Result<Vec<Ready>, String> {
        let step = |step: &Step| match step {
            Step::Launch(launch) => Ok(self.launch(launch)),
            Step::Call(call) => {
                let ready = libraries.prepare(&call.product)?;
                let places = Places {
                    operands: call.operands.each_ref().map(|o| self.pointer(o)),
                    result: self.pointer(&call.result),
                    workspace: self.pointer(&call.workspace),
                };
                Ok(Ready::Call(ready, places))
            }
        };
        alternative.steps.iter().map(step).collect()
    }

    /// The address that an argument of one pointer is.
    fn pointer(&self, argument: &Argument) -> u64 {
        match argument {
            Argument::Buffer(buffer) => self.place(*buffer),
            Argument::Scratch(word) => self.scratch + 4 * *word as u64,
            Argument::Table(table) => table.first().map_or(0, |b| self.place(*b)),
        }
    }
}
