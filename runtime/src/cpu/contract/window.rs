//! Cutting images into chunks, and copying a chunk's windows into scratch with its padding.

/// Elements of scratch that a chunk's windows may take, so that they stay in the second-level cache.
const WINDOW_LIMIT: usize = 128 * 1024;
/// Output pixels of a chunk that make the reading of the filter cheap.
const PIXELS: usize = 512;
const FEW_PIXELS: usize = 64;
/// Chunks that keep the threads of a machine evenly busy.
const CHUNKS: usize = 16;

/// Images of `height` × `width` × `channels`.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Image {
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Along one axis, the input that a range of outputs reads: output `r` (a multiple of `den`) begins at `r·num/den + low`.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub num: usize,
    pub den: usize,
    pub low: isize,
    pub kind: ReachKind,
}

#[derive(Clone, Copy, Debug)]
pub enum ReachKind {
    /// Windows of this size, `num` apart.
    Forward { kernel: usize },
    /// The windows that hold a place, for the gradient; `den` is the stride.
    Backward { padding: usize },
}

impl Reach {
    /// What a convolution reads.
    pub fn forward(kernel: usize, stride: usize, padding: usize) -> Reach {
        Reach {
            num: stride,
            den: 1,
            low: -(padding as isize),
            kind: ReachKind::Forward { kernel },
        }
    }

    /// What its input gradient reads of the output's gradient.
    pub fn backward(kernel: usize, stride: usize, padding: usize) -> Reach {
        // The lowest window with place 0 in it: ceil((padding − kernel + 1) / stride).
        let numerator = padding as isize - kernel as isize + 1;
        Reach {
            num: 1,
            den: stride,
            low: -(-numerator).div_euclid(stride as isize),
            kind: ReachKind::Backward { padding },
        }
    }

    /// The first input of the outputs from `first` on.
    pub fn origin(&self, first: usize) -> isize {
        (first * self.num / self.den) as isize + self.low
    }

    /// How many inputs `count` outputs read.
    pub fn extent(&self, count: usize) -> usize {
        match self.kind {
            ReachKind::Forward { kernel } => (count - 1) * self.num + kernel,
            ReachKind::Backward { padding } => {
                let last = ((count - 1 + padding) / self.den) as isize;
                (last - self.low + 1).max(1) as usize
            }
        }
    }
}

/// Images cut into chunks: some whole images, or a band of rows of one.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    pub images: usize,
    /// Output rows of an image.
    pub rows: usize,
    /// Images of a chunk; 1 where an image has several bands.
    pub group: usize,
    /// Output rows of a chunk.
    pub band: usize,
}

/// One chunk: its images and output rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub image: usize,
    pub images: usize,
    pub row: usize,
    pub rows: usize,
}

impl Chunks {
    /// Chooses by shape: `window` gives the scratch that some rows of an image need; a band is a multiple of `multiple`.
    pub fn choose(
        images: usize,
        rows: usize,
        row_pixels: usize,
        multiple: usize,
        window: impl Fn(usize) -> usize,
    ) -> Chunks {
        let pixels = rows * row_pixels;
        let few = images * pixels <= FEW_PIXELS;
        if window(rows) <= WINDOW_LIMIT && pixels <= 4 * PIXELS && (images >= CHUNKS || few) {
            let most = (WINDOW_LIMIT / window(rows)).min(PIXELS.div_ceil(pixels));
            let even = (images / CHUNKS).max(FEW_PIXELS.div_ceil(pixels));
            let group = most.min(even).clamp(1, images);
            return Chunks {
                images,
                rows,
                group,
                band: rows,
            };
        }
        let wanted = CHUNKS.div_ceil(images).min(rows.div_ceil(multiple));
        let mut band = rows
            .div_ceil(wanted)
            .max(FEW_PIXELS.div_ceil(row_pixels))
            .next_multiple_of(multiple);
        while band > multiple && (window(band) > WINDOW_LIMIT || band * row_pixels > 4 * PIXELS) {
            band = (band / 2).next_multiple_of(multiple).min(band - multiple);
        }
        Chunks {
            images,
            rows,
            group: 1,
            band: band.clamp(1, rows),
        }
    }

    fn bands(&self) -> usize {
        self.rows.div_ceil(self.band)
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.images.div_ceil(self.group) * self.bands()
    }

    pub fn get(&self, i: usize) -> Chunk {
        let (group, band) = (i / self.bands(), i % self.bands());
        let (image, row) = (group * self.group, band * self.band);
        Chunk {
            image,
            images: self.group.min(self.images - image),
            row,
            rows: self.band.min(self.rows - row),
        }
    }
}

