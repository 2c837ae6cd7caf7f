//! The files of a spec: the entry, what it imports, the standard library; and their top-level names.
//!
//! Invariant: a file is one unit however often it is imported, so a definition is one definition under every alias.

use super::values::{DefId, UnitId};
use crate::stdlib;
use sslc_grammar::ast::{self, Expr, File, Ident, ItemKind, Role};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::{FileId, Sources, Span};
use std::collections::BTreeMap;

/// How deep imports may nest.
const MAX_IMPORT_DEPTH: usize = 100;

/// The text of an import.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The same for the same file, however the import's path spells it.
    pub id: String,
    /// The file's name as shown to people.
    pub name: String,
    pub text: String,
}

/// Finds the files that a spec imports; the compiler itself reads none.
pub trait Loader {
    /// The text of `path` as the file `importer` spells it. The importer is named by its [`Loaded::id`], the entry by
    /// the name of its source.
    ///
    /// # Errors
    /// A diagnostic (E05…) without labels; the import is labelled by the caller.
    fn load(&mut self, importer: &str, path: &str) -> Result<Loaded, Diagnostic>;
}

/// A loader for specs that import nothing.
pub struct NoImports;

impl Loader for NoImports {
    fn load(&mut self, _importer: &str, path: &str) -> Result<Loaded, Diagnostic> {
        Err(Diagnostic::new(
            codes::E0501,
            format!("'{path}' cannot be imported: there are no files here"),
        )
        .help("put everything into one text"))
    }
}

/// A parsed file and the units that its imports mean, by item.
#[derive(Debug)]
pub struct Parsed {
    pub file: FileId,
    pub ast: File,
    /// Item index to unit; imports that failed are left out.
    pub imports: BTreeMap<usize, UnitId>,
    /// Whether an import failed, so that names may be missing.
    pub incomplete: bool,
    pub std: bool,
}

