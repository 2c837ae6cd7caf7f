//! What the next block of pixels reads, brought towards the core line by line while tiles of this one are made.

use super::simd::Ahead;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Pixels of an operand, of which each has a run of bytes.
#[derive(Clone, Copy)]
pub struct Region<'a> {
    /// The first pixel's bytes.
    pub place: *const u8,
    pub bytes: usize,
    pub pixels: usize,
    /// Bytes from pixel to pixel, beyond those that `offsets` leads to.
    pub pitch: usize,
    /// Bytes to each pixel: a tile takes so many of them.
    pub offsets: &'a [usize],
}

impl Region<'_> {
    /// No pixels.
    pub fn none() -> Region<'static> {
        Region {
            place: std::ptr::null(),
            bytes: 0,
            pixels: 0,
            pitch: 0,
            offsets: &[],
        }
    }

    /// A line of each of a tile's pixels is a piece.
    fn pieces(&self) -> usize {
        self.lines() * self.parts()
    }

    fn lines(&self) -> usize {
        self.bytes.div_ceil(LINE)
    }

    fn parts(&self) -> usize {
        self.pixels.div_ceil(self.offsets.len().max(1))
    }

    fn piece(&self, i: usize) -> Ahead {
        let (part, line) = (i / self.lines(), i % self.lines());
        let at = part * self.offsets.len() * self.pitch + line * LINE;
        Ahead {
            place: self.place.wrapping_add(at),
            offsets: self.offsets.as_ptr(),
        }
    }
}

/// Regions shared out evenly over a number of tiles. Each tile takes a piece at most: where tiles are too few, some
/// pieces are left out.
pub struct Sweep<'a, const N: usize> {
    regions: [Region<'a>; N],
    pieces: usize,
    tiles: usize,
    tile: usize,
    /// What a tile is given that has nothing to bring.
    rest: Ahead,
}

impl<'a, const N: usize> Sweep<'a, N> {
    /// `rest` are places that are near already, as many as the most that a tile takes.
    pub fn new(regions: [Region<'a>; N], tiles: usize, rest: Ahead) -> Sweep<'a, N> {
        Sweep {
            pieces: regions.iter().map(Region::pieces).sum(),
            regions,
            tiles,
            tile: 0,
            rest,
        }
    }

    /// What the next tile brings.
    pub fn next(&mut self) -> Ahead {
        let begins = |tile: usize| (tile * self.pieces).div_ceil(self.tiles);
        let (piece, end) = (begins(self.tile), begins(self.tile + 1));
        self.tile += 1;
        if piece == end {
            return self.rest;
        }
        let mut i = piece;
        for region in &self.regions {
            if i < region.pieces() {
                return region.piece(i);
            }
            i -= region.pieces();
        }
        self.rest
    }
}
