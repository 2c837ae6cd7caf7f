//! Products of transformed tiles, and the way back of their sum.

use crate::contract::tiles::unroll;
use crate::contract::vector::Vector;
use crate::contract::winograd::TAPS;
use crate::contract::winograd::forms::Operands;
use crate::fetch;

/// Words of a cache line.
pub const LINE: usize = 16;

/// `M (+)= Uᵀ V` of a point, over words of tiles: an f32 of one tile, or a bf16 of each of two.
#[derive(Clone, Copy)]
pub struct Product {
    /// U: words × channels, and from word to word.
    pub u: *const f32,
    pub u_pitch: usize,
    /// V: words × filters, likewise.
    pub v: *const f32,
    pub v_pitch: usize,
    pub words: usize,
    /// Words that are multiplied before the next block of the sum.
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

/// The end of the sum: `Gᵀ M G` of each channel and filter, in f32.
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

/// Some of the words, and whether M has a sum already.
#[derive(Clone, Copy)]
struct Part {
    words: usize,
    accumulate: bool,
}

/// `M[channel..][filter..] (+)= Uᵀ V` of `C` channels and `N` vectors of filters.
#[inline(always)]
unsafe fn block<V: Vector, F: Operands<V>, const C: usize, const N: usize>(
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
        for _ in 0..part.words {
            let mut b = [V::zero(); N];
            unroll!(n < N => { b[n] = V::load(v.add(n * V::LANES)); });
            unroll!(i < C => {
                let a = V::splat(u.add(i));
                unroll!(n < N => { sum[i][n] = F::add_product(sum[i][n], a, b[n]); });
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
unsafe fn panel<V: Vector, F: Operands<V>, const C: usize, const N: usize>(
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
            block::<V, F, C, N>(u.add(c), v, m.add(c * p.m_pitch), p, part);
            c += C;
        }
        if C > 4 && c + 4 <= p.channels {
            block::<V, F, 4, N>(u.add(c), v, m.add(c * p.m_pitch), p, part);
            c += 4;
        }
        while c < p.channels {
            block::<V, F, 1, N>(u.add(c), v, m.add(c * p.m_pitch), p, part);
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
pub fn prefetch(first: *const f32, words: usize) {
    for line in (0..words).step_by(LINE) {
        fetch::prefetch(first.wrapping_add(line).cast());
    }
}

/// A whole product: `WIDE` channels at a time of two vectors of filters, `NARROW` of one.
///
/// # Safety
/// As the fields of [`Product`] say; the machine has the instructions of the vector and the form.
#[inline(always)]
pub unsafe fn product<V: Vector, F: Operands<V>, const WIDE: usize, const NARROW: usize>(
    p: &Product,
) {
    let panels = p.filters.div_ceil(2 * V::LANES);
    let blocks = p.words.div_ceil(p.depth) * panels * (p.channels / WIDE).max(1);
    let mut ahead = Ahead {
        next: p.next,
        share: p.next.map(|n| n.1.div_ceil(blocks).next_multiple_of(LINE)),
    };
    let mut word = 0;
    while word < p.words {
        let part = Part {
            words: p.depth.min(p.words - word),
            accumulate: p.accumulate || word > 0,
        };
        // SAFETY: the caller's.
        unsafe {
            let u = p.u.add(word * p.u_pitch);
            let v = p.v.add(word * p.v_pitch);
            let mut f = 0;
            while f + 2 * V::LANES <= p.filters {
                panel::<V, F, WIDE, 2>(u, v.add(f), p.m.add(f), p, part, &mut ahead);
                f += 2 * V::LANES;
            }
            if f < p.filters {
                panel::<V, F, NARROW, 1>(u, v.add(f), p.m.add(f), p, part, &mut ahead);
            }
        }
        word += part.words;
    }
}

/// The way back along one axis, from `SIDE` points.
pub trait Back<const SIDE: usize> {
    /// # Safety
    /// The machine has the vector's instructions.
    unsafe fn taps<V: Vector>(points: [V; SIDE]) -> [V; TAPS];
}

/// The way back of `SIDE` × `SIDE` points.
///
/// # Safety
/// As the fields of [`Finish`] say; the machine has the vector's instructions.
#[inline(always)]
pub unsafe fn finish<V: Vector, T: Back<SIDE>, const SIDE: usize>(f: &Finish) {
    for channel in 0..f.channels {
        for first in (0..f.filters).step_by(V::LANES) {
            // SAFETY: M has whole vectors of filters; the gradient has the filters that are left.
            unsafe {
                let m = f.m.add(channel * f.m_pitch + first);
                let out = f.out.add(channel * f.out_pitch + first);
                let mut half = [[V::zero(); SIDE]; TAPS];
                unroll!(j < SIDE => {
                    let mut column = [V::zero(); SIDE];
                    unroll!(i < SIDE => { column[i] = V::load(m.add((i * SIDE + j) * f.m_point)); });
                    let taps = T::taps(column);
                    unroll!(i < TAPS => { half[i][j] = taps[i]; });
                });
                let left = f.filters - first;
                unroll!(i < TAPS => {
                    let taps = T::taps(half[i]);
                    unroll!(j < TAPS => {
                        let at = out.add((i * TAPS + j) * f.out_tap);
                        if left >= V::LANES {
                            let before = if f.accumulate { V::load(at) } else { V::zero() };
                            before.add(taps[j]).store(at);
                        } else {
                            let before = if f.accumulate { V::load_part(at, left) } else { V::zero() };
                            before.add(taps[j]).store_part(at, left);
                        }
                    });
                });
            }
        }
    }
}
