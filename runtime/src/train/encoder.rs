//! The encoder alone: features for evaluation, and its weights as a file.

use super::init::Values;
use super::stepper::set_values;
use crate::data::Split;
use crate::device::{Target, check};
use crate::evaluate::Features;
use crate::layout;
use crate::names::Names;
use crate::tensors::{FileTensor, Tensors};
use crate::views::{Batches, Loader, Order};
use sslc_compiler::exec::Executor;
use sslc_compiler::program::{Program, View};
use sslc_grammar::diag::Diagnostic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the encoder over images.
pub struct Encoder<'a> {
    program: &'a Program,
    target: &'a Target,
    evaluate: Box<dyn Executor>,
    batch: usize,
    stop: Option<&'a AtomicBool>,
}

impl<'a> Encoder<'a> {
    /// # Errors
    /// When the device cannot hold or make the program.
    pub fn new(program: &'a Program, target: &'a Target) -> Result<Encoder<'a>, Diagnostic> {
        Ok(Encoder {
            program,
            target,
            evaluate: target.compile(&program.encode.evaluate, program.options())?,
            batch: program.train.batch,
            stop: None,
        })
    }

    /// Ends passes over images early once `stop` is set; what they give is then not to be used.
    pub fn until(self, stop: &'a AtomicBool) -> Encoder<'a> {
        Encoder {
            stop: Some(stop),
            ..self
        }
    }

    fn stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Features of the labelled images of a split, by running statistics.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn features(
        &mut self,
        values: &Values,
        split: &Arc<Split>,
    ) -> Result<Features, Diagnostic> {
        self.features_of(values, split, split.labelled())
    }

    /// Features of these images of a split, by running statistics; the labels are empty unless all are known.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn features_of(
        &mut self,
        values: &Values,
        split: &Arc<Split>,
        images: Vec<usize>,
    ) -> Result<Features, Diagnostic> {
        set_values(self.evaluate.as_mut(), self.program, values);
        let loader = loader(self.program, self.target, split, images, false)?;
        let mut features = Features::default();
        let mut input = Vec::new();
        let mut output = Vec::new();
        for batch in loader {
            if self.stopped() {
                break;
            }
            let batch = batch?;
            let Some(view) = batch.views.first() else {
                continue;
            };
            let count = batch.images.len();
            let image = view.len() / count.max(1);
            input.clear();
            input.extend_from_slice(view);
            input.resize(image * self.batch, 0.0);
            self.evaluate.set("view/images", &input);
            self.evaluate.run();
            self.evaluate.get("features", &mut output);
            check(self.evaluate.as_ref())?;
            features.dim = output.len() / self.batch;
            features
                .values
                .extend_from_slice(&output[..features.dim * count]);
            features.labels.extend(batch.labels.iter().flatten());
        }
        Ok(features)
    }

    /// Replaces the running statistics in `values` by their cumulative average over one pass of a split's images:
    /// what an encoder that was never trained needs to be judged fairly.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn calibrate(&self, values: &mut Values, split: &Arc<Split>) -> Result<(), Diagnostic> {
        let mut executor = self
            .target
            .compile(&self.program.encode.calibrate, self.program.options())?;
        set_values(executor.as_mut(), self.program, values);
        let whole = split.len() >= self.batch;
        let images: Vec<usize> = if whole {
            (0..split.len()).collect()
        } else {
            (0..split.len())
                .cycle()
                .take(if split.is_empty() { 0 } else { self.batch })
                .collect()
        };
        for (k, batch) in loader(self.program, self.target, split, images, true)?.enumerate() {
            if self.stopped() {
                break;
            }
            let batch = batch?;
            if let Some(view) = batch.views.first() {
                executor.set("view/images", view);
                executor.set("schedule/calibrate", &[1.0 / (k + 1) as f32]);
                executor.run();
            }
        }
        for buffer in &self.program.buffers {
            let mut value = Vec::new();
            if executor.get(&format!("buffer/{}", buffer.path), &mut value) {
                values.insert(buffer.path.clone(), value);
            }
        }
        check(executor.as_ref())
    }
}

