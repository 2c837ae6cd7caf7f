//! The kernel IR: two kinds of kernel over one arena.
//!
//! Every buffer is dense and row-major, of f32 or of bf16. Integers and masks are f32 as well (exact below 2^24; a mask is
//! 0 or 1). Arithmetic is in f32: loading from bf16 widens, storing rounds to nearest even.
//! A *loop* kernel is a fused region of elementwise ops and reductions over one index space, or one of the few indexed
//! forms ([`Indexed`]) that read or write through computed places. A *contraction* sums products.

use serde::Serialize;

/// An index into [`KernelProgram::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct BufferId(pub u32);

/// Kernels in the order they run, over one arena.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KernelProgram {
    pub buffers: Vec<Buffer>,
    pub kernels: Vec<Kernel>,
    /// Length of the arena in words of 4 bytes.
    pub arena_len: usize,
    /// Kernels that make a value again which was let go to save memory, ascending.
    pub again: Vec<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Buffer {
    /// A name from the spec where there is one: `f.conv1.weight`, `grad/f.conv1.weight`, `t12`.
    pub name: String,
    pub kind: BufferKind,
    pub element: Element,
    pub shape: Vec<usize>,
    /// Where it begins in the arena, in words of 4 bytes; a multiple of 16 (64 bytes). 0 where it has no place.
    pub offset: usize,
}

/// How a buffer's elements are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    #[default]
    F32,
    /// The upper half of an f32; two to a word of the arena, the first in the lower half.
    Bf16,
}

impl Element {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::Bf16 => 2,
        }
    }

    /// Words of 4 bytes that `len` elements take.
    pub fn words(self, len: usize) -> usize {
        match self {
            Element::F32 => len,
            Element::Bf16 => len.div_ceil(2),
        }
    }

    /// `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
        }
    }
}

impl Buffer {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Words of 4 bytes it takes in the arena.
    pub fn words(&self) -> usize {
        match self.kind {
            BufferKind::Piecewise => 0,
            _ => self.element.words(self.len()),
        }
    }

    /// Bytes of its elements.
    pub fn bytes(&self) -> usize {
        self.element.bytes() * self.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferKind {
    /// Written by the host before a step: views, labels, schedules, the step counter.
    Input,
    /// Kept from step to step and updated in place: parameters, running statistics, optimizer state.
    State,
    /// Read by the host after a step.
    Output,
    /// Alive between its kernels only; its place is shared with others.
    Temporary,
    /// Made piece by piece by a prologue in each kernel that reads it; it has no place in the arena.
    Piecewise,
}

#[derive(Clone, Debug, Serialize)]
pub struct Kernel {
    /// What it computes, in the spec's words where possible, for people: `conv f.layer1.0.conv1`, `relu+add`.
    pub name: String,
    pub kind: KernelKind,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelKind {
    Loop(LoopKernel),
    Indexed(Indexed),
    Contraction(Contraction),
    Fused(Fused),
}

impl KernelKind {
    /// The contraction it is or begins with.
    pub fn contraction(&self) -> Option<&Contraction> {
        match self {
            KernelKind::Loop(_) | KernelKind::Indexed(_) => None,
            KernelKind::Contraction(contraction) => Some(contraction),
            KernelKind::Fused(fused) => Some(&fused.contraction),
        }
    }

    pub fn contraction_mut(&mut self) -> Option<&mut Contraction> {
        match self {
            KernelKind::Loop(_) | KernelKind::Indexed(_) => None,
            KernelKind::Contraction(contraction) => Some(contraction),
            KernelKind::Fused(fused) => Some(&mut fused.contraction),
        }
    }
}

/// A contraction with loops on both sides, which a device runs on parts of its operands and of its result.
///
/// It means the prologue, then the contraction, then the epilogue; one of the two loops is there.
///
/// The *prologue* makes the operand that [`Contraction::piecewise`] names, from tensors that the kernel does not write: it
/// stores each point of the operand's index space, [pixels, channels], into its [`BufferKind::Piecewise`] buffer, and does nothing
/// else. A device makes what a unit of work reads in its scratch, some of it more than once.
///
/// The *epilogue*'s index space is [rows, columns] as [`Contraction::result_shape`] says. It loads the result only at its own
/// point, and may store over it there; so the contraction's own sums need not be kept. Nothing that it writes besides is
/// read by either.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fused {
    pub prologue: Option<LoopKernel>,
    pub contraction: Contraction,
    pub epilogue: Option<LoopKernel>,
}

impl Fused {
    /// Its loops, in the order they run.
    pub fn loops(&self) -> impl Iterator<Item = &LoopKernel> {
        self.prologue.iter().chain(&self.epilogue)
    }

    /// The operand that the prologue makes.
    pub fn made(&self) -> Option<BufferId> {
        Some(self.prologue.as_ref()?.outputs.first()?.to.buffer)
    }

    /// Whether an access is the result's element of each point.
    pub fn is_result(&self, access: &Access) -> bool {
        access.buffer == self.contraction.result()
            && access.is_dense(self.contraction.result_shape())
    }
}

/// A fused region over one index space.
///
/// For every point of `shape` (row-major order of the axes) the body is evaluated; then each output is stored, or
/// combined over the reduced axes. Reductions start from 0 (sum) or −∞ (max).
///
/// A kernel that only stores may store into a buffer that it loads, or into the place of one, where every load of that is at
/// the very place of the store: each point is evaluated once, its loads before its stores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoopKernel {
    /// The index space, outermost axis first.
    pub shape: Vec<usize>,
    /// SSA: an instruction's register is its index, and it reads only registers before it.
    pub body: Vec<Inst>,
    pub outputs: Vec<LoopOutput>,
}

impl LoopKernel {
    /// Instructions that compute: neither loads nor numbers.
    pub fn operations(&self) -> usize {
        let computes = |i: &&Inst| !matches!(i, Inst::Load(_) | Inst::Const(_) | Inst::Index(_));
        self.body.iter().filter(computes).count()
    }

