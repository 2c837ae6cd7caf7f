//! Our luminal compiler: a graph's contents become one operator per kernel, in one chain.

use super::build::{Interface, Options, build};
use super::device::{Device, Loaded};
use super::ir::{BufferId, BufferKind, KernelProgram};
use crate::core::graph::Graph;
use crate::exec::Executor;
use crate::lower::{check_sizes, lower};
use luminal::compiler_utils::{Compiler, ToIdsMut};
use luminal::graph::{Dependency, MainGraph};
use luminal::op::{InputTensor, Operator};
use luminal::prelude::ShapeTracker;
use luminal::tensor::Tensor;
use sslc_grammar::diag::Diagnostic;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// Runs one kernel of a loaded program. It has no data edges: the kernel knows its places in the arena.
#[derive(Clone)]
pub struct KernelOp {
    pub kernel: usize,
    pub loaded: Rc<dyn Loaded>,
}

impl fmt::Debug for KernelOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Kernel {} {}",
            self.kernel,
            self.loaded.program().kernels[self.kernel].name
        )
    }
}

/// No two kernels are equal, so none is merged away.
impl PartialEq for KernelOp {
    fn eq(&self, other: &KernelOp) -> bool {
        self.kernel == other.kernel && Rc::ptr_eq(&self.loaded, &other.loaded)
    }
}

impl Operator for KernelOp {
    fn process(&mut self, _: Vec<(InputTensor, ShapeTracker)>) -> Vec<Tensor> {
        self.loaded.run(self.kernel);
        Vec::new()
    }
}

/// Replaces a lowered graph's contents by kernels on a device.
pub struct KernelCompiler<'a> {
    pub interface: Interface,
    pub device: &'a dyn Device,
    /// What compiling gave: luminal's interface has no place for it.
    pub result: RefCell<Option<Result<Rc<dyn Loaded>, Diagnostic>>>,
}

impl Compiler for &KernelCompiler<'_> {
    fn compile<T: ToIdsMut>(&self, graph: &mut luminal::graph::Graph, _: T) {
        let built = build(graph, &self.interface);
        let loaded = built.and_then(|program| self.device.load(Rc::new(program)));
        if let Ok(loaded) = &loaded {
            graph.graph = MainGraph::default();
            graph.tensors.clear();
            graph.no_delete.clear();
            let add = |kernel| {
                graph.graph.add_node(Box::new(KernelOp {
                    kernel,
                    loaded: loaded.clone(),
                }) as _)
            };
            let nodes: Vec<_> = (0..loaded.program().kernels.len()).map(add).collect();
            for pair in nodes.windows(2) {
                graph.graph.add_edge(pair[0], pair[1], Dependency::Schedule);
            }
        }
        *self.result.borrow_mut() = Some(loaded);
    }
}

/// A graph compiled for a device.
pub struct Compiled {
    graph: Box<luminal::graph::Graph>,
    loaded: Rc<dyn Loaded>,
    /// The graph's outputs with the shapes they have there: a kernel may write one in another shape of the same elements.
    outputs: Vec<(String, Vec<usize>)>,
    /// The buffers that the host sets or reads.
    names: HashMap<String, BufferId>,
}

impl Compiled {
    /// Lowers, compiles and loads a verified core graph.
    ///
    /// # Errors
    /// When the device has no room, or no form for a kernel; E0704 where the limit on memory cannot be kept.
    pub fn new(
        graph: &Graph,
        options: Options,
        device: &dyn Device,
    ) -> Result<Compiled, Diagnostic> {
        check_sizes(graph)?;
        let mut lowered = lower(graph);
        let outputs = lowered.outputs.iter();
        let outputs = outputs.map(|p| (p.name.clone(), p.shape.clone())).collect();
        let compiler = KernelCompiler {
            interface: Interface::of(&lowered, options),
            device,
            result: RefCell::new(None),
        };
        lowered.graph.compile(&compiler, ());
        let Some(loaded) = compiler.result.into_inner() else {
            unreachable!("luminal compiles when asked to")
        };
        let loaded = loaded?;
        let buffers = loaded.program().buffers.iter().zip(0..);
        let named = buffers.filter(|(b, _)| is_read(b.kind));
        Ok(Compiled {
            graph: lowered.graph,
            names: named.map(|(b, i)| (b.name.clone(), BufferId(i))).collect(),
            loaded,
            outputs,
        })
    }

    pub fn program(&self) -> &KernelProgram {
        self.loaded.program()
    }

    /// The luminal graph that runs: a chain of kernels.
    pub fn graph(&self) -> &luminal::graph::Graph {
        &self.graph
    }

    /// The device's side of the program, for reading and writing single buffers.
    pub fn loaded(&self) -> &Rc<dyn Loaded> {
        &self.loaded
    }

    fn ports(&self, of: impl Fn(BufferKind) -> bool) -> Vec<(String, Vec<usize>)> {
        let buffers = self.program().buffers.iter().filter(|b| of(b.kind));
        buffers.map(|b| (b.name.clone(), b.shape.clone())).collect()
    }

    fn find(&self, name: &str, of: impl Fn(BufferKind) -> bool) -> Option<(BufferId, usize)> {
        let id = *self.names.get(name)?;
        let buffer = &self.program().buffers[id.0 as usize];
        of(buffer.kind).then(|| (id, buffer.len()))
    }
}

/// Whether the host may read it after a step.
fn is_read(kind: BufferKind) -> bool {
    is_source(kind) || kind == BufferKind::Output
}

fn is_source(kind: BufferKind) -> bool {
    matches!(kind, BufferKind::Input | BufferKind::State)
}

impl Executor for Compiled {
    fn sources(&self) -> Vec<(String, Vec<usize>)> {
        self.ports(is_source)
    }

    fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        self.outputs.clone()
    }

    fn set(&mut self, name: &str, data: &[f32]) -> bool {
        let Some((buffer, len)) = self.find(name, is_source) else {
            return false;
        };
        assert_eq!(data.len(), len, "the size of `{name}`");
        self.loaded.write(buffer, data);
        true
    }

    fn run(&mut self) {
        self.graph.execute();
    }

    fn takes_inputs_early(&self) -> bool {
        self.loaded.takes_inputs_early()
    }

    fn failure(&self) -> Option<Diagnostic> {
        self.loaded.failure()
    }

    fn kernels(&self) -> Option<&KernelProgram> {
        Some(self.program())
    }

    fn place(&self, name: &str) -> Option<(&dyn Loaded, BufferId)> {
        let (buffer, _) = self.find(name, is_read)?;
        Some((self.loaded.as_ref(), buffer))
    }

    fn copy_from(&mut self, name: &str, other: &dyn Executor) -> bool {
        match (self.find(name, is_source), other.place(name)) {
            (Some((to, _)), Some((other, from))) => self.loaded.copy_from(to, other, from),
            _ => false,
        }
    }

    fn get(&self, name: &str, out: &mut Vec<f32>) -> bool {
        let Some((buffer, len)) = self.find(name, is_read) else {
            return false;
        };
        out.resize(len, 0.0);
        self.loaded.read(buffer, out);
        true
    }
}
