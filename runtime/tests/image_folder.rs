//! `image_folder`: listing, classes, splits, damaged files, formats.

#[path = "image_folder/hostile.rs"]
mod hostile;

use image::{ImageFormat, Rgb, RgbImage};
use sslc_compiler::program::{DataKind, DataSource, Pipeline, View};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::{Dataset, open, probe};
use sslc_runtime::views::{Batches, Loader, Order};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn picture(tag: u8, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([tag, x as u8, y as u8]))
}

fn put(path: &Path, tag: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture(tag, 6, 4).save(path).unwrap();
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set");
    fs::create_dir(&path).unwrap();
    (dir, path)
}

/// Classes `cat` and `dog` of five images each, tagged 0–4 and 10–14.
fn pets() -> (TempDir, PathBuf) {
    let (dir, path) = folder();
    for i in 0..5 {
        put(&path.join(format!("cat/{i}.png")), i);
        put(&path.join(format!("dog/deep/{i}.bmp")), 10 + i);
    }
    (dir, path)
}

struct Args {
    test: Option<PathBuf>,
    holdout: f64,
    strict: bool,
    count: Option<usize>,
}

const PLAIN: Args = Args {
    test: None,
    holdout: 0.0,
    strict: false,
    count: None,
};

fn source(path: &Path, args: Args, channels: usize) -> DataSource {
    DataSource {
        kind: DataKind::ImageFolder {
            path: path.to_path_buf(),
            test: args.test,
            holdout: args.holdout,
            strict: args.strict,
        },
        channels,
        train_len: args.count,
    }
}

fn read(path: &Path, args: Args) -> Result<Dataset, Diagnostic> {
    open(&source(path, args, 3))
}

fn tags(set: &Dataset) -> Vec<u8> {
    (0..set.train.len())
        .map(|i| set.train.image(i).unwrap().pixels[0])
        .collect()
}

