//! Contractions as calls of NVIDIA's libraries.
//!
//! A library computes the bare contraction. What is fused with it becomes loops before and after the call, and what those hand over
//! lies in the scratch: the operand that a prologue makes, and filters in the order that cuDNN takes.

use super::Argument;
use super::draft::Drafts;
use super::loops::loop_kernel;
use sslc_compiler::kernels::ir::{
    Access, Buffer, BufferId, BufferKind, Combine, Contraction, ConvShape, Element, Inst,
    KernelKind, KernelProgram, LoopKernel, LoopOutput,
};

/// Words of 4 bytes that a call may use beside its operands: the 32 MiB that NVIDIA advises for cuBLASLt on an H100.
pub const WORKSPACE_WORDS: usize = 8 << 20;

/// Words that the place of a workspace is a multiple of: 256 bytes, as cuBLASLt asks.
const WORKSPACE_ALIGNMENT: usize = 64;

/// A library of NVIDIA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// Products of matrices.
    CublasLt,
    /// Convolutions and their gradients.
    Cudnn,
}

/// What a call computes. The result is dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Row-major matrices: `out[b] = A[b] B[b]`, A [m, k] ([k, m] if `ta`), B [k, n] ([n, k] if `tb`).
    MatMul {
        operands: Element,
        result: Element,
        batch: usize,
        m: usize,
        n: usize,
        k: usize,
        ta: bool,
        tb: bool,
    },
    /// Images NHWC, the filter [k, kh, kw, c], one group, one element type.
    Conv {
        which: Which,
        element: Element,
        shape: ConvShape,
    },
}

/// Which of a convolution's three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// y from x and w.
    Forward,
    /// dx from dy and w.
    InputGrad,
    /// dw from x and dy.
    FilterGrad,
}

impl Product {
    /// The library that computes it.
    pub fn library(&self) -> Library {
        match self {
            Product::MatMul { .. } => Library::CublasLt,
            Product::Conv { .. } => Library::Cudnn,
        }
    }
}

/// A call of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub product: Product,
    /// In the order that [`Product`] names them.
    pub operands: [Argument; 2],
    pub result: Argument,
    /// [`WORKSPACE_WORDS`] of scratch.
    pub workspace: Argument,
}

/// A part of a kernel that is run by a library.
pub enum Part {
    /// Launches, and what they do as a word of their names.
    Loop(&'static str, Drafts),
    /// The call, and the words of scratch that it and what it shares with the loops reach.
    Call(Call, usize),
}

/// Makes parts of a program's kernels.
pub struct ByLibrary<'a> {
    program: &'a KernelProgram,
    /// What libraries are there.
    there: &'a dyn Fn(Library) -> bool,
    /// Made for the first kernel that a library runs.
    room: Option<Room>,
}

impl<'a> ByLibrary<'a> {
    pub fn new(program: &'a KernelProgram, there: &'a dyn Fn(Library) -> bool) -> ByLibrary<'a> {
        ByLibrary {
            program,
            there,
            room: None,
        }
    }

    /// A kernel by a library, where one that is there computes the same.
    pub fn parts(&mut self, kind: &KernelKind) -> Option<Vec<Part>> {
        let contraction = kind.contraction()?;
        let element = |b: BufferId| self.program.buffers[b.0 as usize].element;
        let (operand, _) = contraction.operands();
        let product = product(contraction, element(operand), element(contraction.result()))?;
        if !(self.there)(product.library()) {
            return None;
        }
        let room = self.room.get_or_insert_with(|| Room::new(self.program));
        room.clear();
        Some(parts(product, kind, contraction, room))
    }
}

/// The call with the loops around it.
fn parts(
    product: Product,
    kind: &KernelKind,
    contraction: &Contraction,
    room: &mut Room,
) -> Vec<Part> {
    let (prologue, epilogue) = match kind {
        KernelKind::Fused(fused) => (fused.prologue.as_ref(), fused.epilogue.as_ref()),
        _ => (None, None),
    };
    let (a, b) = contraction.operands();
    let result = contraction.result();
    let element = |room: &Room, b: BufferId| room.buffers[b.0 as usize].element;
    let mut parts = Vec::new();
    if let Some(prologue) = prologue {
        for made in &prologue.outputs {
            room.give(made.to.buffer);
        }
        parts.push(Part::Loop("prologue", room.launches(prologue)));
    }
    let (mut operands, mut out) = ([a, b], result);
    let mut turn_back = None;
    if let Product::Conv { which, shape, .. } = product {
        let s = [shape.kernel * shape.kernel, shape.c, shape.k];
        if which == Which::FilterGrad {
            let turned = room.add(element(room, result), s.iter().product());
            out = turned;
            turn_back = Some(from_library_order(turned, result, s));
        } else {
            let turned = room.add(element(room, b), s.iter().product());
            let turn = to_library_order(b, turned, s);
            parts.push(Part::Loop("turn_filter", room.launches(&turn)));
            operands = [a, turned];
        }
    }
    let workspace = room.base + (room.next - room.base).next_multiple_of(WORKSPACE_ALIGNMENT);
    let call = Call {
        product,
        operands: operands.map(|b| room.argument(&Argument::Buffer(b))),
        result: room.argument(&Argument::Buffer(out)),
        workspace: Argument::Scratch(workspace - room.base),
    };
    let words = workspace - room.base + WORKSPACE_WORDS;
    parts.push(Part::Call(call, words));
    if let Some(turn) = turn_back {
        parts.push(Part::Loop("turn_filter_back", room.launches(&turn)));
    }
    if let Some(epilogue) = epilogue {
        parts.push(Part::Loop("epilogue", room.launches(epilogue)));
    }
    parts
}

