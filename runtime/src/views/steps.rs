//! From a pipeline to steps: what a view does to its image, with all parameters drawn.
//!
//! Drawing comes first and is apart from the pixels: operations that do not act leave no step, neighbours can be merged, and an image that is too small is
//! found before anything is computed.

use super::blur;
use super::color::Point;
use super::draws;
use super::geometry::{self, Area};
use super::resample::Plan;
use super::{Key, too_small};
use crate::rng::Stream;
use sslc_compiler::program::{ViewKind, ViewOp};
use sslc_grammar::diag::Diagnostic;

/// An operation with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    Resample(Plan),
    /// Cuts out `height`×`width` pixels from a corner that may lie outside.
    Crop {
        top: isize,
        left: isize,
        height: usize,
        width: usize,
    },
    FlipHorizontally,
    FlipVertically,
    /// Changes each pixel by itself.
    Point(Point),
    Blur {
        sigma: f64,
        taps: usize,
    },
    Rotate {
        degrees: f64,
    },
    Erase(Area),
}

/// An action and the place of its operation in the pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub op: usize,
    pub action: Action,
}

/// Draws the parameters of a view of an image of `size` (height, width) and returns the size of the view.
///
/// Errors: E0614 where the image is too small for a crop.
pub(super) fn draw(
    ops: &[ViewOp],
    size: (usize, usize),
    key: Key,
    steps: &mut Vec<Step>,
) -> Result<(usize, usize), Diagnostic> {
    let mut size = size;
    steps.clear();
    for (op, ViewOp { p, kind }) in ops.iter().enumerate() {
        let mut draws = key.stream(op);
        if draws.unit() < *p {
            size = draw_op(kind, op, size, &mut draws, steps)?;
        }
    }
    Ok(size)
}

