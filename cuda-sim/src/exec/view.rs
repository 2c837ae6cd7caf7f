//! A stretch of memory as an instruction sees it: checks of an access, the same for global and shared memory.
use super::Kind;
use super::access::{Act, Checked, initialised, misaligned, words};
use super::block::Block;
use super::shared::WRITTEN;
use super::warp::{Stop, Warp};
use crate::code::SHARED_BASE;
use crate::shadow::{self, Clash, Who};

/// Pointers to the bytes of an allocation and to what is remembered of them.
#[derive(Clone, Copy)]
pub struct Window {
    /// Addresses that may be accessed.
    pub low: u64,
    pub high: u64,
    /// Where the allocation begins, for the pointers.
    pub start: u64,
    pub data: *mut u8,
    pub state: *mut u8,
    pub writes: *mut u64,
    pub reads: *mut u64,
}

impl Window {
    pub const NONE: Window = Window {
        low: 1,
        high: 0,
        start: 0,
        data: std::ptr::null_mut(),
        state: std::ptr::null_mut(),
        writes: std::ptr::null_mut(),
        reads: std::ptr::null_mut(),
    };
}

/// A window as the lanes of a warp use it in one instruction.
pub struct View {
    window: Window,
    who: Who,
    first_thread: u64,
    origin: u8,
    /// An operation that is known to come before the running one.
    before: u32,
    /// The last lane's address and its place in the window.
    last: (u64, usize),
}

impl View {
    pub fn global(block: &Block, warp: &Warp, origin: u8) -> View {
        let who = block.who(warp, 0);
        View {
            window: block.windows[origin as usize],
            who,
            first_thread: who.thread,
            origin,
            before: 0,
            last: (u64::MAX, 0),
        }
    }

    pub fn shared(block: &mut Block, warp: &Warp) -> View {
        let who = Who {
            key: block.shared.run,
            ..block.who(warp, 0)
        };
        View {
            window: block.shared.window(),
            who,
            first_thread: who.thread,
            origin: 0,
            before: 0,
            last: (u64::MAX, 0),
        }
    }

    /// Checks an access and remembers it. The bytes are behind the pointer.
    #[inline(always)]
    pub fn at(
        &mut self,
        block: &mut Block,
        shared: bool,
        lane: u32,
        address: u64,
        bytes: u64,
        act: Act,
    ) -> Checked<*mut u8> {
        if act == Act::Read && address == self.last.0 {
            // A neighbour has just read the same and was checked.
            let (first, count, _) = words(self.last.1, bytes);
            // SAFETY: the place was checked for the same number of bytes.
            unsafe {
                for word in first..first + count {
                    let read = self.window.reads.add(word);
                    *read |= ((*read >> 28 & 3 == 0) as u64) << 28;
                }
                return Ok(self.window.data.add(self.last.1));
            }
        }
        if address < self.window.low
            || address > self.window.high
            || bytes > self.window.high - address
        {
            if shared {
                return Err(beyond(
                    lane,
                    address,
                    bytes,
                    self.window.high - SHARED_BASE,
                    act,
                ));
            }
            self.window = block.open(lane, address, bytes, act, self.origin)?;
        }
        if address & (bytes - 1) != 0 {
            return Err(misaligned(lane, address, bytes, act));
        }
        let at = (address - self.window.start) as usize;
        self.who.thread = self.first_thread + lane as u64;
        // SAFETY: the window's pointers are those of a live allocation, which holds the bytes; its records are one for
        // each word that it has a byte of, and an aligned access of less than 4 bytes is within one word.
        unsafe {
            let state = self.window.state.add(at);
            if (act != Act::Write || shared) && !initialised(state, bytes) {
                if shared {
                    block.shared_state(lane, at, bytes, act)?;
                } else {
                    return Err(unwritten(lane, address, bytes));
                }
            }
            let (first, count, mask) = words(at, bytes);
            for word in first..first + count {
                let (write, read) = (self.window.writes.add(word), self.window.reads.add(word));
                // An atomic's own thread may go on with it.
                let clash = shadow::clash(*write & !shadow::READERS, mask, &self.who);
                if clash != Clash::None && !(act == Act::Atomic && *write >> 28 & 3 == 1) {
                    self.settle(block, shared, lane, *write, clash, (act, "wrote"), address)?;
                }
                if act == Act::Read {
                    *read = shadow::read(*read, mask, &self.who, !shared);
                    continue;
                }
                let clash = shadow::clash(*read, mask, &self.who);
                if clash != Clash::None {
                    self.settle(block, shared, lane, *read, clash, (act, "read"), address)?;
                }
                *write = shadow::record(mask, &self.who) | ((act == Act::Atomic) as u64) << 28;
            }
            if act == Act::Write {
                std::ptr::write_bytes(state, WRITTEN, bytes as usize);
            }
            self.last = (address, at);
            Ok(self.window.data.add(at))
        }
    }

    /// What a record of another thread, block or operation means.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "all of them are at hand where it is called, and it is made part of that"
    )]
    fn settle(
        &mut self,
        block: &Block,
        shared: bool,
        lane: u32,
        record: u64,
        clash: Clash,
        acts: (Act, &'static str),
        address: u64,
    ) -> Checked<()> {
        if shared {
            // Records of other runs of a block count for nothing.
            return match clash {
                Clash::Race => Err(race(lane, address - SHARED_BASE, record, acts)),
                _ => Ok(()),
            };
        }
        if clash == Clash::Foreign && shadow::stamp(record) == self.before {
            return Ok(());
        }
        block.settle(lane, &self.who, record, clash, acts, address)?;
        self.before = shadow::stamp(record);
        Ok(())
    }
}

