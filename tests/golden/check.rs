//! How far found tensors are from wanted ones, and the report of all that are too far.

use crate::tensors::{Tensor, Tensors};

/// What is too far, collected over a whole case.
#[derive(Default)]
pub struct Report {
    lines: Vec<(f64, String)>,
    checked: usize,
}

impl Report {
    /// Notes the tensor `name` when its `distance` from what is wanted is more than `allowed`, or no number.
    pub fn distance(&mut self, name: &str, distance: f64, allowed: f64, norm: f64) {
        self.checked += 1;
        if distance.is_nan() || distance > allowed {
            let line =
                format!("{name}: off by {distance:.2e} of {norm:.2e}; {allowed:.2e} is allowed");
            self.lines.push((distance / allowed, line));
        }
    }

    pub fn wrong(&mut self, line: String) {
        self.lines.push((f64::INFINITY, line));
    }

    /// The tensor of this name and shape.
    pub fn find<'t>(
        &mut self,
        found: &'t Tensors,
        name: &str,
        shape: &[usize],
    ) -> Option<&'t Tensor> {
        let tensor = found.get(name);
        match tensor {
            None => self.wrong(format!("{name} is missing")),
            Some(t) if t.shape != shape => {
                self.wrong(format!("{name} has shape {:?}, not {shape:?}", t.shape));
                return None;
            }
            Some(_) => {}
        }
        tensor
    }

    /// Panics with everything that is wrong, the worst first.
    pub fn finish(mut self, what: &str) {
        assert!(self.checked > 0, "{what}: nothing was checked");
        if self.lines.is_empty() {
            return;
        }
        self.lines.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shown: Vec<&str> = self.lines.iter().take(20).map(|l| l.1.as_str()).collect();
        panic!(
            "{what}: {} of {} tensors differ from PyTorch's\n  {}",
            self.lines.len(),
            self.checked,
            shown.join("\n  ")
        );
    }
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

pub fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}
