//! Products as work of streams, and the libraries as a process loads them.
use crate::convolution::{FMA, SMALL, convolution};
use crate::matmul::{matmul, matrices};
use crate::support::*;
use sslc_cuda_sim::driver::*;
use sslc_cuda_sim::libraries::convolution::Pass;
use sslc_cuda_sim::libraries::cublaslt::*;
use sslc_cuda_sim::libraries::cudnn::descriptors::*;
use sslc_cuda_sim::libraries::cudnn::*;
use std::ffi::{CString, c_char, c_int, c_void};

#[test]
fn the_libraries_need_a_context() {
    let s = without_context();
    let mut handle = 0;
    let create = |handle: &mut u64| unsafe { [cublasLtCreate(handle), cudnnCreate(handle)] };
    assert_eq!(create(&mut handle), [1, 1001]);
    ok(info::cuInit(0));
    assert_eq!(create(&mut handle), [1, 1001]);
    assert!(last_message().contains("no context is current"));
    let context = made(|c| unsafe { info::cuDevicePrimaryCtxRetain(c, 0) });
    ok(info::cuCtxSetCurrent(context));
    assert_eq!(create(&mut handle), [0, 0]);
    assert_eq!((cublasLtGetVersion(), cudnnGetVersion()), (120_900, 90_201));
    drop(s);
}

/// Copies a result to pinned memory in the stream of the call.
fn copy_out(s: &Session, from: u64, stream: u64) -> &'static [f32] {
    let _ = s;
    let mut pointer = std::ptr::null_mut();
    ok(unsafe { memory::cuMemHostAlloc(&mut pointer, 4, 0) });
    ok(unsafe { memory::cuMemcpyDtoHAsync_v2(pointer, from, 4, stream) });
    // SAFETY: the memory lives as long as the test.
    unsafe { std::slice::from_raw_parts(pointer.cast(), 1) }
}

#[test]
fn nothing_is_computed_before_the_host_waits() {
    let s = begin();
    let (call, _) = matmul(&s);
    ok(call.call());
    let found = copy_out(&s, call.at[3], call.stream);
    assert_eq!(unsafe { (&raw const found[0]).read_volatile() }, 0.0);
    ok(streams::cuStreamSynchronize(call.stream));
    assert_ne!(unsafe { (&raw const found[0]).read_volatile() }, 0.0);
}

#[test]
fn captured_products_run_again() {
    let s = begin();
    let (call, _) = matmul(&s);
    let (other, _) = convolution(&s, Pass::Filter, &SMALL, FMA);
    ok(cudnnSetStream(other.handle, call.stream));
    let ones = vec![1.0; 64];
    let clear = |at: u64| ok(unsafe { memory::cuMemsetD8Async(at, 0, 64, call.stream) });
    clear(call.at[3]);
    clear(other.at[1]);
    ok(call.call());
    ok(other.call());
    let expected = [call.at[3], other.at[1]].map(|at| s.download(Kind::F32, at, 16));
    assert_ne!(expected[0], vec![0.0; 16]);
    ok(capture::cuStreamBeginCapture_v2(call.stream, 1));
    ok(call.call());
    ok(other.call());
    let mut handle = 0;
    let graph = made(|g| unsafe { capture::cuStreamEndCapture(call.stream, g) });
    let run = made(|r| unsafe { graphs::cuGraphInstantiateWithFlags(r, graph, 0) });
    clear(call.at[3]);
    clear(other.at[1]);
    for at in [call.at[3], other.at[1]] {
        assert_eq!(s.download(Kind::F32, at, 16), vec![0.0; 16], "not yet");
    }
    ok(graphs::cuGraphLaunch(run, call.stream));
    let found = [call.at[3], other.at[1]].map(|at| s.download(Kind::F32, at, 16));
    assert_eq!(found, expected);
    // Later values are those that a replay takes.
    ok(unsafe { memory::cuMemcpyHtoD_v2(call.at[0], ones.as_ptr().cast(), 64) });
    ok(info::cuCtxSynchronize());
    ok(graphs::cuGraphLaunch(run, call.stream));
    assert_ne!(s.download(Kind::F32, call.at[3], 16), expected[0]);
    // Making a handle allocates.
    ok(capture::cuStreamBeginCapture_v2(call.stream, 0));
    refused(
        unsafe { cublasLtCreate(&mut handle) },
        13,
        "while a stream captures",
    );
}

/// How a product fails, where everything else is right.
#[track_caller]
fn fails(code: i32, why: &str) {
    refused(info::cuCtxSynchronize(), code, why);
    let mut handle = 0;
    refused(
        unsafe { cudnnCreate(&mut handle) },
        5000,
        "the device failed before",
    );
}

#[test]
fn an_operand_must_have_been_written() {
    let s = begin();
    let (mut call, of) = matmul(&s);
    call.at[1] = s.alloc(of[1].span() * 4);
    ok(call.call());
    fails(status::LAUNCH_FAILED, "which nothing wrote: uninitialised");
    drop(s);
    let s = begin();
    let (mut call, _) = convolution(&s, Pass::Data, &SMALL, FMA);
    call.at[2] = s.alloc(SMALL.counts()[2] * 4);
    ok(call.call());
    fails(status::LAUNCH_FAILED, "cudnnConvolutionBackwardData reads");
}

