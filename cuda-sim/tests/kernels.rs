//! Right kernels: their results, through the device's own interface.
//!
//! The PTX beside the CUDA C was made by NVRTC 12.9 for compute_80 with `--std=c++17 --fmad=false -default-device`.
mod support;

use sslc_cuda_sim::{Argument::*, Device};
use support::{launch, load};

/// Values in [-2, 2) that look random.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn four_values_a_thread_and_a_rest() {
    let mut device = Device::default();
    let module = load(&mut device, "elementwise");
    let n = 1003;
    let x = noise(n);
    let (px, py) = (device.upload_f32(&x).unwrap(), device.empty(n * 4).unwrap());
    launch(
        &mut device,
        &module,
        "scale_and_shift",
        (2, 128),
        &[Pointer(px), Pointer(py), F32(3.0), I32(n as i32)],
    )
    .unwrap();
    let expected: Vec<f32> = x.iter().map(|v| v * 3.0 + 1.0).collect();
    assert_eq!(device.download_f32(py, n).unwrap(), expected);
}

#[test]
fn functions_of_the_library_are_near_the_hosts() {
    let mut device = Device::default();
    let module = load(&mut device, "elementwise");
    let n = 100;
    let x = noise(n);
    let (px, py) = (
        device.upload_f32(&x).unwrap(),
        device.empty(n * 32).unwrap(),
    );
    launch(
        &mut device,
        &module,
        "functions",
        (4, 32),
        &[Pointer(px), Pointer(py), I32(n as i32)],
    )
    .unwrap();
    let y = device.download_f32(py, n * 8).unwrap();
    for (i, &v) in x.iter().enumerate() {
        let w = v as f64;
        let e = |at: usize, expected: f64| {
            let got = y[i * 8 + at] as f64;
            assert!(
                (got - expected).abs() <= 4e-6 * expected.abs().max(1.0),
                "{at} of {v}: {got}, not {expected}"
            );
        };
        e(0, w.exp());
        e(1, (w.abs() + 1.0).ln());
        e(2, w.sin());
        e(3, ((v * 1e6) as f64).cos());
        e(5, w.tanh());
        e(6, 1.0 / (w.abs() + 1.0).sqrt());
        e(7, w.abs().powf(1.5));
    }
    // erf has no function in the standard library: a point of it is.
    assert!((y[4] - x[0].signum() * y[4].abs()).abs() < 1e-6 && y[4].abs() < 1.0);
}

#[test]
fn whole_numbers_of_all_widths() {
    let mut device = Device::default();
    let module = load(&mut device, "elementwise");
    let n = 64usize;
    let x: Vec<u32> = (0..n as u32)
        .map(|i| i.wrapping_mul(2654435761) ^ i << 7)
        .collect();
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (px, py) = (device.upload(&bytes).unwrap(), device.empty(n * 4).unwrap());
    launch(
        &mut device,
        &module,
        "integers",
        (2, 32),
        &[Pointer(px), Pointer(py), I32(n as i32)],
    )
    .unwrap();
    let y = device.download(py, n * 4).unwrap();
    for i in 0..n {
        let (a, b) = (x[i], x[n - 1 - i]);
        let wide = (a as u64) << 32 | b as u64;
        let bytes = (a as u64 | (b as u64) << 32).to_le_bytes();
        let permuted = u32::from_le_bytes([bytes[5], bytes[1], bytes[7], bytes[3]]);
        let mut r = ((a as u64 * b as u64) >> 32) as u32
            ^ a.count_ones()
            ^ b.leading_zeros()
            ^ a.reverse_bits()
            ^ permuted;
        let funnel = (((b as u64) << 32 | a as u64) << 7 >> 32) as u32;
        r = r
            .wrapping_add(funnel)
            .wrapping_add((wide / (b | 1) as u64) as u32)
            .wrapping_add((wide % 1000003) as u32);
        r = r.wrapping_add((a as i16 as i32 * b as i16 as i32) as u32);
        r = r
            .wrapping_add((wide as i64 >> 13) as u32)
            .wrapping_add((a < b) as u32);
        r = r.wrapping_add(if a as i32 > b as i32 { 3 } else { 5 });
        r = r.wrapping_add(if a == 0 { 0 } else { a.trailing_zeros() + 1 });
        assert_eq!(
            u32::from_le_bytes(y[i * 4..i * 4 + 4].try_into().unwrap()),
            r,
            "of {a:#x} and {b:#x}"
        );
    }
}

