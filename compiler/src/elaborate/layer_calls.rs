//! Constructors of layers.

use super::Elab;
use super::args::Args;
use super::layers::{Layer, Window};
use super::modules::ModuleKind;
use super::tensors;
use super::values::{ModuleId, R, Reported, Value};
use crate::core::ops;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Span;

fn make(el: &mut Elab<'_>, args: &Args, layer: Layer) -> R<Value> {
    el.layer(layer, args.span).map(Value::Module)
}

pub fn conv2d(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let out = args.size(el, "out");
    let kernel = args.size(el, "kernel");
    let stride = args.at_least(el, "stride", 1);
    let padding = args.at_least(el, "padding", 0);
    let groups = args.at_least(el, "groups", 1);
    let bias = args.flag(el, "bias", true);
    let kernel = kernel?;
    let padding = match padding? {
        Some(padding) => padding,
        None if kernel % 2 == 1 => (kernel - 1) / 2,
        None => {
            return Err(el.report(
                Diagnostic::new(
                    codes::E0307,
                    format!(
                        "a kernel of size {kernel} has no middle, so its padding must be stated"
                    ),
                )
                .label(args.span, "no `padding:` here")
                .help("write `padding: 0` or another number"),
            ));
        }
    };
    let layer = Layer::Conv2d {
        out: out?,
        kernel,
        stride: stride?.unwrap_or(1),
        padding,
        groups: groups?.unwrap_or(1),
        bias: bias?,
    };
    make(el, args, layer)
}

pub fn linear(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let layer = Layer::Linear {
        out: args.size(el, "out")?,
        bias: args.flag(el, "bias", true)?,
    };
    make(el, args, layer)
}

fn eps(el: &mut Elab<'_>, args: &Args) -> R<f64> {
    let eps = args.float_in(el, "eps", |v| v >= 0.0, "0 or more")?;
    Ok(eps.unwrap_or(1e-5))
}

pub fn batch_norm(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let momentum = args.float_in(el, "momentum", |v| (0.0..=1.0).contains(&v), "from 0 to 1")?;
    let affine = args.flag(el, "affine", true)?;
    let layer = Layer::BatchNorm {
        momentum: momentum.unwrap_or(0.1),
        eps: eps(el, args)?,
        scale: args.flag(el, "scale", true)? && affine,
        shift: args.flag(el, "shift", true)? && affine,
        init: args.float(el, "init")?.unwrap_or(1.0),
    };
    make(el, args, layer)
}

pub fn layer_norm(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let layer = Layer::Normalise {
        eps: eps(el, args)?,
    };
    make(el, args, layer)
}

pub fn relu(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    match args.get("x") {
        Some(_) => tensors::elementwise(el, args, &ops::RELU),
        None => make(el, args, Layer::Relu),
    }
}

pub fn gelu(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    match args.get("x") {
        Some(_) => tensors::elementwise(el, args, &ops::GELU),
        None => make(el, args, Layer::Gelu),
    }
}

pub fn identity(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    make(el, args, Layer::Identity)
}

fn window(el: &mut Elab<'_>, args: &Args) -> R<Window> {
    let kernel = args.size(el, "kernel")?;
    let stride = args.at_least(el, "stride", 1)?.unwrap_or(kernel);
    let padding = args.at_least(el, "padding", 0)?.unwrap_or(0);
    if padding > kernel / 2 {
        return Err(args.out_of_range(
            el,
            "padding",
            &padding.to_string(),
            "at most half the kernel",
        ));
    }
    Ok(Window {
        kernel,
        stride,
        padding,
    })
}

pub fn max_pool(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let layer = Layer::MaxPool(window(el, args)?);
    make(el, args, layer)
}

pub fn avg_pool(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let layer = Layer::AvgPool(window(el, args)?);
    make(el, args, layer)
}

pub fn global_avg_pool(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    make(el, args, Layer::GlobalAvgPool)
}

pub fn flatten(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    make(el, args, Layer::Flatten)
}

