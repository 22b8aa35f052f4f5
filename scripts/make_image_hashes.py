#!/usr/bin/env python3
"""Makes the fixtures of tests/data/images from a folder of reference images.

usage: make_image_hashes.py GOLDENS OUT

GOLDENS holds images/ (the files), images.json (size and grid of each), images.safetensors (FILE:rgb,
FILE:upright and FILE:patches_u8 as unsigned bytes) and smart-resize.json. OUT receives the files, a
compressed copy of the last, and expected.json with SHA-256 digests in place of the pixels.
"""

import gzip
import hashlib
import json
import pathlib
import shutil
import struct
import sys


def read_digests(path):
    """{tensor name: (shape, SHA-256 of its bytes)} of a safetensors file."""
    data = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", data)
    start = 8 + header_bytes
    digests = {}
    for name, tensor in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        if tensor["dtype"] != "U8":
            sys.exit(f"{path}: {name} is {tensor['dtype']}, expected U8")
        begin, end = tensor["data_offsets"]
        digest = hashlib.sha256(data[start + begin : start + end]).hexdigest()
        digests[name] = (tensor["shape"], digest)
    return digests


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    goldens, out = map(pathlib.Path, sys.argv[1:])
    images = json.loads((goldens / "images.json").read_text())
    digests = read_digests(goldens / "images.safetensors")
    expected = {}
    for name, image in sorted(images.items()):
        row = {"size": image["size"], "grid": image["grid_thw"]}
        for kind in ("rgb", "upright", "patches_u8"):
            if f"{name}:{kind}" in digests:
                shape, digest = digests[f"{name}:{kind}"]
                row[kind] = {"shape": shape, "sha256": digest}
        expected[name] = row
        shutil.copyfile(goldens / "images" / name, out / name)
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    table = (goldens / "smart-resize.json").read_bytes()
    (out / "smart-resize.json.gz").write_bytes(gzip.compress(table, mtime=0))


if __name__ == "__main__":
    main()
