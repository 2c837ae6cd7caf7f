//! The multiply-add rate of the machine, against which kernels are measured.

use super::contract::PeakTile;
use super::level::Level;
use super::pool::Pool;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_rate() {
        for level in Level::ALL.into_iter().filter(|l| l.available()) {
            let rate = measure(level, 1, Duration::from_millis(1));
            assert!(rate > 1e7 && rate < 1e14, "{}: {rate}", level.name());
        }
    }
}
