//! A loop kernel over as few axes as may be, in an order that suits memory.
//!
//! Axes of one place go, axes that every access walks as one become one, and the axis along which most accesses are
//! contiguous becomes the innermost. The order of points is free: each is evaluated once, and sums have an order of their own.

use sslc_compiler::kernels::ir::{Access, Binary, Combine, Inst, LoopKernel};

/// The same kernel, simpler.
pub fn canonical(kernel: &LoopKernel) -> LoopKernel {
    let mut kernel = kernel.clone();
    whole_ranges(&mut kernel);
    for axis in (0..kernel.shape.len()).rev() {
        if kernel.shape[axis] == 1 {
            remove_single(&mut kernel, axis);
        }
    }
    while let Some((outer, inner)) = mergeable(&kernel) {
        merge(&mut kernel, outer, inner);
    }
    innermost_last(&mut kernel);
    plain_combines(&mut kernel);
    kernel
}

fn accesses(kernel: &LoopKernel) -> impl Iterator<Item = &Access> {
    kernel.loads().chain(kernel.outputs.iter().map(|o| &o.to))
}

fn each_access(kernel: &mut LoopKernel, mut f: impl FnMut(&mut Access)) {
    for inst in &mut kernel.body {
        if let Inst::Load(access) = inst {
            f(access);
        }
    }
    kernel.outputs.iter_mut().for_each(|o| f(&mut o.to));
}

/// Ranges that hold everywhere are none, and a load whose range is empty is 0.
fn whole_ranges(kernel: &mut LoopKernel) {
    let shape = kernel.shape.clone();
    for inst in &mut kernel.body {
        let Inst::Load(access) = inst else { continue };
        let mut never = false;
        for (valid, size) in access.valid.iter_mut().zip(&shape) {
            if let Some((from, to)) = *valid {
                let to = to.min(*size);
                never |= from >= to;
                *valid = (from > 0 || to < *size).then_some((from, to));
            }
        }
        if never {
            *inst = Inst::Const(0.0);
        }
    }
}

fn remove_single(kernel: &mut LoopKernel, axis: usize) {
    kernel.shape.remove(axis);
    for inst in &mut kernel.body {
        match inst {
            Inst::Index(a) if *a == axis => *inst = Inst::Const(0.0),
            Inst::Index(a) if *a > axis => *a -= 1,
            _ => {}
        }
    }
    each_access(kernel, |access| {
        access.strides.remove(axis);
        access.valid.remove(axis);
    });
    kernel
        .outputs
        .iter_mut()
        .for_each(|o| o.combine.remove_axis(axis));
}

/// Two axes that every access walks as one, the outer one first.
fn mergeable(kernel: &LoopKernel) -> Option<(usize, usize)> {
    let rank = kernel.shape.len();
    let indexed = |axis: usize| {
        let is = |i: &Inst| matches!(i, Inst::Index(a) if *a == axis);
        kernel.body.iter().any(is)
    };
    let free: Vec<usize> = (0..rank).filter(|a| !indexed(*a)).collect();
    let together = |outer: usize, inner: usize| {
        let one_walk = |a: &Access| {
            let size = i64::try_from(kernel.shape[inner]).ok();
            let whole = size.and_then(|size| a.strides[inner].checked_mul(size));
            whole == Some(a.strides[outer]) && a.valid[inner].is_none()
        };
        let reduced_alike =
            |combine: &Combine| combine.axes().contains(&outer) == combine.axes().contains(&inner);
        accesses(kernel).all(one_walk) && kernel.outputs.iter().all(|o| reduced_alike(&o.combine))
    };
    let pairs = free
        .iter()
        .flat_map(|a| free.iter().map(move |b| (*a, *b)))
        .filter(|(a, b)| a != b);
    pairs
        .into_iter()
        .find(|(outer, inner)| together(*outer, *inner))
}

fn merge(kernel: &mut LoopKernel, outer: usize, inner: usize) {
    let size = kernel.shape[inner];
    kernel.shape[inner] *= kernel.shape[outer];
    each_access(kernel, |access| {
        access.valid[inner] = access.valid[outer].map(|(from, to)| (from * size, to * size));
    });
    remove_single(kernel, outer);
}

