"""Shards as the passes over sounds and texts leave them, of made-up speech: words are phones, phones are units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linnet.curation.ragged import Ragged

PHONES = 24


def write_pool(folder: Path, rows: int = 600, *, per_shard: int = 128, seed: int = 0, **columns: list[object]) -> None:
    """Write `rows` recordings in two languages; `columns` replaces some of the measured ones."""
    rng = np.random.default_rng(seed)
    spelling = [rng.integers(0, PHONES, rng.integers(2, 6)) for _ in range(80)]
    table = [_row(rng, at, spelling) for at in range(rows)]
    for at, (name, values) in ((at, item) for item in columns.items() for at in range(rows)):
        table[at][name] = values[at]
    for number, first in enumerate(range(0, rows, per_shard)):
        part = table[first : first + per_shard]
        pq.write_table(_measured(part), folder / f"measured-{number:05d}.parquet")
        pq.write_table(_spoken(part), folder / f"spoken-{number:05d}.parquet")


def _row(rng: np.random.Generator, at: int, spelling: list[np.ndarray]) -> dict[str, object]:
    language = "en" if rng.random() < 0.7 else "hi"
    said = rng.choice(80, rng.integers(2, 16), p=(weights := 1.0 / np.arange(1, 81)) / weights.sum())
    phones = np.concatenate([spelling[word] for word in said])
    units = np.repeat(phones * 4, 2) + rng.integers(0, 4, 2 * len(phones))
    runs = rng.integers(1, 6, len(units))
    return {
        "row": at,
        "duration": float(runs.sum() * 0.02 + 0.3),
        "frames": int(runs.sum() + 15),
        "language": language,
        "domain": None,
        "source": "radio" if said.max() > 20 else "books",
        "snr_db": float(rng.uniform(0, 40)),
        "units": units,
        "runs": runs,
        "words": said + 1000 * (language == "hi"),
        "phones": phones,
        "backend": "espeak",
    }


def _measured(rows: list[dict[str, object]]) -> pa.Table:
    kinds = {
        "row": pa.int64(),
        "duration": pa.float64(),
        "frames": pa.int32(),
        "language": pa.string(),
        "domain": pa.string(),
        "source": pa.string(),
        "snr_db": pa.float32(),
    }
    flat = {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    return pa.table(flat | {name: _lists(rows, name, np.uint16) for name in ("units", "runs")})


def _spoken(rows: list[dict[str, object]]) -> pa.Table:
    return pa.table(
        {
            "row": pa.array([row["row"] for row in rows], pa.int64()),
            "words": _lists(rows, "words", np.uint32),
            "phones": _lists(rows, "phones", np.uint16),
            "backend": pa.array([row["backend"] for row in rows], pa.string()),
        }
    )


def _lists(rows: list[dict[str, object]], name: str, dtype: type) -> pa.Array:
    return Ragged.from_lists([row[name] for row in rows], dtype).to_arrow()
