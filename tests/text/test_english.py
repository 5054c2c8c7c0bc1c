"""The fast English normalizer against transformers' own, text for text."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from linnet.text import english
from linnet.text.english import EnglishNormalizer

SPELLING = {"colour": "color", "grey": "gray"}
SLOW = EnglishTextNormalizer(SPELLING)
FAST = EnglishNormalizer(SPELLING)
SPEECH = """
    the a and cat dog's colour grey one one's ones two twenty twenty-one hundred million o oh point five half percent
    per cent cents dollars pounds % $5 $2.07 ¢7 5 1 1st 2nd 5th nd st th s 3,000 2,5 1960s 274th 20/20 7:30 £0.50 €0
    minus plus negative double triple first second mr mr. Mrs. won't can't it's he's been gone done got what'd uh um uh,
    uh's uh-huh hmm' let let's 's 'tis dogs' ma'am o'clock rock'n'roll y'all i'ma don’t . .. ... wait... u.s. a.b.c
    Größe café — - -- ?! _ a_b and/or [noise] (laughs) < > ( ] İstanbul é x́ " , ; ’s
"""
WORDS = SPEECH.split()
TEXT = st.lists(st.sampled_from(WORDS) | st.text("abs'.,d-5%$ 1", max_size=4), max_size=8)


@settings(max_examples=300)
@given(TEXT, st.sampled_from([" ", "  ", "\n"]))
@example(["he's", "gone"], "  ")
@example(["let", "uh's"], " ")
@example(["%", "of", "5", "%"], " ")
@example(["and", "a", "half"], " ")
def test_it_equals_transformers_own(words: list[str], space: str) -> None:
    text = space.join(words)
    assert FAST(text) == SLOW(text).strip()


def test_it_equals_transformers_own_on_many_sentences() -> None:
    """Words are met again and again here, so what was kept of them is what answers."""
    rng = random.Random(11)
    for _ in range(4000):
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))
        assert FAST(text) == SLOW(text).strip(), text


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(english, "MOST_KEPT", 3)
    fast = EnglishNormalizer(SPELLING)
    for text in ("Colour me grey, Mr. Smith", "one two", "it's been twenty years", "five and a half", "six pounds"):
        assert fast(text) == SLOW(text).strip()
    assert max(fast.kept) <= 3
