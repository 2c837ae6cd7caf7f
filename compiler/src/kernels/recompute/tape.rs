//! The kernels written out in order, where values are let go and computed again when they are needed next.

use super::inline::{alone, fits, inline};
use crate::kernels::assemble::Draft;
use crate::kernels::bind::{Bound, rename};
use crate::kernels::cost;
use crate::kernels::ir::{BufferKind, KernelKind, LoopKernel};
use crate::kernels::plan::{replaces, room};
use crate::kernels::schedule::in_order;
use std::collections::{BTreeMap, BTreeSet};

/// A value (the index of its buffer) that is let go after the kernel at this place of the order.
pub type Release = (usize, usize);

/// Loop kernels with more loads than this are not written into one another.
const MAX_LOADS: usize = 24;

/// How a value is made by itself.
#[derive(Clone, Debug)]
pub struct Maker {
    pub draft: usize,
    pub kind: KernelKind,
    /// Buffers it reads, ascending.
    pub reads: Vec<usize>,
}

/// The kernels in an order, and what is known of their values.
pub struct Work<'a> {
    pub bound: &'a Bound,
    pub order: &'a [usize],
    /// For each buffer that can be computed again.
    pub makers: Vec<Option<Maker>>,
    /// Places of the order where each buffer is read or written, ascending.
    pub uses: Vec<Vec<usize>>,
    /// Words of each buffer in the arena.
    pub room: Vec<usize>,
    /// Per kernel, pairs of a buffer that it writes and one that it reads, in whose place the first can be.
    shares: Vec<Vec<(usize, usize)>>,
}

/// One kernel of the tape. Instances below the number of buffers are the buffers; others are values made again.
#[derive(Clone, Debug)]
pub struct Step {
    /// The kernel of the order; of a value made again, the one that it is made for.
    pub at: usize,
    /// The value made again, and the values that are computed in place of being loaded.
    pub again: Option<(usize, BTreeSet<usize>)>,
    /// Values with their instances.
    pub reads: Vec<(usize, usize)>,
    pub writes: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
pub struct Tape {
    pub steps: Vec<Step>,
    /// The value of each instance.
    pub values: Vec<usize>,
    /// Seconds that values made again take, by [`cost::seconds`].
    pub seconds: f64,
}

/// Words of temporaries that are live, at most, at each place of the order.
pub struct Profile {
    pub live: Vec<usize>,
    pub peak: usize,
    /// The first place where the peak is reached.
    pub at: usize,
}

impl<'a> Work<'a> {
    pub fn new(bound: &'a Bound, order: &'a [usize]) -> Work<'a> {
        let count = bound.buffers.len();
        let (mut uses, mut writers) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (at, kernel) in order.iter().enumerate() {
            for b in bound.writes[*kernel].iter().chain(&bound.reads[*kernel]) {
                if uses[*b].last() != Some(&at) {
                    uses[*b].push(at);
                }
            }
            bound.writes[*kernel]
                .iter()
                .for_each(|b| writers[*b].push(*kernel));
        }
        let maker = |b: usize| match writers[b][..] {
            [draft] if bound.buffers[b].kind == BufferKind::Temporary => maker(bound, draft, b),
            _ => None,
        };
        Work {
            bound,
            order,
            makers: (0..count).map(maker).collect(),
            uses,
            room: bound.buffers.iter().map(room).collect(),
            shares: (0..bound.drafts.len()).map(|d| shares(bound, d)).collect(),
        }
    }

    fn is_temporary(&self, buffer: usize) -> bool {
        self.bound.buffers[buffer].kind == BufferKind::Temporary
    }

    /// Writes the tape for some releases.
    pub fn tape(&self, released: &BTreeSet<Release>) -> Tape {
        let kept = |b: usize| (!self.is_temporary(b)).then_some(b);
        let mut writer = Writer {
            work: self,
            now: (0..self.room.len()).map(kept).collect(),
            tape: Tape {
                values: (0..self.room.len()).collect(),
                ..Tape::default()
            },
        };
        let mut releases = released.iter().peekable();
        for (at, kernel) in self.order.iter().enumerate() {
            let reads = self.bound.reads[*kernel].iter();
            let reads = reads.map(|b| (*b, writer.instance(*b, at))).collect();
            let writes = self.bound.writes[*kernel].clone();
            writes.iter().for_each(|b| writer.now[*b] = Some(*b));
            writer.tape.steps.push(Step {
                at,
                again: None,
                reads,
                writes,
            });
            while let Some((_, value)) = releases.next_if(|(from, _)| *from == at) {
                writer.now[*value] = None;
            }
        }
        writer.tape
    }

