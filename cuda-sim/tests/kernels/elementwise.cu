// y = x * scale + 1, four values a thread, and the rest one by one.
extern "C" __global__ void scale_and_shift(const float* __restrict__ x, float* __restrict__ y, float scale, int n) {
  const int at = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (at + 3 < n) {
    const float4 v = *reinterpret_cast<const float4*>(x + at);
    *reinterpret_cast<float4*>(y + at) = make_float4(v.x * scale + 1, v.y * scale + 1, v.z * scale + 1, v.w * scale + 1);
  } else {
    for (int i = at; i < n; i++) y[i] = x[i] * scale + 1;
  }
}

// Functions of the library, among them those with a slow path in local memory.
extern "C" __global__ void functions(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float v = x[i];
  y[i * 8] = expf(v);
  y[i * 8 + 1] = logf(fabsf(v) + 1);
  y[i * 8 + 2] = sinf(v);
  y[i * 8 + 3] = cosf(v * 1e6f);
  y[i * 8 + 4] = erff(v);
  y[i * 8 + 5] = tanhf(v);
  y[i * 8 + 6] = rsqrtf(fabsf(v) + 1);
  y[i * 8 + 7] = powf(fabsf(v), 1.5f);
}

// Whole numbers of all widths.
extern "C" __global__ void integers(const unsigned* x, unsigned* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const unsigned a = x[i], b = x[n - 1 - i];
  const unsigned long long wide = (unsigned long long)a << 32 | b;
  unsigned r = __umulhi(a, b) ^ __popc(a) ^ __clz(b) ^ __brev(a) ^ __byte_perm(a, b, 0x3715);
  r += __funnelshift_l(a, b, 7) + (unsigned)(wide / (b | 1)) + (unsigned)(wide % 1000003) + (unsigned)((short)a * (short)b);
  y[i] = r + (unsigned)((long long)wide >> 13) + (a < b) + ((int)a > (int)b ? 3u : 5u) + __ffs(a);
}

// bf16 in and out, two of a register.
extern "C" __global__ void halves(const unsigned short* x, unsigned short* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i * 2 >= n) return;
  const unsigned pair = reinterpret_cast<const unsigned*>(x)[i];
  const float low = __uint_as_float(pair << 16) * 2, high = __uint_as_float(pair & 0xffff0000u) + 1;
  unsigned result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  reinterpret_cast<unsigned*>(y)[i] = result;
}

// A function that is not inlined, with an array of its own.
__device__ __noinline__ float pick(const float* x, int i) {
  float taken[4];
  for (int k = 0; k < 4; k++) taken[(k + i) & 3] = x[k];
  return taken[i & 3] + taken[(i + 1) & 3] * 10;
}
extern "C" __global__ void calls(const float* x, float* y) { y[threadIdx.x] = pick(x, threadIdx.x); }

__constant__ float table[4] = {1, 2, 4, 8};
__device__ int counter;
extern "C" __global__ void variables(float* y) {
  y[threadIdx.x] = table[threadIdx.x & 3];
  atomicAdd(&counter, 1);
}
