//! One module for each command that does more than print.
//!
//! [`execute`] runs what was asked and returns the exit code: 0 done, 1 the spec is wrong, 2 the command line is wrong,
//! 3 data or files, 4 device, 5 training stopped, 130 interrupted.

mod bench;
mod data;
mod diff;
mod embed;
mod eval;
mod export;
mod fetch;
mod finetune;
mod fmt;
mod new;
mod report;
mod resume;
mod run;
mod snapshot;
mod std;
mod step;
mod views;

use crate::cli::{Cli, Command, DataCommand, Global, GraphFormat, Peer, Stage, Switch};
use crate::compile::{Compilation, Failure, compile};
use crate::explain;
use crate::report::{Reporter, print};
use ::std::path::PathBuf;
use ::std::thread::available_parallelism;
use clap::CommandFactory;
use sslc_grammar::ast::ItemKind;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_runtime::device::Target;

/// Runs a command and returns the exit code.
pub fn execute(cli: &Cli) -> u8 {
    let reporter = Reporter::new(&cli.global);
    let result = match &cli.command {
        Command::Run {
            spec,
            out,
            resume: None,
            json,
            ..
        } => run::run(spec, out.as_deref(), *json, &cli.global, reporter),
        Command::Run {
            spec,
            resume: Some(path),
            allow_spec_change,
            json,
            ..
        } => {
            let request = resume::Request {
                allow_spec_change: *allow_spec_change,
                json: *json,
            };
            resume::with_spec(spec, path, &request, &cli.global, reporter)
        }
        Command::Eval {
            run,
            k,
            temperature,
            epochs,
            finetune,
            seeds,
            checkpoint,
            json,
        } => {
            let request = eval::Request {
                k: k.map(|k| k as usize),
                temperature: *temperature,
                epochs: *epochs as usize,
                finetune,
                seeds: u64::from(*seeds),
                which: *checkpoint,
                json: json.as_deref(),
            };
            eval::run(run, &request, &cli.global, reporter)
        }
        Command::Embed {
            run,
            data,
            split,
            out,
            checkpoint,
        } => {
            let request = embed::Request {
                data: data.as_deref(),
                split: *split,
                out,
                which: *checkpoint,
            };
            embed::run(run, &request, &cli.global, reporter)
        }
        Command::Resume { run, json } => resume::run(run, *json, &cli.global, reporter),
        Command::Check { specs, overrides } => check(specs, overrides, reporter),
        Command::Graph { spec, emit, format } => Compilation::from_args(spec).and_then(|c| {
            warn(&c, reporter);
            print(&c.emit(stage(*emit, *format)?, *format)?);
            Ok(0)
        }),
        Command::Step {
            spec,
            inputs,
            output,
            at_step,
            init_only,
        } => {
            let request = step::Request {
                inputs: inputs.as_deref(),
                output,
                at_step: *at_step,
                init_only: *init_only,
            };
            step::run(spec, &request, &cli.global, reporter)
        }
        Command::Bench {
            spec,
            steps,
            views,
            format,
            compare,
            python,
        } => {
            let pytorch = compare.map(|Peer::Pytorch| python.as_path());
            if *views {
                let request = bench::views::Request {
                    rounds: *steps,
                    format: *format,
                    pytorch,
                };
                bench::views::run(spec, &request, reporter)
            } else {
                let request = bench::Request {
                    steps: *steps,
                    format: *format,
                    pytorch,
                };
                bench::run(spec, &request, &cli.global, reporter)
            }
        }
        Command::Views {
            spec,
            image,
            out,
            raw,
            seed,
            count,
        } => {
            let request = views::Request {
                image: image.as_deref(),
                out: out.as_deref(),
                raw: raw.as_deref(),
                seed: *seed,
                count: *count,
            };
            views::run(spec, &request, reporter)
        }
        Command::Report { runs, out } => report::run(runs, out.as_deref()),
        Command::Diff(args) => diff::run(args, reporter),
        Command::Snapshot(args) => snapshot::run(args, reporter),
        Command::Export {
            run,
            out,
            format,
            library,
            checkpoint,
        } => {
            let request = export::Request {
                run,
                out,
                format: *format,
                library: *library,
                which: *checkpoint,
            };
            export::run(&request, reporter)
        }
        Command::Data { command } => match command {
            DataCommand::Check { spec, format } => data::run(spec, *format, reporter),
        },
        Command::Fetch { set, out, from } => fetch::run(set, out, from.as_deref()),
        Command::Fmt { specs, check } => fmt::run(specs, *check, reporter),
        Command::Explain { code } => explain_code(code.as_deref()),
        Command::Std { name } => std::run(name.as_deref()),
        Command::New {
            method,
            path,
            data,
            force,
        } => new::run(*method, path.as_deref(), data.as_deref(), *force),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "sslc", &mut text);
            print(&String::from_utf8_lossy(&text));
            Ok(0)
        }
    };
    result.unwrap_or_else(|failure| {
        reporter.tell_all(&failure);
        failure.exit().status()
    })
}

