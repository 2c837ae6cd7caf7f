//! Files of every kind that lie in real folders, and those made to do harm.

use super::{PLAIN, folder, picture, put, read, source, tags, turned_jpeg};
use image::ImageFormat;
use sslc_grammar::codes;
use sslc_runtime::data::check::check;
use sslc_runtime::data::{ImageFailure, read_image};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/images")
        .join(name)
}

/// Why an image is refused.
#[track_caller]
fn refused(path: &Path) -> String {
    let begin = Instant::now();
    let failure = read_image(path, 3).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(2));
    failure.to_string()
}

#[test]
fn every_kind_of_file_shows_its_first_picture() {
    for name in [
        "cmyk.jpg",
        "progressive.jpg",
        "palette.png",
        "palette_alpha.png",
        "palette.bmp",
        "animated.gif",
        "animated.webp",
        "animated.png",
    ] {
        let image = read_image(&fixture(name), 3).unwrap_or_else(|f| panic!("{name}: {f}"));
        assert_eq!(
            (image.height, image.width, image.channels),
            (8, 16, 3),
            "{name}"
        );
        // Red on the left, blue on the right; JPEG is approximate.
        let ends = [&image.bytes[..3], &image.bytes[image.bytes.len() - 3..]];
        for (pixel, wanted) in ends.iter().zip([[255, 0, 0], [0, 0, 255]]) {
            for (got, wanted) in pixel.iter().zip(wanted) {
                assert!(got.abs_diff(wanted) < 12, "{name}: {pixel:?}");
            }
        }
    }
}

#[test]
fn gray_of_any_depth_is_gray() {
    for (name, value) in [
        ("gray16.png", 0x12),
        ("gray_alpha.png", 18),
        ("one_bit.png", 255),
    ] {
        let colour = read_image(&fixture(name), 3).unwrap();
        assert_eq!(colour.bytes, vec![value; 8 * 16 * 3], "{name}");
        let gray = read_image(&fixture(name), 1).unwrap();
        assert_eq!(gray.bytes, vec![value; 8 * 16], "{name}");
    }
}

/// The EXIF orientation of [`turned_jpeg`], changed.
fn turned(orientation: u8) -> Vec<u8> {
    let mut file = turned_jpeg();
    let tag = file.windows(2).position(|w| w == [0x01, 0x12]).unwrap();
    file[tag + 9] = orientation;
    file
}

#[test]
fn each_orientation_puts_the_white_half_where_it_belongs() {
    let (_dir, path) = folder();
    let file = path.join("a.jpg");
    // The left half is white. Of each orientation: height, width, and whether the first and the last pixel are white.
    let (left, right) = ((true, false), (false, true));
    let expected = [
        (1, 8, 16, left),
        (2, 8, 16, right),
        (3, 8, 16, right),
        (4, 8, 16, left),
        (5, 16, 8, left),
        (6, 16, 8, left),
        (7, 16, 8, right),
        (8, 16, 8, right),
        // What the standard does not know changes nothing.
        (9, 8, 16, left),
    ];
    for (orientation, height, width, (first, last)) in expected {
        fs::write(&file, turned(orientation)).unwrap();
        let image = read_image(&file, 1).unwrap();
        assert_eq!(
            (image.height, image.width),
            (height, width),
            "{orientation}"
        );
        let white = |v: u8| v > 127;
        let ends = (
            white(image.bytes[0]),
            white(image.bytes[image.bytes.len() - 1]),
        );
        assert_eq!(ends, (first, last), "{orientation}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_damaged_whatever_its_format() {
    let (_dir, path) = folder();
    let image = picture(50, 64, 48);
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
    ] {
        let mut whole = Vec::new();
        image
            .write_to(&mut Cursor::new(&mut whole), format)
            .unwrap();
        let file = path.join("a.png");
        for share in [10, 50, 90] {
            fs::write(&file, &whole[..whole.len() * share / 100]).unwrap();
            assert!(read_image(&file, 3).is_err(), "{format:?} at {share} %");
        }
        fs::write(&file, &whole).unwrap();
        assert!(read_image(&file, 3).is_ok(), "{format:?}");
    }
    let progressive = fs::read(fixture("progressive.jpg")).unwrap();
    let file = path.join("p.jpg");
    fs::write(&file, &progressive[..progressive.len() - 10]).unwrap();
    assert_eq!(refused(&file), "it is cut off");
    // A thumbnail's end is not the picture's.
    let mut thumbnail = turned_jpeg();
    let exif = thumbnail.windows(4).position(|w| w == b"Exif").unwrap();
    let length = thumbnail[exif - 1];
    thumbnail[exif - 1] = length + 4;
    let end = exif - 2 + usize::from(length);
    thumbnail.splice(end..end, [0xff, 0xd8, 0xff, 0xd9]);
    fs::write(&file, &thumbnail).unwrap();
    assert!(read_image(&file, 3).is_ok());
    fs::write(&file, &thumbnail[..thumbnail.len() - 20]).unwrap();
    assert_eq!(refused(&file), "it is cut off");
}

/// CRC-32 of a PNG chunk.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut whole = Vec::new();
    picture(1, 4, 4)
        .write_to(&mut Cursor::new(&mut whole), ImageFormat::Png)
        .unwrap();
    whole[16..20].copy_from_slice(&width.to_be_bytes());
    whole[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&whole[12..29]);
    whole[29..33].copy_from_slice(&sum.to_be_bytes());
    whole
}

