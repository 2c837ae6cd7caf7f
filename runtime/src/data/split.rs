//! The images of one split, and their labels.

use super::decode::{DecodeBuffer, Pixels};
use super::folder::Files;
use super::stl10::Records;
use sslc_grammar::diag::Diagnostic;
use std::borrow::Cow;

/// Stands in a label vector for an image whose class is not known.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// The pixels of one image: rows from the top, pixels from the left, channels innermost.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRef<'a> {
    pub pixels: Cow<'a, [u8]>,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl From<Pixels> for ImageRef<'static> {
    fn from(p: Pixels) -> ImageRef<'static> {
        ImageRef {
            pixels: Cow::Owned(p.bytes),
            height: p.height,
            width: p.width,
            channels: p.channels,
        }
    }
}

/// Images of one size in memory.
#[derive(Debug)]
pub(super) struct Memory {
    /// [N, H, W, C]
    pub bytes: Vec<u8>,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

#[derive(Debug)]
pub(super) enum Store {
    Memory(Memory),
    Records(Records),
    Files(Files),
}

/// The training or the test images of a source.
#[derive(Debug)]
pub struct Split {
    store: Store,
    len: usize,
    labels: Option<Vec<u32>>,
}

impl Split {
    pub(super) fn new(store: Store, len: usize, labels: Option<Vec<u32>>) -> Split {
        Split { store, len, labels }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The class of image `i`, where it is known.
    pub fn label(&self, i: usize) -> Option<u32> {
        self.labels
            .as_ref()
            .and_then(|l| l.get(i).copied())
            .filter(|l| *l != UNKNOWN)
    }

    /// Whether the class of every image is known.
    pub fn fully_labelled(&self) -> bool {
        self.labels
            .as_ref()
            .is_some_and(|l| l.iter().all(|l| *l != UNKNOWN))
    }

    /// The images whose class is known, in order.
    pub fn labelled(&self) -> Vec<usize> {
        (0..self.len).filter(|i| self.label(*i).is_some()).collect()
    }

    /// Height and width of all images, where they share one size.
    pub fn image_size(&self) -> Option<(usize, usize)> {
        match &self.store {
            Store::Memory(m) => Some((m.height, m.width)),
            Store::Records(r) => Some(r.size()),
            Store::Files(_) => None,
        }
    }

    /// Image `i`. A file that cannot be decoded is replaced by the next one that can (and reported by
    /// [`super::Dataset::take_late_notices`]), unless the source is strict.
    ///
    /// Errors: E0602 where a file has become unreadable, E0608 where no image can be decoded or the source is strict.
    pub fn image(&self, i: usize) -> Result<ImageRef<'_>, Diagnostic> {
        match &self.store {
            Store::Memory(m) => {
                let size = m.height * m.width * m.channels;
                Ok(ImageRef {
                    pixels: Cow::Borrowed(&m.bytes[i * size..(i + 1) * size]),
                    height: m.height,
                    width: m.width,
                    channels: m.channels,
                })
            }
            Store::Records(r) => r.image(i).map(ImageRef::from),
            Store::Files(f) => f.image(i).map(ImageRef::from),
        }
    }

    /// As [`Split::image`]; an image that is decoded lies in `buffer`.
    ///
    /// Errors: as there.
    pub fn image_in<'a>(
        &'a self,
        i: usize,
        buffer: &'a mut DecodeBuffer,
    ) -> Result<ImageRef<'a>, Diagnostic> {
        match &self.store {
            Store::Files(f) => f.image_in(i, buffer),
            Store::Memory(_) | Store::Records(_) => self.image(i),
        }
    }

    /// What to call image `i` in a message: its path, or its number.
    pub fn image_name(&self, i: usize) -> String {
        match &self.store {
            Store::Files(f) => f.name(i),
            Store::Memory(_) | Store::Records(_) => format!("image {i}"),
        }
    }

    /// A warning about image files that turned out to be damaged when they were used; each is told once.
    pub fn take_notice(&self) -> Option<Diagnostic> {
        match &self.store {
            Store::Files(f) => f.take_notice(),
            Store::Memory(_) | Store::Records(_) => None,
        }
    }
}
