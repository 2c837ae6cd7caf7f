//! Top-level definitions. Each is evaluated once, when it is first needed: the loss draws in what it uses in the order
//! in which it uses it, and that is the order of the running statistics' updates.

use super::calls::Inside;
use super::scope::Scope;
use super::units::DefKind;
use super::values::{Callable, DefId, ModuleRef, NetworkId, R, Reported, UnitId, Value};
use super::views::CheckedPipeline;
use super::{Context, Elab, Network};
use crate::core::graph::ValueId;
use crate::core::ops;
use sslc_grammar::ast::{Expr, ItemKind};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

/// The value of a definition.
#[derive(Clone, Debug)]
pub enum Cell {
    NotYet,
    Evaluating,
    Done(Value),
    Failed,
}

/// Definitions whose values are drawn in by values, at most: beyond it, they are evaluated in the order of the text.
const MAX_DRAWN: usize = 200;

impl<'a> Elab<'a> {
    /// The value of a definition, evaluated now if it is needed for the first time.
    pub fn force(&mut self, id: DefId, span: Span) -> R<Value> {
        self.used_defs.insert(id);
        self.value_of(id, span)
    }

    /// [`Elab::force`] without counting as a use.
    pub fn value_of(&mut self, id: DefId, span: Span) -> R<Value> {
        let def = self.defs[id.index()];
        if let DefKind::Fn(_) | DefKind::Module(_) = def.kind {
            return Ok(Value::Callable(Callable::Def(id)));
        }
        match &self.cells[id.index()] {
            Cell::Done(value) => return Ok(value.clone()),
            Cell::Failed => return Err(Reported),
            Cell::Evaluating => {
                return Err(self.report(
                    Diagnostic::new(
                        codes::E0115,
                        format!("`{}` is defined by itself", def.name.name),
                    )
                    .label(span, "needed here")
                    .label(def.name.span, "to evaluate this")
                    .help("a value cannot need itself"),
                ));
            }
            Cell::NotYet => {}
        }
        self.cells[id.index()] = Cell::Evaluating;
        let ctx = std::mem::take(&mut self.ctx);
        let calls = std::mem::take(&mut self.calls);
        let value = self.definition(id);
        self.ctx = ctx;
        self.calls = calls;
        self.cells[id.index()] = match &value {
            Ok(v) => Cell::Done(v.clone()),
            Err(Reported) => Cell::Failed,
        };
        value
    }

    fn definition(&mut self, id: DefId) -> R<Value> {
        let def = self.defs[id.index()];
        let mut scope = Scope::top(def.unit, def.item);
        match def.kind {
            DefKind::Param(value) => match self.param_overrides.get(&id) {
                Some(v) => Ok(v.clone()),
                None => self.eval(value, &mut scope),
            },
            DefKind::View(pipeline) => self.view(id, pipeline, &mut scope).map(Value::Tensor),
            DefKind::Network(role, value) => {
                let network = NetworkId(self.networks.len() as u32);
                self.networks.push(Network {
                    name: def.name.name.clone(),
                    role,
                    span: def.name.span,
                    root: None,
                    source: None,
                    average_buffers: false,
                    decay: String::new(),
                });
                let module = self.eval(value, &mut scope)?;
                self.found_network(network, &module, value.span)?;
                Ok(module)
            }
            DefKind::Target {
                value,
                place,
                count,
                first,
            } => self.target(id, value, place, count, first, &mut scope),
            DefKind::Let(value) | DefKind::Watch(value) => {
                let v = self.eval(value, &mut scope)?;
                if let Value::Tensor(t) = v
                    && matches!(def.kind, DefKind::Let(_))
                {
                    self.name_let(t, &def.name.name);
                }
                Ok(v)
            }
            DefKind::Module(_) | DefKind::Fn(_) => Ok(Value::Callable(Callable::Def(id))),
        }
    }

    /// A `let` names its value, unless that has a name already: sources and other lets keep theirs.
    fn name_let(&mut self, v: ValueId, name: &str) {
        let node = self.g.b.graph.node(v);
        if node.is(&ops::VIEW) || node.is(&ops::PARAM) || node.is(&ops::LABELS) {
            return;
        }
        if self.g.lets.insert(v) {
            self.g.b.name(v, name);
        }
    }

    /// A batch of augmented images.
    fn view(&mut self, id: DefId, pipeline: &'a Expr, scope: &mut Scope) -> R<ValueId> {
        let checked = self.pipeline(pipeline, scope)?;
        let Some(data) = self.data.clone() else {
            return Err(Reported);
        };
        let name = self.defs[id.index()].name.name.clone();
        let span = self.defs[id.index()].name.span;
        if !self.batch_known {
            return Err(self.report(
                Diagnostic::new(
                    codes::E0115,
                    "the batch size cannot depend on a view: views have it as their first size",
                )
                .label(span, "needs the batch size")
                .help("set `batch` in `train { … }` by numbers"),
            ));
        }
        let shape = [self.batch, checked.height, checked.width, data.channels];
        self.check_size(&shape, span)?;
        let v = self.push(
            &ops::VIEW,
            &[],
            vec![
                ("name", name.as_str().into()),
                ("shape", shape.as_slice().into()),
            ],
            span,
        )?;
        self.g.b.name(v, name);
        Ok(v)
    }

    /// The pipeline of a `views` item, evaluated and checked once for all its names.
    pub fn pipeline(&mut self, e: &'a Expr, scope: &mut Scope) -> R<CheckedPipeline> {
        let key = (e.span.file, e.span.start);
        if let Some(known) = self.pipelines.get(&key) {
            return known.clone();
        }
        let checked = self.fresh_pipeline(e, scope);
        self.pipelines.insert(key, checked.clone());
        checked
    }

