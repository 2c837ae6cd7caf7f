//! `sslc new`: starter specs.

use crate::drive::Sslc;
use image::RgbImage;
use std::fs;

const METHODS: [&str; 4] = ["simclr", "byol", "barlow-twins", "simsiam"];

#[test]
fn each_method_is_correct_and_formatted() {
    let sslc = Sslc::new();
    for method in METHODS {
        sslc.run(&["new", method]).succeeds();
        let name = format!("{}.ssl", method.replace('-', "_"));
        let check = sslc.run(&["check", &name]);
        check.succeeds();
        assert_eq!(check.stderr, "", "{method} has warnings");
        sslc.run(&["fmt", "--check", &name]).succeeds();
    }
}

#[test]
fn a_file_that_exists_is_kept() {
    let sslc = Sslc::with("byol.ssl", "# mine");
    sslc.run(&["new", "byol"]).fails(2, &["E0903", "--force"]);
    assert_eq!(
        fs::read_to_string(sslc.path().join("byol.ssl")).unwrap(),
        "# mine"
    );
    sslc.run(&["new", "byol", "--force"]).succeeds();
}

/// 24 images in two class folders.
fn photos(sslc: &Sslc, side: u32) {
    for i in 0..24 {
        let folder = sslc.path().join(["photos/cats", "photos/dogs"][i % 2]);
        fs::create_dir_all(&folder).unwrap();
        let image = RgbImage::from_fn(side + 8, side, |x, y| {
            image::Rgb([x as u8, y as u8, 10 * i as u8])
        });
        image.save(folder.join(format!("{i}.png"))).unwrap();
    }
}

#[test]
fn a_folder_decides_size_batch_and_evaluation() {
    let sslc = Sslc::new();
    photos(&sslc, 40);
    let made = sslc.run(&["new", "simclr", "cats.ssl", "--data", "photos"]);
    let said = made.succeeds();
    assert!(
        said.contains("40 pixels") && said.contains("views of 32 by 32"),
        "{said}"
    );
    let spec = fs::read_to_string(sslc.path().join("cats.ssl")).unwrap();
    for part in [
        "data = image_folder(\"photos\", holdout: 0.1)",
        "param batch  = 16",
        "stem: \"cifar\"",
        "eval { knn(k: 20",
    ] {
        assert!(spec.contains(part), "{part} in\n{spec}");
    }
    let check = sslc.run(&["check", "cats.ssl"]);
    check.succeeds();
    assert_eq!(check.stderr, "");
}

#[test]
fn large_images_get_large_views() {
    let sslc = Sslc::new();
    photos(&sslc, 230);
    sslc.run(&["new", "byol", "--data", "photos"]).succeeds();
    let spec = fs::read_to_string(sslc.path().join("byol.ssl")).unwrap();
    assert!(spec.contains("random_resized_crop(224") && spec.contains("resnet18()"));
    sslc.run(&["check", "byol.ssl"]).succeeds();
    sslc.run(&["fmt", "--check", "byol.ssl"]).succeeds();
}

#[test]
fn a_folder_that_is_missing() {
    let sslc = Sslc::new();
    sslc.run(&["new", "byol", "--data", "photo"])
        .fails(3, &["photo"]);
    assert!(!sslc.path().join("byol.ssl").exists());
}
