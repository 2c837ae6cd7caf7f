//! `init: "file.safetensors"`: weights of a file in place of draws.

use crate::drive::{Run, Sslc, TINY};
use crate::python::check;
use sslc::compile::compile;
use sslc_runtime::device::Target;
use sslc_runtime::layout::nchw_to_nhwc;
use sslc_runtime::tensors::{Data, FileTensor, Tensors, read, write};
use sslc_runtime::train::init::start;
use std::path::Path;

/// The tiny spec whose encoder starts from `w.safetensors`.
fn importing(more: &str) -> String {
    TINY.replace(
        "resnet18(stem: \"cifar\", width: 2)",
        &format!("resnet18(stem: \"cifar\", width: 2, init: \"w.safetensors\"{more})"),
    )
}

/// A folder with a run of the tiny spec and its encoder as `w.safetensors`.
fn exported() -> Sslc {
    let sslc = Sslc::with("a.ssl", TINY);
    ok(&sslc.run(&["run", "a.ssl", "--out", "run"]));
    ok(&sslc.run(&["export", "run", "--out", "w.safetensors"]));
    sslc
}

#[track_caller]
fn ok(run: &Run) {
    assert_eq!(run.status, Some(0), "{}", run.stderr);
}

/// The initial tensors of a spec, by path.
fn initial(sslc: &Sslc, spec: &str) -> (Tensors, Run) {
    let run = sslc.run(&["step", spec, "--init-only", "--output", "init.safetensors"]);
    ok(&run);
    (read(&sslc.path().join("init.safetensors")).unwrap(), run)
}

fn edit(sslc: &Sslc, change: impl Fn(&mut Tensors)) {
    let path = sslc.path().join("w.safetensors");
    let mut tensors = read(&path).unwrap();
    change(&mut tensors);
    write(&path, &tensors).unwrap();
}

