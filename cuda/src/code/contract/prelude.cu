
// Copies BYTES to shared memory without waiting for them; zeros where there is nothing to copy.
template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
    const unsigned at = (unsigned)__cvta_generic_to_shared(to);
    const int bytes = there ? BYTES : 0;
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    } else if constexpr (BYTES == 8) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    }
}

// Ends a group of copies.
__device__ __forceinline__ void copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until only the last GROUPS groups of this thread's copies may be on their way.
template <int GROUPS>
__device__ __forceinline__ void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

// BYTES bytes as the widest words that hold them.
template <int BYTES> struct Words;
template <> struct Words<16> { typedef uint4 type; };
template <> struct Words<8> { typedef uint2 type; };
template <> struct Words<4> { typedef unsigned type; };
template <> struct Words<2> { typedef unsigned short type; };

// One, two, four or eight neighbours as f32.
__device__ __forceinline__ void unpack(float (&to)[1], unsigned x, const float*) { to[0] = __uint_as_float(x); }
__device__ __forceinline__ void unpack(float (&to)[2], uint2 x, const float*) {
    to[0] = __uint_as_float(x.x);
    to[1] = __uint_as_float(x.y);
}
__device__ __forceinline__ void unpack(float (&to)[4], uint4 x, const float*) {
    to[0] = __uint_as_float(x.x);
    to[1] = __uint_as_float(x.y);
    to[2] = __uint_as_float(x.z);
    to[3] = __uint_as_float(x.w);
}
__device__ __forceinline__ void unpack(float (&to)[1], unsigned short x, const bf16*) { to[0] = widen(x); }
__device__ __forceinline__ void unpack(float (&to)[2], unsigned x, const bf16*) {
    to[0] = __uint_as_float(x << 16);
    to[1] = __uint_as_float(x & 0xffff0000u);
}
__device__ __forceinline__ void unpack(float (&to)[4], uint2 x, const bf16*) {
    to[0] = __uint_as_float(x.x << 16);
    to[1] = __uint_as_float(x.x & 0xffff0000u);
    to[2] = __uint_as_float(x.y << 16);
    to[3] = __uint_as_float(x.y & 0xffff0000u);
}
__device__ __forceinline__ void unpack(float (&to)[8], uint4 x, const bf16*) {
    to[0] = __uint_as_float(x.x << 16);
    to[1] = __uint_as_float(x.x & 0xffff0000u);
    to[2] = __uint_as_float(x.y << 16);
    to[3] = __uint_as_float(x.y & 0xffff0000u);
    to[4] = __uint_as_float(x.z << 16);
    to[5] = __uint_as_float(x.z & 0xffff0000u);
    to[6] = __uint_as_float(x.w << 16);
    to[7] = __uint_as_float(x.w & 0xffff0000u);
}

__device__ __forceinline__ unsigned narrow2(float low, float high) {
    return narrow(low) | (unsigned)narrow(high) << 16;
}

// Stores one, two, four or eight neighbours.
__device__ __forceinline__ void store_all(float* p, const float (&x)[1]) { *p = x[0]; }
__device__ __forceinline__ void store_all(float* p, const float (&x)[2]) { *(float2*)p = make_float2(x[0], x[1]); }
__device__ __forceinline__ void store_all(float* p, const float (&x)[4]) { store4(p, x); }
__device__ __forceinline__ void store_all(bf16* p, const float (&x)[1]) { *p = narrow(x[0]); }
__device__ __forceinline__ void store_all(bf16* p, const float (&x)[2]) { *(unsigned*)p = narrow2(x[0], x[1]); }
__device__ __forceinline__ void store_all(bf16* p, const float (&x)[4]) { store4(p, x); }
__device__ __forceinline__ void store_all(bf16* p, const float (&x)[8]) {
    *(uint4*)p = make_uint4(narrow2(x[0], x[1]), narrow2(x[2], x[3]), narrow2(x[4], x[5]), narrow2(x[6], x[7]));
}

// Loads COUNT neighbours, of which the first is at a multiple of COUNT.
template <int COUNT, typename Element>
__device__ __forceinline__ void load_all(float (&to)[COUNT], const Element* p) {
    if constexpr (COUNT == 4) {
        load4(to, p);
    } else if constexpr (COUNT == 8) {
        float first[4], second[4];
        load4(first, p);
        load4(second, p + 4);
        #pragma unroll
        for (int i = 0; i < 4; i++) {
            to[i] = first[i];
            to[4 + i] = second[i];
        }
    } else if constexpr (COUNT == 2 && sizeof(Element) == 4) {
        const float2 two = *(const float2*)p;
        to[0] = two.x;
        to[1] = two.y;
    } else {
        #pragma unroll
        for (int i = 0; i < COUNT; i++) {
            to[i] = load(p + i);
        }
    }
}

// Four matrices of 8 by 8 bf16, each thread naming a row of one; `matrices_turned` gives their transposes.
__device__ __forceinline__ void matrices(unsigned (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}
__device__ __forceinline__ void matrices_turned(unsigned (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

// Adds the product of 16 by 16 and 16 by 8 bf16 to the f32 sums.
__device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Adds the n-th value to deviations that have n - 1, where `share` is 1 / n.
__device__ __forceinline__ void add_nth(Deviations& to, float x, float n, float share) {
    const float difference = x - to.mean;
    to.mean += difference * share;
    to.total += difference * (x - to.mean);
    to.count = n;
}
