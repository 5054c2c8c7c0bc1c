"""Error relevance: what a model gets wrong in an evaluation of held-out data, and which recordings contain it.

    e_u = (errors_u + a e) / (n_u + a)        for each word, bigram of phones, language, domain and step of noise u
    ER(x) = sum of n_u(x) max(0, e_u - e) / sum of n_u(x)

with e the error rate over all u of a kind; a recording's relevance is the mean over the measured kinds. The errors are
those of an alignment: a word counts as wrong if it was substituted or deleted at that position. Held-out data only:
errors on training data only show what was not memorized.

Shapes: N rows of a shard, V words or bigrams in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.blocks import Block, Space
from linnet.curation.counting import pack
from linnet.curation.markov import join
from linnet.curation.ragged import Ragged
from linnet.data.fields import BadRow, parse_json
from linnet.errors import OptionError
from linnet.files import whole_lines
from linnet.scoring.alignment import align
from linnet.text.language_codes import base_language

Floats = NDArray[np.float64]

SMOOTHING: Final = 4.0
SNR_STEP: Final = 5.0  # dB
_PHONE_BITS: Final = 16


@dataclass(frozen=True)
class HeldOutRow:
    """Reference and hypothesis of a held-out recording."""

    said: str
    heard: str
    language: str = "und"
    domain: str | None = None
    snr: float | None = None


@dataclass(frozen=True)
class HeldOut:
    """An evaluation: its rows, and the number of lines without one (failed, without a reference, or damaged)."""

    rows: Sequence[HeldOutRow]
    left_out: int


def read_evaluation(path: Path) -> HeldOut:
    """Read the output of `linnet evaluate --output`, or the rows of an Open ASR Leaderboard result.

    Rows have `text` and `hypothesis` (or `pred_text`), and may have `language`, `domain` and `snr`.

    Raises:
        OptionError: the file cannot be read, or no row has both texts.
    """
    try:
        lines = whole_lines(path)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from error
    found = [_row(line) for line in lines if line.strip()]
    rows = [row for row in found if isinstance(row, HeldOutRow)]
    if not rows:
        raise OptionError(
            f"{path}: no row has both a text and what was heard; make one with  linnet evaluate HELD-OUT --output FILE"
        )
    return HeldOut(rows, sum(row is False for row in found))


def _row(line: bytes) -> HeldOutRow | bool:
    """The row of a line; False if it has none, True for a header line."""
    try:
        content = parse_json(line)
    except BadRow:
        return False
    said = content.get("text")
    heard = content.get("hypothesis", content.get("pred_text"))
    if not (isinstance(said, str) and said.strip() and isinstance(heard, str)) or content.get("error"):
        return "text" not in content
    snr = content.get("snr")
    return HeldOutRow(
        said,
        heard,
        content.get("language") or content.get("lang") or "und",
        content.get("domain") or content.get("source"),
        float(snr) if isinstance(snr, int | float) else None,
    )


# --- rates


@dataclass(frozen=True)
class SpokenText:
    """A text in the form of the passes: words (or grapheme clusters), their 32-bit hashes, and its phones' numbers."""

    words: Sequence[str]
    numbers: Sequence[int]
    phones: Sequence[int] = ()


Reader = Callable[[str, str], SpokenText]  # (text, language)


@dataclass
class _Rates:
    """Errors and occurrences of each item of one kind."""

    errors: dict[Any, int] = field(default_factory=lambda: defaultdict(int))
    chances: dict[Any, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, things: Iterable[Any], wrong: Iterable[bool]) -> None:
        for thing, bad in zip(things, wrong, strict=True):
            self.errors[thing] += bad
            self.chances[thing] += 1

    def excess(self) -> dict[Any, float]:
        """max(0, e_u - e) of each item."""
        usual = sum(self.errors.values()) / max(sum(self.chances.values()), 1)
        rates = {u: (self.errors[u] + SMOOTHING * usual) / (n + SMOOTHING) for u, n in self.chances.items()}
        return {u: max(0.0, rate - usual) for u, rate in rates.items()}


@dataclass(frozen=True, eq=False)
class Excess:
    """The excess error rate of keys: `keys` uint64 ascending, `rates`."""

    keys: NDArray[np.uint64]
    rates: Floats

    @classmethod
    def of(cls, rates: Mapping[int, float]) -> Self:
        """From a mapping."""
        keys = np.array(sorted(rates), np.uint64)
        return cls(keys, np.array([rates[int(key)] for key in keys], np.float64))

    def get(self, keys: NDArray[Any]) -> Floats:
        """The excess of each key, [V]; 0 for unseen keys."""
        if not len(self.keys):
            return np.zeros(len(keys))
        places = np.minimum(np.searchsorted(self.keys, keys.astype(np.uint64)), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.rates[places], 0.0)


