//! How a value reads the dense tensor of a luminal node: sizes and strides, and the shape tracker that says so.
//!
//! Invariant: the axes with a stride tile the node's tensor exactly; an axis of stride 0 repeats it. Slices and pads are
//! no views: they are made dense at once.

use luminal::prelude::ShapeTracker;
use luminal::prelude::symbolic::Expression;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    pub size: usize,
    /// Elements from one place to the next; 0 repeats, and is the stride of every axis of size 1.
    pub stride: usize,
}

/// The logical shape of a value over a dense tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub axes: Vec<Axis>,
}

impl View {
    /// The whole tensor, row-major.
    pub fn dense(shape: &[usize]) -> View {
        let mut stride = 1;
        let mut axes: Vec<Axis> = Vec::with_capacity(shape.len());
        for size in shape.iter().rev() {
            axes.push(Axis {
                size: *size,
                stride: if *size == 1 { 0 } else { stride },
            });
            stride *= size;
        }
        axes.reverse();
        View { axes }
    }

    /// One element, repeated.
    pub fn repeated(shape: &[usize]) -> View {
        View {
            axes: shape
                .iter()
                .map(|size| Axis {
                    size: *size,
                    stride: 0,
                })
                .collect(),
        }
    }

    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.size).collect()
    }

    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    /// Whether logical and stored order are the same.
    pub fn is_dense(&self) -> bool {
        *self == View::dense(&self.shape())
    }

    /// Whether it repeats a single element.
    pub fn is_scalar(&self) -> bool {
        self.axes.iter().all(|a| a.stride == 0)
    }

    /// The axes that are stored, outermost first.
    fn stored(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rank())
            .filter(|i| self.axes[*i].stride > 0)
            .collect();
        order.sort_by_key(|i| std::cmp::Reverse(self.axes[*i].stride));
        order
    }

    /// The stored tensor's sizes, outermost first, without repeated axes.
    pub fn stored_shape(&self) -> Vec<usize> {
        self.stored().iter().map(|i| self.axes[*i].size).collect()
    }

    /// Axis `i` of the result is axis `order[i]` of this.
    pub fn transpose(&self, order: &[usize]) -> View {
        View {
            axes: order.iter().map(|i| self.axes[*i]).collect(),
        }
    }

    /// Axis `i` becomes axis `dims[i]` of `shape`; an axis of size 1 and the new ones are repeated.
    pub fn broadcast(&self, shape: &[usize], dims: &[usize]) -> View {
        let mut view = View::repeated(shape);
        for (axis, at) in self.axes.iter().zip(dims) {
            if axis.size == view.axes[*at].size {
                view.axes[*at] = *axis;
            }
        }
        view
    }

    /// The same elements in the same order under another shape; `None` where no strides say that.
    pub fn reshape(&self, shape: &[usize]) -> Option<View> {
        let old: Vec<Axis> = self.axes.iter().copied().filter(|a| a.size != 1).collect();
        let mut out = View::repeated(shape);
        let new: Vec<usize> = (0..shape.len()).filter(|i| shape[*i] != 1).collect();
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            // The smallest group of old axes and of new axes with the same number of elements.
            let (from_i, from_j) = (i, j);
            let (mut olds, mut news) = (old.get(i)?.size, shape[*new.get(j)?]);
            (i, j) = (i + 1, j + 1);
            while olds != news {
                if olds < news {
                    olds *= old.get(i)?.size;
                    i += 1;
                } else {
                    news *= shape[*new.get(j)?];
                    j += 1;
                }
            }
            let group = &old[from_i..i];
            if group
                .windows(2)
                .any(|w| w[0].stride != w[1].stride * w[1].size)
            {
                return None;
            }
            let mut stride = group.last()?.stride;
            for at in new[from_j..j].iter().rev() {
                out.axes[*at].stride = stride;
                stride *= shape[*at];
            }
        }
        Some(out)
    }

    /// The tracker of an edge that reads so.
    pub fn tracker(&self) -> ShapeTracker {
        let size = |i: usize| Expression::from(self.axes[i].size);
        if self.is_dense() {
            let dims: Vec<Expression> = (0..self.rank()).map(size).collect();
            return ShapeTracker::new(&dims);
        }
        let mut order = self.stored();
        order.extend((0..self.rank()).filter(|i| self.axes[*i].stride == 0));
        let dims: Vec<Expression> = order.iter().map(|i| size(*i)).collect();
        let mut tracker = ShapeTracker::new(&dims);
        for (at, i) in order.iter().enumerate() {
            tracker.indexes[*i] = at;
            tracker.fake[at] = self.axes[*i].stride == 0;
        }
        tracker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place in the tensor of each element, in logical order.
    fn places(view: &View) -> Vec<usize> {
        let mut places = vec![0];
        for axis in &view.axes {
            places = places
                .iter()
                .flat_map(|p| (0..axis.size).map(move |i| p + i * axis.stride))
                .collect();
        }
        places
    }

    #[test]
    fn reshape_keeps_the_order_or_declines() {
        let dense = View::dense(&[2, 3, 4]);
        assert_eq!(dense.reshape(&[6, 2, 2]), Some(View::dense(&[6, 2, 2])));
        let repeated = View::dense(&[4]).broadcast(&[2, 3, 4], &[2]);
        let merged = repeated.reshape(&[6, 4, 1]).unwrap();
        assert_eq!(places(&merged), places(&repeated));
        let transposed = dense.transpose(&[2, 0, 1]);
        assert_eq!(
            places(&transposed.reshape(&[4, 6]).unwrap()),
            places(&transposed)
        );
        assert_eq!(transposed.reshape(&[8, 3]), None);
        assert_eq!(
            View::dense(&[]).reshape(&[1, 1]),
            Some(View::repeated(&[1, 1]))
        );
    }

    #[test]
    fn trackers_read_the_same_places() {
        let base = View::dense(&[2, 1, 3, 4]);
        for view in [
            base.clone(),
            base.transpose(&[3, 1, 0, 2]),
            base.broadcast(&[2, 5, 3, 4], &[0, 1, 2, 3]),
            View::dense(&[3, 4])
                .transpose(&[1, 0])
                .broadcast(&[4, 2, 3], &[0, 2]),
            View::repeated(&[2, 2]),
            View::dense(&[]),
        ] {
            let index = view.tracker().index_expression();
            let read: Vec<usize> = (0..places(&view).len())
                .map(|i| index.exec_single_var(i))
                .collect();
            assert_eq!(read, places(&view), "{view:?}");
        }
    }
}
