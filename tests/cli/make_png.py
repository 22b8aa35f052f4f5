#!/usr/bin/env python3
"""Writes a grey PNG whose header claims a size.

    make_png.py FILE WIDTH HEIGHT [CLAIMED_WIDTH CLAIMED_HEIGHT]
"""

import struct
import sys
import zlib


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def main(path, width, height, claimed_width=None, claimed_height=None):
    header = struct.pack(
        ">IIBBBBB", int(claimed_width or width), int(claimed_height or height), 8, 0, 0, 0, 0
    )
    rows = (b"\0" + b"\x80" * int(width)) * int(height)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
        file.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
