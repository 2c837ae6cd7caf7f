//! View pipelines: the augmentations, and the checks of a whole pipeline against the data.

use super::Elab;
use super::args::Args;
use super::calls::count;
use super::data::native_size;
use super::values::{R, Reported, Stage, Value};
use crate::program::{DataSource, Interpolation, Pipeline, Span64, ViewKind, ViewOp};
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_grammar::span::Span;
use std::rc::Rc;

/// Mean and standard deviation of the channels in [0, 1], as commonly used.
pub const STATISTICS: &[(&str, &[f64], &[f64])] = &[
    (
        "cifar10",
        &[0.4914, 0.4822, 0.4465],
        &[0.2470, 0.2435, 0.2616],
    ),
    ("imagenet", &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
    ("fashion_mnist", &[0.2860], &[0.3530]),
];

fn stage(el: &mut Elab<'_>, args: &Args, default_p: f64, kind: ViewKind) -> R<Value> {
    let p = match args.float(el, "p")? {
        Some(p) if !(0.0..=1.0).contains(&p) => {
            return Err(el.report(
                Diagnostic::new(
                    codes::E0414,
                    format!("`p` of `{}` cannot be {p}", args.builtin.name),
                )
                .label(args.span_of("p"), "a probability lies between 0 and 1")
                .help("`p: 0.8` acts on 8 images of 10"),
            ));
        }
        other => other.unwrap_or(default_p),
    };
    Ok(Value::Pipeline(Rc::new(vec![Stage {
        op: ViewOp { p, kind },
        name: args.builtin.name,
        span: args.span,
        any_channels: args
            .get("mean")
            .is_some_and(|(mean, _)| mean.number().is_some()),
    }])))
}

/// `size`: one number, or `[height, width]`.
fn size(el: &mut Elab<'_>, args: &Args) -> R<(usize, Option<usize>)> {
    let Some((value, span)) = args.get("size") else {
        return Err(Reported);
    };
    let one = |v: &Value| {
        v.whole()
            .filter(|v| (1..=16_384).contains(v))
            .map(|v| v as usize)
    };
    let found = match value {
        Value::List(items) if items.len() == 2 => match (one(&items[0]), one(&items[1])) {
            (Some(h), Some(w)) => Some((h, Some(w))),
            _ => None,
        },
        other => one(other).map(|v| (v, None)),
    };
    match found {
        Some(size) => Ok(size),
        None => {
            let d = el
                .wrong_kind_diagnostic("a size from 1 to 16384, or [height, width]", value, *span)
                .help("`32` means 32 by 32");
            Err(el.report(d))
        }
    }
}

fn interpolation(el: &mut Elab<'_>, args: &Args) -> R<Interpolation> {
    let word = args.word(el, "interpolation", &["bilinear", "bicubic"])?;
    Ok(match word {
        Some("bicubic") => Interpolation::Bicubic,
        _ => Interpolation::Bilinear,
    })
}

/// A range with bounds on its ends.
fn range_in(el: &mut Elab<'_>, args: &Args, name: &str, lo: f64, hi: f64) -> R<Option<Span64>> {
    let Some(range) = args.range(el, name)? else {
        return Ok(None);
    };
    if range.lo < lo || range.hi > hi {
        let wanted = if hi.is_finite() {
            format!("between {lo} and {hi}")
        } else {
            format!("{lo} or more")
        };
        return Err(el.report(
            Diagnostic::new(
                codes::E0414,
                format!("`{name}` of `{}` is out of range", args.builtin.name),
            )
            .label(args.span_of(name), format!("must lie {wanted}"))
            .help(format!("it is called as `{}`", args.builtin.signature)),
        ));
    }
    Ok(Some(range))
}

/// The smallest ratio or share that is more than nothing.
const TINY: f64 = 1e-9;

pub fn random_resized_crop(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (height, width) = size(el, args)?;
    let scale = range_in(el, args, "scale", TINY, 1.0)?;
    let ratio = range_in(el, args, "ratio", TINY, f64::INFINITY)?;
    let kind = ViewKind::RandomResizedCrop {
        height,
        width: width.unwrap_or(height),
        scale: scale.unwrap_or(Span64 { lo: 0.08, hi: 1.0 }),
        ratio: ratio.unwrap_or(Span64 {
            lo: 3.0 / 4.0,
            hi: 4.0 / 3.0,
        }),
        interpolation: interpolation(el, args)?,
        antialias: args.flag(el, "antialias", true)?,
    };
    stage(el, args, 1.0, kind)
}

pub fn resize(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (height, width) = size(el, args)?;
    let kind = ViewKind::Resize {
        height,
        width,
        interpolation: interpolation(el, args)?,
        antialias: args.flag(el, "antialias", true)?,
    };
    stage(el, args, 1.0, kind)
}

pub fn center_crop(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (height, width) = size(el, args)?;
    let kind = ViewKind::CenterCrop {
        height,
        width: width.unwrap_or(height),
    };
    stage(el, args, 1.0, kind)
}

pub fn random_crop(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (height, width) = size(el, args)?;
    let kind = ViewKind::RandomCrop {
        height,
        width: width.unwrap_or(height),
        padding: args.at_least(el, "padding", 0)?.unwrap_or(0).min(16_384),
    };
    stage(el, args, 1.0, kind)
}

pub fn horizontal_flip(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    stage(el, args, 0.5, ViewKind::HorizontalFlip)
}

pub fn vertical_flip(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    stage(el, args, 1.0, ViewKind::VerticalFlip)
}

/// A factor range of `color_jitter`: a number x is 1±x, never below 0; nothing if that is the factor 1 alone.
fn factors(el: &mut Elab<'_>, args: &Args, name: &str) -> R<Option<Span64>> {
    let range = match args.get(name) {
        None => return Ok(None),
        Some((Value::Range(..), _)) => range_in(el, args, name, 0.0, f64::INFINITY)?,
        Some(_) => args
            .float_in(el, name, |v| v >= 0.0, "0 or more")?
            .map(|x| Span64 {
                lo: (1.0 - x).max(0.0),
                hi: 1.0 + x,
            }),
    };
    Ok(range.filter(|r| !(r.lo == 1.0 && r.hi == 1.0)))
}

fn hue(el: &mut Elab<'_>, args: &Args) -> R<Option<Span64>> {
    let range = match args.get("hue") {
        None => return Ok(None),
        Some((Value::Range(..), _)) => range_in(el, args, "hue", -0.5, 0.5)?,
        Some(_) => args
            .float_in(el, "hue", |v| (0.0..=0.5).contains(&v), "from 0 to 0.5")?
            .map(|x| Span64 { lo: -x, hi: x }),
    };
    Ok(range.filter(|r| !(r.lo == 0.0 && r.hi == 0.0)))
}

pub fn color_jitter(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let order = args.word(el, "order", &["random", "fixed"])?;
    let kind = ViewKind::ColorJitter {
        brightness: factors(el, args, "brightness")?,
        contrast: factors(el, args, "contrast")?,
        saturation: factors(el, args, "saturation")?,
        hue: hue(el, args)?,
        random_order: order != Some("fixed"),
    };
    stage(el, args, 1.0, kind)
}

pub fn grayscale(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    stage(el, args, 1.0, ViewKind::Grayscale)
}

pub fn gaussian_blur(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let sigma = range_in(el, args, "sigma", TINY, 1000.0)?;
    let kernel = match args.get("kernel") {
        Some((Value::Str(word), _)) if &**word == "auto" => None,
        _ => args.at_least(el, "kernel", 1)?,
    };
    if let Some(kernel) = kernel
        && kernel % 2 == 0
    {
        return Err(args.out_of_range(el, "kernel", &kernel.to_string(), "odd"));
    }
    let kind = ViewKind::GaussianBlur {
        sigma: sigma.unwrap_or(Span64 { lo: 0.1, hi: 2.0 }),
        kernel,
    };
    stage(el, args, 1.0, kind)
}

pub fn solarize(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let threshold = args
        .float_in(el, "threshold", |v| (0.0..=1.0).contains(&v), "from 0 to 1")?
        .unwrap_or(0.5);
    stage(el, args, 1.0, ViewKind::Solarize { threshold })
}

pub fn random_rotation(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let degrees = match args.get("degrees") {
        Some((Value::Range(..), _)) => args.range(el, "degrees")?,
        _ => args
            .float_in(el, "degrees", |v| v >= 0.0, "0 or more, or a range")?
            .map(|d| Span64 { lo: -d, hi: d }),
    };
    let degrees = degrees.unwrap_or(Span64 { lo: 0.0, hi: 0.0 });
    stage(el, args, 1.0, ViewKind::RandomRotation { degrees })
}

pub fn random_erasing(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let scale = range_in(el, args, "scale", 0.0, 1.0)?;
    let ratio = range_in(el, args, "ratio", TINY, f64::INFINITY)?;
    let kind = ViewKind::RandomErasing {
        scale: scale.unwrap_or(Span64 { lo: 0.02, hi: 0.33 }),
        ratio: ratio.unwrap_or(Span64 { lo: 0.3, hi: 3.3 }),
    };
    stage(el, args, 1.0, kind)
}

pub fn normalize(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let (mean, std) = match args.get("mean") {
        Some((Value::Str(name), span)) => {
            if let Some((_, at)) = args.get("std") {
                return Err(el.report(
                    Diagnostic::new(codes::E0110, "the values of a set bring their own `std`")
                        .label(*at, "given beside a name")
                        .label(*span, "names the set")
                        .help("leave `std` out, or give both as numbers"),
                ));
            }
            match STATISTICS.iter().find(|(n, ..)| *n == &**name) {
                Some((_, mean, std)) => (mean.to_vec(), std.to_vec()),
                None => {
                    let names: Vec<&str> = STATISTICS.iter().map(|(n, ..)| *n).collect();
                    let help = match nearest(name, names.iter().copied()) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!(
                            "there are \"{}\"; others are given as numbers: `normalize([0.5], [0.25])`",
                            names.join("\", \"")
                        ),
                    };
                    return Err(el.report(
                        Diagnostic::new(
                            codes::E0110,
                            format!("there are no statistics of \"{name}\""),
                        )
                        .label(*span, "not a known set")
                        .help(help),
                    ));
                }
            }
        }
        _ => {
            let mean = args.floats(el, "mean")?.unwrap_or_default();
            let std = args.floats(el, "std")?.unwrap_or_else(|| vec![1.0]);
            (mean, std)
        }
    };
    if let Some(bad) = std.iter().find(|s| **s <= 0.0) {
        return Err(args.out_of_range(el, "std", &bad.to_string(), "more than 0"));
    }
    if mean.len() != std.len() && std.len() != 1 && mean.len() != 1 {
        return Err(el.report(
            Diagnostic::new(
                codes::E0413,
                "`mean` and `std` are for different numbers of channels",
            )
            .label(args.span_of("mean"), format!("{} values", mean.len()))
            .label(args.span_of("std"), format!("{} values", std.len()))
            .help("give one value for each channel"),
        ));
    }
    stage(el, args, 1.0, ViewKind::Normalize { mean, std })
}