    /// What is live along a tape. A kernel's result in the place of what it reads last takes no room.
    pub fn profile(&self, tape: &Tape) -> Profile {
        let mut last = vec![0; tape.values.len()];
        for (s, step) in tape.steps.iter().enumerate() {
            for i in step.reads.iter().map(|(_, i)| i).chain(&step.writes) {
                last[*i] = s;
            }
        }
        let mut profile = Profile {
            live: vec![0; self.order.len()],
            peak: 0,
            at: 0,
        };
        let mut live = 0;
        for (s, step) in tape.steps.iter().enumerate() {
            let temporary = |i: &usize| self.is_temporary(tape.values[*i]);
            let words = |i: &usize| self.room[tape.values[*i]];
            let made: usize = step.writes.iter().filter(|i| temporary(i)).map(words).sum();
            let dying = |i: &usize| temporary(i) && last[*i] == s;
            let freed: usize = step
                .reads
                .iter()
                .map(|(_, i)| i)
                .filter(|i| dying(i))
                .map(words)
                .sum();
            let mut during = live + made;
            if step.again.is_none() {
                let mut taken = BTreeSet::new();
                for (write, read) in &self.shares[self.order[step.at]] {
                    let dies = step.reads.iter().any(|(v, i)| v == read && dying(i));
                    if dies && !taken.contains(write) && !taken.contains(read) {
                        taken.extend([*write, *read]);
                        during -= self.room[*write];
                    }
                }
            }
            let at = &mut profile.live[step.at];
            *at = (*at).max(during);
            if during > profile.peak {
                (profile.peak, profile.at) = (during, step.at);
            }
            let unread: usize = step.writes.iter().filter(|i| dying(i)).map(words).sum();
            live = live + made - freed - unread;
        }
        profile
    }

    /// Seconds that making a value again takes, with the values of `inlined` computed on the way.
    pub fn seconds(&self, value: usize, reads: impl Iterator<Item = usize>) -> f64 {
        let moved: usize = reads.chain([value]).map(|b| self.room[b]).sum();
        let flops = match &self.makers[value] {
            Some(Maker {
                kind: KernelKind::Loop(_),
                ..
            })
            | None => 0,
            Some(maker) => cost::flops(&maker.kind),
        };
        cost::seconds(flops, 4 * moved as u64)
    }

    /// The values to load, and those to compute on the way, to make a value where `now` says what is there.
    pub fn recipe(
        &self,
        value: usize,
        there: impl Fn(usize) -> bool,
    ) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let (mut loads, mut inlined) = (BTreeSet::new(), BTreeSet::new());
        let Some(maker) = &self.makers[value] else {
            return (loads, inlined);
        };
        loads.extend(maker.reads.iter().copied());
        let KernelKind::Loop(_) = &maker.kind else {
            return (loads, inlined);
        };
        let mut open = vec![value];
        while let Some(user) = open.pop() {
            let Some((_, reads)) = self.loop_maker(user) else {
                continue;
            };
            for read in reads.iter().filter(|r| !there(**r)) {
                if self.can_inline(*read, value, &loads, &inlined) {
                    inlined.insert(*read);
                    loads.remove(read);
                    loads.extend(self.loop_maker(*read).iter().flat_map(|(_, reads)| *reads));
                    loads.retain(|l| !inlined.contains(l));
                    open.push(*read);
                }
            }
        }
        (loads, inlined)
    }

    fn loop_maker(&self, value: usize) -> Option<(&LoopKernel, &[usize])> {
        match &self.makers[value] {
            Some(Maker {
                kind: KernelKind::Loop(kernel),
                reads,
                ..
            }) => Some((kernel, reads)),
            _ => None,
        }
    }

    /// Whether a value can be computed on the way to `root`, beside those that are already.
    fn can_inline(
        &self,
        value: usize,
        root: usize,
        loads: &BTreeSet<usize>,
        inlined: &BTreeSet<usize>,
    ) -> bool {
        let Some((kernel, reads)) = self.loop_maker(value) else {
            return false;
        };
        let users = inlined.iter().chain([&root]);
        let used_right = users
            .filter_map(|u| self.loop_maker(*u))
            .all(|(user, reads)| !reads.contains(&value) || fits(user, kernel));
        let uses_right = reads
            .iter()
            .filter(|r| inlined.contains(*r))
            .filter_map(|r| self.loop_maker(*r))
            .all(|(maker, _)| fits(kernel, maker));
        let count = loads.union(&reads.iter().copied().collect()).count();
        !inlined.contains(&value) && used_right && uses_right && count <= MAX_LOADS
    }

    /// The kernel that makes a value by itself, with some values computed on the way.
    fn draft(&self, value: usize, inlined: &BTreeSet<usize>) -> Option<Draft> {
        let maker = self.makers[value].as_ref()?;
        let source = &self.bound.drafts[maker.draft];
        let nodes = self.bound.writes[maker.draft].iter().zip(&source.writes);
        let kind = match &maker.kind {
            KernelKind::Loop(kernel) => {
                let makers = inlined.iter().map(|v| (*v, self.bound.buffers[*v].element));
                let makers = makers.filter_map(|(v, e)| Some((v, (self.loop_maker(v)?.0, e))));
                KernelKind::Loop(inline(kernel, &makers.collect()))
            }
            kind => kind.clone(),
        };
        Some(Draft {
            kind,
            writes: nodes
                .filter(|(b, _)| **b == value)
                .map(|(_, n)| *n)
                .collect(),
            ..source.clone()
        })
    }
}

