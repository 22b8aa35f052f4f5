#!/usr/bin/env python3
"""make_data.py SOURCE: copies the parts of the full test sets that travel with the repository.

SOURCE holds tiny-qwen3-vl-ocr, synthocr, calibration and goldens. Run again, it gives the same files.
"""
import json
import pathlib
import shutil
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CALIBRATION_ROWS = 128
ROW_STEP = 5  # 20 rows of each of the ten types
GOLDEN_CASES = ("line", "text", "two")


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def copy_model(source):
    for path in sorted((source / "tiny-qwen3-vl-ocr").iterdir()):
        copy(path, ROOT / "models/reader" / path.name)


def copy_benchmark(source):
    rows = json.loads((source / "synthocr/OCRBench.json").read_text())[::ROW_STEP]
    target = ROOT / "data/synthocr"
    for row in rows:
        copy(source / "synthocr/images" / row["image_path"], target / "images" / row["image_path"])
    (target / "OCRBench.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    predictions = json.loads((source / "goldens/predictions-synthocr-fp32.json").read_text())
    (ROOT / "tests/golden/data").mkdir(parents=True, exist_ok=True)
    (ROOT / "tests/golden/data/predictions-fp32.json").write_text(
        json.dumps(predictions[::ROW_STEP], ensure_ascii=False) + "\n")


def copy_calibration(source):
    lines = (source / "calibration/calibration.jsonl").read_text().splitlines()[:CALIBRATION_ROWS]
    target = ROOT / "data/calibration"
    for line in lines:
        for message in json.loads(line)["messages"]:
            for part in message["content"]:
                if part["type"] == "image":
                    copy(source / "calibration" / part["image"], target / part["image"])
    (target / "calibration.jsonl").write_text("\n".join(lines) + "\n")


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length:]
    return {name: (info["dtype"], info["shape"], body[slice(*info["data_offsets"])])
            for name, info in header.items()}


def write_safetensors(path, tensors):
    header, at = {}, 0
    # Widest types first, so that every tensor is aligned.
    order = sorted(tensors, key=lambda name: (tensors[name][0] == "U8", name))
    for name in order:
        dtype, shape, data = tensors[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensors[n][2] for n in order))


def as_bytes(pixels):
    """Normalised pixels back to the 8-bit values they were made from: y = (x - 127.5) / 127.5."""
    values = struct.unpack("<%df" % (len(pixels) // 4), pixels)
    return bytes(round(v * 127.5 + 127.5) for v in values)


def copy_goldens(source):
    target = ROOT / "tests/golden/data"
    target.mkdir(parents=True, exist_ok=True)
    cases = json.loads((source / "goldens/model/cases.json").read_text())
    kept = {name: cases[name] for name in GOLDEN_CASES}
    (target / "cases.json").write_text(json.dumps(kept, indent=1) + "\n")
    for name, case in kept.items():
        tensors = read_safetensors(source / "goldens/model" / f"{name}.safetensors")
        if "pixel_values" in tensors:
            _, shape, data = tensors.pop("pixel_values")
            tensors["pixel_values_u8"] = ("U8", shape, as_bytes(data))
        if name == "two":  # Inner values of a block are in the other cases.
            tensors = {key: value for key, value in tensors.items()
                       if not key.startswith(("text.attention.", "text.mlp."))}
        write_safetensors(target / f"{name}.safetensors", tensors)
        for image in case["images"]:
            copy(source / "goldens/model" / image, target / image)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    copy_model(source)
    copy_benchmark(source)
    copy_calibration(source)
    copy_goldens(source)


if __name__ == "__main__":
    main()
