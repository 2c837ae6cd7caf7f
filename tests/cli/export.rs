//! Exported encoders, in the programs that they are for: torchvision, timm and onnxruntime.

use crate::drive::{Sslc, TINY};
use crate::python::check;
use sslc::compile::compile;
use sslc_compiler::core::builder::Builder;
use sslc_compiler::core::graph::DType;
use sslc_compiler::core::interp::{Inputs, Tensor, eval_outputs};
use sslc_compiler::core::ops::{self, REGISTRY};
use sslc_compiler::onnx::{Batch, Onnx, translate};
use sslc_compiler::program::Program;
use sslc_runtime::device::Target;
use sslc_runtime::export::{Trained, onnx, timm, weights};
use sslc_runtime::layout::{nchw_to_nhwc, nhwc_to_nchw};
use sslc_runtime::rng::ElementDraws;
use sslc_runtime::tensors::{FileTensor, Tensors, write};
use sslc_runtime::train::init::{self, Values};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A program with weights as if trained, and features of random images computed by us.
struct Case {
    folder: TempDir,
    program: Program,
    values: Values,
}

const ORT: &[&str] = &["onnxruntime", "numpy", "safetensors"];
const TORCHVISION: &[&str] = &["torch", "torchvision", "safetensors"];
const TIMM: &[&str] = &["torch", "timm", "safetensors.torch"];

impl Case {
    /// `encoder` on colour images of a size, in batches of 4.
    fn new(encoder: &str, size: usize) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let spec = format!(
            "data = image_folder(\"none\", count: 64)\n\
             views x1 = random_resized_crop({size}) |> normalize(\"imagenet\")\n\
             {encoder}\n\
             loss = mean(f(x1)^2)\n\
             train {{ steps = 1, batch = 4, optimizer = sgd(0.1) }}\n"
        );
        let path = folder.path().join("spec.ssl");
        fs::write(&path, spec).unwrap();
        let program = compile(&path, &[])
            .unwrap_or_else(|f| panic!("{:?}", f.diagnostics))
            .program;
        let mut values = init::values(&program);
        // Statistics and norms as training would leave them: none is 0 or 1.
        for (path, value) in &mut values {
            let draws = ElementDraws::new(1, path);
            let range = match path.rsplit('.').next() {
                Some("running_var") => (0.5, 1.5),
                Some("running_mean" | "bias") => (-0.3, 0.3),
                _ if path.contains("bn") || path.contains("downsample.1") => (0.3, 0.9),
                _ => continue,
            };
            for (i, v) in value.iter_mut().enumerate() {
                *v = draws.uniform(i as u64, range.0, range.1) as f32;
            }
        }
        Case {
            folder,
            program,
            values,
        }
    }

    fn trained(&self) -> Trained<'_> {
        Trained {
            program: &self.program,
            values: &self.values,
            steps: Some(7),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Random images and their features, in a file.
    fn features(&self, name: &str) -> PathBuf {
        let program = &self.program;
        let shape = [4, 3, program.encode.height, program.encode.width];
        let draws = ElementDraws::new(2, "images");
        let images: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|i| draws.uniform(i as u64, -2.0, 2.0) as f32)
            .collect();
        let mut encoder = Target::open("cpu", 2)
            .unwrap()
            .compile(&program.encode.evaluate, program.options())
            .unwrap();
        for (path, value) in &self.values {
            encoder.set(&format!("param/{path}"), value);
            encoder.set(&format!("buffer/{path}"), value);
        }
        encoder.set("view/images", &nchw_to_nhwc(&images, &shape));
        encoder.run();
        let mut features = Vec::new();
        assert!(encoder.get("features", &mut features));
        let dim = features.len() / 4;
        let path = self.path(name);
        let tensors = Tensors::from([
            ("images".to_owned(), FileTensor::f32(&shape, images)),
            ("expected".to_owned(), FileTensor::f32(&[4, dim], features)),
        ]);
        write(&path, &tensors).unwrap();
        path
    }

    /// Features from the exported ONNX model are ours.
    #[track_caller]
    fn agrees_in_onnxruntime(&self) {
        onnx::write(self.trained(), &self.path("model.onnx")).unwrap();
        self.features("model.safetensors");
        check(
            "check_onnx.py",
            ORT,
            &[self.folder.path().to_str().unwrap()],
        );
    }

    #[track_caller]
    fn agrees_in_torchvision(&self, architecture: &str, stem: &str) {
        let (file, case) = (
            self.path("f.safetensors"),
            self.features("case.safetensors"),
        );
        weights(self.trained(), &file).unwrap();
        let args = [
            architecture,
            stem,
            file.to_str().unwrap(),
            case.to_str().unwrap(),
        ];
        check("check_torchvision.py", TORCHVISION, &args);
    }

    #[track_caller]
    fn agrees_in_timm(&self, out: &str) -> Option<String> {
        let (out, case) = (self.path(out), self.features("case.safetensors"));
        let network = timm::write(self.trained(), &out).unwrap();
        let code = timm::how_to_load(network, &out);
        check("check_timm.py", TIMM, &[&code, case.to_str().unwrap()])
    }
}

