//! One training step after another on a device.
//!
//! Invariant: on a device, a step and what is set and read around it allocate nothing.

use super::init::Values;
use crate::device::{Target, check};
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::text::text;
use sslc_compiler::program::{Program, Schedule};
use sslc_compiler::step::{self, Part};
use sslc_cuda::Tuning;
use sslc_grammar::diag::Diagnostic;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The compiled training step of a program, with its parameters, buffers and optimizer state.
pub struct Stepper {
    seed_step: u64,
    /// By name, with the source that each sets.
    schedules: BTreeMap<String, (String, Schedule)>,
    /// The source of each view.
    views: BTreeMap<String, String>,
    /// Forward and gradients; the update as well where nothing is accumulated.
    forward: Box<dyn Executor>,
    update: Option<Update>,
    micro: u64,
    labels: Vec<f32>,
    /// What was read last.
    value: RefCell<Vec<f32>>,
}

/// With `accumulate = n`: the update from the accumulators.
struct Update {
    executor: Box<dyn Executor>,
    /// Micro-batches before it.
    every: u64,
    /// Sources that it takes over before it runs, and those that it gives back.
    takes: Vec<String>,
    gives: Vec<String>,
}

impl Stepper {
    /// Compiles the step for a device and sets its initial values; with `gradients`, `grad/PATH` can be read.
    ///
    /// # Errors
    /// When the device cannot hold or make the program.
    pub fn new(
        program: &Program,
        target: &Target,
        initial: &Values,
        gradients: bool,
    ) -> Result<Stepper, Diagnostic> {
        Stepper::tuned(program, target, initial, gradients, &mut Tuning::off())
    }

    /// The same with kernels chosen by a tuning.
    ///
    /// # Errors
    /// As [`Stepper::new`]; E0756 where a library that was chosen is missing.
    pub fn tuned(
        program: &Program,
        target: &Target,
        initial: &Values,
        gradients: bool,
        tuning: &mut Tuning,
    ) -> Result<Stepper, Diagnostic> {
        let accumulate = program.train.accumulate;
        let part = if accumulate > 1 {
            Part::Accumulate
        } else {
            Part::Whole
        };
        let step = step::build(program, part, gradients);
        let mut forward = target.compile_tuned(&step.graph, program.options(), tuning)?;
        set_values(forward.as_mut(), program, initial);
        let mut schedules = step.schedules;
        let mut update = None;
        if accumulate > 1 {
            let step = step::update(program, &step.trained);
            let mut executor = target.compile_tuned(&step.graph, program.options(), tuning)?;
            set_values(executor.as_mut(), program, initial);
            schedules.extend(step.schedules);
            update = Some(Update::new(forward.as_ref(), executor, accumulate));
        }
        let source = |(name, schedule)| {
            let source = format!("schedule/{name}");
            (name, (source, schedule))
        };
        let view = |name: &str| (name.to_owned(), format!("view/{name}"));
        Ok(Stepper {
            seed_step: 0,
            schedules: schedules.into_iter().map(source).collect(),
            views: program.views.iter().map(|v| view(&v.name)).collect(),
            forward,
            update,
            micro: 0,
            labels: Vec::with_capacity(program.train.batch),
            value: RefCell::new(Vec::new()),
        })
    }

    /// The kernels of a step as text; `None` where the device has none.
    pub fn kernels_text(&self) -> Option<String> {
        let mut out = text(self.forward.kernels()?);
        if let Some(update) = &self.update {
            out.push_str(&format!("# after {} of these\n", update.every));
            out.push_str(&text(update.executor.kernels()?));
        }
        Some(out)
    }

    /// Places the next step at `k` in the schedules.
    pub fn set_step(&mut self, k: u64) {
        self.seed_step = k;
    }

    /// The number of optimizer steps done, or where [`Stepper::set_step`] placed it.
    pub fn step(&self) -> u64 {
        self.seed_step
    }

    /// Sets a view [B, H, W, C]; a view that no output depends on is passed over.
    pub fn set_view(&mut self, name: &str, data: &[f32]) {
        if let Some(source) = self.views.get(name) {
            self.forward.set(source, data);
        }
    }

    /// Sets the labels [B]; passed over where the spec does not use them.
    pub fn set_labels(&mut self, labels: &[f32]) {
        self.forward.set("labels", labels);
    }

    /// Sets the labels from classes [B].
    pub fn set_classes(&mut self, classes: &[u32]) {
        self.labels.clear();
        self.labels.extend(classes.iter().map(|c| *c as f32));
        self.forward.set("labels", &self.labels);
    }

    /// Runs one (micro-)step. True where an optimizer step was completed.
    ///
    /// # Errors
    /// When the device has failed, in this step or before.
    pub fn run(&mut self) -> Result<bool, Diagnostic> {
        let k = self.seed_step;
        set_time(self.forward.as_mut(), &self.schedules, k);
        self.forward.run();
        self.micro += 1;
        if let Some(update) = &mut self.update {
            if self.micro < update.every {
                return self.check().map(|()| false);
            }
            let (forward, value) = (&mut self.forward, self.value.get_mut());
            let executor = &mut update.executor;
            set_time(executor.as_mut(), &self.schedules, k);
            copy(forward.as_ref(), executor.as_mut(), &update.takes, value);
            executor.run();
            copy(executor.as_ref(), forward.as_mut(), &update.gives, value);
        }
        self.micro = 0;
        self.seed_step += 1;
        self.check().map(|()| true)
    }

