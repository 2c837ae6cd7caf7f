//! What kernels come out: fusion of a batch norm, text forms, names.

use super::net;
use crate::core::autodiff::gradients;
use crate::core::builder::Builder;
use crate::core::graph::{Graph, ValueId};
use crate::core::ops;
use crate::core::precision;
use crate::core::simplify::simplify;
use crate::kernels::build::{Interface, Options, build};
use crate::kernels::ir::{BufferKind, Combine, Element, KernelKind, KernelProgram, LoopKernel};
use crate::kernels::text;
use crate::lower::lower;

pub fn program(graph: &Graph) -> KernelProgram {
    let lowered = lower(graph);
    build(&lowered.graph, &Interface::of(&lowered, Options::default())).unwrap()
}

/// A pointwise convolution, batch norm and relu of images of 4096 elements, and their gradients.
fn norm_and_relu() -> Graph {
    let mut b = Builder::new();
    let shape = [8, 8, 8, 8];
    let x = b.push(
        &ops::VIEW,
        &[],
        vec![("name", "x".into()), ("shape", shape.as_slice().into())],
    );
    let w = b.param("f.conv.weight", &[1, 1, 8, 8]);
    let attrs = vec![
        ("stride", 1usize.into()),
        ("padding", 0usize.into()),
        ("groups", 1usize.into()),
    ];
    let h = b.push(&ops::CONV2D, &[x, w], attrs);
    let h = b.name(h, "f.conv");
    let (gamma, beta) = (b.param("f.bn.weight", &[8]), b.param("f.bn.bias", &[8]));
    let axes = [0, 1, 2];
    let mean = b.mean(h, &axes);
    let var = b.variance(h, mean, &axes);
    let var = b.offset(var, 1e-5);
    let std = b.sqrt(var);
    let wide: Vec<ValueId> = [mean, std, gamma, beta]
        .iter()
        .map(|v| b.broadcast(*v, &shape, &[3]))
        .collect();
    let centred = b.sub(h, wide[0]);
    let normal = b.div(centred, wide[1]);
    let scaled = b.mul(normal, wide[2]);
    let y = b.add(scaled, wide[3]);
    let y = b.name(y, "f.bn");
    let y = b.unary(&ops::RELU, y);
    let attrs = vec![
        ("kernel", 2usize.into()),
        ("stride", 2usize.into()),
        ("padding", 0usize.into()),
    ];
    let pooled = b.push(&ops::MAX_POOL, &[y], attrs);
    let square = b.mul(pooled, pooled);
    let loss = b.sum_all(square);
    b.output("loss", loss);
    for (path, (v, grad)) in ["f.conv.weight", "f.bn.weight", "f.bn.bias"]
        .into_iter()
        .zip(
            [w, gamma, beta]
                .into_iter()
                .zip(gradients(&mut b, loss, &[w, gamma, beta])),
        )
    {
        let lr = b.schedule("lr");
        let change = b.mul(grad.unwrap(), lr);
        let next = b.sub(v, change);
        b.output(format!("param/{path}"), next);
    }
    simplify(&b.graph)
}

/// Two convolutions with a ReLU between them, in bf16: what is read as bf16 only is stored so, weights and what feeds the
/// products among it.
#[test]
fn bf16_tensors_are_stored_as_bf16() {
    let mut b = Builder::new();
    let shape = [2usize, 8, 8, 8];
    let attrs = vec![("name", "x".into()), ("shape", shape.as_slice().into())];
    let mut x = b.push(&ops::VIEW, &[], attrs);
    for path in ["a", "b"] {
        let w = b.param(path, &[3, 3, 8, 8]);
        let attrs = vec![
            ("stride", 1usize.into()),
            ("padding", 1usize.into()),
            ("groups", 1usize.into()),
        ];
        let y = b.push(&ops::CONV2D, &[x, w], attrs);
        let y = b.name(y, format!("conv {path}"));
        x = b.unary(&ops::RELU, y);
    }
    let loss = b.mean(x, &[0, 1, 2, 3]);
    b.output("loss", loss);
    let mut b = Builder::from_graph(precision::to_bf16(&b.graph));
    let loss = b.graph.output("loss").unwrap();
    let params: Vec<ValueId> = b
        .graph
        .iter()
        .filter(|(_, n)| n.is(&ops::PARAM))
        .map(|(id, _)| id)
        .collect();
    let grads = gradients(&mut b, loss, &params);
    precision::read_rounded(&mut b.graph);
    for (grad, path) in grads.iter().zip(["a", "b"]) {
        b.output(format!("grad/{path}"), grad.unwrap());
    }
    let graph = simplify(&b.graph);
    let program = program(&graph);
    let large = program.buffers.iter().filter(|b| b.len() >= 576);
    for buffer in large {
        let given = matches!(buffer.kind, BufferKind::Input | BufferKind::State);
        let wide = given || buffer.name.starts_with("grad/");
        let element = if wide { Element::F32 } else { Element::Bf16 };
        assert_eq!(
            buffer.element,
            element,
            "{}\n{}",
            buffer.name,
            text::text(&program)
        );
    }
    let contractions = program.kernels.iter().filter_map(|k| match &k.kind {
        KernelKind::Contraction(c) => Some(c.operands().0),
        KernelKind::Fused(f) => Some(f.contraction.operands().0),
        KernelKind::Loop(_) | KernelKind::Indexed(_) => None,
    });
    let narrow = contractions.map(|b| program.buffers[b.0 as usize].element);
    assert_eq!(narrow.collect::<Vec<_>>(), [Element::Bf16; 5]);
    super::compare(
        "two convolutions in bf16",
        &graph,
        &super::drawn(&graph),
        1,
        1e-5,
    );
}

