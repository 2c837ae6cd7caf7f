//! NVIDIA's libraries, where they are installed: opened, and calls of them made ready.
//!
//! - [`cublaslt`]: products of matrices. [`cudnn`]: convolutions and their gradients.
//!
//! Both compute f32 in f32, and take no algorithm that gives other bits on another run.
mod cublaslt;
mod cudnn;

use crate::code::library::{Library, Product, WORKSPACE_WORDS};
use cudarc::driver::{CudaContext, CudaStream};
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a call's workspace.
const WORKSPACE: usize = 4 * WORKSPACE_WORDS;

/// The libraries that are installed and start.
#[derive(Default)]
pub(crate) struct Libraries {
    cublaslt: Option<Rc<cublaslt::Handle>>,
    cudnn: Option<Rc<cudnn::Handle>>,
}

impl Libraries {
    /// Opens what there is.
    pub(crate) fn open(context: &Arc<CudaContext>) -> Libraries {
        if context.bind_to_thread().is_err() {
            return Libraries::default();
        }
        Libraries {
            cublaslt: cublaslt::Handle::open().map(Rc::new),
            cudnn: cudnn::Handle::open().map(Rc::new),
        }
    }

    /// Whether a library is there.
    pub(crate) fn has(&self, library: Library) -> bool {
        match library {
            Library::CublasLt => self.cublaslt.is_some(),
            Library::Cudnn => self.cudnn.is_some(),
        }
    }

    /// Those that are there, with their versions: `cuBLASLt 12.9.0`.
    pub(crate) fn names(&self) -> Vec<String> {
        let cublaslt = self.cublaslt.iter().map(|h| h.name());
        let cudnn = self.cudnn.iter().map(|h| h.name());
        cublaslt.chain(cudnn).collect()
    }

    /// Makes a call ready.
    ///
    /// # Errors
    /// The library's reason not to take it.
    pub(crate) fn prepare(&self, product: &Product) -> Result<Ready, String> {
        let missing = || "it is not installed".to_owned();
        match *product {
            Product::MatMul { .. } => {
                let handle = self.cublaslt.as_ref().ok_or_else(missing)?;
                cublaslt::MatMul::new(handle, product).map(|m| Ready::MatMul(Box::new(m)))
            }
            Product::Conv {
                which,
                element,
                shape,
            } => {
                let handle = self.cudnn.as_ref().ok_or_else(missing)?;
                cudnn::Convolution::new(handle, which, element, &shape).map(Ready::Convolution)
            }
        }
    }
}

/// A call with all that the library wants to know before.
pub(crate) enum Ready {
    MatMul(Box<cublaslt::MatMul>),
    Convolution(cudnn::Convolution),
}

/// Addresses on the GPU.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) operands: [u64; 2],
    pub(crate) result: u64,
    /// Of [`WORKSPACE`] bytes.
    pub(crate) workspace: u64,
}

impl Ready {
    /// Hands the call to a stream.
    ///
    /// # Errors
    /// What the library says.
    ///
    /// # Safety
    /// The places have what the product wants, and live until the stream is done.
    pub(crate) unsafe fn run(&self, places: Places, stream: &CudaStream) -> Result<(), String> {
        // SAFETY: as the caller promises.
        unsafe {
            match self {
                Ready::MatMul(call) => call.run(places, stream),
                Ready::Convolution(call) => call.run(places, stream),
            }
        }
    }
}

/// A version that is written as one number.
fn version(name: &str, number: usize) -> String {
    let (major, rest) = (number / 10_000, number % 10_000);
    format!("{name} {major}.{}.{}", rest / 100, rest % 100)
}
