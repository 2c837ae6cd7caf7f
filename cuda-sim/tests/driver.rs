//! The driver's interface: what happens when, and what is found where nothing says when.
use sslc_cuda_sim::driver::*;
use std::ffi::{CStr, CString, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The driver is one for a process: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

struct Session {
    _turn: MutexGuard<'static, ()>,
}

#[track_caller]
fn ok(code: i32) {
    assert_eq!(code, 0, "{}", last_message());
}

fn begin() -> Session {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    reset();
    let (mut device, mut context) = (0, 0);
    assert_eq!(
        unsafe { info::cuDeviceGet(&mut device, 0) },
        status::NOT_INITIALIZED
    );
    ok(info::cuInit(0));
    ok(unsafe { info::cuDeviceGet(&mut device, 0) });
    ok(unsafe { info::cuDevicePrimaryCtxRetain(&mut context, device) });
    assert_eq!(info::cuCtxSynchronize(), status::INVALID_CONTEXT);
    ok(info::cuCtxSetCurrent(context));
    Session { _turn: turn }
}

impl Session {
    /// A function of `tests/kernels`.
    fn function(&self, file: &str, name: &str) -> u64 {
        let path = format!("{}/tests/kernels/{file}.ptx", env!("CARGO_MANIFEST_DIR"));
        let text = CString::new(std::fs::read_to_string(path).unwrap()).unwrap();
        let name = CString::new(name).unwrap();
        let (mut module, mut function) = (0, 0);
        ok(unsafe { modules::cuModuleLoadData(&mut module, text.as_ptr().cast()) });
        ok(unsafe { modules::cuModuleGetFunction(&mut function, module, name.as_ptr()) });
        function
    }

    fn alloc(&self, bytes: usize) -> u64 {
        let mut address = 0;
        ok(unsafe { memory::cuMemAlloc_v2(&mut address, bytes) });
        address
    }

    /// Pinned memory of the host.
    fn pinned(&self, values: &[f32]) -> &'static mut [f32] {
        let mut pointer = null_mut();
        ok(unsafe { memory::cuMemHostAlloc(&mut pointer, values.len() * 4, 0) });
        let found = unsafe { std::slice::from_raw_parts_mut(pointer.cast::<f32>(), values.len()) };
        found.copy_from_slice(values);
        found
    }

    fn stream(&self) -> u64 {
        let mut stream = 0;
        ok(unsafe { streams::cuStreamCreate(&mut stream, 1) });
        stream
    }

    fn event(&self) -> u64 {
        let mut event = 0;
        ok(unsafe { streams::cuEventCreate(&mut event, 0) });
        event
    }

    /// `x += 1` on 64 floats.
    fn increment(&self, function: u64, x: u64, stream: u64) -> i32 {
        let mut arguments = [(&raw const x).cast_mut().cast::<c_void>()];
        unsafe {
            modules::cuLaunchKernel(
                function,
                2,
                1,
                1,
                32,
                1,
                1,
                0,
                stream,
                arguments.as_mut_ptr(),
                null_mut(),
            )
        }
    }

    fn read(&self, x: u64) -> i32 {
        let mut values = [0f32; 64];
        unsafe { memory::cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), x, 256) }
    }
}

fn copy_in(to: u64, from: &[f32], stream: u64) -> i32 {
    unsafe { memory::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), from.len() * 4, stream) }
}

fn copy_out(to: &mut [f32], from: u64, stream: u64) -> i32 {
    unsafe { memory::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, to.len() * 4, stream) }
}

#[test]
fn what_is_copied_in_is_computed_with_and_copied_out() {
    let s = begin();
    let (f, stream, x) = (s.function("wrong", "in_place"), s.stream(), s.alloc(256));
    ok(copy_in(x, &[1.0; 64], stream));
    ok(s.increment(f, x, stream));
    let mut values = [0.0; 64];
    ok(copy_out(&mut values, x, stream));
    assert_eq!(values, [2.0; 64]);
}

#[test]
fn nothing_happens_before_the_host_waits() {
    let s = begin();
    let (f, stream, x) = (s.function("wrong", "in_place"), s.stream(), s.alloc(256));
    let (from, to) = (s.pinned(&[1.0; 64]), s.pinned(&[0.0; 64]));
    ok(copy_in(x, from, stream));
    // Too early: the copy has not been made.
    from.fill(5.0);
    ok(s.increment(f, x, stream));
    ok(copy_out(to, x, stream));
    assert_eq!(to[0], 0.0);
    ok(streams::cuStreamSynchronize(stream));
    assert_eq!(to[0], 6.0);
}

