//! Index spaces and how tensors are read over them.
//!
//! A dense tensor is a line of elements; a shape is a choice of *cuts* of that line, each the number of elements inside
//! of an axis boundary. Values of one length in one order share an index space whatever their shapes, as long as the cuts that
//! their strided reads and reductions need form one chain of divisors.

use super::ir::{Access, BufferId};

/// An axis of a strided read, outermost first in [`Read::axes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadAxis {
    pub size: usize,
    pub stride: i64,
    /// Where the index is outside, the read is 0.
    pub valid: Option<(usize, usize)>,
}

/// How an operator reads a node's dense tensor. Axes of size 1 are left out and neighbours merged wherever strides allow,
/// so equal reads are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    pub node: usize,
    pub offset: i64,
    pub axes: Vec<ReadAxis>,
}

impl Read {
    /// A read in its canonical form.
    pub fn new(node: usize, offset: i64, axes: impl IntoIterator<Item = ReadAxis>) -> Read {
        let mut merged: Vec<ReadAxis> = Vec::new();
        for axis in axes {
            // An axis of size 1 that is padded away reads only zeros and must stay.
            if axis.size == 1 && axis.valid.is_none() {
                continue;
            }
            match merged.last_mut() {
                Some(last)
                    if last.valid.is_none()
                        && axis.valid.is_none()
                        && last.stride == axis.stride * axis.size as i64 =>
                {
                    last.size *= axis.size;
                    last.stride = axis.stride;
                }
                _ => merged.push(axis),
            }
        }
        Read {
            node,
            offset,
            axes: merged,
        }
    }

    /// Number of elements read.
    pub fn elements(&self) -> usize {
        self.axes.iter().map(|a| a.size).product()
    }

    /// Whether it reads the first elements in their order; with the tensor's length, the whole tensor.
    pub fn is_dense(&self) -> bool {
        self.offset == 0
            && match self.axes[..] {
                [] => true,
                [axis] => axis.stride == 1 && axis.valid.is_none(),
                _ => false,
            }
    }

    /// The space that this read needs.
    pub fn space(&self) -> Space {
        let mut space = Space::line(self.elements());
        let mut inside = 1;
        for axis in self.axes.iter().rev() {
            let outside = inside * axis.size;
            space.cuts.extend([inside, outside]);
            if axis.valid.is_some() {
                space.atoms.push((inside, outside));
            }
            inside = outside;
        }
        space.normalise();
        space
    }

    /// The same read over the axes of a space that contains its own.
    pub fn access(&self, space: &Space, buffer: BufferId) -> Access {
        debug_assert_eq!(
            space.join(&self.space()).as_ref(),
            Some(space),
            "the space lacks cuts of a read"
        );
        let (mut strides, mut valid) = (Vec::new(), Vec::new());
        let mut inside = 1;
        let mut own = self.axes.iter().rev().peekable();
        let mut own_inside = 1;
        for outside in space.cuts.iter().skip(1) {
            // The axis of this read that holds the space's axis inside..outside.
            while let Some(axis) = own.peek() {
                if own_inside * axis.size > inside {
                    break;
                }
                own_inside *= axis.size;
                own.next();
            }
            let axis = own.peek();
            strides.push(axis.map_or(0, |a| a.stride * (inside / own_inside) as i64));
            valid.push(axis.and_then(|a| a.valid));
            inside = *outside;
        }
        strides.reverse();
        valid.reverse();
        Access {
            buffer,
            offset: self.offset,
            strides,
            valid,
        }
    }
}

/// An index space: a number of elements, the cuts it needs, and the axes that no cut may divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Ascending, each dividing the next, from 1 to the number of elements (only 1 where that is 1).
    pub cuts: Vec<usize>,
    /// Axes read with a valid range, as (inside, outside).
    atoms: Vec<(usize, usize)>,
}

/// Kernels have at most this many axes.
const MAX_AXES: usize = 6;

