//! Error codes of the driver, by their names in `cuda.h`.
use std::ffi::{CStr, c_char, c_int};

/// What a call returns: 0, or one of the codes below.
pub type Status = c_int;
pub type Outcome = Result<(), Status>;

macro_rules! codes {
    ($($name:ident = $code:literal, $said:literal;)*) => {
        $(pub const $name: Status = $code;)*

        fn named(code: Status) -> Option<(&'static CStr, &'static CStr)> {
            // SAFETY of the texts: each ends in the only zero byte it has.
            match code {
                0 => Some((c"CUDA_SUCCESS", c"no error")),
                $($code => {
                    let name = CStr::from_bytes_with_nul(concat!("CUDA_ERROR_", stringify!($name), "\0").as_bytes());
                    let said = CStr::from_bytes_with_nul(concat!($said, "\0").as_bytes());
                    name.ok().zip(said.ok())
                })*
                _ => None,
            }
        }
    };
}

codes! {
    INVALID_VALUE = 1, "invalid argument";
    OUT_OF_MEMORY = 2, "out of memory";
    NOT_INITIALIZED = 3, "initialization error";
    NO_DEVICE = 100, "no CUDA-capable device is detected";
    INVALID_DEVICE = 101, "invalid device ordinal";
    INVALID_CONTEXT = 201, "invalid device context";
    NO_BINARY_FOR_GPU = 209, "no kernel image is available for execution on the device";
    INVALID_PTX = 218, "a PTX JIT compilation failed";
    INVALID_HANDLE = 400, "invalid resource handle";
    ILLEGAL_STATE = 401, "the operation cannot be performed in the present state";
    NOT_FOUND = 500, "named symbol not found";
    NOT_READY = 600, "device not ready";
    ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered";
    LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for launch";
    LAUNCH_TIMEOUT = 702, "the launch timed out and was terminated";
    MISALIGNED_ADDRESS = 716, "misaligned address";
    LAUNCH_FAILED = 719, "unspecified launch failure";
    NOT_SUPPORTED = 801, "operation not supported";
    STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted when stream is capturing";
    STREAM_CAPTURE_INVALIDATED = 901, "operation failed due to a previous error during capture";
    STREAM_CAPTURE_MERGE = 902, "operation would result in a merge of separate capture sequences";
    STREAM_CAPTURE_UNMATCHED = 903, "capture was not ended in the same stream as it began";
    STREAM_CAPTURE_UNJOINED = 904, "capturing stream has unjoined work";
    STREAM_CAPTURE_ISOLATION = 905, "dependency created on uncaptured work in another stream";
    STREAM_CAPTURE_IMPLICIT = 906, "operation would make the legacy stream depend on a capturing blocking stream";
    CAPTURED_EVENT = 907, "operation not permitted on an event last recorded in a capturing stream";
    UNKNOWN = 999, "unknown error";
}

fn text(
    code: Status,
    to: *mut *const c_char,
    pick: fn((&'static CStr, &'static CStr)) -> &'static CStr,
) -> Status {
    if to.is_null() {
        return INVALID_VALUE;
    }
    let (text, status) = match named(code) {
        Some(texts) => (pick(texts).as_ptr(), 0),
        None => (std::ptr::null(), INVALID_VALUE),
    };
    // SAFETY: the caller gives a place for a pointer.
    unsafe { *to = text };
    status
}

/// # Safety
/// `to` must be null or good for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(code: Status, to: *mut *const c_char) -> Status {
    text(code, to, |texts| texts.0)
}

/// # Safety
/// `to` must be null or good for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(code: Status, to: *mut *const c_char) -> Status {
    text(code, to, |texts| texts.1)
}
