//! What runs a program under construction.

use super::nvrtc::{nvrtc, ptx};
use crate::code::{Argument, Code, PRELUDE, generate};
use sslc_compiler::core::bf16;
use sslc_compiler::kernels::device::Device as _;
use sslc_compiler::kernels::interp::Interpreter;
use sslc_compiler::kernels::ir::{
    Binary, Buffer, BufferId, BufferKind, Combine, Element, Inst, Kernel, KernelKind, LoopKernel,
};
use sslc_cuda_sim as sim;
use sslc_kernel_testing::Building;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// A program, held to the interpreter.
#[derive(Clone, Default)]
pub struct Bench(Building);

impl Deref for Bench {
    type Target = Building;

    fn deref(&self) -> &Building {
        &self.0
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Building {
        &mut self.0
    }
}

impl Bench {
    fn buffers(&self) -> impl Iterator<Item = (usize, &Buffer)> {
        let placed = |(_, b): &(usize, &Buffer)| b.kind != BufferKind::Piecewise;
        self.program.buffers.iter().enumerate().filter(placed)
    }

    /// Contents of all buffers after the kernels have run on the interpreter.
    pub fn expected(&self) -> Vec<Vec<f32>> {
        let loaded = Interpreter
            .load(Rc::new(self.program.clone()))
            .expect("a valid program");
        for (i, _) in self.buffers() {
            loaded.write(BufferId(i as u32), &self.contents[i]);
        }
        (0..self.program.kernels.len()).for_each(|k| loaded.run(k));
        let mut after = vec![Vec::new(); self.contents.len()];
        for (i, _) in self.buffers() {
            after[i] = vec![0.0; self.contents[i].len()];
            loaded.read(BufferId(i as u32), &mut after[i]);
        }
        after
    }

    pub fn code(&self) -> Code {
        generate(&self.program).expect("code for every kernel")
    }

    /// Contents of all buffers after the launches have run on the simulator; `None` where there is no NVRTC.
    ///
    /// Each buffer is an allocation of its own, so that the simulator sees what goes beyond it, unless some share places.
    pub fn run(&self) -> Option<Vec<Vec<f32>>> {
        let code = self.code();
        let after = self.run_code(&code)?;
        Some(after.unwrap_or_else(|e| panic!("{e}\n{}", source(&code))))
    }

    /// The same of other code for its kernels. `Err`: what the compiler or the simulator says against it.
    pub fn run_code(&self, code: &Code) -> Option<Result<Vec<Vec<f32>>, String>> {
        let compiled = ptx(nvrtc()?, &source(code));
        Some(compiled.and_then(|ptx| self.simulate(code, &ptx)))
    }

    fn simulate(&self, code: &Code, ptx: &str) -> Result<Vec<Vec<f32>>, String> {
        let mut device = sim::Device::default();
        let module = device.load(ptx)?;
        let arena = self
            .shares()
            .then(|| device.empty(4 * self.program.arena_len));
        let arena = arena.map(|a| a.expect("room"));
        let mut places = vec![0; self.contents.len()];
        for (i, buffer) in self.buffers() {
            let bytes = to_bytes(buffer.element, &self.contents[i]);
            places[i] = match arena {
                Some(arena) => {
                    let place = arena + 4 * buffer.offset as u64;
                    device
                        .memory
                        .write(place, &bytes)
                        .expect("inside of the arena");
                    place
                }
                None => device.upload(&bytes).expect("room"),
            };
        }
        let scratch = device.empty(4 * code.scratch_words.max(1)).expect("room");
        for launch in &code.launches {
            let function = &code.functions[launch.function];
            let place = |b: &BufferId| places[b.0 as usize];
            let argument = |a: &Argument| match a {
                Argument::Buffer(b) => sim::Argument::Pointer(place(b)),
                Argument::Scratch(at) => sim::Argument::Pointer(scratch + 4 * *at as u64),
                Argument::Table(buffers) => {
                    let pointers = buffers.iter().flat_map(|b| place(b).to_le_bytes());
                    sim::Argument::Bytes(pointers.collect())
                }
            };
            let arguments: Vec<_> = launch.arguments.iter().map(argument).collect();
            let threads = [function.threads, 1, 1];
            device.launch(
                &module,
                &function.name,
                launch.grid,
                threads,
                function.shared_bytes,
                &arguments,
            )?;
        }
        let mut after = vec![Vec::new(); self.contents.len()];
        for (i, buffer) in self.buffers() {
            let bytes = device.download(places[i], buffer.bytes())?;
            after[i] = from_bytes(buffer.element, &bytes);
        }
        Ok(after)
    }