#[test]
fn an_operand_must_lie_in_one_buffer() {
    let s = begin();
    let (mut call, of) = matmul(&s);
    call.at[3] = s.alloc(of[2].span() * 4 - 4);
    ok(call.call());
    fails(status::ILLEGAL_ADDRESS, "out of bounds");
    drop(s);
    let s = begin();
    let (mut call, _) = convolution(&s, Pass::Forward, &SMALL, FMA);
    // A large allocation with a buffer in it that is too small.
    call.at[2] = s.alloc(1 << 16);
    ok(state::sslc_sim_mark(call.at[2], 64));
    ok(call.call());
    fails(status::ILLEGAL_ADDRESS, "byte 0 of a buffer of 64");
}

#[test]
fn a_workspace_means_nothing_afterwards() {
    let s = begin();
    let (call, of) = matmul(&s);
    ok(unsafe { memory::cuMemsetD8Async(call.workspace.0, 0, WORKSPACE, call.stream) });
    ok(call.call());
    let found = s.download(Kind::F32, call.workspace.0, 65);
    assert!(found[0].is_nan() && found[63].is_nan() && found[64] == 0.0);
    let mut second = call.clone();
    second.at[0] = call.workspace.0;
    second.workspace = (s.alloc(WORKSPACE), WORKSPACE);
    assert!(of[0].span() < 64);
    ok(second.call());
    fails(status::LAUNCH_FAILED, "uninitialised");
}

/// A result is used in another stream, with an event between or not.
fn two_streams(wait: bool) -> i32 {
    let s = begin();
    let (first, _) = matmul(&s);
    let mut second = first.clone();
    (second.stream, second.at[2], second.at[3]) = (s.stream(), first.at[0], first.at[0]);
    second.workspace = (s.alloc(WORKSPACE), WORKSPACE);
    // The second writes what the first reads.
    second.at[0] = s.upload(Kind::F32, &numbers(64, 0));
    let of = matrices([Kind::F32; 2], [4, 3, 5], [false; 2], 1, 2);
    assert!(of[2].span() <= of[0].span());
    ok(first.call());
    let event = made(|e| unsafe { streams::cuEventCreate(e, 0) });
    ok(streams::cuEventRecord(event, first.stream));
    if wait {
        ok(streams::cuStreamWaitEvent(second.stream, event, 0));
    }
    ok(second.call());
    info::cuCtxSynchronize()
}

#[test]
fn streams_must_be_ordered() {
    ok(two_streams(true));
    refused(two_streams(false), status::LAUNCH_FAILED, "cublasLtMatmul");
    assert!(last_message().contains("nothing orders the two"));
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// All names that a program asks for, of functions that it calls.
const CALLS: &str = "cuInit cublasLtCreate cublasLtDestroy cublasLtGetVersion cublasLtMatmul \
    cublasLtMatmulAlgoGetHeuristic cublasLtMatmulDescCreate cublasLtMatmulDescDestroy \
    cublasLtMatmulDescSetAttribute cublasLtMatmulPreferenceCreate cublasLtMatmulPreferenceDestroy \
    cublasLtMatmulPreferenceSetAttribute cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy \
    cublasLtMatrixLayoutSetAttribute cudnnConvolutionBackwardData cudnnConvolutionBackwardFilter \
    cudnnConvolutionForward cudnnCreate cudnnCreateConvolutionDescriptor cudnnCreateFilterDescriptor \
    cudnnCreateTensorDescriptor cudnnDestroy cudnnDestroyConvolutionDescriptor \
    cudnnDestroyFilterDescriptor cudnnDestroyTensorDescriptor cudnnGetConvolution2dForwardOutputDim \
    cudnnGetConvolutionBackwardDataAlgorithm_v7 cudnnGetConvolutionBackwardDataWorkspaceSize \
    cudnnGetConvolutionBackwardFilterAlgorithm_v7 cudnnGetConvolutionBackwardFilterWorkspaceSize \
    cudnnGetConvolutionForwardAlgorithm_v7 cudnnGetConvolutionForwardWorkspaceSize \
    cudnnGetErrorString cudnnGetLastErrorString cudnnGetVersion cudnnSetConvolution2dDescriptor \
    cudnnSetConvolutionGroupCount cudnnSetConvolutionMathType cudnnSetFilter4dDescriptor \
    cudnnSetStream cudnnSetTensor4dDescriptor";

#[test]
fn all_names_are_one_library() {
    let folder = sslc_cuda_sim::libraries().unwrap();
    let open = |name: &str| {
        let path = CString::new(folder.join(name).into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: the library does nothing when it is loaded.
        let library = unsafe { dlopen(path.as_ptr(), 1) };
        assert!(!library.is_null(), "{name}");
        library
    };
    let library = open("libcuda.so");
    for name in [
        "libcuda.so.1",
        "libcublasLt.so",
        "libcublasLt.so.12",
        "libcudnn.so",
        "libcudnn.so.9",
    ] {
        assert_eq!(open(name), library, "{name}");
    }
    for name in CALLS.split_whitespace() {
        let symbol = CString::new(name).unwrap();
        let found = unsafe { dlsym(library, symbol.as_ptr()) };
        assert!(!found.is_null(), "{name}");
    }
    let plain = sslc_cuda_sim::library().unwrap();
    assert!(!plain.join("libcudnn.so").exists() && !plain.join("libcublasLt.so").exists());
}
