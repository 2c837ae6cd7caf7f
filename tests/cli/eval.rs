//! What is done with a trained encoder: evaluation and embedding.

use crate::drive::{Sslc, TINY};
use serde_json::Value;
use sslc_runtime::tensors::{self, Data};
use std::fs;

fn trained() -> Sslc {
    let sslc = Sslc::with("a.ssl", TINY.replace("steps = 3", "steps = 20"));
    sslc.run(&["run", "a.ssl", "--out", "out"]).succeeds();
    sslc
}

#[test]
fn an_evaluation_tells_its_protocol_and_writes_its_numbers() {
    let sslc = trained();
    let args = ["eval", "out", "--k", "20", "--epochs", "3", "--seeds", "2"];
    let run = sslc.run(&args);
    let text = run.succeeds();
    for words in [
        "after step 20",
        "5000 images to learn from, 1000 to test on, 10 classes",
        "the 20 nearest by cosine, votes exp(cos/0.1)",
        "3 epochs of batches of 256",
        "seed 1",
        "by 2 seeds",
    ] {
        assert!(text.contains(words), "'{words}' is not in:\n{text}");
    }
    let json = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(sslc.path().join(path)).unwrap()).unwrap()
    };
    let report = json("out/eval.json");
    for method in ["knn", "linear"] {
        let judged = &report[method];
        let accuracy = judged["accuracy"].as_f64().unwrap();
        let bound = |i: usize| judged["interval"][i].as_f64().unwrap();
        assert!(bound(0) <= accuracy && accuracy <= bound(1), "{judged}");
        let rows = judged["confusion"].as_array().unwrap();
        let cell = |i: usize, j: usize| rows[i][j].as_u64().unwrap();
        let all: u64 = (0..100).map(|i| cell(i / 10, i % 10)).sum();
        let right: u64 = (0..10).map(|i| cell(i, i)).sum();
        assert_eq!(all, 1000);
        if method == "knn" {
            assert!((right as f64 / 1000.0 - accuracy).abs() < 1e-9);
        }
        // Better than chance: even an encoder of random filters tells clothes from shoes.
        assert!(accuracy > 0.2, "{judged}");
    }
    // Threads change nothing, and a file of one's own is no other.
    let mut again = args.to_vec();
    again.extend(["--threads", "1", "--json", "mine.json"]);
    sslc.run(&again).succeeds();
    assert_eq!(json("mine.json"), report);
}

