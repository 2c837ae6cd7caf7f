//! A program in the GPU's memory.
//!
//! The first run launches kernel by kernel, the second is recorded as a CUDA graph, and from then on a run is one launch of
//! that. A run returns before the GPU is done; whoever reads waits. An error is kept: after it the program does nothing more, and
//! [`Loaded::failure`] tells it.

use crate::code::Code;
use crate::gpu::{Gpu, troubled};
use crate::ready::{Placing, Ready, Trouble};
use crate::transfers::{Arrival, Mirror, decode, encode};
use cudarc::driver::safe::CudaGraph;
use cudarc::driver::sys::CUevent_flags_enum as EventFlags;
use cudarc::driver::sys::CUgraphInstantiate_flags;
use cudarc::driver::sys::CUstreamCaptureMode_enum as CaptureMode;
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaSlice, CudaStream, DevicePtr, result,
};
use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::{Buffer, BufferId, BufferKind, KernelProgram};
use sslc_grammar::diag::Diagnostic;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Runs that [`CudaLoaded::time`] counts.
const TIMED_RUNS: usize = 3;

/// How the steps run.
enum Mode {
    /// Kernel by kernel; so many times so far.
    Eager(u32),
    /// This run is being recorded.
    Recording,
    /// As one launch.
    Replay(CudaGraph),
    /// Kernel by kernel for good: the driver does not record.
    Plain,
}

/// Clocks around kernels.
struct Clock {
    start: CudaEvent,
    end: CudaEvent,
    times: Vec<Duration>,
}

/// A program in the GPU's memory, ready to run.
pub struct CudaLoaded {
    program: Rc<KernelProgram>,
    context: Arc<CudaContext>,
    /// What computes, and what copies inputs meanwhile.
    stream: Arc<CudaStream>,
    copies: Arc<CudaStream>,
    /// The launches and calls of each kernel.
    kernels: Vec<Vec<Ready>>,
    arena: u64,
    scratch: u64,
    arrivals: RefCell<BTreeMap<BufferId, Arrival>>,
    mirror: RefCell<Mirror>,
    mode: RefCell<Mode>,
    clock: RefCell<Option<Clock>>,
    failure: RefCell<Option<Diagnostic>>,
    /// What this program's stream has come to, for that of another to wait for.
    turn: CudaEvent,
    /// Whether the run that is under way was handed over as one launch.
    replaying: Cell<bool>,
    /// The arena and the scratch, which the arguments point into.
    memory: [CudaSlice<u32>; 2],
}

impl CudaLoaded {
    pub(crate) fn new(
        gpu: &Gpu,
        program: Rc<KernelProgram>,
        code: &Code,
        functions: &[CudaFunction],
    ) -> Result<CudaLoaded, Diagnostic> {
        CudaLoaded::on(&gpu.context, program, code, functions)
            .map_err(|e| troubled(&format!("loading a program on '{}'", gpu.name()), e))
    }

    fn on(
        context: &Arc<CudaContext>,
        program: Rc<KernelProgram>,
        code: &Code,
        functions: &[CudaFunction],
    ) -> Result<CudaLoaded, Trouble> {
        let (stream, copies) = (context.new_stream()?, context.new_stream()?);
        let memory = [
            stream.alloc_zeros::<u32>(program.arena_len.max(1))?,
            stream.alloc_zeros::<u32>(code.scratch_words.max(1))?,
        ];
        let [arena, scratch] = [0, 1].map(|i: usize| memory[i].device_ptr(&stream).0);
        let buffers = &program.buffers;
        let mut arrivals = BTreeMap::new();
        for (buffer, i) in buffers.iter().zip(0..) {
            if buffer.kind == BufferKind::Input {
                arrivals.insert(BufferId(i), Arrival::new(buffer, context, &stream)?);
            }
        }
        let mirror = Mirror::new(buffers, context)?;
        // What was zeroed may be written by the other stream from here on.
        stream.synchronize()?;
        let mut loaded = CudaLoaded {
            context: context.clone(),
            stream,
            copies,
            kernels: Vec::new(),
            arena,
            scratch,
            arrivals: RefCell::new(arrivals),
            mirror: RefCell::new(mirror),
            mode: RefCell::new(Mode::Eager(0)),
            clock: RefCell::new(None),
            failure: RefCell::new(None),
            turn: context.new_event(None)?,
            replaying: Cell::new(false),
            memory,
            program,
        };
        let mut kernels: Vec<Vec<Ready>> = Vec::new();
        kernels.resize_with(loaded.program.kernels.len(), Vec::new);
        let placing = loaded.placing(code, functions);
        for launch in &code.launches {
            kernels[launch.kernel].push(placing.launch(launch));
        }
        loaded.kernels = kernels;
        Ok(loaded)
    }