#[test]
fn a_resnet_18_for_small_images_is_torchvision_s() {
    let case = Case::new("encoder f = resnet18(stem: \"cifar\")", 16);
    case.agrees_in_torchvision("resnet18", "cifar");
    case.agrees_in_onnxruntime();
    case.agrees_in_timm("model");
}

#[test]
fn a_resnet_50_is_torchvision_s_and_timm_s() {
    let case = Case::new("encoder f = resnet50()", 64);
    case.agrees_in_torchvision("resnet50", "imagenet");
    case.agrees_in_onnxruntime();
    if let Some(config) = case.agrees_in_timm("model") {
        for part in ["'input_size': (3, 64, 64)", "0.485", "'crop_pct': 1.0"] {
            assert!(config.contains(part), "{config}");
        }
    }
    case.agrees_in_timm("model.safetensors");
}

/// A network of everything that a ResNet has not.
const ODD: &str = r#"
module odd() {
    conv1 = conv2d(6, 3, stride: 2)
    bn1 = batch_norm(shift: false)
    squeeze = linear(6)
    pool = avg_pool(3, stride: 2, padding: 1)
    norm = layer_norm()
    mix = linear(7)
    flat = flatten()
    hidden = mlp(9, 5, norm: "none")
    forward(x) {
        let y = gelu(bn1(x |> conv1))
        let gate = sigmoid(squeeze(mean(y, axis: [1, 2])))
        let gated = y * reshape(gate, batch_size(x), 1, 1, 6)
        let small = norm(pool(gated))
        let mixed = mix(small)
        let rows = reshape(mixed, batch_size(x), 16, 7)
        let scores = softmax(rows @ transpose(rows, [0, 2, 1]) / 4, axis: -1)
        let seen = scores @ rows
        let token = broadcast(iota(7) / 7, batch_size(x), 1, 7)
        let all = concat(token, seen, axis: 1)
        let spread = stack(max(all, axis: 1), std(all, axis: 1), axis: 1)
        concat(hidden(flat(mixed)), flat(spread), axis: 1)
    }
}
encoder f = odd()
"#;

#[test]
fn other_networks_agree_in_onnxruntime() {
    Case::new(ODD, 16).agrees_in_onnxruntime();
    // Norms that no convolution can take in: before it, and behind a linear layer.
    Case::new(
        "encoder f = sequential(batch_norm(), relu(), conv2d(5, 3), max_pool(2), flatten(), mlp(8, 6, last_norm: true))",
        8,
    )
    .agrees_in_onnxruntime();
}

#[test]
fn every_op_with_a_form_in_onnx_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = BTreeSet::new();
    for op in REGISTRY {
        if matches!(op.onnx, Onnx::Unsupported | Onnx::Input) {
            continue;
        }
        for (i, sample) in (op.sample)().iter().enumerate() {
            let mut b = Builder::new();
            let (mut inputs, mut file) = (Inputs::new(), Tensors::new());
            let mut args = Vec::new();
            for (k, (arg, value)) in sample.args.iter().zip(sample.values(5)).enumerate() {
                let name = format!("x{k}");
                let shape = &arg.ty.shape;
                let view = b.push(
                    &ops::VIEW,
                    &[],
                    vec![
                        ("name", name.as_str().into()),
                        ("shape", shape.as_slice().into()),
                    ],
                );
                args.push(match arg.ty.dtype {
                    DType::F32 | DType::Bf16 => view,
                    other => b.cast(view, other),
                });
                file.insert(name.clone(), in_file(&value));
                inputs.insert(format!("view/{name}"), value);
            }
            let y = b
                .try_push(op, &args, sample.attrs.clone())
                .unwrap_or_else(|e| panic!("{}: {e}", op.name));
            b.output("y", y);
            let expected = &eval_outputs(&b.graph, &inputs).unwrap()["y"];
            let data = expected.data.iter().map(|v| *v as f32).collect();
            file.insert(
                "expected".to_owned(),
                FileTensor::f32(&expected.shape, data),
            );
            let model = translate(&b.graph, &|_| None, "", Batch::Fixed)
                .unwrap_or_else(|r| panic!("{}: {r:?}", op.name));
            let bytes = onnx::encode(&model, op.name, []);
            let place = folder.path().join(format!("{}_{i}", op.name));
            fs::write(place.with_extension("onnx"), bytes).unwrap();
            write(&place.with_extension("safetensors"), &file).unwrap();
            written.insert(op.name);
        }
    }
    assert!(written.len() > 35, "{written:?}");
    check("check_onnx.py", ORT, &[folder.path().to_str().unwrap()]);
}

