"""Peak memory of `linnet transcribe` on a long recording against a short one.

    python benchmarks/memory.py [--hours 3] [--model digits]

Both recordings repeat examples/digits-long.flac; each run is its own process, measured by the operating system.
Asked: 3 hours take at most 300 MB more than 5 minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits-long.flac"


def make_recording(path: Path, seconds: float) -> None:
    """Write `seconds` of the example, over and over."""
    samples, rate = soundfile.read(EXAMPLE, dtype="int16")
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as sound:
        left = round(seconds * rate)
        while left > 0:
            sound.write(samples[:left].astype(np.int16))
            left -= len(samples)


def run(path: Path, model: str) -> tuple[float, float, int]:
    """Transcribe in a child process: seconds, peak resident MB, words."""
    output = path.with_suffix(".txt")
    begun = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "linnet", "transcribe", str(path), "--model", model, "--output", str(path.parent)],
        os.environ,
    )
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"linnet transcribe ended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024, len(output.read_text().split())


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--model", default="digits")
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in (("5 minutes", 300.0), (f"{options.hours:g} hours", options.hours * 3600)):
            path = Path(folder) / f"{seconds:.0f}.wav"
            make_recording(path, seconds)
            taken, peak, words = run(path, options.model)
            peaks.append(peak)
            print(f"{name:>10}: peak {peak:7.1f} MB, {taken:6.1f} s, RTFx {seconds / taken:6.1f}, {words} words")
            path.unlink()
    print(f"difference: {peaks[1] - peaks[0]:.1f} MB (asked: at most 300)")


if __name__ == "__main__":
    main()