    /// What turns code into steps of this program.
    pub(crate) fn placing<'a>(
        &'a self,
        code: &'a Code,
        functions: &'a [CudaFunction],
    ) -> Placing<'a> {
        Placing {
            code,
            functions,
            buffers: &self.program.buffers,
            arena: self.arena,
            scratch: self.scratch,
        }
    }

    /// The launches and calls of a kernel.
    pub(crate) fn steps(&self, kernel: usize) -> &[Ready] {
        &self.kernels[kernel]
    }

    /// Runs a kernel in another way from here on.
    pub(crate) fn replace(&mut self, kernel: usize, steps: Vec<Ready>) {
        self.kernels[kernel] = steps;
    }

    /// Sets all bytes of the arena and the scratch.
    pub(crate) fn fill(&self, byte: u8) -> Result<(), Trouble> {
        let words = [self.program.arena_len, self.memory[1].len()];
        for (place, words) in [self.arena, self.scratch].into_iter().zip(words) {
            // SAFETY: the memory is the program's, and has these words.
            unsafe { result::memset_d8_async(place, byte, 4 * words, self.stream.cu_stream())? };
        }
        Ok(())
    }

    /// The least time of some runs of steps, after one that is not counted.
    pub(crate) fn time(&self, steps: &[Ready]) -> Result<Duration, Trouble> {
        let event = || self.context.new_event(Some(EventFlags::CU_EVENT_DEFAULT));
        let (start, end) = (event()?, event()?);
        let mut least = Duration::MAX;
        for run in 0..=TIMED_RUNS {
            let time = self.clocked(steps, &start, &end)?;
            if run > 0 {
                least = least.min(time);
            }
        }
        Ok(least)
    }

    /// Runs steps between two events and waits for the time from one to the other.
    fn clocked(
        &self,
        steps: &[Ready],
        start: &CudaEvent,
        end: &CudaEvent,
    ) -> Result<Duration, Trouble> {
        start.record(&self.stream)?;
        steps.iter().try_for_each(|s| s.run(&self.stream))?;
        end.record(&self.stream)?;
        let milliseconds = start.elapsed_ms(end)?;
        Ok(Duration::from_secs_f32(milliseconds.max(0.0) / 1000.0))
    }

    fn buffer(&self, id: BufferId) -> &Buffer {
        &self.program.buffers[id.0 as usize]
    }

    /// A buffer's address on the GPU.
    fn place(&self, id: BufferId) -> u64 {
        self.arena + 4 * self.buffer(id).offset as u64
    }

    /// Does something with the driver unless it has failed before, and keeps its error.
    fn attempt(&self, what: impl FnOnce() -> String, act: impl FnOnce() -> Result<(), Trouble>) {
        if self.failure.borrow().is_some() {
            return;
        }
        let bound = self.context.bind_to_thread().map_err(Trouble::from);
        if let Err(trouble) = bound.and_then(|()| act()) {
            *self.failure.borrow_mut() = Some(troubled(&what(), trouble));
        }
    }

    /// Moves inputs to their places, and replays the step or prepares to launch its kernels.
    fn begin(&self) -> Result<(), Trouble> {
        for (id, arrival) in self.arrivals.borrow_mut().iter_mut() {
            arrival.move_in(self.place(*id), &self.stream)?;
        }
        self.mirror.borrow().outdate();
        self.replaying.set(false);
        if self.clock.borrow().is_some() {
            return Ok(());
        }
        let mut mode = self.mode.borrow_mut();
        match &*mode {
            Mode::Replay(graph) => {
                graph.launch()?;
                self.mirror.borrow().hand_over(&self.stream)?;
                self.replaying.set(true);
            }
            Mode::Eager(runs) if *runs > 0 => {
                let begun = self
                    .stream
                    .begin_capture(CaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
                *mode = match begun {
                    Ok(()) => Mode::Recording,
                    Err(_) => Mode::Plain,
                };
            }
            _ => {}
        }
        Ok(())
    }

    fn launch(&self, kernel: usize) -> Result<(), Trouble> {
        let steps = &self.kernels[kernel];
        let mut clock = self.clock.borrow_mut();
        if let Some(clock) = &mut *clock {
            clock.times[kernel] += self.clocked(steps, &clock.start, &clock.end)?;
            return Ok(());
        }
        steps.iter().try_for_each(|s| s.run(&self.stream))
    }

    /// Ends a step that was launched kernel by kernel.
    fn end(&self) -> Result<(), Trouble> {
        let copy = || {
            let place = |id| self.place(id);
            self.mirror.borrow_mut().copy(place, &self.stream)
        };
        copy()?;
        let mut mode = self.mode.borrow_mut();
        if let Mode::Eager(runs) = &mut *mode {
            *runs += 1;
        } else if let Mode::Recording = &*mode {
            let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
            *mode = match graph {
                Ok(Some(graph)) => {
                    graph.launch()?;
                    Mode::Replay(graph)
                }
                // Nothing of it has run.
                _ => {
                    let mut steps = self.kernels.iter().flatten();
                    steps.try_for_each(|s| s.run(&self.stream))?;
                    copy()?;
                    Mode::Plain
                }
            };
        }
        Ok(self.mirror.borrow().hand_over(&self.stream)?)
    }

    fn kernel_name(&self, kernel: usize) -> String {
        format!("running `{}`", self.program.kernels[kernel].name)
    }
}

