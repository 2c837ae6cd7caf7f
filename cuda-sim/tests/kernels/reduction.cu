// The sum of each row of 1000, by the threads of a block.
extern "C" __global__ void row_sums(const float* x, float* y) {
  __shared__ float parts[32];
  float sum = 0;
  for (int i = threadIdx.x; i < 1000; i += blockDim.x) sum += x[blockIdx.x * 1000 + i];
  for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
    for (int o = 16; o; o >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, o);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
  }
}

// The same without the barrier.
extern "C" __global__ void row_sums_racing(const float* x, float* y) {
  __shared__ float parts[32];
  float sum = 0;
  for (int i = threadIdx.x; i < 1000; i += blockDim.x) sum += x[blockIdx.x * 1000 + i];
  for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = sum;
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
    for (int o = 16; o; o >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, o);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
  }
}

// Votes, reductions of a warp and barriers that count.
extern "C" __global__ void votes(const int* x, int* y) {
  const int v = x[threadIdx.x];
  int r = __any_sync(0xffffffffu, v == 7) + 2 * __all_sync(0xffffffffu, v < 100);
  r += 4 * __popc(__ballot_sync(0xffffffffu, v & 1)) + 256 * __reduce_max_sync(0xffffffffu, v);
  r += 65536 * __syncthreads_count(v > 50) + 16777216 * __syncthreads_or(v == 99);
  y[threadIdx.x] = r;
}

// A reduction in shared memory, by a warp that synchronises or not.
template <bool SYNC> __device__ void warp_tail(const float* x, float* y) {
  __shared__ volatile float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  s[threadIdx.x + 32] = x[threadIdx.x + 32];
  for (int o = 32; o; o >>= 1) {
    float other = 0;
    if (threadIdx.x < o) other = s[threadIdx.x + o];
    if (SYNC) __syncwarp();
    if (threadIdx.x < o) s[threadIdx.x] = s[threadIdx.x] + other;
    if (SYNC) __syncwarp();
  }
  if (threadIdx.x == 0) *y = s[0];
}
extern "C" __global__ void warp_tail_synchronised(const float* x, float* y) { warp_tail<true>(x, y); }
extern "C" __global__ void warp_tail_racing(const float* x, float* y) { warp_tail<false>(x, y); }
