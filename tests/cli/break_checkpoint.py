#!/usr/bin/env python3
"""Makes a copy of a checkpoint with one thing wrong.

    break_checkpoint.py DAMAGE SOURCE COPY

What the damage leaves alone is linked, so that a copy costs one shard at most. `--list` names the
damages.
"""

import json
import struct
import sys
from pathlib import Path

INDEX = "model.safetensors.index.json"
# The last and smallest shard. It holds text layer 5 and the head.
SHARD = "model-00003-of-00003.safetensors"
VISION_SHARD = "model-00001-of-00003.safetensors"
LINEAR = "model.language_model.layers.5.self_attn.q_proj.weight"
RECTANGLE = "model.language_model.layers.5.mlp.down_proj.weight"
VISION = "model.visual.merger.linear_fc1.weight"
BF16_NAN, BF16_INF = 0x7FC0, 0x7F80

DAMAGES = {}


def damage(function):
    DAMAGES[function.__name__.replace("_", "-")] = function
    return function


class Shard:
    """A safetensors file as header and data, so that either can contradict the other."""

    def __init__(self, path):
        self.path = path
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        self.header = json.loads(content[8 : 8 + length])
        self.data = bytearray(content[8 + length :])

    def write(self):
        header = json.dumps(self.header).encode()
        replace(self.path, struct.pack("<Q", len(header)) + header + self.data)

    def set_value(self, name, index, bits):
        begin, _ = self.header[name]["data_offsets"]
        struct.pack_into("<H", self.data, begin + 2 * index, bits)

    def remove(self, name):
        begin, end = self.header.pop(name)["data_offsets"]
        del self.data[begin:end]
        for key, entry in self.header.items():
            if key != "__metadata__" and entry["data_offsets"][0] >= end:
                entry["data_offsets"] = [at - (end - begin) for at in entry["data_offsets"]]


def replace(path, content):
    # The copy starts as links: writing through one would damage the original.
    path.unlink()
    path.write_bytes(content)


def edit_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    replace(path, json.dumps(values).encode())


def edit_shard(copy, change, name=SHARD):
    shard = Shard(copy / name)
    change(shard)
    shard.write()


def remove_from_index(copy, name):
    edit_json(copy / INDEX, lambda index: index["weight_map"].pop(name))


@damage
def none(copy):
    """A copy that works: what the damages start from."""


@damage
def truncated_shard(copy):
    content = (copy / SHARD).read_bytes()
    replace(copy / SHARD, content[:-1000])


@damage
def empty_shard(copy):
    replace(copy / SHARD, b"")


@damage
def long_header(copy):
    content = (copy / SHARD).read_bytes()
    replace(copy / SHARD, struct.pack("<Q", len(content)) + content[8:])


@damage
def pointer_shard(copy):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 6002696\n"
    replace(copy / SHARD, pointer.encode())


@damage
def overlapping_offsets(copy):
    def change(shard):
        offsets = shard.header[LINEAR]["data_offsets"]
        shard.header[LINEAR]["data_offsets"] = [at - 2 for at in offsets]

    edit_shard(copy, change)


@damage
def offsets_out_of_range(copy):
    def change(shard):
        size = len(shard.data)
        begin, end = shard.header[LINEAR]["data_offsets"]
        shard.header[LINEAR]["data_offsets"] = [size, size + end - begin]

    edit_shard(copy, change)


@damage
def offsets_backwards(copy):
    edit_shard(copy, lambda shard: shard.header[LINEAR]["data_offsets"].reverse())


@damage
def overflowing_shape(copy):
    # 2^33 * 2^33 * 2 bytes is 0 modulo 2^64.
    def change(shard):
        shard.header[LINEAR]["shape"] = [2**33, 2**33]

    edit_shard(copy, change)


@damage
def wrong_dtype(copy):
    def change(shard):
        shard.header[LINEAR]["dtype"] = "I16"

    edit_shard(copy, change)


@damage
def unknown_dtype(copy):
    def change(shard):
        shard.header[LINEAR]["dtype"] = "Q4"

    edit_shard(copy, change)


