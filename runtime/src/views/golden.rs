//! Every operation against torchvision's results, `tests/golden/views` (made by `make.py` there).

use super::color::Point;
use super::geometry::{self, Area};
use super::passes;
use super::planes::Scratch;
use super::resample::Plan;
use super::steps::{Action, Step};
use crate::cpu::level::Level;
use crate::data::ImageRef;
use safetensors::SafeTensors;
use serde_json::Value;
use sslc_compiler::program::Interpolation;
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

/// The steps of a recorded operation.
fn actions(op: &Value, size: (usize, usize)) -> Vec<Action> {
    let resample = |from: Area, (height, width): (usize, usize)| {
        Action::Resample(Plan {
            from,
            height,
            width,
            interpolation: interpolation(op),
            antialias: op["antialias"].as_bool().unwrap(),
            mirrored: false,
        })
    };
    vec![match op["op"].as_str().unwrap() {
        "resized_crop" => resample(area(op), pair(op, "size")),
        "resize" => {
            let first = op["size"][0].as_u64().unwrap() as usize;
            let to = match op["size"][1].as_u64() {
                Some(w) => (first, w as usize),
                None => geometry::shorter_side(size.0, size.1, first),
            };
            resample(Area::whole(size.0, size.1), to)
        }
        "center_crop" => {
            let (height, width) = pair(op, "size");
            let (top, left) = geometry::center(size.0, size.1, height, width);
            Action::Crop {
                top,
                left,
                height,
                width,
            }
        }
        "crop" => {
            let (height, width) = pair(op, "size");
            let at = |key: &str| op[key].as_i64().unwrap() as isize;
            Action::Crop {
                top: at("top"),
                left: at("left"),
                height,
                width,
            }
        }
        "horizontal_flip" => Action::FlipHorizontally,
        "vertical_flip" => Action::FlipVertically,
        "grayscale" => Action::Point(Point::Grayscale),
        "gaussian_blur" => Action::Blur {
            sigma: number(op, "sigma"),
            taps: whole(op, "kernel"),
        },
        "solarize" => Action::Point(Point::Solarize(number(op, "threshold") as f32)),
        "rotate" => Action::Rotate {
            degrees: number(op, "degrees"),
        },
        "erase" => Action::Erase(area(op)),
        "normalize" => Action::Point(Point::normalize(&list(op, "mean"), &list(op, "std"))),
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
            let points = Point::jitter(factors, order.try_into().unwrap());
            return points.map(Action::Point).collect();
        }
        other => panic!("unknown operation {other}"),
    }]
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

/// What a recorded case comes out as: [H, W, C] and its size.
fn run_case(case: &Value, file: &SafeTensors<'_>, level: Level) -> (Vec<f32>, [usize; 3]) {
    let image = image(file, case["image"].as_str().unwrap());
    let mut scratch = Scratch::at(level);
    let mut size = (image.height, image.width);
    for op in case["ops"].as_array().unwrap() {
        for action in actions(op, size) {
            size = match &action {
                Action::Resample(plan) => (plan.height, plan.width),
                Action::Crop { height, width, .. } => (*height, *width),
                _ => size,
            };
            scratch.steps.push(Step { op: 0, action });
        }
    }
    let mut data = vec![f32::NAN; size.0 * size.1 * image.channels];
    passes::run(&image, &mut scratch, &mut data, None);
    (data, [size.0, size.1, image.channels])
}

#[test]
fn every_operation_agrees_with_torchvision_and_at_every_level() {
    let (_, header) = SafeTensors::read_metadata(GOLDEN).unwrap();
    let file = SafeTensors::deserialize(GOLDEN).unwrap();
    let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    names.sort_unstable();
    let (mut cases, mut wrong) = (0, Vec::new());
    for name in names.iter().filter(|n| n.starts_with("case/")) {
        let case = serde_json::from_str(&header.metadata().as_ref().unwrap()[name]).unwrap();
        let (data, shape) = run_case(&case, &file, Level::Portable);
        let golden = file.tensor(name).unwrap();
        let expected = golden.data().as_chunks::<4>().0;
        let expected = expected.iter().map(|b| f32::from_le_bytes(*b));
        let differences = data.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0f32, |a, b| if a >= b { a } else { b });
        if golden.shape() != shape || worst.is_nan() || worst > TOLERANCE {
            wrong.push(format!("{name}: {shape:?}, off by {worst}"));
        }
        for level in Level::ALL.into_iter().filter(|l| l.available()) {
            let (at_level, _) = run_case(&case, &file, level);
            let same = data.iter().zip(&at_level);
            if !same.into_iter().all(|(a, b)| a.to_bits() == b.to_bits()) {
                wrong.push(format!("{name}: other bits at {}", level.name()));
            }
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
