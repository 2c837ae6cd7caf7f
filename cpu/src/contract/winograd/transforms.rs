//! The transforms of F(4, 3) along one axis, for the points 0, ±3/4, ±3/2 and ∞.
//!
//! With `m(x) = x (x² − a²) (x² − b²)` the rows of Bᵀ are the coefficients of `m(x)/(x − p)` for each finite point p and those of
//! `m(x)` for ∞; a row of G is `(1, p, p²)` over the derivative `m'(p)`, a row of A is `(1, p, p², p³)`; at ∞ both have a
//! one at the highest power. These points err half as much as the usual 0, ±1, ±2, ∞, since the sizes of all numbers stay close to 1.

use crate::contract::vector::Vector;

const A: f32 = 0.75;
const B: f32 = 1.5;
const AA: f32 = A * A;
const BB: f32 = B * B;

/// One over m'(p) at 0, at ±a and at ±b.
const AT_ZERO: f32 = 1.0 / (AA * BB);
const AT_A: f32 = 1.0 / (2.0 * AA * (AA - BB));
const AT_B: f32 = 1.0 / (2.0 * BB * (BB - AA));

/// Bᵀ·d: six inputs into the transform's domain.
///
/// # Safety
/// The machine has the vector's instructions; so for all transforms.
#[inline(always)]
pub unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let even_a = d[4].add_product(number(-BB), d[2]);
        let odd_a = d[3].add_product(number(-BB), d[1]);
        let even_b = d[4].add_product(number(-AA), d[2]);
        let odd_b = d[3].add_product(number(-AA), d[1]);
        let ends = |d0: V, d2: V, d4: V| {
            d4.add_product(number(-AA - BB), d2)
                .add_product(number(AA * BB), d0)
        };
        [
            ends(d[0], d[2], d[4]),
            even_a.add_product(number(A), odd_a),
            even_a.add_product(number(-A), odd_a),
            even_b.add_product(number(B), odd_b),
            even_b.add_product(number(-B), odd_b),
            ends(d[1], d[3], d[5]),
        ]
    }
}

/// Aᵀ·m: six sums of products to four outputs.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let (sum_a, difference_a) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (sum_b, difference_b) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum_a).add(sum_b),
            difference_a
                .mul(number(A))
                .add_product(number(B), difference_b),
            sum_a.mul(number(AA)).add_product(number(BB), sum_b),
            m[5].add_product(number(AA * A), difference_a)
                .add_product(number(BB * B), difference_b),
        ]
    }
}

/// G·g: three taps into the transform's domain.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn filter<V: Vector>(g: [V; 3]) -> [V; 6] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let even_a = g[0].mul(number(AT_A)).add_product(number(AT_A * AA), g[2]);
        let even_b = g[0].mul(number(AT_B)).add_product(number(AT_B * BB), g[2]);
        [
            g[0].mul(number(AT_ZERO)),
            even_a.add_product(number(AT_A * A), g[1]),
            even_a.add_product(number(-AT_A * A), g[1]),
            even_b.add_product(number(AT_B * B), g[1]),
            even_b.add_product(number(-AT_B * B), g[1]),
            g[2],
        ]
    }
}

/// A·y, the transpose of [`output`]: four outputs' gradients into the transform's domain.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn output_transposed<V: Vector>(y: [V; 4]) -> [V; 6] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let even_a = y[0].add_product(number(AA), y[2]);
        let even_b = y[0].add_product(number(BB), y[2]);
        let odd_a = y[1].add_product(number(AA), y[3]);
        let odd_b = y[1].add_product(number(BB), y[3]);
        [
            y[0],
            even_a.add_product(number(A), odd_a),
            even_a.add_product(number(-A), odd_a),
            even_b.add_product(number(B), odd_b),
            even_b.add_product(number(-B), odd_b),
            y[3],
        ]
    }
}

/// Gᵀ·u, the transpose of [`filter`]: six sums of products to three taps' gradients.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn filter_transposed<V: Vector>(u: [V; 6]) -> [V; 3] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let (sum_a, difference_a) = (u[1].add(u[2]), u[1].sub(u[2]));
        let (sum_b, difference_b) = (u[3].add(u[4]), u[3].sub(u[4]));
        [
            u[0].mul(number(AT_ZERO))
                .add_product(number(AT_A), sum_a)
                .add_product(number(AT_B), sum_b),
            difference_a
                .mul(number(AT_A * A))
                .add_product(number(AT_B * B), difference_b),
            u[5].add_product(number(AT_A * AA), sum_a)
                .add_product(number(AT_B * BB), sum_b),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::contract::vector::Four;

    /// Numbers that differ from lane to lane.
    pub fn vectors<const N: usize>(seed: u32) -> [Four; N] {
        std::array::from_fn(|i| {
            let values: [f32; 4] = std::array::from_fn(|lane| {
                let mixed = (i as u32 * 4 + lane as u32 + seed).wrapping_mul(2_654_435_761);
                (mixed >> 8) as f32 / (1 << 23) as f32 - 1.0
            });
            // SAFETY: an array of four.
            unsafe { Four::load(values.as_ptr()) }
        })
    }

    pub fn lanes<const N: usize>(vectors: [Four; N]) -> [[f32; 4]; N] {
        vectors.map(|v| {
            let mut values = [0.0; 4];
            // SAFETY: an array of four.
            unsafe { v.store(values.as_mut_ptr()) };
            values
        })
    }

    pub fn dot<const N: usize>(a: [Four; N], b: [Four; N]) -> f32 {
        let pairs = lanes(a)
            .into_iter()
            .flatten()
            .zip(lanes(b).into_iter().flatten());
        pairs.map(|(a, b)| a * b).sum()
    }

    #[test]
    fn six_products_are_four_outputs_of_three_taps() {
        let (d, g) = (vectors::<6>(1), vectors::<3>(7));
        // SAFETY: portable vectors.
        let y = lanes(unsafe {
            let (u, v) = (filter(g), input(d));
            output(std::array::from_fn(|i| u[i].mul(v[i])))
        });
        let (d, g) = (lanes(d), lanes(g));
        for (i, y) in y.iter().enumerate() {
            for lane in 0..4 {
                let expected: f32 = (0..3).map(|k| d[i + k][lane] * g[k][lane]).sum();
                assert!((y[lane] - expected).abs() < 1e-5, "{} {expected}", y[lane]);
            }
        }
    }

    #[test]
    fn transposes_have_the_same_products() {
        let (m, y, g) = (vectors::<6>(1), vectors::<4>(2), vectors::<3>(3));
        // SAFETY: portable vectors.
        let [through, back, filtered, gathered] = unsafe {
            [
                dot(output(m), y),
                dot(m, output_transposed(y)),
                dot(filter(g), m),
                dot(g, filter_transposed(m)),
            ]
        };
        assert!((through - back).abs() < 1e-4, "{through} {back}");
        assert!((filtered - gathered).abs() < 1e-4, "{filtered} {gathered}");
    }
}
