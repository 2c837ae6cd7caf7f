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

// All of a block's accumulators, in its first thread. `shared` has room for one of each warp and may be in use from before. Every
// thread of the block calls it.
template <int THREADS, typename Accumulator>
__device__ __forceinline__ Accumulator across_block(Accumulator mine, void* shared) {
    Accumulator* const all = (Accumulator*)shared;
    mine = across_warp(mine);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        all[threadIdx.x / 32] = mine;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < THREADS / 32; warp++) {
            mine.merge(all[warp]);
        }
    }
    return mine;
}

// A block of COLUMNS times LANES threads, the columns side by side: the accumulators of a column's lanes in its first. LANES is a
// power of two. `shared` has room for WIDTH of each thread and may be in use from before. Every thread of the block calls it.
template <int COLUMNS, int LANES, int WIDTH, typename Accumulator>
__device__ __forceinline__ void across_lanes(Accumulator (&mine)[WIDTH], void* shared) {
    Accumulator* const all = (Accumulator*)shared;
    const int lane = threadIdx.x / COLUMNS;
    __syncthreads();
    #pragma unroll
    for (int half = LANES / 2; half > 0; half /= 2) {
        if (lane >= half && lane < 2 * half) {
            #pragma unroll
            for (int i = 0; i < WIDTH; i++) {
                all[i * COLUMNS * LANES + threadIdx.x] = mine[i];
            }
        }
        __syncthreads();
        if (lane < half) {
            #pragma unroll
            for (int i = 0; i < WIDTH; i++) {
                mine[i].merge(all[i * COLUMNS * LANES + threadIdx.x + half * COLUMNS]);
            }
        }
    }
}

// An index from data, kept inside an axis: NaN and negative numbers are 0, large ones the last place.
__device__ __forceinline__ long long nearest_place(float index, long long size) {
    if (!(index > 0.0f)) {
        return 0;
    }
    return index < 9.0e18f && (long long)index < size ? (long long)index : size - 1;
}

// Whether a value wins a maximum over one that stands after it, and over one that stands before it: the first of equals wins, and
// the first NaN.
__device__ __forceinline__ bool beats_later(float x, float later) { return !(later > x) && !(later != later && x == x); }
__device__ __forceinline__ bool beats_earlier(float x, float earlier) { return x > earlier || (x != x && earlier == earlier); }

// The first word of Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), of a counter of four
// words and a key of two.
__device__ __forceinline__ unsigned philox(unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
    #pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned low0 = 0xd2511f53u * c0;
        const unsigned low1 = 0xcd9e8d57u * c2;
        const unsigned high0 = __umulhi(0xd2511f53u, c0);
        const unsigned high1 = __umulhi(0xcd9e8d57u, c2);
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return c0;
}
