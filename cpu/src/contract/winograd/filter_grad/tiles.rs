//! Transforms of tiles.

use super::products::Back;
use crate::contract::vector::Vector;
use crate::contract::winograd::forms::Operands;
use crate::contract::winograd::{TAPS, strided, transforms};
use std::mem::MaybeUninit;

/// The most lanes of a vector.
const MAX_LANES: usize = 16;

/// Images of one size.
#[derive(Clone, Copy)]
pub struct Plane {
    pub height: usize,
    pub width: usize,
    /// Channels of a pixel, and how many of them are transformed.
    pub pitch: usize,
    pub channels: usize,
    /// As many zeros as channels are transformed: they stand for a pixel outside of the image.
    pub zeros: *const u8,
}

/// A tile: its image, and its first pixel's row and column.
#[derive(Clone, Copy)]
pub struct Corner {
    pub image: *const u8,
    pub row: isize,
    pub column: isize,
}

/// Where a word of transformed tiles goes: point `p` begins at `base + p·stride`, and holds the channels rounded up to a
/// vector.
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

/// A vector of channels of each pixel of a tile. Not a closure: those are not inlined across instruction sets.
pub trait Pixels<V: Vector> {
    /// Row i, column j.
    unsafe fn get(&self, i: usize, j: usize) -> V;
}

/// A tile within the image.
struct Interior<V: Vector, F: Operands<V>> {
    base: *const F::Element,
    row: usize,
    column: usize,
}

impl<V: Vector, F: Operands<V>> Pixels<V> for Interior<V, F> {
    #[inline(always)]
    unsafe fn get(&self, i: usize, j: usize) -> V {
        // SAFETY: the caller's.
        unsafe { F::load(self.base.add(i * self.row + j * self.column)) }
    }
}

/// A vector of channels of all of a tile's pixels.
struct Copied<V: Vector, const N: usize>([[V; N]; N]);

impl<V: Vector, const N: usize> Pixels<V> for Copied<V, N> {
    #[inline(always)]
    unsafe fn get(&self, i: usize, j: usize) -> V {
        self.0[i][j]
    }
}

/// Repeats a block for each index below 4, 6 or 9, or below a constant of at most 2. Unlike a loop it leaves only constant
/// indices, which keeps vectors in registers.
macro_rules! each {
    (4, $i:ident => $body:block) => { each!(@ $i $body 0 1 2 3) };
    (6, $i:ident => $body:block) => { each!(@ $i $body 0 1 2 3 4 5) };
    (9, $i:ident => $body:block) => { each!(@ $i $body 0 1 2 3 4 5 6 7 8) };
    ($limit:ident, $i:ident => $body:block) => {
        each!(@ $i { if $i < $limit $body } 0 1)
    };
    (@ $i:ident $body:block $($n:literal)*) => {
        $({
            #[allow(clippy::no_effect_underscore_binding)]
            let $i: usize = $n;
            $body
        })*
    };
}

/// The rows of points named, of a transform of `$size` elements into `$side`. What they do not need is not computed.
macro_rules! for_rows {
    ($d:ident, $to:ident, $transform:path, $size:tt, $side:tt, [$($row:literal),*]) => {{
        let mut points = [[[V::zero(); $side]; W]; $side];
        each!(W, w => {
            let mut rows = [[V::zero(); $size]; $side];
            each!($size, j => {
                let mut column = [V::zero(); $size];
                each!($size, i => { column[i] = $d[w].get(i, j); });
                let done = $transform(column);
                $( rows[$row][j] = done[$row]; )*
            });
            $( points[$row][w] = $transform(rows[$row]); )*
        });
        $(
            each!($side, j => {
                let word = [points[$row][0][j], points[$row][W - 1][j]];
                F::put_filter(word, $to.base.add(($row * $side + j) * $to.stride));
            });
        )*
    }};
}

/// A transform of the `W` tiles of a word, of `N` × `N` pixels.
pub trait Transform<const N: usize> {
    /// # Safety
    /// The machine has the instructions of the vector and the form; the pixels and the points' places are good.
    unsafe fn apply<V: Vector, F: Operands<V>, const W: usize>(d: &[impl Pixels<V>; W], to: Place);
}

/// The transforms of stride 1.
pub struct Unit;

/// Bᵀ d B. Few rows of points are made at a time, of those elements that they need, so that all stays in registers.
impl Transform<6> for Unit {
    #[inline(always)]
    unsafe fn apply<V: Vector, F: Operands<V>, const W: usize>(d: &[impl Pixels<V>; W], to: Place) {
        // SAFETY: the caller's.
        unsafe {
            for_rows!(d, to, transforms::input, 6, 6, [0]);
            for_rows!(d, to, transforms::input, 6, 6, [1, 2]);
            for_rows!(d, to, transforms::input, 6, 6, [3, 4]);
            for_rows!(d, to, transforms::input, 6, 6, [5]);
        }
    }
}

/// A dY Aᵀ.
impl Transform<4> for Unit {
    #[inline(always)]
    unsafe fn apply<V: Vector, F: Operands<V>, const W: usize>(d: &[impl Pixels<V>; W], to: Place) {
        // SAFETY: the caller's.
        unsafe {
            for_rows!(d, to, transforms::output_transposed, 4, 6, [0, 5]);
            for_rows!(d, to, transforms::output_transposed, 4, 6, [1, 2]);
            for_rows!(d, to, transforms::output_transposed, 4, 6, [3, 4]);
        }
    }
}

