//! The verifier of kernel programs: every violation, in words.

use super::bind::rename;
use super::ir::{
    Access, Algorithm, BufferId, BufferKind, Combine, Contraction, Fused, Indexed, Inst, Kernel,
    KernelKind,
};
use super::ir::{KernelProgram, LoopKernel};
use super::plan::{ALIGNMENT, replaces};

/// All violations; none in a sound program.
pub fn verify(program: &KernelProgram) -> Vec<String> {
    let mut v = Verifier {
        program,
        found: Vec::new(),
    };
    v.buffers();
    for (k, kernel) in program.kernels.iter().enumerate() {
        v.kernel(k, kernel);
    }
    v.lifetimes();
    v.found
}

struct Verifier<'a> {
    program: &'a KernelProgram,
    found: Vec<String>,
}

/// Buffers that a kernel reads, and those it writes.
pub fn touched(kernel: &Kernel) -> (Vec<BufferId>, Vec<BufferId>) {
    let of_loop = |kernel: &LoopKernel| -> (Vec<BufferId>, Vec<BufferId>) {
        (
            kernel.loads().map(|a| a.buffer).collect(),
            kernel.outputs.iter().map(|o| o.to.buffer).collect(),
        )
    };
    let of_fixed = |mut kind: KernelKind| {
        let mut all = Vec::new();
        rename(&mut kind, |b| all.push(*b));
        // The output stands last in every kind but loops.
        let output = all.split_off(all.len() - 1);
        (all, output)
    };
    match &kernel.kind {
        KernelKind::Loop(kernel) => of_loop(kernel),
        KernelKind::Indexed(_) | KernelKind::Contraction(_) => of_fixed(kernel.kind.clone()),
        KernelKind::Fused(fused) => {
            let result = fused.contraction.result();
            let (mut reads, mut writes) =
                of_fixed(KernelKind::Contraction(fused.contraction.clone()));
            for (loads, outputs) in fused.loops().map(of_loop) {
                reads.extend(loads.into_iter().filter(|b| *b != result));
                writes.extend(outputs.into_iter().filter(|b| *b != result));
            }
            // What a prologue makes stays inside.
            reads.retain(|b| Some(*b) != fused.made());
            writes.retain(|b| Some(*b) != fused.made());
            (reads, writes)
        }
    }
}

