//! `metrics.jsonl` as curves and evaluations.

use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A curve keeps at most this many points; longer ones are averaged over intervals of equal length.
const MOST_POINTS: usize = 1200;

/// What a training measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// By the name of the field: `loss`, `lr`, a watch's name.
    pub curves: BTreeMap<String, Curve>,
    /// By what was measured (`knn`), in the order of the file.
    pub evaluations: BTreeMap<String, Vec<Evaluation>>,
    /// Of the last step that is known.
    pub last: Option<Last>,
    /// Lines that are no records: cut off, or damaged.
    pub broken: usize,
}

/// Values by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    pub steps: Vec<f64>,
    pub values: Vec<f64>,
    /// Least and largest value of the interval that a point stands for; empty where a point is a step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub low: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub high: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    pub step: u64,
    /// `raw`, `untrained`, `training`, `trained`.
    pub subject: String,
    /// From 0 to 1.
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Last {
    /// Steps done.
    pub steps: u64,
    pub epoch: f64,
    pub samples_per_second: f64,
}

/// Fields of a step's record that are not curves of their own.
const PLACES: [&str; 2] = ["step", "epoch"];

impl Metrics {
    /// Reads the text of the file. Where a training was taken up again at an earlier step, the later record of a step holds.
    pub fn parse(text: &str) -> Metrics {
        let mut metrics = Metrics::default();
        for line in text.lines().filter(|l| !l.trim().is_empty()) {
            match serde_json::from_str::<Map<String, Value>>(line) {
                Ok(record) => metrics.add(&record),
                Err(_) => metrics.broken += 1,
            }
        }
        for curve in metrics.curves.values_mut() {
            *curve = curve.thinned(MOST_POINTS);
        }
        metrics
    }

    fn add(&mut self, record: &Map<String, Value>) {
        let Some(step) = record.get("step").and_then(Value::as_u64) else {
            self.broken += 1;
            return;
        };
        let numbers = record
            .iter()
            .filter(|(name, _)| !PLACES.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name, value.as_f64()?)));
        if let Some(subject) = record.get("subject").and_then(Value::as_str) {
            for (name, value) in numbers {
                let list = self.evaluations.entry(name.clone()).or_default();
                list.retain(|e| e.step < step || (e.step == step && e.subject != subject));
                list.push(Evaluation {
                    step,
                    subject: subject.to_owned(),
                    value,
                });
            }
            return;
        }
        for (name, value) in numbers {
            self.curves
                .entry(name.clone())
                .or_default()
                .push(step, value);
        }
        let number = |name| record.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        self.last = Some(Last {
            steps: step + 1,
            epoch: number("epoch"),
            samples_per_second: number("samples_per_second"),
        });
    }

    /// The last value of a curve.
    pub fn final_value(&self, name: &str) -> Option<f64> {
        self.curves.get(name)?.values.last().copied()
    }

    /// The last evaluation of these subjects.
    pub fn evaluation(&self, what: &str, subjects: &[&str]) -> Option<f64> {
        let list = self.evaluations.get(what)?;
        let found = list.iter().rev().find(|e| subjects.contains(&&*e.subject));
        found.map(|e| e.value)
    }
}

impl Curve {
    fn push(&mut self, step: u64, value: f64) {
        let step = step as f64;
        while self.steps.last().is_some_and(|last| *last >= step) {
            self.steps.pop();
            self.values.pop();
        }
        self.steps.push(step);
        self.values.push(value);
    }

    /// At most `most` points: means over intervals, each at the last step of its interval.
    fn thinned(&self, most: usize) -> Curve {
        let n = self.values.len();
        if n <= most {
            return self.clone();
        }
        let mut thin = Curve::default();
        for i in 0..most {
            let (from, to) = (i * n / most, (i + 1) * n / most);
            let part = &self.values[from..to];
            thin.steps.push(self.steps[to - 1]);
            thin.values
                .push(part.iter().sum::<f64>() / part.len() as f64);
            thin.low
                .push(part.iter().copied().fold(f64::INFINITY, f64::min));
            thin.high
                .push(part.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
        thin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_evaluations_and_broken_lines_are_told_apart() {
        let metrics = Metrics::parse(
            "{\"step\":0,\"subject\":\"raw\",\"knn\":0.5}\n\
             {\"step\":0,\"epoch\":0.5,\"loss\":2.0,\"lr\":0.1,\"samples_per_second\":10,\"w\":1}\n\
             not json\n\
             {\"loss\":3.0}\n\
             {\"step\":1,\"epoch\":1.0,\"loss\":1.0,\"lr\":0.1,\"samples_per_second\":20,\"embedding_std\":0.9}\n\
             {\"step\":2,\"subject\":\"trained\",\"knn\":0.75}\n\
             {\"step\":2,\"epoch\":1.5,\"lo",
        );
        assert_eq!(metrics.broken, 3);
        assert_eq!(metrics.curves["loss"].values, [2.0, 1.0]);
        assert_eq!(metrics.curves["embedding_std"].steps, [1.0]);
        assert_eq!(metrics.curves["w"].values, [1.0]);
        assert!(!metrics.curves.contains_key("epoch"));
        assert_eq!(metrics.evaluation("knn", &["raw"]), Some(0.5));
        assert_eq!(metrics.evaluation("knn", &["trained"]), Some(0.75));
        assert_eq!(
            metrics.last.map(|l| (l.steps, l.samples_per_second)),
            Some((2, 20.0))
        );
    }

    #[test]
    fn a_step_that_was_made_again_counts_once() {
        let line = |step: u64, loss: f64| format!("{{\"step\":{step},\"loss\":{loss}}}\n");
        let text = [
            line(0, 5.0),
            line(1, 4.0),
            line(2, 3.0),
            line(1, 4.5),
            line(2, 3.5),
        ]
        .concat();
        let curve = &Metrics::parse(&text).curves["loss"];
        assert_eq!(curve.steps, [0.0, 1.0, 2.0]);
        assert_eq!(curve.values, [5.0, 4.5, 3.5]);
    }

    #[test]
    fn long_curves_keep_their_mean_ends_and_extremes() {
        let mut curve = Curve::default();
        for step in 0..10_000u64 {
            curve.push(
                step,
                if step == 5000 {
                    100.0
                } else {
                    step as f64 / 1e4
                },
            );
        }
        let thin = curve.thinned(100);
        assert_eq!((thin.values.len(), thin.low.len()), (100, 100));
        assert_eq!(thin.steps[99], 9999.0);
        assert_eq!(thin.high.iter().copied().fold(0.0, f64::max), 100.0);
        assert!((thin.values[0] - 0.00495).abs() < 1e-9);
    }
}