/// Images of a split as evaluation sees them, in batches of the training's size.
fn loader(
    program: &Program,
    target: &Target,
    split: &Arc<Split>,
    images: Vec<usize>,
    drop_last: bool,
) -> Result<Loader, Diagnostic> {
    let view = View {
        name: "images".to_owned(),
        pipeline: program.eval.images.clone(),
        height: program.encode.height,
        width: program.encode.width,
        channels: program.data.channels,
    };
    Loader::start(
        split.clone(),
        Batches {
            views: vec![view],
            batch: program.train.batch,
            order: Order::Once(images),
            drop_last,
            seed: program.train.seed,
            first: 0,
            threads: target.threads(),
        },
    )
}

/// The pixels of the labelled images of a split, as evaluation sees them: the features to beat.
///
/// # Errors
/// When an image cannot be read.
pub fn pixels(
    program: &Program,
    target: &Target,
    split: &Arc<Split>,
) -> Result<Features, Diagnostic> {
    let mut features = Features::default();
    for batch in loader(program, target, split, split.labelled(), false)? {
        let batch = batch?;
        if let (Some(view), Some(labels)) = (batch.views.first(), &batch.labels) {
            features.dim = view.len() / labels.len().max(1);
            features.values.extend_from_slice(view);
            features.labels.extend_from_slice(labels);
        }
    }
    Ok(features)
}

/// The encoder's weights with torchvision's names and layouts: paths without the network's name, running statistics
/// included, and `num_batches_tracked` beside them, as `torch.nn.BatchNorm2d` keeps it.
pub fn weights(program: &Program, values: &Values, steps: u64) -> Tensors {
    let network = program.encode.network;
    let prefix = format!("{}.", program.networks[network].name);
    let strip = |path: &str| path.strip_prefix(&prefix).unwrap_or(path).to_owned();
    let mut tensors = Tensors::new();
    for p in program.parameters.iter().filter(|p| p.network == network) {
        if let Some(value) = values.get(&p.path) {
            let tensor = FileTensor::f32(
                &layout::file_shape(p.layout, &p.shape),
                layout::to_file(p.layout, value, &p.shape),
            );
            tensors.insert(strip(&p.path), tensor);
        }
    }
    for b in program.buffers.iter().filter(|b| b.network == network) {
        if let Some(value) = values.get(&b.path) {
            tensors.insert(strip(&b.path), FileTensor::f32(&b.shape, value.clone()));
        }
        if let Some(norm) = strip(&b.path).strip_suffix("running_mean") {
            let tracked = FileTensor::i64(&[], vec![steps as i64]);
            tensors.insert(format!("{norm}num_batches_tracked"), tracked);
        }
    }
    tensors
}

/// The encoder's parameters and buffers by path, from a file that [`weights`] wrote.
///
/// # Errors
/// What does not fit, in words: a tensor that is missing, has another shape or is not known.
pub fn from_weights(program: &Program, tensors: &Tensors) -> Result<Values, String> {
    let network = program.encode.network;
    let prefix = format!("{}.", program.networks[network].name);
    let names = Names::new(program);
    let mut values = Values::new();
    let parameters = program.parameters.iter().map(|p| (p.network, &p.path));
    let buffers = program.buffers.iter().map(|b| (b.network, &b.path));
    for (_, path) in parameters.chain(buffers).filter(|(n, _)| *n == network) {
        let short = path.strip_prefix(&prefix).unwrap_or(path);
        let Some(tensor) = tensors.get(short) else {
            return Err(format!("it has no tensor '{short}'"));
        };
        let Some(value) = names.from_file(path, tensor) else {
            let wanted = names.file_shape(path).unwrap_or_default();
            return Err(format!(
                "its tensor '{short}' has shape {:?}; the spec has {wanted:?}",
                tensor.shape
            ));
        };
        values.insert(path.clone(), value);
    }
    let known = |name: &str| {
        name.ends_with("num_batches_tracked") || values.contains_key(&format!("{prefix}{name}"))
    };
    match tensors.keys().find(|name| !known(name)) {
        Some(name) => Err(format!("the spec has no '{name}'")),
        None => Ok(values),
    }
}