#[test]
fn memory_that_is_not_pinned_is_taken_at_the_call() {
    let s = begin();
    let (stream, x) = (s.stream(), s.alloc(256));
    let mut from = [1.0; 64];
    ok(copy_in(x, &from, stream));
    from.fill(5.0);
    let mut to = [0.0; 64];
    ok(copy_out(&mut to, x, stream));
    assert_eq!((to[0], from[0]), (1.0, 5.0));
}

#[test]
fn pinned_memory_may_not_be_freed_under_a_copy() {
    let s = begin();
    let (stream, x) = (s.stream(), s.alloc(256));
    let from = s.pinned(&[1.0; 64]);
    ok(copy_in(x, from, stream));
    assert_eq!(
        unsafe { memory::cuMemFreeHost(from.as_mut_ptr().cast()) },
        status::LAUNCH_FAILED
    );
}

#[test]
fn pinned_memory_may_be_freed_after_a_wait() {
    let s = begin();
    let (stream, x) = (s.stream(), s.alloc(256));
    let from = s.pinned(&[1.0; 64]);
    ok(copy_in(x, from, stream));
    ok(streams::cuStreamSynchronize(stream));
    ok(unsafe { memory::cuMemFreeHost(from.as_mut_ptr().cast()) });
}

/// A copy in one stream and a kernel in another, with an event between or not.
fn two_streams(wait: bool) -> i32 {
    let s = begin();
    let (f, x) = (s.function("wrong", "in_place"), s.alloc(256));
    let (copies, kernels, event) = (s.stream(), s.stream(), s.event());
    ok(copy_in(x, &[1.0; 64], copies));
    ok(streams::cuEventRecord(event, copies));
    if wait {
        ok(streams::cuStreamWaitEvent(kernels, event, 0));
    }
    ok(s.increment(f, x, kernels));
    ok(streams::cuStreamSynchronize(copies));
    streams::cuStreamSynchronize(kernels)
}

#[test]
fn an_event_orders_streams() {
    assert_eq!(two_streams(true), 0);
}

#[test]
fn a_missing_wait_between_streams_is_found() {
    assert_eq!(two_streams(false), status::LAUNCH_FAILED);
    assert!(
        last_message().contains("of another stream wrote: nothing orders the two"),
        "{}",
        last_message()
    );
}

/// The next batch is copied in while a kernel reads the last one, after the kernel or at once.
fn overwriting(wait: bool) -> i32 {
    let s = begin();
    let (f, x) = (s.function("wrong", "in_place"), s.alloc(256));
    let (copies, kernels) = (s.stream(), s.stream());
    ok(copy_in(x, &[1.0; 64], copies));
    ok(streams::cuStreamSynchronize(copies));
    ok(s.increment(f, x, kernels));
    if wait {
        ok(streams::cuStreamSynchronize(kernels));
    }
    ok(copy_in(x, &[2.0; 64], copies));
    info::cuCtxSynchronize()
}

#[test]
fn a_buffer_is_not_overwritten_while_it_is_read() {
    assert_eq!(overwriting(true), 0);
    assert_eq!(overwriting(false), status::LAUNCH_FAILED);
    assert!(
        last_message().contains("nothing orders the two"),
        "{}",
        last_message()
    );
}

#[test]
fn the_default_stream_waits_for_blocking_streams_only() {
    let s = begin();
    let x = s.alloc(256);
    let mut blocking = 0;
    ok(unsafe { streams::cuStreamCreate(&mut blocking, 0) });
    ok(copy_in(x, &[1.0; 64], blocking));
    ok(s.read(x));
    ok(copy_in(x, &[1.0; 64], s.stream()));
    // The copy has not been made when the other one reads, and nothing says that it had to be.
    ok(s.read(x));
    assert_eq!(info::cuCtxSynchronize(), status::LAUNCH_FAILED);
}

#[test]
fn a_query_says_once_that_work_is_not_done() {
    let s = begin();
    let (stream, event, x) = (s.stream(), s.event(), s.alloc(256));
    ok(copy_in(x, &[1.0; 64], stream));
    ok(streams::cuEventRecord(event, stream));
    assert_eq!(streams::cuEventQuery(event), status::NOT_READY);
    assert_eq!(streams::cuEventQuery(event), 0);
    assert_eq!(streams::cuStreamQuery(stream), 0);
}

