//! Transforms of tiles.

use super::products::Back;
use crate::contract::vector::Vector;
use crate::contract::winograd::forms::Operands;
use crate::contract::winograd::kernels::{load_part, opaque};
use crate::contract::winograd::{TAPS, strided, transforms};

/// Images of one size.
#[derive(Clone, Copy)]
pub struct Plane {
    pub height: usize,
    pub width: usize,
    /// Channels of a pixel, and how many of them are transformed.
    pub pitch: usize,
    pub channels: usize,
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
    /// Whether each may be asked for several times.
    const CHEAP: bool;
    /// Row i, column j.
    unsafe fn get(&self, i: usize, j: usize) -> V;
}

/// A tile within the image, whose elements are loaded by one instruction.
struct Interior<V: Vector, F: Operands<V>> {
    base: *const F::Element,
    row: usize,
    column: usize,
}

impl<V: Vector, F: Operands<V>> Pixels<V> for Interior<V, F> {
    const CHEAP: bool = true;
    #[inline(always)]
    unsafe fn get(&self, i: usize, j: usize) -> V {
        // SAFETY: the caller's.
        unsafe { F::load(self.base.add(i * self.row + j * self.column)) }
    }
}

/// Any tile: its pixels outside of the image are zeros.
struct Edge<V: Vector, F: Operands<V>, const N: usize> {
    /// Where each row begins, or would begin; null for those outside.
    rows: [*const F::Element; N],
    /// Columns that exist: from the first on, before the second.
    columns: (usize, usize),
    column: usize,
    /// Channels that are left.
    channels: usize,
}

impl<V: Vector, F: Operands<V>, const N: usize> Edge<V, F, N> {
    /// The tile's channels from one on.
    #[inline(always)]
    fn new(plane: &Plane, corner: &Corner, channel: usize) -> Edge<V, F, N> {
        let within = |at: isize| at.clamp(0, N as isize) as usize;
        let image = corner.image.cast::<F::Element>();
        let rows = std::array::from_fn(|i| {
            let row = corner.row + i as isize;
            let pixel = row * plane.width as isize + corner.column;
            if row < 0 || row as usize >= plane.height {
                std::ptr::null()
            } else {
                let left = image.wrapping_offset(pixel * plane.pitch as isize);
                left.wrapping_add(channel)
            }
        });
        Edge {
            rows,
            columns: (
                within(-corner.column),
                within(plane.width as isize - corner.column),
            ),
            column: plane.pitch,
            channels: plane.channels - channel,
        }
    }
}

