//! Indexed kernels on the CPU: gathering and scattering, pooling, random draws.

use super::level::{Level, leveled};
use super::pool::Pool;
use super::scratch::Pointer;
use sslc_compiler::core::rng;
use sslc_compiler::kernels::ir::{Buffer, BufferId, Indexed, Window};
use sslc_compiler::kernels::naive::place;

/// Elements that make a unit worth a thread's while.
const UNIT: usize = 32 * 1024;
/// Channels of a pooling window treated at a time.
const LANES: usize = 64;

/// Three pooling loops: (x or dy, result, windows, image, output rows).
type PoolLoop = unsafe fn(*const f32, *const f32, *mut f32, &Window, usize);

/// An indexed kernel made ready.
#[derive(Clone, Debug)]
pub struct IndexedPlan {
    kernel: Indexed,
    /// Offset of each buffer in the arena, and the length of a `Uniform`'s result.
    places: [usize; 3],
    len: usize,
    pool_loop: PoolLoop,
}

impl IndexedPlan {
    /// Plans a kernel that has been verified.
    pub fn new(kernel: &Indexed, buffers: &[Buffer], level: Level) -> IndexedPlan {
        let at = |id: &BufferId| buffers[id.0 as usize].offset;
        let mut len = 0;
        let places = match kernel {
            Indexed::Take { x, index, y, .. }
            | Indexed::ScatterAdd {
                y: x, index, x: y, ..
            } => [at(x), at(index), at(y)],
            Indexed::ArgMax { x, y, .. }
            | Indexed::MaxPool { x, y, .. }
            | Indexed::AvgPool { x, y, .. } => [at(x), at(x), at(y)],
            Indexed::MaxPoolGrad { x, dy, dx, .. } => [at(x), at(dy), at(dx)],
            Indexed::AvgPoolGrad { dy, dx, .. } => [at(dy), at(dy), at(dx)],
            Indexed::Uniform { step, y, .. } => {
                len = buffers[y.0 as usize].len();
                [at(step), at(step), at(y)]
            }
        };
        let pool_loop = match kernel {
            Indexed::MaxPoolGrad { .. } => max_pool_grad(level),
            Indexed::AvgPool { .. } => avg_pool(level),
            Indexed::AvgPoolGrad { .. } => avg_pool_grad(level),
            _ => max_pool(level),
        };
        IndexedPlan {
            kernel: kernel.clone(),
            places,
            len,
            pool_loop,
        }
    }

