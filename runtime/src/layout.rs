//! Tensors between their order inside (NHWC, HWIO) and in files (PyTorch's: NCHW, OIHW, [out, in]).

use sslc_compiler::program::Layout;

/// Reorders axes: axis `a` of the result is axis `perm[a]` of `data`, which has `shape` and is row-major.
pub fn permute(data: &[f32], shape: &[usize], perm: &[usize]) -> Vec<f32> {
    let mut strides = vec![1usize; shape.len()];
    for a in (0..shape.len().saturating_sub(1)).rev() {
        strides[a] = strides[a + 1] * shape[a + 1];
    }
    let sizes: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
    let steps: Vec<usize> = perm.iter().map(|&a| strides[a]).collect();
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0usize; perm.len()];
    let mut place = 0usize;
    for _ in 0..data.len() {
        out.push(data[place]);
        for a in (0..perm.len()).rev() {
            index[a] += 1;
            place += steps[a];
            if index[a] < sizes[a] {
                break;
            }
            place -= steps[a] * sizes[a];
            index[a] = 0;
        }
    }
    out
}

/// The axes of the inside tensor in the order that files have them.
fn file_order(layout: Layout) -> Option<&'static [usize]> {
    match layout {
        Layout::Same => None,
        Layout::Hwio => Some(&[3, 2, 0, 1]),
        Layout::Transposed => Some(&[1, 0]),
    }
}

/// The shape that a tensor of this inside shape has in files.
pub fn file_shape(layout: Layout, inside: &[usize]) -> Vec<usize> {
    match file_order(layout) {
        None => inside.to_vec(),
        Some(perm) => perm.iter().map(|&a| inside[a]).collect(),
    }
}

/// From inside to file order; `inside` is the shape inside.
pub fn to_file(layout: Layout, data: &[f32], inside: &[usize]) -> Vec<f32> {
    match file_order(layout) {
        None => data.to_vec(),
        Some(perm) => permute(data, inside, perm),
    }
}

/// From file to inside order; `inside` is the shape inside.
pub fn from_file(layout: Layout, data: &[f32], inside: &[usize]) -> Vec<f32> {
    match file_order(layout) {
        None => data.to_vec(),
        Some(perm) => {
            let mut inverse = vec![0; perm.len()];
            for (a, &p) in perm.iter().enumerate() {
                inverse[p] = a;
            }
            permute(data, &file_shape(layout, inside), &inverse)
        }
    }
}

/// Images from NCHW (files) to NHWC (inside); `shape` is [n, c, h, w].
pub fn nchw_to_nhwc(data: &[f32], shape: &[usize]) -> Vec<f32> {
    permute(data, shape, &[0, 2, 3, 1])
}

/// Images from NHWC (inside) to NCHW (files); `shape` is [n, h, w, c].
pub fn nhwc_to_nchw(data: &[f32], shape: &[usize]) -> Vec<f32> {
    permute(data, shape, &[0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize) -> Vec<f32> {
        (0..n).map(|i| i as f32).collect()
    }

    #[test]
    fn hwio_and_oihw_hold_the_same_filter() {
        let (h, w, i, o) = (3, 2, 4, 5);
        let inside = ramp(h * w * i * o);
        let file = to_file(Layout::Hwio, &inside, &[h, w, i, o]);
        assert_eq!(file_shape(Layout::Hwio, &[h, w, i, o]), [o, i, h, w]);
        let (y, x, ci, co) = (2, 1, 3, 4);
        assert_eq!(
            file[((co * i + ci) * h + y) * w + x],
            inside[((y * w + x) * i + ci) * o + co]
        );
        assert_eq!(from_file(Layout::Hwio, &file, &[h, w, i, o]), inside);
    }

    #[test]
    fn images_survive_the_way_to_nhwc_and_back() {
        let file = ramp(2 * 3 * 4 * 5);
        let inside = nchw_to_nhwc(&file, &[2, 3, 4, 5]);
        assert_eq!(inside[1], file[4 * 5]);
        assert_eq!(nhwc_to_nchw(&inside, &[2, 4, 5, 3]), file);
    }

    #[test]
    fn transposed_weights_swap_their_axes() {
        let file = from_file(Layout::Transposed, &ramp(6), &[3, 2]);
        assert_eq!(file, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
