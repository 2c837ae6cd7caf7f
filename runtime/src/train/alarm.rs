//! Calls collapse out while it happens, with its likely cause.

use super::{Event, Observer};
use crate::collapse::Spread;
use sslc_compiler::core::ops;
use sslc_compiler::lints::lints;
use sslc_compiler::program::{NetworkRole, Program, ScheduleShape};
use sslc_grammar::ast::Role;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// An embedding is collapsed below this spread. Healthy runs of the four methods stay above 0.4 from the first step on, a
/// collapsed one goes towards 0.
const STD: f64 = 0.1;
/// And below this effective rank: all rows lie on a line.
const RANK: f64 = 1.5;
/// Measurements in a row that must say so.
const PATIENCE: u32 = 3;
/// An embedding of fewer dimensions says little by its rank.
const DIMENSIONS: usize = 4;

/// Passes events on, and adds a notice where the embedding has collapsed; once, until it has recovered.
pub struct Alarm<'a> {
    program: &'a Program,
    inner: &'a mut dyn Observer,
    dimensions: usize,
    /// Measurements in a row that show a collapse.
    seen: u32,
    told: bool,
}

impl<'a> Alarm<'a> {
    pub fn new(program: &'a Program, inner: &'a mut dyn Observer) -> Alarm<'a> {
        let embedding = program.forward.output("embedding");
        let dimensions = embedding.and_then(|id| program.forward.ty(id).shape.last().copied());
        Alarm {
            program,
            inner,
            dimensions: dimensions.unwrap_or(0),
            seen: 0,
            told: false,
        }
    }

    fn measure(&mut self, step: u64, spread: Spread, lr: f64) {
        let flat = self.dimensions >= DIMENSIONS && spread.effective_rank < RANK;
        if spread.std >= STD && !flat {
            self.seen = 0;
            // Well above, so that a value at the border is told once.
            self.told &= spread.std < 2.0 * STD;
            return;
        }
        self.seen += 1;
        if self.seen < PATIENCE || self.told {
            return;
        }
        self.told = true;
        let what = match spread.std < STD {
            true => format!(
                "the spread of the embedding is {:.3}, where 1 is even and 0 is one point",
                spread.std
            ),
            false => format!(
                "the embedding lies on a line (effective rank {:.1} of {})",
                spread.effective_rank, self.dimensions
            ),
        };
        let notice = Diagnostic::new(codes::W0805, format!("collapse at step {step}: {what}"))
            .help(likely_cause(self.program, lr));
        self.inner.event(Event::Notice(&notice));
    }
}

impl Observer for Alarm<'_> {
    fn event(&mut self, event: Event) {
        let measured = match &event {
            Event::Step { record, spread, .. } => spread.map(|s| (record.step, s, record.lr)),
            _ => None,
        };
        self.inner.event(event);
        if let Some((step, spread, lr)) = measured {
            self.measure(step, spread, lr);
        }
    }
}

