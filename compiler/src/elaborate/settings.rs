//! The entries of the blocks `train` and `eval`: found, and their values checked for kind and range.

use super::Elab;
use super::overrides::{Overrides, literal};
use super::scope::Scope;
use super::values::{R, Reported, UnitId, Value};
use sslc_grammar::ast::{Entry, Expr, Ident, ItemKind};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;

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
    key(
        "checkpoint",
        "When to save the state of the training: `every(epochs(1), keep: 3)` if left out.",
    ),
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
pub enum Given<'a> {
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
    pub entries: Vec<(&'a str, Given<'a>)>,
    /// Keys that `train` does not have: one of them may be what is missing.
    unknown: Vec<&'a str>,
    /// Where a missing key is reported.
    pub place: Option<Span>,
}

impl<'a> TrainBlock<'a> {
    fn find(&self, name: &str) -> Option<Given<'a>> {
        self.entries
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, g)| *g)
    }

    /// Whether a key was meant by one that is misspelt, which has been reported.
    pub fn is_misspelt(&self, name: &str) -> bool {
        nearest(name, self.unknown.iter().copied()).is_some()
    }

    pub fn span(&self, name: &str) -> Option<Span> {
        self.find(name).map(|g| match g {
            Given::Entry { key, .. } => key.span,
            Given::Override(o) => o.name_span,
        })
    }
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
    pub fn setting(&mut self, block: &TrainBlock<'a>, name: &str) -> R<Option<(Value, Span)>> {
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

    pub fn whole_setting(
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

    pub fn flag_setting(
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

    pub fn setting_kind(
        &mut self,
        name: &str,
        wanted: &str,
        value: &Value,
        span: Span,
    ) -> Reported {
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

    pub fn setting_range(&mut self, name: &str, value: &str, wanted: &str, span: Span) -> Reported {
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
}
