//! The memory plan: a place in one arena for every buffer.
//!
//! Inputs, states and outputs have places of their own. A temporary lives from the kernel that writes it to the last that reads
//! it; temporaries are placed largest first, each into the tightest gap among those it overlaps in time. A loop kernel's
//! output takes the place of an input of the same element type that dies there and is read at the places written.

use super::bind::Bound;
use super::ir::{Access, Buffer, BufferKind, Combine, Inst, KernelKind};
use std::cmp::Reverse;

/// Places are multiples of this many words: 64 bytes.
pub const ALIGNMENT: usize = 16;

/// A set of buffers that follow one another in one place.
struct Slot {
    len: usize,
    first: usize,
    last: usize,
    offset: usize,
}

/// Words of the arena that a buffer takes.
pub fn room(buffer: &Buffer) -> usize {
    buffer.words().next_multiple_of(ALIGNMENT)
}

/// Sets every buffer's offset for kernels in this order; returns the arena's length.
pub fn plan(bound: &mut Bound, order: &[usize]) -> usize {
    let mut end = 0;
    let has_own =
        |b: &&mut Buffer| !matches!(b.kind, BufferKind::Temporary | BufferKind::Piecewise);
    for buffer in bound.buffers.iter_mut().filter(has_own) {
        buffer.offset = end;
        end += room(buffer);
    }
    let lifetimes = lifetimes(bound, order);
    let (mut slots, slot_of) = share_places(bound, order, &lifetimes);
    let size = place(&mut slots);
    for (b, slot) in slot_of.iter().enumerate() {
        if let Some(slot) = slot {
            bound.buffers[b].offset = end + slots[*slot].offset;
        }
    }
    end + size
}

/// The first and the last kernel, by position, that touch each buffer.
fn lifetimes(bound: &Bound, order: &[usize]) -> Vec<Option<(usize, usize)>> {
    let mut found = vec![None; bound.buffers.len()];
    for (at, kernel) in order.iter().enumerate() {
        for b in bound.reads[*kernel].iter().chain(&bound.writes[*kernel]) {
            let (first, _) = found[*b].unwrap_or((at, at));
            found[*b] = Some((first, at));
        }
    }
    found
}

/// A slot for each temporary, or that of an input it can follow.
fn share_places(
    bound: &Bound,
    order: &[usize],
    lifetimes: &[Option<(usize, usize)>],
) -> (Vec<Slot>, Vec<Option<usize>>) {
    let mut slots: Vec<Slot> = Vec::new();
    let mut slot_of: Vec<Option<usize>> = vec![None; bound.buffers.len()];
    for (at, kernel) in order.iter().enumerate() {
        for b in &bound.writes[*kernel] {
            let buffer = &bound.buffers[*b];
            let Some((_, last)) = lifetimes[*b] else {
                continue;
            };
            if buffer.kind != BufferKind::Temporary {
                continue;
            }
            let dying = bound.reads[*kernel].iter().copied().filter(|r| {
                let input = &bound.buffers[*r];
                lifetimes[*r].is_some_and(|(_, last)| last == at)
                    && (input.len(), input.element) == (buffer.len(), buffer.element)
            });
            let follows = dying
                .filter_map(|r| Some((r, slot_of[r]?)))
                .find(|(r, slot)| {
                    slots[*slot].last == at && replaces(&bound.drafts[*kernel].kind, *r, *b)
                });
            let slot = match follows {
                Some((_, slot)) => slot,
                None => {
                    slots.push(Slot {
                        len: room(buffer),
                        first: at,
                        last,
                        offset: 0,
                    });
                    slots.len() - 1
                }
            };
            slots[slot].last = slots[slot].last.max(last);
            // A result that nothing reads still must not be followed within its own kernel.
            if follows.is_some() && last == at {
                slots[slot].last = at + 1;
            }
            slot_of[*b] = Some(slot);
        }
    }
    (slots, slot_of)
}

/// Whether a loop kernel may write `output` over `input`: it only stores, and reads the input at the places it writes.
pub fn replaces(kind: &KernelKind, input: usize, output: usize) -> bool {
    let KernelKind::Loop(kernel) = kind else {
        return false;
    };
    let is = |a: &Access, b: usize| a.buffer.0 as usize == b;
    let Some(out) = kernel.outputs.iter().find(|o| is(&o.to, output)) else {
        return false;
    };
    let same = |a: &Access| {
        a.offset == out.to.offset
            && a.strides == out.to.strides
            && a.valid.iter().all(Option::is_none)
    };
    kernel.outputs.iter().all(|o| o.combine == Combine::Store)
        && kernel.body.iter().all(|inst| match inst {
            Inst::Load(a) if is(a, input) => same(a),
            _ => true,
        })
}

/// Places slots largest first, each at the start of the tightest gap; returns the room they need.
fn place(slots: &mut [Slot]) -> usize {
    let mut order: Vec<usize> = (0..slots.len()).collect();
    order.sort_by_key(|i| (Reverse(slots[*i].len), slots[*i].first, *i));
    let mut placed: Vec<usize> = Vec::with_capacity(slots.len());
    let mut end = 0;
    for i in order {
        let (first, last, len) = (slots[i].first, slots[i].last, slots[i].len);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .map(|p| &slots[*p])
            .filter(|s| s.first <= last && first <= s.last)
            .map(|s| (s.offset, s.offset + s.len))
            .collect();
        taken.sort_unstable();
        let (mut best, mut free) = (None::<(usize, usize)>, 0);
        for (from, to) in taken {
            if from > free && from - free >= len && best.is_none_or(|(gap, _)| from - free < gap) {
                best = Some((from - free, free));
            }
            free = free.max(to);
        }
        slots[i].offset = best.map_or(free, |(_, offset)| offset);
        end = end.max(slots[i].offset + len);
        placed.push(i);
    }
    end
}