    /// Runs the kernel.
    ///
    /// # Safety
    /// The machine has the plan's level; the kernel's buffers are within `arena`, and its output meets no input.
    pub unsafe fn run(&self, pool: &Pool, arena: Pointer) {
        let [a, b, y] = self.places;
        // SAFETY: the buffers are within the arena; units write disjoint parts of the output.
        let (a, b, y) = unsafe {
            (
                Pointer::new(arena.get().add(a)),
                Pointer::new(arena.get().add(b)),
                Pointer::new(arena.get().add(y)),
            )
        };
        match self.kernel {
            Indexed::Take {
                outer,
                size,
                count,
                inner,
                ..
            } => {
                each(pool, outer * count, inner, &|item| {
                    let (o, j) = (item / count, item % count);
                    // SAFETY: see above; `place` keeps the index inside the axis.
                    unsafe {
                        let i = place(*b.get().add(j), size);
                        let src = a.get().add((o * size + i) * inner);
                        std::ptr::copy_nonoverlapping(src, y.get().add(item * inner), inner);
                    }
                });
            }
            Indexed::ScatterAdd {
                outer,
                size,
                count,
                inner,
                ..
            } => {
                each(pool, outer, size.max(count) * inner, &|o| {
                    // SAFETY: as for `Take`.
                    unsafe {
                        let x = y.get().add(o * size * inner);
                        std::slice::from_raw_parts_mut(x, size * inner).fill(0.0);
                        for j in 0..count {
                            let src = a.get().add((o * count + j) * inner);
                            let dst = x.add(place(*b.get().add(j), size) * inner);
                            for c in 0..inner {
                                *dst.add(c) += *src.add(c);
                            }
                        }
                    }
                });
            }
            Indexed::ArgMax {
                outer, size, inner, ..
            } => {
                each(pool, outer, size * inner, &|o| {
                    // SAFETY: see above.
                    unsafe {
                        let x = a.get().add(o * size * inner);
                        for c in 0..inner {
                            let (mut best, mut at) = (*x.add(c), 0);
                            for i in 1..size {
                                let v = *x.add(i * inner + c);
                                if v > best {
                                    (best, at) = (v, i);
                                }
                            }
                            *y.get().add(o * inner + c) = at as f32;
                        }
                    }
                });
            }
            Indexed::MaxPool { window: w, .. } | Indexed::AvgPool { window: w, .. } => {
                each(pool, w.n * w.oh, w.ow * w.c * w.kernel, &|row| {
                    // SAFETY: see above; an output row is the unit's own.
                    unsafe { (self.pool_loop)(a.get(), b.get(), y.get(), &w, row) }
                });
            }
            Indexed::MaxPoolGrad { window: w, .. } | Indexed::AvgPoolGrad { window: w, .. } => {
                each(pool, w.n, w.h * w.w * w.c, &|image| {
                    // SAFETY: see above; an image is the unit's own.
                    unsafe { (self.pool_loop)(a.get(), b.get(), y.get(), &w, image) }
                });
            }
            Indexed::Uniform { seed, stream, .. } => {
                // SAFETY: `step` is one element.
                let step = unsafe { *a.get() } as u64;
                pool.run(self.len.div_ceil(UNIT), &|_, unit| {
                    for i in unit * UNIT..self.len.min((unit + 1) * UNIT) {
                        // SAFETY: see above.
                        unsafe { *y.get().add(i) = rng::uniform(seed, stream, step, i as u64) };
                    }
                });
            }
        }
    }
}

/// Runs `work` for each of `count` items of about `cost` elements, several to a unit where they are small.
fn each(pool: &Pool, count: usize, cost: usize, work: &(dyn Fn(usize) + Sync)) {
    let per_unit = (UNIT / cost.max(1)).max(1);
    pool.run(count.div_ceil(per_unit), &|_, unit| {
        for item in unit * per_unit..count.min((unit + 1) * per_unit) {
            work(item);
        }
    });
}

/// Whether `v` takes the place of the maximum so far: NaN wins over numbers.
#[inline(always)]
fn wins(v: f32, best: f32) -> bool {
    (best < v) | (v.is_nan() & !best.is_nan())
}

/// The places of a window within the image: first and end, for output `o` of an axis of `size`.
#[inline(always)]
fn span(w: &Window, o: usize, size: usize) -> (usize, usize) {
    let begin = o * w.stride;
    (
        begin.saturating_sub(w.padding),
        (begin + w.kernel).saturating_sub(w.padding).min(size),
    )
}

leveled! {
    /// An output row of the maximum.
    fn max_pool(x: *const f32, _unused: *const f32, y: *mut f32, w: &Window, row: usize) {
        let (image, oy) = (row / w.oh, row % w.oh);
        let (top, bottom) = span(w, oy, w.h);
        let x = x.add(image * w.h * w.w * w.c);
        for ox in 0..w.ow {
            let (left, right) = span(w, ox, w.w);
            let y = y.add((row * w.ow + ox) * w.c);
            let mut c0 = 0;
            while c0 < w.c {
                let lanes = LANES.min(w.c - c0);
                let mut best = [f32::NEG_INFINITY; LANES];
                for iy in top..bottom {
                    for ix in left..right {
                        let x = x.add((iy * w.w + ix) * w.c + c0);
                        for (i, b) in best.iter_mut().enumerate().take(lanes) {
                            let v = *x.add(i);
                            *b = if wins(v, *b) { v } else { *b };
                        }
                    }
                }
                for (i, b) in best.iter().enumerate().take(lanes) {
                    *y.add(c0 + i) = *b;
                }
                c0 += LANES;
            }
        }
    }
}

