//! cuBLASLt's interface. Its handles are numbers here, which the caller is not to look behind.
use super::arrays::{Shape, Type};
use super::handles::{Checked, Library};
use super::matmul::{Algorithm, Matmul, Problem};
use super::{Product, handles::Refusal};
use crate::driver::state::Driver;
use crate::driver::status::Status;
use std::ffi::{c_int, c_void};

/// The statuses of cuBLASLt.
pub const LIBRARY: Library = Library {
    not_initialized: 1,
    invalid: 7,
    not_supported: 15,
    failed: 13,
};
/// The version of the library: 12.9.
const VERSION: usize = 120_900;
/// `CUBLAS_COMPUTE_32F`.
const COMPUTE_F32: c_int = 68;
/// `CUDA_R_32F` and `CUDA_R_16BF`.
const F32: c_int = 0;
const BF16: c_int = 14;
/// What pointers are taken to be aligned to where a preference says nothing, and what a workspace must be.
const ALIGNMENT: u32 = 256;
const LEAST_ALIGNMENT: u64 = 16;

/// A handle has nothing of its own.
pub struct LtHandle;

#[derive(Clone, Default)]
pub struct MatmulDescriptor {
    transposed: [bool; 2],
}

#[derive(Clone)]
pub struct Layout(Shape);

#[derive(Clone)]
pub struct Preference {
    most_workspace: u64,
    alignment: [u32; 4],
}

/// An algorithm as the library offers it.
#[repr(C)]
pub struct HeuristicResult {
    pub algorithm: [u64; 8],
    pub workspace: usize,
    pub state: Status,
    pub waves: f32,
    pub reserved: [c_int; 4],
}

/// The value of an attribute, which must have the size of its type.
///
/// # Safety
/// `from` must be null or good for `bytes` bytes.
unsafe fn attribute<T: Copy>(from: *const c_void, bytes: usize) -> Checked<T> {
    let size = size_of::<T>();
    if bytes != size {
        let message = format!("an attribute of {bytes} bytes, which has {size}");
        return Err(LIBRARY.invalid(message));
    }
    // SAFETY: as the caller promises.
    unsafe { LIBRARY.take(from.cast::<T>(), "the value of an attribute") }
}

fn unknown(attribute: c_int) -> Refusal {
    LIBRARY.not_supported(format!("attribute {attribute} is not simulated"))
}

