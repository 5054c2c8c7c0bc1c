"""The audio passes over the corpus: a codebook from a sample (pass 0), then every recording once (pass 1)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path

from linnet.curation.codebook import Codebook, CodebookOptions, RecordingFrames, learn
from linnet.curation.filling import Pass, Progress, fill_tables
from linnet.curation.measure import VERSION, SampleTask, language_of, measured_table, sample_frames
from linnet.curation.shards import Plan, absolute, key_of, read_tables
from linnet.curation.workers import WorkerOptions, map_items, run_alone
from linnet.data.manifest import Utterance
from linnet.errors import ModelError

CODEBOOK = "codebook.safetensors"
MEASURED = "measured"

_SPARE = 4  # factor of additional recordings to sample, for those that cannot be read or hold no speech
_ENOUGH = 0.5  # of the wanted frames
_TOGETHER = 32  # recordings per task
_NAMED = 10  # reported reasons of unreadable recordings


# --- pass 0


def obtain_codebook(
    plan: Plan,
    options: CodebookOptions | None = None,
    workers: WorkerOptions | None = None,
    progress: Progress | None = None,
) -> Codebook:
    """The codebook of a corpus, from its work folder if it was learned from the same rows and options.

    Its recordings are sampled by the hash of their ids, evenly over languages as far as possible, so that the same
    corpus yields the same codebook for any number of workers. Unreadable recordings are skipped.
    """
    options = options or CodebookOptions()
    path = plan.work / CODEBOOK
    key = key_of("codebook", plan.digest, repr(sorted(asdict(options).items())))
    if (kept := _kept(path, key)) is not None:
        return kept
    recordings = _hear_sample(plan, options, workers, progress)
    codebook = run_alone(lambda found: learn(found, options), recordings)
    codebook.save(path, key=key, options=asdict(options), recordings=len(recordings))
    return codebook


def _kept(path: Path, key: str) -> Codebook | None:
    """The codebook in a file, if it is valid and has the same source."""
    try:
        codebook, note = Codebook.load(path)
    except ModelError:
        return None
    return codebook if note.get("key") == key else None


def _hear_sample(
    plan: Plan, options: CodebookOptions, workers: WorkerOptions | None, progress: Progress | None
) -> list[RecordingFrames]:
    """Frames of sampled recordings: more are sampled until there are enough."""
    folder = plan.shards[0].folder
    drawn = draw(plan.utterances(), _SPARE * options.rows, options.seed)
    recordings: list[RecordingFrames] = []
    for at in range(0, len(drawn), options.rows):
        part = sorted(drawn[at : at + options.rows])  # neighbors in the corpus may share one recording
        share = -(-options.frames // min(options.rows, len(drawn)))
        utterances = [replace(one, audio=absolute(one.audio, folder)) for one in _rows(plan, part)]
        tasks = [
            SampleTask(tuple(utterances[first : first + _TOGETHER]), options.coefficients, share)
            for first in range(0, len(utterances), _TOGETHER)
        ]
        for done, found in enumerate(map_items(sample_frames, tasks, workers), start=1):
            recordings += found
            if progress is not None:
                progress(min(at + done * _TOGETHER, at + len(part)), len(drawn[: at + options.rows]))
        if sum(len(one.frames) for one in recordings) >= _ENOUGH * options.frames:
            break
    return recordings


def draw(utterances: Iterable[Utterance], count: int, seed: int) -> list[int]:
    """The positions of `count` utterances, sampled by the hash of their ids and evenly over languages.

    The first of each language come first, then the second of each, so a prefix is also even. The order and partition of
    the utterances do not matter.
    """
    lowest: dict[str, list[tuple[int, int]]] = {}
    for place, one in enumerate(utterances):
        data = f"{seed}:{one.id}".encode("utf-8", "surrogatepass")
        rank = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
        heap = lowest.setdefault(language_of(one.language), [])
        entry = (-rank, -place)  # a max-heap
        if len(heap) < count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    ordered = (sorted(heap, reverse=True) for heap in lowest.values())
    turns = [(turn, -rank, -place) for heap in ordered for turn, (rank, place) in enumerate(heap)]
    return [place for _, _, place in sorted(turns)[:count]]


def _rows(plan: Plan, places: list[int]) -> list[Utterance]:
    """The utterances at sorted positions."""
    wanted = iter(places)
    following = next(wanted, None)
    found: list[Utterance] = []
    for shard in plan.shards:
        if following is None or following >= shard.first + shard.rows:
            continue
        rows = shard.utterances()
        while following is not None and following < shard.first + shard.rows:
            found.append(rows[following - shard.first])
            following = next(wanted, None)
    return found


# --- pass 1


@dataclass(frozen=True)
class AudioReport:
    """Report of the audio pass: rows, `failed` ones whose audio cannot be read, with the first reasons.

    `seconds` of audio were decoded; `kept` of `shards` shards existed from an earlier run. `codebook` is the hash of
    the codebook.
    """

    rows: int
    failed: int
    seconds: float
    shards: int
    kept: int
    codebook: str
    failures: tuple[str, ...] = ()


def hear_corpus(
    plan: Plan,
    codebook: Codebook,
    workers: WorkerOptions | None = None,
    progress: Progress | None = None,
) -> AudioReport:
    """Decode and measure every recording, and write `measured-00000.parquet` and so on to the work folder.

    A shard with an existing table for the same rows and codebook is done; a killed run resumes. Raises `OutputError` if
    a table cannot be written, and `MissingExtra` without pyarrow.
    """
    path = plan.work / f"codebook-{codebook.digest}.safetensors"
    if not path.is_file():
        codebook.save(path)
    which = Pass(MEASURED, f"{VERSION} {codebook.digest}")
    kept = fill_tables(plan, which, measured_table, str(path), workers, progress)
    table = read_tables(plan, MEASURED, ["duration", "error"])
    errors = table["error"].drop_null()
    return AudioReport(
        rows=plan.rows,
        failed=len(errors),
        seconds=float(table["duration"].to_numpy().sum()),
        shards=len(plan.shards),
        kept=kept,
        codebook=codebook.digest,
        failures=tuple(errors.slice(0, _NAMED).to_pylist()),
    )
