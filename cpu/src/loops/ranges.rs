//! Which elements of the arena an access touches, for the checks of a loop kernel.

use super::canon::Place;

/// First and last element touched over the valid part of the index space; `None` if nothing is, or if the numbers
/// are beyond 64 bits.
pub fn range(place: &Place, sizes: &[usize]) -> Option<(i64, i64)> {
    let (mut lo, mut hi) = (i128::from(place.base), i128::from(place.base));
    for (axis, size) in sizes.iter().enumerate() {
        let (first, end) = place.valid[axis].unwrap_or((0, *size));
        if first >= end {
            return None;
        }
        let stride = i128::from(place.strides[axis]);
        let (a, b) = (stride * first as i128, stride * (end - 1) as i128);
        lo += a.min(b);
        hi += a.max(b);
    }
    Some((i64::try_from(lo).ok()?, i64::try_from(hi).ok()?))
}

/// First and last byte touched.
fn bytes(place: &Place, sizes: &[usize]) -> Option<(i128, i128)> {
    let (lo, hi) = range(place, sizes)?;
    let size = place.element.bytes() as i128;
    Some((i128::from(lo) * size, i128::from(hi) * size + size - 1))
}

/// Whether the ranges of two accesses meet.
pub fn overlap(a: &Place, b: &Place, sizes: &[usize]) -> bool {
    if a.of_piece != b.of_piece {
        return false;
    }
    match (bytes(a, sizes), bytes(b, sizes)) {
        (Some((a0, a1)), Some((b0, b1))) => a0 <= b1 && b0 <= a1,
        _ => false,
    }
}

/// Calls `f` with each element touched, once per point of the index space over the axes with a stride.
fn each(place: &Place, sizes: &[usize], f: &mut impl FnMut(i64) -> bool) -> bool {
    fn walk(
        place: &Place,
        sizes: &[usize],
        axis: usize,
        at: i64,
        f: &mut impl FnMut(i64) -> bool,
    ) -> bool {
        if axis == sizes.len() {
            return f(at);
        }
        let (first, end) = place.valid[axis].unwrap_or((0, sizes[axis]));
        if place.strides[axis] == 0 {
            return first >= end || walk(place, sizes, axis + 1, at, f);
        }
        (first..end).all(|i| {
            walk(
                place,
                sizes,
                axis + 1,
                at + i as i64 * place.strides[axis],
                f,
            )
        })
    }
    walk(place, sizes, 0, place.base, f)
}

/// The elements touched, as bits from the first of the range on.
struct Touched {
    first: i64,
    bits: Vec<u64>,
}

impl Touched {
    /// `None` when an element is touched twice.
    fn new(place: &Place, sizes: &[usize]) -> Option<Touched> {
        let (first, last) = range(place, sizes).unwrap_or((0, 0));
        let mut touched = Touched {
            first,
            bits: vec![0; ((last - first) as usize) / 64 + 1],
        };
        let once = each(place, sizes, &mut |at| {
            let i = (at - first) as usize;
            let new = touched.bits[i / 64] >> (i % 64) & 1 == 0;
            touched.bits[i / 64] |= 1 << (i % 64);
            new
        });
        once.then_some(touched)
    }

    fn contains(&self, at: i64) -> bool {
        let Ok(i) = usize::try_from(at - self.first) else {
            return false;
        };
        self.bits
            .get(i / 64)
            .is_some_and(|word| word >> (i % 64) & 1 == 1)
    }
}

/// Whether no element is touched at two points, apart from axes of stride 0.
pub fn injective(place: &Place, sizes: &[usize]) -> bool {
    let mut axes: Vec<(i64, usize)> = place
        .strides
        .iter()
        .zip(sizes)
        .filter(|(stride, size)| **stride != 0 && **size > 1)
        .map(|(stride, size)| (stride.abs(), *size))
        .collect();
    axes.sort_unstable();
    let mut reach: i64 = 0;
    let nested = axes.iter().all(|(stride, size)| {
        let apart = *stride > reach;
        reach = reach.saturating_add(stride.saturating_mul(*size as i64 - 1));
        apart
    });
    nested || Touched::new(place, sizes).is_some()
}

/// Whether two accesses share no element. Where the ranges meet, every element is looked at; accesses of different types
/// then count as sharing some.
pub fn disjoint(a: &Place, b: &Place, sizes: &[usize]) -> bool {
    if !overlap(a, b, sizes) {
        return true;
    }
    if a.element != b.element {
        return false;
    }
    match Touched::new(a, sizes) {
        Some(touched) => each(b, sizes, &mut |at| !touched.contains(at)),
        None => false,
    }
}

/// Whether two accesses are the same element at every point.
pub fn same(a: &Place, b: &Place, sizes: &[usize]) -> bool {
    (a.element, a.base) == (b.element, b.base)
        && a.valid == b.valid
        && (0..sizes.len()).all(|i| sizes[i] == 1 || a.strides[i] == b.strides[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslc_compiler::kernels::ir::Element;

    fn place(base: i64, strides: &[i64]) -> Place {
        Place {
            element: Element::F32,
            base,
            strides: strides.to_vec(),
            valid: vec![None; strides.len()],
            of_piece: false,
        }
    }

    #[test]
    fn ranges_follow_strides_and_valid() {
        let mut p = place(10, &[5, -1]);
        assert_eq!(range(&p, &[3, 4]), Some((7, 20)));
        p.valid[0] = Some((1, 2));
        assert_eq!(range(&p, &[3, 4]), Some((12, 15)));
        p.valid[1] = Some((2, 2));
        assert_eq!(range(&p, &[3, 4]), None);
        assert_eq!(range(&place(0, &[i64::MAX]), &[3]), None);
    }

    #[test]
    fn interleaved_halves_are_disjoint() {
        let sizes = [4, 3];
        assert!(disjoint(&place(0, &[6, 1]), &place(3, &[6, 1]), &sizes));
        assert!(!disjoint(&place(0, &[6, 1]), &place(2, &[6, 1]), &sizes));
        assert!(disjoint(&place(0, &[3, 1]), &place(12, &[3, 1]), &sizes));
    }

    #[test]
    fn element_types_meet_by_their_bytes() {
        let half = |base| Place {
            element: Element::Bf16,
            ..place(base, &[1])
        };
        assert!(overlap(&half(16), &place(8, &[1]), &[4]));
        assert!(!overlap(&half(16), &place(10, &[1]), &[4]));
        assert!(!disjoint(&half(16), &place(8, &[1]), &[4]));
        assert!(!same(&half(8), &place(8, &[1]), &[4]));
    }

    #[test]
    fn writing_twice_is_seen() {
        assert!(injective(&place(0, &[3, 1]), &[4, 3]));
        assert!(injective(&place(0, &[0, 1]), &[4, 3]));
        assert!(injective(&place(0, &[1, 4]), &[4, 3]));
        assert!(!injective(&place(0, &[2, 1]), &[4, 3]));
        // Neither axis goes beyond the other, but no two points meet.
        assert!(injective(&place(0, &[3, 2]), &[2, 2]));
    }
}
