//! Running a kernel allocates nothing, on any thread.

#[path = "../../tests/support/allocations.rs"]
mod allocations;

use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::{
    Access, Algorithm, Binary, Buffer, BufferId, BufferKind, Combine, Contraction, ConvShape,
    Element, Indexed, Inst, Kernel, KernelKind, KernelProgram, LoopKernel, LoopOutput, Window,
};
use sslc_cpu::CpuDevice;
use std::rc::Rc;

fn access(buffer: u32, strides: &[i64]) -> Access {
    Access {
        buffer: BufferId(buffer),
        offset: 0,
        strides: strides.to_vec(),
        valid: vec![None; strides.len()],
    }
}

fn program() -> KernelProgram {
    let shape = ConvShape::square(16, 16, [16, 32], 3, 1);
    let window = Window {
        n: 16,
        h: 16,
        w: 16,
        c: 16,
        oh: 8,
        ow: 8,
        kernel: 2,
        stride: 2,
        padding: 0,
    };
    let lens = [
        shape.x_len(),
        shape.w_len(),
        shape.y_len(),
        shape.y_len(),
        32,
        window.y_len(),
    ];
    let mut program = KernelProgram::default();
    for (i, len) in lens.into_iter().enumerate() {
        program.buffers.push(Buffer {
            name: format!("b{i}"),
            kind: BufferKind::State,
            element: Element::F32,
            shape: vec![len],
            offset: program.arena_len,
        });
        program.arena_len += len.next_multiple_of(16);
    }
    let id = BufferId;
    let rows = shape.y_len() / 32;
    let kinds = [
        KernelKind::Contraction(Contraction::Conv {
            x: id(0),
            w: id(1),
            y: id(2),
            shape,
            algorithm: Algorithm::Direct,
        }),
        KernelKind::Loop(LoopKernel {
            shape: vec![rows, 32],
            body: vec![
                Inst::Load(access(2, &[32, 1])),
                Inst::Load(access(4, &[0, 1])),
                Inst::Binary(Binary::Mul, 0, 1),
            ],
            outputs: vec![LoopOutput {
                value: 2,
                combine: Combine::Store,
                to: access(3, &[32, 1]),
            }],
        }),
        KernelKind::Loop(LoopKernel {
            shape: vec![rows, 32],
            body: vec![Inst::Load(access(3, &[32, 1]))],
            outputs: vec![LoopOutput {
                value: 0,
                combine: Combine::Sum(vec![0]),
                to: access(4, &[0, 1]),
            }],
        }),
        KernelKind::Contraction(Contraction::ConvInputGrad {
            dy: id(3),
            w: id(1),
            dx: id(0),
            shape,
            algorithm: Algorithm::Direct,
        }),
        KernelKind::Contraction(Contraction::ConvFilterGrad {
            x: id(0),
            dy: id(3),
            dw: id(1),
            shape,
            algorithm: Algorithm::Direct,
        }),
        KernelKind::Indexed(Indexed::MaxPool {
            x: id(0),
            y: id(5),
            window,
        }),
    ];
    program.kernels = kinds
        .into_iter()
        .map(|kind| Kernel {
            name: "test".to_string(),
            kind,
        })
        .collect();
    program
}

#[test]
fn a_steady_step_allocates_nothing() {
    let program = Rc::new(program());
    for threads in [1, 3] {
        let loaded = CpuDevice::new(threads)
            .load_cpu(Rc::clone(&program))
            .expect("a valid program");
        let step = || (0..program.kernels.len()).for_each(|k| loaded.run(k));
        // A worker thread allocates once, when the system lets it start.
        let steady = (0..200).any(|_| {
            let before = allocations::count();
            step();
            step();
            allocations::count() == before
        });
        assert!(steady, "{threads} threads");
    }
}
