//! The table of builtins: what the language offers without being written in it.
//!
//! Elementwise functions and reductions that are ops of `core` come from its registry; the rest are rows here. A row's
//! signature is what messages and `sslc std` show, and what arguments are bound to.

use super::Elab;
use super::args::{Args, SignatureParam, parse_signature};
use super::calls::Kinds;
use super::values::{R, Value};
use super::{data, layer_calls, optimizers, reductions, schedules, shapes, tensors, views};
use crate::core::ops::{Arity, Op, REGISTRY, Surface};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// What a builtin is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Tensor,
    Layer,
    View,
    Data,
    Schedule,
    Optimizer,
    Evaluation,
    General,
}

impl Section {
    pub fn title(self) -> &'static str {
        match self {
            Section::Tensor => "tensor functions",
            Section::Layer => "layers",
            Section::View => "views",
            Section::Data => "data",
            Section::Schedule => "schedules and durations",
            Section::Optimizer => "optimizers and targets",
            Section::Evaluation => "evaluators",
            Section::General => "general",
        }
    }
}

/// A builtin's work, on bound arguments.
pub type RunFn = for<'a> fn(&mut Elab<'a>, &Args) -> R<Value>;

#[derive(Clone, Copy)]
pub enum Run {
    Call(RunFn),
    /// An elementwise op of the registry.
    Elementwise(Op),
    /// A reduction of the registry.
    Reduction(Op),
}

/// A row of the table.
pub struct Builtin {
    pub name: &'static str,
    /// `name(a, b: default, rest…)`
    pub signature: &'static str,
    pub doc: &'static str,
    pub section: Section,
    pub run: Run,
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.signature)
    }
}

impl Builtin {
    pub fn params(&self) -> Vec<SignatureParam> {
        parse_signature(self.signature)
    }

    pub fn run(&'static self, el: &mut Elab<'_>, args: &Args) -> R<Value> {
        match self.run {
            Run::Call(f) => f(el, args),
            Run::Elementwise(op) => tensors::elementwise(el, args, op),
            Run::Reduction(op) => reductions::reduction(el, args, op),
        }
    }

    /// Whether `f(b)` in `x |> f(b)` makes something that `x` is given to.
    pub fn makes_stage(&self, args: usize) -> bool {
        match self.section {
            Section::Layer => args > 0 || !self.is_function_too(),
            Section::View => true,
            Section::Tensor
            | Section::Data
            | Section::Schedule
            | Section::Optimizer
            | Section::Evaluation
            | Section::General => false,
        }
    }

    /// `relu(x)` is a function of tensors, `relu()` the layer.
    pub fn is_function_too(&self) -> bool {
        matches!(self.name, "relu" | "gelu")
    }

    /// Which arguments know `bias` and `norm` as kinds of parameter.
    pub fn takes_kinds(&self) -> Kinds {
        match self.name {
            "group" => Kinds::Positional,
            "sgd" | "lars" | "adamw" => Kinds::Named("exclude"),
            _ => Kinds::Nowhere,
        }
    }
}

const fn row(
    name: &'static str,
    signature: &'static str,
    doc: &'static str,
    section: Section,
    run: RunFn,
) -> Builtin {
    Builtin {
        name,
        signature,
        doc,
        section,
        run: Run::Call(run),
    }
}

use Section::{Data, General, Layer, Optimizer, Schedule, Tensor, View};

