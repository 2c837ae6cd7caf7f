//! Tiles in and out of the transform's domain, both axes, all channels.

use super::forms::{Operands, Results, Single, Widened};
use super::{Arithmetic, LONGEST, Scheme, TAPS, strided, transforms};
use crate::contract::vector::{Four, Vector};
use crate::level::Level;
use sslc_compiler::kernels::ir::Element;
use std::mem::MaybeUninit;

/// `Bᵀ d B` of one tile: (its pixels, channels, destination, words from one point to the next).
/// Whole vectors are written; channels that do not exist are zeros.
pub type InputTile = unsafe fn(&Pixels, usize, *mut f32, usize);

/// `Aᵀ m A` of one tile: (sums of products at the first point, elements from one point to the next, where it goes).
pub type OutputTile = unsafe fn(*const f32, usize, &Outputs);

/// `G g Gᵀ` of the filters of a word's channels: (the first tap of each channel, null where there is none, elements from one tap
/// to the next, outputs that exist, vectors that are written, destination, words from one point to the next).
pub type FilterRow = unsafe fn([*const u8; 2], usize, usize, usize, *mut f32, usize);

/// The pixels of a tile of the input.
#[derive(Clone, Copy, Debug)]
pub struct Pixels {
    /// The first pixel of each row, which need not exist; rows outside of the image are zeros.
    pub rows: [*const u8; LONGEST],
    /// Elements from one pixel to the next.
    pub pitch: usize,
    /// Columns that exist: from the first on, before the second.
    pub columns: (usize, usize),
}

/// Where a tile of outputs goes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs {
    pub first: *mut u8,
    /// Bytes from there to where they go as well, past the caches; 0 for nowhere. As for `stream`.
    pub twin: isize,
    /// Elements from one row, and from one column, to the next.
    pub row_pitch: usize,
    pub column_pitch: usize,
    /// Rows and columns that exist.
    pub rows: usize,
    pub columns: usize,
    /// Channels that exist, of those of a panel.
    pub channels: usize,
    /// Whether they go past the caches; then every channel of the vectors exists and every pixel begins on a vector's place.
    pub stream: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    pub input: InputTile,
    pub output: OutputTile,
    pub filter: FilterRow,
}

impl Kernels {
    /// Kernels of a scheme for operands and results of these types.
    pub fn new(
        scheme: Scheme,
        level: Level,
        arithmetic: Arithmetic,
        operands: Element,
        result: Element,
    ) -> Kernels {
        let single = |element| match element {
            Element::F32 => single::kernels(scheme, level),
            Element::Bf16 => widened::kernels(scheme, level),
        };
        let (input, filter) = match arithmetic {
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Pairs => pairs::kernels(scheme).operands(),
            Arithmetic::Single(_) => single(operands).operands(),
        };
        let output = match (arithmetic, result) {
            #[cfg(target_arch = "x86_64")]
            (Arithmetic::Pairs, Element::Bf16) => pairs::kernels(scheme).output,
            _ => single(result).output,
        };
        Kernels {
            input,
            output,
            filter,
        }
    }

    fn operands(self) -> (InputTile, FilterRow) {
        (self.input, self.filter)
    }
}

/// The most lanes of a vector.
const MAX_LANES: usize = 16;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Outputs of a tile before they go past the caches.
#[repr(align(64))]
struct Aside<T>(T);

/// The first `len` elements; zeros in the other lanes.
#[inline(always)]
pub unsafe fn load_part<V: Vector, O: Operands<V>>(p: *const O::Element, len: usize) -> V {
    let mut lanes = [O::Element::default(); MAX_LANES];
    // SAFETY: the caller's pointer is good for `len` elements, fewer than a vector's.
    unsafe {
        std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), len);
        O::load(lanes.as_ptr())
    }
}

#[inline(always)]
unsafe fn store_part<V: Vector, R: Results<V>>(v: V, p: *mut R::Element, len: usize) {
    let mut lanes = [R::Element::default(); MAX_LANES];
    // SAFETY: the caller's pointer is good for `len` elements, fewer than a vector's.
    unsafe {
        R::put(v, lanes.as_mut_ptr());
        std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, len);
    }
}

