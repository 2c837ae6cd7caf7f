//! Operations on values: colour jitter, grayscale, solarize, normalize.

use super::planes::Planes;

/// torchvision's weights of red, green and blue (ITU-R 601-2 luma).
fn luma(r: f32, g: f32, b: f32) -> f32 {
    r * 0.2989 + g * 0.587 + b * 0.114
}

/// Brightness, contrast, saturation and hue by their factors, in the given order of these four. Values are clipped to [0, 1] after each.
pub(super) fn jitter(image: &mut Planes, factors: [Option<f64>; 4], order: [usize; 4]) {
    for part in order {
        let Some(factor) = factors[part] else {
            continue;
        };
        match part {
            0 => brightness(image, factor),
            1 => contrast(image, factor),
            2 => saturation(image, factor),
            _ => hue(image, factor),
        }
    }
}

fn brightness(image: &mut Planes, factor: f64) {
    let factor = factor as f32;
    for v in &mut image.data {
        *v = (*v * factor).clamp(0.0, 1.0);
    }
}

/// Towards or away from the mean luminance of the image.
fn contrast(image: &mut Planes, factor: f64) {
    let area = (image.height * image.width).max(1) as f64;
    let sum: f64 = match image.rgb() {
        Some([r, g, b]) => {
            let pixels = r.iter().zip(g.iter()).zip(b.iter());
            pixels.map(|((r, g), b)| f64::from(luma(*r, *g, *b))).sum()
        }
        None => image.data.iter().map(|v| f64::from(*v)).sum(),
    };
    let mean = (sum / area) as f32;
    let (factor, rest) = (factor as f32, (1.0 - factor) as f32);
    for v in &mut image.data {
        *v = (*v * factor + mean * rest).clamp(0.0, 1.0);
    }
}

/// Towards or away from the gray image; gray images stay.
fn saturation(image: &mut Planes, factor: f64) {
    let Some([r, g, b]) = image.rgb() else {
        return;
    };
    let (factor, rest) = (factor as f32, (1.0 - factor) as f32);
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let gray = luma(*r, *g, *b) * rest;
        *r = (*r * factor + gray).clamp(0.0, 1.0);
        *g = (*g * factor + gray).clamp(0.0, 1.0);
        *b = (*b * factor + gray).clamp(0.0, 1.0);
    }
}

/// Turns the hue by a share of the full circle; gray images stay.
fn hue(image: &mut Planes, turn: f64) {
    let turn = turn as f32;
    let Some([r, g, b]) = image.rgb() else {
        return;
    };
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let [h, s, v] = rgb_to_hsv(*r, *g, *b);
        let h = h + turn;
        let rgb = hsv_to_rgb(h - h.floor(), s, v);
        [*r, *g, *b] = rgb.map(|x| x.clamp(0.0, 1.0));
    }
}

/// Hue in [0, 1), saturation, value.
fn rgb_to_hsv(r: f32, g: f32, b: f32) -> [f32; 3] {
    let (min, max) = (r.min(g).min(b), r.max(g).max(b));
    if min == max {
        return [0.0, 0.0, max];
    }
    let range = max - min;
    let (rc, gc, bc) = ((max - r) / range, (max - g) / range, (max - b) / range);
    let sixths = if max == r {
        bc - gc
    } else if max == g {
        rc + 2.0 - bc
    } else {
        gc + 4.0 - rc
    };
    let h = sixths * (1.0 / 6.0) + 1.0;
    [h - h.floor(), range / max, max]
}

fn hsv_to_rgb(h: f32, s: f32, v: f32) -> [f32; 3] {
    let sixths = h * 6.0;
    let i = sixths.floor();
    let f = sixths - i;
    let sf = s * f;
    let p = ((1.0 - s) * v).clamp(0.0, 1.0);
    let q = ((1.0 - sf) * v).clamp(0.0, 1.0);
    let t = ((sf + (1.0 - s)) * v).clamp(0.0, 1.0);
    match (i as i32).rem_euclid(6) {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// All three channels become the luminance; gray images stay.
pub(super) fn grayscale(image: &mut Planes) {
    let Some([r, g, b]) = image.rgb() else {
        return;
    };
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let gray = luma(*r, *g, *b);
        [*r, *g, *b] = [gray; 3];
    }
}

/// Inverts the values that reach the threshold.
pub(super) fn solarize(image: &mut Planes, threshold: f64) {
    let threshold = threshold as f32;
    for v in &mut image.data {
        if *v >= threshold {
            *v = 1.0 - *v;
        }
    }
}

/// Subtracts the mean and divides by the standard deviation of each channel; one number serves all channels.
pub(super) fn normalize(image: &mut Planes, mean: &[f64], std: &[f64]) {
    let of = |values: &[f64], c: usize, absent: f64| {
        values.get(c).or(values.last()).copied().unwrap_or(absent) as f32
    };
    for (c, plane) in image.planes_mut().enumerate() {
        let (mean, std) = (of(mean, c, 0.0), of(std, c, 1.0));
        for v in plane {
            *v = (*v - mean) / std;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsv_goes_there_and_back() {
        for i in 0..1000 {
            let [r, g, b] = [i % 10, i / 10 % 10, i / 100].map(|v| v as f32 / 9.0);
            let [h, s, v] = rgb_to_hsv(r, g, b);
            let back = hsv_to_rgb(h, s, v);
            for (x, y) in back.iter().zip([r, g, b]) {
                assert!((x - y).abs() < 1e-5, "{r} {g} {b} -> {back:?}");
            }
        }
    }

    #[test]
    fn colour_operations_leave_gray_images() {
        let gray = Planes {
            data: vec![0.1, 0.5, 0.9, 0.3],
            channels: 1,
            height: 2,
            width: 2,
        };
        let mut image = gray.clone();
        saturation(&mut image, 0.3);
        hue(&mut image, 0.2);
        grayscale(&mut image);
        assert_eq!(image, gray);
        brightness(&mut image, 0.5);
        assert_eq!(image.data, [0.05, 0.25, 0.45, 0.15]);
    }
}