#[test]
fn pairs_of_bf16() {
    let mut device = Device::default();
    let module = load(&mut device, "elementwise");
    let x: Vec<u8> = [1.0f32, 2.0, -3.5, 0.25]
        .iter()
        .flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes())
        .collect();
    let (px, py) = (device.upload(&x).unwrap(), device.empty(8).unwrap());
    launch(
        &mut device,
        &module,
        "halves",
        (1, 32),
        &[Pointer(px), Pointer(py), I32(4)],
    )
    .unwrap();
    let y = device.download(py, 8).unwrap();
    let y: Vec<f32> = y
        .chunks(2)
        .map(|c| f32::from_bits((u16::from_le_bytes([c[0], c[1]]) as u32) << 16))
        .collect();
    assert_eq!(y, [2.0, 3.0, -7.0, 1.25]);
}

#[test]
fn calls_and_local_arrays() {
    let mut device = Device::default();
    let module = load(&mut device, "elementwise");
    let (px, py) = (
        device.upload_f32(&[1.0, 2.0, 3.0, 4.0]).unwrap(),
        device.empty(32 * 4).unwrap(),
    );
    launch(
        &mut device,
        &module,
        "calls",
        (1, 32),
        &[Pointer(px), Pointer(py)],
    )
    .unwrap();
    assert_eq!(device.download_f32(py, 32).unwrap(), [21.0; 32]);
}

#[test]
fn constants_and_atomics() {
    let mut device = Device::default();
    let module = load(&mut device, "elementwise");
    let py = device.empty(64 * 4).unwrap();
    launch(&mut device, &module, "variables", (1, 64), &[Pointer(py)]).unwrap();
    assert_eq!(
        device.download_f32(py, 64).unwrap()[60..],
        [1.0, 2.0, 4.0, 8.0]
    );
    let (counter, bytes) = module.variables["counter"];
    assert_eq!(
        device.download(counter, bytes as usize).unwrap(),
        64u32.to_le_bytes()
    );
}

#[test]
fn sums_of_rows_by_shuffles_and_shared_memory() {
    let mut device = Device::default();
    let module = load(&mut device, "reduction");
    let x = noise(7000);
    let (px, py) = (device.upload_f32(&x).unwrap(), device.empty(28).unwrap());
    launch(
        &mut device,
        &module,
        "row_sums",
        (7, 256),
        &[Pointer(px), Pointer(py)],
    )
    .unwrap();
    for (row, sum) in x.chunks(1000).zip(device.download_f32(py, 7).unwrap()) {
        let expected: f64 = row.iter().map(|&v| v as f64).sum();
        assert!((sum as f64 - expected).abs() < 1e-3);
    }
}

#[test]
fn votes_and_barriers_that_count() {
    let mut device = Device::default();
    let module = load(&mut device, "reduction");
    let x: Vec<i32> = (0..64).map(|i| i * 37 % 100).collect();
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (px, py) = (device.upload(&bytes).unwrap(), device.empty(256).unwrap());
    launch(
        &mut device,
        &module,
        "votes",
        (1, 64),
        &[Pointer(px), Pointer(py)],
    )
    .unwrap();
    let y = device.download(py, 256).unwrap();
    let over = x.iter().filter(|&&v| v > 50).count() as i32;
    for (i, got) in y.chunks(4).enumerate() {
        let warp = &x[i / 32 * 32..][..32];
        let odd = warp.iter().filter(|&&v| v & 1 == 1).count() as i32;
        let expected = warp.contains(&7) as i32
            + 2
            + 4 * odd
            + 256 * warp.iter().max().unwrap()
            + 65536 * over
            + 16777216 * x.contains(&99) as i32;
        assert_eq!(i32::from_le_bytes(got.try_into().unwrap()), expected);
    }
}

#[test]
fn a_warp_may_reduce_in_shared_memory_if_it_synchronises() {
    let mut device = Device::default();
    let module = load(&mut device, "reduction");
    let (px, py) = (
        device.upload_f32(&[1.0; 64]).unwrap(),
        device.empty(4).unwrap(),
    );
    launch(
        &mut device,
        &module,
        "warp_tail_synchronised",
        (1, 32),
        &[Pointer(px), Pointer(py)],
    )
    .unwrap();
    assert_eq!(device.download_f32(py, 1).unwrap(), [64.0]);
}

#[test]
fn a_product_in_tiles() {
    let mut device = Device::default();
    let module = load(&mut device, "matmul");
    let (m, n, k) = (48, 32, 64);
    let (a, b) = (noise(m * k), noise(k * n));
    let (pa, pb, pc) = (
        device.upload_f32(&a).unwrap(),
        device.upload_f32(&b).unwrap(),
        device.empty(m * n * 4).unwrap(),
    );
    let arguments = [
        Pointer(pa),
        Pointer(pb),
        Pointer(pc),
        I32(m as i32),
        I32(n as i32),
        I32(k as i32),
    ];
    device
        .launch(&module, "tiled", [2, 3, 1], [16, 16, 1], 0, &arguments)
        .unwrap();
    let c = device.download_f32(pc, m * n).unwrap();
    for row in 0..m {
        for column in 0..n {
            let expected = (0..k).fold(0f32, |s, i| a[row * k + i].mul_add(b[i * n + column], s));
            assert_eq!(c[row * n + column], expected);
        }
    }
}