    fn fresh_pipeline(&mut self, e: &'a Expr, scope: &mut Scope) -> R<CheckedPipeline> {
        let stages = match self.eval(e, scope)? {
            Value::Pipeline(stages) => stages,
            other => {
                let d = self
                    .wrong_kind_diagnostic("a view pipeline", &other, e.span)
                    .help("write `random_resized_crop(32) |> horizontal_flip()`");
                return Err(self.report(d));
            }
        };
        let Some(data) = self.data.clone() else {
            return Err(Reported);
        };
        self.check_pipeline(&stages, &data, e.span)
    }

    fn target(
        &mut self,
        id: DefId,
        value: &'a Expr,
        place: usize,
        count: usize,
        first: DefId,
        scope: &mut Scope,
    ) -> R<Value> {
        // The names of one item share the evaluation of its right side.
        let ema = if let Some(known) = self.emas.get(&first) {
            known.clone()
        } else {
            let ema = match self.eval(value, scope) {
                Ok(Value::Ema(ema)) => Ok(ema),
                Ok(other) => {
                    let d = self
                        .wrong_kind_diagnostic("a moving average", &other, value.span)
                        .help("write `target f_t = ema(f, decay: 0.99)`");
                    Err(self.report(d))
                }
                Err(Reported) => Err(Reported),
            };
            let ema = ema.and_then(|ema| {
                if ema.sources.len() == count {
                    return Ok(ema);
                }
                let names = super::calls::count(count, "name");
                let sources = super::calls::count(ema.sources.len(), "network");
                Err(self.report(
                    Diagnostic::new(codes::E0306, format!("{names} for {sources}"))
                        .label(self.defs[id.index()].name.span, "targets named here")
                        .label(ema.span, "networks followed here")
                        .help("give one name for each network: `target f_t, g_t = ema(f, g, decay: 0.99)`"),
                ))
            });
            if let Ok(ema) = &ema {
                let name = format!("decay.{}", self.defs[first.index()].name.name);
                self.decays.push((name, ema.decay.clone()));
            }
            self.emas.insert(first, ema.clone());
            ema
        };
        let ema = ema?;
        let (source, _) = ema.sources[place];
        let def = self.defs[id.index()];
        let network = NetworkId(self.networks.len() as u32);
        let followed = self.networks[source.index()].clone();
        self.networks.push(Network {
            name: def.name.name.clone(),
            role: followed.role,
            span: def.name.span,
            root: followed.root,
            source: Some(source),
            average_buffers: ema.average_buffers,
            decay: format!("decay.{}", self.defs[first.index()].name.name),
        });
        match followed.root {
            Some(root) => Ok(Value::Module(ModuleRef {
                id: root,
                target: Some(network),
            })),
            None => Err(Reported),
        }
    }

    /// Every item of a kind, in the order of the files: imported files first, the entry last.
    pub fn definitions(&self, wanted: impl Fn(DefKind<'a>) -> bool) -> Vec<DefId> {
        let mut ids = Vec::new();
        for unit in self.order() {
            for id in &self.units[unit.index()].defs {
                if wanted(self.defs[id.index()].kind) {
                    ids.push(*id);
                }
            }
        }
        ids
    }

    /// Units of the spec, each after those that it imports.
    pub fn order(&self) -> Vec<UnitId> {
        fn visit(el: &Elab<'_>, unit: UnitId, order: &mut Vec<UnitId>) {
            if order.contains(&unit) {
                return;
            }
            for imported in el.units[unit.index()].imports.values() {
                visit(el, *imported, order);
            }
            if !order.contains(&unit) {
                order.push(unit);
            }
        }
        let mut order = Vec::new();
        visit(self, UnitId(0), &mut order);
        order
    }

    /// Items of the spec that a predicate picks, with their units.
    pub fn items_where<T>(
        &self,
        pick: impl Fn(&'a ItemKind) -> Option<T>,
    ) -> Vec<(UnitId, usize, Span, T)> {
        let mut found = Vec::new();
        for unit in self.order() {
            let ast = self.units[unit.index()].ast;
            for (i, item) in ast.items.iter().enumerate() {
                if let Some(t) = pick(&item.kind) {
                    found.push((unit, i, item.span, t));
                }
            }
        }
        found
    }

    /// Long chains of definitions would be drawn in by deep recursion: those are evaluated in the order of the text.
    pub fn flatten_long_chains(&mut self) {
        let lets = self.definitions(|k| matches!(k, DefKind::Let(_)));
        if lets.len() <= MAX_DRAWN {
            return;
        }
        for id in lets {
            let span = self.defs[id.index()].name.span;
            let _reported = self.value_of(id, span);
        }
    }

    /// Records that a network was applied.
    pub fn record_application(
        &mut self,
        network: NetworkId,
        input: ValueId,
        output: ValueId,
        span: Span,
    ) {
        if self.mode != super::layers::Mode::Train {
            return;
        }
        let span = self.site(span);
        self.applications.push(crate::program::Application {
            network: network.index(),
            span,
            input,
            output,
        });
    }

    /// An expression at the top level of a file, outside of any definition.
    pub fn top_level(&mut self, e: &'a Expr, unit: UnitId, item: usize) -> R<Value> {
        let ctx = std::mem::replace(
            &mut self.ctx,
            Context {
                inside: None::<Inside>,
                target: None,
                sized: false,
            },
        );
        let value = self.eval(e, &mut Scope::top(unit, item));
        self.ctx = ctx;
        value
    }
}
