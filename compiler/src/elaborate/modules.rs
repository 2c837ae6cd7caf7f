//! Modules: constructor calls, children and their paths, instances whose sizes come from the first input, application.
//!
//! Invariant: a module belongs to one network and has one path there, set when the network (or the module around it)
//! takes it in; its parameters are declared under that path when it is first applied.

use super::Elab;
use super::args::Given;
use super::calls::Inside;
use super::layers::Layer;
use super::scope::{CHANNELS_IN, Local, Scope};
use super::units::DefKind;
use super::values::{DefId, ModuleId, ModuleRef, NetworkId, R, Reported, Value};
use crate::core::graph::ValueId;
use crate::program::WeightsFile;
use sslc_grammar::ast::{self, Ident};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;

/// One constructor call.
#[derive(Clone, Debug)]
pub struct Module<'a> {
    pub kind: ModuleKind<'a>,
    /// The constructor call.
    pub span: Span,
    /// The network it belongs to, and its path there: `f.layer1.0`.
    pub home: Option<(NetworkId, String)>,
    /// The body it was made in, where no parameters may be made.
    pub inside: Option<Inside>,
    /// Size of the last axis that its parameters were made for, and the application that fixed it.
    pub input: Option<(usize, Span)>,
    /// The file that its parameters start from.
    pub weights: Option<Weights>,
}

/// `init:` and `init_prefix:` of a constructor call.
#[derive(Clone, Debug)]
pub struct Weights {
    file: String,
    prefix: String,
    span: Span,
}

/// What the call of any `module` takes beside its own parameters.
const INIT: &str = "init";
const INIT_PREFIX: &str = "init_prefix";

#[derive(Clone, Debug)]
pub enum ModuleKind<'a> {
    Layer(Layer),
    /// Children applied one after the other.
    Container(Vec<(String, ModuleId)>),
    /// A `module` of a spec: its parameters bound, its bindings once it is applied.
    Custom {
        def: DefId,
        ast: &'a ast::Module,
        params: Vec<Local>,
        instance: Instance,
    },
}

#[derive(Clone, Debug)]
pub enum Instance {
    NotYet,
    /// Applying it goes on: a module that applies itself.
    Building,
    Ready {
        locals: Vec<Local>,
        /// Whether a binding asked for `channels_in`.
        sized: bool,
    },
    Failed,
}

impl<'a> Elab<'a> {
    pub fn new_module(&mut self, kind: ModuleKind<'a>, span: Span) -> ModuleRef {
        self.modules.push(Module {
            kind,
            span,
            home: None,
            inside: self.ctx.inside,
            input: None,
            weights: None,
        });
        ModuleRef {
            id: ModuleId(self.modules.len() as u32 - 1),
            target: None,
        }
    }

