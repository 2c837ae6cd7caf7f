//! Fetching what is read next while something else is multiplied.

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// A range of memory, some lines of which are fetched at a time.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    at: *const u8,
    end: *const u8,
    /// Lines of a turn.
    lines: usize,
}

impl Fetch {
    /// The bytes from `first` on, in `turns` turns.
    pub fn new(first: *const u8, bytes: usize, turns: usize) -> Fetch {
        Fetch {
            at: first,
            end: first.wrapping_add(bytes),
            lines: bytes.div_ceil(LINE).div_ceil(turns.max(1)),
        }
    }

    /// Nothing.
    pub fn none() -> Fetch {
        Fetch::new(std::ptr::null(), 0, 1)
    }

    /// Asks for the lines of one turn; nothing waits for them.
    #[inline(always)]
    pub fn turn(&mut self) {
        for _ in 0..self.lines {
            if self.at >= self.end {
                return;
            }
            prefetch(self.at);
            self.at = self.at.wrapping_add(LINE);
        }
    }
}

/// The most ranges that are fetched side by side.
const RANGES: usize = 5;

/// Some ranges, fetched side by side.
#[derive(Clone, Copy, Debug)]
pub struct Fetches([Fetch; RANGES]);

impl Fetches {
    /// The first few ranges, each a place and its bytes, in `turns` turns.
    pub fn new(ranges: impl Iterator<Item = (*const u8, usize)>, turns: usize) -> Fetches {
        let mut list = [Fetch::none(); RANGES];
        for (ahead, (first, bytes)) in list.iter_mut().zip(ranges) {
            *ahead = Fetch::new(first, bytes, turns);
        }
        Fetches(list)
    }

    /// A turn of each.
    #[inline(always)]
    pub fn turn(&mut self) {
        self.0.iter_mut().for_each(Fetch::turn);
    }
}

/// Brings the line of `p`, which need not be valid, into the second-level cache.
#[inline(always)]
pub fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of SSE, which every x86-64 processor has; a place that cannot be read is passed over.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
