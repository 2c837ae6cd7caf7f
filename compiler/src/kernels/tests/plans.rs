//! Memory: places, updates over old values, and what the verifier finds.

use super::forms::program;
use super::net;
use crate::core::builder::Builder;
use crate::core::graph::Graph;
use crate::core::ops;
use crate::exec::Executor;
use crate::kernels::build::Options;
use crate::kernels::compile::{Compiled, KernelOp};
use crate::kernels::interp::Interpreter;
use crate::kernels::ir::{
    Access, BufferId, BufferKind, Combine, Fused, Inst, KernelKind, KernelProgram, LoopKernel,
};
use crate::kernels::{text, verify::verify};
use crate::lower::lower;

/// Parameters `a` and `b` that take each other's values, and a sum of both.
fn swap() -> Graph {
    let mut g = Builder::new();
    let (a, b) = (g.param("a", &[3]), g.param("b", &[3]));
    let sum = g.add(a, b);
    g.output("sum", sum);
    g.output("param/a", b);
    g.output("param/b", a);
    g.graph
}

#[test]
fn parameters_can_swap_their_values() {
    let mut compiled = Compiled::new(&swap(), Options::default(), &Interpreter).unwrap();
    compiled.set("param/a", &[1.0, 2.0, 3.0]);
    compiled.set("param/b", &[4.0, 5.0, 6.0]);
    compiled.run();
    let mut out = Vec::new();
    compiled.get("param/a", &mut out);
    assert_eq!(out, [4.0, 5.0, 6.0]);
    compiled.get("param/b", &mut out);
    assert_eq!(out, [1.0, 2.0, 3.0]);
    compiled.get("sum", &mut out);
    assert_eq!(out, [5.0, 7.0, 9.0]);
}

#[test]
fn an_update_is_written_over_the_old_value() {
    let mut b = Builder::new();
    let w = b.param("w", &[4, 4]);
    let x = b.param("x", &[4, 4]);
    let y = b.matmul(x, w, false, false);
    b.output("y", y);
    let next = b.add(w, y);
    b.output("param/w", next);
    let program = program(&b.graph);
    // The product reads the old weights, so it comes first, and nothing is copied.
    assert_eq!(program.kernels.len(), 2, "{}", text::text(&program));
    assert!(
        program
            .buffers
            .iter()
            .all(|b| b.kind != BufferKind::Temporary)
    );
}

/// Reading the old value in another order than it is written needs the old value whole.
#[test]
fn an_update_that_reads_transposed_is_copied() {
    let mut b = Builder::new();
    let w = b.param("w", &[3, 3]);
    let t = b.transpose(w, &[1, 0]);
    let next = b.add(w, t);
    b.output("param/w", next);
    let mut compiled = Compiled::new(&b.graph, Options::default(), &Interpreter).unwrap();
    assert_eq!(compiled.program().kernels.len(), 2);
    compiled.set("param/w", &[0., 1., 2., 3., 4., 5., 6., 7., 8.]);
    compiled.run();
    let mut out = Vec::new();
    compiled.get("param/w", &mut out);
    assert_eq!(out, [0., 4., 8., 4., 8., 12., 8., 12., 16.]);
}

#[test]
fn temporaries_share_places() {
    // Ten products in a row need two places.
    let mut b = Builder::new();
    let mut x = b.param("x", &[64, 64]);
    let w = b.param("w", &[64, 64]);
    for _ in 0..10 {
        x = b.matmul(x, w, false, false);
    }
    let loss = b.sum_all(x);
    b.output("loss", loss);
    let program = program(&b.graph);
    let fixed = 2 * 4096 + 16;
    assert_eq!(
        program.arena_len,
        fixed + 2 * 4096,
        "{}",
        text::text(&program)
    );
}

#[test]
fn a_map_takes_the_place_of_what_dies() {
    let mut b = Builder::new();
    let (x, w) = (b.param("x", &[64, 64]), b.param("w", &[64, 64]));
    let y = b.matmul(x, w, false, false);
    let y = b.exp(y);
    let z = b.matmul(y, w, false, false);
    b.output("z", z);
    let program = program(&b.graph);
    assert_eq!(program.arena_len, 4 * 4096, "{}", text::text(&program));
}

