//! Programs that a device must not run.

use super::{Bench, CpuDevice};
use sslc_compiler::kernels::ir::{
    Access, Binary, Buffer, BufferId, BufferKind, Combine, Contraction, Element, Indexed, Inst,
    KernelKind, LoopKernel, LoopOutput,
};
use std::rc::Rc;

fn refused(bench: &Bench) -> String {
    let error = CpuDevice::new(1)
        .load_cpu(Rc::new(bench.program.clone()))
        .map(|_| ())
        .expect_err("must be refused");
    assert_eq!(error.code.name(), "E0702");
    error.message
}

fn access(buffer: BufferId, offset: i64, strides: &[i64]) -> Access {
    Access {
        buffer,
        offset,
        strides: strides.to_vec(),
        valid: vec![None; strides.len()],
    }
}

/// `y = x + x` over 10 points, with accesses that a test spoils.
fn doubling(change: impl FnOnce(&mut LoopKernel, [BufferId; 2])) -> Bench {
    let mut bench = Bench::default();
    let x = bench.buffer(vec![1.0; 10]);
    let y = bench.buffer(vec![1.0; 10]);
    let mut kernel = LoopKernel {
        shape: vec![10],
        body: vec![
            Inst::Load(access(x, 0, &[1])),
            Inst::Binary(Binary::Add, 0, 0),
        ],
        outputs: vec![LoopOutput {
            value: 1,
            combine: Combine::Store,
            to: access(y, 0, &[1]),
        }],
    };
    change(&mut kernel, [x, y]);
    bench.kernel(KernelKind::Loop(kernel));
    bench
}

#[test]
fn accesses_outside_of_a_buffer() {
    assert_eq!(
        refused(&doubling(
            |k, [x, _]| k.body[0] = Inst::Load(access(x, 1, &[1]))
        )),
        "the compiled program cannot run on this device: in kernel 0 (test 0), `b0` of 10 elements is accessed from 1 to 10"
    );
    refused(&doubling(|k, [x, _]| {
        k.body[0] = Inst::Load(access(x, -1, &[1]))
    }));
    refused(&doubling(|k, [x, _]| {
        k.body[0] = Inst::Load(access(x, 0, &[i64::MAX]))
    }));
    refused(&doubling(|k, [x, _]| {
        k.body[0] = Inst::Load(access(x, 0, &[1, 1]))
    }));
    refused(&doubling(|k, _| {
        k.body[0] = Inst::Load(access(BufferId(9), 0, &[1]))
    }));
    refused(&doubling(|k, _| {
        k.body[1] = Inst::Binary(Binary::Add, 0, 1)
    }));
    refused(&doubling(|k, _| k.outputs[0].value = 7));
    refused(&doubling(|k, _| k.body.push(Inst::Index(1))));
    refused(&doubling(|k, _| k.shape = vec![usize::MAX]));
}

#[test]
fn races() {
    // All points write one element.
    refused(&doubling(|k, _| k.outputs[0].to.strides[0] = 0));
    // Points read what others write.
    refused(&doubling(|k, [_, y]| {
        k.shape = vec![9];
        k.body[0] = Inst::Load(access(y, 1, &[1]));
    }));
    // Two outputs meet.
    refused(&doubling(|k, _| k.outputs.push(k.outputs[0].clone())));
    // A sum into what is read.
    refused(&doubling(|k, [x, _]| {
        k.outputs[0].combine = Combine::Sum(vec![0]);
        k.outputs[0].to = access(x, 0, &[0]);
    }));
}

