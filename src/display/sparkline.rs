//! A series as a line of bars, however long it is.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The means of equal stretches of a series. When all stretches are full, each takes twice as many values.
#[derive(Clone, Debug)]
pub struct Sparkline {
    /// Stretches at most; even.
    width: usize,
    /// Values a stretch holds.
    each: usize,
    means: Vec<f64>,
    /// Sum and number of the values of the stretch that is filled now.
    sum: f64,
    count: usize,
}

impl Sparkline {
    pub fn new(width: usize) -> Sparkline {
        Sparkline {
            width: width.max(2).next_multiple_of(2),
            each: 1,
            means: Vec::new(),
            sum: 0.0,
            count: 0,
        }
    }

    pub fn push(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
        if self.count < self.each {
            return;
        }
        self.means.push(self.sum / self.count as f64);
        (self.sum, self.count) = (0.0, 0);
        if self.means.len() == self.width {
            let pairs = self.means.chunks_exact(2);
            self.means = pairs.map(|p| (p[0] + p[1]) / 2.0).collect();
            self.each *= 2;
        }
    }

    /// The bars, from the lowest mean to the highest.
    pub fn bars(&self) -> String {
        let finite = |v: &&f64| v.is_finite();
        let low = self
            .means
            .iter()
            .filter(finite)
            .copied()
            .fold(f64::INFINITY, f64::min);
        let high = self
            .means
            .iter()
            .filter(finite)
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let scale = match high > low {
            true => (BARS.len() - 1) as f64 / (high - low),
            false => 0.0,
        };
        let bar = |v: &f64| match v.is_finite() {
            true => BARS[((v - low) * scale).round() as usize],
            false => ' ',
        };
        self.means.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_go_from_the_lowest_to_the_highest() {
        let mut line = Sparkline::new(16);
        (0..8).for_each(|i| line.push(f64::from(i)));
        assert_eq!(line.bars(), "▁▂▃▄▅▆▇█");
    }

    #[test]
    fn a_long_series_keeps_its_shape_and_its_width() {
        let mut line = Sparkline::new(8);
        (0..1000).for_each(|i| line.push(f64::from(1000 - i)));
        let bars = line.bars();
        assert!((4..8).contains(&bars.chars().count()), "{bars}");
        assert!(bars.starts_with('█') && bars.ends_with('▁'), "{bars}");
    }

    #[test]
    fn a_flat_line_and_what_is_not_finite() {
        let mut line = Sparkline::new(8);
        [2.0, 2.0, f64::NAN].into_iter().for_each(|v| line.push(v));
        assert_eq!(line.bars(), "▁▁ ");
        assert_eq!(Sparkline::new(8).bars(), "");
    }
}
