//! Streams and events.
use super::queue::{Stream, Work};
use super::state::{Driver, Event, give, with_context};
use super::status::{self, Outcome, Status};
use std::ffi::{c_int, c_uint, c_void};
use std::time::Instant;

/// Flags of a stream that the legacy default stream does not wait for.
const NON_BLOCKING: c_uint = 1;
/// Flags of an event that takes no time.
const DISABLE_TIMING: c_uint = 2;

impl Driver {
    fn event(&mut self, handle: u64) -> Result<&mut Event, Status> {
        self.events.get_mut(&handle).ok_or(status::INVALID_HANDLE)
    }

    /// A stream that the host asks about or waits for, which it may not while it captures.
    fn idle(&mut self, handle: u64) -> Result<usize, Status> {
        let stream = self.stream(handle)?;
        if self.streams[stream].capture.is_some() {
            self.spoil(stream);
            return Err(status::STREAM_CAPTURE_UNSUPPORTED);
        }
        self.refuse_implicit(stream)?;
        Ok(stream)
    }

    /// Waits for a stream in another, by an event.
    fn wait_event(&mut self, stream: usize, event: u64) -> Outcome {
        let (captured, point) = {
            let event = self.event(event)?;
            (event.captured.clone(), event.point.clone())
        };
        if captured.is_some() || self.streams[stream].capture.is_some() {
            return self.capture_wait(stream, captured);
        }
        self.refuse_implicit(stream)?;
        if let Some(point) = point {
            self.enqueue(stream, Work::Nothing, &[point]);
        }
        Ok(())
    }
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut u64, flags: c_uint) -> Status {
    with_context(|driver| {
        driver.streams.push(Stream::new(flags & NON_BLOCKING == 0));
        let handle = (driver.streams.len() as u64 - 1) * 16;
        // SAFETY: as the caller promises.
        unsafe { give(stream, handle) }
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: *mut u64,
    flags: c_uint,
    _priority: c_int,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuStreamCreate(stream, flags) }
}

/// Work that is still in the stream will be done.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: u64) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        if stream < 2 {
            return Err(status::INVALID_HANDLE);
        }
        driver.streams[stream].alive = false;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: u64) -> Status {
    with_context(|driver| {
        let stream = driver.idle(stream)?;
        let tail = driver.tail(stream);
        driver.wait_for(&tail)
    })
}

/// Says once that work is not done, so that a caller that does not wait is seen, and does it when asked again.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamQuery(stream: u64) -> Status {
    with_context(|driver| {
        let stream = driver.idle(stream)?;
        let tail = driver.tail(stream);
        let of = &mut driver.streams[stream];
        if of.done < tail.position && !std::mem::replace(&mut of.asked, true) {
            return Err(status::NOT_READY);
        }
        of.asked = false;
        driver.wait_for(&tail)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: u64, event: u64, _flags: c_uint) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        driver.wait_event(stream, event)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchHostFunc(
    stream: u64,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        let function = function.ok_or(status::INVALID_VALUE)?;
        driver.submit(stream, Work::Call(function, data as usize))
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut u64, flags: c_uint) -> Status {
    with_context(|driver| {
        let handle = driver.handle();
        driver.events.insert(
            handle,
            Event {
                timing: flags & DISABLE_TIMING == 0,
                ..Event::default()
            },
        );
        // SAFETY: as the caller promises.
        unsafe { give(event, handle) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: u64) -> Status {
    with_context(|driver| {
        driver
            .events
            .remove(&event)
            .map(|_| ())
            .ok_or(status::INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: u64, stream: u64) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        driver.event(event)?;
        if driver.streams[stream].capture.is_some() {
            return driver.capture_record(stream, event);
        }
        driver.refuse_implicit(stream)?;
        driver.enqueue(stream, Work::Record(event), &[]);
        let point = driver.tail(stream);
        let event = driver.event(event)?;
        (event.point, event.captured, event.happened, event.asked) =
            (Some(point), None, None, false);
        Ok(())
    })
}

/// As for [`cuStreamQuery`].
#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: u64) -> Status {
    with_context(|driver| {
        let (point, captured) = {
            let event = driver.event(event)?;
            (event.point.clone(), event.captured.is_some())
        };
        if captured {
            return Err(status::CAPTURED_EVENT);
        }
        let Some(point) = point else { return Ok(()) };
        let done = driver.streams[point.stream].done >= point.position;
        if !done && !std::mem::replace(&mut driver.event(event)?.asked, true) {
            return Err(status::NOT_READY);
        }
        driver.wait_for(&point)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: u64) -> Status {
    with_context(|driver| {
        let event = driver.event(event)?;
        if event.captured.is_some() {
            return Err(status::CAPTURED_EVENT);
        }
        match event.point.clone() {
            Some(point) => driver.wait_for(&point),
            None => Ok(()),
        }
    })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    start: u64,
    end: u64,
) -> Status {
    with_context(|driver| {
        let mut moments = [None::<Instant>; 2];
        for (moment, handle) in moments.iter_mut().zip([start, end]) {
            let event = driver.event(handle)?;
            if !event.timing || event.point.is_none() {
                return Err(status::INVALID_HANDLE);
            }
            *moment = event.happened;
        }
        let [Some(start), Some(end)] = moments else {
            return Err(status::NOT_READY);
        };
        // SAFETY: as the caller promises.
        unsafe { give(milliseconds, end.duration_since(start).as_secs_f32() * 1e3) }
    })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime_v2(
    milliseconds: *mut f32,
    start: u64,
    end: u64,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuEventElapsedTime(milliseconds, start, end) }
}