#[test]
fn sizes_that_contradict_each_other() {
    let mut bench = Bench::default();
    let a = bench.buffer(vec![0.0; 12]);
    let out = bench.buffer(vec![0.0; 16]);
    bench.kernel(KernelKind::Contraction(Contraction::MatMul {
        a,
        b: a,
        out,
        batch: 1,
        m: 4,
        n: 4,
        k: 4,
        ta: false,
        tb: false,
    }));
    assert!(refused(&bench).contains("`b0` has 12 elements where [1, 4, 4] is needed"));

    let mut bench = Bench::default();
    let x = bench.buffer(vec![0.0; 12]);
    bench.kernel(KernelKind::Indexed(Indexed::ArgMax {
        x,
        y: x,
        outer: 12,
        size: 1,
        inner: 1,
    }));
    assert!(refused(&bench).contains("lies over"));
}

#[test]
fn buffers_beyond_the_arena() {
    let mut bench = doubling(|_, _| {});
    bench.program.arena_len = 20;
    assert!(refused(&bench).contains("`b1` goes beyond the arena"));
}

/// A store may take the place of a load of its own element type only.
#[test]
fn element_types_in_one_place() {
    let bench = |element| {
        let mut bench = doubling(|_, _| {});
        bench.program.buffers[1].offset = bench.program.buffers[0].offset;
        bench.program.buffers[1].element = element;
        bench
    };
    let load = |bench: &Bench| CpuDevice::new(1).load_cpu(Rc::new(bench.program.clone()));
    assert!(load(&bench(Element::F32)).is_ok());
    let said = refused(&bench(Element::Bf16));
    assert!(
        said.contains("an output lies over elements that other points read"),
        "{said}"
    );
}

#[test]
fn bf16_where_a_kernel_needs_f32() {
    let mut bench = Bench::default();
    let x = bench.buffer_of(Element::Bf16, vec![1.0; 8]);
    let y = bench.buffer(vec![0.0; 2]);
    bench.kernel(KernelKind::Indexed(Indexed::ArgMax {
        x,
        y,
        outer: 2,
        size: 4,
        inner: 1,
    }));
    assert!(refused(&bench).contains("`b0` is bf16 where f32 is needed"));
}

#[test]
fn operands_of_two_types() {
    let mut bench = Bench::default();
    let a = bench.buffer_of(Element::Bf16, vec![1.0; 4]);
    let b = bench.buffer(vec![1.0; 4]);
    let out = bench.buffer(vec![0.0; 4]);
    bench.kernel(KernelKind::Contraction(Contraction::MatMul {
        a,
        b,
        out,
        batch: 1,
        m: 2,
        n: 2,
        k: 2,
        ta: false,
        tb: false,
    }));
    let said = refused(&bench);
    assert!(
        said.contains("`b0` of bf16 is multiplied by `b1` of f32"),
        "{said}"
    );
}

#[test]
fn memory_is_the_arena_and_the_working_memory() {
    let bench = doubling(|_, _| {});
    let needed = |threads| {
        CpuDevice::new(threads)
            .memory_needed(&bench.program)
            .expect("a valid program")
    };
    assert!(needed(1) > 4 * bench.program.arena_len as u64);
    assert!(needed(4) > needed(1));
}

#[test]
fn a_batch_of_a_billion() {
    let mut bench = Bench::default();
    let shape = vec![1_000_000_000, 32, 32, 64];
    let len: usize = shape.iter().product();
    for offset in [0, len] {
        bench.program.buffers.push(Buffer {
            name: "t".to_string(),
            kind: BufferKind::Temporary,
            element: Element::F32,
            shape: shape.clone(),
            offset,
        });
    }
    bench.program.arena_len = 2 * len;
    let error = CpuDevice::new(2)
        .load_cpu(Rc::new(bench.program.clone()))
        .map(|_| ())
        .expect_err("500 TB");
    assert_eq!(error.code.name(), "E0701");
    assert!(error.message.contains("476.8 TiB"), "{}", error.message);
    assert!(CpuDevice::new(2).memory_needed(&bench.program).is_err());
    bench.program.arena_len = usize::MAX;
    assert!(
        CpuDevice::new(2)
            .load_cpu(Rc::new(bench.program.clone()))
            .is_err()
    );
}
