//! What streams record instead of doing it.
use super::graphs::{Graph, Node};
use super::queue::Work;
use super::state::{Driver, give, with_context};
use super::status::{self, Outcome, Status};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint};
use std::thread::ThreadId;

/// Modes of a capture: which calls it forbids, and to whom.
const MODE_GLOBAL: c_uint = 0;
const MODE_THREAD: c_uint = 1;

pub struct Capture {
    origin: usize,
    mode: c_uint,
    thread: ThreadId,
    nodes: Vec<Node>,
    /// Of each stream that takes part, the nodes that its next one comes after.
    tails: BTreeMap<usize, Vec<usize>>,
    invalid: bool,
}

impl Driver {
    /// Calls that may wait or allocate spoil captures.
    pub fn refuse_while_capturing(&mut self) -> Outcome {
        let thread = std::thread::current().id();
        let forbids =
            |c: &&mut Capture| c.mode == MODE_GLOBAL || c.mode == MODE_THREAD && c.thread == thread;
        let mut found = false;
        for capture in self.captures.values_mut().filter(|c| forbids(c)) {
            capture.invalid = true;
            found = true;
        }
        match found {
            true => Err(self.say(
                status::STREAM_CAPTURE_UNSUPPORTED,
                "a call that is not allowed while a stream captures",
            )),
            false => Ok(()),
        }
    }

    /// The legacy default stream would wait for blocking streams that capture.
    pub fn refuse_implicit(&mut self, stream: usize) -> Outcome {
        if stream != 0 {
            return Ok(());
        }
        let found = self
            .streams
            .iter()
            .filter(|s| s.blocking)
            .find_map(|s| s.capture);
        match found.and_then(|id| self.captures.get_mut(&id)) {
            Some(capture) => {
                capture.invalid = true;
                Err(status::STREAM_CAPTURE_IMPLICIT)
            }
            None => Ok(()),
        }
    }

    /// The capture that a stream takes part in can no longer end well.
    pub fn spoil(&mut self, stream: usize) {
        if let Some(capture) = self.streams[stream]
            .capture
            .and_then(|id| self.captures.get_mut(&id))
        {
            capture.invalid = true;
        }
    }

    fn capture_of(&mut self, stream: usize) -> Result<&mut Capture, Status> {
        let capture = self.streams[stream]
            .capture
            .and_then(|id| self.captures.get_mut(&id));
        match capture {
            Some(capture) if capture.invalid => Err(status::STREAM_CAPTURE_INVALIDATED),
            Some(capture) => Ok(capture),
            None => Err(status::ILLEGAL_STATE),
        }
    }

    pub fn capture_work(&mut self, stream: usize, work: Work) -> Outcome {
        let capture = self.capture_of(stream)?;
        let after = capture.tails.get(&stream).cloned().unwrap_or_default();
        capture.nodes.push(Node {
            work,
            after,
            stream,
        });
        capture.tails.insert(stream, vec![capture.nodes.len() - 1]);
        Ok(())
    }

    pub fn capture_record(&mut self, stream: usize, event: u64) -> Outcome {
        let id = self.streams[stream].capture.unwrap_or_default();
        let tails = self
            .capture_of(stream)?
            .tails
            .get(&stream)
            .cloned()
            .unwrap_or_default();
        if let Some(event) = self.events.get_mut(&event) {
            event.captured = Some((id, tails));
        }
        Ok(())
    }

    /// A wait for an event, where the stream captures or the event was recorded by one that does.
    pub fn capture_wait(&mut self, stream: usize, event: Option<(u64, Vec<usize>)>) -> Outcome {
        let Some((id, nodes)) = event.filter(|(id, _)| self.captures.contains_key(id)) else {
            self.spoil(stream);
            return Err(status::STREAM_CAPTURE_ISOLATION);
        };
        match self.streams[stream].capture {
            Some(own) if own != id => {
                self.spoil(stream);
                return Err(status::STREAM_CAPTURE_MERGE);
            }
            Some(_) => {}
            None => self.streams[stream].capture = Some(id),
        }
        let tails = self.capture_of(stream)?.tails.entry(stream).or_default();
        for node in nodes {
            if !tails.contains(&node) {
                tails.push(node);
            }
        }
        Ok(())
    }

    fn end_capture(&mut self, stream: usize) -> Result<u64, Status> {
        let id = self.streams[stream].capture.ok_or(status::ILLEGAL_STATE)?;
        if self.captures.get(&id).is_none_or(|c| c.origin != stream) {
            self.spoil(stream);
            return Err(status::STREAM_CAPTURE_UNMATCHED);
        }
        for stream in self.streams.iter_mut().filter(|s| s.capture == Some(id)) {
            stream.capture = None;
        }
        for event in self
            .events
            .values_mut()
            .filter(|e| e.captured.as_ref().is_some_and(|c| c.0 == id))
        {
            event.captured = None;
        }
        let Some(capture) = self.captures.remove(&id) else {
            return Err(status::ILLEGAL_STATE);
        };
        if capture.invalid {
            return Err(status::STREAM_CAPTURE_INVALIDATED);
        }
        let mut joined = vec![false; capture.nodes.len()];
        let mut open = capture.tails.get(&stream).cloned().unwrap_or_default();
        let ends = open.clone();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut joined[node], true) {
                open.extend(&capture.nodes[node].after);
            }
        }
        if joined.contains(&false) {
            return Err(status::STREAM_CAPTURE_UNJOINED);
        }
        let handle = self.handle();
        self.graphs.insert(
            handle,
            Graph {
                nodes: capture.nodes,
                ends,
                origin: stream,
                branches: BTreeMap::new(),
            },
        );
        Ok(handle)
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: u64, mode: c_uint) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        if stream == 0 {
            return Err(status::STREAM_CAPTURE_UNSUPPORTED);
        }
        if driver.streams[stream].capture.is_some() {
            return Err(status::ILLEGAL_STATE);
        }
        let id = driver.handle();
        let thread = std::thread::current().id();
        let (nodes, tails) = (Vec::new(), BTreeMap::from([(stream, Vec::new())]));
        driver.captures.insert(
            id,
            Capture {
                origin: stream,
                mode,
                thread,
                nodes,
                tails,
                invalid: false,
            },
        );
        driver.streams[stream].capture = Some(id);
        Ok(())
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: u64, graph: *mut u64) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        let ended = driver.end_capture(stream);
        // SAFETY: as the caller promises.
        unsafe { give(graph, ended.unwrap_or(0)) }?;
        ended.map(|_| ())
    })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamIsCapturing(stream: u64, state: *mut c_int) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        let capture = driver.streams[stream]
            .capture
            .and_then(|id| driver.captures.get(&id));
        // SAFETY: as the caller promises.
        unsafe { give(state, capture.map_or(0, |c| 1 + c.invalid as c_int)) }
    })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuThreadExchangeStreamCaptureMode(mode: *mut c_uint) -> Status {
    // Captures keep the mode that they began with.
    // SAFETY: as the caller promises.
    with_context(|_| unsafe { give(mode, MODE_GLOBAL) })
}
