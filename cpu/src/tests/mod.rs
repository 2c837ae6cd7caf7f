//! The device against plain evaluation, at every level and for several numbers of threads.
mod bf16_contractions;
mod contractions;
mod fused;
mod indexed;
mod loops;
mod prologues;
mod refusals;
mod winograd;

use super::{CpuDevice, CpuLoaded, Level};
use sslc_compiler::core::bf16;
use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::{Access, Buffer, BufferId, BufferKind, Element};
use sslc_compiler::kernels::ir::{Kernel, KernelKind, KernelProgram};
use std::rc::Rc;

/// A small generator of test data.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// In [−1, 1).
    pub fn number(&mut self) -> f32 {
        (self.bits() & 0xff_ffff) as f32 / 8_388_608.0 - 1.0
    }

    pub fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
}

/// A program under construction: buffers one after the other, with their contents.
#[derive(Default)]
pub struct Bench {
    pub program: KernelProgram,
    pub contents: Vec<Vec<f32>>,
}

impl Bench {
    pub fn buffer(&mut self, contents: Vec<f32>) -> BufferId {
        self.buffer_of(Element::F32, contents)
    }

    pub fn buffer_of(&mut self, element: Element, mut contents: Vec<f32>) -> BufferId {
        if element == Element::Bf16 {
            contents.iter_mut().for_each(|x| *x = bf16::round(*x));
        }
        let id = BufferId(self.program.buffers.len() as u32);
        self.program.buffers.push(Buffer {
            name: format!("b{}", id.0),
            kind: BufferKind::State,
            element,
            shape: vec![contents.len()],
            offset: self.program.arena_len,
        });
        self.program.arena_len += element.words(contents.len()).next_multiple_of(16);
        self.contents.push(contents);
        id
    }

    /// A buffer without a place, for what a prologue makes.
    pub fn piecewise(&mut self, element: Element, len: usize) -> BufferId {
        let id = BufferId(self.program.buffers.len() as u32);
        self.program.buffers.push(Buffer {
            name: format!("b{}", id.0),
            kind: BufferKind::Piecewise,
            element,
            shape: vec![len],
            offset: 0,
        });
        self.contents.push(Vec::new());
        id
    }

    pub fn kernel(&mut self, kind: KernelKind) {
        self.program.kernels.push(Kernel {
            name: "test".to_string(),
            kind,
        });
    }

    pub fn load(&self, device: CpuDevice) -> CpuLoaded {
        let loaded = device
            .load_cpu(Rc::new(self.program.clone()))
            .expect("a valid program");
        for (i, contents) in self.contents.iter().enumerate() {
            if !contents.is_empty() {
                loaded.write(BufferId(i as u32), contents);
            }
        }
        loaded
    }

    /// Contents of all buffers after the kernels have run.
    pub fn run(&self, device: CpuDevice) -> Vec<Vec<f32>> {
        let loaded = self.load(device);
        for kernel in 0..self.program.kernels.len() {
            loaded.run(kernel);
        }
        (0..self.contents.len())
            .map(|i| {
                let mut data = vec![0.0; self.contents[i].len()];
                if !data.is_empty() {
                    loaded.read(BufferId(i as u32), &mut data);
                }
                data
            })
            .collect()
    }

    /// Runs at each level with one thread, and holds more threads to the same bits. Gives each level's result.
    pub fn run_all(&self) -> Vec<(Level, Vec<Vec<f32>>)> {
        levels()
            .map(|level| {
                let device = |threads| CpuDevice::with_level(threads, level).expect("available");
                let one = self.run(device(1));
                for threads in [2, 3, 4] {
                    assert_eq!(
                        bits(&self.run(device(threads))),
                        bits(&one),
                        "{threads} threads at level {}",
                        level.name()
                    );
                }
                (level, one)
            })
            .collect()
    }
}

/// Elements of a buffer along rows and columns.
pub fn access(buffer: BufferId, strides: [usize; 2]) -> Access {
    Access {
        buffer,
        offset: 0,
        strides: strides.map(|s| s as i64).to_vec(),
        valid: vec![None; 2],
    }
}

pub fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|l| l.available())
}

pub fn bits(data: &[Vec<f32>]) -> Vec<Vec<u32>> {
    data.iter()
        .map(|d| d.iter().map(|v| v.to_bits()).collect())
        .collect()
}

/// A device of some threads for each level, and one without products of bf16 for each that has them.
pub fn devices() -> Vec<Box<dyn Fn(usize) -> CpuDevice>> {
    let mut devices: Vec<Box<dyn Fn(usize) -> CpuDevice>> = Vec::new();
    for level in levels() {
        let device = move |threads| CpuDevice::with_level(threads, level).expect("available");
        devices.push(Box::new(device));
        if device(1).has_bf16_products() {
            devices.push(Box::new(move |t| device(t).without_bf16_products()));
        }
    }
    devices
}

/// ‖a − b‖ / ‖b‖
pub fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let difference: f64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| square(f64::from(*a) - f64::from(*b)))
        .sum();
    let norm: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (difference / norm.max(1e-300)).sqrt()
}
