// Kernels with one mistake each, and how they are without it where that is not plain.
extern "C" __global__ void out_of_bounds(const float* x, float* y, int n) { const int i = blockIdx.x * blockDim.x + threadIdx.x; if (i <= n) y[i] = x[i]; }
extern "C" __global__ void before_the_start(const float* x, float* y) { y[threadIdx.x] = x[(int)threadIdx.x - 1]; }
extern "C" __global__ void misaligned(const float* x, float4* y) { y[0] = *reinterpret_cast<const float4*>(x + 1); }
extern "C" __global__ void copy_all(const float* x, float* y) { const int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = x[i]; }
extern "C" __global__ void divergent_barrier(float* y) {
  __shared__ float s[64];
  s[threadIdx.x] = 1;
  if (threadIdx.x % 2) __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}
extern "C" __global__ void exit_before_barrier(float* y, int n) {
  __shared__ float s[64];
  if (threadIdx.x >= n) return;
  s[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}
extern "C" __global__ void endless(volatile int* x) { while (*x == 0) {} }
extern "C" __global__ void blocks_write_one_place(float* y) { if (threadIdx.x == 0) *y = blockIdx.x; }
extern "C" __global__ void block_reads_its_neighbour(float* y) { const int i = blockIdx.x; y[i] = i ? y[i - 1] + 1 : 0; }
extern "C" __global__ void neighbours(float* y) { y[threadIdx.x] = y[(threadIdx.x + 1) % blockDim.x] + 1; }
extern "C" __global__ void in_place(float* y) { const int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = y[i] + 1; }
extern "C" __global__ void in_place_halves(unsigned short* y) { const int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = y[i] + 1; }
extern "C" __global__ void shared_unwritten(float* y) { __shared__ float s[64]; if (threadIdx.x < 63) s[threadIdx.x] = 1; __syncthreads(); y[threadIdx.x] = s[threadIdx.x]; }
extern "C" __global__ void shared_overrun(float* y, int over) { __shared__ float s[32], t[32]; t[threadIdx.x] = 0; s[threadIdx.x + over] = 1; __syncthreads(); y[threadIdx.x] = s[31 - threadIdx.x] + t[threadIdx.x]; }
extern "C" __global__ void shuffle_of_some(float* y) { float v = threadIdx.x; if (threadIdx.x < 16) v += __shfl_xor_sync(0xffffffffu, v, 1); y[threadIdx.x] = v; }
extern "C" __global__ void shuffle_of_half(float* y) { float v = threadIdx.x; if (threadIdx.x < 16) v += __shfl_xor_sync(0x0000ffffu, v, 1); y[threadIdx.x] = v; }
extern "C" __global__ void trapped() { __trap(); }
extern "C" __global__ void local_overrun(float* y, int n) { float a[8]; for (int i = 0; i < n; i++) a[i] = i; y[threadIdx.x] = a[threadIdx.x & 7]; }
extern "C" __global__ void count(unsigned* y) { atomicAdd(y, threadIdx.x); }
