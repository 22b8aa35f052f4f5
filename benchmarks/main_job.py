#!/usr/bin/env python3
"""main_job.py [--runs N] [SQUINT [DATA]]: times the main job on the full sets and writes a table.

DATA holds tiny-qwen3-vl-ocr, synthocr, calibration and llm-compressor-awq (default ../shared/data).
Every figure of speed stands beside the figure that says the result was right. Median (least to most).
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def commit():
    run = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                         text=True)
    return run.stdout.strip() or "unknown"


def timed(command):
    """Seconds, peak resident megabytes, standard output."""
    started = time.monotonic()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return time.monotonic() - started, usage.ru_maxrss / 1024, output


def spread(values, unit):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f}) {unit}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("squint", nargs="?", default=ROOT / "build/release/bin/squint")
    parser.add_argument("data", nargs="?", type=pathlib.Path, default=ROOT / "../shared/data")
    args = parser.parse_args()
    model, bench = args.data / "tiny-qwen3-vl-ocr", args.data / "synthocr"
    calibration = args.data / "calibration"
    rows = []

    def compare(other):
        seconds, _, output = timed([args.squint, "compare", model, other, "--data", bench, "--json"])
        found = json.loads(output)
        return f"KL {found['kl']:.6f}, top-1 {found['top1']:.4f}", seconds

    def score(checkpoint, folder):
        results = folder / "results.jsonl"
        results.unlink(missing_ok=True)
        seconds, peak, _ = timed([args.squint, "eval", "ocrbench", checkpoint, "--data", bench, "-o",
                                  results])
        hits = sum(json.loads(line)["hit"] for line in results.read_text().splitlines()[1:])
        return hits, seconds, peak

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        seconds, peaks = [], []
        for run in range(args.runs):
            out = folder / f"awq{run}"
            s, peak, _ = timed([args.squint, "quantize", model, "--calibration", calibration, "-o", out])
            seconds.append(s)
            peaks.append(peak)
        divergence, compare_seconds = compare(folder / "awq0")
        hits, _, _ = score(folder / "awq0", folder)
        rows.append(("quantize: AWQ + MSE, 400 rows", spread(seconds, "s"), spread(peaks, "MB"),
                     f"{divergence}, score {hits}"))
        s, peak, _ = timed([args.squint, "quantize", model, "--method", "rtn", "--observer", "minmax",
                            "-o", folder / "rtn"])
        divergence, _ = compare(folder / "rtn")
        hits, _, _ = score(folder / "rtn", folder)
        rows.append(("quantize: RTN minmax", f"{s:.1f} s", f"{peak:.1f} MB",
                     f"{divergence}, score {hits}"))
        timings, peaks = [], []
        for _ in range(args.runs):
            hits, s, peak = score(model, folder)
            timings.append(s)
            peaks.append(peak)
        rows.append(("eval ocrbench: BF16, 1000 rows, exact", spread(timings, "s"),
                     spread(peaks, "MB"), f"score {hits}"))
        rows.append(("compare: 1000 rows, two models", f"{compare_seconds:.1f} s", "", ""))
        divergence, _ = compare(args.data / "llm-compressor-awq")
        hits, _, _ = score(args.data / "llm-compressor-awq", folder)
        rows.append(("llm-compressor's AWQ folder", "", "", f"{divergence}, score {hits}"))

    lines = ["# The main job", "",
             f"Commit {commit()}; {cpu_name()}, {os.cpu_count()} cores; {args.runs} runs; "
             "median (least–most).", "",
             "| job | time | peak memory | what came out |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    text = "\n".join(lines) + "\n"
    print(text)
    target = ROOT / "benchmarks/results/main_job.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


if __name__ == "__main__":
    main()