#[rustfmt::skip]
static ROWS: &[Builtin] = &[
    row("clamp", "clamp(x, min: none, max: none)", "x, but at least min and at most max.", Tensor, tensors::clamp),
    row("where", "where(mask, a, b)", "a where the mask holds, else b; it selects and never multiplies.", Tensor, tensors::select),
    row("mean", "mean(x, axis: all, keep: false)", "The mean over axes.", Tensor, reductions::mean),
    row("var", "var(x, axis: all, keep: false, unbiased: false)", "The variance over axes: mean (x − mean)², over n − 1 if unbiased.", Tensor, reductions::var),
    row("std", "std(x, axis: all, keep: false, unbiased: false)", "The square root of the variance; its gradient at 0 is 0.", Tensor, reductions::std),
    row("logsumexp", "logsumexp(x, axis: all, keep: false)", "log Σ exp x, without overflow.", Tensor, reductions::logsumexp),
    row("argmax", "argmax(x, axis: all, keep: false)", "The position of the first maximum.", Tensor, reductions::argmax),
    row("norm", "norm(x, axis: all, keep: false)", "The Euclidean norm; its gradient at 0 is 0.", Tensor, reductions::norm),
    row("softmax", "softmax(x, axis: -1)", "exp x / Σ exp x.", Tensor, reductions::softmax),
    row("log_softmax", "log_softmax(x, axis: -1)", "x − log Σ exp x.", Tensor, reductions::log_softmax),
    row("l2_normalize", "l2_normalize(x, axis: -1, eps: 1e-12)", "x / max(‖x‖, eps).", Tensor, reductions::l2_normalize),
    row("cosine_similarity", "cosine_similarity(a, b, eps: 1e-8)", "a·b / (max(‖a‖, eps) · max(‖b‖, eps)) for each row: [B].", Tensor, reductions::cosine_similarity),
    row("standardize", "standardize(x, axis: 0, eps: 1e-5)", "(x − mean) / √(variance + eps), the variance biased.", Tensor, reductions::standardize),
    row("cross_entropy", "cross_entropy(logits, index)", "−log softmax at the index, for each row: [B].", Tensor, reductions::cross_entropy),

    row("transpose", "transpose(x, axes…)", "Axis i of the result is axis axes[i] of x; without axes, their order is reversed.", Tensor, shapes::transpose),
    row("reshape", "reshape(x, shape…)", "The same elements in another shape; one size may be -1.", Tensor, shapes::reshape),
    row("concat", "concat(tensors…, axis: 0)", "Tensors one after the other along an axis.", Tensor, shapes::concat),
    row("stack", "stack(tensors…, axis: 0)", "Tensors of one shape along a new axis.", Tensor, shapes::stack),
    row("broadcast", "broadcast(x, shape…)", "x repeated to a shape, by NumPy's rule.", Tensor, shapes::broadcast),
    row("iota", "iota(n)", "0, 1, …, n − 1.", Tensor, shapes::iota),
    row("zeros", "zeros(shape…)", "A tensor of zeros.", Tensor, shapes::zeros),
    row("ones", "ones(shape…)", "A tensor of ones.", Tensor, shapes::ones),
    row("full", "full(shape, value)", "A tensor of one value.", Tensor, shapes::full),
    row("eye", "eye(n)", "The identity matrix.", Tensor, shapes::eye),
    row("diag", "diag(c)", "The diagonal of a square matrix; of a vector, the matrix that has it as diagonal.", Tensor, shapes::diag),
    row("off_diagonal", "off_diagonal(c)", "A square matrix with a zero diagonal.", Tensor, shapes::off_diagonal),
    row("one_hot", "one_hot(index, n)", "1 at each index of a new last axis of size n, else 0.", Tensor, shapes::one_hot),
    row("take", "take(x, index, axis: 0)", "The entries of x at the indices along an axis.", Tensor, shapes::take),
    row("batch_size", "batch_size(x)", "The size of the first axis, a whole number.", Tensor, shapes::batch_size),
    row("shape", "shape(x)", "The sizes of all axes, a list.", Tensor, shapes::shape),

    row("conv2d", "conv2d(out, kernel, stride: 1, padding: (kernel-1)/2, groups: 1, bias: true)", "A convolution over feature maps.", Layer, layer_calls::conv2d),
    row("linear", "linear(out, bias: true)", "x · weightᵀ + bias over the last axis.", Layer, layer_calls::linear),
    row("batch_norm", "batch_norm(momentum: 0.1, eps: 1e-5, affine: true, scale: true, shift: true, init: 1)", "Normalises each channel over the batch; `init` is the initial scale.", Layer, layer_calls::batch_norm),
    row("layer_norm", "layer_norm(eps: 1e-5)", "Normalises over the last axis.", Layer, layer_calls::layer_norm),
    row("relu", "relu(x)", "max(x, 0); without argument the layer.", Layer, layer_calls::relu),
    row("gelu", "gelu(x)", "x · Φ(x); without argument the layer.", Layer, layer_calls::gelu),
    row("identity", "identity()", "The layer that changes nothing.", Layer, layer_calls::identity),
    row("max_pool", "max_pool(kernel, stride: kernel, padding: 0)", "The maximum of each window.", Layer, layer_calls::max_pool),
    row("avg_pool", "avg_pool(kernel, stride: kernel, padding: 0)", "The mean of each window, padding counted as zeros.", Layer, layer_calls::avg_pool),
    row("global_avg_pool", "global_avg_pool()", "The mean over rows and columns: [B, C].", Layer, layer_calls::global_avg_pool),
    row("flatten", "flatten()", "Feature maps as features, in the order C, H, W.", Layer, layer_calls::flatten),
    row("dropout", "dropout(p)", "Zeros with probability p in training, the rest scaled by 1 / (1 − p).", Layer, layer_calls::dropout),
    row("sequential", "sequential(modules…)", "Modules and lists of modules, one after the other.", Layer, layer_calls::sequential),
    row("mlp", "mlp(sizes…, bias: true, norm: \"batch\", last_norm: false, last_affine: true)", "linear, norm, relu, …, linear: the sizes are those of the hidden layers and of the output.", Layer, layer_calls::mlp),

    row("random_resized_crop", "random_resized_crop(size, scale: 0.08..1.0, ratio: 3/4..4/3, interpolation: \"bilinear\", antialias: true, p: 1)", "A random part of the image, resized.", View, views::random_resized_crop),
    row("resize", "resize(size, interpolation: \"bilinear\", antialias: true, p: 1)", "One number is the shorter side's new length, [height, width] the new size.", View, views::resize),
    row("center_crop", "center_crop(size, p: 1)", "The middle of the image.", View, views::center_crop),
    row("random_crop", "random_crop(size, padding: 0, p: 1)", "A random window of the image, after padding with zeros.", View, views::random_crop),
    row("horizontal_flip", "horizontal_flip(p: 0.5)", "Left and right exchanged.", View, views::horizontal_flip),
    row("vertical_flip", "vertical_flip(p: 1)", "Top and bottom exchanged.", View, views::vertical_flip),
    row("color_jitter", "color_jitter(brightness: 0, contrast: 0, saturation: 0, hue: 0, order: \"random\", p: 1)", "Random factors: a number x means 1±x (hue ±x), a range the factors themselves.", View, views::color_jitter),
    row("grayscale", "grayscale(p: 1)", "All channels set to the luminance.", View, views::grayscale),
    row("gaussian_blur", "gaussian_blur(sigma: 0.1..2.0, kernel: auto, p: 1)", "A Gaussian blur; the kernel's size is odd and at least 6σ unless given.", View, views::gaussian_blur),
    row("solarize", "solarize(threshold: 0.5, p: 1)", "Values from the threshold on are inverted.", View, views::solarize),
    row("random_rotation", "random_rotation(degrees, p: 1)", "A rotation by ±degrees, or by a range.", View, views::random_rotation),
    row("random_erasing", "random_erasing(scale: 0.02..0.33, ratio: 0.3..3.3, p: 1)", "A random box set to 0.", View, views::random_erasing),
    row("normalize", "normalize(mean, std: 1, p: 1)", "(x − mean) / std for each channel, or the values of \"cifar10\", \"imagenet\", \"fashion_mnist\".", View, views::normalize),

    row("fashion_mini", "fashion_mini()", "5,000 + 1,000 images of Fashion-MNIST inside the program.", Data, data::fashion_mini),
    row("fashion_mnist", "fashion_mnist(path)", "Fashion-MNIST, idx files.", Data, data::fashion_mnist),
    row("mnist", "mnist(path)", "MNIST, idx files.", Data, data::mnist),
    row("idx", "idx(images, labels: none, test_images: none, test_labels: none)", "idx files, plain or .gz.", Data, data::idx),
    row("cifar10", "cifar10(path)", "CIFAR-10, binary version.", Data, data::cifar10),
    row("cifar100", "cifar100(path)", "CIFAR-100, binary version, fine labels.", Data, data::cifar100),
    row("stl10", "stl10(path)", "STL-10, binary version.", Data, data::stl10),
    row("image_folder", "image_folder(path, test: none, holdout: 0, count: none, channels: 3, strict: false)", "A folder of class folders, or of images without labels.", Data, data::image_folder),

    row("constant", "constant(value)", "A schedule that stays.", Schedule, schedules::constant),
    row("cosine_schedule", "cosine_schedule(from, to, warmup: none, per: \"step\")", "Half a cosine from one value to another.", Schedule, schedules::cosine),
    row("linear_schedule", "linear_schedule(from, to, warmup: none, per: \"step\")", "A straight line from one value to another.", Schedule, schedules::linear),
    row("step_schedule", "step_schedule(values, at: durations, warmup: none, per: \"step\")", "The next value at each of the times.", Schedule, schedules::step),
    row("epochs", "epochs(n)", "A duration of n passes over the data.", Schedule, schedules::epochs),
    row("steps", "steps(n)", "A duration of n optimizer steps.", Schedule, schedules::steps),
    row("every", "every(duration, keep: 3)", "Again and again after a duration; of checkpoints, the last `keep` stay.", Schedule, schedules::every),

    row("sgd", "sgd(lr, momentum: 0, weight_decay: 0, nesterov: false, exclude: [], groups: [])", "Stochastic gradient descent.", Optimizer, optimizers::sgd),
    row("lars", "lars(lr, momentum: 0.9, weight_decay: 0, eta: 0.001, exclude: [bias, norm], lr_in_momentum: false, groups: [])", "SGD with a trust ratio for each tensor.", Optimizer, optimizers::lars),
    row("adamw", "adamw(lr, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0, exclude: [], groups: [])", "Adam with decoupled weight decay.", Optimizer, optimizers::adamw),
    row("group", "group(members…, lr: none, momentum: none, weight_decay: none)", "Other settings for networks or kinds of parameter.", Optimizer, optimizers::group),
    row("ema", "ema(networks…, decay: schedule, buffers: \"own\")", "Moving-average copies of networks, for `target`.", Optimizer, optimizers::ema),

    row("error", "error(message)", "An error of the spec's own, where it is evaluated.", General, tensors::error),
];

