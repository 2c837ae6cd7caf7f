//! Register tiles of the products: `C[m][·] = Σ_k A[m][k] B[k][·]`, k a word of the domain, for up to twelve tiles of outputs and one or two vectors of
//! channels, each sum in one register and in the order of k.

use super::Arithmetic;
use super::forms::{Operands, Single};
use crate::contract::vector::Vector;
use crate::level::Level;

/// (A, elements from one of its rows to the next, B packed in rows of a panel's width, length of k, C packed likewise).
pub type Product = unsafe fn(*const f32, usize, *const f32, usize, *mut f32);

/// Rows of the highest register tile.
pub const HIGHEST: usize = 12;

/// The register tiles of a level by their rows less one, for a wide and a narrow panel.
#[derive(Clone, Copy, Debug)]
pub struct Products {
    /// Lanes of a vector.
    pub lanes: usize,
    /// Rows of the highest tile whose sums stay in registers, with two vectors and with one.
    highest: [usize; 2],
    wide: [Product; HIGHEST],
    narrow: [Product; HIGHEST],
}

impl Products {
    pub fn new(arithmetic: Arithmetic) -> Products {
        match arithmetic {
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Pairs => pairs(),
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Single(Level::Avx512) => avx512(),
            #[cfg(target_arch = "x86_64")]
            Arithmetic::Single(Level::Avx2) => avx2(),
            _ => portable(),
        }
    }

    /// `rows` rows of A by a panel of B of one or two vectors.
    ///
    /// # Safety
    /// The machine has the level; A has `rows` rows `pitch` apart of `len` elements, B `len` rows and C `rows` rows of
    /// the panel's width, C nowhere meeting the others.
    #[inline(always)]
    pub unsafe fn run(
        &self,
        wide: bool,
        rows: usize,
        (a, pitch): (*const f32, usize),
        b: *const f32,
        len: usize,
        c: *mut f32,
    ) {
        let (tiles, highest, width) = if wide {
            (&self.wide, self.highest[0], 2 * self.lanes)
        } else {
            (&self.narrow, self.highest[1], self.lanes)
        };
        // Heights as even as may be.
        let count = rows.div_ceil(highest);
        let (low, higher) = (rows / count, rows % count);
        let mut row = 0;
        for i in 0..count {
            let height = low + usize::from(i < higher);
            // SAFETY: the caller's; the rows from `row` on are there.
            unsafe {
                tiles[height - 1](a.add(row * pitch), pitch, b, len, c.add(row * width));
            }
            row += height;
        }
    }
}

/// Repeats a block for each index below a constant, each index a constant in its copy.
macro_rules! unroll {
    ($i:ident < $limit:expr => $body:block) => {
        unroll!(@ $i, $limit, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $i:ident, $limit:expr, $body:block, $($n:literal)*) => {
        $(
            if $n < $limit {
                #[allow(clippy::no_effect_underscore_binding)]
                let $i: usize = $n;
                $body
            }
        )*
    };
}

#[inline(always)]
unsafe fn tile<V: Vector, O: Operands<V>, const M: usize, const N: usize>(
    a: *const f32,
    pitch: usize,
    b: *const f32,
    len: usize,
    c: *mut f32,
) {
    // SAFETY: see `Products::run`.
    unsafe {
        let mut acc = [[V::zero(); N]; M];
        // A base for each three rows: the others are in reach of an index register.
        let mut bases = [a; 4];
        unroll!(i < 4 => { bases[i] = a.wrapping_add(3 * i * pitch); });
        let mut b = b;
        let mut k = 0;
        while k < len {
            let mut bv = [V::zero(); N];
            unroll!(v < N => { bv[v] = V::load(b.add(v * V::LANES)); });
            unroll!(m < M => {
                let av = V::splat(bases[m / 3].add((m % 3) * pitch + k));
                unroll!(v < N => { acc[m][v] = O::add_product(acc[m][v], av, bv[v]); });
            });
            b = b.add(N * V::LANES);
            k += 1;
        }
        unroll!(m < M => {
            unroll!(v < N => { acc[m][v].store(c.add((m * N + v) * V::LANES)); });
        });
    }
}

macro_rules! products {
    ($name:ident, $vector:ty, $operands:ty, $(#[$feature:meta])*, highest: $highest:expr) => {
        fn $name() -> Products {
            $(#[$feature])*
            unsafe fn product<const M: usize, const N: usize>(
                a: *const f32,
                pitch: usize,
                b: *const f32,
                len: usize,
                c: *mut f32,
            ) {
                // SAFETY: the caller's.
                unsafe { tile::<$vector, $operands, M, N>(a, pitch, b, len, c) }
            }
            products!(@ $vector, $highest, 1 2 3 4 5 6 7 8 9 10 11 12)
        }
    };
    (@ $vector:ty, $highest:expr, $($m:literal)*) => {
        Products {
            lanes: <$vector as Vector>::LANES,
            highest: $highest,
            wide: [$(product::<$m, 2>),*],
            narrow: [$(product::<$m, 1>),*],
        }
    };
}

products!(portable, crate::contract::vector::Four, Single, , highest: [4, 8]);
#[cfg(target_arch = "x86_64")]
products!(
    avx2,
    std::arch::x86_64::__m256,
    Single,
    #[target_feature(enable = "avx2,fma")],
    highest: [6, 12]
);
#[cfg(target_arch = "x86_64")]
products!(
    avx512,
    std::arch::x86_64::__m512,
    Single,
    #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")],
    highest: [12, 12]
);
#[cfg(target_arch = "x86_64")]
products!(
    pairs,
    std::arch::x86_64::__m512,
    super::forms::Pairs,
    #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")],
    highest: [12, 12]
);
