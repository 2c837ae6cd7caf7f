//! `cp.async`: copies from global to shared memory that land at a wait.
use super::access::{Act, Checked, Lanes};
use super::block::Block;
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
        for lane in Lanes(lanes) {
            let to = self
                .get(kernel, i.d, lane, i.c == 1)
                .wrapping_add(i.extra as u32 as i32 as u64);
            let from = self
                .get(kernel, i.a, lane, wide_global)
                .wrapping_add((i.extra >> 32) as u32 as i32 as u64);
            let size = self.get32(kernel, i.b, lane);
            if size > bytes as u32 {
                return Err(Stop::failed(
                    lane,
                    format!("cp.async of {bytes} bytes is to read {size}"),
                ));
            }
            let mut data = [0; 16];
            // Aligned parts of 4 bytes or more: what is not read becomes zeros.
            let mut at = 0;
            while at < size {
                let part = part(size - at, from + at as u64);
                let source =
                    block.global(self, lane, from + at as u64, part as u64, Act::Read, origin)?;
                // SAFETY: `global` gives a pointer to as many bytes.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        source,
                        data.as_mut_ptr().add(at as usize),
                        part as usize,
                    )
                };
                at += part;
            }
            if from & (bytes as u64 - 1) != 0 {
                return Err(super::access::misaligned(
                    lane,
                    from,
                    bytes as u64,
                    Act::Read,
                ));
            }
            block.shared_fly(self, lane, to, bytes as u64)?;
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
        let (group, open) = std::mem::take(&mut self.copies.open)
            .into_iter()
            .partition(|c| lanes >> c.lane & 1 == 1);
        self.copies.open = open;
        self.copies.groups.push_back((lanes, group));
    }

    /// Lands all but the latest `pending` groups of each lane; `u64::MAX`: also what is in no group.
    pub fn land(&mut self, block: &mut Block, pending: u64, lanes: u32) {
        let mut landed = Vec::new();
        if pending == u64::MAX {
            let open = std::mem::take(&mut self.copies.open);
            for copy in open {
                if lanes >> copy.lane & 1 == 1 {
                    landed.push(copy)
                } else {
                    self.copies.open.push(copy)
                }
            }
        }
        let pending = if pending == u64::MAX { 0 } else { pending };
        let mut later = [0u64; 32];
        for (committed, group) in self.copies.groups.iter_mut().rev() {
            let due = Lanes(*committed & lanes)
                .filter(|&l| later[l as usize] >= pending)
                .fold(0, |m, l| m | 1 << l);
            for lane in Lanes(*committed) {
                later[lane as usize] += 1;
            }
            for copy in std::mem::take(group) {
                if due >> copy.lane & 1 == 1 {
                    landed.push(copy)
                } else {
                    group.push(copy)
                }
            }
            *committed &= !due;
        }
        self.copies.groups.retain(|(committed, _)| *committed != 0);
        for copy in landed {
            block.shared_land(self, copy.lane, copy.to, &copy.data[..copy.bytes as usize]);
        }
    }
}

/// The largest aligned part of at most `left` bytes.
fn part(left: u32, address: u64) -> u32 {
    let mut part = 16;
    while part > left || address & (part as u64 - 1) != 0 {
        part /= 2;
    }
    part
}
