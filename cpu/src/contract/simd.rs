//! The register tiles of each level, and the panels that columns are cut into.
//!
//! AVX2 and AVX-512 use fused multiply-add, the portable level rounds the product as well; so the bits are the same for AVX2
//! and AVX-512, and differ from the portable ones in the last place. Dot products of bf16 pairs add in an order of their own.

use super::operands::Products;
use super::tiles::{columns_tile, rows_tile};
use super::vector::{Four, Vector};
use crate::level::Level;

/// A run of the inner index: `len` consecutive elements of A, `offset` bytes from each row's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: usize,
    pub len: usize,
}

/// How a tile's sums get into C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    F32,
    /// Added to the f32 that are there.
    Add,
    /// As f32 past the caches; rows of C are aligned to a vector.
    Stream,
    /// Rounded to the nearest bf16.
    Bf16,
    /// As bf16 past the caches, by tiles of two vectors; rows of C are aligned to those.
    StreamBf16,
}

/// Where a tile goes.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Columns that exist; the rest of the vectors is dropped.
    pub columns: usize,
    pub store: Store,
    /// Bytes from C to where what it then holds goes as well, past the caches; 0 for nowhere.
    pub twin: isize,
}

/// Rows of a tile: a place, and how many bytes each row is from there.
pub type Rows<P> = (P, *const usize);

/// `C[m][·] (+)= Σ_k A[m][k] B[k][·]`: (A's rows, segments, B packed in rows of the panel's width, C's rows, tile).
pub type RowsKernel = unsafe fn(Rows<*const u8>, &[Segment], *const f32, Rows<*mut u8>, Tile);

/// Lines that a tile brings into the second-level cache as it works, one at each step: a place that need not be valid, and
/// bytes from there for each step.
#[derive(Clone, Copy)]
pub struct Ahead {
    pub place: *const u8,
    pub offsets: *const usize,
}

/// `C[m][·] (+)= Σ_p A[p][m] B[p][·]` over words of A and B: (A, offsets of A's places for each p, B, its row stride, C in
/// f32, its row stride, tile, lines to bring for each p, if any).
pub type ColumnsKernel =
    unsafe fn(*const f32, &[usize], *const f32, usize, *mut f32, usize, Tile, Option<Ahead>);

/// The kernels of one tile size.
#[derive(Clone, Copy, Debug)]
pub struct TileKernels {
    /// Rows of the tile.
    pub height: usize,
    pub rows: RowsKernel,
    pub columns: ColumnsKernel,
}

/// Kernels of one panel width, one for each height from 1 on.
#[derive(Clone, Debug)]
pub struct Panel {
    pub width: usize,
    pub tiles: Vec<TileKernels>,
}

impl Panel {
    /// The highest tile.
    pub fn highest(&self) -> TileKernels {
        self.tiles[self.tiles.len() - 1]
    }

    /// The tiles, as high as each other or one less, that `rows` rows are cut into: kernels and the first row of each.
    pub fn cut(&self, rows: usize) -> impl Iterator<Item = (usize, TileKernels)> + '_ {
        let count = rows.div_ceil(self.tiles.len());
        let (height, higher) = (rows / count.max(1), rows % count.max(1));
        (0..count).map(move |i| {
            let tile = height + usize::from(i < higher);
            (i * height + i.min(higher), self.tiles[tile - 1])
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
    pub fn new(level: Level, products: Products) -> Kernels {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if products == Products::Pairs => pairs_kernels(),
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

/// Defines a function that gives the kernels of a level: vector type, and the row counts of the wide and the narrow panel.
macro_rules! kernels {
    ($name:ident, $vector:ty, $(#[$feature:meta])*, wide: [$($wide:literal),*], narrow: [$($narrow:literal),*]) => {
        fn $name() -> Kernels {
            $(#[$feature])*
            unsafe fn rows<const M: usize, const N: usize>(
                a: Rows<*const u8>,
                segments: &[Segment],
                b: *const f32,
                c: Rows<*mut u8>,
                tile: Tile,
            ) {
                // SAFETY: the caller's.
                unsafe { rows_tile::<$vector, M, N>(a, segments, b, c, tile) }
            }
            $(#[$feature])*
            #[allow(clippy::too_many_arguments)]
            unsafe fn columns<const M: usize, const N: usize>(
                a: *const f32,
                offsets: &[usize],
                b: *const f32,
                b_stride: usize,
                c: *mut f32,
                c_stride: usize,
                tile: Tile,
                ahead: Option<Ahead>,
            ) {
                // SAFETY: the caller's.
                unsafe {
                    columns_tile::<$vector, M, N>(
                        a, offsets, b, b_stride, c, c_stride, tile, ahead,
                    )
                }
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

kernels!(portable_kernels, Four, , wide: [1, 2, 3, 4], narrow: [1, 2, 3, 4, 5, 6, 7, 8]);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2_kernels,
    std::arch::x86_64::__m256,
    #[target_feature(enable = "avx2,fma")],
    wide: [1, 2, 3, 4, 5, 6],
    narrow: [1, 2, 3, 4, 5, 6, 7, 8]
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512_kernels,
    std::arch::x86_64::__m512,
    #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")],
    wide: [1, 2, 3, 4, 5, 6, 7, 8, 9],
    narrow: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
);
#[cfg(target_arch = "x86_64")]
kernels!(
    pairs_kernels,
    super::words::Pairs,
    #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")],
    wide: [1, 2, 3, 4, 5, 6, 7, 8, 9],
    narrow: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
);
