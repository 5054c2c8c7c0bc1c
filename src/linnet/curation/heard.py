"""Transcripts that a recognizer hears otherwise: what `linnet curate hear` or `linnet evaluate` say of wrong texts.

The former tells how much the sounds say of the given text (`alignment.gain`), which a hard recording does as well, and
one to which the model invents words. By the latter a model is also wrong where a recording is hard, and hard ones are
worth keeping: one fails only where the sounds do not go well with the words either, by the mutual information of the
corpus, which knows nothing of the model.

Shapes: N recordings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnet.curation.gating import Gate, Verdict
from linnet.curation.pool import Flags, Numbers, Pool
from linnet.data.fields import BadRow, Row, parse_json
from linnet.errors import OptionError
from linnet.files import whole_lines
from linnet.scoring.scores import count_characters

_MAKE = "make them with  linnet curate hear CORPUS --output FILE  or  linnet evaluate CORPUS --output FILE"


def read_heard(path: Path) -> dict[str, float]:
    """The character error rate of each recording, by its id, from the rows of `linnet evaluate`; empty without any.

    Raises `OptionError` if the file cannot be read.
    """
    rates: dict[str, float] = {}
    for row in _rows(path):
        said = row.get("normalized_text", row.get("text"))
        heard = row.get("normalized_hypothesis", row.get("hypothesis"))
        if isinstance(said, str) and isinstance(heard, str):
            rate = count_characters(said, heard).rate
            rates[row["id"]] = float("nan") if rate is None else rate
    return rates


def read_gains(path: Path) -> dict[str, float]:
    """The gain of each transcript, in nats per token, by its id, from the rows of `linnet curate hear`; empty without
    any.

    Raises `OptionError` if the file cannot be read.
    """
    gains = {row["id"]: row["gain"] for row in _rows(path) if isinstance(row.get("gain"), int | float)}
    return {name: float(gain) for name, gain in gains.items()}


def heard_gates(path: Path) -> list[Gate]:
    """The gates for what a file holds.

    Raises:
        OptionError: it cannot be read, or no row has an id and either a gain or both texts.
    """
    rates, gains = read_heard(path), read_gains(path)
    if not rates and not gains:
        raise OptionError(f"{path}: no row has an id and a gain, or a text and what was heard: {_MAKE}")
    gates: list[Gate] = [Unheard(gains)] if gains else []
    return [*gates, Misheard(rates)] if rates else gates


def _rows(path: Path) -> Iterator[Row]:
    """The rows with an id and without an error; damaged lines are left out."""
    try:
        lines = whole_lines(path)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from error
    for line in lines:
        try:
            row = parse_json(line)
        except BadRow:
            continue
        if isinstance(row.get("id"), str) and not row.get("error"):
            yield row


@dataclass(frozen=True)
class Unheard:
    """Recordings of which a model's sounds tell less than `least` nats per token of their text.

    Text that is said gains several nats, that of another recording none. Recordings without a gain pass.
    """

    gains: Mapping[str, float]
    least: float = 1.0
    name: str = field(default="unheard", init=False)

    def check(self, pool: Pool, usable: Flags) -> Verdict:  # noqa: ARG002  a Gate's
        """By the gain."""
        gains: Numbers = np.array([self.gains.get(name, np.nan) for name in pool.ids], np.float64)
        return Verdict(gains < self.least, gains)

    def reason(self, value: float) -> str:
        """The gain."""
        return f"a recognizer hears little of its text: {value:.1f} nats per token, less than {self.least:g}"


@dataclass(frozen=True)
class Misheard:
    """Recordings of which a model hears more than the share `most` of the characters otherwise.

    They fail where their words also fit their sounds less well than those of the share `least` of the corpus do; where
    that is not known, the model alone decides. Recordings that it has not heard pass.
    """

    rates: Mapping[str, float]
    most: float = 0.5
    least: float = 0.5
    name: str = field(default="misheard", init=False)

    def check(self, pool: Pool, usable: Flags) -> Verdict:  # noqa: ARG002  a Gate's
        """By the character error rate."""
        rates: Numbers = np.array([self.rates.get(name, np.nan) for name in pool.ids], np.float64)
        fits = [np.asarray(pool.scores[name], np.float64) for name in ("mi", "mi_tokens") if name in pool.scores]
        worst = np.fmin.reduce(fits) if fits else np.full(len(pool), np.nan)
        return Verdict((rates > self.most) & ~(worst >= self.least), rates)

    def reason(self, value: float) -> str:
        """How much is heard otherwise."""
        return f"a recognizer hears {value:.0%} of its characters otherwise, more than {self.most:.0%}"