    /// The places it loads from.
    pub fn loads(&self) -> impl Iterator<Item = &Access> {
        self.body.iter().filter_map(|inst| match inst {
            Inst::Load(access) => Some(access),
            _ => None,
        })
    }
}

/// A register of a loop body: the index of the instruction that sets it.
pub type Reg = u32;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Inst {
    Load(Access),
    Const(f32),
    /// The index along an axis of the kernel's shape.
    Index(usize),
    Unary(Unary, Reg),
    Binary(Binary, Reg, Reg),
    /// `if r0 != 0 { r1 } else { r2 }`
    Select(Reg, Reg, Reg),
}

impl Inst {
    /// The registers it reads.
    pub fn operands(&self) -> impl Iterator<Item = Reg> + use<> {
        let list = match *self {
            Inst::Load(_) | Inst::Const(_) | Inst::Index(_) => [None, None, None],
            Inst::Unary(_, x) => [Some(x), None, None],
            Inst::Binary(_, a, b) => [Some(a), Some(b), None],
            Inst::Select(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        list.into_iter().flatten()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unary {
    Log2,
    Exp2,
    Sin,
    Sqrt,
    Recip,
    Erf,
    /// Rounds to the nearest bf16, ties to even.
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// The remainder with the dividend's sign, as C's `fmodf`.
    Mod,
    /// 1 where left < right, else 0; 0 with a NaN.
    Less,
    /// NaN-free maximum: the right side where left < right, else the left.
    Max,
    /// Left to the power of right, as C's `powf`.
    Pow,
}

/// A place in a buffer for each point of the index space: `offset + Σ strides[a]·i[a]`, in elements.
///
/// Where an axis has a range in `valid` and the index is outside of it, the load reads 0 and touches no memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Access {
    pub buffer: BufferId,
    pub offset: i64,
    pub strides: Vec<i64>,
    pub valid: Vec<Option<(usize, usize)>>,
}

impl Access {
    /// Whether it is a matrix's element of each point of its rows and columns.
    pub fn is_dense(&self, [rows, columns]: [usize; 2]) -> bool {
        let along = |axis: usize, size: usize, stride: usize| {
            self.valid.get(axis) == Some(&None)
                && (size == 1 || self.strides.get(axis) == Some(&(stride as i64)))
        };
        self.offset == 0
            && self.strides.len() == 2
            && along(0, rows, columns)
            && along(1, columns, 1)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoopOutput {
    pub value: Reg,
    pub combine: Combine,
    /// Where it goes; strides of reduced axes are 0 and no axis has a `valid` range.
    pub to: Access,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    Store,
    /// The sum over the axes named.
    Sum(Vec<usize>),
    /// The maximum over the axes named; NaN is ignored, as luminal does.
    Max(Vec<usize>),
    /// Σ (v − mean v)² over the axes named, the mean being that over the same axes; 0 over one point.
    Deviations(Vec<usize>),
}

impl Combine {
    /// The axes reduced; none where each point is stored.
    pub fn axes(&self) -> &[usize] {
        match self {
            Combine::Store => &[],
            Combine::Sum(axes) | Combine::Max(axes) | Combine::Deviations(axes) => axes,
        }
    }

    fn axes_mut(&mut self) -> Option<&mut Vec<usize>> {
        match self {
            Combine::Store => None,
            Combine::Sum(axes) | Combine::Max(axes) | Combine::Deviations(axes) => Some(axes),
        }
    }

    /// Takes an axis out; the next one takes its number.
    pub fn remove_axis(&mut self, axis: usize) {
        if let Some(axes) = self.axes_mut() {
            axes.retain(|a| *a != axis);
            axes.iter_mut().filter(|a| **a > axis).for_each(|a| *a -= 1);
        }
    }
}

/// Loop kernels whose places depend on data or on windows. Images are NHWC.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Indexed {
    /// `y[o.., j, i..] = x[o.., index[j], i..]`: x is [outer, size, inner], index [count], y [outer, count, inner].
    Take {
        x: BufferId,
        index: BufferId,
        y: BufferId,
        outer: usize,
        size: usize,
        count: usize,
        inner: usize,
    },
    /// The transpose of `Take`: x [outer, size, inner] is cleared, then `x[o, index[j], i] += y[o, j, i]` in order of j.
    ScatterAdd {
        y: BufferId,
        index: BufferId,
        x: BufferId,
        outer: usize,
        size: usize,
        count: usize,
        inner: usize,
    },
    /// The position of the first maximum along the middle axis of x [outer, size, inner]; y [outer, inner].
    ArgMax {
        x: BufferId,
        y: BufferId,
        outer: usize,
        size: usize,
        inner: usize,
    },
    /// Maximum over windows; padding never wins.
    MaxPool {
        x: BufferId,
        y: BufferId,
        window: Window,
    },
    /// The gradient of `MaxPool`: each window gives its dy to the first maximum, as PyTorch does.
    MaxPoolGrad {
        x: BufferId,
        dy: BufferId,
        dx: BufferId,
        window: Window,
    },
    /// Mean over windows, zeros of the padding counted (PyTorch's default).
    AvgPool {
        x: BufferId,
        y: BufferId,
        window: Window,
    },
    AvgPoolGrad {
        dy: BufferId,
        dx: BufferId,
        window: Window,
    },
    /// Uniform draws in [0, 1) from a counter-based generator keyed by (seed, stream, step, element); `step` is one element.
    Uniform {
        step: BufferId,
        y: BufferId,
        seed: u64,
        stream: u64,
    },
}

/// Square windows over NHWC images: input [n, h, w, c], output [n, oh, ow, c].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Window {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub oh: usize,
    pub ow: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Window {
    /// Elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.oh * self.ow * self.c
    }
}

/// Sums of products in f32. Both operands have the same element type, which need not be the result's.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Contraction {
    /// `out[b] = A[b] B[b]`, where A is [m, k] ([k, m] if `ta`) and B is [k, n] ([n, k] if `tb`), all row-major.
    MatMul {
        a: BufferId,
        b: BufferId,
        out: BufferId,
        batch: usize,
        m: usize,
        n: usize,
        k: usize,
        ta: bool,
        tb: bool,
    },
    /// `y = conv(x, w)`; x NHWC, w HWIO ([kh, kw, c/groups, k]), y NHWC.
    Conv {
        x: BufferId,
        w: BufferId,
        y: BufferId,
        shape: ConvShape,
        algorithm: Algorithm,
    },
    /// The gradient of `Conv` with respect to x.
    ConvInputGrad {
        dy: BufferId,
        w: BufferId,
        dx: BufferId,
        shape: ConvShape,
        algorithm: Algorithm,
    },
    /// The gradient of `Conv` with respect to w.
    ConvFilterGrad {
        x: BufferId,
        dy: BufferId,
        dw: BufferId,
        shape: ConvShape,
        algorithm: Algorithm,
    },
}

/// How a convolution or one of its gradients is computed; the result is the same but for rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// A product for every tap.
    #[default]
    Direct,
    /// F(4×4, 3×3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): 36 products where direct
    /// convolution has 144; at stride 2, 81 for 144. For those that [`Contraction::algorithm`] tells.
    Winograd,
}

impl Algorithm {
    /// `direct` or `winograd`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
        }
    }
}

