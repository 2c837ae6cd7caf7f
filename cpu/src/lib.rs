//! The CPU device.
//!
//! - [`level`]: instruction sets and the choice among them.
//! - [`pool`]: the threads.
//! - [`arena`]: memory, and the check that the machine has it.
//! - [`scratch`]: working memory of kernels.
//! - [`check`]: verifies a program, once, when it is loaded.
//! - [`math`]: elementary functions that vectorise.
//! - [`fetch`]: fetching what is read next.
//! - [`loops`]: loop kernels.
//! - [`contract`]: convolutions and matrix products. [`fused`]: those with epilogues.
//! - [`indexed`]: indexed kernels.
//! - [`peak`]: the machine's multiply-add rate and memory bandwidth.
//!
//! Invariant: results are the same bits for any number of threads. Work is split by shape alone, and sums have a fixed order.
//! Invariant: a kernel's run allocates nothing.
mod arena;
mod check;
mod contract;
mod fetch;
mod fused;
mod indexed;
pub mod level;
mod loops;
mod math;
mod peak;
mod pool;
mod scratch;
#[cfg(test)]
mod tests;

pub use arena::check_memory;
pub use level::Level;
pub use peak::{measure_bandwidth, measure_peak_flops};

use arena::Memory;
use contract::ContractionPlan;
use contract::piece::Epilogue;
use fused::FusedPlan;
use indexed::IndexedPlan;
use level::Features;
use loops::canon::Canon;
use loops::ops;
use loops::plan::LoopPlan;
use loops::run::LoopRunner;
use pool::Pool;
use scratch::Pointer;
use sslc_compiler::kernels::device::{Device, Loaded};
use sslc_compiler::kernels::ir::{BufferId, Element, KernelKind, KernelProgram};
use sslc_grammar::diag::Diagnostic;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The processor with a fixed number of threads.
#[derive(Clone, Copy, Debug)]
pub struct CpuDevice {
    threads: usize,
    features: Features,
}

impl CpuDevice {
    /// A device of `threads` threads (at least one), at the best level the machine has.
    pub fn new(threads: usize) -> CpuDevice {
        CpuDevice {
            threads: threads.max(1),
            features: Features::of(Level::detect()),
        }
    }

    /// A device at a lower level than the machine's best; `None` if the machine does not have the level.
    pub fn with_level(threads: usize, level: Level) -> Option<CpuDevice> {
        level.available().then_some(CpuDevice {
            threads: threads.max(1),
            features: Features::of(level),
        })
    }

    /// The same device without instructions for products of bf16, as if the machine had none.
    pub fn without_bf16_products(mut self) -> CpuDevice {
        self.features.bf16_products = false;
        self
    }

    /// Number of threads that run kernels.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The instruction-set level it runs at.
    pub fn level(&self) -> Level {
        self.features.level
    }

    /// Whether it has instructions for products of bf16; without them they are made in f32.
    pub fn has_bf16_products(&self) -> bool {
        self.features.bf16_products
    }

    /// Bytes that loading the program takes: the arena, and the kernels' working memory.
    ///
    /// # Errors
    /// When the arena alone is more than the machine has free, or the program is not valid.
    pub fn memory_needed(&self, program: &KernelProgram) -> Result<u64, Diagnostic> {
        Ok(self.needed(program, &self.verified(program)?))
    }

    /// The plans of a program that fits into memory, as far as its arena tells, and has been verified.
    fn verified(&self, program: &KernelProgram) -> Result<Vec<Plan>, Diagnostic> {
        arena::check_memory(arena_bytes(program)?)?;
        check::check(program)?;
        Ok(self.plan(program))
    }

    /// Loads a program; the typed form of [`Device::load`].
    ///
    /// # Errors
    /// When the memory is not there or the program is not valid.
    pub fn load_cpu(&self, program: Rc<KernelProgram>) -> Result<CpuLoaded, Diagnostic> {
        let plans = self.verified(&program)?;
        arena::check_memory(self.needed(&program, &plans))?;
        let (thread_len, shared_len) = scratch_sizes(&plans);
        let mut arena = Memory::zeroed(program.arena_len)?;
        let mut shared = Memory::zeroed(shared_len)?;
        let mut thread_scratch = (0..self.threads)
            .map(|_| Memory::zeroed(thread_len))
            .collect::<Result<Vec<Memory>, Diagnostic>>()?;
        Ok(CpuLoaded {
            times: RefCell::new(vec![Duration::ZERO; program.kernels.len()]),
            profiled: Cell::new(false),
            pool: Pool::new(self.threads),
            level: self.features.level,
            arena: Pointer::new(arena.pointer()),
            shared: Pointer::new(shared.pointer()),
            threads: thread_scratch
                .iter_mut()
                .map(|m| Pointer::new(m.pointer()))
                .collect(),
            _memory: [arena, shared].into_iter().chain(thread_scratch).collect(),
            plans,
            program,
        })
    }

    fn plan(&self, program: &KernelProgram) -> Vec<Plan> {
        let buffers = &program.buffers;
        program
            .kernels
            .iter()
            .map(|kernel| match &kernel.kind {
                KernelKind::Loop(k) => {
                    let plan = LoopPlan::new(&Canon::new(k, buffers), self.features.level);
                    Plan::Loop(Box::new(LoopRunner::new(plan)))
                }
                KernelKind::Indexed(k) => {
                    Plan::Indexed(Box::new(IndexedPlan::new(k, buffers, self.features.level)))
                }
                KernelKind::Contraction(k) => {
                    Plan::Contraction(ContractionPlan::new(k, buffers, self.features, 0))
                }
                KernelKind::Fused(k) => {
                    Plan::Fused(Box::new(FusedPlan::new(k, buffers, self.features)))
                }
            })
            .collect()
    }

