"""Word and character errors, and the error rates of a corpus by two protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from linnet.errors import MissingExtra, OptionError

Edits = tuple[int, int, int]  # substitutions, deletions, insertions


@dataclass(frozen=True)
class WordErrors:
    """Counts of a minimal alignment (Levenshtein 1966) of a hypothesis with its reference, in words, or in characters
    for `Score.characters`.
    """

    words: int = 0  # of the reference
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per reference word, 0.05 for 5 %; `None` without reference words."""
        return self.errors / self.words if self.words else None

    def __add__(self, other: WordErrors) -> WordErrors:
        """The sum of the counts."""
        return WordErrors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Protocol:
    """A way to count word errors; rates are comparable if protocol and normalizer are the same."""

    name: str
    library: str  # the library that aligns
    align: Callable[[], Callable[[list[str], list[str]], Edits]]  # returns the function that counts; imports on demand

    @property
    def scorer(self) -> str:
        """The library that aligns, with its version."""
        return f"{self.library} {version(self.library)}"


def edits(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
    """Substitutions, deletions and insertions of words, or of characters if two strings are given.

    rapidfuzz finds the alignment, as it does for jiwer, so the three counts are jiwer's own.

    >>> edits("three one four".split(), "three four four five".split()), edits("cat", "chat")
    ((1, 0, 1), (0, 0, 1))
    """
    return _levenshtein()(reference, hypothesis)


@cache
def _levenshtein() -> Callable[[Sequence[str], Sequence[str]], Edits]:
    from rapidfuzz.distance import Levenshtein

    def count(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
        if reference == hypothesis:
            return 0, 0, 0
        steps = [step[0] for step in Levenshtein.editops(reference, hypothesis).as_list()]
        return steps.count("replace"), steps.count("delete"), steps.count("insert")

    return count


@cache
def _merging_compounds() -> Callable[[list[str], list[str]], Edits]:
    try:
        from kaldialign import edit_distance  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtra("scoring by the protocol open-asr (kaldialign)", extra="leaderboard") from error

    def count(reference: list[str], hypothesis: list[str]) -> Edits:
        if reference == hypothesis:
            return 0, 0, 0
        found = edit_distance(reference, hypothesis, merge_compounds=True)
        return found["sub"], found["del"], found["ins"]

    return count


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("plain", "rapidfuzz", _levenshtein),
        Protocol("open-asr", "kaldialign", _merging_compounds),
    )
}


def find_protocol(name: str) -> Protocol:
    """`plain`, jiwer's counts, or `open-asr`, the Open ASR Leaderboard's: split and joined compounds are not errors.

    The leaderboard (its `eval_utils.py` of 2026) sums kaldialign's edits with `merge_compounds` over a set and divides
    by the reference words. Raises `OptionError` for other names.
    """
    if name not in PROTOCOLS:
        raise OptionError(f"protocol {name!r} is unknown: use {' or '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def count_errors(reference: str, hypothesis: str, protocol: str = "plain") -> WordErrors:
    """Align two texts word by word; words are separated by whitespace.

    With an empty reference, the whole hypothesis counts as insertions.

    >>> count_errors("three one four", "three four four five")
    WordErrors(words=3, substitutions=1, deletions=0, insertions=1)
    """
    words = reference.split()
    return WordErrors(len(words), *find_protocol(protocol).align()(words, hypothesis.split()))


def count_characters(reference: str, hypothesis: str) -> WordErrors:
    """Align two texts character by character, including the single spaces between words, as jiwer does.

    >>> count_characters("a cat", "a chat")
    WordErrors(words=5, substitutions=0, deletions=0, insertions=1)
    """
    characters = " ".join(reference.split())
    return WordErrors(len(characters), *edits(characters, " ".join(hypothesis.split())))


def total(counts: Iterable[WordErrors]) -> WordErrors:
    """The counts of a corpus. Its `rate` is the corpus WER: errors summed over words summed, never a mean of rates.

    >>> total([count_errors("a b c", "a b c"), count_errors("a", "b")]).rate
    0.25
    """
    words = substitutions = deletions = insertions = 0
    for one in counts:
        words += one.words
        substitutions += one.substitutions
        deletions += one.deletions
        insertions += one.insertions
    return WordErrors(words, substitutions, deletions, insertions)


@dataclass(frozen=True)
class Silence:
    """Words recognized in utterances with an empty reference."""

    utterances: int = 0
    with_words: int = 0  # of these, with words in the hypothesis
    words: int = 0  # hallucinated words; also insertions of the word error rate

    @property
    def hallucination_rate(self) -> float | None:
        """The share of utterances without speech in which words were recognized; `None` if all have speech."""
        return self.with_words / self.utterances if self.utterances else None

    def __str__(self) -> str:
        """One line of text."""
        if not self.utterances:
            return "not measured: every reference has words"
        share = f"{self.with_words} of {self.utterances} utterances without speech ({self.hallucination_rate:.1%})"
        return f"{self.words} word{'' if self.words == 1 else 's'} in {share}"


@dataclass(frozen=True)
class Score:
    """The error counts of a corpus and how they were made: print `label` beside every number."""

    protocol: str
    scorer: str  # the library that aligned, with its version
    normalizers: Mapping[str, int]  # id with hash -> utterances
    utterances: int
    words: WordErrors
    characters: WordErrors  # its `words` are the reference's characters
    silence: Silence = field(default_factory=Silence)

    @property
    def wer(self) -> float | None:
        """Corpus word error rate; `None` without reference words."""
        return self.words.rate

    @property
    def cer(self) -> float | None:
        """Corpus character error rate, including spaces; `None` without reference characters."""
        return self.characters.rate

    @property
    def label(self) -> str:
        """Protocol and normalizers with their hashes, such as `plain, unicode@1a2b3c4d`."""
        return ", ".join([self.protocol, *self.normalizers])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "label": self.label, "wer": self.wer, "cer": self.cer}

    def lines(self) -> list[tuple[str, str]]:
        """Names and values for a small table."""
        return [
            ("WER", f"{_described(self.words, 'words')} [{self.label}]"),
            ("CER", f"{_described(self.characters, 'characters')} [{', '.join(['plain', *self.normalizers])}]"),
            ("words on silence", str(self.silence)),
        ]


def set_rate(score: Score) -> float:
    """A set's WER as on the leaderboard: in percent, rounded to two decimals.

    Raises `OptionError` if the set has no reference words.
    """
    if score.wer is None:
        raise OptionError("a set without reference words has no word error rate: exclude it from the average")
    return round(100 * score.wer, 2)


def mean_over_sets(rates: Sequence[float], weights: Sequence[float] | None = None) -> float | None:
    """The mean of sets' rounded rates, to two decimals; None for no sets. Without weights it is the leaderboard's.

    >>> mean_over_sets([8.13, 10.86, 9.34, 1.25])
    7.4
    """
    if not rates:
        return None
    weights = [1.0] * len(rates) if weights is None else weights
    weighted = sum(weight * rate for weight, rate in zip(weights, rates, strict=True))
    return round(weighted / sum(weights), 2)


def _described(counts: WordErrors, unit: str) -> str:
    if counts.rate is None:
        return f"not defined: the references have no {unit} ({counts.insertions} inserted)"
    edits = f"{counts.substitutions} substituted, {counts.deletions} deleted, {counts.insertions} inserted"
    return f"{counts.rate:.2%} ({edits}, {counts.words} {unit})"