impl Contraction {
    /// The two buffers whose elements are multiplied.
    pub fn operands(&self) -> (BufferId, BufferId) {
        match *self {
            Contraction::MatMul { a, b, .. } => (a, b),
            Contraction::Conv { x, w, .. } => (x, w),
            Contraction::ConvInputGrad { dy, w, .. } => (dy, w),
            Contraction::ConvFilterGrad { x, dy, .. } => (x, dy),
        }
    }

    /// The operand that a prologue may make, as pixels and channels: what a convolution or its filter's gradient reads.
    pub fn piecewise(&self) -> Option<(BufferId, [usize; 2])> {
        match self {
            Contraction::Conv { x, shape: s, .. }
            | Contraction::ConvFilterGrad { x, shape: s, .. } => Some((*x, [s.n * s.h * s.w, s.c])),
            Contraction::MatMul { .. } | Contraction::ConvInputGrad { .. } => None,
        }
    }

    /// The buffer of the sums.
    pub fn result(&self) -> BufferId {
        match *self {
            Contraction::MatMul { out, .. } => out,
            Contraction::Conv { y, .. } => y,
            Contraction::ConvInputGrad { dx, .. } => dx,
            Contraction::ConvFilterGrad { dw, .. } => dw,
        }
    }

    pub fn result_mut(&mut self) -> &mut BufferId {
        match self {
            Contraction::MatMul { out, .. } => out,
            Contraction::Conv { y, .. } => y,
            Contraction::ConvInputGrad { dx, .. } => dx,
            Contraction::ConvFilterGrad { dw, .. } => dw,
        }
    }

