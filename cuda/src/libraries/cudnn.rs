//! Convolutions and their gradients by cuDNN.

use super::{Places, WORKSPACE, version};
use crate::code::library::Which;
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys::{
    self, cudnnConvolutionBwdDataAlgo_t as InputAlgorithm,
    cudnnConvolutionBwdFilterAlgo_t as FilterAlgorithm,
    cudnnConvolutionFwdAlgo_t as OutputAlgorithm, cudnnConvolutionMode_t as Mode,
    cudnnDataType_t as DataType, cudnnDeterminism_t as Determinism, cudnnMathType_t as Math,
    cudnnStatus_t as Status, cudnnTensorFormat_t as Format,
};
use cudarc::driver::CudaStream;
use sslc_compiler::kernels::ir::{ConvShape, Element};
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::rc::Rc;

/// The major version whose interface is spoken.
const MAJOR: usize = 9;

/// The library, opened on the current context.
pub(crate) struct Handle {
    handle: sys::cudnnHandle_t,
}

impl Handle {
    /// `None` where it is not installed, of another major version, or does not start.
    pub(super) fn open() -> Option<Handle> {
        // SAFETY: it loads and unloads the library, whose initialisers ask nothing of the caller.
        if !unsafe { sys::is_culib_present() } || result::get_version() / 10_000 != MAJOR {
            return None;
        }
        let handle = result::create_handle().ok()?;
        Some(Handle { handle })
    }

