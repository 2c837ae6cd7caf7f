//! The driver's interface, as a library that is loaded calls it.
//!
//! - [`status`]: the driver's error codes
//! - [`state`]: everything behind the handles, [`queue`]: work in streams and when it happens
//! - [`info`]: the device and contexts
//! - [`memory`]: allocations and copies
//! - [`modules`]: modules, functions and launches
//! - [`streams`]: streams and events, [`capture`]: what a stream records instead of doing, [`graphs`]: and its replay
//!
//! Work is done as late as its order allows: when the host waits for it, or when something that is done depends on it. So a
//! wait that is missing is seen: the host finds old data, or the device a range that nothing orders.
pub mod capture;
pub mod graphs;
pub mod info;
pub mod memory;
pub mod modules;
pub mod queue;
pub mod state;
pub mod status;
pub mod streams;

pub use state::{last_message, reset};
