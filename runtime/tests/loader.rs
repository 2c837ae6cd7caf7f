//! Batches: order, keys, threads, ends.

use sslc_compiler::program::{
    DataKind, DataSource, Interpolation, Pipeline, Span64, View, ViewKind, ViewOp,
};
use sslc_grammar::codes;
use sslc_runtime::data::{Split, open};
use sslc_runtime::views::{Batch, Batches, Key, Loader, Order, render, render_raw};
use std::collections::BTreeSet;
use std::sync::Arc;

fn span(lo: f64, hi: f64) -> Span64 {
    Span64 { lo, hi }
}

fn op(p: f64, kind: ViewKind) -> ViewOp {
    ViewOp { p, kind }
}

fn crop(size: usize) -> ViewOp {
    op(
        1.0,
        ViewKind::RandomResizedCrop {
            height: size,
            width: size,
            scale: span(0.2, 1.0),
            ratio: span(0.75, 4.0 / 3.0),
            interpolation: Interpolation::Bilinear,
            antialias: true,
        },
    )
}

fn augment() -> Pipeline {
    let jitter = ViewKind::ColorJitter {
        brightness: Some(span(0.6, 1.4)),
        contrast: Some(span(0.6, 1.4)),
        saturation: Some(span(0.6, 1.4)),
        hue: Some(span(-0.1, 0.1)),
        random_order: true,
    };
    let blur = ViewKind::GaussianBlur {
        sigma: span(0.1, 2.0),
        kernel: None,
    };
    let normalize = ViewKind::Normalize {
        mean: vec![0.286],
        std: vec![0.353],
    };
    Pipeline {
        ops: vec![
            crop(24),
            op(0.5, ViewKind::HorizontalFlip),
            op(0.8, jitter),
            op(0.5, blur),
            op(0.2, ViewKind::Solarize { threshold: 0.5 }),
            op(1.0, normalize),
        ],
    }
}

fn view(name: &str, pipeline: Pipeline, size: usize) -> View {
    View {
        name: name.to_owned(),
        pipeline,
        height: size,
        width: size,
        channels: 1,
    }
}

fn mini() -> Arc<Split> {
    let source = DataSource {
        kind: DataKind::FashionMini,
        channels: 1,
        train_len: Some(5_000),
    };
    Arc::new(open(&source).unwrap().train)
}

fn batches(threads: usize) -> Batches {
    Batches {
        views: vec![view("a", augment(), 24), view("b", augment(), 24)],
        batch: 50,
        order: Order::Shuffled,
        drop_last: true,
        seed: 3,
        first: 0,
        threads,
    }
}

