//! The operands: images, and where their transformed tiles lie.

use super::kernels::TileKernel;
use super::products::{LINE, prefetch};
use super::tiles::{Corner, Place, Plane};
use std::ops::Range;

/// Images, and their transformed tiles: [block of channels][point][word of tiles][channel].
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Place in the arena, in words.
    pub place: usize,
    /// Bytes of an element.
    pub element: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Rows and columns of a tile, from one to the next, and how far the first begins before the image.
    pub side: usize,
    pub step: usize,
    pub before: usize,
    pub transform: TileKernel,
    /// Channels of a block.
    pub block: usize,
    /// From word to word, from point to point, and from block to block.
    pub pitch: usize,
    pub point: usize,
    pub stride: usize,
}

/// A tile by its image, and its place down and across.
pub type Tile = (usize, usize, usize);

/// An odd number of cache lines, so that what is that far apart does not fall on the same few lines of a cache.
pub fn odd_lines(words: usize) -> usize {
    (words.div_ceil(LINE) | 1) * LINE
}

impl Operand {
    /// Lays out blocks of at most `block` channels, for `words` words at `points` points.
    pub fn lay_out(&mut self, block: usize, words: usize, points: usize) {
        self.block = block.min(self.channels);
        self.pitch = odd_lines(self.block);
        self.point = odd_lines(words * self.pitch);
        self.stride = points * self.point;
    }

    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// First channel and number of channels of a block.
    pub fn range(&self, block: usize) -> (usize, usize) {
        let first = block * self.block;
        (first, self.block.min(self.channels - first))
    }

    /// Words of the transformed tiles.
    pub fn len(&self) -> usize {
        self.blocks() * self.stride
    }

    /// The pixels from the first to the last that tiles read, of which the first and the last are named.
    pub fn reads(&self, first: Tile, last: Tile) -> Range<usize> {
        let pixel = |(image, down, _): Tile, more: usize| {
            let row = (down * self.step + more).saturating_sub(self.before);
            (image * self.height + row.min(self.height)) * self.width
        };
        let end = pixel(last, self.side);
        pixel(first, 0).min(end)..end
    }

    /// The first pixel in the arena.
    pub fn first(&self, arena: *const f32) -> *const u8 {
        arena.wrapping_add(self.place).cast()
    }

    /// Bytes of a pixel.
    pub fn pixel(&self) -> usize {
        self.channels * self.element
    }

    /// Transforms the tiles of a word, of which the second may be missing, to place `at` of all blocks. `images` is where the
    /// first pixel of all is, or would be if not only those of the tiles were there.
    ///
    /// # Safety
    /// The tiles' pixels are there, `to` is good for the transformed tiles; the machine has the kernels' instructions.
    pub unsafe fn transform(
        &self,
        images: *const u8,
        tiles: [Option<Tile>; 2],
        to: *mut f32,
        at: usize,
    ) {
        for block in 0..self.blocks() {
            let (first, channels) = self.range(block);
            let plane = Plane {
                height: self.height,
                width: self.width,
                pitch: self.channels,
                channels,
            };
            let corners = tiles.map(|tile| match tile {
                Some((image, down, across)) => Corner {
                    image: images.wrapping_add(
                        image * self.height * self.width * self.pixel() + first * self.element,
                    ),
                    row: (down * self.step) as isize - self.before as isize,
                    column: (across * self.step) as isize - self.before as isize,
                },
                // All rows are outside.
                None => Corner {
                    image: std::ptr::null(),
                    row: self.height as isize,
                    column: 0,
                },
            });
            // SAFETY: the caller's.
            unsafe {
                let place = Place {
                    base: to.add(block * self.stride + at * self.pitch),
                    stride: self.point,
                };
                (self.transform)(&plane, &corners, place);
            }
        }
    }

    /// Brings those pixels of a tile that no other tile has into the second-level cache; of images whose first pixel is
    /// `images`.
    pub fn prefetch(&self, images: *const u8, (image, down, across): Tile) {
        let column = across * self.step;
        let pixels = self.step.min(self.width.saturating_sub(column));
        let rows = down * self.step..((down + 1) * self.step).min(self.height);
        for row in rows {
            let first = (image * self.height + row) * self.width + column;
            let bytes = pixels * self.pixel();
            let place = images.wrapping_add(first * self.pixel());
            prefetch(place.cast(), bytes.div_ceil(4));
        }
    }
}
