"""Transcripts that a recognizer hears otherwise: what `linnet evaluate` on the corpus itself says of wrong texts.

A model is also wrong where a recording is hard, and hard ones are worth keeping. One fails only where the sounds do not
go well with the words either, by the mutual information of the corpus, which knows nothing of the model.

Shapes: N recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnet.curation.gating import Verdict
from linnet.curation.pool import Flags, Numbers, Pool
from linnet.data.fields import BadRow, parse_json
from linnet.errors import OptionError
from linnet.files import whole_lines
from linnet.scoring.scores import count_characters

_MAKE = "make them with  linnet evaluate CORPUS --output FILE"


def read_heard(path: Path) -> dict[str, float]:
    """The character error rate of each recording, by its id, from the rows of `linnet evaluate`.

    Raises:
        OptionError: the file cannot be read, or no row has an id and both texts.
    """
    try:
        lines = whole_lines(path)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from error
    rates: dict[str, float] = {}
    for line in lines:
        try:
            row = parse_json(line)
        except BadRow:
            continue
        said = row.get("normalized_text", row.get("text"))
        heard = row.get("normalized_hypothesis", row.get("hypothesis"))
        if isinstance(row.get("id"), str) and isinstance(said, str) and isinstance(heard, str) and not row.get("error"):
            rate = count_characters(said, heard).rate
            rates[row["id"]] = float("nan") if rate is None else rate
    if not rates:
        raise OptionError(f"{path}: no row has an id, a text and what was heard: {_MAKE}")
    return rates


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