impl<V: Vector, F: Operands<V>, const N: usize> Pixels<V> for Edge<V, F, N> {
    const CHEAP: bool = false;
    #[inline(always)]
    unsafe fn get(&self, i: usize, j: usize) -> V {
        let row = self.rows[i];
        // SAFETY: the caller's; only pixels of the image are loaded, and only channels that are left.
        unsafe {
            if row.is_null() || j < self.columns.0 || self.columns.1 <= j {
                return V::zero();
            }
            let pixel = row.wrapping_add(j * self.column);
            if self.channels >= V::LANES {
                return F::load(pixel);
            }
            load_part::<V, F>(pixel, self.channels)
        }
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

/// All points of such a transform. Each pixel is asked for once.
macro_rules! all_rows {
    ($d:ident, $to:ident, $transform:path, $size:tt, $side:tt) => {{
        let mut halves = [[[V::zero(); $size]; $side]; W];
        each!(W, w => {
            each!($size, j => {
                let mut column = [V::zero(); $size];
                each!($size, i => { column[i] = $d[w].get(i, j); });
                let done = $transform(column);
                each!($side, i => { halves[w][i][j] = done[i]; });
            });
        });
        each!($side, i => {
            let base = opaque($to.base.wrapping_add(i * $side * $to.stride));
            let mut points = [[V::zero(); $side]; W];
            each!(W, w => { points[w] = $transform(halves[w][i]); });
            each!($side, j => {
                F::put_filter([points[0][j], points[W - 1][j]], base.wrapping_add(j * $to.stride));
            });
        });
    }};
}

/// A transform of the `W` tiles of a word, of `N` × `N` pixels.
pub trait Transform<const N: usize> {
    /// # Safety
    /// The machine has the instructions of the vector and the form; the pixels and the points' places are good.
    unsafe fn apply<V: Vector, F: Operands<V>, P: Pixels<V>, const W: usize>(d: &[P; W], to: Place);
}

/// The transforms of stride 1.
pub struct Unit;

/// Bᵀ d B. Of pixels that are cheap few rows of points are made at a time, of those pixels that they need, so that all stays in
/// registers.
impl Transform<6> for Unit {
    #[inline(always)]
    unsafe fn apply<V: Vector, F: Operands<V>, P: Pixels<V>, const W: usize>(
        d: &[P; W],
        to: Place,
    ) {
        // SAFETY: the caller's.
        unsafe {
            if P::CHEAP {
                for_rows!(d, to, transforms::input, 6, 6, [0]);
                for_rows!(d, to, transforms::input, 6, 6, [1, 2]);
                for_rows!(d, to, transforms::input, 6, 6, [3, 4]);
                for_rows!(d, to, transforms::input, 6, 6, [5]);
            } else {
                all_rows!(d, to, transforms::input, 6, 6);
            }
        }
    }
}

/// A dY Aᵀ.
impl Transform<4> for Unit {
    #[inline(always)]
    unsafe fn apply<V: Vector, F: Operands<V>, P: Pixels<V>, const W: usize>(
        d: &[P; W],
        to: Place,
    ) {
        // SAFETY: the caller's.
        unsafe {
            if P::CHEAP {
                for_rows!(d, to, transforms::output_transposed, 4, 6, [0, 5]);
                for_rows!(d, to, transforms::output_transposed, 4, 6, [1, 2]);
                for_rows!(d, to, transforms::output_transposed, 4, 6, [3, 4]);
            } else {
                all_rows!(d, to, transforms::output_transposed, 4, 6);
            }
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
    unsafe fn apply<V: Vector, F: Operands<V>, P: Pixels<V>, const W: usize>(
        d: &[P; W],
        to: Place,
    ) {
        // SAFETY: the caller's.
        unsafe {
            if P::CHEAP {
                for_rows!(d, to, strided::input, 9, 9, [0, 1]);
                for_rows!(d, to, strided::input, 9, 9, [2, 3]);
                for_rows!(d, to, strided::input, 9, 9, [4]);
                for_rows!(d, to, strided::input, 9, 9, [5]);
                for_rows!(d, to, strided::input, 9, 9, [6]);
                for_rows!(d, to, strided::input, 9, 9, [7]);
                for_rows!(d, to, strided::input, 9, 9, [8]);
            } else {
                all_rows!(d, to, strided::input, 9, 9);
            }
        }
    }
}

/// A dY Aᵀ.
impl Transform<4> for Strided {
    #[inline(always)]
    unsafe fn apply<V: Vector, F: Operands<V>, P: Pixels<V>, const W: usize>(
        d: &[P; W],
        to: Place,
    ) {
        // SAFETY: the caller's.
        unsafe {
            if P::CHEAP {
                for_rows!(d, to, strided::output_transposed, 4, 9, [0, 1]);
                for_rows!(d, to, strided::output_transposed, 4, 9, [2, 3]);
                for_rows!(d, to, strided::output_transposed, 4, 9, [4]);
                for_rows!(d, to, strided::output_transposed, 4, 9, [5]);
                for_rows!(d, to, strided::output_transposed, 4, 9, [6]);
                for_rows!(d, to, strided::output_transposed, 4, 9, [7]);
                for_rows!(d, to, strided::output_transposed, 4, 9, [8]);
            } else {
                all_rows!(d, to, strided::output_transposed, 4, 9);
            }
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
    // SAFETY: the pixels are within the plane; whole vectors are loaded while channels are left; each point has room for the
    // channels in whole vectors.
    unsafe {
        let mut done = 0;
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
                T::apply::<V, F, _, W>(&pixels, place.at(done));
                done += V::LANES;
            }
        }
        while done < channels {
            let pixels: [Edge<V, F, N>; W] =
                std::array::from_fn(|w| Edge::new(plane, &corners[w], done));
            T::apply::<V, F, _, W>(&pixels, place.at(done));
            done += V::LANES;
        }
    }
}
