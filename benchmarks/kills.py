"""`linnet transcribe` killed (kill -9) at many moments: what is there is whole, and a last run makes the same texts.

    python benchmarks/kills.py --kills 100 --work build/kills

A folder of short recordings and a long one are transcribed by `digits` into a folder; the process is killed after a
random time, again and again, each time with --skip-existing. After each kill every transcript that is there must be
that of a run without a break. A last run that is left alone must make all of them, and leave no draft and no journal.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

from linnet.audio import load

ROOT = Path(__file__).resolve().parents[1]
RATE = 16_000
FORMATS = ("txt", "srt", "json")


def make_recordings(folder: Path, *, short: int, minutes: float) -> None:
    """Copies of the example under other names, and one long recording of them."""
    folder.mkdir(parents=True)
    sounds = [load(path).samples for path in sorted((ROOT / "examples").glob("digits-??.flac"))]
    for number in range(short):
        soundfile.write(folder / f"short-{number:03d}.flac", sounds[number % len(sounds)], RATE)
    parts, count = [], 0
    while count < minutes * 60 * RATE:
        parts += [sounds[len(parts) % len(sounds)], np.zeros(RATE, np.float32)]
        count += len(parts[-2]) + RATE
    soundfile.write(folder / "long.flac", np.concatenate(parts), RATE)


def begin(folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """The command, in its own process group."""
    command = [sys.executable, "-m", "linnet", "transcribe", str(folder), "--model", "digits", "--output", str(output)]
    options = ["--format", ",".join(FORMATS), "--skip-existing", "--quiet"]
    return subprocess.Popen([*command, *options], start_new_session=True)


def transcripts(output: Path) -> dict[str, str]:
    """Every transcript that is there."""
    found = (path for path in output.glob("*") if path.suffix[1:] in FORMATS)
    return {path.name: path.read_text(encoding="utf-8") for path in found}


def main() -> int:
    """Kill, look, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--short", type=int, default=40, help="short recordings")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the long recording")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("build/kills"))
    given = parser.parse_args()
    shutil.rmtree(given.work, ignore_errors=True)
    make_recordings(given.work / "in", short=given.short, minutes=given.minutes)
    started = time.monotonic()
    if begin(given.work / "in", given.work / "whole").wait():
        raise SystemExit("the run without a break failed")
    whole, took = transcripts(given.work / "whole"), time.monotonic() - started
    chance, faults, rounds, output = random.Random(given.seed), 0, 0, given.work / "out"
    for kill in range(1, given.kills + 1):
        process = begin(given.work / "in", output)
        time.sleep(chance.uniform(0.0, took))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        there = transcripts(output) if output.is_dir() else {}
        wrong = sorted(name for name, text in there.items() if whole.get(name) != text)
        faults += len(wrong)
        if wrong or kill % 10 == 0:
            print(f"kill {kill}: {len(there)} of {len(whole)} there, {len(wrong)} wrong {wrong[:3]}", flush=True)
        if len(there) == len(whole):  # all is done: from the start again
            rounds += 1
            shutil.rmtree(output)
    status = begin(given.work / "in", output).wait()
    left = [path.name for path in output.iterdir() if path.name.endswith((".tmp", "-journal"))]
    same = transcripts(output) == whole
    print(
        f"{given.kills} kills, {rounds} times done in spite of them, {faults} wrong transcripts; "
        f"the last run: status {status}, {'the same transcripts' if same else 'OTHER transcripts'}, left over: {left}"
    )
    return int(bool(faults or status or not same or left))


if __name__ == "__main__":
    sys.exit(main())