#[cold]
fn unwritten(lane: u32, address: u64, bytes: u64) -> Box<Stop> {
    Stop::failed(
        lane,
        format!("reads {bytes} bytes at {address:#x}, which nothing wrote: uninitialised"),
    )
}

#[cold]
fn beyond(lane: u32, address: u64, bytes: u64, size: u64, act: Act) -> Box<Stop> {
    let (verb, at) = (act.verb(), address.wrapping_sub(SHARED_BASE) as i64);
    let message =
        format!("{verb} {bytes} bytes at byte {at} of {size} of shared memory: out of bounds");
    Stop::new(lane, Kind::Address, message)
}

#[cold]
fn race(lane: u32, at: u64, record: u64, acts: (Act, &str)) -> Box<Stop> {
    let (verb, did, thread) = (acts.0.verb(), acts.1, shadow::thread(record));
    Stop::failed(
        lane,
        format!(
            "{verb} byte {at} of shared memory, which thread {thread} {did} since the last barrier: a race"
        ),
    )
}

impl Block<'_> {
    #[inline(always)]
    pub fn who(&self, warp: &Warp, lane: u32) -> Who {
        Who {
            key: self.key,
            thread: (warp.index * 32 + lane) as u64,
            clock: self.now(),
            block_clock: self.block_clock,
            warp_clock: warp.warp_clock,
        }
    }

    /// One access to global memory.
    pub fn global(
        &mut self,
        warp: &Warp,
        lane: u32,
        address: u64,
        bytes: u64,
        act: Act,
        origin: u8,
    ) -> Checked<*mut u8> {
        View::global(self, warp, origin).at(self, false, lane, address, bytes, act)
    }

    /// One access to shared memory.
    pub fn shared_access(
        &mut self,
        warp: &Warp,
        lane: u32,
        address: u64,
        bytes: u64,
        act: Act,
    ) -> Checked<*mut u8> {
        View::shared(self, warp).at(self, true, lane, address, bytes, act)
    }

    /// Finds the memory behind an address and makes it the window of this origin.
    #[cold]
    fn open(
        &mut self,
        lane: u32,
        address: u64,
        bytes: u64,
        act: Act,
        origin: u8,
    ) -> Checked<Window> {
        let (low, high) = self.reach[origin as usize];
        let fault = |message: String| Err(Stop::new(lane, Kind::Address, message));
        if address < low || address.checked_add(bytes).is_none_or(|end| end > high) {
            let (verb, size) = (act.verb(), high - low);
            let parameter = origin - 1;
            let at = address.wrapping_sub(low) as i64;
            return fault(format!(
                "{verb} {bytes} bytes at {address:#x}, byte {at} of the {size} that parameter {parameter} points to: out of bounds"
            ));
        }
        let verb = act.verb();
        let Some(allocation) = self.memory.find(address) else {
            return fault(format!(
                "{verb} {bytes} bytes at {address:#x}, which is in no allocation: out of bounds"
            ));
        };
        if !allocation.holds(address, bytes) {
            let (at, size) = (address - allocation.address, allocation.size);
            return fault(format!(
                "{verb} {bytes} bytes at byte {at} of an allocation of {size} at {:#x}: out of bounds",
                allocation.address
            ));
        }
        if let Err(message) = self.memory.usable(allocation) {
            return Err(Stop::failed(lane, message));
        }
        let Some(allocation) = self.memory.find_mut(address) else {
            return fault("no allocation".into());
        };
        let window = Window {
            low: low.max(allocation.address),
            high: high.min(allocation.address + allocation.size),
            start: allocation.address,
            data: allocation.data.as_mut_ptr(),
            state: allocation.state.as_mut_ptr(),
            writes: allocation.writes.as_mut_ptr(),
            reads: allocation.reads.as_mut_ptr(),
        };
        self.windows[origin as usize] = window;
        Ok(window)
    }

    /// What a record of another block, launch or thread means.
    #[inline(never)]
    fn settle(
        &self,
        lane: u32,
        who: &Who,
        record: u64,
        clash: Clash,
        acts: (Act, &str),
        address: u64,
    ) -> Checked<()> {
        let (verb, did) = (acts.0.verb(), acts.1);
        if clash == Clash::Foreign && shadow::stamp(record) != shadow::stamp(who.key << 30) {
            if self.memory.ordered(record) {
                return Ok(());
            }
            let other = self.memory.name(record);
            return Err(Stop::failed(
                lane,
                format!(
                    "{verb} {address:#x}, which {other} of another stream {did}: nothing orders the two"
                ),
            ));
        }
        let message = match (clash, shadow::block(record)) {
            (Clash::Foreign, Some(block)) => {
                format!("{verb} {address:#x}, which block {block} of this launch {did}: a race")
            }
            (Clash::Foreign, None) => {
                format!("{verb} {address:#x}, which several blocks of this launch {did}: a race")
            }
            _ => {
                let thread = shadow::thread(record);
                format!(
                    "{verb} {address:#x}, which thread {thread} of this block {did} since the last barrier: a race"
                )
            }
        };
        Err(Stop::failed(lane, message))
    }
}
