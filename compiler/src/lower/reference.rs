//! The reference: a lowered graph, run on luminal's own CPU operators. Slow: for small shapes only.

use super::{Lowered, Port, lower};
use crate::core::graph::Graph;
use crate::exec::Executor;
use luminal::tensor::Tensor;

/// A lowered graph that luminal runs unfused.
pub struct Reference {
    lowered: Lowered,
}

impl Reference {
    /// Lowers a verified core graph.
    pub fn new(graph: &Graph) -> Reference {
        let mut lowered = lower(graph);
        for port in lowered.sources.iter().chain(&lowered.outputs) {
            lowered.graph.no_delete.insert(port.node);
        }
        Reference { lowered }
    }

    fn store(&mut self, port: &Port, data: Vec<f32>) {
        self.lowered
            .graph
            .tensors
            .insert((port.node, 0), Tensor::new(data));
    }

    fn data(&self, port: &Port) -> Option<&Vec<f32>> {
        let tensor = self.lowered.graph.tensors.get(&(port.node, 0))?;
        tensor.data.as_any().downcast_ref::<Vec<f32>>()
    }

    fn source(&self, name: &str) -> Option<&Port> {
        self.lowered.sources.iter().find(|p| p.name == name)
    }
}

fn named(ports: &[Port]) -> Vec<(String, Vec<usize>)> {
    ports
        .iter()
        .map(|p| (p.name.clone(), p.shape.clone()))
        .collect()
}

impl Executor for Reference {
    fn sources(&self) -> Vec<(String, Vec<usize>)> {
        named(&self.lowered.sources)
    }

    fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        named(&self.lowered.outputs)
    }

    fn set(&mut self, name: &str, data: &[f32]) -> bool {
        let Some(port) = self.source(name).cloned() else {
            return false;
        };
        assert_eq!(
            data.len(),
            port.shape.iter().product::<usize>(),
            "the size of `{name}`"
        );
        self.store(&port, data.to_vec());
        true
    }

    fn run(&mut self) {
        // Luminal skips a node whose tensor of the last run is still there.
        let sources: Vec<_> = self.lowered.sources.iter().map(|p| p.node).collect();
        self.lowered
            .graph
            .tensors
            .retain(|(node, _), _| sources.contains(node));
        self.lowered.graph.execute();
        let updates: Vec<(Port, Vec<f32>)> = self
            .lowered
            .outputs
            .iter()
            .filter_map(|o| Some((self.source(&o.name)?.clone(), self.data(o)?.clone())))
            .collect();
        for (port, data) in updates {
            self.store(&port, data);
        }
    }

    fn get(&self, name: &str, out: &mut Vec<f32>) -> bool {
        let output = self.lowered.outputs.iter().find(|p| p.name == name);
        let source = self.source(name);
        // After a run an update stands in its source as well; a source set since then is newer.
        let Some(port) = source.or(output) else {
            return false;
        };
        out.clear();
        match self.data(port) {
            Some(data) => out.extend_from_slice(data),
            None => out.resize(port.shape.iter().product(), 0.0),
        }
        true
    }
}
