//! Calls of NVIDIA's libraries on the simulated device, with everything that they need.
use sslc_cuda_sim::driver::*;
use sslc_cuda_sim::libraries::convolution::Pass;
use sslc_cuda_sim::libraries::cublaslt::*;
use sslc_cuda_sim::libraries::cudnn::descriptors::*;
use sslc_cuda_sim::libraries::cudnn::products::*;
use std::ffi::c_int;
use std::ptr::null;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The driver is one for a process: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

#[track_caller]
pub fn ok(code: i32) {
    assert_eq!(code, 0, "{}", last_message());
}

#[track_caller]
pub fn refused(found: i32, code: i32, why: &str) {
    assert_eq!(found, code, "{}", last_message());
    assert!(last_message().contains(why), "{}", last_message());
}

/// What a call makes in the place that it is given.
pub fn made<T: Default>(f: impl FnOnce(&mut T) -> i32) -> T {
    let mut found = T::default();
    ok(f(&mut found));
    found
}

/// A process with a device and nothing else.
pub struct Session {
    _turn: MutexGuard<'static, ()>,
}

pub fn without_context() -> Session {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    reset();
    Session { _turn: turn }
}

pub fn begin() -> Session {
    let session = without_context();
    ok(info::cuInit(0));
    ok(info::cuCtxSetCurrent(made(|c| unsafe {
        info::cuDevicePrimaryCtxRetain(c, 0)
    })));
    session
}

impl Session {
    pub fn alloc(&self, bytes: usize) -> u64 {
        made(|a| unsafe { memory::cuMemAlloc_v2(a, bytes) })
    }

    pub fn stream(&self) -> u64 {
        made(|s| unsafe { streams::cuStreamCreate(s, 1) })
    }

    /// An allocation with numbers of a type, for any stream.
    pub fn upload(&self, kind: Kind, values: &[f32]) -> u64 {
        let bytes = kind.bytes(values);
        let to = self.alloc(bytes.len());
        ok(unsafe { memory::cuMemcpyHtoD_v2(to, bytes.as_ptr().cast(), bytes.len()) });
        ok(info::cuCtxSynchronize());
        to
    }

    /// Waits for everything and reads.
    pub fn download(&self, kind: Kind, from: u64, count: usize) -> Vec<f32> {
        ok(info::cuCtxSynchronize());
        let mut bytes = vec![0u8; count * kind.size()];
        ok(unsafe { memory::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), from, bytes.len()) });
        kind.values(&bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    F32,
    Bf16,
}

impl Kind {
    pub fn size(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::Bf16 => 2,
        }
    }

    pub fn of_cublaslt(self) -> c_int {
        match self {
            Kind::F32 => 0,
            Kind::Bf16 => 14,
        }
    }

    pub fn of_cudnn(self) -> c_int {
        match self {
            Kind::F32 => 0,
            Kind::Bf16 => 9,
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        let bits = values.iter().map(|v| self.round(*v).to_bits());
        match self {
            Kind::F32 => bits.flat_map(u32::to_le_bytes).collect(),
            Kind::Bf16 => bits
                .flat_map(|b| ((b >> 16) as u16).to_le_bytes())
                .collect(),
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        let bits = bytes.chunks_exact(self.size()).map(|b| match *b {
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => u32::from_le_bytes([0, 0, b[0], b[1]]),
        });
        bits.map(f32::from_bits).collect()
    }

    /// To the nearest number of the type, ties to even.
    pub fn round(self, value: f32) -> f32 {
        let bits = value.to_bits();
        match self {
            Kind::F32 => value,
            Kind::Bf16 => f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000),
        }
    }
}

/// Small whole numbers, whose sums are exact in any order.
pub fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7 + i / 5 + seed) % 11) as f32 - 5.0)
        .collect()
}

/// Where a matrix lies: in each of a batch, column after column.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub kind: Kind,
    pub rows: usize,
    pub columns: usize,
    pub leading: usize,
    pub batch: usize,
    pub stride: usize,
}

impl Matrix {
    pub fn span(&self) -> usize {
        self.stride * (self.batch - 1) + self.leading * (self.columns - 1) + self.rows
    }

    pub fn at(&self, item: usize, row: usize, column: usize) -> usize {
        item * self.stride + column * self.leading + row
    }

    pub fn layout(&self) -> u64 {
        let (kind, rows, columns) = (self.kind.of_cublaslt(), self.rows, self.columns);
        let layout = made(|l| unsafe {
            cublasLtMatrixLayoutCreate(l, kind, rows as u64, columns as u64, self.leading as i64)
        });
        let (batch, stride) = (self.batch as i32, self.stride as i64);
        ok(unsafe { cublasLtMatrixLayoutSetAttribute(layout, 5, (&raw const batch).cast(), 4) });
        ok(unsafe { cublasLtMatrixLayoutSetAttribute(layout, 6, (&raw const stride).cast(), 8) });
        layout
    }
}

