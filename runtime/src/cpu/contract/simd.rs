//! Register tiles: the two inner loops of every contraction, for each level.
//!
//! Both compute a tile of `C` of some rows by one or two vectors, adding `a·b` over an inner index in its order with one
//! accumulator per element. AVX2 and AVX-512 use fused multiply-add, the portable level rounds the product as well; so the
//! bits are the same for AVX2 and AVX-512, and differ from the portable ones in the last place.

use super::vector::{Four, Vector};
use crate::cpu::level::Level;

/// A run of the inner index: `len` consecutive elements of A, `offset` from each row's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: usize,
    pub len: usize,
}

/// Where a tile goes, and whether it adds to what is there.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Columns that exist; the rest of the vectors is dropped.
    pub columns: usize,
    pub accumulate: bool,
}

/// `C[m][·] (+)= Σ_k A[m][k] B[k][·]`: (A's rows, segments, B packed in rows of the panel's width, C's rows, tile).
pub type RowsKernel = unsafe fn(*const *const f32, &[Segment], *const f32, *const *mut f32, Tile);

/// `C[m][·] (+)= Σ_p A[p][m] B[p][·]`: (A, offsets of A's places for each p, B, its row stride, C, its row stride, tile).
pub type ColumnsKernel = unsafe fn(*const f32, &[usize], *const f32, usize, *mut f32, usize, Tile);

/// The kernels of one tile size.
#[derive(Clone, Copy, Debug)]
pub struct TileKernels {
    /// Rows of the tile.
    pub height: usize,
    pub rows: RowsKernel,
    pub columns: ColumnsKernel,
}

/// Kernels of one panel width, the highest tile first; the last has one row.
#[derive(Clone, Debug)]
pub struct Panel {
    pub width: usize,
    pub tiles: Vec<TileKernels>,
}

impl Panel {
    /// The highest tile.
    pub fn highest(&self) -> TileKernels {
        self.tiles[0]
    }

    /// The tiles that `rows` rows are cut into: kernels and the first row of each.
    pub fn cut(&self, rows: usize) -> impl Iterator<Item = (usize, TileKernels)> + '_ {
        let mut at = 0;
        let mut size = 0;
        std::iter::from_fn(move || {
            while size < self.tiles.len() && at + self.tiles[size].height > rows {
                size += 1;
            }
            let tile = *self.tiles.get(size)?;
            at += tile.height;
            Some((at - tile.height, tile))
        })
    }
}

/// The kernels of a level.
#[derive(Clone, Debug)]
pub struct Kernels {
    pub wide: Panel,
    pub narrow: Panel,
}

impl Kernels {
    pub fn new(level: Level) -> Kernels {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512_kernels(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2_kernels(),
            _ => portable_kernels(),
        }
    }

    /// The panels that `n` columns are cut into: wide ones, and a narrow one if the rest fits into it.
    /// Gives the first column of each, and whether it is wide.
    pub fn panels(&self, n: usize) -> Vec<(usize, bool)> {
        let mut panels = Vec::new();
        let mut first = 0;
        while first < n {
            let wide = n - first > self.narrow.width;
            panels.push((first, wide));
            first += if wide {
                self.wide.width
            } else {
                self.narrow.width
            };
        }
        panels
    }

    pub fn panel(&self, wide: bool) -> &Panel {
        if wide { &self.wide } else { &self.narrow }
    }
}

/// The most lanes of a panel.
const MAX_WIDTH: usize = 32;

