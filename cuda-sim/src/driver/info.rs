//! The device and its contexts.
use super::state::{CONTEXT, CONTEXT_HANDLE, give, initialise, with_context, with_driver};
use super::status::{self, Status};
use crate::device::{SHARED_BYTES, SHARED_BYTES_MOST};
use std::ffi::{c_char, c_int, c_uint, c_void};

/// The version of the driver: 12.9.
const VERSION: c_int = 12090;
pub const MULTIPROCESSORS: c_int = 108;

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_flags: c_uint) -> Status {
    initialise();
    0
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: as the caller promises.
    unsafe { give(version, VERSION) }.map_or_else(|e| e, |()| 0)
}

/// NVRTC asks for tables that are in no documentation; there are none.
#[unsafe(no_mangle)]
pub extern "C" fn cuGetExportTable(_table: *mut *const c_void, _id: *const c_void) -> Status {
    status::NOT_SUPPORTED
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    // SAFETY: as the caller promises.
    with_driver(|_| unsafe { give(count, 1) })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status {
    with_driver(|_| match ordinal {
        // SAFETY: as the caller promises.
        0 => unsafe { give(device, 0) },
        _ => Err(status::INVALID_DEVICE),
    })
}

/// # Safety
/// `name` must be good for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(
    name: *mut c_char,
    length: c_int,
    device: c_int,
) -> Status {
    with_driver(|driver| {
        if name.is_null() || length <= 0 || device != 0 {
            return Err(status::INVALID_VALUE);
        }
        let text = format!("Simulated sm_{} device", driver.architecture);
        let count = text.len().min(length as usize - 1);
        // SAFETY: as the caller promises.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), count);
            name.add(count).write(0);
        }
        Ok(())
    })
}

/// # Safety
/// `uuid` must be good for 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], _device: c_int) -> Status {
    // SAFETY: as the caller promises.
    with_driver(|_| unsafe { give(uuid, *b"simulated device") })
}

/// # Safety
/// `uuid` must be good for 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuDeviceGetUuid(uuid, device) }
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> Status {
    // SAFETY: as the caller promises.
    with_driver(|driver| unsafe { give(bytes, driver.memory.capacity as usize) })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    device: c_int,
) -> Status {
    with_driver(|driver| {
        if device != 0 {
            return Err(status::INVALID_DEVICE);
        }
        let found = match attribute {
            1..=3 => 1024,
            4 => 64,
            5 => c_int::MAX,
            6 | 7 => 65535,
            8 => SHARED_BYTES as c_int,
            9 => 65536,
            10 => 32,
            12 | 82 => 65536,
            13 => 1_410_000,
            16 => MULTIPROCESSORS,
            19 | 31 | 41 | 78 | 83 | 95 | 115 => 1,
            36 => 1_215_000,
            37 => 5120,
            38 => 40 << 20,
            39 => 2048,
            40 => 3,
            75 => driver.architecture as c_int / 10,
            76 => driver.architecture as c_int % 10,
            81 => SHARED_BYTES_MOST as c_int + 1024,
            97 => SHARED_BYTES_MOST as c_int,
            106 => 32,
            111 => 1024,
            _ => 0,
        };
        // SAFETY: as the caller promises.
        unsafe { give(value, found) }
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: c_int) -> Status {
    with_driver(|_| match device {
        // SAFETY: as the caller promises.
        0 => unsafe { give(context, CONTEXT_HANDLE) },
        _ => Err(status::INVALID_DEVICE),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> Status {
    with_driver(|_| Ok(()))
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetCurrent(context: *mut usize) -> Status {
    // SAFETY: as the caller promises.
    with_driver(|_| unsafe { give(context, CONTEXT.get()) })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: usize) -> Status {
    with_driver(|_| match context {
        0 | CONTEXT_HANDLE => {
            CONTEXT.set(context);
            Ok(())
        }
        _ => Err(status::INVALID_CONTEXT),
    })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetDevice(device: *mut c_int) -> Status {
    // SAFETY: as the caller promises.
    with_context(|_| unsafe { give(device, 0) })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetFlags(_flags: c_uint) -> Status {
    with_context(|_| Ok(()))
}

/// # Safety
/// The pointers must be null or good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(
    least: *mut c_int,
    greatest: *mut c_int,
) -> Status {
    with_context(|_| {
        // SAFETY: as the caller promises.
        unsafe {
            if !least.is_null() {
                give(least, 0)?;
            }
            if greatest.is_null() {
                Ok(())
            } else {
                give(greatest, -5)
            }
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Status {
    with_context(|driver| {
        driver.refuse_while_capturing()?;
        driver.wait_for_all()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStart() -> Status {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStop() -> Status {
    0
}