/// Loop kernels over at least so many points.
fn large(program: &KernelProgram, points: usize) -> Vec<&LoopKernel> {
    let loops = program.kernels.iter().filter_map(|k| match &k.kind {
        KernelKind::Loop(kernel) => Some(kernel),
        KernelKind::Indexed(_) | KernelKind::Contraction(_) | KernelKind::Fused(_) => None,
    });
    loops
        .filter(|k| k.shape.iter().product::<usize>() >= points)
        .collect()
}

#[test]
fn batch_norm_takes_three_passes_and_stores_two_tensors() {
    let program = program(&norm_and_relu());
    let passes = large(&program, 4096);
    let stores: Vec<usize> = passes
        .iter()
        .map(|k| {
            k.outputs
                .iter()
                .filter(|o| o.combine == Combine::Store)
                .count()
        })
        .collect();
    let sums: Vec<usize> = passes
        .iter()
        .map(|k| k.outputs.len())
        .zip(&stores)
        .map(|(n, s)| n - s)
        .collect();
    // Forward: the output. Backward: both sums in one pass, the gradient.
    assert_eq!((stores, sums), (vec![1, 0, 1], vec![0, 2, 0]));
    // The statistics are taken of the convolution's result as it is made.
    let statistics = program.kernels.iter().find_map(|k| match &k.kind {
        KernelKind::Fused(fused) => fused.epilogue.as_ref(),
        _ => None,
    });
    let combines: Vec<Combine> = statistics
        .unwrap()
        .outputs
        .iter()
        .map(|o| o.combine.clone())
        .collect();
    assert_eq!(
        combines,
        [Combine::Sum(vec![0]), Combine::Deviations(vec![0])]
    );
    // The axes before the channels are one.
    assert!(passes.iter().all(|k| k.shape == [512, 8]));
}

/// The variance of images over all axes but the channels, over two axes in the middle, and of a sum of two tensors; and
/// what only looks like a variance.
#[test]
fn deviations_are_found() {
    let how = |build: &dyn Fn(&mut Builder) -> ValueId| {
        let mut b = Builder::new();
        let y = build(&mut b);
        b.output("y", y);
        let program = program(&b.graph);
        let outputs = program.kernels.iter().filter_map(|k| match &k.kind {
            KernelKind::Loop(kernel) => Some(&kernel.outputs),
            KernelKind::Indexed(_) | KernelKind::Contraction(_) | KernelKind::Fused(_) => None,
        });
        outputs
            .flatten()
            .filter(|o| matches!(o.combine, Combine::Deviations(_)))
            .count()
    };
    let variance = |b: &mut Builder, x: ValueId, axes: &[usize]| {
        let mean = b.mean(x, axes);
        b.variance(x, mean, axes)
    };
    for axes in [&[0, 1, 2][..], &[1, 2], &[0, 3], &[3], &[0, 1, 2, 3]] {
        assert_eq!(
            how(&|b| {
                let x = b.param("x", &[4, 5, 6, 7]);
                variance(b, x, axes)
            }),
            1,
            "{axes:?}"
        );
    }
    assert_eq!(
        how(&|b| {
            let (x, y) = (b.param("x", &[8, 4]), b.param("y", &[8, 4]));
            let sum = b.add(x, y);
            variance(b, sum, &[0])
        }),
        1
    );
    // The mean of another tensor.
    assert_eq!(
        how(&|b| {
            let (x, y) = (b.param("x", &[8, 4]), b.param("y", &[8, 4]));
            let mean = b.mean(y, &[0]);
            b.variance(x, mean, &[0])
        }),
        0
    );
    // Twice the mean.
    assert_eq!(
        how(&|b| {
            let x = b.param("x", &[8, 4]);
            let mean = b.mean(x, &[0]);
            let mean = b.add(mean, mean);
            b.variance(x, mean, &[0])
        }),
        0
    );
}

