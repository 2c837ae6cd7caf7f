//! Records of a TFRecord file: length, its checksum, the bytes, their checksum.

use std::io::{self, Write};

/// Writes one record.
///
/// # Errors
/// As the writer.
pub fn write(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_crc(data).to_le_bytes())
}

/// The records of a file up to the first that is cut off or damaged, and whether the file ends with a whole one.
pub fn read(mut bytes: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let Some((data, rest)) = split(bytes) else {
            return (records, false);
        };
        records.push(data);
        bytes = rest;
    }
    (records, true)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<8>()?;
    let (length_crc, bytes) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*length_crc) != masked_crc(length) {
        return None;
    }
    let (data, bytes) =
        bytes.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*crc) == masked_crc(data)).then_some((data, rest))
}

/// CRC-32C, rotated and offset, so that the checksum of data that holds checksums is not a trivial one.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_damage_ends_them() {
        let mut file = Vec::new();
        for data in [&b"brain.Event:2"[..], b"", b"\x00\x01"] {
            write(&mut file, data).unwrap();
        }
        let whole: Vec<&[u8]> = vec![b"brain.Event:2", b"", b"\x00\x01"];
        assert_eq!(read(&file), (whole.clone(), true));
        assert_eq!(read(&file[..file.len() - 1]), (whole[..2].to_vec(), false));
        let mut damaged = file.clone();
        damaged[14] ^= 1;
        assert_eq!(read(&damaged), (vec![], false));
    }

    #[test]
    fn the_frame_is_tensorflows() {
        // `tf.io.TFRecordWriter` writes these bytes for the record "abc".
        let mut file = Vec::new();
        write(&mut file, b"abc").unwrap();
        assert_eq!(file[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file[12..15], *b"abc");
        // CRC-32C of "123456789" is the check value of the polynomial's catalogue.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