/// An attribute of which one value is simulated.
///
/// # Safety
/// `from` must be null or good for `bytes` bytes.
unsafe fn only(which: c_int, value: c_int, from: *const c_void, bytes: usize) -> Checked {
    // SAFETY: as the caller promises.
    let found: c_int = unsafe { attribute(from, bytes) }?;
    if found != value {
        return Err(LIBRARY.not_supported(format!(
            "attribute {which} as {found} is not simulated, only as {value}"
        )));
    }
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtGetVersion() -> usize {
    VERSION
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtCreate(handle: *mut u64) -> Status {
    LIBRARY.on_device("cublasLtCreate", |driver| {
        LIBRARY.refuse_while_capturing(driver)?;
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, handle, LtHandle) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtDestroy(handle: u64) -> Status {
    LIBRARY.on_host("cublasLtDestroy", |driver| {
        LIBRARY.destroy::<LtHandle>(driver, handle)
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulDescCreate(
    descriptor: *mut u64,
    compute: c_int,
    scale: c_int,
) -> Status {
    LIBRARY.on_host("cublasLtMatmulDescCreate", |driver| {
        if (compute, scale) != (COMPUTE_F32, F32) {
            return Err(LIBRARY.not_supported(format!(
                "computing as {compute} with factors of type {scale} is not simulated"
            )));
        }
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, descriptor, MatmulDescriptor::default()) }
    })
}

/// # Safety
/// `value` must be good for `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulDescSetAttribute(
    descriptor: u64,
    which: c_int,
    value: *const c_void,
    bytes: usize,
) -> Status {
    LIBRARY.on_host("cublasLtMatmulDescSetAttribute", |driver| {
        let of = LIBRARY.find_mut::<MatmulDescriptor>(driver, descriptor)?;
        // SAFETY: as the caller promises.
        unsafe {
            match which {
                // The pointer mode of the host, and no epilogue.
                2 => only(which, 0, value, bytes),
                7 => only(which, 1, value, bytes),
                3 | 4 => match attribute::<c_int>(value, bytes)? {
                    // Real numbers are their own conjugates.
                    operation @ 0..=2 => {
                        of.transposed[which as usize - 3] = operation != 0;
                        Ok(())
                    }
                    other => Err(LIBRARY.invalid(format!("{other} is no way to transpose"))),
                },
                _ => Err(unknown(which)),
            }
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulDescDestroy(descriptor: u64) -> Status {
    LIBRARY.on_host("cublasLtMatmulDescDestroy", |driver| {
        LIBRARY.destroy::<MatmulDescriptor>(driver, descriptor)
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatrixLayoutCreate(
    layout: *mut u64,
    kind: c_int,
    rows: u64,
    columns: u64,
    leading: i64,
) -> Status {
    LIBRARY.on_host("cublasLtMatrixLayoutCreate", |driver| {
        let kind = match kind {
            F32 => Type::F32,
            BF16 => Type::Bf16,
            _ => {
                return Err(LIBRARY.not_supported(format!("the type {kind} is not simulated")));
            }
        };
        let pitch = u64::try_from(leading)
            .map_err(|_| LIBRARY.invalid(format!("a leading dimension of {leading}")))?;
        let shape = Shape {
            kind,
            length: rows,
            columns,
            pitch,
            batch: 1,
            stride: 0,
        };
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, layout, Layout(shape)) }
    })
}

/// # Safety
/// `value` must be good for `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatrixLayoutSetAttribute(
    layout: u64,
    which: c_int,
    value: *const c_void,
    bytes: usize,
) -> Status {
    LIBRARY.on_host("cublasLtMatrixLayoutSetAttribute", |driver| {
        let of = LIBRARY.find_mut::<Layout>(driver, layout)?;
        // SAFETY: as the caller promises.
        unsafe {
            match which {
                // Columns one after the other.
                1 => only(which, 0, value, bytes),
                5 => {
                    let batch: i32 = attribute(value, bytes)?;
                    of.0.batch = u64::try_from(batch)
                        .ok()
                        .filter(|&b| b > 0)
                        .ok_or_else(|| LIBRARY.invalid(format!("a batch of {batch}")))?;
                    Ok(())
                }
                6 => {
                    let stride: i64 = attribute(value, bytes)?;
                    of.0.stride = u64::try_from(stride).map_err(|_| {
                        LIBRARY.not_supported(format!("a stride of {stride} is not simulated"))
                    })?;
                    Ok(())
                }
                _ => Err(unknown(which)),
            }
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatrixLayoutDestroy(layout: u64) -> Status {
    LIBRARY.on_host("cublasLtMatrixLayoutDestroy", |driver| {
        LIBRARY.destroy::<Layout>(driver, layout)
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulPreferenceCreate(preference: *mut u64) -> Status {
    LIBRARY.on_host("cublasLtMatmulPreferenceCreate", |driver| {
        let none = Preference {
            most_workspace: 0,
            alignment: [ALIGNMENT; 4],
        };
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, preference, none) }
    })
}

/// # Safety
/// `value` must be good for `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulPreferenceSetAttribute(
    preference: u64,
    which: c_int,
    value: *const c_void,
    bytes: usize,
) -> Status {
    LIBRARY.on_host("cublasLtMatmulPreferenceSetAttribute", |driver| {
        let of = LIBRARY.find_mut::<Preference>(driver, preference)?;
        // SAFETY: as the caller promises.
        unsafe {
            match which {
                1 => of.most_workspace = attribute(value, bytes)?,
                5..=8 => {
                    let alignment: u32 = attribute(value, bytes)?;
                    if !alignment.is_power_of_two() {
                        return Err(LIBRARY.invalid(format!("an alignment to {alignment} bytes")));
                    }
                    of.alignment[which as usize - 5] = alignment;
                }
                _ => return Err(unknown(which)),
            }
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulPreferenceDestroy(preference: u64) -> Status {
    LIBRARY.on_host("cublasLtMatmulPreferenceDestroy", |driver| {
        LIBRARY.destroy::<Preference>(driver, preference)
    })
}

/// The product that a descriptor and four layouts describe.
fn problem(driver: &Driver, handle: u64, descriptor: u64, layouts: [u64; 4]) -> Checked<Problem> {
    LIBRARY.find::<LtHandle>(driver, handle)?;
    let of = LIBRARY.find::<MatmulDescriptor>(driver, descriptor)?;
    let [a, b, c, d] = layouts.map(|layout| LIBRARY.find::<Layout>(driver, layout));
    Problem::new(&LIBRARY, [a?.0, b?.0, c?.0, d?.0], of.transposed)
}

/// # Safety
/// `results` must be good for `requested` results, `returned` for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    handle: u64,
    descriptor: u64,
    a_layout: u64,
    b_layout: u64,
    c_layout: u64,
    d_layout: u64,
    preference: u64,
    requested: c_int,
    results: *mut HeuristicResult,
    returned: *mut c_int,
) -> Status {
    LIBRARY.on_device("cublasLtMatmulAlgoGetHeuristic", |driver| {
        let layouts = [a_layout, b_layout, c_layout, d_layout];
        let problem = problem(driver, handle, descriptor, layouts)?;
        let of = LIBRARY.find::<Preference>(driver, preference)?;
        if requested < 1 {
            return Err(LIBRARY.invalid(format!("{requested} algorithms are asked for")));
        }
        let found = problem.algorithms(of.most_workspace, of.alignment);
        let count = found.len().min(requested as usize);
        for (index, algorithm) in found.iter().take(count).enumerate() {
            let result = HeuristicResult {
                algorithm: algorithm.pack(),
                workspace: algorithm.workspace as usize,
                state: 0,
                waves: 1.0,
                reserved: [0; 4],
            };
            // SAFETY: as the caller promises.
            unsafe {
                let to = match results.is_null() {
                    true => results,
                    false => results.add(index),
                };
                LIBRARY.give(to, result)?;
            }
        }
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.give(returned, count as c_int) }
    })
}

/// # Safety
/// `alpha` and `beta` must be good for a number, `algorithm` for one that was offered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmul(
    handle: u64,
    descriptor: u64,
    alpha: *const f32,
    a: u64,
    a_layout: u64,
    b: u64,
    b_layout: u64,
    beta: *const f32,
    c: u64,
    c_layout: u64,
    d: u64,
    d_layout: u64,
    algorithm: *const [u64; 8],
    workspace: u64,
    workspace_bytes: usize,
    stream: u64,
) -> Status {
    LIBRARY.on_device("cublasLtMatmul", |driver| {
        let problem = problem(
            driver,
            handle,
            descriptor,
            [a_layout, b_layout, c_layout, d_layout],
        )?;
        // SAFETY: as the caller promises.
        let (alpha, algorithm) = unsafe {
            let algorithm = LIBRARY.take(algorithm, "the algorithm")?;
            (LIBRARY.factors(alpha, beta)?, Algorithm::unpack(algorithm))
        };
        let algorithm = algorithm
            .filter(|algorithm| algorithm.is_for(&problem))
            .ok_or_else(|| LIBRARY.invalid("the algorithm was not offered for this product"))?;
        for ((what, address), alignment) in [("A", a), ("B", b), ("C", c), ("D", d)]
            .into_iter()
            .zip(algorithm.alignment)
        {
            LIBRARY.aligned(what, address, LEAST_ALIGNMENT.max(alignment.into()))?;
        }
        let [of_c, of_d] = [c_layout, d_layout].map(|l| LIBRARY.find::<Layout>(driver, l));
        if c == d && of_c?.0 != of_d?.0 {
            return Err(LIBRARY.invalid("C is D, but their layouts differ"));
        }
        let workspace = LIBRARY.workspace(
            driver,
            workspace,
            workspace_bytes,
            algorithm.workspace,
            ALIGNMENT.into(),
        )?;
        let product = Matmul {
            problem,
            addresses: [a, b, d],
            alpha,
            workspace,
        };
        product.check_overlaps(&LIBRARY)?;
        LIBRARY.submit(driver, stream, Product::Matmul(product))
    })
}