@dataclass(frozen=True, eq=False)
class ErrorRates:
    """Excess error rates of a model by word, bigram of phones, language, domain and noise."""

    languages: tuple[str, ...]  # without script and region; numbered in the keys
    words: Excess  # (language, word)
    pairs: Excess  # (language, bigram of phones)
    by_language: Mapping[str, float]
    by_domain: Mapping[str, float]
    by_snr: Mapping[int, float]

    @classmethod
    def of(cls, rows: Iterable[HeldOutRow], read: Reader) -> Self:
        """From held-out rows; `read` extracts words and phones of a text as for the corpus."""
        rows = list(rows)
        languages = tuple(sorted({base_language(row.language) or row.language for row in rows}))
        words, pairs, by_language, by_domain, by_snr = (_Rates() for _ in range(5))
        for row in rows:
            language = base_language(row.language) or row.language
            number = languages.index(language)
            said, heard = read(row.said, row.language), read(row.heard, row.language)
            wrong = align(said.words, heard.words).wrong
            words.add((_key(number, word, 32) for word in said.numbers), wrong)
            by_language.add([language] * len(wrong), wrong)
            by_domain.add([row.domain] * len(wrong), wrong)
            by_snr.add([_step(row.snr)] * len(wrong), wrong)
            bad = align([str(one) for one in said.phones], [str(one) for one in heard.phones]).wrong
            both = pairwise(said.phones)
            keys = (_key(number, (first << _PHONE_BITS) | second, 32) for first, second in both)
            pairs.add(keys, (one or other for one, other in pairwise(bad)))
        known = {domain: rate for domain, rate in by_domain.excess().items() if domain is not None}
        noise = {step: rate for step, rate in by_snr.excess().items() if step is not None}
        return cls(languages, Excess.of(words.excess()), Excess.of(pairs.excess()), by_language.excess(), known, noise)

    def relevance(self, block: Block, space: Space) -> Floats:
        """ER(x) of each row, [N]: 0 for items without excess errors or unseen ones; NaN without words."""
        bases = [base_language(name) or name for name in space.languages]
        numbers = np.array([self.languages.index(one) if one in self.languages else 4095 for one in bases], np.int64)
        of_rows = numbers[block.languages]
        kinds = [
            self._mean(block.words, self.words.get(pack((of_rows[block.words.rows], 12), (block.words.values, 32))))
        ]
        if len(self.pairs.keys):
            pairs = block.phones.pairs()
            keys = join(pairs.values[:, 0], pairs.values[:, 1], _PHONE_BITS)
            kinds.append(self._mean(pairs, self.pairs.get(pack((of_rows[pairs.rows], 12), (keys, 32)))))
        if len(self.languages) > 1:
            kinds.append(np.array([self.by_language.get(one, 0.0) for one in bases])[block.languages])
        if len(self.by_domain) > 1:
            rates = np.array([*(self.by_domain.get(name, 0.0) for name in space.domains), 0.0])
            kinds.append(rates[np.minimum(block.domains, len(space.domains))])
        if len(self.by_snr) > 1:
            steps = [_step(one) for one in block.snr.tolist()]
            kinds.append(np.array([0.0 if step is None else self.by_snr.get(step, 0.0) for step in steps]))
        means: Floats = np.mean(kinds, axis=0)
        return np.where(block.words.lengths > 0, means, np.nan)

    @staticmethod
    def _mean(rows: Ragged, values: Floats) -> Floats:
        means: Floats = rows.replace(values).sums() / np.maximum(rows.lengths, 1)
        return means


def _key(group: int, value: int, bits: int) -> int:
    return (group << bits) | int(value)


def _step(snr: float | None) -> int | None:
    return None if snr is None or not np.isfinite(snr) else int(np.clip(snr, -20.0, 60.0) // SNR_STEP)


# --- other languages


def cross_lingual_overlap(
    phones: Mapping[tuple[str, str], Mapping[str, int]], known: Sequence[str], voices: Sequence[tuple[str, str]]
) -> Floats:
    """The share of phones of each voice (language and phonemizer) in common with known languages, [voices]: sum over
    phones of min(p_voice, p_known), 1 for equal distributions.

    `phones` counts the symbols (IPA) of each voice, `known` names the languages that a model has learned; NaN if either
    is unknown.
    """
    wanted = {base_language(name) or name for name in known}
    spoken = [
        _shares(counts) for (language, _), counts in phones.items() if (base_language(language) or language) in wanted
    ]
    total: dict[str, float] = defaultdict(float)
    for shares in spoken:
        for phone, share in shares.items():
            total[phone] += share / len(spoken)
    found = []
    for voice in voices:
        shares = _shares(phones.get(voice, {}))
        overlap = sum(min(share, total.get(phone, 0.0)) for phone, share in shares.items())
        found.append(overlap if shares and spoken else np.nan)
    return np.array(found, np.float64)


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {phone: count / total for phone, count in counts.items()} if total else {}
