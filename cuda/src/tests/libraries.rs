//! Calls of NVIDIA's libraries, computed and checked by stand-ins for them on the simulated GPU, against the interpreter of the
//! kernel IR; and calls with planted mistakes.

use super::elsewhere::{is_on_gpu, mistake, on_gpu};
use crate::code::contract::tests::cases::{Case, Which};
use crate::code::library::{Call, Product};
use crate::code::{Argument, Code, Step, generate_with};
use crate::libraries::Libraries;
use crate::loaded::CudaLoaded;
use crate::{CudaDevice, Gpu};
use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::{BufferId, BufferKind, ConvShape, Element};
use sslc_kernel_testing::Draw;
use std::rc::Rc;

/// The first step of a kernel's alternative that is a call.
fn call(code: &mut Code) -> &mut Call {
    let steps = code.alternatives.iter_mut().flat_map(|a| &mut a.steps);
    let mut calls = steps.filter_map(|s| match s {
        Step::Call(call) => Some(call),
        Step::Launch(_) => None,
    });
    calls.next().expect("a call")
}

/// Runs a case by a library, with its code changed before. `Err`: what the library or the driver says, or where results differ.
fn run(device: &CudaDevice, case: &Case, change: impl Fn(&mut Code)) -> Result<(), String> {
    let bench = case.bench(&mut Draw::new(11));
    let gpu: &Gpu = device.gpu();
    let libraries = Libraries::open(&gpu.context);
    let mut code =
        generate_with(&bench.program, &|l| libraries.has(l)).map_err(|e| e.to_string())?;
    if code.alternatives.is_empty() {
        return Err("no library has it".to_owned());
    }
    code.keep(&|_| true);
    change(&mut code);
    let said = |d: sslc_grammar::diag::Diagnostic| d.message;
    let functions = device.functions(&code).map_err(said)?;
    let program = Rc::new(bench.program.clone());
    let mut loaded = CudaLoaded::new(gpu, program, &code, &functions).map_err(said)?;
    let placing = loaded.placing(&code, &functions);
    let steps = placing.alternative(&code.alternatives[0], &libraries)?;
    loaded.replace(0, steps);
    let buffers = || {
        let all = bench.program.buffers.iter().enumerate();
        all.filter(|(_, b)| b.kind != BufferKind::Piecewise)
    };
    for (i, _) in buffers() {
        loaded.write(BufferId(i as u32), &bench.contents[i]);
    }
    loaded.run(0);
    let mut got = vec![Vec::new(); bench.contents.len()];
    for (i, _) in buffers() {
        got[i] = vec![0.0; bench.contents[i].len()];
        loaded.read(BufferId(i as u32), &mut got[i]);
    }
    if let Some(failure) = loaded.failure() {
        return Err(failure.message);
    }
    match case.difference(&got, &bench.expected()) {
        Some(wrong) => Err(wrong),
        None => Ok(()),
    }
}

const KINDS: [Which; 3] = [Which::Forward, Which::InputGrad, Which::FilterGrad];

fn shape(size: [usize; 3], [c, k]: [usize; 2], [kernel, stride]: [usize; 2]) -> ConvShape {
    let [n, h, w] = size;
    let padding = kernel / 2;
    let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
    ConvShape {
        h,
        w,
        oh: out(h),
        ow: out(w),
        ..ConvShape::square(n, h, [c, k], kernel, stride)
    }
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let types = [
        [Element::F32, Element::F32],
        [Element::Bf16, Element::Bf16],
        [Element::Bf16, Element::F32],
    ];
    for types in types {
        for turned in [[false, false], [false, true], [true, false], [true, true]] {
            all.push(Case::matmul(types, [1, 5, 3, 7], turned));
            all.push(Case::matmul(types, [3, 8, 12, 16], turned));
        }
    }
    let shapes = [
        shape([2, 6, 5], [8, 4], [1, 1]),
        shape([2, 7, 5], [3, 8], [3, 1]),
        shape([1, 8, 6], [4, 8], [3, 2]),
        shape([1, 9, 9], [3, 4], [7, 2]),
        shape([2, 6, 6], [4, 8], [1, 2]),
    ];
    for shape in shapes {
        for which in KINDS {
            all.push(Case::conv(which, Element::F32, shape));
        }
        all.push(Case::conv(Which::Forward, Element::Bf16, shape));
        all.push(Case::conv(Which::InputGrad, Element::Bf16, shape));
        all.push(
            Case::conv(Which::Forward, Element::F32, shape)
                .with_normalised()
                .with_statistics(),
        );
        all.push(
            Case::conv(Which::Forward, Element::Bf16, shape)
                .with_normalised()
                .with_statistics(),
        );
        all.push(Case::conv(Which::InputGrad, Element::F32, shape).with_residual());
        all.push(Case::conv(Which::FilterGrad, Element::F32, shape).with_normalised());
    }
    let matmul = Case::matmul([Element::F32, Element::F32], [1, 16, 8, 24], [false, true]);
    all.push(matmul.with_statistics());
    all
}

#[test]
fn libraries_compute_what_kernels_mean() {
    if !is_on_gpu() {
        if let Some(Err(said)) = on_gpu("libraries::libraries_compute_what_kernels_mean", "") {
            panic!("{said}");
        }
        return;
    }
    let device = CudaDevice::open(0, 1).unwrap();
    for case in cases() {
        if let Err(wrong) = run(&device, &case, |_| {}) {
            panic!("{}: {wrong}", case.name);
        }
    }
}

