//! Warnings for what is defined and never used.

use super::Elab;
use super::units::{Binding, DefKind};
use super::values::UnitId;
use sslc_grammar::ast::{Block, Expr, ExprKind, Ident, ItemKind, Parameter, PostfixKind};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::collections::BTreeSet;

impl<'a> Elab<'a> {
    /// Warns of the entry's definitions, imports and inner names that nothing uses.
    pub fn warn_unused(&mut self) {
        let entry = &self.units[0];
        let mut found: Vec<(&'a Ident, &'static str)> = Vec::new();
        let mut displaced = BTreeSet::new();
        for (key, value) in &self.displaced {
            match value {
                Some(value) => names(value, &mut displaced),
                None => {
                    displaced.insert(&key.name);
                }
            }
        }
        for id in &entry.defs {
            let def = self.defs[id.index()];
            let needless = match def.kind {
                DefKind::Watch(_) => false,
                _ => !self.used_defs.contains(id) && !displaced.contains(def.name.name.as_str()),
            };
            if needless {
                let what = match def.kind {
                    DefKind::View(_) => "view",
                    other => other.keyword(),
                };
                found.push((def.name, what));
            }
            match def.kind {
                DefKind::Fn(f) => inner(&f.params, &f.body, &mut found),
                DefKind::Module(m) => {
                    let mut used = BTreeSet::new();
                    block_names(&m.forward.body, &mut used);
                    for b in &m.bindings {
                        names(&b.value, &mut used);
                    }
                    for p in &m.params {
                        if let Some(default) = &p.default {
                            names(default, &mut used);
                        }
                    }
                    let params = m.params.iter().map(|p| (&p.name, "parameter"));
                    let bindings = m.bindings.iter().map(|b| (&b.name, "binding"));
                    let inputs = m.forward.params.iter().map(|p| (p, "parameter"));
                    for (name, what) in params.chain(bindings).chain(inputs) {
                        if !used.contains(name.name.as_str()) {
                            found.push((name, what));
                        }
                    }
                    unused_lets(&m.forward.body, &mut found);
                }
                DefKind::Param(_)
                | DefKind::View(_)
                | DefKind::Network(..)
                | DefKind::Target { .. }
                | DefKind::Let(_)
                | DefKind::Watch(_) => {}
            }
        }
        for (name, what) in found {
            let d = Diagnostic::new(
                codes::W0101,
                format!("the {what} `{}` is never used", name.name),
            )
            .label(name.span, "never used")
            .help("leave it out, or use it");
            self.report(d);
        }
        self.warn_unused_imports();
    }

    fn warn_unused_imports(&mut self) {
        let entry = &self.units[0];
        let mut found = Vec::new();
        for (item, node) in entry.ast.items.iter().enumerate() {
            let ItemKind::Import {
                path, path_span, ..
            } = &node.kind
            else {
                continue;
            };
            let Some(unit) = entry.imports.get(&item) else {
                continue;
            };
            if !self.unit_is_used(*unit) {
                found.push((path, *path_span));
            }
        }
        for (path, span) in found {
            let d = Diagnostic::new(codes::W0102, format!("nothing of '{path}' is used"))
                .label(span, "imported here")
                .help("leave the import out");
            self.report(d);
        }
    }

    /// Whether a definition of the file or of its imports is used, or the file sets something by itself.
    fn unit_is_used(&self, unit: UnitId) -> bool {
        let u = &self.units[unit.index()];
        let acts = u.ast.items.iter().any(|i| {
            matches!(
                i.kind,
                ItemKind::Data { .. }
                    | ItemKind::Loss { .. }
                    | ItemKind::Train { .. }
                    | ItemKind::Eval { .. }
                    | ItemKind::Watch { .. }
            )
        });
        acts || u.names.values().any(|n| match n.binding {
            Binding::Def(id) => self.used_defs.contains(&id),
            Binding::Alias(_) => false,
        })
    }
}

/// Parameters and lets of a function that its body does not name.
fn inner<'a>(params: &'a [Parameter], body: &'a Block, found: &mut Vec<(&'a Ident, &'static str)>) {
    let mut used = BTreeSet::new();
    block_names(body, &mut used);
    for p in params {
        if let Some(default) = &p.default {
            names(default, &mut used);
        }
    }
    for p in params {
        if !used.contains(p.name.name.as_str()) {
            found.push((&p.name, "parameter"));
        }
    }
    unused_lets(body, found);
}

fn unused_lets<'a>(body: &'a Block, found: &mut Vec<(&'a Ident, &'static str)>) {
    let mut used = BTreeSet::new();
    block_names(body, &mut used);
    for b in &body.lets {
        if !used.contains(b.name.name.as_str()) {
            found.push((&b.name, "let"));
        }
    }
}

fn block_names<'a>(block: &'a Block, used: &mut BTreeSet<&'a str>) {
    for b in &block.lets {
        names(&b.value, used);
    }
    names(&block.value, used);
}

/// Every name an expression mentions. The tree's depth is bounded by the parser.
fn names<'a>(e: &'a Expr, used: &mut BTreeSet<&'a str>) {
    match &e.kind {
        ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Bool(_) => {}
        ExprKind::Name(name) => {
            used.insert(name);
        }
        ExprKind::List(items) => items.iter().for_each(|i| names(i, used)),
        ExprKind::Comprehension { list, body, .. } => {
            names(list, used);
            names(body, used);
        }
        ExprKind::Paren(inner) => names(inner, used),
        ExprKind::Unary { operand, .. } => names(operand, used),
        ExprKind::Chain { first, rest } => {
            names(first, used);
            rest.iter().for_each(|l| names(&l.operand, used));
        }
        ExprKind::Power { base, exponents } => {
            names(base, used);
            exponents.iter().for_each(|x| names(&x.operand, used));
        }
        ExprKind::Compare { left, right, .. } => {
            names(left, used);
            names(right, used);
        }
        ExprKind::Range { from, to } => {
            names(from, used);
            names(to, used);
        }
        ExprKind::Pipe { first, stages } => {
            names(first, used);
            stages.iter().for_each(|s| names(s, used));
        }
        ExprKind::Postfix { base, ops } => {
            names(base, used);
            for op in ops {
                match &op.kind {
                    PostfixKind::Call(args) => args.iter().for_each(|a| names(&a.value, used)),
                    PostfixKind::Index(index) => names(index, used),
                    PostfixKind::Field(_) | PostfixKind::Transpose => {}
                }
            }
        }
        ExprKind::If {
            branches,
            otherwise,
        } => {
            for (condition, block) in branches {
                names(condition, used);
                block_names(block, used);
            }
            if let Some(block) = otherwise {
                block_names(block, used);
            }
        }
    }
}