/// The compiled graph is a chain of kernels without data edges, and keeps no tensors.
#[test]
fn luminal_runs_a_chain_of_kernels() {
    let graph = net::step(net::TINY);
    let mut compiled = Compiled::new(&graph, Options::default(), &Interpreter).unwrap();
    let chain = compiled.graph();
    let kernels = compiled.program().kernels.len();
    assert_eq!(
        (chain.graph.node_count(), chain.graph.edge_count()),
        (kernels, kernels - 1)
    );
    assert!(chain.graph.edge_weights().all(|e| e.is_schedule()));
    let ops = chain
        .graph
        .node_weights()
        .map(|op| op.as_any().downcast_ref::<KernelOp>().unwrap().kernel);
    assert!(ops.eq(0..kernels));
    compiled.run();
    assert!(compiled.graph().tensors.is_empty());
}

/// Breaks a sound program and returns what the verifier says.
fn broken(f: impl FnOnce(&mut KernelProgram)) -> String {
    let mut b = Builder::new();
    let (x, w) = (b.param("x", &[16, 16]), b.param("w", &[16, 16]));
    let x = b.add(x, x);
    let y = b.matmul(x, w, false, false);
    let z = b.matmul(y, w, false, false);
    let sum = b.add(y, z);
    b.output("sum", sum);
    let lowered = lower(&b.graph);
    let interface = crate::kernels::build::Interface::of(&lowered, Options::default());
    let mut program = crate::kernels::build::build(&lowered.graph, &interface).unwrap();
    assert_eq!(verify(&program), Vec::<String>::new());
    f(&mut program);
    verify(&program).join("\n")
}

fn first_loop(program: &mut KernelProgram) -> &mut LoopKernel {
    let found = program.kernels.iter_mut().find_map(|k| match &mut k.kind {
        KernelKind::Loop(kernel) => Some(kernel),
        KernelKind::Indexed(_) | KernelKind::Contraction(_) | KernelKind::Fused(_) => None,
    });
    found.unwrap()
}

fn first_fused(program: &mut KernelProgram) -> &mut Fused {
    let found = program.kernels.iter_mut().find_map(|k| match &mut k.kind {
        KernelKind::Fused(fused) => Some(fused),
        KernelKind::Indexed(_) | KernelKind::Contraction(_) | KernelKind::Loop(_) => None,
    });
    found.unwrap()
}

fn epilogue(fused: &mut Fused) -> &mut LoopKernel {
    fused.epilogue.as_mut().unwrap()
}

/// The access of the first load of a buffer in an epilogue.
fn load(fused: &mut Fused, buffer: BufferId) -> &mut Access {
    let found = epilogue(fused).body.iter_mut().find_map(|inst| match inst {
        Inst::Load(access) if access.buffer == buffer => Some(access),
        _ => None,
    });
    found.unwrap()
}