/// Refused for its size, by the decoder or by us.
#[track_caller]
fn claims(path: &Path, size: &str) {
    let why = refused(path);
    assert!(why == "it is too large" || why.contains(size), "{why}");
}

#[test]
fn a_header_that_claims_a_huge_image_costs_nothing() {
    let (_dir, path) = folder();
    let file = path.join("a.png");
    for (width, height) in [(60_000, 60_000), (0x7fff_ffff, 1), (1, 0x7fff_ffff)] {
        fs::write(&file, png_of(width, height)).unwrap();
        claims(&file, &format!("{width} by {height}"));
    }
    fs::write(&file, png_of(0, 10)).unwrap();
    refused(&file);

    let mut jpeg = turned_jpeg();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    fs::write(&file, jpeg).unwrap();
    claims(&file, "65535 by 65535");

    let mut gif = fs::read(fixture("animated.gif")).unwrap();
    gif[6..10].fill(0xff);
    fs::write(&file, gif).unwrap();
    claims(&file, "65535 by 65535");

    let mut bmp = fs::read(fixture("palette.bmp")).unwrap();
    bmp[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    fs::write(&file, bmp).unwrap();
    claims(&file, "60000 by 60000");
}

#[test]
fn what_is_no_image_is_told_by_its_content() {
    let (_dir, path) = folder();
    for (name, content) in [
        ("page.jpg", &b"<html>not found</html>"[..]),
        ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("tiff.png", b"II*\0\x08\0\0\0\0\0\0\0"),
        ("zeros.gif", &[0; 4096]),
        ("ones.bmp", &[0xff; 4096]),
        ("head.webp", b"RIFF\xff\xff\xff\xffWEBPVP8X"),
    ] {
        fs::write(path.join(name), content).unwrap();
        assert!(matches!(
            read_image(&path.join(name), 3),
            Err(ImageFailure::Damaged(_))
        ));
    }
    fs::write(path.join("empty.png"), b"").unwrap();
    assert_eq!(refused(&path.join("empty.png")), "it is empty");
    put(&path.join("good.png"), 7);
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(tags(&set), [7]);
    let notice = &set.notices[0];
    assert_eq!(notice.code, codes::W0601);
    assert!(
        notice.message.starts_with("7 image files"),
        "{}",
        notice.message
    );
    let report = check(&source(&path, PLAIN, 3), &|_, _| {}).unwrap();
    assert_eq!((report.corrupt.len(), report.splits[0].images), (7, 1));
}

#[cfg(unix)]
#[test]
fn links_in_circles_pipes_and_strange_names_do_no_harm() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let (_dir, path) = folder();
    put(&path.join("cat/a.png"), 1);
    symlink("loop.png", path.join("cat/loop.png")).unwrap();
    symlink("..", path.join("cat/up")).unwrap();
    symlink("nowhere.png", path.join("cat/gone.png")).unwrap();
    symlink("/dev/zero", path.join("cat/zero.png")).unwrap();
    for name in ["cat/pipe.png", "cat/pipe"] {
        let made = std::process::Command::new("mkfifo")
            .arg(path.join(name))
            .status()
            .unwrap();
        assert!(made.success());
    }
    let strange = path
        .join("cat")
        .join(OsStr::from_bytes(b"\xff\xfe caf\xe9.png"));
    put(&strange, 2);
    put(&path.join(OsStr::from_bytes(b"\xe9t\xe9")).join("a.png"), 3);
    let begin = Instant::now();
    let set = read(&path, PLAIN).unwrap();
    assert_eq!(tags(&set), [1, 2, 3]);
    assert_eq!(set.classes.len(), 2);
    let message = &set.notices[0].message;
    assert!(message.starts_with("4 image files"), "{message}");
    let report = check(&source(&path, PLAIN, 3), &|_, _| {}).unwrap();
    let reasons: Vec<&str> = report.corrupt.iter().map(|c| c.reason.as_str()).collect();
    assert_eq!(reasons.iter().filter(|r| **r == "it is no file").count(), 2);
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_damaged() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = folder();
    put(&path.join("a.png"), 1);
    let closed = path.join("b.png");
    put(&closed, 2);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    let set = read(&path, PLAIN).unwrap();
    // Who may read everything, may read this.
    if fs::read(&closed).is_ok() {
        assert_eq!(tags(&set), [1, 2]);
    } else {
        assert_eq!(tags(&set), [1]);
        assert!(set.notices[0].message.contains("denied"));
    }
}

#[test]
fn a_source_is_looked_through() {
    let (_dir, path) = folder();
    fs::write(path.join("a.jpg"), turned_jpeg()).unwrap();
    fs::copy(fixture("animated.png"), path.join("b.png")).unwrap();
    fs::copy(fixture("palette.png"), path.join("c.png")).unwrap();
    fs::copy(fixture("gray16.png"), path.join("d.png")).unwrap();
    let report = check(&source(&path, PLAIN, 3), &|done, total| {
        assert!(done <= total)
    })
    .unwrap();
    let split = &report.splits[0];
    assert_eq!((split.images, split.unlabelled, split.turned), (4, 4, 1));
    assert_eq!(split.modes["gray, 16 bits"], 1);
    assert_eq!(
        (
            split.shorter_side.min,
            split.longer_side.max,
            split.distinct_sizes
        ),
        (8, 16, 2)
    );
    // The same pixels in files of two kinds.
    assert_eq!(report.duplicates.images, 1);
    assert!(report.duplicates.examples[0][1].ends_with("c.png"));
}
