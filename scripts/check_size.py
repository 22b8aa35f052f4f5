#!/usr/bin/env python3
"""Counts the bytes of all tracked files: a small clone is part of the product."""
import os
import pathlib
import subprocess
import sys

LIMIT = 48_000_000
ROOT = pathlib.Path(__file__).resolve().parent.parent

listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
if listed.returncode != 0:
    print("skipped: not a git checkout")
    sys.exit(77)  # what ctest counts as skipped
sizes = {name: os.lstat(ROOT / name).st_size
         for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()}
total = sum(sizes.values())
print(f"{len(sizes)} tracked files, {total / 1e6:.1f} MB of {LIMIT / 1e6:.0f} MB")
if total > LIMIT:
    for name in sorted(sizes, key=sizes.get, reverse=True)[:10]:
        print(f"  {sizes[name] / 1e6:6.1f} MB  {name}")
    sys.exit(1)
