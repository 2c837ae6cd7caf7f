//! Operands in the device's memory: where their numbers lie, and reading and writing them with all checks.
use super::handles::{Checked, Library};
use crate::exec::float::{bf16, widen_bf16};
use crate::exec::{Fault, Kind};
use crate::memory::Memory;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    F32,
    Bf16,
}

impl Type {
    pub fn bytes(self) -> u64 {
        match self {
            Type::F32 => 4,
            Type::Bf16 => 2,
        }
    }
}

/// Where the numbers of an operand lie: some times `columns` runs of `length` numbers. Distances are in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub kind: Type,
    pub length: u64,
    pub columns: u64,
    /// From one run to the next.
    pub pitch: u64,
    pub batch: u64,
    /// From one set of runs to the next.
    pub stride: u64,
}

/// The most numbers that an operand may span, so that sizes in bytes do not overflow.
const MOST: u64 = 1 << 48;

impl Shape {
    /// Numbers without gaps.
    pub fn packed(kind: Type, length: u64) -> Self {
        Shape {
            kind,
            length,
            columns: 1,
            pitch: length,
            batch: 1,
            stride: 0,
        }
    }

    /// Numbers from the first to behind the last; none if they are more than any memory has.
    pub fn span(&self) -> Option<u64> {
        let columns = self.pitch.checked_mul(self.columns - 1)?;
        let items = self.stride.checked_mul(self.batch - 1)?;
        let span = columns.checked_add(items)?.checked_add(self.length)?;
        (span <= MOST).then_some(span)
    }

    /// Runs without a gap, each as its first number and its length; a set that is the same for all once.
    fn runs(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let Shape {
            length,
            columns,
            pitch,
            batch,
            stride,
            ..
        } = *self;
        let (length, columns) = match columns == 1 || pitch == length {
            true => (length * columns, 1),
            false => (length, columns),
        };
        let batch = if stride == 0 { 1 } else { batch };
        (0..batch).flat_map(move |b| (0..columns).map(move |c| (b * stride + c * pitch, length)))
    }

    /// Whether two of its numbers lie in one place.
    pub fn overlaps_itself(&self) -> bool {
        if self.batch > 1 && self.stride == 0 {
            return true;
        }
        let item = self.pitch * (self.columns - 1) + self.length;
        if self.pitch >= self.length && (self.batch == 1 || self.stride >= item) {
            return false;
        }
        let mut runs: Vec<(u64, u64)> = self.runs().collect();
        runs.sort_unstable();
        runs.windows(2).any(|w| w[0].0 + w[0].1 > w[1].0)
    }
}

/// An operand: a shape at an address.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    pub address: u64,
    pub shape: Shape,
}

impl Array {
    fn bytes(&self) -> u64 {
        self.shape.span().unwrap_or(MOST) * self.shape.kind.bytes()
    }

    /// Address and bytes of each run.
    fn places(self) -> impl Iterator<Item = (u64, u64)> {
        let size = self.shape.kind.bytes();
        self.shape
            .runs()
            .map(move |(first, length)| (self.address + first * size, length * size))
    }

    /// Whether a number of one lies where one of the other does.
    pub fn overlaps(&self, other: &Array) -> bool {
        let apart = |a: &Array, b: &Array| a.address.saturating_add(a.bytes()) <= b.address;
        if apart(self, other) || apart(other, self) {
            return false;
        }
        let mut places: Vec<(u64, u64)> = other.places().collect();
        places.sort_unstable();
        self.places().any(|(start, bytes)| {
            let next = places.partition_point(|p| p.0 < start + bytes);
            // Runs of one operand may overlap each other, but then all have one length, and the last begins last.
            next > 0 && places[next - 1].0 + places[next - 1].1 > start
        })
    }

    /// All of it must lie in the buffer that its pointer points into.
    pub fn check_bounds(&self, memory: &Memory, name: &str, what: &str) -> Result<(), Fault> {
        let (address, bytes) = (self.address, self.bytes());
        let Some((low, high)) = memory.reach(address) else {
            let message = format!("{name}: {what} at {address:#x} is not all allocated");
            return Err(Fault::new(Kind::Address, message));
        };
        if bytes > high - address {
            let (at, size) = (address - low, high - low);
            let message = format!(
                "{name}: {what} is {bytes} bytes at {address:#x}, byte {at} of a buffer of {size}: out of bounds"
            );
            return Err(Fault::new(Kind::Address, message));
        }
        Ok(())
    }

