//! What a spec means once evaluated: the contract between the compiler and the runtime.

use crate::core::graph::{Graph, ValueId};
use crate::kernels::build::Options;
use serde::Serialize;
use sslc_grammar::ast::Role;
use sslc_grammar::span::Span;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where images come from. Paths are as written in the spec; the runtime resolves them against the working directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataSource {
    pub kind: DataKind,
    /// Channels of the images as the network sees them: 1 or 3.
    pub channels: usize,
    /// Number of training images as far as the spec tells (`count:`, or the published size of the set).
    pub train_len: Option<usize>,
}

impl DataSource {
    /// Every path of the source, to be changed in place.
    pub fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match &mut self.kind {
            DataKind::FashionMini => Vec::new(),
            DataKind::FashionMnist { path }
            | DataKind::Mnist { path }
            | DataKind::Cifar10 { path }
            | DataKind::Cifar100 { path }
            | DataKind::Stl10 { path } => vec![path],
            DataKind::Idx {
                images,
                labels,
                test_images,
                test_labels,
            } => [
                Some(images),
                labels.as_mut(),
                test_images.as_mut(),
                test_labels.as_mut(),
            ]
            .into_iter()
            .flatten()
            .collect(),
            DataKind::ImageFolder { path, test, .. } => {
                [Some(path), test.as_mut()].into_iter().flatten().collect()
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// The set inside the binary: 5,000 + 1,000 images of Fashion-MNIST, 28×28×1, 10 classes.
    FashionMini,
    FashionMnist {
        path: PathBuf,
    },
    Mnist {
        path: PathBuf,
    },
    Idx {
        images: PathBuf,
        labels: Option<PathBuf>,
        test_images: Option<PathBuf>,
        test_labels: Option<PathBuf>,
    },
    /// Binary version: `data_batch_1.bin` … `test_batch.bin`.
    Cifar10 {
        path: PathBuf,
    },
    /// Binary version: `train.bin`, `test.bin`; fine labels.
    Cifar100 {
        path: PathBuf,
    },
    /// `unlabeled_X.bin` and `train_X.bin` train, `test_X.bin` test, 96×96×3.
    Stl10 {
        path: PathBuf,
    },
    ImageFolder {
        path: PathBuf,
        test: Option<PathBuf>,
        holdout: f64,
        strict: bool,
    },
}

/// One `views` name: a batch of augmented images [B, H, W, C].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    pub name: String,
    pub pipeline: Pipeline,
    /// Size of the images that come out.
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// View operations in the order written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pipeline {
    pub ops: Vec<ViewOp>,
}

/// One operation and the probability with which it acts, drawn per image and view.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewOp {
    pub p: f64,
    pub kind: ViewKind,
}

/// A closed range a parameter is drawn from, uniformly (log-uniformly for aspect ratios, as torchvision does).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span64 {
    pub lo: f64,
    pub hi: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    Bilinear,
    Bicubic,
}

/// Each op's arithmetic is torchvision's op of that name on float tensors in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewKind {
    RandomResizedCrop {
        height: usize,
        width: usize,
        scale: Span64,
        ratio: Span64,
        interpolation: Interpolation,
        antialias: bool,
    },
    /// The shorter side becomes `size` when only one number is given (torchvision), else exactly (height, width).
    Resize {
        height: usize,
        width: Option<usize>,
        interpolation: Interpolation,
        antialias: bool,
    },
    CenterCrop {
        height: usize,
        width: usize,
    },
    RandomCrop {
        height: usize,
        width: usize,
        padding: usize,
    },
    HorizontalFlip,
    VerticalFlip,
    /// Factor ranges; `None` leaves that part out. Clipped to [0, 1] after each of the four.
    ColorJitter {
        brightness: Option<Span64>,
        contrast: Option<Span64>,
        saturation: Option<Span64>,
        hue: Option<Span64>,
        random_order: bool,
    },
    Grayscale,
    /// `kernel` is odd; `None` means the smallest odd number that is at least 6σ.
    GaussianBlur {
        sigma: Span64,
        kernel: Option<usize>,
    },
    Solarize {
        threshold: f64,
    },
    /// Degrees, nearest-neighbour as torchvision's default, zeros outside.
    RandomRotation {
        degrees: Span64,
    },
    /// Fraction of the area and aspect ratio of the erased box; erased to 0.
    RandomErasing {
        scale: Span64,
        ratio: Span64,
    },
    Normalize {
        mean: Vec<f64>,
        std: Vec<f64>,
    },
}

/// A length of training, before it is known how many steps an epoch has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Duration {
    Epochs(f64),
    Steps(u64),
}

