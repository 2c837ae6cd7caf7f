//! A view of a few lines that stays in place.

use super::sparkline::Sparkline;
use super::{KnnLines, duration, linear_line};
use crate::report::{Reporter, print};
use crate::run_facts::Facts;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sslc_grammar::span::Sources;
use sslc_runtime::collapse::Spread;
use sslc_runtime::memory;
use sslc_runtime::train::{Event, Observer, StepRecord};
use std::time::{Duration, Instant};

/// Drawings a second, and the time between two.
const HERTZ: u8 = 4;
const REDRAW: Duration = Duration::from_millis(1000 / HERTZ as u64);
/// Bars of the loss.
const BARS: usize = 40;

pub struct Live {
    /// Of the whole training, where it is known how many steps an epoch has.
    epochs: Option<f64>,
    steps: u64,
    reporter: Reporter,
    bar: Option<ProgressBar>,
    /// When the lines were written last.
    drawn: Option<Instant>,
    loss: Sparkline,
    spread: Option<Spread>,
    knn: KnnLines,
    /// Accuracies so far, in percent.
    accuracies: Vec<f64>,
}

impl Live {
    pub fn new(facts: &Facts, reporter: Reporter) -> Live {
        let target = ProgressDrawTarget::stderr_with_hz(HERTZ);
        let bar = ProgressBar::with_draw_target(Some(facts.steps), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} steps  {msg}") {
            bar.set_style(style.progress_chars("━╸─"));
        }
        let per_epoch = facts.steps_per_epoch.filter(|n| *n > 0);
        Live {
            epochs: per_epoch.map(|n| facts.steps as f64 / n as f64),
            steps: facts.steps,
            drawn: None,
            reporter,
            bar: Some(bar),
            loss: Sparkline::new(BARS),
            spread: None,
            knn: KnnLines { untrained: None },
            accuracies: Vec::new(),
        }
    }

    pub fn leave(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Says something that stays above the view.
    fn say(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    fn lines(&self, record: &StepRecord, seconds_left: f64, waiting: f64) -> String {
        let mut lines = format!("{} left", duration(seconds_left));
        if let Some(epochs) = self.epochs {
            lines.push_str(&format!("  epoch {:.1} of {epochs:.0}", record.epoch));
        }
        lines.push_str(&format!(
            "\nloss       {:<10.4} {}  lr {:.2e}",
            record.loss,
            self.loss.bars(),
            record.lr
        ));
        for (name, value) in &record.watches {
            lines.push_str(&format!("\n{name:<10} {value:.4}"));
        }
        if let Some(spread) = self.spread {
            lines.push_str(&format!(
                "\nembedding  std {:.2}  effective rank {:.1}",
                spread.std, spread.effective_rank
            ));
        }
        if !self.accuracies.is_empty() {
            let accuracies: Vec<String> =
                self.accuracies.iter().map(|a| format!("{a:.1}")).collect();
            let from = accuracies.len().saturating_sub(6);
            lines.push_str(&format!(
                "\nk-NN       {} %",
                accuracies[from..].join(" → ")
            ));
        }
        lines.push_str(&format!(
            "\nspeed      {:.0} samples/s  {:.0} % waiting for views",
            record.samples_per_second,
            100.0 * waiting
        ));
        if let Some(bytes) = memory::resident() {
            lines.push_str(&format!("  {} MB of memory", bytes / 1_000_000));
        }
        lines
    }
}

impl Observer for Live {
    fn event(&mut self, event: Event) {
        match event {
            Event::Kernels(summary) => {
                self.say(|| print(&format!("kernels: {summary}\n")));
            }
            Event::Notice(diagnostic) => {
                self.say(|| self.reporter.tell(&Sources::default(), diagnostic));
            }
            Event::Knn { subject, accuracy } => {
                self.accuracies.push(100.0 * accuracy);
                let line = self.knn.line(subject, accuracy);
                self.say(|| print(&line));
            }
            Event::Linear { subject, accuracy } => {
                self.say(|| print(&linear_line(subject, accuracy)));
            }
            Event::Step {
                record,
                seconds_left,
                spread,
                waiting,
                ..
            } => {
                self.loss.push(f64::from(record.loss));
                self.spread = spread.or(self.spread);
                let Some(bar) = &self.bar else {
                    return;
                };
                bar.set_position(record.step + 1);
                // No more often than the view is drawn.
                let soon = self.drawn.is_some_and(|t| t.elapsed() < REDRAW);
                if !soon || record.step + 1 == self.steps {
                    bar.set_message(self.lines(record, seconds_left, waiting));
                    self.drawn = Some(Instant::now());
                }
            }
        }
    }
}