/// A call of `cublasLtMatmul`: of A, B, C and D.
#[derive(Clone)]
pub struct Matmul {
    pub handle: u64,
    pub descriptor: u64,
    pub layouts: [u64; 4],
    pub at: [u64; 4],
    pub alpha: *const f32,
    pub beta: *const f32,
    pub algorithm: [u64; 8],
    pub workspace: (u64, usize),
    pub stream: u64,
}

pub static ONE: f32 = 1.0;
pub static ZERO: f32 = 0.0;

/// Bytes of workspace that products may have here.
pub const WORKSPACE: usize = 1 << 16;

impl Matmul {
    /// A product of matrices that lie at addresses, with the first algorithm that is offered.
    pub fn new(s: &Session, matrices: [Matrix; 3], transposed: [bool; 2], at: [u64; 3]) -> Self {
        let handle = made(|h| unsafe { cublasLtCreate(h) });
        let descriptor = made(|d| unsafe { cublasLtMatmulDescCreate(d, 68, 0) });
        for (which, transposed) in [3, 4].into_iter().zip(transposed) {
            let operation = transposed as c_int;
            ok(unsafe {
                let value = (&raw const operation).cast();
                cublasLtMatmulDescSetAttribute(descriptor, which, value, 4)
            });
        }
        let [a, b, d] = matrices.map(|m| m.layout());
        let mut call = Matmul {
            handle,
            descriptor,
            layouts: [a, b, d, d],
            at: [at[0], at[1], at[2], at[2]],
            alpha: &ONE,
            beta: &ZERO,
            algorithm: [0; 8],
            workspace: (s.alloc(WORKSPACE), WORKSPACE),
            stream: s.stream(),
        };
        let (code, offered) = call.offered(WORKSPACE as u64);
        ok(code);
        call.algorithm = offered[0].0;
        call
    }

    /// Algorithms and their workspace.
    pub fn offered(&self, most: u64) -> (i32, Vec<([u64; 8], usize)>) {
        let preference = made(|p| unsafe { cublasLtMatmulPreferenceCreate(p) });
        ok(unsafe {
            let value = (&raw const most).cast();
            cublasLtMatmulPreferenceSetAttribute(preference, 1, value, 8)
        });
        let [a, b, c, d] = self.layouts;
        let (handle, descriptor, mut count) = (self.handle, self.descriptor, 0);
        let mut found: Vec<HeuristicResult> = Vec::with_capacity(8);
        let code = unsafe {
            let to = found.as_mut_ptr();
            cublasLtMatmulAlgoGetHeuristic(
                handle, descriptor, a, b, c, d, preference, 8, to, &mut count,
            )
        };
        // SAFETY: the call has filled so many.
        unsafe { found.set_len(count as usize) };
        ok(cublasLtMatmulPreferenceDestroy(preference));
        let found = found.iter().map(|f| (f.algorithm, f.workspace)).collect();
        (code, found)
    }

    pub fn call(&self) -> i32 {
        let [a, b, c, d] = self.at;
        let [of_a, of_b, of_c, of_d] = self.layouts;
        let (handle, descriptor) = (self.handle, self.descriptor);
        let algorithm = match self.algorithm {
            [0, ..] => null(),
            _ => &self.algorithm,
        };
        let (workspace, bytes) = self.workspace;
        unsafe {
            cublasLtMatmul(
                handle,
                descriptor,
                self.alpha,
                a,
                of_a,
                b,
                of_b,
                self.beta,
                c,
                of_c,
                d,
                of_d,
                algorithm,
                workspace,
                bytes,
                self.stream,
            )
        }
    }
}

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub kind: Kind,
    pub images: usize,
    /// Height and width.
    pub input: [usize; 2],
    pub channels: usize,
    pub outputs: usize,
    pub filter: usize,
    pub padding: usize,
    pub stride: usize,
    pub groups: usize,
}

impl Sizes {
    pub fn output(&self) -> [usize; 2] {
        self.input
            .map(|size| (size + 2 * self.padding - self.filter) / self.stride + 1)
    }

    /// Numbers of x, w and y.
    pub fn counts(&self) -> [usize; 3] {
        let ([height, width], [rows, columns]) = (self.input, self.output());
        [
            self.images * height * width * self.channels,
            self.outputs * self.filter * self.filter * self.channels / self.groups,
            self.images * rows * columns * self.outputs,
        ]
    }

