//! What goes to the GPU before a step and comes back after it.
//!
//! - [`Arrival`]: an input. It is written into page-locked memory and copied beside the arena by a stream of its own while the
//!   step before still runs; the next step begins by moving it to its place.
//! - [`Mirror`]: small outputs, such as the loss. Each step ends by copying them to the host, and who reads one waits for the
//!   step alone.

use crate::pinned::Pinned;
use cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DevicePtr, DriverError, result,
};
use half::bf16;
use sslc_compiler::kernels::ir::{Buffer, BufferId, BufferKind, Element};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest output that a mirror holds, in bytes.
const SMALL: usize = 1024;

/// An input on its way to the arena.
#[derive(Debug)]
pub(crate) struct Arrival {
    host: Pinned,
    /// The place beside the arena.
    beside: CudaSlice<u8>,
    element: Element,
    bytes: usize,
    /// The copy to the place beside the arena is done.
    arrived: CudaEvent,
    /// The place beside the arena may be written again.
    moved: CudaEvent,
    /// Something has arrived that is not in the arena yet.
    pending: bool,
}

impl Arrival {
    pub(crate) fn new(
        buffer: &Buffer,
        context: &Arc<CudaContext>,
        stream: &Arc<CudaStream>,
    ) -> Result<Arrival, DriverError> {
        let bytes = buffer.bytes();
        Ok(Arrival {
            host: Pinned::zeroed(context, bytes)?,
            beside: stream.alloc_zeros(bytes.max(1))?,
            element: buffer.element,
            bytes,
            arrived: context.new_event(None)?,
            moved: context.new_event(None)?,
            pending: false,
        })
    }

    /// Sends values on their way; what was sent before and not moved is replaced.
    pub(crate) fn send(&mut self, data: &[f32], copies: &CudaStream) -> Result<(), DriverError> {
        self.arrived.synchronize()?;
        // SAFETY: the copy that reads the host's memory is done.
        let host = &mut unsafe { self.host.bytes_mut() }[..self.bytes];
        encode(self.element, data, host);
        copies.wait(&self.moved)?;
        // SAFETY: both have these bytes, and live until the streams have been waited for.
        unsafe {
            let beside = self.beside.device_ptr(self.beside.stream()).0;
            result::memcpy_htod_async(beside, host, copies.cu_stream())?;
        }
        self.arrived.record(copies)?;
        self.pending = true;
        Ok(())
    }

    /// Moves what has arrived into the arena, at `place`, before whatever `stream` does next.
    pub(crate) fn move_in(&mut self, place: u64, stream: &CudaStream) -> Result<(), DriverError> {
        if !std::mem::take(&mut self.pending) {
            return Ok(());
        }
        stream.wait(&self.arrived)?;
        // SAFETY: both have these bytes, and the arena is `stream`'s.
        unsafe {
            let beside = self.beside.device_ptr(self.beside.stream()).0;
            result::memcpy_dtod_async(place, beside, self.bytes, stream.cu_stream())?;
        }
        self.moved.record(stream)
    }
}

/// The small outputs of the last step, on the host.
#[derive(Debug)]
pub(crate) struct Mirror {
    host: Pinned,
    /// Where each output stands: its first byte and its number of bytes.
    places: BTreeMap<BufferId, (usize, usize)>,
    done: CudaEvent,
    /// Whether the last step ended by copying.
    current: Cell<bool>,
}

impl Mirror {
    pub(crate) fn new(
        buffers: &[Buffer],
        context: &Arc<CudaContext>,
    ) -> Result<Mirror, DriverError> {
        let mut places = BTreeMap::new();
        let mut len = 0;
        for (buffer, i) in buffers.iter().zip(0..) {
            let bytes = buffer.bytes();
            if buffer.kind == BufferKind::Output && (1..=SMALL).contains(&bytes) {
                places.insert(BufferId(i), (len, bytes));
                len += bytes.next_multiple_of(16);
            }
        }
        Ok(Mirror {
            host: Pinned::zeroed(context, len)?,
            places,
            done: context.new_event(None)?,
            current: Cell::new(false),
        })
    }

    /// Copies all of them behind what `stream` does; `place` tells where a buffer is.
    pub(crate) fn copy(
        &mut self,
        place: impl Fn(BufferId) -> u64,
        stream: &CudaStream,
    ) -> Result<(), DriverError> {
        for (buffer, (first, bytes)) in &self.places {
            // SAFETY: nothing reads the host's memory before `done`; it lives until the stream has been waited for.
            unsafe {
                let host = &mut self.host.bytes_mut()[*first..][..*bytes];
                result::memcpy_dtoh_async(host, place(*buffer), stream.cu_stream())?;
            }
        }
        Ok(())
    }

    /// Says that what the host has is no longer that of the last step.
    pub(crate) fn outdate(&self) {
        self.current.set(false);
    }

    /// Says that a step with its copies has been handed to `stream`.
    pub(crate) fn hand_over(&self, stream: &CudaStream) -> Result<(), DriverError> {
        self.done.record(stream)?;
        self.current.set(true);
        Ok(())
    }

    /// Reads an output once the step is done; false where it is not here.
    pub(crate) fn read(
        &self,
        buffer: BufferId,
        element: Element,
        data: &mut [f32],
    ) -> Result<bool, DriverError> {
        let Some((first, bytes)) = self.places.get(&buffer).filter(|_| self.current.get()) else {
            return Ok(false);
        };
        self.done.synchronize()?;
        // SAFETY: the copies are done.
        decode(
            element,
            &unsafe { self.host.bytes() }[*first..][..*bytes],
            data,
        );
        Ok(true)
    }
}

/// Values as bytes of an element type.
pub(crate) fn encode(element: Element, data: &[f32], out: &mut [u8]) {
    match element {
        Element::F32 => {
            for (bytes, v) in out.as_chunks_mut().0.iter_mut().zip(data) {
                *bytes = v.to_le_bytes();
            }
        }
        Element::Bf16 => {
            for (bytes, v) in out.as_chunks_mut().0.iter_mut().zip(data) {
                *bytes = bf16::from_f32(*v).to_le_bytes();
            }
        }
    }
}

/// The reverse of [`encode`].
pub(crate) fn decode(element: Element, bytes: &[u8], data: &mut [f32]) {
    match element {
        Element::F32 => {
            for (v, bytes) in data.iter_mut().zip(bytes.as_chunks().0) {
                *v = f32::from_le_bytes(*bytes);
            }
        }
        Element::Bf16 => {
            for (v, bytes) in data.iter_mut().zip(bytes.as_chunks().0) {
                *v = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_their_element_type_has_them() {
        let values = [1.5, -0.0, 1.0 + 2f32.powi(-9), f32::INFINITY];
        for (element, third) in [(Element::F32, values[2]), (Element::Bf16, 1.0)] {
            let mut bytes = vec![0; element.bytes() * values.len()];
            encode(element, &values, &mut bytes);
            let mut back = [0.0; 4];
            decode(element, &bytes, &mut back);
            assert_eq!(back, [1.5, -0.0, third, f32::INFINITY]);
        }
    }
}