/// A pipeline checked against the data, with the size of what comes out.
#[derive(Clone, Debug)]
pub struct CheckedPipeline {
    pub pipeline: Pipeline,
    pub height: usize,
    pub width: usize,
}

impl Elab<'_> {
    /// Checks a pipeline as a whole: sizes, the place and channels of `normalize`, what one-channel images make idle.
    pub fn check_pipeline(
        &mut self,
        stages: &[Stage],
        data: &DataSource,
        span: Span,
    ) -> R<CheckedPipeline> {
        let mut size = native_size(&data.kind);
        let mut failed = false;
        let mut ops = Vec::with_capacity(stages.len());
        for (i, stage) in stages.iter().enumerate() {
            let mut op = stage.op.clone();
            match &mut op.kind {
                ViewKind::RandomResizedCrop { height, width, .. }
                | ViewKind::CenterCrop { height, width } => {
                    self.always(stage, &mut failed, size, (*height, *width));
                    size = Some((*height, *width));
                }
                ViewKind::RandomCrop {
                    height,
                    width,
                    padding,
                } => {
                    self.always(stage, &mut failed, size, (*height, *width));
                    if let Some((h, w)) = size
                        && (h + 2 * *padding < *height || w + 2 * *padding < *width)
                    {
                        self.report(
                            Diagnostic::new(
                                codes::E0411,
                                format!(
                                    "a window of {height} by {width} does not fit an image of {h} by {w}"
                                ),
                            )
                            .label(stage.span, format!("padding: {padding}"))
                            .help("pad more, or resize first"),
                        );
                        failed = true;
                    }
                    size = Some((*height, *width));
                }
                ViewKind::Resize { height, width, .. } => {
                    let after = match (*width, size) {
                        (Some(w), _) => Some((*height, w)),
                        (None, Some((h, w))) => Some(shorter_side(h, w, *height)),
                        (None, None) => None,
                    };
                    if let Some(after) = after {
                        self.always(stage, &mut failed, size, after);
                    }
                    size = after;
                }
                ViewKind::Normalize { mean, std } => {
                    if let Some(next) = stages.get(i + 1) {
                        self.report(
                            Diagnostic::new(codes::E0412, "`normalize` is the last of a pipeline")
                                .label(stage.span, "normalised here")
                                .label(next.span, format!("`{}` comes after", next.name))
                                .help("the other operations need values between 0 and 1: move `normalize` to the end"),
                        );
                        failed = true;
                    }
                    let n = mean.len().max(std.len());
                    if n != data.channels && !(n == 1 && stage.any_channels) {
                        self.report(
                            Diagnostic::new(
                                codes::E0413,
                                format!(
                                    "this normalises {}, but the images have {}",
                                    count(n, "channel"),
                                    data.channels
                                ),
                            )
                            .label(stage.span, count(n, "channel"))
                            .help("give one mean and one deviation for each channel of the data"),
                        );
                        failed = true;
                    }
                    mean.resize(data.channels, mean[0]);
                    std.resize(data.channels, std[0]);
                }
                ViewKind::Grayscale => self.idle(stage, data, "`grayscale`"),
                ViewKind::ColorJitter {
                    saturation, hue, ..
                } => {
                    let what = match (saturation.is_some(), hue.is_some()) {
                        (true, true) => Some("saturation and hue"),
                        (true, false) => Some("saturation"),
                        (false, true) => Some("hue"),
                        (false, false) => None,
                    };
                    if let Some(what) = what {
                        self.idle(stage, data, what);
                    }
                }
                ViewKind::HorizontalFlip
                | ViewKind::VerticalFlip
                | ViewKind::GaussianBlur { .. }
                | ViewKind::Solarize { .. }
                | ViewKind::RandomRotation { .. }
                | ViewKind::RandomErasing { .. } => {}
            }
            ops.push(op);
        }
        if failed {
            return Err(Reported);
        }
        match size {
            Some((height, width)) => Ok(CheckedPipeline {
                pipeline: Pipeline { ops },
                height,
                width,
            }),
            None => Err(self.report(
                Diagnostic::new(
                    codes::E0411,
                    "the size of the images that come out is not known",
                )
                .label(span, "no operation here sets both height and width")
                .help("add `random_resized_crop(224)`, `center_crop(224)` or `resize([224, 224])`"),
            )),
        }
    }

    /// An operation that sets the size must act on every image, unless the size stays.
    fn always(
        &mut self,
        stage: &Stage,
        failed: &mut bool,
        before: Option<(usize, usize)>,
        after: (usize, usize),
    ) {
        if stage.op.p < 1.0 && before != Some(after) {
            self.report(
                Diagnostic::new(
                    codes::E0411,
                    format!("`{}` would give images of different sizes", stage.name),
                )
                .label(
                    stage.span,
                    format!("acts on some images only: p is {}", stage.op.p),
                )
                .help("leave `p` out, or bring the images to this size before"),
            );
            *failed = true;
        }
    }

    fn idle(&mut self, stage: &Stage, data: &DataSource, what: &str) {
        if data.channels == 1 {
            self.report(
                Diagnostic::new(
                    codes::W0103,
                    format!("{what} changes nothing on images of one channel"),
                )
                .label(stage.span, "has no effect here")
                .help("leave it out"),
            );
        }
    }
}

/// torchvision's `Resize` with one number.
fn shorter_side(h: usize, w: usize, size: usize) -> (usize, usize) {
    if h <= w {
        (size, size * w / h)
    } else {
        (size * h / w, size)
    }
}
