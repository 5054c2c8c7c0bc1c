"""Real transcribed clips as one file of samples: with pauses between them as a recording, or one after the other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
SHORT = (5.0, 15.0)  # seconds of a short clip
PAUSES = (0.2, 0.4, 0.8, 1.5, 4.0)  # seconds
HUM = 1e-3  # of the noise in a pause


@dataclass(frozen=True)
class Sound:
    """Samples on disk, and the stretches of them that have these texts."""

    path: Path
    stretches: tuple[tuple[int, int], ...]
    texts: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of the stretches."""
        return sum(end - start for start, end in self.stretches) / RATE


def recording(folder: Path, data: Path, sets: list[str], minutes: float, seed: int) -> Sound:
    """One stretch of about so many minutes: clips in random order with pauses of quiet noise."""
    random = np.random.default_rng(seed)
    rows, parts, texts, have = _rows(data, sets), [], [], 0
    for index in random.permutation(len(rows)):
        pause = random.normal(0, HUM, round(random.choice(PAUSES) * RATE)).astype(np.float32)
        parts += [pause, _read(rows[index]["path"])]
        texts.append(rows[index]["text"])
        have += sum(len(part) for part in parts[-2:])
        if have >= 60 * minutes * RATE:
            break
    return _save(folder / f"recording-{minutes:g}-{seed}.npy", [np.concatenate(parts)], [" ".join(texts)])


def clips(folder: Path, data: Path, sets: list[str], minutes: float, seed: int) -> Sound:
    """About so many minutes of clips of 5 to 15 s, each its own stretch."""
    rows = [row for row in _rows(data, sets) if SHORT[0] <= row["duration"] <= SHORT[1]]
    parts, texts, have = [], [], 0.0
    for index in np.random.default_rng(seed).permutation(len(rows)):
        parts.append(_read(rows[index]["path"]))
        texts.append(rows[index]["text"])
        have += len(parts[-1]) / RATE
        if have >= 60 * minutes:
            break
    return _save(folder / f"clips-{minutes:g}-{seed}.npy", parts, texts)


def _rows(data: Path, sets: list[str]) -> list[dict[str, Any]]:
    found = []
    for name in sets:
        lines = (data / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        found += [{**row, "path": data / name / row["audio"]} for row in map(json.loads, lines)]
    return [row for row in found if row["text"] and row["language"] == "en"]


def _read(path: Path) -> Any:
    from linnet.audio import load

    return load(path).samples


def _save(path: Path, parts: list[Any], texts: list[str]) -> Sound:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.concatenate(parts))
    edges = np.cumsum([0, *map(len, parts)]).tolist()
    return Sound(path, tuple(pairwise(edges)), tuple(texts))
