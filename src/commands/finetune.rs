//! Fine-tuning: the encoder and a linear layer on its features, trained together with a part of the labels.
//!
//! The training is a spec of its own, made from the run's: its data and encoder with all they are made of, one augmented
//! view, a linear layer and the cross-entropy. It is compiled and run as any other; the encoder starts with the run's weights.

use crate::compile::{Compilation, Failure, compile_text};
use crate::runs::{Run, Weights};
use sslc_compiler::program::{Program, ViewKind};
use sslc_grammar::ast::ItemKind;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::Split;
use sslc_runtime::device::Target;
use sslc_runtime::linear::Classifier;
use sslc_runtime::rng::{Domain, Stream};
use sslc_runtime::train::encoder::Encoder;
use sslc_runtime::train::stepper::Stepper;
use sslc_runtime::train::{feed, init};
use sslc_runtime::views::{Batches, Loader, Order};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The learning rate at the beginning; it falls to 0 along a half cosine.
pub const RATE: f64 = 0.02;
/// The most images of a batch.
pub const BATCH: usize = 64;
/// Passes over the images, and optimizer steps at least.
pub const EPOCHS: usize = 20;
pub const LEAST_STEPS: usize = 200;

const VIEW: &str = "finetune_image";
const HEAD: &str = "finetune_head";

/// What one training gave.
pub struct Tuned {
    /// Images that it learned from.
    pub images: usize,
    pub batch: usize,
    pub steps: usize,
    /// A class for each labelled test image.
    pub predicted: Vec<u32>,
}

/// Trains with a part of the labels and predicts the classes of the test images.
///
/// # Errors
/// Where the spec of the run cannot be made into one for this, the device has no room, or an image cannot be read.
pub fn tune(
    run: &Run,
    weights: &Weights,
    (train, test): (&Arc<Split>, &Arc<Split>),
    classes: usize,
    (fraction, seed): (f64, u64),
    target: &Target,
) -> Result<Tuned, Failure> {
    let images = part(train, classes, fraction, seed);
    let batch = BATCH.min(images.len()).max(1);
    let steps = (EPOCHS * images.len() / batch).max(LEAST_STEPS);
    let compilation = compile(run, classes, batch, steps, seed)?;
    let program = &compilation.program;
    let mut initial = init::values(program);
    for (path, value) in &weights.values {
        if let Some(mine) = initial.get_mut(path) {
            mine.clone_from(value);
        }
    }
    let mut stepper = Stepper::new(program, target, &initial, false)?;
    let count = images.len();
    let loader = Loader::start(
        train.clone(),
        Batches {
            views: program.views.clone(),
            batch,
            order: Order::ShuffledOf(images),
            drop_last: true,
            seed,
            first: 0,
            threads: target.threads(),
        },
    )?;
    for next in loader.take(steps) {
        feed(&mut stepper, program, &next?);
        stepper.run()?;
    }
    let values = stepper.values(program, &initial)?;
    let head = |name: &str| {
        values
            .get(&format!("{HEAD}.{name}"))
            .cloned()
            .unwrap_or_default()
    };
    let classifier = Classifier::of(&head("weight"), head("bias"));
    let features = Encoder::new(&run.compilation.program, target)?.features(&values, test)?;
    Ok(Tuned {
        images: count,
        batch,
        steps,
        predicted: classifier.predict(&features),
    })
}

/// A part of the labelled images, of each class its share and at least one.
fn part(split: &Split, classes: usize, fraction: f64, seed: u64) -> Vec<usize> {
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for i in split.labelled() {
        if let Some(label) = split.label(i) {
            of_class[label as usize].push(i);
        }
    }
    let mut images = Vec::new();
    for (class, all) in of_class.iter_mut().enumerate() {
        Stream::new(seed, Domain::Probe, u32::MAX, 1, class as u32).shuffle(all);
        let share = (all.len() as f64 * fraction).round() as usize;
        images.extend_from_slice(&all[..share.max(1).min(all.len())]);
    }
    images.sort_unstable();
    images
}

