//! One JSON object a line on standard output. Each has an `event`: `resume`, `begin`, `kernels`, `step`, `knn`, `linear`,
//! `notice` or `end`.

use super::object;
use crate::report::print;
use crate::run_facts::Facts;
use serde_json::{Value, json};
use sslc_runtime::train::{Ending, Event, Observer, Outcome};
use std::path::Path;

pub struct Json;

impl Json {
    pub fn begin(facts: &Facts) -> Json {
        line(json!({
            "event": "begin",
            "name": facts.name,
            "images": facts.train_images,
            "parameters": facts.parameters(),
            "steps": facts.steps,
            "steps_per_epoch": facts.steps_per_epoch,
            "batch": facts.images_a_step(),
            "device": facts.device,
            "no_gpu": facts.no_gpu,
        }));
        Json
    }

    pub fn end(&self, outcome: &Outcome, run: &Path, report: &Path) {
        let ending = match outcome.ending {
            Ending::Finished => "finished",
            Ending::Stopped => "stopped",
        };
        line(json!({
            "event": "end",
            "ending": ending,
            "steps": outcome.steps,
            "run": run.display().to_string(),
            "report": report.display().to_string(),
            "encoder": outcome.encoder.display().to_string(),
            "scores": outcome.scores,
        }));
    }
}

impl Observer for Json {
    fn event(&mut self, event: Event) {
        match event {
            Event::Kernels(summary) => line(json!({ "event": "kernels", "summary": summary })),
            Event::Notice(diagnostic) => {
                line(json!({ "event": "notice", "diagnostic": object(diagnostic) }));
            }
            Event::Knn { subject, accuracy } => {
                line(json!({ "event": "knn", "subject": subject, "accuracy": accuracy }));
            }
            Event::Linear { subject, accuracy } => {
                line(json!({ "event": "linear", "subject": subject, "accuracy": accuracy }));
            }
            Event::Step {
                record,
                seconds_left,
                ..
            } => {
                // The same names as in `metrics.jsonl`.
                let mut object = serde_json::to_value(record).unwrap_or_default();
                if let Value::Object(map) = &mut object {
                    map.insert("event".to_owned(), "step".into());
                    map.insert("seconds_left".to_owned(), seconds_left.round().into());
                }
                line(object);
            }
        }
    }
}

fn line(object: Value) {
    print(&format!("{object}\n"));
}
