"""Align sound units with tokens, learned from the corpus alone: without a model, and without labels except the
transcripts.

Evenly spread tokens give initial emissions. With these, each transcript is aligned again, with tokens in order, for a
few rounds (hard EM from a flat start, as for hidden Markov models of speech). A recording is aligned by the counts of
other folds of the corpus, so that it does not confirm itself.

Shapes: N rows, R units of a row, W tokens within the band around the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.counting import Counts, Integers, mix
from linnet.curation.information import STRENGTH, Segments
from linnet.curation.ragged import Ragged
from linnet.files import whole_file

Floats32 = NDArray[np.float32]

FOLDS: Final = 4
ROUNDS: Final = 3
MOST_TOKENS: Final = 4096  # rarer tokens, by their numbers, share emissions
_BAND: Final = 10  # tokens on either side of the diagonal
_SKIP: Final = 4.0  # bits, for a skipped token
_PAD: Final = 8
_NEVER: Final = np.float32(-1e9)
_ADDED: Final = 0.5


@dataclass(frozen=True, eq=False)
class Emissions:
    """log2 P(unit | token) / P(unit) by fold and group of rows, flattened: cell `starts[fold, group] + unit *
    tokens[group] + token`.

    Those of a fold are from the counts of all other folds.
    """

    bits: Floats32
    starts: Integers  # [F, G]
    tokens: Integers  # [G]; the last token is impossible, the one before it is for unseen tokens
    units: int  # the last one is for unseen units

    @classmethod
    def of(cls, folds: Sequence[Counts], groups: int) -> Self:
        """From frames by group, unit and token (below 2**16) in each fold."""
        parts = [(fold.keys >> np.uint64(32), fold.keys >> np.uint64(16), fold.keys, fold.counts) for fold in folds]
        low = np.uint64(0xFFFF)
        cells = [
            (group.astype(np.int64), (unit & low).astype(np.int64), _few((token & low).astype(np.int64)), counts)
            for group, unit, token, counts in parts
        ]
        units = 2 + max((int(unit.max()) for _, unit, _, _ in cells if len(unit)), default=0)
        tokens = np.full(groups, 2)
        for group, _, token, _ in cells:
            np.maximum.at(tokens, group, token + 3)
        starts = np.cumsum(tokens * units) - tokens * units
        frames = np.zeros((len(folds), int((tokens * units).sum())))
        for own, (group, unit, token, counts) in zip(frames, cells, strict=True):
            np.add.at(own, starts[group] + unit * tokens[group] + token, counts)
        others = frames.sum(axis=0) - frames
        for start, width in zip(starts, tokens, strict=True):
            table = others[:, start : start + units * width].reshape(len(folds), units, width)
            alone = table.sum(axis=2, keepdims=True) + _ADDED
            alone /= alone.sum(axis=1, keepdims=True)
            table[:] = np.log2((table + STRENGTH * alone) / (table.sum(axis=1, keepdims=True) + STRENGTH) / alone)
            table[:, :, -1] = _NEVER
        steps = np.arange(len(folds))[:, None] * frames.shape[1]
        return cls(others.astype(np.float32).ravel(), starts + steps, tokens, units)

    def save(self, folder: Path) -> Path:
        """Write to a folder as one NumPy file, named by its content."""
        sizes = np.array([self.units])
        arrays: dict[str, NDArray[Any]] = {
            "bits": self.bits,
            "starts": self.starts,
            "tokens": self.tokens,
            "units": sizes,
        }
        digest = blake2b(b"".join(array.tobytes() for array in arrays.values()), digest_size=8).hexdigest()
        path = folder / f"emissions-{digest}.npz"
        with whole_file(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the output of `save`."""
        with np.load(path) as arrays:
            return cls(arrays["bits"], arrays["starts"], arrays["tokens"], int(arrays["units"][0]))


def _few(tokens: Integers) -> Integers:
    return np.minimum(tokens, MOST_TOKENS - 1)


def folds_of(rows: Integers) -> Integers:
    """The fold of each row, by its number, [N]."""
    return (mix(rows) % np.uint64(FOLDS)).astype(np.int64)


def align(
    units: Ragged, runs: Ragged, tokens: Ragged, groups: Integers, folds: Integers, emissions: Emissions
) -> Segments:
    """The best assignment of the units of each row (runs of frames) to its tokens in order.

    `groups` and `folds` [N] are those of the rows. From one unit to the next the token stays, advances by one, or by
    two at a cost; it stays within ten tokens of an even spread. A row without frames or tokens has no segments; one
    without a valid path keeps evenly spread tokens.
    """
    even = Segments.spread(units, runs, tokens)
    usable = np.flatnonzero((even.totals > 0) & (tokens.lengths <= 2 * units.lengths))
    order = usable[np.argsort(-units.lengths[usable], kind="stable")]  # longest first: unfinished rows come first
    if not len(order):
        return even
    sounds, frames = units.select(order), runs.select(order)
    paths = _Paths(sounds, frames, tokens.select(order), groups[order], folds[order], emissions)
    best, places = paths.best()
    source = np.arange(len(units)) + len(order)  # rows that were not aligned are unchanged
    source[order[paths.alive]] = np.flatnonzero(paths.alive)

    def placed(aligned: Ragged, otherwise: Ragged) -> Ragged:
        return Ragged.concatenate([aligned, otherwise]).select(source)

    return Segments(
        placed(sounds, even.units),
        placed(best, even.tokens),
        placed(frames, even.units.replace(even.frames)).values.astype(np.int64),
        placed(places, even.units.replace(even.places)).values.astype(np.int64),
        even.expected,
    )