    /// One set of the runs.
    fn item(&self, index: u64) -> Array {
        let Array { address, shape } = *self;
        Array {
            address: address + index * shape.stride * shape.kind.bytes(),
            shape: Shape { batch: 1, ..shape },
        }
    }

    /// The numbers of one set of runs, without gaps.
    pub fn read(&self, memory: &mut Memory, index: u64) -> Result<Vec<f32>, Fault> {
        let mut found = Vec::with_capacity((self.shape.length * self.shape.columns) as usize);
        for (address, bytes) in self.item(index).places() {
            let bytes = memory.operand(address, bytes).map_err(Fault::failed)?;
            let (halves, words) = (bytes.chunks_exact(2), bytes.chunks_exact(4));
            match self.shape.kind {
                Type::F32 => {
                    found.extend(words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
                }
                Type::Bf16 => {
                    found.extend(halves.map(|b| widen_bf16(u16::from_le_bytes([b[0], b[1]]))));
                }
            }
        }
        Ok(found)
    }

    /// Writes one set of runs, rounded to the nearest that the type has.
    pub fn write(&self, memory: &mut Memory, index: u64, values: &[f32]) -> Result<(), Fault> {
        let mut rest = values;
        for (address, bytes) in self.item(index).places() {
            let (now, later) = rest.split_at((bytes / self.shape.kind.bytes()) as usize);
            rest = later;
            let bytes: Vec<u8> = match self.shape.kind {
                Type::F32 => now.iter().flat_map(|v| v.to_le_bytes()).collect(),
                Type::Bf16 => now.iter().flat_map(|&v| bf16(v).to_le_bytes()).collect(),
            };
            memory.write(address, &bytes).map_err(Fault::failed)?;
        }
        Ok(())
    }
}

/// A workspace as an operand; none: there is none.
pub fn workspace(address: u64, bytes: u64) -> Option<Array> {
    (bytes > 0).then_some(Array {
        address,
        shape: Shape::packed(Type::Bf16, bytes.div_ceil(2)),
    })
}

/// Refuses operands in the place of the result or of the workspace.
pub fn check_apart(
    library: &Library,
    operands: &[(&str, Array)],
    (name, result): (&str, Array),
    workspace: Option<Array>,
) -> Checked {
    let clash = |one: &str, other: &str| {
        let message = format!("{one} lies in the place of {other}, at least in part");
        Err(library.invalid(message))
    };
    for (operand, array) in operands {
        if array.overlaps(&result) {
            return clash(operand, name);
        }
    }
    let Some(workspace) = workspace else {
        return Ok(());
    };
    for (operand, array) in operands.iter().chain([&(name, result)]) {
        if array.overlaps(&workspace) {
            return clash(operand, "the workspace");
        }
    }
    Ok(())
}

/// `row += factor · by`.
#[inline(always)]
pub fn add_scaled(row: &mut [f32], factor: f32, by: &[f32]) {
    for (row, by) in row.iter_mut().zip(by) {
        *row += factor * by;
    }
}

/// Rows of `length` as columns.
pub fn transpose(from: &[f32], length: usize) -> Vec<f32> {
    let count = from.len() / length;
    let mut to = Vec::with_capacity(from.len());
    for at in 0..length {
        to.extend((0..count).map(|row| from[row * length + at]));
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(address: u64, length: u64, columns: u64, pitch: u64, batch: (u64, u64)) -> Array {
        let (batch, stride) = batch;
        let shape = Shape {
            kind: Type::Bf16,
            length,
            columns,
            pitch,
            batch,
            stride,
        };
        Array { address, shape }
    }

    #[test]
    fn interleaved_runs_do_not_overlap() {
        let (left, right) = (array(0, 4, 3, 8, (1, 0)), array(8, 4, 3, 8, (1, 0)));
        assert!(!left.overlaps(&right) && !right.overlaps(&left));
        let across = array(6, 2, 1, 2, (1, 0));
        assert!(left.overlaps(&across) && right.overlaps(&across));
    }

    #[test]
    fn sets_of_runs_may_be_interleaved_but_not_shared() {
        assert!(!array(0, 4, 3, 8, (2, 4)).shape.overlaps_itself());
        assert!(array(0, 4, 3, 8, (2, 3)).shape.overlaps_itself());
        assert!(array(0, 4, 3, 8, (2, 0)).shape.overlaps_itself());
    }

    #[test]
    fn sizes_beyond_all_memory_have_no_span() {
        assert_eq!(array(0, 4, 1 << 40, 1 << 40, (1, 0)).shape.span(), None);
        assert_eq!(array(0, 4, 3, 8, (2, 24)).shape.span(), Some(44));
    }
}