/// Small whole numbers, which bf16 holds exactly.
fn small(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7 % 13) as f32 - 6.0).collect()
}

fn bf16(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes())
        .collect()
}

#[test]
fn a_product_of_bf16_by_a_warp() {
    let mut device = Device::default();
    let module = load(&mut device, "matmul");
    let (a, b) = (small(256), small(128));
    let (pa, pb, pc) = (
        device.upload(&bf16(&a)).unwrap(),
        device.upload(&bf16(&b)).unwrap(),
        device.empty(512).unwrap(),
    );
    launch(
        &mut device,
        &module,
        "mma_bf16",
        (1, 32),
        &[Pointer(pa), Pointer(pb), Pointer(pc)],
    )
    .unwrap();
    let c = device.download_f32(pc, 128).unwrap();
    for row in 0..16 {
        for column in 0..8 {
            let expected: f32 = (0..16).map(|i| a[row * 16 + i] * b[column * 16 + i]).sum();
            assert_eq!(c[row * 8 + column], expected, "{row}, {column}");
        }
    }
}

#[test]
fn a_product_of_tf32_by_a_warp() {
    let mut device = Device::default();
    let module = load(&mut device, "matmul");
    let (a, b) = (small(128), small(64));
    let (pa, pb, pc) = (
        device.upload_f32(&a).unwrap(),
        device.upload_f32(&b).unwrap(),
        device.empty(512).unwrap(),
    );
    launch(
        &mut device,
        &module,
        "mma_tf32",
        (1, 32),
        &[Pointer(pa), Pointer(pb), Pointer(pc)],
    )
    .unwrap();
    let c = device.download_f32(pc, 128).unwrap();
    for row in 0..16 {
        for column in 0..8 {
            let expected: f32 = (0..8).map(|i| a[row * 8 + i] * b[i * 8 + column]).sum();
            assert_eq!(c[row * 8 + column], expected, "{row}, {column}");
        }
    }
}

#[test]
fn a_matrix_transposed_on_its_way() {
    let mut device = Device::default();
    let module = load(&mut device, "matmul");
    let x: Vec<u8> = (0..64u16).flat_map(|v| v.to_le_bytes()).collect();
    let (px, py) = (device.upload(&x).unwrap(), device.empty(128).unwrap());
    launch(
        &mut device,
        &module,
        "transposed",
        (1, 32),
        &[Pointer(px), Pointer(py)],
    )
    .unwrap();
    let y = device.download(py, 128).unwrap();
    for lane in 0..32u16 {
        let got = &y[lane as usize * 4..][..4];
        let (row, column) = (lane % 4 * 2, lane / 4);
        assert_eq!(u16::from_le_bytes([got[0], got[1]]), row * 8 + column);
        assert_eq!(u16::from_le_bytes([got[2], got[3]]), (row + 1) * 8 + column);
    }
}

#[test]
fn copies_two_tiles_ahead() {
    let mut device = Device::default();
    let module = load(&mut device, "pipeline");
    let x = noise(5 * 256);
    let (px, py) = (
        device.upload_f32(&x).unwrap(),
        device.empty(x.len() * 4).unwrap(),
    );
    device
        .launch(
            &module,
            "right",
            [1, 1, 1],
            [256, 1, 1],
            3072,
            &[Pointer(px), Pointer(py), I32(5)],
        )
        .unwrap();
    let expected: Vec<f32> = x
        .chunks(256)
        .flat_map(|tile| tile.iter().rev().copied())
        .collect();
    assert_eq!(device.download_f32(py, x.len()).unwrap(), expected);
}

#[test]
fn a_copy_pads_with_zeros() {
    let mut device = Device::default();
    let module = load(&mut device, "pipeline");
    let (px, py) = (
        device.upload_f32(&[5.0; 50]).unwrap(),
        device.empty(512).unwrap(),
    );
    launch(
        &mut device,
        &module,
        "padded",
        (1, 32),
        &[Pointer(px), Pointer(py), I32(50)],
    )
    .unwrap();
    let y = device.download_f32(py, 128).unwrap();
    assert!(y[..50].iter().all(|&v| v == 5.0) && y[50..].iter().all(|&v| v == 0.0));
}
