#!/usr/bin/env python3
"""make_parquet_fixtures.py: writes tests/data/parquet with pyarrow (26.0.1), which only this script needs.

One table, stored in every way that squint reads, and its rows as JSON.
"""
import json
import pathlib
import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests/data/parquet"
ROWS = 20

part = pa.struct([("type", pa.string()), ("text", pa.string()), ("image", pa.binary())])
message = pa.struct([("role", pa.string()), ("content", pa.list_(part))])
SCHEMA = pa.schema([
    ("id", pa.int64()),
    ("count", pa.int32()),
    ("score", pa.float64()),
    ("share", pa.float32()),
    ("flag", pa.bool_()),
    ("name", pa.string()),
    ("code", pa.binary(3)),
    ("grid", pa.list_(pa.list_(pa.int32()))),
    ("tags", pa.map_(pa.string(), pa.int32())),
    ("messages", pa.list_(message)),
])


def png(rgb):
    """An image of one pixel."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"\0" + bytes(rgb))) + chunk(b"IEND", b""))


def messages(i):
    if i % 7 == 5:
        return None
    if i % 7 == 6:
        return []
    user = [{"type": "image", "text": None, "image": b"pixels of %d" % i},
            {"type": "text", "text": f"what is {i}?", "image": None}]
    answer = [{"type": "text", "text": f"a {'very ' * (i % 4)}long answer {i}", "image": None}]
    return [{"role": "user", "content": user[i % 3 == 0:]},
            {"role": "assistant", "content": answer if i % 5 else None}]


def row(i):
    return {
        "id": i * 1000003 - 5,
        "count": None if i % 4 == 1 else (-1) ** i * (2 ** 31 - 1 - i),
        "score": i / 8 - 1,
        "share": None if i % 6 == 2 else i / 4,
        "flag": None if i % 5 == 3 else i % 3 == 0,
        "name": [None, "", "prefix of a name", "prefix of a longer name", "ünïcode"][i % 5],
        "code": b"abc" if i % 2 else b"abd",
        "grid": [None, [], [[]], [[1, None], None, [i]], [[i, i + 1, i + 2]]][i % 5],
        "tags": None if i % 3 == 2 else [(f"k{k}", k * i) for k in range(i % 3)],
        "messages": messages(i),
    }


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, tuple):
        return {"key": value[0], "value": value[1]}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def main():
    ROOT.mkdir(exist_ok=True)
    rows = [row(i) for i in range(ROWS)]
    (ROOT / "rows.json").write_text(json.dumps([plain(r) for r in rows], ensure_ascii=False) + "\n")
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    leaf = "messages.list.element.content.list.element."
    deltas = {"id": "DELTA_BINARY_PACKED", "count": "DELTA_BINARY_PACKED", "name": "DELTA_BYTE_ARRAY",
              "flag": "RLE", leaf + "text": "DELTA_LENGTH_BYTE_ARRAY", leaf + "type": "DELTA_BYTE_ARRAY",
              "grid.list.element.list.element": "DELTA_BINARY_PACKED", "code": "DELTA_BYTE_ARRAY"}
    small_pages = dict(data_page_size=32, write_batch_size=4)
    for name, options in {
            "dictionary-snappy": dict(compression="snappy", **small_pages),
            "fallback-gzip": dict(compression="gzip", dictionary_pagesize_limit=16, **small_pages),
            "plain-zstd-v2": dict(compression="zstd", use_dictionary=False, data_page_version="2.0",
                                  **small_pages),
            "delta-none-v2": dict(compression="none", use_dictionary=False, data_page_version="2.0",
                                  column_encoding=deltas, write_page_checksum=True),
            "brotli": dict(compression="brotli"),
            "split": dict(compression="none", use_dictionary=False,
                          column_encoding={"id": "BYTE_STREAM_SPLIT"}),
    }.items():
        few = name in ("brotli", "split")
        pq.write_table(table.slice(0, 2).select(["id", "name"]) if few else table, ROOT / f"{name}.parquet",
                       row_group_size=12, write_statistics=False, store_schema=False, **options)
    image = [{"bytes": png(rgb), "path": ""} for rgb in ((1, 2, 3), (4, 5, 6), (1, 2, 3))]
    ocrbench = {"dataset": ["IIIT5K", "SROIE", "HME100k"],
                "question": ["what is written in the image?", "total?", "formula?"],
                "question_type": ["Regular Text Recognition", "Key Information Extraction",
                                  "Handwritten Mathematical Expression Recognition"],
                "answer": [["CENTRE"], ["164", "39"], ["y_2 = - 1\n"]], "image": image}
    pq.write_table(pa.table(ocrbench), ROOT / "ocrbench.parquet", compression="snappy", row_group_size=2,
                   write_statistics=False, store_schema=False)
    chats = [{"messages": [{"content": f"spell {w}", "role": "user"},
                           {"content": " ".join(w), "role": "assistant"}]}
             for w in ("one", "two", "three", "four", "five", "six")]
    pq.write_table(pa.Table.from_pylist(chats), ROOT / "chats.parquet", write_statistics=False,
                   store_schema=False)


if __name__ == "__main__":
    main()
