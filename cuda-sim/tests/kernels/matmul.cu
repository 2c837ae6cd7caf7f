// c[m, n] = a[m, k] b[k, n] in tiles of 16 by 16; all sizes are multiples of 16.
extern "C" __global__ void tiled(const float* a, const float* b, float* c, int m, int n, int k) {
  __shared__ float ta[16][17], tb[16][17];
  const int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
  float sum = 0;
  for (int at = 0; at < k; at += 16) {
    ta[y][x] = a[row * k + at + x];
    tb[y][x] = b[(at + y) * n + column];
    __syncthreads();
    for (int i = 0; i < 16; i++) sum = fmaf(ta[y][i], tb[i][x], sum);
    __syncthreads();
  }
  c[row * n + column] = sum;
}

// c[16, 8] = a[16, 16] b[16, 8] of bf16 (b by columns), by one warp: a through ldmatrix.
extern "C" __global__ void mma_bf16(const unsigned short* a, const unsigned short* b, float* c) {
  __shared__ __align__(16) unsigned short tile[16 * 16];
  const int lane = threadIdx.x;
  reinterpret_cast<uint4*>(tile)[lane] = reinterpret_cast<const uint4*>(a)[lane];
  __syncwarp();
  unsigned ra[4], rb[2];
  const unsigned from = (unsigned)__cvta_generic_to_shared(tile + (lane % 16) * 16 + lane / 16 * 8);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3]) : "r"(from));
  rb[0] = reinterpret_cast<const unsigned*>(b)[lane / 4 * 8 + lane % 4];
  rb[1] = reinterpret_cast<const unsigned*>(b)[lane / 4 * 8 + lane % 4 + 4];
  float d[4] = {0, 0, 0, 0};
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
  for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

// The same of f32 rounded to tf32: c[16, 8] = a[16, 8] b[8, 8], b by rows.
extern "C" __global__ void mma_tf32(const float* a, const float* b, float* c) {
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const float values[6] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4], b[t * 8 + g], b[(t + 4) * 8 + g]};
  unsigned r[6];
  for (int i = 0; i < 6; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r[i]) : "f"(values[i]));
  float d[4] = {0, 0, 0, 0};
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(r[4]), "r"(r[5]));
  for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}

// A matrix transposed on its way to registers.
extern "C" __global__ void transposed(const unsigned short* x, unsigned* y) {
  __shared__ __align__(16) unsigned short tile[64];
  reinterpret_cast<unsigned*>(tile)[threadIdx.x] = reinterpret_cast<const unsigned*>(x)[threadIdx.x];
  __syncwarp();
  unsigned r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
               : "=r"(r) : "r"((unsigned)__cvta_generic_to_shared(tile + threadIdx.x % 8 * 8)));
  y[threadIdx.x] = r;
}