/// What the verifier must say, and what it is to find.
type Fault = (&'static str, fn(&mut KernelProgram));

#[test]
fn the_verifier_finds_what_is_broken() {
    let cases: [Fault; 13] = [
        ("begins at", |p| p.buffers[0].offset += 1),
        ("ends outside of the arena", |p| p.arena_len -= 16),
        ("places 0 to 510 of buffer", |p| {
            if let Inst::Load(access) = &mut first_loop(p).body[0] {
                access.strides[0] = 2;
            }
        }),
        ("uses one that is not set yet", |p| {
            if let Some(Inst::Binary(_, _, b)) = first_loop(p).body.last_mut() {
                *b = 9;
            }
        }),
        ("there is no register 7", |p| {
            first_loop(p).outputs[0].value = 7
        }),
        ("before it is written", |p| p.kernels.swap(0, 1)),
        ("share a place and a time", |p| {
            let temporaries: Vec<usize> = (0..p.buffers.len())
                .filter(|b| p.buffers[*b].kind == BufferKind::Temporary)
                .collect();
            p.buffers[temporaries[1]].offset = p.buffers[temporaries[0]].offset;
        }),
        ("its epilogue is not over [16, 16]", |p| {
            epilogue(first_fused(p)).shape = vec![8, 16];
        }),
        ("its epilogue reads the result at other points", |p| {
            let fused = first_fused(p);
            let result = fused.contraction.result();
            load(fused, result).strides = vec![1, 16];
        }),
        ("its epilogue writes the result at other points", |p| {
            epilogue(first_fused(p)).outputs[0].to.strides = vec![1, 16];
        }),
        ("its epilogue writes the result at other points", |p| {
            let output = &mut epilogue(first_fused(p)).outputs[0];
            output.combine = Combine::Sum(vec![0]);
            output.to.strides = vec![0, 1];
        }),
        ("which it reads", |p| {
            let fused = first_fused(p);
            let weights = fused.contraction.operands().1;
            epilogue(fused).outputs[0].to.buffer = weights;
        }),
        ("there is no buffer 99", |p| {
            let mut first = true;
            crate::kernels::bind::rename(&mut p.kernels[0].kind, |b| {
                if std::mem::take(&mut first) {
                    *b = BufferId(99);
                }
            });
        }),
    ];
    for (message, f) in cases {
        let said = broken(f);
        assert!(said.contains(message), "{message}: {said}");
    }
}

/// A convolution of `relu(x · scale)`, and that value's sum where it is read besides.
fn scaled(read_besides: bool) -> KernelProgram {
    let mut b = Builder::new();
    let shape = [2, 5, 5, 8];
    let attrs = vec![("name", "x".into()), ("shape", shape.as_slice().into())];
    let x = b.push(&ops::VIEW, &[], attrs);
    let (scale, w) = (b.param("scale", &[8]), b.param("w", &[3, 3, 8, 8]));
    let scale = b.broadcast(scale, &shape, &[3]);
    let x = b.mul(x, scale);
    let x = b.unary(&ops::RELU, x);
    let attrs = vec![
        ("stride", 1usize.into()),
        ("padding", 1usize.into()),
        ("groups", 1usize.into()),
    ];
    let y = b.push(&ops::CONV2D, &[x, w], attrs);
    b.output("y", y);
    if read_besides {
        let sum = b.sum_all(x);
        b.output("sum", sum);
    }
    let lowered = lower(&b.graph);
    let interface = crate::kernels::build::Interface::of(&lowered, Options::default());
    let program = crate::kernels::build::build(&lowered.graph, &interface).unwrap();
    assert_eq!(verify(&program), Vec::<String>::new());
    program
}

#[test]
fn what_only_convolutions_read_is_made_by_their_prologues() {
    let program = scaled(false);
    assert_eq!(program.kernels.len(), 1);
    let KernelKind::Fused(fused) = &program.kernels[0].kind else {
        panic!("{:?}", program.kernels[0].kind)
    };
    let made = &program.buffers[fused.made().unwrap().0 as usize];
    assert_eq!((made.kind, made.words()), (BufferKind::Piecewise, 0));
    // x, scale, w and y, and nothing for what is made of the first two.
    assert_eq!(program.bytes(0), 4 * (400 + 8 + 576 + 400));
    assert_eq!(program.flops(0), 2 * 400 + 2 * 50 * 8 * 72);
    let said = text::text(&program);
    let first = "  first over [50, 8], 1.25 times, which saves 3200 bytes";
    assert!(said.contains(first), "{said}");
}

#[test]
fn what_is_read_besides_is_stored() {
    let program = scaled(true);
    let prologue = |k: &KernelKind| matches!(k, KernelKind::Fused(f) if f.prologue.is_some());
    assert!(!program.kernels.iter().any(|k| prologue(&k.kind)));
}

#[test]
fn the_verifier_finds_broken_prologues() {
    fn prologue(program: &mut KernelProgram) -> &mut LoopKernel {
        first_fused(program).prologue.as_mut().unwrap()
    }
    let cases: [Fault; 7] = [
        ("its prologue does not make all of [50, 8]", |p| {
            prologue(p).shape = vec![49, 8];
        }),
        ("its prologue makes buffer", |p| {
            let w = first_fused(p).contraction.operands().1;
            prologue(p).outputs[0].to.buffer = w;
        }),
        ("its prologue makes more or less than an operand", |p| {
            let again = prologue(p).outputs[0].clone();
            prologue(p).outputs.push(again);
        }),
        ("its prologue reads buffer", |p| {
            let y = first_fused(p).contraction.result();
            for inst in &mut prologue(p).body {
                if let Inst::Load(access) = inst {
                    access.buffer = y;
                }
            }
        }),
        ("has a place", |p| {
            let made = first_fused(p).made().unwrap();
            p.buffers[made.0 as usize].kind = BufferKind::Temporary;
        }),
        ("which has no place", |p| first_fused(p).prologue = None),
        ("it has no loop", |p| first_fused(p).prologue = None),
    ];
    for (message, f) in cases {
        let mut program = scaled(false);
        f(&mut program);
        let said = verify(&program).join("\n");
        assert!(said.contains(message), "{message}: {said}");
    }
}
