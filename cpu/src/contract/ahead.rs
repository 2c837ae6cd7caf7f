//! What the next block of pixels reads, brought towards the core line by line while tiles of this one are made.

use super::simd::Ahead;
use crate::fetch::LINE;

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
}

impl<'a, const N: usize> Sweep<'a, N> {
    pub fn new(regions: [Region<'a>; N], tiles: usize) -> Sweep<'a, N> {
        Sweep {
            pieces: regions.iter().map(Region::pieces).sum(),
            regions,
            tiles,
            tile: 0,
        }
    }

    /// What the next tile brings, if anything.
    pub fn next(&mut self) -> Option<Ahead> {
        let begins = |tile: usize| (tile * self.pieces).div_ceil(self.tiles);
        let (mut piece, end) = (begins(self.tile), begins(self.tile + 1));
        self.tile += 1;
        if piece == end {
            return None;
        }
        for region in &self.regions {
            if piece < region.pieces() {
                return Some(region.piece(piece));
            }
            piece -= region.pieces();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two regions: 5 pixels of 3 lines, and 2 of a line.
    fn places(tiles: usize) -> Vec<usize> {
        let offsets = [0, 1000];
        let region = |place: usize, bytes: usize, pixels: usize| Region {
            place: std::ptr::without_provenance(place),
            bytes,
            pixels,
            pitch: 1000,
            offsets: &offsets,
        };
        let mut sweep = Sweep::new([region(10_000, 130, 5), region(90_000, 64, 2)], tiles);
        (0..tiles)
            .filter_map(|_| Some(sweep.next()?.place.addr()))
            .collect()
    }

    #[test]
    fn tiles_share_out_every_line() {
        let all = [
            10_000, 10_064, 10_128, 12_000, 12_064, 12_128, 14_000, 14_064, 14_128, 90_000,
        ];
        assert_eq!(places(10), all);
        assert_eq!(places(37), all);
    }

    #[test]
    fn few_tiles_leave_some_out() {
        assert_eq!(places(3), [10_000, 12_064, 14_064]);
        assert_eq!(places(1), [10_000]);
    }
}