    fn shares(&self) -> bool {
        let ends: Vec<(usize, usize)> = self
            .buffers()
            .map(|(_, b)| (b.offset, b.offset + b.words()))
            .collect();
        let meet =
            |(i, a): (usize, &(usize, usize))| ends[..i].iter().any(|b| a.0 < b.1 && b.0 < a.1);
        ends.iter().enumerate().any(meet)
    }

    /// Holds loop and indexed kernels to the interpreter: bit for bit what is stored or a maximum, sums within 3·10⁻⁶ of the sum of
    /// magnitudes, deviations by their size and that of the values.
    pub fn hold(&self) {
        let Some(after) = self.run() else { return };
        let expected = self.expected();
        let sizes = self.magnitudes();
        for (i, buffer) in self.buffers() {
            let slack = |at: usize| match &sizes[i] {
                Some((Combine::Sum(_), size)) => 3e-6 * size[at].abs() + 1e-37,
                Some((_, size)) => {
                    let noise = f64::from(size[at].abs()) * 1e-6;
                    let points = self.contents.iter().map(Vec::len).max().unwrap_or(1) as f64;
                    (2e-5 * f64::from(expected[i][at].abs()) + points * noise * noise) as f32
                        + 1e-37
                }
                None => 0.0,
            };
            for (at, (got, want)) in after[i].iter().zip(&expected[i]).enumerate() {
                let mut slack = slack(at);
                if buffer.element == Element::Bf16 && slack > 0.0 {
                    slack += want.abs() / 128.0;
                }
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                let near = (got - want).abs() <= slack || slack.is_nan() || slack >= 1e30;
                assert!(
                    same || near,
                    "{} at {at} is {got}, expected {want} within {slack}\n{:#?}\n{}",
                    buffer.name,
                    self.writer(BufferId(i as u32)),
                    self.sources(BufferId(i as u32))
                );
            }
        }
    }

    fn writer(&self, buffer: BufferId) -> Option<&Kernel> {
        self.program.kernels.iter().find(|k| writes(k, buffer))
    }

    fn sources(&self, buffer: BufferId) -> String {
        let code = self.code();
        let of = |k: usize| writes(&self.program.kernels[k], buffer);
        let launches = code.launches.iter().filter(|l| of(l.kernel));
        launches
            .map(|l| code.functions[l.function].source.clone())
            .collect()
    }

    /// For each buffer that a loop kernel sums into, the sums of magnitudes; of deviations, the largest magnitude.
    fn magnitudes(&self) -> Vec<Option<(Combine, Vec<f32>)>> {
        let mut sizes = self.clone();
        let mut combines: Vec<Option<Combine>> = vec![None; self.contents.len()];
        for kernel in &mut sizes.program.kernels {
            let KernelKind::Loop(kernel) = &mut kernel.kind else {
                continue;
            };
            for output in 0..kernel.outputs.len() {
                let to = kernel.outputs[output].to.buffer.0 as usize;
                combines[to] = match kernel.outputs[output].combine.clone() {
                    Combine::Sum(axes) => Some(Combine::Sum(axes)),
                    Combine::Deviations(axes) => {
                        kernel.outputs[output].combine = Combine::Max(axes.clone());
                        Some(Combine::Deviations(axes))
                    }
                    Combine::Store | Combine::Max(_) => continue,
                };
                let value = kernel.outputs[output].value;
                kernel.outputs[output].value = magnitude(kernel, value);
            }
        }
        let found = sizes.expected();
        combines
            .into_iter()
            .zip(found)
            .map(|(combine, size)| Some((combine?, size)))
            .collect()
    }
}

fn writes(kernel: &Kernel, buffer: BufferId) -> bool {
    sslc_compiler::kernels::verify::touched(kernel)
        .1
        .contains(&buffer)
}

/// A register of |value|.
fn magnitude(kernel: &mut LoopKernel, value: u32) -> u32 {
    let body = &mut kernel.body;
    body.push(Inst::Const(0.0));
    let zero = body.len() as u32 - 1;
    body.push(Inst::Binary(Binary::Sub, zero, value));
    body.push(Inst::Binary(Binary::Max, value, zero + 1));
    zero + 2
}

/// The text of a module.
pub fn source(code: &Code) -> String {
    let functions = code.functions.iter().map(|f| format!("\n{}", f.source));
    PRELUDE.to_string() + &functions.collect::<String>()
}

fn to_bytes(element: Element, data: &[f32]) -> Vec<u8> {
    match element {
        Element::F32 => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::Bf16 => data
            .iter()
            .flat_map(|v| bf16::narrow(*v).to_le_bytes())
            .collect(),
    }
}

fn from_bytes(element: Element, bytes: &[u8]) -> Vec<f32> {
    match element {
        Element::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Element::Bf16 => bytes
            .chunks_exact(2)
            .map(|b| bf16::widen(u16::from_le_bytes([b[0], b[1]])))
            .collect(),
    }
}