fn take(split: &Arc<Split>, batches: Batches, n: usize) -> Vec<Batch> {
    let loader = Loader::start(split.clone(), batches).unwrap();
    loader.take(n).collect::<Result<_, _>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_threads() {
    let split = mini();
    let one = take(&split, batches(1), 3);
    assert_eq!(one, take(&split, batches(2), 3));
    assert_eq!(one, take(&split, batches(5), 3));
}

#[test]
fn a_view_alone_is_the_view_in_the_batch() {
    let split = mini();
    let batch = &take(&split, batches(2), 2)[1];
    for (v, data) in batch.views.iter().enumerate() {
        for (k, rendered) in data.chunks_exact(24 * 24).enumerate().step_by(7) {
            let image = batch.images[k];
            let key = Key {
                seed: 3,
                epoch: 0,
                image,
                view: v as u16,
            };
            let alone = render(&augment(), &split.image(image as usize).unwrap(), key).unwrap();
            assert_eq!(alone.data, rendered);
            assert_eq!(
                batch.labels.as_ref().unwrap()[k],
                split.label(image as usize).unwrap()
            );
        }
    }
    assert_ne!(batch.views[0], batch.views[1]);
}

#[test]
fn an_epoch_shows_each_image_once_and_the_next_in_another_order() {
    let split = mini();
    let mut settings = batches(2);
    settings.batch = 1_250;
    settings.views = vec![view("a", Pipeline { ops: vec![crop(2)] }, 2)];
    let made = take(&split, settings.clone(), 8);
    for epoch in [0, 1] {
        let images: Vec<u32> = made
            .iter()
            .filter(|b| b.epoch == epoch)
            .flat_map(|b| b.images.clone())
            .collect();
        assert_eq!(images.len(), 5_000);
        assert_eq!(images.iter().collect::<BTreeSet<_>>().len(), 5_000);
    }
    assert_ne!(made[0].images, made[4].images);

    // A training taken up again gets the batches that it would have had.
    settings.first = 6;
    assert_eq!(take(&split, settings, 2), made[6..]);
}

#[test]
fn recycled_memory_changes_nothing() {
    let split = mini();
    let expected = take(&split, batches(1), 6);
    let mut loader = Loader::start(split, batches(1)).unwrap();
    for e in &expected {
        let batch = loader.next().unwrap().unwrap();
        assert_eq!(batch, *e);
        loader.recycle(batch);
    }
}

#[test]
fn going_through_once_ends_with_what_is_left() {
    let split = mini();
    let mut settings = batches(2);
    settings.order = Order::Once((0..120).collect());
    settings.drop_last = false;
    let sizes: Vec<usize> = Loader::start(split.clone(), settings.clone())
        .unwrap()
        .map(|b| b.unwrap().images.len())
        .collect();
    assert_eq!(sizes, [50, 50, 20]);
    settings.order = Order::Once(Vec::new());
    assert!(Loader::start(split, settings).unwrap().next().is_none());
}

#[test]
fn a_batch_larger_than_the_data_is_refused() {
    let mut settings = batches(1);
    settings.batch = 5_001;
    let error = Loader::start(mini(), settings).unwrap_err();
    assert_eq!(error.code, codes::E0612);
    assert!(error.message.contains("5001") && error.message.contains("5000"));
}

#[test]
fn a_view_of_another_size_is_an_error_that_names_image_and_view() {
    let mut settings = batches(2);
    settings.views[1].height = 25;
    let mut loader = Loader::start(mini(), settings).unwrap();
    let error = loader.next().unwrap().unwrap_err();
    assert_eq!(error.code, codes::E0615);
    assert!(error.message.contains("24×24×1") && error.message.contains("25×24×1"));
    assert!(error.message.contains("view `b` of image "));
    assert!(loader.next().is_none());
}

#[test]
fn a_crop_larger_than_the_image_is_an_error() {
    let split = mini();
    let random_crop = ViewKind::RandomCrop {
        height: 32,
        width: 32,
        padding: 1,
    };
    let pipeline = Pipeline {
        ops: vec![op(1.0, random_crop)],
    };
    let key = Key {
        seed: 0,
        epoch: 0,
        image: 0,
        view: 0,
    };
    let error = render(&pipeline, &split.image(0).unwrap(), key).unwrap_err();
    assert_eq!(error.code, codes::E0614);
}

#[test]
fn raw_views_stop_before_normalize() {
    let split = mini();
    let image = split.image(9).unwrap();
    let key = Key {
        seed: 1,
        epoch: 2,
        image: 9,
        view: 0,
    };
    let raw = render_raw(&augment(), &image, key).unwrap();
    let whole = render(&augment(), &image, key).unwrap();
    for (r, w) in raw.data.iter().zip(&whole.data) {
        assert!((0.0..=1.0).contains(r));
        assert!(((r - 0.286f32) / 0.353f32 - w).abs() < 1e-6);
    }
}

#[test]
fn probabilities_are_kept_per_image_and_view() {
    let split = mini();
    let image = split.image(4).unwrap();
    let flip = |p| Pipeline {
        ops: vec![op(p, ViewKind::HorizontalFlip)],
    };
    let flipped = |p, key| render(&flip(p), &image, key).unwrap().data;
    let key = |epoch, view| Key {
        seed: 5,
        epoch,
        image: 4,
        view,
    };
    let mirrored = flipped(1.0, key(0, 0));
    assert_ne!(mirrored, flipped(0.0, key(0, 0)));
    let mut both = [0usize; 2];
    for epoch in 0..1_000 {
        let now = [0, 1].map(|v| flipped(0.3, key(epoch, v)) == mirrored);
        both[0] += usize::from(now[0]);
        both[1] += usize::from(now[0] && now[1]);
    }
    assert!((250..350).contains(&both[0]), "{both:?}");
    assert!(
        (60..125).contains(&both[1]),
        "views draw independently: {both:?}"
    );
}
