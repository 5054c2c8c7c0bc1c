"""How long a million recordings take through scoring and selection, from the tables of the passes before.

    python benchmarks/curate_scale.py build/scale --make --rows 1000000
    python benchmarks/curate_scale.py build/scale --workers 2 [--cluster ray] [--alignment even] [--profile]

`--make` writes tables as the audio and text passes leave them, of made-up speech: sentences of three languages after
Zipf, of which a third are read twice or more; 4 s and 50 runs of units a recording on average, units that go with
phones, MinHash sketches and contours, 3,000 speakers in six sources; one of fifty recordings is a copy, another has a
wrong text. No sound is decoded. Without `--make` the tables are scored, and a fifth of the hours is chosen, as
`linnet curate` does it; the times are printed as a line of JSON, with the hash of all scores and of the choice, which
are the same for any number of workers. Memory is the peak of this process, and of its largest worker times their
number; both never peak at once.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import pstats
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnet.curation.components import EstimatorOptions
from linnet.curation.job import Corpus, score
from linnet.curation.measure import table_schema
from linnet.curation.options import CurateOptions
from linnet.curation.parquet import save_table
from linnet.curation.passes import AudioReport
from linnet.curation.phonemes.inventory import INVENTORY, Inventory
from linnet.curation.pool import Pool
from linnet.curation.ragged import Ragged
from linnet.curation.select import select
from linnet.curation.selection import Selection
from linnet.curation.shards import ROWS, Plan, table_path
from linnet.curation.workers import WorkerOptions, map_items

LANGUAGES = {"en": 0.7, "de": 0.2, "fr": 0.1}
LETTERS = "etaoinsrhldcumfpgwybvkxjqz"  # the most frequent first, as phones are numbered
VOCABULARY = 30_000  # words of a language
SPEAKERS, SOURCES = 3000, 6
READINGS = 1.4  # recordings per sentence
COPIES = WRONG = 0.02
TOGETHER = 256  # shards made at once

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Tongue:
    """The words of a language: spelled words, and each word's letters as numbers."""

    spelled: NDArray[np.object_]
    letters: Ragged
    chances: NDArray[np.float64]

    @classmethod
    def of(cls, rng: Rng) -> Tongue:
        """Words after Zipf, short ones more often."""
        lengths = np.sort(rng.integers(2, 11, VOCABULARY))
        weights = 1 / np.arange(1, 27) ** rng.uniform(0.5, 1.0)
        letters = Ragged.from_lengths(rng.choice(26, int(lengths.sum()), p=weights / weights.sum()), lengths)
        spelled = np.array(["".join(LETTERS[one] for one in word) for word in letters], object)
        order = np.argsort(lengths + rng.normal(0, 3, VOCABULARY))
        chances = np.empty(VOCABULARY)
        chances[order] = 1 / (np.arange(VOCABULARY) + 2.7)
        return cls(spelled, letters, chances / chances.sum())


def sentences(tongue: Tongue, count: int, rng: Rng) -> Ragged:
    """Sentences of 2 to 40 words."""
    lengths = np.clip(np.rint(rng.lognormal(2.2, 0.5, count)), 2, 40).astype(np.int64)
    return Ragged.from_lengths(rng.choice(VOCABULARY, int(lengths.sum()), p=tongue.chances), lengths)


