#!/usr/bin/env python3
"""Makes the fashion_mini data set: a small, class-balanced part of Fashion-MNIST.

Usage: make.py [FOLDER_OF_FASHION_MNIST [OUTPUT_FOLDER]]

The input folder holds the four gzip'd idx files of Fashion-MNIST; by default it is where Debian's package
`dataset-fashion-mnist` puts them. The output goes next to this script by default.

Rule: of each class the first 500 images of the training split and the first 100 of the test split, kept in
file order. The output has the same bytes on every run of one zlib (gzip level 9, time stamp 0, no file name).
Only Python's standard library is needed.
"""

import gzip
import hashlib
import struct
import sys
import zlib
from pathlib import Path

CLASSES = 10
SPLITS = [("train", 500), ("t10k", 100)]


def read_idx(path, dims):
    raw = gzip.decompress(path.read_bytes())
    zero, kind, rank = struct.unpack(">HBB", raw[:4])
    if (zero, kind, rank) != (0, 8, dims):
        sys.exit(f"{path}: not an idx file of unsigned bytes with {dims} dimension(s)")
    shape = struct.unpack(f">{dims}I", raw[4 : 4 + 4 * dims])
    body = raw[4 + 4 * dims :]
    size = 1
    for n in shape:
        size *= n
    if len(body) != size:
        sys.exit(f"{path}: {len(body)} bytes of data where the header promises {size}")
    return shape, body


def write_idx(path, shape, body):
    raw = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + body
    # gzip by hand: versions of Python differ in one byte of the header (the operating system) that gzip.compress writes.
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 255])
    data = head + deflate.compress(raw) + deflate.flush() + struct.pack("<II", zlib.crc32(raw), len(raw))
    path.write_bytes(data)
    print(f"{hashlib.sha256(data).hexdigest()}  {path.name}")


def main():
    here = Path(__file__).resolve().parent
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("/usr/share/datasets/fashion-mnist")
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else here
    for split, per_class in SPLITS:
        (count, height, width), pixels = read_idx(source / f"{split}-images-idx3-ubyte.gz", 3)
        (label_count,), labels = read_idx(source / f"{split}-labels-idx1-ubyte.gz", 1)
        if count != label_count:
            sys.exit(f"{split}: {count} images but {label_count} labels")
        taken = [0] * CLASSES
        keep = []
        for i, label in enumerate(labels):
            if taken[label] < per_class:
                taken[label] += 1
                keep.append(i)
        if taken != [per_class] * CLASSES:
            sys.exit(f"{split}: too few images of some class: {taken}")
        size = height * width
        images = b"".join(pixels[i * size : (i + 1) * size] for i in keep)
        write_idx(target / f"{split}-images-idx3-ubyte.gz", (len(keep), height, width), images)
        write_idx(target / f"{split}-labels-idx1-ubyte.gz", (len(keep),), bytes(labels[i] for i in keep))


if __name__ == "__main__":
    main()
