// A bf16 is the upper half of an f32. Arithmetic is in f32.
typedef unsigned short bf16;

__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((unsigned)x << 16); }

// The nearest bf16, ties to even; a NaN stays one.
__device__ __forceinline__ bf16 narrow(float x) {
    const unsigned bits = __float_as_uint(x);
    const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bf16)(x != x ? (bits >> 16 | 0x40u) : rounded);
}

__device__ __forceinline__ float round_bf16(float x) { return widen(narrow(x)); }

__device__ __forceinline__ float load(const float* p) { return *p; }
__device__ __forceinline__ float load(const bf16* p) { return widen(*p); }
__device__ __forceinline__ void store(float* p, float x) { *p = x; }
__device__ __forceinline__ void store(bf16* p, float x) { *p = narrow(x); }

// Four neighbours at once; the first is at a multiple of four elements.
__device__ __forceinline__ void load4(float (&to)[4], const float* p) {
    const float4 x = *(const float4*)p;
    to[0] = x.x;
    to[1] = x.y;
    to[2] = x.z;
    to[3] = x.w;
}
__device__ __forceinline__ void load4(float (&to)[4], const bf16* p) {
    const uint2 x = *(const uint2*)p;
    to[0] = __uint_as_float(x.x << 16);
    to[1] = __uint_as_float(x.x & 0xffff0000u);
    to[2] = __uint_as_float(x.y << 16);
    to[3] = __uint_as_float(x.y & 0xffff0000u);
}
__device__ __forceinline__ void store4(float* p, const float (&x)[4]) {
    *(float4*)p = make_float4(x[0], x[1], x[2], x[3]);
}
__device__ __forceinline__ void store4(bf16* p, const float (&x)[4]) {
    *(uint2*)p = make_uint2(narrow(x[0]) | (unsigned)narrow(x[1]) << 16,
                            narrow(x[2]) | (unsigned)narrow(x[3]) << 16);
}

// Accumulators, which begin as `none()`. `add` takes one value, `merge` another accumulator, `from` gives that of the thread
// `by` further on in the warp, `result` is what they make.
struct Sum {
    float total;
    static __device__ __forceinline__ Sum none() { return {0.0f}; }
    __device__ __forceinline__ void add(float x) { total += x; }
    __device__ __forceinline__ void merge(const Sum& other) { total += other.total; }
    __device__ __forceinline__ Sum from(int by) const {
        return {__shfl_down_sync(0xffffffffu, total, by)};
    }
    __device__ __forceinline__ float result() const { return total; }
};

// The maximum; a NaN is ignored.
struct Max {
    float most;
    static __device__ __forceinline__ Max none() { return {__uint_as_float(0xff800000u)}; }
    __device__ __forceinline__ void add(float x) { most = most < x ? x : most; }
    __device__ __forceinline__ void merge(const Max& other) { add(other.most); }
    __device__ __forceinline__ Max from(int by) const {
        return {__shfl_down_sync(0xffffffffu, most, by)};
    }
    __device__ __forceinline__ float result() const { return most; }
};

// The sum of squared deviations from the mean. One value is added as by Welford (1962), two accumulators are merged as by
// Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance" (1979).
struct Deviations {
    float count;
    float mean;
    float total;
    static __device__ __forceinline__ Deviations none() { return {0.0f, 0.0f, 0.0f}; }
    __device__ __forceinline__ void add(float x) {
        count += 1.0f;
        const float difference = x - mean;
        mean += difference * (1.0f / count);
        total += difference * (x - mean);
    }
    __device__ __forceinline__ void merge(const Deviations& other) {
        if (other.count == 0.0f) {
            return;
        }
        const float sum = count + other.count;
        const float part = other.count / sum;
        const float difference = other.mean - mean;
        mean += difference * part;
        total += other.total + difference * difference * (count * part);
        count = sum;
    }
    __device__ __forceinline__ Deviations from(int by) const {
        return {__shfl_down_sync(0xffffffffu, count, by), __shfl_down_sync(0xffffffffu, mean, by),
                __shfl_down_sync(0xffffffffu, total, by)};
    }
    __device__ __forceinline__ float result() const { return total; }
};

// All of a warp's accumulators, in its first thread. Every thread of the warp calls it.
template <typename Accumulator>
__device__ __forceinline__ Accumulator across_warp(Accumulator mine) {
    #pragma unroll
    for (int by = 16; by > 0; by /= 2) {
        mine.merge(mine.from(by));
    }
    return mine;
}

// All of a block's accumulators, in its first thread; `shared` has room for one of each warp. Every thread of the block calls
// it. Before `shared` is used again the block must meet.
template <int THREADS, typename Accumulator>
__device__ __forceinline__ Accumulator across_block(Accumulator mine, Accumulator* shared) {
    mine = across_warp(mine);
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = mine;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < THREADS / 32; warp++) {
            mine.merge(shared[warp]);
        }
    }
    return mine;
}
