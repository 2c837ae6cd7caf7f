//! The same step in PyTorch, in turns with ours.

use super::python::Python;
use serde::Serialize;
use serde_json::{Value, json};
use sslc_compiler::program::{NetworkRole, Program};
use sslc_compiler::step::optimizer::resolve;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::layout::{file_shape, to_file};
use sslc_runtime::train::init::Values;
use std::path::Path;

/// The script that builds the step of a spec in PyTorch and runs it.
const SCRIPT: &str = include_str!("../../../benches/pytorch.py");

/// What PyTorch did, next to what we did in the same run.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// PyTorch's version.
    pub version: String,
    /// Median.
    pub step_seconds: f64,
    /// PyTorch's time over ours, of the medians.
    pub speedup: f64,
    /// PyTorch's and our loss of the first step, from the same weights and views.
    pub losses: [f64; 2],
    /// Largest resident memory over that of the idle process, bytes.
    pub peak_memory_bytes: u64,
    /// Our memory over PyTorch's, each over the idle process.
    pub memory_ratio: f64,
}

/// PyTorch, ready to run the step of a program.
pub struct Peer {
    python: Python,
    version: String,
    seconds: Vec<f64>,
    loss: Option<f64>,
    memory: u64,
}

impl Peer {
    /// Starts PyTorch and gives it the step: the forward graph, the initial values, the views, the optimizer.
    ///
    /// # Errors
    /// When there is no Python with PyTorch, or it has no form of an op of the spec.
    pub fn start(
        python: &Path,
        program: &Program,
        values: &Values,
        views: &[Vec<f32>],
        threads: usize,
    ) -> Result<Peer, Diagnostic> {
        let mut python = Python::start(python, SCRIPT, threads)?;
        let mut job = describe(program, threads).to_string().into_bytes();
        job.push(b'\n');
        for p in &program.parameters {
            if let Some(value) = values.get(&p.path) {
                push(&mut job, &to_file(p.layout, value, &p.shape));
            }
        }
        for view in views {
            push(&mut job, view);
        }
        python.tell(&job);
        let ready = python.answer()?;
        let version = ready.get("version").and_then(Value::as_str);
        Ok(Peer {
            version: version.unwrap_or("unknown").to_owned(),
            python,
            seconds: Vec::new(),
            loss: None,
            memory: 0,
        })
    }

    /// Runs some steps; those that warm up are not counted.
    ///
    /// # Errors
    /// When PyTorch fails.
    pub fn steps(&mut self, count: u32, warm_up: bool) -> Result<(), Diagnostic> {
        self.python.tell(format!("steps {count}\n").as_bytes());
        let answer = self.python.answer()?;
        let numbers = |key: &str| -> Vec<f64> {
            let list = answer.get(key).and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect()
        };
        if !warm_up {
            self.seconds.extend(numbers("seconds"));
        }
        self.loss = self.loss.or(numbers("losses").first().copied());
        self.memory = answer.get("memory").and_then(Value::as_u64).unwrap_or(0);
        Ok(())
    }

    /// The outcome next to ours: median seconds of a step, the first step's loss, peak memory over the idle process.
    ///
    /// # Errors
    /// When no step was timed.
    pub fn finish(
        mut self,
        step_seconds: f64,
        loss: f64,
        memory: u64,
    ) -> Result<Comparison, Diagnostic> {
        self.python.tell(b"quit\n");
        let theirs = super::median(&mut self.seconds).ok_or_else(|| {
            Diagnostic::new(codes::E0751, "PyTorch gave no times to compare with")
        })?;
        Ok(Comparison {
            version: self.version,
            step_seconds: theirs,
            speedup: theirs / step_seconds,
            losses: [self.loss.unwrap_or(f64::NAN), loss],
            peak_memory_bytes: self.memory,
            memory_ratio: memory as f64 / self.memory.max(1) as f64,
        })
    }
}

fn push(bytes: &mut Vec<u8>, values: &[f32]) {
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
}

/// What the script must know of a step.
fn describe(program: &Program, threads: usize) -> Value {
    let schedule = |name: &str| program.schedules.get(name).map_or(0.0, |s| s.at(0));
    let parameters: Vec<Value> = program
        .parameters
        .iter()
        .map(|p| {
            let resolved = resolve(&program.train.optimizer, p);
            json!({
                "path": p.path,
                "shape": file_shape(p.layout, &p.shape),
                "transposed": p.layout == sslc_compiler::program::Layout::Transposed,
                "trained": matches!(program.networks[p.network].role, NetworkRole::Online(_)),
                "lr": schedule(&resolved.hyper.lr),
                "momentum": resolved.hyper.momentum,
                "weight_decay": resolved.hyper.weight_decay,
                "excluded": resolved.excluded,
            })
        })
        .collect();
    let sizes =
        |v: &sslc_compiler::program::View| [program.train.batch, v.height, v.width, v.channels];
    let targets = program
        .targets
        .iter()
        .filter(|link| program.parameters.iter().any(|p| p.path == link.target));
    json!({
        "nodes": program.forward.nodes,
        "loss": program.forward.output("loss").map(|id| id.0),
        "parameters": parameters,
        "buffers": program.buffers.iter().map(|b| json!({"path": b.path, "shape": b.shape})).collect::<Vec<_>>(),
        "views": program.views.iter().map(|v| json!({"name": v.name, "shape": sizes(v)})).collect::<Vec<_>>(),
        "targets": targets.map(|l| json!({"source": l.source, "target": l.target})).collect::<Vec<_>>(),
        "decay": program.targets.first().map_or(0.0, |l| schedule(&l.decay)),
        "rule": program.train.optimizer.rule,
        "clip_norm": program.train.clip_norm,
        "update": program.train.accumulate <= 1,
        "batch": program.train.batch,
        "bf16": program.train.precision == sslc_compiler::program::Precision::Bf16,
        "threads": threads,
    })
}