    /// Whether all that was read so far is right.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn check(&self) -> Result<(), Diagnostic> {
        check(self.forward.as_ref())?;
        let update = self.update.as_ref();
        update.map_or(Ok(()), |u| check(u.executor.as_ref()))
    }

    /// Whether the inputs of the next run may be set before the outputs of the last are read, and arrive meanwhile.
    pub fn takes_inputs_early(&self) -> bool {
        self.forward.takes_inputs_early()
    }

    /// The value of a schedule at the present step.
    pub fn schedule(&self, name: &str) -> Option<f64> {
        self.schedules.get(name).map(|(_, s)| s.at(self.seed_step))
    }

    /// A scalar output of the last run.
    pub fn scalar(&self, name: &str) -> Option<f32> {
        let mut value = self.value.borrow_mut();
        self.read(name, &mut value)
            .then(|| value.first().copied())?
    }

    /// An output of the last run, or the present value of a parameter, buffer or state.
    pub fn value(&self, name: &str) -> Option<Vec<f32>> {
        let mut out = Vec::new();
        self.read(name, &mut out).then_some(out)
    }

    fn read(&self, name: &str, out: &mut Vec<f32>) -> bool {
        self.forward.get(name, out)
            || self
                .update
                .as_ref()
                .is_some_and(|u| u.executor.get(name, out))
    }

    /// Sets a parameter, buffer or state by its source name; false where there is none.
    pub fn set_value(&mut self, name: &str, data: &[f32]) -> bool {
        let forward = self.forward.set(name, data);
        let update = self.update.as_mut();
        let update = update.is_some_and(|u| u.executor.set(name, data));
        forward || update
    }

    /// Names and shapes (inside) of the outputs of a run.
    pub fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        let mut outputs = self.forward.outputs();
        if let Some(update) = &self.update {
            outputs.extend(update.executor.outputs());
        }
        outputs
    }

    /// Names and shapes (inside) of everything a run reads.
    pub fn sources(&self) -> Vec<(String, Vec<usize>)> {
        let mut sources = self.forward.sources();
        if let Some(update) = &self.update {
            let known: Vec<String> = sources.iter().map(|(n, _)| n.clone()).collect();
            sources.extend(
                update
                    .executor
                    .sources()
                    .into_iter()
                    .filter(|(n, _)| !known.contains(n)),
            );
        }
        sources
    }

    /// Parameters and buffers as they are now, by path.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn values(&self, program: &Program, initial: &Values) -> Result<Values, Diagnostic> {
        let mut values = initial.clone();
        let names = program
            .parameters
            .iter()
            .map(|p| ("param", &p.path))
            .chain(program.buffers.iter().map(|b| ("buffer", &b.path)));
        for (kind, path) in names {
            if let Some(value) = self.value(&format!("{kind}/{path}")) {
                values.insert(path.clone(), value);
            }
        }
        self.check().map(|()| values)
    }
}

/// Sets parameters and buffers of an executor from values by path.
pub fn set_values(executor: &mut dyn Executor, program: &Program, values: &Values) {
    for p in &program.parameters {
        if let Some(value) = values.get(&p.path) {
            executor.set(&format!("param/{}", p.path), value);
        }
    }
    for b in &program.buffers {
        if let Some(value) = values.get(&b.path) {
            executor.set(&format!("buffer/{}", b.path), value);
        }
    }
}

/// Sets the schedules and the step counter of optimizer step `k`.
fn set_time(executor: &mut dyn Executor, schedules: &BTreeMap<String, (String, Schedule)>, k: u64) {
    for (source, schedule) in schedules.values() {
        executor.set(source, &[schedule.at(k) as f32]);
    }
    executor.set("step", &[k as f32]);
}

impl Update {
    fn new(forward: &dyn Executor, executor: Box<dyn Executor>, every: u64) -> Update {
        // What the target has and the other can give, of these kinds.
        let shared = |from: &dyn Executor, to: &dyn Executor, kinds: &[&str]| {
            let given: Vec<String> = [from.sources(), from.outputs()]
                .into_iter()
                .flatten()
                .map(|(name, _)| name)
                .collect();
            let fits =
                |name: &String| kinds.iter().any(|k| name.starts_with(k)) && given.contains(name);
            let names = to.sources().into_iter().map(|(name, _)| name);
            names.filter(fits).collect::<Vec<String>>()
        };
        let takes = shared(
            forward,
            executor.as_ref(),
            &["state/accumulated/", "buffer/"],
        );
        let gives = shared(
            executor.as_ref(),
            forward,
            &["param/", "buffer/", "state/accumulated/"],
        );
        Update {
            executor,
            every,
            takes,
            gives,
        }
    }
}

/// Copies sources by name, on the device where it can; `value` is room to work in where it cannot.
fn copy(from: &dyn Executor, to: &mut dyn Executor, names: &[String], value: &mut Vec<f32>) {
    for name in names {
        if !to.copy_from(name, from) && from.get(name, value) {
            to.set(name, value);
        }
    }
}
