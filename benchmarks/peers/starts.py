"""From nothing to the first text: conversion at first use, and later starts of the command line."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits-en.flac"
STARTS = 3


def first_text(cache: Path, threads: int) -> float:
    """Seconds from starting `linnet transcribe` with the embedded model to the first byte on its stdout."""
    environment = {**os.environ, "LINNET_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "linnet", "transcribe", str(EXAMPLE), "--model", "digits", "--language", "en"]
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, bufsize=0
    ) as process:
        assert process.stdout is not None
        text = process.stdout.read(1)
        taken = time.perf_counter() - begun
        process.stdout.read()
    if not text:
        raise SystemExit("linnet transcribe printed no text")
    return taken


def measure(folder: Path, threads: int) -> dict[str, Any]:
    """Of `digits`: the first start, which converts it, and the median of later ones."""
    cache = folder / "first-use"
    shutil.rmtree(cache, ignore_errors=True)
    first, *later = [first_text(cache, threads) for _ in range(1 + STARTS)]
    return {"first": first, "later": statistics.median(later), "all_later": later}