impl Verifier<'_> {
    fn say(&mut self, kernel: usize, what: String) {
        let name = &self.program.kernels[kernel].name;
        self.found.push(format!("kernel {kernel} ({name}): {what}"));
    }

    fn buffers(&mut self) {
        for (b, buffer) in self.program.buffers.iter().enumerate() {
            if !buffer.offset.is_multiple_of(ALIGNMENT) {
                self.found
                    .push(format!("buffer {b} begins at {}", buffer.offset));
            }
            if buffer.offset + buffer.words() > self.program.arena_len {
                self.found
                    .push(format!("buffer {b} ends outside of the arena"));
            }
        }
    }

    fn kernel(&mut self, k: usize, kernel: &Kernel) {
        let (reads, writes) = touched(kernel);
        for b in reads.iter().chain(&writes) {
            if b.0 as usize >= self.program.buffers.len() {
                self.say(k, format!("there is no buffer {}", b.0));
                return;
            }
        }
        match &kernel.kind {
            KernelKind::Loop(body) => self.loop_kernel(k, body),
            KernelKind::Fused(fused) => {
                let contraction = KernelKind::Contraction(fused.contraction.clone());
                self.fixed(k, &contraction);
                fused.loops().for_each(|l| self.loop_kernel(k, l));
                if let Some(prologue) = &fused.prologue {
                    self.prologue(k, fused, prologue, &writes);
                }
                if let Some(epilogue) = &fused.epilogue {
                    self.epilogue(k, fused, epilogue);
                } else if fused.prologue.is_none() {
                    self.say(k, "it has no loop".to_string());
                }
            }
            kind => self.fixed(k, kind),
        }
    }

    /// A kernel without a body.
    fn fixed(&mut self, k: usize, kind: &KernelKind) {
        if let KernelKind::Contraction(contraction) = kind {
            self.algorithm(k, contraction);
        }
        let mut at = Vec::new();
        rename(&mut kind.clone(), |b| at.push(*b));
        for (b, want) in at.into_iter().zip(fixed_lengths(kind)) {
            let len = self.program.buffers[b.0 as usize].len();
            if want.is_some_and(|want| want != len) {
                self.say(
                    k,
                    format!("buffer {} has {len} elements, not {want:?}", b.0),
                );
            }
        }
        self.operands(k, kind);
    }

    /// A prologue makes an operand and nothing else, of what is there before.
    fn prologue(&mut self, k: usize, fused: &Fused, prologue: &LoopKernel, writes: &[BufferId]) {
        let [output] = &prologue.outputs[..] else {
            self.say(
                k,
                "its prologue makes more or less than an operand".to_string(),
            );
            return;
        };
        let to = output.to.buffer;
        let (a, b) = fused.contraction.operands();
        match fused.contraction.piecewise() {
            Some((operand, shape)) if operand == to && a != b => {
                let whole = output.combine == Combine::Store && output.to.is_dense(shape);
                if prologue.shape != shape || !whole {
                    self.say(k, format!("its prologue does not make all of {shape:?}"));
                }
            }
            _ => self.say(k, format!("its prologue makes buffer {}", to.0)),
        }
        if self.program.buffers[to.0 as usize].kind != BufferKind::Piecewise {
            self.say(k, format!("its prologue's buffer {} has a place", to.0));
        }
        if let Some(load) = prologue.loads().find(|l| writes.contains(&l.buffer)) {
            let what = format!(
                "its prologue reads buffer {}, which it writes",
                load.buffer.0
            );
            self.say(k, what);
        }
    }

    /// What an epilogue may do that a loop kernel after the contraction may do too, and no more.
    fn epilogue(&mut self, k: usize, fused: &Fused, epilogue: &LoopKernel) {
        let contraction = &fused.contraction;
        let (result, (a, b)) = (contraction.result(), contraction.operands());
        let shape = contraction.result_shape();
        if epilogue.shape != shape {
            self.say(k, format!("its epilogue is not over {shape:?}"));
        }
        let elsewhere = |a: &Access| a.buffer == result && !fused.is_result(a);
        if epilogue.loads().any(elsewhere) {
            self.say(
                k,
                "its epilogue reads the result at other points".to_string(),
            );
        }
        for output in &epilogue.outputs {
            let to = output.to.buffer;
            if elsewhere(&output.to) || (to == result && output.combine != Combine::Store) {
                self.say(
                    k,
                    "its epilogue writes the result at other points".to_string(),
                );
            }
            let read = to != result && epilogue.loads().any(|a| a.buffer == to);
            if read || to == a || to == b {
                self.say(
                    k,
                    format!("its epilogue writes buffer {}, which it reads", to.0),
                );
            }
        }
    }

    fn algorithm(&mut self, k: usize, contraction: &Contraction) {
        let stored = self.program.buffers[contraction.result().0 as usize].element;
        if let Some((Algorithm::Winograd, false)) = contraction.algorithm(stored) {
            let (name, stored) = (Algorithm::Winograd.name(), stored.name());
            self.say(
                k,
                format!("{name} is not for {contraction:?} into {stored}"),
            );
        }
    }

    /// The operands of a contraction have one element type.
    fn operands(&mut self, k: usize, kind: &KernelKind) {
        let KernelKind::Contraction(contraction) = kind else {
            return;
        };
        let (a, b) = contraction.operands();
        let element = |b: BufferId| self.program.buffers[b.0 as usize].element;
        if element(a) != element(b) {
            let (a, b) = (element(a).name(), element(b).name());
            self.say(k, format!("its operands are {a} and {b}"));
        }
    }

    fn loop_kernel(&mut self, k: usize, kernel: &LoopKernel) {
        for (r, inst) in kernel.body.iter().enumerate() {
            let operands = match inst {
                Inst::Load(access) => {
                    self.access(k, kernel, access);
                    vec![]
                }
                Inst::Index(axis) => {
                    if *axis >= kernel.shape.len() {
                        self.say(k, format!("there is no axis {axis}"));
                    }
                    vec![]
                }
                Inst::Const(_) => vec![],
                Inst::Unary(_, x) => vec![*x],
                Inst::Binary(_, a, b) => vec![*a, *b],
                Inst::Select(a, b, c) => vec![*a, *b, *c],
            };
            if operands.iter().any(|o| *o as usize >= r) {
                self.say(k, format!("register {r} uses one that is not set yet"));
            }
        }
        for output in &kernel.outputs {
            if output.value as usize >= kernel.body.len() {
                self.say(k, format!("there is no register {}", output.value));
            }
            self.access(k, kernel, &output.to);
            let axes = output.combine.axes();
            if matches!(output.combine, Combine::Deviations(_)) && axes.is_empty() {
                self.say(k, "deviations over no axis".to_string());
            }
            if axes.iter().any(|a| output.to.strides.get(*a) != Some(&0)) {
                self.say(k, "a reduced axis moves its output".to_string());
            }
        }
    }

    /// The least and the greatest place must lie inside of the buffer.
    fn access(&mut self, k: usize, kernel: &LoopKernel, access: &Access) {
        if access.strides.len() != kernel.shape.len() || access.valid.len() != kernel.shape.len() {
            self.say(k, "an access has another rank than the kernel".to_string());
            return;
        }
        let (mut low, mut high) = (access.offset, access.offset);
        for ((size, stride), valid) in kernel.shape.iter().zip(&access.strides).zip(&access.valid) {
            let (from, to) = valid.unwrap_or((0, *size));
            if from >= to {
                return;
            }
            let ends = [from as i64 * stride, (to as i64 - 1) * stride];
            low += ends[0].min(ends[1]);
            high += ends[0].max(ends[1]);
        }
        let len = self.program.buffers[access.buffer.0 as usize].len() as i64;
        if low < 0 || high >= len {
            self.say(
                k,
                format!(
                    "places {low} to {high} of buffer {} of {len} elements",
                    access.buffer.0
                ),
            );
        }
    }

    /// No read before a write, and no two tensors in one place at one time.
    fn lifetimes(&mut self) {
        let buffers = &self.program.buffers;
        let mut life: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
        let end = self.program.kernels.len();
        for (b, buffer) in buffers.iter().enumerate() {
            if !matches!(buffer.kind, BufferKind::Temporary | BufferKind::Piecewise) {
                life[b] = Some((0, end));
            }
        }
        let mut written: Vec<bool> = buffers
            .iter()
            .map(|b| matches!(b.kind, BufferKind::Input | BufferKind::State))
            .collect();
        for (k, kernel) in self.program.kernels.iter().enumerate() {
            let (reads, writes) = touched(kernel);
            for b in reads
                .iter()
                .map(|b| b.0 as usize)
                .filter(|b| *b < buffers.len())
            {
                if buffers[b].kind == BufferKind::Piecewise {
                    self.say(k, format!("reads buffer {b}, which has no place"));
                    continue;
                }
                if !written[b] {
                    self.say(k, format!("reads buffer {b} before it is written"));
                }
                life[b] = Some((
                    life[b].map_or(k, |l| l.0),
                    life[b].map_or(k, |l| l.1.max(k)),
                ));
            }
            for b in writes
                .iter()
                .map(|b| b.0 as usize)
                .filter(|b| *b < buffers.len())
            {
                if buffers[b].kind == BufferKind::Piecewise {
                    self.say(k, format!("writes buffer {b}, which has no place"));
                    continue;
                }
                written[b] = true;
                life[b] = Some((
                    life[b].map_or(k, |l| l.0),
                    life[b].map_or(k, |l| l.1.max(k)),
                ));
            }
        }
        let mut order: Vec<usize> = (0..buffers.len()).filter(|b| life[*b].is_some()).collect();
        order.sort_by_key(|b| buffers[*b].offset);
        let mut clashes = Vec::new();
        for (i, a) in order.iter().enumerate() {
            for b in order[i + 1..]
                .iter()
                .take_while(|b| buffers[**b].offset < buffers[*a].offset + buffers[*a].words())
            {
                let (Some(la), Some(lb)) = (life[*a], life[*b]) else {
                    continue;
                };
                let (first, second) = if la.1 <= lb.0 {
                    ((*a, la), (*b, lb))
                } else {
                    ((*b, lb), (*a, la))
                };
                let follows = first.1.1 == second.1.0
                    && buffers[*a].offset == buffers[*b].offset
                    && buffers[*a].element == buffers[*b].element
                    && replaces(&self.program.kernels[first.1.1].kind, first.0, second.0);
                if la.0 <= lb.1 && lb.0 <= la.1 && !follows {
                    clashes.push(format!("buffers {a} and {b} share a place and a time"));
                }
            }
        }
        self.found.extend(clashes);
    }
}

