//! Transforms of tiles and products of transformed tiles, for each level.
//!
//! With the points 0, ±3/4, ±3/2 and ∞, the filter's gradient is `dg = Gᵀ [ Σ (A dY Aᵀ) ⊙ (Bᵀ d B) ] G`, the sum over all
//! tiles; it is the transpose of F(4×4, 3×3) with respect to the filter. A row of a transform costs 12 multiply-adds
//! for B, 8 for A. At stride 2 the matrices are those of [`strided`].

use crate::cpu::contract::simd::unroll;
use crate::cpu::contract::vector::{Four, Vector};
use crate::cpu::contract::winograd::transforms::{filter_transposed, input, output_transposed};
use crate::cpu::contract::winograd::{TAPS, strided};
use crate::cpu::level::Level;

/// f32 elements of a cache line.
pub const LINE: usize = 16;

/// One image, and the zeros that stand for a pixel outside of it.
#[derive(Clone, Copy)]
pub struct Plane {
    pub base: *const f32,
    pub height: usize,
    pub width: usize,
    /// Channels of a pixel, and how many of them are transformed.
    pub pitch: usize,
    pub channels: usize,
    /// As many zeros as channels are transformed.
    pub zeros: *const f32,
}

/// Where a transformed tile goes: point `p` begins at `base + p·stride`, and holds the channels rounded up to a vector.
#[derive(Clone, Copy)]
pub struct Place {
    pub base: *mut f32,
    pub stride: usize,
}

impl Place {
    #[inline(always)]
    unsafe fn at(self, channel: usize) -> Place {
        Place {
            // SAFETY: the caller's.
            base: unsafe { self.base.add(channel) },
            stride: self.stride,
        }
    }
}

/// `M (+)= Uᵀ V` of a point, over tiles.
#[derive(Clone, Copy)]
pub struct Product {
    /// U: tiles × channels, and from tile to tile.
    pub u: *const f32,
    pub u_pitch: usize,
    /// V: tiles × filters, likewise.
    pub v: *const f32,
    pub v_pitch: usize,
    pub tiles: usize,
    /// Tiles that are multiplied before the next block of the sum.
    pub depth: usize,
    /// M: channels × filters, likewise.
    pub m: *mut f32,
    pub m_pitch: usize,
    pub channels: usize,
    /// A multiple of the vector's lanes.
    pub filters: usize,
    pub accumulate: bool,
    /// What is multiplied next: brought into the second-level cache meanwhile.
    pub next: [(*const f32, usize); 2],
}

/// The end of the sum: `Gᵀ M G` of each channel and filter.
#[derive(Clone, Copy)]
pub struct Finish {
    pub m: *const f32,
    pub m_pitch: usize,
    pub m_point: usize,
    pub channels: usize,
    pub filters: usize,
    /// The gradient: 9 taps of channels × filters; from channel to channel and from tap to tap.
    pub out: *mut f32,
    pub out_pitch: usize,
    pub out_tap: usize,
    pub accumulate: bool,
}

/// The functions of a level.
#[derive(Clone, Copy, Debug)]
pub struct FilterKernels {
    pub lanes: usize,
    /// Points of the transform's domain.
    pub points: usize,
    /// Bᵀ d B of the tile whose first pixel is at (row, column).
    pub input: unsafe fn(Plane, isize, isize, Place),
    /// A dY Aᵀ of the tile whose first pixel is at (row, column).
    pub gradient: unsafe fn(Plane, isize, isize, Place),
    pub product: unsafe fn(&Product),
    pub finish: unsafe fn(&Finish),
}

impl FilterKernels {
    /// The functions of a level for a stride of 1 or 2.
    pub fn new(level: Level, stride: usize) -> FilterKernels {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512_kernels(stride),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2_kernels(stride),
            _ => portable_kernels(stride),
        }
    }
}