/// Where the windows of a chunk lie: in the input itself, or copied with zeros around.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    pub image: Image,
    pub vertical: Reach,
    pub horizontal: Reach,
    /// Whether the input is read where it stands.
    pub direct: bool,
    /// Sizes of a full chunk's window.
    pub height: usize,
    pub width: usize,
    /// Channels that a window holds: all when direct.
    pub channels: usize,
}

impl Windows {
    /// `rows` × `columns` outputs per image in chunks of at most `band` rows; windows of `channels` of the input's.
    pub fn new(
        image: Image,
        vertical: Reach,
        horizontal: Reach,
        (rows, columns): (usize, usize),
        band: usize,
        channels: usize,
    ) -> Windows {
        let inside = |reach: Reach, count: usize, size: usize| {
            reach.low >= 0 && reach.low as usize + reach.extent(count) <= size
        };
        let direct =
            inside(vertical, rows, image.height) && inside(horizontal, columns, image.width);
        Windows {
            image,
            vertical,
            horizontal,
            direct,
            height: vertical.extent(band),
            width: horizontal.extent(columns),
            channels: if direct { image.channels } else { channels },
        }
    }

    /// Elements from one row of a window to the next.
    pub fn row_pitch(&self) -> usize {
        if self.direct {
            self.image.width * self.image.channels
        } else {
            self.width * self.channels
        }
    }

    /// Elements from one image's window to the next.
    pub fn image_pitch(&self) -> usize {
        if self.direct {
            self.image.len()
        } else {
            self.height * self.row_pitch()
        }
    }

    /// Scratch for the windows of `images` images.
    pub fn scratch(&self, images: usize) -> usize {
        if self.direct {
            0
        } else {
            images * self.image_pitch()
        }
    }

    /// The chunk's windows: where they stand in `input`, or copied into `scratch`, from channel `first` on.
    ///
    /// # Safety
    /// `input` holds the images, `scratch` what [`scratch`](Self::scratch) says for the chunk's images.
    pub unsafe fn get(
        &self,
        input: *const f32,
        scratch: *mut f32,
        chunk: Chunk,
        first: usize,
    ) -> *const f32 {
        let top = self.vertical.origin(chunk.row);
        let left = self.horizontal.low;
        if self.direct {
            let pixel =
                (chunk.image * self.image.height + top as usize) * self.image.width + left as usize;
            // SAFETY: direct windows are within the image.
            return unsafe { input.add(pixel * self.image.channels + first) };
        }
        let height = self.vertical.extent(chunk.rows);
        for i in 0..chunk.images {
            // SAFETY: the scratch holds a window per image, of at least the chunk's height.
            unsafe {
                let source = input.add((chunk.image + i) * self.image.len() + first);
                let window = scratch.add(i * self.image_pitch());
                for r in 0..height {
                    self.copy_row(
                        source,
                        window.add(r * self.row_pitch()),
                        top + r as isize,
                        left,
                    );
                }
            }
        }
        scratch
    }

    /// One row of a window; zeros where the image has none.
    unsafe fn copy_row(&self, source: *const f32, dst: *mut f32, row: isize, left: isize) {
        let c = self.channels;
        // SAFETY: the row has `width` pixels; only pixels of the image are read.
        unsafe {
            if row < 0 || row as usize >= self.image.height {
                std::slice::from_raw_parts_mut(dst, self.width * c).fill(0.0);
                return;
            }
            // Columns of the window that exist in the image: [begin, end).
            let begin = ((-left).max(0) as usize).min(self.width);
            let end = (self.image.width as isize - left).clamp(begin as isize, self.width as isize)
                as usize;
            std::slice::from_raw_parts_mut(dst, begin * c).fill(0.0);
            std::slice::from_raw_parts_mut(dst.add(end * c), (self.width - end) * c).fill(0.0);
            if begin == end {
                return;
            }
            let x = (begin as isize + left) as usize;
            let from = source.add((row as usize * self.image.width + x) * self.image.channels);
            if c == self.image.channels {
                std::ptr::copy_nonoverlapping(from, dst.add(begin * c), (end - begin) * c);
            } else {
                for i in 0..end - begin {
                    std::ptr::copy_nonoverlapping(
                        from.add(i * self.image.channels),
                        dst.add((begin + i) * c),
                        c,
                    );
                }
            }
        }
    }
}
