//! The settings of `train`, each with its default and its own rule.

use super::Elab;
use super::schedules::Length;
use super::settings::TrainBlock;
use super::values::{OptimizerValue, R, Reported, Value};
use crate::program::{DataSource, Duration, Math, Precision};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;
use std::rc::Rc;

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
    pub checkpoint: CheckpointValue,
}

/// `checkpoint = every(…)`, its interval unresolved.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointValue {
    /// `None`: an epoch, where its length is known.
    pub every: Option<(Duration, Span)>,
    pub keep: usize,
}

/// Checkpoints that stay unless the spec says another number.
const KEEP: usize = 3;

impl<'a> Elab<'a> {
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
        let checkpoint = self.checkpoint_setting(block);
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
                checkpoint: checkpoint?,
            }),
            _ => Err(Reported),
        }
    }

    /// Settings that the language knows but this version cannot honour are refused, not ignored.
    fn refused_settings(&mut self, block: &TrainBlock<'a>) -> bool {
        match self.flag_setting(block, "drop_last", true) {
            Ok((false, span)) => {
                self.not_yet(
                    "`drop_last = false`",
                    span,
                    "leave it out: images that do not fill a batch wait for another epoch's order",
                );
                true
            }
            Ok((true, _)) => false,
            Err(Reported) => true,
        }
    }

    fn checkpoint_setting(&mut self, block: &TrainBlock<'a>) -> R<CheckpointValue> {
        let (every, keep, span) = match self.setting(block, "checkpoint")? {
            None => {
                return Ok(CheckpointValue {
                    every: None,
                    keep: KEEP,
                });
            }
            Some((Value::Duration(every), span)) => (every, KEEP, span),
            Some((Value::Interval(every, keep), span)) => (every, keep, span),
            Some((other, span)) => {
                let what = self.describe(&other);
                return Err(self.report(
                    Diagnostic::new(codes::E0405, "`checkpoint` must be an interval")
                        .label(span, format!("this is {what}"))
                        .help("write `checkpoint = every(epochs(1), keep: 3)`"),
                ));
            }
        };
        Ok(CheckpointValue {
            every: Some((every, span)),
            keep,
        })
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
