//! Parameters and their kin by the names that files have for them.

use crate::layout;
use crate::tensors::{Data, FileTensor};
use sslc_compiler::program::{Layout, Program};
use std::collections::BTreeMap;

/// Inside shapes and layouts of a program's parameters and buffers, by path.
#[derive(Clone, Debug)]
pub struct Names {
    known: BTreeMap<String, (Vec<usize>, Layout)>,
}

impl Names {
    pub fn new(program: &Program) -> Names {
        let parameters = program
            .parameters
            .iter()
            .map(|p| (p.path.clone(), (p.shape.clone(), p.layout)));
        let buffers = program
            .buffers
            .iter()
            .map(|b| (b.path.clone(), (b.shape.clone(), Layout::Same)));
        Names {
            known: parameters.chain(buffers).collect(),
        }
    }

    /// Inside shape and layout of the parameter or buffer that a name speaks of: `state/momentum/f.conv1.weight` has those
    /// of `f.conv1.weight`.
    pub fn find(&self, name: &str) -> Option<(&[usize], Layout)> {
        let path = name.rsplit('/').next().unwrap_or(name);
        self.known
            .get(path)
            .map(|(shape, layout)| (shape.as_slice(), *layout))
    }

    /// The shape that files have for a parameter, buffer or state of one.
    pub fn file_shape(&self, name: &str) -> Option<Vec<usize>> {
        self.find(name)
            .map(|(shape, layout)| layout::file_shape(layout, shape))
    }

    /// A tensor as files have it; one that belongs to no parameter keeps its elements in a row.
    pub fn to_file(&self, name: &str, value: &[f32]) -> FileTensor {
        match self.find(name) {
            Some((shape, layout)) => FileTensor::f32(
                &layout::file_shape(layout, shape),
                layout::to_file(layout, value, shape),
            ),
            None => FileTensor::f32(&[value.len()], value.to_vec()),
        }
    }

    /// The elements of a file's tensor in their order inside; `None` where its shape or element type is another.
    pub fn from_file(&self, name: &str, tensor: &FileTensor) -> Option<Vec<f32>> {
        let Data::F32(data) = &tensor.data else {
            return None;
        };
        match self.find(name) {
            Some((shape, layout)) => (tensor.shape == layout::file_shape(layout, shape))
                .then(|| layout::from_file(layout, data, shape)),
            None => Some(data.clone()),
        }
    }
}
