//! The prologue that most networks have, `max((x ± shift)·scale + bias, least)`, in one pass over the pixels.
//!
//! The block machine takes a pass of its cache for each operation; here all of them are done on a vector of channels while it is
//! in registers. Sums and products are rounded in the same places, so the bits are the same.

use crate::level::{Level, leveled};
use crate::loops::canon::{Canon, Op, Place};
use sslc_compiler::core::bf16::{narrow, widen};
use sslc_compiler::kernels::ir::{Binary, Element};
use std::ops::Range;

/// Channels that are treated together.
const LANES: usize = 16;
/// Pixels that are: their parts of all channels stay in the first-level cache.
const PIXELS: usize = 16;

/// (Results, x, their channels, pixels, `[shift, scale, bias]` of each channel, what shifts are multiplied by, the least
/// result).
type Pass = unsafe fn(*mut u8, *const u8, usize, usize, [*const f32; 3], f32, f32);

/// A prologue of that form.
#[derive(Clone, Debug)]
pub struct Normalise {
    pass: Pass,
    channels: usize,
    /// Bytes of an element of x.
    element: usize,
    /// First byte of x, and the first words of shift, scale and bias.
    x: usize,
    values: [usize; 3],
    /// 1, or −1 where shift is subtracted.
    sign: f32,
    least: f32,
}

impl Normalise {
    /// The prologue in this form, if it has it.
    pub fn of(canon: &Canon, level: Level) -> Option<Normalise> {
        let op = |r: usize| canon.body[r].as_ref();
        let load = |r: usize| match op(r) {
            Some(Op::Load(place)) if place.valid.iter().all(Option::is_none) => Some(place),
            _ => None,
        };
        // A sum or a product of a value and one of each channel, in any order.
        let channels = canon.sizes[1];
        let value = |r: usize| -> Option<usize> {
            let of_channel = |p: &&Place| p.strides == [0, 1] && p.element == Element::F32;
            usize::try_from(load(r).filter(of_channel)?.base).ok()
        };
        let with_value = |r: usize, how: Binary| match op(r) {
            Some(Op::Binary(binary, a, b)) if *binary == how => match (value(*a), value(*b)) {
                (Some(at), None) => Some((*b, at)),
                (None, Some(at)) => Some((*a, at)),
                _ => None,
            },
            _ => None,
        };
        let [output] = &canon.outputs[..] else {
            return None;
        };
        let (sum, least) = match op(output.value) {
            Some(Op::Binary(Binary::Max, a, b)) => match op(*b) {
                Some(Op::Const(least)) => (*a, *least),
                _ => return None,
            },
            _ => (output.value, f32::NEG_INFINITY),
        };
        let (product, bias) = with_value(sum, Binary::Add)?;
        let (centred, scale) = with_value(product, Binary::Mul)?;
        let (x, shift, sign) = match op(centred) {
            Some(Op::Binary(Binary::Sub, x, shift)) => (*x, value(*shift)?, -1.0),
            _ => {
                let (x, shift) = with_value(centred, Binary::Add)?;
                (x, shift, 1.0)
            }
        };
        let x = load(x).filter(|p| p.strides == [channels as i64, 1])?;
        let pass = match (x.element, output.to.element) {
            (Element::F32, Element::F32) => single(level),
            (Element::F32, Element::Bf16) => narrowed(level),
            (Element::Bf16, Element::F32) => widened(level),
            (Element::Bf16, Element::Bf16) => half(level),
        };
        Some(Normalise {
            pass,
            channels,
            element: x.element.bytes(),
            x: usize::try_from(x.base).ok()? * x.element.bytes(),
            values: [shift, scale, bias],
            sign,
            least,
        })
    }

    /// Makes some pixels, of which the first goes to `to`.
    ///
    /// # Safety
    /// The machine has the level; what the prologue loads is within `arena`, and the pixels' places are good.
    pub unsafe fn make(&self, arena: *const f32, to: *mut f32, pixels: Range<usize>) {
        let first = pixels.start * self.channels;
        let x = arena
            .cast::<u8>()
            .wrapping_add(self.x + first * self.element);
        let values = self.values.map(|at| arena.wrapping_add(at));
        // SAFETY: the caller's.
        unsafe {
            (self.pass)(
                to.cast(),
                x,
                self.channels,
                pixels.len(),
                values,
                self.sign,
                self.least,
            )
        }
    }
}

macro_rules! pass {
    ($name:ident, $x:ty, $widen:expr, $y:ty, $narrow:expr) => {
        leveled! {
            fn $name(
                to: *mut u8,
                x: *const u8,
                channels: usize,
                pixels: usize,
                values: [*const f32; 3],
                sign: f32,
                least: f32,
            ) {
                let [shift, scale, bias] = values;
                let (to, x) = (to.cast::<$y>(), x.cast::<$x>());
                let one = |x: $x, shift: f32, scale: f32, bias: f32| -> $y {
                    let y = ($widen(x) + shift) * scale + bias;
                    $narrow(if y < least { least } else { y })
                };
                let whole = channels / LANES * LANES;
                for begin in (0..pixels).step_by(PIXELS) {
                    let end = pixels.min(begin + PIXELS);
                    for c in (0..whole).step_by(LANES) {
                        let lanes = |p: *const f32| p.add(c).cast::<[f32; LANES]>().read_unaligned();
                        let (mut shift, scale, bias) = (lanes(shift), lanes(scale), lanes(bias));
                        shift.iter_mut().for_each(|s| *s *= sign);
                        for p in begin..end {
                            let at = p * channels + c;
                            let x = x.add(at).cast::<[$x; LANES]>().read_unaligned();
                            let mut y = [<$y>::default(); LANES];
                            for (i, y) in y.iter_mut().enumerate() {
                                *y = one(x[i], shift[i], scale[i], bias[i]);
                            }
                            to.add(at).cast::<[$y; LANES]>().write_unaligned(y);
                        }
                    }
                    for p in begin..end {
                        for c in whole..channels {
                            let at = p * channels + c;
                            *to.add(at) = one(*x.add(at), sign * *shift.add(c), *scale.add(c), *bias.add(c));
                        }
                    }
                }
            }
        }
    };
}

pass!(single, f32, f32::from, f32, f32::from);
pass!(narrowed, f32, f32::from, u16, narrow);
pass!(widened, u16, widen, f32, f32::from);
pass!(half, u16, widen, u16, narrow);
