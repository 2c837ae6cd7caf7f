//! Replay of what was captured.
use super::queue::{Stream, Work};
use super::state::{Driver, Point, give, with_context};
use super::status::{self, Outcome, Status};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_ulonglong, c_void};

#[derive(Clone)]
pub struct Node {
    pub work: Work,
    /// Nodes that come before.
    pub after: Vec<usize>,
    /// The stream that it was captured in.
    pub stream: usize,
}

#[derive(Clone)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// Nodes that the end waits for.
    pub ends: Vec<usize>,
    pub origin: usize,
    /// Streams of its own for branches that were captured in others than the origin.
    pub branches: BTreeMap<usize, usize>,
}

impl Driver {
    fn launch_graph(&mut self, handle: u64, stream: usize) -> Outcome {
        let graph = self
            .graphs
            .get(&handle)
            .ok_or(status::INVALID_HANDLE)?
            .clone();
        if self.streams[stream].capture.is_some() {
            return Err(self.say(
                status::NOT_SUPPORTED,
                "a graph launched while capturing is not simulated",
            ));
        }
        self.refuse_implicit(stream)?;
        let start = self.tail(stream);
        let mut points: Vec<Point> = Vec::with_capacity(graph.nodes.len());
        let mut branches = graph.branches;
        for node in graph.nodes {
            let on = if node.stream == graph.origin {
                stream
            } else {
                *branches.entry(node.stream).or_insert_with(|| {
                    self.streams.push(Stream {
                        alive: false,
                        ..Stream::new(false)
                    });
                    self.streams.len() - 1
                })
            };
            let mut after = vec![start.clone()];
            after.extend(node.after.iter().map(|&n| points[n].clone()));
            self.enqueue(on, node.work, &after);
            points.push(self.tail(on));
        }
        let ends: Vec<Point> = graph.ends.iter().map(|&n| points[n].clone()).collect();
        self.enqueue(stream, Work::Nothing, &ends);
        if let Some(graph) = self.graphs.get_mut(&handle) {
            graph.branches = branches;
        }
        Ok(())
    }

    fn instantiate(&mut self, graph: u64) -> Result<u64, Status> {
        let graph = self
            .graphs
            .get(&graph)
            .ok_or(status::INVALID_HANDLE)?
            .clone();
        let handle = self.handle();
        self.graphs.insert(handle, graph);
        Ok(handle)
    }

    fn destroy_graph(&mut self, handle: u64) -> Outcome {
        self.graphs
            .remove(&handle)
            .map(|_| ())
            .ok_or(status::INVALID_HANDLE)
    }
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(
    run: *mut u64,
    graph: u64,
    _flags: c_ulonglong,
) -> Status {
    with_context(|driver| {
        let handle = driver.instantiate(graph)?;
        // SAFETY: as the caller promises.
        unsafe { give(run, handle) }
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiate_v2(
    run: *mut u64,
    graph: u64,
    _node: *mut c_void,
    _log: *mut c_char,
    _bytes: usize,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuGraphInstantiateWithFlags(run, graph, 0) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(run: u64, stream: u64) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        driver.launch_graph(run, stream)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphUpload(run: u64, stream: u64) -> Status {
    with_context(|driver| {
        driver.stream(stream)?;
        driver
            .graphs
            .get(&run)
            .map(|_| ())
            .ok_or(status::INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(run: u64) -> Status {
    with_context(|driver| driver.destroy_graph(run))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: u64) -> Status {
    with_context(|driver| driver.destroy_graph(graph))
}

/// # Safety
/// The pointer must be good for a number; `nodes` is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphGetNodes(
    graph: u64,
    nodes: *mut *mut c_void,
    count: *mut usize,
) -> Status {
    with_context(|driver| {
        let found = driver
            .graphs
            .get(&graph)
            .ok_or(status::INVALID_HANDLE)?
            .nodes
            .len();
        if !nodes.is_null() {
            return Err(status::NOT_SUPPORTED);
        }
        // SAFETY: as the caller promises.
        unsafe { give(count, found) }
    })
}
