//! Working memory of kernels: one region for each thread and one for all, sized when the program is loaded.

/// A pointer into the arena or into scratch that threads may share.
#[derive(Clone, Copy, Debug)]
pub struct Pointer(*mut f32);

// SAFETY: a plain address; whoever reads or writes through it says why that is no race.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

impl Pointer {
    pub fn new(p: *mut f32) -> Pointer {
        Pointer(p)
    }

    pub fn get(self) -> *mut f32 {
        self.0
    }
}

/// f32 elements of a cache line: pieces begin on one.
const LINE: usize = 16;

/// Cuts a region into pieces. The same calls measure what is needed and, later, cut it.
pub struct Carver {
    base: *mut f32,
    used: usize,
}

impl Carver {
    /// Measures only; the pieces must not be used.
    pub fn measure() -> Carver {
        Carver::new(std::ptr::null_mut())
    }

    pub fn new(base: *mut f32) -> Carver {
        Carver { base, used: 0 }
    }

    /// Elements cut so far.
    pub fn used(&self) -> usize {
        self.used
    }

    pub fn f32(&mut self, len: usize) -> *mut f32 {
        let piece = self.base.wrapping_add(self.used);
        self.used += len.next_multiple_of(LINE);
        piece
    }

    pub fn f64(&mut self, len: usize) -> *mut f64 {
        self.f32(2 * len).cast()
    }

    pub fn isize(&mut self, len: usize) -> *mut isize {
        self.f32(2 * len).cast()
    }
}
