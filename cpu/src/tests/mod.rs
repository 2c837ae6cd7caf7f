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
use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::{Access, BufferId};
use sslc_kernel_testing::{Building, Draw};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// A program, run on devices.
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
    sslc_kernel_testing::access(buffer, 0, &strides.map(|s| s as i64))
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