/// A pointer that the compiler does not see through. Else it would compute the addresses of all points before it does anything
/// else, more work than the transform of a vector.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)]
pub fn opaque<T>(p: *mut T) -> *mut T {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut p = p;
        // SAFETY: no instruction.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) p, options(pure, nomem, nostack, preserves_flags));
        }
        p
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    p
}

/// Writes a square of points.
#[inline(always)]
fn put_points<T, const P: usize>(
    dst: *mut f32,
    point: usize,
    row: impl Fn(usize) -> [T; P],
    put: impl Fn(T, *mut f32),
) {
    let mut dst = dst;
    for i in 0..P {
        for (j, v) in row(i).into_iter().enumerate() {
            put(v, dst.wrapping_add(j * point));
        }
        dst = opaque(dst.wrapping_add(P * point));
    }
}

/// One vector of channels of a tile, from channel `c` on.
#[inline(always)]
unsafe fn input_vector<V: Vector, O: Operands<V>, const S: usize, const P: usize>(
    transform: impl Fn([V; S]) -> [V; P],
    pixels: &Pixels,
    c: usize,
    load: impl Fn(*const O::Element) -> V,
    dst: *mut f32,
    point: usize,
) {
    // SAFETY: see `input_tile`.
    unsafe {
        let mut columns = [[V::zero(); P]; S];
        let mut offset = c;
        for (j, column) in columns.iter_mut().enumerate() {
            if pixels.columns.0 <= j && j < pixels.columns.1 {
                *column = transform(std::array::from_fn(|i| {
                    load(pixels.rows[i].cast::<O::Element>().wrapping_add(offset))
                }));
            }
            offset += pixels.pitch;
        }
        put_points(
            dst,
            point,
            |i| transform(std::array::from_fn(|j| columns[j][i])),
            |v, p| O::put(v, p),
        );
    }
}

#[inline(always)]
unsafe fn input_tile<V: Vector, O: Operands<V>, const S: usize, const P: usize>(
    transform: impl Fn([V; S]) -> [V; P] + Copy,
    pixels: &Pixels,
    channels: usize,
    dst: *mut f32,
    point: usize,
) {
    let mut c = 0;
    // SAFETY: every pixel has the channels; the destination has as many, in whole vectors, at every point.
    unsafe {
        while c + V::LANES <= channels {
            let dst = dst.add(c / O::CHANNELS);
            input_vector::<V, O, S, P>(transform, pixels, c, |p| O::load(p), dst, point);
            c += V::LANES;
        }
        if c < channels {
            let (part, dst) = (channels - c, dst.add(c / O::CHANNELS));
            let load = |p| load_part::<V, O>(p, part);
            input_vector::<V, O, S, P>(transform, pixels, c, load, dst, point);
        }
    }
}

#[inline(always)]
unsafe fn output_vector<V: Vector, const P: usize, const T: usize>(
    transform: impl Fn([V; P]) -> [V; T],
    sums: *const f32,
    point: usize,
    put: impl Fn(usize, usize, V),
) {
    // SAFETY: see `output_tile`.
    unsafe {
        let mut rows = [[V::zero(); T]; P];
        let mut sums = sums.cast_mut();
        for row in &mut rows {
            *row = transform(std::array::from_fn(|j| V::load(sums.add(j * point))));
            sums = opaque(sums.wrapping_add(P * point));
        }
        #[allow(clippy::needless_range_loop)]
        for j in 0..T {
            let column = transform(std::array::from_fn(|i| rows[i][j]));
            for (i, v) in column.into_iter().enumerate() {
                put(i, j, v);
            }
        }
    }
}

