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
from itertools import pairwise
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
    """The dynamic program for rows in order of decreasing length: unit by unit, all rows at once.

    A cell is a unit of a row. What is known of cells beforehand is laid out step by step: first the cells of all rows'
    first units, then those of their second ones, so that a step is a slice.
    """

    def __init__(
        self, units: Ragged, runs: Ragged, tokens: Ragged, groups: Integers, folds: Integers, emissions: Emissions
    ) -> None:
        self._units, self._tokens = units, tokens
        rows, total = units.rows, runs.sums()
        middle = np.cumsum(runs.values, dtype=np.int64) - (np.cumsum(total) - total)[rows] - runs.values / 2
        count = tokens.lengths[rows]
        centers = np.minimum((middle / np.maximum(total[rows], 1) * count).astype(np.int64), count - 1)
        self._last_centers = centers[units.offsets[1:] - 1]
        place = np.arange(len(rows)) - units.offsets[:-1][rows]
        self._order = np.argsort(place.astype(np.uint16) if place.max() < 2**16 else place, kind="stable")
        self._rows, self._centers = rows[self._order], centers[self._order]
        self._jumps = np.diff(centers, prepend=0)[self._order]
        active = len(units) - np.searchsorted(units.lengths[::-1], np.arange(units.lengths[0]), side="right")
        self._steps = np.concatenate([[0], np.cumsum(active)]).tolist()  # where each step's cells begin
        sounds = np.minimum(units.values.astype(np.int64), emissions.units - 1)
        widths = emissions.tokens[groups]
        self._sounds = (emissions.starts[folds, groups][rows] + sounds * widths[rows])[self._order]
        self._frames = runs.values.astype(np.float32)[self._order]
        self._bits, self._widths = emissions.bits, widths
        self._skips_last = self.alive = np.zeros(len(units), np.bool_)

    def best(self) -> tuple[Ragged, Ragged]:
        """The token of each unit, and its position in the row."""
        steps, last = self._forward().ravel(), self._tokens.lengths - 1
        width = 2 * _BAND + 1
        cells = np.arange(len(self._order))
        shifted = self._centers - _BAND
        found = np.empty(len(self._order), np.int64)
        at = last - self._skips_last
        for first, end in reversed(list(pairwise(self._steps))):
            here = at[: end - first]
            found[first:end] = here  # end position of rows that end here
            step = np.minimum(np.maximum(here - shifted[first:end], 0), width - 1)
            here -= steps.take(step * len(cells) + cells[first:end])
        places = np.empty_like(found)
        places[self._order] = found
        row = self._units.rows
        places = np.clip(places, 0, last[row])
        chosen = self._tokens.values[self._tokens.offsets[:-1][row] + places]
        return self._units.replace(chosen), self._units.replace(places)

    def _forward(self) -> NDArray[np.int8]:
        """Fill the table [W, cells] with the step that led to each cell and token of its band."""
        width, rows = 2 * _BAND + 1, len(self._units)
        heard = self._heard()
        best = np.full((width + 2 * _PAD, rows), _NEVER)  # with a margin for steps
        before_first = (_PAD - 2 + np.minimum(self._jumps, _PAD)) * rows + self._rows
        ladder, far = np.arange(width + 2)[:, None] * rows, self._jumps > _PAD
        steps = np.zeros((width, len(self._order)), np.int8)
        for r, (first, end) in enumerate(pairwise(self._steps)):
            if r:
                before = best.ravel().take(before_first[first:end] + ladder)
                if far[first:end].any():
                    before[:, far[first:end]] = _NEVER
                score = _came(before, steps[:, first:end])
            else:
                score = self._begin(end)
            score += heard[:, first:end]
            best[_PAD:-_PAD, : end - first] = score  # unchanged for rows that end here
        self._finish(best[_PAD:-_PAD])
        return steps

    def _heard(self) -> Floats32:
        """The bits of each cell's frames with each token of its band, [W, cells]."""
        tokens, starts = self._padded_tokens()
        place = tokens.take((starts[self._rows] + self._centers) + np.arange(2 * _BAND + 1)[:, None])
        place += self._sounds
        found: Floats32 = self._bits.take(place)
        found *= self._frames
        return found

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

    def _begin(self, count: int) -> Floats32:
        token = self._centers[:count] + np.arange(-_BAND, _BAND + 1)[:, None]
        score: Floats32 = np.where(token == 0, np.float32(0.0), np.where(token == 1, np.float32(-_SKIP), _NEVER))
        return score

    def _finish(self, score: Floats32) -> None:
        """Finish rows that end here, and find those that skip the last token, by scores [W, N] of last units."""
        last = self._tokens.lengths - 1
        place = last - self._last_centers + _BAND
        rows = np.arange(len(last))
        done = np.where(place <= 2 * _BAND, score[np.minimum(place, 2 * _BAND), rows], _NEVER)
        before = score[np.clip(place - 1, 0, 2 * _BAND), rows] - np.float32(_SKIP)
        self._skips_last = (before > done) & (last > 0)
        self.alive = np.maximum(before, done) > _NEVER / 2


def _came(before: Floats32, step: NDArray[np.int8]) -> Floats32:
    """The best score of each cell from those of the step before [W + 2, N]; sets the number of tokens advanced."""
    stay, on = before[2:], before[1:-1]
    skip = before[:-2] - np.float32(_SKIP)
    np.greater(on, stay, out=step.view(np.bool_))
    score: Floats32 = np.maximum(stay, on)
    np.copyto(step, np.int8(2), where=skip > score)
    np.maximum(score, skip, out=score)
    return score
