//! Contractions, windows and indexed moves, computed plainly: what each of them means.
//!
//! The reference's operators and the interpreter of the kernel IR both call these. Slices are dense and row-major; sums
//! are accumulated in f64. The caller guarantees the lengths that the shapes say.

use super::ir::{ConvShape, Window};

/// Sizes and orientation of a batched matrix product; see [`super::ir::Contraction::MatMul`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatMulShape {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub ta: bool,
    pub tb: bool,
}

/// `out[b] = A[b] B[b]`
pub fn matmul(a: &[f32], b: &[f32], out: &mut [f32], s: MatMulShape) {
    let (a_row, a_col) = if s.ta { (1, s.m) } else { (s.k, 1) };
    let (b_row, b_col) = if s.tb { (1, s.k) } else { (s.n, 1) };
    let mut sums = vec![0f64; s.n];
    for batch in 0..s.batch {
        let a = &a[batch * s.m * s.k..];
        let b = &b[batch * s.k * s.n..];
        for i in 0..s.m {
            sums.fill(0.0);
            for k in 0..s.k {
                let x = a[i * a_row + k * a_col] as f64;
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum += x * b[k * b_row + j * b_col] as f64;
                }
            }
            let at = (batch * s.m + i) * s.n;
            for (o, sum) in out[at..at + s.n].iter_mut().zip(&sums) {
                *o = *sum as f32;
            }
        }
    }
}

/// Calls `f(image, oy, ox, ky, kx, iy, ix)` for every output place and filter tap that meets the image.
fn taps(s: &ConvShape, mut f: impl FnMut(usize, usize, usize, usize, usize, usize, usize)) {
    for n in 0..s.n {
        for oy in 0..s.oh {
            for ox in 0..s.ow {
                for ky in 0..s.kernel {
                    let Some(iy) = (oy * s.stride + ky).checked_sub(s.padding) else {
                        continue;
                    };
                    for kx in 0..s.kernel {
                        let Some(ix) = (ox * s.stride + kx).checked_sub(s.padding) else {
                            continue;
                        };
                        if iy < s.h && ix < s.w {
                            f(n, oy, ox, ky, kx, iy, ix);
                        }
                    }
                }
            }
        }
    }
}

/// `y = conv(x, w)`: cross-correlation, as PyTorch's.
pub fn conv(x: &[f32], w: &[f32], y: &mut [f32], s: &ConvShape) {
    let mut sums = vec![0f64; y.len()];
    let (cg, kg) = (s.c / s.groups, s.k / s.groups);
    taps(s, |n, oy, ox, ky, kx, iy, ix| {
        let at_x = ((n * s.h + iy) * s.w + ix) * s.c;
        let at_y = ((n * s.oh + oy) * s.ow + ox) * s.k;
        for g in 0..s.groups {
            for i in 0..cg {
                let v = x[at_x + g * cg + i] as f64;
                let row = ((ky * s.kernel + kx) * cg + i) * s.k + g * kg;
                let sums = &mut sums[at_y + g * kg..][..kg];
                for (sum, w) in sums.iter_mut().zip(&w[row..row + kg]) {
                    *sum += v * *w as f64;
                }
            }
        }
    });
    narrow(&sums, y);
}

/// The gradient of [`conv`] with respect to x.
pub fn conv_input_grad(dy: &[f32], w: &[f32], dx: &mut [f32], s: &ConvShape) {
    let mut sums = vec![0f64; dx.len()];
    let (cg, kg) = (s.c / s.groups, s.k / s.groups);
    taps(s, |n, oy, ox, ky, kx, iy, ix| {
        let at_x = ((n * s.h + iy) * s.w + ix) * s.c;
        let at_y = ((n * s.oh + oy) * s.ow + ox) * s.k;
        for g in 0..s.groups {
            let dy = &dy[at_y + g * kg..][..kg];
            for i in 0..cg {
                let row = ((ky * s.kernel + kx) * cg + i) * s.k + g * kg;
                let dot: f64 = dy
                    .iter()
                    .zip(&w[row..row + kg])
                    .map(|(d, w)| *d as f64 * *w as f64)
                    .sum();
                sums[at_x + g * cg + i] += dot;
            }
        }
    });
    narrow(&sums, dx);
}

/// The gradient of [`conv`] with respect to w.
pub fn conv_filter_grad(x: &[f32], dy: &[f32], dw: &mut [f32], s: &ConvShape) {
    let mut sums = vec![0f64; dw.len()];
    let (cg, kg) = (s.c / s.groups, s.k / s.groups);
    taps(s, |n, oy, ox, ky, kx, iy, ix| {
        let at_x = ((n * s.h + iy) * s.w + ix) * s.c;
        let at_y = ((n * s.oh + oy) * s.ow + ox) * s.k;
        for g in 0..s.groups {
            let dy = &dy[at_y + g * kg..][..kg];
            for i in 0..cg {
                let v = x[at_x + g * cg + i] as f64;
                let row = ((ky * s.kernel + kx) * cg + i) * s.k + g * kg;
                for (sum, d) in sums[row..row + kg].iter_mut().zip(dy) {
                    *sum += v * *d as f64;
                }
            }
        }
    });
    narrow(&sums, dw);
}