#[inline(always)]
unsafe fn output_tile<V: Vector, R: Results<V>, const P: usize, const T: usize>(
    transform: impl Fn([V; P]) -> [V; T] + Copy,
    sums: *const f32,
    point: usize,
    to: &Outputs,
) {
    let whole = to.rows == T && to.columns == T;
    let first = to.first.cast::<R::Element>();
    // A line that is written past the caches part by part waits for its parts, and few lines can wait. Where a vector is less
    // than a line, a tile therefore goes there when all of its channels are made.
    let lines = V::LANES * size_of::<R::Element>() >= LINE;
    let (stream, twin) = (to.stream && lines, if lines { to.twin } else { 0 });
    let mut aside = MaybeUninit::<Aside<[[[R::Element; 2 * MAX_LANES]; T]; T]>>::uninit();
    let (place, row_pitch, column_pitch) = if to.stream && !lines {
        let place = aside.as_mut_ptr().cast::<R::Element>();
        (place, T * 2 * MAX_LANES, 2 * MAX_LANES)
    } else {
        (first, to.row_pitch, to.column_pitch)
    };
    let at = |i: usize, j: usize| place.wrapping_add(i * row_pitch + j * column_pitch);
    let mut c = 0;
    // SAFETY: the sums have the channels, in whole vectors, at every point; the outputs that exist are there, and a panel has
    // at most two vectors.
    unsafe {
        while c + V::LANES <= to.channels {
            let sums = sums.add(c);
            if whole && stream {
                output_vector(transform, sums, point, |i, j, v| {
                    R::stream(v, at(i, j).wrapping_add(c));
                });
            } else if whole && twin != 0 {
                output_vector(transform, sums, point, |i, j, v| {
                    let at = at(i, j).wrapping_add(c);
                    R::put(v, at);
                    R::stream(v, at.wrapping_byte_offset(twin));
                });
            } else if whole {
                output_vector(transform, sums, point, |i, j, v| {
                    R::put(v, at(i, j).wrapping_add(c));
                });
            } else {
                output_vector(transform, sums, point, |i, j, v| {
                    if i < to.rows && j < to.columns {
                        let at = at(i, j).wrapping_add(c);
                        if stream {
                            R::stream(v, at);
                        } else {
                            R::put(v, at);
                            if twin != 0 {
                                R::stream(v, at.wrapping_byte_offset(twin));
                            }
                        }
                    }
                });
            }
            c += V::LANES;
        }
        if c < to.channels {
            let part = to.channels - c;
            output_vector(transform, sums.add(c), point, |i, j, v| {
                if i < to.rows && j < to.columns {
                    store_part::<V, R>(v, at(i, j).wrapping_add(c), part);
                }
            });
        }
        if !lines && (to.stream || to.twin != 0) {
            for i in 0..to.rows {
                for j in 0..to.columns {
                    let goes = first.wrapping_add(i * to.row_pitch + j * to.column_pitch);
                    let goes = goes.wrapping_byte_offset(to.twin);
                    R::stream_all(at(i, j), goes, to.channels);
                }
            }
        }
    }
}

/// One vector of outputs of a word's channels.
#[inline(always)]
unsafe fn filter_vector<V: Vector, O: Operands<V>, const P: usize>(
    transform: impl Fn([V; TAPS]) -> [V; P],
    taps: [*const O::Element; 2],
    load: impl Fn(*const O::Element) -> V,
    tap: usize,
    dst: *mut f32,
    point: usize,
) {
    // SAFETY: see `filter_row`.
    unsafe {
        let mut columns = [[[V::zero(); P]; TAPS]; 2];
        for (columns, taps) in columns.iter_mut().zip(taps).take(O::CHANNELS) {
            if taps.is_null() {
                continue;
            }
            for (j, column) in columns.iter_mut().enumerate() {
                *column = transform(std::array::from_fn(|i| {
                    load(taps.add((i * TAPS + j) * tap))
                }));
            }
        }
        let row = |channel: usize, i: usize| -> [V; P] {
            transform(std::array::from_fn(|j| columns[channel][j][i]))
        };
        put_points(
            dst,
            point,
            |i| -> [[V; 2]; P] {
                let low = row(0, i);
                let high = if O::CHANNELS == 2 { row(1, i) } else { low };
                std::array::from_fn(|j| [low[j], high[j]])
            },
            |channels, p| O::put_filter(channels, p),
        );
    }
}

