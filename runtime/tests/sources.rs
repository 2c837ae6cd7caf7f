//! The fixed-size sets, from made-up files of their formats.

use flate2::{Compression, write::GzEncoder};
use sslc_compiler::program::{DataKind, DataSource};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::data::{Dataset, open, probe};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn source(kind: DataKind, channels: usize) -> DataSource {
    DataSource {
        kind,
        channels,
        train_len: None,
    }
}

fn read(kind: DataKind, channels: usize) -> Result<Dataset, Diagnostic> {
    open(&source(kind, channels))
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    (dir, path)
}

/// An idx file of bytes that count up.
fn idx(sizes: &[u32]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    for s in sizes {
        file.extend(s.to_be_bytes());
    }
    let n: u32 = sizes.iter().product();
    file.extend((0..n).map(|i| (i % 251) as u8));
    file
}

fn labels(values: &[u8]) -> Vec<u8> {
    let mut file = idx(&[values.len() as u32]);
    file.truncate(8);
    file.extend(values);
    file
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut e = GzEncoder::new(Vec::new(), Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn write_mnist(path: &Path) {
    fs::write(
        path.join("train-images-idx3-ubyte.gz"),
        gz(&idx(&[3, 4, 5])),
    )
    .unwrap();
    fs::write(path.join("train-labels-idx1-ubyte"), labels(&[9, 0, 4])).unwrap();
    fs::write(path.join("t10k-images.idx3-ubyte"), idx(&[2, 4, 5])).unwrap();
    fs::write(path.join("t10k-labels-idx1-ubyte.gz"), gz(&labels(&[1, 2]))).unwrap();
}

fn mnist(path: &Path) -> DataKind {
    DataKind::Mnist {
        path: path.to_path_buf(),
    }
}

fn idx_source(images: PathBuf, labels: Option<PathBuf>) -> DataKind {
    DataKind::Idx {
        images,
        labels,
        test_images: None,
        test_labels: None,
    }
}

#[test]
fn fashion_mini_is_balanced() {
    let set = read(DataKind::FashionMini, 1).unwrap();
    let test = set.test.unwrap();
    assert_eq!(
        (set.train.len(), test.len(), set.classes.len()),
        (5_000, 1_000, 10)
    );
    for (split, each) in [(&set.train, 500), (&test, 100)] {
        for class in 0..10 {
            let n = (0..split.len()).filter(|i| split.label(*i) == Some(class));
            assert_eq!(n.count(), each);
        }
    }
    assert!(set.train.fully_labelled());
    assert_eq!(set.train.image_size(), Some((28, 28)));
    assert_eq!(
        probe(&source(DataKind::FashionMini, 1)).unwrap(),
        Some(5_000)
    );
}

#[test]
fn gray_sets_come_in_three_channels_when_asked() {
    let gray = read(DataKind::FashionMini, 1).unwrap();
    let rgb = read(DataKind::FashionMini, 3).unwrap();
    let (g, c) = (gray.train.image(7).unwrap(), rgb.train.image(7).unwrap());
    assert_eq!(c.channels, 3);
    for (v, p) in g.pixels.iter().zip(c.pixels.chunks_exact(3)) {
        assert_eq!([*v; 3], p);
    }
    assert_eq!(
        read(DataKind::FashionMini, 2).unwrap_err().code,
        codes::E0609
    );
}

#[test]
fn idx_sets_are_found_under_all_their_names() {
    let (_dir, path) = folder();
    write_mnist(&path);
    let set = read(mnist(&path), 1).unwrap();
    assert_eq!(set.train.len(), 3);
    assert_eq!(set.train.label(0), Some(9));
    assert_eq!(set.train.image_size(), Some((4, 5)));
    assert_eq!(set.train.image(1).unwrap().pixels[..3], [20, 21, 22]);
    assert_eq!(set.test.unwrap().label(1), Some(2));
    assert_eq!(probe(&source(mnist(&path), 1)).unwrap(), Some(3));
}

#[test]
fn torchvision_s_folders_are_entered() {
    let (_dir, path) = folder();
    fs::create_dir_all(path.join("MNIST/raw")).unwrap();
    write_mnist(&path.join("MNIST/raw"));
    assert_eq!(read(mnist(&path), 1).unwrap().train.len(), 3);
}

#[test]
fn missing_data_say_what_was_looked_for() {
    let (_dir, path) = folder();
    let error = read(mnist(&path), 1).unwrap_err();
    assert_eq!(error.code, codes::E0601);
    assert!(
        error.message.contains("train-labels-idx1-ubyte"),
        "{}",
        error.message
    );

    fs::create_dir(path.join("mnist-data")).unwrap();
    let error = read(mnist(&path.join("mnist_data")), 1).unwrap_err();
    assert_eq!(error.code, codes::E0601);
    assert!(error.help.unwrap().contains("mnist-data"));
    assert_eq!(
        probe(&source(mnist(&path.join("nowhere")), 1)).unwrap(),
        None
    );
}

#[test]
fn a_file_in_place_of_a_folder_and_the_other_way_round() {
    let (_dir, path) = folder();
    fs::write(path.join("file"), b"x").unwrap();
    assert_eq!(
        read(mnist(&path.join("file")), 1).unwrap_err().code,
        codes::E0602
    );
    assert_eq!(
        read(idx_source(path, None), 1).unwrap_err().code,
        codes::E0602
    );
}

#[test]
fn truncated_idx_files_show_both_lengths() {
    let (_dir, path) = folder();
    let file = path.join("images");
    let mut bytes = idx(&[100, 4, 5]);
    bytes.truncate(16 + 1_234);
    for (content, gzipped) in [(bytes.clone(), false), (gz(&bytes), true)] {
        fs::write(&file, content).unwrap();
        let error = read(idx_source(file.clone(), None), 1).unwrap_err();
        assert_eq!(error.code, codes::E0603, "gz: {gzipped}");
        assert!(
            error.message.contains("2,000") && error.message.contains("1,234"),
            "{}",
            error.message
        );
    }
    bytes.resize(16 + 2_001, 0);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(
        read(idx_source(file.clone(), None), 1).unwrap_err().code,
        codes::E0603
    );

    let mut cut = gz(&idx(&[100, 4, 5]));
    cut.truncate(cut.len() - 20);
    fs::write(&file, cut).unwrap();
    assert_eq!(
        read(idx_source(file, None), 1).unwrap_err().code,
        codes::E0603
    );
}

#[test]
fn what_is_no_idx_file_is_refused() {
    let (_dir, path) = folder();
    let file = path.join("images");
    let mut floats = idx(&[2, 2, 2]);
    floats[2] = 0x0d;
    let huge = idx(&[0])[..8].to_vec();
    let mut huge3 = vec![0, 0, 8, 3];
    huge3.extend([0xff; 12]);
    for content in [
        Vec::new(),
        vec![0, 0, 8],
        b"<!DOCTYPE html>".to_vec(),
        floats,
        labels(&[1, 2]),
        vec![0, 0, 8, 3, 0, 0],
        gz(b"hello, hello"),
        huge,
        huge3,
    ] {
        fs::write(&file, &content).unwrap();
        let error = read(idx_source(file.clone(), None), 1).unwrap_err();
        let known = [codes::E0604, codes::E0603];
        assert!(
            known.contains(&error.code),
            "{content:?}: {}",
            error.message
        );
    }
    fs::write(&file, idx(&[0, 28, 28])).unwrap();
    assert_eq!(
        read(idx_source(file, None), 1).unwrap_err().code,
        codes::E0607
    );
}

#[test]
fn labels_must_fit() {
    let (_dir, path) = folder();
    write_mnist(&path);
    fs::write(path.join("train-labels-idx1-ubyte"), labels(&[9, 10, 4])).unwrap();
    let error = read(mnist(&path), 1).unwrap_err();
    assert_eq!(error.code, codes::E0605);
    assert!(error.message.contains("label 1") && error.message.contains("10"));

    fs::write(path.join("train-labels-idx1-ubyte"), labels(&[9, 4])).unwrap();
    let error = read(mnist(&path), 1).unwrap_err();
    assert_eq!(error.code, codes::E0606);
    assert!(error.message.contains("3 images") && error.message.contains("2 labels"));
}

#[test]
fn idx_counts_its_classes() {
    let (_dir, path) = folder();
    fs::write(path.join("i"), idx(&[3, 2, 2])).unwrap();
    fs::write(path.join("l"), labels(&[40, 3, 46])).unwrap();
    let set = read(idx_source(path.join("i"), Some(path.join("l"))), 1).unwrap();
    assert_eq!(set.classes.len(), 47);
    let set = read(idx_source(path.join("i"), None), 1).unwrap();
    assert!(set.classes.is_empty() && set.train.label(0).is_none());
    assert!(!set.train.fully_labelled());
}

/// Records of CIFAR: label bytes, then planes whose values tell channel and record.
fn cifar_records(n: usize, label: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    (0..n)
        .flat_map(|i| {
            let mut record = label(i);
            for c in 0..3u8 {
                record.extend((0..1024).map(|k| if k == 33 { 255 } else { c * 50 + i as u8 }));
            }
            record
        })
        .collect()
}

fn write_cifar10(path: &Path) {
    for i in 1..=5 {
        let file = cifar_records(2, |k| vec![(i + k) as u8]);
        fs::write(path.join(format!("data_batch_{i}.bin")), file).unwrap();
    }
    fs::write(path.join("test_batch.bin"), cifar_records(1, |_| vec![9])).unwrap();
}

fn cifar10(path: &Path) -> DataKind {
    DataKind::Cifar10 {
        path: path.to_path_buf(),
    }
}

#[test]
fn cifar_10_is_read() {
    let (_dir, path) = folder();
    write_cifar10(&path);
    let set = read(cifar10(&path), 3).unwrap();
    assert_eq!(set.train.len(), 10);
    assert_eq!(set.train.label(3), Some(3));
    let image = set.train.image(1).unwrap();
    assert_eq!((image.height, image.width, image.channels), (32, 32, 3));
    assert_eq!(image.pixels[..3], [1, 51, 101]);
    // Value 33 of each plane is row 1, column 1.
    assert_eq!(image.pixels[(32 + 1) * 3..][..3], [255, 255, 255]);
    assert_eq!(set.test.unwrap().len(), 1);
    assert_eq!(probe(&source(cifar10(&path), 3)).unwrap(), Some(10));
    // Not the published size: six files say so.
    assert_eq!(set.notices.len(), 6);
    assert_eq!(set.notices[0].code, codes::W0602);
    assert_eq!(set.classes[3], "3");
    fs::write(
        path.join("batches.meta.txt"),
        "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n",
    )
    .unwrap();
    assert_eq!(read(cifar10(&path), 1).unwrap().classes[3], "cat");
}

#[test]
fn a_truncated_cifar_file_shows_both_lengths() {
    let (_dir, path) = folder();
    write_cifar10(&path);
    fs::write(path.join("data_batch_3.bin"), vec![0; 5_000]).unwrap();
    for result in [
        read(cifar10(&path), 3).map(|_| ()),
        probe(&source(cifar10(&path), 3)).map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code, codes::E0603);
        assert!(error.message.contains("data_batch_3.bin"));
        assert!(error.message.contains("5,000 bytes") && error.message.contains("30,730,000"));
    }
}

#[test]
fn cifar_mistakes_are_named() {
    let (_dir, path) = folder();
    write_cifar10(&path);
    fs::write(path.join("test_batch.bin"), cifar_records(1, |_| vec![10])).unwrap();
    assert_eq!(read(cifar10(&path), 3).unwrap_err().code, codes::E0605);
    fs::remove_file(path.join("test_batch.bin")).unwrap();
    assert_eq!(read(cifar10(&path), 3).unwrap_err().code, codes::E0601);

    let (_dir, python) = folder();
    fs::write(python.join("data_batch_1"), b"pickle").unwrap();
    let error = read(cifar10(&python), 3).unwrap_err();
    assert_eq!(error.code, codes::E0601);
    assert!(error.help.unwrap().contains("Python version"));
}

#[test]
fn cifar_100_takes_the_fine_label() {
    let (_dir, path) = folder();
    let records = cifar_records(3, |i| vec![7, 90 + i as u8]);
    fs::write(path.join("train.bin"), &records).unwrap();
    fs::write(path.join("test.bin"), &records[..3_074]).unwrap();
    let kind = DataKind::Cifar100 { path };
    let set = read(kind, 3).unwrap();
    assert_eq!(set.train.label(2), Some(92));
    assert_eq!(set.train.image(2).unwrap().pixels[..3], [2, 52, 102]);
    assert_eq!(set.classes.len(), 100);
}

#[test]
fn stl_10_is_read_column_by_column() {
    let (_dir, path) = folder();
    let image = |tag: u8| {
        let mut bytes = vec![tag; 3 * 96 * 96];
        // Red, third column, second row.
        bytes[2 * 96 + 1] = 200;
        bytes
    };
    fs::write(path.join("unlabeled_X.bin"), [image(1), image(2)].concat()).unwrap();
    fs::write(path.join("train_X.bin"), image(3)).unwrap();
    fs::write(path.join("train_y.bin"), [10]).unwrap();
    fs::write(path.join("test_X.bin"), image(4)).unwrap();
    fs::write(path.join("test_y.bin"), [1]).unwrap();
    let kind = || DataKind::Stl10 { path: path.clone() };
    let set = read(kind(), 3).unwrap();
    assert_eq!(set.train.len(), 3);
    assert_eq!([0, 1, 2].map(|i| set.train.label(i)), [None, None, Some(9)]);
    assert!(!set.train.fully_labelled());
    assert_eq!(set.train.labelled(), [2]);
    assert_eq!(set.test.unwrap().label(0), Some(0));
    for i in 0..3 {
        let image = set.train.image(i).unwrap();
        assert_eq!(image.pixels[0], i as u8 + 1);
        assert_eq!(
            image.pixels[(96 + 2) * 3..][..3],
            [200, i as u8 + 1, i as u8 + 1]
        );
    }
    assert_eq!(probe(&source(kind(), 3)).unwrap(), Some(3));

    fs::write(path.join("train_y.bin"), [0]).unwrap();
    assert_eq!(read(kind(), 3).unwrap_err().code, codes::E0605);
    fs::write(path.join("train_y.bin"), [1, 2]).unwrap();
    assert_eq!(read(kind(), 3).unwrap_err().code, codes::E0606);
    fs::write(path.join("test_X.bin"), vec![0; 27_647]).unwrap();
    let error = read(kind(), 3).unwrap_err();
    assert_eq!(error.code, codes::E0603);
    assert!(error.message.contains("27,647") && error.message.contains("27,648"));
}
