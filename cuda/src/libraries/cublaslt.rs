//! Products of matrices by cuBLASLt.
//!
//! The library's matrices are column-major, so it is asked for `outᵀ = Bᵀ Aᵀ`: a row-major matrix is its own transpose there.

use super::{Places, WORKSPACE, version};
use crate::code::library::Product;
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as Compute, cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cudaDataType as DataType,
};
use cudarc::driver::CudaStream;
use sslc_compiler::kernels::ir::Element;
use std::rc::Rc;

/// The library, opened on the current context.
pub(crate) struct Handle {
    handle: sys::cublasLtHandle_t,
}

impl Handle {
    /// `None` where it is not installed or does not start.
    pub(super) fn open() -> Option<Handle> {
        // SAFETY: it loads and unloads the library, whose initialisers ask nothing of the caller.
        if !unsafe { sys::is_culib_present() } {
            return None;
        }
        let handle = result::create_handle().ok()?;
        Some(Handle { handle })
    }

    pub(super) fn name(&self) -> String {
        // SAFETY: it takes nothing.
        version("cuBLASLt", unsafe { sys::cublasLtGetVersion() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once. An error changes nothing any more.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// A matrix as the library sees it.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    /// Of a batch of row-major matrices, dense and one after the other.
    fn new(element: Element, [rows, columns]: [usize; 2], batch: usize) -> Result<Layout, Error> {
        let (across, along) = (rows as u64, columns as u64);
        let leading = i64::try_from(columns).map_err(|_| Error::TooLarge)?;
        let layout = result::create_matrix_layout(data_type(element), along, across, leading)?;
        let layout = Layout(layout);
        if batch > 1 {
            let count = i32::try_from(batch).map_err(|_| Error::TooLarge)?;
            let stride = i64::try_from(rows * columns).map_err(|_| Error::TooLarge)?;
            layout.set(LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count)?;
            layout.set(
                LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                &stride,
            )?;
        }
        Ok(layout)
    }

    fn set<T>(&self, attribute: LayoutAttribute, value: &T) -> Result<(), CublasError> {
        let value: *const T = value;
        // SAFETY: the attribute is of this type, and the library copies it.
        unsafe {
            result::set_matrix_layout_attribute(self.0, attribute, value.cast(), size_of::<T>())
        }
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// The kind of product: types and transposes.
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(transposed: [bool; 2]) -> Result<Description, CublasError> {
        let compute = Compute::CUBLAS_COMPUTE_32F;
        let description = Description(result::create_matmul_desc(compute, DataType::CUDA_R_32F)?);
        let attributes = [
            DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA,
            DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB,
        ];
        for (attribute, transposed) in attributes.into_iter().zip(transposed) {
            // `cublasOperation_t`: CUBLAS_OP_N or CUBLAS_OP_T.
            let operation = u32::from(transposed);
            let value: *const u32 = &raw const operation;
            // SAFETY: the attribute is of this type, and the library copies it.
            unsafe {
                let bytes = size_of::<u32>();
                result::set_matmul_desc_attribute(description.0, attribute, value.cast(), bytes)?;
            }
        }
        Ok(description)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// Bytes that the places of buffers in an arena are multiples of.
const ALIGNMENT: u32 = 64;

/// What an algorithm may use, and what it may count on.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new() -> Result<Preference, CublasError> {
        let preference = Preference(result::create_matmul_pref()?);
        preference.set(
            PreferenceAttribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            &WORKSPACE,
        )?;
        for attribute in [
            PreferenceAttribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            PreferenceAttribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            PreferenceAttribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            PreferenceAttribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            preference.set(attribute, &ALIGNMENT)?;
        }
        Ok(preference)
    }

    fn set<T>(&self, attribute: PreferenceAttribute, value: &T) -> Result<(), CublasError> {
        let value: *const T = value;
        // SAFETY: the attribute is of this type, and the library copies it.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, value.cast(), size_of::<T>())
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// A product, with the algorithm that the library advises for it.
pub(crate) struct MatMul {
    library: Rc<Handle>,
    description: Description,
    /// Of B, A and the result.
    layouts: [Layout; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl MatMul {
    pub(super) fn new(library: &Rc<Handle>, product: &Product) -> Result<MatMul, String> {
        MatMul::advised(library, product).map_err(|e| e.to_string())
    }

    fn advised(library: &Rc<Handle>, product: &Product) -> Result<MatMul, Error> {
        let &Product::MatMul {
            operands,
            result,
            batch,
            m,
            n,
            k,
            ta,
            tb,
        } = product
        else {
            return Err(Error::TooLarge);
        };
        let turned = |[r, c]: [usize; 2], turned: bool| if turned { [c, r] } else { [r, c] };
        let layouts = [
            Layout::new(operands, turned([k, n], tb), batch)?,
            Layout::new(operands, turned([m, k], ta), batch)?,
            Layout::new(result, [m, n], batch)?,
        ];
        let description = Description::new([tb, ta])?;
        let preference = Preference::new()?;
        let [b, a, out] = layouts.each_ref().map(|l| l.0);
        // SAFETY: all of them are alive.
        let advised = unsafe {
            let (handle, kind) = (library.handle, description.0);
            result::get_matmul_algo_heuristic(handle, kind, b, a, out, out, preference.0)?
        };
        Ok(MatMul {
            library: library.clone(),
            description,
            layouts,
            algorithm: advised.algo,
        })
    }

    /// # Safety
    /// As [`super::Ready::run`].
    pub(super) unsafe fn run(&self, places: Places, stream: &CudaStream) -> Result<(), String> {
        let [a, b] = places.operands.map(|p| p as *const _);
        let [b_layout, a_layout, out_layout] = self.layouts.each_ref().map(|l| l.0);
        let (one, zero) = (1f32, 0f32);
        let out = places.result as *mut _;
        // SAFETY: as the caller promises; numbers are read before the call returns.
        unsafe {
            result::matmul(
                self.library.handle,
                self.description.0,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                b,
                b_layout,
                a,
                a_layout,
                out,
                out_layout,
                out,
                out_layout,
                &raw const self.algorithm,
                places.workspace as *mut _,
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        }
        .map_err(|e| Error::from(e).to_string())
    }
}

fn data_type(element: Element) -> DataType {
    match element {
        Element::F32 => DataType::CUDA_R_32F,
        Element::Bf16 => DataType::CUDA_R_16BF,
    }
}

#[derive(Debug)]
enum Error {
    Status(CublasError),
    TooLarge,
}

impl From<CublasError> for Error {
    fn from(error: CublasError) -> Error {
        Error::Status(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Status(CublasError(status)) => write!(f, "cuBLASLt says {status:?}"),
            Error::TooLarge => f.write_str("cuBLASLt takes no matrix of this size"),
        }
    }
}