fn narrow(sums: &[f64], out: &mut [f32]) {
    for (o, s) in out.iter_mut().zip(sums) {
        *o = *s as f32;
    }
}

/// Calls `f(output place, input place)` for every window and every place of it that meets the image, in row-major order.
fn windows(s: &Window, mut f: impl FnMut(usize, usize)) {
    for n in 0..s.n {
        for oy in 0..s.oh {
            for ox in 0..s.ow {
                for c in 0..s.c {
                    let out = ((n * s.oh + oy) * s.ow + ox) * s.c + c;
                    for ky in 0..s.kernel {
                        let Some(iy) = (oy * s.stride + ky).checked_sub(s.padding) else {
                            continue;
                        };
                        for kx in 0..s.kernel {
                            let Some(ix) = (ox * s.stride + kx).checked_sub(s.padding) else {
                                continue;
                            };
                            if iy < s.h && ix < s.w {
                                f(out, ((n * s.h + iy) * s.w + ix) * s.c + c);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The place of each window's first maximum; a NaN wins, as in PyTorch.
fn argmax_windows(x: &[f32], s: &Window) -> Vec<Option<usize>> {
    let mut best: Vec<Option<usize>> = vec![None; s.n * s.oh * s.ow * s.c];
    windows(s, |out, at| {
        let wins = match best[out] {
            None => true,
            Some(b) => x[at] > x[b] || (x[at].is_nan() && !x[b].is_nan()),
        };
        if wins {
            best[out] = Some(at);
        }
    });
    best
}

/// Maximum over windows; padding never wins.
pub fn max_pool(x: &[f32], y: &mut [f32], s: &Window) {
    for (y, best) in y.iter_mut().zip(argmax_windows(x, s)) {
        *y = best.map_or(f32::NEG_INFINITY, |b| x[b]);
    }
}

/// Each window gives its dy to its first maximum.
pub fn max_pool_grad(x: &[f32], dy: &[f32], dx: &mut [f32], s: &Window) {
    dx.fill(0.0);
    for (dy, best) in dy.iter().zip(argmax_windows(x, s)) {
        if let Some(b) = best {
            dx[b] += dy;
        }
    }
}

/// Mean over windows, zeros of the padding counted.
pub fn avg_pool(x: &[f32], y: &mut [f32], s: &Window) {
    let scale = 1.0 / (s.kernel * s.kernel) as f32;
    y.fill(0.0);
    windows(s, |out, at| y[out] += x[at]);
    y.iter_mut().for_each(|y| *y *= scale);
}

/// Each window gives its dy in equal parts to its places.
pub fn avg_pool_grad(dy: &[f32], dx: &mut [f32], s: &Window) {
    let scale = 1.0 / (s.kernel * s.kernel) as f32;
    dx.fill(0.0);
    windows(s, |out, at| dx[at] += dy[out] * scale);
}

/// An axis between outer and inner ones, indexed by a list of `count` places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TakeShape {
    pub outer: usize,
    pub size: usize,
    pub count: usize,
    pub inner: usize,
}

/// An index from data, kept inside the axis: NaN and negative numbers are 0, large ones the last place.
pub fn place(index: f32, size: usize) -> usize {
    (index as usize).min(size.saturating_sub(1))
}

/// `y[o, j, i] = x[o, index[j], i]`; an index outside of x is moved to its nearest place.
pub fn take(x: &[f32], index: &[f32], y: &mut [f32], s: TakeShape) {
    for o in 0..s.outer {
        for (j, index) in index.iter().enumerate() {
            let from = (o * s.size + place(*index, s.size)) * s.inner;
            let to = (o * s.count + j) * s.inner;
            y[to..to + s.inner].copy_from_slice(&x[from..from + s.inner]);
        }
    }
}

/// The transpose of [`take`]: x is cleared, then `x[o, index[j], i] += y[o, j, i]`.
pub fn scatter_add(y: &[f32], index: &[f32], x: &mut [f32], s: TakeShape) {
    x.fill(0.0);
    for o in 0..s.outer {
        for (j, index) in index.iter().enumerate() {
            let to = (o * s.size + place(*index, s.size)) * s.inner;
            let from = (o * s.count + j) * s.inner;
            for i in 0..s.inner {
                x[to + i] += y[from + i];
            }
        }
    }
}

/// The position of the first maximum along the middle axis of x [outer, size, inner].
pub fn argmax(x: &[f32], y: &mut [f32], outer: usize, size: usize, inner: usize) {
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| x[(o * size + j) * inner + i];
            let best = (1..size).fold(0, |b, j| if at(j) > at(b) { j } else { b });
            y[o * inner + i] = best as f32;
        }
    }
}

/// Uniform draws of one stream at one step.
pub fn uniform(step: f32, y: &mut [f32], seed: u64, stream: u64) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = crate::core::rng::uniform(seed, stream, step as u64, i as u64);
    }
}

/// The error function.
pub fn erf(x: f32) -> f32 {
    libm::erff(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matmul_orientations_agree() {
        let a = [1., 2., 3., 4., 5., 6.]; // [2, 3]
        let b = [1., 0., 2., 1., 0., 3.]; // [3, 2]
        let at = [1., 4., 2., 5., 3., 6.];
        let bt = [1., 2., 0., 0., 1., 3.];
        let want = [5., 11., 14., 23.];
        for (a, ta) in [(&a, false), (&at, true)] {
            for (b, tb) in [(&b, false), (&bt, true)] {
                let mut out = [0.; 4];
                matmul(
                    a,
                    b,
                    &mut out,
                    MatMulShape {
                        batch: 1,
                        m: 2,
                        n: 2,
                        k: 3,
                        ta,
                        tb,
                    },
                );
                assert_eq!(out, want, "ta {ta} tb {tb}");
            }
        }
    }

    /// ⟨dy, conv(x, w)⟩ has dx and dw as its gradients, and is linear in each: it equals ⟨dx, x⟩ and ⟨dw, w⟩.
    #[test]
    fn convolution_gradients_are_its_transposes() {
        for (kernel, stride, padding, groups) in
            [(3, 1, 1, 1), (3, 2, 1, 2), (1, 2, 0, 1), (2, 1, 0, 2)]
        {
            let (n, h, w, c, k) = (2, 5, 6, 4, 6);
            let out = |i: usize| (i + 2 * padding - kernel) / stride + 1;
            let s = ConvShape {
                n,
                h,
                w,
                c,
                k,
                oh: out(h),
                ow: out(w),
                kernel,
                stride,
                padding,
                groups,
            };
            let draw = |len: usize, stream| {
                let mut v = vec![0.; len];
                uniform(0.0, &mut v, 5, stream);
                v
            };
            let x = draw(n * h * w * c, 0);
            let f = draw(kernel * kernel * c / groups * k, 1);
            let dy = draw(n * s.oh * s.ow * k, 2);
            let (mut y, mut dx, mut dw) =
                (vec![0.; dy.len()], vec![0.; x.len()], vec![0.; f.len()]);
            conv(&x, &f, &mut y, &s);
            conv_input_grad(&dy, &f, &mut dx, &s);
            conv_filter_grad(&x, &dy, &mut dw, &s);
            let dot = |a: &[f32], b: &[f32]| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| *a as f64 * *b as f64)
                    .sum::<f64>()
            };
            let want = dot(&dy, &y);
            assert!((dot(&dx, &x) / want - 1.0).abs() < 1e-6);
            assert!((dot(&dw, &f) / want - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn pooling_pads_and_breaks_ties() {
        let s = Window {
            n: 1,
            h: 3,
            w: 3,
            c: 1,
            oh: 2,
            ow: 2,
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        let x = [-1., -1., -2., -5., -1., -3., -4., -4., -4.];
        let mut y = [0.; 4];
        max_pool(&x, &mut y, &s);
        assert_eq!(y, [-1.; 4]);
        let mut dx = [0.; 9];
        max_pool_grad(&x, &[1., 2., 4., 8.], &mut dx, &s);
        assert_eq!(dx, [1., 2., 0., 0., 12., 0., 0., 0., 0.]);
        avg_pool(&x, &mut y, &s);
        assert_eq!(y, [-8. / 9., -7. / 9., -14. / 9., -12. / 9.]);
        avg_pool_grad(&[9., 0., 0., 18.], &mut dx, &s);
        assert_eq!(dx, [1., 1., 0., 1., 3., 2., 0., 2., 2.]);
    }

    #[test]
    fn scatter_is_the_transpose_of_take() {
        let s = TakeShape {
            outer: 2,
            size: 3,
            count: 4,
            inner: 2,
        };
        let index = [2., 0., 2., 7.];
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut y = vec![0.; 16];
        take(&x, &index, &mut y, s);
        assert_eq!(y[..8], [4., 5., 0., 1., 4., 5., 4., 5.]);
        let mut back = vec![9.; 12];
        scatter_add(&[1.; 16], &index, &mut back, s);
        assert_eq!(back[..6], [1., 1., 0., 0., 3., 3.]);
    }
}