/// Reads and parses a spec, its imports and the standard library. The entry is unit 0.
pub struct Reader<'l> {
    loader: &'l mut dyn Loader,
    sources: &'l mut Sources,
    units: Vec<Option<Parsed>>,
    ids: BTreeMap<String, UnitId>,
    open: Vec<(UnitId, String)>,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'l> Reader<'l> {
    pub fn new(sources: &'l mut Sources, loader: &'l mut dyn Loader) -> Reader<'l> {
        Reader {
            loader,
            sources,
            units: Vec::new(),
            ids: BTreeMap::new(),
            open: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    /// The units, the entry first and the standard library last; unparsable ones are empty.
    pub fn read(mut self, entry: FileId) -> (Vec<Parsed>, Vec<Diagnostic>) {
        let id = self.sources.get(entry).name.clone();
        self.unit(&id, entry, false);
        for module in stdlib::MODULES {
            let file = self
                .sources
                .add(format!("std/{}.ssl", module.name), module.text);
            self.unit(&format!("std:{}", module.name), file, true);
        }
        let units = self.units.into_iter().flatten().collect();
        (units, self.diagnostics)
    }

    fn unit(&mut self, id: &str, file: FileId, std: bool) -> UnitId {
        let unit = UnitId(self.units.len() as u32);
        self.units.push(None);
        self.ids.insert(id.to_string(), unit);
        self.open.push((unit, id.to_string()));
        let text = self.sources.get(file).text.clone();
        let ast = match sslc_grammar::parse(file, &text) {
            Ok(ast) => ast,
            Err(found) => {
                self.diagnostics.extend(found);
                File {
                    items: Vec::new(),
                    comments: Vec::new(),
                    span: Span::new(file, 0, text.len()),
                }
            }
        };
        let mut imports = BTreeMap::new();
        let mut incomplete = false;
        for (index, item) in ast.items.iter().enumerate() {
            let ItemKind::Import {
                path, path_span, ..
            } = &item.kind
            else {
                continue;
            };
            match self.import(id, path, *path_span) {
                Some(imported) => {
                    imports.insert(index, imported);
                }
                None => incomplete = true,
            }
        }
        self.open.pop();
        self.units[unit.index()] = Some(Parsed {
            file,
            ast,
            imports,
            incomplete,
            std,
        });
        unit
    }

    fn import(&mut self, importer: &str, path: &str, span: Span) -> Option<UnitId> {
        let loaded = match self.loader.load(importer, path) {
            Ok(loaded) => loaded,
            Err(mut diagnostic) => {
                if diagnostic.labels.is_empty() {
                    diagnostic = diagnostic.label(span, "imported here");
                }
                self.diagnostics.push(diagnostic);
                return None;
            }
        };
        if let Some(unit) = self.ids.get(&loaded.id) {
            if let Some(at) = self.open.iter().position(|(u, _)| u == unit) {
                let mut round: Vec<&str> = self.open[at..].iter().map(|(_, i)| &**i).collect();
                round.push(&loaded.id);
                self.diagnostics.push(
                    Diagnostic::new(codes::E0503, "these files import each other")
                        .label(span, format!("closes the circle: {}", round.join(" → ")))
                        .help("move what both need into a third file that imports neither"),
                );
                return None;
            }
            return Some(*unit);
        }
        if self.open.len() >= MAX_IMPORT_DEPTH {
            self.diagnostics.push(
                Diagnostic::new(
                    codes::E0504,
                    format!("imports nest more than {MAX_IMPORT_DEPTH} files deep"),
                )
                .label(span, "one import too many")
                .help("import the files from the spec itself"),
            );
            return None;
        }
        let file = self.sources.add(loaded.name, loaded.text);
        Some(self.unit(&loaded.id, file, false))
    }
}

/// What a top-level name stands for.
#[derive(Clone, Copy, Debug)]
pub enum DefKind<'a> {
    Param(&'a Expr),
    /// A view: the pipeline, and the item that draws it.
    View(&'a Expr),
    Network(Role, &'a Expr),
    /// A target: the `ema(…)`, the place among the item's names, how many there are, and the first of them.
    Target {
        value: &'a Expr,
        place: usize,
        count: usize,
        first: DefId,
    },
    Module(&'a ast::Module),
    Fn(&'a ast::Function),
    Let(&'a Expr),
    Watch(&'a Expr),
}

impl DefKind<'_> {
    /// The keyword that begins such an item.
    pub fn keyword(self) -> &'static str {
        match self {
            DefKind::Param(_) => "param",
            DefKind::View(_) => "views",
            DefKind::Network(Role::Encoder, _) => "encoder",
            DefKind::Network(Role::Projector, _) => "projector",
            DefKind::Network(Role::Predictor, _) => "predictor",
            DefKind::Target { .. } => "target",
            DefKind::Module(_) => "module",
            DefKind::Fn(_) => "fn",
            DefKind::Let(_) => "let",
            DefKind::Watch(_) => "watch",
        }
    }

    /// Visible before its definition too.
    fn is_free(self) -> bool {
        matches!(self, DefKind::Module(_) | DefKind::Fn(_))
    }
}

/// A top-level definition.
#[derive(Clone, Copy, Debug)]
pub struct Def<'a> {
    pub unit: UnitId,
    /// Index of the item in its file.
    pub item: usize,
    pub name: &'a Ident,
    pub kind: DefKind<'a>,
}

/// What a name of a unit is bound to.
#[derive(Clone, Copy, Debug)]
pub enum Binding {
    Def(DefId),
    Alias(UnitId),
}

/// A name of a unit, from its own items or from an import without alias.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    pub binding: Binding,
    /// Item of this unit that brings it.
    pub item: usize,
    pub free: bool,
    pub span: Span,
}

/// A file with its names.
#[derive(Debug)]
pub struct Unit<'a> {
    pub file: FileId,
    pub std: bool,
    pub incomplete: bool,
    pub ast: &'a File,
    pub imports: &'a BTreeMap<usize, UnitId>,
    pub names: BTreeMap<&'a str, Name>,
    /// This unit's own definitions in order.
    pub defs: Vec<DefId>,
}

/// All definitions and units; names that are bound twice are reported.
pub fn collect<'a>(
    parsed: &'a [Parsed],
    diagnostics: &mut Vec<Diagnostic>,
) -> (Vec<Unit<'a>>, Vec<Def<'a>>) {
    let mut defs: Vec<Def<'a>> = Vec::new();
    let mut units: Vec<Unit<'a>> = Vec::new();
    for (index, file) in parsed.iter().enumerate() {
        let from = defs.len();
        own_definitions(UnitId(index as u32), &file.ast, &mut defs);
        units.push(Unit {
            file: file.file,
            std: file.std,
            incomplete: file.incomplete,
            ast: &file.ast,
            imports: &file.imports,
            names: BTreeMap::new(),
            defs: (from..defs.len()).map(|d| DefId(d as u32)).collect(),
        });
    }
    let mut bound = vec![false; units.len()];
    for index in 0..units.len() {
        bind_after_imports(index, &mut units, &mut bound, &defs, diagnostics);
    }
    (units, defs)
}

fn own_definitions<'a>(unit: UnitId, ast: &'a File, defs: &mut Vec<Def<'a>>) {
    for (item, entry) in ast.items.iter().enumerate() {
        let first = DefId(defs.len() as u32);
        let mut push = |name: &'a Ident, kind: DefKind<'a>| {
            defs.push(Def {
                unit,
                item,
                name,
                kind,
            });
        };
        match &entry.kind {
            ItemKind::Param { name, value } => push(name, DefKind::Param(value)),
            ItemKind::Views { names, value } => {
                for name in names {
                    push(name, DefKind::View(value));
                }
            }
            ItemKind::Network { role, name, value } => push(name, DefKind::Network(*role, value)),
            ItemKind::Target { names, value } => {
                for (place, name) in names.iter().enumerate() {
                    push(
                        name,
                        DefKind::Target {
                            value,
                            place,
                            count: names.len(),
                            first,
                        },
                    );
                }
            }
            ItemKind::Module(module) => push(&module.name, DefKind::Module(module)),
            ItemKind::Fn(function) => push(&function.name, DefKind::Fn(function)),
            ItemKind::Let { name, value } => push(name, DefKind::Let(value)),
            ItemKind::Watch { name, value } => push(name, DefKind::Watch(value)),
            ItemKind::Import { .. }
            | ItemKind::Data { .. }
            | ItemKind::Loss { .. }
            | ItemKind::Train { .. }
            | ItemKind::Eval { .. } => {}
        }
    }
}

