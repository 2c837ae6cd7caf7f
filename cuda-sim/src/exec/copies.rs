//! `cp.async`: copies from global to shared memory that land at a wait.
use super::access::{Act, Checked, Lanes, misaligned};
use super::block::Block;
use super::view::View;
use super::warp::{Stop, Warp};
use crate::code::Inst;
use std::collections::VecDeque;

/// One lane's copy under way.
struct Copy {
    lane: u32,
    to: u64,
    bytes: u8,
    data: [u8; 16],
}

/// What is under way. Lanes commit and wait together or apart: each has groups of its own.
#[derive(Default)]
pub struct Copies {
    open: Vec<Copy>,
    /// Committed groups: how many of each lane came before is what a wait counts.
    groups: VecDeque<(u32, Vec<Copy>)>,
    /// Empty ones, for use again.
    spare: Vec<Vec<Copy>>,
}

impl Copies {
    pub fn clear(&mut self) {
        self.open.clear();
        self.groups.clear();
    }
}

impl Warp {
    pub fn copy(
        &mut self,
        block: &mut Block,
        i: &Inst,
        bytes: u8,
        wide: (bool, u8),
        lanes: u32,
    ) -> Checked<()> {
        let kernel = block.launch.kernel;
        let (wide_global, origin) = wide;
        let mut sources = View::global(block, self, origin);
        let mut targets = View::shared(block, self);
        for lane in Lanes(lanes) {
            let (to_offset, from_offset) = (i.extra as u32 as i32, (i.extra >> 32) as u32 as i32);
            let to = self
                .get(kernel, i.d, lane, i.c == 1)
                .wrapping_add(to_offset as u64);
            let from = self
                .get(kernel, i.a, lane, wide_global)
                .wrapping_add(from_offset as u64);
            let size = self.get32(kernel, i.b, lane);
            if size > bytes as u32 {
                let message = format!("cp.async of {bytes} bytes is to read {size}");
                return Err(Stop::failed(lane, message));
            }
            if from & (bytes as u64 - 1) != 0 {
                return Err(misaligned(lane, from, bytes as u64, Act::Read));
            }
            // What is not read becomes zeros.
            let mut data = [0; 16];
            let mut at = 0;
            while at < size {
                let part = part(size - at);
                let source =
                    sources.at(block, false, lane, from + at as u64, part as u64, Act::Read)?;
                let target = data[at as usize..].as_mut_ptr();
                // SAFETY: `at` gives a pointer to as many bytes, and `data` has them left.
                unsafe { std::ptr::copy_nonoverlapping(source, target, part as usize) };
                at += part;
            }
            targets.at(block, true, lane, to, bytes as u64, Act::Write)?;
            block.shared_fly(to, bytes as u64);
            self.copies.open.push(Copy {
                lane,
                to,
                bytes,
                data,
            });
        }
        Ok(())
    }

    pub fn commit(&mut self, lanes: u32) {
        let copies = &mut self.copies;
        let mut group = copies.spare.pop().unwrap_or_default();
        move_lanes(&mut copies.open, lanes, &mut group);
        copies.groups.push_back((lanes, group));
    }

    /// Lands all but the latest `pending` groups of each lane; `u64::MAX`: also what is in no group.
    pub fn land(&mut self, block: &mut Block, pending: u64, lanes: u32) {
        let mut landed = self.copies.spare.pop().unwrap_or_default();
        if pending == u64::MAX {
            move_lanes(&mut self.copies.open, lanes, &mut landed);
        }
        let pending = if pending == u64::MAX { 0 } else { pending };
        let mut later = [0u64; 32];
        for (committed, group) in self.copies.groups.iter_mut().rev() {
            let mut due = 0;
            for lane in Lanes(*committed) {
                due |= ((later[lane as usize] >= pending) as u32) << lane;
                later[lane as usize] += 1;
            }
            due &= lanes;
            move_lanes(group, due, &mut landed);
            *committed &= !due;
        }
        while let Some((0, group)) = self.copies.groups.front_mut() {
            self.copies.spare.push(std::mem::take(group));
            self.copies.groups.pop_front();
        }
        for copy in landed.drain(..) {
            block.shared_land(self, copy.lane, copy.to, &copy.data[..copy.bytes as usize]);
        }
        self.copies.spare.push(landed);
    }
}

/// Moves the copies of some lanes.
fn move_lanes(from: &mut Vec<Copy>, lanes: u32, to: &mut Vec<Copy>) {
    let moves = |copy: &Copy| lanes >> copy.lane & 1 == 1;
    if from.iter().all(moves) {
        to.append(from);
    } else {
        to.extend(from.extract_if(.., |copy| moves(copy)));
    }
}

/// The largest part of a copy, at a multiple of its size, that is no longer than what is left.
fn part(left: u32) -> u32 {
    if left >= 16 { 16 } else { 1 << left.ilog2() }
}
