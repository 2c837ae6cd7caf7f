//! The block `eval`: how images are prepared, and the evaluators.

use super::Elab;
use super::args::Args;
use super::builtins::{Builtin, Run, Section};
use super::scope::Scope;
use super::values::{R, Reported, UnitId, Value};
use super::views::CheckedPipeline;
use crate::program::{DataSource, Duration, Interpolation, Pipeline, ViewKind, ViewOp};
use sslc_grammar::ast::{Entry, Expr, ExprKind, ItemKind, PostfixKind};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;

/// The `eval` block as values.
#[derive(Debug)]
pub struct EvalSettings {
    pub images: CheckedPipeline,
    pub knn: Option<KnnValue>,
    pub linear: Option<LinearValue>,
}

/// `knn(…)`, its interval unresolved.
#[derive(Clone, Copy, Debug)]
pub struct KnnValue {
    pub k: usize,
    pub temperature: f64,
    pub every: Option<(Duration, Span)>,
}

/// `linear(…)`, its interval unresolved.
#[derive(Clone, Copy, Debug)]
pub struct LinearValue {
    pub epochs: usize,
    pub lr: f64,
    pub every: Option<(Duration, Span)>,
}

/// One evaluator.
enum Evaluator {
    Knn(KnnValue),
    Linear(LinearValue),
}

/// The evaluators, which are called in `eval` only.
pub static KNN: Builtin = Builtin {
    name: "knn",
    signature: "knn(k: 200, temperature: 0.1, every: none)",
    doc: "Weighted k-nearest-neighbour vote on the features.",
    section: Section::Evaluation,
    run: Run::Call(|_, _| Err(Reported)),
};

/// See [`KNN`]; the other `linear` is a layer.
pub static LINEAR: Builtin = Builtin {
    name: "linear",
    signature: "linear(epochs: 20, lr: 0.1, every: none)",
    doc: "A linear classifier trained on the features.",
    section: Section::Evaluation,
    run: Run::Call(|_, _| Err(Reported)),
};

const EVAL_KEYS: &[&str] = &["images"];
const EVALUATORS: &[&str] = &["knn", "linear"];

impl<'a> Elab<'a> {
    /// The `eval` block; without one, images are prepared in the default way.
    pub fn eval_settings(
        &mut self,
        data: &DataSource,
        first_view: Option<&CheckedPipeline>,
    ) -> R<EvalSettings> {
        let blocks = self.items_where(|k| match k {
            ItemKind::Eval { keyword, entries } => Some((*keyword, entries)),
            _ => None,
        });
        if let [(_, _, _, (first, _)), (_, _, _, (again, _)), ..] = blocks[..] {
            self.two_items("eval", again, first);
        }
        let mut images: Option<(R<CheckedPipeline>, Span)> = None;
        let mut knn: Option<(KnnValue, Span)> = None;
        let mut linear: Option<(LinearValue, Span)> = None;
        let mut failed = false;
        for (unit, item, _, (_, entries)) in blocks {
            for entry in entries {
                match entry {
                    Entry::Set { key, value } if key.name == "images" => {
                        if let Some((_, first)) = images {
                            self.key_twice(key, first);
                            failed = true;
                            continue;
                        }
                        let pipeline = self.images(value, unit, item, data);
                        images = Some((pipeline, key.span));
                    }
                    Entry::Bare { key } if key.name == "images" => {
                        let stages = self.name(&key.name, key.span, &Scope::top(unit, item));
                        let pipeline = match stages {
                            Ok(Value::Pipeline(stages)) => {
                                self.check_deterministic(&stages, data, key.span)
                            }
                            Ok(other) => Err(self.wrong_kind(
                                "a view pipeline",
                                &other,
                                key.span,
                                "write `images = resize(32) |> center_crop(32)`",
                            )),
                            Err(Reported) => Err(Reported),
                        };
                        images = Some((pipeline, key.span));
                    }
                    Entry::Set { key, .. } | Entry::Bare { key } => {
                        let names = EVAL_KEYS.iter().chain(EVALUATORS).copied();
                        self.unknown_key("eval", key, names);
                        failed = true;
                    }
                    Entry::Evaluator { call } => {
                        let again = match self.evaluator(call, unit, item) {
                            Ok(Evaluator::Knn(value)) => {
                                knn.replace((value, call.span)).map(|(_, s)| ("knn", s))
                            }
                            Ok(Evaluator::Linear(value)) => linear
                                .replace((value, call.span))
                                .map(|(_, s)| ("linear", s)),
                            Err(Reported) => {
                                failed = true;
                                None
                            }
                        };
                        if let Some((name, first)) = again {
                            self.report(
                                Diagnostic::new(
                                    codes::E0402,
                                    format!("`{name}` is asked for twice"),
                                )
                                .label(call.span, "again here")
                                .label(first, "first here")
                                .help("leave one of them out"),
                            );
                            failed = true;
                        }
                    }
                }
            }
        }
        let images = match images {
            Some((pipeline, _)) => pipeline,
            None => match first_view {
                Some(view) => Ok(default_images(view)),
                None => Err(Reported),
            },
        };
        if failed {
            return Err(Reported);
        }
        Ok(EvalSettings {
            images: images?,
            knn: knn.map(|(value, _)| value),
            linear: linear.map(|(value, _)| value),
        })
    }