    /// Descriptors of x, w, the convolution and y.
    pub fn descriptors(&self, math: c_int) -> [u64; 4] {
        let tensor = |channels: usize, [height, width]: [usize; 2]| {
            let tensor = made(|t| unsafe { cudnnCreateTensorDescriptor(t) });
            let [n, c, h, w] = [self.images, channels, height, width].map(|s| s as c_int);
            let kind = self.kind.of_cudnn();
            ok(cudnnSetTensor4dDescriptor(tensor, 1, kind, n, c, h, w));
            tensor
        };
        let w = made(|w| unsafe { cudnnCreateFilterDescriptor(w) });
        let [k, c, r] =
            [self.outputs, self.channels / self.groups, self.filter].map(|s| s as c_int);
        ok(cudnnSetFilter4dDescriptor(
            w,
            self.kind.of_cudnn(),
            1,
            k,
            c,
            r,
            r,
        ));
        let convolution = made(|c| unsafe { cudnnCreateConvolutionDescriptor(c) });
        let [p, s, groups] = [self.padding, self.stride, self.groups].map(|s| s as c_int);
        ok(cudnnSetConvolution2dDescriptor(
            convolution,
            p,
            p,
            s,
            s,
            1,
            1,
            1,
            0,
        ));
        ok(cudnnSetConvolutionMathType(convolution, math));
        ok(cudnnSetConvolutionGroupCount(convolution, groups));
        let (x, y) = (
            tensor(self.channels, self.input),
            tensor(self.outputs, self.output()),
        );
        [x, w, convolution, y]
    }
}

/// A call for a product of a convolution: of x, w, the convolution and y.
#[derive(Clone)]
pub struct Convolution {
    pub pass: Pass,
    pub handle: u64,
    pub of: [u64; 4],
    /// Of x, w and y.
    pub at: [u64; 3],
    pub alpha: *const f32,
    pub beta: *const f32,
    pub algorithm: c_int,
    pub workspace: (u64, usize),
}

impl Convolution {
    /// With the last algorithm that is offered for gradients, the first for the output.
    pub fn new(s: &Session, pass: Pass, of: [u64; 4], at: [u64; 3]) -> Self {
        let handle = made(|h| unsafe { cudnnCreate(h) });
        ok(cudnnSetStream(handle, s.stream()));
        let mut call = Convolution {
            pass,
            handle,
            of,
            at,
            alpha: &ONE,
            beta: &ZERO,
            algorithm: 0,
            workspace: (0, 0),
        };
        let (code, offered) = call.offered();
        ok(code);
        let chosen = match pass {
            Pass::Forward => &offered[0],
            _ => &offered[2],
        };
        call.algorithm = chosen.algorithm;
        call.workspace = (s.alloc(chosen.memory), chosen.memory);
        call
    }

    pub fn offered(&self) -> (i32, Vec<Performance>) {
        let mut found: Vec<Performance> = Vec::with_capacity(8);
        let ([x, w, convolution, y], handle, to, mut count) =
            (self.of, self.handle, found.as_mut_ptr(), 0);
        let code = unsafe {
            let n = &mut count;
            match self.pass {
                Pass::Forward => {
                    cudnnGetConvolutionForwardAlgorithm_v7(handle, x, w, convolution, y, 8, n, to)
                }
                Pass::Data => cudnnGetConvolutionBackwardDataAlgorithm_v7(
                    handle,
                    w,
                    y,
                    convolution,
                    x,
                    8,
                    n,
                    to,
                ),
                Pass::Filter => cudnnGetConvolutionBackwardFilterAlgorithm_v7(
                    handle,
                    x,
                    y,
                    convolution,
                    w,
                    8,
                    n,
                    to,
                ),
            }
        };
        // SAFETY: the call has filled so many.
        unsafe { found.set_len(count as usize) };
        (code, found)
    }

    pub fn workspace_size(&self, bytes: &mut usize) -> i32 {
        let ([x, w, c, y], handle, algorithm) = (self.of, self.handle, self.algorithm);
        unsafe {
            match self.pass {
                Pass::Forward => {
                    cudnnGetConvolutionForwardWorkspaceSize(handle, x, w, c, y, algorithm, bytes)
                }
                Pass::Data => cudnnGetConvolutionBackwardDataWorkspaceSize(
                    handle, w, y, c, x, algorithm, bytes,
                ),
                Pass::Filter => cudnnGetConvolutionBackwardFilterWorkspaceSize(
                    handle, x, y, c, w, algorithm, bytes,
                ),
            }
        }
    }

    pub fn call(&self) -> i32 {
        let ([of_x, of_w, c, of_y], [x, w, y]) = (self.of, self.at);
        let (handle, algorithm, (at, bytes)) = (self.handle, self.algorithm, self.workspace);
        let (alpha, beta) = (self.alpha, self.beta);
        unsafe {
            match self.pass {
                Pass::Forward => cudnnConvolutionForward(
                    handle, alpha, of_x, x, of_w, w, c, algorithm, at, bytes, beta, of_y, y,
                ),
                Pass::Data => cudnnConvolutionBackwardData(
                    handle, alpha, of_w, w, of_y, y, c, algorithm, at, bytes, beta, of_x, x,
                ),
                Pass::Filter => cudnnConvolutionBackwardFilter(
                    handle, alpha, of_x, x, of_y, y, c, algorithm, at, bytes, beta, of_w, w,
                ),
            }
        }
    }
}

/// Makes a call wrong.
pub type Spoil<T> = fn(&mut T);
