"""Kinds of utterances with errors; an utterance may be of several. A new kind is one more entry of `KINDS`."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from linnet.evaluation.errors.steps import AlignedRow
from linnet.text.scripts import main_script, scripts

RUN = 4  # inserted words in a row that are called a run
MUCH_LONGER = 3  # times as many words as the reference
OUTLIER = 2  # times as many, or as few
LEAST_WORDS = 5  # said, for an outlier
LONGEST_LOOP = 8  # words of a phrase that is looked for as a repeat


@dataclass(frozen=True)
class Kind:
    """A name, the rule in words, and the rule.

    It is asked of utterances with word errors (`wrong`), of those without (not `wrong`), or of all (None).
    """

    key: str
    name: str
    rule: str
    applies: Callable[[AlignedRow], bool]
    wrong: bool | None = True


@dataclass(frozen=True)
class Loop:
    """The longest stretch in which a phrase comes again and again."""

    phrase: tuple[str, ...] = ()
    times: int = 0

    @property
    def words(self) -> int:
        """Words of the whole stretch."""
        return self.times * len(self.phrase)


def find_loop(words: Sequence[str], longest: int = LONGEST_LOOP) -> Loop:
    """The phrase of at most `longest` words that fills most words by being repeated at once; the shorter of equals.

    One word counts from the fourth time on, a longer phrase from the third. Takes len(words) * longest steps.

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
    said, heard = _units(aligned.said), _units(aligned.heard)
    found = find_loop(heard)
    return found.words > find_loop(said).words


def _units(words: Sequence[str]) -> Sequence[str]:
    """Words, or the letters where a text is written without spaces."""
    letters = sum(map(len, words))
    return list("".join(words)) if letters > 12 * len(words) else words


def _other_script(aligned: AlignedRow) -> bool:
    if all(map(str.isascii, aligned.said)) and all(map(str.isascii, aligned.heard)):
        return False
    said, heard = scripts(aligned.said), main_script(aligned.heard)
    return bool(said) and heard is not None and heard not in said


def _inserted_run(aligned: AlignedRow) -> bool:
    return any(span.kind == "insert" and span.heard_end - span.heard_start >= RUN for span in aligned.spans)


def _outlier(aligned: AlignedRow) -> bool:
    said, heard = len(aligned.said), len(aligned.heard)
    return said >= LEAST_WORDS and heard > 0 and (OUTLIER * heard < said or heard > OUTLIER * said)


def _compound(aligned: AlignedRow) -> bool:
    return aligned.said != aligned.heard and "".join(aligned.said) == "".join(aligned.heard)


def _case_only(aligned: AlignedRow) -> bool:
    return _written_otherwise(aligned) and _bare(aligned.row.text) == _bare(aligned.row.hypothesis or "")


def _form_only(aligned: AlignedRow) -> bool:
    return _written_otherwise(aligned) and _bare(aligned.row.text) != _bare(aligned.row.hypothesis or "")


def _written_otherwise(aligned: AlignedRow) -> bool:
    heard = aligned.row.hypothesis
    return heard is not None and aligned.said == aligned.heard and aligned.row.text.split() != heard.split()


def _bare(text: str) -> str:
    """The letters, digits and marks of a text in lower case."""
    if text.isascii():
        return "".join(filter(str.isalnum, text.lower()))
    kept = (char for char in unicodedata.normalize("NFC", text.casefold()) if unicodedata.category(char)[0] in "LNM")
    return "".join(kept)


KINDS: tuple[Kind, ...] = (
    Kind(
        "empty",
        "No words",
        "the reference has words and the transcript none",
        lambda it: bool(it.said) and not it.heard,
    ),
    Kind(
        "silence",
        "Words on silence",
        "the reference is empty and the transcript has words",
        lambda it: bool(it.heard) and not it.said,
    ),
    Kind(
        "long",
        "Much too long",
        f"more than {MUCH_LONGER} times as many words as the reference",
        lambda it: bool(it.said) and len(it.heard) > MUCH_LONGER * len(it.said),
    ),
    Kind(
        "loop",
        "Repeats",
        f"a word 4 times in a row, or a phrase of up to {LONGEST_LOOP} words 3 times, and longer than anything that "
        "was said so often (letters instead of words where a text has no spaces)",
        _loops,
    ),
    Kind("run", "Runs of inserted words", f"{RUN} or more words in a row that were not said", _inserted_run),
    Kind(
        "length",
        "Odd length",
        f"fewer than half or more than twice the words of the reference, which has {LEAST_WORDS} or more",
        _outlier,
    ),
    Kind("script", "Another script", "most letters are of a script that the reference does not have", _other_script),
    Kind("compound", "Compounds only", "the same but for spaces: ice cream, icecream", _compound, wrong=None),
    Kind(
        "case",
        "Case and punctuation only",
        "no word error; the texts as written differ in that alone",
        _case_only,
        wrong=False,
    ),
    Kind(
        "form",
        "Written form only",
        "no word error; the normalizer made different writings equal",
        _form_only,
        wrong=False,
    ),
)


def kinds_of(aligned: AlignedRow) -> tuple[Kind, ...]:
    """The kinds that an utterance is of."""
    wrong = aligned.errors > 0
    return tuple(kind for kind in KINDS if kind.wrong in (wrong, None) and kind.applies(aligned))