/// A linear layer with its bias and relu is one kernel, and what the product alone gives is not kept. Where the loop needs
/// what only comes of the result, or reads it in another order, the two stay apart.
#[test]
fn epilogues_of_products() {
    let made = |build: &dyn Fn(&mut Builder, ValueId) -> ValueId| {
        let mut b = Builder::new();
        let (x, w) = (b.param("x", &[24, 16]), b.param("w", &[16, 24]));
        let y = b.matmul(x, w, false, false);
        let y = build(&mut b, y);
        b.output("y", y);
        program(&b.graph)
    };
    let is_fused = |p: &KernelProgram| matches!(p.kernels[0].kind, KernelKind::Fused(_));
    let layer = made(&|b, y| {
        let bias = b.param("bias", &[24]);
        let bias = b.broadcast(bias, &[24, 24], &[1]);
        let y = b.add(y, bias);
        b.unary(&ops::RELU, y)
    });
    assert_eq!(
        (layer.kernels.len(), layer.buffers.len()),
        (1, 4),
        "{}",
        text::text(&layer)
    );
    assert!(is_fused(&layer));
    // Over all 576 elements as one axis.
    let doubled = made(&|b, y| b.add(y, y));
    assert_eq!((doubled.kernels.len(), is_fused(&doubled)), (1, true));
    // The maximum of each row goes with the product; what is divided by it comes after.
    let scaled = made(&|b, y| {
        let most = b.max(y, &[1]);
        let most = b.broadcast(most, &[24, 24], &[0]);
        b.div(y, most)
    });
    let kinds: Vec<bool> = scaled
        .kernels
        .iter()
        .map(|k| matches!(k.kind, KernelKind::Fused(_)))
        .collect();
    // In between, the reciprocal of each maximum.
    assert_eq!(kinds, [true, false, false], "{}", text::text(&scaled));
    // Symmetrised.
    let turned = made(&|b, y| {
        let turned = b.transpose(y, &[1, 0]);
        b.add(y, turned)
    });
    assert!(!is_fused(&turned), "{}", text::text(&turned));
}

#[test]
fn text_form() {
    insta::assert_snapshot!(text::text(&program(&norm_and_relu())));
}

#[test]
fn the_text_is_the_same_twice_and_the_other_forms_hold_every_kernel() {
    let graph = net::step(net::TINY);
    let (one, other) = (program(&graph), program(&graph));
    assert_eq!(text::text(&one), text::text(&other));
    assert_eq!(text::json(&one), text::json(&other));
    let json = text::json(&one);
    assert_eq!(
        json["program"]["kernels"].as_array().unwrap().len(),
        one.kernels.len()
    );
    assert_eq!(json["costs"].as_array().unwrap().len(), one.kernels.len());
    let dot = text::dot(&one);
    assert_eq!(
        dot.matches(" [label=\"").count() - dot.matches("->").count(),
        one.kernels.len()
    );
}

#[test]
fn costs_count_multiplications_and_tensors() {
    let program = program(&norm_and_relu());
    let conv = program
        .kernels
        .iter()
        .position(|k| k.name == "conv2d+sum+variance f.conv")
        .unwrap();
    // The products; a sum, and deviations from a mean, of each channel.
    assert_eq!(program.flops(conv), 2 * 512 * 8 * 8 + 4096 * (1 + 4));
    assert_eq!(program.bytes(conv), 4 * (4096 + 64 + 4096 + 2 * 8));
    let pool = program
        .kernels
        .iter()
        .position(|k| k.name.starts_with("max_pool"))
        .unwrap();
    assert_eq!(
        (program.flops(pool), program.bytes(pool)),
        (4096, 4 * (4096 + 1024))
    );
}

/// Sums over other axes than the last, one-hot rows, shared counts: what losses are made of.
#[test]
fn constants_and_counts_are_no_tensors() {
    let mut b = Builder::new();
    let x = b.param("x", &[16, 16]);
    let (rows, columns) = (b.iota(&[16, 16], 0), b.iota(&[16, 16], 1));
    let diagonal = b.eq(rows, columns);
    let zero = b.scalar(0.0);
    let off = b.select(diagonal, zero, x);
    let sum = b.sum_all(off);
    b.output("y", sum);
    let program = program(&b.graph);
    assert_eq!(
        (program.kernels.len(), program.buffers.len()),
        (1, 2),
        "{}",
        text::text(&program)
    );
}

/// A value of scalars that a large kernel needs is made once, in a kernel of its own.
#[test]
fn scalars_are_not_computed_at_every_point() {
    let mut b = Builder::new();
    let x = b.param("x", &[64, 64]);
    let sum = b.sum_all(x);
    let root = b.sqrt(sum);
    let inverse = {
        let one = b.scalar(1.0);
        b.div(one, root)
    };
    let y = b.mul(x, inverse);
    b.output("y", y);
    let program = program(&b.graph);
    let shapes: Vec<usize> = large(&program, 1)
        .iter()
        .map(|k| k.shape.iter().product())
        .collect();
    assert_eq!(shapes, [4096, 1, 4096]);
}