#[test]
fn the_evaluation_after_training_is_the_one_at_its_end() {
    let text = TINY.to_owned() + "eval { knn(k: 20), linear(epochs: 2) }";
    let sslc = Sslc::with("a.ssl", text);
    sslc.run(&["run", "a.ssl", "--out", "out"]).succeeds();
    let metrics = fs::read_to_string(sslc.path().join("out/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert!(last["linear"].as_f64().unwrap() > 0.1, "{last}");
    sslc.run(&["eval", "out", "--checkpoint", "best", "--epochs", "1"])
        .succeeds();
    let report = fs::read(sslc.path().join("out/eval.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["knn"]["accuracy"], last["knn"]);
}

#[test]
fn embeddings_are_the_same_in_all_formats() {
    let sslc = trained();
    for name in ["e.safetensors", "e.npy", "e.csv"] {
        sslc.run(&["embed", "out", "--split", "test", "--out", name])
            .succeeds();
    }
    let tensors = tensors::read(&sslc.path().join("e.safetensors")).unwrap();
    let (features, labels) = (&tensors["features"], &tensors["labels"]);
    assert_eq!((features.shape[0], &*labels.shape), (1000, &[1000][..]));
    let (Data::F32(values), Data::I64(labels)) = (&features.data, &labels.data) else {
        panic!("features are floats, labels integers");
    };
    let npy = fs::read(sslc.path().join("e.npy")).unwrap();
    let begin = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    assert_eq!((&npy[..8], begin % 64), (&b"\x93NUMPY\x01\x00"[..], 0));
    let header = String::from_utf8_lossy(&npy[10..begin]).into_owned();
    assert!(header.contains(&format!("(1000, {})", features.shape[1])));
    let floats: Vec<f32> = npy[begin..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    assert_eq!(&floats, values);
    let csv = fs::read_to_string(sslc.path().join("e.csv")).unwrap();
    let second: Vec<&str> = csv.lines().nth(2).unwrap().split(',').collect();
    assert_eq!(second[1], labels[1].to_string());
    let row: Vec<f32> = second[2..].iter().map(|v| v.parse().unwrap()).collect();
    assert_eq!(row, values[features.shape[1]..][..row.len()]);
    assert_eq!(csv.lines().count(), 1001);
}

#[test]
fn a_folder_of_ones_own_is_embedded_without_labels() {
    let sslc = trained();
    for i in 0..3u8 {
        let image = image::GrayImage::from_fn(30, 20, |x, y| image::Luma([(x * y) as u8 ^ i]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        sslc.write(&format!("photos/{i}.png"), bytes.into_inner());
    }
    sslc.run(&["embed", "out", "--data", "photos", "--out", "e.csv"])
        .succeeds();
    let csv = fs::read_to_string(sslc.path().join("e.csv")).unwrap();
    assert_eq!(csv.lines().count(), 4);
    let line = csv.lines().nth(1).unwrap();
    assert!(line.contains("0.png,,"), "{line}");
    sslc.run(&[
        "embed", "out", "--data", "photos", "--split", "test", "--out", "e.csv",
    ])
    .fails(3, &["E0607", "--split train"]);
}

#[test]
fn what_cannot_be_evaluated_is_told() {
    let sslc = trained();
    sslc.run(&["embed", "out", "--out", "e.txt"])
        .fails(2, &["E0904", ".npy"]);
    sslc.run(&["eval", "out", "--checkpoint", "best"])
        .fails(3, &["E0671", "every"]);
    sslc.run(&["eval", "out", "--temperature", "0"])
        .fails(2, &["above 0"]);
    let spec = sslc.path().join("out/spec.ssl");
    let text = fs::read_to_string(&spec).unwrap();
    for i in 0..9u8 {
        let image = image::GrayImage::from_fn(9, 9, |x, y| image::Luma([(x * y) as u8 ^ i]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        sslc.write(&format!("photos/{i}.png"), bytes.into_inner());
    }
    let loose = text.replace("fashion_mini()", "image_folder(\"photos\", channels: 1)");
    fs::write(&spec, loose).unwrap();
    sslc.run(&["eval", "out"]).fails(3, &["E0678", "holdout"]);
}

/// The encoder is made of what stands elsewhere in the spec, under names that other items use in their own way.
#[test]
fn a_part_of_the_labels_tunes_the_encoder() {
    let text = TINY
        .replace("resnet18(stem: \"cifar\", width: 2)", "body(width)")
        .replace("encoder ", "param width = 2\nlet stem = \"cifar\"\nmodule body(w) { net = resnet18(stem: stem, width: w); forward(x) = net(x) }\nencoder ")
        .replace("loss =", "let z = mean(g(f(x1)))\nwatch w = z * 2\nloss =");
    let sslc = Sslc::with("a.ssl", text);
    sslc.run(&[
        "run",
        "a.ssl",
        "--out",
        "out",
        "--set",
        "width=3",
        "--set",
        "train.steps=2",
    ])
    .succeeds();
    let args = [
        "eval",
        "out",
        "--epochs",
        "1",
        "--finetune",
        "0.01",
        "--finetune",
        "0.05",
    ];
    let run = sslc.run(&args);
    assert!(
        run.succeeds().contains("with 1 % of the labels: 50 images"),
        "{}",
        run.stdout
    );
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(sslc.path().join(name)).unwrap()).unwrap()
    };
    let report = read("out/eval.json");
    assert_eq!(report["finetune"][1]["images"], 250);
    for tuned in report["finetune"].as_array().unwrap() {
        assert!(tuned["accuracy"].as_f64().unwrap() > 0.2, "{tuned}");
    }
    let mut again = args.to_vec();
    again.extend(["--threads", "1", "--json", "mine.json"]);
    sslc.run(&again).succeeds();
    assert_eq!(read("mine.json"), report);
    sslc.run(&["eval", "out", "--finetune", "2"])
        .fails(2, &["at most 1"]);
}
