//! Elaboration: a spec is evaluated with symbolic tensors; what remains is a [`Program`].
//!
//! - [`units`]: the files, their imports and top-level names. [`scope`]: what a name means where it stands.
//! - [`values`]: what expressions evaluate to. [`eval`]: expressions. [`arith`]: operators. [`broadcast`]: operands.
//! - [`calls`], [`args`], [`builtins`]: functions, arguments, the table of builtins.
//! - [`tensors`], [`reductions`], [`shapes`], [`indexing`]: tensor functions.
//! - [`modules`], [`layers`], [`layer_calls`]: networks and their parts. [`forward`]: layers applied.
//! - [`views`], [`data`], [`schedules`], [`optimizers`]: the values that say how training goes.
//! - [`items`]: top-level definitions, each evaluated when it is first needed. [`overrides`]: `--set`.
//! - [`settings`], [`train`], [`evaluation`]: the blocks `train` and `eval`. [`finish`]: parameters and settings become the program.
//!   [`outputs`]: its graphs. [`graph`]: the graph while it is built.
//!   [`names`]: unknown names, found without evaluation. [`unused`]: warnings for what nothing uses.
//!
//! Invariant: an error is reported where it is found, and what depends on it ([`values::Reported`]) stays silent, so
//! one run reports all errors.

mod args;
mod arith;
mod broadcast;
mod builtins;
mod calls;
mod data;
mod eval;
mod evaluation;
mod finish;
mod forward;
mod graph;
mod indexing;
mod items;
mod layer_calls;
mod layers;
mod modules;
mod names;
mod optimizers;
mod outputs;
mod overrides;
mod reductions;
mod schedules;
mod scope;
mod settings;
mod shapes;
mod tensors;
mod train;
mod units;
mod unused;
mod values;
mod views;

pub use builtins::Section;
pub use builtins::{BuiltinDoc, builtin_docs};
pub use units::{Loaded, Loader, NoImports};

use crate::core::graph::ValueId;
use crate::core::ops::Op;
use crate::program::{DataSource, Program};
use calls::Inside;
use graph::Building;
use items::Cell;
use layers::{BufferDecl, Mode, ParamDecl};
use modules::Module;
use sslc_grammar::ast::{Expr, Ident};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::{FileId, Sources, Span};
use std::collections::{BTreeMap, BTreeSet};
use units::{Def, Reader, Unit};
use values::{DefId, ModuleId, NetworkId, R, Reported, UnitId, Value};
use views::CheckedPipeline;

/// The number of training images of a source, where its data is at hand.
pub type TrainLen<'o> = &'o dyn Fn(&DataSource) -> Option<usize>;

/// What a caller sets.
#[derive(Clone, Copy, Default)]
pub struct Options<'o> {
    /// `--set name=value`, in order: params, and settings as `train.epochs`.
    pub overrides: &'o [(String, String)],
    /// Takes the place of what the spec or the kind of the source says.
    pub train_len: Option<TrainLen<'o>>,
}

/// A builtin of the language, as `sslc std` lists it.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinInfo {
    pub name: &'static str,
    /// `conv2d(out, kernel, stride: 1, …)`
    pub signature: &'static str,
    pub doc: &'static str,
    pub section: Section,
}

/// Every builtin, by section and name.
pub fn builtin_list() -> Vec<BuiltinInfo> {
    let mut list: Vec<BuiltinInfo> = builtins::all()
        .chain([&evaluation::KNN, &evaluation::LINEAR])
        .map(|b| BuiltinInfo {
            name: b.name,
            signature: b.signature,
            doc: b.doc,
            section: b.section,
        })
        .collect();
    list.sort_by_key(|b| (b.section, b.name));
    list
}

