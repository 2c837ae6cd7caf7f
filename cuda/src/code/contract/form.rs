//! Contractions as products of matrices.
//!
//! Every contraction is `c[m, n] = Σ a[m, k] b[k, n]`, for each matrix of a batch, each group of channels and, of an input's
//! gradient with a stride, each class of pixels that the same taps reach. What differs is where elements are: [`Gather`].

use sslc_compiler::kernels::ir::{BufferId, Contraction, ConvShape};

/// A contraction as products of one form.
#[derive(Clone, Debug)]
pub struct Form {
    /// Rows, columns and terms of a product; of classes, the most that one has.
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Matrices of the batch, or groups of channels.
    pub batch: usize,
    pub classes: Option<Classes>,
    pub a: Operand,
    pub b: Operand,
    pub result: BufferId,
    /// Rows and columns of the whole result.
    pub shape: [usize; 2],
    /// Whether a batch is one of groups, whose columns lie side by side; else rows follow rows.
    pub groups: bool,
}

/// A factor and where its elements are.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub buffer: BufferId,
    pub gather: Gather,
    /// Elements that always lie side by side: places of chunks of this size begin at multiples of it.
    pub unit: usize,
    /// Elements from one matrix of the batch, or one group, to the next.
    pub step: usize,
}

/// Where a factor's elements are. *Rows* are the product's rows for the left factor and its columns for the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// `at = row · ld + k`
    ByRow { ld: usize },
    /// `at = k · ld + row`
    ByTerm { ld: usize },
    /// Rows are pixels of one image, k is a tap and a channel of the pixel that the tap meets in another; side by side along
    /// channels.
    Window(Window),
    /// The same element by element, for few channels: a thread has one pixel and many taps.
    NarrowWindow(Window),
    /// Rows are taps and channels of x, k is a pixel of y; side by side along channels.
    Pixels(ConvShape),
    /// Rows are channels of x, k is a tap and a channel of y: a filter turned; side by side along channels of y.
    Filter(ConvShape),
    /// The same element by element, beside [`Gather::NarrowWindow`].
    NarrowFilter(ConvShape),
}

/// Channels that lie side by side in a multiple of this many are copied several at a time.
const WIDE: usize = 4;

/// What [`Gather::Window`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub shape: ConvShape,
    /// Whether rows are x's pixels and those read are y's.
    pub gradient: bool,
}

impl Window {
    /// Height, width and channels of the images read.
    pub fn image(&self) -> [usize; 3] {
        let s = &self.shape;
        match self.gradient {
            true => [s.oh, s.ow, s.k],
            false => [s.h, s.w, s.c],
        }
    }

    /// Channels of a tap.
    pub fn inner(&self) -> usize {
        let [_, _, channels] = self.image();
        channels / self.shape.groups
    }
}

/// Pixels of x by their distance from the places of a strided window: `stride²` classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    pub shape: ConvShape,
}

impl Gather {
    /// How a convolution reads its images, or how its input's gradient does.
    fn window(shape: ConvShape, gradient: bool) -> Gather {
        let window = Window { shape, gradient };
        match window.inner().is_multiple_of(WIDE) {
            true => Gather::Window(window),
            false => Gather::NarrowWindow(window),
        }
    }

    /// Whether it is read element by element.
    pub fn is_narrow(&self) -> bool {
        matches!(self, Gather::NarrowWindow(_) | Gather::NarrowFilter(_))
    }

    /// Whether elements lie side by side along k.
    pub fn along_k(&self) -> bool {
        matches!(
            self,
            Gather::ByRow { .. } | Gather::Window(_) | Gather::Filter(_)
        )
    }
}

