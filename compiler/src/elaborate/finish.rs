//! From the evaluated spec to the program: the order of evaluation, the graphs' outputs, parameters and targets.

use super::Elab;
use super::broadcast::dims;
use super::evaluation::EvalSettings;
use super::layers::{BufferDecl, Mode, ParamDecl};
use super::overrides::Overrides;
use super::schedules::Length;
use super::train::TrainSettings;
use super::units::DefKind;
use super::values::{DefId, NetworkId, R, Reported, SelectorValue, Value};
use super::views::CheckedPipeline;
use crate::core::graph::{DType, ValueId};
use crate::core::precision;
use crate::program::{
    Checkpoints, DataSource, Duration, Encode, Evaluation, Group, Hyper, Init, Knn, Linear,
    Network, NetworkRole, Optimizer, Parameter, Precision, Program, Schedule, Selector, StateDecl,
    TargetLink, Train, View,
};
use sslc_grammar::ast::{ItemKind, Role};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;
use std::collections::BTreeMap;
use std::rc::Rc;

impl<'a> Elab<'a> {
    /// Evaluates everything, the loss first among what computes with tensors.
    pub fn spec(&mut self, overrides: &'a Overrides) -> R<Program> {
        self.check_names();
        self.apply_overrides(overrides);
        let data = self.the_data();
        let block = self.train_block(overrides);
        self.seed_setting(&block);
        match self.early_settings(&block) {
            Ok(()) => self.batch_known = true,
            // Other errors are found with some batch; this one has been reported.
            Err(Reported) => self.batch_known = true,
        }
        for id in self.definitions(|k| matches!(k, DefKind::Param(_))) {
            self.evaluate(id);
        }
        self.view_order = self.definitions(|k| matches!(k, DefKind::View(_)));
        for id in self.view_order.clone() {
            self.evaluate(id);
        }
        let networks = |k: DefKind<'a>| matches!(k, DefKind::Network(..) | DefKind::Target { .. });
        for id in self.definitions(networks) {
            self.evaluate(id);
        }
        self.flatten_long_chains();
        let loss = self.the_loss();
        let named = |k: DefKind<'a>| matches!(k, DefKind::Let(_) | DefKind::Watch(_));
        let named = self.definitions(named);
        for id in named.clone() {
            self.evaluate(id);
        }
        self.unique_names();
        let values = self.named_values(&named);
        let train = self.train_settings(&block, data.as_deref());
        let first_view = self.first_view();
        let eval = match &data {
            Some(data) => self.eval_settings(data, first_view.as_ref()),
            None => Err(Reported),
        };
        if self.view_order.is_empty() {
            self.missing(
                "views",
                codes::E0410,
                "views x1, x2 = random_resized_crop(32)",
            );
        }
        if self.diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Reported);
        }
        let (Some(data), loss, train, eval) = (data, loss?, train?, eval?) else {
            return Err(Reported);
        };
        self.warn_unused();
        self.program(&data, loss, &values, &train, &eval)
    }

    fn evaluate(&mut self, id: DefId) {
        let span = self.defs[id.index()].name.span;
        let _reported = self.value_of(id, span);
    }

    fn missing(&mut self, what: &str, code: sslc_grammar::codes::Code, example: &str) {
        let span = self.entry_span();
        self.report(
            Diagnostic::new(code, format!("the spec has no `{what}`"))
                .label(span, "none up to here")
                .help(format!("add `{example}`")),
        );
    }

    fn the_data(&mut self) -> Option<Rc<DataSource>> {
        let items = self.items_where(|k| match k {
            ItemKind::Data { value } => Some(value),
            _ => None,
        });
        if let [(_, _, first, _), (_, _, again, _), ..] = items[..] {
            self.two_items("data", again, first);
        }
        let Some((unit, item, _, value)) = items.first().copied() else {
            self.missing("data", codes::E0409, "data = fashion_mini()");
            return None;
        };
        let data = match self.top_level(value, unit, item) {
            Ok(Value::Data(data)) => Some(data),
            Ok(other) => {
                let d = self
                    .wrong_kind_diagnostic("a data source", &other, value.span)
                    .help("write `data = fashion_mini()` or `data = cifar10(\"path\")`");
                self.report(d);
                None
            }
            Err(Reported) => None,
        };
        self.data = data.clone();
        data
    }

    fn the_loss(&mut self) -> R<ValueId> {
        let items = self.items_where(|k| match k {
            ItemKind::Loss { keyword, value } => Some((*keyword, value)),
            _ => None,
        });
        if let [(_, _, _, (first, _)), (_, _, _, (again, _)), ..] = items[..] {
            self.two_items("loss", again, first);
        }
        let Some((unit, item, _, (_, value))) = items.first().copied() else {
            self.missing("loss", codes::E0407, "loss = …");
            return Err(Reported);
        };
        match self.top_level(value, unit, item)? {
            Value::Tensor(v) => self.scalar(v, "the loss", value.span),
            other => {
                let d = self
                    .wrong_kind_diagnostic("a scalar tensor", &other, value.span)
                    .help("the loss is computed from views: `loss = mean(…)`");
                Err(self.report(d))
            }
        }
    }

    fn scalar(&mut self, v: ValueId, what: &str, span: Span) -> R<ValueId> {
        let ty = self.g.b.ty(v).clone();
        if ty.shape.is_empty() {
            return Ok(self.float_tensor(v));
        }
        Err(self.report(
            Diagnostic::new(
                codes::E0208,
                format!(
                    "{what} must be one number, not a tensor {}",
                    dims(&ty.shape)
                ),
            )
            .label(span, format!("this is {ty}"))
            .help("reduce it: `mean(…)` or `sum(…)`"),
        ))
    }

    /// The tensors that lets and watches stand for: `value/NAME`.
    fn named_values(&mut self, ids: &[DefId]) -> Vec<(String, ValueId)> {
        let mut values = Vec::new();
        for id in ids {
            let def = self.defs[id.index()];
            let name = def.name.name.clone();
            let super::items::Cell::Done(value) = self.cells[id.index()].clone() else {
                continue;
            };
            match (def.kind, value) {
                (DefKind::Watch(e), Value::Tensor(v)) => {
                    if let Ok(v) = self.scalar(v, &format!("`{name}`"), e.span) {
                        values.push((name, v));
                    }
                }
                (DefKind::Watch(e), other) => match other.number() {
                    Some(number) => {
                        self.g.b.origin = Some(e.span);
                        let v = self.constant(number, DType::F32);
                        values.push((name, v));
                    }
                    None => {
                        let d = self.wrong_kind_diagnostic("a scalar", &other, e.span).help(
                            "a watch logs one number: `watch spread = mean(std(z, axis: 0))`",
                        );
                        self.report(d);
                    }
                },
                (_, Value::Tensor(v)) => values.push((name, v)),
                _ => {}
            }
        }
        values
    }

    /// Views, networks and values are known by their names alone: one of each in the whole spec.
    fn unique_names(&mut self) {
        let group = |kind: DefKind<'_>| match kind {
            DefKind::View(_) => Some(0),
            DefKind::Network(..) | DefKind::Target { .. } => Some(1),
            DefKind::Let(_) | DefKind::Watch(_) => Some(2),
            DefKind::Param(_) | DefKind::Module(_) | DefKind::Fn(_) => None,
        };
        let mut known: BTreeMap<(u8, String), DefId> = BTreeMap::new();
        for id in self.definitions(|k| group(k).is_some()) {
            let def = self.defs[id.index()];
            let tensor = matches!(
                self.cells[id.index()],
                super::items::Cell::Done(Value::Tensor(_))
            );
            let Some(kind) = group(def.kind).filter(|k| *k != 2 || tensor) else {
                continue;
            };
            let first = *known.entry((kind, def.name.name.clone())).or_insert(id);
            let before = self.defs[first.index()];
            if before.unit != def.unit {
                self.report(
                    Diagnostic::new(
                        codes::E0102,
                        format!("`{}` is defined in two files", def.name.name),
                    )
                    .label(def.name.span, "defined again here")
                    .label(before.name.span, "first defined here")
                    .help("rename one of them: views, networks and values are saved under their names"),
                );
            }
        }
    }

    fn first_view(&mut self) -> Option<CheckedPipeline> {
        let id = *self.view_order.first()?;
        let DefKind::View(e) = self.defs[id.index()].kind else {
            return None;
        };
        self.pipelines
            .get(&(e.span.file, e.span.start))
            .cloned()?
            .ok()
    }

    fn program(
        &mut self,
        data: &DataSource,
        loss: ValueId,
        values: &[(String, ValueId)],
        train: &TrainSettings,
        eval: &EvalSettings,
    ) -> R<Program> {
        let encoder = self.first_encoder();
        self.check_targets();
        let encoder = encoder?;
        let (schedules, optimizer) = self.optimizer(train);
        let knn = self.knn(eval, train.length);
        let linear = self.linear_evaluation(eval, train.length);
        let checkpoint = self.checkpoints(train);
        if self.diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Reported);
        }
        self.name_loss(loss);
        let mut forward = self.forward_graph(loss, values);
        if train.precision == Precision::Bf16 {
            forward = precision::to_bf16(&forward);
        }
        let evaluate = self.encode_graph(encoder, &eval.images, Mode::Evaluate)?;
        let calibrate = self.encode_graph(encoder, &eval.images, Mode::Calibrate)?;
        let (parameters, buffers, targets) = self.parameters();
        let views = self.views();
        Ok(Program {
            name: self.spec_name(),
            data: data.clone(),
            views,
            networks: self.networks.iter().map(network_of).collect(),
            parameters,
            buffers,
            weights: self.weights_files(),
            targets,
            applications: std::mem::take(&mut self.applications),
            forward,
            schedules,
            train: Train {
                steps: train.length.total,
                steps_per_epoch: train.length.per_epoch,
                batch: self.batch,
                seed: self.seed,
                optimizer,
                clip_norm: train.clip_norm,
                accumulate: train.accumulate,
                drop_last: true,
                math: train.math,
                memory: train.memory,
                precision: train.precision,
                watch_collapse: train.watch_collapse,
                checkpoint: checkpoint?,
            },
            eval: Evaluation {
                images: eval.images.pipeline.clone(),
                knn: knn?,
                linear: linear?,
            },
            encode: Encode {
                network: encoder.index(),
                height: eval.images.height,
                width: eval.images.width,
                evaluate,
                calibrate,
            },
        })
    }

    fn spec_name(&self) -> String {
        let name = &self.sources.get(self.units[0].file).name;
        let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
        file.strip_suffix(".ssl").unwrap_or(file).to_string()
    }

    fn name_loss(&mut self, loss: ValueId) {
        if self.g.b.graph.node(loss).name.is_none() {
            self.g.b.name(loss, "loss");
        }
    }

    /// The network that is evaluated and exported.
    fn first_encoder(&mut self) -> R<NetworkId> {
        let found = self
            .definitions(|k| matches!(k, DefKind::Network(Role::Encoder, _)))
            .first()
            .copied();
        let Some(id) = found else {
            self.missing(
                "encoder",
                codes::E0310,
                "encoder f = resnet18(stem: \"cifar\")",
            );
            return Err(Reported);
        };
        let name = &self.defs[id.index()].name.name;
        let network = self
            .networks
            .iter()
            .position(|n| n.source.is_none() && n.name == *name);
        match network {
            Some(i) => Ok(NetworkId(i as u32)),
            None => Err(Reported),
        }
    }

    /// A target has the shapes of its source, so that must be applied somewhere.
    fn check_targets(&mut self) {
        for i in 0..self.networks.len() {
            let Some(source) = self.networks[i].source else {
                continue;
            };
            if self
                .applications
                .iter()
                .any(|a| a.network == source.index())
            {
                continue;
            }
            let (target, source) = (&self.networks[i], &self.networks[source.index()]);
            let d = Diagnostic::new(
                codes::E0305,
                format!(
                    "`{}` follows `{}`, which is applied nowhere",
                    target.name, source.name
                ),
            )
            .label(target.span, "follows it")
            .label(source.span, "never applied")
            .help(format!(
                "apply `{}` in the loss: a target never learns by itself",
                source.name
            ));
            self.report(d);
        }
    }

    fn views(&self) -> Vec<View> {
        let channels = self.data.as_ref().map_or(0, |d| d.channels);
        let mut views = Vec::new();
        for id in &self.view_order {
            let def = self.defs[id.index()];
            let DefKind::View(e) = def.kind else {
                continue;
            };
            if let Some(Ok(checked)) = self.pipelines.get(&(e.span.file, e.span.start)) {
                views.push(View {
                    name: def.name.name.clone(),
                    pipeline: checked.pipeline.clone(),
                    height: checked.height,
                    width: checked.width,
                    channels,
                });
            }
        }
        views
    }

    /// Parameters and buffers of all networks, and which average which.
    fn parameters(&self) -> (Vec<Parameter>, Vec<StateDecl>, Vec<TargetLink>) {
        let mut params: Vec<Parameter> = self.params.iter().map(parameter_of).collect();
        let mut buffers: Vec<StateDecl> = self.buffers.iter().map(buffer_of).collect();
        let mut links = Vec::new();
        for (i, target) in self.networks.iter().enumerate() {
            let Some(source) = target.source else {
                continue;
            };
            let followed = &self.networks[source.index()].name;
            let rename = |path: &str| format!("{}{}", target.name, &path[followed.len()..]);
            for p in self.params.iter().filter(|p| p.network == source) {
                links.push(TargetLink {
                    source: p.path.clone(),
                    target: rename(&p.path),
                    decay: target.decay.clone(),
                });
                params.push(Parameter {
                    path: rename(&p.path),
                    network: i,
                    init: Init::Copy(p.path.clone()),
                    ..parameter_of(p)
                });
            }
            for b in self.buffers.iter().filter(|b| b.network == source) {
                if target.average_buffers {
                    links.push(TargetLink {
                        source: b.path.clone(),
                        target: rename(&b.path),
                        decay: target.decay.clone(),
                    });
                }
                buffers.push(StateDecl {
                    path: rename(&b.path),
                    network: i,
                    shape: b.shape.clone(),
                    init: Init::Copy(b.path.clone()),
                });
            }
        }
        (params, buffers, links)
    }

    fn optimizer(&mut self, train: &TrainSettings) -> (BTreeMap<String, Schedule>, Optimizer) {
        let o = train.optimizer.clone();
        let mut named = vec![("lr".to_string(), o.lr.clone())];
        let mut groups = Vec::with_capacity(o.groups.len());
        for (i, group) in o.groups.iter().enumerate() {
            let lr = group.lr.as_ref().map(|lr| {
                let name = format!("lr.{}", i + 1);
                named.push((name.clone(), lr.clone()));
                name
            });
            groups.push(Group {
                select: group.select.iter().map(|s| selector_of(*s)).collect(),
                lr,
                momentum: group.momentum,
                weight_decay: group.weight_decay,
            });
        }
        named.extend(self.decays.clone());
        let mut schedules = BTreeMap::new();
        for (name, schedule) in named {
            if let Ok(schedule) = self.resolve(&schedule, train.length) {
                schedules.insert(name, schedule);
            }
        }
        let optimizer = Optimizer {
            rule: o.rule,
            base: Hyper {
                lr: "lr".to_string(),
                momentum: o.momentum,
                weight_decay: o.weight_decay,
            },
            exclude: o.exclude.iter().map(|s| selector_of(*s)).collect(),
            groups,
        };
        (schedules, optimizer)
    }

    /// The optimizer steps between two times.
    fn interval(&mut self, (every, span): (Duration, Span), length: Length) -> R<u64> {
        match self.in_steps(every, span, length)? {
            0 => Err(self.report(
                Diagnostic::new(codes::E0405, "an interval must be a step or more")
                    .label(span, "this is less than a step")
                    .help("write `epochs(10)` or `steps(500)`"),
            )),
            steps => Ok(steps),
        }
    }

    fn linear_evaluation(&mut self, eval: &EvalSettings, length: Length) -> R<Option<Linear>> {
        let Some(linear) = eval.linear else {
            return Ok(None);
        };
        let every = match linear.every {
            Some(every) => Some(self.interval(every, length)?),
            None => None,
        };
        Ok(Some(Linear {
            epochs: linear.epochs,
            lr: linear.lr,
            every,
        }))
    }

    fn checkpoints(&mut self, train: &TrainSettings) -> R<Checkpoints> {
        let every = match train.checkpoint.every {
            Some(every) => Some(self.interval(every, train.length)?),
            None => train.length.per_epoch,
        };
        Ok(Checkpoints {
            every,
            keep: train.checkpoint.keep,
        })
    }

    fn knn(&mut self, eval: &EvalSettings, length: Length) -> R<Option<Knn>> {
        let Some(knn) = eval.knn else {
            return Ok(None);
        };
        let every = match knn.every {
            Some(every) => Some(self.interval(every, length)?),
            None => None,
        };
        Ok(Some(Knn {
            k: knn.k,
            temperature: knn.temperature,
            every,
        }))
    }
}

fn network_of(n: &super::Network) -> Network {
    Network {
        name: n.name.clone(),
        role: match n.source {
            None => NetworkRole::Online(n.role),
            Some(_) => NetworkRole::Target(n.role),
        },
        span: Some(n.span),
    }
}

fn parameter_of(p: &ParamDecl) -> Parameter {
    Parameter {
        path: p.path.clone(),
        network: p.network.index(),
        kind: p.kind,
        shape: p.shape.clone(),
        layout: p.layout,
        init: p.init.clone(),
    }
}

fn buffer_of(b: &BufferDecl) -> StateDecl {
    StateDecl {
        path: b.path.clone(),
        network: b.network.index(),
        shape: b.shape.clone(),
        init: Init::Constant(b.init),
    }
}

fn selector_of(s: SelectorValue) -> Selector {
    match s {
        SelectorValue::Kind(kind) => Selector::Kind(kind),
        SelectorValue::Network(n) => Selector::Network(n.index()),
    }
}
