"""Pools of recordings that were never recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet.curation.pool import LABELS, Labels, Pool
from linnet.curation.ragged import Ragged

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "zero"]


def objects(values: Sequence[Any]) -> np.ndarray:
    held = np.empty(len(values), object)
    held[:] = list(values)
    return held


def pool_of(texts: Sequence[str | None], **columns: Any) -> Pool:
    """A pool in which all is well but for the columns that are given; 12 characters a second are usual."""
    count = len(texts)
    words = [[WORDS.index(word) for word in (text or "").split() if word in WORDS] for text in texts]
    seconds = np.array([max(0.5, len(text or "") / 12) for text in texts])
    seconds = np.asarray(columns.get("duration", seconds), float)
    frames = np.nan_to_num(seconds * 50, posinf=0.0).astype(np.int32)
    labels = {name: Labels.of(columns.get(name, [None] * count)) for name in LABELS}
    hashes = np.asarray(columns.get("hashes", np.arange(count)), np.uint64)
    sketches = columns.get("sketches", np.arange(count * 64, dtype=np.uint32).reshape(count, 64))
    return Pool(
        ids=objects(columns.get("ids", [f"r{at}" for at in range(count)])),
        texts=objects(texts),
        errors=objects(columns.get("errors", [None] * count)),
        labels=labels,
        numbers={
            "duration": seconds,
            "frames": frames,
            "speech_frames": np.asarray(columns.get("speech_frames", frames), np.int32),
            "snr_db": np.asarray(columns.get("snr_db", np.full(count, 30.0)), np.float32),
            "clipped": np.asarray(columns.get("clipped", np.zeros(count)), np.float32),
            "level_db": np.full(count, -20.0, np.float32),
            "bandwidth_hz": np.full(count, 8000.0, np.float32),
            "edge_level": np.full(count, 0.1, np.float32),
            "leading_silence": np.zeros(count, np.float32),
            "trailing_silence": np.zeros(count, np.float32),
        },
        units=Ragged.from_lists(columns.get("units", [[at % 7, 9] for at in range(count)]), np.uint16),
        words=Ragged.from_lists(columns.get("words", words), np.uint32),
        phones=Ragged.from_lists(columns.get("phones", [[1, at % 5] for at in range(count)]), np.uint16),
        characters=np.asarray(columns.get("characters", [len(text or "") for text in texts]), np.int32),
        hashes=np.stack([hashes, np.zeros(count, np.uint64)], axis=1).view(np.uint8),
        hashed=np.ones(count, bool),
        sketches=np.asarray(sketches, np.uint32),
        sketched=np.ones(count, bool),
        contours=Ragged.from_lists(columns.get("contours", [[]] * count), np.uint32),
        scores={name: np.asarray(found, np.float32) for name, found in columns.get("scores", {}).items()},
    )


def random_pool(count: int, seed: int = 0, **columns: Any) -> Pool:
    """Strings of one to eight digits in two languages by ten speakers, most of them by the first."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 9))) for _ in range(count)]
    speakers = [f"s{at}" for at in rng.choice(10, size=count, p=[0.55] + [0.05] * 9)]
    units = [rng.integers(0, 40, size=rng.integers(5, 40)) for _ in range(count)]
    given = {
        "language": [("en", "de")[at] for at in rng.choice(2, size=count, p=[0.9, 0.1])],
        "speaker": speakers,
        "units": units,
        "sketches": rng.integers(0, 2**32, size=(count, 64), dtype=np.uint32),
        "scores": {"mi_raw": rng.normal(2.0, 0.3, count), "novelty": rng.random(count)},
        **columns,
    }
    return pool_of(texts, **given)