impl Form {
    /// The form of a contraction.
    pub fn new(contraction: &Contraction) -> Form {
        let shape = contraction.result_shape();
        let result = contraction.result();
        match *contraction {
            Contraction::MatMul {
                a,
                b,
                batch,
                m,
                n,
                k,
                ta,
                tb,
                ..
            } => Form {
                m,
                n,
                k,
                batch,
                classes: None,
                a: matrix(a, ta, m, k),
                b: matrix(b, !tb, n, k),
                result,
                shape,
                groups: false,
            },
            Contraction::Conv { x, w, shape: s, .. } => {
                let (cg, kg) = per_group(&s);
                Form {
                    m: s.n * s.oh * s.ow,
                    n: kg,
                    k: s.kernel * s.kernel * cg,
                    batch: s.groups,
                    classes: None,
                    a: Operand {
                        buffer: x,
                        gather: match is_pointwise(&s) {
                            true => Gather::ByRow { ld: s.c },
                            false => Gather::window(s, false),
                        },
                        unit: gcd(cg, s.c),
                        step: cg,
                    },
                    b: by_term(w, s.k, kg),
                    result,
                    shape,
                    groups: true,
                }
            }
            Contraction::ConvInputGrad {
                dy, w, shape: s, ..
            } => {
                let (cg, kg) = per_group(&s);
                let across = |size: usize| size.div_ceil(s.stride);
                let taps = s.kernel.div_ceil(s.stride);
                let pointwise = is_pointwise(&s);
                Form {
                    m: s.n * across(s.h) * across(s.w),
                    n: cg,
                    k: taps * taps * kg,
                    batch: s.groups,
                    classes: (s.stride > 1).then_some(Classes { shape: s }),
                    a: Operand {
                        buffer: dy,
                        gather: match pointwise {
                            true => Gather::ByRow { ld: s.k },
                            false => Gather::window(s, true),
                        },
                        unit: gcd(kg, s.k),
                        step: kg,
                    },
                    b: Operand {
                        buffer: w,
                        gather: match (pointwise, kg.is_multiple_of(WIDE)) {
                            (true, _) => Gather::ByRow { ld: s.k },
                            (false, true) => Gather::Filter(s),
                            (false, false) => Gather::NarrowFilter(s),
                        },
                        unit: gcd(kg, s.k),
                        step: kg,
                    },
                    result,
                    shape,
                    groups: true,
                }
            }
            Contraction::ConvFilterGrad {
                x, dy, shape: s, ..
            } => {
                let (cg, kg) = per_group(&s);
                Form {
                    m: s.kernel * s.kernel * cg,
                    n: kg,
                    k: s.n * s.oh * s.ow,
                    batch: s.groups,
                    classes: None,
                    a: Operand {
                        buffer: x,
                        gather: if is_pointwise(&s) {
                            Gather::ByTerm { ld: s.c }
                        } else {
                            Gather::Pixels(s)
                        },
                        unit: gcd(cg, s.c),
                        step: cg,
                    },
                    b: by_term(dy, s.k, kg),
                    result,
                    shape,
                    groups: true,
                }
            }
        }
    }

    /// Products that do not depend on each other.
    pub fn products(&self) -> usize {
        self.batch * self.classes.map_or(1, |c| c.shape.stride * c.shape.stride)
    }
}

/// A matrix of `rows` and k, which lies by term if `turned`.
fn matrix(buffer: BufferId, turned: bool, rows: usize, k: usize) -> Operand {
    let (gather, side) = match turned {
        true => (Gather::ByTerm { ld: rows }, rows),
        false => (Gather::ByRow { ld: k }, k),
    };
    Operand {
        buffer,
        gather,
        unit: side,
        step: rows * k,
    }
}

/// A matrix of terms and all groups' columns.
fn by_term(buffer: BufferId, columns: usize, per_group: usize) -> Operand {
    Operand {
        buffer,
        gather: Gather::ByTerm { ld: columns },
        unit: gcd(columns, per_group),
        step: per_group,
    }
}

fn per_group(s: &ConvShape) -> (usize, usize) {
    (s.c / s.groups, s.k / s.groups)
}

/// Whether every pixel is multiplied by one matrix.
fn is_pointwise(s: &ConvShape) -> bool {
    s.kernel == 1 && s.stride == 1 && s.padding == 0
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
