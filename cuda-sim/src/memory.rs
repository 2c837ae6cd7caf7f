//! The device's memory: allocations, what of them is initialised, and who touched what last.
//!
//! No address is given out twice, so that a pointer to freed memory is always seen. Each allocation has a byte of state for
//! each of its bytes and two [`shadow`](crate::shadow) records, of the last write and the last reads, for each word.
use crate::shadow::{self, STAMPS};
use std::collections::BTreeMap;
use std::ops::Range;

/// The first address.
pub const BASE: u64 = 0x0007_0000_0000;
/// What the host sees of bytes that nothing wrote: a NaN in f32 and in bf16.
pub const POISON: u8 = 0xff;
const ALIGN: u64 = 512;
/// Free addresses between allocations.
const GAP: u64 = 4096;

pub struct Allocation {
    pub address: u64,
    pub size: u64,
    pub data: Vec<u8>,
    /// 0: nothing wrote the byte so far, 1: something did.
    pub state: Vec<u8>,
    pub writes: Vec<u64>,
    pub reads: Vec<u64>,
    /// The stream and the position there after which it may be used; position 0: always.
    born: (u32, u64),
}

impl Allocation {
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        address >= self.address && bytes <= self.size && address - self.address <= self.size - bytes
    }
}

/// An operation in an order of streams: the `position`-th of its `stream`.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    pub stream: u32,
    pub position: u64,
    /// How messages call it.
    pub name: String,
}

pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    next: u64,
    pub capacity: u64,
    pub used: u64,
    /// Parts of allocations that were declared to be buffers of their own: address and bytes.
    pub marks: BTreeMap<u64, u64>,
    /// The running operation.
    pub stamp: u32,
    stamps: Vec<Operation>,
    /// Of each stream, up to which position the running operation comes after it.
    clock: Vec<u64>,
}

impl Memory {
    pub fn new(capacity: u64) -> Self {
        Memory {
            allocations: BTreeMap::new(),
            next: BASE,
            capacity,
            used: 0,
            marks: BTreeMap::new(),
            stamp: 0,
            stamps: vec![Operation::default()],
            clock: Vec::new(),
        }
    }

    /// None: not enough memory.
    pub fn allocate(&mut self, size: u64) -> Option<u64> {
        let taken = size.checked_next_multiple_of(ALIGN)?;
        let length = usize::try_from(size).ok()?;
        if taken > self.capacity - self.used {
            return None;
        }
        let (address, words) = (self.next, length.div_ceil(4));
        self.next += taken + GAP;
        self.used += taken;
        let allocation = Allocation {
            address,
            size,
            data: vec![0; length],
            state: vec![0; length],
            writes: vec![0; words],
            reads: vec![0; words],
            born: (0, 0),
        };
        self.allocations.insert(address, allocation);
        Some(address)
    }

    /// Whether there was such an allocation.
    pub fn free(&mut self, address: u64) -> bool {
        let Some(allocation) = self.allocations.remove(&address) else {
            return false;
        };
        self.used -= allocation.size.next_multiple_of(ALIGN);
        let inside: Vec<u64> = self
            .marks
            .range(address..address + allocation.size)
            .map(|(&a, _)| a)
            .collect();
        for mark in inside {
            self.marks.remove(&mark);
        }
        true
    }

    pub fn find(&self, address: u64) -> Option<&Allocation> {
        self.allocations
            .range(..=address)
            .next_back()
            .map(|(_, a)| a)
            .filter(|a| a.holds(address, 0))
    }

    pub fn find_mut(&mut self, address: u64) -> Option<&mut Allocation> {
        self.allocations
            .range_mut(..=address)
            .next_back()
            .map(|(_, a)| a)
            .filter(|a| a.holds(address, 0))
    }

