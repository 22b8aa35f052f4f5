#!/usr/bin/env python3
"""Proves that includes only point downward (docs/architecture.md): prints each line that does not."""
import pathlib
import re
import sys

RANKS = {
    "base": 0,
    "core": 1,
    "ops": 2, "io": 2, "text": 2, "image": 2,
    "models": 3, "backends": 3, "hub": 3,
    "runtime": 4, "quantize": 4, "machine": 4,
    "eval": 5, "bench": 5,
    "cli": 6,
}
# The public headers, each a part of the room that implements it.
FACE = {
    "error": "base", "version": "base", "backend": "backends", "engine": "runtime",
    "quantize": "quantize", "inspect": "quantize", "verify": "quantize", "divergence": "quantize",
    "doctor": "machine", "pull": "hub", "evaluate": "eval", "ocrbench": "eval", "compare": "eval",
    "fit": "runtime", "bench": "bench",
}
# Rooms that only an embedding program may see: they are handed down by reference.
HANDED_DOWN = {"backends"}

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def room_of_file(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] == "include":
        return FACE.get(path.stem)
    return parts[1] if parts[0] == "src" else parts[0]


def room_of_include(text):
    first, _, rest = text.partition("/")
    if first == "squint":
        return FACE.get(rest.removesuffix(".h"))
    return first if rest else None


def problem(source, target, text):
    if target is None or target == source:
        return None
    if source == "cli":
        return None if text.startswith("squint/") else "the command line goes through include/squint"
    if target not in RANKS:
        return f"unknown room {target}"
    if source == "backends" and target == "ops":
        return None
    if text == "squint/backend.h":  # names the type, opens nothing
        return None
    if target in HANDED_DOWN:
        return f"{target} is handed down by reference, never included"
    if RANKS[target] >= RANKS[source]:
        return f"{source} (rank {RANKS[source]}) may not see {target} (rank {RANKS[target]})"
    return None


def main():
    bad = 0
    files = [p for folder in ("include", "src", "cli") for p in sorted((ROOT / folder).rglob("*"))
             if p.suffix in {".h", ".cpp", ".cu", ".cuh"}]
    for path in files:
        source = room_of_file(path)
        if source not in RANKS:
            print(f"{path.relative_to(ROOT)}: belongs to no room; add it to {pathlib.Path(__file__).name}")
            bad += 1
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = room_of_include(match[1])
            if source == "cli" and target is None:
                continue  # its own headers
            why = problem(source, target, match[1])
            if why:
                print(f"{path.relative_to(ROOT)}:{number}: {line.strip()}: {why}")
                bad += 1
    print(f"{len(files)} files, {bad} includes point the wrong way")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
