//! Whatever the pipeline, the image or the file: a result or a message, never a panic.

use image::{ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use sslc_compiler::program::{
    DataKind, DataSource, Interpolation, Pipeline, Span64, ViewKind, ViewOp,
};
use sslc_grammar::codes;
use sslc_runtime::data::{ImageRef, open};
use sslc_runtime::views::{Key, render, render_raw};
use std::borrow::Cow;
use std::fs;
use std::io::Cursor;

fn span(lo: f64, hi: f64) -> impl Strategy<Value = Span64> {
    (lo..=hi, 0.0..=1.0f64).prop_map(move |(a, t)| Span64 {
        lo: a,
        hi: a + (hi - a) * t,
    })
}

fn interpolation() -> impl Strategy<Value = Interpolation> {
    prop_oneof![Just(Interpolation::Bilinear), Just(Interpolation::Bicubic)]
}

fn factor() -> impl Strategy<Value = Option<Span64>> {
    proptest::option::of(span(0.0, 2.0))
}

fn kind() -> impl Strategy<Value = ViewKind> {
    let side = || 1..40usize;
    prop_oneof![
        (
            side(),
            side(),
            span(0.01, 1.0),
            span(0.2, 5.0),
            interpolation(),
            any::<bool>()
        )
            .prop_map(|(height, width, scale, ratio, interpolation, antialias)| {
                ViewKind::RandomResizedCrop {
                    height,
                    width,
                    scale,
                    ratio,
                    interpolation,
                    antialias,
                }
            }),
        (
            side(),
            proptest::option::of(side()),
            interpolation(),
            any::<bool>()
        )
            .prop_map(
                |(height, width, interpolation, antialias)| ViewKind::Resize {
                    height,
                    width,
                    interpolation,
                    antialias,
                }
            ),
        (side(), side()).prop_map(|(height, width)| ViewKind::CenterCrop { height, width }),
        (side(), side(), 0..8usize).prop_map(|(height, width, padding)| ViewKind::RandomCrop {
            height,
            width,
            padding,
        }),
        Just(ViewKind::HorizontalFlip),
        Just(ViewKind::VerticalFlip),
        (factor(), factor(), factor(), span(-0.5, 0.5), any::<bool>()).prop_map(
            |(brightness, contrast, saturation, hue, random_order)| ViewKind::ColorJitter {
                brightness,
                contrast,
                saturation,
                hue: Some(hue),
                random_order,
            }
        ),
        Just(ViewKind::Grayscale),
        (
            span(0.0, 4.0),
            proptest::option::of((0..12usize).prop_map(|k| 2 * k + 1))
        )
            .prop_map(|(sigma, kernel)| ViewKind::GaussianBlur { sigma, kernel }),
        (0.0..=1.0f64).prop_map(|threshold| ViewKind::Solarize { threshold }),
        span(-360.0, 360.0).prop_map(|degrees| ViewKind::RandomRotation { degrees }),
        (span(0.0, 1.0), span(0.2, 5.0))
            .prop_map(|(scale, ratio)| ViewKind::RandomErasing { scale, ratio }),
    ]
}

fn pipeline() -> impl Strategy<Value = Pipeline> {
    let op =
        (prop_oneof![Just(1.0), 0.0..=1.0f64], kind()).prop_map(|(p, kind)| ViewOp { p, kind });
    proptest::collection::vec(op, 0..6).prop_map(|ops| Pipeline { ops })
}

fn pixels() -> impl Strategy<Value = ImageRef<'static>> {
    (
        1..40usize,
        1..40usize,
        prop_oneof![Just(1usize), Just(3)],
        any::<u64>(),
    )
        .prop_map(|(height, width, channels, seed)| ImageRef {
            pixels: Cow::Owned(
                (0..height * width * channels)
                    .map(|i| sslc_runtime::rng::mix(seed ^ i as u64) as u8)
                    .collect(),
            ),
            height,
            width,
            channels,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_pipeline_renders_any_image(pipeline in pipeline(), image in pixels(), epoch in 0..9u32) {
        let key = Key { seed: 1, epoch, image: 2, view: 3 };
        match render_raw(&pipeline, &image, key) {
            Ok(view) => {
                prop_assert_eq!(view.data.len(), view.height * view.width * view.channels);
                prop_assert_eq!(view.channels, image.channels);
                prop_assert!(view.height > 0 && view.width > 0);
                // Bicubic resampling after bicubic resampling may leave [0, 1], but not by much.
                prop_assert!(view.data.iter().all(|v| (-2.0..=3.0).contains(v)));
                prop_assert_eq!(&view, &render(&pipeline, &image, key).unwrap());
            }
            Err(error) => prop_assert_eq!(error.code, codes::E0614),
        }
    }

    #[test]
    fn a_flip_of_a_flip_is_the_image(image in pixels(), vertical in any::<bool>()) {
        let kind = if vertical { ViewKind::VerticalFlip } else { ViewKind::HorizontalFlip };
        let op = ViewOp { p: 1.0, kind };
        let key = Key { seed: 1, epoch: 0, image: 2, view: 3 };
        let twice = Pipeline { ops: vec![op.clone(), op] };
        let plain = Pipeline::default();
        prop_assert_eq!(render(&twice, &image, key).unwrap(), render(&plain, &image, key).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_damaged_image_file_is_skipped(
        format in 0..5usize,
        cut in 0.0..1.5f64,
        changes in proptest::collection::vec((0.0..1.0f64, any::<u8>()), 0..6),
    ) {
        let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp];
        let picture = RgbImage::from_fn(9, 7, |x, y| Rgb([20 * x as u8, 30 * y as u8, 100]));
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), formats[format]).unwrap();
        for (at, value) in changes {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = value;
        }
        bytes.truncate((cut * bytes.len() as f64) as usize);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.png"), &bytes).unwrap();
        picture.save(dir.path().join("b.png")).unwrap();
        let source = DataSource {
            kind: DataKind::ImageFolder {
                path: dir.path().to_path_buf(),
                test: None,
                holdout: 0.0,
                strict: false,
            },
            channels: 3,
            train_len: None,
        };
        let set = open(&source).unwrap();
        prop_assert!(matches!((set.train.len(), set.notices.len()), (2, 0) | (1, 1)));
        prop_assert!(set.train.image(0).is_ok());
    }
}