/// The number of elements of each buffer, in the order `rename` visits them; `None` where the kernel does not say.
fn fixed_lengths(kind: &KernelKind) -> Vec<Option<usize>> {
    let lengths = match kind {
        KernelKind::Loop(_) | KernelKind::Fused(_) => vec![],
        KernelKind::Indexed(kernel) => match kernel {
            Indexed::Take {
                outer,
                size,
                count,
                inner,
                ..
            } => {
                vec![outer * size * inner, *count, outer * count * inner]
            }
            Indexed::ScatterAdd {
                outer,
                size,
                count,
                inner,
                ..
            } => {
                vec![outer * count * inner, *count, outer * size * inner]
            }
            Indexed::ArgMax {
                outer, size, inner, ..
            } => vec![outer * size * inner, outer * inner],
            Indexed::MaxPool { window, .. } | Indexed::AvgPool { window, .. } => {
                vec![window.x_len(), window.y_len()]
            }
            Indexed::MaxPoolGrad { window, .. } => {
                vec![window.x_len(), window.y_len(), window.x_len()]
            }
            Indexed::AvgPoolGrad { window, .. } => vec![window.y_len(), window.x_len()],
            Indexed::Uniform { .. } => return vec![Some(1), None],
        },
        KernelKind::Contraction(kernel) => match kernel {
            Contraction::MatMul { batch, m, n, k, .. } => {
                vec![batch * m * k, batch * k * n, batch * m * n]
            }
            Contraction::Conv { shape: s, .. } => vec![s.x_len(), s.w_len(), s.y_len()],
            Contraction::ConvInputGrad { shape: s, .. } => vec![s.y_len(), s.w_len(), s.x_len()],
            Contraction::ConvFilterGrad { shape: s, .. } => vec![s.x_len(), s.y_len(), s.w_len()],
        },
    };
    lengths.into_iter().map(Some).collect()
}