/// Evaluates a spec. `sources` receives the imported files and the standard library.
///
/// # Errors
/// Everything that is wrong with the spec, in the order of its text, warnings included.
pub fn elaborate(
    sources: &mut Sources,
    entry: FileId,
    loader: &mut dyn Loader,
    options: &Options<'_>,
) -> Result<(Program, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (parsed, mut diagnostics) = Reader::new(sources, loader).read(entry);
    let extra = overrides::parse(sources, options.overrides);
    diagnostics.extend(extra.diagnostics.iter().cloned());
    let (units, defs) = units::collect(&parsed, &mut diagnostics);
    // Names of a file that does not parse would be reported as unknown, one by one.
    let fatal = |d: &Diagnostic| {
        let code = d.code.name();
        d.is_error() && (code.starts_with("E00") || code == "E0503" || code == "E0504")
    };
    if diagnostics.iter().any(fatal) {
        tidy(&mut diagnostics);
        return Err(diagnostics);
    }
    let mut el = Elab::new(sources, &units, defs, options);
    el.diagnostics = diagnostics;
    let program = el.spec(&extra);
    let mut diagnostics = std::mem::take(&mut el.diagnostics);
    tidy(&mut diagnostics);
    match program {
        Ok(program) if !diagnostics.iter().any(Diagnostic::is_error) => Ok((program, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// Errors in the order of the text, each once.
fn tidy(diagnostics: &mut Vec<Diagnostic>) {
    let mut seen: BTreeSet<(&'static str, Option<Span>, String)> = BTreeSet::new();
    diagnostics.retain(|d| {
        let place = d.labels.first().map(|l| l.span);
        seen.insert((d.code.name(), place, d.message.clone()))
    });
    diagnostics.sort_by_key(|d| d.labels.first().map(|l| (l.span.file, l.span.start)));
}

/// A network of the spec.
#[derive(Clone, Debug)]
struct Network {
    name: String,
    role: sslc_grammar::ast::Role,
    span: Span,
    /// Its module; a target has its source's.
    root: Option<ModuleId>,
    /// The network that a target follows.
    source: Option<NetworkId>,
    /// Whether its `ema` averages buffers.
    average_buffers: bool,
    /// Name of the schedule of its decay.
    decay: String,
}

/// What surrounds an expression while it is evaluated.
#[derive(Clone, Debug, Default)]
struct Context {
    /// The body of a function or `forward`, where no parameters may be made.
    inside: Option<Inside>,
    /// The target whose parameters stand for those of its source.
    target: Option<NetworkId>,
    /// Whether `channels_in` was asked for.
    sized: bool,
}

struct Elab<'a> {
    sources: &'a Sources,
    units: &'a [Unit<'a>],
    defs: Vec<Def<'a>>,
    std_names: BTreeMap<&'a str, DefId>,
    options: &'a Options<'a>,
    diagnostics: Vec<Diagnostic>,

    /// The values of definitions, by [`DefId`].
    cells: Vec<Cell>,
    used_defs: BTreeSet<DefId>,
    /// Entries of `train` that the command line took the place of; without a value, the key names it.
    displaced: Vec<(&'a Ident, Option<&'a Expr>)>,
    used_units: BTreeSet<UnitId>,
    /// Values that `--set` gives params instead of their own.
    param_overrides: BTreeMap<DefId, Value>,

    g: Building,
    mode: Mode,
    modules: Vec<Module<'a>>,
    networks: Vec<Network>,
    params: Vec<ParamDecl>,
    param_index: BTreeMap<String, usize>,
    buffers: Vec<BufferDecl>,
    buffer_index: BTreeMap<String, usize>,
    applications: Vec<crate::program::Application>,
    /// Decay schedules by the first target of an item.
    decays: Vec<(String, std::rc::Rc<values::ScheduleValue>)>,

    /// The right sides of `target` items, by the first name.
    emas: BTreeMap<DefId, R<std::rc::Rc<values::EmaValue>>>,

    data: Option<std::rc::Rc<DataSource>>,
    /// Checked pipelines by the place of their expression.
    pipelines: BTreeMap<(FileId, u32), R<CheckedPipeline>>,
    view_order: Vec<DefId>,
    batch: usize,
    batch_known: bool,
    seed: u64,

    ctx: Context,
    /// The calls around, innermost last.
    calls: Vec<Span>,
    fn_depth: usize,
    depth: usize,
    work: u64,
    reported_once: BTreeSet<&'static str>,
}

/// The batch that evaluation goes on with where the spec gives none, so that other errors are found too.
const FALLBACK_BATCH: usize = 256;

impl<'a> Elab<'a> {
    fn new(
        sources: &'a Sources,
        units: &'a [Unit<'a>],
        defs: Vec<Def<'a>>,
        options: &'a Options<'a>,
    ) -> Elab<'a> {
        let mut std_names = BTreeMap::new();
        for unit in units.iter().filter(|u| u.std) {
            for id in &unit.defs {
                std_names.insert(defs[id.index()].name.name.as_str(), *id);
            }
        }
        Elab {
            sources,
            units,
            cells: defs.iter().map(|_| Cell::NotYet).collect(),
            defs,
            std_names,
            options,
            diagnostics: Vec::new(),
            used_defs: BTreeSet::new(),
            displaced: Vec::new(),
            used_units: BTreeSet::new(),
            param_overrides: BTreeMap::new(),
            g: Building::default(),
            mode: Mode::Train,
            modules: Vec::new(),
            networks: Vec::new(),
            params: Vec::new(),
            param_index: BTreeMap::new(),
            buffers: Vec::new(),
            buffer_index: BTreeMap::new(),
            applications: Vec::new(),
            decays: Vec::new(),
            emas: BTreeMap::new(),
            data: None,
            pipelines: BTreeMap::new(),
            view_order: Vec::new(),
            batch: FALLBACK_BATCH,
            batch_known: false,
            seed: 0,
            ctx: Context::default(),
            calls: Vec::new(),
            fn_depth: 0,
            depth: 0,
            work: 0,
            reported_once: BTreeSet::new(),
        }
    }

    fn in_std(&self, span: Span) -> bool {
        self.units.iter().any(|u| u.std && u.file == span.file)
    }

    /// The place in the user's files that stands for a place in the standard library: the innermost call from there.
    fn site(&self, span: Span) -> Span {
        if !self.in_std(span) {
            return span;
        }
        self.calls
            .iter()
            .rev()
            .copied()
            .find(|s| !self.in_std(*s))
            .unwrap_or(span)
    }

    /// Reports an error, or a warning. Places in the standard library are shown as the calls that lead there.
    fn report(&mut self, mut d: Diagnostic) -> Reported {
        // Without a call (in the standard library itself) there is no other place to show.
        let moved = d
            .labels
            .first()
            .is_some_and(|l| self.site(l.span) != l.span);
        if moved {
            d.labels[0].span = self.site(d.labels[0].span);
            d.labels[0].text = "in this call".to_string();
        }
        let first = d.labels.first().map(|l| l.span);
        d.labels
            .retain(|l| Some(l.span) == first || !self.in_std(l.span));
        if moved {
            d.labels.truncate(1);
        } else if let Some(first) = d.labels.first()
            && let Some(call) = self.calls.last().copied()
            && !self.in_std(call)
            && !d.labels.iter().any(|l| l.span == call)
            && !(call.file == first.span.file
                && call.start <= first.span.start
                && first.span.end <= call.end)
        {
            d = d.label(call, "in this call");
        }
        self.diagnostics.push(d);
        Reported
    }

    /// Reports the first error of its code only.
    fn report_once(&mut self, d: Diagnostic) -> Reported {
        if self.reported_once.insert(d.code.name()) {
            self.report(d);
        }
        Reported
    }

    /// What a value is, with its shape: `f32[8, 32]`.
    fn describe(&self, value: &Value) -> String {
        match value {
            Value::Tensor(v) => format!("a tensor {}", self.g.b.ty(*v)),
            Value::Int(v) => format!("the number {v}"),
            Value::Float(v) => format!("the number {v}"),
            Value::Str(s) if s.chars().count() <= 40 => format!("the string \"{s}\""),
            Value::Bool(b) => format!("`{b}`"),
            Value::List(items) => format!("a list of {}", calls::count(items.len(), "element")),
            Value::Module(m) if m.target.is_some() => "a target network".to_string(),
            other => other.kind().to_string(),
        }
    }

    fn wrong_kind_diagnostic(&self, wanted: &str, value: &Value, span: Span) -> Diagnostic {
        Diagnostic::new(codes::E0104, format!("{wanted} is needed here"))
            .label(span, format!("this is {}", self.describe(value)))
    }

    fn wrong_kind(&mut self, wanted: &str, value: &Value, span: Span, help: &str) -> Reported {
        let d = self.wrong_kind_diagnostic(wanted, value, span).help(help);
        self.report(d)
    }

    /// Adds a node for what the spec wrote; a shape that does not fit is the spec's error.
    fn push(
        &mut self,
        op: Op,
        args: &[ValueId],
        attrs: Vec<(&'static str, crate::core::graph::Attr)>,
        span: Span,
    ) -> R<ValueId> {
        self.g.b.origin = Some(self.site(span));
        match self.g.b.try_push(op, args, attrs) {
            Ok(v) => Ok(v),
            Err(e) => Err(self.report(
                Diagnostic::new(codes::E0200, e.message)
                    .label(span, "does not fit here")
                    .help("check the shapes of what is combined here"),
            )),
        }
    }

    fn network_of_root(&self, id: ModuleId) -> Option<NetworkId> {
        let found = self
            .networks
            .iter()
            .position(|n| n.source.is_none() && n.root == Some(id));
        found.map(|i| NetworkId(i as u32))
    }
}