impl Back<6> for Unit {
    #[inline(always)]
    unsafe fn taps<V: Vector>(points: [V; 6]) -> [V; TAPS] {
        // SAFETY: the caller's.
        unsafe { transforms::filter_transposed(points) }
    }
}

/// The transforms of stride 2.
pub struct Strided;

/// Bᵀ d B.
impl Transform<9> for Strided {
    #[inline(always)]
    unsafe fn apply<V: Vector, F: Operands<V>, const W: usize>(d: &[impl Pixels<V>; W], to: Place) {
        // SAFETY: the caller's.
        unsafe {
            for_rows!(d, to, strided::input, 9, 9, [0, 1]);
            for_rows!(d, to, strided::input, 9, 9, [2, 3]);
            for_rows!(d, to, strided::input, 9, 9, [4]);
            for_rows!(d, to, strided::input, 9, 9, [5]);
            for_rows!(d, to, strided::input, 9, 9, [6]);
            for_rows!(d, to, strided::input, 9, 9, [7]);
            for_rows!(d, to, strided::input, 9, 9, [8]);
        }
    }
}

/// A dY Aᵀ.
impl Transform<4> for Strided {
    #[inline(always)]
    unsafe fn apply<V: Vector, F: Operands<V>, const W: usize>(d: &[impl Pixels<V>; W], to: Place) {
        // SAFETY: the caller's.
        unsafe {
            for_rows!(d, to, strided::output_transposed, 4, 9, [0, 1]);
            for_rows!(d, to, strided::output_transposed, 4, 9, [2, 3]);
            for_rows!(d, to, strided::output_transposed, 4, 9, [4]);
            for_rows!(d, to, strided::output_transposed, 4, 9, [5]);
            for_rows!(d, to, strided::output_transposed, 4, 9, [6]);
            for_rows!(d, to, strided::output_transposed, 4, 9, [7]);
            for_rows!(d, to, strided::output_transposed, 4, 9, [8]);
        }
    }
}

impl Back<9> for Strided {
    #[inline(always)]
    unsafe fn taps<V: Vector>(points: [V; 9]) -> [V; TAPS] {
        // SAFETY: the caller's.
        unsafe { strided::filter_transposed(points) }
    }
}

/// The addresses of a tile's pixels; zeros for those outside.
#[inline(always)]
fn addresses<E, const N: usize>(plane: &Plane, corner: &Corner) -> [[*const E; N]; N] {
    let mut all = [[plane.zeros.cast::<E>(); N]; N];
    for (i, line) in all.iter_mut().enumerate() {
        let r = corner.row + i as isize;
        if r < 0 || r as usize >= plane.height {
            continue;
        }
        for (j, address) in line.iter_mut().enumerate() {
            let c = corner.column + j as isize;
            if c >= 0 && (c as usize) < plane.width {
                let pixel = r as usize * plane.width + c as usize;
                *address = corner.image.cast::<E>().wrapping_add(pixel * plane.pitch);
            }
        }
    }
    all
}

#[inline(always)]
fn inside(first: isize, count: usize, size: usize) -> bool {
    first >= 0 && first as usize + count <= size
}

/// Transforms all channels of the `W` tiles of a word.
///
/// # Safety
/// The images are of the plane's sizes, the place is good for all points; the machine has the instructions of the vector
/// and the form.
#[inline(always)]
pub unsafe fn tiles<V: Vector, F: Operands<V>, T: Transform<N>, const N: usize, const W: usize>(
    plane: &Plane,
    corners: &[Corner; 2],
    place: Place,
) {
    let channels = plane.channels;
    let whole = channels - channels % V::LANES;
    let interior = corners[..W]
        .iter()
        .all(|c| inside(c.row, N, plane.height) && inside(c.column, N, plane.width));
    // SAFETY: the pixels are within the plane, or are as many zeros; whole vectors are loaded while channels are left;
    // each point has room for the channels in whole vectors.
    unsafe {
        let mut done = 0;
        // Elements that are loaded by one instruction are read where they stand.
        if interior && size_of::<F::Element>() == size_of::<f32>() {
            let mut bases = [std::ptr::null::<F::Element>(); W];
            for (base, c) in bases.iter_mut().zip(corners) {
                let pixel = c.row as usize * plane.width + c.column as usize;
                *base = c.image.cast::<F::Element>().add(pixel * plane.pitch);
            }
            while done < whole {
                let pixels = bases.map(|base| Interior::<V, F> {
                    base: base.wrapping_add(done),
                    row: plane.width * plane.pitch,
                    column: plane.pitch,
                });
                T::apply::<V, F, W>(&pixels, place.at(done));
                done += V::LANES;
            }
        }
        if done == channels {
            return;
        }
        let mut all = [[[std::ptr::null::<F::Element>(); N]; N]; W];
        for (all, corner) in all.iter_mut().zip(corners) {
            *all = addresses(plane, corner);
        }
        while done < channels {
            let mut pixels = [const { MaybeUninit::<Copied<V, N>>::uninit() }; W];
            for (all, pixels) in all.iter().zip(&mut pixels) {
                let to = pixels.as_mut_ptr().cast::<V>();
                for (p, address) in all.as_flattened().iter().enumerate() {
                    let from = address.add(done);
                    to.add(p).write(if done < whole {
                        F::load(from)
                    } else {
                        let mut lanes = [F::Element::default(); MAX_LANES];
                        let count = (channels - whole).min(MAX_LANES);
                        std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
                        F::load(lanes.as_ptr())
                    });
                }
            }
            let pixels = pixels.map(|p| p.assume_init());
            T::apply::<V, F, W>(&pixels, place.at(done));
            done += V::LANES;
        }
    }
}
