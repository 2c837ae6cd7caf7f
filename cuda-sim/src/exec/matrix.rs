//! Products of small matrices by a warp. Products are exact, and the sum of an element is rounded once to f32: a device rounds in
//! between, so its last bits differ.
use super::access::{Act, Checked};
use super::block::Block;
use super::float::{widen_bf16, widen_f16};
use super::view::View;
use super::warp::{Stop, Warp};
use crate::code::{Inst, Matrix};

impl Warp {
    fn full(&self, lanes: u32, what: &str) -> Checked<()> {
        if lanes == u32::MAX {
            return Ok(());
        }
        let lane = lanes.trailing_zeros();
        Err(Stop::failed(
            lane,
            format!("{what} needs all lanes of a warp, and only {lanes:#010x} are here"),
        ))
    }

    pub fn load_matrix(
        &mut self,
        block: &mut Block,
        i: &Inst,
        shape: (u8, bool, bool),
        lanes: u32,
    ) -> Checked<()> {
        self.full(lanes, "ldmatrix")?;
        let kernel = block.launch.kernel;
        let (count, transpose, wide) = shape;
        let mut view = View::shared(block, self);
        for matrix in 0..count as usize {
            let mut rows = [[0u16; 8]; 8];
            for (row, values) in rows.iter_mut().enumerate() {
                let lane = (matrix * 8 + row) as u32;
                let address = self.get(kernel, i.a, lane, wide).wrapping_add(i.extra);
                let from = view.at(block, true, lane, address, 16, Act::Read)?;
                // SAFETY: the access was checked for 16 bytes.
                *values = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
            }
            let target = kernel.lists[i.list.0 as usize + matrix];
            for lane in 0..32 {
                let (row, column) = (lane / 4, lane % 4 * 2);
                let (low, high) = if transpose {
                    (rows[column][row], rows[column + 1][row])
                } else {
                    (rows[row][column], rows[row][column + 1])
                };
                self.set32(target, lane as u32, low as u32 | (high as u32) << 16);
            }
        }
        Ok(())
    }

    pub fn multiply(&mut self, block: &Block, i: &Inst, matrix: Matrix, lanes: u32) -> Checked<()> {
        self.full(lanes, "mma")?;
        let kernel = block.launch.kernel;
        let rows = &kernel.lists[i.list.0 as usize..][..i.list.1 as usize];
        let (depth, halves) = match matrix {
            Matrix::Bf16K16 | Matrix::F16K16 => (16, true),
            Matrix::Bf16K8 => (8, true),
            Matrix::Tf32K8 => (8, false),
            Matrix::Tf32K4 => (4, false),
        };
        // Registers of `a` hold rows `g` and `g + 8` in turn, then the next columns.
        let (many_a, many_b) = if halves {
            (depth / 4, depth / 8)
        } else {
            (depth / 2, depth / 4)
        };
        let (d, rest) = rows.split_at(4);
        let (a_rows, rest) = rest.split_at(many_a);
        let (b_rows, c_rows) = rest.split_at(many_b);
        let widen = |bits: u16| {
            if matrix == Matrix::F16K16 {
                widen_f16(bits)
            } else {
                widen_bf16(bits)
            }
        };
        let tf32 = |bits: u32| f32::from_bits(bits & !0x1fff);
        let (mut a, mut b) = ([[0f32; 16]; 16], [[0f32; 8]; 16]);
        for lane in 0..32usize {
            let (group, within) = (lane / 4, lane % 4);
            for (at, &row) in a_rows.iter().enumerate() {
                let bits = self.get32(kernel, row, lane as u32);
                let (r, step) = (group + at % 2 * 8, at / 2);
                if halves {
                    a[r][step * 8 + within * 2] = widen(bits as u16);
                    a[r][step * 8 + within * 2 + 1] = widen((bits >> 16) as u16);
                } else {
                    a[r][step * 4 + within] = tf32(bits);
                }
            }
            for (step, &row) in b_rows.iter().enumerate() {
                let bits = self.get32(kernel, row, lane as u32);
                if halves {
                    b[step * 8 + within * 2][group] = widen(bits as u16);
                    b[step * 8 + within * 2 + 1][group] = widen((bits >> 16) as u16);
                } else {
                    b[step * 4 + within][group] = tf32(bits);
                }
            }
        }
        let mut sums = [[0f64; 8]; 16];
        for (sums, a) in sums.iter_mut().zip(&a) {
            for (&a, b) in a.iter().zip(&b).take(depth) {
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum += a as f64 * b as f64;
                }
            }
        }
        for lane in 0..32u32 {
            let (group, within) = (lane as usize / 4, lane as usize % 4);
            let mut results = [0; 4];
            for (at, result) in results.iter_mut().enumerate() {
                let sum = sums[group + at / 2 * 8][within * 2 + at % 2];
                let c = f32::from_bits(self.get32(kernel, c_rows[at], lane)) as f64;
                let value = (sum + c) as f32;
                *result = if value.is_nan() {
                    0x7fff_ffff
                } else {
                    value.to_bits()
                };
            }
            for (&row, result) in d.iter().zip(results) {
                self.set32(row, lane, result);
            }
        }
        Ok(())
    }
}