/// A value for each optimizer step k of K; all durations are resolved to steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    pub shape: ScheduleShape,
    /// Warm-up: `from·k/w` while k < w.
    pub warmup: u64,
    /// K, the number of optimizer steps of the whole training.
    pub total: u64,
    /// With `per: "epoch"`, the number of steps whose first k each epoch uses.
    pub per_epoch: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleShape {
    Constant(f64),
    /// `to + (from − to)(1 + cos π(k−w)/(K−w))/2`
    Cosine {
        from: f64,
        to: f64,
    },
    /// `from + (to − from)(k−w)/(K−w)`
    Linear {
        from: f64,
        to: f64,
    },
    /// `values[i]` where i is how many of `at` (steps) are at most k.
    Step {
        values: Vec<f64>,
        at: Vec<u64>,
    },
    /// `1 − β^(k+1)`, the bias correction of Adam (Kingma & Ba 2015, Algorithm 1).
    Correction {
        beta: f64,
    },
}

impl Schedule {
    pub fn constant(value: f64) -> Schedule {
        Schedule {
            shape: ScheduleShape::Constant(value),
            warmup: 0,
            total: 1,
            per_epoch: None,
        }
    }

    /// The value at optimizer step `k`, counted from 0.
    pub fn at(&self, k: u64) -> f64 {
        let k = match self.per_epoch {
            Some(n) if n > 0 => k - k % n,
            _ => k,
        };
        let start = match &self.shape {
            ScheduleShape::Constant(v) => *v,
            ScheduleShape::Cosine { from, .. } | ScheduleShape::Linear { from, .. } => *from,
            ScheduleShape::Step { values, .. } => values.first().copied().unwrap_or(0.0),
            ScheduleShape::Correction { .. } => 0.0,
        };
        if k < self.warmup {
            return start * k as f64 / self.warmup as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1) as f64;
        let t = ((k - self.warmup) as f64 / span).min(1.0);
        match &self.shape {
            ScheduleShape::Constant(v) => *v,
            ScheduleShape::Cosine { from, to } => {
                to + (from - to) * (1.0 + (std::f64::consts::PI * t).cos()) / 2.0
            }
            ScheduleShape::Linear { from, to } => from + (to - from) * t,
            ScheduleShape::Step { values, at } => {
                let i = at.iter().filter(|a| **a <= k).count();
                values.get(i).or(values.last()).copied().unwrap_or(0.0)
            }
            ScheduleShape::Correction { beta } => 1.0 - beta.powi((k + 1).min(1 << 30) as i32),
        }
    }
}

/// A network of the spec: its keyword is its role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Network {
    pub name: String,
    pub role: NetworkRole,
    /// Where the spec defines it.
    pub span: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkRole {
    Online(Role),
    /// A moving-average copy; no gradient reaches it.
    Target(Role),
}

/// What an optimizer's `exclude` and `group` speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamKind {
    Weight,
    /// Every bias that is not the shift of a norm layer.
    Bias,
    /// Scale and shift of norm layers.
    Norm,
}

/// How a tensor's axes stand inside against the file's (PyTorch's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    Same,
    /// Convolution filters: HWIO inside, OIHW in files.
    Hwio,
    /// Linear weights: [in, out] inside, [out, in] in files.
    Transposed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// `f.layer1.0.conv1.weight`
    pub path: String,
    /// Index into [`Program::networks`].
    pub network: usize,
    pub kind: ParamKind,
    /// Shape inside.
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub init: Init,
}

/// How a parameter or buffer starts. Draws come from a counter-based generator keyed by (seed, path, element in file order).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    Constant(f64),
    Normal {
        std: f64,
    },
    /// Uniform in [−bound, bound].
    Uniform {
        bound: f64,
    },
    /// A copy of another parameter or buffer (targets).
    Copy(String),
}

/// A tensor kept from step to step that no optimizer touches: `f.bn1.running_mean`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateDecl {
    pub path: String,
    pub network: usize,
    pub shape: Vec<usize>,
    pub init: Init,
}

/// `init: "file.safetensors"`: where the parameters and buffers of a module start from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightsFile {
    /// As written in the spec, from whose folder it counts; whoever reads the spec makes it absolute.
    pub file: PathBuf,
    /// What the names of the module's tensors begin with in the file.
    pub prefix: String,
    /// The module's path: `f`, `f.backbone`.
    pub module: String,
    /// The string with the file's path.
    pub span: Span,
}

/// A spec, evaluated: everything the runtime needs to compile, train and evaluate it.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// The spec file's name without its ending.
    pub name: String,
    pub data: DataSource,
    pub views: Vec<View>,
    pub networks: Vec<Network>,
    /// In order of first application; targets' parameters after their sources'.
    pub parameters: Vec<Parameter>,
    pub buffers: Vec<StateDecl>,
    /// Files that modules start from, in place of draws.
    pub weights: Vec<WeightsFile>,
    pub targets: Vec<TargetLink>,
    /// Where networks are applied, targets included, in the order of evaluation.
    pub applications: Vec<Application>,
    /// The forward pass at the training batch: outputs `loss`, `value/NAME`, `buffer/PATH` (running statistics after
    /// this step) and `embedding` ([B, D], what the collapse indicators look at).
    pub forward: Graph,
    /// Every schedule by the name its `schedule` op carries: `lr`, `lr.1` (group 1), `decay.f_t`.
    pub schedules: BTreeMap<String, Schedule>,
    pub train: Train,
    pub eval: Evaluation,
    pub encode: Encode,
}