    fn needed(&self, program: &KernelProgram, plans: &[Plan]) -> u64 {
        let (thread, shared) = scratch_sizes(plans);
        let elements = (thread as u64)
            .saturating_mul(self.threads as u64)
            .saturating_add(shared as u64)
            .saturating_add(program.arena_len as u64);
        elements.saturating_mul(4)
    }
}

/// Bytes of the arena.
fn arena_bytes(program: &KernelProgram) -> Result<u64, Diagnostic> {
    let bytes = (program.arena_len as u64).checked_mul(4);
    bytes.map_or_else(|| Err(arena::not_enough(u64::MAX, arena::available())), Ok)
}

/// f32 elements of scratch for each thread, and for all.
fn scratch_sizes(plans: &[Plan]) -> (usize, usize) {
    plans.iter().fold((0, 0), |(thread, shared), plan| {
        let (t, s) = match plan {
            Plan::Loop(p) => (p.thread_scratch(), p.shared_scratch()),
            Plan::Indexed(_) => (0, 0),
            Plan::Contraction(p) => (p.thread_scratch(), p.shared_scratch()),
            Plan::Fused(p) => (p.thread_scratch(), p.shared_scratch()),
        };
        (thread.max(t), shared.max(s))
    })
}

impl Device for CpuDevice {
    fn load(&self, program: Rc<KernelProgram>) -> Result<Rc<dyn Loaded>, Diagnostic> {
        Ok(Rc::new(self.load_cpu(program)?))
    }
}

/// A kernel made ready.
enum Plan {
    Loop(Box<LoopRunner>),
    Indexed(Box<IndexedPlan>),
    Contraction(ContractionPlan),
    Fused(Box<FusedPlan>),
}

/// A program in the processor's memory, ready to run.
pub struct CpuLoaded {
    program: Rc<KernelProgram>,
    plans: Vec<Plan>,
    pool: Pool,
    level: Level,
    arena: Pointer,
    shared: Pointer,
    threads: Vec<Pointer>,
    /// What the pointers point into.
    _memory: Vec<Memory>,
    profiled: Cell<bool>,
    times: RefCell<Vec<Duration>>,
}

impl CpuLoaded {
    /// Number of threads that run its kernels.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn run_kernel(&self, kernel: usize) {
        let (pool, arena) = (&self.pool, self.arena);
        // SAFETY: `check` verified that every access is within the arena and that units do not race; the scratch was
        // sized by the plans; the level is available. `CpuLoaded` is neither `Send` nor `Sync`, and the pool returns
        // when all units are done, so nothing else uses arena or scratch meanwhile.
        unsafe {
            match &self.plans[kernel] {
                Plan::Loop(p) => p.run(pool, arena, &self.threads, self.shared),
                Plan::Indexed(p) => p.run(pool, arena),
                Plan::Contraction(p) => {
                    p.run(pool, arena, &self.threads, self.shared, Epilogue::NONE);
                }
                Plan::Fused(p) => p.run(pool, arena, &self.threads, self.shared),
            }
        }
    }

    /// A buffer's first word, its number of elements, and their type.
    fn buffer(&self, buffer: BufferId) -> (*mut f32, usize, Element) {
        let buffer = &self.program.buffers[buffer.0 as usize];
        // SAFETY: `check` verified that the buffer is within the arena.
        let first = unsafe { self.arena.get().add(buffer.offset) };
        (first, buffer.len(), buffer.element)
    }
}

impl fmt::Debug for CpuLoaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuLoaded")
            .field("kernels", &self.plans.len())
            .field("threads", &self.pool.threads())
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Loaded for CpuLoaded {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn enable_profile(&self, on: bool) {
        self.profiled.set(on);
        self.times.borrow_mut().fill(Duration::ZERO);
    }

    fn profile(&self) -> Vec<Duration> {
        self.times.borrow().clone()
    }

    fn program(&self) -> &KernelProgram {
        &self.program
    }

    fn run(&self, kernel: usize) {
        if self.profiled.get() {
            let start = Instant::now();
            self.run_kernel(kernel);
            self.times.borrow_mut()[kernel] += start.elapsed();
        } else {
            self.run_kernel(kernel);
        }
    }

    fn write(&self, buffer: BufferId, data: &[f32]) {
        let (p, len, element) = self.buffer(buffer);
        assert_eq!(data.len(), len);
        // SAFETY: the buffer's elements; no kernel runs meanwhile. The device has its level.
        unsafe {
            match element {
                Element::F32 => std::ptr::copy_nonoverlapping(data.as_ptr(), p, len),
                Element::Bf16 => ops::narrow_loop(self.level)(p.cast(), data.as_ptr(), len),
            }
        }
    }

    fn read(&self, buffer: BufferId, data: &mut [f32]) {
        let (p, len, element) = self.buffer(buffer);
        assert_eq!(data.len(), len);
        // SAFETY: as for `write`.
        unsafe {
            match element {
                Element::F32 => std::ptr::copy_nonoverlapping(p, data.as_mut_ptr(), len),
                Element::Bf16 => ops::widen_loop(self.level)(data.as_mut_ptr(), p.cast(), len),
            }
        }
    }
}
