//! Which kernels a library runs: measured before a training's first step, and remembered for the day it goes on.
//!
//! A library may add up in another order than our kernels do, so a choice decides the last bits of a training. What was measured once
//! is therefore kept with the run: [`Choices`] is a file there.

use crate::code::library::{Library, Product};
use crate::code::{Alternative, Code, Step};
use crate::ready::{Ready, Trouble};
use serde::{Deserialize, Serialize};
use sslc_compiler::kernels::ir::KernelProgram;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

/// A library takes over where its time is below this share of our kernel's: less is within what measuring is off by.
const WORTH: f64 = 0.97;

/// What is known of the choices and whether more may be found out.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Whether libraries may run kernels.
    pub on: bool,
    pub known: Choices,
}

impl Tuning {
    /// Our own kernels alone.
    pub fn off() -> Tuning {
        Tuning::default()
    }
}

/// The choices for programs, by [`key`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choices {
    pub programs: BTreeMap<String, ProgramChoices>,
}

/// The choices for a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgramChoices {
    /// The GPU that was measured.
    pub gpu: String,
    /// Libraries and their versions.
    pub libraries: Vec<String>,
    /// The kernels that a library could run; all others are our own.
    pub kernels: Vec<Choice>,
}

/// The choice for a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its number in the program.
    pub kernel: usize,
    pub name: String,
    pub by: By,
    /// Microseconds.
    pub own_us: f64,
    pub library_us: f64,
}

/// What runs a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Own,
    #[serde(rename = "cuBLASLt")]
    CublasLt,
    #[serde(rename = "cuDNN")]
    Cudnn,
}

impl Choices {
    /// How many kernels libraries run, of those that they could, and which libraries, in words; empty where there is no choice.
    pub fn summary(&self) -> String {
        let kernels = || self.programs.values().flat_map(|p| &p.kernels);
        let all = kernels().count();
        let taken = kernels().filter(|k| k.by != By::Own).count();
        if all == 0 {
            return String::new();
        }
        let mut libraries: Vec<&str> = Vec::new();
        for name in self.programs.values().flat_map(|p| &p.libraries) {
            if !libraries.contains(&name.as_str()) {
                libraries.push(name);
            }
        }
        let libraries = libraries.join(" and ");
        format!(
            "{taken} of {all} contractions run by {libraries}, as measured before the first step"
        )
    }
}

impl ProgramChoices {
    /// Whether a library runs a kernel.
    pub(crate) fn by_library(&self, kernel: usize) -> bool {
        let mut kernels = self.kernels.iter();
        kernels.any(|k| k.kernel == kernel && k.by != By::Own)
    }

    /// Whether a library runs any.
    pub(crate) fn any_by_library(&self) -> bool {
        self.kernels.iter().any(|k| k.by != By::Own)
    }
}

/// What a program is known by: the hash of its kernels and buffers.
pub(crate) fn key(program: &KernelProgram) -> String {
    let text = serde_json::to_vec(program).unwrap_or_default();
    format!("{:032x}", xxh3_128(&text))
}

/// A kernel with its other way to run.
pub(crate) struct Candidate<'a> {
    pub(crate) alternative: &'a Alternative,
    pub(crate) steps: Vec<Ready>,
}

/// Times what can be run in two ways with `time(steps)`, once for each shape, and chooses; `own` gives the steps of our kernel.
///
/// # Errors
/// When the GPU fails.
pub(crate) fn choose<'a>(
    program: &KernelProgram,
    code: &Code,
    candidates: &[Candidate],
    own: impl Fn(usize) -> &'a [Ready],
    time: impl Fn(&[Ready]) -> Result<Duration, Trouble>,
) -> Result<Vec<Choice>, Trouble> {
    let mut measured: HashMap<Vec<Piece>, [f64; 2]> = HashMap::new();
    let mut choices = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let kernel = candidate.alternative.kernel;
        let shape = shape(code, candidate.alternative);
        let [own_us, library_us] = match measured.get(&shape) {
            Some(times) => *times,
            None => {
                let times = [time(own(kernel))?, time(&candidate.steps)?];
                let times = times.map(|t| t.as_secs_f64() * 1e6);
                measured.insert(shape, times);
                times
            }
        };
        let call = candidate.alternative.call();
        let by = match call.map(|c| c.product.library()) {
            Some(library) if library_us < WORTH * own_us => By::from(library),
            _ => By::Own,
        };
        choices.push(Choice {
            kernel,
            name: program.kernels[kernel].name.clone(),
            by,
            own_us,
            library_us,
        });
    }
    Ok(choices)
}

impl By {
    /// As NVIDIA writes it; `sslc` where it is none of theirs.
    pub fn name(self) -> &'static str {
        match self {
            By::Own => "sslc",
            By::CublasLt => "cuBLASLt",
            By::Cudnn => "cuDNN",
        }
    }
}

impl From<Library> for By {
    fn from(library: Library) -> By {
        match library {
            Library::CublasLt => By::CublasLt,
            Library::Cudnn => By::Cudnn,
        }
    }
}

/// What decides the time of a launch or call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Launch(usize, [u32; 3]),
    Call(Product),
}

/// What decides the times of a kernel's two ways.
fn shape(code: &Code, alternative: &Alternative) -> Vec<Piece> {
    let own = code.launches.iter();
    let own = own.filter(|l| l.kernel == alternative.kernel);
    let own = own.map(|l| Piece::Launch(l.function, l.grid));
    let other = alternative.steps.iter().map(|step| match step {
        Step::Launch(l) => Piece::Launch(l.function, l.grid),
        Step::Call(call) => Piece::Call(call.product),
    });
    own.chain(other).collect()
}