def make(folder: Path, rows: int, seed: int) -> None:
    """Write all tables."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = -(-rows // ROWS)
    tasks = [(folder, first, min(first + TOGETHER, shards), rows, seed) for first in range(0, shards, TOGETHER)]
    counts = sum(
        map_items(_make, tasks, WorkerOptions(workers=1)), start=np.zeros((len(LANGUAGES), len(LETTERS)), np.int64)
    )
    keys = [(language, "letters") for language in sorted(LANGUAGES)]
    found = dict(zip(LANGUAGES, counts.tolist(), strict=True))
    Inventory({key: tuple(LETTERS) for key in keys}, {key: tuple(found[key[0]]) for key in keys}).save(
        folder / INVENTORY
    )


def _make(task: tuple[Path, int, int, int, int]) -> NDArray[np.int64]:
    folder, first, last, rows, seed = task
    shared = np.random.default_rng(seed)
    tongues = [Tongue.of(shared) for _ in LANGUAGES]
    known = [sentences(one, round(share * rows / READINGS) + 1, shared) for one, share in _shares(tongues)]
    counts = np.zeros((len(LANGUAGES), len(LETTERS)), np.int64)
    for shard in range(first, last):
        start = shard * ROWS
        rng = np.random.default_rng([seed, shard])
        table, spoken = _shard(start, min(ROWS, rows - start), tongues, known, counts, rng)
        save_table(table_path(folder, "measured", shard), table)
        save_table(table_path(folder, "spoken", shard), spoken)
    return counts


def _shares(tongues: list[Tongue]) -> list[tuple[Tongue, float]]:
    return list(zip(tongues, LANGUAGES.values(), strict=True))


def _shard(
    start: int, size: int, tongues: list[Tongue], known: list[Ragged], counts: NDArray[np.int64], rng: Rng
) -> tuple[pa.Table, pa.Table]:
    source = np.arange(size)
    source[np.flatnonzero(rng.random(size) < COPIES)] -= 1  # a copy of the row before it
    source = np.maximum(source, 0)
    of = rng.choice(len(tongues), size, p=list(LANGUAGES.values()))[source]
    drawn = rng.random(size)[source]
    said = [known[language][int(place * len(known[language]))] for language, place in zip(of, drawn, strict=True)]
    phones = [tongues[language].letters.select(words).values for language, words in zip(of, said, strict=True)]
    np.add.at(counts, (np.repeat(of, [len(one) for one in phones]), np.concatenate(phones)), 1)
    texts = [" ".join(tongues[language].spelled[words]) for language, words in zip(of, said, strict=True)]
    wrong = np.where(rng.random(size) < WRONG, rng.integers(0, size, size), np.arange(size))
    sound = Ragged.from_lists([phones[at] for at in wrong[source].tolist()], np.int64)
    measured = _measured(start, sound, source, rng)
    measured |= {"text": texts, "language": np.array(list(LANGUAGES))[of].tolist()}
    fields = table_schema()
    columns = [pa.array(measured[one.name], one.type) for one in fields]
    spoken = {
        "row": np.arange(start, start + size),
        "words": Ragged.from_lists([8 * words + language for language, words in zip(of, said, strict=True)], np.uint32),
        "characters": np.array([len(text) for text in texts], np.int32),
        "phones": Ragged.from_lists(phones, np.uint16),
        "backend": ["letters"] * size,
        "script": ["Latn"] * size,
        "script_share": np.ones(size, np.float32),
        "unknown": np.zeros(size, np.int32),
        "error": pa.nulls(size, pa.string()),
    }
    arrays = {name: one.to_arrow() if isinstance(one, Ragged) else one for name, one in spoken.items()}
    return pa.Table.from_arrays(columns, schema=fields), pa.table(arrays)


def _measured(start: int, sound: Ragged, source: NDArray[np.int64], rng: Rng) -> dict[str, Any]:
    """The columns of the audio pass, for letters that are heard: one or two runs of units each, of 1 to 5 frames."""
    size, letters = len(sound), sound.values
    repeated = rng.integers(1, 3, len(letters))
    values = np.repeat(letters * 8, repeated) + rng.integers(0, 8, int(repeated.sum()))
    offsets = np.concatenate([[0], np.cumsum(repeated)])[sound.offsets]
    units = Ragged(values.astype(np.uint16), offsets).select(source)
    runs = Ragged(rng.integers(1, 6, len(values)).astype(np.uint16), offsets).select(source)
    sketch = rng.integers(0, 2**32, (size, 64), np.uint32)
    own = (rng.random((size, 64)) < 0.5) & (source != np.arange(size))[:, None]  # a noisy copy's differ in half
    sketch = np.where(own, sketch, sketch[source])
    speech = runs.sums()
    silence = rng.uniform(0.05, 0.6, (2, size))[:, source]
    frames = speech + np.rint(silence.sum(axis=0) / 0.02).astype(np.int64)
    levels = np.repeat(rng.integers(0, 11, (int(frames.sum()) // 4 + 1, 8), np.uint32), 4, axis=0)[: frames.sum()]
    contour = (levels << (4 * np.arange(8)).astype(np.uint32)).sum(axis=1, dtype=np.uint32)
    speaker = np.minimum(rng.zipf(1.3, size), SPEAKERS) - 1
    numbers = {"level_db": -25, "snr_db": 25, "clipped": 0.0, "bandwidth_hz": 7000, "edge_level": -30}
    return {
        "row": np.arange(start, start + size),
        "id": [f"{start + at:07d}" for at in range(size)],
        "audio": [f"part-{start // ROWS:05d}/{start + at:07d}.flac" for at in range(size)],
        **dict.fromkeys(("start", "end", "channel", "domain", "session", "recording", "error"), [None] * size),
        "speaker": [f"speaker {one:04d}" for one in speaker.tolist()],
        "source": [f"source {one % SOURCES}" for one in speaker.tolist()],
        "duration": frames * 0.02,
        "frames": frames,
        "speech_frames": speech,
        "units": units.to_arrow(),
        "runs": runs.to_arrow(),
        **{name: rng.normal(mean, abs(mean) / 4, size).astype(np.float32) for name, mean in numbers.items()},
        "leading_silence": silence[0].astype(np.float32),
        "trailing_silence": silence[1].astype(np.float32),
        "pcm_hash": [rng.bytes(16) for _ in range(size)],
        "sketch": list(sketch),
        "contour": Ragged.from_lengths(contour, frames).select(source).to_arrow(),
    }


# --- the measurement


def measured(folder: Path, options: CurateOptions, profile: bool) -> dict[str, Any]:
    """Score and choose, and what it took."""
    corpus = Corpus(Plan(folder, (), 0), AudioReport(0, 0, 0.0, 0, 0, ""), options)
    pool, scoring = _timed("scoring", partial(score, corpus), profile)
    choice, selecting = _timed("selection", partial(_chosen, pool, options, folder), profile)
    workers = options.workers.count
    peak = {
        "own_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "workers_gb": workers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
    }
    scores = hashlib.blake2b(digest_size=8)
    for name in sorted(pool.scores):
        scores.update(np.asarray(pool.scores[name]).tobytes())
    return {
        "rows": len(pool),
        "hours": round(float(pool.seconds.sum()) / 3600, 1),
        "kept": int(choice.kept.sum()),
        "workers": workers,
        **{name: round(value, 2) for name, value in (scoring | selecting | peak).items()},
        "scores": scores.hexdigest(),
        "choice": hashlib.blake2b(np.flatnonzero(choice.kept).tobytes(), digest_size=8).hexdigest(),
    }


def _chosen(pool: Pool, options: CurateOptions, folder: Path) -> Selection:
    choice = select(pool, options.select)
    choice.write(folder)
    return choice


def _timed(name: str, work: Callable[[], Any], profile: bool) -> tuple[Any, dict[str, float]]:
    """The result, and the wall and CPU seconds of this process and its workers."""
    profiler = cProfile.Profile(time.process_time) if profile else None
    wall, cpu = time.perf_counter(), _cpu()
    found = profiler.runcall(work) if profiler else work()
    times = {f"{name}_s": time.perf_counter() - wall, f"{name}_cpu_s": _cpu() - cpu}
    if profiler:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    return found, times


def _cpu() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def main() -> None:
    """Make the tables, or measure with them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true", help="write the tables, instead of reading them")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cluster", help="ray, or the address of a cluster, instead of processes of this machine")
    parser.add_argument("--alignment", default=EstimatorOptions().alignment)
    parser.add_argument("--profile", action="store_true", help="print where the time goes (with --workers 1)")
    asked = parser.parse_args()
    if asked.make:
        make(asked.folder, asked.rows, asked.seed)
        return
    options = CurateOptions(
        estimators=EstimatorOptions(alignment=asked.alignment),
        workers=WorkerOptions(workers=asked.workers, cluster=asked.cluster),
    )
    print(json.dumps(measured(asked.folder, options, asked.profile)))


if __name__ == "__main__":
    main()