    /// Addresses that a pointer given to a kernel may reach: the marked part it lies in, or its allocation.
    pub fn reach(&self, pointer: u64) -> Option<(u64, u64)> {
        let allocation = self.find(pointer)?;
        if let Some((&start, &bytes)) = self.marks.range(..=pointer).next_back()
            && pointer < start + bytes
            && allocation.holds(start, bytes)
        {
            return Some((start, start + bytes));
        }
        Some((allocation.address, allocation.address + allocation.size))
    }

    /// Begins an operation, which comes after position `clock[s]` of each stream `s`.
    pub fn begin(&mut self, operation: Operation, clock: &[u64]) {
        if self.stamps.len() >= STAMPS as usize {
            self.stamps.truncate(1);
            for allocation in self.allocations.values_mut() {
                allocation.writes = vec![0; allocation.writes.len()];
                allocation.reads = vec![0; allocation.reads.len()];
            }
        }
        self.stamp = self.stamps.len() as u32;
        self.stamps.push(operation);
        self.clock.clear();
        self.clock.extend_from_slice(clock);
    }

    /// Whether the operation of a record comes before the running one.
    #[inline(always)]
    pub fn ordered(&self, record: u64) -> bool {
        let operation = &self.stamps[shadow::stamp(record) as usize];
        record >> 24 == 0
            || self
                .clock
                .get(operation.stream as usize)
                .is_some_and(|&c| c >= operation.position)
    }

    pub fn name(&self, record: u64) -> &str {
        &self.stamps[shadow::stamp(record) as usize].name
    }