/// Puts the axis last along which most accesses are contiguous, a store counting for two loads.
fn innermost_last(kernel: &mut LoopKernel) {
    let score = |axis: usize| {
        let unit = |a: &Access| usize::from(a.strides[axis] == 1);
        let loads: usize = kernel.loads().map(unit).sum();
        let stored = kernel.outputs.iter();
        let stores: usize = stored
            .filter(|o| o.combine == Combine::Store)
            .map(|o| 2 * unit(&o.to))
            .sum();
        loads + stores
    };
    let Some(best) = (0..kernel.shape.len()).max_by_key(|axis| (score(*axis), *axis)) else {
        return;
    };
    let last = kernel.shape.len() - 1;
    let moved = |axis: usize| match axis {
        a if a == best => last,
        a if a > best => a - 1,
        a => a,
    };
    fn rotate<T>(list: &mut [T], best: usize) {
        list[best..].rotate_left(1);
    }
    rotate(&mut kernel.shape, best);
    for inst in &mut kernel.body {
        if let Inst::Index(axis) = inst {
            *axis = moved(*axis);
        }
    }
    each_access(kernel, |access| {
        rotate(&mut access.strides, best);
        rotate(&mut access.valid, best);
    });
    for output in &mut kernel.outputs {
        if let Combine::Sum(axes) | Combine::Max(axes) | Combine::Deviations(axes) =
            &mut output.combine
        {
            axes.iter_mut().for_each(|a| *a = moved(*a));
            axes.sort_unstable();
        }
    }
}

/// What is combined over one point is stored: the sum, the maximum or the deviations of it.
fn plain_combines(kernel: &mut LoopKernel) {
    for output in &mut kernel.outputs {
        let (value, body) = (output.value, &mut kernel.body);
        let mut push = |inst| {
            body.push(inst);
            (body.len() - 1) as u32
        };
        output.value = match &output.combine {
            Combine::Sum(axes) if axes.is_empty() => {
                let zero = push(Inst::Const(0.0));
                push(Inst::Binary(Binary::Add, zero, value))
            }
            Combine::Max(axes) if axes.is_empty() => {
                let least = push(Inst::Const(f32::NEG_INFINITY));
                push(Inst::Binary(Binary::Max, least, value))
            }
            Combine::Deviations(axes) if axes.is_empty() => {
                push(Inst::Binary(Binary::Sub, value, value))
            }
            _ => continue,
        };
        output.combine = Combine::Store;
    }
}

/// The number of points of an index space.
pub fn points(shape: &[usize]) -> usize {
    shape.iter().fold(1usize, |n, size| n.saturating_mul(*size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslc_compiler::kernels::ir::{BufferId, LoopOutput};

    fn access(offset: i64, strides: &[i64]) -> Access {
        sslc_kernel_testing::access(BufferId(0), offset, strides)
    }

    fn kernel(shape: &[usize], load: Access, combine: Combine, to: &[i64]) -> LoopKernel {
        LoopKernel {
            shape: shape.to_vec(),
            body: vec![Inst::Load(load)],
            outputs: vec![LoopOutput {
                value: 0,
                combine,
                to: access(0, to),
            }],
        }
    }

    #[test]
    fn axes_walked_together_are_one() {
        let dense = access(0, &[40, 40, 8, 1]);
        let simple = canonical(&kernel(
            &[3, 1, 5, 8],
            dense,
            Combine::Store,
            &[40, 40, 8, 1],
        ));
        assert_eq!(
            simple,
            kernel(&[120], access(0, &[1]), Combine::Store, &[1])
        );
    }

    /// A sum over the axes between the first and the last keeps both; the two that it is over are one.
    #[test]
    fn reduced_axes_merge_among_themselves() {
        let dense = access(0, &[160, 40, 8, 1]);
        let sum = Combine::Sum(vec![1, 2]);
        let simple = canonical(&kernel(&[3, 4, 5, 8], dense, sum, &[8, 0, 0, 1]));
        let want = kernel(
            &[3, 20, 8],
            access(0, &[160, 8, 1]),
            Combine::Sum(vec![1]),
            &[8, 0, 1],
        );
        assert_eq!(simple, want);
    }

    #[test]
    fn the_contiguous_axis_is_innermost() {
        let sum = Combine::Sum(vec![1]);
        let simple = canonical(&kernel(&[6, 7], access(0, &[1, 9]), sum, &[1, 0]));
        let want = kernel(&[7, 6], access(0, &[9, 1]), Combine::Sum(vec![0]), &[0, 1]);
        assert_eq!(simple, want);
    }

    /// A range along an outer axis is one of the merged axis; along an inner one it keeps the axes apart.
    #[test]
    fn ranges_survive_merging() {
        let mut outer = access(-16, &[8, 1]);
        outer.valid[0] = Some((2, 4));
        let mut whole = access(-16, &[1]);
        whole.valid[0] = Some((16, 32));
        let simple = canonical(&kernel(&[5, 8], outer, Combine::Store, &[8, 1]));
        assert_eq!(simple, kernel(&[40], whole, Combine::Store, &[1]));
        let mut inner = access(0, &[8, 1]);
        inner.valid[1] = Some((2, 4));
        let ranged = kernel(&[5, 8], inner, Combine::Store, &[8, 1]);
        assert_eq!(canonical(&ranged), ranged);
    }
}
