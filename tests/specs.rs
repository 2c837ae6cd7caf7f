//! File tests: every `tests/specs/**/*.ssl` whose first line is `# test: …` is a test of its own.
//!
//! - `# test: check`: a snapshot of all diagnostics, as a person reads them.
//! - `# test: emit STAGE…`: a snapshot of each stage's text.
//! - `# test: step`: one step from generated views gives the same loss, values and updates on the reference and on the
//!   CPU device.
//!
//! `# set: name=value` lines below the first are given as `--set`.

use libtest_mimic::{Arguments, Failed, Trial};
use sslc::cli::{GraphFormat, Stage};
use sslc::compile::{Compilation, compile};
use sslc::render;
use sslc_runtime::device::Target;
use sslc_runtime::rng::{Domain, Stream};
use sslc_runtime::train::init;
use sslc_runtime::train::stepper::Stepper;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut files = Vec::new();
    collect(&Path::new(ROOT).join("tests/specs"), &mut files);
    files.sort();
    let trials = files.iter().flat_map(|file| trials(file)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "ssl") {
            files.push(path);
        }
    }
}

/// The tests that a file's first line asks for; none where it is a part of another test.
fn trials(file: &Path) -> Vec<Trial> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let Some(header) = text.lines().next().and_then(|l| l.strip_prefix("# test: ")) else {
        return Vec::new();
    };
    let name = file
        .strip_prefix(Path::new(ROOT).join("tests/specs"))
        .unwrap_or(file)
        .with_extension("")
        .display()
        .to_string();
    let file = file.to_owned();
    let header = header.to_owned();
    vec![Trial::test(name.clone(), move || {
        let run = move || run(&file, &name, &header);
        let deep = std::thread::Builder::new().stack_size(256 << 20);
        match deep.spawn(run).map_err(|e| e.to_string())?.join() {
            Ok(result) => result.map_err(Failed::from),
            Err(panic) => Err(panic
                .downcast_ref::<String>()
                .cloned()
                .unwrap_or_else(|| "panicked".to_owned())
                .into()),
        }
    })]
}

fn run(file: &Path, name: &str, header: &str) -> Result<(), String> {
    let relative = file.strip_prefix(ROOT).unwrap_or(file);
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let overrides: Vec<(String, String)> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# set: ")?.split_once('='))
        .map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()))
        .collect();
    let compiled = compile(relative, &overrides);
    let mut words = header.split_whitespace();
    match words.next() {
        Some("check") => {
            let (sources, found) = match &compiled {
                Ok(c) => (&c.sources, &c.warnings),
                Err(f) => (&f.sources, &f.diagnostics),
            };
            let shown: String = found
                .iter()
                .map(|d| render::text(sources, d, false, render::WIDTH))
                .collect();
            let shown = if shown.is_empty() {
                "nothing to report\n".to_owned()
            } else {
                shown
            };
            snapshot(name, "check", &shown);
            Ok(())
        }
        Some("emit") => {
            let compilation = compiled.map_err(|f| errors(&f))?;
            for word in words {
                let stage = match word {
                    "ast" => Stage::Ast,
                    "core" => Stage::Core,
                    "step" => Stage::Step,
                    "luminal" => Stage::Luminal,
                    "kernels" => Stage::Kernels,
                    "cuda" => Stage::Cuda,
                    other => return Err(format!("there is no stage '{other}'")),
                };
                let text = compilation
                    .emit(stage, GraphFormat::Text)
                    .map_err(|f| errors(&f))?;
                snapshot(name, word, &text);
            }
            Ok(())
        }
        Some("step") => devices_agree(&compiled.map_err(|f| errors(&f))?),
        _ => Err(format!("unknown header '# test: {header}'")),
    }
}

fn errors(failure: &sslc::compile::Failure) -> String {
    failure
        .diagnostics
        .iter()
        .map(|d| render::text(&failure.sources, d, false, render::WIDTH))
        .collect()
}

fn snapshot(name: &str, what: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let id = format!("{}@{what}", name.replace('/', "__"));
    settings.bind(|| insta::assert_snapshot!(id, text));
}

/// Runs one step on both devices from the same views.
fn devices_agree(compilation: &Compilation) -> Result<(), String> {
    let reference = outputs(compilation, "reference")?;
    let cpu = outputs(compilation, "cpu")?;
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let kind = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for (name, value) in &reference {
        let most = largest.entry(kind(name)).or_default();
        *most = most.max(norm(value));
    }
    for (name, expected) in &reference {
        let got = &cpu[name];
        let floor = 1e-3 * largest[&kind(name)];
        let difference: Vec<f32> = expected.iter().zip(got).map(|(a, b)| a - b).collect();
        let error = norm(&difference) / norm(expected).max(floor).max(1e-12);
        if expected.len() != got.len() || error.is_nan() || error > 1e-4 {
            return Err(format!("{name}: the devices differ by {error:.2e}"));
        }
    }
    Ok(())
}

fn outputs(compilation: &Compilation, device: &str) -> Result<BTreeMap<String, Vec<f32>>, String> {
    let program = &compilation.program;
    let target = Target::open(device, 2).map_err(|d| d.message)?;
    let initial = init::values(program);
    let mut stepper = Stepper::new(program, &target, &initial, true).map_err(|d| d.message)?;
    for (i, view) in program.views.iter().enumerate() {
        let len = program.train.batch * view.height * view.width * view.channels;
        let mut draws = Stream::new(1, Domain::Views, i as u32, 0, 0);
        let data: Vec<f32> = (0..len).map(|_| draws.uniform(-1.5, 1.5) as f32).collect();
        stepper.set_view(&view.name, &data);
    }
    stepper.set_labels(
        &(0..program.train.batch)
            .map(|i| (i % 3) as f32)
            .collect::<Vec<_>>(),
    );
    stepper.run().map_err(|d| d.message)?;
    Ok(stepper
        .outputs()
        .into_iter()
        .filter_map(|(name, _)| Some((name.clone(), stepper.value(&name)?)))
        .collect())
}
