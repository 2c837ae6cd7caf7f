//! Work in streams, and when it happens.
use super::state::{Driver, Point, join};
use super::status::{self, Outcome, Status};
use crate::device::Module;
use crate::exec::{Fault, Kind, Launch};
use crate::libraries::Product;
use crate::memory::Operation;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of the host.
#[derive(Clone)]
pub enum Source {
    /// Taken when the call was made, as the driver does with memory that is not pinned.
    Taken(Vec<u8>),
    /// Read when the copy happens.
    Later(usize, usize),
}

#[derive(Clone)]
pub enum Work {
    Nothing,
    Launch {
        module: Arc<Module>,
        kernel: usize,
        grid: [u32; 3],
        threads: [u32; 3],
        shared: u32,
        parameters: Vec<u8>,
    },
    CopyIn {
        from: Source,
        to: u64,
    },
    CopyOut {
        from: u64,
        to: usize,
        bytes: usize,
    },
    Copy {
        from: u64,
        to: u64,
        bytes: usize,
    },
    Fill {
        to: u64,
        pattern: Vec<u8>,
        count: usize,
    },
    /// A product of one of NVIDIA's libraries.
    Library(Box<Product>),
    Free(u64),
    Record(u64),
    Call(unsafe extern "C" fn(*mut c_void), usize),
}

impl Work {
    fn name(&self) -> String {
        match self {
            Work::Launch { module, kernel, .. } => {
                format!("the kernel `{}`", module.kernels[*kernel].name)
            }
            Work::CopyIn { .. } => "a copy from the host".into(),
            Work::CopyOut { .. } => "a copy to the host".into(),
            Work::Copy { .. } => "a copy".into(),
            Work::Fill { .. } => "a memset".into(),
            Work::Library(product) => product.name(),
            Work::Free(_) => "a free".into(),
            Work::Nothing | Work::Record(_) | Work::Call(..) => "an event".into(),
        }
    }

    /// Whether it will use these bytes of the host.
    pub fn uses(&self, address: usize, bytes: usize) -> bool {
        let (from, length) = match self {
            Work::CopyIn {
                from: Source::Later(from, length),
                ..
            } => (*from, *length),
            Work::CopyOut { to, bytes, .. } => (*to, *bytes),
            _ => return false,
        };
        from < address.saturating_add(bytes) && address < from.saturating_add(length)
    }
}

pub struct Task {
    pub work: Work,
    position: u64,
    /// What must have happened before.
    after: Vec<(usize, u64)>,
    clock: Vec<u64>,
}

pub struct Stream {
    /// Whether it and the legacy default stream wait for each other.
    pub blocking: bool,
    pub alive: bool,
    pub queue: VecDeque<Task>,
    pub issued: u64,
    pub done: u64,
    /// Of the last work issued.
    pub clock: Vec<u64>,
    /// The capture that it takes part in.
    pub capture: Option<u64>,
    pub asked: bool,
}

impl Stream {
    pub fn new(blocking: bool) -> Self {
        Stream {
            blocking,
            alive: true,
            queue: VecDeque::new(),
            issued: 0,
            done: 0,
            clock: Vec::new(),
            capture: None,
            asked: false,
        }
    }
}

impl Driver {
    /// The stream of a handle: 0 and 1 are the legacy default stream, 2 that of the thread.
    pub fn stream(&self, handle: u64) -> Result<usize, Status> {
        let index = match handle {
            0 | 1 => 0,
            2 => 1,
            _ => (handle / 16) as usize,
        };
        match self.streams.get(index) {
            Some(stream) if stream.alive && (index < 2 || handle.is_multiple_of(16)) => Ok(index),
            _ => Err(status::INVALID_HANDLE),
        }
    }

    /// The point after all work of a stream so far.
    pub fn tail(&self, stream: usize) -> Point {
        let of = &self.streams[stream];
        Point {
            stream,
            position: of.issued,
            clock: of.clock.clone(),
        }
    }

    /// Puts work into a stream's queue, or into what it captures.
    pub fn submit(&mut self, stream: usize, work: Work) -> Outcome {
        if self.streams[stream].capture.is_some() {
            return self.capture_work(stream, work);
        }
        self.refuse_implicit(stream)?;
        self.enqueue(stream, work, &[]);
        Ok(())
    }