    pub fn module(&self, id: ModuleId) -> &Module<'a> {
        &self.modules[id.index()]
    }

    /// Calls a `module` of a spec: binds its parameters.
    pub fn construct(
        &mut self,
        def: DefId,
        ast: &'a ast::Module,
        mut given: Vec<Given>,
        span: Span,
    ) -> R<Value> {
        let weights = self.weights_file(ast, &mut given)?;
        let owner = self.defs[def.index()];
        let mut scope = Scope::top(owner.unit, owner.item);
        self.calls.push(span);
        let bound = self.bind_params(&ast.name, &ast.params, given, span, &mut scope);
        self.calls.pop();
        bound?;
        let module = self.new_module(
            ModuleKind::Custom {
                def,
                ast,
                params: scope.locals,
                instance: Instance::NotYet,
            },
            span,
        );
        self.modules[module.id.index()].weights = weights;
        Ok(Value::Module(module))
    }

    /// Takes `init:` and `init_prefix:` out of the arguments of a call; a module's own parameters of these names go first.
    fn weights_file(&mut self, ast: &ast::Module, given: &mut Vec<Given>) -> R<Option<Weights>> {
        let mut taken = |name: &str| {
            let own = ast.params.iter().any(|p| p.name.name == name);
            let named = |g: &Given| g.name.as_ref().is_some_and(|n| n.name == name);
            let at = given.iter().position(named).filter(|_| !own)?;
            Some(given.remove(at))
        };
        let (file, prefix) = (taken(INIT), taken(INIT_PREFIX));
        let mut text = |given: &Given, what: &str| match &given.value {
            Value::Str(text) if !text.is_empty() || what == INIT_PREFIX => Ok(text.to_string()),
            other => {
                let d = self
                    .wrong_kind_diagnostic("the path of a file", other, given.span)
                    .help("write `init: \"weights.safetensors\"`");
                Err(self.report(d))
            }
        };
        match (file, prefix) {
            (Some(file), prefix) => Ok(Some(Weights {
                prefix: match &prefix {
                    Some(prefix) => text(prefix, INIT_PREFIX)?,
                    None => String::new(),
                },
                file: text(&file, INIT)?,
                span: file.span,
            })),
            (None, Some(prefix)) => Err(self.report(
                Diagnostic::new(codes::E0107, "`init_prefix` needs `init`")
                    .label(prefix.span, "names in which file?")
                    .help("add `init: \"weights.safetensors\"`, or leave `init_prefix` out"),
            )),
            (None, None) => Ok(None),
        }
    }

    /// The files that modules of the networks start from.
    pub fn weights_files(&self) -> Vec<WeightsFile> {
        self.modules
            .iter()
            .filter_map(|m| {
                let (weights, (_, module)) = (m.weights.as_ref()?, m.home.as_ref()?);
                Some(WeightsFile {
                    file: weights.file.clone().into(),
                    prefix: weights.prefix.clone(),
                    module: module.clone(),
                    span: weights.span,
                })
            })
            .collect()
    }

    /// Layers with parameters are made outside of functions and `forward`, once.
    pub fn built_inside(&mut self, name: &str, span: Span, inside: Inside) -> Reported {
        let (body, what, help) = match inside {
            Inside::Fn(span) => (
                span,
                "a function",
                "make it with `encoder`, `projector` or `predictor`, or as a binding of a `module`, and apply it here",
            ),
            Inside::Forward(span) => (
                span,
                "`forward`",
                "make it a binding of the module, `name = …`, and apply it here",
            ),
        };
        self.report(
            Diagnostic::new(
                codes::E0302,
                format!("`{name}` would get new parameters at each call of {what}"),
            )
            .label(span, "built here")
            .label(body, format!("inside {what}"))
            .help(help),
        )
    }

    /// Gives a module, and what is inside it, its place in a network.
    pub fn adopt(&mut self, id: ModuleId, network: NetworkId, path: String, span: Span) -> R<()> {
        if let Some((home, _)) = &self.module(id).home {
            if *home == network {
                return Ok(());
            }
            let first = &self.networks[home.index()];
            let (name, place) = (first.name.clone(), first.span);
            let made = self.module(id).span;
            return Err(self.report(
                Diagnostic::new(
                    codes::E0304,
                    format!("this module belongs to the network `{name}` already"),
                )
                .label(span, "taken in again here")
                .label(place, format!("`{name}` is defined here"))
                .label(made, "the module")
                .help("call the constructor once for each network"),
            ));
        }
        self.modules[id.index()].home = Some((network, path.clone()));
        let children: Vec<(String, ModuleId)> = match &self.module(id).kind {
            ModuleKind::Layer(_) => Vec::new(),
            ModuleKind::Container(children) => children.clone(),
            ModuleKind::Custom { instance, .. } => match instance {
                Instance::Ready { locals, .. } => child_modules(locals),
                _ => Vec::new(),
            },
        };
        for (name, child) in children {
            self.adopt(child, network, format!("{path}.{name}"), span)?;
        }
        Ok(())
    }

    /// `f.layer1`: a child of a module.
    pub fn child(&mut self, module: ModuleRef, field: &Ident, before: Span) -> R<Value> {
        let target = module.target;
        let (found, names, ready): (Option<Value>, Vec<String>, bool) =
            match &self.module(module.id).kind {
                ModuleKind::Layer(_) => (None, Vec::new(), true),
                ModuleKind::Container(children) => (
                    children
                        .iter()
                        .find(|(n, _)| *n == field.name)
                        .map(|(_, id)| Value::Module(ModuleRef { id: *id, target })),
                    children.iter().map(|(n, _)| n.clone()).collect(),
                    true,
                ),
                ModuleKind::Custom { instance, ast, .. } => match instance {
                    Instance::Ready { locals, .. } => (
                        locals
                            .iter()
                            .rev()
                            .find(|l| *l.name == *field.name)
                            .and_then(|l| l.value.clone()),
                        ast.bindings.iter().map(|b| b.name.name.clone()).collect(),
                        true,
                    ),
                    _ => (None, Vec::new(), false),
                },
            };
        let d = match found {
            Some(Value::Module(m)) => {
                return Ok(Value::Module(ModuleRef { id: m.id, target }));
            }
            Some(_) => Diagnostic::new(
                codes::E0111,
                format!("`{}` is a constant of the module, not a child", field.name),
            )
            .label(field.span, "not a module")
            .help("only children can be taken out of a module"),
            None if !ready => Diagnostic::new(
                codes::E0111,
                "the children of this module are not known before it is applied",
            )
            .label(before, "not applied yet")
            .label(field.span, "asked for here")
            .help("apply the module first"),
            None => {
                let d = Diagnostic::new(
                    codes::E0111,
                    format!("this module has no child `{}`", field.name),
                )
                .label(field.span, "no such child");
                match nearest(&field.name, names.iter().map(|n| &**n)) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None => d.help(format!("its children are `{}`", names.join("`, `"))),
                }
            }
        };
        Err(self.report(d))
    }

    /// Applies a module. A network on the same value is applied once.
    pub fn apply(&mut self, m: ModuleRef, args: Vec<(Value, Span)>, span: Span) -> R<Value> {
        if self.depth >= super::eval::MAX_DEPTH {
            return Err(self.too_deep(span));
        }
        let home = self.module(m.id).home.as_ref().map(|(n, _)| *n);
        // Inside a target's application, the modules of its source stand for the target's.
        let target = m.target.or_else(|| {
            let target = self.ctx.target?;
            (home.is_some() && self.networks[target.index()].source == home).then_some(target)
        });
        let m = ModuleRef { id: m.id, target };
        let network = target
            .or(home)
            .filter(|_| home.is_some_and(|h| self.networks[h.index()].root == Some(m.id)));
        let input = match (&args[..], network) {
            ([(value, at)], Some(_)) => self.as_tensor(value, *at)?,
            _ => None,
        };
        let key = match (network, input) {
            (Some(network), Some(input)) => {
                let key = (network, self.g.canonical(input));
                if let Some(known) = self.g.applied.get(&key) {
                    return Ok(Value::Tensor(*known));
                }
                Some(key)
            }
            _ => None,
        };
        self.calls.push(span);
        let before = (self.ctx.target, self.ctx.inside);
        self.ctx.target = target.or(before.0);
        self.depth += 1;
        let result = self.forward(m, args, span);
        self.depth -= 1;
        (self.ctx.target, self.ctx.inside) = before;
        self.calls.pop();
        let result = result?;
        if let (Some(key), Some(input), Value::Tensor(output)) = (key, input, &result) {
            self.g.applied.insert(key, *output);
            self.record_application(key.0, input, *output, span);
        }
        Ok(result)
    }

    fn forward(&mut self, m: ModuleRef, args: Vec<(Value, Span)>, span: Span) -> R<Value> {
        match self.module(m.id).kind.clone() {
            ModuleKind::Layer(layer) => {
                let (x, at) = self.one_input(args, span, layer.name())?;
                self.apply_layer(m, &layer, x, at, span).map(Value::Tensor)
            }
            ModuleKind::Container(children) => {
                let (x, at) = self.one_input(args, span, "sequential")?;
                let mut value = Value::Tensor(x);
                for (_, id) in children {
                    let child = ModuleRef {
                        id,
                        target: m.target,
                    };
                    value = self.apply(child, vec![(value, at)], span)?;
                }
                Ok(value)
            }
            ModuleKind::Custom { def, ast, .. } => self.apply_custom(m, def, ast, args, span),
        }
    }

    fn one_input(
        &mut self,
        args: Vec<(Value, Span)>,
        span: Span,
        name: &str,
    ) -> R<(ValueId, Span)> {
        let n = args.len();
        let mut args = args.into_iter();
        match (args.next(), n) {
            (Some((value, at)), 1) => match self.as_tensor(&value, at)? {
                Some(v) => Ok((v, at)),
                None => {
                    let d = self
                        .wrong_kind_diagnostic("a tensor", &value, at)
                        .label(span, format!("`{name}` is applied here"))
                        .help(match value {
                            Value::Callable(_) => "call the function first",
                            Value::Module(_) => {
                                "apply the inner module first: `f(g(x))`, or chain them with `sequential`"
                            }
                            _ => "networks and layers take tensors",
                        });
                    Err(self.report(d))
                }
            },
            _ => Err(self.report(
                Diagnostic::new(codes::E0108, format!("`{name}` is applied to one tensor"))
                    .label(span, format!("{n} arguments here"))
                    .help("write `layer(x)`"),
            )),
        }
    }

    fn apply_custom(
        &mut self,
        m: ModuleRef,
        def: DefId,
        ast: &'a ast::Module,
        args: Vec<(Value, Span)>,
        span: Span,
    ) -> R<Value> {
        let wanted = &ast.forward.params;
        if wanted.len() != args.len() {
            return Err(self.report(
                Diagnostic::new(
                    codes::E0108,
                    format!(
                        "`forward` of `{}` takes {}, not {}",
                        ast.name.name,
                        super::calls::count(wanted.len(), "argument"),
                        args.len()
                    ),
                )
                .label(span, "applied here")
                .label(ast.forward.span, "`forward` is defined here")
                .help("give it as many values as its `forward` takes"),
            ));
        }
        let channels = args.iter().find_map(|(v, _)| match v {
            Value::Tensor(t) => self.g.b.ty(*t).shape.last().copied(),
            _ => None,
        });
        let locals = self.instance(m.id, def, ast, channels, span)?;
        let owner = self.defs[def.index()];
        let mut scope = Scope::top(owner.unit, owner.item);
        if let Some(channels) = channels {
            scope.bind(CHANNELS_IN, Some(Value::Int(channels as i64)));
        }
        scope.locals.extend(locals);
        for (param, (value, _)) in wanted.iter().zip(args) {
            scope.bind(&param.name, Some(value));
        }
        self.ctx.inside = Some(Inside::Forward(ast.forward.span));
        self.block(&ast.forward.body, &mut scope)
    }

    /// The bindings of a module, evaluated at its first application.
    fn instance(
        &mut self,
        id: ModuleId,
        def: DefId,
        ast: &'a ast::Module,
        channels: Option<usize>,
        span: Span,
    ) -> R<Vec<Local>> {
        let ModuleKind::Custom {
            instance, params, ..
        } = &mut self.modules[id.index()].kind
        else {
            return Err(Reported);
        };
        match instance {
            Instance::Ready { locals, sized } => {
                let (locals, sized) = (locals.clone(), *sized);
                if sized && let Some(channels) = channels {
                    self.fix_input(id, channels, span)?;
                }
                return Ok(locals);
            }
            Instance::Failed => return Err(Reported),
            Instance::Building => {
                return Err(self.report(
                    Diagnostic::new(
                        codes::E0115,
                        format!("`{}` is applied while it is being made", ast.name.name),
                    )
                    .label(span, "applied here")
                    .label(ast.name.span, "defined here")
                    .help("a module cannot apply itself in its own bindings"),
                ));
            }
            Instance::NotYet => {}
        }
        let params = params.clone();
        *instance = Instance::Building;
        let owner = self.defs[def.index()];
        let mut scope = Scope::top(owner.unit, owner.item);
        if let Some(channels) = channels {
            scope.bind(CHANNELS_IN, Some(Value::Int(channels as i64)));
        }
        let inherent = scope.locals.len();
        let given = inherent..inherent + params.len();
        scope.locals.extend(params);
        let made_inside = self.module(id).inside;
        let outer = std::mem::replace(&mut self.ctx.inside, made_inside);
        let outer_sized = std::mem::replace(&mut self.ctx.sized, false);
        let constructor = self.module(id).span;
        self.calls.push(constructor);
        let mut failed = false;
        for binding in &ast.bindings {
            let value = self.eval(&binding.value, &mut scope);
            failed |= value.is_err();
            if let (Ok(value), Some((network, path))) = (&value, self.module(id).home.clone()) {
                for (name, child) in modules_in(&binding.name.name, value) {
                    failed |= self
                        .adopt(child, network, format!("{path}.{name}"), binding.name.span)
                        .is_err();
                }
            }
            scope.bind(&binding.name.name, value.ok());
        }
        // A module given as an argument and bound to nothing goes by its parameter's name.
        if let Some((network, path)) = self.module(id).home.clone() {
            for (name, child) in child_modules(&scope.locals[given]) {
                if self.module(child).home.is_none() {
                    failed |= self
                        .adopt(child, network, format!("{path}.{name}"), span)
                        .is_err();
                }
            }
        }
        self.calls.pop();
        self.ctx.inside = outer;
        let sized = std::mem::replace(&mut self.ctx.sized, outer_sized);
        let locals = scope.locals.split_off(inherent);
        let instance = if failed {
            Instance::Failed
        } else {
            Instance::Ready {
                locals: locals.clone(),
                sized,
            }
        };
        if let ModuleKind::Custom { instance: slot, .. } = &mut self.modules[id.index()].kind {
            *slot = instance;
        }
        if failed {
            return Err(Reported);
        }
        if sized && let Some(channels) = channels {
            self.fix_input(id, channels, span)?;
        }
        Ok(locals)
    }

    /// Fixes the input size of a module at its first application; later ones must agree.
    pub fn fix_input(&mut self, id: ModuleId, size: usize, span: Span) -> R<()> {
        let site = self.site(span);
        match self.module(id).input {
            None => {
                self.modules[id.index()].input = Some((size, site));
                Ok(())
            }
            Some((known, _)) if known == size => Ok(()),
            Some((known, first)) => {
                let made = self.module(id).span;
                let name = match &self.module(id).home {
                    Some((_, path)) => format!("`{path}`"),
                    None => "this layer".to_string(),
                };
                Err(self.report(
                    Diagnostic::new(
                        codes::E0301,
                        format!("{name} would need two input sizes, {known} and {size}"),
                    )
                    .label(site, format!("{size} features or channels come in here"))
                    .label(first, format!("{known} came in here"))
                    .label(made, "its one set of parameters is made here")
                    .help("call the constructor twice for two networks, or bring both inputs to one size"),
                ))
            }
        }
    }
}

