//! Data, files and devices that are not as a spec needs them: exit codes 3 and 4.

use crate::drive::{Sslc, TINY};
use std::fs;

#[test]
fn a_missing_spec_names_the_nearest() {
    let sslc = Sslc::with("byol.ssl", TINY);
    sslc.run(&["check", "boyl.ssl"])
        .fails(3, &["E0650", "byol.ssl"]);
}

#[test]
fn a_missing_data_folder() {
    let sslc = Sslc::with(
        "a.ssl",
        TINY.replace("fashion_mini()", "cifar10(\"data/cifar\")"),
    );
    sslc.run(&["check", "a.ssl"]).fails(1, &["fashion_mnist"]);
    let text = TINY
        .replace("fashion_mini()", "cifar10(\"data/cifar\")")
        .replace("\"fashion_mnist\"", "\"cifar10\"");
    sslc.write("a.ssl", text);
    sslc.run(&["check", "a.ssl"]).succeeds();
    sslc.run(&["run", "a.ssl"]).fails(3, &["E06", "data/cifar"]);
}

#[test]
fn a_truncated_cifar_file() {
    let text = TINY
        .replace("fashion_mini()", "cifar10(\"data\")")
        .replace("\"fashion_mnist\"", "\"cifar10\"");
    let sslc = Sslc::with("a.ssl", text);
    for n in 1..=5 {
        sslc.write(
            &format!("data/data_batch_{n}.bin"),
            vec![0u8; 3073 * 10 - usize::from(n == 3)],
        );
    }
    sslc.write("data/test_batch.bin", vec![0u8; 3073 * 10]);
    sslc.run(&["run", "a.ssl"])
        .fails(3, &["E06", "data_batch_3.bin"]);
}

fn png(gray: u8) -> Vec<u8> {
    let image = image::GrayImage::from_fn(12, 10, |x, y| image::Luma([gray ^ (x * 7 + y) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn folder_of_images() -> Sslc {
    let text = TINY.replace("fashion_mini()", "image_folder(\"photos\", channels: 1)");
    let sslc = Sslc::with("a.ssl", text);
    for i in 0..20 {
        sslc.write(&format!("photos/{i:02}.png"), png(i * 10));
    }
    sslc.write("photos/07.png", &png(70)[..40]);
    sslc
}

#[test]
fn a_corrupt_image_is_skipped_counted_and_named() {
    let sslc = folder_of_images();
    let run = sslc.run(&["run", "a.ssl"]);
    run.succeeds();
    assert!(
        run.stderr.contains("07.png") && run.stderr.contains('1'),
        "{}",
        run.stderr
    );
    assert!(run.stdout.contains("19 training images"), "{}", run.stdout);
}

#[test]
fn a_corrupt_image_is_refused_by_strict() {
    let sslc = folder_of_images();
    let text = fs::read_to_string(sslc.path().join("a.ssl")).unwrap();
    sslc.write(
        "a.ssl",
        text.replace("channels: 1", "channels: 1, strict: true"),
    );
    sslc.run(&["run", "a.ssl"]).fails(3, &["07.png"]);
}

#[test]
fn a_batch_larger_than_the_data() {
    let sslc = Sslc::with("a.ssl", TINY);
    let per_epoch = TINY.replace("steps = 3", "epochs = 1");
    sslc.write("epochs.ssl", per_epoch);
    sslc.run(&["check", "epochs.ssl", "--set", "train.batch=6000"])
        .fails(1, &["E0417", "5000"]);
    sslc.run(&["run", "a.ssl", "--set", "train.batch=6000"])
        .fails(3, &["E0612", "5000"]);
}

#[test]
fn a_run_directory_that_cannot_be_written() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.write("taken", "a file");
    sslc.run(&["run", "a.ssl", "--out", "taken/run"])
        .fails(3, &["E0654", "taken"]);
}

#[test]
fn a_batch_that_no_memory_holds() {
    let text = TINY.replace("fashion_mini()", "image_folder(\"photos\", channels: 1)");
    let sslc = Sslc::with("a.ssl", text);
    let run = sslc.run(&["bench", "a.ssl", "--set", "train.batch=1000000000"]);
    run.fails(4, &["E07"]);
    let run = sslc.run(&["bench", "a.ssl", "--set", "train.batch=4000000"]);
    run.fails(4, &["E07", "GiB"]);
}

#[test]
fn a_device_that_is_not_there() {
    let sslc = Sslc::with("a.ssl", TINY);
    sslc.run(&["run", "a.ssl", "--device", "cpi"])
        .fails(4, &["E0750", "cpu"]);
}
