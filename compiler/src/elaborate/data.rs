//! Data sources. Nothing is read here: a source knows its channels, and mostly its size, by its kind.

use super::Elab;
use super::args::Args;
use super::values::{R, Value};
use crate::program::{DataKind, DataSource};
use std::path::PathBuf;
use std::rc::Rc;

fn source(kind: DataKind, channels: usize, train_len: Option<usize>) -> R<Value> {
    Ok(Value::Data(Rc::new(DataSource {
        kind,
        channels,
        train_len,
    })))
}

fn path(el: &mut Elab<'_>, args: &Args, name: &str) -> R<Option<PathBuf>> {
    match args.text(el, name)? {
        Some(text) if text.is_empty() => Err(args.out_of_range(el, name, "empty", "a path")),
        other => Ok(other.map(|t| PathBuf::from(&*t))),
    }
}

/// A path that the signature requires.
fn needed(el: &mut Elab<'_>, args: &Args, name: &str) -> R<PathBuf> {
    Ok(path(el, args, name)?.unwrap_or_default())
}

pub fn fashion_mini(_: &mut Elab<'_>, _: &Args) -> R<Value> {
    source(DataKind::FashionMini, 1, Some(5_000))
}

pub fn fashion_mnist(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let path = needed(el, args, "path")?;
    source(DataKind::FashionMnist { path }, 1, Some(60_000))
}

pub fn mnist(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let path = needed(el, args, "path")?;
    source(DataKind::Mnist { path }, 1, Some(60_000))
}

pub fn idx(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let kind = DataKind::Idx {
        images: needed(el, args, "images")?,
        labels: path(el, args, "labels")?,
        test_images: path(el, args, "test_images")?,
        test_labels: path(el, args, "test_labels")?,
    };
    source(kind, 1, None)
}

pub fn cifar10(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let path = needed(el, args, "path")?;
    source(DataKind::Cifar10 { path }, 3, Some(50_000))
}

pub fn cifar100(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let path = needed(el, args, "path")?;
    source(DataKind::Cifar100 { path }, 3, Some(50_000))
}

pub fn stl10(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let path = needed(el, args, "path")?;
    source(DataKind::Stl10 { path }, 3, Some(105_000))
}

pub fn image_folder(el: &mut Elab<'_>, args: &Args) -> R<Value> {
    let channels = args.int(el, "channels")?.unwrap_or(3);
    if channels != 1 && channels != 3 {
        return Err(args.out_of_range(el, "channels", &channels.to_string(), "1 or 3"));
    }
    let holdout = args
        .float_in(
            el,
            "holdout",
            |v| (0.0..1.0).contains(&v),
            "at least 0 and below 1",
        )?
        .unwrap_or(0.0);
    let count = args.at_least(el, "count", 1)?;
    let kind = DataKind::ImageFolder {
        path: needed(el, args, "path")?,
        test: path(el, args, "test")?,
        holdout,
        strict: args.flag(el, "strict", false)?,
    };
    source(kind, channels as usize, count)
}

/// Height and width of every image of a source, where its kind tells.
pub fn native_size(kind: &DataKind) -> Option<(usize, usize)> {
    match kind {
        DataKind::FashionMini | DataKind::FashionMnist { .. } | DataKind::Mnist { .. } => {
            Some((28, 28))
        }
        DataKind::Cifar10 { .. } | DataKind::Cifar100 { .. } => Some((32, 32)),
        DataKind::Stl10 { .. } => Some((96, 96)),
        DataKind::Idx { .. } | DataKind::ImageFolder { .. } => None,
    }
}
