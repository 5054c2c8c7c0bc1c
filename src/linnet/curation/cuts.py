"""Recordings that lack their end, and transcripts that lack theirs: several weak signs, each beside what is usual.

    cut sound = (rate + end / 2 - unspoken / 2) / sqrt(3/2)     too many characters a second; speech to the last frame;
                                                                words that are not heard
    cut text  = (-match - rate / 2) / sqrt(5/4)                 sounds that go with no word; too few characters a second

Each sign is in robust standard deviations from the median of the language (and, for those of words and sounds, the
length and the speaker), and so are the sums, as far as the signs of a sound recording do not depend on each other. Of a
language with few recordings it is told from all of them together, but nothing fails for it.

Shapes: N recordings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from linnet.curation.gating import Verdict
from linnet.curation.outliers import beside_speakers, length_groups, of_learned, robust_scores
from linnet.curation.pool import Flags, Numbers, Pool

_LEAST_RATE, _LEAST_END = 0.1, 0.3  # of the spread, so that what all share does not make a tiny difference large
_SHORTEST = 0.03  # seconds of silence; less is none


@dataclass(frozen=True)
class CutSound:
    """Recordings of which the end is missing: their text is long for them, and they end in the middle of speech."""

    limit: float
    name: str = field(default="cut-sound", init=False)

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """By the three signs together."""
        return _verdict(cut_sound(pool, usable), self.limit, pool, usable)

    def reason(self, value: float) -> str:
        """How sure."""
        return f"the end of its sound seems to be missing: {value:.1f} standard deviations, more than {self.limit:g}"


@dataclass(frozen=True)
class CutText:
    """Recordings whose transcript lacks a part: it is short for them, and much is heard that goes with no word."""

    limit: float
    name: str = field(default="cut-text", init=False)

    def check(self, pool: Pool, usable: Flags) -> Verdict:
        """By the two signs together."""
        return _verdict(cut_text(pool, usable), self.limit, pool, usable)

    def reason(self, value: float) -> str:
        """How sure."""
        return f"a part of its text seems to be missing: {value:.1f} standard deviations, more than {self.limit:g}"


def cut_sound(pool: Pool, usable: Flags) -> Numbers:
    """How far each recording looks like one whose end is missing [N]; NaN where it has no text or no speech."""
    languages = pool.labels["language"].codes.astype(np.int64) + 1
    with np.errstate(invalid="ignore"):
        silence = -np.log(np.asarray(pool.numbers["trailing_silence"], np.float64) + _SHORTEST)
    end = _sign(silence, languages, usable, least_spread=_LEAST_END)
    unspoken = _fit(pool, "mi_tokens", usable)
    signs = _rate(pool, languages, usable) + 0.5 * np.nan_to_num(end) - 0.5 * np.nan_to_num(unspoken)
    return np.asarray(signs / np.sqrt(1.5))


def cut_text(pool: Pool, usable: Flags) -> Numbers:
    """How far each recording looks like one whose text lacks a part [N]; NaN where it has no text or no speech."""
    languages = pool.labels["language"].codes.astype(np.int64) + 1
    signs = -np.nan_to_num(_fit(pool, "mi", usable)) - 0.5 * _rate(pool, languages, usable)
    return np.asarray(signs / np.sqrt(1.25))


def _verdict(values: Numbers, limit: float, pool: Pool, usable: Flags) -> Verdict:
    _, judged = of_learned(values, pool.labels["language"].codes, usable)
    return Verdict((values > limit) & judged, values)


def _rate(pool: Pool, languages: NDArray[np.int64], usable: Flags) -> Numbers:
    """Characters per second of speech; NaN without either."""
    characters = np.asarray(pool.characters, np.float64)
    known = (characters > 0) & (pool.speech_seconds > 0)
    rates = np.full(len(pool), np.nan)
    rates[known] = np.log(characters[known] / pool.speech_seconds[known])
    return _sign(rates, languages, usable, least_spread=_LEAST_RATE)


def _fit(pool: Pool, name: str, usable: Flags) -> Numbers:
    """How well sounds and words go together, in bits; NaN where it was not measured."""
    column = next((one for one in (f"{name}_raw", name) if one in pool.scores), None)
    if column is None:
        return np.full(len(pool), np.nan)
    languages = pool.labels["language"].codes
    groups = length_groups(languages, pool.seconds, usable)
    found = beside_speakers(_sign(pool.scores[column], groups, usable, upper=True), pool.speakers.codes, usable)
    return of_learned(found, languages, usable)[0]


def _sign(
    values: NDArray[Any], groups: NDArray[np.int64], usable: Flags, *, upper: bool = False, least_spread: float = 0.0
) -> Numbers:
    """Robust standard deviations from the median of the group, or of all where the group is small."""
    spread: Literal["both", "upper"] = "upper" if upper else "both"
    found = robust_scores(values, groups, usable, spread, least_spread)
    everyone = robust_scores(values, np.zeros_like(groups), usable, spread, least_spread)
    return np.where(np.isnan(found), everyone, found)