/// The first of the known causes that the program shows, and what to do about it.
fn likely_cause(program: &Program, lr: f64) -> String {
    let known = [codes::W0150, codes::W0151, codes::W0152];
    if let Some(lint) = lints(program).iter().find(|d| known.contains(&d.code)) {
        let way_out = lint.help.as_deref().unwrap_or_default();
        return format!("{}: {way_out} ({})", lint.message, lint.code.name());
    }
    let stopped = program
        .forward
        .nodes
        .iter()
        .any(|n| n.is(&ops::STOP_GRADIENT));
    let has = |role| {
        let online = NetworkRole::Online(role);
        program.networks.iter().any(|n| n.role == online)
    };
    if stopped && !has(Role::Predictor) {
        return "one side is stopped and the other has no predictor: add `predictor q = mlp(…)` and compare `q(…)` with the \
                stopped side"
            .to_owned();
    }
    let fast = program.targets.iter().find_map(|link| {
        let decay = program.schedules.get(&link.decay)?.at(0);
        (decay < 0.9).then_some((&link.decay, decay))
    });
    if let Some((name, decay)) = fast {
        return format!(
            "the target follows its source fast ({name} is {decay}): a larger decay, such as 0.99, keeps it apart"
        );
    }
    let warms_up = program
        .schedules
        .iter()
        .filter(|(name, _)| name.starts_with("lr"))
        .any(|(_, s)| s.warmup > 0 || matches!(s.shape, ScheduleShape::Correction { .. }));
    let warmup = match warms_up {
        true => "",
        false => " and give it a warm-up (`warmup: epochs(5)`)",
    };
    format!(
        "the loss has no way to collapse by itself; most often the learning rate is too high (now {lr:.1e}): try a third of \
         it{warmup}. Look at the views, too (`sslc views`): crops that share nothing teach nothing"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepRecord;
    use sslc_compiler::elaborate::{Loaded, Loader, Options, elaborate};
    use sslc_grammar::span::Sources;
    use std::collections::BTreeMap;

    struct Nothing;

    impl Loader for Nothing {
        fn load(&mut self, _: &str, path: &str) -> Result<Loaded, Diagnostic> {
            Err(Diagnostic::new(codes::E0501, path))
        }
    }

    const SPEC: &str = r#"
data = fashion_mini()
views x1, x2 = random_resized_crop(8) |> normalize("fashion_mnist")
encoder   f = resnet18(stem: "cifar", width: 2)
projector g = mlp(8, 8)
predictor h = mlp(4, 8)
loss = negative_cosine(h(g(f(x1))), stop_gradient(g(f(x2))))
train { steps = 3, batch = 8, optimizer = sgd(lr: 0.05, momentum: 0.9) }
"#;

    fn program(text: &str) -> Program {
        let mut sources = Sources::default();
        let entry = sources.add("a.ssl", text.to_owned());
        let options = Options {
            overrides: &[],
            train_len: None,
        };
        match elaborate(&mut sources, entry, &mut Nothing, &options) {
            Ok((program, _)) => program,
            Err(diagnostics) => panic!("{diagnostics:?}"),
        }
    }

    #[derive(Default)]
    struct Notices(Vec<(String, String)>);

    impl Observer for Notices {
        fn event(&mut self, event: Event) {
            if let Event::Notice(d) = event {
                let help = d.help.clone().unwrap_or_default();
                self.0.push((d.message.clone(), help));
            }
        }
    }

    /// What is told of these measurements (std, effective rank).
    fn told(text: &str, measurements: &[(f64, f64)]) -> Vec<(String, String)> {
        let program = program(text);
        let mut notices = Notices::default();
        let mut alarm = Alarm::new(&program, &mut notices);
        for (step, (std, effective_rank)) in measurements.iter().enumerate() {
            let record = StepRecord {
                step: step as u64,
                epoch: 0.0,
                loss: 0.0,
                lr: 0.5,
                samples_per_second: 1.0,
                waiting: 0.0,
                watches: BTreeMap::new(),
                memory_bytes: None,
                embedding_std: None,
                effective_rank: None,
            };
            alarm.event(Event::Step {
                record: &record,
                total: 100,
                seconds_left: 0.0,
                spread: Some(Spread {
                    std: *std,
                    effective_rank: *effective_rank,
                }),
                waiting: 0.0,
            });
        }
        notices.0
    }

    #[test]
    fn a_healthy_run_and_a_short_dip_are_silent() {
        assert_eq!(told(SPEC, &[(0.5, 5.5); 20]), []);
        let dip = [
            (0.5, 5.0),
            (0.05, 3.0),
            (0.05, 3.0),
            (0.5, 5.0),
            (0.05, 3.0),
        ];
        assert_eq!(told(SPEC, &dip), []);
    }

    #[test]
    fn a_collapse_is_told_once_and_again_after_recovery() {
        assert_eq!(told(SPEC, &[(0.01, 2.0); 20]).len(), 1);
        let mut twice = vec![(0.01, 2.0); 4];
        twice.push((0.6, 5.0));
        twice.extend([(0.01, 2.0); 4]);
        assert_eq!(told(SPEC, &twice).len(), 2);
    }

    #[test]
    fn rows_on_a_line_have_collapsed() {
        let (message, _) = &told(SPEC, &[(0.9, 1.1); 4])[0];
        assert!(message.contains("on a line"), "{message}");
    }

    #[test]
    fn the_cause_is_read_from_the_program() {
        let cause = |text: &str| told(text, &[(0.0, 1.0); 3])[0].1.clone();
        let open = SPEC.replace("stop_gradient(g(f(x2)))", "g(f(x2))");
        assert!(cause(&open).contains("W0150"), "{}", cause(&open));
        let bare = SPEC
            .replace("predictor h = mlp(4, 8)\n", "")
            .replace("h(g(f(x1)))", "g(f(x1))");
        assert!(cause(&bare).contains("predictor"), "{}", cause(&bare));
        let fast = SPEC
            .replace("loss =", "target f_t, g_t = ema(f, g, decay: 0.5)\nloss =")
            .replace("stop_gradient(g(f(x2)))", "stop_gradient(g_t(f_t(x2)))");
        assert!(cause(&fast).contains("0.5"), "{}", cause(&fast));
        assert!(cause(SPEC).contains("learning rate"), "{}", cause(SPEC));
    }
}
