//! NVIDIA's libraries on the simulated device: the calls that programs here make of cuBLASLt and cuDNN, computed by the host.
//!
//! - [`handles`]: what is behind the libraries' handles, and how a call is refused
//! - [`arrays`]: operands in the device's memory
//! - [`cublaslt`]: cuBLASLt's interface, [`matmul`]: its product
//! - [`cudnn`]: cuDNN's interface, [`convolution`]: its products
//!
//! A call checks what it is given and becomes work of a stream, as a launch does; its accesses to memory are then checked as
//! those of copies are, and what it reads must have been written.
pub mod arrays;
pub mod convolution;
pub mod cublaslt;
pub mod cudnn;
pub mod handles;
pub mod matmul;

use crate::exec::Fault;
use crate::memory::Memory;

/// A product that a library was asked for, as work of a stream.
#[derive(Clone, Debug)]
pub enum Product {
    Matmul(matmul::Matmul),
    Convolution(convolution::Convolution),
}

impl Product {
    /// How messages call it.
    pub fn name(&self) -> String {
        match self {
            Product::Matmul(_) => "cublasLtMatmul".into(),
            Product::Convolution(product) => product.pass.call().into(),
        }
    }

    /// Computes it. `turn` differs from one product to the next.
    pub fn run(&self, memory: &mut Memory, turn: u64) -> Result<(), Fault> {
        match self {
            Product::Matmul(product) => product.run(memory),
            Product::Convolution(product) => product.run(memory, turn),
        }
    }
}
