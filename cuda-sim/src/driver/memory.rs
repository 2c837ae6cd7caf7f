//! Allocations and copies.
use super::queue::{Source, Work};
use super::state::{Driver, give, with_context};
use super::status::{self, Outcome, Status};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_int, c_uchar, c_uint, c_ushort, c_void};

fn host_layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), 4096).ok()
}

impl Driver {
    fn allocate(&mut self, bytes: usize) -> Result<u64, Status> {
        if bytes == 0 {
            return Err(status::INVALID_VALUE);
        }
        if let Some(address) = self.memory.allocate(bytes as u64) {
            return Ok(address);
        }
        // What is freed in streams may suffice.
        self.wait_for_all()?;
        self.memory
            .allocate(bytes as u64)
            .ok_or(status::OUT_OF_MEMORY)
    }

    /// Whether all of these bytes of the host are pinned.
    fn is_pinned(&self, address: usize, bytes: usize) -> bool {
        let found = self.pinned.range(..=address).next_back();
        found.is_some_and(|(&start, &(size, _))| {
            address.saturating_add(bytes) <= start.saturating_add(size)
        })
    }

    fn copy_in(
        &mut self,
        stream: usize,
        to: u64,
        from: *const c_void,
        bytes: usize,
        at_once: bool,
    ) -> Outcome {
        if from.is_null() && bytes > 0 || bytes > isize::MAX as usize {
            return Err(status::INVALID_VALUE);
        }
        let pinned = self.is_pinned(from as usize, bytes) || self.streams[stream].capture.is_some();
        let source = if pinned {
            Source::Later(from as usize, bytes)
        } else if bytes == 0 {
            Source::Taken(Vec::new())
        } else {
            // SAFETY: the caller gives `bytes` bytes.
            Source::Taken(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) }.to_vec())
        };
        self.submit(stream, Work::CopyIn { from: source, to })?;
        if at_once && pinned {
            let tail = self.tail(stream);
            self.wait_for(&tail)?;
        }
        Ok(())
    }

    fn copy_out(
        &mut self,
        stream: usize,
        to: *mut c_void,
        from: u64,
        bytes: usize,
        at_once: bool,
    ) -> Outcome {
        if to.is_null() && bytes > 0 || bytes > isize::MAX as usize {
            return Err(status::INVALID_VALUE);
        }
        let capturing = self.streams[stream].capture.is_some();
        let wait = at_once || !capturing && !self.is_pinned(to as usize, bytes);
        self.submit(
            stream,
            Work::CopyOut {
                from,
                to: to as usize,
                bytes,
            },
        )?;
        if wait {
            let tail = self.tail(stream);
            self.wait_for(&tail)?;
        }
        Ok(())
    }
}

/// # Safety
/// The pointers must be good for numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    with_context(|driver| {
        let (used, capacity) = (driver.memory.used, driver.memory.capacity);
        // SAFETY: as the caller promises.
        unsafe {
            give(free, (capacity - used) as usize)?;
            give(total, capacity as usize)
        }
    })
}

/// # Safety
/// The pointer must be good for an address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Status {
    with_context(|driver| {
        driver.refuse_while_capturing()?;
        let found = driver.allocate(bytes)?;
        // SAFETY: as the caller promises.
        unsafe { give(address, found) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> Status {
    with_context(|driver| {
        driver.refuse_while_capturing()?;
        driver.wait_for_all()?;
        match address == 0 || driver.memory.free(address) {
            true => Ok(()),
            false => Err(status::INVALID_VALUE),
        }
    })
}

/// # Safety
/// The pointer must be good for an address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        if driver.streams[stream].capture.is_some() {
            return Err(driver.say(
                status::NOT_SUPPORTED,
                "an allocation while capturing is not simulated",
            ));
        }
        let found = driver.allocate(bytes)?;
        driver.submit(stream, Work::Nothing)?;
        driver
            .memory
            .bear(found, stream, driver.streams[stream].issued);
        // SAFETY: as the caller promises.
        unsafe { give(address, found) }
    })
}