impl Loaded for CudaLoaded {
    fn program(&self) -> &KernelProgram {
        &self.program
    }

    fn run(&self, kernel: usize) {
        if kernel == 0 {
            self.attempt(|| "beginning a step".to_owned(), || self.begin());
        }
        if self.replaying.get() {
            return;
        }
        self.attempt(|| self.kernel_name(kernel), || self.launch(kernel));
        if kernel + 1 == self.kernels.len() {
            self.attempt(|| "ending a step".to_owned(), || self.end());
        }
    }

    fn write(&self, buffer: BufferId, data: &[f32]) {
        let (len, element) = (self.buffer(buffer).len(), self.buffer(buffer).element);
        assert_eq!(data.len(), len);
        let what = || format!("writing `{}`", self.buffer(buffer).name);
        self.attempt(what, || {
            if let Some(arrival) = self.arrivals.borrow_mut().get_mut(&buffer) {
                return Ok(arrival.send(data, &self.copies)?);
            }
            let mut bytes = vec![0; len * element.bytes()];
            encode(element, data, &mut bytes);
            // SAFETY: the buffer has these bytes, and they live until the stream is done.
            unsafe {
                let stream = self.stream.cu_stream();
                result::memcpy_htod_async(self.place(buffer), &bytes, stream)?;
            }
            Ok(self.stream.synchronize()?)
        });
    }

    fn read(&self, buffer: BufferId, data: &mut [f32]) {
        let (len, element) = (self.buffer(buffer).len(), self.buffer(buffer).element);
        assert_eq!(data.len(), len);
        let what = || format!("reading `{}`", self.buffer(buffer).name);
        self.attempt(what, || {
            if self.mirror.borrow().read(buffer, element, data)? {
                return Ok(());
            }
            if let Some(arrival) = self.arrivals.borrow_mut().get_mut(&buffer) {
                arrival.move_in(self.place(buffer), &self.stream)?;
            }
            let mut bytes = vec![0; len * element.bytes()];
            // SAFETY: the buffer has these bytes, and they live until the stream is done.
            unsafe {
                let stream = self.stream.cu_stream();
                result::memcpy_dtoh_async(&mut bytes, self.place(buffer), stream)?;
            }
            self.stream.synchronize()?;
            decode(element, &bytes, data);
            Ok(())
        });
    }

    /// Streams of both programs wait for each other, and the host for neither.
    fn copy_from(&self, to: BufferId, other: &dyn Loaded, from: BufferId) -> bool {
        let Some(other) = other.as_any().downcast_ref::<CudaLoaded>() else {
            return false;
        };
        let (target, source) = (self.buffer(to), other.buffer(from));
        let alike = target.element == source.element && target.len() == source.len();
        let arrives = |of: &CudaLoaded, id| of.arrivals.borrow().contains_key(&id);
        let here = Arc::ptr_eq(&self.context, &other.context);
        if !alike || !here || arrives(self, to) || arrives(other, from) {
            return false;
        }
        let what = || format!("copying `{}`", source.name);
        self.attempt(what, || {
            other.turn.record(&other.stream)?;
            self.stream.wait(&other.turn)?;
            let (to, from) = (self.place(to), other.place(from));
            // SAFETY: both places have these bytes, and what else touches them waits.
            unsafe {
                let stream = self.stream.cu_stream();
                result::memcpy_dtod_async(to, from, target.bytes(), stream)?;
            }
            self.turn.record(&self.stream)?;
            Ok(other.stream.wait(&self.turn)?)
        });
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    /// They arrive beside the arena.
    fn takes_inputs_early(&self) -> bool {
        true
    }

    fn failure(&self) -> Option<Diagnostic> {
        self.failure.borrow().clone()
    }

    fn enable_profile(&self, on: bool) {
        self.attempt(
            || "making clocks".to_owned(),
            || {
                let event = || self.context.new_event(Some(EventFlags::CU_EVENT_DEFAULT));
                *self.clock.borrow_mut() = match on {
                    true => Some(Clock {
                        start: event()?,
                        end: event()?,
                        times: vec![Duration::ZERO; self.kernels.len()],
                    }),
                    false => None,
                };
                Ok(())
            },
        );
    }

    fn profile(&self) -> Vec<Duration> {
        let clock = self.clock.borrow();
        clock.as_ref().map_or_else(Vec::new, |c| c.times.clone())
    }
}

impl Drop for CudaLoaded {
    fn drop(&mut self) {
        // Errors are those that were kept; the memory must not go before the streams are done.
        let _ = self.context.bind_to_thread();
        let _ = self.stream.synchronize();
        let _ = self.copies.synchronize();
    }
}

impl fmt::Debug for CudaLoaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaLoaded")
            .field("kernels", &self.kernels.len())
            .finish_non_exhaustive()
    }
}
