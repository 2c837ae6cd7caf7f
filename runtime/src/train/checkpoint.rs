//! Checkpoints: the whole state of a training after an optimizer step, in one safetensors file.
//!
//! Tensors are `param/PATH`, `buffer/PATH` and `state/KIND/PATH` (momentum and the like) with PyTorch's layouts, the names
//! that `sslc step` has. Beside them stands one entry of metadata, `sslc`, a JSON object ([`Notes`]) with the place in the
//! data and a checksum over the tensors and the object itself.
//!
//! Invariant: a checkpoint is a function of the run and its step. It holds no time, no thread count and no path.

use super::init::Values;
use super::stepper::Stepper;
use crate::names::Names;
use crate::tensors::{self, FileTensor, Tensors};
use serde::{Deserialize, Serialize};
use sslc_compiler::program::Program;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The form of checkpoints that this version writes.
const FORMAT: u32 = 1;
/// The key of the metadata.
const KEY: &str = "sslc";

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    /// k-NN accuracy, from 0 to 1; the linear classifier's where the spec asks for no k-NN.
    pub accuracy: f64,
}

/// What a checkpoint says beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    pub format: u32,
    /// The version of `sslc` that wrote it.
    pub sslc: String,
    /// Optimizer steps done.
    pub step: u64,
    /// Batches taken from the data: the number of the next one, counted over all epochs.
    pub batches: u64,
    /// Of the data's order and every draw.
    pub seed: u64,
    /// Training images.
    pub images: usize,
    /// The last step after which there was an evaluation.
    pub evaluated: Option<u64>,
    pub best: Option<Best>,
    /// [`fingerprint`] of the program.
    pub program: String,
    /// The spec's text.
    pub spec: String,
    /// Over the tensors, and this object without it.
    pub digest: String,
}

/// What is the same in all checkpoints of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    pub program: String,
    pub spec: String,
    pub images: usize,
}

/// Where a training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub evaluated: Option<u64>,
    pub best: Option<Best>,
}

/// The state of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub notes: Notes,
    pub tensors: Tensors,
}

impl Checkpoint {
    /// The present state of a training.
    pub fn take(
        stepper: &Stepper,
        program: &Program,
        initial: &Values,
        stamp: &Stamp,
        progress: Progress,
    ) -> Checkpoint {
        let names = Names::new(program);
        let mut tensors = Tensors::new();
        let parameters = program.parameters.iter().map(|p| ("param", &p.path));
        let buffers = program.buffers.iter().map(|b| ("buffer", &b.path));
        // What no step reads stays as it was.
        for (kind, path) in parameters.chain(buffers) {
            if let Some(value) = initial.get(path) {
                let name = format!("{kind}/{path}");
                let tensor = names.to_file(&name, value);
                tensors.insert(name, tensor);
            }
        }
        for (name, _) in stepper.sources() {
            if !is_kept(&name) {
                continue;
            }
            if let Some(value) = stepper.value(&name) {
                let tensor = names.to_file(&name, &value);
                tensors.insert(name, tensor);
            }
        }
        let mut notes = Notes {
            format: FORMAT,
            sslc: env!("CARGO_PKG_VERSION").to_owned(),
            step: stepper.step(),
            batches: stepper.step() * program.train.accumulate,
            seed: program.train.seed,
            images: stamp.images,
            evaluated: progress.evaluated,
            best: progress.best,
            program: stamp.program.clone(),
            spec: stamp.spec.clone(),
            digest: String::new(),
        };
        notes.digest = digest(&notes, &tensors);
        Checkpoint { notes, tensors }
    }

    /// Writes it: aside, synced, renamed.
    ///
    /// # Errors
    /// E0654; a file that was there before is untouched.
    pub fn write(&self, path: &Path) -> Result<(), Diagnostic> {
        let notes = serde_json::to_string(&self.notes)
            .map_err(|e| tensors::cannot_write(path, &e.to_string()))?;
        let notes = BTreeMap::from([(KEY.to_owned(), notes)]);
        tensors::write_described(path, &self.tensors, &notes)
    }

    /// Reads a checkpoint and verifies it.
    ///
    /// # Errors
    /// E0673 where the file is damaged or something else, E0650 and E0651 where it cannot be read.
    pub fn read(path: &Path) -> Result<Checkpoint, Diagnostic> {
        let damaged = |why: &str| {
            Diagnostic::new(
                codes::E0673,
                format!("the checkpoint '{}' is damaged: {why}", path.display()),
            )
            .help("remove it; an earlier checkpoint of the run takes its place")
        };
        let (tensors, all) = tensors::read_with_notes(path).map_err(|d| {
            if d.code == codes::E0652 || d.code == codes::E0653 {
                damaged(&d.message)
            } else {
                d
            }
        })?;
        let text = all
            .get(KEY)
            .ok_or_else(|| damaged("it is a safetensors file, but no checkpoint of sslc"))?;
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| damaged(&e.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(n) if n > FORMAT.into() => {
                return Err(damaged(&format!(
                    "its format is {n}, and this version reads {FORMAT}"
                )));
            }
            _ => {}
        }
        let notes: Notes = serde_json::from_value(value).map_err(|e| damaged(&e.to_string()))?;
        if digest(&notes, &tensors) != notes.digest {
            return Err(damaged("its checksum does not fit what it holds"));
        }
        Ok(Checkpoint { notes, tensors })
    }

