"""Sampling rates of sources: by temperature, capped, and uniform over the utterances of a source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from linnet.data.batching.arrays import Ints, digest_of, shuffled, stream
from linnet.data.batching.lengths import Lengths
from linnet.errors import OptionError

_PURPOSE = 1 << 32  # a random stream distinct from those of plans


def passes_by_temperature(
    hours: Mapping[str, float], temperature: float = 1.0, most: float = np.inf
) -> dict[str, float]:
    """The number of passes per epoch through each source, for shares of audio proportional to hours^(1/temperature).

    Temperature 1 keeps proportions (one pass each); higher ones make shares more equal. An epoch keeps its total hours
    unless passes are capped at `most`. (Temperature sampling as in multilingual BERT and XLM-R, by hours.)

    >>> passes_by_temperature({"large": 90.0, "small": 10.0}, temperature=2.0)
    {'large': 0.8333333333333334, 'small': 2.5}

    Raises:
        OptionError: a temperature below one, or a source without audio.
    """
    if not temperature >= 1 or not most > 0:
        raise OptionError(f"temperature {temperature} with at most {most} passes: give 1 or more, and passes above 0.")
    for name, value in hours.items():
        if not value > 0:
            raise OptionError(f"source {name!r} has {value} hours of audio: leave it out.")
    weights = {name: value ** (1 / temperature) for name, value in hours.items()}
    unit = sum(hours.values()) / sum(weights.values())
    return {name: min(most, unit * weights[name] / value) for name, value in hours.items()}


@dataclass(frozen=True, eq=False)
class Mixture:
    """Sources with their rows and the number of passes per epoch.

    A source is an endless sequence of shuffled passes, of which each epoch takes the next `passes`, possibly
    fractional, so that draws of its utterances never differ by more than one.
    """

    sources: Sequence[Ints]
    passes: Sequence[float]

    @cached_property
    def digest(self) -> str:
        """Hash of the passes and of the rows."""
        return digest_of(json.dumps([[len(rows) for rows in self.sources], list(self.passes)]), *self.sources)

    def rows(self, epoch: int, seed: int) -> Ints:
        """The rows of an epoch, possibly repeated, which depend on that epoch alone."""
        drawn = [np.zeros(0, np.int64)]
        for number, (rows, passes) in enumerate(zip(self.sources, self.passes, strict=True)):
            begin, end = (int(count * passes * len(rows)) for count in (epoch, epoch + 1))
            for turn in range(begin // len(rows), -(-end // len(rows))):
                first = turn * len(rows)
                order = rows[shuffled(stream(seed, turn, _PURPOSE + number), len(rows))]
                drawn.append(order[max(begin - first, 0) : end - first])
        return np.concatenate(drawn)


def mix(lengths: Lengths, rows: Ints, *, temperature: float = 1.0, most: float = np.inf) -> Mixture:
    """The mixture of a joined table's parts, restricted to `rows`.

    Raises:
        OptionError: the table has no parts, or one of them has no rows.
    """
    if not lengths.parts:
        raise OptionError("the lengths do not say which source a row came from: put them together by join_lengths.")
    edges = np.searchsorted(np.sort(rows), np.cumsum([0, *(count for _, count in lengths.parts)]))
    sources = [np.sort(rows)[begin:end] for begin, end in pairwise(edges)]
    names = [name for name, _ in lengths.parts]
    seconds = [float(lengths.durations[source].sum(dtype=np.float64)) for source in sources]
    hours = {name: value / 3600 for name, value in zip(names, seconds, strict=True)}
    passes = passes_by_temperature(hours, temperature, most)
    return Mixture(sources, [passes[name] for name in names])
