"""Error relevance, against the formula by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pyarrow")
from linnet.curation.blocks import Block, Space
from linnet.curation.errors import (
    ErrorRates,
    HeldOutRow,
    SpokenText,
    cross_lingual_overlap,
    read_evaluation,
)
from linnet.curation.ragged import Ragged
from linnet.errors import OptionError


def letters(text, language):
    """Each letter a phone, each word numbered by its letters."""
    words = text.split()
    return SpokenText(words, [sum(map(ord, word)) for word in words], [ord(char) for word in words for char in word])


def block(texts, languages=None, domains=None, snr=None):
    read = [letters(text, "") for text in texts]
    n = len(texts)
    numbers = np.zeros(n, np.int64) if languages is None else np.array(languages)
    none = Ragged.from_lists([[]] * n, np.uint16)
    return Block(
        rows=np.arange(n),
        seconds=np.ones(n),
        frames=np.ones(n, np.int64),
        languages=numbers,
        voices=numbers,
        domains=np.full(n, 255) if domains is None else np.array(domains),
        snr=np.full(n, np.nan) if snr is None else np.array(snr, float),
        units=none,
        runs=none,
        phones=Ragged.from_lists([one.phones for one in read], np.uint16),
        words=Ragged.from_lists([one.numbers for one in read], np.uint32),
        tokens=none,
    )


def test_relevance_is_the_formula():
    rows = [HeldOutRow("ab cd", "ab ce", "en"), HeldOutRow("ab", "ab", "en"), HeldOutRow("cd ab", "ab", "en")]
    rates = ErrorRates.of(rows, letters)
    usual = 2 / 5
    of_cd = (2 + 4 * usual) / (2 + 4) - usual
    # phones a b c d, a b, c d a b: wrong are d of the first row, c and d of the last
    usual_pair = 3 / 7
    pairs = {"ab": (0, 3), "bc": (0, 1), "cd": (2, 2), "da": (1, 1)}
    excess = {pair: max(0, (bad + 4 * usual_pair) / (n + 4) - usual_pair) for pair, (bad, n) in pairs.items()}
    space = Space(("en",), (("en", ""),))
    found = rates.relevance(block(["ab", "cd ab cd", "", "zz"]), space)
    by_words = [0.0, 2 / 3 * of_cd, None, 0.0]
    by_pairs = [excess["ab"], (2 * excess["cd"] + excess["da"] + excess["ab"] + excess["bc"]) / 5, None, 0.0]
    expected = [np.nan if w is None else (w + p) / 2 for w, p in zip(by_words, by_pairs, strict=True)]
    assert found == pytest.approx(expected, nan_ok=True)


def test_languages_domains_and_noise_count_where_they_differ():
    rows = [
        HeldOutRow("a", "a", "en-US", "books", 30.0),
        HeldOutRow("b", "x", "de", "calls", 4.0),
    ] * 5
    rates = ErrorRates.of(rows, lambda text, language: SpokenText([text], [ord(text)]))
    space = Space(("de-Latn", "en", "fr"), (("de-Latn", ""), ("en", ""), ("fr", "")), ("books", "calls"))
    found = rates.relevance(block(["b", "a", "a"], [0, 1, 2], [1, 0, 255], [3.0, 31.0, np.nan]), space)
    excess = (5 + 4 * 0.5) / 9 - 0.5
    assert found == pytest.approx([excess, 0.0, 0.0])
    assert rates.relevance(block(["b"], [0], [0], [31.0]), space) == pytest.approx([excess / 2])


def test_a_corpus_that_shares_nothing_with_the_held_out_data():
    rates = ErrorRates.of([HeldOutRow("a", "a", "en")], letters)
    space = Space(("fr",), (("fr", ""),))
    assert rates.relevance(block(["a", "b c"]), space).tolist() == [0.0, 0.0]


def test_evaluations_are_read_from_both_kinds_of_files(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {"linnet_evaluation": 1, "model": "m"},
        {"text": "one two", "hypothesis": "one", "language": "en", "snr": 12.5, "source": "books"},
        {"text": "three", "pred_text": "three"},
        {"text": "", "hypothesis": "so"},
        {"text": "four", "hypothesis": None, "error": "no such file"},
    ]
    path.write_text("\n".join([*map(json.dumps, lines), "{broken"]) + "\n")
    found = read_evaluation(path)
    assert found.rows == [
        HeldOutRow("one two", "one", "en", "books", 12.5),
        HeldOutRow("three", "three"),
    ]
    assert found.left_out == 3
    path.write_text('{"text": "one"}\n')
    with pytest.raises(OptionError, match="what was heard"):
        read_evaluation(path)
    with pytest.raises(OptionError, match="cannot be read"):
        read_evaluation(tmp_path / "none.jsonl")


def test_overlap_of_languages():
    phones = {
        ("en", "espeak"): {"a": 2, "b": 2},
        ("de", "espeak"): {"a": 1, "c": 3},
        ("de", "graphemes"): {"z": 1},
        ("fr", ""): {},
    }
    voices = list(phones)
    assert cross_lingual_overlap(phones, ["en-US"], voices) == pytest.approx([1.0, 0.25, 0.0, np.nan], nan_ok=True)
    both = cross_lingual_overlap(phones, ["en", "de"], voices)
    assert both[0] == pytest.approx(min(0.5, (0.5 + 0.25) / 3) + min(0.5, 0.5 / 3))
    assert np.isnan(cross_lingual_overlap(phones, ["xx"], voices)).all()
