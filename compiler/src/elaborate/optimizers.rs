//! Optimizers, parameter groups, moving averages: their arguments as written.

use super::Elab;
use super::args::Args;
use super::values::{
    EmaValue, GroupValue, OptimizerValue, R, Reported, ScheduleValue, SelectorValue, Value,
};
use crate::program::{OptimizerRule, ParamKind};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;
use std::rc::Rc;

/// A learning rate: never negative.
fn lr(el: &mut Elab<'_>, args: &Args) -> R<Option<Rc<ScheduleValue>>> {
    let schedule = args.schedule(el, "lr")?;
    if let Some(s) = &schedule
        && let Some(bad) = s.values().into_iter().find(|v| *v < 0.0)
    {
        return Err(args.out_of_range(el, "lr", &bad.to_string(), "0 or more"));
    }
    Ok(schedule)
}

fn not_negative(el: &mut Elab<'_>, args: &Args, name: &str) -> R<Option<f64>> {
    args.float_in(el, name, |v| v >= 0.0, "0 or more")
}

fn share(el: &mut Elab<'_>, args: &Args, name: &str) -> R<Option<f64>> {
    args.float_in(
        el,
        name,
        |v| (0.0..1.0).contains(&v),
        "at least 0 and below 1",
    )
}

fn optimizer(
    el: &mut Elab<'_>,
    args: &Args,
    rule: OptimizerRule,
    momentum: f64,
    exclude: Vec<SelectorValue>,
) -> R<Value> {
    let lr = lr(el, args);
    let weight_decay = not_negative(el, args, "weight_decay");
    let given = exclude_argument(el, args);
    let groups = groups(el, args);
    let (Some(lr), weight_decay, given, groups) = (lr?, weight_decay?, given?, groups?) else {
        return Err(Reported);
    };
    Ok(Value::Optimizer(Rc::new(OptimizerValue {
        rule,
        lr,
        momentum,
        weight_decay: weight_decay.unwrap_or(0.0),
        exclude: given.unwrap_or(exclude),
        groups,
    })))
}

pub fn sgd(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let momentum = share(el, args, "momentum")?.unwrap_or(0.0);
    let nesterov = args.flag(el, "nesterov", false)?;
    if nesterov && momentum == 0.0 {
        return Err(el.report(
            Diagnostic::new(codes::E0110, "`nesterov` needs a momentum")
                .label(args.span_of("nesterov"), "asked for here")
                .help("add `momentum: 0.9`"),
        ));
    }
    let rule = OptimizerRule::Sgd { nesterov };
    optimizer(el, args, rule, momentum, Vec::new())
}

pub fn lars(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let momentum = share(el, args, "momentum")?.unwrap_or(0.9);
    let eta = args.float_in(el, "eta", |v| v > 0.0, "more than 0")?;
    let rule = OptimizerRule::Lars {
        eta: eta.unwrap_or(0.001),
        lr_in_momentum: args.flag(el, "lr_in_momentum", false)?,
    };
    let exclude = vec![
        SelectorValue::Kind(ParamKind::Bias),
        SelectorValue::Kind(ParamKind::Norm),
    ];
    optimizer(el, args, rule, momentum, exclude)
}

pub fn adamw(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let betas = args
        .floats(el, "betas")?
        .unwrap_or_else(|| vec![0.9, 0.999]);
    let (beta1, beta2) = match betas[..] {
        [a, b] if [a, b].iter().all(|v| (0.0..1.0).contains(v)) => (a, b),
        _ => {
            return Err(args.out_of_range(
                el,
                "betas",
                "this",
                "two numbers, each at least 0 and below 1",
            ));
        }
    };
    let eps = args.float_in(el, "eps", |v| v > 0.0, "more than 0")?;
    let rule = OptimizerRule::Adamw {
        beta1,
        beta2,
        eps: eps.unwrap_or(1e-8),
    };
    optimizer(el, args, rule, 0.0, Vec::new())
}

/// What `exclude` and `group` name: networks, and the kinds `bias` and `norm`.
fn selector(el: &mut Elab<'_>, value: &Value, span: Span) -> R<SelectorValue> {
    match value {
        Value::Kind(kind) => Ok(SelectorValue::Kind(*kind)),
        Value::Module(m) => {
            let network = m.target.or_else(|| el.network_of_root(m.id));
            match network {
                Some(n) if el.networks[n.index()].source.is_none() => Ok(SelectorValue::Network(n)),
                Some(n) => {
                    let name = el.networks[n.index()].name.clone();
                    Err(el.report(
                        Diagnostic::new(
                            codes::E0418,
                            format!("`{name}` is a target: no optimizer touches it"),
                        )
                        .label(span, "a target network")
                        .help("name the network that it follows"),
                    ))
                }
                None => Err(el.report(
                    Diagnostic::new(codes::E0418, "only whole networks are named here")
                        .label(span, "this is a part of a network")
                        .help("name the network, or the kinds `bias` and `norm`"),
                )),
            }
        }
        other => {
            let what = el.describe(other);
            Err(el.report(
                Diagnostic::new(
                    codes::E0418,
                    "networks and the kinds `bias` and `norm` are named here",
                )
                .label(span, format!("this is {what}"))
                .help("write `exclude: [bias, norm]` or `group(bias, norm, lr: 0.1)`"),
            ))
        }
    }
}

