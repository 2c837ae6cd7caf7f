//! The order of the kernels: topological, and at each point the kernel that leaves the least memory in use.

use super::bind::Bound;
use super::ir::{Buffer, BufferKind};
use std::collections::BTreeSet;

/// Orders to choose from: the given one, and that of least growth where it is another.
pub fn orders(bound: &Bound) -> Vec<Vec<usize>> {
    let given = in_order(bound);
    let greedy = topological(bound, |state, ready| {
        ready.iter().copied().min_by_key(|k| (state.growth(*k), *k))
    });
    match greedy == given {
        true => vec![given],
        false => vec![given, greedy],
    }
}

/// The given order, changed where a kernel must wait for a later one.
pub fn in_order(bound: &Bound) -> Vec<usize> {
    topological(bound, |_, ready| ready.first().copied())
}

/// What is live while kernels are being ordered.
struct State<'a> {
    bound: &'a Bound,
    /// Per buffer, kernels yet to run that read it.
    readers: Vec<usize>,
}

fn size(buffer: &Buffer) -> i64 {
    match buffer.kind {
        BufferKind::Temporary => buffer.words() as i64,
        BufferKind::Input | BufferKind::State | BufferKind::Output | BufferKind::Piecewise => 0,
    }
}

impl State<'_> {
    fn new(bound: &Bound) -> State<'_> {
        let mut readers = vec![0; bound.buffers.len()];
        bound.reads.iter().flatten().for_each(|b| readers[*b] += 1);
        State { bound, readers }
    }

    /// Words that running a kernel allocates, less those it frees.
    fn growth(&self, kernel: usize) -> i64 {
        let of = |b: &usize| size(&self.bound.buffers[*b]);
        let made: i64 = self.bound.writes[kernel].iter().map(of).sum();
        let freed: i64 = self.bound.reads[kernel]
            .iter()
            .filter(|b| self.readers[**b] == 1)
            .map(of)
            .sum();
        made - freed
    }

    fn run(&mut self, kernel: usize) {
        self.bound.reads[kernel]
            .iter()
            .for_each(|b| self.readers[*b] -= 1);
    }
}

fn topological(
    bound: &Bound,
    choose: impl Fn(&State, &BTreeSet<usize>) -> Option<usize>,
) -> Vec<usize> {
    let count = bound.drafts.len();
    let mut waiting: Vec<usize> = bound.before.iter().map(BTreeSet::len).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (k, before) in bound.before.iter().enumerate() {
        before.iter().for_each(|b| after[*b].push(k));
    }
    let mut ready: BTreeSet<usize> = (0..count).filter(|k| waiting[*k] == 0).collect();
    let mut state = State::new(bound);
    let mut order = Vec::with_capacity(count);
    while let Some(kernel) = choose(&state, &ready) {
        ready.remove(&kernel);
        state.run(kernel);
        order.push(kernel);
        for next in &after[kernel] {
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    debug_assert_eq!(
        order.len(),
        count,
        "kernels wait for one another in a circle"
    );
    order
}