    /// Puts work into a queue, after these points too.
    pub fn enqueue(&mut self, stream: usize, work: Work, points: &[Point]) {
        let mut after: Vec<(usize, u64)> = points.iter().map(|p| (p.stream, p.position)).collect();
        let mut clock = self.streams[stream].clock.clone();
        join(&mut clock, &self.clock);
        for point in points {
            join(&mut clock, &point.clock);
        }
        if self.streams[stream].blocking {
            for (other, of) in self.streams.iter().enumerate() {
                let related = other != stream && of.blocking && (stream == 0 || other == 0);
                if related && of.issued > 0 {
                    after.push((other, of.issued));
                    join(&mut clock, &of.clock);
                }
            }
        }
        let of = &mut self.streams[stream];
        of.issued += 1;
        join(&mut clock, &vec![0; stream + 1]);
        clock[stream] = of.issued;
        of.clock = clock.clone();
        of.queue.push_back(Task {
            work,
            position: of.issued,
            after,
            clock,
        });
    }

    /// Does the work of a stream up to a position, and what that waits for.
    pub fn reach(&mut self, stream: usize, position: u64) -> Outcome {
        while self.streams[stream].done < position {
            if let Some(error) = self.error {
                return Err(error);
            }
            let after = match self.streams[stream].queue.front_mut() {
                Some(task) => std::mem::take(&mut task.after),
                None => return Ok(()),
            };
            for (other, position) in after {
                self.reach(other, position)?;
            }
            let Some(task) = self.streams[stream].queue.pop_front() else {
                return Ok(());
            };
            self.streams[stream].done = task.position;
            self.perform(stream, task)?;
        }
        Ok(())
    }

    /// The host waits for a point.
    pub fn wait_for(&mut self, point: &Point) -> Outcome {
        self.reach(point.stream, point.position)?;
        self.learn(&point.clock);
        Ok(())
    }

    /// The host waits for everything.
    pub fn wait_for_all(&mut self) -> Outcome {
        for stream in 0..self.streams.len() {
            let tail = self.tail(stream);
            self.wait_for(&tail)?;
        }
        Ok(())
    }

    fn perform(&mut self, stream: usize, task: Task) -> Outcome {
        let Task {
            work,
            position,
            clock,
            ..
        } = task;
        self.memory.begin(
            Operation {
                stream: stream as u32,
                position,
                name: work.name(),
            },
            &clock,
        );
        let illegal = |result: Result<(), String>| {
            result.map_err(|message| {
                let out = message.contains("not all allocated");
                Fault::new(if out { Kind::Address } else { Kind::Failed }, message)
            })
        };
        let result = match work {
            Work::Nothing => Ok(()),
            Work::Launch {
                module,
                kernel,
                grid,
                threads,
                shared,
                parameters,
            } => {
                let launch = Launch {
                    kernel: &module.kernels[kernel],
                    text: &module.text,
                    grid,
                    threads,
                    shared,
                    parameters: &parameters,
                    budget: self.budget,
                };
                launch
                    .run(&mut self.memory)
                    .map(|instructions| self.instructions += instructions)
            }
            Work::CopyIn {
                from: Source::Taken(bytes),
                to,
            } => illegal(self.memory.write(to, &bytes)),
            Work::CopyIn {
                from: Source::Later(from, length),
                to,
            } => {
                // SAFETY: whoever asked for the copy promised that the memory lives until it has happened.
                let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, length) };
                illegal(self.memory.write(to, bytes))
            }
            Work::CopyOut { from, to, bytes } => {
                // SAFETY: as above; nothing else uses the memory before the copy has happened.
                let bytes = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) };
                illegal(self.memory.read(from, bytes))
            }
            Work::Copy { from, to, bytes } => illegal(self.memory.copy(from, to, bytes)),
            Work::Fill { to, pattern, count } => illegal(self.memory.fill(to, &pattern, count)),
            Work::Library(product) => {
                self.objects.turn += 1;
                product.run(&mut self.memory, self.objects.turn)
            }
            Work::Free(address) => {
                let unused = self.memory.unused(address).map_err(Fault::failed);
                self.memory.free(address);
                unused
            }
            Work::Record(event) => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.happened = Some(Instant::now());
                }
                Ok(())
            }
            Work::Call(function, data) => {
                // SAFETY: whoever asked for the call promised that it may be made.
                unsafe { function(data as *mut c_void) };
                Ok(())
            }
        };
        let Err(fault) = result else { return Ok(()) };
        let code = match fault.kind {
            Kind::Address => status::ILLEGAL_ADDRESS,
            Kind::Misaligned => status::MISALIGNED_ADDRESS,
            Kind::Timeout => status::LAUNCH_TIMEOUT,
            Kind::Failed => status::LAUNCH_FAILED,
        };
        self.error = Some(code);
        Err(self.say(code, fault.message))
    }
}
