//! Verifies a program before it is loaded: after this, no kernel can touch memory outside of its buffers, and no two
//! units of a kernel race.
//!
//! What the compiler makes passes; a violation is a fault of the compiler, reported as such and not run.

use super::loops::canon::{Canon, MAX_AXES, Op};
use super::loops::ranges::{disjoint, injective, overlap, same};
use sslc_compiler::kernels::ir::{
    Access, Algorithm, Buffer, BufferId, BufferKind, Combine, Contraction, ConvShape, Element,
    Fused, Indexed, Inst, KernelKind, KernelProgram, LoopKernel, Window,
};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// Sizes and lengths stay below this, so that sums and products of places cannot overflow.
const LIMIT: usize = 1 << 48;

/// Verifies every buffer and kernel.
///
/// # Errors
/// E0702 with the kernel and what is wrong with it.
pub fn check(program: &KernelProgram) -> Result<(), Diagnostic> {
    let checker = Checker {
        program,
        made: None,
    };
    checker
        .buffers()
        .map_err(|what| fault("its buffers", &what))?;
    for (i, kernel) in program.kernels.iter().enumerate() {
        let result = match &kernel.kind {
            KernelKind::Loop(k) => checker.loop_kernel(k),
            KernelKind::Indexed(k) => checker.indexed(k),
            KernelKind::Contraction(k) => checker.contraction(k),
            KernelKind::Fused(k) => checker.fused(k),
        };
        result.map_err(|what| fault(&format!("kernel {i} ({})", kernel.name), &what))?;
    }
    Ok(())
}

fn fault(place: &str, what: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E0702,
        format!("the compiled program cannot run on this device: in {place}, {what}"),
    )
    .help("this is a fault of the compiler, not of the spec: please report it with the spec")
}

type Checked<T = ()> = Result<T, String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

/// The product of sizes, if it is sensible.
fn product(sizes: &[usize]) -> Checked<usize> {
    sizes
        .iter()
        .try_fold(1usize, |n, s| n.checked_mul(*s).filter(|n| *n < LIMIT))
        .ok_or_else(|| format!("the shape {sizes:?} is too large"))
}

#[derive(Clone, Copy)]
struct Checker<'a> {
    program: &'a KernelProgram,
    /// The operand that a prologue makes: it has no place in the arena.
    made: Option<BufferId>,
}