#[test]
fn time_passes_between_events() {
    let s = begin();
    let (f, stream, x) = (s.function("wrong", "in_place"), s.stream(), s.alloc(256));
    let (start, end) = (s.event(), s.event());
    ok(copy_in(x, &[1.0; 64], stream));
    ok(streams::cuEventRecord(start, stream));
    ok(s.increment(f, x, stream));
    ok(streams::cuEventRecord(end, stream));
    let mut milliseconds = -1.0;
    assert_eq!(
        unsafe { streams::cuEventElapsedTime(&mut milliseconds, start, end) },
        status::NOT_READY
    );
    ok(streams::cuEventSynchronize(end));
    ok(unsafe { streams::cuEventElapsedTime(&mut milliseconds, start, end) });
    assert!(milliseconds > 0.0);
}

#[test]
fn an_error_stays() {
    let s = begin();
    let (f, stream, x) = (s.function("wrong", "in_place"), s.stream(), s.alloc(128));
    ok(copy_in(x, &[1.0; 32], stream));
    // The launch returns before anything is wrong.
    ok(s.increment(f, x, stream));
    assert_eq!(
        streams::cuStreamSynchronize(stream),
        status::ILLEGAL_ADDRESS
    );
    assert!(
        last_message().contains("kernel `in_place`"),
        "{}",
        last_message()
    );
    let mut address = 0;
    assert_eq!(
        unsafe { memory::cuMemAlloc_v2(&mut address, 4) },
        status::ILLEGAL_ADDRESS
    );
}

#[test]
fn a_marked_buffer_has_bounds_of_its_own() {
    let s = begin();
    let (f, stream, x) = (s.function("wrong", "in_place"), s.stream(), s.alloc(256));
    ok(copy_in(x, &[1.0; 64], stream));
    ok(s.increment(f, x, stream));
    ok(streams::cuStreamSynchronize(stream));
    ok(state::sslc_sim_mark(x, 128));
    ok(s.increment(f, x, stream));
    assert_eq!(
        streams::cuStreamSynchronize(stream),
        status::ILLEGAL_ADDRESS
    );
    assert!(
        last_message().contains("byte 128 of the 128"),
        "{}",
        last_message()
    );
}

#[test]
fn memory_has_an_end() {
    let s = begin();
    let (mut address, mut free, mut total) = (0, 0, 0);
    ok(unsafe { memory::cuMemGetInfo_v2(&mut free, &mut total) });
    assert_eq!((free, total), (4 << 30, 4 << 30));
    assert_eq!(
        unsafe { memory::cuMemAlloc_v2(&mut address, total + 1) },
        status::OUT_OF_MEMORY
    );
    let x = s.alloc(1 << 20);
    ok(unsafe { memory::cuMemGetInfo_v2(&mut free, &mut total) });
    assert_eq!(total - free, 1 << 20);
    ok(memory::cuMemFree_v2(x));
    assert_eq!(memory::cuMemFree_v2(x), status::INVALID_VALUE);
}

#[test]
fn memory_of_a_stream_is_free_when_its_turn_comes() {
    let s = begin();
    let (f, stream, other) = (s.function("wrong", "in_place"), s.stream(), s.stream());
    let mut x = 0;
    ok(unsafe { memory::cuMemAllocAsync(&mut x, 256, stream) });
    ok(copy_in(x, &[1.0; 64], stream));
    ok(s.increment(f, x, stream));
    ok(memory::cuMemFreeAsync(x, stream));
    ok(streams::cuStreamSynchronize(stream));
    ok(unsafe { memory::cuMemAllocAsync(&mut x, 256, stream) });
    // Another stream may not use it before the first has come to it.
    ok(copy_in(x, &[1.0; 64], other));
    assert_eq!(info::cuCtxSynchronize(), status::LAUNCH_FAILED);
}

#[test]
fn a_fill_and_a_copy_on_the_device() {
    let s = begin();
    let (stream, x, y) = (s.stream(), s.alloc(256), s.alloc(256));
    ok(unsafe { memory::cuMemsetD32Async(x, 2.5f32.to_bits(), 64, stream) });
    ok(unsafe { memory::cuMemcpyDtoDAsync_v2(y, x, 256, stream) });
    ok(unsafe { memory::cuMemsetD8Async(x, 0, 256, stream) });
    let mut values = [0.0; 64];
    ok(copy_out(&mut values, y, stream));
    assert_eq!(values, [2.5; 64]);
    assert_eq!(unsafe { memory::cuMemsetD8Async(x, 0, 257, stream) }, 0);
    assert_eq!(
        streams::cuStreamSynchronize(stream),
        status::ILLEGAL_ADDRESS
    );
}

