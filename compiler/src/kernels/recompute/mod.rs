//! Recomputation: values that a later kernel needs are let go and made again, so that less is live at once.
//!
//! - [`tape`]: the kernels written out with values let go and made again, and what is live along them.
//! - [`inline`]: loop kernels that make one value, with others computed on the way.
//!
//! As long as it helps, one value that spans the fullest place of the order is let go after its last use before that place: first
//! the one that costs the least time for the room it gives. A result of elementwise kernels takes one pass over memory; a
//! convolution's costs its products again, and comes last.
pub mod inline;
pub mod tape;

use super::bind::Bound;
use super::cost;
use std::collections::{BTreeMap, BTreeSet};
use tape::{Profile, Release, Tape, Work};

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// What is cheap: at most this many seconds for a byte, and this share of the step's time in all.
    Cheap { seconds_per_byte: f64, share: f64 },
    /// Until at most this many words of temporaries are live.
    Words(usize),
}

impl Goal {
    /// Up to four loads for a store, at 32 GB/s.
    pub const CHEAP: Goal = Goal::Cheap {
        seconds_per_byte: 5.0 / 32e9,
        share: Goal::CHEAP_SHARE,
    };
    /// Of the step's estimated time: at five times as much, a ResNet-50's step takes 3 % longer in five sixths of the room.
    pub const CHEAP_SHARE: f64 = 0.004;
}

/// The kernels, their order, and what making values again costs.
#[derive(Clone, Debug)]
pub struct Recomputed {
    pub bound: Bound,
    pub order: Vec<usize>,
    /// Estimated seconds of the kernels that make values again.
    pub seconds: f64,
}

/// Values of less than this share of the peak stay.
const SMALL: usize = 512;

/// Lets go of values until the goal is reached or nothing helps any more.
pub fn recompute(bound: &Bound, order: &[usize], goal: Goal) -> Recomputed {
    let work = Work::new(bound, order);
    let mut search = Search::new(&work, goal);
    while search.step() {}
    let (bound, order) = search.tape.finish(&work);
    Recomputed {
        bound,
        order,
        seconds: search.tape.seconds,
    }
}

struct Search<'a> {
    work: &'a Work<'a>,
    goal: Goal,
    /// Estimated seconds of a step without recomputation.
    step_seconds: f64,
    released: BTreeSet<Release>,
    tape: Tape,
    profile: Profile,
    /// Releases that did not help, and where the peak was.
    refused: BTreeMap<Release, usize>,
}

impl<'a> Search<'a> {
    fn new(work: &'a Work<'a>, goal: Goal) -> Search<'a> {
        let tape = work.tape(&BTreeSet::new());
        let profile = work.profile(&tape);
        let step_seconds = work.order.iter().map(|k| {
            let touched = work.bound.reads[*k].iter().chain(&work.bound.writes[*k]);
            let words: usize = touched.map(|b| work.room[*b]).sum();
            cost::seconds(cost::flops(&work.bound.drafts[*k].kind), 4 * words as u64)
        });
        Search {
            work,
            goal,
            step_seconds: step_seconds.sum(),
            released: BTreeSet::new(),
            tape,
            profile,
            refused: BTreeMap::new(),
        }
    }

    /// Lets go of one more value; false where the goal is reached or nothing helps.
    fn step(&mut self) -> bool {
        if matches!(self.goal, Goal::Words(words) if self.profile.peak <= words) {
            return false;
        }
        let at = self.profile.at;
        for (_, release) in self.candidates() {
            let mut released = self.released.clone();
            released.insert(release);
            let tape = self.work.tape(&released);
            let profile = self.work.profile(&tape);
            let saved = self.profile.live[at].saturating_sub(profile.live[at]);
            let seconds = tape.seconds - self.tape.seconds;
            let allowed = match self.goal {
                Goal::Words(_) => true,
                Goal::Cheap {
                    seconds_per_byte,
                    share,
                } => {
                    seconds <= seconds_per_byte * (4 * saved) as f64
                        && tape.seconds <= share * self.step_seconds
                }
            };
            if saved > 0 && profile.peak <= self.profile.peak && allowed {
                self.released = released;
                self.tape = tape;
                self.profile = profile;
                return true;
            }
            self.refused.insert(release, at);
        }
        false
    }

    /// Values that could be let go across the peak, the cheapest for their size first.
    fn candidates(&self) -> Vec<(f64, Release)> {
        let at = self.profile.at;
        let least = self.profile.peak / SMALL;
        let mut found: Vec<(f64, Release)> = Vec::new();
        for (value, uses) in self.work.uses.iter().enumerate() {
            let size = self.work.room[value];
            if size < least.max(1) || self.work.makers[value].is_none() {
                continue;
            }
            let next = uses.partition_point(|u| *u < at);
            let (Some(last), Some(next)) = (next.checked_sub(1).map(|i| uses[i]), uses.get(next))
            else {
                continue;
            };
            let release = (last, value);
            if *next == at
                || self.released.contains(&release)
                || self.refused.get(&release) == Some(&at)
            {
                continue;
            }
            // What else is gone by then can be made again as well, or must be kept longer.
            let there = |v: usize| {
                let uses = &self.work.uses[v];
                self.work.makers[v].is_none()
                    || uses.last().is_some_and(|u| u > next)
                        && !self.released.iter().any(|(_, r)| *r == v)
            };
            let (loads, _) = self.work.recipe(value, there);
            let seconds = self.work.seconds(value, loads.into_iter());
            found.push((seconds / size as f64, release));
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found
    }
}