/// How `value` is made by itself: nothing, where the kernel makes others too and is not a loop.
fn maker(bound: &Bound, draft: usize, value: usize) -> Option<Maker> {
    let (kind, reads) = match &bound.drafts[draft].kind {
        KernelKind::Loop(kernel) => {
            let kernel = alone(kernel, value)?;
            let reads: BTreeSet<usize> = kernel.loads().map(|a| a.buffer.0 as usize).collect();
            (KernelKind::Loop(kernel), reads.into_iter().collect())
        }
        kind if bound.writes[draft] == [value] => (kind.clone(), bound.reads[draft].clone()),
        _ => return None,
    };
    Some(Maker { draft, kind, reads })
}

/// Pairs of a temporary that a kernel writes and one of the same size that it may replace.
fn shares(bound: &Bound, draft: usize) -> Vec<(usize, usize)> {
    let temporary = |b: &&usize| bound.buffers[**b].kind == BufferKind::Temporary;
    let mut found = Vec::new();
    for write in bound.writes[draft].iter().filter(temporary) {
        for read in bound.reads[draft].iter().filter(temporary) {
            let form = |b: usize| (bound.buffers[b].len(), bound.buffers[b].element);
            if form(*read) == form(*write) && replaces(&bound.drafts[draft].kind, *read, *write) {
                found.push((*write, *read));
            }
        }
    }
    found
}

struct Writer<'w, 'a> {
    work: &'w Work<'a>,
    /// The instance of each value that is there.
    now: Vec<Option<usize>>,
    tape: Tape,
}

impl Writer<'_, '_> {
    /// The instance of a value for the kernel at a place; made again where it is not there.
    fn instance(&mut self, value: usize, at: usize) -> usize {
        if let Some(instance) = self.now[value] {
            return instance;
        }
        let (loads, inlined) = self.work.recipe(value, |v| self.now[v].is_some());
        let reads: Vec<(usize, usize)> = loads
            .into_iter()
            .map(|load| (load, self.instance(load, at)))
            .collect();
        let instance = self.tape.values.len();
        self.tape.values.push(value);
        self.tape.seconds += self.work.seconds(value, reads.iter().map(|(v, _)| *v));
        self.tape.steps.push(Step {
            at,
            again: Some((value, inlined)),
            reads,
            writes: vec![instance],
        });
        self.now[value] = Some(instance);
        instance
    }
}

impl Tape {
    /// The kernels of a tape with their buffers, and an order of them.
    pub fn finish(&self, work: &Work) -> (Bound, Vec<usize>) {
        let mut bound = Bound {
            buffers: self
                .values
                .iter()
                .map(|v| work.bound.buffers[*v].clone())
                .collect(),
            ..Bound::default()
        };
        let mut place_of = vec![0; work.bound.drafts.len()];
        for (s, step) in self.steps.iter().enumerate() {
            if step.again.is_none() {
                place_of[work.order[step.at]] = s;
            }
        }
        let mut writer: BTreeMap<usize, usize> = BTreeMap::new();
        for (s, step) in self.steps.iter().enumerate() {
            step.writes.iter().for_each(|i| {
                writer.insert(*i, s);
            });
        }
        let state = |b: &usize| work.bound.buffers[*b].kind == BufferKind::State;
        let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.steps.len()];
        for (s, step) in self.steps.iter().enumerate() {
            let kernel = work.order[step.at];
            let mut draft = work.bound.drafts[kernel].clone();
            let mut sources = Vec::new();
            match &step.again {
                Some((value, inlined)) => {
                    if let Some(again) = work.draft(*value, inlined) {
                        draft = again;
                    }
                    let values = inlined.iter().chain([value]);
                    sources = values
                        .filter_map(|v| Some(work.makers[*v].as_ref()?.draft))
                        .collect();
                    bound.again.insert(s);
                }
                None => before[s].extend(work.bound.before[kernel].iter().map(|d| place_of[*d])),
            }
            let renamed: BTreeMap<usize, usize> = step
                .reads
                .iter()
                .copied()
                .chain(step.writes.iter().map(|i| (self.values[*i], *i)))
                .collect();
            rename(&mut draft.kind, |b| {
                if let Some(to) = renamed.get(&(b.0 as usize)) {
                    b.0 = *to as u32;
                }
            });
            for (value, instance) in &step.reads {
                match writer.get(instance) {
                    // An old value is read before the new one is written, unless that is what is read.
                    Some(w) if state(value) => {
                        let new = work.order[self.steps[*w].at];
                        let reads_new = |d: &usize| {
                            work.bound.before[*d].contains(&new)
                                && work.bound.reads[*d].contains(value)
                        };
                        if step.again.is_some() {
                            match sources.iter().any(reads_new) {
                                true => before[s].insert(*w),
                                false => before[*w].insert(s),
                            };
                        }
                    }
                    Some(w) if *w != s => {
                        before[s].insert(*w);
                    }
                    _ => {}
                }
            }
            bound.drafts.push(draft);
            bound
                .reads
                .push(step.reads.iter().map(|(_, i)| *i).collect());
            bound.writes.push(step.writes.clone());
        }
        bound.before = before;
        let order = in_order(&bound);
        (bound, order)
    }
}
