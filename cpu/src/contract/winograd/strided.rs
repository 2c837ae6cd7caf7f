//! The transforms of a 3-tap filter at stride 2 along one axis: four outputs from nine inputs with nine products.
//!
//! Taps 0 and 2 meet every other input, tap 1 those between: the first are F(4, 2) for the points ±1/2, ±5/4 and ∞ (five
//! products), the second four products of their own. In the plane that is 81 products for 16 outputs of 9 taps, 1.78 times
//! fewer than 144. Of the usual points these err least, 4e-7 (0, ±1, 2, ∞: 5e-7).
//!
//! With `m(x) = (x² − a²)(x² − b²)` the matrices are made as for [`transforms`](super::transforms). The order of the nine points:
//! a, −a, b, −b, ∞, then the four products of tap 1.

use crate::contract::vector::Vector;

/// Products along an axis.
pub const POINTS: usize = 9;

const A: f32 = 0.5;
const B: f32 = 1.25;
const AA: f32 = A * A;
const BB: f32 = B * B;

/// One over m'(p) at a and at b; at −a and −b it has the other sign.
const AT_A: f32 = 1.0 / (2.0 * A * (AA - BB));
const AT_B: f32 = 1.0 / (2.0 * B * (BB - AA));

/// Bᵀ of F(4, 2).
#[inline(always)]
unsafe fn pairs_in<V: Vector>(d: [V; 5]) -> [V; 5] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let odd_a = d[3].add_product(number(-BB), d[1]);
        let even_a = d[2].add_product(number(-BB), d[0]);
        let odd_b = d[3].add_product(number(-AA), d[1]);
        let even_b = d[2].add_product(number(-AA), d[0]);
        [
            odd_a.add_product(number(A), even_a),
            odd_a.add_product(number(-A), even_a),
            odd_b.add_product(number(B), even_b),
            odd_b.add_product(number(-B), even_b),
            d[4].add_product(number(-AA - BB), d[2])
                .add_product(number(AA * BB), d[0]),
        ]
    }
}

/// Aᵀ of F(4, 2).
#[inline(always)]
unsafe fn pairs_out<V: Vector>(m: [V; 5]) -> [V; 4] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let (sum_a, difference_a) = (m[0].add(m[1]), m[0].sub(m[1]));
        let (sum_b, difference_b) = (m[2].add(m[3]), m[2].sub(m[3]));
        [
            sum_a.add(sum_b),
            difference_a
                .mul(number(A))
                .add_product(number(B), difference_b),
            sum_a.mul(number(AA)).add_product(number(BB), sum_b),
            m[4].add_product(number(AA * A), difference_a)
                .add_product(number(BB * B), difference_b),
        ]
    }
}

/// Bᵀ·d: nine inputs, the first under tap 0 of the first output, into the transform's domain.
///
/// # Safety
/// The machine has the vector's instructions; so for all transforms.
#[inline(always)]
pub unsafe fn input<V: Vector>(d: [V; 9]) -> [V; 9] {
    // SAFETY: the caller's.
    let [a, b, c, e, f] = unsafe { pairs_in([d[0], d[2], d[4], d[6], d[8]]) };
    [a, b, c, e, f, d[1], d[3], d[5], d[7]]
}

/// Aᵀ·m: nine sums of products to four outputs.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn output<V: Vector>(m: [V; 9]) -> [V; 4] {
    // SAFETY: the caller's.
    unsafe {
        let y = pairs_out([m[0], m[1], m[2], m[3], m[4]]);
        [
            y[0].add(m[5]),
            y[1].add(m[6]),
            y[2].add(m[7]),
            y[3].add(m[8]),
        ]
    }
}

/// G·g: three taps into the transform's domain.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn filter<V: Vector>(g: [V; 3]) -> [V; 9] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let last_a = g[2].mul(number(AT_A * A));
        let last_b = g[2].mul(number(AT_B * B));
        [
            last_a.add_product(number(AT_A), g[0]),
            last_a.add_product(number(-AT_A), g[0]),
            last_b.add_product(number(AT_B), g[0]),
            last_b.add_product(number(-AT_B), g[0]),
            g[2],
            g[1],
            g[1],
            g[1],
            g[1],
        ]
    }
}