impl Checker<'_> {
    fn buffers(&self) -> Checked {
        ensure(self.program.arena_len < LIMIT, || {
            format!("the arena of {} words is too large", self.program.arena_len)
        })?;
        for buffer in &self.program.buffers {
            let len = product(&buffer.shape)?;
            let words = match buffer.kind {
                BufferKind::Piecewise => {
                    ensure(buffer.offset == 0, || {
                        format!("`{}` has no place, but begins somewhere", buffer.name)
                    })?;
                    0
                }
                _ => buffer.element.words(len),
            };
            let end = buffer.offset.checked_add(words);
            ensure(end.is_some_and(|end| end <= self.program.arena_len), || {
                format!("`{}` goes beyond the arena", buffer.name)
            })?;
        }
        Ok(())
    }

    fn buffer(&self, id: BufferId) -> Checked<&Buffer> {
        let buffer = self.program.buffers.get(id.0 as usize);
        let buffer = buffer.ok_or_else(|| format!("there is no buffer {}", id.0))?;
        let placed = buffer.kind != BufferKind::Piecewise || self.made == Some(id);
        ensure(placed, || format!("`{}` has no place", buffer.name))?;
        Ok(buffer)
    }

    /// The buffer has these sizes.
    fn sizes(&self, id: BufferId, sizes: &[usize]) -> Checked {
        let buffer = self.buffer(id)?;
        let (name, len) = (&buffer.name, buffer.len());
        let want = product(sizes)?;
        ensure(len == want && len > 0, || {
            format!("`{name}` has {len} elements where {sizes:?} is needed")
        })
    }

    /// The operands of a product have one type of element.
    fn alike(&self, a: BufferId, b: BufferId) -> Checked {
        let (a, b) = (self.buffer(a)?, self.buffer(b)?);
        ensure(a.element == b.element, || {
            format!(
                "`{}` of {} is multiplied by `{}` of {}",
                a.name,
                a.element.name(),
                b.name,
                b.element.name()
            )
        })
    }

    /// The buffer has these sizes, in f32.
    fn len(&self, id: BufferId, sizes: &[usize]) -> Checked {
        self.sizes(id, sizes)?;
        let buffer = self.buffer(id)?;
        let name = &buffer.name;
        ensure(buffer.element == Element::F32, || {
            format!("`{name}` is {} where f32 is needed", buffer.element.name())
        })
    }

    /// The output shares nothing with what is read.
    fn apart(&self, output: BufferId, inputs: &[BufferId]) -> Checked {
        let out = self.buffer(output)?;
        for input in inputs {
            let read = self.buffer(*input)?;
            let apart =
                read.offset + read.words() <= out.offset || out.offset + out.words() <= read.offset;
            ensure(apart, || {
                format!("`{}` lies over `{}`, which is read", out.name, read.name)
            })?;
        }
        Ok(())
    }

    fn access(&self, access: &Access, shape: &[usize]) -> Checked {
        let len = self.buffer(access.buffer)?.len();
        ensure(
            access.strides.len() == shape.len() && access.valid.len() == shape.len(),
            || "an access has another number of axes than the kernel".to_string(),
        )?;
        let (mut lo, mut hi) = (i128::from(access.offset), i128::from(access.offset));
        for ((size, stride), valid) in shape.iter().zip(&access.strides).zip(&access.valid) {
            let (first, end) = valid.unwrap_or((0, *size));
            let end = end.min(*size);
            if first >= end {
                return Ok(());
            }
            ensure(stride.unsigned_abs() < LIMIT as u64, || {
                format!("the stride {stride} is too large")
            })?;
            let a = i128::from(*stride) * first as i128;
            let b = i128::from(*stride) * (end as i128 - 1);
            lo += a.min(b);
            hi += a.max(b);
        }
        // The offset alone may lie outside of the buffer, where the first points are not valid.
        let limit = LIMIT as i64;
        ensure(
            lo >= 0 && hi < len as i128 && (-limit..limit).contains(&access.offset),
            || {
                let name = &self.program.buffers[access.buffer.0 as usize].name;
                format!("`{name}` of {len} elements is accessed from {lo} to {hi}")
            },
        )
    }

    fn loop_kernel(&self, kernel: &LoopKernel) -> Checked {
        self.accesses(kernel)?;
        self.races(&Canon::new(kernel, &self.program.buffers))
    }

    /// Every access is within its buffer, every operand set.
    fn accesses(&self, kernel: &LoopKernel) -> Checked {
        let points = product(&kernel.shape)?;
        ensure(points > 0, || "the index space is empty".to_string())?;
        for (i, inst) in kernel.body.iter().enumerate() {
            let before = |r: u32| {
                ensure((r as usize) < i, || {
                    format!("instruction {i} reads {r}, which comes later")
                })
            };
            match inst {
                Inst::Load(access) => self.access(access, &kernel.shape)?,
                Inst::Const(_) => {}
                Inst::Index(axis) => ensure(*axis < kernel.shape.len(), || {
                    format!("there is no axis {axis}")
                })?,
                Inst::Unary(_, a) => before(*a)?,
                Inst::Binary(_, a, b) => {
                    before(*a)?;
                    before(*b)?;
                }
                Inst::Select(c, a, b) => {
                    before(*c)?;
                    before(*a)?;
                    before(*b)?;
                }
            }
        }
        for output in &kernel.outputs {
            ensure((output.value as usize) < kernel.body.len(), || {
                format!("there is no instruction {}", output.value)
            })?;
            self.access(&output.to, &kernel.shape)?;
            let reduced = output.combine.axes();
            let spread = matches!(output.combine, Combine::Deviations(_));
            ensure(!spread || !reduced.is_empty(), || {
                "deviations over no axis".to_string()
            })?;
            for (axis, size) in kernel.shape.iter().enumerate() {
                let is_reduced = reduced.contains(&axis);
                let stride = output.to.strides[axis];
                ensure(output.to.valid[axis].is_none(), || {
                    "an output has a valid range".to_string()
                })?;
                ensure(*size == 1 || is_reduced == (stride == 0), || {
                    format!("an output's stride along axis {axis} is {stride}")
                })?;
            }
            ensure(reduced.iter().all(|a| *a < kernel.shape.len()), || {
                "an axis that is reduced does not exist".to_string()
            })?;
        }
        Ok(())
    }

    /// No element is written twice, and none is read at a point other than the one that writes it.
    fn races(&self, canon: &Canon) -> Checked {
        let sizes = &canon.sizes;
        ensure(sizes.len() <= MAX_AXES, || {
            format!("{} axes are more than {MAX_AXES}", sizes.len())
        })?;
        for (i, output) in canon.outputs.iter().enumerate() {
            ensure(injective(&output.to, sizes), || {
                "two points write one element".to_string()
            })?;
            for other in &canon.outputs[..i] {
                ensure(
                    !overlap(&output.to, &other.to, sizes)
                        || disjoint(&output.to, &other.to, sizes),
                    || "two outputs write one element".to_string(),
                )?;
            }
            for op in canon.body.iter().flatten() {
                if let Op::Load(load) = op {
                    let in_place = output.reduce.is_none() && same(load, &output.to, sizes);
                    ensure(in_place || disjoint(&output.to, load, sizes), || {
                        "an output lies over elements that other points read".to_string()
                    })?;
                }
            }
        }
        Ok(())
    }

    fn window(&self, w: &Window) -> Checked {
        product(&[w.n, w.h, w.w, w.c])?;
        ensure(
            u32::try_from(w.h * w.w * w.c).is_ok()
                && w.kernel > 0
                && w.stride > 0
                && w.padding < w.kernel
                && extent(w.h, w.kernel, w.stride, w.padding) == Some(w.oh)
                && extent(w.w, w.kernel, w.stride, w.padding) == Some(w.ow),
            || format!("the windows' sizes do not fit each other: {w:?}"),
        )
    }

    fn indexed(&self, kernel: &Indexed) -> Checked {
        match *kernel {
            Indexed::Take {
                x,
                index,
                y,
                outer,
                size,
                count,
                inner,
            } => {
                self.len(x, &[outer, size, inner])?;
                self.len(index, &[count])?;
                self.len(y, &[outer, count, inner])?;
                self.apart(y, &[x, index])
            }
            Indexed::ScatterAdd {
                y,
                index,
                x,
                outer,
                size,
                count,
                inner,
            } => {
                self.len(x, &[outer, size, inner])?;
                self.len(index, &[count])?;
                self.len(y, &[outer, count, inner])?;
                self.apart(x, &[y, index])
            }
            Indexed::ArgMax {
                x,
                y,
                outer,
                size,
                inner,
            } => {
                self.len(x, &[outer, size, inner])?;
                self.len(y, &[outer, inner])?;
                self.apart(y, &[x])
            }
            Indexed::MaxPool { x, y, window: w } | Indexed::AvgPool { x, y, window: w } => {
                self.window(&w)?;
                self.len(x, &[w.n, w.h, w.w, w.c])?;
                self.len(y, &[w.n, w.oh, w.ow, w.c])?;
                self.apart(y, &[x])
            }
            Indexed::MaxPoolGrad {
                x,
                dy,
                dx,
                window: w,
            } => {
                self.window(&w)?;
                self.len(x, &[w.n, w.h, w.w, w.c])?;
                self.len(dx, &[w.n, w.h, w.w, w.c])?;
                self.len(dy, &[w.n, w.oh, w.ow, w.c])?;
                self.apart(dx, &[x, dy])
            }
            Indexed::AvgPoolGrad { dy, dx, window: w } => {
                self.window(&w)?;
                self.len(dx, &[w.n, w.h, w.w, w.c])?;
                self.len(dy, &[w.n, w.oh, w.ow, w.c])?;
                self.apart(dx, &[dy])
            }
            Indexed::Uniform { step, y, .. } => {
                self.len(step, &[1])?;
                let out = self.buffer(y)?;
                self.len(y, &out.shape)?;
                self.apart(y, &[step])
            }
        }
    }

    /// Each piece of the result may be treated while others are being made, and each of the operand whenever it is read.
    fn fused(&self, kernel: &Fused) -> Checked {
        let made = kernel.made();
        let inside = Checker { made, ..*self };
        inside.contraction(&kernel.contraction)?;
        let (result, (a, b)) = (kernel.contraction.result(), kernel.contraction.operands());
        // Nothing but the operand is without a place.
        let placed = [a, b].into_iter().filter(|o| Some(*o) != made);
        for id in placed.chain([result]) {
            self.buffer(id)?;
        }
        if let Some(prologue) = &kernel.prologue {
            inside.accesses(prologue)?;
            self.prologue(kernel, prologue)?;
        }
        if let Some(epilogue) = &kernel.epilogue {
            self.epilogue(kernel, epilogue)?;
        }
        Ok(())
    }

    fn prologue(&self, kernel: &Fused, prologue: &LoopKernel) -> Checked {
        let made = kernel.made();
        let (a, b) = kernel.contraction.operands();
        let operand = kernel.contraction.piecewise();
        let operand = operand.filter(|(id, _)| Some(*id) == made && a != b);
        let (_, shape) = operand.ok_or("the prologue makes no operand that may be made")?;
        let whole = match &prologue.outputs[..] {
            [output] => output.combine == Combine::Store && output.to.is_dense(shape),
            _ => false,
        };
        ensure(prologue.shape == shape && whole, || {
            format!("the prologue does not make all of {shape:?}")
        })?;
        for load in prologue.loads() {
            self.buffer(load.buffer)?;
            self.apart(load.buffer, &[kernel.contraction.result()])?;
            for output in kernel.epilogue.iter().flat_map(|e| &e.outputs) {
                self.apart(output.to.buffer, &[load.buffer])?;
            }
        }
        Ok(())
    }

    fn epilogue(&self, kernel: &Fused, epilogue: &LoopKernel) -> Checked {
        self.loop_kernel(epilogue)?;
        let shape = kernel.contraction.result_shape();
        ensure(epilogue.shape == shape, || {
            format!("the epilogue is not over {shape:?}")
        })?;
        let (result, (a, b)) = (kernel.contraction.result(), kernel.contraction.operands());
        let read: Vec<BufferId> = [a, b]
            .into_iter()
            .filter(|o| Some(*o) != kernel.made())
            .collect();
        for load in epilogue.loads() {
            if !kernel.is_result(load) {
                self.apart(load.buffer, &[result])?;
            }
        }
        for output in &epilogue.outputs {
            self.apart(output.to.buffer, &read)?;
            if output.combine != Combine::Store || !kernel.is_result(&output.to) {
                self.apart(output.to.buffer, &[result])?;
            }
        }
        Ok(())
    }

    fn contraction(&self, kernel: &Contraction) -> Checked {
        let (a, b) = kernel.operands();
        self.alike(a, b)?;
        let stored = self.buffer(kernel.result())?.element;
        if let Some((algorithm, winograd)) = kernel.algorithm(stored) {
            ensure(algorithm == Algorithm::Direct || winograd, || {
                let (name, stored) = (algorithm.name(), stored.name());
                format!("the algorithm {name} is not for {kernel:?} into {stored}")
            })?;
        }
        match *kernel {
            Contraction::MatMul {
                a,
                b,
                out,
                batch,
                m,
                n,
                k,
                ..
            } => {
                self.sizes(a, &[batch, m, k])?;
                self.sizes(b, &[batch, k, n])?;
                self.sizes(out, &[batch, m, n])?;
                self.apart(out, &[a, b])
            }
            Contraction::Conv { x, w, y, shape, .. } => {
                self.convolution(x, w, y, &shape)?;
                self.apart(y, &[x, w])
            }
            Contraction::ConvInputGrad {
                dy, w, dx, shape, ..
            } => {
                self.convolution(dx, w, dy, &shape)?;
                self.apart(dx, &[dy, w])
            }
            Contraction::ConvFilterGrad {
                x, dy, dw, shape, ..
            } => {
                self.convolution(x, dw, dy, &shape)?;
                self.apart(dw, &[x, dy])
            }
        }
    }

    fn convolution(&self, x: BufferId, w: BufferId, y: BufferId, s: &ConvShape) -> Checked {
        ensure(
            s.groups > 0
                && s.kernel > 0
                && s.stride > 0
                && s.c.is_multiple_of(s.groups)
                && s.k.is_multiple_of(s.groups)
                && s.padding < LIMIT
                && s.kernel < LIMIT
                && extent(s.h, s.kernel, s.stride, s.padding) == Some(s.oh)
                && extent(s.w, s.kernel, s.stride, s.padding) == Some(s.ow),
            || format!("the convolution's sizes do not fit each other: {s:?}"),
        )?;
        // Windows with their padding, of the input and of the output's gradient, fit into memory's numbers.
        let side = |out: usize| product(&[out, s.stride]).map(|n| n + s.kernel);
        product(&[side(s.oh)?, side(s.ow)?, s.c])?;
        product(&[s.oh + 2 * s.kernel, s.ow + 2 * s.kernel, s.k])?;
        self.sizes(x, &[s.n, s.h, s.w, s.c])?;
        self.sizes(y, &[s.n, s.oh, s.ow, s.k])?;
        self.sizes(w, &[s.kernel, s.kernel, s.c / s.groups, s.k])
    }
}

/// Number of windows along an axis.
fn extent(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    let padded = size.checked_add(padding.checked_mul(2)?)?;
    Some(padded.checked_sub(kernel)? / stride + 1)
}
