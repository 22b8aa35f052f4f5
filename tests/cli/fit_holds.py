#!/usr/bin/env python3
"""Runs a model, plans the same run with `squint fit`, and compares what they say of memory.

    fit_holds.py SQUINT MODEL [IMAGE WIDTHxHEIGHT PIXELS] [WORDS] ...

IMAGE is resized to PIXELS at least. WORDS: how long the question is. Fails beyond 5 %.
"""

import json
import subprocess
import sys

ANSWER = 24
TOLERANCE = 0.05


def output(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"{command[1]} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def main(squint, model, *rest):
    rest = list(rest)
    words = int(rest.pop()) if len(rest) in (1, 4) else 20
    picture = ["--image", rest[0], "--min-pixels", rest[2]] if rest else []
    planned = ["--image", rest[1], "--min-pixels", rest[2]] if rest else []
    question = " ".join(["word"] * words)
    run = output([squint, "run", model, question, *picture, "--max-tokens", str(ANSWER),
                  "--temperature", "1", "--json"])
    # The cache has room for an answer of that length, also where the model ends it before.
    context = run["prompt_tokens"] + ANSWER
    plan = output([squint, "fit", model, *planned, "--context", str(context), "--answer",
                   str(ANSWER), "--json"])
    took, said = run["peak_memory_bytes"], plan["total_bytes"]
    parts = ", ".join(f"{part['name']} {part['bytes'] / 1e6:.1f}" for part in plan["parts"])
    print(f"{model} {' '.join(rest)}: {run['prompt_tokens']} tokens of prompt: planned "
          f"{said / 1e6:.1f} MB, took {took / 1e6:.1f} MB, {said / took - 1:+.1%} "
          f"({plan['moment']}: {parts})")
    if plan["image_tokens"] != run["image_tokens"]:
        sys.exit(f"{plan['image_tokens']} image tokens planned, {run['image_tokens']} in the run")
    if abs(said / took - 1) > TOLERANCE:
        sys.exit("further apart than 5 %")


if __name__ == "__main__":
    main(*sys.argv[1:])
