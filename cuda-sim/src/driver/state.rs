//! Everything behind the handles.
use super::capture::Capture;
use super::graphs::Graph;
use super::queue::Stream;
use super::status::{self, Outcome, Status};
use crate::device::{BUDGET, Module};
use crate::libraries::handles::Objects;
use crate::memory::Memory;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A kernel behind a function handle.
pub struct Function {
    pub module: u64,
    pub kernel: usize,
    /// Bytes of dynamic shared memory that a launch may have.
    pub dynamic_shared: u32,
}

/// A point in a stream: after its `position`-th work.
#[derive(Clone, Debug, Default)]
pub struct Point {
    pub stream: usize,
    pub position: u64,
    /// What has happened before it, by stream.
    pub clock: Vec<u64>,
}

#[derive(Default)]
pub struct Event {
    pub point: Option<Point>,
    /// Where it was recorded while its stream was capturing.
    pub captured: Option<(u64, Vec<usize>)>,
    pub timing: bool,
    pub happened: Option<Instant>,
    /// Queries that said that it had not happened.
    pub asked: bool,
}

pub struct Driver {
    pub memory: Memory,
    pub architecture: u32,
    pub budget: u64,
    pub instructions: u64,
    pub modules: BTreeMap<u64, Arc<Module>>,
    pub functions: BTreeMap<u64, Function>,
    /// By index: 0 is the legacy default stream, 1 the one of the thread.
    pub streams: Vec<Stream>,
    pub events: BTreeMap<u64, Event>,
    pub captures: BTreeMap<u64, Capture>,
    pub graphs: BTreeMap<u64, Graph>,
    /// Behind the handles of NVIDIA's libraries.
    pub objects: Objects,
    /// Host memory that copies may use later: address and bytes, and whether it was allocated here.
    pub pinned: BTreeMap<usize, (usize, bool)>,
    /// What the host knows to have happened, by stream.
    pub clock: Vec<u64>,
    /// After it, every call fails.
    pub error: Option<Status>,
    pub message: String,
    handles: u64,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    /// The current context: 0 for none.
    pub static CONTEXT: Cell<usize> = const { Cell::new(0) };
}

/// The handle of the only context.
pub const CONTEXT_HANDLE: usize = 0x5110;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

impl Driver {
    fn new() -> Self {
        Driver {
            memory: Memory::new(setting("SSLC_SIM_MEMORY").unwrap_or(4 << 30)),
            architecture: setting("SSLC_SIM_ARCH").unwrap_or(80) as u32,
            budget: setting("SSLC_SIM_BUDGET").unwrap_or(BUDGET),
            instructions: 0,
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            streams: vec![Stream::new(true), Stream::new(true)],
            events: BTreeMap::new(),
            captures: BTreeMap::new(),
            graphs: BTreeMap::new(),
            objects: Objects::default(),
            pinned: BTreeMap::new(),
            clock: Vec::new(),
            error: None,
            message: String::new(),
            handles: 0x1000,
        }
    }

    pub fn handle(&mut self) -> u64 {
        self.handles += 16;
        self.handles
    }

    /// Says on stderr what is wrong, and gives the code back.
    pub fn say(&mut self, code: Status, message: impl Into<String>) -> Status {
        self.message = message.into();
        eprintln!("simulated CUDA device: {}", self.message);
        code
    }

    /// The host now knows that a point has been reached.
    pub fn learn(&mut self, clock: &[u64]) {
        join(&mut self.clock, clock);
    }
}

/// The later of two clocks, in the first.
pub fn join(into: &mut Vec<u64>, from: &[u64]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (into, from) in into.iter_mut().zip(from) {
        *into = (*into).max(*from);
    }
}

fn lock() -> MutexGuard<'static, Option<Driver>> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn initialise() {
    lock().get_or_insert_with(Driver::new);
}

fn status(outcome: Outcome) -> Status {
    match outcome {
        Ok(()) => 0,
        Err(code) => code,
    }
}

/// A call that needs the driver to be initialised, and nothing else.
pub fn with_driver(f: impl FnOnce(&mut Driver) -> Outcome) -> Status {
    match lock().as_mut() {
        Some(driver) => status(f(driver)),
        None => status::NOT_INITIALIZED,
    }
}

/// A call that needs a current context and fails after an error of the device.
pub fn with_context(f: impl FnOnce(&mut Driver) -> Outcome) -> Status {
    with_driver(|driver| {
        if CONTEXT.get() != CONTEXT_HANDLE {
            return Err(status::INVALID_CONTEXT);
        }
        if let Some(error) = driver.error {
            return Err(error);
        }
        f(driver)
    })
}

/// Writes a result to where the caller wants it.
///
/// # Safety
/// `to` must be null or good for a value.
pub unsafe fn give<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(status::INVALID_VALUE);
    }
    // SAFETY: as the caller promises.
    unsafe { to.write(value) };
    Ok(())
}

/// Forgets everything, as if the process had just begun. For tests.
pub fn reset() {
    *lock() = None;
    CONTEXT.set(0);
}

/// What the last error that was said on stderr was. For tests.
pub fn last_message() -> String {
    lock()
        .as_ref()
        .map(|d| d.message.clone())
        .unwrap_or_default()
}

/// Instructions that warps have executed in all launches so far. For tests.
#[unsafe(no_mangle)]
pub extern "C" fn sslc_sim_instructions() -> u64 {
    lock().as_ref().map_or(0, |d| d.instructions)
}

/// Declares that `bytes` at `address` are a buffer of their own: kernels that are given a pointer into it may not leave it.
/// 0 bytes: no longer. For tests.
#[unsafe(no_mangle)]
pub extern "C" fn sslc_sim_mark(address: u64, bytes: u64) -> Status {
    with_driver(|driver| {
        let held = driver
            .memory
            .find(address)
            .is_some_and(|a| a.holds(address, bytes));
        if !held {
            return Err(status::INVALID_VALUE);
        }
        match bytes {
            0 => driver.memory.marks.remove(&address),
            _ => driver.memory.marks.insert(address, bytes),
        };
        Ok(())
    })
}
