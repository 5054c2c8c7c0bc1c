"""The two recordings: real speech with small pauses, and a synthetic sound like it. Mono float32 at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
PAUSE = 0.3  # seconds between clips
DIGITS = 60  # of the 3,000 single digits, how many of each round
CLIPS = (
    "jfk.flac",
    "libri-1088-134315-0000.wav",
    "common_voice_en_651325.mp3",
    "LJ002-0020.wav",
    "LJ002-0035.wav",
)

Samples = np.ndarray[Any, np.dtype[np.float32]]


def make_recordings(folder: Path, data: Path, minutes: float) -> dict[str, Path]:
    """`{"real": file, "synthetic": file}`, each of so many minutes; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"real": lambda: real(data, minutes), "synthetic": lambda: synthetic(minutes)}
    paths = {name: folder / f"{name}-{minutes:g}min.npy" for name in made}
    for name, path in paths.items():
        if not path.is_file():
            np.save(path, made[name]())
    return paths


def real(data: Path, minutes: float) -> Samples:
    """The clips and single digits of `data` in random order, again and again."""
    generator = np.random.default_rng(2026)
    wanted, parts, have = round(minutes * 60 * RATE), [], 0
    while have < wanted:
        for path in _round(data, generator):
            parts += [_read(path), np.zeros(round(PAUSE * RATE), np.float32)]
            have += len(parts[-1]) + len(parts[-2])
            if have >= wanted:
                break
    return np.concatenate(parts)[:wanted]


def _round(data: Path, generator: np.random.Generator) -> Iterator[Path]:
    digits = sorted((data / "fsdd" / "recordings").glob("*.wav"))
    chosen = [digits[index] for index in generator.choice(len(digits), DIGITS, replace=False)]
    paths = [*(data / "clips" / name for name in CLIPS), *chosen]
    return (paths[index] for index in generator.permutation(len(paths)))


def _read(path: Path) -> Samples:
    import soundfile
    import soxr

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    found: Samples = soxr.resample(samples.mean(1), rate, RATE).astype(np.float32)
    return found


def synthetic(minutes: float) -> Samples:
    """Harmonic tones of a wandering pitch with breath noise, in syllables of about a quarter of a second."""
    generator = np.random.default_rng(2026)
    count = round(minutes * 60 * RATE)
    time = np.arange(count) / RATE
    pitch = 140 + 40 * np.sin(2 * np.pi * 0.3 * time) + 15 * np.sin(2 * np.pi * 1.1 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum((np.sin(k * phase) / k for k in range(1, 12)), np.zeros(count))
    syllables = np.clip(np.sin(2 * np.pi * 4 * time + np.sin(2 * np.pi * 0.7 * time)), 0, 1)
    noise = generator.normal(0, 0.02, count)
    return (0.15 * syllables * (voice + noise) + 0.002 * generator.normal(0, 1, count)).astype(np.float32)