    /// Parameters and buffers by path, in their inside layout.
    ///
    /// # Errors
    /// What does not fit the program, in words.
    pub fn values(&self, program: &Program) -> Result<Values, String> {
        let names = Names::new(program);
        let mut values = Values::new();
        for (name, path) in paths(program) {
            let tensor = self
                .tensors
                .get(&name)
                .ok_or_else(|| format!("it has no tensor '{name}'"))?;
            let value = names
                .from_file(&name, tensor)
                .ok_or_else(|| wrong_shape(&name, tensor, &names))?;
            values.insert(path.to_owned(), value);
        }
        Ok(values)
    }

    /// Puts the state into a stepper and `initial`, and the stepper at its step. What does not fit is left as it is, and
    /// returned in words.
    pub fn restore(
        &self,
        stepper: &mut Stepper,
        program: &Program,
        initial: &mut Values,
    ) -> Vec<String> {
        let names = Names::new(program);
        let sources = stepper.sources();
        let mut misfits = Vec::new();
        let known: Vec<(String, &str)> = paths(program).collect();
        for (name, tensor) in &self.tensors {
            let path = known.iter().find(|(n, _)| n == name).map(|(_, path)| *path);
            let source = sources.iter().find(|(n, _)| n == name);
            if path.is_none() && source.is_none() {
                misfits.push(format!("the spec has no '{name}'"));
                continue;
            }
            let room = source.map(|(_, shape)| shape.iter().product::<usize>());
            match names.from_file(name, tensor) {
                Some(value) if room.is_none_or(|n| n == value.len()) => {
                    stepper.set_value(name, &value);
                    if let Some(path) = path {
                        initial.insert(path.to_owned(), value);
                    }
                }
                _ => misfits.push(wrong_shape(name, tensor, &names)),
            }
        }
        let wanted = sources.iter().map(|(name, _)| name);
        let wanted = wanted.filter(|name| is_kept(name));
        for name in wanted.filter(|name| !self.tensors.contains_key(*name)) {
            misfits.push(format!("it has no tensor '{name}'"));
        }
        stepper.set_step(self.notes.step);
        misfits
    }
}

/// Names in checkpoints and paths of all parameters and buffers.
fn paths(program: &Program) -> impl Iterator<Item = (String, &str)> {
    let parameters = program
        .parameters
        .iter()
        .map(|p| (format!("param/{}", p.path), &*p.path));
    let buffers = program
        .buffers
        .iter()
        .map(|b| (format!("buffer/{}", b.path), &*b.path));
    parameters.chain(buffers)
}

fn wrong_shape(name: &str, tensor: &FileTensor, names: &Names) -> String {
    let wanted = names.file_shape(name).unwrap_or_default();
    format!(
        "'{name}' has shape {:?}; the spec has {wanted:?}",
        tensor.shape
    )
}

/// Whether a source is state that lasts from step to step.
fn is_kept(name: &str) -> bool {
    ["param/", "buffer/", "state/"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

fn digest(notes: &Notes, tensors: &Tensors) -> String {
    let mut hash = Xxh3::new();
    for (name, tensor) in tensors {
        hash.update(format!("{name} {:?} ", tensor.shape).as_bytes());
        hash.update(&tensor.bytes());
    }
    let bare = Notes {
        digest: String::new(),
        ..notes.clone()
    };
    hash.update(serde_json::to_string(&bare).unwrap_or_default().as_bytes());
    format!("{:032x}", hash.digest128())
}

/// A checksum of all of a program that decides what is trained: the same for specs that differ only in how they are written,
/// in how much memory they take or in when they save.
pub fn fingerprint(program: &Program) -> String {
    let mut value = serde_json::to_value(program).unwrap_or_default();
    strip(&mut value);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("name");
        if let Some(train) = fields.get_mut("train").and_then(|t| t.as_object_mut()) {
            train.remove("memory");
            train.remove("checkpoint");
        }
    }
    format!("{:032x}", xxh3_128(value.to_string().as_bytes()))
}

/// Takes out where in a file things stand.
fn strip(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.remove("span");
            fields.remove("origin");
            fields.values_mut().for_each(strip);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