impl Program {
    /// How many numbers the parameters of a network hold.
    pub fn parameters_of(&self, network: usize) -> usize {
        let own = self.parameters.iter().filter(|p| p.network == network);
        own.map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// How its kernels are made.
    pub fn options(&self) -> Options {
        Options {
            math: self.train.math,
            memory: self.train.memory,
        }
    }
}

/// How exact the arithmetic is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Math {
    /// Algorithms with fewer products are used, which round a little more.
    #[default]
    Fast,
    /// Convolutions add each of their products.
    Strict,
}

/// What the networks' products are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// Operands and activations of bf16, sums of f32; see [`crate::core::precision`].
    Bf16,
}

/// A network applied to a value in the forward pass. The same network on the same value is one application.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Application {
    /// Index into [`Program::networks`].
    pub network: usize,
    /// The call, in the spec's own text.
    pub span: Span,
    /// What it is applied to and what comes out, in [`Program::forward`].
    pub input: ValueId,
    pub output: ValueId,
}

/// A moving average: `target = τ·target + (1 − τ)·source`, after each optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetLink {
    /// Paths of the source's and the target's parameter (or buffer, with `buffers: "average"`).
    pub source: String,
    pub target: String,
    /// The schedule of τ.
    pub decay: String,
}

/// Graphs that run the encoder alone, at the training batch: input view `images`, output `features` [B, D].
#[derive(Clone, Debug, Serialize)]
pub struct Encode {
    /// Index of the network that is evaluated: the spec's first encoder.
    pub network: usize,
    pub height: usize,
    pub width: usize,
    /// Running statistics, no dropout.
    pub evaluate: Graph,
    /// Batch statistics, and outputs `buffer/PATH` = buffer + m·(batch statistic − buffer), where m is the schedule
    /// input `calibrate`: with m = 1/(k+1) at batch k, one pass gives the cumulative average.
    pub calibrate: Graph,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Train {
    /// Optimizer steps of the whole training.
    pub steps: u64,
    /// Optimizer steps of one epoch; `None` where the number of images is not known.
    pub steps_per_epoch: Option<u64>,
    /// Images a (micro-)batch.
    pub batch: usize,
    pub seed: u64,
    pub optimizer: Optimizer,
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    pub clip_norm: Option<f64>,
    /// Micro-batches an optimizer step.
    pub accumulate: u64,
    pub drop_last: bool,
    pub math: Math,
    /// Bytes that the tensors of a step may take.
    pub memory: Option<u64>,
    pub precision: Precision,
    pub watch_collapse: bool,
    pub checkpoint: Checkpoints,
}

/// When the state of the training is saved, beside its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Checkpoints {
    /// Optimizer steps between two; `None` where an epoch is meant and its length is not known.
    pub every: Option<u64>,
    /// How many of the last stay.
    pub keep: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Optimizer {
    pub rule: OptimizerRule,
    pub base: Hyper,
    /// Parameters without decay (and, under LARS, without adaptation).
    pub exclude: Vec<Selector>,
    /// Later groups win.
    pub groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerRule {
    Sgd {
        nesterov: bool,
    },
    /// You et al. 2017, with the learning rate outside of the momentum buffer (BYOL, Barlow Twins) or inside (SimCLR).
    Lars {
        eta: f64,
        lr_in_momentum: bool,
    },
    /// Loshchilov & Hutter 2019.
    Adamw {
        beta1: f64,
        beta2: f64,
        eps: f64,
    },
}

/// Settings of one parameter's update.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hyper {
    /// Name of the learning rate's schedule.
    pub lr: String,
    /// 0 under AdamW.
    pub momentum: f64,
    pub weight_decay: f64,
}

/// Overrides for the union of what its selectors name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    pub select: Vec<Selector>,
    pub lr: Option<String>,
    pub momentum: Option<f64>,
    pub weight_decay: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Selector {
    Kind(ParamKind),
    /// Index into [`Program::networks`].
    Network(usize),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// How images are made for evaluation; deterministic.
    pub images: Pipeline,
    pub knn: Option<Knn>,
    pub linear: Option<Linear>,
}

/// Weighted k-NN: votes exp(cos/τ) of the k nearest training features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Knn {
    pub k: usize,
    pub temperature: f64,
    /// Optimizer steps between evaluations; `None`: at the end only.
    pub every: Option<u64>,
}

/// A linear classifier trained on the features, which get no gradient from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Linear {
    /// Passes over the training features.
    pub epochs: usize,
    /// The learning rate at the beginning.
    pub lr: f64,
    /// Optimizer steps between evaluations; `None`: at the end only.
    pub every: Option<u64>,
}
