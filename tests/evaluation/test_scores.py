"""Word errors against jiwer, against a slow twin, and by hand."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.evaluation.scores import WordErrors, count_errors, total

WORDS = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=7).map(" ".join)


def slow_distance(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein's recursion as it is written down, without a table."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    if reference[0] == hypothesis[0]:
        return slow_distance(reference[1:], hypothesis[1:])
    return 1 + min(
        slow_distance(reference[1:], hypothesis[1:]),
        slow_distance(reference[1:], hypothesis),
        slow_distance(reference, hypothesis[1:]),
    )


@given(WORDS, WORDS)
def test_counts_are_those_of_a_slow_twin(reference: str, hypothesis: str) -> None:
    counts = count_errors(reference, hypothesis)
    words, heard = reference.split(), hypothesis.split()
    assert counts.errors == slow_distance(words, heard)
    assert counts.words == len(words)
    assert counts.insertions - counts.deletions == len(heard) - len(words)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_the_corpus_rate_is_jiwers(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = total(count_errors(*pair) for pair in pairs)
    expected = jiwer.process_words(references, hypotheses)
    assert (found.substitutions, found.deletions, found.insertions) == (
        expected.substitutions,
        expected.deletions,
        expected.insertions,
    )
    assert found.rate == (pytest.approx(expected.wer) if found.words else None)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", WordErrors(0, 0, 0, 0)),
        ("", "two words", WordErrors(0, 0, 0, 2)),
        (" \t", "two words", WordErrors(0, 0, 0, 2)),
        ("two words", "", WordErrors(2, 0, 2, 0)),
        ("a  b\tc\n", " a b c ", WordErrors(3, 0, 0, 0)),
        ("a b c", "a x c d", WordErrors(3, 1, 0, 1)),
    ],
)
def test_counts_by_hand(reference: str, hypothesis: str, expected: WordErrors) -> None:
    assert count_errors(reference, hypothesis) == expected


def test_the_corpus_rate_is_no_mean_over_utterances() -> None:
    pairs = [("a", "b"), ("a b c d e f g h i", "a b c d e f g h i")]
    assert total(count_errors(*pair) for pair in pairs).rate == 0.1  # the mean of the two rates is 0.5


def test_no_words_have_no_rate() -> None:
    assert count_errors("", "noise").rate is None
    assert total([]).rate is None
    assert total([count_errors("", "noise"), count_errors("a b", "a b")]).rate == 0.5  # the insertion counts
