//! Schedules and durations, and their resolution to optimizer steps once the length of the training is known.

use super::Elab;
use super::args::Args;
use super::values::{R, Reported, ScheduleShapeValue, ScheduleValue, Value};
use crate::program::{Duration, Schedule, ScheduleShape};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;
use std::rc::Rc;

fn value(el: &mut Elab<'_>, args: &Args, shape: ScheduleShapeValue) -> R<Value> {
    let params = args.builtin.params();
    let takes = |name: &str| params.iter().any(|p| p.name == name);
    let warmup = if takes("warmup") {
        args.duration(el, "warmup")?
    } else {
        None
    };
    let per_epoch = takes("per") && args.word(el, "per", &["step", "epoch"])? == Some("epoch");
    Ok(Value::Schedule(Rc::new(ScheduleValue {
        shape,
        warmup,
        per_epoch,
        span: args.span,
    })))
}

fn number(el: &mut Elab<'_>, args: &Args, name: &str) -> R<f64> {
    Ok(args.float(el, name)?.unwrap_or(0.0))
}

pub fn constant(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let v = number(el, args, "value")?;
    value(el, args, ScheduleShapeValue::Constant(v))
}

pub fn cosine(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (from, to) = (number(el, args, "from"), number(el, args, "to"));
    let shape = ScheduleShapeValue::Cosine {
        from: from?,
        to: to?,
    };
    value(el, args, shape)
}

pub fn linear(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (from, to) = (number(el, args, "from"), number(el, args, "to"));
    let shape = ScheduleShapeValue::Linear {
        from: from?,
        to: to?,
    };
    value(el, args, shape)
}

pub fn step(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let values = args.floats(el, "values")?.unwrap_or_default();
    let mut at = Vec::new();
    match args.get("at") {
        Some((Value::List(items), span)) => {
            for item in items.iter() {
                match item {
                    Value::Duration(d) => at.push((*d, *span)),
                    other => {
                        let d = el
                            .wrong_kind_diagnostic("a list of durations", other, *span)
                            .help("write `at: [epochs(60), epochs(80)]`");
                        return Err(el.report(d));
                    }
                }
            }
        }
        Some((Value::Duration(d), span)) => at.push((*d, *span)),
        Some((other, span)) => {
            let d = el
                .wrong_kind_diagnostic("a list of durations", other, *span)
                .help("write `at: [epochs(60), epochs(80)]`");
            return Err(el.report(d));
        }
        None => {
            return Err(el.report(
                Diagnostic::new(codes::E0107, "`step_schedule` needs `at`")
                    .label(args.span, "left out here")
                    .help("write `at: [epochs(60), epochs(80)]`"),
            ));
        }
    }
    if values.len() != at.len() + 1 {
        return Err(el.report(
            Diagnostic::new(
                codes::E0110,
                format!(
                    "{} need {} to change at",
                    super::calls::count(values.len(), "value"),
                    super::calls::count(values.len().saturating_sub(1), "time"),
                ),
            )
            .label(args.span_of("values"), format!("{} here", values.len()))
            .label(args.span_of("at"), format!("{} here", at.len()))
            .help("the first value holds from the start, each other from its time on"),
        ));
    }
    value(el, args, ScheduleShapeValue::Step { values, at })
}

pub fn epochs(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let n = args.float_in(el, "n", |v| v >= 0.0, "0 or more")?;
    Ok(Value::Duration(Duration::Epochs(n.unwrap_or(0.0))))
}

pub fn steps(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let n = args.at_least(el, "n", 0)?;
    Ok(Value::Duration(Duration::Steps(n.unwrap_or(0) as u64)))
}

pub fn every(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let keep = args.at_least(el, "keep", 1);
    match (args.duration(el, "duration")?, keep?) {
        (Some((d, _)), None) => Ok(Value::Duration(d)),
        (Some((d, _)), Some(keep)) => Ok(Value::Interval(d, keep)),
        (None, _) => Err(Reported),
    }
}

/// The length of the training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    /// Optimizer steps.
    pub total: u64,
    pub per_epoch: Option<u64>,
}

impl Elab<'_> {
    /// A duration in optimizer steps.
    pub fn in_steps(&mut self, d: Duration, span: Span, length: Length) -> R<u64> {
        match (d, length.per_epoch) {
            (Duration::Steps(n), _) => Ok(n),
            (Duration::Epochs(n), Some(per_epoch)) => Ok((n * per_epoch as f64).round() as u64),
            (Duration::Epochs(_), None) => Err(self.length_unknown(span, "an epoch has")),
        }
    }

    pub fn length_unknown(&mut self, span: Span, what: &str) -> Reported {
        self.report(
            Diagnostic::new(
                codes::E0416,
                format!("how many steps {what} is not known without the data"),
            )
            .label(span, "given in epochs")
            .help("give the number of images with `count:`, or lengths in steps: `steps = 10000`, `steps(500)`"),
        )
    }

    /// A schedule for a training of this length.
    pub fn resolve(&mut self, s: &ScheduleValue, length: Length) -> R<Schedule> {
        let warmup = match s.warmup {
            Some((d, span)) => {
                let w = self.in_steps(d, span, length)?;
                if w >= length.total {
                    return Err(self.report(
                        Diagnostic::new(
                            codes::E0415,
                            format!(
                                "the warm-up of {w} steps leaves nothing of a training of {} steps",
                                length.total
                            ),
                        )
                        .label(span, format!("{w} steps"))
                        .help("shorten the warm-up or train longer"),
                    ));
                }
                w
            }
            None => 0,
        };
        let per_epoch = match (s.per_epoch, length.per_epoch) {
            (false, _) => None,
            (true, Some(n)) => Some(n),
            (true, None) => return Err(self.length_unknown(s.span, "an epoch has")),
        };
        let shape = match &s.shape {
            ScheduleShapeValue::Constant(v) => ScheduleShape::Constant(*v),
            ScheduleShapeValue::Cosine { from, to } => ScheduleShape::Cosine {
                from: *from,
                to: *to,
            },
            ScheduleShapeValue::Linear { from, to } => ScheduleShape::Linear {
                from: *from,
                to: *to,
            },
            ScheduleShapeValue::Step { values, at } => {
                let mut steps = Vec::with_capacity(at.len());
                for (d, span) in at {
                    let k = self.in_steps(*d, *span, length)?;
                    if steps.last().is_some_and(|before| *before >= k) {
                        return Err(self.report(
                            Diagnostic::new(
                                codes::E0414,
                                "the times of a step schedule must ascend",
                            )
                            .label(*span, format!("{k} steps is not after the time before"))
                            .help("list them in order"),
                        ));
                    }
                    steps.push(k);
                }
                ScheduleShape::Step {
                    values: values.clone(),
                    at: steps,
                }
            }
        };
        Ok(Schedule {
            shape,
            warmup,
            total: length.total,
            per_epoch,
        })
    }
}
