//! The graphs of a program and their outputs: the forward pass, running statistics, the encoder alone.

use super::Elab;
use super::graph::{Building, prune, reached};
use super::layers::Mode;
use super::values::{ModuleRef, NetworkId, R, Reported, Value};
use super::views::CheckedPipeline;
use crate::core::graph::{Graph, ValueId};
use crate::core::ops;
use sslc_grammar::ast::Role;
use std::collections::BTreeMap;

/// The schedule input of [`crate::program::Encode::calibrate`].
pub const CALIBRATE: &str = "calibrate";
/// The view input of the encoder's graphs.
pub const IMAGES: &str = "images";

impl<'a> Elab<'a> {
    /// Outputs of the forward pass: loss, values, running statistics after the step, embedding.
    pub fn forward_graph(&mut self, loss: ValueId, values: &[(String, ValueId)]) -> Graph {
        let needed = reached(&self.g.b.graph, [loss]);
        self.g.b.output("loss", loss);
        for (name, v) in values {
            self.g.b.output(format!("value/{name}"), *v);
        }
        self.norm_updates(&needed);
        let embedding = [Role::Projector, Role::Encoder].iter().find_map(|role| {
            self.applications.iter().find(|a| {
                let n = &self.networks[a.network];
                n.source.is_none() && n.role == *role && needed[a.output.index()]
            })
        });
        if let Some(v) = embedding.map(|a| a.output) {
            let v = self.features(v);
            self.g.b.output("embedding", v);
        }
        let building = std::mem::take(&mut self.g);
        let (graph, moved) = prune(building.b.graph);
        let place = |v: ValueId| moved[v.index()];
        self.applications.retain_mut(|a| {
            let (Some(input), Some(output)) = (place(a.input), place(a.output)) else {
                return false;
            };
            (a.input, a.output) = (input, output);
            true
        });
        graph
    }

    /// What batch norms reached by the loss make of their running statistics, in the order of application.
    pub fn norm_updates(&mut self, needed: &[bool]) {
        let uses = std::mem::take(&mut self.g.norm_uses);
        let mut after: BTreeMap<String, ValueId> = BTreeMap::new();
        let mut order: Vec<String> = Vec::new();
        for u in uses.iter().filter(|u| needed[u.output.index()]) {
            if self.networks[u.network.index()].average_buffers {
                continue;
            }
            self.g.b.origin = Some(u.span);
            // PyTorch stores the unbiased variance.
            let unbiased = u.count as f64 / (u.count as f64 - 1.0);
            let var = self.g.b.scale(u.var, unbiased);
            for (path, statistic) in [(&u.mean_path, u.mean), (&u.var_path, var)] {
                let size = self.g.b.shape(statistic)[0];
                let before = match after.get(path) {
                    Some(v) => *v,
                    None => {
                        order.push(path.clone());
                        self.buffer_value(path, size)
                    }
                };
                let kept = self.g.b.scale(before, 1.0 - u.momentum);
                let taken = self.g.b.scale(statistic, u.momentum);
                let v = self.g.b.add(kept, taken);
                after.insert(path.clone(), v);
            }
        }
        for path in order {
            let v = after[&path];
            self.g.b.output(format!("buffer/{path}"), v);
        }
    }

    /// A network's output as [B, D]: feature maps are averaged over rows and columns.
    pub fn features(&mut self, v: ValueId) -> ValueId {
        let shape = self.g.b.shape(v);
        match shape.len() {
            2 => v,
            4 => self.g.b.mean(v, &[1, 2]),
            _ => {
                let rows = shape.first().copied().unwrap_or(1);
                let rest = shape.iter().skip(1).product();
                self.g.b.reshape(v, &[rows, rest])
            }
        }
    }

    /// The encoder alone, on images prepared for evaluation.
    pub fn encode_graph(
        &mut self,
        encoder: NetworkId,
        images: &CheckedPipeline,
        mode: Mode,
    ) -> R<Graph> {
        self.g = Building::default();
        self.mode = mode;
        let channels = self.data.as_ref().map_or(0, |d| d.channels);
        let shape = [self.batch, images.height, images.width, channels];
        let span = self.networks[encoder.index()].span;
        let x = self.push(
            &ops::VIEW,
            &[],
            vec![("name", IMAGES.into()), ("shape", shape.as_slice().into())],
            span,
        )?;
        self.g.b.name(x, IMAGES);
        let Some(root) = self.networks[encoder.index()].root else {
            return Err(Reported);
        };
        let module = ModuleRef {
            id: root,
            target: None,
        };
        let y = self.apply(module, vec![(Value::Tensor(x), span)], span)?;
        let Value::Tensor(y) = y else {
            let d = self.wrong_kind_diagnostic("a tensor", &y, span);
            return Err(self.report(d));
        };
        self.g.b.origin = Some(span);
        let y = self.features(y);
        self.g.b.output("features", y);
        if mode == Mode::Calibrate {
            self.calibration();
        }
        self.mode = Mode::Train;
        let building = std::mem::take(&mut self.g);
        Ok(prune(building.b.graph).0)
    }

    /// buffer + m · (statistic of this batch − buffer), with m from the schedule [`CALIBRATE`].
    pub fn calibration(&mut self) {
        let uses = std::mem::take(&mut self.g.norm_uses);
        if uses.is_empty() {
            return;
        }
        let m = self.g.b.schedule(CALIBRATE);
        let mut after: BTreeMap<String, ValueId> = BTreeMap::new();
        for u in &uses {
            self.g.b.origin = Some(u.span);
            let unbiased = u.count as f64 / (u.count as f64 - 1.0);
            let var = self.g.b.scale(u.var, unbiased);
            for (path, statistic) in [(&u.mean_path, u.mean), (&u.var_path, var)] {
                let size = self.g.b.shape(statistic)[0];
                let before = match after.get(path) {
                    Some(v) => *v,
                    None => self.buffer_value(path, size),
                };
                let difference = self.g.b.sub(statistic, before);
                let part = self.g.b.mul(difference, m);
                let v = self.g.b.add(before, part);
                after.insert(path.clone(), v);
            }
        }
        for (path, v) in after {
            self.g.b.output(format!("buffer/{path}"), v);
        }
    }
}
