//! cuDNN's algorithms for the three products of a convolution, and computing them.
use super::LIBRARY;
use super::descriptors::{DnnHandle, math, problem};
use crate::driver::state::Driver;
use crate::driver::status::Status;
use crate::libraries::Product;
use crate::libraries::convolution::{Algorithm, Convolution, Pass, Problem};
use crate::libraries::handles::Checked;
use std::ffi::c_int;

/// Pointers must be aligned to so many bytes.
const ALIGNMENT: u64 = 16;

/// What the library says of an algorithm.
#[repr(C)]
pub struct Performance {
    pub algorithm: c_int,
    pub status: Status,
    pub time: f32,
    pub memory: usize,
    /// Whether it gives the same bits each time.
    pub determinism: c_int,
    pub math: c_int,
    pub reserved: [c_int; 3],
}

/// The descriptors of x, w, the convolution and y.
type Described = [u64; 4];

fn described(driver: &Driver, handle: u64, [x, w, convolution, y]: Described) -> Checked<Problem> {
    LIBRARY.find::<DnnHandle>(driver, handle)?;
    problem(driver, x, w, convolution, y)
}

/// An algorithm that was offered for a problem.
fn offered(problem: &Problem, pass: Pass, id: c_int) -> Checked<Algorithm> {
    problem
        .algorithms(pass)
        .into_iter()
        .find(|algorithm| algorithm.id == id && algorithm.supported)
        .ok_or_else(|| LIBRARY.not_supported(format!("algorithm {id} was not offered for this")))
}

/// # Safety
/// `results` must be good for `requested` results, `returned` for a number.
unsafe fn algorithms(
    call: &str,
    pass: Pass,
    handle: u64,
    of: Described,
    requested: c_int,
    returned: *mut c_int,
    results: *mut Performance,
) -> Status {
    LIBRARY.on_device(call, |driver| {
        let problem = described(driver, handle, of)?;
        if requested < 1 || results.is_null() {
            let message = format!("{requested} algorithms are asked for, to {results:?}");
            return Err(LIBRARY.invalid(message));
        }
        let math = math(driver, of[2])?;
        let found = problem.algorithms(pass);
        let count = found.len().min(requested as usize);
        for (index, algorithm) in found.into_iter().take(count).enumerate() {
            let performance = Performance {
                algorithm: algorithm.id,
                status: match algorithm.supported {
                    true => 0,
                    false => LIBRARY.not_supported,
                },
                time: if algorithm.supported {
                    index as f32
                } else {
                    -1.0
                },
                memory: algorithm.workspace as usize,
                determinism: algorithm.deterministic.into(),
                math,
                reserved: [0; 3],
            };
            // SAFETY: as the caller promises.
            unsafe { LIBRARY.give(results.add(index), performance) }?;
        }
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.give(returned, count as c_int) }
    })
}

/// # Safety
/// `bytes` must be good for a number.
unsafe fn workspace_size(
    call: &str,
    pass: Pass,
    handle: u64,
    of: Described,
    algorithm: c_int,
    bytes: *mut usize,
) -> Status {
    LIBRARY.on_device(call, |driver| {
        let problem = described(driver, handle, of)?;
        let found = offered(&problem, pass, algorithm)?;
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.give(bytes, found.workspace as usize) }
    })
}

/// A call for a product as it was given.
struct Call {
    pass: Pass,
    handle: u64,
    of: Described,
    /// Of x, w and y.
    addresses: [u64; 3],
    algorithm: c_int,
    workspace: (u64, usize),
    factors: [*const f32; 2],
}

impl Call {
    /// # Safety
    /// The factors must be good for a number.
    unsafe fn submit(self) -> Status {
        let (pass, addresses) = (self.pass, self.addresses);
        LIBRARY.on_device(pass.call(), |driver| {
            let problem = described(driver, self.handle, self.of)?;
            // SAFETY: as the caller promises.
            let alpha = unsafe { LIBRARY.factors(self.factors[0], self.factors[1]) }?;
            let algorithm = offered(&problem, pass, self.algorithm)?;
            for (what, address) in pass.names().into_iter().zip(addresses) {
                LIBRARY.aligned(what, address, ALIGNMENT)?;
            }
            let (address, bytes) = self.workspace;
            let needed = algorithm.workspace;
            let workspace = LIBRARY.workspace(driver, address, bytes, needed, ALIGNMENT)?;
            let product = Convolution {
                problem,
                pass,
                algorithm,
                addresses,
                alpha,
                workspace,
            };
            product.check_overlaps(&LIBRARY)?;
            let stream = LIBRARY.find::<DnnHandle>(driver, self.handle)?.stream;
            LIBRARY.submit(driver, stream, Product::Convolution(product))
        })
    }
}

/// # Safety
/// `results` must be good for `requested` results, `returned` for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetConvolutionForwardAlgorithm_v7(
    handle: u64,
    x: u64,
    w: u64,
    convolution: u64,
    y: u64,
    requested: c_int,
    returned: *mut c_int,
    results: *mut Performance,
) -> Status {
    let (of, call) = (
        [x, w, convolution, y],
        "cudnnGetConvolutionForwardAlgorithm_v7",
    );
    // SAFETY: as the caller promises.
    unsafe {
        algorithms(
            call,
            Pass::Forward,
            handle,
            of,
            requested,
            returned,
            results,
        )
    }
}

