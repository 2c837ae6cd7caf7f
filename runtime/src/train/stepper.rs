//! One training step after another on a device.

use super::init::Values;
use crate::device::Target;
use sslc_compiler::exec::Executor;
use sslc_compiler::program::{Program, Schedule};
use sslc_compiler::step::{self, Part, Step};
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeMap;

/// The compiled training step of a program, with its parameters, buffers and optimizer state.
pub struct Stepper {
    seed_step: u64,
    schedules: BTreeMap<String, Schedule>,
    /// Forward and gradients; the update as well where nothing is accumulated.
    forward: Box<dyn Executor>,
    /// With `accumulate = n`: the update, and the n.
    update: Option<(Box<dyn Executor>, u64)>,
    micro: u64,
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
        let accumulate = program.train.accumulate;
        let part = if accumulate > 1 {
            Part::Accumulate
        } else {
            Part::Whole
        };
        let Step {
            graph, schedules, ..
        } = step::build(program, part, gradients);
        let mut forward = target.compile(&graph, program.options())?;
        set_values(forward.as_mut(), program, initial);
        let mut all_schedules = schedules;
        let mut update = None;
        if accumulate > 1 {
            let Step {
                graph, schedules, ..
            } = step::build(program, Part::Update, false);
            let mut executor = target.compile(&graph, program.options())?;
            set_values(executor.as_mut(), program, initial);
            all_schedules.extend(schedules);
            update = Some((executor, accumulate));
        }
        Ok(Stepper {
            seed_step: 0,
            schedules: all_schedules,
            forward,
            update,
            micro: 0,
        })
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
        self.forward.set(&format!("view/{name}"), data);
    }

    /// Sets the labels [B]; passed over where the spec does not use them.
    pub fn set_labels(&mut self, labels: &[f32]) {
        self.forward.set("labels", labels);
    }

    /// Runs one (micro-)step. True where an optimizer step was completed.
    pub fn run(&mut self) -> bool {
        let k = self.seed_step;
        set_time(self.forward.as_mut(), &self.schedules, k);
        self.forward.run();
        self.micro += 1;
        if let Some((update, n)) = &mut self.update {
            if self.micro < *n {
                return false;
            }
            set_time(update.as_mut(), &self.schedules, k);
            copy_matching(self.forward.as_ref(), update.as_mut(), "state/accumulated/");
            copy_matching(self.forward.as_ref(), update.as_mut(), "buffer/");
            update.run();
            for prefix in ["param/", "buffer/", "state/accumulated/"] {
                copy_matching(update.as_ref(), self.forward.as_mut(), prefix);
            }
        }
        self.micro = 0;
        self.seed_step += 1;
        true
    }

    /// The value of a schedule at the present step.
    pub fn schedule(&self, name: &str) -> Option<f64> {
        self.schedules.get(name).map(|s| s.at(self.seed_step))
    }

    /// A scalar output of the last run.
    pub fn scalar(&self, name: &str) -> Option<f32> {
        self.value(name).and_then(|v| v.first().copied())
    }

    /// An output of the last run, or the present value of a parameter, buffer or state.
    pub fn value(&self, name: &str) -> Option<Vec<f32>> {
        let mut out = Vec::new();
        if self.forward.get(name, &mut out) {
            return Some(out);
        }
        match &self.update {
            Some((update, _)) if update.get(name, &mut out) => Some(out),
            _ => None,
        }
    }

    /// Sets a parameter, buffer or state by its source name; false where there is none.
    pub fn set_value(&mut self, name: &str, data: &[f32]) -> bool {
        let forward = self.forward.set(name, data);
        let update = match &mut self.update {
            Some((update, _)) => update.set(name, data),
            None => false,
        };
        forward || update
    }

    /// Names and shapes (inside) of the outputs of a run.
    pub fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        let mut outputs = self.forward.outputs();
        if let Some((update, _)) = &self.update {
            outputs.extend(update.outputs());
        }
        outputs
    }

    /// Names and shapes (inside) of everything a run reads.
    pub fn sources(&self) -> Vec<(String, Vec<usize>)> {
        let mut sources = self.forward.sources();
        if let Some((update, _)) = &self.update {
            let known: Vec<String> = sources.iter().map(|(n, _)| n.clone()).collect();
            sources.extend(
                update
                    .sources()
                    .into_iter()
                    .filter(|(n, _)| !known.contains(n)),
            );
        }
        sources
    }

    /// Parameters and buffers as they are now, by path.
    pub fn values(&self, program: &Program, initial: &Values) -> Values {
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
        values
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
fn set_time(executor: &mut dyn Executor, schedules: &BTreeMap<String, Schedule>, k: u64) {
    for (name, schedule) in schedules {
        executor.set(&format!("schedule/{name}"), &[schedule.at(k) as f32]);
    }
    executor.set("step", &[k as f32]);
}

fn copy_matching(from: &dyn Executor, to: &mut dyn Executor, prefix: &str) {
    let mut value = Vec::new();
    for (name, _) in to.sources() {
        if name.starts_with(prefix) && from.get(&name, &mut value) {
            to.set(&name, &value);
        }
    }
}
