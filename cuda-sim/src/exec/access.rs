//! Loads, stores and atomics of lanes, with their checks.
use super::Kind;
use super::block::Block;
use super::warp::{Stop, Warp};
use crate::code::{Access, Atomic, Inst, LOCAL_WINDOW, Place, SHARED_WINDOW, WINDOW};
use crate::ptx::Space;
use crate::shadow::{self, Clash, Who};

pub type Checked<T> = Result<T, Box<Stop>>;

/// A part of global memory that an instruction used last.
#[derive(Clone, Copy)]
pub struct Window {
    low: u64,
    high: u64,
    /// Where the allocation begins, for the pointers.
    start: u64,
    data: *mut u8,
    state: *mut u8,
    writes: *mut u64,
    reads: *mut u64,
}

impl Window {
    pub const NONE: Window = Window {
        low: 0,
        high: 0,
        start: 0,
        data: std::ptr::null_mut(),
        state: std::ptr::null_mut(),
        writes: std::ptr::null_mut(),
        reads: std::ptr::null_mut(),
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Read,
    Write,
    /// A read and a write that no other atomic comes between.
    Atomic,
}

impl Act {
    fn verb(self) -> &'static str {
        match self {
            Act::Read => "reads",
            Act::Write => "writes",
            Act::Atomic => "updates",
        }
    }
}

/// The lanes of a mask, lowest first.
pub struct Lanes(pub u32);

