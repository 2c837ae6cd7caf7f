//! What a training shows: a live view on a terminal, plain lines in a pipe, or one JSON object a line.
//!
//! - [`live`]: the view that stays in place. [`sparkline`]: the loss as a line of bars.
//! - [`plain`]: lines now and then. [`json`]: objects for programs.
mod json;
mod live;
mod plain;
mod sparkline;

use crate::render;
use crate::report::{Reporter, print};
use crate::run_facts::Facts;
use json::Json;
use live::Live;
use plain::Plain;
use sslc_grammar::diag::Diagnostic;
use sslc_grammar::span::Sources;
use sslc_runtime::train::{Ending, Event, Observer, Outcome, Subject};
use std::io::{IsTerminal, stderr};
use std::path::Path;

/// Shows a training to whoever started it.
pub enum Display {
    Live(Box<Live>),
    Plain(Plain),
    Json(Json),
}

impl Display {
    /// The live view where standard error is a terminal, plain lines otherwise, objects where they are asked for.
    /// Tells what begins.
    pub fn begin(facts: &Facts, json: bool, reporter: Reporter) -> Display {
        if json {
            return Display::Json(Json::begin(facts));
        }
        print(&format!(
            "{}: {} training images, {} parameters, {} steps of {}\n",
            facts.name,
            facts.train_images,
            facts.parameters(),
            facts.steps,
            facts.images_a_step(),
        ));
        let why = facts.no_gpu.as_ref().map(|why| format!("; {why}"));
        print(&format!(
            "device: {}{}\n",
            facts.device,
            why.unwrap_or_default()
        ));
        match stderr().is_terminal() {
            true => Display::Live(Box::new(Live::new(facts, reporter))),
            false => Display::Plain(Plain::new(reporter)),
        }
    }

    /// Takes the live view away: what is said now stays.
    pub fn leave(&mut self) {
        if let Display::Live(live) = self {
            live.leave();
        }
    }

    /// Tells how the training ended, its run directory and its report.
    pub fn end(&mut self, outcome: &Outcome, steps: u64, run: &Path, report: &Path) {
        self.leave();
        if let Display::Json(json) = self {
            return json.end(outcome, run, report);
        }
        print(&format!(
            "encoder: {}\nreport: {}\n",
            outcome.encoder.display(),
            report.display()
        ));
        if outcome.ending == Ending::Stopped {
            print(&format!(
                "stopped after {} of {steps} steps; `sslc resume {}` goes on\n",
                outcome.steps,
                run.display()
            ));
        }
    }
}

impl Observer for Display {
    fn event(&mut self, event: Event) {
        match self {
            Display::Live(live) => live.event(event),
            Display::Plain(plain) => plain.event(event),
            Display::Json(json) => json.event(event),
        }
    }
}

/// `k-NN of the trained encoder  77.60 % (+16.40 over untrained)`
struct KnnLines {
    untrained: Option<f64>,
}

impl KnnLines {
    fn line(&mut self, subject: Subject, accuracy: f64) -> String {
        let percent = accuracy * 100.0;
        match (subject, self.untrained) {
            (Subject::Raw, _) => format!("k-NN of raw pixels          {percent:6.2} %\n"),
            (Subject::Untrained, _) => {
                self.untrained = Some(percent);
                format!("k-NN of the untrained encoder {percent:4.2} %\n")
            }
            (Subject::Training, _) => format!("k-NN so far                 {percent:6.2} %\n"),
            (Subject::Trained, Some(before)) => format!(
                "k-NN of the trained encoder {percent:6.2} %  ({:+.2} over untrained)\n",
                percent - before
            ),
            (Subject::Trained, None) => format!("k-NN of the trained encoder {percent:6.2} %\n"),
        }
    }
}

/// `linear of the trained encoder  80.10 %`
fn linear_line(subject: Subject, accuracy: f64) -> String {
    let what = match subject {
        Subject::Raw => "linear of raw pixels",
        Subject::Untrained => "linear of the untrained encoder",
        Subject::Training => "linear so far",
        Subject::Trained => "linear of the trained encoder",
    };
    format!("{what:28}{:6.2} %\n", accuracy * 100.0)
}

/// A diagnostic without a source, as an object.
fn object(diagnostic: &Diagnostic) -> serde_json::Value {
    let text = render::json(&Sources::default(), diagnostic);
    serde_json::from_str(&text).unwrap_or_default()
}

/// `1:05:09`, `5:09`
fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}