#[test]
fn much_shared_memory_must_be_asked_for() {
    let s = begin();
    let f = s.function("pipeline", "right");
    let (x, y, tiles) = (s.alloc(1024), s.alloc(1024), 1i32);
    ok(copy_in(x, &[1.0; 256], 0));
    let mut arguments: [*mut c_void; 3] = [
        (&raw const x).cast_mut().cast(),
        (&raw const y).cast_mut().cast(),
        (&raw const tiles).cast_mut().cast(),
    ];
    let mut launch = |bytes| unsafe {
        modules::cuLaunchKernel(
            f,
            1,
            1,
            1,
            256,
            1,
            1,
            bytes,
            0,
            arguments.as_mut_ptr(),
            null_mut(),
        )
    };
    ok(launch(48 << 10));
    assert_eq!(launch((48 << 10) + 1), status::INVALID_VALUE);
    ok(modules::cuFuncSetAttribute(f, 8, 100 << 10));
    ok(launch(100 << 10));
    assert_eq!(
        modules::cuFuncSetAttribute(f, 8, (163 << 10) + 1),
        status::INVALID_VALUE
    );
    ok(info::cuCtxSynchronize());
}

#[test]
fn sizes_of_a_launch_have_limits() {
    let s = begin();
    let (f, x) = (s.function("wrong", "in_place"), s.alloc(256));
    let mut arguments = [(&raw const x).cast_mut().cast::<c_void>()];
    for (grid, threads) in [
        ([0, 1, 1], [32, 1, 1]),
        ([1, 65536, 1], [32, 1, 1]),
        ([1, 1, 1], [1025, 1, 1]),
        ([1, 1, 1], [32, 32, 2]),
    ] {
        let [gx, gy, gz] = grid;
        let [tx, ty, tz]: [u32; 3] = threads;
        let code = unsafe {
            modules::cuLaunchKernel(
                f,
                gx,
                gy,
                gz,
                tx,
                ty,
                tz,
                0,
                0,
                arguments.as_mut_ptr(),
                null_mut(),
            )
        };
        assert_eq!(code, status::INVALID_VALUE, "{grid:?} {threads:?}");
    }
    let mut blocks = 0;
    ok(unsafe { modules::cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, f, 1024, 0) });
    assert_eq!(blocks, 2);
}

#[test]
fn what_is_not_known_does_not_load() {
    let _s = begin();
    let mut module = 0;
    let mut load = |text: &str| {
        let text = CString::new(text).unwrap();
        unsafe { modules::cuModuleLoadData(&mut module, text.as_ptr().cast()) }
    };
    let head = ".version 8.0\n.target sm_80\n.address_size 64\n";
    assert_eq!(
        load(&format!(
            "{head}.visible .entry k() {{\nwgmma.fence.sync.aligned;\n}}"
        )),
        status::INVALID_PTX
    );
    assert!(
        last_message().contains("PTX line 5 `wgmma.fence.sync.aligned;`"),
        "{}",
        last_message()
    );
    assert_eq!(
        load(".version 8.0\n.target sm_90\n.address_size 64\n"),
        status::INVALID_PTX
    );
    assert_eq!(load("\u{7f}ELF"), status::NO_BINARY_FOR_GPU);
    ok(load(&format!("{head}.visible .entry k() {{\nret;\n}}")));
}

#[test]
fn variables_of_a_module() {
    let s = begin();
    let f = s.function("elementwise", "variables");
    let y = s.alloc(128);
    let mut arguments = [(&raw const y).cast_mut().cast::<c_void>()];
    for _ in 0..2 {
        ok(unsafe {
            modules::cuLaunchKernel(
                f,
                1,
                1,
                1,
                32,
                1,
                1,
                0,
                0,
                arguments.as_mut_ptr(),
                null_mut(),
            )
        });
    }
    let path = format!(
        "{}/tests/kernels/elementwise.ptx",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = CString::new(std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut module, mut address, mut bytes) = (0, 0, 0);
    ok(unsafe { modules::cuModuleLoadData(&mut module, text.as_ptr().cast()) });
    ok(unsafe {
        modules::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, c"table".as_ptr())
    });
    let mut table = [0f32; 4];
    ok(unsafe { memory::cuMemcpyDtoH_v2(table.as_mut_ptr().cast(), address, bytes) });
    assert_eq!(table, [1.0, 2.0, 4.0, 8.0]);
    assert_eq!(
        unsafe {
            modules::cuModuleGetGlobal_v2(&mut address, null_mut(), module, c"none".as_ptr())
        },
        status::NOT_FOUND
    );
    ok(modules::cuModuleUnload(module));
}