/// The call for a contraction; `None` where no library has it.
fn product(contraction: &Contraction, operands: Element, result: Element) -> Option<Product> {
    let matrices = |batch, [m, n, k]: [usize; 3], ta, tb| Product::MatMul {
        operands,
        result,
        batch,
        m,
        n,
        k,
        ta,
        tb,
    };
    let product = match *contraction {
        Contraction::MatMul {
            batch,
            m,
            n,
            k,
            ta,
            tb,
            ..
        } => matrices(batch, [m, n, k], ta, tb),
        Contraction::Conv { shape: s, .. } if is_matrix(&s) => {
            matrices(1, [s.n * s.h * s.w, s.k, s.c], false, false)
        }
        Contraction::ConvInputGrad { shape: s, .. } if is_matrix(&s) => {
            matrices(1, [s.n * s.h * s.w, s.c, s.k], false, true)
        }
        Contraction::ConvFilterGrad { shape: s, .. } if is_matrix(&s) => {
            matrices(1, [s.c, s.k, s.n * s.h * s.w], true, false)
        }
        Contraction::Conv { shape, .. } => convolution(Which::Forward, shape, operands),
        Contraction::ConvInputGrad { shape, .. } => convolution(Which::InputGrad, shape, operands),
        Contraction::ConvFilterGrad { shape, .. } => {
            convolution(Which::FilterGrad, shape, operands)
        }
    };
    let there = match product {
        Product::MatMul { batch, m, n, k, .. } => {
            batch * m * n * k > 0 && (operands == Element::Bf16 || result == Element::F32)
        }
        Product::Conv { shape: s, .. } => {
            s.groups == 1 && operands == result && s.n * s.oh * s.ow * s.c * s.k > 0
        }
    };
    there.then_some(product)
}

fn convolution(which: Which, shape: ConvShape, element: Element) -> Product {
    Product::Conv {
        which,
        element,
        shape,
    }
}

/// Whether a convolution is a product of matrices as it stands.
fn is_matrix(s: &ConvShape) -> bool {
    s.kernel == 1 && s.stride == 1 && s.padding == 0 && s.groups == 1
}

/// The program's buffers, and beyond the arena those in the scratch.
struct Room {
    buffers: Vec<Buffer>,
    /// Where the scratch begins, in words.
    base: usize,
    /// The first word that is free.
    next: usize,
    /// How many buffers are the program's.
    own: usize,
}

impl Room {
    fn new(program: &KernelProgram) -> Room {
        let base = program.arena_len.next_multiple_of(16);
        Room {
            buffers: program.buffers.clone(),
            base,
            next: base,
            own: program.buffers.len(),
        }
    }

    /// Makes room for another kernel.
    fn clear(&mut self) {
        self.buffers.truncate(self.own);
        self.next = self.base;
    }

    /// Gives a buffer that has no place one in the scratch.
    fn give(&mut self, buffer: BufferId) {
        let next = self.next;
        let buffer = &mut self.buffers[buffer.0 as usize];
        buffer.kind = BufferKind::Temporary;
        buffer.offset = next;
        self.next += buffer.words().next_multiple_of(16);
    }

    /// A new buffer in the scratch.
    fn add(&mut self, element: Element, len: usize) -> BufferId {
        let id = BufferId(u32::try_from(self.buffers.len()).unwrap_or(u32::MAX));
        self.buffers.push(Buffer {
            name: String::new(),
            kind: BufferKind::Piecewise,
            element,
            shape: vec![len],
            offset: 0,
        });
        self.give(id);
        id
    }

    fn launches(&self, kernel: &LoopKernel) -> Drafts {
        let mut drafts = loop_kernel(kernel, &self.buffers);
        for argument in drafts.launches.iter_mut().flat_map(|l| &mut l.arguments) {
            *argument = self.argument(argument);
        }
        drafts
    }

    /// An argument, with what lies beyond the arena as a place in the scratch.
    fn argument(&self, argument: &Argument) -> Argument {
        if let Argument::Buffer(b) = argument
            && let Some(at) = self.buffers[b.0 as usize].offset.checked_sub(self.base)
        {
            return Argument::Scratch(at);
        }
        argument.clone()
    }
}

/// A filter [taps, c, k] as [k, taps, c].
fn to_library_order(from: BufferId, to: BufferId, [taps, c, k]: [usize; 3]) -> LoopKernel {
    copy([k, taps, c], (from, [1, c * k, k]), to)
}

/// The reverse of [`to_library_order`].
fn from_library_order(from: BufferId, to: BufferId, [taps, c, k]: [usize; 3]) -> LoopKernel {
    copy([taps, c, k], (from, [c, 1, taps * c]), to)
}

/// Stores a tensor of a shape densely, from one with other strides.
fn copy(shape: [usize; 3], (from, strides): (BufferId, [usize; 3]), to: BufferId) -> LoopKernel {
    let access = |buffer, strides: [usize; 3]| Access {
        buffer,
        offset: 0,
        strides: strides.map(|s| s as i64).to_vec(),
        valid: vec![None; 3],
    };
    let dense = [shape[1] * shape[2], shape[2], 1];
    LoopKernel {
        shape: shape.to_vec(),
        body: vec![Inst::Load(access(from, strides))],
        outputs: vec![LoopOutput {
            value: 0,
            combine: Combine::Store,
            to: access(to, dense),
        }],
    }
}
