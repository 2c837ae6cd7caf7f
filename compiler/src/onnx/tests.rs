//! What a model looks like, and what has none. That models compute the right values is tested with onnxruntime.

use super::model::{Model, Node};
use super::{Batch, RefusalKind, translate};
use crate::core::builder::Builder;
use crate::core::graph::ValueId;
use crate::core::interp::Tensor;
use crate::core::ops;

const BATCH: usize = 4;

fn images(b: &mut Builder) -> ValueId {
    b.push(
        &ops::VIEW,
        &[],
        vec![
            ("name", "images".into()),
            ("shape", (&[BATCH, 8, 8, 3][..]).into()),
        ],
    )
}

fn weight(key: &str) -> Option<Tensor> {
    let shape: &[usize] = match key.rsplit('.').next()? {
        "filter" => &[3, 3, 3, 6],
        "matrix" => &[5, 6],
        _ => &[6],
    };
    Some(Tensor::full(shape, 0.5))
}

fn model(b: &Builder) -> Result<Model, RefusalKind> {
    translate(&b.graph, &weight, "f.", Batch::Dynamic).map_err(|r| r.kind)
}

fn ops_of(model: &Model) -> Vec<&str> {
    model.nodes.iter().map(|n: &Node| n.op).collect()
}

/// x · scale + shift of each channel, as batch norm with running statistics is.
fn affine(b: &mut Builder, x: ValueId) -> ValueId {
    let shape = b.shape(x);
    let mean = b.buffer("f.bn.running_mean", &[6]);
    let scale = b.param("f.bn.weight", &[6]);
    let (mean, scale) = (b.broadcast_to(mean, &shape), b.broadcast_to(scale, &shape));
    let centred = b.sub(x, mean);
    b.mul(centred, scale)
}

fn convolution(b: &mut Builder) -> ValueId {
    let x = images(b);
    let filter = b.param("f.conv.filter", &[3, 3, 3, 6]);
    b.name(filter, "f.conv.filter");
    let y = b.push(
        &ops::CONV2D,
        &[x, filter],
        vec![
            ("stride", 1usize.into()),
            ("padding", 1usize.into()),
            ("groups", 1usize.into()),
        ],
    );
    b.name(y, "f.conv");
    y
}

#[test]
fn batch_norm_is_part_of_the_convolution_and_no_axis_is_moved() {
    let mut b = Builder::new();
    let y = convolution(&mut b);
    let y = affine(&mut b, y);
    let y = b.unary(&ops::RELU, y);
    let y = b.mean(y, &[1, 2]);
    b.output("features", y);
    let model = model(&b).unwrap();
    assert_eq!(ops_of(&model), ["Conv", "Relu", "ReduceMean"]);
    assert_eq!(model.nodes[0].inputs.len(), 3, "with a bias");
    // (y − ½)·½ with every filter at ½.
    let bias = &model.initializers[&model.nodes[0].inputs[2]];
    assert_eq!(bias.data, [-0.25; 6]);
    let filter = &model.initializers["conv.filter"];
    assert_eq!(
        (&filter.shape[..], filter.data[0]),
        (&[6, 3, 3, 3][..], 0.25)
    );
    assert_eq!(model.initializers.len(), 2);
    assert_eq!(model.nodes[2].output, "features");
}

#[test]
fn a_convolution_that_is_read_twice_keeps_its_values() {
    let mut b = Builder::new();
    let y = convolution(&mut b);
    let z = affine(&mut b, y);
    let y = b.add(y, z);
    let y = b.mean(y, &[1, 2]);
    b.output("features", y);
    assert_eq!(
        ops_of(&model(&b).unwrap()),
        ["Conv", "Sub", "Mul", "Add", "ReduceMean"]
    );
}

#[test]
fn a_linear_layer_takes_the_norm_behind_it() {
    let mut b = Builder::new();
    let y = convolution(&mut b);
    let y = b.mean(y, &[1, 2]);
    let matrix = b.param("f.fc.matrix", &[5, 6]);
    b.name(matrix, "f.fc.matrix");
    let y = b.matmul(y, matrix, false, true);
    let two = b.scalar(2.0);
    let y = b.mul(y, two);
    b.output("features", y);
    let model = model(&b).unwrap();
    assert_eq!(ops_of(&model), ["Conv", "ReduceMean", "Gemm"]);
    assert_eq!(model.initializers["fc.matrix"].data, [1.0; 30]);
}

#[test]
fn images_that_see_each_other_are_refused() {
    let over = |axes: &[usize]| {
        let mut b = Builder::new();
        let x = images(&mut b);
        let y = b.mean(x, axes);
        b.output("features", y);
        model(&b).map(|_| ())
    };
    assert_eq!(over(&[1, 2]), Ok(()));
    assert_eq!(over(&[0, 1]), Err(RefusalKind::MixesImages));

    // Each image compared with each.
    let mut b = Builder::new();
    let x = images(&mut b);
    let x = b.mean(x, &[1, 2]);
    let y = b.matmul(x, x, false, true);
    b.output("features", y);
    assert_eq!(model(&b).map(|_| ()), Err(RefusalKind::MixesImages));

    // A value for each place in the batch.
    let mut b = Builder::new();
    let x = images(&mut b);
    let x = b.mean(x, &[1, 2]);
    let place = b.iota(&[BATCH, 3], 0);
    let place = b.cast(place, crate::core::graph::DType::F32);
    let y = b.add(x, place);
    b.output("features", y);
    assert_eq!(model(&b).map(|_| ()), Err(RefusalKind::MixesImages));
}

#[test]
fn an_op_of_training_has_no_form() {
    let mut b = Builder::new();
    let x = images(&mut b);
    let x = b.mean(x, &[1, 2]);
    let y = b.to_bf16(x, false);
    b.output("features", y);
    let refusal = translate(&b.graph, &weight, "f.", Batch::Dynamic).unwrap_err();
    let text = refusal.diagnostic(&b.graph);
    assert_eq!(text.code.name(), "E0680");
    assert!(text.message.contains("`to_bf16`"), "{}", text.message);
}