pub fn dropout(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let p = args.float_in(
        el,
        "p",
        |p| (0.0..1.0).contains(&p),
        "at least 0 and below 1",
    )?;
    let layer = Layer::Dropout {
        p: p.unwrap_or(0.0),
    };
    make(el, args, layer)
}

/// Children named `0`, `1`, … as in PyTorch's `nn.Sequential`.
fn numbered(children: Vec<ModuleId>) -> ModuleKind<'static> {
    let children = children.into_iter().enumerate();
    ModuleKind::Container(children.map(|(i, id)| (i.to_string(), id)).collect())
}

pub fn sequential(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let mut children = Vec::new();
    let mut failed = false;
    let given: Vec<(Value, Span)> = args
        .get("modules")
        .cloned()
        .into_iter()
        .chain(args.rest.iter().cloned())
        .collect();
    let mut take = |el: &mut Elab<'_>, value: &Value, span: Span| match value {
        Value::Module(m) if m.target.is_none() => children.push(m.id),
        Value::Module(_) => {
            let d = Diagnostic::new(
                codes::E0304,
                "a target network cannot be a part of another module",
            )
            .label(span, "this is a target")
            .help("apply it in a function instead");
            el.report(d);
            failed = true;
        }
        other => {
            let d = el
                .wrong_kind_diagnostic("a module", other, span)
                .help(match other {
                    Value::Callable(_) => "call it to make the layer: `relu()`",
                    _ => "`sequential` takes modules and lists of modules",
                });
            el.report(d);
            failed = true;
        }
    };
    for (value, span) in &given {
        match value {
            Value::List(items) => {
                for item in items.iter() {
                    take(el, item, *span);
                }
            }
            other => take(el, other, *span),
        }
    }
    if failed {
        return Err(Reported);
    }
    Ok(Value::Module(el.new_module(numbered(children), args.span)))
}

pub fn mlp(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let given: Vec<(Value, Span)> = args
        .get("sizes")
        .cloned()
        .into_iter()
        .chain(args.rest.iter().cloned())
        .flat_map(|(value, span)| match value {
            Value::List(items) => items.iter().map(|v| (v.clone(), span)).collect(),
            other => vec![(other, span)],
        })
        .collect();
    let mut sizes = Vec::with_capacity(given.len());
    for (value, span) in &given {
        match value.whole() {
            Some(v) if v >= 1 => sizes.push(v as usize),
            _ => {
                let d = el
                    .wrong_kind_diagnostic("a size of at least 1", value, *span)
                    .help("`mlp(4096, 256)` has one hidden layer of 4096 and an output of 256");
                return Err(el.report(d));
            }
        }
    }
    let bias = args.flag(el, "bias", true)?;
    let norm = args
        .word(el, "norm", &["batch", "none"])?
        .unwrap_or("batch")
        == "batch";
    let last_norm = args.flag(el, "last_norm", false)?;
    let last_affine = args.flag(el, "last_affine", true)?;
    let Some((&out, hidden)) = sizes.split_last() else {
        return Err(el.report(
            Diagnostic::new(codes::E0107, "`mlp` needs the size of its output")
                .label(args.span, "no sizes here")
                .help("`mlp(4096, 256)` has one hidden layer of 4096 and an output of 256"),
        ));
    };
    let batch_norm = |affine| Layer::BatchNorm {
        momentum: 0.1,
        eps: 1e-5,
        scale: affine,
        shift: affine,
        init: 1.0,
    };
    let mut layers = Vec::new();
    for &size in hidden {
        layers.push(Layer::Linear {
            out: size,
            bias: bias && !norm,
        });
        if norm {
            layers.push(batch_norm(true));
        }
        layers.push(Layer::Relu);
    }
    layers.push(Layer::Linear {
        out,
        bias: bias && !last_norm,
    });
    if last_norm {
        layers.push(batch_norm(last_affine));
    }
    let mut children = Vec::with_capacity(layers.len());
    for layer in layers {
        children.push(el.layer(layer, args.span)?.id);
    }
    let inner = el.new_module(numbered(children), args.span);
    let outer = ModuleKind::Container(vec![("layers".to_string(), inner.id)]);
    Ok(Value::Module(el.new_module(outer, args.span)))
}
