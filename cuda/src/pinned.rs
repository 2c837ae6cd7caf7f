//! Page-locked memory of the host, which the GPU copies from and to by itself.

use cudarc::driver::{CudaContext, DriverError, result};
use std::fmt;
use std::sync::Arc;

/// A block of page-locked memory, zeroed.
pub(crate) struct Pinned {
    pointer: *mut u8,
    len: usize,
    context: Arc<CudaContext>,
}

impl Pinned {
    /// Takes `len` bytes, at least one.
    pub(crate) fn zeroed(context: &Arc<CudaContext>, len: usize) -> Result<Pinned, DriverError> {
        let len = len.max(1);
        context.bind_to_thread()?;
        // SAFETY: the driver gives `len` bytes, or an error.
        let pointer = unsafe {
            let pointer = result::malloc_host(len, 0)?.cast::<u8>();
            pointer.write_bytes(0, len);
            pointer
        };
        Ok(Pinned {
            pointer,
            len,
            context: context.clone(),
        })
    }

    /// Its bytes.
    ///
    /// # Safety
    /// No copy that writes them is under way.
    pub(crate) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the block is alive as long as `self`.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }

    /// Its bytes, to be written.
    ///
    /// # Safety
    /// No copy that reads or writes them is under way.
    pub(crate) unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block is alive as long as `self`, which is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the block is the driver's, and who holds `self` waits for copies first. An error is one that the context
        // already has.
        unsafe {
            let _ = self.context.bind_to_thread();
            let _ = result::free_host(self.pointer.cast());
        }
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} bytes)", self.len)
    }
}