#[test]
fn errors_have_names() {
    let mut text = null();
    ok(unsafe { status::cuGetErrorName(status::ILLEGAL_ADDRESS, &mut text) });
    assert_eq!(
        unsafe { CStr::from_ptr(text) },
        c"CUDA_ERROR_ILLEGAL_ADDRESS"
    );
    ok(unsafe { status::cuGetErrorString(status::OUT_OF_MEMORY, &mut text) });
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"out of memory");
    assert_eq!(
        unsafe { status::cuGetErrorName(12345, &mut text) },
        status::INVALID_VALUE
    );
}

/// Captures what `f` issues to a stream, and makes a graph of it that runs.
fn captured(stream: u64, f: impl FnOnce()) -> Result<u64, i32> {
    ok(capture::cuStreamBeginCapture_v2(stream, 0));
    f();
    let (mut graph, mut run) = (0, 0);
    match unsafe { capture::cuStreamEndCapture(stream, &mut graph) } {
        0 => {}
        code => return Err(code),
    }
    ok(unsafe { graphs::cuGraphInstantiateWithFlags(&mut run, graph, 0) });
    ok(graphs::cuGraphDestroy(graph));
    ok(graphs::cuGraphUpload(run, stream));
    Ok(run)
}

#[test]
fn what_was_captured_runs_as_often_as_it_is_launched() {
    let s = begin();
    let (f, stream, x) = (s.function("wrong", "in_place"), s.stream(), s.alloc(256));
    ok(copy_in(x, &[1.0; 64], stream));
    let run = captured(stream, || {
        ok(s.increment(f, x, stream));
        ok(s.increment(f, x, stream));
    })
    .unwrap();
    let mut values = [0.0; 64];
    ok(copy_out(&mut values, x, stream));
    assert_eq!(values, [1.0; 64], "capturing does nothing");
    ok(graphs::cuGraphLaunch(run, stream));
    ok(graphs::cuGraphLaunch(run, stream));
    ok(copy_out(&mut values, x, stream));
    assert_eq!(values, [5.0; 64]);
    ok(graphs::cuGraphExecDestroy(run));
}

#[test]
fn a_captured_copy_reads_what_is_there_when_it_runs() {
    let s = begin();
    let (stream, x) = (s.stream(), s.alloc(256));
    let from = s.pinned(&[1.0; 64]);
    let run = captured(stream, || ok(copy_in(x, from, stream))).unwrap();
    from.fill(7.0);
    ok(graphs::cuGraphLaunch(run, stream));
    let mut values = [0.0; 64];
    ok(copy_out(&mut values, x, stream));
    assert_eq!(values, [7.0; 64]);
}

#[test]
fn a_branch_must_come_back() {
    let s = begin();
    let (f, main, side) = (s.function("wrong", "in_place"), s.stream(), s.stream());
    let (x, y, fork, join) = (s.alloc(256), s.alloc(256), s.event(), s.event());
    for buffer in [x, y] {
        ok(copy_in(buffer, &[1.0; 64], main));
    }
    ok(streams::cuStreamSynchronize(main));
    let branch = |comes_back: bool| {
        captured(main, || {
            ok(streams::cuEventRecord(fork, main));
            ok(streams::cuStreamWaitEvent(side, fork, 0));
            ok(s.increment(f, y, side));
            ok(s.increment(f, x, main));
            if comes_back {
                ok(streams::cuEventRecord(join, side));
                ok(streams::cuStreamWaitEvent(main, join, 0));
                ok(s.increment(f, y, main));
            }
        })
    };
    assert_eq!(branch(false), Err(status::STREAM_CAPTURE_UNJOINED));
    let run = branch(true).unwrap();
    ok(graphs::cuGraphLaunch(run, main));
    ok(graphs::cuGraphLaunch(run, main));
    let mut values = [0.0; 64];
    ok(copy_out(&mut values, y, main));
    assert_eq!(values, [5.0; 64]);
}