fn exclude_argument(el: &mut Elab<'_>, args: &Args) -> R<Option<Vec<SelectorValue>>> {
    let Some((value, span)) = args.get("exclude").cloned() else {
        return Ok(None);
    };
    let mut selectors = Vec::new();
    match &value {
        Value::List(items) => {
            for item in items.iter() {
                selectors.push(selector(el, item, span)?);
            }
        }
        one => selectors.push(selector(el, one, span)?),
    }
    Ok(Some(selectors))
}

fn groups(el: &mut Elab<'_>, args: &Args) -> R<Vec<Rc<GroupValue>>> {
    let Some((value, span)) = args.get("groups").cloned() else {
        return Ok(Vec::new());
    };
    let items = match &value {
        Value::List(items) => items.as_ref().clone(),
        one => vec![one.clone()],
    };
    let adam = args.builtin.name == "adamw";
    let mut groups = Vec::with_capacity(items.len());
    for item in &items {
        match item {
            Value::Group(g) => {
                if adam && g.momentum.is_some() {
                    return Err(el.report(
                        Diagnostic::new(codes::E0418, "`adamw` has no `momentum`")
                            .label(g.span, "set by this group")
                            .help("its averages are set by `betas`, for all parameters"),
                    ));
                }
                groups.push(g.clone());
            }
            other => {
                let d = el
                    .wrong_kind_diagnostic("a list of groups", other, span)
                    .help("write `groups: [group(h, lr: 0.1)]`");
                return Err(el.report(d));
            }
        }
    }
    Ok(groups)
}

pub fn group(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let members: Vec<(Value, Span)> = args
        .get("members")
        .cloned()
        .into_iter()
        .chain(args.rest.iter().cloned())
        .flat_map(|(value, span)| match value {
            Value::List(items) => items.iter().map(|v| (v.clone(), span)).collect(),
            other => vec![(other, span)],
        })
        .collect();
    let mut select = Vec::with_capacity(members.len());
    for (value, span) in &members {
        select.push(selector(el, value, *span)?);
    }
    if select.is_empty() {
        return Err(el.report(
            Diagnostic::new(
                codes::E0107,
                "`group` needs a network or a kind of parameter",
            )
            .label(args.span, "names none")
            .help("write `group(bias, norm, lr: 0.1)`"),
        ));
    }
    let value = GroupValue {
        select,
        lr: lr(el, args)?,
        momentum: share(el, args, "momentum")?,
        weight_decay: not_negative(el, args, "weight_decay")?,
        span: args.span,
    };
    if value.lr.is_none() && value.momentum.is_none() && value.weight_decay.is_none() {
        return Err(el.report(
            Diagnostic::new(codes::E0107, "this group changes nothing")
                .label(args.span, "no setting here")
                .help("give it `lr:`, `momentum:` or `weight_decay:`"),
        ));
    }
    Ok(Value::Group(Rc::new(value)))
}

pub fn ema(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let mut sources = Vec::new();
    let given = args
        .get("networks")
        .cloned()
        .into_iter()
        .chain(args.rest.iter().cloned());
    for (value, span) in given {
        let network = match &value {
            Value::Module(m) if m.target.is_none() => el.network_of_root(m.id),
            _ => None,
        };
        match network {
            Some(n) => sources.push((n, span)),
            None => {
                let d = el
                    .wrong_kind_diagnostic("a network", &value, span)
                    .help("name networks defined with `encoder`, `projector` or `predictor`");
                return Err(el.report(d));
            }
        }
    }
    let Some(decay) = args.schedule(el, "decay")? else {
        return Err(el.report(
            Diagnostic::new(codes::E0107, "`ema` needs `decay`")
                .label(args.span, "left out here")
                .help("write `decay: 0.99` or `decay: cosine_schedule(0.99, 1.0)`"),
        ));
    };
    if let Some(bad) = decay
        .values()
        .into_iter()
        .find(|v| !(0.0..=1.0).contains(v))
    {
        return Err(args.out_of_range(el, "decay", &bad.to_string(), "from 0 to 1"));
    }
    let buffers = args.word(el, "buffers", &["own", "average"])?;
    Ok(Value::Ema(Rc::new(EmaValue {
        sources,
        decay,
        average_buffers: buffers == Some("average"),
        span: args.span,
    })))
}
