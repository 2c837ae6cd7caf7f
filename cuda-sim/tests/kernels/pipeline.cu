// y = x backwards within each tile of 256, copied asynchronously two tiles ahead.
__device__ __forceinline__ void copy(float* to, const float* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}
template <int PENDING, bool BARRIER> __device__ void backwards(const float* x, float* y, int tiles) {
  extern __shared__ __align__(16) float stages[];
  const int t = threadIdx.x;
  for (int s = 0; s < 2; s++) {
    if (s < tiles) copy(stages + s * 256 + t, x + s * 256 + t);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  for (int s = 0; s < tiles; s++) {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
    if (BARRIER) __syncthreads();
    y[s * 256 + t] = stages[s % 3 * 256 + 255 - t];
    if (s + 2 < tiles) copy(stages + (s + 2) % 3 * 256 + t, x + (s + 2) * 256 + t);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
}
extern "C" __global__ void right(const float* x, float* y, int tiles) { backwards<1, true>(x, y, tiles); }
extern "C" __global__ void waits_too_little(const float* x, float* y, int tiles) { backwards<2, true>(x, y, tiles); }
extern "C" __global__ void no_barrier(const float* x, float* y, int tiles) { backwards<1, false>(x, y, tiles); }

// 16 bytes at once, of which the last come from nowhere and are zeros.
extern "C" __global__ void padded(const float4* x, float4* y, int n) {
  __shared__ float4 tile[32];
  const int left = n - (int)threadIdx.x * 4, bytes = left >= 4 ? 16 : left > 0 ? left * 4 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(tile + threadIdx.x)),
               "l"(x + threadIdx.x), "r"(bytes));
  asm volatile("cp.async.wait_all;");
  y[threadIdx.x] = tile[threadIdx.x];
}
