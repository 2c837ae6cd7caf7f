//! cuBLASLt's product: which there are, and how one is computed.
use super::arrays::{Array, Shape, Type, add_scaled, check_apart, transpose, workspace};
use super::handles::{Checked, Library};
use crate::exec::Fault;
use crate::memory::Memory;

/// A product, but for where its operands lie. Matrices are stored column by column.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub a: Shape,
    pub b: Shape,
    pub d: Shape,
    /// Whether A and B are stored transposed.
    pub transposed: [bool; 2],
}

/// Something that cuBLASLt computes a product with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Algorithm {
    pub id: u64,
    pub workspace: u64,
    /// What it takes the pointers to A, B, C and D to be aligned to.
    pub alignment: [u32; 4],
    /// Of the problem that it is for.
    problem: u64,
}

/// What the library writes first into an algorithm that it offers.
const MAGIC: u64 = u64::from_le_bytes(*b"sslc sim");

impl Algorithm {
    /// How the library hands it out.
    pub fn pack(&self) -> [u64; 8] {
        let [a, b, c, d] = self.alignment.map(u64::from);
        let (ab, cd) = (a << 32 | b, c << 32 | d);
        let mut words = [MAGIC, self.id, self.workspace, self.problem, ab, cd, 0, 0];
        words[7] = digest(&words[..7]);
        words
    }

    /// None: the library never handed that out.
    pub fn unpack(words: [u64; 8]) -> Option<Self> {
        let [magic, id, workspace, problem, ab, cd, ..] = words;
        let known = magic == MAGIC && words[7] == digest(&words[..7]);
        known.then_some(Algorithm {
            id,
            workspace,
            problem,
            alignment: [ab >> 32, ab, cd >> 32, cd].map(|a| a as u32),
        })
    }

    pub fn is_for(&self, problem: &Problem) -> bool {
        self.problem == problem.digest()
    }
}

/// A number that says which words these are.
fn digest(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |digest, word| {
        (digest ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29)
    })
}

impl Problem {
    /// Checks that the matrices make a product. `shapes`: of A, B, C and D.
    pub fn new(library: &Library, shapes: [Shape; 4], transposed: [bool; 2]) -> Checked<Self> {
        for (name, shape) in ["A", "B", "C", "D"].iter().zip(&shapes) {
            if shape.length == 0 || shape.columns == 0 {
                let (rows, columns) = (shape.length, shape.columns);
                return Err(library.invalid(format!("{name} is {rows}×{columns}, which is empty")));
            }
            if shape.pitch < shape.length {
                let (pitch, rows) = (shape.pitch, shape.length);
                return Err(library.invalid(format!(
                    "the leading dimension {pitch} of {name} is less than its {rows} rows"
                )));
            }
            if shape.batch != shapes[3].batch {
                let (of, other) = (shape.batch, shapes[3].batch);
                return Err(library.invalid(format!("a batch of {of} of {name}, of {other} of D")));
            }
            if shape.span().is_none() {
                return Err(library.invalid(format!("{name} is larger than any memory")));
            }
        }
        let [a, b, c, d] = shapes;
        match [a.kind, b.kind, c.kind, d.kind] {
            [Type::F32, Type::F32, Type::F32, Type::F32]
            | [Type::Bf16, Type::Bf16, Type::F32, Type::F32]
            | [Type::Bf16, Type::Bf16, Type::Bf16, Type::Bf16] => {}
            kinds => {
                let message = format!("there is no product of the types {kinds:?} of A, B, C, D");
                return Err(library.not_supported(message));
            }
        }
        let problem = Problem {
            a,
            b,
            d,
            transposed,
        };
        let [m, n, k] = problem.sizes();
        let inner = if transposed[1] { b.columns } else { b.length };
        let outer = if transposed[1] { b.length } else { b.columns };
        if [inner, outer, d.length, c.length, c.columns] != [k, n, m, m, n] {
            let op_a = if transposed[0] { "Aᵀ" } else { "A" };
            let op_b = if transposed[1] { "Bᵀ" } else { "B" };
            return Err(library.invalid(format!(
                "{op_a} is {m}×{k}, {op_b} {inner}×{outer}, C {}×{} and D {}×{}, which do not fit",
                c.length, c.columns, d.length, d.columns
            )));
        }
        if d.overlaps_itself() {
            let message = "D lies in one place more than once, by its stride of a batch";
            return Err(library.invalid(message));
        }
        Ok(problem)
    }

