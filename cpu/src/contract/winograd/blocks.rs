//! Tiles of outputs, and the blocks of them that are transformed and multiplied together.

/// Tiles that cover images of `height` × `width` outputs, cut into blocks: some whole images, or some rows of tiles of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    images: usize,
    /// Rows of tiles of an image, and tiles of a row.
    rows: usize,
    columns: usize,
    /// Images of a block; 1 where an image has several bands.
    group: usize,
    /// Rows of tiles of a block.
    band: usize,
}

/// One block: its images and rows of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub image: usize,
    pub images: usize,
    pub row: usize,
    pub rows: usize,
    /// Tiles of a row.
    pub columns: usize,
}

/// A tile's image, row and column of tiles.
pub type Place = (usize, usize, usize);

impl Block {
    pub fn tiles(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// Its tiles in order.
    pub fn places(self) -> impl Iterator<Item = Place> {
        (0..self.images).flat_map(move |i| {
            (0..self.rows).flat_map(move |r| {
                (0..self.columns).map(move |c| (self.image + i, self.row + r, c))
            })
        })
    }
}

impl Blocks {
    /// Blocks of about `wanted` tiles of `side` × `side` outputs, as even as may be, and at least `least` of them where there are as many rows of tiles.
    pub fn choose(
        images: usize,
        (height, width): (usize, usize),
        side: usize,
        wanted: usize,
        least: usize,
    ) -> Blocks {
        let (rows, columns) = (height.div_ceil(side), width.div_ceil(side));
        let all = images * rows * columns;
        let wanted = wanted.min(all / least).max(1);
        let per_image = rows * columns;
        let even = |count: usize, most: usize| count.div_ceil(count.div_ceil(most.max(1)));
        let (group, band) = if per_image <= wanted {
            (even(images, wanted / per_image), rows)
        } else {
            (1, even(rows, (wanted + columns / 2) / columns))
        };
        Blocks {
            images,
            rows,
            columns,
            group,
            band,
        }
    }

    fn bands(&self) -> usize {
        self.rows.div_ceil(self.band)
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.images.div_ceil(self.group) * self.bands()
    }

    /// The most tiles of a block.
    pub fn capacity(&self) -> usize {
        self.group * self.band * self.columns
    }

    /// Tiles of all blocks.
    pub fn tiles(&self) -> usize {
        self.images * self.rows * self.columns
    }

    pub fn get(&self, i: usize) -> Block {
        let (group, band) = (i / self.bands(), i % self.bands());
        let (image, row) = (group * self.group, band * self.band);
        Block {
            image,
            images: self.group.min(self.images - image),
            row,
            rows: self.band.min(self.rows - row),
            columns: self.columns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_every_tile_once_in_order() {
        for images in [1, 2, 7] {
            for (height, width) in [(1, 1), (4, 5), (14, 14), (33, 7)] {
                for (wanted, least) in [(1, 1), (5, 4), (48, 16), (1000, 8)] {
                    let blocks = Blocks::choose(images, (height, width), 4, wanted, least);
                    let all: Vec<Place> = (0..blocks.len())
                        .flat_map(|b| blocks.get(b).places())
                        .collect();
                    let expected: Vec<Place> = (0..images)
                        .flat_map(|i| {
                            (0..height.div_ceil(4))
                                .flat_map(move |r| (0..width.div_ceil(4)).map(move |c| (i, r, c)))
                        })
                        .collect();
                    assert_eq!(all, expected, "{blocks:?}");
                    let most = (0..blocks.len()).map(|b| blocks.get(b).tiles()).max();
                    assert_eq!(most, Some(blocks.capacity()), "{blocks:?}");
                }
            }
        }
    }
}