impl Space {
    /// One axis.
    pub fn line(len: usize) -> Space {
        let mut space = Space {
            cuts: vec![1, len],
            atoms: Vec::new(),
        };
        space.normalise();
        space
    }

    fn normalise(&mut self) {
        self.cuts.sort_unstable();
        self.cuts.dedup();
        self.atoms.sort_unstable();
        self.atoms.dedup();
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.cuts[self.cuts.len() - 1]
    }

    /// The sizes of the axes, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        self.cuts.windows(2).rev().map(|w| w[1] / w[0]).collect()
    }

    /// Adds cuts; whether they fit is seen when spaces are joined.
    pub fn with_cuts(mut self, cuts: impl IntoIterator<Item = usize>) -> Space {
        self.cuts.extend(cuts);
        self.normalise();
        self
    }

    /// The space that serves both, if there is one.
    pub fn join(&self, other: &Space) -> Option<Space> {
        if self.elements() != other.elements() {
            return None;
        }
        let mut joined = self.clone();
        joined.cuts.extend(&other.cuts);
        joined.atoms.extend(&other.atoms);
        joined.normalise();
        joined.is_chain().then_some(joined)
    }

    /// Whether the cuts divide one another, none divides an atom, and the axes are not too many.
    pub fn is_chain(&self) -> bool {
        let chain = self.cuts.windows(2).all(|w| w[1].is_multiple_of(w[0]));
        let whole = |(inside, outside): &(usize, usize)| {
            !self.cuts.iter().any(|c| inside < c && c < outside)
        };
        chain && self.cuts.len() <= MAX_AXES + 1 && self.atoms.iter().all(whole)
    }

    /// Which axes lie in one of these intervals of cuts.
    pub fn axes_within(&self, intervals: &[(usize, usize)]) -> Vec<usize> {
        let rank = self.cuts.len() - 1;
        (0..rank)
            .filter(|axis| {
                let (inside, outside) = (self.cuts[rank - 1 - axis], self.cuts[rank - axis]);
                intervals
                    .iter()
                    .any(|(lo, hi)| *lo <= inside && outside <= *hi)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(axes: &[(usize, i64)]) -> Read {
        Read::new(
            0,
            0,
            axes.iter().map(|(size, stride)| ReadAxis {
                size: *size,
                stride: *stride,
                valid: None,
            }),
        )
    }

    #[test]
    fn reads_merge_their_axes() {
        assert!(read(&[(2, 12), (1, 0), (3, 4), (4, 1)]).is_dense());
        assert_eq!(read(&[(2, 0), (3, 0), (4, 1)]).axes.len(), 2);
        assert_eq!(read(&[(3, 1), (4, 3)]).axes.len(), 2);
    }

    #[test]
    fn spaces_join_where_cuts_divide() {
        let channels = read(&[(6, 0), (4, 1)]).space();
        let rows = read(&[(3, 1), (8, 0)]).space();
        let joined = channels.join(&rows).unwrap();
        assert_eq!(joined.shape(), [3, 2, 4]);
        let crossing = read(&[(4, 1), (6, 0)]).space();
        assert_eq!(channels.join(&crossing), None);
        assert_eq!(channels.join(&Space::line(12)), None);
        assert_eq!(
            read(&[(3, 1), (8, 0)]).access(&joined, BufferId(0)).strides,
            [1, 0, 0]
        );
        assert_eq!(
            read(&[(24, 1)]).access(&joined, BufferId(0)).strides,
            [8, 4, 1]
        );
    }

    #[test]
    fn padded_axes_stay_whole() {
        let padded = Read::new(
            0,
            -1,
            [ReadAxis {
                size: 6,
                stride: 1,
                valid: Some((1, 6)),
            }],
        );
        let halves = read(&[(2, 0), (3, 1)]).space();
        assert_eq!(padded.space().join(&halves), None);
        assert!(padded.space().join(&Space::line(6)).is_some());
    }
}