/// A vector of channels of each pixel of a tile. Not a closure: those are not inlined across instruction sets.
trait Pixels<V: Vector> {
    /// Row i, column j.
    unsafe fn get(&self, i: usize, j: usize) -> V;
}

/// A tile within the image.
struct Interior {
    base: *const f32,
    row: usize,
    column: usize,
}

impl<V: Vector> Pixels<V> for Interior {
    #[inline(always)]
    unsafe fn get(&self, i: usize, j: usize) -> V {
        // SAFETY: the caller's.
        unsafe { V::load(self.base.add(i * self.row + j * self.column)) }
    }
}

/// A tile by its pixels' addresses: those outside of the image are zeros'.
struct Border<'a, const N: usize> {
    addresses: &'a [[*const f32; N]; N],
    channel: usize,
}

impl<V: Vector, const N: usize> Pixels<V> for Border<'_, N> {
    #[inline(always)]
    unsafe fn get(&self, i: usize, j: usize) -> V {
        // SAFETY: the caller's.
        unsafe { V::load(self.addresses[i][j].add(self.channel)) }
    }
}

/// The last channels of a tile, fewer than a vector.
struct Rest<'a, const N: usize> {
    addresses: &'a [[*const f32; N]; N],
    channel: usize,
    count: usize,
}

impl<V: Vector, const N: usize> Pixels<V> for Rest<'_, N> {
    #[inline(always)]
    unsafe fn get(&self, i: usize, j: usize) -> V {
        // SAFETY: the caller's.
        unsafe { V::load_part(self.addresses[i][j].add(self.channel), self.count) }
    }
}

/// The points of row i.
#[inline(always)]
unsafe fn put_row<V: Vector, const P: usize>(place: Place, i: usize, t: [V; P]) {
    // SAFETY: the caller's.
    unsafe {
        unroll!(j < P => { t[j].store(place.base.add((i * P + j) * place.stride)); });
    }
}

/// The rows of points named, of a transform of `$size` elements on both sides. What they do not need is not computed.
macro_rules! for_rows {
    ($d:ident, $to:ident, $transform:ident, $size:literal, [$($row:literal),*]) => {{
        let mut rows = [[V::zero(); $size]; 6];
        unroll!(j < $size => {
            let mut column = [V::zero(); $size];
            unroll!(i < $size => { column[i] = $d.get(i, j); });
            let points = $transform(column);
            $( rows[$row][j] = points[$row]; )*
        });
        $( put_row($to, $row, $transform(rows[$row])); )*
    }};
}

/// A transform of a tile.
trait Transform {
    unsafe fn apply<V: Vector>(d: &impl Pixels<V>, to: Place);
}

/// Bᵀ d B. Few rows of points are made at a time, of those elements that they need, so that all stays in registers.
struct Input;

impl Transform for Input {
    #[inline(always)]
    unsafe fn apply<V: Vector>(d: &impl Pixels<V>, to: Place) {
        // SAFETY: the caller's.
        unsafe {
            for_rows!(d, to, input, 6, [0]);
            for_rows!(d, to, input, 6, [1, 2]);
            for_rows!(d, to, input, 6, [3, 4]);
            for_rows!(d, to, input, 6, [5]);
        }
    }
}

/// A dY Aᵀ.
struct Gradient;

impl Transform for Gradient {
    #[inline(always)]
    unsafe fn apply<V: Vector>(d: &impl Pixels<V>, to: Place) {
        // SAFETY: the caller's.
        unsafe {
            for_rows!(d, to, output_transposed, 4, [0, 5]);
            for_rows!(d, to, output_transposed, 4, [1, 2]);
            for_rows!(d, to, output_transposed, 4, [3, 4]);
        }
    }
}

