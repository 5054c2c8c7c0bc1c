"""Load damaged sounds in a process of its own: `python damaged_sounds.py FOLDER FIRST LAST`.

It takes the seeds FIRST to LAST - 1. Each seed picks a file of FOLDER, damages it and loads it. A line per seed says
what came of it; anything but a sound or a `LinnetError` ends the process with a traceback, so that a crash or a hang
shows its seed in the last line.
"""

from __future__ import annotations

import faulthandler
import sys
import time
from pathlib import Path

import numpy as np

from linnet.audio import load
from linnet.errors import LinnetError


def mutate(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """One kind of damage, or two."""
    result = bytearray(data)
    for _ in range(random.integers(1, 3)):
        kind = random.integers(5)
        size = len(result)
        if kind == 0:  # flipped bytes anywhere
            for at in random.integers(size, size=random.integers(1, 60)):
                result[at] = random.integers(256)
        elif kind == 1:  # cut short
            del result[random.integers(1, size) :]
        elif kind == 2:  # edits in the header, to odd values
            for at in random.integers(min(size, 128), size=random.integers(1, 12)):
                result[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.integers(256)])
        elif kind == 3:  # a piece of another file
            other = others[random.integers(len(others))]
            start, at, length = random.integers(len(other)), random.integers(size), random.integers(1, 5000)
            result[at : at + random.integers(2) * length] = other[start : start + length]
        else:  # a piece taken out
            at = random.integers(size)
            del result[at : at + random.integers(1, 3000)]
        result = result or bytearray(b"\0")
    return bytes(result)


def main(folder: str, first: int, last: int) -> None:
    files = sorted(Path(folder).iterdir())
    contents = [file.read_bytes() for file in files]
    for seed in range(first, last):
        random = np.random.default_rng(seed)
        index = seed % len(files)
        print(seed, files[index].name, end=" ", flush=True)  # noqa: T201
        start = time.perf_counter()
        try:
            result = f"{load(mutate(contents[index], contents, random)).duration:.2f} s"
        except LinnetError as error:
            result = f"{type(error).__name__}: {error}"
        print(result, f"in {time.perf_counter() - start:.3f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    faulthandler.enable()
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
