//! What runs a lowered graph: the reference on luminal's operators, or a compiled program on a device.

use crate::kernels::device::Loaded;
use crate::kernels::ir::{BufferId, KernelProgram};
use sslc_grammar::diag::Diagnostic;

/// A graph ready to run, with its values from outside.
///
/// Sources are `view/NAME`, `labels`, `param/PATH`, `buffer/PATH`, `state/PATH`, `schedule/NAME` and `step`; unset, they
/// are zeros. An output that bears the name of a source is its update: the next run sees it.
pub trait Executor {
    /// Sources, with their shapes; those that no output depends on are not among them.
    fn sources(&self) -> Vec<(String, Vec<usize>)>;

    /// Outputs, with their shapes, in the graph's order.
    fn outputs(&self) -> Vec<(String, Vec<usize>)>;

    /// Sets a source and says whether there is one of this name.
    ///
    /// # Panics
    /// Where the number of elements is not the source's.
    fn set(&mut self, name: &str, data: &[f32]) -> bool;

    /// Runs the graph once.
    fn run(&mut self);

    /// Whether inputs may be set while outputs of the last run are still to be read.
    fn takes_inputs_early(&self) -> bool {
        false
    }

    /// What went wrong on the device so far. After that it does nothing more, and what is read means nothing.
    fn failure(&self) -> Option<Diagnostic> {
        None
    }

    /// The kernels that a run consists of, if it does.
    fn kernels(&self) -> Option<&KernelProgram> {
        None
    }

    /// Where a source or an output is, on a device that has places.
    fn place(&self, _name: &str) -> Option<(&dyn Loaded, BufferId)> {
        None
    }

    /// Copies what another has of a name, output or source, to the source of that name, on the device; false where that
    /// cannot be done there.
    fn copy_from(&mut self, _name: &str, _other: &dyn Executor) -> bool {
        false
    }

    /// Reads an output of the last run, or a source's present value, and says whether there is one of this name.
    fn get(&self, name: &str, out: &mut Vec<f32>) -> bool;
}