/// All rows of points of a transform of `$size` elements on both sides.
macro_rules! all_rows {
    ($d:ident, $to:ident, $transform:path, $size:literal) => {{
        let mut columns = [[V::zero(); strided::POINTS]; $size];
        unroll!(j < $size => {
            let mut column = [V::zero(); $size];
            unroll!(i < $size => { column[i] = $d.get(i, j); });
            columns[j] = $transform(column);
        });
        unroll!(i < strided::POINTS => {
            let mut row = [V::zero(); $size];
            unroll!(j < $size => { row[j] = columns[j][i]; });
            put_row($to, i, $transform(row));
        });
    }};
}

/// Bᵀ d B at stride 2.
struct StridedInput;

impl Transform for StridedInput {
    #[inline(always)]
    unsafe fn apply<V: Vector>(d: &impl Pixels<V>, to: Place) {
        // SAFETY: the caller's.
        unsafe { all_rows!(d, to, strided::input, 9) }
    }
}

/// A dY Aᵀ at stride 2.
struct StridedGradient;

impl Transform for StridedGradient {
    #[inline(always)]
    unsafe fn apply<V: Vector>(d: &impl Pixels<V>, to: Place) {
        // SAFETY: the caller's.
        unsafe { all_rows!(d, to, strided::output_transposed, 4) }
    }
}

/// The addresses of a tile's pixels; zeros for those outside.
#[inline(always)]
fn addresses<const N: usize>(plane: Plane, row: isize, column: isize) -> [[*const f32; N]; N] {
    let mut all = [[plane.zeros; N]; N];
    for (i, line) in all.iter_mut().enumerate() {
        let r = row + i as isize;
        if r < 0 || r as usize >= plane.height {
            continue;
        }
        for (j, address) in line.iter_mut().enumerate() {
            let c = column + j as isize;
            if c >= 0 && (c as usize) < plane.width {
                let pixel = r as usize * plane.width + c as usize;
                *address = plane.base.wrapping_add(pixel * plane.pitch);
            }
        }
    }
    all
}

#[inline(always)]
fn inside(first: isize, count: usize, size: usize) -> bool {
    first >= 0 && first as usize + count <= size
}

/// Transforms all channels of a tile.
#[inline(always)]
unsafe fn tile<V: Vector, T: Transform, const N: usize>(
    plane: Plane,
    row: isize,
    column: isize,
    place: Place,
) {
    let channels = plane.channels;
    let whole = channels - channels % V::LANES;
    let interior = inside(row, N, plane.height) && inside(column, N, plane.width);
    // SAFETY: the pixels are within the plane, or are as many zeros; whole vectors are loaded while channels are left;
    // each point has room for the channels in whole vectors.
    unsafe {
        if interior {
            let base = plane
                .base
                .add((row as usize * plane.width + column as usize) * plane.pitch);
            for channel in (0..whole).step_by(V::LANES) {
                let pixels = Interior {
                    base: base.add(channel),
                    row: plane.width * plane.pitch,
                    column: plane.pitch,
                };
                T::apply::<V>(&pixels, place.at(channel));
            }
            if whole == channels {
                return;
            }
        }
        let addresses: &[[*const f32; N]; N] = &addresses(plane, row, column);
        if !interior {
            for channel in (0..whole).step_by(V::LANES) {
                T::apply::<V>(&Border { addresses, channel }, place.at(channel));
            }
        }
        if whole < channels {
            let pixels = Rest {
                addresses,
                channel: whole,
                count: channels - whole,
            };
            T::apply::<V>(&pixels, place.at(whole));
        }
    }
}

/// Some of the tiles, and whether M has a sum already.
#[derive(Clone, Copy)]
struct Part {
    tiles: usize,
    accumulate: bool,
}

