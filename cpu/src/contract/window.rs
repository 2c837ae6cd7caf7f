//! Cutting images into chunks, and copying a chunk's windows into scratch with its padding.

use super::operands::Moves;
use std::ops::Range;

/// Words of scratch that a chunk's windows may take, so that they stay in the second-level cache.
const WINDOW_LIMIT: usize = 128 * 1024;
/// Output pixels of a chunk that make the reading of the filter cheap.
const PIXELS: usize = 512;
const FEW_PIXELS: usize = 64;
/// Chunks that keep the threads of a machine evenly busy.
const CHUNKS: usize = 16;
/// Words of a chunk's outputs, and of what is read beside them, that stay in the second-level cache until an epilogue has
/// used them.
const KEPT_LIMIT: usize = 128 * 1024;

/// Images of `height` × `width` × `channels`, which may be every few pixels of larger ones.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Elements from pixel to pixel, row to row, and image to image.
    pub pixel: usize,
    pub row: usize,
    pub len: usize,
}

impl Image {
    /// Images that lie one after the other.
    pub fn dense(height: usize, width: usize, channels: usize) -> Image {
        Image {
            height,
            width,
            channels,
            pixel: channels,
            row: width * channels,
            len: height * width * channels,
        }
    }

    /// Every `step`-th pixel along both axes, from the first on.
    pub fn every(self, step: usize) -> Image {
        Image {
            height: self.height.div_ceil(step),
            width: self.width.div_ceil(step),
            pixel: self.pixel * step,
            row: self.row * step,
            ..self
        }
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
    /// Chooses by shape: `window` gives the words of scratch that some rows of an image need; a band is a multiple of
    /// `multiple`; `kept` are the words of an output pixel that are to stay in the cache, 0 for none.
    pub fn choose(
        images: usize,
        rows: usize,
        row_pixels: usize,
        multiple: usize,
        kept: usize,
        window: impl Fn(usize) -> usize,
    ) -> Chunks {
        let pixels = rows * row_pixels;
        let few = images * pixels <= FEW_PIXELS;
        let room = KEPT_LIMIT.checked_div(kept).unwrap_or(usize::MAX);
        let fits = |pixels: usize| pixels <= room.min(4 * PIXELS);
        if window(rows) <= WINDOW_LIMIT && fits(pixels) && (images >= CHUNKS || few) {
            let most = (WINDOW_LIMIT / window(rows))
                .min(PIXELS.div_ceil(pixels))
                .min(room / pixels);
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
        while band > multiple && (window(band) > WINDOW_LIMIT || !fits(band * row_pixels)) {
            band = (band / 2).next_multiple_of(multiple).min(band - multiple);
        }
        Chunks {
            images,
            rows,
            group: 1,
            band: band.clamp(1, rows),
        }
    }

    /// Two chunks where there is one and it can be cut.
    pub fn halved_if_one(mut self) -> Chunks {
        if self.len() == 1 {
            if self.images > 1 {
                self.group = self.images.div_ceil(2);
            } else {
                self.band = self.band.div_ceil(2);
            }
        }
        self
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

/// How the elements of windows get into scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bring {
    /// As they are, so many bytes each.
    Copy(usize),
    /// From bf16 to f32.
    Widen,
    /// The bf16 of two chunks side by side, a word for each place.
    Pair,
}

impl Bring {
    /// Bytes of an element of the input.
    fn stored(self) -> usize {
        match self {
            Bring::Copy(bytes) => bytes,
            Bring::Widen | Bring::Pair => 2,
        }
    }

    /// Bytes of an element of the window.
    pub fn brought(self) -> usize {
        match self {
            Bring::Copy(bytes) => bytes,
            Bring::Widen | Bring::Pair => 4,
        }
    }
}

/// A chunk, or two side by side.
pub type Lanes = [Option<Chunk>; 2];

/// Where the windows of a chunk lie: in the input itself, or brought into scratch with zeros around.
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
    pub bring: Bring,
    pub moves: Moves,
}

impl Windows {
    /// `rows` × `columns` outputs per image in chunks of at most `band` rows; windows of `channels` of the input's.
    pub fn new(
        image: Image,
        [vertical, horizontal]: [Reach; 2],
        (rows, columns): (usize, usize),
        band: usize,
        channels: usize,
        (bring, moves): (Bring, Moves),
    ) -> Windows {
        let inside = |reach: Reach, count: usize, size: usize| {
            reach.low >= 0 && reach.low as usize + reach.extent(count) <= size
        };
        let direct = matches!(bring, Bring::Copy(_))
            && inside(vertical, rows, image.height)
            && inside(horizontal, columns, image.width);
        Windows {
            image,
            vertical,
            horizontal,
            direct,
            height: vertical.extent(band),
            width: horizontal.extent(columns),
            channels: if direct { image.channels } else { channels },
            bring,
            moves,
        }
    }

    /// Elements from one row of a window to the next.
    pub fn row_pitch(&self) -> usize {
        if self.direct {
            self.image.row
        } else {
            self.width * self.channels
        }
    }

    /// Elements from one pixel of a window to the next.
    pub fn pixel_pitch(&self) -> usize {
        if self.direct {
            self.image.pixel
        } else {
            self.channels
        }
    }

    /// Elements from one image's window to the next.
    pub fn image_pitch(&self) -> usize {
        if self.direct {
            self.image.len
        } else {
            self.height * self.row_pitch()
        }
    }

    /// Words that an image's window takes.
    pub fn image_words(&self) -> usize {
        (self.image_pitch() * self.bring.brought()).div_ceil(4)
    }

    /// Words of scratch for the windows of `images` images.
    pub fn scratch(&self, images: usize) -> usize {
        if self.direct {
            0
        } else {
            (images * self.image_pitch() * self.bring.brought()).div_ceil(4)
        }
    }

    /// The chunk's windows: where they stand in the first of `inputs`, one for each of two chunks, or brought into `scratch`, from channel `first` on.
    /// There are two chunks only for [`Bring::Pair`].
    ///
    /// # Safety
    /// The machine has the moves' level; `inputs` are where the images begin, or would begin if more of them were there than the
    /// pixels that [`reads`](Self::reads) names for the chunks; `scratch` holds what [`scratch`](Self::scratch) says for the
    /// chunks' images.
    pub unsafe fn get(
        &self,
        inputs: [*const u8; 2],
        scratch: *mut u8,
        lanes: Lanes,
        first: usize,
    ) -> *const u8 {
        let (stored, brought) = (self.bring.stored(), self.bring.brought());
        if let (true, Some(chunk)) = (self.direct, lanes[0]) {
            let top = self.vertical.origin(chunk.row) as usize;
            let left = self.horizontal.low as usize;
            let at = chunk.image * self.image.len + top * self.image.row + left * self.image.pixel;
            return inputs[0].wrapping_add((at + first) * stored);
        }
        let images = lanes.iter().flatten().map(|c| c.images).max();
        let height = lanes.iter().flatten().map(|c| c.rows).max();
        let height = self.vertical.extent(height.unwrap_or(1));
        for i in 0..images.unwrap_or(0) {
            for r in 0..height {
                let row = |lane: usize| self.row(lanes[lane]?, i, r);
                // SAFETY: the scratch holds a window per image, of at least the chunk's height; the rows are in the image.
                unsafe {
                    let side = |lane: usize| {
                        Some(inputs[lane].wrapping_add((row(lane)? + first) * stored))
                    };
                    let sides = [side(0), side(1)];
                    let at = i * self.image_pitch() + r * self.row_pitch();
                    self.bring_row(sides, scratch.add(at * brought));
                }
            }
        }
        scratch
    }

    /// The bytes of the input that a chunk's windows are, where they are read where they stand and follow each other: their
    /// place and how many.
    pub fn span(&self, chunk: Chunk) -> Option<(usize, usize)> {
        let Image {
            height,
            width,
            channels,
            pixel,
            row,
            len,
        } = self.image;
        let dense = pixel == channels && row == width * channels && len == height * row;
        let rows = self.vertical.extent(chunk.rows);
        (self.direct && dense && self.vertical.low == 0).then(|| {
            let first = chunk.image * len + self.vertical.origin(chunk.row) as usize * row;
            let elements = (chunk.images - 1) * len + rows * row;
            (first * self.bring.stored(), elements * self.bring.stored())
        })
    }

    /// The pixels of the input from the first to the last that a chunk's windows read, all channels of each.
    pub fn reads(&self, chunk: Chunk) -> Range<usize> {
        let (height, width) = (self.image.height, self.image.width);
        let origin = self.vertical.origin(chunk.row);
        let top = origin.clamp(0, height as isize) as usize;
        let bottom = origin + self.vertical.extent(chunk.rows) as isize;
        let bottom = bottom.clamp(top as isize, height as isize) as usize;
        if top == bottom {
            return 0..0;
        }
        let first = chunk.image * self.image.len + top * self.image.row;
        let last = (chunk.image + chunk.images - 1) * self.image.len
            + (bottom - 1) * self.image.row
            + (width - 1) * self.image.pixel;
        first / self.image.channels..last / self.image.channels + 1
    }

    /// The element where the input's row begins that is at row `r` of the window of a chunk's image `i`; `None` for padding.
    fn row(&self, chunk: Chunk, i: usize, r: usize) -> Option<usize> {
        let row = self.vertical.origin(chunk.row) + r as isize;
        let there = i < chunk.images
            && r < self.vertical.extent(chunk.rows)
            && row >= 0
            && (row as usize) < self.image.height;
        there.then(|| (chunk.image + i) * self.image.len + row as usize * self.image.row)
    }

    /// One row of a window; zeros where the image has none.
    unsafe fn bring_row(&self, sides: [Option<*const u8>; 2], dst: *mut u8) {
        let c = self.channels;
        let (stored, brought) = (self.bring.stored(), self.bring.brought());
        let left = self.horizontal.low;
        // Columns of the window that exist in the image: [begin, end).
        let mut begin = ((-left).max(0) as usize).min(self.width);
        let mut end =
            (self.image.width as isize - left).clamp(begin as isize, self.width as isize) as usize;
        if sides == [None, None] {
            (begin, end) = (self.width, self.width);
        }
        // SAFETY: the row has `width` pixels; only pixels of the image are read.
        unsafe {
            let zero = |from: usize, to: usize| {
                std::ptr::write_bytes(dst.add(from * c * brought), 0, (to - from) * c * brought);
            };
            zero(0, begin);
            zero(end, self.width);
            if begin == end {
                return;
            }
            let x = (begin as isize + left) as usize * self.image.pixel;
            let sides = sides.map(|side| Some(side?.add(x * stored)));
            let dst = dst.add(begin * c * brought);
            // All channels follow each other, or a run of them from each pixel.
            let stride = self.image.pixel * stored;
            let (rows, n) = if c == self.image.pixel {
                (1, (end - begin) * c)
            } else {
                (end - begin, c)
            };
            match (self.bring, sides) {
                (Bring::Copy(bytes), [Some(a), _]) if rows == 1 => {
                    std::ptr::copy_nonoverlapping(a, dst, n * bytes);
                }
                (Bring::Copy(4), [Some(a), _]) => {
                    self.moves.copy((dst.cast(), c), (a, stride), rows, n);
                }
                (Bring::Copy(bytes), [Some(a), _]) => {
                    for r in 0..rows {
                        let to = dst.add(r * c * bytes);
                        std::ptr::copy_nonoverlapping(a.add(r * stride), to, n * bytes);
                    }
                }
                (Bring::Widen, [Some(a), _]) => {
                    self.moves.widen((dst.cast(), c), (a, stride), rows, n);
                }
                (Bring::Pair, sides) => {
                    self.moves.pair((dst.cast(), c), (sides, stride), rows, n);
                }
                (_, [None, _]) => std::ptr::write_bytes(dst, 0, rows * n * brought),
            }
        }
    }
}
