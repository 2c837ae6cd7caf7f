//! The shared memory of a block.
use super::access::{Act, Checked};
use super::block::Block;
use super::view::Window;
use super::warp::{Stop, Warp};
use super::{Kind, access};
use crate::code::{Kernel, SHARED_BASE};
use crate::shadow::{self, Who};

/// States of a byte.
const EMPTY: u8 = 0;
pub const WRITTEN: u8 = 1;
/// An asynchronous copy will land there.
const FLYING: u8 = 2;
/// Of no variable.
const GAP: u8 = 3;

pub struct Shared {
    pub data: Vec<u8>,
    pub state: Vec<u8>,
    /// The states at the beginning of a block.
    fresh: Vec<u8>,
    writes: Vec<u64>,
    reads: Vec<u64>,
    /// The run of a block: a key for records, so that those of earlier blocks count for nothing.
    pub run: u64,
}

impl Shared {
    pub fn new(kernel: &Kernel, dynamic: u32) -> Self {
        let bytes = (kernel.shared_bytes + dynamic) as usize;
        let mut fresh = vec![GAP; bytes];
        for &(offset, size) in &kernel.shared_variables {
            fresh[offset as usize..(offset + size) as usize].fill(EMPTY);
        }
        fresh[kernel.shared_bytes as usize..].fill(EMPTY);
        let words = bytes.div_ceil(4);
        Shared {
            data: vec![0; bytes],
            state: fresh.clone(),
            fresh,
            writes: vec![0; words],
            reads: vec![0; words],
            run: 0,
        }
    }

    pub fn window(&mut self) -> Window {
        Window {
            low: SHARED_BASE,
            high: SHARED_BASE + self.data.len() as u64,
            start: SHARED_BASE,
            data: self.data.as_mut_ptr(),
            state: self.state.as_mut_ptr(),
            writes: self.writes.as_mut_ptr(),
            reads: self.reads.as_mut_ptr(),
        }
    }

    pub fn restart(&mut self) {
        self.state.copy_from_slice(&self.fresh);
        self.run += 1;
    }
}

impl Block<'_> {
    /// Says what is wrong with the states of bytes, if anything is.
    #[inline(never)]
    pub fn shared_state(&self, lane: u32, at: usize, bytes: u64, act: Act) -> Checked<()> {
        let state = &self.shared.state[at..at + bytes as usize];
        let verb = act.verb();
        if state.contains(&GAP) {
            let message = format!(
                "{verb} {bytes} bytes at byte {at} of shared memory, outside of every variable: out of bounds"
            );
            return Err(Stop::new(lane, Kind::Address, message));
        }
        if state.contains(&FLYING) {
            let message = format!(
                "{verb} byte {at} of shared memory, where a cp.async has not landed: a wait is missing"
            );
            return Err(Stop::failed(lane, message));
        }
        if act != Act::Write {
            let message = format!(
                "reads {bytes} bytes at byte {at} of shared memory, which nothing wrote: uninitialised"
            );
            return Err(Stop::failed(lane, message));
        }
        Ok(())
    }

    /// An asynchronous copy to these bytes, whose write was checked, begins.
    pub fn shared_fly(&mut self, address: u64, bytes: u64) {
        let at = (address - SHARED_BASE) as usize;
        self.shared.state[at..at + bytes as usize].fill(FLYING);
    }

    /// It has landed. The lane that waited wrote it now.
    pub fn shared_land(&mut self, warp: &Warp, lane: u32, address: u64, data: &[u8]) {
        let at = (address - SHARED_BASE) as usize;
        let who = Who {
            key: self.shared.run,
            ..self.who(warp, lane)
        };
        self.shared.data[at..at + data.len()].copy_from_slice(data);
        self.shared.state[at..at + data.len()].fill(WRITTEN);
        let (first, count, mask) = access::words(at, data.len() as u64);
        self.shared.writes[first..first + count].fill(shadow::record(mask, &who));
    }
}