    fn images(
        &mut self,
        value: &'a Expr,
        unit: UnitId,
        item: usize,
        data: &DataSource,
    ) -> R<CheckedPipeline> {
        match self.top_level(value, unit, item)? {
            Value::Pipeline(stages) => self.check_deterministic(&stages, data, value.span),
            other => {
                let d = self
                    .wrong_kind_diagnostic("a view pipeline", &other, value.span)
                    .help(
                        "write `images = resize(32) |> center_crop(32) |> normalize(\"cifar10\")`",
                    );
                Err(self.report(d))
            }
        }
    }

    /// Evaluation draws nothing: features of an image are the same each time.
    fn check_deterministic(
        &mut self,
        stages: &[super::values::Stage],
        data: &DataSource,
        span: Span,
    ) -> R<CheckedPipeline> {
        let mut failed = false;
        for stage in stages {
            let random = match &stage.op.kind {
                ViewKind::Resize { .. }
                | ViewKind::CenterCrop { .. }
                | ViewKind::Normalize { .. } => false,
                ViewKind::Grayscale | ViewKind::Solarize { .. } => false,
                ViewKind::HorizontalFlip | ViewKind::VerticalFlip => false,
                ViewKind::GaussianBlur { sigma, .. } => sigma.lo != sigma.hi,
                ViewKind::RandomRotation { degrees } => degrees.lo != degrees.hi,
                ViewKind::ColorJitter {
                    brightness,
                    contrast,
                    saturation,
                    hue,
                    random_order,
                } => {
                    let parts = [brightness, contrast, saturation, hue];
                    *random_order && parts.iter().filter(|p| p.is_some()).count() > 1
                        || parts.iter().any(|p| p.is_some_and(|s| s.lo != s.hi))
                }
                ViewKind::RandomResizedCrop { .. }
                | ViewKind::RandomCrop { .. }
                | ViewKind::RandomErasing { .. } => true,
            };
            if random || (stage.op.p > 0.0 && stage.op.p < 1.0) {
                self.report(
                    Diagnostic::new(
                        codes::E0419,
                        format!("`{}` is random, and evaluation must not be", stage.name),
                    )
                    .label(stage.span, "draws at random")
                    .help("use `resize`, `center_crop` and `normalize`"),
                );
                failed = true;
            }
        }
        let checked = self.check_pipeline(stages, data, span);
        if failed { Err(Reported) } else { checked }
    }

    /// `knn(k: 200, …)`, `linear(…)`
    fn evaluator(&mut self, call: &'a Expr, unit: UnitId, item: usize) -> R<Evaluator> {
        let (name, args) = match &call.kind {
            ExprKind::Postfix { base, ops } => match (&base.kind, &ops[..]) {
                (ExprKind::Name(name), [op]) => match &op.kind {
                    PostfixKind::Call(args) => (name, args),
                    _ => return Err(self.not_an_evaluator(call.span)),
                },
                _ => return Err(self.not_an_evaluator(call.span)),
            },
            _ => return Err(self.not_an_evaluator(call.span)),
        };
        if !EVALUATORS.contains(&name.as_str()) {
            let d = Diagnostic::new(codes::E0401, format!("there is no evaluator `{name}`"))
                .label(call.span, "unknown evaluator");
            let d = match nearest(name, EVALUATORS.iter().copied()) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help("write `knn(k: 200, temperature: 0.1)`"),
            };
            return Err(self.report(d));
        }
        let mut scope = Scope::top(unit, item);
        let mut given = Vec::new();
        let mut failed = false;
        for arg in args {
            match self.eval(&arg.value, &mut scope) {
                Ok(value) => given.push(super::args::Given {
                    name: arg.name.clone(),
                    value,
                    span: arg.value.span,
                }),
                Err(Reported) => failed = true,
            }
        }
        if failed {
            return Err(Reported);
        }
        let positive = |v: f64| v > 0.0;
        if name == LINEAR.name {
            let args = Args::bind(self, &LINEAR, given, call.span)?;
            let epochs = args.at_least(self, "epochs", 1);
            let lr = args.float_in(self, "lr", positive, "more than 0");
            let every = args.duration(self, "every");
            return Ok(Evaluator::Linear(LinearValue {
                epochs: epochs?.unwrap_or(20),
                lr: lr?.unwrap_or(0.1),
                every: every?,
            }));
        }
        let args = Args::bind(self, &KNN, given, call.span)?;
        let k = args.at_least(self, "k", 1);
        let temperature = args.float_in(self, "temperature", positive, "more than 0");
        let every = args.duration(self, "every");
        Ok(Evaluator::Knn(KnnValue {
            k: k?.unwrap_or(200),
            temperature: temperature?.unwrap_or(0.1),
            every: every?,
        }))
    }

    fn not_an_evaluator(&mut self, span: Span) -> Reported {
        self.report(
            Diagnostic::new(codes::E0401, "this is no evaluator")
                .label(span, "unknown evaluator")
                .help("write `knn(k: 200, temperature: 0.1)`"),
        )
    }
}

/// Resize and centre-crop to the first view's size, with its `normalize`.
fn default_images(view: &CheckedPipeline) -> CheckedPipeline {
    let mut ops = vec![
        ViewOp {
            p: 1.0,
            kind: ViewKind::Resize {
                height: view.height.max(view.width),
                width: None,
                interpolation: Interpolation::Bilinear,
                antialias: true,
            },
        },
        ViewOp {
            p: 1.0,
            kind: ViewKind::CenterCrop {
                height: view.height,
                width: view.width,
            },
        },
    ];
    let normalize = view
        .pipeline
        .ops
        .iter()
        .filter(|op| matches!(op.kind, ViewKind::Normalize { .. }));
    ops.extend(normalize.cloned());
    CheckedPipeline {
        pipeline: Pipeline { ops },
        height: view.height,
        width: view.width,
    }
}
