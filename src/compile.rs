//! From a spec file to its program and the text of any stage.

use crate::cli::{GraphFormat, SpecArgs, Stage};
use crate::loader::{FileLoader, read_text};
use crate::network_drawing;
use crate::render;
use crate::tree;
use sslc_compiler::elaborate::{Options, elaborate};
use sslc_compiler::kernels::build::{Interface, build};
use sslc_compiler::kernels::ir::KernelProgram;
use sslc_compiler::lints::lints;
use sslc_compiler::lower::{check_sizes, lower};
use sslc_compiler::program::{DataSource, Program};
use sslc_compiler::step::{self, Part};
use sslc_compiler::{core, kernels, lower};
use sslc_grammar::ast;
use sslc_grammar::codes::{self, Exit};
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::{FileId, Sources};
use sslc_runtime::data;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// What went wrong, with the sources that its labels point into.
#[derive(Default)]
pub struct Failure {
    pub sources: Sources,
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// The exit code that the first error asks for.
    pub fn exit(&self) -> Exit {
        self.diagnostics
            .iter()
            .find(|d| d.is_error())
            .map_or(Exit::Spec, |d| d.code.0.exit)
    }
}

/// The diagnostics drawn over their sources, as the command line shows them.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self
            .diagnostics
            .iter()
            .map(|d| render::text(&self.sources, d, false, render::WIDTH));
        f.write_str(&texts.collect::<String>())
    }
}

/// The same as its `Display`, so that a test or a `main` that returns it is readable.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl Error for Failure {}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Failure {
        Failure {
            sources: Sources::default(),
            diagnostics: vec![diagnostic],
        }
    }
}

/// A spec, compiled to its program.
#[derive(Debug)]
pub struct Compilation {
    pub sources: Sources,
    pub entry: FileId,
    pub program: Program,
    pub warnings: Vec<Diagnostic>,
    /// Imported files by place below the spec's folder.
    pub imports: BTreeMap<PathBuf, String>,
}

/// Reads and evaluates a spec.
///
/// # Errors
/// All errors of the spec at once, or the first of a file.
pub fn compile(spec: &Path, overrides: &[(String, String)]) -> Result<Compilation, Failure> {
    compile_with(spec, overrides, &train_len)
}

/// [`compile`], with the number of training images of a source told by the caller.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    spec: &Path,
    overrides: &[(String, String)],
    train_len: &dyn Fn(&DataSource) -> Option<usize>,
) -> Result<Compilation, Failure> {
    compile_text(spec, read_text(spec)?, overrides, train_len)
}

/// [`compile_with`], of a text in the place of the file.
///
/// # Errors
/// As [`compile`].
pub fn compile_text(
    spec: &Path,
    text: String,
    overrides: &[(String, String)],
    train_len: &dyn Fn(&DataSource) -> Option<usize>,
) -> Result<Compilation, Failure> {
    let mut sources = Sources::default();
    let name = spec.display().to_string();
    let entry = sources.add(&name, text);
    let mut loader = FileLoader::new(spec, &name)?;
    let options = Options {
        overrides,
        train_len: Some(train_len),
    };
    match elaborate(&mut sources, entry, &mut loader, &options) {
        Ok((mut program, mut warnings)) => {
            warnings.extend(lints(&program));
            if let Some(stem) = spec.file_stem() {
                program.name = stem.to_string_lossy().into_owned();
            }
            let folder = spec.parent().unwrap_or(Path::new(""));
            for weights in &mut program.weights {
                let file = folder.join(&weights.file);
                weights.file = std::path::absolute(&file).unwrap_or(file);
            }
            Ok(Compilation {
                sources,
                entry,
                program,
                warnings,
                imports: loader.loaded,
            })
        }
        Err(diagnostics) => Err(Failure {
            sources,
            diagnostics,
        }),
    }
}

/// The number of training images, where the data is at hand; data that is missing or damaged is told when it is used.
fn train_len(source: &DataSource) -> Option<usize> {
    data::probe(source).ok().flatten()
}