leveled! {
    /// An image of the maximum's gradient: to the first maximum of each window.
    fn max_pool_grad(x: *const f32, dy: *const f32, dx: *mut f32, w: &Window, image: usize) {
        let len = w.h * w.w * w.c;
        let (x, dx) = (x.add(image * len), dx.add(image * len));
        let dy = dy.add(image * w.oh * w.ow * w.c);
        std::slice::from_raw_parts_mut(dx, len).fill(0.0);
        for oy in 0..w.oh {
            let (top, bottom) = span(w, oy, w.h);
            for ox in 0..w.ow {
                let (left, right) = span(w, ox, w.w);
                let dy = dy.add((oy * w.ow + ox) * w.c);
                let mut c0 = 0;
                while c0 < w.c {
                    let lanes = LANES.min(w.c - c0);
                    let mut best = [f32::NEG_INFINITY; LANES];
                    let mut place = [((top * w.w + left) * w.c) as u32; LANES];
                    for iy in top..bottom {
                        for ix in left..right {
                            let at = (iy * w.w + ix) * w.c;
                            let x = x.add(at + c0);
                            for i in 0..lanes {
                                let v = *x.add(i);
                                let more = wins(v, best[i]);
                                best[i] = if more { v } else { best[i] };
                                place[i] = if more { at as u32 } else { place[i] };
                            }
                        }
                    }
                    for (i, at) in place.iter().enumerate().take(lanes) {
                        *dx.add(*at as usize + c0 + i) += *dy.add(c0 + i);
                    }
                    c0 += LANES;
                }
            }
        }
    }
}

leveled! {
    /// An output row of the mean, zeros of the padding counted.
    fn avg_pool(x: *const f32, _unused: *const f32, y: *mut f32, w: &Window, row: usize) {
        let (image, oy) = (row / w.oh, row % w.oh);
        let (top, bottom) = span(w, oy, w.h);
        let x = x.add(image * w.h * w.w * w.c);
        let scale = 1.0 / (w.kernel * w.kernel) as f32;
        for ox in 0..w.ow {
            let (left, right) = span(w, ox, w.w);
            let y = y.add((row * w.ow + ox) * w.c);
            let mut c0 = 0;
            while c0 < w.c {
                let lanes = LANES.min(w.c - c0);
                let mut sums = [0.0f32; LANES];
                for iy in top..bottom {
                    for ix in left..right {
                        let x = x.add((iy * w.w + ix) * w.c + c0);
                        for (i, s) in sums.iter_mut().enumerate().take(lanes) {
                            *s += *x.add(i);
                        }
                    }
                }
                for (i, s) in sums.iter().enumerate().take(lanes) {
                    *y.add(c0 + i) = *s * scale;
                }
                c0 += LANES;
            }
        }
    }
}

leveled! {
    /// An image of the mean's gradient.
    fn avg_pool_grad(dy: *const f32, _unused: *const f32, dx: *mut f32, w: &Window, image: usize) {
        let len = w.h * w.w * w.c;
        let dx = dx.add(image * len);
        let dy = dy.add(image * w.oh * w.ow * w.c);
        std::slice::from_raw_parts_mut(dx, len).fill(0.0);
        let scale = 1.0 / (w.kernel * w.kernel) as f32;
        for oy in 0..w.oh {
            let (top, bottom) = span(w, oy, w.h);
            for ox in 0..w.ow {
                let (left, right) = span(w, ox, w.w);
                let dy = dy.add((oy * w.ow + ox) * w.c);
                for iy in top..bottom {
                    for ix in left..right {
                        let dx = dx.add((iy * w.w + ix) * w.c);
                        for c in 0..w.c {
                            *dx.add(c) += *dy.add(c) * scale;
                        }
                    }
                }
            }
        }
    }
}
