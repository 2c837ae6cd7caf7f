//! Loads, stores and atomics of lanes, with their checks.
use super::Kind;
use super::block::Block;
use super::view::View;
use super::warp::{Stop, Warp};
use crate::code::{Access, Atomic, Inst, Kernel, LOCAL_WINDOW, Place, SHARED_WINDOW, WINDOW};
use crate::ptx::Space;

pub type Checked<T> = Result<T, Box<Stop>>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Read,
    Write,
    /// A read and a write that no other atomic comes between.
    Atomic,
}

impl Act {
    pub fn verb(self) -> &'static str {
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

    /// Checks the accesses of all lanes to as many bytes, and calls `f` with each lane's.
    #[inline(always)]
    fn each(
        &mut self,
        block: &mut Block,
        i: &Inst,
        access: &Access,
        lanes: u32,
        (bytes, act): (u64, Act),
        f: impl Fn(&mut Warp, u32, *mut u8),
    ) -> Checked<()> {
        let kernel = block.launch.kernel;
        match access.place {
            Place::In(Space::Global | Space::Const) => {
                let mut view = View::global(block, self, access.origin);
                for lane in Lanes(lanes) {
                    let address = self
                        .get(kernel, i.a, lane, access.wide_address)
                        .wrapping_add(i.extra);
                    let at = view.at(block, false, lane, address, bytes, act)?;
                    f(self, lane, at);
                }
            }
            Place::In(Space::Shared) => {
                let mut view = View::shared(block, self);
                for lane in Lanes(lanes) {
                    let address = self
                        .get(kernel, i.a, lane, access.wide_address)
                        .wrapping_add(i.extra);
                    let at = view.at(block, true, lane, address, bytes, act)?;
                    f(self, lane, at);
                }
            }
            _ => {
                for lane in Lanes(lanes) {
                    let address = self
                        .get(kernel, i.a, lane, access.wide_address)
                        .wrapping_add(i.extra);
                    let at = self.reach(block, access, lane, address, bytes, act)?;
                    f(self, lane, at);
                }
            }
        }
        Ok(())
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
        let rows = &kernel.lists[i.list.0 as usize..][..access.count as usize];
        match (access.size, access.count, access.wide) {
            (4, 1, false) => self.each(block, i, access, lanes, (4, Act::Read), |w, l, p| {
                // SAFETY: `each` gives pointers to as many bytes.
                unsafe { w.load_words(rows, l, p, 1) }
            }),
            (4, 2, false) => self.each(block, i, access, lanes, (8, Act::Read), |w, l, p| {
                // SAFETY: `each` gives pointers to as many bytes.
                unsafe { w.load_words(rows, l, p, 2) }
            }),
            (4, 4, false) => self.each(block, i, access, lanes, (16, Act::Read), |w, l, p| {
                // SAFETY: `each` gives pointers to as many bytes.
                unsafe { w.load_words(rows, l, p, 4) }
            }),
            (size, count, _) => {
                let bytes = size as u64 * count as u64;
                self.each(block, i, access, lanes, (bytes, Act::Read), |w, l, p| {
                    // SAFETY: as above.
                    unsafe { w.load_any(rows, l, p, access) }
                })
            }
        }
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
        let rows = &kernel.lists[i.list.0 as usize..][..access.count as usize];
        match (access.size, access.count, access.wide) {
            (4, 1, false) => self.each(block, i, access, lanes, (4, Act::Write), |w, l, p| {
                // SAFETY: `each` gives pointers to as many bytes.
                unsafe { w.store_words(kernel, rows, l, p, 1) }
            }),
            (4, 2, false) => self.each(block, i, access, lanes, (8, Act::Write), |w, l, p| {
                // SAFETY: `each` gives pointers to as many bytes.
                unsafe { w.store_words(kernel, rows, l, p, 2) }
            }),
            (4, 4, false) => self.each(block, i, access, lanes, (16, Act::Write), |w, l, p| {
                // SAFETY: `each` gives pointers to as many bytes.
                unsafe { w.store_words(kernel, rows, l, p, 4) }
            }),
            (size, count, _) => {
                let bytes = size as u64 * count as u64;
                self.each(block, i, access, lanes, (bytes, Act::Write), |w, l, p| {
                    // SAFETY: as above.
                    unsafe { w.store_any(kernel, rows, l, p, access) }
                })
            }
        }
    }

    /// # Safety
    /// `from` must be good for `count` words.
    #[inline(always)]
    unsafe fn load_words(&mut self, rows: &[u32], lane: u32, from: *mut u8, count: usize) {
        for (at, &row) in rows.iter().enumerate().take(count) {
            // SAFETY: as the caller promises.
            let value = unsafe { from.cast::<u32>().add(at).read_unaligned() };
            self.set32(row, lane, value);
        }
    }

    /// # Safety
    /// `from` must be good for what is accessed.
    #[inline(always)]
    unsafe fn load_any(&mut self, rows: &[u32], lane: u32, from: *mut u8, access: &Access) {
        for (at, &row) in rows.iter().enumerate() {
            // SAFETY: as the caller promises.
            let value = unsafe { load(from.add(at * access.size as usize), access) };
            self.set(row, lane, access.wide, value);
        }
    }

    /// # Safety
    /// `to` must be good for `count` words.
    #[inline(always)]
    unsafe fn store_words(
        &mut self,
        kernel: &Kernel,
        rows: &[u32],
        lane: u32,
        to: *mut u8,
        count: usize,
    ) {
        for (at, &row) in rows.iter().enumerate().take(count) {
            let value = self.get32(kernel, row, lane);
            // SAFETY: as the caller promises.
            unsafe { to.cast::<u32>().add(at).write_unaligned(value) };
        }
    }

    /// # Safety
    /// `to` must be good for what is accessed.
    #[inline(always)]
    unsafe fn store_any(
        &mut self,
        kernel: &Kernel,
        rows: &[u32],
        lane: u32,
        to: *mut u8,
        access: &Access,
    ) {
        for (at, &row) in rows.iter().enumerate() {
            let value = self.get(kernel, row, lane, access.wide);
            // SAFETY: as the caller promises.
            unsafe { store(to.add(at * access.size as usize), access.size, value) };
        }
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
