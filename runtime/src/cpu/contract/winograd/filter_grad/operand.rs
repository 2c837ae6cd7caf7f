//! The operands: images, and where their transformed tiles lie.

use super::kernels::TileKernel;
use super::products::{LINE, prefetch};
use super::tiles::{Corner, Place, Plane};

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
    /// Rows and columns from one tile to the next, and how far the first begins before the image.
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

    /// A channel of an image's first pixel.
    fn address(&self, arena: *const f32, image: usize, channel: usize) -> *const u8 {
        let pixels = image * self.height * self.width;
        let images = arena.wrapping_add(self.place).cast::<u8>();
        images.wrapping_add((pixels * self.channels + channel) * self.element)
    }

    /// Transforms the tiles of a word, of which the second may be missing, to place `at` of all blocks.
    ///
    /// # Safety
    /// The images are within the arena, `zeros` is as long as a block, `to` is good for the transformed tiles; the machine
    /// has the kernels' instructions.
    pub unsafe fn transform(
        &self,
        arena: *const f32,
        zeros: *const f32,
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
                zeros: zeros.cast(),
            };
            let corners = tiles.map(|tile| match tile {
                Some((image, down, across)) => Corner {
                    image: self.address(arena, image, first),
                    row: (down * self.step) as isize - self.before as isize,
                    column: (across * self.step) as isize - self.before as isize,
                },
                // All rows are outside.
                None => Corner {
                    image: zeros.cast(),
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

    /// Brings a row of those pixels of a tile that no other tile has into the second-level cache.
    pub fn prefetch(&self, arena: *const f32, (image, down, across): Tile, row: usize) {
        let (row, column) = (down * self.step + row, across * self.step);
        if row >= self.height || column >= self.width {
            return;
        }
        let pixels = self.step.min(self.width - column);
        let first = (row * self.width + column) * self.channels;
        let bytes = pixels * self.channels * self.element;
        prefetch(self.address(arena, image, first).cast(), bytes.div_ceil(4));
    }
}
