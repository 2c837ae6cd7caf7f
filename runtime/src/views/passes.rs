//! Runs the steps of a view over its pixels, in as few passes as they allow.

use super::color::{self, Point};
use super::planes::Scratch;
use super::steps::{Action, Step};
use super::{blur, geometry};
use crate::data::ImageRef;
use std::time::{Duration, Instant};

/// Where the time of views goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpTimes {
    /// Drawing the parameters.
    pub draws: Duration,
    /// From bytes to floats, where no resampling begins with the bytes.
    pub read: Duration,
    /// Each operation of the pipeline.
    pub ops: Vec<Duration>,
    /// Writing the view to its place in the batch.
    pub write: Duration,
}

/// Tells the time from one call to the next.
struct Clock<'a> {
    times: Option<&'a mut OpTimes>,
    last: Instant,
}

impl Clock<'_> {
    fn note(&mut self, of: impl FnOnce(&mut OpTimes) -> Option<&mut Duration>) {
        if let Some(times) = &mut self.times {
            let now = Instant::now();
            if let Some(time) = of(times) {
                *time += now - self.last;
            }
            self.last = now;
        }
    }
}

/// Runs `scratch.steps` on an image and writes the view, [H, W, C]. With `times`, each operation makes its own pass.
pub(super) fn run(
    image: &ImageRef<'_>,
    scratch: &mut Scratch,
    out: &mut [f32],
    times: Option<&mut OpTimes>,
) {
    let timed = times.is_some();
    let mut clock = Clock {
        times,
        last: Instant::now(),
    };
    let steps = std::mem::take(&mut scratch.steps);
    let mut points = std::mem::take(&mut scratch.points);
    let level = scratch.level;
    let mut rest = &steps[..];
    // A pipeline that begins with a resampling takes its pixels directly from the bytes of the image.
    if let [Step { op, action }, later @ ..] = rest
        && let Action::Resample(plan) = action
    {
        let Scratch {
            image: made,
            resampler,
            ..
        } = scratch;
        resampler.bytes(image, plan, made, level);
        clock.note(|t| t.ops.get_mut(*op));
        rest = later;
    } else {
        scratch.image.load(image, level);
        clock.note(|t| Some(&mut t.read));
    }
    let mut out = Some(out);
    while let [Step { op, action }, later @ ..] = rest {
        rest = later;
        let Action::Point(point) = action else {
            act(action, scratch);
            clock.note(|t| t.ops.get_mut(*op));
            continue;
        };
        points.clear();
        points.push(*point);
        while !timed
            && let [
                Step {
                    action: Action::Point(point),
                    ..
                },
                later @ ..,
            ] = rest
        {
            points.push(*point);
            rest = later;
        }
        let to = if rest.is_empty() && !timed {
            out.take()
        } else {
            None
        };
        color::run(&mut scratch.image, &points, to, level);
        clock.note(|t| t.ops.get_mut(*op));
    }
    if let Some(out) = out {
        color::run(&mut scratch.image, &[], Some(out), level);
        clock.note(|t| Some(&mut t.write));
    }
    scratch.steps = steps;
    scratch.points = points;
}

/// An action on `scratch.image`.
fn act(action: &Action, scratch: &mut Scratch) {
    match action {
        Action::Resample(plan) => {
            let Scratch {
                image,
                spare,
                resampler,
                level,
                ..
            } = scratch;
            resampler.planes(image, plan, spare, *level);
            std::mem::swap(image, spare);
        }
        Action::Crop {
            top,
            left,
            height,
            width,
        } => geometry::crop(scratch, *top, *left, *height, *width),
        Action::FlipHorizontally => geometry::flip_horizontally(&mut scratch.image),
        Action::FlipVertically => geometry::flip_vertically(&mut scratch.image),
        Action::Point(point) => apply(*point, scratch),
        Action::Blur { sigma, taps } => blur::gaussian(scratch, *sigma, *taps),
        Action::Rotate { degrees } => geometry::rotate(scratch, *degrees),
        Action::Erase(area) => geometry::erase(&mut scratch.image, *area),
    }
}

fn apply(point: Point, scratch: &mut Scratch) {
    color::run(&mut scratch.image, &[point], None, scratch.level);
}
