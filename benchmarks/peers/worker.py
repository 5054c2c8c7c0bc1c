"""One runtime in one process and its own virtual environment, told by JSON lines on stdin what to do.

    python worker.py '{"system": "faster_whisper", "do": "convert", "settings": {...}}'
    python worker.py '{"system": "faster_whisper", "do": "serve", "settings": {...}}'

`serve` loads the model, says so, and then transcribes: {"recording": "x.npy", "seconds": 30} gives
{"seconds": 1.2, "tokens": [90], "peak_mb": 800}. {"recording": "x.npy", "calls": [[[0, 16000]], ...]} makes one call
for each list of stretches (of samples) and gives {"seconds": [0.1, ...], "texts": [["..."], ...], "peak_mb": 800}.
The module systems/NAME.py has `prepare(**settings)`, which returns a function from samples to the tokens of each window
(for `calls`: from a list of samples to a list of texts), and `convert(**settings)` where its own layout is needed.
It needs no Linnet, since it also runs where that is not installed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

RATE = 16_000


def peak_mb() -> float:
    """The most memory that this process ever held resident."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def versions(packages: list[str]) -> dict[str, str]:
    """Of the packages that are there."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def serve(module: Any, settings: dict[str, Any], replies: TextIO) -> None:
    """Load, then answer one line with another until stdin ends."""
    import numpy as np

    def say(**reply: Any) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    begun = time.perf_counter()
    run = module.prepare(**settings)
    say(load_seconds=time.perf_counter() - begun, versions=versions(module.PACKAGES))
    for line in sys.stdin:
        order = json.loads(line)
        if "calls" in order:
            say(**each_call(run, np.load(order["recording"], mmap_mode="r"), order["calls"]))
            continue
        samples = np.load(order["recording"])[: round(order["seconds"] * RATE)]
        begun, cpu = time.perf_counter(), time.process_time()
        tokens = run(samples)
        taken, used = time.perf_counter() - begun, time.process_time() - cpu
        say(seconds=taken, cpu_seconds=used, tokens=tokens, peak_mb=peak_mb())


def each_call(run: Any, samples: Any, calls: list[list[list[int]]]) -> dict[str, Any]:
    """One call of the runtime for each list of stretches: its seconds and texts."""
    import numpy as np

    seconds, texts = [], []
    for stretches in calls:
        parts = [np.array(samples[start:end]) for start, end in stretches]
        begun = time.perf_counter()
        texts.append(run(parts))
        seconds.append(time.perf_counter() - begun)
    return {"seconds": seconds, "texts": texts, "peak_mb": peak_mb()}


def main() -> None:
    """Whatever the runtime itself prints goes to stderr; stdout carries the replies."""
    order = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        module = importlib.import_module(f"systems.{order['system']}")
        if order["do"] == "convert":
            begun = time.perf_counter()
            module.convert(**order["settings"])
            reply = {"seconds": time.perf_counter() - begun, "versions": versions(module.PACKAGES)}
            print(json.dumps(reply), file=replies, flush=True)
        else:
            serve(module, order["settings"], replies)
    except Exception as error:  # noqa: BLE001 - it becomes the reason in the table
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=replies, flush=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
