//! What tests of devices share.
//!
//! - [`draw`]: a small generator of test data.
//! - [`building`]: a kernel program under construction, with the contents of its buffers.
//! - [`random`]: random loop kernels.
mod building;
mod draw;
pub mod random;

pub use building::{Building, access};
pub use draw::Draw;