/// A view's value as the model takes it.
fn in_file(value: &Tensor) -> FileTensor {
    let data: Vec<f32> = value.data.iter().map(|v| *v as f32).collect();
    match value.shape[..] {
        [b, h, w, c] => FileTensor::f32(&[b, c, h, w], nhwc_to_nchw(&data, &value.shape)),
        _ => FileTensor::f32(&value.shape, data),
    }
}

fn small_run() -> Sslc {
    let sslc = Sslc::with("a.ssl", TINY);
    let run = sslc.run(&["run", "a.ssl", "--out", "run"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    sslc
}

#[test]
fn a_run_is_exported() {
    let sslc = small_run();
    let run = sslc.run(&["export", "run", "--out", "f.safetensors"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(
        run.stdout
            .contains("resnet18 with the cifar stem, trained for 3 steps")
    );
    let read = |name: &str| sslc_runtime::tensors::read(&sslc.path().join(name)).unwrap();
    assert_eq!(read("f.safetensors"), read("run/encoder.safetensors"));
    let header = String::from_utf8_lossy(&fs::read(sslc.path().join("f.safetensors")).unwrap())
        .chars()
        .take(2000)
        .collect::<String>();
    for part in [
        r#""mean":"[0.286"#,
        r#""steps":"3""#,
        r#""input_size":"[1,8,8]""#,
    ] {
        assert!(header.contains(part), "{header}");
    }

    let run = sslc.run(&["export", "run", "--out", "model", "--format", "onnx"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(fs::metadata(sslc.path().join("model")).unwrap().len() > 1000);
    let again = fs::read(sslc.path().join("model")).unwrap();
    sslc.run(&["export", "run", "--out", "model.onnx"]);
    assert_eq!(fs::read(sslc.path().join("model.onnx")).unwrap(), again);
}

#[test]
fn what_cannot_be_exported_says_why() {
    let sslc = small_run();
    sslc.run(&["export", "run", "--out", "f.pth"])
        .fails(2, &["E0910", "f.pth", "--format"]);
    sslc.run(&["export", "run", "--out", "f.onnx", "--as", "timm"])
        .fails(2, &["E0910", "timm"]);
    sslc.run(&["export", "run", "--out", "f", "--as", "timm"])
        .fails(1, &["E0682", "width of 64", "has 2"]);
    sslc.run(&["export", "run", "--out", "none/f.onnx"])
        .fails(3, &["E0654", "none/f.onnx"]);
    sslc.run(&["export", "nowhere", "--out", "f.onnx"])
        .fails(3, &["nowhere"]);
}

#[test]
fn an_encoder_whose_images_see_each_other_has_no_model() {
    let sslc = Sslc::with(
        "a.ssl",
        TINY.replace(
            "encoder   f = resnet18(stem: \"cifar\", width: 2)",
            "module mixing() { last = linear(4)  forward(x) { let y = mean(x, axis: [1, 2])  last(y - mean(y, axis: 0)) } }\n\
             encoder f = mixing()",
        ),
    );
    let run = sslc.run(&["run", "a.ssl", "--out", "run"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let run = sslc.run(&["export", "run", "--out", "f.onnx"]);
    run.fails(1, &["E0681", "`sum`", "mean(y, axis: 0)"]);
    assert!(!Path::new(&sslc.path().join("f.onnx")).exists());
    let run = sslc.run(&["export", "run", "--out", "f.safetensors"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
}