/// # Safety
/// `results` must be good for `requested` results, `returned` for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetConvolutionBackwardDataAlgorithm_v7(
    handle: u64,
    w: u64,
    dy: u64,
    convolution: u64,
    dx: u64,
    requested: c_int,
    returned: *mut c_int,
    results: *mut Performance,
) -> Status {
    let (of, call) = (
        [dx, w, convolution, dy],
        "cudnnGetConvolutionBackwardDataAlgorithm_v7",
    );
    // SAFETY: as the caller promises.
    unsafe { algorithms(call, Pass::Data, handle, of, requested, returned, results) }
}

/// # Safety
/// `results` must be good for `requested` results, `returned` for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    handle: u64,
    x: u64,
    dy: u64,
    convolution: u64,
    dw: u64,
    requested: c_int,
    returned: *mut c_int,
    results: *mut Performance,
) -> Status {
    let (of, call) = (
        [x, dw, convolution, dy],
        "cudnnGetConvolutionBackwardFilterAlgorithm_v7",
    );
    // SAFETY: as the caller promises.
    unsafe { algorithms(call, Pass::Filter, handle, of, requested, returned, results) }
}

/// # Safety
/// `bytes` must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetConvolutionForwardWorkspaceSize(
    handle: u64,
    x: u64,
    w: u64,
    convolution: u64,
    y: u64,
    algorithm: c_int,
    bytes: *mut usize,
) -> Status {
    let (of, call) = (
        [x, w, convolution, y],
        "cudnnGetConvolutionForwardWorkspaceSize",
    );
    // SAFETY: as the caller promises.
    unsafe { workspace_size(call, Pass::Forward, handle, of, algorithm, bytes) }
}

/// # Safety
/// `bytes` must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetConvolutionBackwardDataWorkspaceSize(
    handle: u64,
    w: u64,
    dy: u64,
    convolution: u64,
    dx: u64,
    algorithm: c_int,
    bytes: *mut usize,
) -> Status {
    let (of, call) = (
        [dx, w, convolution, dy],
        "cudnnGetConvolutionBackwardDataWorkspaceSize",
    );
    // SAFETY: as the caller promises.
    unsafe { workspace_size(call, Pass::Data, handle, of, algorithm, bytes) }
}

/// # Safety
/// `bytes` must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetConvolutionBackwardFilterWorkspaceSize(
    handle: u64,
    x: u64,
    dy: u64,
    convolution: u64,
    dw: u64,
    algorithm: c_int,
    bytes: *mut usize,
) -> Status {
    let (of, call) = (
        [x, dw, convolution, dy],
        "cudnnGetConvolutionBackwardFilterWorkspaceSize",
    );
    // SAFETY: as the caller promises.
    unsafe { workspace_size(call, Pass::Filter, handle, of, algorithm, bytes) }
}

/// # Safety
/// `alpha` and `beta` must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnConvolutionForward(
    handle: u64,
    alpha: *const f32,
    x_descriptor: u64,
    x: u64,
    w_descriptor: u64,
    w: u64,
    convolution: u64,
    algorithm: c_int,
    workspace: u64,
    workspace_bytes: usize,
    beta: *const f32,
    y_descriptor: u64,
    y: u64,
) -> Status {
    let call = Call {
        pass: Pass::Forward,
        handle,
        of: [x_descriptor, w_descriptor, convolution, y_descriptor],
        addresses: [x, w, y],
        algorithm,
        workspace: (workspace, workspace_bytes),
        factors: [alpha, beta],
    };
    // SAFETY: as the caller promises.
    unsafe { call.submit() }
}

/// # Safety
/// `alpha` and `beta` must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnConvolutionBackwardData(
    handle: u64,
    alpha: *const f32,
    w_descriptor: u64,
    w: u64,
    dy_descriptor: u64,
    dy: u64,
    convolution: u64,
    algorithm: c_int,
    workspace: u64,
    workspace_bytes: usize,
    beta: *const f32,
    dx_descriptor: u64,
    dx: u64,
) -> Status {
    let call = Call {
        pass: Pass::Data,
        handle,
        of: [dx_descriptor, w_descriptor, convolution, dy_descriptor],
        addresses: [dx, w, dy],
        algorithm,
        workspace: (workspace, workspace_bytes),
        factors: [alpha, beta],
    };
    // SAFETY: as the caller promises.
    unsafe { call.submit() }
}

/// # Safety
/// `alpha` and `beta` must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnConvolutionBackwardFilter(
    handle: u64,
    alpha: *const f32,
    x_descriptor: u64,
    x: u64,
    dy_descriptor: u64,
    dy: u64,
    convolution: u64,
    algorithm: c_int,
    workspace: u64,
    workspace_bytes: usize,
    beta: *const f32,
    dw_descriptor: u64,
    dw: u64,
) -> Status {
    let call = Call {
        pass: Pass::Filter,
        handle,
        of: [x_descriptor, dw_descriptor, convolution, dy_descriptor],
        addresses: [x, dw, dy],
        algorithm,
        workspace: (workspace, workspace_bytes),
        factors: [alpha, beta],
    };
    // SAFETY: as the caller promises.
    unsafe { call.submit() }
}