impl Iterator for Lanes {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(lane)
    }
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
        let Some(allocation) = self.memory.find_mut(address) else {
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

    /// Checks an access to global memory and remembers it. The bytes are behind the pointer.
    #[inline(always)]
    pub fn global(
        &mut self,
        warp: &Warp,
        lane: u32,
        address: u64,
        bytes: u64,
        act: Act,
        origin: u8,
    ) -> Checked<*mut u8> {
        let mut window = self.windows[origin as usize];
        if address < window.low || address + bytes > window.high || address > u64::MAX - bytes {
            window = self.open(lane, address, bytes, act, origin)?;
        }
        if address & (bytes - 1) != 0 {
            return Err(misaligned(lane, address, bytes, act));
        }
        let at = (address - window.start) as usize;
        let who = self.who(warp, lane);
        // SAFETY: the window's pointers are those of a live allocation, which holds the bytes; its records are one for
        // each word that it has a byte of, and an aligned access of less than 4 bytes is within one word.
        unsafe {
            if act != Act::Write && !initialised(window.state.add(at), bytes) {
                let message = format!(
                    "reads {bytes} bytes at {address:#x}, which nothing wrote: uninitialised"
                );
                return Err(Stop::failed(lane, message));
            }
            let (first, count, mask) = words(at, bytes);
            for word in first..first + count {
                let (write, read) = (window.writes.add(word), window.reads.add(word));
                let clash = shadow::clash(*write, mask, &who);
                if clash != Clash::None && !(act == Act::Atomic && *write >> 28 & 3 == 1) {
                    self.settle(lane, &who, *write, clash, (act, "wrote"), address)?;
                }
                if act == Act::Read {
                    *read = shadow::read(*read, mask, &who, true);
                    continue;
                }
                let clash = shadow::clash(*read, mask, &who);
                if clash != Clash::None {
                    self.settle(lane, &who, *read, clash, (act, "read"), address)?;
                }
                let atomic = (act == Act::Atomic) as u64;
                *write = shadow::record(mask, &who) | atomic << 28;
            }
            if act == Act::Write {
                std::ptr::write_bytes(window.state.add(at), 1, bytes as usize);
            }
            Ok(window.data.add(at))
        }
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

pub fn misaligned(lane: u32, address: u64, bytes: u64, act: Act) -> Box<Stop> {
    Stop::new(
        lane,
        Kind::Misaligned,
        format!("{} {bytes} bytes at {address:#x}: misaligned", act.verb()),
    )
}

/// Whether all bytes have state 1.
///
/// # Safety
/// `state` must be good for as many bytes.
#[inline(always)]
pub unsafe fn initialised(state: *const u8, bytes: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        match bytes {
            4 => state.cast::<u32>().read_unaligned() == 0x0101_0101,
            8 => state.cast::<u64>().read_unaligned() == 0x0101_0101_0101_0101,
            16 => {
                state.cast::<u128>().read_unaligned() == 0x0101_0101_0101_0101_0101_0101_0101_0101
            }
            _ => (0..bytes as usize).all(|at| *state.add(at) == 1),
        }
    }
}

/// The first word of an access, the number of words, and the bytes of each.
#[inline(always)]
pub fn words(at: usize, bytes: u64) -> (usize, usize, u64) {
    if bytes >= 4 {
        return (at / 4, bytes as usize / 4, 15);
    }
    (at / 4, 1, ((1 << bytes) - 1) << (at % 4))
}

impl Warp {
    /// The bytes of a lane's own memory.
    fn local(&mut self, lane: u32, address: u64, bytes: u64, act: Act) -> Checked<*mut u8> {
        if address
            .checked_add(bytes)
            .is_none_or(|end| end > self.local_bytes as u64)
        {
            let (verb, size) = (act.verb(), self.local_bytes);
            let message = format!(
                "{verb} {bytes} bytes at {address} of {size} of local memory: out of bounds"
            );
            return Err(Stop::new(lane, Kind::Address, message));
        }
        if address & (bytes - 1) != 0 {
            return Err(misaligned(lane, address, bytes, act));
        }
        let range = lane as usize * self.local_bytes + address as usize..;
        let state = &mut self.local_state[range.clone()][..bytes as usize];
        match act {
            Act::Read if state.contains(&0) => {
                let message = format!(
                    "reads {bytes} bytes at {address} of local memory, which nothing wrote: uninitialised"
                );
                return Err(Stop::failed(lane, message));
            }
            Act::Read => {}
            _ => state.fill(1),
        }
        Ok(self.local[range].as_mut_ptr())
    }

    #[inline(always)]
    fn reach(
        &mut self,
        block: &mut Block,
        access: &Access,
        lane: u32,
        address: u64,
        bytes: u64,
        act: Act,
    ) -> Checked<*mut u8> {
        match access.place {
            Place::In(Space::Global | Space::Const) => {
                block.global(self, lane, address, bytes, act, access.origin)
            }
            Place::In(Space::Shared) => block.shared_access(self, lane, address, bytes, act),
            Place::In(Space::Local) => self.local(lane, address, bytes, act),
            Place::In(Space::Param) => {
                let parameters = block.launch.parameters;
                match parameters
                    .get(address as usize..)
                    .filter(|p| p.len() as u64 >= bytes)
                {
                    Some(found) => Ok(found.as_ptr().cast_mut()),
                    None => Err(Stop::new(
                        lane,
                        Kind::Address,
                        "reads after the last parameter: out of bounds",
                    )),
                }
            }
            Place::Generic => match address {
                SHARED_WINDOW.. if address - SHARED_WINDOW < WINDOW => {
                    block.shared_access(self, lane, address - SHARED_WINDOW, bytes, act)
                }
                LOCAL_WINDOW.. if address - LOCAL_WINDOW < WINDOW => {
                    self.local(lane, address - LOCAL_WINDOW, bytes, act)
                }
                _ => block.global(self, lane, address, bytes, act, access.origin),
            },
        }
    }

    #[inline(always)]
    pub fn load(
        &mut self,
        block: &mut Block,
        i: &Inst,
        access: &Access,
        lanes: u32,
    ) -> Checked<()> {
        let kernel = block.launch.kernel;
        let bytes = access.size as u64 * access.count as u64;
        for lane in Lanes(lanes) {
            let address = self
                .get(kernel, i.a, lane, access.wide_address)
                .wrapping_add(i.extra);
            let from = self.reach(block, access, lane, address, bytes, Act::Read)?;
            for element in 0..access.count as usize {
                let row = kernel.lists[i.list.0 as usize + element];
                // SAFETY: `reach` gives a pointer to `bytes` bytes.
                let value = unsafe { load(from.add(element * access.size as usize), access) };
                self.set(row, lane, access.wide, value);
            }
        }
        Ok(())
    }

    #[inline(always)]
    pub fn store(
        &mut self,
        block: &mut Block,
        i: &Inst,
        access: &Access,
        lanes: u32,
    ) -> Checked<()> {
        let kernel = block.launch.kernel;
        let bytes = access.size as u64 * access.count as u64;
        for lane in Lanes(lanes) {
            let address = self
                .get(kernel, i.a, lane, access.wide_address)
                .wrapping_add(i.extra);
            let to = self.reach(block, access, lane, address, bytes, Act::Write)?;
            for element in 0..access.count as usize {
                let row = kernel.lists[i.list.0 as usize + element];
                let value = self.get(kernel, row, lane, access.wide);
                // SAFETY: `reach` gives a pointer to `bytes` bytes.
                unsafe { store(to.add(element * access.size as usize), access.size, value) };
            }
        }
        Ok(())
    }

    pub fn atomic(
        &mut self,
        block: &mut Block,
        i: &Inst,
        op: Atomic,
        access: &Access,
        lanes: u32,
    ) -> Checked<()> {
        let kernel = block.launch.kernel;
        for lane in Lanes(lanes) {
            let address = self
                .get(kernel, i.a, lane, access.wide_address)
                .wrapping_add(i.extra);
            let at = self.reach(
                block,
                access,
                lane,
                address,
                access.size as u64,
                Act::Atomic,
            )?;
            let b = self.get(kernel, i.b, lane, access.wide);
            let c = self.get(kernel, i.c, lane, access.wide);
            // SAFETY: `reach` gives a pointer to as many bytes.
            let old = unsafe { load(at, access) };
            let signed = |v: u64| {
                if access.wide {
                    v as i64
                } else {
                    v as u32 as i32 as i64
                }
            };
            let unsigned = |v: u64| if access.wide { v } else { v & 0xffff_ffff };
            let (old, b) = (unsigned(old), unsigned(b));
            let new = match op {
                Atomic::Add => old.wrapping_add(b),
                Atomic::MinU => old.min(b),
                Atomic::MaxU => old.max(b),
                Atomic::MinS => signed(old).min(signed(b)) as u64,
                Atomic::MaxS => signed(old).max(signed(b)) as u64,
                Atomic::And => old & b,
                Atomic::Or => old | b,
                Atomic::Xor => old ^ b,
                Atomic::Exch => b,
                Atomic::Cas => {
                    if old == b {
                        c
                    } else {
                        old
                    }
                }
                Atomic::Inc => {
                    if old >= b {
                        0
                    } else {
                        old + 1
                    }
                }
                Atomic::Dec => {
                    if old == 0 || old > b {
                        b
                    } else {
                        old - 1
                    }
                }
            };
            // SAFETY: as above.
            unsafe { store(at, access.size, new) };
            self.set(i.d, lane, access.wide, old);
        }
        Ok(())
    }
}

/// # Safety
/// `from` must be good for an element.
#[inline(always)]
unsafe fn load(from: *const u8, access: &Access) -> u64 {
    // SAFETY: as the caller promises.
    unsafe {
        match (access.size, access.signed) {
            (4, false) => from.cast::<u32>().read_unaligned() as u64,
            (4, true) => from.cast::<i32>().read_unaligned() as i64 as u64,
            (2, false) => from.cast::<u16>().read_unaligned() as u64,
            (2, true) => from.cast::<i16>().read_unaligned() as i64 as u64,
            (1, false) => *from as u64,
            (1, true) => *from as i8 as i64 as u64,
            _ => from.cast::<u64>().read_unaligned(),
        }
    }
}

/// # Safety
/// `to` must be good for `size` bytes.
#[inline(always)]
unsafe fn store(to: *mut u8, size: u8, value: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        match size {
            4 => to.cast::<u32>().write_unaligned(value as u32),
            2 => to.cast::<u16>().write_unaligned(value as u16),
            1 => *to = value as u8,
            _ => to.cast::<u64>().write_unaligned(value),
        }
    }
}

/// The space of a generic address.
pub fn space_of(address: u64) -> Space {
    match address {
        SHARED_WINDOW.. if address - SHARED_WINDOW < WINDOW => Space::Shared,
        LOCAL_WINDOW.. if address - LOCAL_WINDOW < WINDOW => Space::Local,
        _ => Space::Global,
    }
}
