"""Kinds of erroneous utterances; an utterance may be of several. To add a kind, add an entry to `KINDS`."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from linnet.evaluation.errors.steps import AlignedRow
from linnet.text.scripts import NONE, scripts_of, text_script

RUN = 4  # consecutive inserted words that make a run
MUCH_LONGER = 3  # times as many words as the reference
OUTLIER = 2  # times as many words, or as few
LEAST_WORDS = 5  # of the reference of an outlier
LONGEST_LOOP = 8  # words of a repeated phrase

_JAPANESE = frozenset({"Jpan", "Hani"})  # kana and Han: one text mixes them


@dataclass(frozen=True)
class Kind:
    """A kind: name, rule in words, and the rule, which applies to utterances with word errors (`wrong`), without, or
    all."""

    key: str
    name: str
    rule: str
    applies: Callable[[AlignedRow], bool]
    wrong: bool | None = True


@dataclass(frozen=True)
class Loop:
    """The longest run of a repeated phrase."""

    phrase: tuple[str, ...] = ()
    times: int = 0

    @property
    def words(self) -> int:
        """Words of the whole run."""
        return self.times * len(self.phrase)


def find_loop(words: Sequence[str], longest: int = LONGEST_LOOP) -> Loop:
    """The phrase of at most `longest` words whose consecutive repeats cover the most words; the shorter one of equals.

    A single word needs four repeats, a longer phrase three. Takes len(words) * longest steps.

    >>> find_loop("so thank you thank you thank you".split())
    Loop(phrase=('thank', 'you'), times=3)
    """
    best = Loop()
    if len(words) - len(set(words)) < 3 or max(Counter(words).values()) < 3:  # no loop has fewer repeats
        return best
    for size in range(1, min(longest, len(words) // 3) + 1):
        run = 0
        for place, (word, before) in enumerate(zip(words[size:], words, strict=False), start=size):
            if word != before:
                run = 0
                continue
            run += 1
            times = run // size + 1
            if times >= (4 if size == 1 else 3) and times * size > best.words:
                first = place - run - size + 1
                best = Loop(tuple(words[first : first + size]), times)
    return best


def _loops(aligned: AlignedRow) -> bool:
    reference, hypothesis = _units(aligned.reference), _units(aligned.hypothesis)
    found = find_loop(hypothesis)
    return found.words > find_loop(reference).words


def _units(words: Sequence[str]) -> Sequence[str]:
    """Words, or letters where a text is written without spaces."""
    letters = sum(map(len, words))
    return list("".join(words)) if letters > 12 * len(words) else words


def _other_script(aligned: AlignedRow) -> bool:
    if all(map(str.isascii, aligned.reference)) and all(map(str.isascii, aligned.hypothesis)):
        return False
    reference, (hypothesis, _) = scripts_of(aligned.reference), text_script("".join(aligned.hypothesis))
    if reference & _JAPANESE:
        reference |= _JAPANESE
    return bool(reference) and hypothesis != NONE and hypothesis not in reference


def _inserted_run(aligned: AlignedRow) -> bool:
    return any(span.kind == "insert" and span.hypothesis_end - span.hypothesis_start >= RUN for span in aligned.spans)


def _outlier(aligned: AlignedRow) -> bool:
    reference, hypothesis = len(aligned.reference), len(aligned.hypothesis)
    return (
        reference >= LEAST_WORDS
        and hypothesis > 0
        and (OUTLIER * hypothesis < reference or hypothesis > OUTLIER * reference)
    )


def _compound(aligned: AlignedRow) -> bool:
    return aligned.reference != aligned.hypothesis and "".join(aligned.reference) == "".join(aligned.hypothesis)


def _case_only(aligned: AlignedRow) -> bool:
    return _written_otherwise(aligned) and _bare(aligned.row.text) == _bare(aligned.row.hypothesis or "")


def _form_only(aligned: AlignedRow) -> bool:
    return _written_otherwise(aligned) and _bare(aligned.row.text) != _bare(aligned.row.hypothesis or "")


def _written_otherwise(aligned: AlignedRow) -> bool:
    hypothesis = aligned.row.hypothesis
    return (
        hypothesis is not None
        and aligned.reference == aligned.hypothesis
        and aligned.row.text.split() != hypothesis.split()
    )


def _bare(text: str) -> str:
    """The letters, digits and marks of a text in lowercase."""
    if text.isascii():
        return "".join(filter(str.isalnum, text.lower()))
    kept = (char for char in unicodedata.normalize("NFC", text.casefold()) if unicodedata.category(char)[0] in "LNM")
    return "".join(kept)


KINDS: tuple[Kind, ...] = (
    Kind(
        "empty",
        "No words",
        "the reference has words and the hypothesis none",
        lambda it: bool(it.reference) and not it.hypothesis,
    ),
    Kind(
        "silence",
        "Words on silence",
        "the reference is empty and the hypothesis has words",
        lambda it: bool(it.hypothesis) and not it.reference,
    ),
    Kind(
        "long",
        "Much too long",
        f"more than {MUCH_LONGER} times as many words as the reference",
        lambda it: bool(it.reference) and len(it.hypothesis) > MUCH_LONGER * len(it.reference),
    ),
    Kind(
        "loop",
        "Repeats",
        f"a word 4 times in a row, or a phrase of up to {LONGEST_LOOP} words 3 times, longer than any in the "
        "reference (letters instead of words where a text has no spaces)",
        _loops,
    ),
    Kind("run", "Runs of inserted words", f"{RUN} or more consecutive inserted words", _inserted_run),
    Kind(
        "length",
        "Odd length",
        f"fewer than half or more than twice the words of the reference, which has {LEAST_WORDS} or more",
        _outlier,
    ),
    Kind("script", "Another script", "most letters are of a script that the reference does not use", _other_script),
    Kind("compound", "Compounds only", "the same but for spaces: ice cream, icecream", _compound, wrong=None),
    Kind(
        "case",
        "Case and punctuation only",
        "no word error; the raw texts differ only in case and punctuation",
        _case_only,
        wrong=False,
    ),
    Kind(
        "form",
        "Written form only",
        "no word error; the normalizer made different spellings equal",
        _form_only,
        wrong=False,
    ),
)


def kinds_of(aligned: AlignedRow) -> tuple[Kind, ...]:
    """The kinds of an utterance."""
    wrong = aligned.counts.errors > 0
    return tuple(kind for kind in KINDS if kind.wrong in (wrong, None) and kind.applies(aligned))