    pub(super) fn name(&self) -> String {
        version("cuDNN", result::get_version())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once. An error changes nothing any more.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// Images NHWC.
struct Images(sys::cudnnTensorDescriptor_t);

impl Images {
    fn new(element: Element, [n, c, h, w]: [usize; 4]) -> Result<Images, CudnnError> {
        let images = Images(result::create_tensor_descriptor()?);
        let sizes = [int(n)?, int(c)?, int(h)?, int(w)?];
        let (format, data) = (Format::CUDNN_TENSOR_NHWC, data_type(element));
        // SAFETY: the descriptor is alive.
        unsafe { result::set_tensor4d_descriptor(images.0, format, data, sizes)? };
        Ok(images)
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once.
        let _ = unsafe { result::destroy_tensor_descriptor(self.0) };
    }
}

/// A filter [k, kh, kw, c].
struct Filter(sys::cudnnFilterDescriptor_t);

impl Filter {
    fn new(element: Element, s: &ConvShape) -> Result<Filter, CudnnError> {
        let filter = Filter(result::create_filter_descriptor()?);
        let sizes = [int(s.k)?, int(s.c)?, int(s.kernel)?, int(s.kernel)?];
        let (format, data) = (Format::CUDNN_TENSOR_NHWC, data_type(element));
        // SAFETY: the descriptor is alive.
        unsafe { result::set_filter4d_descriptor(filter.0, data, format, sizes)? };
        Ok(filter)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once.
        let _ = unsafe { result::destroy_filter_descriptor(self.0) };
    }
}

/// Padding, stride and arithmetic.
struct Windows(sys::cudnnConvolutionDescriptor_t);

impl Windows {
    fn new(s: &ConvShape, math: Math) -> Result<Windows, CudnnError> {
        let windows = Windows(result::create_convolution_descriptor()?);
        let (padding, stride) = (int(s.padding)?, int(s.stride)?);
        let (mode, compute) = (Mode::CUDNN_CROSS_CORRELATION, DataType::CUDNN_DATA_FLOAT);
        // SAFETY: the descriptor is alive.
        unsafe {
            result::set_convolution2d_descriptor(
                windows.0, padding, padding, stride, stride, 1, 1, mode, compute,
            )?;
            result::set_convolution_math_type(windows.0, math)?;
        }
        Ok(windows)
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        // SAFETY: it was created and is given back once.
        let _ = unsafe { result::destroy_convolution_descriptor(self.0) };
    }
}

/// How one of the products is computed.
#[derive(Clone, Copy)]
enum Algorithm {
    Output(OutputAlgorithm),
    InputGrad(InputAlgorithm),
    FilterGrad(FilterAlgorithm),
}

/// A convolution or one of its gradients, with the first algorithm of those that the library advises which gives the same bits on
/// every run and does with the workspace.
pub(crate) struct Convolution {
    library: Rc<Handle>,
    x: Images,
    y: Images,
    filter: Filter,
    windows: Windows,
    algorithm: Algorithm,
}

/// Algorithms that the library is asked for.
const ASKED: usize = 8;

impl Convolution {
    pub(super) fn new(
        library: &Rc<Handle>,
        which: Which,
        element: Element,
        shape: &ConvShape,
    ) -> Result<Convolution, String> {
        Convolution::advised(library, which, element, shape)
            .map_err(told)?
            .ok_or_else(|| {
                "cuDNN has no algorithm that gives the same bits on every run".to_owned()
            })
    }

    fn advised(
        library: &Rc<Handle>,
        which: Which,
        element: Element,
        s: &ConvShape,
    ) -> Result<Option<Convolution>, CudnnError> {
        let math = match element {
            Element::F32 => Math::CUDNN_FMA_MATH,
            Element::Bf16 => Math::CUDNN_TENSOR_OP_MATH,
        };
        let x = Images::new(element, [s.n, s.c, s.h, s.w])?;
        let y = Images::new(element, [s.n, s.k, s.oh, s.ow])?;
        let filter = Filter::new(element, s)?;
        let windows = Windows::new(s, math)?;
        let handle = library.handle;
        let mut count: c_int = 0;
        let asked = int(ASKED)?;
        // Each of the library's three functions has a type of its own for what it advises, with the same fields.
        macro_rules! first {
            ($get:ident($a:expr, $b:expr, $c:expr), $advice:ty, $form:path) => {{
                let mut advice = [MaybeUninit::<$advice>::uninit(); ASKED];
                let first = advice.as_mut_ptr().cast();
                // SAFETY: the descriptors are alive, and there is room for as many as are asked for.
                let advice = unsafe {
                    result::$get(handle, $a, $b, windows.0, $c, asked, &raw mut count, first)?;
                    let len = usize::try_from(count).unwrap_or(0).min(ASKED);
                    advice[..len].iter().map(|a| a.assume_init())
                };
                advice
                    .filter(|a| {
                        a.status == Status::CUDNN_STATUS_SUCCESS
                            && a.determinism == Determinism::CUDNN_DETERMINISTIC
                            && a.memory <= WORKSPACE
                            && (element == Element::Bf16 || !on_tensor_cores(a.mathType))
                    })
                    .map(|a| $form(a.algo))
                    .next()
            }};
        }
        let algorithm = match which {
            Which::Forward => first!(
                get_convolution_forward_algorithm(x.0, filter.0, y.0),
                sys::cudnnConvolutionFwdAlgoPerf_t,
                Algorithm::Output
            ),
            Which::InputGrad => first!(
                get_convolution_backward_data_algorithm(filter.0, y.0, x.0),
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                Algorithm::InputGrad
            ),
            Which::FilterGrad => first!(
                get_convolution_backward_filter_algorithm(x.0, y.0, filter.0),
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                Algorithm::FilterGrad
            ),
        };
        Ok(algorithm.map(|algorithm| Convolution {
            library: library.clone(),
            x,
            y,
            filter,
            windows,
            algorithm,
        }))
    }

    /// # Safety
    /// As [`super::Ready::run`].
    pub(super) unsafe fn run(&self, places: Places, stream: &CudaStream) -> Result<(), String> {
        let handle = self.library.handle;
        let (one, zero) = (1f32, 0f32);
        let [one, zero] = [(&raw const one).cast(), (&raw const zero).cast()];
        let [a, b] = places.operands.map(|p| p as *const _);
        let (out, workspace) = (places.result as *mut _, places.workspace as *mut _);
        let (x, y, w, c) = (self.x.0, self.y.0, self.filter.0, self.windows.0);
        // SAFETY: as the caller promises; numbers are read before the call returns.
        let done = unsafe {
            result::set_stream(handle, stream.cu_stream().cast()).and_then(|()| {
                match self.algorithm {
                    Algorithm::Output(how) => result::convolution_forward(
                        handle, one, x, a, w, b, c, how, workspace, WORKSPACE, zero, y, out,
                    ),
                    Algorithm::InputGrad(how) => result::convolution_backward_data(
                        handle, one, w, b, y, a, c, how, workspace, WORKSPACE, zero, x, out,
                    ),
                    Algorithm::FilterGrad(how) => result::convolution_backward_filter(
                        handle, one, x, a, y, b, c, how, workspace, WORKSPACE, zero, w, out,
                    ),
                }
            })
        };
        done.map_err(told)
    }
}

/// Whether products of f32 may lose digits.
fn on_tensor_cores(math: Math) -> bool {
    matches!(
        math,
        Math::CUDNN_TENSOR_OP_MATH | Math::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION
    )
}

fn data_type(element: Element) -> DataType {
    match element {
        Element::F32 => DataType::CUDNN_DATA_FLOAT,
        Element::Bf16 => DataType::CUDNN_DATA_BFLOAT16,
    }
}

fn int(size: usize) -> Result<c_int, CudnnError> {
    c_int::try_from(size).map_err(|_| CudnnError(Status::CUDNN_STATUS_BAD_PARAM))
}

fn told(CudnnError(status): CudnnError) -> String {
    format!("cuDNN says {status:?}")
}
