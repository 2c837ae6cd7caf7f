//! Register tiles: the two inner loops of every contraction.
//!
//! Both compute a tile of `C` of some rows by one or two vectors, adding `a·b` over an inner index in its order with one
//! accumulator per element.

use super::simd::{Ahead, Rows, Segment, Store, Tile};
use super::words::Words;
use crate::fetch::prefetch;
use sslc_compiler::core::bf16::narrow;

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
unsafe fn put<V: Words, const M: usize, const N: usize>(
    acc: [[V; N]; M],
    c: impl Fn(usize) -> *mut u8,
    tile: Tile,
) {
    // SAFETY: C's rows are good for the tile's columns, and aligned to what is streamed.
    unsafe {
        if tile.columns < N * V::LANES {
            let mut spill = [0.0f32; MAX_WIDTH];
            unroll!(m < M => {
                unroll!(v < N => {
                    acc[m][v].store(spill.as_mut_ptr().add(v * V::LANES));
                });
                put_part(&spill, c(m), tile);
                if tile.twin != 0 {
                    copy_part(c(m), tile);
                }
            });
            return;
        }
        match tile.store {
            Store::F32 => {
                unroll!(m < M => {
                    unroll!(v < N => {
                        let p = c(m).cast::<f32>().add(v * V::LANES);
                        acc[m][v].store(p);
                        if tile.twin != 0 {
                            acc[m][v].stream(p.wrapping_byte_offset(tile.twin));
                        }
                    });
                });
            }
            Store::Add => {
                unroll!(m < M => {
                    unroll!(v < N => {
                        let p = c(m).cast::<f32>().add(v * V::LANES);
                        let sum = V::load(p).add(acc[m][v]);
                        sum.store(p);
                        if tile.twin != 0 {
                            sum.stream(p.wrapping_byte_offset(tile.twin));
                        }
                    });
                });
            }
            Store::Stream => {
                unroll!(m < M => {
                    unroll!(v < N => { acc[m][v].stream(c(m).cast::<f32>().add(v * V::LANES)); });
                });
            }
            Store::Bf16 => {
                unroll!(m < M => {
                    unroll!(v < N => { acc[m][v].store_bf16(c(m).cast::<u16>().add(v * V::LANES)); });
                    if tile.twin != 0 {
                        if N == 2 {
                            acc[m][0].stream_bf16(acc[m][1], c(m).cast::<u16>().wrapping_byte_offset(tile.twin));
                        } else {
                            copy_part(c(m), tile);
                        }
                    }
                });
            }
            Store::StreamBf16 => {
                unroll!(m < M => { acc[m][0].stream_bf16(acc[m][N - 1], c(m).cast()); });
            }
        }
    }
}

/// Puts a row of which not all columns exist.
#[inline(never)]
unsafe fn put_part(row: &[f32; MAX_WIDTH], c: *mut u8, tile: Tile) {
    let whole = c.cast::<f32>();
    for (i, value) in row.iter().enumerate().take(tile.columns) {
        // SAFETY: C's row is good for the tile's columns.
        unsafe {
            match tile.store {
                Store::F32 | Store::Stream => *whole.add(i) = *value,
                Store::Add => *whole.add(i) += value,
                Store::Bf16 | Store::StreamBf16 => *c.cast::<u16>().add(i) = narrow(*value),
            }
        }
    }
}

/// Copies a row that has been put to where it goes as well.
#[inline(never)]
unsafe fn copy_part(c: *mut u8, tile: Tile) {
    let bytes = match tile.store {
        Store::F32 | Store::Add | Store::Stream => 4,
        Store::Bf16 | Store::StreamBf16 => 2,
    };
    // SAFETY: both rows are good for the tile's columns.
    unsafe {
        std::ptr::copy_nonoverlapping(c, c.wrapping_offset(tile.twin), tile.columns * bytes);
    }
}

/// One word of the inner index: `acc[m] += a(m)·b`.
#[inline(always)]
unsafe fn step<V: Words, const M: usize, const N: usize>(
    acc: &mut [[V; N]; M],
    a: impl Fn(usize) -> V,
    b: *const f32,
) {
    // SAFETY: B is good for a row of the panel.
    unsafe {
        let mut bv = [V::zero(); N];
        unroll!(v < N => { bv[v] = V::load(b.add(v * V::LANES)); });
        unroll!(m < M => {
            let av = a(m);
            unroll!(v < N => { acc[m][v] = acc[m][v].add_product(av, bv[v]); });
        });
    }
}

#[inline(always)]
pub unsafe fn rows_tile<V: Words, const M: usize, const N: usize>(
    (a, a_rows): Rows<*const u8>,
    segments: &[Segment],
    b: *const f32,
    (c, c_rows): Rows<*mut u8>,
    tile: Tile,
) {
    // SAFETY: A's rows are good for every segment, B for the sum of their lengths in rows of a panel.
    unsafe {
        let mut acc = [[V::zero(); N]; M];
        let mut b = b;
        for segment in segments {
            let mut rows = [std::ptr::null(); M];
            unroll!(m < M => { rows[m] = a.add(*a_rows.add(m) + segment.offset); });
            let words = if V::PAIRS {
                segment.len / 2
            } else {
                segment.len
            };
            let mut k = 0;
            // Steps side by side hold two rows of B at a time.
            while (M + 2) * N < V::REGISTERS && k + 4 <= words {
                unroll!(u < 4 => {
                    step(&mut acc, |m| V::word(rows[m].add(4 * (k + u))), b.add(u * N * V::LANES));
                });
                b = b.add(4 * N * V::LANES);
                k += 4;
            }
            while k < words {
                step(&mut acc, |m| V::word(rows[m].add(4 * k)), b);
                b = b.add(N * V::LANES);
                k += 1;
            }
            if V::PAIRS && segment.len % 2 == 1 {
                step(&mut acc, |m| V::half_word(rows[m].add(4 * k)), b);
                b = b.add(N * V::LANES);
            }
        }
        put(acc, |m| c.add(*c_rows.add(m)), tile);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn columns_tile<V: Words, const M: usize, const N: usize>(
    a: *const f32,
    offsets: &[usize],
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    tile: Tile,
    ahead: Option<Ahead>,
) {
    // SAFETY: A is good for M words at every offset, B for a row of the panel's width at every p; `ahead` has a line for
    // each offset.
    unsafe {
        if tile.store == Store::Add {
            unroll!(m < M => {
                unroll!(v < N => { V::prefetch(c.wrapping_add(m * c_stride + v * V::LANES)); });
            });
        }
        let mut acc = [[V::zero(); N]; M];
        let mut b = b;
        // Written out twice: a closure for both need not be inlined, and then would run without the level's instructions.
        match ahead {
            Some(ahead) => {
                for (p, offset) in offsets.iter().enumerate() {
                    prefetch(ahead.place.wrapping_add(*ahead.offsets.add(p)));
                    let a = a.add(*offset).cast::<u8>();
                    step(&mut acc, |m| V::word(a.add(4 * m)), b);
                    b = b.wrapping_add(b_stride);
                }
            }
            None => {
                for offset in offsets {
                    let a = a.add(*offset).cast::<u8>();
                    step(&mut acc, |m| V::word(a.add(4 * m)), b);
                    b = b.wrapping_add(b_stride);
                }
            }
        }
        put(acc, |m| c.add(m * c_stride).cast(), tile);
    }
}