@damage
def wrong_shape(copy):
    edit_shard(copy, lambda shard: shard.header[RECTANGLE]["shape"].reverse())


@damage
def missing_tensor(copy):
    edit_shard(copy, lambda shard: shard.remove(LINEAR))
    remove_from_index(copy, LINEAR)


@damage
def shard_lacks_tensor(copy):
    edit_shard(copy, lambda shard: shard.remove(LINEAR))


@damage
def missing_shard(copy):
    (copy / SHARD).unlink()


@damage
def missing_index(copy):
    (copy / INDEX).unlink()


@damage
def index_leads_elsewhere(copy):
    def change(index):
        index["weight_map"][LINEAR] = "../" + SHARD

    edit_json(copy / INDEX, change)


@damage
def nan_weight(copy):
    edit_shard(copy, lambda shard: shard.set_value(LINEAR, 1000, BF16_NAN))


@damage
def swapped_packed_layers(copy):
    """Of a quantized checkpoint in one file."""
    def change(shard):
        attention = "model.language_model.layers.5.self_attn."
        k, v = (shard.header[attention + name + ".weight_packed"] for name in ("k_proj", "v_proj"))
        k["data_offsets"], v["data_offsets"] = v["data_offsets"], k["data_offsets"]

    edit_shard(copy, change, "model.safetensors")


@damage
def infinite_weight(copy):
    edit_shard(copy, lambda shard: shard.set_value(LINEAR, 1000, BF16_INF))


@damage
def nan_in_vision(copy):
    edit_shard(copy, lambda shard: shard.set_value(VISION, 7, BF16_NAN), VISION_SHARD)


@damage
def nan_in_head(copy):
    edit_shard(copy, lambda shard: shard.set_value("lm_head.weight", 7, BF16_NAN))


@damage
def config_not_json(copy):
    replace(copy / "config.json", b'{"architectures": [')


@damage
def config_list(copy):
    replace(copy / "config.json", b"[]")


@damage
def config_missing(copy):
    (copy / "config.json").unlink()


@damage
def other_architecture(copy):
    def change(config):
        config["architectures"] = ["LlavaForConditionalGeneration"]
        config["model_type"] = "llava"

    edit_json(copy / "config.json", change)


@damage
def config_huge_sizes(copy):
    def change(config):
        config["text_config"]["hidden_size"] = 2**62

    edit_json(copy / "config.json", change)


@damage
def tokenizer_missing(copy):
    (copy / "tokenizer.json").unlink()


@damage
def tokenizer_malformed(copy):
    content = (copy / "tokenizer.json").read_bytes()
    replace(copy / "tokenizer.json", content[: len(content) // 2])


@damage
def tokenizer_larger(copy):
    def change(tokenizer):
        tokenizer["added_tokens"].append(
            {"id": 1024, "content": "<|more|>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
        )

    edit_json(copy / "tokenizer.json", change)


@damage
def tokenizer_other_ids(copy):
    def change(tokenizer):
        swap = {"<|image_pad|>": "<|video_pad|>", "<|video_pad|>": "<|image_pad|>"}
        for token in tokenizer["added_tokens"]:
            token["content"] = swap.get(token["content"], token["content"])

    edit_json(copy / "tokenizer.json", change)


@damage
def preprocessor_missing(copy):
    (copy / "preprocessor_config.json").unlink()


@damage
def preprocessor_other(copy):
    def change(processor):
        processor["patch_size"] = 14

    edit_json(copy / "preprocessor_config.json", change)


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(DAMAGES))
        return
    if len(arguments) != 3 or arguments[0] not in DAMAGES:
        sys.exit(__doc__)
    name, source, copy = arguments[0], Path(arguments[1]).resolve(), Path(arguments[2])
    copy.mkdir()
    for file in source.iterdir():
        (copy / file.name).symlink_to(file)
    DAMAGES[name](copy)


if __name__ == "__main__":
    main(sys.argv[1:])
