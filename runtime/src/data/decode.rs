//! Image files to pixels, and pixels from one layout or channel count to another.

use super::split::ImageRef;
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageReader, Limits,
};
use std::borrow::Cow;
use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Bytes [H, W, C] of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    pub bytes: Vec<u8>,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// Why a file gave no image.
#[derive(Debug)]
pub enum ImageFailure {
    /// The file could not be read at all.
    Access(io::Error),
    /// Its content is no image of a known format, or is damaged.
    Damaged(String),
}

impl fmt::Display for ImageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageFailure::Access(e) => e.fmt(f),
            ImageFailure::Damaged(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for ImageFailure {
    fn from(e: io::Error) -> ImageFailure {
        ImageFailure::Access(e)
    }
}

fn explain(e: &ImageError) -> String {
    match e {
        ImageError::Unsupported(_) => {
            "it is no PNG, JPEG, WebP, GIF or BMP that can be read".to_owned()
        }
        ImageError::Limits(_) => "it is too large".to_owned(),
        e => e.to_string(),
    }
}

/// Runs a decoder; should it panic on a malformed file, the file counts as damaged.
fn guarded<T>(f: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageFailure> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(v)) => Ok(v),
        Ok(Err(e)) => Err(ImageFailure::Damaged(explain(&e))),
        Err(_) => Err(ImageFailure::Damaged(
            "the decoder gave up on it".to_owned(),
        )),
    }
}

/// Memory that decoding one image after another keeps using.
#[derive(Debug, Default)]
pub struct DecodeBuffer {
    /// The file as it is.
    file: Vec<u8>,
    /// The pixels of the last image, [H, W, C].
    pub(super) pixels: Vec<u8>,
}

/// A file of more bytes is no image that anyone trains on.
const MOST_BYTES: u64 = 1 << 30;
/// An image of more pixels is refused by its header, before memory is taken for it; Pillow draws the line at the same number.
const MOST_PIXELS: u64 = 2 * 89_478_485;
/// Images up to this size are decoded into memory that is kept.
const KEPT: u64 = 1 << 28;

/// Reads an image file as 1 or 3 channels: its format is told by its content, alpha is dropped, of an animation the first
/// picture is taken, and the camera's orientation (EXIF) is applied.
pub fn read_image(path: &Path, channels: usize) -> Result<Pixels, ImageFailure> {
    let mut buffer = DecodeBuffer::default();
    let (height, width) = read_image_into(path, channels, &mut buffer)?;
    Ok(Pixels {
        bytes: buffer.pixels,
        height,
        width,
        channels,
    })
}

/// As [`read_image`], with the pixels in `buffer`. Returns height and width.
pub(super) fn read_image_into(
    path: &Path,
    channels: usize,
    buffer: &mut DecodeBuffer,
) -> Result<(usize, usize), ImageFailure> {
    let DecodeBuffer { file, pixels } = buffer;
    read_file(path, file)?;
    decode(file, channels, pixels)
}

/// Reads a file that can be an image: no pipe, no device, not empty, not of gigabytes.
fn read_file(path: &Path, file: &mut Vec<u8>) -> Result<(), ImageFailure> {
    check_file(path)?;
    file.clear();
    File::open(path)?.take(MOST_BYTES).read_to_end(file)?;
    Ok(())
}

fn check_file(path: &Path) -> Result<(), ImageFailure> {
    let about = fs::metadata(path)?;
    let damaged = |why: String| Err(ImageFailure::Damaged(why));
    if !about.is_file() {
        return damaged("it is no file".to_owned());
    }
    match about.len() {
        0 => damaged("it is empty".to_owned()),
        n if n > MOST_BYTES => damaged(format!("it has {n} bytes, more than 1 GiB")),
        _ => Ok(()),
    }
}

fn check_pixels(width: u32, height: u32) -> Result<(), ImageFailure> {
    let damaged = |why: String| Err(ImageFailure::Damaged(why));
    match u64::from(width) * u64::from(height) {
        0 => damaged("it has no pixels".to_owned()),
        n if n > MOST_PIXELS => damaged(format!(
            "it claims {width} by {height} pixels, too many for one image"
        )),
        _ => Ok(()),
    }
}

/// What a file says of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// As it is seen, the camera's orientation applied.
    pub height: usize,
    pub width: usize,
    /// How colour is stored: `RGB`, `gray`, `RGBA`, …
    pub mode: String,
    pub turned: bool,
    /// Of size and pixels: equal for equal images.
    pub hash: u64,
}

fn mode(color: ExtendedColorType) -> String {
    let name = match color {
        ExtendedColorType::L1 | ExtendedColorType::L2 | ExtendedColorType::L4 => {
            "gray, below 8 bits"
        }
        ExtendedColorType::L8 => "gray",
        ExtendedColorType::La8 => "gray with alpha",
        ExtendedColorType::L16 => "gray, 16 bits",
        ExtendedColorType::La16 => "gray with alpha, 16 bits",
        ExtendedColorType::Rgb8 => "RGB",
        ExtendedColorType::Rgba8 => "RGBA",
        ExtendedColorType::Rgb16 => "RGB, 16 bits",
        ExtendedColorType::Rgba16 => "RGBA, 16 bits",
        ExtendedColorType::Cmyk8 => "CMYK",
        other => return format!("{other:?}"),
    };
    name.to_owned()
}

fn hash(pixels: &[u8], height: usize, width: usize) -> u64 {
    // With fixed keys, so that it is the same each time.
    let mut hasher = DefaultHasher::new();
    (height, width, pixels).hash(&mut hasher);
    hasher.finish()
}

