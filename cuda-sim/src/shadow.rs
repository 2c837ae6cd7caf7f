//! Who touched a word of memory last, in 64 bits for each word of 4 bytes, and whether two accesses are ordered.
//!
//! | bits | what |
//! |---|---|
//! | 0–13 | the block's clock at the access |
//! | 14–23 | the thread |
//! | 24–27 | the bytes of the word |
//! | 28–29 | how many readers are behind this record: one, some of one warp, of one block, of many blocks |
//! | 30–63 | the key: block and stamp of the operation in global memory, the run of the block in shared memory |
//!
//! A block's clock goes up at every synchronisation. An access is ordered before one of another thread if it is older than the
//! last barrier that the other passed, or, in one warp, older than the last synchronisation of the warp. Where different bytes
//! of a word have different owners only the latest is remembered: that can miss a race, but not invent one.

pub const CLOCKS: u32 = 1 << 14;
/// Bits of the block in a key.
pub const BLOCK_BITS: u32 = 21;
/// Operations of a device that can be told apart.
pub const STAMPS: u32 = 1 << 13;
/// The bits of a record that say how many readers it stands for; 1 in a write's: an atomic.
pub const READERS: u64 = 3 << 28;
const ALL_BLOCKS: u64 = (1 << BLOCK_BITS) - 1;

/// The thread that accesses, and what it has synchronised with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who {
    pub key: u64,
    pub thread: u64,
    /// The clock of now; 0 where clocks are used up, which counts as ordered.
    pub clock: u64,
    pub block_clock: u64,
    pub warp_clock: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    None,
    /// Of another block, launch or run of a block.
    Foreign,
    Race,
}

pub fn key(stamp: u32, block: u64) -> u64 {
    (stamp as u64) << BLOCK_BITS | block.min(ALL_BLOCKS - 1)
}

pub fn stamp(record: u64) -> u32 {
    (record >> (30 + BLOCK_BITS)) as u32
}

pub fn thread(record: u64) -> u32 {
    (record >> 14 & 1023) as u32
}

/// The block of a record, or none if it stands for many.
pub fn block(record: u64) -> Option<u64> {
    let block = record >> 30 & ALL_BLOCKS;
    (block != ALL_BLOCKS).then_some(block)
}

/// Whether what `record` says can happen at the same time as an access by `who` to the bytes of `mask`.
#[inline(always)]
pub fn clash(record: u64, mask: u64, who: &Who) -> Clash {
    if record >> 24 & mask == 0 {
        return Clash::None;
    }
    if record >> 30 != who.key {
        return Clash::Foreign;
    }
    let (thread, readers, clock) = (record >> 14 & 1023, record >> 28 & 3, record & 0x3fff);
    if readers == 0 && thread == who.thread || clock < who.block_clock {
        return Clash::None;
    }
    if readers < 2 && thread >> 5 == who.thread >> 5 && clock < who.warp_clock {
        return Clash::None;
    }
    Clash::Race
}

#[inline(always)]
pub fn record(mask: u64, who: &Who) -> u64 {
    who.key << 30 | mask << 24 | who.thread << 14 | who.clock
}

/// The record of readers after `who` reads too. `global`: whether keys have a stamp and a block.
#[inline(always)]
pub fn read(old: u64, mask: u64, who: &Who, global: bool) -> u64 {
    let new = record(mask, who);
    if old >> 24 & mask == 0 {
        return new;
    }
    if old >> 30 != who.key {
        if global && old >> (30 + BLOCK_BITS) == who.key >> BLOCK_BITS {
            return new | ALL_BLOCKS << 30 | 3 << 28;
        }
        return new;
    }
    let (thread, readers, clock) = (old >> 14 & 1023, old >> 28 & 3, old & 0x3fff);
    if clock < who.block_clock {
        return new;
    }
    let masks = old & 15 << 24;
    if readers == 0 && thread == who.thread {
        return new | masks;
    }
    let readers = if thread >> 5 == who.thread >> 5 {
        readers.max(1)
    } else {
        2
    };
    new | masks | readers << 28
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(thread: u64, clock: u64, block_clock: u64, warp_clock: u64) -> Who {
        Who {
            key: 5,
            thread,
            clock,
            block_clock,
            warp_clock,
        }
    }

    #[test]
    fn a_barrier_orders_threads() {
        let written = record(15, &who(1, 3, 0, 0));
        assert_eq!(clash(written, 15, &who(40, 4, 0, 0)), Clash::Race);
        assert_eq!(clash(written, 15, &who(40, 4, 4, 4)), Clash::None);
    }

    #[test]
    fn a_warp_synchronisation_orders_its_own_threads_only() {
        let written = record(15, &who(1, 3, 0, 0));
        assert_eq!(clash(written, 15, &who(2, 4, 0, 4)), Clash::None);
        assert_eq!(clash(written, 15, &who(33, 4, 0, 4)), Clash::Race);
    }

    #[test]
    fn halves_of_a_word_have_owners_of_their_own() {
        assert_eq!(
            clash(record(3, &who(1, 3, 0, 0)), 12, &who(2, 3, 0, 0)),
            Clash::None
        );
    }

    #[test]
    fn readers_of_two_warps_are_both_remembered() {
        let one = record(15, &who(1, 3, 0, 0));
        let two = read(one, 15, &who(33, 3, 0, 0), false);
        assert_eq!(clash(two, 15, &who(33, 4, 0, 4)), Clash::Race);
    }
}