/// Imports first, since their names become this unit's too. Imports have no circles, and nest
/// [`MAX_IMPORT_DEPTH`] deep at most.
fn bind_after_imports<'a>(
    index: usize,
    units: &mut [Unit<'a>],
    bound: &mut [bool],
    defs: &[Def<'a>],
    diagnostics: &mut Vec<Diagnostic>,
) {
    if std::mem::replace(&mut bound[index], true) {
        return;
    }
    for imported in units[index].imports.values() {
        bind_after_imports(imported.index(), units, bound, defs, diagnostics);
    }
    units[index].names = bind(index, units, defs, diagnostics);
}

fn bind<'a>(
    index: usize,
    units: &[Unit<'a>],
    defs: &[Def<'a>],
    diagnostics: &mut Vec<Diagnostic>,
) -> BTreeMap<&'a str, Name> {
    let unit = &units[index];
    let mut names: BTreeMap<&'a str, Name> = BTreeMap::new();
    let mut add = |text: &'a str, name: Name| {
        let Some(before) = names.get(text) else {
            names.insert(text, name);
            return;
        };
        let same = match (before.binding, name.binding) {
            (Binding::Def(a), Binding::Def(b)) => a == b,
            (Binding::Alias(a), Binding::Alias(b)) => a == b,
            _ => false,
        };
        if !same {
            diagnostics.push(
                Diagnostic::new(codes::E0102, format!("`{text}` is defined twice"))
                    .label(name.span, "defined again here")
                    .label(before.span, "first defined here")
                    .help("rename one of them, or import with `as`"),
            );
        }
    };
    let mut own = unit.defs.iter().peekable();
    for (item, entry) in unit.ast.items.iter().enumerate() {
        while let Some(id) = own.next_if(|d| defs[d.index()].item == item) {
            let def = &defs[id.index()];
            add(
                &def.name.name,
                Name {
                    binding: Binding::Def(*id),
                    item,
                    free: def.kind.is_free(),
                    span: def.name.span,
                },
            );
        }
        let ItemKind::Import {
            alias, path_span, ..
        } = &entry.kind
        else {
            continue;
        };
        let Some(imported) = unit.imports.get(&item) else {
            continue;
        };
        match alias {
            Some(alias) => add(
                &alias.name,
                Name {
                    binding: Binding::Alias(*imported),
                    item,
                    free: false,
                    span: alias.span,
                },
            ),
            None => {
                for (text, name) in &units[imported.index()].names {
                    if let Binding::Def(_) = name.binding {
                        add(
                            text,
                            Name {
                                item,
                                span: *path_span,
                                ..*name
                            },
                        );
                    }
                }
            }
        }
    }
    names
}