/// The stage to print. A drawing is one of `core`.
fn stage(emit: Option<Stage>, format: GraphFormat) -> Result<Stage, Diagnostic> {
    match (emit, format) {
        (Some(stage), _) => Ok(stage),
        (None, GraphFormat::Svg) => Ok(Stage::Core),
        (None, GraphFormat::Text | GraphFormat::Json | GraphFormat::Dot) => Err(Diagnostic::new(
            codes::E0905,
            "`sslc graph` needs to know which stage to print",
        )
        .help("add `--emit core`, `--emit kernels` or another stage, or `--format svg` for a drawing of the networks")),
    }
}

/// Tells the warnings of a compilation that goes on.
fn warn(compilation: &Compilation, reporter: Reporter) {
    for warning in &compilation.warnings {
        reporter.tell(&compilation.sources, warning);
    }
}

/// The device and threads of the command line.
fn target(global: &Global) -> Result<Target, Diagnostic> {
    open(&global.device, global)
}

fn open(device: &str, global: &Global) -> Result<Target, Diagnostic> {
    // What the host does beside the device keeps to the same number; a second call finds the pool made.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads(global));
    let _ = pool.build_global();
    let target = Target::open(device, threads(global))?;
    Ok(target.with_autotune(global.autotune == Switch::On))
}

fn threads(global: &Global) -> usize {
    match global.threads {
        Some(n) => n.into(),
        None => available_parallelism().map_or(1, usize::from),
    }
}

fn check(
    specs: &[PathBuf],
    overrides: &[(String, String)],
    reporter: Reporter,
) -> Result<u8, Failure> {
    let mut status = 0;
    for spec in specs {
        match compile(spec, overrides) {
            Ok(compilation) => warn(&compilation, reporter),
            Err(mut failure) => {
                if is_library(&failure) {
                    failure
                        .diagnostics
                        .retain(|d| d.is_error() && !MISSING_ITEMS.contains(&d.code));
                    if failure.diagnostics.is_empty() {
                        continue;
                    }
                }
                reporter.tell_all(&failure);
                status = status.max(failure.exit().status());
            }
        }
    }
    Ok(status)
}

/// Errors about items that a spec must have and a file to import has not.
const MISSING_ITEMS: [codes::Code; 3] = [codes::E0407, codes::E0409, codes::E0410];

/// Whether the file holds only what other specs import: functions, modules, params, imports.
fn is_library(failure: &Failure) -> bool {
    let Some((file, source)) = failure.sources.iter().next() else {
        return false;
    };
    sslc_grammar::parse(file, &source.text).is_ok_and(|ast| {
        ast.items.iter().all(|item| {
            matches!(
                item.kind,
                ItemKind::Fn(_)
                    | ItemKind::Module(_)
                    | ItemKind::Param { .. }
                    | ItemKind::Import { .. }
            )
        })
    })
}

fn explain_code(code: Option<&str>) -> Result<u8, Failure> {
    let Some(code) = code else {
        let list: String = codes::ALL
            .iter()
            .map(|c| format!("{}  {}\n", c.name(), c.0.title))
            .collect();
        print(&list);
        return Ok(0);
    };
    match explain::page(code) {
        Some(page) => {
            print(page);
            Ok(0)
        }
        None => {
            let names = codes::ALL.iter().map(|c| c.name());
            let upper = code.to_uppercase();
            let diagnostic = Diagnostic::new(codes::E0901, format!("there is no code '{code}'"));
            Err(match nearest(&upper, names) {
                Some(near) => diagnostic.help(format!("did you mean {near}?")),
                None => diagnostic.help("`sslc explain` lists all codes"),
            }
            .into())
        }
    }
}

/// The status of a command that was interrupted, as shells give it.
const INTERRUPTED: u8 = 130;
