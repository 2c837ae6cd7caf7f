//! Random parameters of operations, drawn as torchvision's `make_params` draws them.

use super::geometry::Area;
use crate::rng::Stream;
use sslc_compiler::program::Span64;

const TRIES: usize = 10;

/// A side in pixels: rounded half to even, as Python does.
fn side(x: f64) -> usize {
    x.round_ties_even() as usize
}

/// Two sides whose product is a drawn share of the area and whose quotient (first by second) is drawn log-uniformly.
fn sides(area: f64, scale: Span64, ratio: Span64, draws: &mut Stream) -> (usize, usize) {
    let target = area * draws.uniform(scale.lo, scale.hi);
    let aspect = draws.uniform(ratio.lo.ln(), ratio.hi.ln()).exp();
    (
        side((target * aspect).sqrt()),
        side((target / aspect).sqrt()),
    )
}

fn place(image: (usize, usize), (height, width): (usize, usize), draws: &mut Stream) -> Area {
    Area {
        top: draws.below(image.0 - height + 1),
        left: draws.below(image.1 - width + 1),
        height,
        width,
    }
}

/// The box of `RandomResizedCrop`: ten tries, then the largest central box whose ratio (width by height) is allowed.
pub(super) fn resized_crop(
    height: usize,
    width: usize,
    scale: Span64,
    ratio: Span64,
    draws: &mut Stream,
) -> Area {
    for _ in 0..TRIES {
        let (w, h) = sides((height * width) as f64, scale, ratio, draws);
        if 0 < w && w <= width && 0 < h && h <= height {
            return place((height, width), (h, w), draws);
        }
    }
    let whole = width as f64 / height as f64;
    let (h, w) = if whole < ratio.lo {
        (side(width as f64 / ratio.lo), width)
    } else if whole > ratio.hi {
        (height, side(height as f64 * ratio.hi))
    } else {
        (height, width)
    };
    let (h, w) = (h.clamp(1, height), w.clamp(1, width));
    Area {
        top: (height - h) / 2,
        left: (width - w) / 2,
        height: h,
        width: w,
    }
}

/// The corner of `RandomCrop` (top, left) relative to the image, negative within the padding; `None` where the padded image is too small.
pub(super) fn crop_corner(
    image: (usize, usize),
    crop: (usize, usize),
    padding: usize,
    draws: &mut Stream,
) -> Option<(isize, isize)> {
    let free_y = (image.0 + 2 * padding).checked_sub(crop.0)?;
    let free_x = (image.1 + 2 * padding).checked_sub(crop.1)?;
    let top = draws.below(free_y + 1) as isize - padding as isize;
    let left = draws.below(free_x + 1) as isize - padding as isize;
    Some((top, left))
}

/// The box of `RandomErasing`: the first of ten tries that fits strictly; `None` where none does. Its ratio is height by width.
pub(super) fn erased(
    height: usize,
    width: usize,
    scale: Span64,
    ratio: Span64,
    draws: &mut Stream,
) -> Option<Area> {
    (0..TRIES)
        .map(|_| sides((height * width) as f64, scale, ratio, draws))
        .find(|(h, w)| *h < height && *w < width)
        .map(|size| place((height, width), size, draws))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Domain;

    const SCALE: Span64 = Span64 { lo: 0.08, hi: 1.0 };
    const RATIO: Span64 = Span64 {
        lo: 3.0 / 4.0,
        hi: 4.0 / 3.0,
    };

    fn stream(i: u32) -> Stream {
        Stream::new(1, Domain::Views, 0, i, 0)
    }

    #[test]
    fn a_long_image_falls_back_to_its_centre() {
        let whole = Span64 { lo: 1.0, hi: 1.0 };
        let a = resized_crop(10, 100, whole, RATIO, &mut stream(0));
        assert_eq!((a.top, a.left, a.height, a.width), (0, 43, 10, 13));
        let a = resized_crop(100, 10, whole, RATIO, &mut stream(0));
        assert_eq!((a.top, a.left, a.height, a.width), (43, 0, 13, 10));
    }

    #[test]
    fn crop_corners_reach_every_place_of_the_padded_image() {
        let mut seen = [[false; 9]; 9];
        for i in 0..2_000 {
            let (top, left) = crop_corner((32, 32), (32, 32), 4, &mut stream(i)).unwrap();
            seen[(top + 4) as usize][(left + 4) as usize] = true;
        }
        assert!(seen.iter().flatten().all(|s| *s));
        assert_eq!(crop_corner((20, 32), (32, 32), 4, &mut stream(0)), None);
    }

    #[test]
    fn an_erased_box_is_smaller_than_the_image() {
        let scale = Span64 { lo: 0.02, hi: 0.33 };
        let ratio = Span64 { lo: 0.3, hi: 3.3 };
        let mut share = 0.0;
        for i in 0..1_000 {
            let a = erased(40, 30, scale, ratio, &mut stream(i)).unwrap();
            assert!(a.height < 40 && a.width < 30);
            assert!(a.top + a.height <= 40 && a.left + a.width <= 30);
            share += (a.height * a.width) as f64 / 1200.0 / 1000.0;
        }
        // 20,000 draws of torchvision 0.29's RandomErasing: 0.1719.
        assert!((0.162..0.182).contains(&share), "{share}");
    }

    #[test]
    fn crops_cover_what_torchvision_s_do_on_average() {
        let n = 20_000;
        let (mut share, mut log_ratio) = (0.0, 0.0);
        for i in 0..n {
            let a = resized_crop(200, 200, SCALE, RATIO, &mut stream(i));
            assert!(a.top + a.height <= 200 && a.left + a.width <= 200);
            share += (a.height * a.width) as f64 / 40_000.0 / f64::from(n);
            log_ratio += (a.width as f64 / a.height as f64).ln() / f64::from(n);
        }
        assert!((share - TORCHVISION_SHARE).abs() < 0.006, "{share}");
        assert!(log_ratio.abs() < 0.005, "{log_ratio}");
    }

    /// Mean share of the area in 60,000 draws of torchvision 0.29's RandomResizedCrop on 200×200 pixels, default ranges.
    const TORCHVISION_SHARE: f64 = 0.4794;
}
