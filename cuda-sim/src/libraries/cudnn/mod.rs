//! cuDNN's interface, of version 9, as far as it describes operands one by one.
//!
//! - [`descriptors`]: handles, and what a convolution is described by
//! - [`products`]: the algorithms for its three products, and computing them
pub mod descriptors;
pub mod products;

use super::handles::Library;
use crate::driver::last_message;
use crate::driver::status::Status;
use std::ffi::{CStr, c_char};

/// The statuses of cuDNN.
pub const LIBRARY: Library = Library {
    not_initialized: 1001,
    invalid: 2000,
    not_supported: 3000,
    failed: 5000,
};
/// The version of the library: 9.2.1.
const VERSION: usize = 90_201;
/// `CUDNN_DATA_FLOAT` and `CUDNN_DATA_BFLOAT16`.
const F32: i32 = 0;
const BF16: i32 = 9;

#[unsafe(no_mangle)]
pub extern "C" fn cudnnGetVersion() -> usize {
    VERSION
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnGetErrorString(status: Status) -> *const c_char {
    let text: &'static CStr = match status {
        0 => c"CUDNN_STATUS_SUCCESS",
        1001 => c"CUDNN_STATUS_NOT_INITIALIZED",
        2000 => c"CUDNN_STATUS_BAD_PARAM",
        3000 => c"CUDNN_STATUS_NOT_SUPPORTED",
        5000 => c"CUDNN_STATUS_EXECUTION_FAILED",
        _ => c"CUDNN_UNKNOWN_STATUS",
    };
    text.as_ptr()
}

/// What was wrong with the last call that was refused.
///
/// # Safety
/// `to` must be null or good for `most` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetLastErrorString(to: *mut c_char, most: usize) {
    let text = last_message();
    if to.is_null() || most == 0 {
        return;
    }
    let count = text.len().min(most - 1);
    // SAFETY: as the caller promises.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), count);
        to.add(count).write(0);
    }
}