impl Compilation {
    pub fn from_args(args: &SpecArgs) -> Result<Compilation, Failure> {
        compile(&args.spec, &args.overrides)
    }

    /// The text, JSON or dot form of a stage.
    ///
    /// # Errors
    /// When the program is too large for a stage.
    pub fn emit(&self, stage: Stage, format: GraphFormat) -> Result<String, Failure> {
        let step = || step::build(&self.program, Part::Whole, false).graph;
        let lowered = || {
            let graph = step();
            check_sizes(&graph).map(|()| lower(&graph))
        };
        let kernels = || -> Result<KernelProgram, Diagnostic> {
            let lowered = lowered()?;
            let interface = Interface::of(&lowered, self.program.options());
            build(&lowered.graph, &interface)
        };
        Ok(match stage {
            Stage::Ast => self.emit_ast(format)?,
            Stage::Core => match format {
                GraphFormat::Text => self.program.forward.to_string(),
                GraphFormat::Json => json(&self.program.forward),
                GraphFormat::Dot => core::print::dot(&self.program.forward),
                GraphFormat::Svg => network_drawing::svg(&self.program),
            },
            Stage::Step => match format {
                GraphFormat::Text => step().to_string(),
                GraphFormat::Json => json(&step()),
                GraphFormat::Dot => core::print::dot(&step()),
                GraphFormat::Svg => return Err(no_drawing("step").into()),
            },
            Stage::Luminal => {
                let lowered = lowered()?;
                match format {
                    GraphFormat::Text => lower::text::text(&lowered),
                    GraphFormat::Json => json(&lower::text::json(&lowered)),
                    GraphFormat::Dot => lower::text::dot(&lowered),
                    GraphFormat::Svg => return Err(no_drawing("luminal").into()),
                }
            }
            Stage::Kernels => {
                let program = kernels()?;
                match format {
                    GraphFormat::Text => kernels::text::text(&program),
                    GraphFormat::Json => json(&kernels::text::json(&program)),
                    GraphFormat::Dot => kernels::text::dot(&program),
                    GraphFormat::Svg => return Err(no_drawing("kernels").into()),
                }
            }
            Stage::Cuda => {
                let program = kernels()?;
                let code = sslc_cuda::code::generate(&program).map_err(no_code)?;
                match format {
                    GraphFormat::Text => sslc_cuda::code::text::text(&program, &code),
                    GraphFormat::Json => json(&sslc_cuda::code::text::json(&program, &code)),
                    GraphFormat::Dot => return Err(no_graph().into()),
                    GraphFormat::Svg => return Err(no_drawing("cuda").into()),
                }
            }
        })
    }

    fn emit_ast(&self, format: GraphFormat) -> Result<String, Failure> {
        let text = &self.sources.get(self.entry).text;
        let file = sslc_grammar::parse(self.entry, text).map_err(|diagnostics| Failure {
            sources: self.sources.clone(),
            diagnostics,
        })?;
        Ok(match format {
            GraphFormat::Text => ast::print(&file),
            GraphFormat::Json => json(&file),
            GraphFormat::Dot => tree::dot(&serde_json::to_value(&file).unwrap_or_default()),
            GraphFormat::Svg => return Err(no_drawing("ast").into()),
        })
    }
}

/// E0905: only `core` is drawn at the level of networks.
fn no_drawing(stage: &str) -> Diagnostic {
    Diagnostic::new(codes::E0905, format!("the stage `{stage}` has no drawing")).help(
        "leave `--emit` out to draw the networks, or draw the stage with graphviz: `--format dot`",
    )
}

/// E0905: code is a list, not a graph.
fn no_graph() -> Diagnostic {
    Diagnostic::new(
        codes::E0905,
        "the stage `cuda` is a list of launches and functions, not a graph",
    )
    .help("draw the kernels that it launches: `--emit kernels --format dot`")
}

/// E0702: a kernel that is too large for a GPU.
fn no_code(kernel: sslc_cuda::code::Unsupported) -> Diagnostic {
    Diagnostic::new(codes::E0702, kernel.to_string())
}

/// Pretty JSON with a final line break.
pub fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
