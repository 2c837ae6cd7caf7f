//! The machine's multiply-add rate and memory bandwidth, against which kernels are measured.

use super::contract::operands::Products;
use super::contract::simd::{Kernels, Segment, Store, Tile};
use super::level::Level;
use super::pool::Pool;
use super::scratch::Pointer;
use std::time::{Duration, Instant};

/// Tiles between two looks at the clock, on each thread.
const TILES: usize = 4_000;

/// The f32 operations (a multiply-add counts as two) per second that `threads` threads reach at the machine's best level:
/// a register tile over operands in the first-level cache, the best of several trials in about a quarter of a second.
pub fn measure_peak_flops(threads: usize) -> f64 {
    measure(Level::detect(), threads, Duration::from_millis(250))
}

fn measure(level: Level, threads: usize, time: Duration) -> f64 {
    let pool = Pool::new(threads);
    let tile = PeakTile::new(level);
    let start = Instant::now();
    let mut best = 0.0f64;
    loop {
        let trial = Instant::now();
        pool.run(pool.threads(), &|_, _| tile.run(TILES));
        let flops = tile.flops() * (TILES * pool.threads()) as f64;
        best = best.max(flops / trial.elapsed().as_secs_f64());
        if start.elapsed() > time {
            return best;
        }
    }
}

/// f32 elements that each thread copies in a trial: 64 MiB, more than the caches hold.
const COPIED: usize = 16 << 20;

/// The fewest trials.
const COPIES: usize = 5;

/// Bytes per second, read and written together, that `threads` threads reach when each copies 64 MiB: the best of several
/// trials in about a quarter of a second. Takes 128 MiB for each thread meanwhile.
pub fn measure_bandwidth(threads: usize) -> f64 {
    let pool = Pool::new(threads);
    let mut blocks: Vec<(Vec<f32>, Vec<f32>)> = (0..pool.threads())
        .map(|_| (vec![1.0; COPIED], vec![2.0; COPIED]))
        .collect();
    let places: Vec<(Pointer, Pointer)> = blocks
        .iter_mut()
        .map(|(from, to)| {
            (
                Pointer::new(from.as_mut_ptr()),
                Pointer::new(to.as_mut_ptr()),
            )
        })
        .collect();
    let start = Instant::now();
    let mut best = 0.0f64;
    for trials in 0.. {
        if trials >= COPIES && start.elapsed() > Duration::from_millis(250) {
            break;
        }
        let trial = Instant::now();
        pool.run(places.len(), &|_, unit| {
            let (from, to) = &places[unit];
            // SAFETY: both blocks hold `COPIED` elements, live until the pool returns, and only this unit touches them.
            unsafe { std::ptr::copy_nonoverlapping(from.get(), to.get(), COPIED) };
        });
        let bytes = (2 * 4 * COPIED * places.len()) as f64;
        best = best.max(bytes / trial.elapsed().as_secs_f64());
    }
    best
}

/// A register tile over operands of its own, for measuring the machine's rate.
struct PeakTile {
    kernels: Kernels,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl PeakTile {
    /// Inner length of the tile.
    const INNER: usize = 128;

    /// The tile of a level, which the machine must have.
    fn new(level: Level) -> PeakTile {
        assert!(level.available());
        let kernels = Kernels::new(level, Products::F32);
        PeakTile {
            a: vec![1.0; kernels.wide.highest().height * Self::INNER],
            b: vec![1.0; kernels.wide.width * Self::INNER],
            kernels,
        }
    }

    /// Operations of one tile.
    fn flops(&self) -> f64 {
        let panel = &self.kernels.wide;
        (2 * panel.highest().height * panel.width * Self::INNER) as f64
    }

    /// Computes the tile `count` times.
    fn run(&self, count: usize) {
        let panel = &self.kernels.wide;
        let highest = panel.highest();
        let rows = highest.height;
        let mut c = vec![0.0f32; rows * panel.width];
        let a: Vec<usize> = (0..rows).map(|m| 4 * m * Self::INNER).collect();
        let places: Vec<usize> = (0..rows).map(|m| 4 * m * panel.width).collect();
        let segment = Segment {
            offset: 0,
            len: Self::INNER,
        };
        let tile = Tile {
            columns: panel.width,
            store: Store::F32,
            twin: 0,
        };
        for _ in 0..count {
            let a = (self.a.as_ptr().cast(), a.as_ptr());
            let c = (c.as_mut_ptr().cast(), places.as_ptr());
            // SAFETY: the level is available; A has `rows` rows of the segment's length, B as many rows of the panel's
            // width, C a row of that width for each of A's.
            unsafe { (highest.rows)(a, &[segment], self.b.as_ptr(), c, tile) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_bandwidth() {
        let rate = measure_bandwidth(1);
        assert!(rate > 1e8 && rate < 1e13, "{rate}");
    }

    #[test]
    fn every_level_has_a_rate() {
        for level in Level::ALL.into_iter().filter(|l| l.available()) {
            let rate = measure(level, 1, Duration::from_millis(1));
            assert!(rate > 1e7 && rate < 1e14, "{}: {rate}", level.name());
        }
    }
}