#[test]
fn what_is_exported_is_imported_and_targets_copy_it() {
    let sslc = exported();
    let spec = importing("").replace(
        "projector g",
        "target f_t = ema(f, decay: 0.9)\nprojector g",
    ) + "watch far = mean(f_t(x1))\n";
    sslc.write("b.ssl", spec);
    let (tensors, _) = initial(&sslc, "b.ssl");
    let weights = read(&sslc.path().join("w.safetensors")).unwrap();
    let mut compared = 0;
    for (name, tensor) in weights {
        if !name.ends_with("num_batches_tracked") {
            assert_eq!(tensors[&format!("f.{name}")], tensor, "{name}");
            assert_eq!(tensors[&format!("f_t.{name}")], tensor, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 100);
    ok(&sslc.run(&["run", "b.ssl", "--out", "second"]));
}

#[test]
fn the_file_lies_beside_the_spec_and_checking_needs_none() {
    let sslc = exported();
    sslc.write("specs/b.ssl", importing(""));
    ok(&sslc.run(&["check", "specs/b.ssl"]));
    sslc.run(&["run", "specs/b.ssl"])
        .fails(3, &["E0650", "specs/w.safetensors"]);
    std::fs::copy(
        sslc.path().join("w.safetensors"),
        sslc.path().join("specs/w.safetensors"),
    )
    .unwrap();
    ok(&sslc.run(&["run", "specs/b.ssl", "--out", "second"]));
    // The run can be repeated from its own folder, where the file is not.
    ok(&sslc.run(&["run", "second/spec.ssl", "--out", "third"]));
}

#[test]
fn a_part_of_a_network_may_be_imported() {
    let sslc = exported();
    let spec = importing("").replace(
        "encoder   f = ",
        "module wrapped(inner) { forward(x) = inner(x) }\nencoder f = wrapped(",
    );
    sslc.write(
        "b.ssl",
        spec.replace("w.safetensors\")", "w.safetensors\"))"),
    );
    let (tensors, _) = initial(&sslc, "b.ssl");
    let weights = read(&sslc.path().join("w.safetensors")).unwrap();
    assert_eq!(tensors["f.inner.conv1.weight"], weights["conv1.weight"]);
}

#[test]
fn every_name_and_shape_that_does_not_fit_is_listed() {
    let sslc = exported();
    sslc.write("b.ssl", importing(""));
    edit(&sslc, |t| {
        t.remove("bn1.bias");
        t.insert("bn1.weight".to_owned(), FileTensor::f32(&[3], vec![0.0; 3]));
        t.insert("extra.weight".to_owned(), FileTensor::f32(&[1], vec![0.0]));
        t.insert(
            "layer1.0.bn1.bias".to_owned(),
            FileTensor::i64(&[2], vec![0; 2]),
        );
    });
    sslc.run(&["run", "b.ssl"]).fails(
        3,
        &[
            "E0684",
            "bn1.bias [2] is not in the file",
            "bn1.weight is [3] in the file and [2] in the network",
            "extra.weight [1] is not in the network",
            "layer1.0.bn1.bias holds whole numbers",
        ],
    );
}

#[test]
fn a_classifier_is_left_out_and_a_prefix_is_suggested() {
    let sslc = exported();
    sslc.write("b.ssl", importing(""));
    let (plain, _) = initial(&sslc, "b.ssl");
    edit(&sslc, |t| {
        t.insert(
            "fc.weight".to_owned(),
            FileTensor::f32(&[1, 16], vec![0.0; 16]),
        );
    });
    let (tensors, run) = initial(&sslc, "b.ssl");
    assert_eq!(tensors, plain);
    assert!(run.stderr.contains("W0610"), "{}", run.stderr);

    edit(&sslc, |t| {
        *t = t
            .iter()
            .map(|(k, v)| (format!("backbone.{k}"), v.clone()))
            .collect();
        t.insert("head.weight".to_owned(), FileTensor::f32(&[1], vec![0.0]));
    });
    sslc.run(&["run", "b.ssl"])
        .fails(3, &["E0684", "add `init_prefix: \"backbone.\"`"]);
    sslc.write("b.ssl", importing(", init_prefix: \"backbone.\""));
    assert_eq!(initial(&sslc, "b.ssl").0, plain);
}

#[test]
fn arguments_of_the_wrong_kind_are_refused() {
    let sslc = Sslc::with("a.ssl", TINY.replace("width: 2", "width: 2, init: 3"));
    sslc.run(&["check", "a.ssl"])
        .fails(1, &["E0104", "the path of a file"]);
    sslc.write(
        "b.ssl",
        TINY.replace("width: 2", "width: 2, init_prefix: \"a.\""),
    );
    sslc.run(&["check", "b.ssl"])
        .fails(1, &["E0107", "`init_prefix` needs `init`"]);
}

#[test]
fn a_file_that_is_no_safetensors_is_named() {
    let sslc = Sslc::with("b.ssl", importing(""));
    sslc.write("w.safetensors", b"PK\x03\x04 a zip of PyTorch's");
    sslc.run(&["run", "b.ssl"])
        .fails(3, &["E0652", "w.safetensors"]);
}

#[test]
fn torchvision_s_state_gives_torchvision_s_features() {
    let sslc = Sslc::new();
    let path = |name: &str| sslc.path().join(name).to_str().unwrap().to_owned();
    let (plain, prefixed, case) = (
        path("tv.safetensors"),
        path("prefixed.safetensors"),
        path("case.safetensors"),
    );
    let modules = ["torch", "torchvision", "safetensors.torch"];
    if check("save_resnet.py", &modules, &[&plain, &prefixed, &case]).is_none() {
        return;
    }
    for init in [
        "init: \"tv.safetensors\"",
        "init: \"prefixed.safetensors\", init_prefix: \"backbone.\"",
    ] {
        sslc.write(
            "a.ssl",
            format!(
                "data = image_folder(\"none\", count: 64)\n\
                 views x1 = random_resized_crop(32) |> normalize(\"imagenet\")\n\
                 encoder f = resnet18({init})\n\
                 loss = mean(f(x1)^2)\n\
                 train {{ steps = 1, batch = 4, optimizer = sgd(0.1) }}\n"
            ),
        );
        agrees(&sslc.path().join("a.ssl"), Path::new(&case));
    }
}

/// The features that the spec's encoder has before training are those of the case.
#[track_caller]
fn agrees(spec: &Path, case: &Path) {
    let program = compile(spec, &[])
        .unwrap_or_else(|f| panic!("{:?}", f.diagnostics))
        .program;
    let mut notices = 0;
    let values = start(&program, &mut |_| notices += 1).unwrap();
    assert_eq!(notices, 1, "of the classifier");
    let case = read(case).unwrap();
    let (Data::F32(images), Data::F32(expected)) = (&case["images"].data, &case["expected"].data)
    else {
        panic!("numbers");
    };
    let mut encoder = Target::open("cpu", 2)
        .unwrap()
        .compile(&program.encode.evaluate, program.options())
        .unwrap();
    for (path, value) in &values {
        encoder.set(&format!("param/{path}"), value);
        encoder.set(&format!("buffer/{path}"), value);
    }
    encoder.set("view/images", &nchw_to_nhwc(images, &case["images"].shape));
    encoder.run();
    let mut got = Vec::new();
    assert!(encoder.get("features", &mut got));
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let error = got
        .iter()
        .zip(expected)
        .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert_eq!(got.len(), expected.len());
    assert!(error <= 1e-5 * largest, "{error} of {largest}");
}
