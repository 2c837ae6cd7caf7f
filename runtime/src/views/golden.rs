//! Every operation against torchvision's results, `tests/golden/views` (made by `make.py` there).

use super::geometry::Area;
use super::planes::Scratch;
use super::resample::Plan;
use super::*;
use safetensors::SafeTensors;
use serde_json::Value;
use sslc_compiler::program::{Interpolation, Span64};
use std::borrow::Cow;

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/views/views.safetensors");

/// What floats of the same formula in another order of sums may differ by.
const TOLERANCE: f32 = 5e-6;

fn number(op: &Value, key: &str) -> f64 {
    op[key].as_f64().unwrap()
}

fn whole(op: &Value, key: &str) -> usize {
    op[key].as_u64().unwrap() as usize
}

fn pair(op: &Value, key: &str) -> (usize, usize) {
    let of = |i: usize| op[key][i].as_u64().unwrap() as usize;
    (of(0), of(1))
}

fn list(op: &Value, key: &str) -> Vec<f64> {
    let values = op[key].as_array().unwrap();
    values.iter().map(|v| v.as_f64().unwrap()).collect()
}

fn fixed(x: f64) -> Span64 {
    Span64 { lo: x, hi: x }
}

fn interpolation(op: &Value) -> Interpolation {
    match op["interpolation"].as_str().unwrap() {
        "bicubic" => Interpolation::Bicubic,
        _ => Interpolation::Bilinear,
    }
}

fn area(op: &Value) -> Area {
    Area {
        top: whole(op, "top"),
        left: whole(op, "left"),
        height: whole(op, "height"),
        width: whole(op, "width"),
    }
}

/// The operation of the language that the recorded one is, where its parameters can be fixed there.
fn kind(op: &Value) -> Option<ViewKind> {
    Some(match op["op"].as_str().unwrap() {
        "resize" => ViewKind::Resize {
            height: op["size"][0].as_u64().unwrap() as usize,
            width: op["size"][1].as_u64().map(|w| w as usize),
            interpolation: interpolation(op),
            antialias: op["antialias"].as_bool().unwrap(),
        },
        "center_crop" => {
            let (height, width) = pair(op, "size");
            ViewKind::CenterCrop { height, width }
        }
        "horizontal_flip" => ViewKind::HorizontalFlip,
        "vertical_flip" => ViewKind::VerticalFlip,
        "grayscale" => ViewKind::Grayscale,
        "gaussian_blur" => ViewKind::GaussianBlur {
            sigma: fixed(number(op, "sigma")),
            kernel: Some(whole(op, "kernel")),
        },
        "solarize" => ViewKind::Solarize {
            threshold: number(op, "threshold"),
        },
        "rotate" => ViewKind::RandomRotation {
            degrees: fixed(number(op, "degrees")),
        },
        "normalize" => ViewKind::Normalize {
            mean: list(op, "mean"),
            std: list(op, "std"),
        },
        _ => return None,
    })
}

/// The operations whose parameters are drawn, with the recorded ones.
fn apply_drawn(op: &Value, image: Option<&ImageRef<'_>>, scratch: &mut Scratch) {
    match op["op"].as_str().unwrap() {
        "resized_crop" => {
            let (height, width) = pair(op, "size");
            let plan = Plan {
                from: area(op),
                height,
                width,
                interpolation: interpolation(op),
                antialias: op["antialias"].as_bool().unwrap(),
            };
            match image {
                Some(image) => resample::from_bytes(image, &plan, scratch),
                None => resample::from_planes(&plan, scratch),
            }
        }
        "crop" => {
            let (height, width) = pair(op, "size");
            let at = |key: &str| op[key].as_i64().unwrap() as isize;
            geometry::crop(scratch, at("top"), at("left"), height, width);
        }
        "erase" => geometry::erase(&mut scratch.image, area(op)),
        "jitter" => {
            let names = ["brightness", "contrast", "saturation", "hue"];
            let mut factors = [None; 4];
            let mut order = Vec::new();
            for part in op["parts"].as_array().unwrap() {
                let i = names.iter().position(|n| part[0] == *n).unwrap();
                factors[i] = part[1].as_f64();
                order.push(i);
            }
            order.extend((0..4).filter(|i| factors[*i].is_none()));
            color::jitter(&mut scratch.image, factors, order.try_into().unwrap());
        }
        other => panic!("unknown operation {other}"),
    }
}

fn image<'a>(file: &SafeTensors<'a>, name: &str) -> ImageRef<'a> {
    let t = file.tensor(&format!("image/{name}")).unwrap();
    let [height, width, channels] = t.shape().try_into().unwrap();
    ImageRef {
        pixels: Cow::Borrowed(t.data()),
        height,
        width,
        channels,
    }
}

fn run_case(case: &Value, file: &SafeTensors<'_>) -> Scratch {
    let image = image(file, case["image"].as_str().unwrap());
    let mut scratch = Scratch::default();
    scratch.image.load(&image);
    for (i, op) in case["ops"].as_array().unwrap().iter().enumerate() {
        match kind(op) {
            Some(kind) => {
                let key = Key {
                    seed: 0,
                    epoch: 0,
                    image: 0,
                    view: 0,
                };
                apply(&kind, &mut key.stream(i), &mut scratch).unwrap();
            }
            None => apply_drawn(op, (i == 0).then_some(&image), &mut scratch),
        }
    }
    scratch
}

#[test]
fn every_operation_agrees_with_torchvision() {
    let (_, header) = SafeTensors::read_metadata(GOLDEN).unwrap();
    let file = SafeTensors::deserialize(GOLDEN).unwrap();
    let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    names.sort_unstable();
    let (mut cases, mut wrong) = (0, Vec::new());
    for name in names.iter().filter(|n| n.starts_with("case/")) {
        let case = serde_json::from_str(&header.metadata().as_ref().unwrap()[name]).unwrap();
        let mut made = run_case(&case, &file).image;
        let golden = file.tensor(name).unwrap();
        let mut data = vec![0.0; made.data.len()];
        made.write_interleaved(&mut data);
        let expected = golden.data().chunks_exact(4);
        let expected = expected.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let worst = data
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0f32, f32::max);
        let shape = [made.height, made.width, made.channels];
        if golden.shape() != shape || worst.is_nan() || worst > TOLERANCE {
            wrong.push(format!("{name}: {shape:?}, off by {worst}"));
        }
        cases += 1;
    }
    assert!(cases > 140, "{cases} cases");
    assert!(
        wrong.is_empty(),
        "{} of {cases}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