    /// Its algorithm, and whether there is Winograd's for it where the elements of its result are stored so: the sums of a
    /// filter's gradient are transformed as f32. A product of matrices has one algorithm.
    pub fn algorithm(&self, stored: Element) -> Option<(Algorithm, bool)> {
        match self {
            Contraction::MatMul { .. } => None,
            Contraction::Conv {
                shape, algorithm, ..
            }
            | Contraction::ConvInputGrad {
                shape, algorithm, ..
            } => Some((*algorithm, shape.has_winograd())),
            Contraction::ConvFilterGrad {
                shape, algorithm, ..
            } => Some((*algorithm, shape.has_winograd() && stored == Element::F32)),
        }
    }

    /// The result as rows and columns: pixels and channels, or those of all matrices.
    pub fn result_shape(&self) -> [usize; 2] {
        match self {
            Contraction::MatMul { batch, m, n, .. } => [batch * m, *n],
            Contraction::Conv { shape: s, .. } => [s.n * s.oh * s.ow, s.k],
            Contraction::ConvInputGrad { shape: s, .. } => [s.n * s.h * s.w, s.c],
            Contraction::ConvFilterGrad { shape: s, .. } => {
                [s.kernel * s.kernel * (s.c / s.groups), s.k]
            }
        }
    }
}

/// Sizes of a 2-D convolution: x [n, h, w, c], filter [kernel, kernel, c/groups, k], y [n, oh, ow, k].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ConvShape {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub k: usize,
    pub oh: usize,
    pub ow: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
}

impl ConvShape {
    /// Square windows over n square images: the kernel's half as padding, in one group.
    pub fn square(
        n: usize,
        size: usize,
        [c, k]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> ConvShape {
        let padding = kernel / 2;
        let out = (size + 2 * padding - kernel) / stride + 1;
        ConvShape {
            n,
            h: size,
            w: size,
            c,
            k,
            oh: out,
            ow: out,
            kernel,
            stride,
            padding,
            groups: 1,
        }
    }

    /// Whether the Winograd algorithm computes it: 3×3 windows over all channels, one apart, or two with a padding of 1.
    pub fn has_winograd(&self) -> bool {
        let apart = self.stride == 1 || (self.stride == 2 && self.padding == 1);
        self.kernel == 3 && apart && self.groups == 1
    }

    /// Elements of x.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Elements of the filter.
    pub fn w_len(&self) -> usize {
        self.kernel * self.kernel * (self.c / self.groups) * self.k
    }

    /// Elements of y.
    pub fn y_len(&self) -> usize {
        self.n * self.oh * self.ow * self.k
    }
}