#[inline(always)]
unsafe fn filter_row<V: Vector, O: Operands<V>, const P: usize>(
    transform: impl Fn([V; TAPS]) -> [V; P] + Copy,
    taps: [*const u8; 2],
    tap: usize,
    outputs: usize,
    vectors: usize,
    dst: *mut f32,
    point: usize,
) {
    for v in 0..vectors {
        let first = v * V::LANES;
        let exist = outputs.saturating_sub(first).min(V::LANES);
        // SAFETY: every tap has the outputs; the destination has the vectors at every point.
        unsafe {
            let taps = taps.map(|taps| {
                let taps = taps.cast::<O::Element>();
                if taps.is_null() {
                    taps
                } else {
                    taps.add(first.min(outputs))
                }
            });
            let dst = dst.add(first);
            if exist == V::LANES {
                filter_vector::<V, O, P>(transform, taps, |p| O::load(p), tap, dst, point);
            } else {
                let load = |p| load_part::<V, O>(p, exist);
                filter_vector::<V, O, P>(transform, taps, load, tap, dst, point);
            }
        }
    }
}

/// The kernels of one scheme for a vector and a form: its transforms of the input, of the sums and of the filter.
macro_rules! scheme {
    ($vector:ty, $form:ty, [$($feature:meta)*], $input:path, $output:path, $filter:path) => {{
        $(#[$feature])*
        unsafe fn input(pixels: &Pixels, channels: usize, dst: *mut f32, point: usize) {
            // SAFETY: the caller's.
            unsafe { input_tile::<$vector, $form, _, _>(|d| $input(d), pixels, channels, dst, point) }
        }
        $(#[$feature])*
        unsafe fn output(sums: *const f32, point: usize, to: &Outputs) {
            // SAFETY: the caller's.
            unsafe { output_tile::<$vector, $form, _, _>(|m| $output(m), sums, point, to) }
        }
        $(#[$feature])*
        unsafe fn filter(
            taps: [*const u8; 2],
            tap: usize,
            outputs: usize,
            vectors: usize,
            dst: *mut f32,
            point: usize,
        ) {
            // SAFETY: the caller's.
            unsafe {
                filter_row::<$vector, $form, _>(|g| $filter(g), taps, tap, outputs, vectors, dst, point)
            }
        }
        Kernels { input, output, filter }
    }};
}

macro_rules! kernels {
    ($name:ident, $vector:ty, $form:ty, $(#[$feature:meta])*) => {
        pub fn $name(scheme: Scheme) -> Kernels {
            type V = $vector;
            match scheme {
                Scheme::Unit => scheme!(
                    V, $form, [$($feature)*],
                    transforms::input::<V>, transforms::output::<V>, transforms::filter::<V>
                ),
                Scheme::Strided => scheme!(
                    V, $form, [$($feature)*],
                    strided::input::<V>, strided::output::<V>, strided::filter::<V>
                ),
                Scheme::StridedGradient => scheme!(
                    V, $form, [$($feature)*],
                    strided::gradient::<V>, strided::gradient_output::<V>, strided::filter::<V>
                ),
            }
        }
    };
}

/// A module of a form's kernels at every level.
macro_rules! form {
    ($name:ident, $form:ty) => {
        mod $name {
            use super::*;
            kernels!(portable, Four, $form,);
            #[cfg(target_arch = "x86_64")]
            kernels!(
                avx2,
                std::arch::x86_64::__m256,
                $form,
                #[target_feature(enable = "avx2,fma")]
            );
            #[cfg(target_arch = "x86_64")]
            kernels!(
                avx512,
                std::arch::x86_64::__m512,
                $form,
                #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")]
            );
            pub fn kernels(scheme: Scheme, level: Level) -> Kernels {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => avx512(scheme),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => avx2(scheme),
                    _ => portable(scheme),
                }
            }
        }
    };
}

form!(single, Single);
form!(widened, Widened);
#[cfg(target_arch = "x86_64")]
mod pairs {
    use super::*;
    kernels!(
        kernels,
        std::arch::x86_64::__m512,
        super::super::forms::Pairs,
        #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")]
    );
}