#[test]
fn branches_of_a_graph_race() {
    let s = begin();
    let (f, main, side) = (s.function("wrong", "in_place"), s.stream(), s.stream());
    let (x, fork, join) = (s.alloc(256), s.event(), s.event());
    ok(copy_in(x, &[1.0; 64], main));
    let run = captured(main, || {
        ok(streams::cuEventRecord(fork, main));
        ok(streams::cuStreamWaitEvent(side, fork, 0));
        ok(s.increment(f, x, side));
        ok(s.increment(f, x, main));
        ok(streams::cuEventRecord(join, side));
        ok(streams::cuStreamWaitEvent(main, join, 0));
    })
    .unwrap();
    ok(graphs::cuGraphLaunch(run, main));
    assert_eq!(streams::cuStreamSynchronize(main), status::LAUNCH_FAILED);
    assert!(
        last_message().contains("nothing orders the two"),
        "{}",
        last_message()
    );
}

#[test]
fn a_capture_does_not_wait_or_allocate() {
    let s = begin();
    let (stream, outside) = (s.stream(), s.event());
    ok(streams::cuEventRecord(outside, s.stream()));
    let spoiled = Err(status::STREAM_CAPTURE_INVALIDATED);
    let waits = captured(stream, || {
        assert_eq!(
            streams::cuStreamSynchronize(stream),
            status::STREAM_CAPTURE_UNSUPPORTED
        );
    });
    assert_eq!(waits, spoiled);
    let allocates = captured(stream, || {
        let mut address = 0;
        assert_eq!(
            unsafe { memory::cuMemAlloc_v2(&mut address, 4) },
            status::STREAM_CAPTURE_UNSUPPORTED
        );
    });
    assert_eq!(allocates, spoiled);
    let depends = captured(stream, || {
        assert_eq!(
            streams::cuStreamWaitEvent(stream, outside, 0),
            status::STREAM_CAPTURE_ISOLATION
        );
    });
    assert_eq!(depends, spoiled);
    assert_eq!(
        capture::cuStreamBeginCapture_v2(0, 0),
        status::STREAM_CAPTURE_UNSUPPORTED
    );
}

#[test]
fn the_device_says_what_it_is() {
    let _s = begin();
    let mut name = [0; 64];
    ok(unsafe { info::cuDeviceGetName(name.as_mut_ptr(), 64, 0) });
    assert_eq!(
        unsafe { CStr::from_ptr(name.as_ptr()) },
        c"Simulated sm_80 device"
    );
    let attribute = |which| {
        let mut value = -1;
        ok(unsafe { info::cuDeviceGetAttribute(&mut value, which, 0) });
        value
    };
    assert_eq!([75, 76, 10, 97].map(attribute), [8, 0, 32, 166912]);
    assert_eq!(
        info::cuGetExportTable(null_mut(), null()),
        status::NOT_SUPPORTED
    );
}

#[test]
fn the_library_lies_where_programs_look() {
    let folder = sslc_cuda_sim::library().unwrap();
    for name in ["libcuda.so", "libcuda.so.1"] {
        let file = std::fs::read(folder.join(name)).unwrap();
        assert!(file.starts_with(b"\x7fELF"));
    }
}

#[test]
fn sizes_beyond_all_memory_are_refused() {
    let s = begin();
    let (f, x) = (s.function("wrong", "in_place"), s.alloc(256));
    let mut address = 0;
    assert_eq!(
        unsafe { memory::cuMemAlloc_v2(&mut address, usize::MAX) },
        status::OUT_OF_MEMORY
    );
    let (mut value, mut blocks) = (0f32, -1);
    let to = (&raw mut value).cast();
    assert_eq!(
        unsafe { memory::cuMemcpyDtoH_v2(to, x, usize::MAX) },
        status::INVALID_VALUE
    );
    assert_eq!(
        unsafe { memory::cuMemcpyHtoD_v2(x, to, usize::MAX) },
        status::INVALID_VALUE
    );
    ok(unsafe {
        modules::cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, f, 64, usize::MAX)
    });
    assert_eq!(blocks, 0);
    ok(unsafe { memory::cuMemsetD32Async(x, 0, usize::MAX, 0) });
    assert_eq!(info::cuCtxSynchronize(), status::ILLEGAL_ADDRESS);
}