/// A·y, the transpose of [`output`]: four outputs' gradients into the transform's domain.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn output_transposed<V: Vector>(y: [V; 4]) -> [V; 9] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let even_a = y[0].add_product(number(AA), y[2]);
        let even_b = y[0].add_product(number(BB), y[2]);
        let odd_a = y[1].add_product(number(AA), y[3]);
        let odd_b = y[1].add_product(number(BB), y[3]);
        [
            even_a.add_product(number(A), odd_a),
            even_a.add_product(number(-A), odd_a),
            even_b.add_product(number(B), odd_b),
            even_b.add_product(number(-B), odd_b),
            y[3],
            y[0],
            y[1],
            y[2],
            y[3],
        ]
    }
}

/// Gᵀ·u, the transpose of [`filter`]: nine sums of products to three taps' gradients.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn filter_transposed<V: Vector>(u: [V; 9]) -> [V; 3] {
    // SAFETY: the caller's.
    unsafe {
        let number = |v| V::number(v);
        let (sum_a, difference_a) = (u[0].add(u[1]), u[0].sub(u[1]));
        let (sum_b, difference_b) = (u[2].add(u[3]), u[2].sub(u[3]));
        [
            difference_a
                .mul(number(AT_A))
                .add_product(number(AT_B), difference_b),
            u[5].add(u[6]).add(u[7].add(u[8])),
            u[4].add_product(number(AT_A * A), sum_a)
                .add_product(number(AT_B * B), sum_b),
        ]
    }
}

/// For the input's gradient: five of the outputs' gradients into the transform's domain. An input under tap 1 takes one of
/// them; one between two outputs takes tap 2 of the earlier and tap 0 of the later one. The filter is [`filter`] of the taps turned.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn gradient<V: Vector>(dy: [V; 5]) -> [V; 9] {
    // SAFETY: the caller's.
    let [a, b, c, e, f] = unsafe { pairs_in(dy) };
    [a, b, c, e, f, dy[0], dy[1], dy[2], dy[3]]
}

/// For the input's gradient: nine sums of products to the gradients of eight inputs, of which the first is under tap 1.
///
/// # Safety
/// As for [`input`].
#[inline(always)]
pub unsafe fn gradient_output<V: Vector>(m: [V; 9]) -> [V; 8] {
    // SAFETY: the caller's.
    let y = unsafe { pairs_out([m[0], m[1], m[2], m[3], m[4]]) };
    [m[5], y[0], m[6], y[1], m[7], y[2], m[8], y[3]]
}

#[cfg(test)]
mod tests {
    use super::super::transforms::tests::{dot, lanes, vectors};
    use super::*;

    #[test]
    fn nine_products_are_four_outputs_of_stride_two() {
        let (d, g) = (vectors::<9>(1), vectors::<3>(7));
        // SAFETY: portable vectors.
        let y = lanes(unsafe {
            let (u, v) = (filter(g), input(d));
            output(std::array::from_fn(|i| u[i].mul(v[i])))
        });
        let (d, g) = (lanes(d), lanes(g));
        for (i, y) in y.iter().enumerate() {
            for lane in 0..4 {
                let expected: f32 = (0..3).map(|k| d[2 * i + k][lane] * g[k][lane]).sum();
                assert!((y[lane] - expected).abs() < 1e-5, "{} {expected}", y[lane]);
            }
        }
    }

    #[test]
    fn nine_products_are_the_gradients_of_eight_inputs() {
        let (dy, g) = (vectors::<5>(1), vectors::<3>(7));
        // SAFETY: portable vectors.
        let dx = lanes(unsafe {
            let (u, v) = (filter([g[2], g[1], g[0]]), gradient(dy));
            gradient_output(std::array::from_fn(|i| u[i].mul(v[i])))
        });
        let (dy, g) = (lanes(dy), lanes(g));
        for (i, dx) in dx.iter().enumerate() {
            for lane in 0..4 {
                let y = |i: usize| dy[i][lane];
                let expected = match i % 2 {
                    0 => y(i / 2) * g[1][lane],
                    _ => y(i / 2) * g[2][lane] + y(i / 2 + 1) * g[0][lane],
                };
                assert!(
                    (dx[lane] - expected).abs() < 1e-5,
                    "{} {expected}",
                    dx[lane]
                );
            }
        }
    }

    #[test]
    fn transposes_have_the_same_products() {
        let (m, y, g) = (vectors::<9>(1), vectors::<4>(2), vectors::<3>(3));
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
