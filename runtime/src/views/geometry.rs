//! Operations that move pixels: crops, flips, rotation, erasing.

use super::planes::{Planes, Scratch};

/// A box of pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Area {
    pub fn whole(height: usize, width: usize) -> Area {
        Area {
            top: 0,
            left: 0,
            height,
            width,
        }
    }
}

/// The size in which the shorter side is `size` and the longer one follows, rounded down.
pub(super) fn shorter_side(height: usize, width: usize, size: usize) -> (usize, usize) {
    if width <= height {
        (size * height / width, size)
    } else {
        (size, size * width / height)
    }
}

/// The corner of `CenterCrop`, negative where the image is smaller and zeros are put around it.
pub(super) fn center(height: usize, width: usize, h: usize, w: usize) -> (isize, isize) {
    let corner = |have: usize, want: usize| {
        if want > have {
            -(((want - have) / 2) as isize)
        } else {
            ((have - want) as f64 / 2.0).round_ties_even() as isize
        }
    };
    (corner(height, h), corner(width, w))
}

/// Cuts out `h`×`w` pixels from (`top`, `left`) on, which may lie outside: zeros are there.
pub(super) fn crop(scratch: &mut Scratch, top: isize, left: isize, h: usize, w: usize) {
    let Scratch { image, spare, .. } = scratch;
    spare.reshape(image.channels, h, w);
    spare.data.fill(0.0);
    // The columns of the result that lie in the image, and the image's column under the first of them.
    let first = (-left).clamp(0, w as isize);
    let last = (image.width as isize - left).clamp(first, w as isize);
    let from = (left + first).max(0) as usize;
    let (first, last) = (first as usize, last as usize);
    if last > first {
        for c in 0..image.channels {
            for y in 0..h {
                let source = top + y as isize;
                if source < 0 || source >= image.height as isize {
                    continue;
                }
                let source = (c * image.height + source as usize) * image.width + from;
                let target = (c * h + y) * w;
                spare.data[target + first..target + last]
                    .copy_from_slice(&image.data[source..source + last - first]);
            }
        }
    }
    std::mem::swap(image, spare);
}

pub(super) fn flip_horizontally(image: &mut Planes) {
    for row in image.data.chunks_exact_mut(image.width.max(1)) {
        row.reverse();
    }
}

pub(super) fn flip_vertically(image: &mut Planes) {
    let (h, w) = (image.height, image.width.max(1));
    for plane in image.planes_mut() {
        let (upper, lower) = plane.split_at_mut(h / 2 * w);
        let lower = lower[h % 2 * w..].chunks_exact_mut(w);
        for (a, b) in upper.chunks_exact_mut(w).zip(lower.rev()) {
            a.swap_with_slice(b);
        }
    }
}

/// Rotates about the centre, counter-clockwise, to the nearest pixel, zeros outside: torchvision's affine grid and PyTorch's
/// `grid_sample(mode="nearest", align_corners=False)`, in their float arithmetic, so that ties fall alike.
pub(super) fn rotate(scratch: &mut Scratch, degrees: f64) {
    let degrees = degrees.rem_euclid(360.0);
    let Scratch { image, spare, .. } = scratch;
    let (h, w) = (image.height, image.width);
    if degrees == 0.0 {
        return;
    }
    if degrees == 180.0 {
        flip_horizontally(image);
        flip_vertically(image);
        return;
    }
    spare.reshape(image.channels, h, w);
    let sources = image.data.chunks_exact((h * w).max(1));
    if h == w && (degrees == 90.0 || degrees == 270.0) {
        for (from, to) in sources.zip(spare.planes_mut()) {
            for (i, v) in to.iter_mut().enumerate() {
                let (y, x) = (i / w, i % w);
                *v = if degrees == 90.0 {
                    from[x * w + (w - 1 - y)]
                } else {
                    from[(h - 1 - x) * w + y]
                };
            }
        }
    } else {
        let from = inverse_rotation(h, w, degrees);
        for (source, to) in sources.zip(spare.planes_mut()) {
            for (i, v) in to.iter_mut().enumerate() {
                *v = from(i / w, i % w).map_or(0.0, |at| source[at]);
            }
        }
    }
    std::mem::swap(image, spare);
}

/// For a pixel of the rotated image (y, x), the index of the pixel of the image that it shows.
fn inverse_rotation(h: usize, w: usize, degrees: f64) -> impl Fn(usize, usize) -> Option<usize> {
    let (height, width) = (h as f32, w as f32);
    let (half_h, half_w) = (height * 0.5, width * 0.5);
    // The inverse of the rotation, scaled to the grid's units, in which the image spans −1 to 1.
    let radians = (-degrees).to_radians();
    let (cos, sin) = (radians.cos() as f32, radians.sin() as f32);
    let to_x = [cos / half_w, sin / half_w];
    let to_y = [-sin / half_h, cos / half_h];
    move |y, x| {
        let gy = y as f32 - (height - 1.0) * 0.5;
        let gx = x as f32 - (width - 1.0) * 0.5;
        let from_x = gx * to_x[0] + gy * to_x[1];
        let from_y = gx * to_y[0] + gy * to_y[1];
        let from_x = ((from_x + 1.0) * half_w - 0.5).round_ties_even();
        let from_y = ((from_y + 1.0) * half_h - 0.5).round_ties_even();
        let inside = (0.0..width).contains(&from_x) && (0.0..height).contains(&from_y);
        inside.then(|| from_y as usize * w + from_x as usize)
    }
}

/// Sets a box to zero.
pub(super) fn erase(image: &mut Planes, area: Area) {
    let width = image.width.max(1);
    for plane in image.planes_mut() {
        let rows = plane.chunks_exact_mut(width);
        for row in rows.skip(area.top).take(area.height) {
            row[area.left..area.left + area.width].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(height: usize, width: usize) -> Scratch {
        Scratch {
            image: Planes {
                data: (0..height * width).map(|i| i as f32 + 1.0).collect(),
                channels: 1,
                height,
                width,
            },
            ..Scratch::default()
        }
    }

    #[test]
    fn flips_undo_themselves() {
        let mut s = scratch(3, 4);
        flip_vertically(&mut s.image);
        assert_eq!(s.image.data[..4], [9.0, 10.0, 11.0, 12.0]);
        flip_horizontally(&mut s.image);
        assert_eq!(s.image.data[..4], [12.0, 11.0, 10.0, 9.0]);
        flip_vertically(&mut s.image);
        flip_horizontally(&mut s.image);
        assert_eq!(s.image, scratch(3, 4).image);
    }

    #[test]
    fn a_crop_outside_the_image_is_zero() {
        let mut s = scratch(2, 2);
        crop(&mut s, -1, -1, 4, 3);
        assert_eq!(
            s.image.data,
            [0., 0., 0., 0., 1., 2., 0., 3., 4., 0., 0., 0.]
        );
        let mut s = scratch(2, 2);
        crop(&mut s, 5, -7, 2, 2);
        assert_eq!(s.image.data, [0.0; 4]);
    }

    #[test]
    fn the_shorter_side_leads() {
        assert_eq!(shorter_side(375, 500, 256), (256, 341));
        assert_eq!(shorter_side(500, 375, 256), (341, 256));
        assert_eq!(shorter_side(1, 500, 4), (4, 2000));
    }

    #[test]
    fn erasing_touches_its_box_only() {
        let mut s = scratch(3, 3);
        let area = Area {
            top: 1,
            left: 0,
            height: 2,
            width: 2,
        };
        erase(&mut s.image, area);
        assert_eq!(s.image.data, [1., 2., 3., 0., 0., 6., 0., 0., 9.]);
    }
}
