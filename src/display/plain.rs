//! Lines now and then, for pipes and log files.

use super::{KnnLines, duration, linear_line};
use crate::report::{Reporter, print};
use sslc_grammar::span::Sources;
use sslc_runtime::train::{Event, Observer};
use std::time::{Duration, Instant};

/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A smaller share of the time that is spent waiting for views is not shown.
const SHOWN_WAITING: f64 = 0.01;

pub struct Plain {
    reporter: Reporter,
    last_line: Option<Instant>,
    spread: String,
    knn: KnnLines,
}

impl Plain {
    pub fn new(reporter: Reporter) -> Plain {
        Plain {
            reporter,
            last_line: None,
            spread: String::new(),
            knn: KnnLines { untrained: None },
        }
    }
}

impl Observer for Plain {
    fn event(&mut self, event: Event) {
        match event {
            Event::Kernels(summary) => print(&format!("kernels: {summary}\n")),
            Event::Notice(diagnostic) => self.reporter.tell(&Sources::default(), diagnostic),
            Event::Knn { subject, accuracy } => print(&self.knn.line(subject, accuracy)),
            Event::Linear { subject, accuracy } => print(&linear_line(subject, accuracy)),
            Event::Step {
                record,
                total,
                seconds_left,
                spread,
                waiting,
            } => {
                if let Some(s) = spread {
                    self.spread = format!("  std {:.2}  rank {:.0}", s.std, s.effective_rank);
                }
                let last = record.step + 1 == total;
                if !last && self.last_line.is_some_and(|t| t.elapsed() < LINE_EVERY) {
                    return;
                }
                self.last_line = Some(Instant::now());
                let watches: String = record
                    .watches
                    .iter()
                    .map(|(n, v)| format!("  {n} {v:.4}"))
                    .collect();
                let waiting = match waiting < SHOWN_WAITING {
                    true => String::new(),
                    false => format!("  waits for views {:.0} %", 100.0 * waiting),
                };
                print(&format!(
                    "step {}/{total}  loss {:.4}{watches}  lr {:.2e}  {:.0} samples/s{waiting}{}  {} left\n",
                    record.step + 1,
                    record.loss,
                    record.lr,
                    record.samples_per_second,
                    self.spread,
                    duration(seconds_left),
                ));
            }
        }
    }
}