/// Adds the steps of one operation that acts, and returns the size of what comes out.
fn draw_op(
    kind: &ViewKind,
    op: usize,
    (height, width): (usize, usize),
    draws: &mut Stream,
    steps: &mut Vec<Step>,
) -> Result<(usize, usize), Diagnostic> {
    let size = (height, width);
    let mut out = size;
    let action = match kind {
        ViewKind::RandomResizedCrop {
            height: h,
            width: w,
            scale,
            ratio,
            interpolation,
            antialias,
        } => {
            out = (*h, *w);
            Action::Resample(Plan {
                from: draws::resized_crop(height, width, *scale, *ratio, draws),
                height: *h,
                width: *w,
                interpolation: *interpolation,
                antialias: *antialias,
                mirrored: false,
            })
        }
        ViewKind::Resize {
            height: h,
            width: w,
            interpolation,
            antialias,
        } => {
            out = match w {
                Some(w) => (*h, *w),
                None => geometry::shorter_side(height, width, *h),
            };
            Action::Resample(Plan {
                from: Area::whole(height, width),
                height: out.0,
                width: out.1,
                interpolation: *interpolation,
                antialias: *antialias,
                mirrored: false,
            })
        }
        ViewKind::CenterCrop {
            height: h,
            width: w,
        } => {
            let (top, left) = geometry::center(height, width, *h, *w);
            out = (*h, *w);
            Action::Crop {
                top,
                left,
                height: *h,
                width: *w,
            }
        }
        ViewKind::RandomCrop {
            height: h,
            width: w,
            padding,
        } => {
            let corner = draws::crop_corner(size, (*h, *w), *padding, draws);
            let Some((top, left)) = corner else {
                return Err(too_small(size, (*h, *w), *padding));
            };
            out = (*h, *w);
            Action::Crop {
                top,
                left,
                height: *h,
                width: *w,
            }
        }
        ViewKind::HorizontalFlip => {
            if let Some(Step {
                action: Action::Resample(plan),
                ..
            }) = steps.last_mut()
            {
                plan.mirrored = !plan.mirrored;
                return Ok(out);
            }
            Action::FlipHorizontally
        }
        ViewKind::VerticalFlip => Action::FlipVertically,
        ViewKind::ColorJitter {
            brightness,
            contrast,
            saturation,
            hue,
            random_order,
        } => {
            let mut order = [0, 1, 2, 3];
            if *random_order {
                draws.shuffle(&mut order);
            }
            let factors = [brightness, contrast, saturation, hue]
                .map(|r| r.map(|r| draws.uniform(r.lo, r.hi)));
            let points = Point::jitter(factors, order);
            steps.extend(points.map(|point| Step {
                op,
                action: Action::Point(point),
            }));
            return Ok(out);
        }
        ViewKind::Grayscale => Action::Point(Point::Grayscale),
        ViewKind::GaussianBlur { sigma, kernel } => {
            let sigma = draws.uniform(sigma.lo, sigma.hi);
            Action::Blur {
                sigma,
                taps: kernel.unwrap_or(blur::auto_kernel(sigma)),
            }
        }
        ViewKind::Solarize { threshold } => Action::Point(Point::Solarize(*threshold as f32)),
        ViewKind::RandomRotation { degrees } => Action::Rotate {
            degrees: draws.uniform(degrees.lo, degrees.hi),
        },
        ViewKind::RandomErasing { scale, ratio } => {
            match draws::erased(height, width, *scale, *ratio, draws) {
                Some(area) => Action::Erase(area),
                None => return Ok(out),
            }
        }
        ViewKind::Normalize { mean, std } => Action::Point(Point::normalize(mean, std)),
    };
    steps.push(Step { op, action });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslc_compiler::program::{Interpolation, Span64};

    const KEY: Key = Key {
        seed: 5,
        epoch: 0,
        image: 0,
        view: 0,
    };

    fn op(kind: ViewKind) -> ViewOp {
        ViewOp { p: 1.0, kind }
    }

    #[test]
    fn a_flip_behind_a_resampling_is_part_of_it() {
        let resize = op(ViewKind::Resize {
            height: 8,
            width: Some(8),
            interpolation: Interpolation::Bicubic,
            antialias: true,
        });
        let flip = op(ViewKind::HorizontalFlip);
        let mut steps = Vec::new();
        draw(&[resize, flip.clone()], (10, 12), KEY, &mut steps).unwrap();
        assert!(matches!(steps[..], [Step { action: Action::Resample(p), .. }] if p.mirrored));
        draw(&[flip], (10, 12), KEY, &mut steps).unwrap();
        assert_eq!(steps[0].action, Action::FlipHorizontally);
    }

    #[test]
    fn each_operation_sees_the_size_that_the_one_before_leaves() {
        let crop = |size, padding| {
            op(ViewKind::RandomCrop {
                height: size,
                width: size,
                padding,
            })
        };
        let mut steps = Vec::new();
        draw(&[crop(20, 0), crop(28, 4)], (32, 32), KEY, &mut steps).unwrap();
        assert_eq!(steps.len(), 2);
        let error = draw(&[crop(20, 0), crop(28, 3)], (32, 32), KEY, &mut steps).unwrap_err();
        assert!(error.message.contains("20×20"), "{}", error.message);
    }

    #[test]
    fn what_does_not_act_leaves_no_step() {
        let never = ViewOp {
            p: 0.0,
            kind: ViewKind::Grayscale,
        };
        let jitter = op(ViewKind::ColorJitter {
            brightness: Some(Span64 { lo: 0.5, hi: 1.5 }),
            contrast: None,
            saturation: None,
            hue: Some(Span64 { lo: -0.1, hi: 0.1 }),
            random_order: true,
        });
        let mut steps = Vec::new();
        draw(&[never, jitter], (4, 4), KEY, &mut steps).unwrap();
        assert_eq!(steps.len(), 2);
        assert!(steps.iter().all(|s| s.op == 1));
    }
}
