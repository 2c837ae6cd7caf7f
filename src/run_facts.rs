//! `facts.json` of a run directory: what a person asks about a run that its spec does not say.

use serde::{Deserialize, Serialize};
use sslc_compiler::program::{NetworkRole, Precision, Program};
use sslc_grammar::ast::Role;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::Dataset;
use sslc_runtime::device::Target;
use sslc_runtime::tensors::{cannot_write, write_atomically};
use std::fs;
use std::path::Path;

/// The file in the run directory.
pub const FILE: &str = "facts.json";

/// Facts of one run. A file of another version may lack some of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The spec's name.
    pub name: String,
    /// Of `sslc`.
    pub version: String,
    /// When it was started, with the offset of the time zone.
    pub started: String,
    pub device: String,
    /// Why it is not a GPU, where one was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_gpu: Option<String>,
    pub threads: usize,
    pub seed: u64,
    pub precision: String,
    pub batch: usize,
    /// Micro-batches a step.
    pub accumulate: u64,
    pub steps: u64,
    pub steps_per_epoch: Option<u64>,
    pub train_images: usize,
    pub test_images: usize,
    pub classes: Vec<String>,
    pub networks: Vec<NetworkFacts>,
    /// Rows of the sheet `views.png`, and pictures in each.
    pub sheet_rows: Vec<String>,
    pub sheet_columns: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkFacts {
    pub name: String,
    pub role: String,
    pub parameters: usize,
}

impl Facts {
    /// Facts of a run that begins now.
    pub fn new(program: &Program, dataset: &Dataset, target: &Target) -> Facts {
        let views = program.views.iter().map(|v| v.name.clone());
        Facts {
            name: program.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: jiff::Zoned::now()
                .strftime("%Y-%m-%d %H:%M:%S %:z")
                .to_string(),
            device: device(target),
            no_gpu: no_gpu(target),
            threads: target.threads(),
            seed: program.train.seed,
            precision: match program.train.precision {
                Precision::F32 => "f32",
                Precision::Bf16 => "bf16",
            }
            .to_owned(),
            batch: program.train.batch,
            accumulate: program.train.accumulate,
            steps: program.train.steps,
            steps_per_epoch: program.train.steps_per_epoch,
            train_images: dataset.train.len(),
            test_images: dataset.test.as_ref().map_or(0, |t| t.len()),
            classes: dataset.classes.clone(),
            networks: networks(program),
            sheet_rows: std::iter::once("image".to_owned()).chain(views).collect(),
            sheet_columns: 0,
        }
    }

    /// Numbers in the parameters of all networks.
    pub fn parameters(&self) -> usize {
        self.networks.iter().map(|n| n.parameters).sum()
    }

    /// Images of an optimizer step.
    pub fn images_a_step(&self) -> usize {
        self.batch * self.accumulate as usize
    }

    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, run: &Path) -> Result<(), Diagnostic> {
        let path = run.join(FILE);
        let mut text =
            serde_json::to_string_pretty(self).map_err(|e| cannot_write(&path, &e.to_string()))?;
        text.push('\n');
        write_atomically(&path, text.as_bytes())
    }

    /// The facts of a run directory; `None` where there are none or they are damaged.
    pub fn read(run: &Path) -> Option<Facts> {
        serde_json::from_slice(&fs::read(run.join(FILE)).ok()?).ok()
    }
}

fn networks(program: &Program) -> Vec<NetworkFacts> {
    let each = program.networks.iter().enumerate();
    each.map(|(i, network)| NetworkFacts {
        name: network.name.clone(),
        role: role_name(network.role),
        parameters: program.parameters_of(i),
    })
    .collect()
}

/// `encoder`, `target encoder`.
pub fn role_name(role: NetworkRole) -> String {
    let (prefix, role) = match role {
        NetworkRole::Online(role) => ("", role),
        NetworkRole::Target(role) => ("target ", role),
    };
    let name = match role {
        Role::Encoder => "encoder",
        Role::Projector => "projector",
        Role::Predictor => "predictor",
    };
    format!("{prefix}{name}")
}

/// The device and, where the system tells, the processor.
fn device(target: &Target) -> String {
    match target {
        Target::Cpu(device, _) => {
            let level = device.level().name();
            match processor() {
                Some(name) => format!("{name} ({level})"),
                None => format!("CPU ({level})"),
            }
        }
        Target::Cuda(device) => device.gpu().name().to_owned(),
        Target::Reference => "reference".to_owned(),
    }
}

/// Why a GPU was looked for and not taken.
fn no_gpu(target: &Target) -> Option<String> {
    match target {
        Target::Cpu(_, why) => why.as_ref().map(|d| d.message.clone()),
        Target::Cuda(_) | Target::Reference => None,
    }
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    let name = line.split_once(':')?.1.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
