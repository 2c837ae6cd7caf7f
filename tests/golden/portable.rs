//! Numbers that `golden.py` and this make alike, bit for bit: see `README.md`.

use crate::tensors::Tensor;

/// Products with vectors of signs in a [`sketch`].
pub const SIGNS: usize = 24;

/// The deviation of a sum of four uniform 16-bit integers.
const SUM_STD: f64 = 37837.22723720648;

/// Side of the squares of one colour in [`images`].
const COARSE: usize = 4;

fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// 64 bits for each element: output i + 1 of splitmix64 seeded with the name's FNV-1a hash.
fn bits(name: &str) -> impl Iterator<Item = u64> {
    let mut state = fnv1a(name);
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// Near-normal numbers: four uniform 16-bit integers added and scaled.
fn normal(name: &str) -> impl Iterator<Item = f64> {
    bits(name).map(|b| {
        let total: i64 = (0..4).map(|i| ((b >> (16 * i)) & 0xFFFF) as i64).sum();
        (total - 131_070) as f64 / SUM_STD
    })
}

/// offset + scale · normal, then + swing at even and − swing at odd places.
pub fn tensor(name: &str, count: usize, offset: f64, scale: f64, swing: f64) -> Vec<f32> {
    let signs = [swing, -swing].into_iter().cycle();
    let values = normal(name).zip(signs);
    values
        .take(count)
        .map(|(x, s)| (offset + scale * x + s) as f32)
        .collect()
}

/// A tensor of a file's recipe: [offset, scale, swing, shape…].
pub fn from_recipe(name: &str, recipe: &[f64]) -> Tensor {
    let shape: Vec<usize> = recipe[3..].iter().map(|d| *d as usize).collect();
    let values = tensor(
        name,
        shape.iter().product(),
        recipe[0],
        recipe[1],
        recipe[2],
    );
    Tensor::f32(&shape, &values)
}

/// Images [B, C, H, W]: squares of one colour, the same for all views of an image, and noise.
pub fn images(image_name: &str, view_name: &str, shape: [usize; 4]) -> Vec<f32> {
    let [b, c, h, w] = shape;
    let (gh, gw) = (h.div_ceil(COARSE), w.div_ceil(COARSE));
    let coarse: Vec<f64> = normal(image_name).take(b * c * gh * gw).collect();
    let fine = normal(view_name).take(b * c * h * w);
    fine.enumerate()
        .map(|(i, fine)| {
            let (plane, y, x) = (i / (h * w), i / w % h, i % w);
            let square = coarse[(plane * gh + y / COARSE) * gw + x / COARSE];
            (square * 0.75 + fine * 0.5) as f32
        })
        .collect()
}

/// A tensor's norm, and its products with [`SIGNS`] vectors of −1 and 1.
///
/// For a difference d of two tensors and a random vector of signs s, the mean of (s·d)² is ‖d‖²: the products of two
/// tensors tell how far they are apart.
pub fn sketch(values: &[f64]) -> [f64; 1 + SIGNS] {
    let mut out = [0.0; 1 + SIGNS];
    for (v, b) in values.iter().zip(bits("signs")) {
        out[0] += v * v;
        for (j, product) in out[1..].iter_mut().enumerate() {
            *product += if (b >> j) & 1 == 0 { *v } else { -v };
        }
    }
    out[0] = out[0].sqrt();
    out
}

#[test]
fn the_numbers_are_golden_py_s() {
    // python -c "import golden; print(golden.tensor('name', [3], 0.5, 2.0, 1.0), golden.sketch(torch.tensor([1., 2., 4.]))[:4])"
    assert_eq!(
        tensor("name", 3, 0.5, 2.0, 1.0),
        [3.820_307_5, 0.241_967_7, 0.808_247_4]
    );
    assert_eq!(sketch(&[1.0, 2.0, 4.0])[1..4], [7.0, 1.0, 3.0]);
}
