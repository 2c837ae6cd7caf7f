//! `sslc data check`.

use crate::drive::{Sslc, TINY};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::fs;

fn spec(data: &str) -> String {
    TINY.replace("fashion_mini()", data)
        .replace("\"fashion_mnist\"", "\"imagenet\"")
}

fn picture(sslc: &Sslc, name: &str, tag: u8, width: u32, height: u32) {
    let path = sslc.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(width, height, |x, y| Rgb([tag, x as u8, y as u8]))
        .save(path)
        .unwrap();
}

/// Two classes of photos: sizes, a gray one, a copy, and two files that are damaged.
fn photos() -> Sslc {
    let sslc = Sslc::with(
        "a.ssl",
        spec("image_folder(\"photos\", test: \"more\", count: 8)"),
    );
    for i in 0..4 {
        picture(&sslc, &format!("photos/cat/{i}.png"), i, 20, 10);
        picture(
            &sslc,
            &format!("photos/dog/{i}.png"),
            10 + i,
            8,
            30 + u32::from(i),
        );
    }
    GrayImage::from_pixel(20, 10, Luma([9]))
        .save(sslc.path().join("photos/cat/gray.png"))
        .unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir_all(sslc.path().join("more").join(class)).unwrap();
        let photo = sslc.path().join(format!("photos/{class}/0.png"));
        fs::copy(photo, sslc.path().join(format!("more/{class}/copy.png"))).unwrap();
    }
    sslc
}

#[test]
fn a_folder_is_described() {
    let sslc = photos();
    let run = sslc.run(&["data", "check", "a.ssl"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    for line in [
        "train       9 images",
        "  shorter   8 to 10, median 10",
        "  longer    20 to 33, median 20",
        "  sizes     20×10 (5), 8×30 (1), 8×31 (1), 8×32 (1), 8×33 (1)",
        "  colour    RGB (8), gray (1)",
        "  labels    cat 5, dog 4",
        "test        2 images",
        "2 images are others again",
        "2 test images are training images as well",
        "photos/cat/0.png = more/cat/copy.png",
    ] {
        assert!(run.stdout.contains(line), "{line}\n{}", run.stdout);
    }
}

#[test]
fn damaged_files_are_listed_and_end_with_3() {
    let sslc = photos();
    sslc.write("photos/cat/empty.png", b"");
    sslc.write("photos/dog/words.jpg", b"these are words");
    let run = sslc.run(&["data", "check", "a.ssl"]);
    run.fails(3, &["E0693", "2 image files"]);
    assert!(
        run.stdout.contains("photos/cat/empty.png: it is empty"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("photos/dog/words.jpg: "),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("cat 5, dog 4"));

    let run = sslc.run(&["data", "check", "a.ssl", "--format", "json"]);
    assert_eq!(run.status, Some(3));
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["corrupt"].as_array().unwrap().len(), 2);
    assert_eq!(report["corrupt"][0]["reason"], "it is empty");
    assert_eq!(report["splits"][0]["classes"][1]["name"], "dog");
    assert_eq!(report["duplicates"]["test_in_train"], 2);
}

#[test]
fn a_set_of_one_size_is_described() {
    let sslc = Sslc::with("a.ssl", TINY);
    let run = sslc.run(&["data", "check", "a.ssl"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    for line in [
        "train       5000 images",
        "  size      28×28",
        "test        1000 images",
    ] {
        assert!(run.stdout.contains(line), "{line}\n{}", run.stdout);
    }
}

#[test]
fn data_that_is_not_there_is_an_error() {
    let sslc = Sslc::with("a.ssl", spec("image_folder(\"nowhere\", count: 8)"));
    sslc.run(&["data", "check", "a.ssl"])
        .fails(3, &["E0601", "nowhere"]);
}