    /// Rows and columns of the result, and terms of each sum.
    fn sizes(&self) -> [u64; 3] {
        let (m, k) = match self.transposed[0] {
            true => (self.a.columns, self.a.length),
            false => (self.a.length, self.a.columns),
        };
        [m, self.d.columns, k]
    }

    fn digest(&self) -> u64 {
        let words = [&self.a, &self.b, &self.d].map(|s| {
            let bytes = s.kind.bytes();
            [bytes, s.length, s.columns, s.pitch, s.batch, s.stride]
        });
        let [a, b] = self.transposed.map(u64::from);
        digest(&[words.as_flattened(), &[a, b]].concat())
    }

    /// The algorithms for it, the fastest first: one that splits its sums, where that may have a workspace, and a plain one.
    pub fn algorithms(&self, most_workspace: u64, alignment: [u32; 4]) -> Vec<Algorithm> {
        let [m, n, _] = self.sizes();
        let split = (m * n * self.d.batch * 4).next_multiple_of(256);
        let problem = self.digest();
        [(7, split), (1, 0)]
            .into_iter()
            .filter(|&(_, workspace)| workspace <= most_workspace)
            .map(|(id, workspace)| Algorithm {
                id,
                workspace,
                alignment,
                problem,
            })
            .collect()
    }
}

/// A product as work of a stream.
#[derive(Clone, Debug)]
pub struct Matmul {
    pub problem: Problem,
    /// Of A, B and D.
    pub addresses: [u64; 3],
    pub alpha: f32,
    /// Its address and bytes.
    pub workspace: (u64, u64),
}

impl Matmul {
    fn arrays(&self) -> [Array; 3] {
        let shapes = [self.problem.a, self.problem.b, self.problem.d];
        let [a, b, d] = shapes;
        let [at_a, at_b, at_d] = self.addresses;
        [(at_a, a), (at_b, b), (at_d, d)].map(|(address, shape)| Array { address, shape })
    }

    /// Nothing that it reads may lie where it writes.
    pub fn check_overlaps(&self, library: &Library) -> Checked {
        let [a, b, d] = self.arrays();
        let (address, bytes) = self.workspace;
        check_apart(
            library,
            &[("A", a), ("B", b)],
            ("D", d),
            workspace(address, bytes),
        )
    }

    pub fn run(&self, memory: &mut Memory) -> Result<(), Fault> {
        let [a, b, d] = self.arrays();
        for (what, array) in [("A", a), ("B", b), ("D", d)] {
            array.check_bounds(memory, "cublasLtMatmul", what)?;
        }
        memory
            .spoil(self.workspace.0, self.workspace.1)
            .map_err(Fault::failed)?;
        let sizes = self.problem.sizes().map(|s| s as usize);
        for item in 0..d.shape.batch {
            let (left, right) = (a.read(memory, item)?, b.read(memory, item)?);
            let mut values = multiply(sizes, &left, &right, self.problem.transposed);
            values.iter_mut().for_each(|v| *v *= self.alpha);
            d.write(memory, item, &values)?;
        }
        Ok(())
    }
}

/// The product of two matrices without gaps, stored column by column, or transposed that way.
fn multiply(sizes: [usize; 3], a: &[f32], b: &[f32], transposed: [bool; 2]) -> Vec<f32> {
    let [m, n, k] = sizes;
    if m >= n {
        let a = if transposed[0] {
            transpose(a, k)
        } else {
            a.to_vec()
        };
        let element = |p: usize, j: usize| {
            if transposed[1] {
                b[p * n + j]
            } else {
                b[j * k + p]
            }
        };
        return rows(n, m, &a, element);
    }
    let b = if transposed[1] {
        b.to_vec()
    } else {
        transpose(b, k)
    };
    let element = |p: usize, i: usize| {
        if transposed[0] {
            a[i * k + p]
        } else {
            a[p * m + i]
        }
    };
    transpose(&rows(m, n, &b, element), n)
}

/// `count` rows of `length`: each the sum of the rows of `of`, times the element for both.
fn rows(
    count: usize,
    length: usize,
    of: &[f32],
    element: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let mut found = vec![0.0; count * length];
    for (index, row) in found.chunks_exact_mut(length).enumerate() {
        for (p, term) in of.chunks_exact(length).enumerate() {
            add_scaled(row, element(p, index), term);
        }
    }
    found
}