/// `M[channel..][filter..] (+)= Uᵀ V` of `C` channels and `N` vectors of filters.
#[inline(always)]
unsafe fn block<V: Vector, const C: usize, const N: usize>(
    u: *const f32,
    v: *const f32,
    m: *mut f32,
    p: &Product,
    part: Part,
) {
    // SAFETY: the caller's.
    unsafe {
        if part.accumulate {
            unroll!(i < C => { V::prefetch(m.add(i * p.m_pitch)); });
            if N > 1 {
                unroll!(i < C => { V::prefetch(m.add(i * p.m_pitch + V::LANES)); });
            }
        }
        let mut sum = [[V::zero(); N]; C];
        let (mut u, mut v) = (u, v);
        for _ in 0..part.tiles {
            let mut b = [V::zero(); N];
            unroll!(n < N => { b[n] = V::load(v.add(n * V::LANES)); });
            unroll!(i < C => {
                let a = V::splat(u.add(i));
                unroll!(n < N => { sum[i][n] = sum[i][n].add_product(a, b[n]); });
            });
            V::prefetch(u.wrapping_add(LINE));
            u = u.wrapping_add(p.u_pitch);
            v = v.wrapping_add(p.v_pitch);
        }
        unroll!(i < C => {
            unroll!(n < N => {
                let at = m.add(i * p.m_pitch + n * V::LANES);
                let s = sum[i][n];
                if part.accumulate { V::load(at).add(s).store(at) } else { s.store(at) }
            });
        });
    }
}

/// All channels of a panel of `N` vectors of filters, `C` channels at a time.
#[inline(always)]
unsafe fn panel<V: Vector, const C: usize, const N: usize>(
    u: *const f32,
    v: *const f32,
    m: *mut f32,
    p: &Product,
    part: Part,
    ahead: &mut Ahead,
) {
    let mut c = 0;
    // SAFETY: the caller's.
    unsafe {
        while c + C <= p.channels {
            ahead.step();
            block::<V, C, N>(u.add(c), v, m.add(c * p.m_pitch), p, part);
            c += C;
        }
        if C > 4 && c + 4 <= p.channels {
            block::<V, 4, N>(u.add(c), v, m.add(c * p.m_pitch), p, part);
            c += 4;
        }
        while c < p.channels {
            block::<V, 1, N>(u.add(c), v, m.add(c * p.m_pitch), p, part);
            c += 1;
        }
    }
}

/// Prefetches of what comes next, spread evenly over the blocks.
struct Ahead {
    next: [(*const f32, usize); 2],
    /// Elements for each block.
    share: [usize; 2],
}

impl Ahead {
    #[inline(always)]
    fn step(&mut self) {
        for (next, share) in self.next.iter_mut().zip(self.share) {
            let len = share.min(next.1);
            prefetch(next.0, len);
            *next = (next.0.wrapping_add(len), next.1 - len);
        }
    }
}

/// Brings memory into the second-level cache.
#[inline(always)]
pub fn prefetch(first: *const f32, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, len);
}

#[inline(always)]
unsafe fn product<V: Vector, const WIDE: usize, const NARROW: usize>(p: &Product) {
    let panels = p.filters.div_ceil(2 * V::LANES);
    let blocks = p.tiles.div_ceil(p.depth) * panels * (p.channels / WIDE).max(1);
    let mut ahead = Ahead {
        next: p.next,
        share: p.next.map(|n| n.1.div_ceil(blocks).next_multiple_of(LINE)),
    };
    let mut tile = 0;
    while tile < p.tiles {
        let part = Part {
            tiles: p.depth.min(p.tiles - tile),
            accumulate: p.accumulate || tile > 0,
        };
        // SAFETY: the caller's.
        unsafe {
            let u = p.u.add(tile * p.u_pitch);
            let v = p.v.add(tile * p.v_pitch);
            let mut f = 0;
            while f + 2 * V::LANES <= p.filters {
                panel::<V, WIDE, 2>(u, v.add(f), p.m.add(f), p, part, &mut ahead);
                f += 2 * V::LANES;
            }
            if f < p.filters {
                panel::<V, NARROW, 1>(u, v.add(f), p.m.add(f), p, part, &mut ahead);
            }
        }
        tile += part.tiles;
    }
}

