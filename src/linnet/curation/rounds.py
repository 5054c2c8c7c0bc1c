"""Rounds of HEEP: score the remaining recordings, cut, train, evaluate, and repeat.

In Python `run_rounds` takes two functions, one that trains and one that evaluates. On the command line the state is in
a folder: each call makes one round from the last one and an evaluation of held-out data.

    DIR/round-00.json, DIR/round-00.npz    threshold, hours, and what was kept
    linnet evaluate HELD-OUT --model trained --output errors.jsonl
    next round: DIR and errors.jsonl in, DIR/round-01.* out

Shapes: N recordings in all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.blocks import ShardFiles, Space
from linnet.curation.errors import ErrorRates, cross_lingual_overlap
from linnet.curation.heep import HeepOptions, cut, heep_score, next_threshold, values_of
from linnet.curation.scores import Scale, Scoring, whole
from linnet.errors import OptionError
from linnet.files import cannot_write, whole_file, write_atomic

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rescore = Callable[
    [Flags, ErrorRates | None], Floats
]  # kept recordings and a model's errors -> scores [N], NaN elsewhere


@dataclass(frozen=True, eq=False)
class Round:
    """A finished round: its scores [N] and the kept recordings [N].

    `at_floor`: the threshold would have left fewer than the options allow, so this is the last round.
    """

    number: int
    threshold: float
    kept: Flags
    scores: Floats
    at_floor: bool
    rows: int
    seconds: float

    @property
    def line(self) -> str:
        """One sentence for the user."""
        floor = ", the least that is allowed" if self.at_floor else ""
        return (
            f"round {self.number}: {self.rows} recordings, {self.seconds / 3600:.2f} hours above "
            f"{self.threshold:.4f}{floor}"
        )


def next_round(
    before: Round | None, rescore: Rescore, seconds: Floats, options: HeepOptions, errors: ErrorRates | None = None
) -> Round:
    """Run one round: score the recordings kept by `before` (None: all) and cut. `seconds` [N] are durations."""
    kept = np.ones(len(seconds), np.bool_) if before is None else before.kept
    scores = rescore(kept, errors)
    number = 0 if before is None else before.number + 1
    left = float(np.nan_to_num(seconds[kept]).sum()) / max(float(np.nan_to_num(seconds).sum()), 1e-9)
    last = 0.0 if before is None else before.threshold
    threshold = next_threshold(number, last, scores, seconds, left, options)
    done = cut(scores, kept, threshold, options.floor(len(seconds)))
    hours = float(np.nan_to_num(seconds[done.kept]).sum())
    return Round(number, threshold, done.kept, scores, done.at_floor, int(done.kept.sum()), hours)


def run_rounds(
    rescore: Rescore,
    seconds: Floats,
    options: HeepOptions,
    train_callback: Callable[[Round], None] | None = None,
    eval_callback: Callable[[Round], ErrorRates | None] | None = None,
) -> Iterator[Round]:
    """Yield the rounds one by one, until `max_rounds` are done or the floor is reached.

    After each round but the last, `train_callback` may train on the kept recordings, and `eval_callback` returns the
    errors of the model on held-out data for the next round's scores.
    """
    done: Round | None = None
    errors: ErrorRates | None = None
    for number in range(options.max_rounds):
        done = next_round(done, rescore, seconds, options, errors)
        yield done
        if done.at_floor or number + 1 == options.max_rounds:
            return
        if train_callback is not None:
            train_callback(done)
        if eval_callback is not None:
            errors = eval_callback(done)


# --- scores of a round


@dataclass
class HeepScorer:
    """A `Rescore` over the shards of a work folder: components of the remaining recordings, S(x), and S'(x) with
    errors.

    Components are compared with the usual values of the first round, since HEEP's are scaled once. `phones` counts the
    phones of each language by phonemizer and `known` names the languages a model has learned, both for the overlap of
    languages. After a call `columns` has the score columns of all recordings.
    """

    scoring: Scoring
    shards: Sequence[ShardFiles]
    space: Space
    options: HeepOptions = field(default_factory=HeepOptions)
    phones: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    known: Sequence[str] = ()
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    _scale: Scale | None = None

    def __call__(self, kept: Flags, errors: ErrorRates | None) -> Floats:
        """The scores of the `kept` recordings [N]."""
        found = self.scoring.run(self.shards, self.space, kept, self._scale, errors)
        self._scale = self._scale or found.scale
        ranks = dict(found.ranks)
        if self.known:
            overlap = cross_lingual_overlap(self.phones, self.known, self.space.voices)
            ranks["cross_lingual"] = overlap[found.raw["voice"]]
        scores = heep_score(ranks, self.options.weights)
        columns = found.columns() | {name: ranks[name].astype(np.float32) for name in ranks}
        self.columns = whole(columns | {"heep": scores.astype(np.float32)}, found.raw["row"], len(kept))
        return whole({"scores": scores}, found.raw["row"], len(kept))["scores"]


# --- the folder of the command line


@dataclass(frozen=True)
class RoundFolder:
    """Rounds in a folder, for a corpus and options that must stay the same; `corpus` is a digest of its rows."""

    path: Path
    corpus: str
    options: HeepOptions

    def last(self) -> Round | None:
        """The last existing round; None before the first.

        Raises:
            OptionError: it cannot be read, or is from another corpus or other options.
        """
        states = sorted(self.path.glob("round-*.json"))
        if not states:
            return None
        try:
            state = json.loads(states[-1].read_text("utf-8"))
            with np.load(states[-1].with_suffix(".npz")) as arrays:
                kept = np.unpackbits(arrays["kept"], count=state["recordings"]).astype(np.bool_)
                scores = arrays["scores"]
            facts = {name: state[name] for name in ("number", "threshold", "at_floor", "rows", "seconds")}
            made = state["corpus"], state["options"]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise OptionError(f"{states[-1]}: cannot be read ({error}); remove this round to make it again") from error
        if made != (self.corpus, json.loads(json.dumps(values_of(self.options)))):
            raise OptionError(
                f"{self.path}: its rounds were made of another corpus or with other options; give a new folder"
            )
        return Round(kept=kept, scores=scores, **facts)

    def save(self, done: Round) -> None:
        """Write a round: the arrays first, so that a round with a JSON file is complete. Raises `OutputError`."""
        state = {
            "number": done.number,
            "threshold": done.threshold,
            "at_floor": done.at_floor,
            "rows": done.rows,
            "seconds": done.seconds,
            "recordings": len(done.kept),
            "corpus": self.corpus,
            "options": values_of(self.options),
        }
        path = self.path / f"round-{done.number:02d}.npz"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                np.savez(file, kept=np.packbits(done.kept), scores=done.scores)
        except OSError as error:
            raise cannot_write(path, error) from error
        write_atomic(path.with_suffix(".json"), json.dumps(state, indent=1) + "\n")

    def advance(self, rescore: Rescore, seconds: Floats, errors: ErrorRates | None = None) -> Round:
        """Run the next round and save it.

        Raises:
            OptionError: the options allow no further round.
        """
        before = self.last()
        if before is not None and (before.at_floor or before.number + 1 >= self.options.max_rounds):
            why = "no fewer recordings are allowed" if before.at_floor else f"max_rounds is {self.options.max_rounds}"
            raise OptionError(f"{self.path}: round {before.number} was the last one: {why}")
        done = next_round(before, rescore, seconds, self.options, errors)
        self.save(done)
        return done