#[test]
fn class_folders_are_listed_in_order() {
    let (_dir, path) = pets();
    fs::write(path.join("cat/.hidden.png"), b"x").unwrap();
    fs::write(path.join("cat/notes.txt"), b"x").unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(tags(&set), [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
    assert_eq!((set.train.label(4), set.train.label(5)), (Some(0), Some(1)));
    assert!(set.test.is_none() && set.notices.is_empty());
    assert_eq!(probe(&source(&path, PLAIN, 3)).unwrap(), Some(10));
    assert!(set.train.image_name(0).ends_with("0.png"));
}

#[test]
fn loose_images_have_no_labels() {
    let (_dir, path) = folder();
    put(&path.join("b.png"), 2);
    put(&path.join("a.bmp"), 1);
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(tags(&set), [1, 2]);
    assert!(set.classes.is_empty() && set.train.label(0).is_none());
}

#[test]
fn loose_images_beside_classes_are_left_out_with_a_notice() {
    let (_dir, path) = pets();
    put(&path.join("cover.png"), 99);
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(set.train.len(), 10);
    assert_eq!(set.notices[0].code, codes::W0603);
}

#[test]
fn content_decides_the_format() {
    let (_dir, path) = folder();
    let image = picture(50, 6, 4);
    let formats = [
        ("a.png", ImageFormat::Bmp),
        ("b.jpg", ImageFormat::Png),
        ("c.GIF", ImageFormat::Gif),
        ("d.webp", ImageFormat::WebP),
        ("e", ImageFormat::Png),
        ("f.jpeg", ImageFormat::Jpeg),
    ];
    for (name, format) in formats {
        image.save_with_format(path.join(name), format).unwrap();
    }
    fs::write(path.join("README"), b"no image").unwrap();
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(set.train.len(), 6);
    for i in 0..6 {
        let p = set.train.image(i).unwrap();
        assert_eq!((p.height, p.width, p.channels), (4, 6, 3));
        // GIF has a palette, and JPEG is approximate.
        assert!(
            p.pixels[0].abs_diff(50) < 12,
            "{}: {}",
            set.train.image_name(i),
            p.pixels[0]
        );
    }
}

#[test]
fn channels_are_converted() {
    let (_dir, path) = folder();
    RgbImage::from_pixel(2, 2, Rgb([10, 100, 200]))
        .save(path.join("a.png"))
        .unwrap();
    image::GrayImage::from_pixel(2, 2, image::Luma([77]))
        .save(path.join("b.png"))
        .unwrap();
    image::RgbaImage::from_pixel(2, 2, image::Rgba([10, 100, 200, 0]))
        .save(path.join("c.png"))
        .unwrap();
    let gray = open(&source(&path, PLAIN, 1)).unwrap();
    assert_eq!(
        [0, 1, 2].map(|i| gray.train.image(i).unwrap().pixels[0]),
        [84, 77, 84]
    );
    let rgb = open(&source(&path, PLAIN, 3)).unwrap();
    assert_eq!(rgb.train.image(1).unwrap().pixels[..3], [77, 77, 77]);
    // Alpha is dropped, not blended.
    assert_eq!(rgb.train.image(2).unwrap().pixels[..3], [10, 100, 200]);
}

/// A JPEG whose EXIF says that the camera was turned (orientation 6: rotate by 90° clockwise).
fn turned_jpeg() -> Vec<u8> {
    let mut plain = Vec::new();
    RgbImage::from_fn(16, 8, |x, _| Rgb(if x < 8 { [255; 3] } else { [0; 3] }))
        .write_to(&mut std::io::Cursor::new(&mut plain), ImageFormat::Jpeg)
        .unwrap();
    let mut exif =
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    let mut file = plain[..2].to_vec();
    file.extend([0xff, 0xe1]);
    file.extend((exif.len() as u16 + 2).to_be_bytes());
    file.append(&mut exif);
    file.extend(&plain[2..]);
    file
}

#[test]
fn the_camera_s_orientation_is_applied() {
    let (_dir, path) = folder();
    fs::write(path.join("a.jpg"), turned_jpeg()).unwrap();
    let set = read(&path, PLAIN).unwrap();
    let p = set.train.image(0).unwrap();
    assert_eq!((p.height, p.width), (16, 8));
    // What was left is on top.
    assert!(p.pixels[0] > 200 && p.pixels[p.pixels.len() - 1] < 50);
}

fn damage(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn damaged_files_are_skipped_counted_and_named() {
    let (_dir, path) = pets();
    damage(&path.join("cat/1.png"));
    fs::write(path.join("cat/3.png"), b"").unwrap();
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(tags(&set), [0, 2, 4, 10, 11, 12, 13, 14]);
    assert_eq!(set.train.label(2), Some(0));
    let notice = &set.notices[0];
    assert_eq!(notice.code, codes::W0601);
    assert!(
        notice.message.starts_with("2 image files"),
        "{}",
        notice.message
    );
    assert!(notice.message.contains("1.png") && notice.message.contains("3.png"));
}

#[test]
fn strict_refuses_damaged_files() {
    let (_dir, path) = pets();
    damage(&path.join("dog/deep/0.bmp"));
    let strict = || Args {
        strict: true,
        ..PLAIN
    };
    let error = read(&path, strict()).unwrap_err();
    assert_eq!(error.code, codes::E0608);
    assert!(error.message.contains("0.bmp"));
    damage(&path.join("cat/0.png"));
    assert!(
        read(&path, strict())
            .unwrap_err()
            .message
            .starts_with("2 image files")
    );
}

#[test]
fn a_file_damaged_later_gives_way_to_the_next_of_its_class() {
    let (_dir, path) = pets();
    let set = read(&path, PLAIN).unwrap();
    damage(&path.join("cat/4.png"));
    fs::remove_file(path.join("cat/0.png")).unwrap();
    assert_eq!(set.train.take_notice(), None);
    assert_eq!(tags(&set), [1, 1, 2, 3, 1, 10, 11, 12, 13, 14]);
    let notice = set.train.take_notice().expect("two files were damaged");
    assert!(notice.message.starts_with("2 image files"));
    assert_eq!(tags(&set)[4], 1);
    assert_eq!(set.train.take_notice(), None, "told once");

    for i in 1..4 {
        fs::remove_file(path.join(format!("cat/{i}.png"))).unwrap();
    }
    assert_eq!(tags(&set)[2], 10, "no cat is left");
    fs::remove_dir_all(path.join("dog")).unwrap();
    assert_eq!(set.train.image(2).unwrap_err().code, codes::E0608);
}

#[test]
fn under_strict_a_file_damaged_later_stops_the_loader() {
    let (_dir, path) = pets();
    let strict = Args {
        strict: true,
        ..PLAIN
    };
    let set = read(&path, strict).unwrap();
    damage(&path.join("cat/2.png"));
    let view = View {
        name: "x".to_owned(),
        pipeline: Pipeline::default(),
        height: 4,
        width: 6,
        channels: 3,
    };
    let batches = Batches {
        views: vec![view],
        batch: 2,
        order: Order::Once((0..10).collect()),
        drop_last: true,
        seed: 0,
        first: 0,
        threads: 2,
    };
    let delivered: Vec<_> = Loader::start(Arc::new(set.train), batches)
        .unwrap()
        .collect();
    assert_eq!(delivered.len(), 2, "one good batch, then the error");
    assert!(delivered[0].is_ok());
    assert_eq!(delivered[1].as_ref().unwrap_err().code, codes::E0608);
}

#[test]
fn a_folder_of_nothing_but_damaged_files_is_an_error() {
    let (_dir, path) = folder();
    fs::write(path.join("a.png"), b"no").unwrap();
    fs::write(path.join("b.jpg"), b"neither").unwrap();
    assert_eq!(read(&path, PLAIN).unwrap_err().code, codes::E0608);
}

#[test]
fn folders_without_images_say_what_they_hold() {
    let (_dir, path) = folder();
    let error = read(&path, PLAIN).unwrap_err();
    assert_eq!(error.code, codes::E0607);
    fs::write(path.join("archive.zip"), b"x").unwrap();
    let error = read(&path, PLAIN).unwrap_err();
    assert!(error.message.contains("archive.zip"), "{}", error.message);
    assert_eq!(
        read(&path.join("nowhere"), PLAIN).unwrap_err().code,
        codes::E0601
    );
}

#[test]
fn splits_are_not_classes() {
    let (_dir, path) = folder();
    put(&path.join("train/cat/0.png"), 0);
    put(&path.join("val/cat/0.png"), 0);
    let error = read(&path, PLAIN).unwrap_err();
    assert_eq!(error.code, codes::E0613);
    assert!(error.help.unwrap().contains("test:"));
}

#[test]
fn holdout_is_drawn_by_name_and_class() {
    let (_dir, path) = pets();
    let held = |fraction| {
        let set = read(
            &path,
            Args {
                holdout: fraction,
                ..PLAIN
            },
        )
        .unwrap();
        let test = set.test.as_ref();
        let labels: Vec<_> = test
            .map(|t| (0..t.len()).map(|i| t.label(i).unwrap()).collect())
            .unwrap_or_default();
        (tags(&set), labels)
    };
    let (train, test) = held(0.4);
    assert_eq!(test, [0, 0, 1, 1]);
    assert_eq!(train.len(), 6);
    assert_eq!(held(0.4).0, train);
    assert!(held(0.2).0.iter().filter(|t| train.contains(t)).count() == 6);
    assert_eq!(held(0.0), ((0..5).chain(10..15).collect(), Vec::new()));
    assert_eq!(held(1.0).0.len(), 2, "one of each class stays");
    let args = Args {
        holdout: 0.4,
        ..PLAIN
    };
    assert_eq!(probe(&source(&path, args, 3)).unwrap(), Some(6));
}

#[test]
fn test_folders_have_the_same_classes() {
    let (dir, path) = pets();
    let test = dir.path().join("test");
    let with_test = || Args {
        test: Some(test.clone()),
        holdout: 0.5,
        ..PLAIN
    };
    put(&test.join("dog/a.png"), 1);
    let error = read(&path, with_test()).unwrap_err();
    assert_eq!(error.code, codes::E0610);
    assert!(error.message.contains("`cat`"));

    put(&test.join("cats/a.png"), 1);
    let error = read(&path, with_test()).unwrap_err();
    assert_eq!(error.code, codes::E0610);
    assert!(error.help.unwrap().contains("`cat`"));

    fs::rename(test.join("cats"), test.join("cat")).unwrap();
    let set = read(&path, with_test()).unwrap();
    assert_eq!(set.train.len(), 10, "holdout gives way to test");
    let found = set.test.unwrap();
    assert_eq!([found.label(0), found.label(1)], [Some(0), Some(1)]);

    fs::remove_dir_all(&test).unwrap();
    put(&test.join("a.png"), 1);
    assert_eq!(read(&path, with_test()).unwrap_err().code, codes::E0610);
}

#[test]
fn count_must_be_right() {
    let (_dir, path) = pets();
    let count = |n| Args {
        count: Some(n),
        ..PLAIN
    };
    assert_eq!(read(&path, count(10)).unwrap().train.len(), 10);
    let error = read(&path, count(12)).unwrap_err();
    assert_eq!(error.code, codes::E0611);
    assert!(error.message.contains("12") && error.message.contains("10 images"));
    // Files skipped as damaged do not break a count that was right.
    damage(&path.join("cat/1.png"));
    assert_eq!(read(&path, count(10)).unwrap().train.len(), 9);
    assert_eq!(read(&path, count(9)).unwrap().train.len(), 9);
}

#[cfg(unix)]
#[test]
fn links_are_followed_once() {
    let (dir, path) = pets();
    std::os::unix::fs::symlink(&path, path.join("dog/again")).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    put(&elsewhere.join("x.png"), 77);
    std::os::unix::fs::symlink(&elsewhere, path.join("eel")).unwrap();
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(set.classes, ["cat", "dog", "eel"]);
    assert_eq!(tags(&set), [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 77]);
}

#[test]
fn sixteen_bits_become_eight() {
    let (_dir, path) = folder();
    image::ImageBuffer::from_pixel(3, 2, Rgb([0x1234u16, 0x8000, 0xffff]))
        .save(path.join("a.png"))
        .unwrap();
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(set.train.image(0).unwrap().pixels[..3], [0x12, 0x80, 0xff]);
}