class _Paths:
    """The dynamic program for rows in order of decreasing length: unit by unit, all rows at once."""

    def __init__(
        self, units: Ragged, runs: Ragged, tokens: Ragged, groups: Integers, folds: Integers, emissions: Emissions
    ) -> None:
        self._units, self._runs, self._tokens, self._emissions = units, runs, tokens, emissions
        self._starts, self._widths = emissions.starts[folds, groups], emissions.tokens[groups]
        rows, total = units.rows, runs.sums()
        middle = np.cumsum(runs.values, dtype=np.int64) - (np.cumsum(total) - total)[rows] - runs.values / 2
        count = tokens.lengths[rows]
        self._centers = np.minimum((middle / np.maximum(total[rows], 1) * count).astype(np.int64), count - 1)
        longer = len(units) - np.searchsorted(units.lengths[::-1], np.arange(units.lengths[0]), side="right")
        self._active = longer  # number of rows with a unit r, for each r
        self._skips_last = self.alive = np.zeros(len(units), np.bool_)

    def best(self) -> tuple[Ragged, Ragged]:
        """The token of each unit, and its position in the row."""
        steps, offsets, last = self._forward(), self._units.offsets, self._tokens.lengths - 1
        places = np.empty(len(self._units.values), np.int64)
        at = last - self._skips_last
        for r in range(len(self._active) - 1, -1, -1):
            n = self._active[r]
            cells = offsets[:n] + r
            places[cells] = at[:n]  # end position of rows that end here
            at[:n] -= steps[r][np.arange(n), np.clip(at[:n] - self._centers[cells] + _BAND, 0, 2 * _BAND)]
        row = self._units.rows
        places = np.clip(places, 0, last[row])
        chosen = self._tokens.values[self._tokens.offsets[:-1][row] + places]
        return self._units.replace(chosen), self._units.replace(places)

    def _forward(self) -> list[NDArray[np.int8]]:
        """Fill the table with the step that led to each cell."""
        tokens, starts = self._padded_tokens()
        band = np.arange(2 * _BAND + 1)
        rows = self._units.rows
        sound = np.minimum(self._units.values.astype(np.int64), self._emissions.units - 1)
        sound = self._starts[rows] + sound * self._widths[rows]
        frames = self._runs.values.astype(np.float32)
        first = starts[rows] + self._centers  # start of the band in the padded tokens
        best = np.full((len(self._units), len(band) + 2 * _PAD), _NEVER)  # with a margin for steps
        steps: list[NDArray[np.int8]] = []
        for r, n in enumerate(self._active):
            cells = self._units.offsets[:n] + r
            score, step = self._came(best, cells, n) if r else self._begin(cells)
            place = tokens.take(first[cells][:, None] + band)
            place += sound[cells][:, None]
            score += frames[cells][:, None] * self._emissions.bits.take(place)
            best[:n, _PAD:-_PAD] = score  # unchanged for rows that end here
            steps.append(step)
        self._finish(best[:, _PAD:-_PAD])
        return steps

    def _padded_tokens(self) -> tuple[Integers, Integers]:
        """The tokens of all rows with a band of impossible ones around each row, and the start of each row."""
        count, width = self._tokens.lengths, self._widths[self._tokens.rows]
        begin = self._tokens.offsets[:-1] + 2 * _BAND * np.arange(len(count))
        padded = np.repeat(self._widths - 1, count + 2 * _BAND)
        inside = (
            begin[self._tokens.rows] + _BAND + np.arange(count.sum()) - self._tokens.offsets[:-1][self._tokens.rows]
        )
        padded[inside] = np.minimum(_few(self._tokens.values.astype(np.int64)), width - 2)
        return padded, begin

    def _begin(self, cells: Integers) -> tuple[Floats32, NDArray[np.int8]]:
        token = self._centers[cells][:, None] + np.arange(-_BAND, _BAND + 1)
        score = np.where(token == 0, np.float32(0.0), np.where(token == 1, np.float32(-_SKIP), _NEVER))
        return score, np.zeros(token.shape, np.int8)

    def _came(self, best: Floats32, cells: Integers, n: int) -> tuple[Floats32, NDArray[np.int8]]:
        """The best score of each cell, and the number of tokens advanced."""
        jump = self._centers[cells] - self._centers[cells - 1]
        moved = np.minimum(jump, _PAD)
        width = best.shape[1]
        around = (np.arange(n) * width + _PAD - 2 + moved)[:, None] + np.arange(width - 2 * _PAD + 2)
        before = best.ravel().take(around)
        before[jump > _PAD] = _NEVER
        stay, on, skip = before[:, 2:], before[:, 1:-1], before[:, :-2] - np.float32(_SKIP)
        step = (on > stay).astype(np.int8)
        score = np.maximum(stay, on)
        step[skip > score] = 2
        return np.maximum(score, skip), step

    def _finish(self, score: Floats32) -> None:
        """Finish rows that end here, and find those that skip the last token, by scores [N, W] of last units."""
        last = self._tokens.lengths - 1
        place = last - self._centers[self._units.offsets[1:] - 1] + _BAND
        rows = np.arange(len(last))
        done = np.where(place <= 2 * _BAND, score[rows, np.minimum(place, 2 * _BAND)], _NEVER)
        before = score[rows, np.clip(place - 1, 0, 2 * _BAND)] - np.float32(_SKIP)
        self._skips_last = (before > done) & (last > 0)
        self.alive = np.maximum(before, done) > _NEVER / 2