/// Gᵀ of a stride.
trait Back<const P: usize> {
    unsafe fn apply<V: Vector>(u: [V; P]) -> [V; TAPS];
}

struct Unit;

impl Back<6> for Unit {
    #[inline(always)]
    unsafe fn apply<V: Vector>(u: [V; 6]) -> [V; TAPS] {
        // SAFETY: the caller's.
        unsafe { filter_transposed(u) }
    }
}

struct Strided;

impl Back<9> for Strided {
    #[inline(always)]
    unsafe fn apply<V: Vector>(u: [V; 9]) -> [V; TAPS] {
        // SAFETY: the caller's.
        unsafe { strided::filter_transposed(u) }
    }
}

#[inline(always)]
unsafe fn finish<V: Vector, B: Back<P>, const P: usize>(f: &Finish) {
    for channel in 0..f.channels {
        for first in (0..f.filters).step_by(V::LANES) {
            // SAFETY: M has whole vectors of filters; the gradient has the filters that are left.
            unsafe {
                let m = f.m.add(channel * f.m_pitch + first);
                let out = f.out.add(channel * f.out_pitch + first);
                let mut half = [[V::zero(); P]; TAPS];
                unroll!(j < P => {
                    let mut column = [V::zero(); P];
                    unroll!(i < P => { column[i] = V::load(m.add((i * P + j) * f.m_point)); });
                    let g = B::apply(column);
                    unroll!(i < TAPS => { half[i][j] = g[i]; });
                });
                let left = f.filters - first;
                unroll!(i < TAPS => {
                    let g = B::apply(half[i]);
                    unroll!(j < TAPS => {
                        let at = out.add((i * TAPS + j) * f.out_tap);
                        if left >= V::LANES {
                            let s = if f.accumulate { V::load(at).add(g[j]) } else { g[j] };
                            s.store(at);
                        } else {
                            let s = if f.accumulate { V::load_part(at, left).add(g[j]) } else { g[j] };
                            s.store_part(at, left);
                        }
                    });
                });
            }
        }
    }
}

/// Defines a function that gives the functions of a level: vector type, and the channels of a wide and a narrow block.
macro_rules! kernels {
    ($name:ident, $vector:ty, $(#[$feature:meta])*, $wide:literal, $narrow:literal) => {
        fn $name(stride: usize) -> FilterKernels {
            $(#[$feature])*
            unsafe fn transform<T: Transform, const N: usize>(plane: Plane, row: isize, column: isize, place: Place) {
                // SAFETY: the caller's.
                unsafe { tile::<$vector, T, N>(plane, row, column, place) }
            }
            $(#[$feature])*
            unsafe fn product_(p: &Product) {
                // SAFETY: the caller's.
                unsafe { product::<$vector, $wide, $narrow>(p) }
            }
            $(#[$feature])*
            unsafe fn finish_<B: Back<P>, const P: usize>(f: &Finish) {
                // SAFETY: the caller's.
                unsafe { finish::<$vector, B, P>(f) }
            }
            let lanes = <$vector as Vector>::LANES;
            if stride == 1 {
                FilterKernels {
                    lanes,
                    points: 36,
                    input: transform::<Input, 6>,
                    gradient: transform::<Gradient, 4>,
                    product: product_,
                    finish: finish_::<Unit, 6>,
                }
            } else {
                FilterKernels {
                    lanes,
                    points: 81,
                    input: transform::<StridedInput, 9>,
                    gradient: transform::<StridedGradient, 4>,
                    product: product_,
                    finish: finish_::<Strided, 9>,
                }
            }
        }
    };
}

kernels!(portable_kernels, Four, , 4, 8);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2_kernels,
    std::arch::x86_64::__m256,
    #[target_feature(enable = "avx2,fma")],
    6,
    8
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512_kernels,
    std::arch::x86_64::__m512,
    #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")],
    8,
    16
);