static TABLE: LazyLock<BTreeMap<&'static str, &'static Builtin>> = LazyLock::new(|| {
    let mut table: BTreeMap<&'static str, &'static Builtin> =
        ROWS.iter().map(|b| (b.name, b)).collect();
    for op in REGISTRY {
        if table.contains_key(op.name) {
            continue;
        }
        let (signature, run) = match op.surface {
            Surface::Elementwise => {
                let names = match op.args {
                    Arity::Fixed(names) => names.join(", "),
                    Arity::Variadic(name) => format!("{name}…"),
                };
                (format!("{}({names})", op.name), Run::Elementwise(op))
            }
            Surface::Reduction => (
                format!("{}(x, axis: all, keep: false)", op.name),
                Run::Reduction(op),
            ),
            Surface::Operator(_) | Surface::Function | Surface::Internal => continue,
        };
        // The table lives as long as the program.
        let builtin: &'static Builtin = Box::leak(Box::new(Builtin {
            name: op.name,
            signature: Box::leak(signature.into_boxed_str()),
            doc: op.doc,
            section: Section::Tensor,
            run,
        }));
        table.insert(op.name, builtin);
    }
    table
});

/// A builtin as people read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinDoc {
    pub name: &'static str,
    /// `name(a, b: default, rest…)`
    pub signature: &'static str,
    pub doc: &'static str,
    /// What it is about: `layers`, `views`.
    pub section: &'static str,
}

/// Every builtin, section by section.
pub fn builtin_docs() -> Vec<BuiltinDoc> {
    let mut rows: Vec<_> = all().collect();
    rows.sort_by_key(|b| b.section);
    rows.iter()
        .map(|b| BuiltinDoc {
            name: b.name,
            signature: b.signature,
            doc: b.doc,
            section: b.section.title(),
        })
        .collect()
}

/// Every builtin, by name.
pub fn all() -> impl Iterator<Item = &'static Builtin> {
    TABLE.values().copied()
}

/// The builtin of this name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    TABLE.get(name).copied()
}
