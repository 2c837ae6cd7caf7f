//! The blocks `train` and `eval`.

use super::Elab;
use super::overrides::{Overrides, literal};
use super::schedules::Length;
use super::scope::Scope;
use super::values::{OptimizerValue, R, Reported, UnitId, Value};
use crate::program::{DataSource, Duration, Math, Precision};
use sslc_grammar::ast::{Entry, Expr, Ident, ItemKind};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;
use std::rc::Rc;

/// A key of the `train` block.
#[derive(Debug)]
pub struct TrainKey {
    pub name: &'static str,
    pub doc: &'static str,
}

const fn key(name: &'static str, doc: &'static str) -> TrainKey {
    TrainKey { name, doc }
}

/// Every key of `train`.
pub const TRAIN_KEYS: &[TrainKey] = &[
    key("epochs", "Passes over the training images; or `steps`."),
    key("steps", "Optimizer steps; or `epochs`."),
    key(
        "batch",
        "Images of a batch (of a micro-batch with `accumulate`).",
    ),
    key("seed", "Seed of every random draw, 0 if left out."),
    key("optimizer", "`sgd(…)`, `lars(…)` or `adamw(…)`."),
    key("clip_norm", "Largest norm of all gradients together."),
    key(
        "accumulate",
        "Micro-batches of an optimizer step, 1 if left out.",
    ),
    key(
        "drop_last",
        "Leaves out what does not fill a batch at an epoch's end.",
    ),
    key(
        "watch_collapse",
        "Reports collapse indicators, true if left out.",
    ),
    key(
        "precision",
        "\"f32\" (if left out), or \"bf16\": activations and products of networks.",
    ),
    key("checkpoint", "When to save the state of the training."),
    key(
        "memory",
        "Most that the tensors of a step may take: \"2GiB\".",
    ),
    key(
        "math",
        "\"fast\" (if left out): algorithms with fewer products; or \"strict\".",
    ),
];

/// An entry of a block: where its value comes from.
#[derive(Clone, Copy, Debug)]
enum Given<'a> {
    Entry {
        unit: UnitId,
        item: usize,
        key: &'a Ident,
        /// `None` for a bare key.
        value: Option<&'a Expr>,
    },
    Override(&'a super::overrides::Override),
}

/// The entries of `train`, the overrides of the command line in the place of what they override.
#[derive(Debug, Default)]
pub struct TrainBlock<'a> {
    entries: Vec<(&'a str, Given<'a>)>,
    /// Keys that `train` does not have: one of them may be what is missing.
    unknown: Vec<&'a str>,
    /// Where a missing key is reported.
    place: Option<Span>,
}

impl<'a> TrainBlock<'a> {
    fn find(&self, name: &str) -> Option<Given<'a>> {
        self.entries
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, g)| *g)
    }

    /// Whether a key was meant by one that is misspelt, which has been reported.
    fn is_misspelt(&self, name: &str) -> bool {
        nearest(name, self.unknown.iter().copied()).is_some()
    }

    fn span(&self, name: &str) -> Option<Span> {
        self.find(name).map(|g| match g {
            Given::Entry { key, .. } => key.span,
            Given::Override(o) => o.name_span,
        })
    }
}

/// The `train` block as values.
#[derive(Debug)]
pub struct TrainSettings {
    pub optimizer: Rc<OptimizerValue>,
    pub length: Length,
    pub clip_norm: Option<f64>,
    pub accumulate: u64,
    pub watch_collapse: bool,
    pub math: Math,
    pub memory: Option<u64>,
    pub precision: Precision,
}

