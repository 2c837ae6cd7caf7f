//! What a device must do to run a [`KernelProgram`].

use super::ir::{BufferId, KernelProgram};
use sslc_grammar::diag::Diagnostic;
use std::any::Any;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

/// A device that kernels can be made for.
pub trait Device {
    /// Takes the program's arena and makes its kernels ready to run.
    ///
    /// # Errors
    /// When the arena cannot be had or a kernel cannot be made.
    fn load(&self, program: Rc<KernelProgram>) -> Result<Rc<dyn Loaded>, Diagnostic>;
}

/// A program on a device: its arena, and its kernels ready to run.
pub trait Loaded: Debug {
    fn program(&self) -> &KernelProgram;
    /// Runs the kernel of this index.
    fn run(&self, kernel: usize);
    /// Copies `data` into a buffer; lengths must be equal.
    fn write(&self, buffer: BufferId, data: &[f32]);
    /// Copies a buffer into `data`; lengths must be equal.
    fn read(&self, buffer: BufferId, data: &mut [f32]);
    /// Copies a buffer of another program into one of the same size and element type without the host; false where the device cannot.
    fn copy_from(&self, _to: BufferId, _other: &dyn Loaded, _from: BufferId) -> bool {
        false
    }
    /// Itself, for a device to know its own programs by.
    fn as_any(&self) -> &dyn Any;
    /// Whether inputs may be written while outputs of the last run are still to be read.
    fn takes_inputs_early(&self) -> bool {
        false
    }
    /// What went wrong since it was loaded. After that it does nothing more, and what is read means nothing.
    fn failure(&self) -> Option<Diagnostic> {
        None
    }
    /// Starts or stops adding up the time of each kernel, from zero; a device may have no clock.
    fn enable_profile(&self, _on: bool) {}
    /// The time spent in each kernel since [`Loaded::enable_profile`]; empty without a clock.
    fn profile(&self) -> Vec<Duration> {
        Vec::new()
    }
}