/// Repeats a block for each index below a constant of at most 16. Unlike a loop it leaves only constant indices, which
/// keeps the accumulators in registers.
macro_rules! unroll {
    ($i:ident < $limit:expr => $body:block) => {
        unroll!(@ $i, $limit, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $i:ident, $limit:expr, $body:block, $($n:literal)*) => {
        $(
            if $n < $limit {
                #[allow(clippy::no_effect_underscore_binding)]
                let $i: usize = $n;
                $body
            }
        )*
    };
}
pub(super) use unroll;

/// Puts a tile's accumulators into C.
#[inline(always)]
unsafe fn put<V: Vector, const M: usize, const N: usize>(
    acc: [[V; N]; M],
    c: impl Fn(usize) -> *mut f32,
    tile: Tile,
) {
    // SAFETY: C's rows are good for the tile's columns.
    unsafe {
        if tile.columns == N * V::LANES {
            unroll!(m < M => {
                unroll!(v < N => {
                    let p = c(m).add(v * V::LANES);
                    if tile.accumulate {
                        V::load(p).add(acc[m][v]).store(p);
                    } else {
                        acc[m][v].store(p);
                    }
                });
            });
        } else {
            let mut spill = [0.0f32; MAX_WIDTH];
            unroll!(m < M => {
                unroll!(v < N => {
                    acc[m][v].store(spill.as_mut_ptr().add(v * V::LANES));
                });
                put_part(&spill, c(m), tile);
            });
        }
    }
}

/// Puts a row of which not all columns exist.
#[inline(never)]
unsafe fn put_part(row: &[f32; MAX_WIDTH], c: *mut f32, tile: Tile) {
    for (i, value) in row.iter().enumerate().take(tile.columns) {
        // SAFETY: C's row is good for the tile's columns.
        unsafe {
            *c.add(i) = if tile.accumulate {
                *c.add(i) + value
            } else {
                *value
            };
        }
    }
}

/// One inner index: `acc[m] += a(m)·b`.
#[inline(always)]
unsafe fn step<V: Vector, const M: usize, const N: usize>(
    acc: &mut [[V; N]; M],
    a: impl Fn(usize) -> *const f32,
    b: *const f32,
) {
    // SAFETY: B is good for a row of the panel, A for an element of each row.
    unsafe {
        let mut bv = [V::zero(); N];
        unroll!(v < N => { bv[v] = V::load(b.add(v * V::LANES)); });
        unroll!(m < M => {
            let av = V::splat(a(m));
            unroll!(v < N => { acc[m][v] = acc[m][v].add_product(av, bv[v]); });
        });
    }
}

#[inline(always)]
unsafe fn rows_tile<V: Vector, const M: usize, const N: usize>(
    a: *const *const f32,
    segments: &[Segment],
    b: *const f32,
    c: *const *mut f32,
    tile: Tile,
) {
    // SAFETY: A's rows are good for every segment, B for the sum of their lengths in rows of a panel.
    unsafe {
        let mut acc = [[V::zero(); N]; M];
        let mut b = b;
        for segment in segments {
            let mut rows = [std::ptr::null(); M];
            unroll!(m < M => { rows[m] = (*a.add(m)).add(segment.offset); });
            let mut k = 0;
            while k + 4 <= segment.len {
                unroll!(u < 4 => {
                    step(&mut acc, |m| rows[m].add(k + u), b.add(u * N * V::LANES));
                });
                b = b.add(4 * N * V::LANES);
                k += 4;
            }
            while k < segment.len {
                step(&mut acc, |m| rows[m].add(k), b);
                b = b.add(N * V::LANES);
                k += 1;
            }
        }
        put(acc, |m| *c.add(m), tile);
    }
}

#[inline(always)]
unsafe fn columns_tile<V: Vector, const M: usize, const N: usize>(
    a: *const f32,
    offsets: &[usize],
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    tile: Tile,
) {
    // SAFETY: A is good for M elements at every offset, B for a row of the panel's width at every p.
    unsafe {
        let mut acc = [[V::zero(); N]; M];
        let mut b = b;
        for offset in offsets {
            let a = a.add(*offset);
            step(&mut acc, |m| a.add(m), b);
            b = b.wrapping_add(b_stride);
        }
        put(acc, |m| c.add(m * c_stride), tile);
    }
}

/// Defines a function that gives the kernels of a level: vector type, and the row counts of the wide and the narrow panel.
macro_rules! kernels {
    ($name:ident, $vector:ty, $(#[$feature:meta])*, wide: [$($wide:literal),*], narrow: [$($narrow:literal),*]) => {
        fn $name() -> Kernels {
            $(#[$feature])*
            unsafe fn rows<const M: usize, const N: usize>(
                a: *const *const f32,
                segments: &[Segment],
                b: *const f32,
                c: *const *mut f32,
                tile: Tile,
            ) {
                // SAFETY: the caller's.
                unsafe { rows_tile::<$vector, M, N>(a, segments, b, c, tile) }
            }
            $(#[$feature])*
            unsafe fn columns<const M: usize, const N: usize>(
                a: *const f32,
                offsets: &[usize],
                b: *const f32,
                b_stride: usize,
                c: *mut f32,
                c_stride: usize,
                tile: Tile,
            ) {
                // SAFETY: the caller's.
                unsafe { columns_tile::<$vector, M, N>(a, offsets, b, b_stride, c, c_stride, tile) }
            }
            Kernels {
                wide: Panel {
                    width: 2 * <$vector as Vector>::LANES,
                    tiles: vec![$(TileKernels {
                        height: $wide,
                        rows: rows::<$wide, 2>,
                        columns: columns::<$wide, 2>,
                    }),*],
                },
                narrow: Panel {
                    width: <$vector as Vector>::LANES,
                    tiles: vec![$(TileKernels {
                        height: $narrow,
                        rows: rows::<$narrow, 1>,
                        columns: columns::<$narrow, 1>,
                    }),*],
                },
            }
        }
    };
}

kernels!(portable_kernels, Four, , wide: [4, 2, 1], narrow: [8, 4, 2, 1]);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2_kernels,
    std::arch::x86_64::__m256,
    #[target_feature(enable = "avx2,fma")],
    wide: [6, 4, 2, 1],
    narrow: [8, 4, 2, 1]
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512_kernels,
    std::arch::x86_64::__m512,
    #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")],
    wide: [8, 4, 2, 1],
    narrow: [16, 8, 4, 2, 1]
);