/// Decodes a file and says what it holds.
pub(super) fn examine(path: &Path, buffer: &mut DecodeBuffer) -> Result<Facts, ImageFailure> {
    let (height, width) = read_image_into(path, 3, buffer)?;
    let (color, orientation) = guarded(|| {
        let mut decoder = ImageReader::new(Cursor::new(&buffer.file))
            .with_guessed_format()?
            .into_decoder()?;
        Ok((decoder.original_color_type(), decoder.orientation()?))
    })?;
    Ok(Facts {
        height,
        width,
        mode: mode(color),
        turned: orientation != Orientation::NoTransforms,
        hash: hash(&buffer.pixels, height, width),
    })
}

/// What there is to say of an image that came from no file of its own.
pub(super) fn facts_of(image: &ImageRef<'_>) -> Facts {
    Facts {
        height: image.height,
        width: image.width,
        mode: if image.channels == 1 { "gray" } else { "RGB" }.to_owned(),
        turned: false,
        hash: hash(&image.pixels, image.height, image.width),
    }
}

/// Whether a JPEG goes on to its end marker. The decoder fills up what is missing with gray.
fn cut_off(file: &[u8]) -> bool {
    if !file.starts_with(&[0xff, 0xd8]) {
        return false;
    }
    let mut at = 2;
    while let Some(skip) = file
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| *b == 0xff))
    {
        at += skip + 1;
        let Some(marker) = file.get(at) else {
            return true;
        };
        match marker {
            0xd9 => return false,
            // Stuffing, filling, a restart: no segment follows.
            0x00 | 0xff | 0xd0..=0xd7 | 0x01 => {}
            _ => match file.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return true,
            },
        }
    }
    true
}

/// Decodes the content of an image file, as [`read_image`] does, into `buffer`.
///
/// # Errors
/// [`ImageFailure::Damaged`].
pub fn decode_image<'a>(
    file: &[u8],
    channels: usize,
    buffer: &'a mut DecodeBuffer,
) -> Result<ImageRef<'a>, ImageFailure> {
    let (height, width) = decode(file, channels, &mut buffer.pixels)?;
    Ok(ImageRef {
        pixels: Cow::Borrowed(&buffer.pixels),
        height,
        width,
        channels,
    })
}

fn decode(
    file: &[u8],
    channels: usize,
    pixels: &mut Vec<u8>,
) -> Result<(usize, usize), ImageFailure> {
    if cut_off(file) {
        return Err(ImageFailure::Damaged("it is cut off".to_owned()));
    }
    let mut decoder = guarded(|| {
        ImageReader::new(Cursor::new(file))
            .with_guessed_format()?
            .into_decoder()
    })?;
    let (width, height) = decoder.dimensions();
    check_pixels(width, height)?;
    let (height, width) = guarded(|| {
        // As `ImageReader::decode` does: a header may claim any size.
        let mut limits = Limits::default();
        limits.reserve(decoder.total_bytes())?;
        decoder.set_limits(limits)?;
        let orientation = decoder.orientation()?;
        let as_wanted = matches!(
            (decoder.color_type(), channels),
            (ColorType::Rgb8, 3) | (ColorType::L8, 1)
        );
        let bytes = decoder.total_bytes();
        if orientation == Orientation::NoTransforms && as_wanted && bytes <= KEPT {
            let (width, height) = decoder.dimensions();
            pixels.resize(bytes as usize, 0);
            decoder.read_image(pixels)?;
            return Ok((height as usize, width as usize));
        }
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        let size = (image.height() as usize, image.width() as usize);
        *pixels = if image.color().has_color() {
            convert_channels(image.into_rgb8().into_raw(), 3, channels)
        } else {
            convert_channels(image.into_luma8().into_raw(), 1, channels)
        };
        Ok(size)
    })?;
    if height == 0 || width == 0 {
        return Err(ImageFailure::Damaged("it has no pixels".to_owned()));
    }
    Ok((height, width))
}

/// Reads as much of an image file as tells its format and size.
pub fn check_header(path: &Path) -> Result<(), ImageFailure> {
    check_file(path)?;
    let reader = ImageReader::open(path)?.with_guessed_format()?;
    guarded(|| reader.into_dimensions()).and_then(|(w, h)| check_pixels(w, h))
}

/// Changes the channel count of interleaved pixels: gray to colour repeats, colour to gray is ITU-R 601-2 luma in the
/// integer arithmetic of Pillow's `convert("L")`.
pub fn convert_channels(bytes: Vec<u8>, from: usize, to: usize) -> Vec<u8> {
    match (from, to) {
        (1, 3) => bytes.iter().flat_map(|v| [*v; 3]).collect(),
        (3, 1) => bytes
            .chunks_exact(3)
            .map(|p| {
                let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
                ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
            })
            .collect(),
        _ => bytes,
    }
}

/// Appends an image given as three planes of rows, [3, H, W], as [H, W, 3].
pub fn push_planes(planes: &[u8], height: usize, width: usize, out: &mut Vec<u8>) {
    let area = height * width;
    for i in 0..area {
        out.extend_from_slice(&[planes[i], planes[area + i], planes[2 * area + i]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_of_colour_is_pillows() {
        // Image.new("RGB", (1, 1), c).convert("L") for red, green, blue and a mixture.
        let rgb = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 100, 200];
        assert_eq!(convert_channels(rgb, 3, 1), [76, 150, 29, 84]);
        assert_eq!(convert_channels(vec![7, 9], 1, 3), [7, 7, 7, 9, 9, 9]);
    }

    #[test]
    fn planes_are_interleaved() {
        let mut out = Vec::new();
        push_planes(&[1, 2, 3, 4, 5, 6], 1, 2, &mut out);
        assert_eq!(out, [1, 3, 5, 2, 4, 6]);
    }
}