    /// Says of an access of the running operation by the host's copies that it happens; refuses what is out of bounds or races.
    /// `fills`: the bytes count as written afterwards.
    fn touch(&mut self, address: u64, bytes: u64, write: bool, fills: bool) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        let Some(allocation) = self.find(address).filter(|a| a.holds(address, bytes)) else {
            let what = &self.stamps[self.stamp as usize].name;
            return Err(format!(
                "{what}: {bytes} bytes at {address:#x} are not all allocated"
            ));
        };
        let first = (address - allocation.address) as usize;
        let words = first / 4..(first + bytes as usize).div_ceil(4);
        self.check(
            allocation,
            words.clone(),
            if write { "writes" } else { "reads" },
            write,
        )?;
        let new = shadow::record(
            15,
            &shadow::Who {
                key: shadow::key(self.stamp, 0),
                ..Default::default()
            },
        );
        let Some(allocation) = self.find_mut(address) else {
            return Ok(());
        };
        let records = if write {
            &mut allocation.writes
        } else {
            &mut allocation.reads
        };
        records[words].fill(new);
        if fills {
            allocation.state[first..first + bytes as usize].fill(1);
        }
        Ok(())
    }

    /// An allocation may be used after this position of a stream.
    pub fn bear(&mut self, address: u64, stream: usize, position: u64) {
        if let Some(allocation) = self.find_mut(address) {
            allocation.born = (stream as u32, position);
        }
    }

    /// Whether the running operation may use an allocation already.
    pub fn usable(&self, allocation: &Allocation) -> Result<(), String> {
        let (stream, position) = allocation.born;
        if position == 0
            || self
                .clock
                .get(stream as usize)
                .is_some_and(|&c| c >= position)
        {
            return Ok(());
        }
        let (what, at) = (&self.stamps[self.stamp as usize].name, allocation.address);
        Err(format!(
            "{what} uses {at:#x}, which another stream allocates: nothing orders the two"
        ))
    }

    /// Whether the running operation may free an allocation: whatever used it must come before.
    pub fn unused(&self, address: u64) -> Result<(), String> {
        let Some(allocation) = self.find(address) else {
            return Ok(());
        };
        self.check(allocation, 0..allocation.writes.len(), "frees", true)
    }

    /// Refuses uses of words of an allocation that race with those of other streams.
    fn check(
        &self,
        allocation: &Allocation,
        words: Range<usize>,
        verb: &str,
        write: bool,
    ) -> Result<(), String> {
        self.usable(allocation)?;
        for word in words {
            let reads = if write { allocation.reads[word] } else { 0 };
            for record in [allocation.writes[word], reads] {
                if !self.ordered(record) {
                    let (what, other) = (&self.stamps[self.stamp as usize].name, self.name(record));
                    let at = allocation.address + word as u64 * 4;
                    return Err(format!(
                        "{what} {verb} {at:#x}, which {other} of another stream uses: nothing orders the two"
                    ));
                }
            }
        }
        Ok(())
    }

    fn bytes(&mut self, address: u64, bytes: usize) -> &mut [u8] {
        match self.find_mut(address) {
            Some(allocation) => {
                let first = (address - allocation.address) as usize;
                &mut allocation.data[first..first + bytes]
            }
            None => &mut [],
        }
    }

    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), String> {
        self.touch(address, from.len() as u64, true, true)?;
        if !from.is_empty() {
            self.bytes(address, from.len()).copy_from_slice(from);
        }
        Ok(())
    }

    /// Bytes that nothing wrote come out as [`POISON`].
    pub fn read(&mut self, address: u64, to: &mut [u8]) -> Result<(), String> {
        self.touch(address, to.len() as u64, false, false)?;
        if let Some(allocation) = self.find(address) {
            let first = (address - allocation.address) as usize;
            for (to, at) in to.iter_mut().zip(first..) {
                *to = if allocation.state[at] == 1 {
                    allocation.data[at]
                } else {
                    POISON
                };
            }
        }
        Ok(())
    }

    /// Bytes that a library computes with, which must have been written.
    pub fn operand(&mut self, address: u64, bytes: u64) -> Result<&[u8], String> {
        self.touch(address, bytes, false, false)?;
        let Some(allocation) = self.find(address) else {
            return Ok(&[]);
        };
        let first = (address - allocation.address) as usize;
        let bytes = first..first + bytes as usize;
        if let Some(at) = allocation.state[bytes.clone()].iter().position(|&s| s != 1) {
            let (what, at) = (&self.stamps[self.stamp as usize].name, address + at as u64);
            return Err(format!(
                "{what} reads {at:#x}, which nothing wrote: uninitialised"
            ));
        }
        Ok(&allocation.data[bytes])
    }

    /// Leaves bytes behind that mean nothing: whoever reads them next reads what nothing wrote.
    pub fn spoil(&mut self, address: u64, bytes: u64) -> Result<(), String> {
        self.touch(address, bytes, true, false)?;
        if bytes > 0
            && let Some(allocation) = self.find_mut(address)
        {
            let first = (address - allocation.address) as usize;
            let bytes = first..first + bytes as usize;
            allocation.data[bytes.clone()].fill(POISON);
            allocation.state[bytes].fill(0);
        }
        Ok(())
    }

    pub fn copy(&mut self, from: u64, to: u64, bytes: usize) -> Result<(), String> {
        self.touch(from, bytes as u64, false, false)?;
        let state = match self.find(from) {
            Some(a) if bytes > 0 => a.state[(from - a.address) as usize..][..bytes].to_vec(),
            _ => return Ok(()),
        };
        self.touch(to, bytes as u64, true, false)?;
        let data = self.bytes(from, bytes).to_vec();
        self.bytes(to, bytes).copy_from_slice(&data);
        if let Some(allocation) = self.find_mut(to) {
            let first = (to - allocation.address) as usize;
            allocation.state[first..first + bytes].copy_from_slice(&state);
        }
        Ok(())
    }

    /// Fills with a pattern of 1, 2 or 4 bytes.
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: usize) -> Result<(), String> {
        let bytes = pattern.len().saturating_mul(count);
        self.touch(address, bytes as u64, true, true)?;
        if bytes > 0 {
            for chunk in self.bytes(address, bytes).chunks_exact_mut(pattern.len()) {
                chunk.copy_from_slice(pattern);
            }
        }
        Ok(())
    }
}