/// The modules a binding holds, with their names below the module around them.
fn modules_in(name: &str, value: &Value) -> Vec<(String, ModuleId)> {
    match value {
        Value::Module(m) => vec![(name.to_string(), m.id)],
        Value::List(items) => items
            .iter()
            .enumerate()
            .filter_map(|(i, item)| match item {
                Value::Module(m) => Some((format!("{name}.{i}"), m.id)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn child_modules(locals: &[Local]) -> Vec<(String, ModuleId)> {
    locals
        .iter()
        .filter_map(|l| Some((l, l.value.as_ref()?)))
        .flat_map(|(l, v)| modules_in(&l.name, v))
        .collect()
}

impl<'a> Elab<'a> {
    /// Checks that a network's expression is a module, and makes it the root of the network.
    pub fn found_network(&mut self, network: NetworkId, value: &Value, span: Span) -> R<()> {
        match value {
            Value::Module(m) => {
                let name = self.networks[network.index()].name.clone();
                self.adopt(m.id, network, name, span)?;
                self.networks[network.index()].root = Some(m.id);
                Ok(())
            }
            other => {
                let help = match other {
                    Value::Callable(super::values::Callable::Builtin(b)) => {
                        format!("call it: `{}`", b.signature)
                    }
                    Value::Callable(super::values::Callable::Def(id))
                        if matches!(self.defs[id.index()].kind, DefKind::Module(_)) =>
                    {
                        "call it, with `(…)`".to_string()
                    }
                    _ => "give it a module, such as `resnet18()` or `mlp(512, 128)`".to_string(),
                };
                let d = self
                    .wrong_kind_diagnostic("a module", other, span)
                    .help(help);
                Err(self.report(d))
            }
        }
    }
}