/// What cuDNN does not have in the types that a training uses stays with our kernels.
#[test]
fn a_library_is_not_asked_for_what_it_lacks() {
    let mut grouped = shape([1, 4, 4], [4, 8], [3, 1]);
    grouped.groups = 2;
    let lacking = [
        Case::conv(
            Which::FilterGrad,
            Element::Bf16,
            shape([1, 4, 4], [4, 8], [3, 1]),
        ),
        Case::conv(Which::Forward, Element::F32, grouped),
    ];
    for case in lacking {
        let bench = case.bench(&mut Draw::new(1));
        let code = generate_with(&bench.program, &|_| true).unwrap();
        assert!(code.alternatives.is_empty(), "{}", case.name);
    }
}

/// A mistake in a call: its name, what it is planted in, and how.
type Mistake = (&'static str, fn() -> Case, fn(&mut Code));

fn matmul() -> Case {
    Case::matmul([Element::F32, Element::F32], [2, 8, 12, 16], [false, true])
}

fn output() -> Case {
    Case::conv(
        Which::Forward,
        Element::F32,
        shape([2, 7, 5], [4, 8], [3, 1]),
    )
}

fn input_grad() -> Case {
    Case::conv(
        Which::InputGrad,
        Element::F32,
        shape([1, 8, 6], [4, 8], [3, 2]),
    )
}

fn filter_grad() -> Case {
    Case::conv(
        Which::FilterGrad,
        Element::F32,
        shape([2, 7, 5], [4, 8], [3, 1]),
    )
    .with_normalised()
}

/// Changes the product of a code's call.
fn product(code: &mut Code, change: impl Fn(&mut Product)) {
    change(&mut call(code).product);
}

fn conv(code: &mut Code, change: impl Fn(&mut ConvShape)) {
    product(code, |p| {
        if let Product::Conv { shape, .. } = p {
            change(shape);
        }
    });
}

const MISTAKES: [Mistake; 19] = [
    ("the left matrix turned", matmul, |code| {
        product(code, |p| {
            if let Product::MatMul { ta, .. } = p {
                *ta = !*ta;
            }
        });
    }),
    ("the right matrix not turned", matmul, |code| {
        product(code, |p| {
            if let Product::MatMul { tb, .. } = p {
                *tb = !*tb;
            }
        });
    }),
    ("rows and columns swapped", matmul, |code| {
        product(code, |p| {
            if let Product::MatMul { m, n, .. } = p {
                std::mem::swap(m, n);
            }
        });
    }),
    ("a term too few", matmul, |code| {
        product(code, |p| {
            if let Product::MatMul { k, .. } = p {
                *k -= 1;
            }
        });
    }),
    ("one matrix of the batch", matmul, |code| {
        product(code, |p| {
            if let Product::MatMul { batch, .. } = p {
                *batch = 1;
            }
        });
    }),
    ("a matrix too many", matmul, |code| {
        product(code, |p| {
            if let Product::MatMul { batch, .. } = p {
                *batch = 200;
            }
        });
    }),
    ("operands swapped", matmul, |code| {
        call(code).operands.swap(0, 1)
    }),
    ("a result of another type", matmul, |code| {
        product(code, |p| {
            if let Product::MatMul { result, .. } = p {
                *result = Element::Bf16;
            }
        });
    }),
    ("the result over an operand", matmul, |code| {
        let call = call(code);
        call.result = call.operands[0].clone();
    }),
    ("no padding", output, |code| conv(code, |s| s.padding = 0)),
    ("another stride", output, |code| {
        conv(code, |s| s.stride = 2)
    }),
    ("height and width swapped", output, |code| {
        conv(code, |s| {
            std::mem::swap(&mut s.h, &mut s.w);
            std::mem::swap(&mut s.oh, &mut s.ow);
        });
    }),
    ("the filter not turned", output, |code| {
        call(code).operands[1] = Argument::Buffer(BufferId(1));
    }),
    ("the workspace over the filter", output, |code| {
        let call = call(code);
        call.workspace = call.operands[1].clone();
    }),
    ("a workspace that is not there", output, |code| {
        call(code).workspace = Argument::Scratch(1 << 30);
    }),
    ("another product", input_grad, |code| {
        product(code, |p| {
            if let Product::Conv { which, .. } = p {
                *which = Which::Forward;
            }
        });
    }),
    ("operands of the gradient swapped", input_grad, |code| {
        call(code).operands.swap(0, 1);
    }),
    ("channels swapped", filter_grad, |code| {
        conv(code, |s| std::mem::swap(&mut s.c, &mut s.k));
    }),
    ("the prologue left out", filter_grad, |code| {
        code.alternatives[0].steps.remove(0);
    }),
];

#[test]
fn mistakes_in_calls_are_caught() {
    if !is_on_gpu() {
        let mut missed = Vec::new();
        for (name, ..) in &MISTAKES {
            match on_gpu("libraries::mistakes_in_calls_are_caught", name) {
                None => return,
                Some(Ok(())) => missed.push(*name),
                Some(Err(said)) => {
                    let caught = said.lines().find_map(|l| l.split_once("CAUGHT "));
                    let (_, how) = caught.unwrap_or_else(|| panic!("{name}: {said}"));
                    println!("{name}: {how}");
                }
            }
        }
        assert!(missed.is_empty(), "not caught: {missed:?}");
        return;
    }
    let planted = mistake();
    let found = MISTAKES.iter().find(|(name, ..)| *name == planted);
    let (_, case, change) = found.expect("a mistake of this name");
    let device = CudaDevice::open(0, 1).unwrap();
    run(&device, &case(), |_| {}).expect("right without the mistake");
    if let Err(how) = run(&device, &case(), change) {
        panic!("CAUGHT {how}");
    }
}
