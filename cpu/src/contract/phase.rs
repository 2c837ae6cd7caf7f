//! Output pixels that see the same taps, and the taps' elements in runs.

use super::operands::Products;
use super::simd::Segment;

/// Words of the inner index whose part of a panel stays in the second-level cache while a chunk's tiles pass over it.
const INNER: usize = 512;

/// Some of the output pixels, a rectangle in steps of `step`, that see the same taps.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The first output row of a chunk that belongs to it.
    pub row: usize,
    /// For each output pixel of a full chunk: its window's beginning and its place in the output; in elements until
    /// [`RowsPlan::finish`](super::rows::RowsPlan::finish) makes bytes of them.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// Pixels in a row.
    pub columns: usize,
    /// For each tap, the elements of a pixel's window it reads and the first of its weights.
    pub taps: Vec<Tap>,
    /// The taps' segments, merged where they follow each other, cut into blocks; derived.
    pub blocks: Vec<Block>,
}

/// Segments that tiles pass over in one go.
#[derive(Clone, Debug, Default)]
pub struct Block {
    pub segments: Vec<Segment>,
    /// Their words: rows of a panel.
    pub words: usize,
}

impl Phase {
    /// Rows of a panel of its filter.
    pub fn words(&self) -> usize {
        self.blocks.iter().map(|b| b.words).sum()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Tap {
    pub offset: usize,
    pub weights: usize,
}

/// Places of the filter's elements: inner index of a tap, and output.
#[derive(Clone, Copy, Debug)]
pub struct WeightStrides {
    pub inner: usize,
    pub output: usize,
}

/// Merges taps whose elements follow each other, and cuts what is long; places in bytes.
pub fn blocks(taps: &[Tap], len: usize, products: Products) -> Vec<Block> {
    let (most, bytes) = match products {
        Products::F32 | Products::Widened => (INNER, 4),
        Products::Pairs => (2 * INNER, 2),
    };
    let mut merged: Vec<Segment> = Vec::new();
    for tap in taps {
        match merged.last_mut() {
            Some(last) if last.offset + last.len * bytes == tap.offset * bytes => last.len += len,
            _ => merged.push(Segment {
                offset: tap.offset * bytes,
                len,
            }),
        }
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut room = 0;
    for mut segment in merged {
        while segment.len > 0 {
            if room == 0 {
                blocks.push(Block::default());
                room = most;
            }
            let take = segment.len.min(room);
            if let Some(block) = blocks.last_mut() {
                block.segments.push(Segment {
                    offset: segment.offset,
                    len: take,
                });
                block.words += products.words(take);
            }
            segment.offset += take * bytes;
            segment.len -= take;
            room -= take;
        }
    }
    blocks
}