fn compile(
    run: &Run,
    classes: usize,
    batch: usize,
    steps: usize,
    seed: u64,
) -> Result<Compilation, Failure> {
    let program = &run.compilation.program;
    let text = spec(run, classes, batch, steps, seed)?;
    let set: Vec<(String, String)> = run
        .info
        .set
        .iter()
        .filter(|(name, _)| !name.starts_with("train."))
        .cloned()
        .collect();
    let images = run.info.images;
    let path = run.path.join("spec.ssl");
    let mut compilation = compile_text(&path, text, &set, &|_| Some(images))?;
    compilation.program.name.clone_from(&program.name);
    Ok(compilation)
}

/// The text of the spec that fine-tunes a run's encoder.
fn spec(
    run: &Run,
    classes: usize,
    batch: usize,
    steps: usize,
    seed: u64,
) -> Result<String, Diagnostic> {
    let program = &run.compilation.program;
    let encoder = &program.networks[program.encode.network].name;
    let mut out = kept(run, encoder).ok_or_else(|| {
        Diagnostic::new(
            codes::E0406,
            format!("fine-tuning an encoder that another file defines, `{encoder}`, is not available yet"),
        )
        .help("define the encoder in the spec itself")
    })?;
    let (h, w) = (program.encode.height, program.encode.width);
    out.push_str(&format!(
        "views {VIEW} = random_resized_crop([{h}, {w}], scale: 0.5..1.0) |> horizontal_flip(p: 0.5)"
    ));
    for op in &program.eval.images.ops {
        if let ViewKind::Normalize { mean, std } = &op.kind {
            out.push_str(&format!(" |> normalize({mean:?}, {std:?})"));
        }
    }
    let features = match rank(program) {
        4 => format!("mean({encoder}({VIEW}), axis: [1, 2])"),
        _ => format!("{encoder}({VIEW})"),
    };
    out.push_str(&format!(
        "\nprojector {HEAD} = linear({classes})\n\
         loss = mean(cross_entropy({HEAD}({features}), labels))\n\
         train {{\n    steps = {steps}, batch = {batch}, seed = {seed}\n    \
         optimizer = sgd(lr: cosine_schedule({RATE}, 0.0), momentum: 0.9)\n}}\n"
    ));
    Ok(out)
}

/// The rank of what the encoder gives in training.
fn rank(program: &Program) -> usize {
    let of = |a: &&sslc_compiler::program::Application| a.network == program.encode.network;
    let application = program.applications.iter().find(of);
    application.map_or(2, |a| program.forward.ty(a.output).rank())
}

/// The items of a run's spec that its data and encoder are made of. `None` where the encoder is not among them.
fn kept(run: &Run, encoder: &str) -> Option<String> {
    let entry = run.compilation.entry;
    let text = &run.compilation.sources.get(entry).text;
    let ast = sslc_grammar::parse(entry, text).ok()?;
    let source = |i: usize| {
        let span = ast.items[i].span;
        &text[span.start as usize..span.end as usize]
    };
    let mut wanted = BTreeSet::new();
    let mut found = false;
    for (i, item) in ast.items.iter().enumerate() {
        match &item.kind {
            ItemKind::Network { name, .. } if name.name == encoder => {
                found = true;
                wanted.insert(i);
            }
            ItemKind::Import { .. } | ItemKind::Param { .. } | ItemKind::Data { .. } => {
                wanted.insert(i);
            }
            _ => {}
        }
    }
    // What these speak of, and what that speaks of.
    loop {
        let names: BTreeSet<&str> = wanted.iter().flat_map(|i| words(source(*i))).collect();
        let more: Vec<usize> = (0..ast.items.len())
            .filter(|i| !wanted.contains(i))
            .filter(|i| match &ast.items[*i].kind {
                ItemKind::Let { name, .. } => names.contains(name.name.as_str()),
                ItemKind::Fn(function) => names.contains(function.name.name.as_str()),
                ItemKind::Module(module) => names.contains(module.name.name.as_str()),
                _ => false,
            })
            .collect();
        if more.is_empty() {
            break;
        }
        wanted.extend(more);
    }
    let items: String = wanted.iter().map(|i| format!("{}\n", source(*i))).collect();
    found.then_some(items)
}

/// Everything in a text that could be a name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|w| !w.is_empty())
}