impl<'a> Elab<'a> {
    /// Collects the `train` block's entries; unknown and repeated keys are reported.
    pub fn train_block(&mut self, overrides: &'a Overrides) -> TrainBlock<'a> {
        let blocks = self.items_where(|k| match k {
            ItemKind::Train { keyword, entries } => Some((*keyword, entries)),
            _ => None,
        });
        let mut block = TrainBlock::default();
        if let [(_, _, _, (first, _)), (_, _, _, (again, _)), ..] = blocks[..] {
            self.two_items("train", again, first);
        }
        for (unit, item, _, (keyword, entries)) in blocks {
            block.place = Some(block.place.unwrap_or(keyword));
            for entry in entries {
                let (key, value) = match entry {
                    Entry::Set { key, value } => (key, Some(value)),
                    Entry::Bare { key } => (key, None),
                    Entry::Evaluator { call } => {
                        self.report(
                            Diagnostic::new(codes::E0401, "`train` has settings only")
                                .label(call.span, "a call here")
                                .help("evaluators such as `knn(…)` stand in `eval { … }`"),
                        );
                        continue;
                    }
                };
                if !TRAIN_KEYS.iter().any(|k| k.name == key.name) {
                    self.unknown_key("train", key, TRAIN_KEYS.iter().map(|k| k.name));
                    block.unknown.push(&key.name);
                    continue;
                }
                if let Some(first) = block.span(&key.name) {
                    self.key_twice(key, first);
                    continue;
                }
                let given = Given::Entry {
                    unit,
                    item,
                    key,
                    value,
                };
                block.entries.push((&key.name, given));
            }
        }
        for o in &overrides.list {
            let Some(("train", name)) = o.name.split_once('.') else {
                continue;
            };
            if !TRAIN_KEYS.iter().any(|k| k.name == name) {
                continue;
            }
            self.displace(&mut block, |n, _| n == name);
            // One of `epochs` and `steps` on the command line takes the place of the other.
            if name == "epochs" || name == "steps" {
                self.displace(&mut block, |n, g| {
                    matches!(n, "epochs" | "steps") && matches!(g, Given::Entry { .. })
                });
            }
            block.entries.push((name, Given::Override(o)));
        }
        block
    }

    /// Takes entries out for the command line's; what they name counts as used all the same.
    fn displace(&mut self, block: &mut TrainBlock<'a>, which: impl Fn(&str, &Given) -> bool) {
        block.entries.retain(|(name, given)| {
            let goes = which(name, given);
            if let (true, Given::Entry { key, value, .. }) = (goes, given) {
                self.displaced.push((key, *value));
            }
            !goes
        });
    }

    pub fn two_items(&mut self, what: &str, again: Span, first: Span) {
        self.report(
            Diagnostic::new(codes::E0408, format!("a spec has one `{what}`"))
                .label(again, "a second one here")
                .label(first, "the first one")
                .help("leave one of them out"),
        );
    }

    pub fn unknown_key(
        &mut self,
        block: &str,
        key: &Ident,
        names: impl Iterator<Item = &'static str>,
    ) {
        let names: Vec<&str> = names.collect();
        let d = Diagnostic::new(
            codes::E0401,
            format!("`{block}` has no setting `{}`", key.name),
        )
        .label(key.span, "unknown setting");
        let d = match nearest(&key.name, names.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help(format!("its settings are `{}`", names.join("`, `"))),
        };
        self.report(d);
    }

    pub fn key_twice(&mut self, key: &Ident, first: Span) {
        self.report(
            Diagnostic::new(codes::E0402, format!("`{}` is set twice", key.name))
                .label(key.span, "set again here")
                .label(first, "first set here")
                .help("leave one of them out"),
        );
    }

    /// The value of a key, with its place.
    fn setting(&mut self, block: &TrainBlock<'a>, name: &str) -> R<Option<(Value, Span)>> {
        match block.find(name) {
            None => Ok(None),
            Some(Given::Entry {
                unit,
                item,
                key,
                value: Some(value),
            }) => {
                let _ = key;
                let v = self.top_level(value, unit, item)?;
                Ok(Some((v, value.span)))
            }
            Some(Given::Entry {
                unit,
                item,
                key,
                value: None,
            }) => {
                let v = self.name(&key.name, key.span, &Scope::top(unit, item))?;
                Ok(Some((v, key.span)))
            }
            Some(Given::Override(o)) => {
                let text = || Value::str(&o.string());
                let value = match (name, o.expr()) {
                    ("precision" | "math", _) => text(),
                    (_, Some(e)) => match literal(e) {
                        Some(v) => v,
                        None => self.top_level(e, UnitId(0), usize::MAX)?,
                    },
                    (_, None) => text(),
                };
                Ok(Some((value, o.value_span)))
            }
        }
    }

    fn whole_setting(
        &mut self,
        block: &TrainBlock<'a>,
        name: &str,
        least: i64,
    ) -> R<Option<(u64, Span)>> {
        let Some((value, span)) = self.setting(block, name)? else {
            return Ok(None);
        };
        match value.whole() {
            Some(v) if v >= least => Ok(Some((v as u64, span))),
            Some(v) => {
                Err(self.setting_range(name, &v.to_string(), &format!("at least {least}"), span))
            }
            None => Err(self.setting_kind(name, "a whole number", &value, span)),
        }
    }

    fn flag_setting(
        &mut self,
        block: &TrainBlock<'a>,
        name: &str,
        default: bool,
    ) -> R<(bool, Span)> {
        match self.setting(block, name)? {
            None => Ok((default, block.place.unwrap_or(self.entry_span()))),
            Some((Value::Bool(v), span)) => Ok((v, span)),
            Some((other, span)) => Err(self.setting_kind(name, "true or false", &other, span)),
        }
    }

    fn setting_kind(&mut self, name: &str, wanted: &str, value: &Value, span: Span) -> Reported {
        let what = self.describe(value);
        self.report(
            Diagnostic::new(codes::E0405, format!("`{name}` must be {wanted}"))
                .label(span, format!("this is {what}"))
                .help(match TRAIN_KEYS.iter().find(|k| k.name == name) {
                    Some(key) => format!("`{name}`: {}", key.doc),
                    None => format!("give `{name}` {wanted}"),
                }),
        )
    }

    fn setting_range(&mut self, name: &str, value: &str, wanted: &str, span: Span) -> Reported {
        self.report(
            Diagnostic::new(codes::E0405, format!("`{name}` cannot be {value}"))
                .label(span, format!("must be {wanted}"))
                .help(match TRAIN_KEYS.iter().find(|k| k.name == name) {
                    Some(key) => format!("`{name}`: {}", key.doc),
                    None => format!("give `{name}` another value"),
                }),
        )
    }

    pub fn not_yet(&mut self, what: &str, span: Span, help: &str) -> Reported {
        self.report(
            Diagnostic::new(codes::E0406, format!("{what} is not available yet"))
                .label(span, "asked for here")
                .help(help),
        )
    }

    /// An empty place at the end of the entry, for what is missing.
    pub fn entry_span(&self) -> Span {
        let ast = self.units[0].ast;
        Span {
            start: ast.span.end,
            ..ast.span
        }
    }

    /// `batch` and `seed`, which the evaluation of tensors needs.
    pub fn early_settings(&mut self, block: &TrainBlock<'a>) -> R<()> {
        let batch = match self.whole_setting(block, "batch", 1)? {
            Some((batch, span)) => {
                self.check_size(&[batch as usize], span)?;
                batch
            }
            None => {
                if let Some(place) = block.place.filter(|_| !block.is_misspelt("batch")) {
                    return Err(self.report(
                        Diagnostic::new(codes::E0403, "`train` needs `batch`")
                            .label(place, "left out here")
                            .help("add `batch = 256`"),
                    ));
                }
                return Err(Reported);
            }
        };
        self.batch = batch as usize;
        Ok(())
    }

    pub fn seed_setting(&mut self, block: &TrainBlock<'a>) {
        if let Ok(Some((seed, _))) = self.whole_setting(block, "seed", 0) {
            self.seed = seed;
        }
    }

    /// All other settings of `train`.
    pub fn train_settings(
        &mut self,
        block: &TrainBlock<'a>,
        data: Option<&DataSource>,
    ) -> R<TrainSettings> {
        let Some(place) = block
            .place
            .or(block.entries.first().map(|_| self.entry_span()))
        else {
            return Err(self.report(
                Diagnostic::new(codes::E0410, "the spec has no `train` block")
                    .label(self.entry_span(), "none up to here")
                    .help("add `train { epochs = 100, batch = 256, optimizer = sgd(0.1) }`"),
            ));
        };
        let mut failed = self.refused_settings(block);
        let optimizer = match self.setting(block, "optimizer") {
            Ok(Some((Value::Optimizer(o), _))) => Some(o),
            Ok(Some((other, span))) => {
                let what = self.describe(&other);
                self.report(
                    Diagnostic::new(codes::E0405, "`optimizer` must be an optimizer")
                        .label(span, format!("this is {what}"))
                        .help("write `optimizer = sgd(lr: 0.1, momentum: 0.9)`"),
                );
                None
            }
            Ok(None) if block.is_misspelt("optimizer") => None,
            Ok(None) => {
                self.report(
                    Diagnostic::new(codes::E0403, "`train` needs an `optimizer`")
                        .label(place, "left out here")
                        .help("add `optimizer = sgd(lr: 0.1, momentum: 0.9)`, `lars(…)` or `adamw(…)`"),
                );
                None
            }
            Err(Reported) => None,
        };
        let clip_norm = match self.setting(block, "clip_norm") {
            Ok(None) => None,
            Ok(Some((value, span))) => match value.number() {
                Some(v) if v > 0.0 && v.is_finite() => Some(v),
                Some(v) => {
                    self.setting_range("clip_norm", &v.to_string(), "more than 0", span);
                    failed = true;
                    None
                }
                None => {
                    self.setting_kind("clip_norm", "a number", &value, span);
                    failed = true;
                    None
                }
            },
            Err(Reported) => {
                failed = true;
                None
            }
        };
        let accumulate = self.whole_setting(block, "accumulate", 1);
        let math = self.math_setting(block);
        let memory = self.memory_setting(block);
        let precision = self.precision_setting(block);
        let watch_collapse = self.flag_setting(block, "watch_collapse", true);
        let accumulate = accumulate.map(|a| a.map_or(1, |(n, _)| n));
        let length = match (data, &accumulate) {
            (Some(data), Ok(accumulate)) => self.length(block, data, *accumulate, place),
            _ => Err(Reported),
        };
        match (optimizer, failed) {
            (Some(optimizer), false) => Ok(TrainSettings {
                optimizer,
                length: length?,
                clip_norm,
                accumulate: accumulate?,
                watch_collapse: watch_collapse?.0,
                math: math?,
                memory: memory?,
                precision: precision?,
            }),
            _ => Err(Reported),
        }
    }

    /// Settings that the language knows but this version cannot honour are refused, not ignored.
    fn refused_settings(&mut self, block: &TrainBlock<'a>) -> bool {
        let mut failed = false;
        if let Some(span) = block.span("checkpoint") {
            self.not_yet(
                "`checkpoint`",
                span,
                "leave it out: the encoder is saved when the training ends or stops",
            );
            failed = true;
        }
        match self.flag_setting(block, "drop_last", true) {
            Ok((false, span)) => {
                self.not_yet(
                    "`drop_last = false`",
                    span,
                    "leave it out: images that do not fill a batch wait for another epoch's order",
                );
                failed = true;
            }
            Ok((true, _)) => {}
            Err(Reported) => failed = true,
        }
        failed
    }

    fn precision_setting(&mut self, block: &TrainBlock<'a>) -> R<Precision> {
        match self.setting(block, "precision")? {
            None => Ok(Precision::F32),
            Some((Value::Str(word), span)) => match &*word {
                "f32" => Ok(Precision::F32),
                "bf16" => Ok(Precision::Bf16),
                other => Err(self.setting_range(
                    "precision",
                    &format!("\"{other}\""),
                    "\"f32\" or \"bf16\"",
                    span,
                )),
            },
            Some((other, span)) => Err(self.setting_kind("precision", "a string", &other, span)),
        }
    }

    fn math_setting(&mut self, block: &TrainBlock<'a>) -> R<Math> {
        match self.setting(block, "math")? {
            None => Ok(Math::Fast),
            Some((Value::Str(word), span)) => match &*word {
                "fast" => Ok(Math::Fast),
                "strict" => Ok(Math::Strict),
                other => Err(self.setting_range(
                    "math",
                    &format!("\"{other}\""),
                    "\"fast\" or \"strict\"",
                    span,
                )),
            },
            Some((other, span)) => Err(self.setting_kind("math", "a string", &other, span)),
        }
    }

    fn memory_setting(&mut self, block: &TrainBlock<'a>) -> R<Option<u64>> {
        match self.setting(block, "memory")? {
            None => Ok(None),
            Some((Value::Str(word), span)) => match bytes(&word) {
                Some(bytes) => Ok(Some(bytes)),
                None => Err(self.setting_range(
                    "memory",
                    &format!("\"{word}\""),
                    "a size such as \"2GiB\", in KiB, MiB, GiB, KB, MB or GB",
                    span,
                )),
            },
            Some((other, span)) => Err(self.setting_kind("memory", "a string", &other, span)),
        }
    }

    /// The length of the training in optimizer steps.
    fn length(
        &mut self,
        block: &TrainBlock<'a>,
        data: &DataSource,
        accumulate: u64,
        place: Span,
    ) -> R<Length> {
        if !self.batch_known {
            return Err(Reported);
        }
        let images = self
            .options
            .train_len
            .and_then(|f| f(data))
            .or(data.train_len);
        let per_epoch = images.map(|n| (n / self.batch) as u64 / accumulate);
        let total = match (block.span("epochs"), block.span("steps")) {
            (Some(epochs), Some(steps)) => {
                return Err(self.report(
                    Diagnostic::new(codes::E0404, "`epochs` and `steps` both set the length")
                        .label(epochs, "set here")
                        .label(steps, "and here")
                        .help("leave one of them out"),
                ));
            }
            (None, None) if block.is_misspelt("epochs") || block.is_misspelt("steps") => {
                return Err(Reported);
            }
            (None, None) => {
                return Err(self.report(
                    Diagnostic::new(codes::E0403, "`train` needs `epochs` or `steps`")
                        .label(place, "left out here")
                        .help("add `epochs = 100`"),
                ));
            }
            (None, Some(_)) => match self.whole_setting(block, "steps", 1)? {
                Some((steps, _)) => steps,
                None => return Err(Reported),
            },
            (Some(_), None) => {
                let Some((value, span)) = self.setting(block, "epochs")? else {
                    return Err(Reported);
                };
                let epochs = match (&value, value.number()) {
                    (Value::Duration(Duration::Epochs(n)), _) => *n,
                    (_, Some(n)) => n,
                    _ => return Err(self.setting_kind("epochs", "a number", &value, span)),
                };
                if !(epochs > 0.0 && epochs.is_finite()) {
                    return Err(self.setting_range(
                        "epochs",
                        &epochs.to_string(),
                        "more than 0",
                        span,
                    ));
                }
                if let (Some(0), Some(images)) = (per_epoch, images) {
                    return Err(self.batch_too_large(block, images, accumulate, place));
                }
                match per_epoch {
                    Some(n) => ((epochs * n as f64).round() as u64).max(1),
                    None => return Err(self.length_unknown(span, "this is")),
                }
            }
        };
        // A batch beyond the data is told when the data is read; `step` and `bench` need none.
        let per_epoch = per_epoch.map(|n| n.max(1));
        Ok(Length { total, per_epoch })
    }

    fn batch_too_large(
        &mut self,
        block: &TrainBlock<'a>,
        images: usize,
        accumulate: u64,
        place: Span,
    ) -> Reported {
        let span = block.span("batch").unwrap_or(place);
        let together = if accumulate > 1 {
            format!("{accumulate} batches of {}", self.batch)
        } else {
            format!("a batch of {}", self.batch)
        };
        self.report(
            Diagnostic::new(
                codes::E0417,
                format!("{together} is more than the {images} images there are"),
            )
            .label(span, format!("batch is {}", self.batch))
            .help("make the batch smaller"),
        )
    }
}

/// `2GiB`, `1.5 GB`: a number above 0 and a unit.
fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let unit: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    let number: f64 = number.trim_end().parse().ok()?;
    let bytes = number * unit as f64;
    (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}