/// # Safety
/// The pointer must be good for an address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocFromPoolAsync(
    address: *mut u64,
    bytes: usize,
    _pool: usize,
    stream: u64,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuMemAllocAsync(address, bytes, stream) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, stream: u64) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        if driver.streams[stream].capture.is_some() {
            return Err(driver.say(
                status::INVALID_VALUE,
                "memory is freed while capturing that was not allocated there",
            ));
        }
        if driver
            .memory
            .find(address)
            .is_none_or(|a| a.address != address)
        {
            return Err(status::INVALID_VALUE);
        }
        driver.submit(stream, Work::Free(address))
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut usize, _device: c_int) -> Status {
    // SAFETY: as the caller promises.
    with_context(|_| unsafe { give(pool, 16) })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetMemPool(pool: *mut usize, device: c_int) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuDeviceGetDefaultMemPool(pool, device) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolSetAttribute(
    _pool: usize,
    _attribute: c_int,
    _value: *mut c_void,
) -> Status {
    with_context(|_| Ok(()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolTrimTo(_pool: usize, _bytes: usize) -> Status {
    with_context(|_| Ok(()))
}

/// # Safety
/// The pointer must be good for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(
    to: *mut *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> Status {
    with_context(|driver| {
        driver.refuse_while_capturing()?;
        let layout = host_layout(bytes).ok_or(status::INVALID_VALUE)?;
        // SAFETY: the layout has at least one byte.
        let found = unsafe { alloc_zeroed(layout) };
        if found.is_null() {
            return Err(status::OUT_OF_MEMORY);
        }
        driver.pinned.insert(found as usize, (bytes, true));
        // SAFETY: as the caller promises.
        unsafe { give(to, found.cast()) }
    })
}

/// # Safety
/// The pointer must be good for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocHost_v2(to: *mut *mut c_void, bytes: usize) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuMemHostAlloc(to, bytes, 0) }
}

/// # Safety
/// Nothing may use the memory afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeHost(address: *mut c_void) -> Status {
    with_context(|driver| {
        let at = address as usize;
        let Some(&(bytes, true)) = driver.pinned.get(&at) else {
            return Err(status::INVALID_VALUE);
        };
        if driver
            .streams
            .iter()
            .any(|s| s.queue.iter().any(|t| t.work.uses(at, bytes)))
        {
            let error = driver.say(
                status::LAUNCH_FAILED,
                "pinned memory is freed while a copy that uses it is under way",
            );
            driver.error = Some(error);
            return Err(error);
        }
        driver.pinned.remove(&at);
        if let Some(layout) = host_layout(bytes) {
            // SAFETY: it was allocated with the same layout.
            unsafe { dealloc(address.cast(), layout) };
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostRegister_v2(
    address: *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> Status {
    with_context(|driver| {
        driver.pinned.insert(address as usize, (bytes, false));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostUnregister(address: *mut c_void) -> Status {
    with_context(|driver| match driver.pinned.get(&(address as usize)) {
        Some((_, false)) => {
            driver.pinned.remove(&(address as usize));
            Ok(())
        }
        _ => Err(status::INVALID_VALUE),
    })
}

/// Defines a copy or a fill that waits, and one in a stream.
macro_rules! pairs {
    ($($name:ident, $later:ident($($argument:ident: $kind:ty),*), |$driver:ident, $stream:ident, $at_once:ident| $body:expr;)*) => {
        $(
            /// # Safety
            /// Pointers of the host must be good for as many bytes until the work has been done.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($argument: $kind),*) -> Status {
                with_context(|$driver| {
                    $driver.refuse_while_capturing()?;
                    let ($stream, $at_once) = (0, true);
                    $body
                })
            }

            /// # Safety
            /// Pointers of the host must be good for as many bytes until the work has been done.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $later($($argument: $kind,)* stream: u64) -> Status {
                with_context(|$driver| {
                    let ($stream, $at_once) = ($driver.stream(stream)?, false);
                    $body
                })
            }
        )*
    };
}

pairs! {
    cuMemcpyHtoD_v2, cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize), |driver, stream, at_once| {
        driver.copy_in(stream, to, from, bytes, at_once)
    };
    cuMemcpyDtoH_v2, cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize), |driver, stream, at_once| {
        driver.copy_out(stream, to, from, bytes, at_once)
    };
    cuMemcpyDtoD_v2, cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize), |driver, stream, _at_once| {
        driver.submit(stream, Work::Copy { from, to, bytes })
    };
    cuMemsetD8_v2, cuMemsetD8Async(to: u64, value: c_uchar, count: usize), |driver, stream, _at_once| {
        driver.submit(stream, Work::Fill { to, pattern: vec![value], count })
    };
    cuMemsetD16_v2, cuMemsetD16Async(to: u64, value: c_ushort, count: usize), |driver, stream, _at_once| {
        driver.submit(stream, Work::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    };
    cuMemsetD32_v2, cuMemsetD32Async(to: u64, value: c_uint, count: usize), |driver, stream, _at_once| {
        driver.submit(stream, Work::Fill { to, pattern: value.to_le_bytes().to_vec(), count })
    };
}
